//! From events to rows: who had an address from when to when. Pure.
//!
//! A row is one client's time with one address. Renewals extend it. It follows from the events alone,
//! so nodes that have the same events have the same rows.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use smol_str::SmolStr;

use super::codec::{Holding, Record};
use crate::state::{Kind, LeaseState, Position};
use crate::types::{ClientId, HwAddr, SubnetId};

/// How a client's time with an address ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It gave the address back.
    Released,
    /// Its time was over.
    Expired,
    /// It found somebody else there.
    Declined,
    /// It got another address.
    Moved,
    /// An administrator deleted the lease.
    Deleted,
    /// An administrator wrote another lease over it.
    Replaced,
    /// The history has a gap where it ended.
    Unknown,
}

impl Ended {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Ended::Released => "released",
            Ended::Expired => "expired",
            Ended::Declined => "declined",
            Ended::Moved => "moved",
            Ended::Deleted => "deleted",
            Ended::Replaced => "replaced",
            Ended::Unknown => "unknown",
        }
    }
}

/// One client's time with one address. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its first event: names the row.
    pub start: Position,
    /// The address.
    pub address: Ipv4Addr,
    /// The subnet it was granted in last.
    pub subnet: SubnetId,
    /// The hardware address, as last told.
    pub hw: HwAddr,
    /// The client id.
    pub client_id: Option<ClientId>,
    /// The client's name, as last told.
    pub hostname: SmolStr,
    /// When it began.
    pub begin: i64,
    /// The history does not reach back to where it began: it is `begin` or earlier.
    pub began_before: bool,
    /// The end the client was told last; `None` for never.
    pub expires: Option<i64>,
    /// When and how it ended; `None` while it has not, as far as the history knows.
    pub end: Option<(i64, Ended)>,
    /// How often it was renewed.
    pub renewals: u64,
}

#[derive(Debug)]
struct Open {
    row: Row,
    last: Holding,
    run: u64,
}

/// Makes rows of the events of some addresses, in order.
#[derive(Debug, Default)]
pub struct Rows {
    open: BTreeMap<Ipv4Addr, Open>,
    done: Vec<Row>,
    run: u64,
}

impl Rows {
    /// Events are missing between what came and what will come.
    pub fn gap(&mut self) {
        self.run += 1;
    }

    /// The next event.
    pub fn push(&mut self, record: &Record) {
        let Some(holding) = record.holding() else { return };
        match record.kind {
            Kind::Bound | Kind::Renewed => self.extend(record, holding),
            Kind::Written if holding.state == LeaseState::Assigned => self.extend(record, holding),
            Kind::Written => self.end(record, holding, Ended::Replaced),
            Kind::Released => self.end(record, holding, Ended::Released),
            Kind::Expired => self.end(record, holding, Ended::Expired),
            Kind::Declined => self.end(record, holding, Ended::Declined),
            Kind::Moved => self.end(record, holding, Ended::Moved),
            Kind::Deleted if holding.state == LeaseState::Assigned => {
                self.end(record, holding, Ended::Deleted);
            }
            Kind::Deleted | Kind::InUse | Kind::Recovered | Kind::Configured => {}
        }
    }

    /// What is finished.
    pub fn take_done(&mut self) -> std::vec::Drain<'_, Row> {
        self.done.drain(..)
    }

    /// Everything; what has no end yet is among it.
    pub fn finish(mut self) -> Vec<Row> {
        self.done.extend(self.open.into_values().map(|open| open.row));
        self.done
    }

    fn extend(&mut self, record: &Record, holding: &Holding) {
        let (now, run) = (wall(record), self.run);
        if let Some(open) = self.open.get_mut(&holding.address) {
            let same = open.last.is_client_of(holding)
                && (open.last.generation == holding.generation
                    || record.at <= open.last.expires
                    || record.kind == Kind::Written);
            if same {
                let row = &mut open.row;
                row.subnet = holding.subnet;
                row.hw = holding.hw;
                row.client_id.clone_from(&holding.client_id);
                row.hostname.clone_from(&holding.hostname);
                row.expires = record.wall_millis(holding.expires);
                row.renewals += u64::from(record.kind == Kind::Renewed);
                (open.last, open.run) = (holding.clone(), run);
                return;
            }
            let over = open.row.expires.filter(|_| open.last.expires < record.at);
            let end = match (over, record.kind) {
                _ if open.run != run => (over.unwrap_or(now), Ended::Unknown),
                (Some(over), _) => (over.min(now), Ended::Expired),
                (None, Kind::Written) => (now, Ended::Replaced),
                (None, _) => (now, Ended::Unknown),
            };
            self.close(holding.address, end);
        }
        let is_old = record.kind == Kind::Renewed;
        let row = Row { renewals: is_old.into(), ..begin(record, holding, now, is_old) };
        self.open.insert(holding.address, Open { row, last: holding.clone(), run });
    }

    fn end(&mut self, record: &Record, holding: &Holding, how: Ended) {
        let now = wall(record);
        let over = record.wall_millis(holding.expires).map_or(now, |over| over.min(now));
        let end = if how == Ended::Expired { over } else { now };
        let known = self.open.get(&holding.address).map(|open| {
            how == Ended::Replaced
                || open.last.is_client_of(holding)
                    && (open.run == self.run || open.last.generation == holding.generation)
        });
        match known {
            Some(true) => self.close(holding.address, (end, how)),
            // Somebody else's, or the same client's at another time: a gap lies between.
            Some(false) => {
                let end = (self.open[&holding.address].row.expires.unwrap_or(now), Ended::Unknown);
                self.close(holding.address, (end.0.min(now), end.1));
                self.begun_before(record, holding, (over, how));
            }
            None if how != Ended::Replaced => self.begun_before(record, holding, (end, how)),
            None => {}
        }
    }

    /// A row whose end is all that the history has: it began with the last grant, or earlier.
    fn begun_before(&mut self, record: &Record, holding: &Holding, end: (i64, Ended)) {
        let granted = record.wall_millis(holding.expires).map(|expires| {
            expires.saturating_sub(i64::from(holding.valid.as_secs()).saturating_mul(1000))
        });
        let row = begin(record, holding, granted.unwrap_or(end.0).min(end.0), true);
        self.done.push(Row { end: Some(end), ..row });
    }

    fn close(&mut self, address: Ipv4Addr, end: (i64, Ended)) {
        if let Some(open) = self.open.remove(&address) {
            let end = (end.0.max(open.row.begin), end.1);
            self.done.push(Row { end: Some(end), ..open.row });
        }
    }
}

fn wall(record: &Record) -> i64 {
    super::codec::wall_millis(record.at, record.wall)
}

fn begin(record: &Record, holding: &Holding, begin: i64, began_before: bool) -> Row {
    Row {
        start: record.position,
        address: holding.address,
        subnet: holding.subnet,
        hw: holding.hw,
        client_id: holding.client_id.clone(),
        hostname: holding.hostname.clone(),
        begin,
        began_before,
        expires: record.wall_millis(holding.expires),
        end: None,
        renewals: 0,
    }
}
