//! The memtable: the records of one segment, in order on demand.
//!
//! The bytes in the segment *are* the memtable's copy; finding a key is the point index's work. What is added here is order:
//! sorted [`Run`]s over `[0, covered)` of the segment, shared as immutable arrays. The rest, the tail, is folded by whoever
//! needs order:
//!
//! * a tail of at most [`TAIL_SHORT`] records is sorted by itself, and that is good for all until the next write; then what is new is
//!   sorted and merged into it;
//! * a longer one under the fold lock, for all to share; whoever does not get the lock at once sorts privately, since
//!   readers wait for nobody.
//!
//! Runs are kept few by merging neighbours of similar size, so that `n` writes with a scan between each two cost
//! `n log n` and a scan meets at most [`RUNS_MAX`] runs. Dense runs are cheap to merge, so of these neighbours count as similar that
//! are not.

pub mod order;
#[cfg(test)]
mod tests;
pub mod walk;

use crate::error::Result;
use crate::files::File;
use crate::log::frame;
use crate::log::segment::SEGMENT_HEADER_BYTES;
use crate::record::{Header, Seq};
use crate::sync::{Arc, Mutex};
use order::Run;

/// A tail of so many records is not worth folding.
const TAIL_SHORT: usize = 64;
/// At most so many runs.
const RUNS_MAX: usize = 4;
/// A run is merged with what follows it unless it is longer by more than this factor.
const RATIO: usize = 2;
/// The same of a dense run.
const RATIO_DENSE: usize = 8;

/// One segment's records.
#[derive(Debug)]
pub struct Memtable {
    /// Where they stand.
    pub file: Arc<File>,
    /// The slot by which addresses name the file.
    pub slot: u16,
    /// The number that its first write has, or will have.
    pub first_seq: Seq,
    sorted: Mutex<Sorted>,
    /// Held while the shared runs are extended; never waited for.
    folding: Mutex<()>,
}

/// The shared runs; cloned under a short lock.
#[derive(Clone, Debug)]
struct Sorted {
    covered: u64,
    runs: Vec<Arc<Run>>,
    /// A short tail behind `covered`, and where it ends: scans that follow one another without a write between have it.
    tail: Option<(u64, Arc<Run>)>,
}

impl Memtable {
    /// Over a segment of which at least the header is published.
    pub fn new(file: Arc<File>, slot: u16, first_seq: Seq) -> Memtable {
        let sorted = Sorted { covered: SEGMENT_HEADER_BYTES as u64, runs: Vec::new(), tail: None };
        Memtable { file, slot, first_seq, sorted: Mutex::new(sorted), folding: Mutex::new(()) }
    }

    /// Runs that together hold every record published now, none twice.
    pub fn runs(&self) -> Result<Vec<Arc<Run>>> {
        let end = self.file.end();
        let sorted = self.sorted.lock().clone();
        if sorted.covered >= end {
            return Ok(sorted.runs);
        }
        let mut runs = sorted.runs;
        let (from, before) = match sorted.tail {
            Some((tail_end, tail)) if tail_end >= end => {
                runs.push(tail);
                return Ok(runs);
            }
            Some((tail_end, tail)) => (tail_end, Some(tail)),
            None => (sorted.covered, None),
        };
        let mut records = before.as_ref().map_or(0, |tail| tail.len());
        frame::walk(&self.file, from, end, |_, _, _| {
            records += 1;
            records <= TAIL_SHORT
        })?;
        if records > TAIL_SHORT
            && let Some(_folding) = self.folding.try_lock()
        {
            return self.fold(end);
        }
        let new = Arc::new(Run::sort(&self.file, from, end)?);
        let tail = match before {
            Some(before) => Arc::new(Run::merge(&self.file, &[before, new])?),
            None => new,
        };
        if records <= TAIL_SHORT {
            let mut now = self.sorted.lock();
            if now.covered == sorted.covered && now.tail.as_ref().is_none_or(|(tail_end, _)| *tail_end < end) {
                now.tail = Some((end, Arc::clone(&tail)));
            }
        }
        runs.push(tail);
        Ok(runs)
    }

    /// Brings the shared runs up to what is published now, unless somebody else is at it.
    pub fn sort(&self) -> Result<()> {
        match self.folding.try_lock() {
            Some(_folding) => self.fold(self.file.end()).map(drop),
            None => Ok(()),
        }
    }

    /// Extends the shared runs to `end`. The fold lock is held.
    fn fold(&self, end: u64) -> Result<Vec<Arc<Run>>> {
        let Sorted { covered, mut runs, .. } = self.sorted.lock().clone();
        if covered < end {
            runs.push(Arc::new(Run::sort(&self.file, covered, end)?));
            let mut from = runs.len() - 1;
            let mut merged = runs[from].len();
            let ratio = |run: &Run| if run.is_dense() { RATIO_DENSE } else { RATIO };
            while from > 0 && (from >= RUNS_MAX || runs[from - 1].len() <= ratio(&runs[from - 1]) * merged) {
                from -= 1;
                merged += runs[from].len();
            }
            if from < runs.len() - 1 {
                let rest = runs.split_off(from);
                runs.push(Arc::new(Run::merge(&self.file, &rest)?));
            }
            *self.sorted.lock() = Sorted { covered: end, runs: runs.clone(), tail: None };
        }
        Ok(runs)
    }

    /// The newest version of `key` that is not newer than `seq`, found by order instead of the index.
    pub fn search(&self, key: &[u8], seq: Seq) -> Result<Option<(u64, Header)>> {
        let mut best: Option<(u64, Header)> = None;
        for run in self.runs()? {
            let bound = run.lower_bound(key, seq)?;
            if bound.at == run.len() {
                continue;
            }
            let offset = run.offset(bound.at);
            let (bytes, header) = order::record_at(&self.file, offset)?;
            if !bound.is_verified {
                self.file.check(bytes, &header, offset)?;
            }
            if header.key(bytes) == key && best.is_none_or(|(_, b)| b.seq() < header.seq()) {
                best = Some((offset, header));
            }
        }
        Ok(best)
    }

    /// Anonymous memory that order takes, in bytes.
    pub fn order_bytes(&self) -> usize {
        let sorted = self.sorted.lock();
        sorted.runs.iter().chain(sorted.tail.as_ref().map(|(_, tail)| tail)).map(|run| run.bytes()).sum()
    }
}
