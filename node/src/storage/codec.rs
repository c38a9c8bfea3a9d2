//! The words of the log on disk, in the codec that `raft-log` asks for. Pure.
//!
//! `raft-log` frames a record as type (4 bytes), content, CRC-32 of both (8 bytes), without a
//! length. A flipped bit could then pass for a record that is merely not complete, and be cut off
//! as a torn tail although it was acknowledged. So each of our words begins with a mark of its own,
//! and the one that has a length says it twice: nothing but a file that really ends early makes the
//! decoder run out of bytes. [`super::repair`] rests on that (rule R20).

use std::io::{self, Read, Write};

use bytes::Bytes;
use raft_log::codeq::{Decode, Encode};

use super::log::{Body, LogId, Vote};

/// An entry is far smaller; a larger length is damage.
const MAX_PAYLOAD: u32 = 1 << 30;

const MARK_LOG_ID: u8 = 0xA1;
const MARK_VOTE: u8 = 0xB2;
const MARK_PAYLOAD: u8 = 0xC3;
const MARK_NOTHING: u8 = 0xD4;

const KIND_BLANK: u8 = 0x10;
const KIND_BATCH: u8 = 0x21;
const KIND_MEMBERSHIP: u8 = 0x32;

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

fn read_u64(r: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    r.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn expect_mark(r: &mut impl Read, mark: u8) -> io::Result<()> {
    let mut got = [0; 1];
    r.read_exact(&mut got)?;
    if got[0] == mark { Ok(()) } else { Err(bad("a record's mark is wrong")) }
}

/// Told by `raft-log`'s thread what came of a flush; that it ended without a word when it is dropped.
pub struct Told(Option<Box<dyn FnOnce(io::Result<()>) + Send>>);

impl Told {
    /// Calls `told` once.
    pub fn new(told: impl FnOnce(io::Result<()>) + Send + 'static) -> Told {
        Told(Some(Box::new(told)))
    }
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl raft_log::Callback for Told {
    fn send(mut self, result: io::Result<()>) {
        if let Some(told) = self.0.take() {
            told(result);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            told(Err(io::Error::other("the log's flush thread has ended")));
        }
    }
}

/// Raft's types as `raft-log` wants them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LogTypes;

impl raft_log::Types for LogTypes {
    type LogId = LogId;
    type LogPayload = Payload;
    type Vote = Vote;
    type Callback = Told;
    type UserData = Nothing;

    fn log_index(log_id: &LogId) -> u64 {
        log_id.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        // The map around it costs about as much as a small entry; the limit should mean bytes.
        payload.0.len() as u64 + 96
    }
}

/// An entry's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(pub Body);

/// `raft-log` has room for data of its user; we have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nothing;

impl Encode for Nothing {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        w.write_all(&[MARK_NOTHING])?;
        Ok(1)
    }
}

impl Decode for Nothing {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        expect_mark(&mut r, MARK_NOTHING)?;
        Ok(Nothing)
    }
}

impl Encode for LogId {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let mut bytes = [0; 25];
        bytes[0] = MARK_LOG_ID;
        bytes[1..9].copy_from_slice(&self.term.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.node.to_be_bytes());
        bytes[17..25].copy_from_slice(&self.index.to_be_bytes());
        w.write_all(&bytes)?;
        Ok(bytes.len())
    }
}

impl Decode for LogId {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        expect_mark(&mut r, MARK_LOG_ID)?;
        Ok(LogId { term: read_u64(&mut r)?, node: read_u64(&mut r)?, index: read_u64(&mut r)? })
    }
}

impl Encode for Vote {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let mut bytes = [0; 18];
        bytes[0] = MARK_VOTE;
        bytes[1..9].copy_from_slice(&self.term.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.node.to_be_bytes());
        bytes[17] = u8::from(self.committed);
        w.write_all(&bytes)?;
        Ok(bytes.len())
    }
}

impl Decode for Vote {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        expect_mark(&mut r, MARK_VOTE)?;
        let term = read_u64(&mut r)?;
        let node = read_u64(&mut r)?;
        let mut committed = [0; 1];
        r.read_exact(&mut committed)?;
        let committed = match committed[0] {
            0 => false,
            1 => true,
            _ => return Err(bad("a vote is neither committed nor not")),
        };
        Ok(Vote { term, node, committed })
    }
}

impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let empty = Bytes::new();
        let (kind, data) = match &self.0 {
            Body::Blank => (KIND_BLANK, &empty),
            Body::Batch(data) => (KIND_BATCH, data),
            Body::Membership(data) => (KIND_MEMBERSHIP, data),
        };
        let length = u32::try_from(data.len())
            .ok()
            .filter(|length| *length <= MAX_PAYLOAD)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an entry is too large"))?;
        let mut head = [0; 10];
        head[0] = MARK_PAYLOAD;
        head[1] = kind;
        head[2..6].copy_from_slice(&length.to_be_bytes());
        head[6..10].copy_from_slice(&(!length).to_be_bytes());
        w.write_all(&head)?;
        w.write_all(data)?;
        Ok(head.len() + data.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        expect_mark(&mut r, MARK_PAYLOAD)?;
        let mut kind = [0; 1];
        r.read_exact(&mut kind)?;
        let both = read_u64(&mut r)?;
        let (length, inverse) = ((both >> 32) as u32, both as u32);
        if length != !inverse || length > MAX_PAYLOAD {
            return Err(bad("a record's length is damaged"));
        }
        // `take` bounds what is reserved for a file that ends early.
        let mut data = Vec::with_capacity((length as usize).min(1 << 20));
        let read = r.by_ref().take(u64::from(length)).read_to_end(&mut data)?;
        if read < length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match kind[0] {
            KIND_BLANK if data.is_empty() => Ok(Payload(Body::Blank)),
            KIND_BATCH => Ok(Payload(Body::Batch(Bytes::from(data)))),
            KIND_MEMBERSHIP => Ok(Payload(Body::Membership(Bytes::from(data)))),
            _ => Err(bad("an entry is of no known kind")),
        }
    }
}
