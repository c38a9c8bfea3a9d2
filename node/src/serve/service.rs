//! Who keeps this node from answering DHCP, and until when: Kea's `dhcp-disable` and `dhcp-enable`.
//!
//! Each origin has a hold of its own; the node answers when there is none. A hold may end by itself.
//! Holds live in memory only: a change of the configuration leaves them alone, and a restart ends
//! them, as in Kea. The worker and the peers are told of each change, so that another node answers in
//! this one's place sooner than if it had died.
//!
//! [`Holds`] is pure; [`Service`] adds the clock and the one task that ends holds in time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::propose::boot;

/// Who disabled the service, by Kea's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(u32);

/// The kinds of origins, as `status-get` tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginKind {
    /// An operator.
    User,
    /// This server's part of a pair, 1000 and above.
    Local,
    /// The other server of a pair, 2000 and above.
    Remote,
    /// A database connection, 3000 and above.
    Database,
}

impl Origin {
    /// An operator.
    pub const USER: Origin = Origin(1);
    /// `ha-partner`.
    pub const PARTNER: Origin = Origin(2000);

    /// The origin with this number. Numbers that Kea has no use for mean an operator: a hold that no
    /// status shows could not be found again.
    pub fn numbered(number: u32) -> Origin {
        if number < 1000 { Origin::USER } else { Origin(number) }
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Which kind it is.
    pub fn kind(self) -> OriginKind {
        match self.0 {
            ..1000 => OriginKind::User,
            1000..2000 => OriginKind::Local,
            2000..3000 => OriginKind::Remote,
            3000.. => OriginKind::Database,
        }
    }
}

/// The holds. Times are monotonic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    until: BTreeMap<Origin, Option<Duration>>,
}

impl Holds {
    /// The most origins at once.
    pub const MOST: usize = 1024;

    /// An origin disables the service, for ever or until then; its earlier hold is replaced. `false`
    /// when there are too many.
    pub fn hold(&mut self, origin: Origin, until: Option<Duration>) -> bool {
        let fits = self.until.len() < Holds::MOST || self.until.contains_key(&origin);
        if fits {
            self.until.insert(origin, until);
        }
        fits
    }

    /// An origin enables it.
    pub fn release(&mut self, origin: Origin) {
        self.until.remove(&origin);
    }

    /// Ends what is over.
    pub fn expire(&mut self, now: Duration) {
        self.until.retain(|_, until| until.is_none_or(|until| now < until));
    }

    /// When the next hold ends by itself.
    pub fn next(&self) -> Option<Duration> {
        self.until.values().flatten().min().copied()
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        !self.until.is_empty()
    }

    /// Whose they are, ascending.
    pub fn origins(&self) -> Vec<Origin> {
        self.until.keys().copied().collect()
    }
}

/// Hears of each change from answering to not answering and back. Must not block.
pub type Sink = Box<dyn Fn(bool) + Send + Sync>;

/// The holds of a running node.
pub struct Service {
    clock: Arc<dyn Clock>,
    holds: Mutex<Holds>,
    changed: Notify,
    told: Sink,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("holds", &self.holds).finish_non_exhaustive()
    }
}

impl Service {
    /// A service that nobody has disabled.
    pub fn new(clock: Arc<dyn Clock>, told: Sink) -> Service {
        Service { clock, holds: Mutex::default(), changed: Notify::new(), told }
    }

    /// Disables it for `period`, or until it is enabled. `false` when too many origins hold it.
    pub fn disable(&self, origin: Origin, period: Option<Duration>) -> bool {
        let until = period.map(|period| boot(&*self.clock).saturating_add(period));
        let held = self.change(|holds| holds.hold(origin, until));
        self.changed.notify_one();
        held
    }

    /// Ends the hold of an origin.
    pub fn enable(&self, origin: Origin) {
        self.change(|holds| holds.release(origin));
    }

    /// Whose holds there are.
    pub fn disabled_by(&self) -> Vec<Origin> {
        self.holds.lock().origins()
    }

    /// Ends holds when their time is over; runs for ever, and may be stopped anywhere.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self.holds.lock().next();
            match next {
                None => self.changed.notified().await,
                Some(until) => {
                    let wait = until.saturating_sub(boot(&*self.clock));
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = sleep(wait) => {
                            let now = boot(&*self.clock);
                            self.change(|holds| holds.expire(now));
                        }
                    }
                }
            }
        }
    }

    /// Told under the lock, so that two changes arrive in their order.
    fn change<T>(&self, act: impl FnOnce(&mut Holds) -> T) -> T {
        let mut holds = self.holds.lock();
        let before = holds.any();
        let done = act(&mut holds);
        if holds.any() != before {
            (self.told)(holds.any());
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn each_origin_has_a_hold_of_its_own() {
        let mut holds = Holds::default();
        assert!(holds.hold(Origin::USER, None));
        assert!(holds.hold(Origin::PARTNER, None));
        assert!(holds.hold(Origin::USER, None), "twice is once");
        holds.release(Origin::USER);
        assert!(holds.any());
        holds.release(Origin::numbered(2001));
        assert_eq!(holds.origins(), [Origin::PARTNER]);
        holds.release(Origin::PARTNER);
        assert!(!holds.any());
    }

    #[test]
    fn a_hold_ends_by_itself_and_the_latest_word_of_its_origin_counts() {
        let mut holds = Holds::default();
        holds.hold(Origin::USER, Some(s(10)));
        holds.hold(Origin::PARTNER, Some(s(5)));
        assert_eq!(holds.next(), Some(s(5)));
        holds.expire(s(5));
        assert_eq!((holds.origins(), holds.next()), (vec![Origin::USER], Some(s(10))));
        holds.hold(Origin::USER, None);
        holds.expire(s(100));
        assert!(holds.any(), "for ever now");
        holds.hold(Origin::USER, Some(s(200)));
        holds.expire(s(199));
        assert!(holds.any());
        holds.expire(s(200));
        assert!(!holds.any());
    }

    #[test]
    fn numbers_are_those_of_kea() {
        let kinds = [1, 7, 1000, 1999, 2000, 2999, 3000, u32::MAX];
        let kinds = kinds.map(|number| Origin::numbered(number).kind());
        use OriginKind::{Database, Local, Remote, User};
        assert_eq!(kinds, [User, User, Local, Local, Remote, Remote, Database, Database]);
    }

    #[test]
    fn there_are_only_so_many_holds() {
        let mut holds = Holds::default();
        for n in 0..Holds::MOST as u32 {
            assert!(holds.hold(Origin::numbered(1000 + n), None));
        }
        assert!(!holds.hold(Origin::numbered(9999), None));
        assert!(holds.hold(Origin::numbered(1000), Some(s(1))), "an old one can be changed");
    }

    #[tokio::test(start_paused = true)]
    async fn the_changes_are_told_once_each_and_max_period_ends_a_hold() {
        let clock = Arc::new(ManualClock::default());
        let told: Arc<Mutex<Vec<bool>>> = Arc::default();
        let sink = told.clone();
        let service = Service::new(clock.clone(), Box::new(move |off| sink.lock().push(off)));
        let service = Arc::new(service);
        let running = tokio::spawn(service.clone().run());
        service.disable(Origin::USER, Some(s(20)));
        service.disable(Origin::PARTNER, Some(s(3)));
        service.enable(Origin::PARTNER);
        assert_eq!(*told.lock(), [true]);
        clock.advance(s(19));
        sleep(s(19)).await;
        assert_eq!(service.disabled_by(), [Origin::USER]);
        clock.advance(s(2));
        sleep(s(25)).await;
        assert!(service.disabled_by().is_empty());
        assert_eq!(*told.lock(), [true, false]);
        running.abort();
    }
}
