//! A walk over part of a memtable's run. Verifies every record that it stands on.

use super::order::{self, Run, record_at};
use crate::bracket::Bound;
use crate::error::{Error, Result};
use crate::files::region::Region;
use crate::merging::Stretch;
use crate::record::{Header, SEQ_MAX, Stored};
use crate::sync::Arc;
use crate::walk::{Stand, Walk, Window};

/// A position in the records `low..high` of a run.
#[derive(Clone, Debug)]
pub struct MemtableWalk {
    run: Arc<Run>,
    low: usize,
    high: usize,
    at: usize,
    /// What the seek that comes next will find.
    aimed: Option<Bound>,
}

impl MemtableWalk {
    /// Over the keys from `start` up to but without `stop`, as far as given.
    pub fn new(run: Arc<Run>, start: Option<&[u8]>, stop: Option<&[u8]>) -> Result<MemtableWalk> {
        let bound =
            |key: Option<&[u8]>, none| key.map_or(Ok(none), |key| run.lower_bound(key, SEQ_MAX).map(|bound| bound.at));
        let low = bound(start, 0)?;
        let high = bound(stop, run.len())?.max(low);
        Ok(MemtableWalk { run, low, high, at: low, aimed: None })
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
        // What all keys of a merge share is made of them: one that has rotted would put others out of order.
        let key = |i| {
            let (file, offset) = (self.run.file(), self.run.offset(i));
            let (bytes, header) = record_at(file, offset)?;
            file.check(bytes, &header, offset)?;
            Ok::<_, Error>(header.key(bytes))
        };
        let Some((smallest, largest)) = self.run.ends() else { return Ok(None) };
        let first = if self.low == 0 { smallest } else { key(self.low)? };
        let last = if self.high == self.run.len() { largest } else { key(self.high - 1)? };
        Ok(Some((first, last)))
    }

    /// The run that it walks.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Where a seek ends. The first record of a larger key is where `key` with sequence number 0, which no record has, would stand.
    fn bound(&self, key: &[u8], forward: bool, beyond: bool) -> Result<Bound> {
        self.run.lower_bound(key, if forward == beyond { 0 } else { SEQ_MAX })
    }

    fn sought(&mut self, stand: &mut Stand, at: usize, forward: bool, is_verified: bool) -> Result<()> {
        if !stand.is_in(0) {
            // Whoever sorted the run looked at its records, so they were published before.
            stand.look_at(0, Window { from: 0, region: Region::of_file(self.run.file()) });
        }
        self.load(stand, at, forward, is_verified)
    }

    /// Stands on `at`, or nowhere if that is outside. It is verified unless it was before.
    #[inline(always)]
    fn load(&mut self, stand: &mut Stand, at: usize, forward: bool, is_verified: bool) -> Result<()> {
        self.at = at;
        stand.leave();
        if at < self.low || at >= self.high {
            return Ok(());
        }
        self.run.prefetch_around(at, forward);
        let file = self.run.file();
        let offset = self.run.offset(at);
        let bytes = stand.window().tail(offset);
        let header = Header::decode(bytes).ok_or_else(|| order::no_record(file, offset))?;
        if !is_verified {
            file.check(bytes, &header, offset)?;
        }
        let prefix = stand.prefix_of(header.key(bytes));
        stand.put(offset, header, prefix);
        Ok(())
    }
}

impl Walk for MemtableWalk {
    #[inline]
    fn step(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        // One before the first is usize::MAX, which `load` finds outside.
        let at = if forward { self.at.wrapping_add(1) } else { self.at.wrapping_sub(1) };
        self.load(stand, at, forward, false)
    }

    #[inline]
    fn visit(&mut self, stand: &mut Stand, stretch: Stretch, to: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        let file = self.run.file();
        let window = stand.window();
        let ((mut stored, mut before), mut key_before) = (stand.at(), stand.key());
        // It moves together with the stand: a closure that panics leaves both where they were.
        let (mut last, mut enough) = (self.at, false);
        while !enough {
            let at = if stretch.forward { last.wrapping_add(1) } else { last.wrapping_sub(1) };
            if at < self.low || at >= self.high {
                break;
            }
            self.run.prefetch_around(at, stretch.forward);
            let offset = self.run.offset(at);
            let record = window.tail(offset);
            let Some(header) = Header::decode(record) else { break };
            let key = header.key(record);
            let prefix = stand.prefix_of(key);
            if !stretch.has(&header, prefix, before, || key != key_before)
                || file.check(record, &header, offset).is_err()
            {
                break;
            }
            (last, stored, before, key_before) = (at, Stored { offset, header }, prefix, key);
            enough = !to(key, header.value(record));
        }
        self.at = last;
        stand.put(stored.offset, stored.header, before);
        enough
    }

    fn seek_to_end_of(&mut self, stand: &mut Stand, forward: bool) -> Result<()> {
        self.aimed = None;
        let at = if forward { self.low } else { self.high.wrapping_sub(1) };
        self.sought(stand, at, forward, false)
    }

    fn seek(&mut self, stand: &mut Stand, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        let bound = match self.aimed.take() {
            Some(bound) => bound,
            None => self.bound(key, forward, beyond)?,
        };
        if forward {
            let at = bound.at.max(self.low);
            return self.sought(stand, at, forward, bound.is_verified && at == bound.at);
        }
        let at = bound.at.min(self.high);
        self.sought(stand, at.wrapping_sub(1), forward, bound.is_verified_before && at == bound.at)
    }

    fn approach(&mut self, key: &[u8], forward: bool, beyond: bool) {
        // What fails now fails again when it is sought.
        self.aimed = self.bound(key, forward, beyond).ok();
        if let Some(Bound { at, .. }) = self.aimed {
            self.run.prefetch(if forward { at.max(self.low) } else { at.min(self.high).wrapping_sub(1) });
        }
    }

    #[inline]
    fn is_in_log(&self) -> bool {
        true
    }
}
