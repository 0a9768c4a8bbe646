//! Cursors over the sorted sources of a version: a sorted part of a memtable, or a run of tables.
//!
//! Iterators and merges go through both alike: [`Cursor`] is what a [`Merging`](crate::merging::Merging) of a version's sources
//! consists of. A run is one source, however many tables it has: its slices follow one another, so one of them is open at a time,
//! and a seek chooses the slice before it looks into one.

use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::files::File;
use crate::memtable::cursor::RunCursor;
use crate::merging::{Source, shared_prefix};
use crate::record::{Kind, Seq, Stored};
use crate::sync::Arc;
use crate::table::cursor::{Reading, TableCursor};
use crate::value::Value;
use crate::version::{Run, Slice};

/// One sorted source.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few, and one more pointer to follow costs each record")]
pub enum Cursor {
    /// A sorted part of a memtable, and the slot of its file.
    Memtable(RunCursor, u16),
    /// A run of tables.
    Run(RunWalk),
}

/// A record that a cursor gave; which of a run's slices it is in.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The record.
    pub stored: Stored,
    slice: u32,
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
        match self {
            Cursor::Memtable(cursor, slot) => Cursor::Memtable(cursor.clone(), *slot),
            Cursor::Run(walk) => Cursor::Run(walk.fresh()),
        }
    }
}

impl Cursor {
    /// Keys at or before, and at or after, all that it holds. `None`: it holds none.
    pub fn ends(&self) -> Result<Option<(&[u8], &[u8])>> {
        match self {
            Cursor::Memtable(cursor, _) => cursor.ends(),
            Cursor::Run(walk) => Ok(walk.ends()),
        }
    }

    /// Tells how many first bytes all keys of all sources share.
    pub fn set_skip(&mut self, skip: usize) {
        match self {
            Cursor::Memtable(cursor, _) => cursor.set_skip(skip),
            Cursor::Run(walk) => walk.skip = skip,
        }
    }

    /// The record it stands on.
    #[inline]
    pub fn stored(&self) -> Option<&Stored> {
        match self {
            Cursor::Memtable(cursor, _) => cursor.stored(),
            Cursor::Run(walk) => walk.open.as_ref()?.1.stored(),
        }
    }

    /// Where the record is that it stands on.
    #[inline]
    pub fn place(&self) -> Option<Place<'_>> {
        match self {
            Cursor::Memtable(cursor, slot) => {
                let (file, stored) = (cursor.run().file(), cursor.stored()?);
                Some(Place { file, slot: *slot, bytes: cursor.record_of(stored), stored })
            }
            Cursor::Run(walk) => {
                let (slice, open) = walk.open.as_ref()?;
                let slice = &walk.run.slices[*slice as usize];
                let stored = open.stored()?;
                Some(Place { file: slice.table.file(), slot: slice.slot, bytes: open.record_of(stored), stored })
            }
        }
    }

    /// Key and value of an entry that it gave and that was not released, to hold on to.
    pub fn pin(&self, entry: &Entry) -> (Value, Value) {
        match self {
            Cursor::Memtable(cursor, _) => {
                let (file, header) = (cursor.run().file(), &entry.stored.header);
                let pin =
                    |at: usize, len: u32| Value::new(Arc::clone(file), entry.stored.offset as usize + at, len as usize);
                (pin(header.key_at as usize, header.key_len), pin(header.value_at(), header.value_len))
            }
            Cursor::Run(walk) => walk.open_of(entry).1.pin(&entry.stored),
        }
    }

    /// The value of the record it stands on; empty if it ran out.
    #[inline]
    pub fn value(&self) -> &[u8] {
        match self {
            Cursor::Memtable(cursor, _) => cursor.stored().map_or(&[], |stored| cursor.value_of(stored)),
            Cursor::Run(walk) => walk.open.as_ref().map_or(&[], |(_, open)| open.value()),
        }
    }

    /// The value of an entry that it gave and that was not released.
    #[inline]
    pub fn value_of(&self, entry: &Entry) -> &[u8] {
        match self {
            Cursor::Memtable(cursor, _) => cursor.value_of(&entry.stored),
            Cursor::Run(walk) => walk.open_of(entry).1.value_of(&entry.stored),
        }
    }
}

impl Source for Cursor {
    type Entry = Entry;

    #[inline]
    fn is_on(&self) -> bool {
        self.stored().is_some()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        match self {
            Cursor::Memtable(cursor, _) => cursor.key(),
            Cursor::Run(walk) => walk.open.as_ref().map_or(&[], |(_, open)| open.key()),
        }
    }

    #[inline]
    fn seq(&self) -> Seq {
        self.stored().map_or(0, |stored| stored.header.seq())
    }

    #[inline]
    fn kind(&self) -> Kind {
        self.stored().map_or(Kind::Put, |stored| stored.header.kind)
    }

    #[inline]
    fn entry(&self) -> Option<Entry> {
        match self {
            Cursor::Memtable(cursor, _) => Some(Entry { stored: cursor.entry()?, slice: 0 }),
            Cursor::Run(walk) => {
                let (slice, open) = walk.open.as_ref()?;
                Some(Entry { stored: open.entry()?, slice: *slice })
            }
        }
    }

    #[inline]
    fn prefix(&self) -> u64 {
        match self {
            Cursor::Memtable(cursor, _) => cursor.prefix(),
            Cursor::Run(walk) => walk.open.as_ref().map_or(0, |(_, open)| open.prefix()),
        }
    }

    #[inline]
    fn key_of<'a>(&'a self, entry: &Entry) -> &'a [u8] {
        match self {
            Cursor::Memtable(cursor, _) => cursor.key_of(&entry.stored),
            Cursor::Run(walk) => walk.open_of(entry).1.key_of(&entry.stored),
        }
    }

    #[inline]
    fn step(&mut self, forward: bool) -> Result<()> {
        match self {
            Cursor::Memtable(cursor, _) => cursor.step(forward),
            Cursor::Run(walk) => walk.step(forward),
        }
    }

    fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
        match self {
            Cursor::Memtable(cursor, _) => cursor.seek_to_end_of(forward),
            Cursor::Run(walk) => walk.seek_to_end_of(forward),
        }
    }

    fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        match self {
            Cursor::Memtable(cursor, _) => cursor.seek(key, forward, beyond),
            Cursor::Run(walk) => walk.seek(key, forward, beyond),
        }
    }

    fn release(&mut self) {
        match self {
            Cursor::Memtable(cursor, _) => cursor.release(),
            Cursor::Run(walk) => walk.release(),
        }
    }

    #[inline]
    fn is_in_log(&self) -> bool {
        matches!(self, Cursor::Memtable(..))
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
    /// The slice it is in, with its number.
    open: Option<(u32, TableCursor)>,
    /// Those that entries given out may still be in, the last one left last.
    kept: Vec<(u32, TableCursor)>,
    skip: usize,
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
        RunWalk { run, from, to, start, stop, streaming, open: None, kept: Vec::new(), skip: 0 }
    }

    /// Is there no slice that may hold a key?
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Is every slice that it goes through covered by the point index?
    pub fn is_covered(&self) -> bool {
        self.slices().iter().all(|slice| slice.covered)
    }

    fn fresh(&self) -> RunWalk {
        RunWalk {
            run: Arc::clone(&self.run),
            start: self.start.clone(),
            stop: self.stop.clone(),
            streaming: self.streaming.clone(),
            open: None,
            kept: Vec::new(),
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

    /// The slice of an entry and the cursor in it.
    #[inline]
    fn open_of(&self, entry: &Entry) -> (&Slice, &TableCursor) {
        let open = self.open.iter().chain(self.kept.iter().rev()).find(|(slice, _)| *slice == entry.slice);
        match open {
            Some((slice, cursor)) => (&self.run.slices[*slice as usize], cursor),
            None => unreachable!("an entry is not asked for after it was released"),
        }
    }

    fn release(&mut self) {
        if !self.kept.is_empty() {
            self.kept.clear();
        }
        if let Some((_, cursor)) = &mut self.open {
            cursor.release();
        }
    }

    /// Makes the slice with this number the one it is in.
    fn enter(&mut self, number: usize) -> Result<&mut TableCursor> {
        if self.open.as_ref().is_none_or(|(slice, _)| *slice as usize != number) {
            // One that was left and is still held is opened again: entries given out know it by its number.
            let held = self.kept.iter().position(|(slice, _)| *slice as usize == number);
            let opened = match held {
                Some(at) => self.kept.remove(at),
                None => (number as u32, self.open_slice(number)?),
            };
            self.kept.extend(self.open.replace(opened));
        }
        let skip = self.skip;
        match &mut self.open {
            Some((_, cursor)) => {
                cursor.set_skip(skip);
                Ok(cursor)
            }
            None => Err(Error::new(ErrorKind::Internal, "a run has lost its slice")),
        }
    }

    fn open_slice(&self, number: usize) -> Result<TableCursor> {
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
        slice.table.cursor(reading, low, high)
    }

    /// Goes on to further slices while the one it is in has run out.
    fn settle(&mut self, forward: bool) -> Result<()> {
        while let Some((number, cursor)) = &self.open {
            if cursor.is_on() {
                return Ok(());
            }
            let number = *number as usize;
            if if forward { number + 1 >= self.to } else { number <= self.from } {
                return Ok(());
            }
            let next = if forward { number + 1 } else { number - 1 };
            self.enter(next)?.seek_to_end_of(forward)?;
        }
        Ok(())
    }

    #[inline]
    fn step(&mut self, forward: bool) -> Result<()> {
        let Some((_, cursor)) = &mut self.open else { return Ok(()) };
        cursor.step(forward)?;
        if cursor.is_on() { Ok(()) } else { self.settle(forward) }
    }

    fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let number = if forward { self.from } else { self.to - 1 };
        self.enter(number)?.seek_to_end_of(forward)?;
        self.settle(forward)
    }

    fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let number = if forward {
            (self.from + self.slices().partition_point(|slice| slice.is_before(key))).min(self.to - 1)
        } else {
            (self.from + self.slices().partition_point(|slice| slice.first() <= key)).saturating_sub(1).max(self.from)
        };
        self.enter(number)?.seek(key, forward, beyond)?;
        self.settle(forward)
    }
}
