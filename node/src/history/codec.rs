//! Events as bytes, and blocks of them. Pure.
//!
//! A block says which entries of the log it covers, also those without events; what no block covers
//! is a gap. It holds whole entries only, under one wall offset. All numbers little-endian:
//!
//! ```text
//! mark 4, payload length 4, xxh3 of what follows 8,
//! first entry 8, last entry 8, first stamp 8, last stamp 8, wall offset 8, events 4, 0 4,
//! payload
//! ```
//!
//! An event in the payload, with `v` for a varint and `z` for one that may be negative:
//!
//! ```text
//! kind 1, flags 1, entry (v, beyond the event before or the first entry), stamp (v, likewise),
//! [version v] or
//! [address 4, subnet v, lifetime v, end z (beyond stamp + lifetime), generation z (beyond entry × 128),
//!  (htype 1, length 1)?, hw, (client id: length 1, bytes)?, (host name: length v, bytes)?]
//! ```
//!
//! Offsets within an entry are counted, not written.

use std::net::Ipv4Addr;

use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64;

use crate::state::{
    Batch, ConfigVersion, Event, Generation, Kind, Lease, LeaseState, Position, Subject, WallOffset,
};
use crate::types::{ClientId, ClusterTime, HwAddr, Lifetime, SubnetId};

/// A block begins so.
const MARK: [u8; 4] = *b"LHev";
/// No block's payload is longer: an entry of sweeps alone stays below.
const MOST_PAYLOAD: u32 = 256 << 20;

const HAS_ID: u8 = 1;
/// The client id is hardware type and address, as most clients have it.
const ID_IS_HW: u8 = 2;
const HAS_NAME: u8 = 4;
/// Not six bytes of Ethernet.
const OTHER_HW: u8 = 8;
const STATE_SHIFT: u8 = 6;

/// What a block says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The first entry it covers.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// The stamp of its first event; of the entries around it, if it has none.
    pub begin: ClusterTime,
    /// The stamp of its last event.
    pub end: ClusterTime,
    /// Added to cluster time for people (R12).
    pub wall: WallOffset,
    /// How many events.
    pub events: u32,
    /// Bytes of payload.
    pub bytes: u32,
}

impl Head {
    /// Bytes of a head.
    pub const SIZE: usize = 64;

    fn rest(&self) -> [u8; 48] {
        let mut out = [0; 48];
        let words = [
            self.from,
            self.to,
            self.begin.as_millis(),
            self.end.as_millis(),
            self.wall.0 as u64,
            u64::from(self.events),
        ];
        for (place, word) in out.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    fn hash(&self, payload: &[u8]) -> u64 {
        xxh3_64(&self.rest()) ^ xxh3_64(payload).rotate_left(1)
    }

    /// Head and payload, ready to be written.
    pub fn frame(&self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend(MARK);
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.hash(payload).to_le_bytes());
        out.extend(self.rest());
        out.extend(payload);
    }

    /// The head in these bytes and the hash it must come to; `None` if it is none.
    pub fn parse(bytes: &[u8; Head::SIZE]) -> Option<(Head, u64)> {
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let length = (word(0)? >> 32) as u32;
        let head = Head {
            from: word(16)?,
            to: word(24)?,
            begin: ClusterTime::from_millis(word(32)?),
            end: ClusterTime::from_millis(word(40)?),
            wall: WallOffset(word(48)? as i64),
            events: u32::try_from(word(56)?).ok()?,
            bytes: length,
        };
        let well = bytes[..4] == MARK && head.from <= head.to && length <= MOST_PAYLOAD;
        well.then_some((head, word(8)?))
    }

    /// Whether `payload` is what was written.
    pub fn matches(&self, hash: u64, payload: &[u8]) -> bool {
        self.hash(payload) == hash
    }
}

/// An event as the history has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub position: Position,
    /// The entry's stamp.
    pub at: ClusterTime,
    /// Added to cluster time for people.
    pub wall: WallOffset,
    /// What happened.
    pub kind: Kind,
    /// To what.
    pub about: About,
}

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A lease.
    Lease(Holding),
    /// A configuration.
    Config(ConfigVersion),
}

/// What is kept of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The address.
    pub address: Ipv4Addr,
    /// The subnet it was granted in.
    pub subnet: SubnetId,
    /// The hardware address; empty when there was none.
    pub hw: HwAddr,
    /// Option 61.
    pub client_id: Option<ClientId>,
    /// The client's name; empty for none.
    pub hostname: SmolStr,
    /// The holding (R5).
    pub generation: Generation,
    /// The lifetime last told.
    pub valid: Lifetime,
    /// The end last told.
    pub expires: ClusterTime,
    /// The lease's state.
    pub state: LeaseState,
}

impl Holding {
    fn of(lease: &Lease) -> Holding {
        Holding {
            address: lease.address,
            subnet: lease.subnet,
            hw: lease.hw,
            client_id: lease.client_id.clone(),
            hostname: lease.hostname.clone(),
            generation: lease.generation,
            valid: lease.valid,
            expires: lease.expires,
            state: lease.state,
        }
    }

    /// Whether both are one client's (I2, as far as the history knows).
    pub fn is_client_of(&self, other: &Holding) -> bool {
        match (&self.client_id, &other.client_id) {
            (Some(own), Some(other)) => own == other,
            _ => self.hw == other.hw,
        }
    }
}

impl Record {
    /// What the history keeps of an event.
    pub fn of(event: &Event) -> Record {
        Record {
            position: event.position,
            at: event.at,
            wall: event.wall,
            kind: event.kind,
            about: match &event.subject {
                Subject::Lease(lease) => About::Lease(Holding::of(lease)),
                Subject::Config(version) => About::Config(*version),
            },
        }
    }

    /// A moment as people saw it when this happened, Unix milliseconds; `None` for never.
    pub fn wall_millis(&self, at: ClusterTime) -> Option<i64> {
        (at != ClusterTime::NEVER).then(|| wall_millis(at, self.wall))
    }

    /// The subnet, if it is about a lease.
    pub fn holding(&self) -> Option<&Holding> {
        match &self.about {
            About::Lease(holding) => Some(holding),
            About::Config(_) => None,
        }
    }
}

/// Unix milliseconds of a moment.
pub fn wall_millis(at: ClusterTime, wall: WallOffset) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX).saturating_add(wall.0)
}

/// Where the encoder or decoder stands within a block.
#[derive(Debug, Clone, Copy)]
struct At {
    position: Option<Position>,
    index: u64,
    at: u64,
}

impl At {
    fn begin(index: u64, at: ClusterTime) -> At {
        At { position: None, index, at: at.as_millis() }
    }
}

/// Encodes the events of one block, in order.
#[derive(Debug)]
pub struct Encoder {
    place: At,
    /// The payload so far.
    pub payload: Vec<u8>,
    /// How many events are in it.
    pub events: u32,
}

impl Encoder {
    /// Of a block whose first entry is `from`, at `begin`.
    pub fn begin(from: u64, begin: ClusterTime, payload: Vec<u8>) -> Encoder {
        Encoder { place: At::begin(from, begin), payload, events: 0 }
    }

    /// Adds an event.
    pub fn push(&mut self, event: &Event) {
        let subject = match &event.subject {
            Subject::Lease(lease) => Ok(Facts::of_lease(lease)),
            Subject::Config(version) => Err(*version),
        };
        self.add(event.kind, event.position, event.at, subject);
    }

    /// Adds an event that was read.
    pub fn push_record(&mut self, record: &Record) {
        let subject = match &record.about {
            About::Lease(holding) => Ok(Facts::of_holding(holding)),
            About::Config(version) => Err(*version),
        };
        self.add(record.kind, record.position, record.at, subject);
    }

    fn add(
        &mut self,
        kind: Kind,
        position: Position,
        at: ClusterTime,
        subject: Result<Facts<'_>, ConfigVersion>,
    ) {
        let out = &mut self.payload;
        let flags = subject.as_ref().map_or(0, |facts| flags_of(facts));
        out.extend([kind.number(), flags]);
        varint(position.index.saturating_sub(self.place.index), out);
        varint(at.as_millis().saturating_sub(self.place.at), out);
        match subject {
            Ok(facts) => put_lease(position, at, &facts, flags, out),
            Err(version) => varint(version.0, out),
        }
        self.place = At { position: None, index: position.index, at: at.as_millis() };
        self.events += 1;
    }
}

/// What is written of a lease, wherever it comes from.
struct Facts<'a> {
    address: Ipv4Addr,
    subnet: SubnetId,
    hw: HwAddr,
    client_id: Option<&'a ClientId>,
    hostname: &'a str,
    generation: Generation,
    valid: Lifetime,
    expires: ClusterTime,
    state: LeaseState,
}

impl<'a> Facts<'a> {
    fn of_lease(lease: &'a Lease) -> Facts<'a> {
        Facts {
            address: lease.address,
            subnet: lease.subnet,
            hw: lease.hw,
            client_id: lease.client_id.as_ref(),
            hostname: &lease.hostname,
            generation: lease.generation,
            valid: lease.valid,
            expires: lease.expires,
            state: lease.state,
        }
    }

    fn of_holding(holding: &'a Holding) -> Facts<'a> {
        Facts {
            address: holding.address,
            subnet: holding.subnet,
            hw: holding.hw,
            client_id: holding.client_id.as_ref(),
            hostname: &holding.hostname,
            generation: holding.generation,
            valid: holding.valid,
            expires: holding.expires,
            state: holding.state,
        }
    }
}

fn flags_of(lease: &Facts<'_>) -> u8 {
    let hw = lease.hw.bytes();
    let id = lease.client_id.map(ClientId::bytes);
    let is_hw =
        id.is_some_and(|id| id.first() == Some(&lease.hw.htype()) && id.get(1..) == Some(hw));
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    flag(id.is_some() && !is_hw, HAS_ID)
        | flag(is_hw, ID_IS_HW)
        | flag(!lease.hostname.is_empty(), HAS_NAME)
        | flag(lease.hw.htype() != HwAddr::ETHERNET || hw.len() != 6, OTHER_HW)
        | lease.state.number() << STATE_SHIFT
}

fn put_lease(position: Position, at: ClusterTime, lease: &Facts<'_>, flags: u8, out: &mut Vec<u8>) {
    out.extend(u32::from(lease.address).to_be_bytes());
    varint(lease.subnet.0.into(), out);
    varint(lease.valid.as_secs().into(), out);
    zigzag(lease.expires.as_millis().wrapping_sub(predicted_end(at, lease.valid)), out);
    zigzag(lease.generation.0.wrapping_sub(predicted_generation(position)), out);
    let hw = lease.hw.bytes();
    if flags & OTHER_HW != 0 {
        out.extend([lease.hw.htype(), hw.len() as u8]);
    }
    out.extend(hw);
    if let Some(id) = lease.client_id.filter(|_| flags & HAS_ID != 0) {
        out.push(id.bytes().len() as u8);
        out.extend(id.bytes());
    }
    if flags & HAS_NAME != 0 {
        varint(lease.hostname.len() as u64, out);
        out.extend(lease.hostname.as_bytes());
    }
}

fn predicted_end(at: ClusterTime, valid: Lifetime) -> u64 {
    at.plus_lifetime(valid).as_millis()
}

fn predicted_generation(position: Position) -> u64 {
    position.index.saturating_mul(Batch::MAX as u64)
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: u64, out: &mut Vec<u8>) {
    let value = value as i64;
    varint(((value << 1) ^ (value >> 63)) as u64, out);
}

/// A block whose hash is right and which still makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block of the history makes no sense")]
pub struct BadBlock;

/// The events of a block.
///
/// # Errors
/// When they are not what [`Encoder`] writes.
pub fn decode(head: &Head, payload: &[u8]) -> Result<Vec<Record>, BadBlock> {
    // An event has ten bytes at least, so the room asked for is bounded by what is there.
    let mut records = Vec::with_capacity((head.events as usize).min(payload.len() / 5 + 1));
    let mut rest = Reader(payload);
    let mut place = At::begin(head.from, head.begin);
    while !rest.0.is_empty() {
        records.push(rest.record(head, &mut place)?);
    }
    if records.len() == head.events as usize { Ok(records) } else { Err(BadBlock) }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes(&mut self, count: usize) -> Result<&[u8], BadBlock> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(BadBlock)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadBlock> {
        self.bytes(N)?.try_into().map_err(|_| BadBlock)
    }

    fn varint(&mut self) -> Result<u64, BadBlock> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(BadBlock);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BadBlock)
    }

    fn zigzag(&mut self) -> Result<u64, BadBlock> {
        let value = self.varint()?;
        Ok((value >> 1) ^ (value & 1).wrapping_neg())
    }

    fn small(&mut self) -> Result<u32, BadBlock> {
        u32::try_from(self.varint()?).map_err(|_| BadBlock)
    }

    fn record(&mut self, head: &Head, place: &mut At) -> Result<Record, BadBlock> {
        let [kind, flags] = self.array()?;
        let kind = Kind::from_number(kind).ok_or(BadBlock)?;
        let index = place.index.checked_add(self.varint()?).ok_or(BadBlock)?;
        let at = place.at.checked_add(self.varint()?).ok_or(BadBlock)?;
        let position = match place.position {
            Some(last) if last.index == index => last.next(),
            _ => Position::at(index),
        };
        if !(head.from..=head.to).contains(&index) {
            return Err(BadBlock);
        }
        *place = At { position: Some(position), index, at };
        let at = ClusterTime::from_millis(at);
        let about = match kind {
            Kind::Configured => About::Config(ConfigVersion(self.varint()?)),
            _ => About::Lease(self.lease(flags, position, at)?),
        };
        Ok(Record { position, at, wall: head.wall, kind, about })
    }

    fn lease(
        &mut self,
        flags: u8,
        position: Position,
        at: ClusterTime,
    ) -> Result<Holding, BadBlock> {
        let address = Ipv4Addr::from(u32::from_be_bytes(self.array()?));
        let (subnet, valid) = (SubnetId(self.small()?), Lifetime::from_secs(self.small()?));
        let expires = predicted_end(at, valid).wrapping_add(self.zigzag()?);
        let generation = predicted_generation(position).wrapping_add(self.zigzag()?);
        let (htype, length) = match flags & OTHER_HW {
            0 => (HwAddr::ETHERNET, 6),
            _ => self.array::<2>().map(|[htype, length]| (htype, length))?,
        };
        let hw = HwAddr::new(htype, self.bytes(length.into())?).map_err(|_| BadBlock)?;
        let client_id = if flags & HAS_ID != 0 {
            let [length] = self.array()?;
            Some(ClientId::new(self.bytes(length.into())?).map_err(|_| BadBlock)?)
        } else if flags & ID_IS_HW != 0 {
            let bytes = [&[htype], hw.bytes()].concat();
            Some(ClientId::new(&bytes).map_err(|_| BadBlock)?)
        } else {
            None
        };
        let hostname = if flags & HAS_NAME != 0 {
            let length = usize::try_from(self.varint()?).map_err(|_| BadBlock)?;
            std::str::from_utf8(self.bytes(length)?).map_err(|_| BadBlock)?.into()
        } else {
            "".into()
        };
        let state = u64::from(flags >> STATE_SHIFT);
        Ok(Holding {
            address,
            subnet,
            hw,
            client_id,
            hostname,
            generation: Generation(generation),
            valid,
            expires: ClusterTime::from_millis(expires),
            state: LeaseState::from_number(state).ok_or(BadBlock)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::state::testing::any_lease;

    fn any_event() -> impl Strategy<Value = (u64, u64, Kind, Lease)> {
        let kinds = prop::sample::select(&Kind::ALL[..]);
        (0u64..3, prop_oneof![0u64..9, Just(1 << 40)], kinds, any_lease())
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(steps in prop::collection::vec(any_event(), 0..20), from in 0u64..1 << 50) {
            let (mut position, mut at) = (Position::at(from), 7u64);
            let mut events: Vec<Event> = Vec::new();
            for (index, stamp, kind, lease) in steps {
                position = match index {
                    0 if !events.is_empty() => position.next(),
                    _ => Position::at(position.index + index),
                };
                at += stamp;
                let subject = match kind {
                    Kind::Configured => Subject::Config(ConfigVersion(lease.generation.0)),
                    _ => Subject::Lease(Arc::new(lease)),
                };
                let wall = WallOffset(-5);
                events.push(Event { position, at: ClusterTime::from_millis(at), wall, kind, subject });
            }
            let begin = ClusterTime::from_millis(7);
            let mut encoder = Encoder::begin(from, begin, Vec::new());
            events.iter().for_each(|event| encoder.push(event));
            let Encoder { payload, events: count, .. } = encoder;
            let head = Head {
                from, to: position.index, begin, end: ClusterTime::from_millis(at), wall: WallOffset(-5),
                events: count, bytes: payload.len() as u32,
            };
            let wanted: Vec<Record> = events.iter().map(Record::of).collect();
            prop_assert_eq!(decode(&head, &payload), Ok(wanted));
            let mut framed = Vec::new();
            head.frame(&payload, &mut framed);
            let first: &[u8; Head::SIZE] = framed[..Head::SIZE].try_into().unwrap();
            let (read, hash) = Head::parse(first).unwrap();
            prop_assert_eq!(read, head);
            prop_assert!(read.matches(hash, &payload));
        }

        #[test]
        fn nonsense_is_refused_without_a_panic(payload in prop::collection::vec(any::<u8>(), 0..200), events in 0u32..9) {
            let head = Head {
                from: 1, to: u64::MAX, begin: ClusterTime::ZERO, end: ClusterTime::ZERO, wall: WallOffset(0),
                events, bytes: payload.len() as u32,
            };
            let _ = decode(&head, &payload);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_head_is_noticed() {
        let head = Head {
            from: 3,
            to: 9,
            begin: ClusterTime::from_millis(5),
            end: ClusterTime::from_millis(6),
            wall: WallOffset(7),
            events: 1,
            bytes: 2,
        };
        let mut framed = Vec::new();
        head.frame(b"ab", &mut framed);
        for at in 0..Head::SIZE {
            let mut bytes: [u8; Head::SIZE] = framed[..Head::SIZE].try_into().unwrap();
            bytes[at] ^= 4;
            let passed = Head::parse(&bytes)
                .is_some_and(|(read, hash)| read.bytes == 2 && read.matches(hash, b"ab"));
            assert!(!passed, "byte {at}");
        }
    }
}
