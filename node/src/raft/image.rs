//! The machine as bytes on disk: which calls of [`crate::state`] make and read snapshots and
//! checkpoints. One file, so that the rest of `raft` sees only [`State`] and [`Frozen`].
//!
//! Records of a checkpoint, key → value: `h` → the head, `l` and the address → a lease, and the pieces
//! of documents under their own keys ([`PieceKey`], which begin with other letters).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

use bytes::Bytes;

use crate::state::snapshot::{BadSnapshot, PieceKey};
use crate::state::view::Change;
use crate::state::{Frozen, State, decode_lease, encode_lease, snapshot};
use crate::storage::{Changes, Loaded};

const HEAD: &[u8] = b"h";
const LEASE: u8 = b'l';

/// Writes the machine whole. Its position is in the header of the file around it.
pub(super) fn write(frozen: &Frozen, mut out: &mut dyn Write) -> io::Result<()> {
    snapshot::write(frozen, &[], &mut out)
}

/// Reads a machine that [`write`] wrote.
pub(super) fn read(mut input: &mut dyn Read) -> io::Result<State> {
    Ok(snapshot::read(&mut input).map_err(damaged)?.0)
}

/// What carries a checkpoint from `older` to `newer`; whole if there is no older one.
pub(super) fn changes(older: Option<&Frozen>, newer: &Frozen) -> Changes {
    let mut changes = Changes {
        put: vec![(HEAD.to_vec(), newer.head_bytes())],
        remove: Vec::new(),
        total: newer.len() as u64 + 1 + newer.pieces().count() as u64,
        state_hash: newer.digest(),
        whole: older.is_none(),
    };
    let mut put = |(key, piece): (PieceKey, &Bytes)| {
        changes.put.push((key.to_bytes(), piece.to_vec()));
    };
    match older {
        None => newer.pieces().for_each(put),
        Some(older) => {
            let (new, gone) = newer.pieces_since(older);
            new.into_iter().for_each(&mut put);
            changes.remove.extend(gone.into_iter().map(PieceKey::to_bytes));
        }
    }
    let mut put = |lease: &crate::state::Lease| {
        let mut record = Vec::with_capacity(160);
        encode_lease(lease, &mut record);
        changes.put.push((key(lease.address), record));
    };
    match older {
        None => newer.leases().for_each(|lease| put(lease)),
        Some(older) => {
            for change in newer.changes_since(older) {
                match change {
                    Change::Put(lease) => put(lease),
                    Change::Remove(address) => changes.remove.push(key(address)),
                }
            }
        }
    }
    changes
}

/// The machine that a checkpoint holds, if it is whole.
pub(super) fn from_checkpoint(loaded: &Loaded) -> io::Result<State> {
    let mut head = None;
    let mut pieces = BTreeMap::new();
    let mut leases = Vec::with_capacity(loaded.records.len());
    for (key, value) in &loaded.records {
        match key.as_slice() {
            HEAD => head = Some(value),
            [LEASE, ..] => leases.push(value),
            key => match PieceKey::take(key) {
                Some((key, [])) => _ = pieces.insert(key, Bytes::copy_from_slice(value)),
                _ => return Err(damaged("a record of an unknown kind")),
            },
        }
    }
    let head = head.ok_or_else(|| damaged("no head"))?;
    let leases = leases.into_iter().map(|record| decode_lease(record));
    let state = snapshot::rebuild(head, pieces, leases).map_err(damaged)?;
    if state.digest() != loaded.state_hash {
        return Err(damaged("the machine does not match its digest"));
    }
    Ok(state)
}

fn key(address: Ipv4Addr) -> Vec<u8> {
    let mut key = vec![LEASE];
    key.extend_from_slice(&address.octets());
    key
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether it is this program that is wrong, and not the copy of the machine (R24).
pub(super) fn is_too_new(error: &io::Error) -> bool {
    let bad = error.get_ref().and_then(|error| error.downcast_ref::<BadSnapshot>());
    bad.is_some_and(BadSnapshot::is_too_new)
}
