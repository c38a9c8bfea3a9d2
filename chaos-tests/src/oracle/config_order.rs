//! The configuration behaves as one register, whichever node is asked (linearizability), and no change is lost.
//!
//! Checked by `todc-utils`' search for an order (Wing and Gong's, with Lowe's memory of what was tried). What it is checked against is
//! [`Register`]: a version and the mark of whoever set it; a change takes effect on the version that it was made on, and on no other.

use std::collections::BTreeSet;

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use super::Breach;

/// A call of the control API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it was made, in milliseconds.
    pub began: u64,
    /// When it was answered; none: never, so it may have had its effect or not, and may yet.
    pub ended: Option<u64>,
    /// What it was, and the answer.
    pub what: What,
}

/// What was asked, and what was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The configuration `mark`, on top of `expected`.
    Set { mark: u64, expected: u64, told: Told },
    /// Which version is in force, and whose mark it has. None while there is no answer.
    Read(Option<(u64, u64)>),
}

/// The answer to a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is in force as this version.
    InForce(u64),
    /// Another version was in force.
    Conflict(u64),
    /// It certainly has no effect.
    Nothing,
    /// It may have had its effect.
    Unknown,
}

/// A call as the search knows it: on a register that began with this version and mark.
#[derive(Debug, Clone)]
struct Operation {
    first: (u64, u64),
    what: What,
    /// It has had its effect, whatever was told.
    is_seen: bool,
}

/// What the configuration should be.
struct Register;

impl Specification for Register {
    /// Version and mark; none: as it began.
    type State = Option<(u64, u64)>;
    type Operation = Operation;

    fn init() -> Self::State {
        None
    }

    fn apply(operation: &Operation, state: &Self::State) -> (bool, Self::State) {
        let (version, mark) = state.unwrap_or(operation.first);
        let same = Some((version, mark));
        match operation.what {
            What::Read(read) => (read == same, same),
            What::Set { mark, expected, told } => {
                let (takes_effect, set) = (expected == version, Some((expected + 1, mark)));
                match told {
                    Told::InForce(told) => (takes_effect && told == expected + 1, set),
                    Told::Conflict(found) => (!takes_effect && found == version, same),
                    Told::Unknown if takes_effect => (true, set),
                    Told::Unknown => (!operation.is_seen, same),
                    Told::Nothing => (true, same),
                }
            }
        }
    }
}

/// Checks the calls of a run. Mark 0 is whatever was in force before them. A breach names the first call that no order explains.
pub fn check(calls: &[Call]) -> Vec<Breach> {
    let versions = calls.iter().filter_map(|call| match call.what {
        What::Set { expected, .. } => Some(expected),
        What::Read(read) => read.map(|(version, _)| version),
    });
    versions.min().map_or_else(Vec::new, |first| check_from((first, 0), calls))
}

/// [`check`], if it is known which version was in force before the calls, and whose mark it has. What began before and may still happen is
/// among them.
pub fn check_from(first: (u64, u64), calls: &[Call]) -> Vec<Breach> {
    let is_explained = |end| is_explained(first, calls, end);
    if is_explained(u64::MAX) {
        return Vec::new();
    }
    let mut ends: Vec<u64> = calls.iter().filter_map(|call| call.ended).collect();
    ends.sort_unstable();
    // What is explained is so at every moment before, too.
    let wrong = ends.partition_point(|end| is_explained(*end));
    let end = ends.get(wrong).copied().unwrap_or(u64::MAX);
    let these = calls.iter().filter(|call| call.ended == Some(end));
    these
        .map(|call| Breach(format!("no order of all calls explains this answer: {call:?}")))
        .collect()
}

/// Whether some order explains every answer up to `end`. What was not answered by then may have had its effect or not.
fn is_explained(first: (u64, u64), calls: &[Call], end: u64) -> bool {
    let (marks, found) = (seen(calls, end, mark_read), seen(calls, end, version_found));
    let known = seen(calls, end, version_of);
    // By moment, beginnings before ends: those at one moment are beside one another.
    let mut actions = Vec::new();
    for (process, call) in calls.iter().enumerate().filter(|(_, call)| call.began <= end) {
        let ended = call.ended.filter(|ended| *ended <= end);
        let what = match (&call.what, ended) {
            // It certainly has no effect.
            (What::Read(None) | What::Set { told: Told::Nothing, .. }, _) => continue,
            (What::Read(Some(_)), None) => continue,
            (What::Set { mark, expected, .. }, None) => {
                What::Set { mark: *mark, expected: *expected, told: Told::Unknown }
            }
            (what, Some(_)) => what.clone(),
        };
        let is_seen = matches!(what, What::Set { mark, .. } if marks.contains(&mark));
        if let What::Set { expected, told: Told::Unknown, .. } = what
            && !is_seen
            && (known.contains(&(expected + 1)) || !found.contains(&(expected + 1)))
        {
            // Nobody saw an effect, or the version is another's, so it needs none; there are many of these in a storm, and each would
            // double the search.
            continue;
        }
        let operation = Operation { first, what, is_seen };
        actions.push(((call.began, false), (process, Action::Call(operation.clone()))));
        let last = (ended.unwrap_or(u64::MAX), true);
        actions.push((last, (process, Action::Response(operation))));
    }
    actions.sort_by_key(|(moment, _)| *moment);
    let actions: Vec<_> = actions.into_iter().map(|(_, action)| action).collect();
    actions.is_empty() || WGLChecker::<Register>::is_linearizable(History::from_actions(actions))
}

/// What answers up to `end` show.
fn seen(calls: &[Call], end: u64, of: fn(&What) -> Option<u64>) -> BTreeSet<u64> {
    let answered = calls.iter().filter(|call| call.ended.is_some_and(|ended| ended <= end));
    answered.filter_map(|call| of(&call.what)).collect()
}

/// Whose change was read.
fn mark_read(what: &What) -> Option<u64> {
    if let What::Read(Some((_, mark))) = what { Some(*mark) } else { None }
}

/// A version of which it is known whose change it is.
fn version_of(what: &What) -> Option<u64> {
    match what {
        What::Read(read) => read.map(|(version, _)| version),
        What::Set { told: Told::InForce(version), .. } => Some(*version),
        What::Set { .. } => None,
    }
}

/// The version that a refusal tells of, without the mark.
fn version_found(what: &What) -> Option<u64> {
    if let What::Set { told: Told::Conflict(found), .. } = what { Some(*found) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(began: u64, ended: u64, mark: u64, expected: u64, told: Told) -> Call {
        Call { began, ended: Some(ended), what: What::Set { mark, expected, told } }
    }

    fn read(began: u64, ended: u64, version: u64, mark: u64) -> Call {
        Call { began, ended: Some(ended), what: What::Read(Some((version, mark))) }
    }

    #[test]
    fn calls_in_order_pass() {
        let never = Call {
            began: 40,
            ended: None,
            what: What::Set { mark: 3, expected: 2, told: Told::Unknown },
        };
        let calls = [
            read(0, 5, 1, 0),
            set(10, 20, 1, 1, Told::InForce(2)),
            // Beside one another, in either order.
            read(15, 25, 1, 0),
            read(12, 18, 2, 1),
            set(16, 30, 2, 1, Told::Conflict(2)),
            never,
            read(50, 60, 3, 3),
            set(70, 80, 4, 3, Told::InForce(4)),
            read(90, 95, 4, 4),
        ];
        assert_eq!(check(&calls), []);
    }

    #[test]
    fn each_wrong_answer_is_caught() {
        let base = set(0, 10, 1, 1, Told::InForce(2));
        for wrong in [
            // An old answer.
            read(20, 30, 1, 0),
            // A change that forgets the one before.
            set(20, 30, 2, 1, Told::InForce(2)),
            // One that was told twice.
            set(5, 30, 2, 1, Told::InForce(2)),
            // One on top of something else.
            set(20, 30, 2, 2, Told::InForce(4)),
            // What nobody set.
            read(20, 30, 2, 9),
            read(20, 30, 3, 7),
            // Refused without a reason.
            set(20, 30, 2, 2, Told::Conflict(2)),
        ] {
            assert!(!check(&[base.clone(), wrong.clone()]).is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn what_was_in_force_before_counts() {
        let never = What::Set { mark: 2, expected: 7, told: Told::Unknown };
        let never = Call { began: 0, ended: None, what: never };
        for right in [read(10, 20, 7, 5), read(10, 20, 8, 2), set(10, 20, 3, 7, Told::InForce(8))] {
            assert_eq!(check_from((7, 5), &[never.clone(), right]), []);
        }
        for wrong in [read(10, 20, 7, 0), read(10, 20, 6, 4), set(10, 20, 3, 6, Told::InForce(7))] {
            assert_eq!(check_from((7, 5), &[never.clone(), wrong]).len(), 1);
        }
    }

    #[test]
    fn what_was_refused_is_never_read() {
        let first = set(0, 5, 1, 3, Told::InForce(4));
        let refused = set(10, 20, 2, 3, Told::Conflict(4));
        let nothing = set(10, 20, 3, 4, Told::Nothing);
        let all = [first, refused, nothing];
        assert_eq!(check(&all), []);
        for mark in [2, 3] {
            let wrong = read(30, 40, 5, mark);
            let breaches = check(&[all.as_slice(), std::slice::from_ref(&wrong)].concat());
            assert_eq!(breaches.len(), 1);
            assert!(breaches[0].0.contains(&format!("{wrong:?}")), "{}", breaches[0]);
        }
    }

    /// The search must not lose itself in what was never answered.
    #[test]
    fn many_unknown_changes_are_explained_and_a_lost_one_is_found() {
        let mut calls = Vec::new();
        for version in 1..=150 {
            let at = version * 100;
            calls.push(read(at, at + 5, version, if version == 1 { 0 } else { 10 * version - 10 }));
            for rival in 1..=2 {
                let what = What::Set {
                    mark: 10 * version + rival,
                    expected: version,
                    told: Told::Unknown,
                };
                calls.push(Call { began: at + 10, ended: None, what });
            }
            // Of every third version nobody was told that it is in force.
            let told = if version % 3 == 0 { Told::Unknown } else { Told::InForce(version + 1) };
            let mut change = set(at + 10, at + 30, 10 * version, version, told);
            change.ended = change.ended.filter(|_| version % 3 != 0);
            calls.push(change);
            calls.push(set(
                at + 40,
                at + 50,
                10 * version + 3,
                version,
                Told::Conflict(version + 1),
            ));
        }
        assert_eq!(check(&calls), []);
        calls.push(read(15_200, 15_210, 150, 1_490));
        assert_eq!(check(&calls).len(), 1);
    }
}
