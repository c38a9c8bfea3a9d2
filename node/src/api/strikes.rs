//! Whoever tries passwords is slowed down.
//!
//! An address that has sent [`FREE`] wrong passwords, each within [`MEMORY`] of the one before, has its
//! passwords judged one after the other, [`GAP`] apart, however many connections it opens; who finds too many
//! before him is told to come later. That holds for right ones too: else a fast answer would tell them from
//! wrong ones. Requests without a password are refused at once, and cost nobody anything.
//!
//! The table is bounded. IPv6 hosts have as many addresses as they like: the first half counts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Stopwatch;

/// Wrong passwords that cost nothing: somebody has changed one and not told the dashboard yet.
const FREE: u32 = 10;
/// Between two passwords that are judged.
const GAP: Duration = Duration::from_millis(250);
/// The longest that a request waits for its turn.
const LONGEST: Duration = Duration::from_secs(2);
/// How long an address is remembered after a wrong password.
const MEMORY: Duration = Duration::from_secs(60);
/// The most addresses that are remembered.
const MOST: usize = 1024;
/// How often refusals are logged.
const TOLD: Duration = Duration::from_secs(10);

/// Wrong passwords by address.
#[derive(Debug)]
pub struct Strikes {
    since: Stopwatch,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    of: HashMap<IpAddr, Strike>,
    /// Requests refused for want of the right password, since the start; of these those not logged yet.
    refused: u64,
    untold: u64,
    told: Option<Duration>,
}

#[derive(Debug)]
struct Strike {
    count: u32,
    last: Duration,
    /// When the next password may be judged.
    next: Duration,
}

/// Too many passwords from the same address wait to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Default for Strikes {
    fn default() -> Strikes {
        Strikes { since: Stopwatch::start(), table: Mutex::default() }
    }
}

impl Strikes {
    /// Waits until a password from `address` may be judged.
    ///
    /// # Errors
    /// When others wait already.
    pub async fn turn(&self, address: IpAddr) -> Result<(), TooMany> {
        let wait = self.table.lock().turn(key(address), self.since.elapsed())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// A request from `address` was refused, for a wrong password or for none. Gives how many were since the
    /// last time it said so, when it is time to log it.
    pub fn refused(&self, address: IpAddr, with_password: bool) -> Option<u64> {
        self.table.lock().refused(key(address), with_password, self.since.elapsed())
    }

    /// Requests refused since the start.
    pub fn count(&self) -> u64 {
        self.table.lock().refused
    }
}

fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

impl Table {
    fn turn(&mut self, address: IpAddr, now: Duration) -> Result<Duration, TooMany> {
        let Some(strike) = self.of.get_mut(&address) else { return Ok(Duration::ZERO) };
        if strike.count < FREE || now.saturating_sub(strike.last) > MEMORY {
            return Ok(Duration::ZERO);
        }
        let at = strike.next.max(now);
        if at - now > LONGEST {
            return Err(TooMany);
        }
        strike.next = at + GAP;
        Ok(at - now)
    }

    fn refused(&mut self, address: IpAddr, with_password: bool, now: Duration) -> Option<u64> {
        self.refused += 1;
        self.untold += 1;
        if with_password {
            self.strike(address, now);
        }
        if self.told.is_some_and(|told| now.saturating_sub(told) < TOLD) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    fn strike(&mut self, address: IpAddr, now: Duration) {
        if self.of.len() >= MOST && !self.of.contains_key(&address) {
            let oldest = self.of.iter().min_by_key(|(_, strike)| strike.last).map(|(key, _)| *key);
            oldest.map(|oldest| self.of.remove(&oldest));
        }
        let strike = self.of.entry(address).or_insert(Strike { count: 0, last: now, next: now });
        if now.saturating_sub(strike.last) > MEMORY {
            strike.count = 0;
        }
        strike.count = strike.count.saturating_add(1);
        strike.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn after_some_wrong_ones_passwords_are_judged_one_after_the_other() {
        let mut table = Table::default();
        for _ in 0..FREE {
            assert_eq!(table.turn(address(1), at(0)), Ok(at(0)));
            table.refused(address(1), true, at(0));
        }
        let waits: Vec<_> = (0..9).map(|_| table.turn(address(1), at(0)).unwrap()).collect();
        assert_eq!(waits, (0..9).map(|n| at(n * 250)).collect::<Vec<_>>());
        assert_eq!(table.turn(address(1), at(0)), Err(TooMany));
        assert_eq!(table.turn(address(2), at(0)), Ok(at(0)), "others are not concerned");
        assert_eq!(table.turn(address(1), at(70_000)), Ok(at(0)), "it is forgotten");
        table.refused(address(1), true, at(70_000));
        assert_eq!(table.turn(address(1), at(70_000)), Ok(at(0)));
    }

    #[test]
    fn requests_without_a_password_are_counted_and_cost_nothing() {
        let mut table = Table::default();
        for _ in 0..100 {
            table.refused(address(1), false, at(0));
        }
        assert_eq!((table.refused, table.turn(address(1), at(0))), (100, Ok(at(0))));
    }

    #[test]
    fn refusals_are_told_once_in_ten_seconds_and_the_table_is_bounded() {
        let mut table = Table::default();
        let told: Vec<u64> =
            (0..20_000_u32).filter_map(|n| table.refused(address(n), true, at(n.into()))).collect();
        assert_eq!(told, [1, 10_000]);
        assert_eq!(table.of.len(), MOST);
        let of_one_host = ["2001:db8::1", "2001:db8::ffff:1"].map(|a| key(a.parse().unwrap()));
        assert_eq!(of_one_host[0], of_one_host[1]);
        assert_eq!(key("::ffff:192.0.2.1".parse().unwrap()), key("192.0.2.1".parse().unwrap()));
    }
}
