//! Snapshot files: the machine at one index, framed and checksummed; the newest two are kept.
//!
//! A file is complete and durable before it has its name, so whatever has a name can be trusted
//! as far as its checksums go. Only these files allow the log to be purged.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use leasehold_proto::raft as proto;
use prost::Message;

use super::files::{Draft, FramedReader, FramedWriter, remove_drafts, sync_dir};
use super::log::Base;

const MAGIC: [u8; 8] = *b"LHSNAP01";
/// Files kept.
const KEEP: usize = 2;

/// The directory of snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    dir: PathBuf,
}

/// One snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub base: Base,
    /// Its size in bytes.
    pub bytes: u64,
}

impl SnapshotFile {
    /// Reads what follows the header. Every byte that comes out has been checked; the end comes
    /// only when the whole file has.
    ///
    /// # Errors
    /// `InvalidData` for damage.
    pub fn body(&self) -> io::Result<FramedReader<File>> {
        Ok(read_head(File::open(&self.path)?)?.1)
    }
}

impl Snapshots {
    /// Uses `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn open(dir: &Path) -> io::Result<Snapshots> {
        fs::create_dir_all(dir)?;
        remove_drafts(dir)?;
        Ok(Snapshots { dir: dir.to_path_buf() })
    }

    /// All snapshots, newest first. One whose header is damaged is skipped with a warning.
    ///
    /// # Errors
    /// The system's.
    pub fn list(&self) -> io::Result<Vec<SnapshotFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "snapshot") {
                continue;
            }
            let file = File::open(&path)?;
            let bytes = file.metadata()?.len();
            match read_head(file) {
                Ok((base, _)) => files.push(SnapshotFile { path, base, bytes }),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a snapshot is damaged and not used");
                }
            }
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.base.applied));
        Ok(files)
    }

    /// Writes a snapshot and removes old ones. It is durable on return.
    ///
    /// # Errors
    /// The system's, and those of `body`.
    pub fn write(
        &self,
        base: &Base,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<SnapshotFile> {
        let place = self.place(base);
        let mut draft = Draft::begin(&place, 0o600)?;
        let mut framed = FramedWriter::begin(draft.file()?, MAGIC)?;
        let head = proto::SnapshotMeta {
            last_log_id: base.applied.map(Into::into),
            membership: Some(base.membership.clone()),
        };
        framed.write_all(&head.encode_to_vec())?;
        framed.end_block()?;
        body(&mut framed)?;
        framed.finish()?;
        draft.publish()?;
        self.finish(place, base.clone())
    }

    /// Begins to receive a snapshot from a peer.
    ///
    /// # Errors
    /// The system's.
    pub fn receive(&self) -> io::Result<Draft> {
        Draft::begin(&self.dir.join("incoming"), 0o600)
    }

    /// Takes a received snapshot in, if it is whole. It is durable on return.
    ///
    /// # Errors
    /// `InvalidData` when it is damaged, or not what it was said to be.
    pub fn adopt(&self, draft: Draft, expected: &Base) -> io::Result<SnapshotFile> {
        let (base, mut body) = read_head(File::open(draft.path())?)?;
        if base != *expected {
            let text = "the snapshot is not the one that was announced";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        while body.next_block()?.is_some() {}
        let place = self.place(&base);
        draft.publish_as(&place)?;
        self.finish(place, base)
    }

    fn place(&self, base: &Base) -> PathBuf {
        let name = match base.applied {
            Some(id) => format!("{:020}-{}-{}.snapshot", id.index, id.term, id.node),
            None => "empty.snapshot".to_string(),
        };
        self.dir.join(name)
    }

    fn finish(&self, path: PathBuf, base: Base) -> io::Result<SnapshotFile> {
        for old in self.list()?.into_iter().skip(KEEP) {
            if old.path != path {
                fs::remove_file(old.path)?;
            }
        }
        sync_dir(&self.dir)?;
        let bytes = fs::metadata(&path)?.len();
        Ok(SnapshotFile { path, base, bytes })
    }
}

fn read_head(file: File) -> io::Result<(Base, FramedReader<File>)> {
    let mut framed = FramedReader::begin(file, MAGIC)?;
    let head = framed.next_block()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = proto::SnapshotMeta::decode(head.as_slice())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let base = Base {
        applied: head.last_log_id.map(Into::into),
        membership: head.membership.unwrap_or_default(),
    };
    Ok((base, framed))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::log::LogId;
    use super::*;

    fn base(index: u64) -> Base {
        Base {
            applied: Some(LogId { term: 1, node: 1, index }),
            membership: proto::StoredMembership::default(),
        }
    }

    fn put(snapshots: &Snapshots, index: u64) -> SnapshotFile {
        snapshots
            .write(&base(index), |out| out.write_all(format!("at {index}").as_bytes()))
            .unwrap()
    }

    #[test]
    fn two_are_kept_and_the_newest_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path()).unwrap();
        for index in [9, 10, 11] {
            put(&snapshots, index);
        }
        let list = snapshots.list().unwrap();
        assert_eq!(list.iter().map(|s| s.base.clone()).collect::<Vec<_>>(), [base(11), base(10)]);
        let mut text = String::new();
        list[0].body().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "at 11");
    }

    #[test]
    fn a_received_snapshot_is_taken_in_only_if_it_is_whole_and_the_right_one() {
        let dir = tempfile::tempdir().unwrap();
        let from = Snapshots::open(&dir.path().join("a")).unwrap();
        let to = Snapshots::open(&dir.path().join("b")).unwrap();
        let bytes = fs::read(put(&from, 5).path).unwrap();

        let send = |bytes: &[u8], announced| {
            let mut draft = to.receive().unwrap();
            draft.file().unwrap().write_all(bytes).unwrap();
            to.adopt(draft, &base(announced))
        };
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(send(&flipped, 5).is_err());
        assert!(send(&bytes[..bytes.len() - 12], 5).is_err());
        assert!(send(&bytes, 6).is_err());
        assert!(to.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("b")).unwrap().count(), 0);
        send(&bytes, 5).unwrap();
        assert_eq!(to.list().unwrap()[0].base, base(5));
    }
}
