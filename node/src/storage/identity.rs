//! The file `identity`: who this data directory is, and whom it knows (rules R14, R15).
//!
//! The instance id is drawn when the directory is first used and never changes. Cluster and node
//! id come with formation. The file is written as a whole and durably; only its owner may read it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use leasehold_proto::cluster as proto;
use prost::Message;

use super::files::{Draft, FramedReader, FramedWriter};
use super::repair::REJOIN;
use crate::types::NodeId;

const MAGIC: [u8; 8] = *b"LHIDENT1";

/// One node of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterNode {
    /// Its id, never used again.
    pub node: NodeId,
    /// Its data directory.
    pub instance: u64,
    /// Where its peers reach it, `host:port`.
    pub address: String,
    /// The name in its certificate; empty without TLS.
    pub tls_name: String,
}

impl From<&RosterNode> for proto::RosterNode {
    fn from(node: &RosterNode) -> Self {
        proto::RosterNode {
            node: node.node.0,
            instance: node.instance,
            address: node.address.clone(),
            tls_name: node.tls_name.clone(),
        }
    }
}

impl From<proto::RosterNode> for RosterNode {
    fn from(node: proto::RosterNode) -> Self {
        RosterNode {
            node: NodeId(node.node),
            instance: node.instance,
            address: node.address,
            tls_name: node.tls_name,
        }
    }
}

/// A node's place in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The cluster, never 0.
    pub cluster: u64,
    /// This node, never 0.
    pub node: NodeId,
    /// The nodes that formed the cluster, or, for one that joined, those that it found there: not itself.
    /// Later ones are in the replicated membership.
    pub roster: Vec<RosterNode>,
    /// Whether the coordinator may still replace it, because nobody has voted on it.
    pub provisional: bool,
    /// Whether the log has ever held anything. If it is empty then, it was lost, and the node must
    /// not vote as itself again (R15).
    pub started: bool,
}

/// Who a data directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Drawn once, never 0.
    pub instance: u64,
    /// Its place in a cluster, once it has one.
    pub seat: Option<Seat>,
}

/// Draws an id that is not 0.
///
/// # Errors
/// When the system has no randomness.
pub fn draw() -> io::Result<u64> {
    loop {
        let id = getrandom::u64().map_err(io::Error::other)?;
        if id != 0 {
            return Ok(id);
        }
    }
}

/// The file.
#[derive(Debug)]
pub struct IdentityFile {
    path: PathBuf,
}

impl IdentityFile {
    /// The file of the data directory `dir`, whether it is there or not.
    pub fn at(dir: &Path) -> IdentityFile {
        IdentityFile { path: dir.join("identity") }
    }

    /// What it says; `None` when there is no such file.
    ///
    /// # Errors
    /// `InvalidData` when the file is damaged.
    pub fn read(&self) -> io::Result<Option<Identity>> {
        match File::open(&self.path) {
            Ok(input) => read(input).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The identity in `dir`; a new one is drawn and written if there is none.
    ///
    /// # Errors
    /// `InvalidData` when the file is damaged, or is gone while a log or a copy of the machine is there: then
    /// the directory is nobody any more.
    pub fn open(dir: &Path) -> io::Result<(IdentityFile, Identity)> {
        let file = IdentityFile::at(dir);
        match File::open(&file.path) {
            Ok(input) => {
                let identity = read(input).map_err(|error| {
                    let text = format!(
                        "{}: {error}. The directory can no longer prove who it is. {REJOIN}",
                        file.path.display()
                    );
                    io::Error::new(io::ErrorKind::InvalidData, text)
                })?;
                Ok((file, identity))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if has_past(dir) {
                    let text = format!(
                        "{}: the file is missing, but there is a log or a snapshot beside it. Either it was lost, or this \
                         directory was being restored (cluster-ctl snapshot restore, recover apply) and was not finished: then remove \
                         the directory and restore once more. {REJOIN}",
                        file.path.display()
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                let identity = Identity { instance: draw()?, seat: None };
                file.write(&identity)?;
                Ok((file, identity))
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the file, durably.
    ///
    /// # Errors
    /// The system's; the old file is in place then.
    pub fn write(&self, identity: &Identity) -> io::Result<()> {
        let seat = identity.seat.as_ref();
        let message = proto::Identity {
            instance: identity.instance,
            cluster: seat.map_or(0, |seat| seat.cluster),
            node: seat.map_or(0, |seat| seat.node.0),
            roster: seat
                .map(|seat| seat.roster.iter().map(Into::into).collect())
                .unwrap_or_default(),
            provisional: seat.is_some_and(|seat| seat.provisional),
            started: seat.is_some_and(|seat| seat.started),
        };
        let mut draft = Draft::begin(&self.path, 0o600)?;
        let mut framed = FramedWriter::begin(draft.file()?, MAGIC)?;
        framed.write_all(&message.encode_to_vec())?;
        framed.finish()?;
        draft.publish()
    }
}

/// The note in the data directory that says: the node that lived here was removed.
const REMOVED: &str = "removed";

/// Notes durably in `dir` that its node was removed from its cluster: it must not start again as itself.
///
/// # Errors
/// The system's.
pub fn mark_removed(dir: &Path, text: &str) -> io::Result<()> {
    let mut draft = Draft::begin(&dir.join(REMOVED), 0o600)?;
    draft.file()?.write_all(text.as_bytes())?;
    draft.publish()
}

/// What [`mark_removed`] noted.
///
/// # Errors
/// The system's.
pub fn marked_removed(dir: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(dir.join(REMOVED)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether this was a node's directory, or was to become one: there is a log, or a copy of the machine.
/// Who makes a directory from a copy writes the identity last, and the log before it.
fn has_past(dir: &Path) -> bool {
    let has = |name| std::fs::read_dir(dir.join(name)).is_ok_and(|mut it| it.next().is_some());
    ["log", "snapshots", "checkpoint"].into_iter().any(has)
}

fn read(input: File) -> io::Result<Identity> {
    let mut framed = FramedReader::begin(input, MAGIC)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut framed, &mut bytes)?;
    let message = proto::Identity::decode(bytes.as_slice()).map_err(io::Error::other)?;
    let seat = (message.cluster != 0).then(|| Seat {
        cluster: message.cluster,
        node: NodeId(message.node),
        roster: message.roster.into_iter().map(Into::into).collect(),
        provisional: message.provisional,
        started: message.started,
    });
    Ok(Identity { instance: message.instance, seat })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn r14_an_instance_id_is_drawn_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (file, first) = IdentityFile::open(dir.path()).unwrap();
        assert_ne!(first.instance, 0);
        assert_eq!(first.seat, None);
        let seat = Seat {
            cluster: 7,
            node: NodeId(2),
            roster: vec![RosterNode {
                node: NodeId(2),
                instance: 9,
                address: "a:1".into(),
                tls_name: "a".into(),
            }],
            provisional: true,
            started: false,
        };
        let seated = Identity { instance: first.instance, seat: Some(seat) };
        file.write(&seated).unwrap();
        assert_eq!(IdentityFile::open(dir.path()).unwrap().1, seated);
        let mode = fs::metadata(dir.path().join("identity")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_identity_is_refused_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        IdentityFile::open(dir.path()).unwrap();
        let path = dir.path().join("identity");
        let mut bytes = fs::read(&path).unwrap();
        bytes[22] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = IdentityFile::open(dir.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("identity") && text.contains("does not match its checksum"),
            "{text}"
        );
        assert!(text.contains("node remove") && text.contains("[cluster] join"), "{text}");
    }

    #[test]
    fn a_directory_with_a_past_and_without_an_identity_is_refused() {
        for (part, file) in [("log", "x.wal"), ("snapshots", "1.snapshot"), ("checkpoint", "db")] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join(part)).unwrap();
            IdentityFile::open(dir.path()).unwrap();
            fs::remove_file(dir.path().join("identity")).unwrap();
            fs::write(dir.path().join(part).join(file), b"x").unwrap();
            let text = IdentityFile::open(dir.path()).unwrap_err().to_string();
            assert!(text.contains("identity: the file is missing"), "{part}: {text}");
            assert!(text.contains("node remove") && text.contains("[cluster] join"), "{text}");
            assert_eq!(IdentityFile::at(dir.path()).read().unwrap(), None);
        }
    }
}
