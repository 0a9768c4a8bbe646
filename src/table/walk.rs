//! A walk over part of a table. Verifies every record that it stands on: by itself or, once the walk has come past a number of records of a
//! block, all of the next block together, by the check in its trailer. Where that does not match the records are verified one by one, so that
//! what is whole is given and what is damaged is named. A merge always looks at each record: it makes a new check over what it copies.
//!
//! Mapped, there is one window: the file. Otherwise there are many: a block from the cache or, streaming, a run of blocks that it read
//! for itself.

use std::fmt;

use crate::bracket::{Share, Sought};
use crate::cache::Block;
use crate::env::ReadFile;
use crate::env::ahead::{self, Ahead};
use crate::error::{Result, zeroed};
#[cfg(test)]
use crate::files::Bytes;
use crate::files::File;
use crate::files::region::Region;
use crate::merging::Stretch;
use crate::record::{SEQ_MAX, Seq};
use crate::sync::Arc;
use crate::table::block::{self, Layout};
use crate::table::fences::Fences;
use crate::table::reader::{Near, Position, TRAILER_BYTES_USUAL, Table};
use crate::walk::{Stand, Walk, Window};

/// What a streaming cursor reads at a time, or one block if that is longer.
const STREAM_BYTES: u64 = 256 << 10;

/// A walk that has come past so many records of one block will probably want all of the next.
const FAR: u32 = 8;

/// How far ahead a walk that verifies whole blocks asks for memory: two of the usual ones. What computes a check reads 4 KiB faster than
/// memory brings them, and the CPU sees by itself only as far as the end of a page. A scan took 20 ns an entry with
/// this, and 32 without (1 million pairs of 16 + 100 bytes).
const AHEAD: u64 = 8192;
/// For a record that is longer than that it does not ask at once.
const AHEAD_AT_ONCE: u64 = 512;
const CACHE_LINE: u64 = 64;

/// Where a walk gets its bytes.
#[derive(Debug)]
pub enum Reading {
    /// From the mapping or, of a table that is not mapped, through the block cache.
    Shared,
    /// From its own buffers, which it fills by large reads past mapping and cache: for merges and verification.
    Streaming(Box<dyn ReadFile>),
}

/// The same, as a walk and its clones hold it.
#[derive(Clone, Debug)]
enum Through {
    Table,
    Own(Arc<dyn ReadFile>),
}

/// A position among the records of a table that lie in some range of keys.
#[derive(Clone)]
pub struct TableWalk {
    table: Arc<Table>,
    through: Through,
    /// The number of the slice of a run that it walks: its windows are known by it.
    slice: u32,
    is_mapped: bool,
    low: Position,
    high: Position,
    /// The block it is in and where that starts.
    block: u32,
    start: u64,
    layout: Layout,
    /// The block's records that lie within `low` and `high`.
    first: u32,
    end: u32,
    /// The block's records were verified together.
    is_whole: bool,
    /// The record it stands on, if it stands on one, and the one that it came to first in this block.
    index: u32,
    entered: u32,
    /// How far it has asked for memory.
    asked: u64,
    /// A buffer to read into.
    spare: Vec<u8>,
    /// What the seek that comes next will find.
    aimed: Option<Aim>,
    /// Mapped, whether it waits for pages.
    ahead: Ahead,
}

/// Where a seek leads, as far as the fences tell; within a block, with the share of its keys that are probably before.
#[derive(Clone, Copy, Debug)]
struct Aim {
    near: Near,
    share: Option<Share>,
}

impl Table {
    /// A walk over the keys from `low` up to but without `high`, as far as given. `slice`: as whose its windows are known.
    pub fn walk(
        self: &Arc<Table>,
        reading: Reading,
        slice: u32,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) -> Result<TableWalk> {
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
        let is_mapped = matches!(through, Through::Table) && self.is_mapped();
        Ok(TableWalk {
            table: Arc::clone(self),
            through,
            slice,
            is_mapped,
            low,
            high,
            block: 0,
            start: 0,
            layout: Layout::default(),
            first: 0,
            end: 0,
            is_whole: false,
            index: 0,
            entered: 0,
            asked: 0,
            spare: Vec::new(),
            aimed: None,
            ahead: Ahead::default(),
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

impl TableWalk {
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

    /// Was the block that it is in verified as a whole?
    #[cfg(test)]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The table that it walks.
    #[cfg(test)]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Goes into `block`, if it has records within the bounds: to the first one (forward), the last one, or the given one.
    fn enter(&mut self, stand: &mut Stand, block: u32, forward: bool, index: Option<u32>) -> Result<()> {
        stand.leave();
        if !self.bounds_reach(block) {
            return Ok(());
        }
        self.open(stand, block, forward)?;
        let index = index.unwrap_or(if forward { self.first } else { self.end.wrapping_sub(1) });
        self.entered = index;
        self.load(stand, index, false)
    }

    /// Verifies the block that it is in as a whole, if it can be. What is not is verified record by record.
    fn verify_whole(&mut self, stand: &Stand) {
        let block = stand.window().tail(self.start);
        self.is_whole = self.layout.is_whole(block) == Some(true);
    }

    /// Shows the records of the block behind, or before, the one that it stands on. `IS_WHOLE`: they were verified together.
    #[inline]
    fn visit_block<const IS_WHOLE: bool>(
        &mut self,
        stand: &mut Stand,
        stretch: Stretch,
        to: &mut impl FnMut(&[u8], &[u8]) -> bool,
    ) -> bool {
        let TableWalk { layout, start, first, end, is_mapped, .. } = *self;
        let file = self.table.file();
        let block = stand.window().tail(start);
        let ((_, mut before), mut key_before) = (stand.at(), stand.key());
        let (mut last, mut enough, asks) = (self.index, false, IS_WHOLE && is_mapped);
        while !enough {
            let index = if stretch.forward { last + 1 } else { last.wrapping_sub(1) };
            if index < first || index >= end {
                break;
            }
            let Some((at, record, header)) = layout.record(block, index) else { break };
            let key = header.key(record);
            let prefix = stand.prefix_of(key);
            if !stretch.has(&header, prefix, before, || key != key_before) {
                break;
            }
            if !IS_WHOLE {
                let offset = start + at as u64;
                if is_mapped {
                    file.will_need(&header, offset);
                }
                if file.check(record, &header, offset).is_err() {
                    break;
                }
            }
            if asks {
                ask_ahead(file, &mut self.asked, start + at as u64, stretch.forward);
            }
            (last, before, key_before) = (index, prefix, key);
            enough = !to(key, header.value(record));
        }
        if last != self.index
            && let Some((at, _, header)) = layout.record(block, last)
        {
            self.index = last;
            stand.put(start + at as u64, header, before);
        }
        enough
    }

    /// Where a seek leads; what it will read there is asked for from memory.
    #[inline]
    fn aim(&self, sought: &Sought<'_>, forward: bool) -> Result<Aim> {
        let fences = self.table.fences()?;
        let near = self.table.near(fences, sought, self.through.past())?;
        let share = match near {
            Near::Within(block) if self.bounds_reach(block) => {
                if self.is_mapped {
                    ahead::sought(self.table.file().memory(), fences.bounds(block), forward);
                }
                self.table.expect(fences, block, sought)
            }
            Near::Within(_) | Near::At(_) => None,
        };
        Ok(Aim { near, share })
    }

    /// May `block` have records within the bounds?
    #[inline]
    fn bounds_reach(&self, block: u32) -> bool {
        block >= self.low.block && (Position { block, index: 0 }) < self.high
    }

    /// Makes `block` the one it is in.
    fn open(&mut self, stand: &mut Stand, block: u32, forward: bool) -> Result<()> {
        let fences = self.table.fences()?;
        let (start, end) = fences.bounds(block);
        if self.is_mapped {
            if !stand.is_in(self.slice) {
                stand.look_at(self.slice, Window { from: 0, region: Region::of_file(self.table.file()) });
            }
            // The next trailer is far from where the walk reads by then. The records themselves follow one another, which the CPU
            // sees by itself: asking for them, too, cost 4 of 60 ns a record.
            let next = fences.bounds(if forward { block.saturating_add(1) } else { block.saturating_sub(1) });
            self.table.file().prefetch(next.1.saturating_sub(TRAILER_BYTES_USUAL), TRAILER_BYTES_USUAL as usize);
            self.ahead.reach(self.table.file().memory(), (start, end), forward);
        } else {
            self.open_window(stand, block, forward)?;
        }
        self.start = start;
        let bytes = stand.window().tail(start);
        self.layout = self.table.layout(bytes.get(..(end - start) as usize).unwrap_or(&[]), start)?;
        self.block = block;
        self.is_whole = false;
        let count = self.layout.count;
        self.first = if block == self.low.block { self.low.index } else { 0 };
        self.end = if block == self.high.block { self.high.index.min(count) } else { count };
        Ok(())
    }

    /// Brings in the bytes of `block` and, streaming, of those that follow it in this direction.
    fn open_window(&mut self, stand: &mut Stand, block: u32, forward: bool) -> Result<()> {
        let fences = self.table.fences()?;
        let (start, end) = fences.bounds(block);
        if stand.is_in(self.slice) && stand.window().holds(start, end) {
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
        stand.look_at(self.slice, window);
        Ok(())
    }

    /// Stands on the record with this number in the block, or nowhere if that is outside. It is verified unless it was before.
    #[inline(always)]
    fn load(&mut self, stand: &mut Stand, index: u32, is_verified: bool) -> Result<()> {
        stand.leave();
        if index < self.first || index >= self.end {
            return Ok(());
        }
        self.index = index;
        let (file, start) = (self.table.file(), self.start);
        let (at, record, header) =
            self.layout.record(stand.window().tail(start), index).ok_or_else(|| block::no_record(file, start))?;
        let offset = start + at as u64;
        if !is_verified && !self.is_whole {
            if self.is_mapped {
                file.will_need(&header, offset);
            }
            file.check(record, &header, offset)?;
        }
        let prefix = stand.prefix_of(header.key(record));
        stand.put(offset, header, prefix);
        Ok(())
    }

    /// Goes to the record at or behind this place, or to the one before it.
    fn sought(&mut self, stand: &mut Stand, place: Position, forward: bool) -> Result<()> {
        if forward {
            let place = place.max(self.low);
            return self.enter(stand, place.block, forward, Some(place.index));
        }
        match place.min(self.high) {
            place if place <= self.low => Ok(()),
            Position { block, index: 0 } => self.enter(stand, block - 1, forward, None),
            Position { block, index } => self.enter(stand, block, forward, Some(index - 1)),
        }
    }

    #[cold]
    fn next_block(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        let goes_far = self.is_whole || self.index.abs_diff(self.entered) >= FAR;
        let next = if forward { self.block.checked_add(1) } else { self.block.checked_sub(1) };
        stand.leave();
        let Some(block) = next.filter(|&block| self.bounds_reach(block)) else { return Ok(()) };
        self.open(stand, block, forward)?;
        // A merge copies records one by one, and so it looks at each: one check for many is for those who read.
        if goes_far && matches!(self.through, Through::Table) {
            // On from where it has asked in the block before, as far as that lies ahead.
            let end = self.start + self.layout.records_end as u64;
            self.asked = match forward {
                true => self.asked.min(self.start + AHEAD),
                false => self.asked.max(end.saturating_sub(AHEAD)),
            };
            self.verify_whole(stand);
        }
        self.entered = if forward { self.first } else { self.end.wrapping_sub(1) };
        self.load(stand, self.entered, false)
    }
}

/// The number at which a key is sought. The first record of a larger key is where the key with number 0, which no record has, would stand.
#[inline]
fn seq_sought(forward: bool, beyond: bool) -> Seq {
    if forward == beyond { 0 } else { SEQ_MAX }
}

/// At the record at `offset`: asks for what lies [`AHEAD`] of it and was not asked for, which is up to `asked`. A line at a time: all of a
/// block at once took 1.2 times as long.
#[inline(always)]
fn ask_ahead(file: &File, asked: &mut u64, offset: u64, forward: bool) {
    if forward {
        let goal = offset.saturating_add(AHEAD);
        *asked = (*asked).max(goal.saturating_sub(AHEAD_AT_ONCE));
        while *asked < goal {
            file.prefetch_line(*asked);
            *asked += CACHE_LINE;
        }
    } else {
        let goal = offset.saturating_sub(AHEAD);
        *asked = (*asked).min(goal.saturating_add(AHEAD_AT_ONCE));
        while *asked > goal {
            *asked = asked.saturating_sub(CACHE_LINE);
            file.prefetch_line(*asked);
        }
    }
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

/// One source of a merge, by itself.
#[cfg(test)]
pub type TableCursor = crate::walk::Cursor<TableWalk>;

#[cfg(test)]
impl Table {
    /// A cursor as [`walk`](Table::walk) walks.
    pub fn cursor(self: &Arc<Table>, reading: Reading, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<TableCursor> {
        Ok(TableCursor::new(self.walk(reading, 0, low, high)?))
    }
}

impl Walk for TableWalk {
    #[inline]
    fn step(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        if !stand.is_on() {
            return Ok(());
        }
        let index = if forward { self.index + 1 } else { self.index.wrapping_sub(1) };
        if index >= self.first && index < self.end {
            if self.is_whole && self.is_mapped {
                ask_ahead(self.table.file(), &mut self.asked, stand.at().0.offset, forward);
            }
            self.load(stand, index, false)
        } else {
            self.next_block(stand, forward)
        }
    }

    /// Within the block that it is in.
    #[inline]
    fn visit(&mut self, stand: &mut Stand, stretch: Stretch, to: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        match self.is_whole {
            true => self.visit_block::<true>(stand, stretch, to),
            false => self.visit_block::<false>(stand, stretch, to),
        }
    }

    fn seek_to_end_of(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        if forward {
            return self.enter(stand, self.low.block, forward, None);
        }
        let block = if self.high.index > 0 { self.high.block } else { self.high.block.wrapping_sub(1) };
        self.enter(stand, block, forward, None)
    }

    fn seek(&mut self, stand: &mut Stand, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        stand.leave();
        let sought = self.table.fences()?.sought(key, seq_sought(forward, beyond));
        let Aim { near, share } = match self.aimed.take() {
            Some(aim) => aim,
            None => self.aim(&sought, forward)?,
        };
        let block = match near {
            Near::Within(block) if self.bounds_reach(block) => block,
            Near::Within(block) => return self.sought(stand, Position { block, index: 0 }, forward),
            Near::At(position) => return self.sought(stand, position, forward),
        };
        self.open(stand, block, forward)?;
        let bytes = stand.window().tail(self.start);
        let found = self.layout.lower_bound(self.table.file(), bytes, self.start, &sought, share)?;
        let at = found.at as u32;
        match forward {
            true if at < self.end => {
                let index = at.max(self.first);
                self.entered = index;
                self.load(stand, index, found.is_verified && index == at)
            }
            false if at > self.first => {
                let end = at.min(self.end);
                self.entered = end.wrapping_sub(1);
                self.load(stand, end.wrapping_sub(1), found.is_verified_before && end == at)
            }
            _ => {
                self.entered = self.index;
                self.next_block(stand, forward)
            }
        }
    }

    fn approach(&mut self, key: &[u8], forward: bool, beyond: bool) {
        // What fails now fails again when it is sought.
        let Ok(fences) = self.table.fences() else { return };
        self.aimed = self.aim(&fences.sought(key, seq_sought(forward, beyond)), forward).ok();
    }

    /// Streaming, what it read into.
    fn reuse(&mut self, window: Window) {
        if let Through::Own(_) = self.through
            && let Some(buffer) = window.into_buffer()
        {
            self.spare = buffer;
        }
    }

    #[inline]
    fn is_in_log(&self) -> bool {
        false
    }
}

impl fmt::Debug for TableWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TableWalk { low, high, block, index, .. } = self;
        write!(f, "TableWalk({block}:{index} of {low:?}..{high:?})")
    }
}
