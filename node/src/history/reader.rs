//! Reading the history: by address or client, and on from a position. Both see everything that was
//! recorded, written or not. They read files, so they run where blocking is allowed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::History;
use super::codec::Record;
use super::index::{BlockAt, Key, add_run};
use super::rows::{Row, Rows};
use super::store::{Segment, is_about, read_records};
use crate::state::{Event, Position, Subject};

/// How often a look-up begins anew because it came upon damage.
const TRIES: usize = 64;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// An address.
    Address(Ipv4Addr),
    /// A hardware address, whatever its type.
    Hw(Box<[u8]>),
    /// A client id.
    Id(Box<[u8]>),
}

/// A question to the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Who or what.
    pub wanted: Wanted,
    /// Only rows that had not ended before, Unix milliseconds.
    pub from: Option<i64>,
    /// Only rows that had begun until then, Unix milliseconds.
    pub to: Option<i64>,
    /// Only rows behind the one that starts here: the next page.
    pub after: Option<Position>,
    /// The most rows.
    pub limit: usize,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Ascending by where they start.
    pub rows: Vec<Row>,
    /// There are more: ask again `after` this.
    pub more: Option<Position>,
    /// The entries that this node has the history of, ascending; more than one run means gaps.
    pub covered: Vec<(u64, u64)>,
    /// The wall time of the first of them, Unix milliseconds.
    pub since: Option<i64>,
}

/// Some events in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The events.
    pub records: Vec<Record>,
    /// Where to go on. The same as before when there is nothing yet.
    pub next: Position,
}

/// The history does not have the position: it is too old, or in a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// The first position behind it that is there.
    pub first: Position,
}

/// Why reading on failed.
#[derive(Debug)]
pub enum NotRead {
    /// It is not there.
    Gone(Gone),
    /// The disk.
    Io(io::Error),
}

impl From<io::Error> for NotRead {
    fn from(error: io::Error) -> NotRead {
        NotRead::Io(error)
    }
}

/// A block and the file that it is in.
type Place = (BlockAt, PathBuf);

/// A fault of one segment.
struct Fault {
    path: PathBuf,
    error: io::Error,
}

impl History {
    /// Rows of an address or a client. Blocks.
    ///
    /// # Errors
    /// The disk's. Damage is none: it becomes a gap.
    pub fn look_up(&self, lookup: &Lookup) -> io::Result<Found> {
        for _ in 0..TRIES {
            match self.try_look_up(lookup) {
                Ok(found) => return Ok(found),
                Err(fault) => self.judge(fault)?,
            }
        }
        Err(io::Error::other("the lease history is damaged in many places"))
    }

    /// Damage takes the segment out of service, as does a file that somebody removed; one that was retired
    /// meanwhile is out of service. Other errors are the caller's.
    fn judge(&self, Fault { path, error }: Fault) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
                self.shared.store.write().judge(&path, &error.to_string());
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn try_look_up(&self, lookup: &Lookup) -> Result<Found, Fault> {
        // First what is in no file yet: what is written meanwhile is seen twice, never not at all.
        let (waiting, waiting_runs) = self.waiting();
        let addresses = self.addresses(&lookup.wanted, &waiting)?;
        let (places, mut runs, since) = self.places(&addresses)?;
        waiting_runs.into_iter().for_each(|run| add_run(&mut runs, run));
        let mut page = Page::new(lookup);
        let mut rows = Rows::default();
        let (mut last, mut run) = (None, 0);
        let mut feed = |record: &Record, rows: &mut Rows| {
            if last.is_some_and(|last| record.position <= last) {
                return;
            }
            let own = runs.partition_point(|run| run.1 < record.position.index);
            if last.replace(record.position).is_some() && own != run {
                rows.gap();
            }
            run = own;
            rows.push(record);
        };
        let mut files = Files::default();
        for (at, path) in &places {
            let fault = |error| Fault { path: path.clone(), error };
            let file = files.get(path).map_err(fault)?;
            let records = read_records(file, at).map_err(fault)?;
            let ours = records.iter().filter(|record| is_about(record, &addresses));
            ours.for_each(|record| feed(record, &mut rows));
            rows.take_done().for_each(|row| page.add(row));
        }
        let waiting = waiting.iter().map(Record::of);
        waiting
            .filter(|record| is_about(record, &addresses))
            .for_each(|record| feed(&record, &mut rows));
        rows.finish().into_iter().for_each(|row| page.add(row));
        let (rows, more) = page.finish();
        Ok(Found { rows, more, covered: runs, since })
    }

    fn waiting(&self) -> (Vec<Event>, Vec<(u64, u64)>) {
        let queue = self.shared.queue.lock();
        let first = queue.recent.len() - queue.waiting;
        (queue.recent.range(first..).cloned().collect(), queue.waiting_runs())
    }

    /// The addresses that `wanted` is or has had, ascending.
    fn addresses(&self, wanted: &Wanted, waiting: &[Event]) -> Result<Vec<u32>, Fault> {
        let key = match wanted {
            Wanted::Address(address) => return Ok(vec![u32::from(*address)]),
            Wanted::Hw(bytes) => Key::Hw(bytes.clone()),
            Wanted::Id(bytes) => Key::Id(bytes.clone()),
        };
        let (closed, open) = {
            let store = self.shared.store.read();
            let open = store.current().map(|segment| segment.index.addresses_of(&key));
            (store.closed().to_vec(), open)
        };
        let mut addresses = open.and_then(Result::ok).unwrap_or_default();
        for segment in &closed {
            addresses.extend(in_segment(segment, |segment| segment.index.addresses_of(&key))?);
        }
        for event in waiting {
            let Subject::Lease(lease) = &event.subject else { continue };
            let own = match &key {
                Key::Hw(bytes) => lease.hw.bytes() == &**bytes,
                Key::Id(bytes) => lease.client_id.as_ref().is_some_and(|id| id.bytes() == &**bytes),
            };
            addresses.extend(own.then(|| u32::from(lease.address)));
        }
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// The blocks with events of these addresses, in order; all that is covered; since when.
    #[allow(clippy::type_complexity)]
    fn places(
        &self,
        addresses: &[u32],
    ) -> Result<(Vec<Place>, Vec<(u64, u64)>, Option<i64>), Fault> {
        let (closed, open, runs, since) = {
            let store = self.shared.store.read();
            let open = store.current().and_then(|segment| {
                let blocks = segment.index.blocks_with(addresses).ok()?;
                Some((segment.path.clone(), blocks))
            });
            let first = store.closed().first().map(|segment| segment.summary.walls.0);
            let first = first.or(store.current().map(|segment| segment.summary.walls.0));
            (store.closed().to_vec(), open, store.runs(), first)
        };
        let mut places = Vec::new();
        for segment in &closed {
            let blocks = in_segment(segment, |segment| segment.index.blocks_with(addresses))?;
            places.extend(blocks.into_iter().map(|block| (block, segment.path.clone())));
        }
        let open = open
            .into_iter()
            .flat_map(|(path, blocks)| blocks.into_iter().map(move |block| (block, path.clone())));
        places.extend(open);
        places.sort_by_key(|(block, _)| block.from);
        Ok((places, runs, since))
    }

    /// The events from `position` on, at most about `most`, as far as they are there now. Blocks.
    ///
    /// # Errors
    /// [`NotRead::Gone`] when the history begins later or has a gap there.
    pub fn after(&self, position: Position, most: usize) -> Result<Chunk, NotRead> {
        for _ in 0..TRIES {
            if let Some(chunk) = self.recent(position, most) {
                return Ok(chunk);
            }
            let place = {
                let store = self.shared.store.read();
                let has = |segment: &Segment| {
                    let runs = &segment.summary.runs;
                    runs.iter().any(|run| (run.0..=run.1).contains(&position.index))
                };
                match store.current().filter(|segment| has(segment)) {
                    Some(segment) => {
                        Some(Err((segment.path.clone(), segment.index.block_of(position.index))))
                    }
                    None => {
                        store.closed().iter().find(|segment| has(segment)).map(|it| Ok(it.clone()))
                    }
                }
            };
            let (path, block) = match place {
                Some(Err((path, block))) => (path, block),
                Some(Ok(segment)) => (segment.path.clone(), segment.index.block_of(position.index)),
                None => return self.nothing_at(position),
            };
            let read = block.and_then(|block| {
                let block = block.ok_or(io::ErrorKind::NotFound)?;
                Ok((block, read_records(&File::open(&path)?, &block)?))
            });
            match read {
                Ok((block, mut records)) => {
                    records.retain(|record| record.position >= position);
                    return Ok(Chunk { records, next: Position::at(block.to.saturating_add(1)) });
                }
                Err(error) => self.judge(Fault { path, error })?,
            }
        }
        Err(io::Error::other("the lease history is damaged in many places").into())
    }

    /// [`History::after`] from memory alone; `None` when it is not there. Does not block.
    pub fn recent(&self, position: Position, most: usize) -> Option<Chunk> {
        let queue = self.shared.queue.lock();
        if position.index < queue.recent_from {
            return None;
        }
        let Some(covered) = queue.covered.filter(|covered| position.index <= *covered) else {
            return Some(Chunk { records: Vec::new(), next: position });
        };
        let first = queue.recent.partition_point(|event| event.position < position);
        let events: Vec<Event> = queue.recent.range(first..).take(most).cloned().collect();
        let is_all = first + events.len() == queue.recent.len();
        drop(queue);
        let next = match events.last() {
            Some(last) if !is_all => last.position.next(),
            _ => Position::at(covered.saturating_add(1)),
        };
        Some(Chunk { records: events.iter().map(Record::of).collect(), next })
    }

    /// In no file: about to be written, or not there.
    fn nothing_at(&self, position: Position) -> Result<Chunk, NotRead> {
        let (waiting, from, covered) = {
            let queue = self.shared.queue.lock();
            (queue.waiting_runs(), queue.recent_from, queue.covered)
        };
        let mut runs = self.shared.store.read().runs();
        if waiting.iter().chain(&runs).any(|run| (run.0..=run.1).contains(&position.index)) {
            return Ok(Chunk { records: Vec::new(), next: position });
        }
        runs.extend(waiting);
        let next = runs.iter().map(|run| run.0).filter(|from| *from > position.index).min();
        let end = covered.map_or(from, |covered| covered.saturating_add(1));
        Err(NotRead::Gone(Gone { first: Position::at(next.unwrap_or(end)) }))
    }

    /// Behind the last event. Changes when events have come.
    pub fn follow(&self) -> watch::Receiver<Position> {
        self.shared.end.subscribe()
    }

    /// The position behind everything recorded so far.
    pub fn end(&self) -> Position {
        let covered = self.shared.queue.lock().covered;
        Position::at(covered.map_or(0, |covered| covered.saturating_add(1)))
    }

    /// Whether the node is stopping: nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.shared.queue.lock().has_ended()
    }

    /// The entries that this node has the history of, ascending.
    pub fn covered(&self) -> Vec<(u64, u64)> {
        let waiting = self.shared.queue.lock().waiting_runs();
        let mut runs = self.shared.store.read().runs();
        waiting.into_iter().for_each(|run| add_run(&mut runs, run));
        runs
    }
}

fn in_segment<T>(
    segment: &Arc<Segment>,
    find: impl FnOnce(&Segment) -> io::Result<T>,
) -> Result<T, Fault> {
    find(segment).map_err(|error| Fault { path: segment.path.clone(), error })
}

/// The file read last stays open.
#[derive(Default)]
struct Files(Option<(PathBuf, File)>);

impl Files {
    fn get(&mut self, path: &Path) -> io::Result<&File> {
        if self.0.as_ref().is_none_or(|(own, _)| own != path) {
            self.0 = Some((path.to_path_buf(), File::open(path)?));
        }
        self.0.as_ref().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// One page of rows: never more of them than asked for in memory.
struct Page<'a> {
    lookup: &'a Lookup,
    rows: BTreeMap<Position, Row>,
}

impl<'a> Page<'a> {
    fn new(lookup: &'a Lookup) -> Page<'a> {
        Page { lookup, rows: BTreeMap::new() }
    }

    fn add(&mut self, row: Row) {
        let Lookup { wanted, from, to, after, limit } = self.lookup;
        let own = match wanted {
            Wanted::Address(address) => row.address == *address,
            Wanted::Hw(bytes) => row.hw.bytes() == &**bytes,
            Wanted::Id(bytes) => row.client_id.as_ref().is_some_and(|id| id.bytes() == &**bytes),
        };
        let end = row.end.map(|(end, _)| end).or(row.expires);
        let within = from.is_none_or(|from| end.is_none_or(|end| end >= from))
            && to.is_none_or(|to| row.begin <= to);
        if !own || !within || after.is_some_and(|after| row.start <= after) {
            return;
        }
        self.rows.insert(row.start, row);
        if self.rows.len() > limit.saturating_add(1) {
            self.rows.pop_last();
        }
    }

    fn finish(mut self) -> (Vec<Row>, Option<Position>) {
        let is_cut = self.rows.len() > self.lookup.limit;
        if is_cut {
            self.rows.pop_last();
        }
        let more = self.rows.last_key_value().map(|(start, _)| *start).filter(|_| is_cut);
        (self.rows.into_values().collect(), more)
    }
}
