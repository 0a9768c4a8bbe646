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
use crate::files::region::{Holder, Region};
use crate::merging::{Source, prefix_after};
use crate::record::{Kind, SEQ_MAX, Seq, Stored};
use crate::sync::Arc;
use crate::table::block::{self, Layout};
use crate::table::fences::Fences;
use crate::table::reader::{Position, Table};
use crate::value::Value;

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

/// Bytes of the table: all of them, if it is mapped, or some blocks.
#[derive(Clone, Debug)]
struct Window {
    /// Where they stand.
    from: u64,
    region: Region,
}

impl Default for Window {
    fn default() -> Window {
        Window { from: 0, region: Region::empty() }
    }
}

impl Window {
    /// The bytes from `offset` on, if it lies within; none, if it does not.
    #[inline]
    fn tail(&self, offset: u64) -> &[u8] {
        self.region.bytes().get(offset.wrapping_sub(self.from) as usize..).unwrap_or(&[])
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
    /// Holds the block that it is in, or nothing yet.
    window: Window,
    /// Of a table that is not mapped: earlier ones, which entries may lead into.
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
        let window = match through {
            Through::Table if self.is_mapped() => Window { from: 0, region: Region::of_file(self.file()) },
            _ => Window::default(),
        };
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
            window,
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

    /// The record it stands on.
    #[inline]
    pub fn stored(&self) -> Option<&Stored> {
        self.entry.as_ref()
    }

    /// The value of the record it stands on; empty if it ran out.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], |entry| self.here(entry, entry.header.value_at(), entry.header.value_len))
    }

    /// A part of the record that it stands on, which is in the present window.
    #[inline]
    fn here(&self, entry: &Stored, from: usize, len: u32) -> &[u8] {
        let at = entry.offset.wrapping_sub(self.window.from) as usize;
        let from = at.wrapping_add(from);
        self.window.region.bytes().get(from..from.wrapping_add(len as usize)).unwrap_or(&[])
    }

    /// A record's value.
    #[inline]
    pub fn value_of(&self, entry: &Stored) -> &[u8] {
        part(self.record_of(entry), entry.header.value_at(), entry.header.value_len)
    }

    /// The bytes from a record on: where a merge takes it from.
    #[inline]
    pub fn record_of(&self, entry: &Stored) -> &[u8] {
        self.window_of(entry).tail(entry.offset)
    }

    /// A record's key and value, pinned.
    pub fn pin(&self, entry: &Stored) -> (Value, Value) {
        let (window, header) = (self.window_of(entry), &entry.header);
        let at = (entry.offset - window.from) as usize;
        let value = |from: usize, len: u32| Value::in_region(&window.region, at + from, len as usize);
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
        self.kept.len() + usize::from(matches!(self.window.region.holder(), Holder::Block(_)))
    }

    /// Do entries lead into the table's own memory?
    #[inline]
    fn is_mapped(&self) -> bool {
        matches!(self.window.region.holder(), Holder::File(_))
    }

    /// The window that an entry leads into.
    #[inline]
    fn window_of(&self, entry: &Stored) -> &Window {
        let leads = |window: &&Window| !window.tail(entry.offset).is_empty();
        if self.kept.is_empty() || leads(&&self.window) {
            return &self.window;
        }
        self.kept.iter().rev().find(leads).unwrap_or(&self.window)
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
            // The next trailer is far from where the walk reads by then. The records themselves follow one another, which the CPU
            // sees by itself: asking for them, too, cost 4 of 60 ns a record.
            let next = fences.bounds(if forward { block.saturating_add(1) } else { block.saturating_sub(1) });
            self.table.file().prefetch(next.1.saturating_sub(TRAILER_BYTES_USUAL), TRAILER_BYTES_USUAL as usize);
        } else {
            self.open_window(block, forward)?;
        }
        self.start = start;
        let bytes = self.window.tail(start);
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
        let held = self.window.region.bytes().len() as u64;
        if self.window.from <= start && end - self.window.from <= held {
            return Ok(());
        }
        let window = match &self.through {
            Through::Table => Window { from: start, region: Region::of_block(self.table.cached_block(start, end)?) },
            Through::Own(read) => {
                let (from, to) = stream_range(fences, self.low, self.high, block, forward);
                let mut buffer = std::mem::take(&mut self.spare);
                let len = (to - from) as usize;
                if buffer.capacity() < len {
                    buffer = zeroed(to - from, &self.table.file().path)?;
                }
                buffer.resize(len, 0);
                read.read_at(from, &mut buffer)?;
                Window { from, region: Region::of_block(Arc::new(Block::new(buffer))) }
            }
        };
        let before = std::mem::replace(&mut self.window, window);
        if !before.region.bytes().is_empty() {
            self.kept.push(before);
        }
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
            self.layout.record(self.window.tail(start), index).ok_or_else(|| block::no_record(file, start))?;
        let offset = start + at as u64;
        file.check(record, &header, offset)?;
        let prefix = prefix_after(header.key(record), self.skip);
        self.prefix = prefix;
        self.entry = Some(Stored { offset, header });
        Ok(())
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
            if let (Through::Own(_), Holder::Block(block)) = (&self.through, window.region.into_holder())
                && let Ok(block) = Arc::try_unwrap(block)
            {
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
    fn is_on(&self) -> bool {
        self.entry.is_some()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], |entry| self.here(entry, entry.header.key_at as usize, entry.header.key_len))
    }

    #[inline]
    fn seq(&self) -> Seq {
        self.entry.as_ref().map_or(0, |entry| entry.header.seq())
    }

    #[inline]
    fn kind(&self) -> Kind {
        self.entry.as_ref().map_or(Kind::Put, |entry| entry.header.kind)
    }

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

    #[inline]
    fn step(&mut self, forward: bool) -> Result<()> {
        if self.entry.is_none() {
            return Ok(());
        }
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
