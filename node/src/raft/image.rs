//! The machine as bytes on disk: which calls of [`crate::state`] make and read snapshots and
//! checkpoints. One file, so that the rest of `raft` sees only [`State`] and [`Frozen`].
//!
//! Records of a checkpoint, key → value: `h` → the head, `c` → the configuration's text, `l` and the
//! address → a lease.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

use crate::state::view::Change;
use crate::state::{Frozen, State, decode_lease, encode_lease, snapshot};
use crate::storage::{Changes, Loaded};

const HEAD: &[u8] = b"h";
const CONFIG: &[u8] = b"c";
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
        total: newer.len() as u64 + 2,
        state_hash: newer.digest(),
        whole: older.is_none(),
    };
    let text = newer.meta().config_text();
    if older.is_none_or(|older| older.meta().config_text() != text) {
        changes.put.push((CONFIG.to_vec(), text.as_bytes().to_vec()));
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
    let (mut head, mut text) = (None, None);
    let mut leases = Vec::with_capacity(loaded.records.len());
    for (key, value) in &loaded.records {
        match key.as_slice() {
            HEAD => head = Some(value),
            CONFIG => text = Some(std::str::from_utf8(value).map_err(damaged)?),
            [LEASE, ..] => leases.push(value),
            _ => return Err(damaged("a record of an unknown kind")),
        }
    }
    let head = head.ok_or_else(|| damaged("no head"))?;
    let text = text.ok_or_else(|| damaged("no configuration"))?;
    let leases = leases.into_iter().map(|record| decode_lease(record));
    let state = snapshot::rebuild(head, text, leases).map_err(damaged)?;
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

fn damaged(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
