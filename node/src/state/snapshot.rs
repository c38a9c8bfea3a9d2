//! The whole machine as bytes, and back: snapshots and the checkpoint (R19, R22).
//!
//! ```text
//! magic "LHSTATE\n", format 4
//! frames: kind 1, length 4, payload, XXH3-64 of kind, length and payload 8
//!   1 head      everything but leases and texts of configurations (`command.proto`, Head)
//!   2 text      one piece of a configuration, behind its [`PieceKey`], ascending by that
//!   3 extra     the caller's bytes, opaque
//!   4 leases    records of at most 64 leases, ascending by address
//!   5 end       frames before it 8, leases 8
//! ```
//!
//! Numbers are little-endian; frames come in the order above. Both directions stream: at most one
//! frame is in memory beside the machine itself. What does not add up, down to a single bit, is
//! refused: checksum, order, counts, the digest of the leases, those of the documents.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use leasehold_proto::command as pb;
use prost::Message;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::command::{ConfigVersion, WallOffset};
use super::document::Unusable;
use super::feature;
use super::history::Version;
use super::leases::{Leases, Table};
use super::meta::{DeclineLog, Meta, NodeEntry, Totals};
pub use super::pieces::PieceKey;
use super::prepare::Unreadable;
use super::record::{BadRecord, encode_lease, take_lease};
use super::view::Frozen;
use super::wire::{self, BadWire};
use super::{Lease, State};
use crate::config::Config;
use crate::types::{ClusterTime, NodeId, SubnetId};

const MAGIC: &[u8; 8] = b"LHSTATE\n";
const FORMAT: u32 = 2;
const HEAD: u8 = 1;
const TEXT: u8 = 2;
const EXTRA: u8 = 3;
const LEASES: u8 = 4;
const END: u8 = 5;
/// Leases in one frame.
const CHUNK: usize = 64;
/// Longest payload that is read at all: a head with all its declines and nodes is below it.
const MAX_FRAME: u32 = 256 << 20;

/// Why bytes are no machine.
#[derive(Debug, thiserror::Error)]
pub enum BadSnapshot {
    /// Reading failed, or it ended too soon.
    #[error("cannot read the snapshot: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("not a snapshot of Leasehold")]
    Magic,
    /// Another version wrote it.
    #[error("snapshot format {0} is not the one of this program ({FORMAT})")]
    Format(u32),
    /// The cluster has reached a feature level that this program does not know (R24).
    #[error(
        "the cluster is at feature level {0}, and this program knows {known} at most: start a newer one",
        known = feature::known()
    )]
    FeatureLevel(u32),
    /// A frame does not match its checksum.
    #[error("the snapshot is damaged: checksum of frame {0}")]
    Checksum(u64),
    /// Frames are missing, doubled or out of order; counts or digests do not fit.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// A lease record is not one.
    #[error("the snapshot is damaged: {0}")]
    Record(#[from] BadRecord),
    /// The head is not one.
    #[error("the snapshot is damaged: head: {0}")]
    Head(#[from] BadWire),
    /// This program cannot read the configuration that the cluster runs (R24).
    #[error(transparent)]
    Unreadable(Box<Unreadable>),
}

impl BadSnapshot {
    /// Whether the machine is whole and this program is too old for it, so that no other copy of it
    /// would help.
    pub fn is_too_new(&self) -> bool {
        matches!(self, BadSnapshot::FeatureLevel(_) | BadSnapshot::Unreadable(_))
    }
}

impl Frozen {
    /// Everything but the leases and the pieces of documents ([`Frozen::pieces`]): with those two the
    /// machine can be made again by [`rebuild`]. At most a few megabytes, usually kilobytes.
    pub fn head_bytes(&self) -> Vec<u8> {
        let meta = &self.meta;
        let node = |(node, entry): (NodeId, &Arc<NodeEntry>)| pb::HeadNode {
            node: node.0,
            info: entry.info.as_ref().map(wire::node_info_to_pb),
            liveness: wire::liveness_to_pb(entry.liveness).into(),
            since: entry.since.as_millis(),
        };
        let totals = |(subnet, totals): (&SubnetId, &Totals)| pb::HeadTotals {
            subnet: subnet.0,
            assigned: totals.assigned,
            reclaimed: totals.reclaimed,
            reclaimed_declined: totals.reclaimed_declined,
            declined: totals.declined,
        };
        let decline = |(place, at, client): (u64, ClusterTime, u64)| pb::HeadDecline {
            place,
            at: at.as_millis(),
            client,
        };
        pb::Head {
            applied: meta.applied,
            now: meta.now.as_millis(),
            wall_offset: meta.wall_offset.0,
            feature_level: meta.feature_level,
            config_version: meta.config_version.0,
            versions: meta
                .whole_history()
                .map(|version| wire::config::version_to_pb(version))
                .collect(),
            first_version: meta.first_of_more().0,
            edit_versions: meta.edits.ids().map(|(version, _)| version.0).collect(),
            edit_ids: meta.edits.ids().map(|(_, id)| id).collect(),
            drafts: meta.drafts.iter().map(wire::config::draft_to_pb).collect(),
            nodes: meta.nodes().map(node).collect(),
            totals: meta.totals.iter().map(totals).collect(),
            declines: meta.declines.entries().map(decline).collect(),
            leases: self.table.len() as u64,
            lease_digest: self.lease_digest,
            roster: wire::roster::roster_to_pb(&meta.roster),
            recovery: meta.recovery.as_ref().map(wire::recovery::recovery_to_pb),
        }
        .encode_to_vec()
    }

    /// A hash of everything replicated. Nodes at the same index have the same.
    pub fn digest(&self) -> u64 {
        xxh3_64(&self.head_bytes())
    }
}

/// The machine from its parts, each as [`Frozen::head_bytes`], [`Frozen::pieces`] and
/// [`super::encode_lease`] gave it; leases in any order. Parts that do not belong together are
/// refused.
pub fn rebuild(
    head: &[u8],
    pieces: BTreeMap<PieceKey, Bytes>,
    leases: impl IntoIterator<Item = Result<Lease, BadSnapshot>>,
) -> Result<State, BadSnapshot> {
    let head = pb::Head::decode(head).map_err(BadWire::from)?;
    let meta = meta_from(&head, pieces)?;
    let mut table = Table::new();
    for lease in leases {
        let lease = lease?;
        if table.insert(lease.address.into(), Arc::new(lease)).is_some() {
            return Err(BadSnapshot::Damaged("two leases of one address"));
        }
    }
    finish(&head, meta, table)
}

fn meta_from(head: &pb::Head, mut pieces: BTreeMap<PieceKey, Bytes>) -> Result<Meta, BadSnapshot> {
    if !(1..=feature::known()).contains(&head.feature_level) {
        return Err(BadSnapshot::FeatureLevel(head.feature_level));
    }
    let mut meta = Meta::new();
    meta.applied = head.applied;
    meta.now = ClusterTime::from_millis(head.now);
    meta.wall_offset = WallOffset(head.wall_offset);
    meta.feature_level = head.feature_level;
    meta.config_version = ConfigVersion(head.config_version);
    let versions = head.versions.iter();
    let versions = versions.map(|version| wire::config::version_from_pb(version, &mut pieces));
    let versions = versions.collect::<Result<Vec<_>, _>>()?;
    if head.edit_versions.len() != head.edit_ids.len() {
        return Err(BadSnapshot::Damaged("changes of configurations without an id"));
    }
    let ids = head.edit_versions.iter().zip(&head.edit_ids);
    meta.restore_history(
        versions.into_iter(),
        ConfigVersion(head.first_version),
        ids.map(|(version, id)| (ConfigVersion(*version), *id)),
    );
    for draft in &head.drafts {
        let (document, draft) = wire::config::draft_from_pb(draft, &mut pieces)?;
        meta.drafts.restore(document, draft);
    }
    if !pieces.is_empty() {
        return Err(BadSnapshot::Damaged("a piece belongs to no document"));
    }
    meta.config = match meta.current() {
        None => None,
        Some(version) => Some(config_of(&meta, version)?),
    };
    if meta.check_history().is_err() {
        return Err(BadSnapshot::Damaged("the history of configurations has a gap"));
    }
    for node in &head.nodes {
        let liveness = wire::liveness_from_pb(node.liveness)?;
        let info = node.info.clone().map(wire::node_info_from_pb);
        let entry = NodeEntry { info, liveness, since: ClusterTime::from_millis(node.since) };
        meta.nodes.insert(NodeId(node.node), Arc::new(entry));
    }
    for row in &head.totals {
        let pb::HeadTotals { assigned, reclaimed, reclaimed_declined, declined, .. } = *row;
        meta.totals.insert(
            SubnetId(row.subnet),
            Totals { assigned, reclaimed, reclaimed_declined, declined },
        );
    }
    let mut declines = DeclineLog::default();
    for row in &head.declines {
        declines.insert(row.place, ClusterTime::from_millis(row.at), row.client);
    }
    meta.declines = declines;
    meta.roster = wire::roster::roster_from_pb(head.roster.clone())?;
    meta.recovery = head.recovery.map(wire::recovery::recovery_from_pb).transpose()?;
    Ok(meta)
}

fn config_of(meta: &Meta, version: &Version) -> Result<Arc<Config>, BadSnapshot> {
    let sources = meta.sources(version.number);
    let sources = sources.ok_or(BadSnapshot::Damaged("the text of a configuration is missing"))?;
    sources.config().map_err(|unusable| match unusable {
        Unusable::Text(_) => BadSnapshot::Damaged("a configuration does not match its hash"),
        Unusable::Mistakes(_) | Unusable::Edit(_) => {
            BadSnapshot::Unreadable(Box::new(Unreadable {
                version: version.number,
                level: version.level,
                why: unusable.to_string(),
            }))
        }
    })
}

fn finish(head: &pb::Head, meta: Meta, table: Table) -> Result<State, BadSnapshot> {
    if table.len() as u64 != head.leases {
        return Err(BadSnapshot::Damaged("leases are missing"));
    }
    let leases = Leases::from_table(table);
    if leases.digest() != head.lease_digest {
        return Err(BadSnapshot::Damaged("the leases are not the ones the head counts"));
    }
    Ok(State { meta, leases })
}

/// Writes the machine. `extra` is the caller's own, such as the log position and the membership.
pub fn write(frozen: &Frozen, extra: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&FORMAT.to_le_bytes())?;
    let mut frames = 0u64;
    let mut put = |kind: u8, payload: &[u8]| {
        frames += 1;
        write_frame(kind, payload, &mut *out).map(|()| frames)
    };
    put(HEAD, &frozen.head_bytes())?;
    for (key, piece) in frozen.pieces() {
        put(TEXT, &[key.to_bytes().as_slice(), piece].concat())?;
    }
    let mut frames = put(EXTRA, extra)?;
    let mut payload = Vec::new();
    let mut leases = frozen.table.values().peekable();
    while leases.peek().is_some() {
        payload.clear();
        for lease in leases.by_ref().take(CHUNK) {
            encode_lease(lease, &mut payload);
        }
        frames = put(LEASES, &payload)?;
    }
    let end = [frames.to_le_bytes(), (frozen.table.len() as u64).to_le_bytes()].concat();
    put(END, &end)?;
    Ok(())
}

fn write_frame(kind: u8, payload: &[u8], out: &mut impl Write) -> io::Result<()> {
    let len = u32::try_from(payload.len()).ok().filter(|len| *len <= MAX_FRAME);
    let len = len.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "a part of the snapshot is too big")
    })?;
    out.write_all(&[kind])?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(payload)?;
    out.write_all(&frame_hash(kind, len, payload).to_le_bytes())
}

fn frame_hash(kind: u8, len: u32, payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[kind]);
    hash.update(&len.to_le_bytes());
    hash.update(payload);
    hash.digest()
}

/// Frames as they come, counted.
struct Frames<'a, R> {
    from: &'a mut R,
    read: u64,
    kind: u8,
    payload: Vec<u8>,
}

impl<R: Read> Frames<'_, R> {
    /// Reads the next frame into `kind` and `payload`. Memory grows with what arrives, not with
    /// what a damaged length promises.
    fn next(&mut self) -> Result<(), BadSnapshot> {
        let [kind] = array(self.from)?;
        let len = u32::from_le_bytes(array(self.from)?);
        if len > MAX_FRAME {
            return Err(BadSnapshot::Checksum(self.read));
        }
        self.payload.clear();
        let got = self.from.by_ref().take(len.into()).read_to_end(&mut self.payload)?;
        if got as u64 != u64::from(len) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if u64::from_le_bytes(array(self.from)?) != frame_hash(kind, len, &self.payload) {
            return Err(BadSnapshot::Checksum(self.read));
        }
        self.kind = kind;
        self.read += 1;
        Ok(())
    }

    fn expect(&self, kind: u8) -> Result<(), BadSnapshot> {
        if self.kind == kind {
            Ok(())
        } else {
            Err(BadSnapshot::Damaged("a frame is out of order"))
        }
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads what [`write`] wrote, and no byte more: the machine and the caller's `extra`. For a file,
/// hand in a `BufReader`.
pub fn read(from: &mut impl Read) -> Result<(State, Vec<u8>), BadSnapshot> {
    if array(from)? != *MAGIC {
        return Err(BadSnapshot::Magic);
    }
    let format = u32::from_le_bytes(array(from)?);
    if format != FORMAT {
        return Err(BadSnapshot::Format(format));
    }
    let mut frames = Frames { from, read: 0, kind: 0, payload: Vec::new() };
    frames.next()?;
    frames.expect(HEAD)?;
    let head = pb::Head::decode(frames.payload.as_slice()).map_err(BadWire::from)?;
    let mut pieces = BTreeMap::new();
    frames.next()?;
    while frames.kind == TEXT {
        let (key, piece) = PieceKey::take(&frames.payload)
            .ok_or(BadSnapshot::Damaged("a piece of a configuration without a key"))?;
        if pieces.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(BadSnapshot::Damaged("pieces of configurations are out of order"));
        }
        pieces.insert(key, Bytes::copy_from_slice(piece));
        frames.next()?;
    }
    let meta = meta_from(&head, pieces)?;
    frames.expect(EXTRA)?;
    let extra = std::mem::take(&mut frames.payload);

    let mut table = Table::new();
    let mut last = None;
    frames.next()?;
    while frames.kind == LEASES {
        let mut rest = frames.payload.as_slice();
        while !rest.is_empty() {
            let lease = take_lease(&mut rest)?;
            let address = u32::from(lease.address);
            if last.is_some_and(|last| last >= address) {
                return Err(BadSnapshot::Damaged("leases are out of order"));
            }
            last = Some(address);
            table.insert(address, Arc::new(lease));
        }
        frames.next()?;
    }
    frames.expect(END)?;
    let end = [(frames.read - 1).to_le_bytes(), (table.len() as u64).to_le_bytes()].concat();
    if frames.payload != end {
        return Err(BadSnapshot::Damaged("frames are missing"));
    }
    Ok((finish(&head, meta, table)?, extra))
}

#[cfg(test)]
mod tests;
