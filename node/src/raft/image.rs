//! The machine as bytes on disk: which calls of [`crate::state`] make and read snapshots and
//! checkpoints. One file, so that the rest of `raft` sees only [`State`] and [`Frozen`].
//!
//! Records of a checkpoint, key → value: `h` → the head, `l` and a number, big-endian → the leases of that
//! chunk of [`CHUNK`] addresses, and the pieces of documents under their own keys ([`PieceKey`], which begin
//! with other letters).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::iter;

use bytes::Bytes;

use crate::state::snapshot::{BadSnapshot, PieceKey};
use crate::state::{Frozen, State, decode_leases, encode_lease, snapshot};
use crate::storage::{Change, Loaded};

const HEAD: &[u8] = b"h";
const LEASES: u8 = b'l';
/// Addresses in a chunk. More make fewer records, of which each costs sled time and memory; fewer make less to
/// write for one changed lease. Neighbours are given out, and renew, at about the same time.
const CHUNK: u32 = 16;

/// Writes the machine whole. Its position is in the header of the file around it.
pub(super) fn write(frozen: &Frozen, mut out: &mut dyn Write) -> io::Result<()> {
    snapshot::write(frozen, &[], &mut out)
}

/// Reads a machine that [`write`] wrote.
pub(super) fn read(mut input: &mut dyn Read) -> io::Result<State> {
    Ok(snapshot::read(&mut input).map_err(damaged)?.0)
}

/// What carries a checkpoint from `older` to `newer`, or makes it anew if there is no `older` one. Chunks are made as they
/// are asked for: of a million leases, one chunk is in memory.
pub(super) fn changes<'a>(
    older: Option<&'a Frozen>,
    newer: &'a Frozen,
) -> impl Iterator<Item = Change> + 'a {
    let head = Change::Put(HEAD.to_vec(), newer.head_bytes());
    let piece = |(key, piece): (PieceKey, &Bytes)| Change::Put(key.to_bytes(), piece.to_vec());
    let (new, gone) = match older {
        None => (newer.pieces().collect(), Vec::new()),
        Some(older) => newer.pieces_since(older),
    };
    let pieces = new.into_iter().map(piece);
    let gone = gone.into_iter().map(|key| Change::Remove(key.to_bytes()));
    let all = older.is_none().then(|| newer.leases().map(|lease| lease.address));
    let changed = older.map(|older| newer.changed_since(older));
    let changed = all.into_iter().flatten().chain(changed.into_iter().flatten());
    let mut done = None;
    let chunks = changed.filter_map(move |address| {
        let chunk = u32::from(address) / CHUNK;
        (done.replace(chunk) != Some(chunk)).then(|| self::chunk(newer, chunk))
    });
    iter::once(head).chain(pieces).chain(gone).chain(chunks)
}

/// What becomes of a chunk.
fn chunk(frozen: &Frozen, chunk: u32) -> Change {
    let mut key = vec![LEASES];
    key.extend_from_slice(&chunk.to_be_bytes());
    let first = chunk * CHUNK;
    let mut records = Vec::new();
    for lease in frozen.leases_in(first.into(), (first + (CHUNK - 1)).into()) {
        encode_lease(lease, &mut records);
    }
    if records.is_empty() { Change::Remove(key) } else { Change::Put(key, records) }
}

/// The machine that a checkpoint holds, if it is whole.
pub(super) fn from_checkpoint(loaded: &Loaded<'_>) -> io::Result<State> {
    let (mut head, mut pieces) = (None, BTreeMap::new());
    for record in loaded.but_kind(LEASES) {
        let record = record?;
        match record.key() {
            HEAD => head = Some(record.value().to_vec()),
            key => match PieceKey::take(key) {
                Some((key, [])) => {
                    _ = pieces.insert(key, Bytes::copy_from_slice(record.value()));
                }
                _ => return Err(damaged("a record of an unknown kind")),
            },
        }
    }
    let head = head.ok_or_else(|| damaged("no head"))?;
    let leases = loaded.of_kind(LEASES)?.flat_map(|record| match record {
        Ok(record) => decode_leases(record.value()).map(|lease| Ok(lease?)).collect(),
        Err(error) => vec![Err(error.into())],
    });
    let state = snapshot::rebuild(&head, pieces, leases).map_err(damaged)?;
    if state.digest() != loaded.state_hash {
        return Err(damaged("the machine does not match its digest"));
    }
    Ok(state)
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether it is this program that is wrong, and not the copy of the machine (R24).
pub(super) fn is_too_new(error: &io::Error) -> bool {
    let bad = error.get_ref().and_then(|error| error.downcast_ref::<BadSnapshot>());
    bad.is_some_and(BadSnapshot::is_too_new)
}
