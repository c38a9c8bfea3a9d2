//! The segment files of the history, oldest first, the last of them being written.
//!
//! | Name | |
//! |---|---|
//! | `UNIXSECONDS-FIRSTENTRY.events` | magic and cluster, then blocks ([`super::codec`]) |
//! | `UNIXSECONDS-FIRSTENTRY.index` | of a closed segment ([`super::index`]) |
//! | `*.damaged` | put aside: not read any more, for whoever wants to look; a few are kept |
//!
//! Only the last segment can have a torn tail, and only behind what was synced: it is cut at the first
//! block that is not whole. Any other damage puts the segment aside, and what it covered is a gap
//! then. A gap is nowhere written down: it is what no block covers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::codec::{self, About, Head, Record};
use super::index::{BlockAt, Building, Index, OnDisk, Summary, add_run, beside};
use crate::state::{Event, Subject};
use crate::storage::sync_dir;
use crate::types::ClusterTime;

const MAGIC: [u8; 8] = *b"LHHIST01";
const PREAMBLE: u64 = 16;
/// Segments put aside that are kept.
const DAMAGED: usize = 4;
/// A segment is closed when it is so old, so that age can end it.
const OLD: Duration = Duration::from_secs(86_400);

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long, in cluster time: outages do not count.
    pub keep: Duration,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of one segment.
    pub segment: u64,
}

impl Limits {
    /// Segments of 16 MiB, smaller ones where little is kept.
    pub fn new(keep: Duration, bytes: u64) -> Limits {
        Limits { keep, bytes, segment: (bytes / 8).clamp(64 << 10, 16 << 20) }
    }
}

/// One segment.
#[derive(Debug)]
pub struct Segment {
    /// The data.
    pub path: PathBuf,
    /// Bytes of data.
    pub length: u64,
    /// What is in it.
    pub summary: Summary,
    /// Where it is found.
    pub index: Index,
}

impl Segment {
    fn size(&self) -> u64 {
        self.length
            + match &self.index {
                Index::Disk(index) => index.size(),
                // It will be about as large.
                Index::Memory(index) => index.size() as u64,
            }
    }
}

/// Blocks to be appended at once.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Framed.
    pub bytes: Vec<u8>,
    /// Each with its place in `bytes`, and how many of the events it has.
    pub heads: Vec<(u64, Head)>,
}

/// All segments.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    cluster: u64,
    limits: Limits,
    closed: Vec<Arc<Segment>>,
    open: Option<(Segment, File)>,
    /// The open file may have more in it than its segment: a write has failed half-way.
    torn: bool,
}

impl Store {
    /// Opens the history in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// The system's. Damage is none: it is put aside, and the log says so.
    pub fn open(dir: &Path, cluster: u64, limits: Limits) -> io::Result<Store> {
        fs::create_dir_all(dir)?;
        crate::storage::remove_drafts(dir)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if let Some(first) = first_entry(&path) {
                names.push((first, path));
            }
        }
        names.sort();
        let mut store = Store {
            dir: dir.to_path_buf(),
            cluster,
            limits,
            closed: Vec::new(),
            open: None,
            torn: false,
        };
        let last = names.len().saturating_sub(1);
        for (at, (_, path)) in names.into_iter().enumerate() {
            if let Err(error) = store.take_in(&path, at == last) {
                store.set_aside(&path, &error.to_string());
            }
        }
        store.closed.sort_by_key(|segment| segment.summary.first());
        Ok(store)
    }

    fn take_in(&mut self, path: &Path, is_last: bool) -> io::Result<()> {
        let length = fs::metadata(path)?.len();
        match OnDisk::open(path, self.cluster) {
            Ok((index, summary)) if index.length == length => {
                let path = path.to_path_buf();
                let index = Index::Disk(index);
                self.closed.push(Arc::new(Segment { path, length, summary, index }));
                return Ok(());
            }
            _ => {}
        }
        let scan = scan(path, self.cluster)?;
        if scan.good < length {
            if !is_last {
                return Err(invalid("a block does not match its checksum"));
            }
            if scan.more {
                tracing::warn!(path = %path.display(), "the history is damaged within its last segment; a copy is put aside");
                fs::copy(path, damaged_name(path))?;
            }
            let cut = length - scan.good;
            tracing::info!(path = %path.display(), bytes = cut, "cut the torn end of the history");
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(scan.good)?;
            file.sync_all()?;
        }
        if scan.summary.runs.is_empty() {
            fs::remove_file(path)?;
            return Ok(());
        }
        let segment = Segment {
            path: path.to_path_buf(),
            length: scan.good,
            summary: scan.summary,
            index: Index::Memory(scan.building),
        };
        if is_last {
            let file = OpenOptions::new().append(true).open(path)?;
            self.open = Some((segment, file));
            return Ok(());
        }
        self.close(segment);
        Ok(())
    }

    fn close(&mut self, segment: Segment) {
        let Segment { path, length, summary, index } = segment;
        let Index::Memory(building) = index else { return };
        let index = match building.write(&path, length, self.cluster, &summary) {
            Ok(index) => Index::Disk(index),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the index of a segment of the history stays in memory");
                Index::Memory(building)
            }
        };
        self.closed.push(Arc::new(Segment { path, length, summary, index }));
    }

    /// Judges a segment that could not be read: one whose data is whole gets a new index, any other is
    /// taken out of service, and the node goes on without it. The one being written is closed for it.
    pub fn judge(&mut self, path: &Path, why: &str) {
        if self.current().is_some_and(|segment| segment.path == path) {
            let _ = self.mend();
            self.torn = false;
            if let Some((segment, file)) = self.open.take() {
                if let Err(error) = file.sync_all() {
                    tracing::warn!(path = %path.display(), %error, "a segment of the lease history cannot be synced");
                }
                self.close(segment);
            }
        }
        let Some(at) = self.closed.iter().position(|segment| segment.path == path) else { return };
        let length = self.closed[at].length;
        if scan(path, self.cluster).is_ok_and(|scan| scan.good == length) {
            tracing::warn!(path = %path.display(), "the index of a segment of the lease history is damaged; it is made anew");
            self.closed.remove(at);
            let _ = fs::remove_file(beside(path));
            if let Err(error) = self.adopt(path) {
                self.set_aside(path, &error.to_string());
            }
            return;
        }
        let runs: Vec<(u64, u64)> = self
            .closed
            .iter()
            .filter(|segment| segment.path == path)
            .flat_map(|segment| segment.summary.runs.clone())
            .collect();
        if runs.is_empty() {
            return;
        }
        self.closed.retain(|segment| segment.path != path);
        self.set_aside(path, &format!("{why}; the history of entries {} is missing", show(&runs)));
    }

    fn set_aside(&self, path: &Path, why: &str) {
        tracing::error!(path = %path.display(), "a segment of the lease history is put aside: {why}");
        let aside = fs::rename(path, damaged_name(path));
        // Without its data it means nothing.
        let _ = fs::remove_file(beside(path));
        if let Err(error) = aside {
            tracing::error!(path = %path.display(), %error, "it cannot be renamed");
        }
        let mut others: Vec<PathBuf> = fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "damaged"))
            .collect();
        others.sort();
        for old in others.iter().rev().skip(DAMAGED) {
            let _ = fs::remove_file(old);
        }
    }

    /// Appends blocks of entries without a gap; nothing is in the file after an error. `events` are
    /// those of the blocks.
    ///
    /// # Errors
    /// The system's.
    pub fn append(&mut self, blocks: &Blocks, events: &[Event]) -> io::Result<()> {
        let Some((_, first)) = blocks.heads.first() else { return Ok(()) };
        let first = *first;
        self.mend()?;
        self.roll(&first)?;
        if self.open.is_none() {
            self.begin(&first)?;
        }
        let Some((segment, file)) = &mut self.open else { return Ok(()) };
        if let Err(error) = file.write_all(&blocks.bytes) {
            // A part may be there. Nothing is written behind it before it is gone.
            self.torn = true;
            let _ = self.mend();
            return Err(error);
        }
        let mut rest = events.iter();
        for (offset, head) in &blocks.heads {
            segment.summary.add(head);
            let Index::Memory(index) = &mut segment.index else { continue };
            let offset = segment.length + offset;
            index.block(BlockAt { offset, from: head.from, to: head.to });
            for event in rest.by_ref().take(head.events as usize) {
                if let Subject::Lease(lease) = &event.subject {
                    let id = lease.client_id.as_ref().map(|id| id.bytes());
                    index.add(lease.address.into(), lease.hw.bytes(), id);
                }
            }
        }
        segment.length += blocks.bytes.len() as u64;
        Ok(())
    }

    /// Cuts off what a failed write has left.
    fn mend(&mut self) -> io::Result<()> {
        if let Some((segment, file)) = self.open.as_ref().filter(|_| self.torn) {
            file.set_len(segment.length)?;
        }
        self.torn = false;
        Ok(())
    }

    fn begin(&mut self, head: &Head) -> io::Result<()> {
        let path = self.name(head);
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = file.write_all(&self.preamble()).and_then(|()| sync_dir(&self.dir)) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let index = Index::Memory(Building::default());
        let segment = Segment { path, length: PREAMBLE, summary: Summary::new(), index };
        self.open = Some((segment, file));
        Ok(())
    }

    /// Closes the open segment if it is full or old, or if `next` does not follow it: what fills the
    /// gap will be a segment between the two.
    fn roll(&mut self, next: &Head) -> io::Result<()> {
        let now = next.begin;
        let full = |segment: &Segment| {
            segment.length >= self.limits.segment
                || segment.summary.last().is_some_and(|last| last + 1 != next.from)
                || now.since(segment.summary.begin.min(now)) >= OLD.min(self.limits.keep)
        };
        let Some((segment, file)) = self.open.take_if(|(segment, _)| full(segment)) else {
            return Ok(());
        };
        if let Err(error) = file.sync_all() {
            self.open = Some((segment, file));
            return Err(error);
        }
        self.close(segment);
        Ok(())
    }

    /// The open segment's file, to be synced without a lock.
    ///
    /// # Errors
    /// The system's.
    pub fn file(&self) -> io::Result<Option<File>> {
        self.open.as_ref().map(|(_, file)| file.try_clone()).transpose()
    }

    /// Removes what is too old or too much at `now`, oldest first.
    pub fn retire(&mut self, now: ClusterTime) {
        let mut total = self.size();
        let mut gone = 0;
        for segment in &self.closed {
            let is_old = segment.summary.end.plus(self.limits.keep) < now;
            if !is_old && total <= self.limits.bytes {
                break;
            }
            total -= segment.size();
            gone += 1;
            let removed = fs::remove_file(&segment.path);
            let _ = fs::remove_file(beside(&segment.path));
            if let Err(error) = removed {
                tracing::warn!(path = %segment.path.display(), %error, "removing old history");
            }
        }
        self.closed.drain(..gone);
    }

    /// Takes a segment in that was made elsewhere, whole and durable: what filled a gap.
    ///
    /// # Errors
    /// `InvalidData` when it is damaged.
    pub fn adopt(&mut self, path: &Path) -> io::Result<()> {
        self.take_in(path, false)?;
        self.closed.sort_by_key(|segment| segment.summary.first());
        Ok(())
    }

    /// The name of a segment that begins with this block.
    pub fn name(&self, first: &Head) -> PathBuf {
        let seconds = codec::wall_millis(first.begin, first.wall).max(0) / 1000;
        self.dir.join(format!("{seconds:011}-{:020}.events", first.from))
    }

    /// What stands at the beginning of a segment.
    pub fn preamble(&self) -> Vec<u8> {
        [MAGIC, self.cluster.to_le_bytes()].concat()
    }

    /// How much is kept.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether what is older could be kept for some time.
    pub fn has_room(&self) -> bool {
        self.size() < self.limits.bytes / 2
    }

    /// Bytes on disk, or nearly.
    pub fn size(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|segment| segment.size()).sum();
        closed + self.current().map_or(0, Segment::size)
    }

    /// The closed segments, ascending.
    pub fn closed(&self) -> &[Arc<Segment>] {
        &self.closed
    }

    /// The one that is being written.
    pub fn current(&self) -> Option<&Segment> {
        self.open.as_ref().map(|(segment, _)| segment)
    }

    /// The entries covered, ascending.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let all = self.closed.iter().map(|segment| &segment.summary);
        let all = all.chain(self.current().map(|segment| &segment.summary));
        let mut sorted: Vec<(u64, u64)> = all.flat_map(|summary| summary.runs.clone()).collect();
        sorted.sort_unstable();
        let mut runs = Vec::new();
        sorted.into_iter().for_each(|run| add_run(&mut runs, run));
        runs
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Runs as people read them.
pub fn show(runs: &[(u64, u64)]) -> String {
    let runs: Vec<String> = runs.iter().map(|(from, to)| format!("{from} to {to}")).collect();
    runs.join(", ")
}

fn damaged_name(path: &Path) -> PathBuf {
    path.with_extension("events.damaged")
}

/// The first entry in the name of a segment; `None` for other files.
fn first_entry(path: &Path) -> Option<u64> {
    path.extension().filter(|end| *end == "events")?;
    path.file_stem()?.to_str()?.split_once('-')?.1.parse().ok()
}

struct Scan {
    /// Bytes up to the first block that is not whole.
    good: u64,
    /// Whether a whole block follows that one: then it is no torn tail.
    more: bool,
    summary: Summary,
    building: Building,
}

/// Reads a whole segment, which is small enough to lie in memory.
fn scan(path: &Path, cluster: u64) -> io::Result<Scan> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let (mut summary, mut building) = (Summary::new(), Building::default());
    let preamble = [MAGIC, cluster.to_le_bytes()].concat();
    let Some(mut rest) = bytes.strip_prefix(&*preamble) else {
        return match bytes.len() < preamble.len() {
            // Torn when it was begun.
            true => Ok(Scan { good: 0, more: false, summary, building }),
            false => Err(invalid("it is of another kind, or of another cluster")),
        };
    };
    while let Some((head, payload, after)) = whole(rest) {
        let Ok(records) = codec::decode(&head, payload) else { break };
        if summary.last().is_some_and(|last| head.from <= last) {
            break;
        }
        let offset = (bytes.len() - rest.len()) as u64;
        summary.add(&head);
        building.block(BlockAt { offset, from: head.from, to: head.to });
        records.iter().filter_map(Record::holding).for_each(|it| building.add_holding(it));
        rest = after;
    }
    let good = (bytes.len() - rest.len()) as u64;
    let more = (1..rest.len()).any(|at| whole(&rest[at..]).is_some());
    Ok(Scan { good, more, summary, building })
}

/// The block at the front of `bytes`, if it is whole, and what follows it.
fn whole(bytes: &[u8]) -> Option<(Head, &[u8], &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<{ Head::SIZE }>()?;
    let (head, hash) = Head::parse(first)?;
    let (payload, after) = rest.split_at_checked(head.bytes as usize)?;
    head.matches(hash, payload).then_some((head, payload, after))
}

/// The block that `bytes` are, whole, and nothing else.
pub fn parse_block(bytes: &[u8]) -> Option<(Head, &[u8])> {
    whole(bytes).filter(|(.., after)| after.is_empty()).map(|(head, payload, _)| (head, payload))
}

/// The block at this place of a segment.
///
/// # Errors
/// `InvalidData` for damage, `NotFound` when the segment was retired meanwhile.
pub fn read_block(file: &File, at: &BlockAt) -> io::Result<(Head, Vec<u8>)> {
    let mut first = [0; Head::SIZE];
    file.read_exact_at(&mut first, at.offset)?;
    let bad = || invalid("a block does not match its checksum");
    let (head, hash) = Head::parse(&first).ok_or_else(bad)?;
    let left = file.metadata()?.len().saturating_sub(at.offset);
    if u64::from(head.bytes) > left {
        return Err(bad());
    }
    let mut payload = vec![0; head.bytes as usize];
    file.read_exact_at(&mut payload, at.offset + Head::SIZE as u64)?;
    if !head.matches(hash, &payload) {
        return Err(bad());
    }
    Ok((head, payload))
}

/// The records of the block at this place.
///
/// # Errors
/// As [`read_block`].
pub fn read_records(file: &File, at: &BlockAt) -> io::Result<Vec<Record>> {
    let (head, payload) = read_block(file, at)?;
    codec::decode(&head, &payload).map_err(|error| invalid(&error.to_string()))
}

/// Whether the record is about one of these addresses, which are ascending.
pub fn is_about(record: &Record, addresses: &[u32]) -> bool {
    match &record.about {
        About::Lease(holding) => addresses.binary_search(&holding.address.into()).is_ok(),
        About::Config(_) => false,
    }
}
