//! A cursor over part of a run: one source of a merge. Verifies every record that it stands on.

use super::order::{self, Run, record_at};
use crate::error::Result;
use crate::files::region::Region;
use crate::merging::{Source, prefix_after};
use crate::record::{Header, Kind, SEQ_MAX, Seq, Stored};
use crate::sync::Arc;

/// A position in the records `low..high` of a run.
#[derive(Clone, Debug)]
pub struct RunCursor {
    run: Arc<Run>,
    /// All that the run orders.
    region: Region,
    low: usize,
    high: usize,
    at: usize,
    /// Verified.
    entry: Option<Stored>,
    prefix: u64,
    /// Bytes that all keys of all sources share.
    skip: usize,
}

impl RunCursor {
    /// Over the keys from `start` up to but without `stop`, as far as given.
    pub fn new(run: Arc<Run>, start: Option<&[u8]>, stop: Option<&[u8]>) -> Result<RunCursor> {
        let low = start.map_or(Ok(0), |key| run.lower_bound(key, SEQ_MAX))?;
        let high = stop.map_or(Ok(run.len()), |key| run.lower_bound(key, SEQ_MAX))?.max(low);
        // Whoever sorted the run looked at its records, so they were published before.
        let region = Region::of_file(run.file());
        Ok(RunCursor { run, region, low, high, at: low, entry: None, prefix: 0, skip: 0 })
    }

    /// Is there no record at all?
    pub fn is_empty(&self) -> bool {
        self.low == self.high
    }

    /// The first and the last key, if there is a record.
    pub fn ends(&self) -> Result<Option<(&[u8], &[u8])>> {
        if self.is_empty() {
            return Ok(None);
        }
        let key = |i| record_at(self.run.file(), self.run.offset(i)).map(|(bytes, header)| header.key(bytes));
        Ok(Some((key(self.low)?, key(self.high - 1)?)))
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

    /// A record's value.
    #[inline]
    pub fn value_of(&self, entry: &Stored) -> &[u8] {
        entry.header.value(self.record_of(entry))
    }

    /// The bytes from a record on.
    #[inline]
    pub fn record_of(&self, entry: &Stored) -> &[u8] {
        self.region.bytes().get(entry.offset as usize..).unwrap_or(&[])
    }

    /// The run that it walks.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Stands on `at`, or nowhere if that is outside.
    #[inline]
    fn load(&mut self, at: usize, forward: bool) -> Result<()> {
        self.at = at;
        self.entry = None;
        if at < self.low || at >= self.high {
            return Ok(());
        }
        self.run.prefetch_around(at, forward);
        let file = self.run.file();
        let offset = self.run.offset(at);
        let bytes = self.region.bytes().get(offset as usize..).unwrap_or(&[]);
        let header = Header::decode(bytes).ok_or_else(|| order::no_record(file, offset))?;
        let key = header.key(bytes);
        file.check(bytes, &header, offset)?;
        self.prefix = prefix_after(key, self.skip);
        self.entry = Some(Stored { offset, header });
        Ok(())
    }
}

impl Source for RunCursor {
    type Entry = Stored;

    #[inline]
    fn is_on(&self) -> bool {
        self.entry.is_some()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], |entry| self.key_of(entry))
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
        entry.header.key(self.record_of(entry))
    }

    #[inline]
    fn step(&mut self, forward: bool) -> Result<()> {
        // One before the first is usize::MAX, which `load` finds outside.
        let at = if forward { self.at.wrapping_add(1) } else { self.at.wrapping_sub(1) };
        self.load(at, forward)
    }

    fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
        let at = if forward { self.low } else { self.high.wrapping_sub(1) };
        self.load(at, forward)
    }

    fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        // The first record of a larger key is where `key` with sequence number 0, which no record has, would stand.
        let after = forward == beyond;
        let bound = self.run.lower_bound(key, if after { 0 } else { SEQ_MAX })?;
        let at = if forward { bound.max(self.low) } else { bound.min(self.high).wrapping_sub(1) };
        self.load(at, forward)
    }
}
