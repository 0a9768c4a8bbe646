//! The version: which files a store consists of, at one moment.
//!
//! Immutable. A reader that holds one sees that set of files whatever happens meanwhile; every change makes a new one
//! and replaces the pointer to it in one step, so nobody ever sees a mix.
//!
//! ```text
//! memtables   one for each log segment that is not in tables yet, oldest first; the last may still grow
//! runs        newest first; all versions of a key in one run are newer than those in the runs behind it
//! run         slices, ascending, whose keys do not overlap
//! slice       the keys low <= key < high of one table; the rest of that table has been merged elsewhere
//! ```
//!
//! Slices make merges gradual. A merge goes through the keys of its runs in order; whenever it has filled a table it *cuts* the
//! keys so far out of its inputs and puts the new table into the oldest of them, and both become true in one step. It can stop
//! there for as long as it likes. A table whose last slice is gone is retired.
//!
//! A slice is *covered* if the point index has an entry for every key in it whose newest version it holds. Of any key, the versions in
//! uncovered slices are older than those in covered ones: slices are filled into the index newest first and removed oldest
//! first. So an entry of the index, if there is one, is the key's newest version, and what is not in the index can only be in
//! an uncovered slice.

use crate::memtable::Memtable;
use crate::ranges::RangeDeletes;
use crate::sync::Arc;
use crate::table::reader::Table;

/// The live files. Replaced under the commit mutex, before anything that a new file holds is published.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// One for each unflushed segment, oldest first: file numbers and sequence numbers ascend. The last may still grow.
    pub memtables: Vec<Arc<Memtable>>,
    /// Newest first.
    pub runs: Vec<Arc<Run>>,
    /// Every range delete that may still hide something.
    pub ranges: Arc<RangeDeletes>,
    /// Some slice is not covered by the point index.
    pub uncovered: bool,
}

/// Slices whose keys do not overlap, ascending.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Names it while it lives; larger is not newer.
    pub number: u64,
    /// Ascending.
    pub slices: Vec<Slice>,
}

/// A part of a table.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Whose.
    pub table: Arc<Table>,
    /// By which addresses name the table's file.
    pub slot: u16,
    /// Its first key is at least this. `None`: the table's own first key.
    pub low: Option<Arc<[u8]>>,
    /// Its last key is smaller than this. `None`: the table's own last key.
    pub high: Option<Arc<[u8]>>,
    /// Is every key, whose newest version it holds, in the point index?
    pub covered: bool,
    /// Although it is not covered, the index may have entries that lead into it: a merge that took covered slices and others leaves them.
    pub strays: bool,
}

impl Version {
    /// The memtable over the file with this number.
    pub fn memtable(&self, number: u64) -> Option<&Arc<Memtable>> {
        let at = self.memtables.binary_search_by_key(&number, |m| m.file.number).ok()?;
        self.memtables.get(at)
    }

    /// This one with one more memtable.
    pub fn with_memtable(&self, memtable: Arc<Memtable>) -> Version {
        let mut new = self.clone();
        new.memtables.push(memtable);
        new
    }

    /// This one with other runs; empty ones are left out.
    pub fn with_runs(&self, runs: Vec<Arc<Run>>) -> Version {
        let runs: Vec<_> = runs.into_iter().filter(|run| !run.slices.is_empty()).collect();
        let uncovered = runs.iter().any(|run| run.slices.iter().any(|slice| !slice.covered));
        Version { runs, uncovered, ..self.clone() }
    }

    /// The tables alone, for those who read them for long: segments that are flushed meanwhile are not kept from leaving.
    pub fn tables_only(&self) -> Version {
        Version { memtables: Vec::new(), ..self.clone() }
    }

    /// All slices, newest run first.
    pub fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.runs.iter().flat_map(|run| &run.slices)
    }
}

impl Run {
    /// The slice that would hold `key`.
    pub fn slice_of(&self, key: &[u8]) -> Option<&Slice> {
        let after = self.slices.partition_point(|slice| slice.first() <= key);
        let slice = self.slices.get(after.checked_sub(1)?)?;
        slice.may_hold(key).then_some(slice)
    }

    /// The slices that may hold keys from `start` up to but without `stop`, as `from..to`.
    pub fn range_of(&self, start: Option<&[u8]>, stop: Option<&[u8]>) -> (usize, usize) {
        let from = start.map_or(0, |start| self.slices.partition_point(|slice| slice.is_before(start)));
        let to = stop.map_or(self.slices.len(), |stop| self.slices.partition_point(|slice| slice.first() < stop));
        (from, to.max(from))
    }

    /// The slices without the keys from `start` up to but without `stop`.
    pub fn cut(&self, start: Option<&[u8]>, stop: Option<&[u8]>) -> Vec<Slice> {
        let mut kept = Vec::with_capacity(self.slices.len() + 1);
        for slice in &self.slices {
            let before = start.and_then(|start| slice.clip(None, Some(start)));
            let after = stop.and_then(|stop| slice.clip(Some(stop), None));
            kept.extend(before);
            kept.extend(after);
        }
        kept
    }

    /// The slices together with others, of keys that none of them holds.
    pub fn joined(mut slices: Vec<Slice>, more: impl IntoIterator<Item = Slice>) -> Vec<Slice> {
        slices.extend(more);
        slices.sort_by(|a, b| a.first().cmp(b.first()));
        slices
    }

    /// Do the keys of any slice overlap with the keys from `first` to `last`, both included?
    pub fn overlaps(&self, first: &[u8], last: &[u8]) -> bool {
        self.slices.iter().any(|slice| slice.first() <= last && !slice.is_before(first))
    }
}

impl Slice {
    /// All of a table.
    pub fn whole(table: Arc<Table>, slot: u16, covered: bool) -> Slice {
        Slice { table, slot, low: None, high: None, covered, strays: false }
    }

    /// No key of it is smaller.
    pub fn first(&self) -> &[u8] {
        let smallest = &*self.table.meta().smallest;
        self.low.as_deref().map_or(smallest, |low| low.max(smallest))
    }

    /// No key of it is larger.
    pub fn last(&self) -> &[u8] {
        let largest = &*self.table.meta().largest;
        self.high.as_deref().map_or(largest, |high| high.min(largest))
    }

    /// Are all its keys smaller than `key`?
    pub fn is_before(&self, key: &[u8]) -> bool {
        &*self.table.meta().largest < key || self.high.as_deref().is_some_and(|high| high <= key)
    }

    /// May it hold `key`?
    pub fn may_hold(&self, key: &[u8]) -> bool {
        self.first() <= key && !self.is_before(key)
    }

    /// The part from `start` up to but without `stop`; `None` if no key can be in it.
    pub fn clip(&self, start: Option<&[u8]>, stop: Option<&[u8]>) -> Option<Slice> {
        let mut part = self.clone();
        if let Some(start) = start.filter(|start| self.first() < *start) {
            part.low = Some(start.into());
        }
        if let Some(stop) = stop.filter(|stop| self.high.as_deref().is_none_or(|high| *stop < high)) {
            // Above its last key a bound would say nothing.
            if stop <= &*self.table.meta().largest {
                part.high = Some(stop.into());
            }
        }
        let empty = *part.table.meta().largest < *part.first()
            || part.high.as_deref().is_some_and(|high| high <= part.first())
            || stop.is_some_and(|stop| stop <= part.first());
        (!empty).then_some(part)
    }
}
