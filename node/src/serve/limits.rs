//! What a node counts of single clients, in its own memory: answers to INFORMs (rule M13), and
//! hardware addresses behind one client identifier (rule I3). Bounded, best effort. Pure.

use std::time::Duration;

use crate::peers::aged::Aged;
use crate::types::{ClientId, ClientKey, HwAddr};

/// M13: so many INFORMs of one client are answered within [`INFORM_WINDOW`]. Windows repeats one
/// twice or so for option 252.
pub const INFORMS: u32 = 4;
/// Counted from the first of them.
pub const INFORM_WINDOW: Duration = Duration::from_secs(10);
/// I3: so often within [`MOVES_WINDOW`] the hardware address behind an id may change.
pub const MOVES: usize = 3;
/// How long a change counts.
pub const MOVES_WINDOW: Duration = Duration::from_secs(3600);
/// The most clients each table remembers.
pub const CLIENTS: usize = 65_536;

/// M13: the answers of the last seconds.
#[derive(Debug)]
pub struct Informs(Aged<ClientKey, u32>);

impl Default for Informs {
    fn default() -> Informs {
        Informs(Aged::new(CLIENTS, INFORM_WINDOW))
    }
}

impl Informs {
    /// Whether one more may be answered; then it is counted.
    pub fn admit(&mut self, client: &ClientKey, now: Duration) -> bool {
        // The entry stays as old as the first answer.
        match self.0.get_mut(client, now) {
            Some(answers) if *answers >= INFORMS => return false,
            Some(answers) => *answers += 1,
            None => drop(self.0.insert(client.clone(), 1, now)),
        }
        true
    }

    /// Forgets what is too old. Call every few seconds.
    pub fn sweep(&mut self, now: Duration) {
        self.0.sweep(now);
    }
}

/// I3: where each id was seen last, and when it moved.
#[derive(Debug)]
pub struct Moves(Aged<ClientId, Seen>);

#[derive(Debug, Clone)]
struct Seen {
    hw: HwAddr,
    /// The latest changes, the oldest first; as many as make one too many. Few ids ever have one.
    changes: Option<Box<[Option<Duration>; MOVES + 1]>>,
}

impl Default for Moves {
    fn default() -> Moves {
        // Twice the window, since an entry that is written once in a window must outlive the next.
        Moves(Aged::new(CLIENTS, MOVES_WINDOW * 2))
    }
}

impl Moves {
    /// A packet with this id came from this hardware address. Returns whether the id has just moved,
    /// and that more often within an hour than one machine does: clones share it.
    pub fn saw(&mut self, id: &ClientId, hw: HwAddr, now: Duration) -> bool {
        let written = self.0.written(id, now);
        if let (Some(written), Some(seen)) = (written, self.0.get_mut(id, now))
            && now.saturating_sub(written) <= MOVES_WINDOW
        {
            return seen.at(hw, now);
        }
        let mut seen = self.0.take(id, now).unwrap_or(Seen { hw, changes: None });
        let moved = seen.at(hw, now);
        self.0.insert(id.clone(), seen, now);
        moved
    }

    /// Forgets what is too old. Call every few seconds.
    pub fn sweep(&mut self, now: Duration) {
        self.0.sweep(now);
    }
}

impl Seen {
    fn at(&mut self, hw: HwAddr, now: Duration) -> bool {
        if self.hw == hw {
            return false;
        }
        self.hw = hw;
        let changes = self.changes.get_or_insert_default();
        changes.rotate_left(1);
        changes[MOVES] = Some(now);
        changes[0].is_some_and(|first| now.saturating_sub(first) < MOVES_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn hw(n: u8) -> HwAddr {
        HwAddr::ethernet([2, 0, 0, 0, 0, n])
    }

    #[test]
    fn m13_four_informs_of_a_client_are_answered_in_10_s() {
        let mut informs = Informs::default();
        let client = ClientKey::Hw(hw(1));
        let admitted: Vec<bool> = (0..6).map(|at| informs.admit(&client, s(at))).collect();
        assert_eq!(admitted, [true, true, true, true, false, false]);
        assert!(informs.admit(&ClientKey::Hw(hw(2)), s(5)), "another client");
        assert!(!informs.admit(&client, s(10)));
        assert!(informs.admit(&client, s(11)), "the first was 11 s ago");
    }

    #[test]
    fn r17_the_tables_are_bounded() {
        let (mut informs, mut moves) = (Informs::default(), Moves::default());
        for n in 0..=CLIENTS as u32 {
            let [a, b, c, d] = n.to_be_bytes();
            informs.admit(&ClientKey::Hw(HwAddr::ethernet([2, 0, a, b, c, d])), s(0));
            moves.saw(&ClientId::new(&n.to_be_bytes()).unwrap(), hw(1), s(0));
        }
        assert_eq!((informs.0.len(), moves.0.len()), (CLIENTS, CLIENTS));
        informs.sweep(s(11));
        moves.sweep(s(7_201));
        assert_eq!((informs.0.len(), moves.0.len()), (0, 0));
    }

    #[test]
    fn i3_the_fourth_change_within_an_hour_counts_and_each_after_it() {
        let id = ClientId::new(&[1, 2]).unwrap();
        let mut moves = Moves::default();
        let mut saw = |n, at| moves.saw(&id, hw(n), s(at));
        let moved: Vec<bool> = (0..7).map(|n| saw(n % 2, 600 * u64::from(n))).collect();
        assert_eq!(moved, [false, false, false, false, true, true, true]);
        assert!(!saw(0, 3_700), "it has not moved");
        // The last changes were at 1800, 2400, 3000 and 3600 s.
        assert!(!saw(1, 6_600), "three within the last hour");
        assert!(!saw(0, 6_601));
    }

    #[test]
    fn i3_a_client_that_changes_its_card_once_in_a_while_is_nobodys_clone() {
        let id = ClientId::new(&[1, 2]).unwrap();
        let mut moves = Moves::default();
        for n in 0..50 {
            assert!(!moves.saw(&id, hw(n), s(1_201 * u64::from(n))), "{n}");
        }
    }

    #[test]
    fn i3_long_silence_does_not_hide_the_changes_before_and_after_it() {
        let id = ClientId::new(&[1, 2]).unwrap();
        let mut moves = Moves::default();
        moves.saw(&id, hw(1), s(0));
        for (n, at) in [(2, 3_590), (3, 3_650), (4, 3_700)] {
            assert!(!moves.saw(&id, hw(n), s(at)));
        }
        assert!(moves.saw(&id, hw(5), s(7_100)));
    }
}
