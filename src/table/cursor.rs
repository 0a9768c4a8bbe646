//! A cursor over part of a table: one source of a merge. Verifies every record that it stands on.
//!
//! Mapped, entries are good for as long as the table: they lead into its memory. Otherwise the cursor holds **windows**: a block
//! from the cache or, streaming, a run of blocks that it read for itself. An entry must stay usable after the cursor has stepped
//! into the next window, so the old one is kept until [`Source::release`].

use std::fmt;

use crate::cache::Block;
use crate::env::ReadFile;
use crate::error::{Result, zeroed};
#[cfg(test)]
use crate::files::Bytes;
use crate::merging::{Source, prefix_after};
use crate::record::{Kind, SEQ_MAX, Seq, Stored};
use crate::sync::Arc;
use crate::table::block::{self, Layout};
use crate::table::fences::Fences;
use crate::table::reader::{Position, Table};
use crate::value::Value;

/// How many bytes ahead of the record it stands on a cursor prefetches.
const PREFETCH_AHEAD: u64 = 1 << 10;
/// How much of one record is prefetched at most; of a longer one the CPU fetches the rest in sequence by itself.
const PREFETCH_BYTES_MAX: usize = 512;
/// A trailer is mostly shorter: two bytes a record.
const TRAILER_BYTES_USUAL: u64 = 128;
/// What a streaming cursor reads at a time, or one block if that is longer.
const STREAM_BYTES: u64 = 256 << 10;

/// Where a cursor gets its bytes.
#[derive(Debug)]
pub enum Reading {
    /// From the mapping or, of a table that is not mapped, through the block cache.
    Shared,
    /// From its own buffers, which it fills by large reads past mapping and cache: for merges and verification.
    Streaming(Box<dyn ReadFile>),
}

/// The same, as a cursor and its clones hold it.
#[derive(Clone, Debug)]
enum Through {
    Table,
    Own(Arc<dyn ReadFile>),
}

/// Blocks that are not mapped.
#[derive(Clone, Debug)]
struct Window {
    /// Where they stand.
    from: u64,
    bytes: Arc<Block>,
}

impl Window {
    /// The bytes from `offset` on, if it lies within.
    #[inline]
    fn tail(&self, offset: u64) -> Option<&[u8]> {
        self.bytes.bytes().get(offset.checked_sub(self.from)? as usize..).filter(|tail| !tail.is_empty())
    }
}

/// A position among the records of a table that lie in some range of keys.
#[derive(Clone)]
pub struct TableCursor {
    table: Arc<Table>,
    through: Through,
    low: Position,
    high: Position,
    /// The block it is in and where that starts.
    block: u32,
    start: u64,
    layout: Layout,
    /// The block's records that lie within `low` and `high`.
    first: u32,
    end: u32,
    /// The record it stands on, if it stands on one.
    index: u32,
    /// Verified.
    entry: Option<Stored>,
    prefix: u64,
    /// Bytes that all keys of all sources share.
    skip: usize,
    /// Of a table that is not mapped: what holds the block; and earlier ones, which entries may lead into.
    window: Option<Window>,
    kept: Vec<Window>,
    /// A buffer to read into.
    spare: Vec<u8>,
}

impl Table {
    /// A cursor over the keys from `low` up to but without `high`, as far as given; stands nowhere until the first seek.
    pub fn cursor(self: &Arc<Table>, reading: Reading, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<TableCursor> {
        let through = match reading {
            Reading::Shared => Through::Table,
            Reading::Streaming(read) => Through::Own(Arc::from(read)),
        };
        let blocks = self.fences()?.blocks();
        let past = through.past();
        let bound = |key: Option<&[u8]>, block| {
            key.map_or(Ok(Position { block, index: 0 }), |key| self.lower_bound(key, SEQ_MAX, past))
        };
        let low = bound(low, 0)?;
        let high = bound(high, blocks)?.max(low);
        Ok(TableCursor {
            table: Arc::clone(self),
            through,
            low,
            high,
            block: 0,
            start: 0,
            layout: Layout::default(),
            first: 0,
            end: 0,
            index: 0,
            entry: None,
            prefix: 0,
            skip: 0,
            window: None,
            kept: Vec::new(),
            spare: Vec::new(),
        })
    }
}

impl Through {
    fn past(&self) -> Option<&dyn ReadFile> {
        match self {
            Through::Table => None,
            Through::Own(read) => Some(&**read),
        }
    }
}

impl TableCursor {
    /// Is there no record at all?
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.low == self.high
    }

    /// The first and the last key, if there is a record.
    #[cfg(test)]
    pub fn ends(&self) -> Result<Option<(Bytes<'_>, Bytes<'_>)>> {
        if self.is_empty() {
            return Ok(None);
        }
        let (fences, meta) = (self.table.fences()?, self.table.meta());
        let first = match (self.low.block, self.low.index) {
            (0, 0) => Bytes::Mapped(&meta.smallest),
            (block, index) => self.key_at(fences, block, |_| index)?,
        };
        let last = match (self.high.block, self.high.index) {
            (block, 0) if block == fences.blocks() => Bytes::Mapped(&meta.largest),
            (block, 0) => self.key_at(fences, block.saturating_sub(1), |count| count - 1)?,
            (block, index) => self.key_at(fences, block, |_| index - 1)?,
        };
        Ok(Some((first, last)))
    }

    /// The key of one of a block's records, told how many there are.
    #[cfg(test)]
    fn key_at(&self, fences: &Fences, block: u32, index: impl FnOnce(u32) -> u32) -> Result<Bytes<'_>> {
        let (bytes, layout, start) = self.table.enter(fences, block, self.through.past())?;
        let file = self.table.file();
        let found = layout.record(&bytes, index(layout.count));
        let (at, record, header) = found.ok_or_else(|| block::no_record(file, start))?;
        file.check(record, &header, start + at as u64)?;
        Ok(bytes.part(at + header.key_at as usize, at + header.value_at()))
    }

    /// Tells how many first bytes all keys of all sources share.
    pub fn set_skip(&mut self, skip: usize) {
        self.skip = skip;
    }

    /// A record's value.
    #[inline]
    pub fn value_of(&self, entry: &Stored) -> &[u8] {
        part(self.record_of(entry), entry.header.value_at(), entry.header.value_len)
    }

    /// The bytes from a record on: where a merge takes it from.
    #[inline]
    pub fn record_of(&self, entry: &Stored) -> &[u8] {
        if self.is_mapped() {
            return self.table.file().tail(entry.offset);
        }
        self.window_of(entry).and_then(|window| window.tail(entry.offset)).unwrap_or(&[])
    }

    /// A record's key and value, pinned.
    pub fn pin(&self, entry: &Stored) -> (Value, Value) {
        let header = &entry.header;
        let value = |at: usize, len: u32| match self.window_of(entry) {
            Some(window) => {
                let at = (entry.offset - window.from) as usize + at;
                Value::in_block(Arc::clone(&window.bytes), at, len as usize)
            }
            None => Value::new(Arc::clone(self.table.file()), entry.offset as usize + at, len as usize),
        };
        (value(header.key_at as usize, header.key_len), value(header.value_at(), header.value_len))
    }

    /// The table that it walks.
    #[cfg(test)]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// How many windows it holds.
    #[cfg(test)]
    pub(super) fn windows(&self) -> usize {
        self.kept.len() + usize::from(self.window.is_some())
    }

    /// Do entries lead into the table's own memory?
    #[inline]
    fn is_mapped(&self) -> bool {
        matches!(self.through, Through::Table) && self.table.is_mapped()
    }

    /// The window that an entry leads into.
    #[inline]
    fn window_of(&self, entry: &Stored) -> Option<&Window> {
        let newest_first = self.window.iter().chain(self.kept.iter().rev());
        newest_first.into_iter().find(|window| window.tail(entry.offset).is_some())
    }

    /// The bytes from the start of the block on.
    #[inline]
    fn block_bytes(&self) -> &[u8] {
        match &self.window {
            None => self.table.file().tail(self.start),
            Some(window) => window.tail(self.start).unwrap_or(&[]),
        }
    }

    /// Goes into `block`, if it has records within the bounds: to the first one (forward), the last one, or the given one.
    fn enter(&mut self, block: u32, forward: bool, index: Option<u32>) -> Result<()> {
        self.entry = None;
        if block < self.low.block || (Position { block, index: 0 }) >= self.high {
            return Ok(());
        }
        let fences = self.table.fences()?;
        let (start, end) = fences.bounds(block);
        if self.is_mapped() {
            // The next trailer is far from where the walk reads by then.
            let next = fences.bounds(if forward { block.saturating_add(1) } else { block.saturating_sub(1) });
            self.table.file().prefetch(next.1.saturating_sub(TRAILER_BYTES_USUAL), TRAILER_BYTES_USUAL as usize);
        } else {
            self.open_window(block, forward)?;
        }
        self.start = start;
        let bytes = self.block_bytes();
        self.layout = self.table.layout(bytes.get(..(end - start) as usize).unwrap_or(&[]), start)?;
        self.block = block;
        let count = self.layout.count;
        self.first = if block == self.low.block { self.low.index } else { 0 };
        self.end = if block == self.high.block { self.high.index.min(count) } else { count };
        let index = index.unwrap_or(if forward { self.first } else { self.end.wrapping_sub(1) });
        self.load(index)
    }

    /// Brings in the bytes of `block` and, streaming, of those that follow it in this direction.
    fn open_window(&mut self, block: u32, forward: bool) -> Result<()> {
        let fences = self.table.fences()?;
        let (start, end) = fences.bounds(block);
        let holds = |window: &Window| window.from <= start && end - window.from <= window.bytes.bytes().len() as u64;
        if self.window.as_ref().is_some_and(holds) {
            return Ok(());
        }
        let window = match &self.through {
            Through::Table => Window { from: start, bytes: self.table.cached_block(start, end)? },
            Through::Own(read) => {
                let (from, to) = stream_range(fences, self.low, self.high, block, forward);
                let mut buffer = std::mem::take(&mut self.spare);
                let len = (to - from) as usize;
                if buffer.capacity() < len {
                    buffer = zeroed(to - from, &self.table.file().path)?;
                }
                buffer.resize(len, 0);
                read.read_at(from, &mut buffer)?;
                Window { from, bytes: Arc::new(Block::new(buffer)) }
            }
        };
        self.kept.extend(self.window.replace(window));
        Ok(())
    }

    /// Stands on the record with this number in the block, or nowhere if that is outside.
    #[inline]
    fn load(&mut self, index: u32) -> Result<()> {
        self.entry = None;
        if index < self.first || index >= self.end {
            return Ok(());
        }
        self.index = index;
        let (file, start) = (self.table.file(), self.start);
        let (at, record, header) =
            self.layout.record(self.block_bytes(), index).ok_or_else(|| block::no_record(file, start))?;
        let offset = start + at as u64;
        file.check(record, &header, offset)?;
        let prefix = prefix_after(header.key(record), self.skip);
        self.prefix = prefix;
        self.entry = Some(Stored { offset, header });
        Ok(())
    }

    /// Hints that the walk goes on.
    #[inline]
    fn prefetch(&self, forward: bool) {
        if let (Some(entry), None) = (&self.entry, &self.window) {
            let len = entry.header.len().min(PREFETCH_BYTES_MAX);
            let ahead =
                if forward { entry.offset + PREFETCH_AHEAD } else { entry.offset.saturating_sub(PREFETCH_AHEAD) };
            self.table.file().prefetch(ahead, len);
        }
    }

    #[cold]
    fn next_block(&mut self, forward: bool) -> Result<()> {
        match if forward { self.block.checked_add(1) } else { self.block.checked_sub(1) } {
            Some(block) => self.enter(block, forward, None),
            None => {
                self.entry = None;
                Ok(())
            }
        }
    }

    /// Earlier entries are of no use any more.
    fn forget(&mut self) {
        while let Some(window) = self.kept.pop() {
            if let (Through::Own(_), Ok(block)) = (&self.through, Arc::try_unwrap(window.bytes)) {
                self.spare = block.into_bytes();
            }
        }
    }
}

/// `len` bytes at `at`.
#[inline]
fn part(bytes: &[u8], at: usize, len: u32) -> &[u8] {
    bytes.get(at..at + len as usize).unwrap_or(&[])
}

/// What to read in one go so as to have `block`: blocks within the bounds, of `STREAM_BYTES` together unless one alone is longer.
fn stream_range(fences: &Fences, low: Position, high: Position, block: u32, forward: bool) -> (u64, u64) {
    let (start, end) = fences.bounds(block);
    if forward {
        let last = if high.index > 0 { high.block } else { high.block.saturating_sub(1) };
        let limit = fences.bounds(last).1;
        (start, fences.boundary_before(start.saturating_add(STREAM_BYTES)).min(limit).max(end))
    } else {
        let limit = fences.bounds(low.block).0;
        let from = fences.bounds(fences.first_from(end.saturating_sub(STREAM_BYTES))).0;
        (from.max(limit).min(start), end)
    }
}

impl Source for TableCursor {
    type Entry = Stored;

    #[inline]
    fn entry(&self) -> Option<Stored> {
        self.entry
    }

    #[inline]
    fn prefix(&self) -> u64 {
        self.prefix
    }

    #[inline]
    fn key_of<'a>(&'a self, entry: &Stored) -> &'a [u8] {
        part(self.record_of(entry), entry.header.key_at as usize, entry.header.key_len)
    }

    fn seq_of(entry: &Stored) -> Seq {
        entry.header.seq()
    }

    fn kind_of(entry: &Stored) -> Kind {
        entry.header.kind
    }

    #[inline]
    fn step(&mut self, forward: bool) -> Result<()> {
        if self.entry.is_none() {
            return Ok(());
        }
        self.prefetch(forward);
        let index = if forward { self.index + 1 } else { self.index.wrapping_sub(1) };
        if index >= self.first && index < self.end { self.load(index) } else { self.next_block(forward) }
    }

    fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
        self.forget();
        if forward {
            return self.enter(self.low.block, forward, None);
        }
        let block = if self.high.index > 0 { self.high.block } else { self.high.block.wrapping_sub(1) };
        self.enter(block, forward, None)
    }

    fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        self.forget();
        self.entry = None;
        // The first record of a larger key is where `key` with sequence number 0, which no record has, would stand.
        let after = forward == beyond;
        let bound = self.table.lower_bound(key, if after { 0 } else { SEQ_MAX }, self.through.past())?;
        if forward {
            let bound = bound.max(self.low);
            return self.enter(bound.block, forward, Some(bound.index));
        }
        match bound.min(self.high) {
            bound if bound <= self.low => Ok(()),
            Position { block, index: 0 } => self.enter(block - 1, forward, None),
            Position { block, index } => self.enter(block, forward, Some(index - 1)),
        }
    }

    fn release(&mut self) {
        if !self.kept.is_empty() {
            self.forget();
        }
    }
}

impl fmt::Debug for TableCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TableCursor { low, high, block, index, entry, .. } = self;
        write!(f, "TableCursor({block}:{index} of {low:?}..{high:?}, on a record: {})", entry.is_some())
    }
}
