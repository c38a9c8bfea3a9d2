//! Alarms: what an operator should know although nobody asks, judged by each node from what it sees.
//!
//! [`judge`] is pure. The node gathers [`Facts`] about once a second and keeps a [`Memory`]; the table
//! [`KINDS`] says when what is found becomes an alarm, and when it is over. An alarm is about something,
//! a node or a pool, so that there can be several of one kind. An acknowledgement is this node's alone,
//! and ends with its alarm.
//!
//! Each id has its section in `docs/troubleshooting.md`; a test compares the two.

mod facts;
mod kinds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use facts::{Certificate, Disk, Facts, Peer, Pool};
pub use kinds::{Finding, KINDS, Kind};

/// Alarms of one kind at once; the last of them says how many more there are.
pub const MOST_OF_A_KIND: usize = 50;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Look at it within days.
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// One alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Its kind.
    pub kind: &'static Kind,
    /// What of that kind it is about: `node 3`, `subnet 7`. Empty where there is only one.
    pub about: String,
    /// Since when, Unix milliseconds.
    pub since: i64,
    /// The number of the node that says so.
    pub node: u64,
    /// What is the matter, one sentence.
    pub text: String,
    /// Whether somebody has taken note of it on this node.
    pub acknowledged: bool,
}

impl Alarm {
    /// Where to read more.
    pub fn link(&self) -> String {
        format!("docs/troubleshooting.md#{}", self.kind.id)
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a node remembers between two looks.
#[derive(Debug, Default)]
pub struct Memory {
    seen: BTreeMap<(&'static str, String), Seen>,
}

/// Something that was found.
#[derive(Debug)]
struct Seen {
    /// Since when it is there, monotonic.
    from: Duration,
    /// Since when it is not there any more.
    gone: Option<Duration>,
    /// Its alarm, once there is one.
    alarm: Option<Alarm>,
}

/// What a look came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Every alarm there is, worst first.
    pub active: Vec<Alarm>,
    /// Those that have begun.
    pub raised: Vec<Alarm>,
    /// Those that are over.
    pub cleared: Vec<Alarm>,
}

impl Memory {
    /// Takes note of the alarms of this id, of one if `about` is given. Answers how many there are.
    pub fn acknowledge(&mut self, id: &str, about: Option<&str>) -> usize {
        let wanted =
            |alarm: &Alarm| alarm.kind.id == id && about.is_none_or(|about| alarm.about == about);
        let alarms = self.seen.values_mut().filter_map(|seen| seen.alarm.as_mut());
        let mut count = 0;
        for alarm in alarms.filter(|alarm| wanted(alarm)) {
            alarm.acknowledged = true;
            count += 1;
        }
        count
    }

    /// Every alarm, worst first.
    pub fn active(&self) -> Vec<Alarm> {
        let mut active: Vec<Alarm> =
            self.seen.values().filter_map(|seen| seen.alarm.clone()).collect();
        active.sort_by_key(|alarm| (std::cmp::Reverse(alarm.kind.severity), alarm.since));
        active
    }
}

/// One look. `facts.now` must not go back from one to the next.
pub fn judge(facts: &Facts, memory: &mut Memory) -> Judgement {
    let (mut raised, mut cleared) = (Vec::new(), Vec::new());
    for kind in KINDS {
        let is_raised = |about: &str| {
            let seen = memory.seen.get(&(kind.id, about.to_owned()));
            seen.is_some_and(|seen| seen.alarm.is_some())
        };
        let found = limited(kind.find(facts, &is_raised));
        for (key, seen) in &mut memory.seen {
            let there = found.iter().any(|finding| finding.about == key.1);
            if key.0 == kind.id && !there {
                seen.gone.get_or_insert(facts.now);
            }
        }
        for Finding { about, text } in found {
            let seen = memory.seen.entry((kind.id, about.clone())).or_insert(Seen {
                from: facts.now,
                gone: None,
                alarm: None,
            });
            seen.gone = None;
            match &mut seen.alarm {
                Some(alarm) => alarm.text = text,
                None if facts.now.saturating_sub(seen.from) >= kind.raise_after => {
                    let (since, node) = (facts.wall, facts.node);
                    let alarm = Alarm { kind, about, since, node, text, acknowledged: false };
                    raised.push(alarm.clone());
                    seen.alarm = Some(alarm);
                }
                None => {}
            }
        }
    }
    memory.seen.retain(|key, seen| {
        let Some(gone) = seen.gone else { return true };
        let stays = KINDS.iter().find(|kind| kind.id == key.0).map(|kind| kind.clear_after);
        match seen.alarm.take() {
            // It was not there long enough to be an alarm.
            None => false,
            Some(alarm) if facts.now.saturating_sub(gone) < stays.unwrap_or_default() => {
                seen.alarm = Some(alarm);
                true
            }
            Some(alarm) => {
                cleared.push(alarm);
                false
            }
        }
    });
    Judgement { active: memory.active(), raised, cleared }
}

/// The first of them, and how many more there are.
fn limited(mut found: Vec<Finding>) -> Vec<Finding> {
    if found.len() > MOST_OF_A_KIND {
        let more = found.len() - (MOST_OF_A_KIND - 1);
        found.truncate(MOST_OF_A_KIND - 1);
        found.push(Finding {
            about: "others".into(),
            text: format!("and {more} more of this kind"),
        });
    }
    found
}
