//! Gaps: what this node misses, what it can give to a peer, and taking in what a peer has given.
//!
//! What fills a gap becomes a segment of its own, between the segments around it.

use std::fs::File;
use std::io::{self, Write};

use super::History;
use super::codec::{self, Encoder, Head};
use super::store::{Segment, parse_block, read_block};
use crate::storage::Draft;
use crate::types::ClusterTime;

/// Gaps that are told at once, at most.
const GAPS: usize = 8;

/// Entries that this node should have and has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// What ended before would be removed at once.
    pub since: ClusterTime,
}

impl History {
    /// The gaps worth filling, the newest first, some at most. What lies before everything counts while
    /// there is room: then this node came later than its cluster, or lost what it had. A gap counts
    /// once what follows it is in a file. Blocks.
    pub fn missing(&self, now: ClusterTime) -> Vec<Missing> {
        let store = self.shared.store.read();
        let runs = store.runs();
        let between = runs.windows(2).rev().map(|pair| (pair[0].1 + 1, pair[1].0 - 1));
        let before = runs.first().filter(|run| run.0 > 0 && store.has_room());
        let before = before.map(|run| (0, run.0 - 1));
        let keep = u64::try_from(store.limits().keep.as_millis()).unwrap_or(u64::MAX);
        let since = ClusterTime::from_millis(now.as_millis().saturating_sub(keep));
        let all = between.take(GAPS - 1).chain(before);
        all.map(|(from, to)| Missing { from, to, since }).collect()
    }

    /// The first block that has to do with the entries of `missing` and is not too old for whoever misses
    /// them, as it lies on disk, and the entry behind it. Blocks.
    ///
    /// # Errors
    /// The disk's, damage included.
    pub fn block_for(&self, missing: &Missing) -> io::Result<Option<(Vec<u8>, u64)>> {
        let mut wanted = *missing;
        loop {
            let Some((head, payload)) = self.next_block(&wanted)? else { return Ok(None) };
            let next = head.to.saturating_add(1);
            // It would be removed as soon as it is there, and asked for again.
            if head.end < missing.since && next > wanted.from && next <= wanted.to {
                wanted.from = next;
                continue;
            }
            let mut framed = Vec::with_capacity(Head::SIZE + payload.len());
            head.frame(&payload, &mut framed);
            return Ok((head.end >= missing.since).then_some((framed, next)));
        }
    }

    fn next_block(&self, missing: &Missing) -> io::Result<Option<(Head, Vec<u8>)>> {
        let (segment, open) = {
            let store = self.shared.store.read();
            let has = |last: Option<u64>| last >= Some(missing.from);
            let closed = store.closed().iter();
            let recent = |it: &&std::sync::Arc<Segment>| {
                has(it.summary.last()) && it.summary.end >= missing.since
            };
            let open = store.current().filter(|it| has(it.summary.last())).map(|segment| {
                segment.index.block_of(missing.from).map(|block| (segment.path.clone(), block))
            });
            (closed.filter(recent).min_by_key(|it| it.summary.first()).cloned(), open)
        };
        let (path, block) = match (segment, open) {
            (Some(segment), _) => (segment.path.clone(), segment.index.block_of(missing.from)?),
            (None, Some(open)) => open?,
            (None, None) => return Ok(None),
        };
        let Some(block) = block.filter(|block| block.from <= missing.to) else { return Ok(None) };
        read_block(&File::open(&path)?, &block).map(Some)
    }

    /// Takes blocks in that a peer gave, ascending and without a gap among them; what reaches beyond
    /// `missing` is cut off. Answers the last entry that is covered now; `None` when nothing came of it.
    /// Blocks.
    ///
    /// # Errors
    /// `InvalidData` when they are damaged; the disk's.
    pub fn take_in(&self, missing: &Missing, blocks: &[Vec<u8>]) -> io::Result<Option<u64>> {
        let (mut bytes, mut first, mut last) = (Vec::new(), None, None);
        for framed in blocks {
            let (head, payload) = parse_block(framed).ok_or(io::ErrorKind::InvalidData)?;
            let bad = |_| io::Error::from(io::ErrorKind::InvalidData);
            let mut records = codec::decode(&head, payload).map_err(bad)?;
            let (from, to) = (head.from.max(missing.from), head.to.min(missing.to));
            if from > to || last.is_some_and(|last: u64| last + 1 != from) {
                break;
            }
            records.retain(|record| (from..=to).contains(&record.position.index));
            let begin = records.first().map_or(head.begin, |record| record.at);
            let end = records.last().map_or(begin, |record| record.at);
            let mut encoder = Encoder::begin(from, begin, Vec::new());
            records.iter().for_each(|record| encoder.push_record(record));
            let Encoder { payload, events, .. } = encoder;
            let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
            let own = Head { from, to, begin, end, events, bytes: length, ..head };
            own.frame(&payload, &mut bytes);
            first.get_or_insert(own);
            last = Some(to);
        }
        let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
        let mut store = self.shared.store.write();
        // The gap may have been filled, or retention may have passed it, meanwhile.
        let overlaps = |run: &(u64, u64)| run.0 <= last && run.1 >= first.from;
        if store.runs().iter().any(overlaps) {
            return Ok(None);
        }
        let path = store.name(&first);
        let mut draft = Draft::begin(&path, 0o600)?;
        let file = draft.file()?;
        file.write_all(&store.preamble())?;
        file.write_all(&bytes)?;
        draft.publish()?;
        store.adopt(&path)?;
        let now = missing.since.plus(store.limits().keep);
        store.retire(now);
        // What had to go again at once must not be asked for again at once.
        let stays = store.closed().iter().any(|segment| segment.path == path);
        Ok(stays.then_some(last))
    }
}
