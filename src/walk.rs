//! Walks: how a cursor over sorted records moves, apart from what it stands on.
//!
//! ```text
//! Cursor   a source of a merge: a stand, and the walk that moves it
//! Stand    the record it stands on, verified, and the bytes that it lies in: all that is looked at, record after record
//! Walk     a part of a memtable, of a table, or of a run of tables: it finds the next record and puts the stand there
//! ```
//!
//! What a cursor stands on is looked at many times for each move, so it stands in one place whatever the walk is: a look asks for no kind
//! of source. (As parts of each walk, behind an enum and the slice that is open, they cost 95 of the 675 instructions of a step.)
//!
//! Bytes lie in **windows**: all of a file, if that is mapped, or some blocks that were read. An entry must stay usable after the walk has
//! gone on into another window, so the stand keeps the old ones until [`Source::release`]. An entry knows its window by the slice of the run
//! and by where it lies: of a slice's windows no two of one seek overlap, but for the same bytes.

use crate::cache::Block;
use crate::error::Result;
use crate::files::region::{Holder, Region};
use crate::merging::{Source, Stretch, prefix_after};
use crate::record::{Header, Kind, Seq, Stored};
use crate::value::Value;

/// A walk and what it stands on.
#[derive(Debug)]
pub struct Cursor<W> {
    stand: Stand,
    walk: W,
}

/// How to move among sorted records. What it cannot reach, or finds damaged, it does not stand on.
pub trait Walk {
    /// To the next record, or the one before; from none, to none.
    fn step(&mut self, stand: &mut Stand, forward: bool) -> Result<()>;
    /// As [`Source::visit`], from the record that it stands on.
    fn visit(&mut self, stand: &mut Stand, stretch: Stretch, to: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool;
    /// As [`Source::seek_to_end_of`].
    fn seek_to_end_of(&mut self, stand: &mut Stand, forward: bool) -> Result<()>;
    /// As [`Source::seek`].
    fn seek(&mut self, stand: &mut Stand, key: &[u8], forward: bool, beyond: bool) -> Result<()>;
    /// As [`Source::approach`].
    fn approach(&mut self, key: &[u8], forward: bool, beyond: bool);
    /// A window that nobody needs any more; its buffer may be filled again.
    fn reuse(&mut self, _window: Window) {}
    /// As [`Source::is_in_log`].
    fn is_in_log(&self) -> bool;
    /// As [`Source::is_unique`].
    fn is_unique(&self) -> bool {
        false
    }
}

/// A record that a cursor gave: which of a run's slices it is in, and where.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The record.
    pub stored: Stored,
    slice: u32,
}

/// Bytes of a file: all of them, if it is mapped, or some blocks.
#[derive(Debug)]
pub struct Window {
    /// Where they stand.
    pub from: u64,
    /// What they are.
    pub region: Region,
}

impl Default for Window {
    fn default() -> Window {
        Window { from: 0, region: Region::empty() }
    }
}

impl Window {
    /// The bytes from `offset` on, if it lies within; none, if it does not.
    #[inline]
    pub fn tail(&self, offset: u64) -> &[u8] {
        self.region.bytes().get(offset.wrapping_sub(self.from) as usize..).unwrap_or(&[])
    }

    /// Are the bytes from `start` to `end` in it?
    pub fn holds(&self, start: u64, end: u64) -> bool {
        let len = self.region.bytes().len() as u64;
        self.from <= start && start <= end && end - self.from <= len && len > 0
    }

    /// `len` bytes, `at` bytes behind `offset`.
    #[inline]
    fn part(&self, offset: u64, at: usize, len: u32) -> &[u8] {
        let from = (offset.wrapping_sub(self.from) as usize).wrapping_add(at);
        self.region.bytes().get(from..from.wrapping_add(len as usize)).unwrap_or(&[])
    }
}

/// What a cursor stands on.
#[derive(Debug)]
pub struct Stand {
    /// Verified; counts only while `is_on`.
    stored: Stored,
    is_on: bool,
    prefix: u64,
    /// Bytes that all keys of all sources share.
    skip: usize,
    /// Holds the record, or what was looked at last, of this slice.
    window: Window,
    slice: u32,
    /// Earlier ones, the last one left last, which entries may lead into; with their slices.
    kept: Vec<(u32, Window)>,
    /// What it stood on before.
    left: Left,
}

/// Where the key of a record is that was left.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    offset: u64,
    key_at: u32,
    key_len: u32,
    slice: u32,
}

impl Stand {
    fn new(skip: usize) -> Stand {
        let header = Header { checksum: 0, seq_kind: 0, kind: Kind::Put, key_at: 0, key_len: 0, value_len: 0 };
        let stored = Stored { offset: 0, header };
        Stand {
            stored,
            is_on: false,
            prefix: 0,
            skip,
            window: Window::default(),
            slice: 0,
            kept: Vec::new(),
            left: Left::default(),
        }
    }

    /// The bytes that it looks at.
    #[inline]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Is that a window of the slice with this number?
    #[inline]
    pub fn is_in(&self, slice: u32) -> bool {
        self.slice == slice && !self.window.region.bytes().is_empty()
    }

    /// Looks at other bytes from now on.
    pub fn look_at(&mut self, slice: u32, window: Window) {
        self.leave();
        let before = std::mem::replace(&mut self.window, window);
        let left = std::mem::replace(&mut self.slice, slice);
        if !before.region.bytes().is_empty() {
            self.kept.push((left, before));
        }
    }

    /// Stands nowhere.
    #[inline]
    pub fn leave(&mut self) {
        if self.is_on {
            let Stored { offset, header } = self.stored;
            self.left = Left { offset, key_at: header.key_at, key_len: header.key_len, slice: self.slice };
            self.is_on = false;
        }
    }

    /// Stands on a record of the window, which was verified.
    #[inline]
    pub fn put(&mut self, offset: u64, header: Header, prefix: u64) {
        self.stored = Stored { offset, header };
        self.prefix = prefix;
        self.is_on = true;
    }

    /// The key of the record it stands on; empty if it stands on none.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let Stored { offset, header } = &self.stored;
        if self.is_on { self.window.part(*offset, header.key_at as usize, header.key_len) } else { &[] }
    }

    /// The record it stands on, and its prefix.
    #[inline]
    pub fn at(&self) -> (Stored, u64) {
        (self.stored, self.prefix)
    }

    /// What of `key` orders it among the keys of all sources, but for ties.
    #[inline]
    pub fn prefix_of(&self, key: &[u8]) -> u64 {
        prefix_after(key, self.skip)
    }

    /// Does it stand on a record?
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// The window of a record in a slice.
    #[inline]
    fn window_of(&self, in_slice: u32, offset: u64) -> &Window {
        let leads = |slice: u32, window: &Window| slice == in_slice && !window.tail(offset).is_empty();
        if self.kept.is_empty() || leads(self.slice, &self.window) {
            return &self.window;
        }
        self.kept_of(leads)
    }

    #[cold]
    fn kept_of(&self, leads: impl Fn(u32, &Window) -> bool) -> &Window {
        let kept = self.kept.iter().rev().find(|(slice, window)| leads(*slice, window));
        kept.map_or(&self.window, |(_, window)| window)
    }

    /// Lets go of all windows but the one that it looks at.
    #[inline]
    fn release(&mut self, walk: &mut impl Walk) {
        if !self.kept.is_empty() {
            self.forget(walk);
        }
    }

    #[cold]
    fn forget(&mut self, walk: &mut impl Walk) {
        self.kept.drain(..).for_each(|(_, window)| walk.reuse(window));
    }
}

impl<W: Walk> Cursor<W> {
    /// Stands nowhere until the first seek.
    pub fn new(walk: W) -> Cursor<W> {
        Cursor { stand: Stand::new(0), walk }
    }

    /// Another one by another walk, over the same keys; it stands nowhere.
    pub fn fresh(&self, walk: W) -> Cursor<W> {
        Cursor { stand: Stand::new(self.stand.skip), walk }
    }

    /// How it moves.
    #[inline]
    pub fn walk(&self) -> &W {
        &self.walk
    }

    /// Tells how many first bytes all keys of all sources share.
    pub fn set_skip(&mut self, skip: usize) {
        self.stand.skip = skip;
    }

    /// The record it stands on.
    #[inline]
    pub fn stored(&self) -> Option<&Stored> {
        self.stand.is_on.then_some(&self.stand.stored)
    }

    /// The number of the slice that it stands in.
    #[inline]
    pub fn slice(&self) -> u32 {
        self.stand.slice
    }

    /// The bytes from the record on that it stands on: where a merge takes it from.
    #[inline]
    pub fn record(&self) -> &[u8] {
        self.stand.window.tail(self.stand.stored.offset)
    }

    /// The value of the record it stands on; empty if it ran out.
    #[inline]
    pub fn value(&self) -> &[u8] {
        let Stand { stored: Stored { offset, header }, is_on, window, .. } = &self.stand;
        if *is_on { window.part(*offset, header.value_at(), header.value_len) } else { &[] }
    }

    /// The value of an entry that it gave and that was not released.
    #[inline]
    pub fn value_of(&self, entry: &Entry) -> &[u8] {
        let Stored { offset, header } = &entry.stored;
        self.stand.window_of(entry.slice, entry.stored.offset).part(*offset, header.value_at(), header.value_len)
    }

    /// Key and value of an entry that it gave and that was not released, to hold on to.
    pub fn pin(&self, entry: &Entry) -> (Value, Value) {
        let (window, header) = (self.stand.window_of(entry.slice, entry.stored.offset), &entry.stored.header);
        let at = (entry.stored.offset - window.from) as usize;
        let value = |from: usize, len: u32| Value::in_region(&window.region, at + from, len as usize);
        (value(header.key_at as usize, header.key_len), value(header.value_at(), header.value_len))
    }

    /// How many windows that are not files it holds.
    #[cfg(test)]
    pub fn windows(&self) -> usize {
        let is_block = |window: &&Window| matches!(window.region.holder(), Holder::Block(_));
        let kept = self.stand.kept.iter().map(|(_, window)| window);
        kept.chain([&self.stand.window]).filter(is_block).count()
    }
}

impl Window {
    /// The buffer of a window that nobody else holds.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        match self.region.into_holder() {
            Holder::Block(block) => crate::sync::Arc::try_unwrap(block).ok().map(Block::into_bytes),
            Holder::Nobody | Holder::File(_) => None,
        }
    }
}

impl<W: Walk> Source for Cursor<W> {
    type Entry = Entry;

    #[inline]
    fn is_on(&self) -> bool {
        self.stand.is_on
    }

    #[inline]
    fn prefix(&self) -> u64 {
        self.stand.prefix
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.stand.key()
    }

    #[inline]
    fn seq(&self) -> Seq {
        if self.stand.is_on { self.stand.stored.header.seq() } else { 0 }
    }

    #[inline]
    fn kind(&self) -> Kind {
        self.stand.stored.header.kind
    }

    #[inline]
    fn entry(&self) -> Option<Entry> {
        self.stand.is_on.then_some(Entry { stored: self.stand.stored, slice: self.stand.slice })
    }

    #[inline]
    fn key_left(&self) -> &[u8] {
        let Left { offset, key_at, key_len, slice } = self.stand.left;
        self.stand.window_of(slice, offset).part(offset, key_at as usize, key_len)
    }

    #[inline]
    fn key_of<'a>(&'a self, entry: &Entry) -> &'a [u8] {
        let Stored { offset, header } = &entry.stored;
        self.stand.window_of(entry.slice, entry.stored.offset).part(*offset, header.key_at as usize, header.key_len)
    }

    #[inline]
    fn step(&mut self, forward: bool) -> Result<()> {
        self.walk.step(&mut self.stand, forward)
    }

    #[inline]
    fn visit(&mut self, stretch: Stretch, to: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        self.stand.is_on && self.walk.visit(&mut self.stand, stretch, to)
    }

    fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
        self.stand.leave();
        self.stand.release(&mut self.walk);
        self.walk.seek_to_end_of(&mut self.stand, forward)
    }

    fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        self.stand.leave();
        self.stand.release(&mut self.walk);
        self.walk.seek(&mut self.stand, key, forward, beyond)
    }

    fn approach(&mut self, key: &[u8], forward: bool, beyond: bool) {
        self.walk.approach(key, forward, beyond);
    }

    #[inline]
    fn release(&mut self) {
        self.stand.release(&mut self.walk);
    }

    #[inline]
    fn is_in_log(&self) -> bool {
        self.walk.is_in_log()
    }

    #[inline]
    fn is_unique(&self) -> bool {
        self.walk.is_unique()
    }
}
