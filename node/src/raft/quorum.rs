//! When a set of voters can work, and how much it survives. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::NodeId;

/// A voter that has not answered for so long counts as not there.
pub const SILENT_AFTER: Duration = Duration::from_secs(1);
/// A voter so many entries behind has not caught up.
pub const BEHIND: u64 = 1_000;

/// A voter as the leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voter {
    /// The node.
    pub node: NodeId,
    /// How long ago it answered; zero for the leader itself, `None` if it has not since this leader leads.
    pub heard_ago: Option<Duration>,
    /// Entries it is behind the leader.
    pub lag: u64,
}

impl Voter {
    /// What keeps it from being counted on.
    fn trouble(&self) -> Option<String> {
        match self.heard_ago {
            Some(ago) if ago < SILENT_AFTER => (self.lag > BEHIND)
                .then(|| format!("node {} is {} entries behind", self.node, self.lag)),
            _ => Some(format!("node {} does not answer", self.node)),
        }
    }
}

/// How many of `voters` must agree.
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// How many of `voters` may fail.
pub const fn survives(voters: usize) -> usize {
    voters.saturating_sub(1) / 2
}

/// Why `voters` could not work, if they had the votes now.
pub fn objection(voters: &[Voter]) -> Option<String> {
    let troubles: Vec<String> = voters.iter().filter_map(Voter::trouble).collect();
    let (all, needed) = (voters.len(), majority(voters.len()));
    let well = all - troubles.len();
    if well >= needed {
        return None;
    }
    let names: Vec<String> = voters.iter().map(|voter| voter.node.to_string()).collect();
    Some(format!(
        "{all} would vote (node {}), {needed} of them must agree, and only {well} can: {}",
        names.join(", "),
        troubles.join("; ")
    ))
}

/// What so many voters survive, in words.
pub fn tolerance(voters: usize) -> String {
    match (voters, survives(voters)) {
        (1, _) => "1 node votes; while it is down there is no service".to_owned(),
        (all, 0) => format!("{all} nodes vote; none of them may fail"),
        (all, failures) => format!("{all} nodes vote; {failures} of them may fail"),
    }
}

/// What is unwise about who votes: the rack of each voter, empty where it is not known.
pub fn warnings(racks: &[&str]) -> Vec<String> {
    let mut warnings = Vec::new();
    let all = racks.len();
    if all > 1 && all.is_multiple_of(2) {
        let (fails, less) = (survives(all), all - 1);
        warnings.push(format!(
            "{all} voters survive no more failures than {less} would: {fails}. Add a voter, or take one away"
        ));
    }
    if all < 2 || racks.iter().any(|rack| rack.is_empty()) {
        return warnings;
    }
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for rack in racks {
        *votes.entry(rack).or_default() += 1;
    }
    // One rack is a choice; more than one promise something.
    if votes.len() < 2 {
        return warnings;
    }
    let heaviest = votes.iter().filter(|(_, count)| all - **count < majority(all));
    for (rack, count) in heaviest {
        let remedy = match votes.len() {
            2 => "a voter in a third rack is needed",
            _ => "spread the voters evenly",
        };
        warnings.push(format!(
            "rack \"{rack}\" has {count} of the {all} votes: losing it loses the majority; {remedy}"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(node: u64, ago: Option<u64>, lag: u64) -> Voter {
        Voter { node: NodeId(node), heard_ago: ago.map(Duration::from_millis), lag }
    }

    #[test]
    fn a_majority_must_answer_and_have_caught_up() {
        let well = |node| voter(node, Some(20), 0);
        assert_eq!(objection(&[well(1)]), None);
        assert_eq!(objection(&[well(1), well(2), voter(3, None, 0)]), None);
        let text = objection(&[well(1), voter(2, Some(1_500), 0), voter(3, Some(20), 12_000)]);
        assert_eq!(
            text.unwrap(),
            "3 would vote (node 1, 2, 3), 2 of them must agree, and only 1 can: node 2 does not answer; node 3 is \
             12000 entries behind"
        );
        // Of two both are needed.
        assert!(objection(&[well(1), voter(2, None, 0)]).is_some());
        assert!(objection(&[well(1), well(2), voter(3, None, 0), voter(4, None, 0)]).is_some());
    }

    #[test]
    fn even_numbers_and_lopsided_racks_are_told() {
        assert!(warnings(&["", "", ""]).is_empty());
        assert!(warnings(&["a", "b", "c"]).is_empty());
        assert!(warnings(&["a", "a", "b", "b", "c"]).is_empty());
        assert!(warnings(&["a", "a", "a"]).is_empty(), "one rack is a choice");
        assert!(warnings(&[""]).is_empty());
        let of = |racks: &[&str]| warnings(racks).join(" | ");
        assert_eq!(
            of(&["", ""]),
            "2 voters survive no more failures than 1 would: 0. Add a voter, or take one away"
        );
        assert_eq!(
            of(&["a", "a", "b"]),
            "rack \"a\" has 2 of the 3 votes: losing it loses the majority; a voter in a third rack is needed"
        );
        assert_eq!(
            of(&["a", "a", "a", "b", "c"]),
            "rack \"a\" has 3 of the 5 votes: losing it loses the majority; spread the voters evenly"
        );
        // Of two by two each rack is one too many.
        assert_eq!(warnings(&["a", "a", "b", "b"]).len(), 3);
    }

    #[test]
    fn tolerance_in_words() {
        assert_eq!(tolerance(1), "1 node votes; while it is down there is no service");
        assert_eq!(tolerance(2), "2 nodes vote; none of them may fail");
        assert_eq!(tolerance(5), "5 nodes vote; 2 of them may fail");
    }
}
