//! Cluster time: the lease clock that the leader stamps into log entries (rules R10–R13).

use std::fmt;
use std::time::Duration;

/// A moment on the cluster's lease clock: milliseconds since the cluster was formed.
///
/// Nothing relates it to a wall clock except the replicated wall offset, which only people and
/// scripts see. Arithmetic saturates: a lifetime can never wrap a lease into the past.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterTime(u64);

impl ClusterTime {
    /// The moment of formation.
    pub const ZERO: ClusterTime = ClusterTime(0);
    /// Later than every other moment: the end of an infinite lease.
    pub const NEVER: ClusterTime = ClusterTime(u64::MAX);

    /// The moment `millis` milliseconds after formation.
    pub const fn from_millis(millis: u64) -> ClusterTime {
        ClusterTime(millis)
    }

    /// Milliseconds since formation.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment plus `duration`; [`ClusterTime::NEVER`] stays what it is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> ClusterTime {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        ClusterTime(self.0.saturating_add(millis))
    }

    /// The end of a lease that begins now.
    #[must_use]
    pub fn plus_lifetime(self, lifetime: Lifetime) -> ClusterTime {
        if lifetime.is_infinite() {
            return ClusterTime::NEVER;
        }
        ClusterTime(self.0.saturating_add(u64::from(lifetime.as_secs()) * 1000))
    }

    /// How long after `earlier` this moment is; zero when it is not later.
    pub fn since(self, earlier: ClusterTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Prints milliseconds, for scripts and logs of tests: `12s345`.
impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ClusterTime::NEVER => f.write_str("never"),
            ClusterTime(millis) if millis % 1000 == 0 => write!(f, "{}s", millis / 1000),
            ClusterTime(millis) => write!(f, "{}s{:03}", millis / 1000, millis % 1000),
        }
    }
}

impl fmt::Debug for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The length of a lease in whole seconds, as options 51, 58 and 59 carry it (RFC 2132 §9.2).
/// `0xffffffff` means for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lifetime(u32);

impl Lifetime {
    /// A lease without an end.
    pub const INFINITE: Lifetime = Lifetime(u32::MAX);

    /// A lifetime of `secs` seconds; `u32::MAX` is infinite.
    pub const fn from_secs(secs: u32) -> Lifetime {
        Lifetime(secs)
    }

    /// Seconds; `u32::MAX` when infinite.
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// Whether the lease has no end.
    pub const fn is_infinite(self) -> bool {
        self.0 == u32::MAX
    }

    /// The whole seconds from `now` to `end`, rounded down so that a client is never told more
    /// than was committed.
    pub fn between(now: ClusterTime, end: ClusterTime) -> Lifetime {
        if end == ClusterTime::NEVER {
            return Lifetime::INFINITE;
        }
        let secs = end.since(now).as_secs();
        Lifetime(u32::try_from(secs).unwrap_or(u32::MAX - 1).min(u32::MAX - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_infinite_lease_never_ends() {
        let end = ClusterTime::from_millis(5).plus_lifetime(Lifetime::INFINITE);
        assert_eq!(end, ClusterTime::NEVER);
        assert_eq!(Lifetime::between(ClusterTime::from_millis(9), end), Lifetime::INFINITE);
    }

    #[test]
    fn remaining_time_is_rounded_down() {
        let now = ClusterTime::from_millis(1_001);
        assert_eq!(Lifetime::between(now, ClusterTime::from_millis(3_000)).as_secs(), 1);
        assert_eq!(Lifetime::between(now, ClusterTime::ZERO).as_secs(), 0);
    }
}
