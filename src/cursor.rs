//! Cursors over the sorted sources of a version: a sorted part of a memtable, or a run of tables.
//!
//! Iterators and merges go through both alike: [`Cursor`] is what a [`Merging`](crate::merging::Merging) of a version's sources
//! consists of. A run is one source, however many tables it has: its slices follow one another, so one of them is open at a time,
//! and a seek chooses the slice before it looks into one.

use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::files::File;
use crate::memtable::walk::MemtableWalk;
use crate::merging::{Stretch, shared_prefix};
use crate::record::Stored;
use crate::sync::Arc;
use crate::table::walk::{Reading, TableWalk};
use crate::version::{Run, Slice};
use crate::walk::{self, Stand, Walk, Window};

/// One sorted source.
pub type Cursor = walk::Cursor<Way>;

/// How a source of a version is walked.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a store at rest has one source, a run: a box would be one more load for each step"
)]
pub enum Way {
    /// A sorted part of a memtable, and the slot of its file.
    Memtable(MemtableWalk, u16),
    /// A run of tables.
    Run(RunWalk),
}

/// Where a record is.
#[derive(Debug)]
pub struct Place<'a> {
    /// The file.
    pub file: &'a Arc<File>,
    /// The file's slot.
    pub slot: u16,
    /// The bytes from the record on.
    pub bytes: &'a [u8],
    /// The record.
    pub stored: &'a Stored,
}

/// A clone is over the same records and stands nowhere.
impl Clone for Cursor {
    fn clone(&self) -> Cursor {
        self.fresh(match self.walk() {
            Way::Memtable(walk, slot) => Way::Memtable(walk.clone(), *slot),
            Way::Run(walk) => Way::Run(walk.fresh()),
        })
    }
}

impl Cursor {
    /// Over a part of a memtable whose file has this slot.
    pub fn of_memtable(walk: MemtableWalk, slot: u16) -> Cursor {
        Cursor::new(Way::Memtable(walk, slot))
    }

    /// Over a run of tables.
    pub fn of_run(walk: RunWalk) -> Cursor {
        Cursor::new(Way::Run(walk))
    }

    /// Keys at or before, and at or after, all that it holds. `None`: it holds none.
    pub fn ends(&self) -> Result<Option<(&[u8], &[u8])>> {
        match self.walk() {
            Way::Memtable(walk, _) => walk.ends(),
            Way::Run(walk) => Ok(walk.ends()),
        }
    }

    /// Where the record is that it stands on.
    #[inline]
    pub fn place(&self) -> Option<Place<'_>> {
        let stored = self.stored()?;
        let (file, slot) = match self.walk() {
            Way::Memtable(walk, slot) => (walk.run().file(), *slot),
            Way::Run(walk) => {
                let slice = &walk.run.slices[self.slice() as usize];
                (slice.table.file(), slice.slot)
            }
        };
        Some(Place { file, slot, bytes: self.record(), stored })
    }
}

impl Walk for Way {
    #[inline]
    fn step(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        match self {
            Way::Memtable(walk, _) => walk.step(stand, forward),
            Way::Run(walk) => walk.step(stand, forward),
        }
    }

    #[inline]
    fn visit(&mut self, stand: &mut Stand, stretch: Stretch, to: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        match self {
            Way::Memtable(walk, _) => walk.visit(stand, stretch, to),
            Way::Run(walk) => walk.visit(stand, stretch, to),
        }
    }

    fn seek_to_end_of(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        match self {
            Way::Memtable(walk, _) => walk.seek_to_end_of(stand, forward),
            Way::Run(walk) => walk.seek_to_end_of(stand, forward),
        }
    }

    fn seek(&mut self, stand: &mut Stand, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        match self {
            Way::Memtable(walk, _) => walk.seek(stand, key, forward, beyond),
            Way::Run(walk) => walk.seek(stand, key, forward, beyond),
        }
    }

    fn approach(&mut self, key: &[u8], forward: bool, beyond: bool) {
        match self {
            Way::Memtable(walk, _) => walk.approach(key, forward, beyond),
            Way::Run(walk) => walk.approach(key, forward, beyond),
        }
    }

    fn reuse(&mut self, window: Window) {
        if let Way::Run(RunWalk { open: Some((_, walk)), .. }) = self {
            walk.reuse(window);
        }
    }

    #[inline]
    fn is_in_log(&self) -> bool {
        matches!(self, Way::Memtable(..))
    }

    #[inline]
    fn is_unique(&self) -> bool {
        match self {
            Way::Memtable(..) => false,
            Way::Run(walk) => walk.is_unique,
        }
    }
}

/// Tells cursors how many first bytes all their keys share: what the smallest and the largest share.
pub fn share_prefix(cursors: &mut [Cursor]) -> Result<()> {
    let mut ends: Option<(&[u8], &[u8])> = None;
    for cursor in &*cursors {
        if let Some((first, last)) = cursor.ends()? {
            ends = Some(ends.map_or((first, last), |(low, high)| (low.min(first), high.max(last))));
        }
    }
    let skip = ends.map_or(0, |(low, high)| shared_prefix(low, high));
    cursors.iter_mut().for_each(|cursor| cursor.set_skip(skip));
    Ok(())
}

/// A position in the keys of a run from `start` up to but without `stop`.
#[derive(Debug)]
pub struct RunWalk {
    run: Arc<Run>,
    /// The run's slices that may hold such keys: `from..to`.
    from: usize,
    to: usize,
    start: Option<Arc<[u8]>>,
    stop: Option<Arc<[u8]>>,
    /// To read past mappings and caches, in large pieces.
    streaming: Option<Arc<dyn Env>>,
    /// No table of these slices has two versions of a key.
    is_unique: bool,
    /// The slice it is in, with its number.
    open: Option<(u32, TableWalk)>,
}

impl RunWalk {
    /// Over `run`.
    pub fn new(
        run: Arc<Run>,
        start: Option<Arc<[u8]>>,
        stop: Option<Arc<[u8]>>,
        streaming: Option<Arc<dyn Env>>,
    ) -> RunWalk {
        let (from, to) = run.range_of(start.as_deref(), stop.as_deref());
        let has_one = |slice: &Slice| slice.table.meta().keys == slice.table.meta().records;
        let is_unique = run.slices.get(from..to).unwrap_or(&[]).iter().all(has_one);
        RunWalk { run, from, to, start, stop, streaming, is_unique, open: None }
    }

    /// Is there no slice that may hold a key?
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Is every slice that it goes through covered by the point index?
    pub fn is_covered(&self) -> bool {
        self.slices().iter().all(|slice| slice.covered)
    }

    /// May the index lead into one of the slices that it goes through?
    pub fn is_in_index(&self) -> bool {
        self.slices().iter().any(|slice| slice.covered || slice.strays)
    }

    fn fresh(&self) -> RunWalk {
        RunWalk {
            run: Arc::clone(&self.run),
            start: self.start.clone(),
            stop: self.stop.clone(),
            streaming: self.streaming.clone(),
            open: None,
            ..*self
        }
    }

    fn slices(&self) -> &[Slice] {
        self.run.slices.get(self.from..self.to).unwrap_or(&[])
    }

    fn ends(&self) -> Option<(&[u8], &[u8])> {
        let (first, last) = (self.slices().first()?, self.slices().last()?);
        let low = self.start.as_deref().map_or(first.first(), |start| start.max(first.first()));
        let high = self.stop.as_deref().map_or(last.last(), |stop| stop.min(last.last()));
        Some((low, high.max(low)))
    }

    /// The number of the slice in which `key` is sought. There is one.
    fn slice_for(&self, key: &[u8], forward: bool) -> usize {
        if forward {
            (self.from + self.slices().partition_point(|slice| slice.is_before(key))).min(self.to - 1)
        } else {
            (self.from + self.slices().partition_point(|slice| slice.first() <= key)).saturating_sub(1).max(self.from)
        }
    }

    /// Makes the slice with this number the one it is in.
    fn enter(&mut self, number: usize) -> Result<&mut TableWalk> {
        if self.open.as_ref().is_none_or(|(slice, _)| *slice as usize != number) {
            self.open = Some((number as u32, self.open_slice(number)?));
        }
        match &mut self.open {
            Some((_, walk)) => Ok(walk),
            None => Err(Error::new(ErrorKind::Internal, "a run has lost its slice")),
        }
    }

    fn open_slice(&self, number: usize) -> Result<TableWalk> {
        let slice = &self.run.slices[number];
        let low = match (self.start.as_deref(), slice.low.as_deref()) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        let high = match (self.stop.as_deref(), slice.high.as_deref()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let reading = match &self.streaming {
            None => Reading::Shared,
            Some(env) => {
                let path = &slice.table.file().path;
                let gone = || Error::on(ErrorKind::Corruption, path, "the table is gone");
                Reading::Streaming(env.open_read(path)?.ok_or_else(gone)?)
            }
        };
        slice.table.walk(reading, number as u32, low, high)
    }

    /// Goes on to further slices while the one it is in has run out.
    fn settle(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        while let Some((number, _)) = &self.open {
            if stand.is_on() {
                return Ok(());
            }
            let number = *number as usize;
            if if forward { number + 1 >= self.to } else { number <= self.from } {
                return Ok(());
            }
            let next = if forward { number + 1 } else { number - 1 };
            self.enter(next)?.seek_to_end_of(stand, forward)?;
        }
        Ok(())
    }
}

impl Walk for RunWalk {
    #[inline]
    fn step(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        let Some((_, walk)) = &mut self.open else { return Ok(()) };
        walk.step(stand, forward)?;
        if stand.is_on() { Ok(()) } else { self.settle(stand, forward) }
    }

    /// Within the slice that it is in.
    #[inline]
    fn visit(&mut self, stand: &mut Stand, stretch: Stretch, to: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        self.open.as_mut().is_some_and(|(_, walk)| walk.visit(stand, stretch, to))
    }

    fn seek_to_end_of(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let number = if forward { self.from } else { self.to - 1 };
        self.enter(number)?.seek_to_end_of(stand, forward)?;
        self.settle(stand, forward)
    }

    fn seek(&mut self, stand: &mut Stand, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let number = self.slice_for(key, forward);
        self.enter(number)?.seek(stand, key, forward, beyond)?;
        self.settle(stand, forward)
    }

    fn approach(&mut self, key: &[u8], forward: bool, beyond: bool) {
        if !self.is_empty()
            && let Ok(walk) = self.enter(self.slice_for(key, forward))
        {
            walk.approach(key, forward, beyond);
        }
    }

    #[inline]
    fn is_in_log(&self) -> bool {
        false
    }
}
