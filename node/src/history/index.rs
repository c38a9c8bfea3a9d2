//! Where in a segment an entry, an address or a client is found.
//!
//! While a segment is written its index is in memory ([`Building`]); when it is closed the index
//! becomes a file beside it ([`OnDisk`]), which is searched in place: a look-up costs some reads and
//! no memory. It follows from the segment and is made anew when it is missing or damaged.
//!
//! ```text
//! magic 8, cluster 8, length of the data 8, events 8, first stamp 8, last stamp 8, lowest and highest wall
//! milliseconds 8 8, counts 8 each (runs, blocks, addresses, hardware addresses, client ids),
//! runs (first entry 8, last entry 8), xxh3 of all that 8,
//! blocks (offset 8, first entry 8, last entry 8), addresses (address 4, block 4),
//! hardware addresses (hash 4, address 4), client ids (hash 4, address 4), xxh3 of these 8
//! ```

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::codec::{Head, Holding, wall_millis};
use crate::storage::Draft;
use crate::types::ClusterTime;

const MAGIC: [u8; 8] = *b"LHHIDX01";
const WORDS: usize = 13;
/// More runs than any segment has blocks are damage.
const MOST: u64 = 1 << 32;

/// A block's place in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockAt {
    /// Where its head begins.
    pub offset: u64,
    /// The first entry it covers.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

/// What is known of a segment without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Events in it.
    pub events: u64,
    /// The first stamp.
    pub begin: ClusterTime,
    /// The last stamp.
    pub end: ClusterTime,
    /// The lowest and the highest wall time of its blocks, Unix milliseconds.
    pub walls: (i64, i64),
    /// The entries it covers, ascending, without overlap.
    pub runs: Vec<(u64, u64)>,
}

impl Summary {
    /// Of nothing.
    pub fn new() -> Summary {
        Summary {
            events: 0,
            begin: ClusterTime::NEVER,
            end: ClusterTime::ZERO,
            walls: (i64::MAX, i64::MIN),
            runs: Vec::new(),
        }
    }

    /// With one block more.
    pub fn add(&mut self, head: &Head) {
        self.events += u64::from(head.events);
        self.begin = self.begin.min(head.begin);
        self.end = self.end.max(head.end);
        let walls = (wall_millis(head.begin, head.wall), wall_millis(head.end, head.wall));
        self.walls = (self.walls.0.min(walls.0), self.walls.1.max(walls.1));
        add_run(&mut self.runs, (head.from, head.to));
    }

    /// The first entry covered; `None` for an empty segment.
    pub fn first(&self) -> Option<u64> {
        self.runs.first().map(|run| run.0)
    }

    /// The last entry covered.
    pub fn last(&self) -> Option<u64> {
        self.runs.last().map(|run| run.1)
    }
}

/// Adds a run that begins after all others; one that follows the last at once extends it.
pub fn add_run(runs: &mut Vec<(u64, u64)>, run: (u64, u64)) {
    match runs.last_mut() {
        Some(last) if last.1.checked_add(1).is_none_or(|next| run.0 <= next) => {
            last.1 = last.1.max(run.1);
        }
        _ => runs.push(run),
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A hardware address, whatever its type.
    Hw(Box<[u8]>),
    /// A client id.
    Id(Box<[u8]>),
}

fn hash(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}

type Pair = [u32; 2];

/// An index in memory.
#[derive(Debug, Default)]
pub struct Building {
    blocks: Vec<BlockAt>,
    addresses: Vec<Pair>,
    hws: Vec<Pair>,
    ids: Vec<Pair>,
}

impl Building {
    /// Begins a block.
    pub fn block(&mut self, at: BlockAt) {
        self.blocks.push(at);
    }

    /// Adds an event of the block begun last.
    pub fn add(&mut self, address: u32, hw: &[u8], id: Option<&[u8]>) {
        let block = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX).saturating_sub(1);
        self.addresses.push([address, block]);
        if !hw.is_empty() {
            self.hws.push([hash(hw), address]);
        }
        if let Some(id) = id {
            self.ids.push([hash(id), address]);
        }
    }

    /// Adds an event that was read.
    pub fn add_holding(&mut self, holding: &Holding) {
        let id = holding.client_id.as_ref().map(|id| id.bytes());
        self.add(holding.address.into(), holding.hw.bytes(), id);
    }

    /// Bytes of memory in use.
    pub fn size(&self) -> usize {
        (self.addresses.len() + self.hws.len() + self.ids.len()) * 8 + self.blocks.len() * 24
    }

    /// Becomes a file beside `data`, which is `length` bytes long.
    ///
    /// # Errors
    /// The system's.
    pub fn write(
        &self,
        data: &Path,
        length: u64,
        cluster: u64,
        summary: &Summary,
    ) -> io::Result<OnDisk> {
        let sorted = |pairs: &[Pair]| {
            let mut pairs = pairs.to_vec();
            pairs.sort_unstable();
            pairs.dedup();
            pairs
        };
        let sections = [sorted(&self.addresses), sorted(&self.hws), sorted(&self.ids)];
        let words = [
            u64::from_le_bytes(MAGIC),
            cluster,
            length,
            summary.events,
            summary.begin.as_millis(),
            summary.end.as_millis(),
            summary.walls.0 as u64,
            summary.walls.1 as u64,
            summary.runs.len() as u64,
            self.blocks.len() as u64,
            sections[0].len() as u64,
            sections[1].len() as u64,
            sections[2].len() as u64,
        ];
        let runs = summary.runs.iter().flat_map(|run| [run.0, run.1]);
        let head: Vec<u8> = words.into_iter().chain(runs).flat_map(u64::to_le_bytes).collect();
        let mut draft = Draft::begin(&beside(data), 0o600)?;
        let mut out = io::BufWriter::new(draft.file()?);
        out.write_all(&head)?;
        out.write_all(&xxh3_64(&head).to_le_bytes())?;
        let mut all = Xxh3::new();
        for block in &self.blocks {
            for word in [block.offset, block.from, block.to] {
                all.update(&word.to_le_bytes());
                out.write_all(&word.to_le_bytes())?;
            }
        }
        for pair in sections.iter().flatten() {
            let bytes = (u64::from(pair[1]) << 32 | u64::from(pair[0])).to_le_bytes();
            all.update(&bytes);
            out.write_all(&bytes)?;
        }
        out.write_all(&all.digest().to_le_bytes())?;
        out.flush()?;
        drop(out);
        draft.publish()?;
        OnDisk::open(data, cluster).map(|(index, _)| index)
    }
}

/// The name of the index of a segment.
pub fn beside(data: &Path) -> PathBuf {
    data.with_extension("index")
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an index of the history is damaged")
}

/// An index in a file.
#[derive(Debug)]
pub struct OnDisk {
    path: PathBuf,
    /// Length of the data it was made for.
    pub length: u64,
    counts: [u64; 4],
    /// Where the sections begin.
    start: u64,
    checked: AtomicBool,
}

impl OnDisk {
    /// The index of the segment `data`.
    ///
    /// # Errors
    /// `InvalidData` when it is damaged or of another cluster.
    pub fn open(data: &Path, cluster: u64) -> io::Result<(OnDisk, Summary)> {
        let path = beside(data);
        let mut file = BufReader::new(File::open(&path)?);
        let mut head = vec![0; WORDS * 8];
        file.read_exact(&mut head)?;
        let word = |head: &[u8], at: usize| {
            head.get(at * 8..at * 8 + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        let runs = word(&head, 8);
        if word(&head, 0) != u64::from_le_bytes(MAGIC) || runs > word(&head, 9) || runs > MOST {
            return Err(damaged());
        }
        // Bounded by what the file has.
        (&mut file).take(runs * 16).read_to_end(&mut head)?;
        let mut hash = [0; 8];
        file.read_exact(&mut hash)?;
        if xxh3_64(&head) != u64::from_le_bytes(hash) || word(&head, 1) != cluster {
            return Err(damaged());
        }
        let summary = Summary {
            events: word(&head, 3),
            begin: ClusterTime::from_millis(word(&head, 4)),
            end: ClusterTime::from_millis(word(&head, 5)),
            walls: (word(&head, 6) as i64, word(&head, 7) as i64),
            runs: (0..runs as usize)
                .map(|run| (word(&head, WORDS + run * 2), word(&head, WORDS + run * 2 + 1)))
                .collect(),
        };
        let counts = [9, 10, 11, 12].map(|at| word(&head, at));
        let (length, start) = (word(&head, 2), head.len() as u64 + 8);
        let index = OnDisk { path, length, counts, start, checked: AtomicBool::new(false) };
        Ok((index, summary))
    }

    /// Its own size in bytes.
    pub fn size(&self) -> u64 {
        let [blocks, pairs @ ..] = self.counts;
        self.start + blocks * 24 + pairs.iter().sum::<u64>() * 8 + 8
    }

    /// The file, after its checksum was looked at once.
    fn file(&self) -> io::Result<File> {
        let file = File::open(&self.path)?;
        if !self.checked.load(Ordering::Relaxed) {
            let (mut all, mut at, end) = (Xxh3::new(), self.start, self.size() - 8);
            let mut piece = vec![0; 1 << 16];
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
                file.read_exact_at(&mut piece[..length], at)?;
                all.update(&piece[..length]);
                at += length as u64;
            }
            let mut hash = [0; 8];
            file.read_exact_at(&mut hash, end)?;
            if all.digest() != u64::from_le_bytes(hash) {
                return Err(damaged());
            }
            self.checked.store(true, Ordering::Relaxed);
        }
        Ok(file)
    }

    fn block_in(&self, file: &File, number: u64) -> io::Result<Option<BlockAt>> {
        if number >= self.counts[0] {
            return Ok(None);
        }
        let mut bytes = [0; 24];
        file.read_exact_at(&mut bytes, self.start + number * 24)?;
        let [offset, from, to] = [0, 8, 16]
            .map(|at| bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word)));
        Ok(Some(BlockAt { offset, from, to }))
    }

    /// The second halves of the pairs of a section whose first half is `key`.
    fn pairs(&self, file: &File, section: usize, key: u32) -> io::Result<Vec<u32>> {
        let before: u64 = self.counts[1..=section].iter().sum();
        let start = self.start + self.counts[0] * 24 + before * 8;
        let pair = |at: u64| -> io::Result<Pair> {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, start + at * 8)?;
            let word = u64::from_le_bytes(bytes);
            Ok([word as u32, (word >> 32) as u32])
        };
        let (mut low, mut high) = (0, self.counts[section + 1]);
        let count = high;
        while low < high {
            let middle = low + (high - low) / 2;
            if pair(middle)?[0] < key { low = middle + 1 } else { high = middle }
        }
        let mut found = Vec::new();
        while low < count {
            let [own, value] = pair(low)?;
            if own != key {
                break;
            }
            found.push(value);
            low += 1;
        }
        Ok(found)
    }
}

/// Either kind of index.
#[derive(Debug)]
pub enum Index {
    /// Of the segment that is being written.
    Memory(Building),
    /// Of a closed one.
    Disk(OnDisk),
}

impl Index {
    /// Addresses that a client with this key has had; others may be among them.
    ///
    /// # Errors
    /// `InvalidData` for damage.
    pub fn addresses_of(&self, key: &Key) -> io::Result<Vec<u32>> {
        let (section, bytes) = match key {
            Key::Hw(bytes) => (1, bytes),
            Key::Id(bytes) => (2, bytes),
        };
        let hash = hash(bytes);
        match self {
            Index::Memory(index) => {
                let pairs = if section == 1 { &index.hws } else { &index.ids };
                let found = pairs.iter().filter(|pair| pair[0] == hash).map(|pair| pair[1]);
                Ok(found.collect())
            }
            Index::Disk(index) => index.pairs(&index.file()?, section, hash),
        }
    }

    /// The blocks with events of these addresses; both ascending.
    ///
    /// # Errors
    /// `InvalidData` for damage.
    pub fn blocks_with(&self, addresses: &[u32]) -> io::Result<Vec<BlockAt>> {
        let mut numbers: Vec<u32> = Vec::new();
        let mut blocks = Vec::new();
        match self {
            Index::Memory(index) => {
                let found =
                    index.addresses.iter().filter(|pair| addresses.binary_search(&pair[0]).is_ok());
                numbers.extend(found.map(|pair| pair[1]));
                numbers.sort_unstable();
                numbers.dedup();
                blocks.extend(numbers.iter().filter_map(|at| index.blocks.get(*at as usize)));
            }
            Index::Disk(index) => {
                let file = index.file()?;
                for address in addresses {
                    numbers.extend(index.pairs(&file, 0, *address)?);
                }
                numbers.sort_unstable();
                numbers.dedup();
                for number in numbers {
                    blocks.extend(index.block_in(&file, number.into())?);
                }
            }
        }
        Ok(blocks)
    }

    /// The first block that ends at `entry` or later.
    ///
    /// # Errors
    /// `InvalidData` for damage.
    pub fn block_of(&self, entry: u64) -> io::Result<Option<BlockAt>> {
        match self {
            Index::Memory(index) => {
                let at = index.blocks.partition_point(|block| block.to < entry);
                Ok(index.blocks.get(at).copied())
            }
            Index::Disk(index) => {
                let file = index.file()?;
                let (mut low, mut high) = (0, index.counts[0]);
                while low < high {
                    let middle = low + (high - low) / 2;
                    let block = index.block_in(&file, middle)?;
                    if block.is_some_and(|block| block.to < entry) {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                index.block_in(&file, low)
            }
        }
    }
}
