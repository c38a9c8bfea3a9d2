//! What happened to leases and configuration: the events of one log entry (R23).
//!
//! Events are read off the lease table: whatever a command does to it passes [`super::Leases`], which
//! keeps what was there before and what is there now, and [`Event`]s follow from the two and from the
//! command. So a new command cannot forget to tell, and an event is never told of what did not
//! happen. The same entry gives the same events on every node and at every replay.
//!
//! Nothing is copied: an event shares its lease with the table.
//!
//! No event: an offer that nobody has accepted, and its end (`offer-lifetime`); a grant that was
//! answered from the lease as it stood (`cache-threshold`); the moment in which a lease that has ended
//! is forgotten.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::command::{Client, Command, ConfigVersion, WallOffset};
use super::lease::{Lease, LeaseState};
use crate::types::ClusterTime;

/// Where an event stands: the entry, and its place among the events of that entry. Prints as
/// `INDEX.OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The entry.
    pub index: u64,
    /// From 0.
    pub offset: u32,
}

impl Position {
    /// Before every event of an entry.
    pub const fn at(index: u64) -> Position {
        Position { index, offset: 0 }
    }

    /// The lowest position behind this one.
    #[must_use]
    pub fn next(self) -> Position {
        match self.offset.checked_add(1) {
            Some(offset) => Position { offset, ..self },
            None => Position::at(self.index.saturating_add(1)),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.offset)
    }
}

/// Not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is INDEX or INDEX.OFFSET, two whole numbers")]
pub struct BadPosition;

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Position, BadPosition> {
        let (index, offset) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(index) || !digits(offset) {
            return Err(BadPosition);
        }
        let index = index.parse().map_err(|_| BadPosition)?;
        Ok(Position { index, offset: offset.parse().map_err(|_| BadPosition)? })
    }
}

/// What happened. Numbers are written to disk and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A client got the address, or began anew with it.
    Bound = 1,
    /// Its holder extended it.
    Renewed = 2,
    /// Its holder gave it back.
    Released = 3,
    /// Its time was over: swept, or taken by another client before the sweep came.
    Expired = 4,
    /// Its holder said that somebody else uses it.
    Declined = 5,
    /// Nobody held it and somebody answered there; it is in probation.
    InUse = 6,
    /// The probation is over.
    Recovered = 7,
    /// Its holder has moved to another address.
    Moved = 8,
    /// An administrator wrote it.
    Written = 9,
    /// An administrator deleted it.
    Deleted = 10,
    /// A configuration came into force.
    Configured = 11,
}

impl Kind {
    /// All of them, ascending by number.
    pub const ALL: [Kind; 11] = [
        Kind::Bound,
        Kind::Renewed,
        Kind::Released,
        Kind::Expired,
        Kind::Declined,
        Kind::InUse,
        Kind::Recovered,
        Kind::Moved,
        Kind::Written,
        Kind::Deleted,
        Kind::Configured,
    ];

    /// Its name for people and scripts.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bound => "bound",
            Kind::Renewed => "renewed",
            Kind::Released => "released",
            Kind::Expired => "expired",
            Kind::Declined => "declined",
            Kind::InUse => "in-use",
            Kind::Recovered => "recovered",
            Kind::Moved => "moved",
            Kind::Written => "written",
            Kind::Deleted => "deleted",
            Kind::Configured => "configured",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its number on disk.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// Who or what an event is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// The lease: as it is now for [`Kind::Bound`], [`Kind::Renewed`], [`Kind::InUse`] and
    /// [`Kind::Written`], else as it was.
    Lease(Arc<Lease>),
    /// The version in force.
    Config(ConfigVersion),
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place.
    pub position: Position,
    /// The entry's stamp.
    pub at: ClusterTime,
    /// What people add to cluster time to get theirs, as it was then (R12).
    pub wall: WallOffset,
    /// What happened.
    pub kind: Kind,
    /// To what.
    pub subject: Subject,
}

/// What a command did to one address: what was there, and what is.
pub(super) type Change = (Option<Arc<Lease>>, Option<Arc<Lease>>);

/// Writes the events of one entry.
pub(super) struct Teller<'a> {
    pub position: Position,
    pub at: ClusterTime,
    pub wall: WallOffset,
    pub events: &'a mut Vec<Event>,
}

impl Teller<'_> {
    /// Tells what `command` did to leases.
    pub fn changes(&mut self, command: &Command, changes: impl Iterator<Item = Change>) {
        for change in changes {
            let now = self.at;
            of_change(command, now, change, &mut |kind, lease| {
                self.push(kind, Subject::Lease(lease));
            });
        }
    }

    /// Tells that a configuration came into force.
    pub fn configured(&mut self, version: ConfigVersion) {
        self.push(Kind::Configured, Subject::Config(version));
    }

    fn push(&mut self, kind: Kind, subject: Subject) {
        let Teller { position, at, wall, .. } = *self;
        self.events.push(Event { position, at, wall, kind, subject });
        self.position = position.next();
    }
}

/// Whether the lease is somebody's who was told so: an offer is not.
fn is_held(lease: &Lease) -> bool {
    lease.state == LeaseState::Assigned && !lease.offered
}

fn of_change(
    command: &Command,
    now: ClusterTime,
    change: Change,
    tell: &mut dyn FnMut(Kind, Arc<Lease>),
) {
    match (command, change) {
        (Command::Grant(grant), (old, Some(new))) => of_binding(&grant.client, old, new, tell),
        (Command::Grant(_), (Some(old), None)) if is_held(&old) => {
            let kind = if now < old.reserved_until { Kind::Moved } else { Kind::Expired };
            tell(kind, old);
        }
        (Command::Release(_), (Some(old), _)) if is_held(&old) => tell(Kind::Released, old),
        (Command::Decline(_), (Some(old), _)) if is_held(&old) => tell(Kind::Declined, old),
        (Command::InUse(_), (_, Some(new))) => tell(Kind::InUse, new),
        (Command::Reclaim(_), (Some(old), _)) if is_held(&old) => tell(Kind::Expired, old),
        (Command::Reclaim(_), (Some(old), _)) if old.state == LeaseState::Declined => {
            tell(Kind::Recovered, old);
        }
        (
            Command::Grant(_)
            | Command::Release(_)
            | Command::Decline(_)
            | Command::InUse(_)
            | Command::Reclaim(_),
            _,
        ) => {}
        // What is not the service's own doing is an administrator's.
        (_, (_, Some(new))) => tell(Kind::Written, new),
        (_, (Some(old), None)) if !old.offered => tell(Kind::Deleted, old),
        (_, _) => {}
    }
}

/// `new` lies at its address now, for `client`, in place of `old`.
fn of_binding(
    client: &Client,
    old: Option<Arc<Lease>>,
    new: Arc<Lease>,
    tell: &mut dyn FnMut(Kind, Arc<Lease>),
) {
    let own = old.as_ref().filter(|old| is_held(old) && old.names(client)).cloned();
    match old {
        Some(old) if is_held(&old) && (own.is_none() || new.offered) => tell(Kind::Expired, old),
        Some(old) if old.state == LeaseState::Declined => tell(Kind::Recovered, old),
        _ => {}
    }
    match own {
        _ if new.offered => {}
        Some(own) if reads_alike(&own, &new) => {}
        Some(own) if own.generation == new.generation => tell(Kind::Renewed, new),
        _ => tell(Kind::Bound, new),
    }
}

/// Whether people see no difference: the grant was answered from the lease as it stood (R4).
fn reads_alike(old: &Lease, new: &Lease) -> bool {
    (old.cltt, old.expires, old.valid) == (new.cltt, new.expires, new.valid)
        && old.subnet == new.subnet
        && old.client_id == new.client_id
        && old.hw == new.hw
        && old.hostname == new.hostname
}
