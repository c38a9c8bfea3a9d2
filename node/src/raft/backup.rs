//! A backup: one file that holds the machine at one index, and what a new cluster is made from.
//!
//! ```text
//! magic "LHBACK01", blocks with checksums, a block that ends them all (`storage/files.rs`):
//!   the first block   `BackupHead` of `raft.proto`: which cluster, when, where in the log
//!   all others        the machine (`state/snapshot.rs`)
//! ```
//!
//! It is written from a frozen view, block by block, so that neither the size of the table nor the
//! speed of the reader holds up the service. A file that is cut off has no end, and is refused. What
//! a backup does not hold: the lease history, the log, Raft's votes, and anything of one node.

use std::io::{self, Read, Write};

use leasehold_proto::raft as proto;
use prost::Message;

use super::image;
use crate::state::snapshot::BadSnapshot;
use crate::state::{ConfigVersion, Frozen, State};
use crate::storage::{Base, FramedReader, FramedWriter};
use crate::types::{ClusterTime, NodeId};

const MAGIC: [u8; 8] = *b"LHBACK01";

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The cluster it was taken from.
    pub cluster: u64,
    /// The node that wrote it.
    pub node: NodeId,
    /// The version of the program that wrote it.
    pub program: String,
    /// When, by the clock of that node: Unix milliseconds. For people, and for how old it is.
    pub wall: i64,
    /// Cluster time of the machine.
    pub now: ClusterTime,
    /// The feature level in force (R24).
    pub level: u32,
    /// The configuration in force.
    pub config: ConfigVersion,
    /// How many leases there are, in whatever state.
    pub leases: u64,
    /// The last entry in it, and the membership then.
    pub base: Base,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        proto::BackupHead {
            cluster: self.cluster,
            node: self.node.0,
            program: self.program.clone(),
            wall: self.wall,
            now: self.now.as_millis(),
            feature_level: self.level,
            config_version: self.config.0,
            leases: self.leases,
            position: Some(proto::SnapshotMeta {
                last_log_id: self.base.applied.map(Into::into),
                membership: Some(self.base.membership.clone()),
            }),
        }
        .encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> io::Result<Header> {
        let head =
            proto::BackupHead::decode(bytes).map_err(|_| damaged("its head is malformed"))?;
        let position = head.position.unwrap_or_default();
        Ok(Header {
            cluster: head.cluster,
            node: NodeId(head.node),
            program: head.program,
            wall: head.wall,
            now: ClusterTime::from_millis(head.now),
            level: head.feature_level,
            config: ConfigVersion(head.config_version),
            leases: head.leases,
            base: Base {
                applied: position.last_log_id.map(Into::into),
                membership: position.membership.unwrap_or_default(),
            },
        })
    }

    /// The applied index.
    pub fn index(&self) -> u64 {
        self.base.applied.map_or(0, |id| id.index)
    }
}

/// A backup that is to be written.
#[derive(Debug, Clone)]
pub struct Backup {
    header: Header,
    frozen: Frozen,
}

impl Backup {
    /// A backup of `frozen`, which stands at `base`, taken by `node` of `cluster` at `wall` (Unix
    /// milliseconds).
    pub fn of(frozen: Frozen, base: Base, cluster: u64, node: NodeId, wall: i64) -> Backup {
        let meta = frozen.meta();
        let header = Header {
            cluster,
            node,
            program: crate::VERSION.to_owned(),
            wall,
            now: meta.now(),
            level: meta.feature_level(),
            config: meta.config_version(),
            leases: frozen.len() as u64,
            base,
        };
        Backup { header, frozen }
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Writes it. At most one block is in memory at a time.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut framed = FramedWriter::begin(out, MAGIC)?;
        framed.write_all(&self.header.encode())?;
        framed.end_block()?;
        image::write(&self.frozen, &mut framed)?;
        framed.finish()?.flush()
    }
}

/// Reads a backup whole: every checksum, and that the machine in it is the one of its head. Whether
/// the machine keeps its promises, [`State::check`] says.
///
/// # Errors
/// `InvalidData` for damage, `UnexpectedEof` for a file that was cut off; the texts are for the
/// operator.
pub fn read(input: impl Read) -> io::Result<(Header, State)> {
    let (header, mut framed) = begin(input)?;
    let state = image::read(&mut framed).map_err(explain)?;
    if framed.next_block().map_err(explain)?.is_some() {
        return Err(damaged("something follows the machine in it"));
    }
    let view = state.view();
    let same = header.now == state.now()
        && header.config == view.config_version()
        && header.level == view.meta().feature_level()
        && header.leases == view.lease_count() as u64
        && header.index() >= state.applied();
    if !same {
        return Err(damaged("its head tells of another machine than the one in it"));
    }
    Ok((header, state))
}

/// The head alone.
///
/// # Errors
/// As [`read`].
pub fn read_header(input: impl Read) -> io::Result<Header> {
    Ok(begin(input)?.0)
}

/// Whether the file is whole, as far as its checksums tell. It is cheaper than [`read`].
///
/// # Errors
/// As [`read`].
pub fn check_whole(input: impl Read) -> io::Result<Header> {
    let (header, mut framed) = begin(input)?;
    while framed.next_block().map_err(explain)?.is_some() {}
    Ok(header)
}

fn begin<R: Read>(input: R) -> io::Result<(Header, FramedReader<R>)> {
    let mut framed = FramedReader::begin(input, MAGIC).map_err(|error| match error.kind() {
        // Neither is a file that ends before it has said what it is.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            damaged("it is no backup of Leasehold (cluster-ctl snapshot save)")
        }
        _ => explain(error),
    })?;
    let head = framed.next_block().map_err(explain)?;
    let header = Header::decode(&head.ok_or_else(|| damaged("it is empty"))?)?;
    Ok((header, framed))
}

fn explain(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<BadSnapshot>());
    let kind = match inner {
        Some(BadSnapshot::Io(inner)) => inner.kind(),
        _ => error.kind(),
    };
    match kind {
        io::ErrorKind::UnexpectedEof => io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it is cut off: the end is missing, so it was not saved or not copied whole",
        ),
        _ => error,
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::machine;
    use crate::storage::LogId;

    const CONFIG: &str = r#"{"Dhcp4": {"subnet4": [{"id": 1, "subnet": "192.0.2.0/24"}]}}"#;

    fn backup() -> (Backup, Vec<u8>) {
        let state = machine(CONFIG, 1);
        let base = Base { applied: Some(LogId { term: 3, node: 2, index: 9 }), ..Base::default() };
        let backup = Backup::of(state.freeze(), base, 7, NodeId(2), 1_795_470_000_000);
        let mut bytes = Vec::new();
        backup.write(&mut bytes).unwrap();
        (backup, bytes)
    }

    #[test]
    fn what_was_saved_is_read_with_its_head() {
        let (backup, bytes) = backup();
        let (header, state) = read(bytes.as_slice()).unwrap();
        assert_eq!(&header, backup.header());
        assert_eq!((header.index(), header.cluster, header.config), (9, 7, ConfigVersion(1)));
        assert_eq!(state.digest(), backup.frozen.digest());
        assert_eq!(read_header(bytes.as_slice()).unwrap(), header);
        assert_eq!(check_whole(bytes.as_slice()).unwrap(), header);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let (_, bytes) = backup();
        for at in 0..bytes.len() {
            // What ends before it has said what it is may be anything.
            let told = if at < MAGIC.len() { "no backup of Leasehold" } else { "cut off" };
            let cut = check_whole(&bytes[..at]).unwrap_err();
            assert!(cut.to_string().contains(told), "cut at {at}: {cut}");
            let cut = read(&bytes[..at]).unwrap_err();
            assert!(cut.to_string().contains(told), "cut at {at}: {cut}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(check_whole(flipped.as_slice()).is_err(), "flip at {at}");
            assert!(read(flipped.as_slice()).is_err(), "flip at {at}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(check_whole(longer.as_slice()).is_err());
        assert!(read(b"LHSNAP01".as_slice()).unwrap_err().to_string().contains("no backup"));
    }
}
