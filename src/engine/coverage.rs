//! Coverage: which slices the point index speaks for, and how that changes.
//!
//! After an open the index knows the keys of the logs and no others. The worker fills it from the tables' hash sections, the
//! newest run first, slice by slice; a key that is there already has a newer version. Where the index would outgrow the memory
//! that it may have, it stops; and if it has outgrown it, slices are uncovered again, the oldest first.
//!
//! The order of steps is that of [`covering`](crate::covering).
//!
//! *Cover* a slice: insert its keys, if absent; then install a version that says so. In between the entries are right already
//! (a key's entry is its newest version, since all newer slices are covered), only their absence says nothing yet.
//!
//! *Uncover* a slice: install a version that says so; wait one grace period, for readers that take a miss for final hold the older
//! version; then remove the entries that lead into its table.
//!
//! A merge of slices of which some are covered leaves a slice that is not, and entries that lead into it: those of the former. They are right, and
//! stay while there is room (they are *strays*); then such a slice is uncovered again, by the same steps.
//!
//! What is overwritten in a slice that is not covered is not known when it is written: the flush of it estimates that.
//!
//! A slice may be a part of its table; what the hash section says of the rest has been merged elsewhere and must not come back. So
//! there each record's key is looked at.

#[cfg(test)]
mod tests;

use crate::coding;
use crate::covering;
use crate::engine::Core;
use crate::engine::commit::address;
use crate::engine::output::Built;
use crate::engine::tables::whole_hash;
use crate::error::Result;
use crate::log::frame::{self, Prev};
use crate::memtable::Memtable;
use crate::sync::Arc;
use crate::sync::epoch;
use crate::version::{Run, Slice, Version};

/// Bytes that a key takes in the index at most, or a slice would be uncovered as soon as it is covered.
const ENTRY_BYTES: u64 = 24;
/// One of so many keys stands for all when it is counted what was overwritten where the index does not speak.
const SAMPLED: u32 = 64;
/// Tables of the index that wait for readers, while slices are covered and uncovered, come to about so many bytes.
const RETIRED_BYTES_MAX: u64 = 256 << 10;
/// So many keys are filled in while one epoch is pinned.
const BATCH: usize = 64;

impl Core {
    /// Covers one more slice, if there is one that fits. False if there was none.
    pub(crate) fn cover_some(&self) -> Result<bool> {
        let version = self.version.pin(&epoch::pin());
        if !version.uncovered {
            return Ok(false);
        }
        let slices = || version.runs.iter().enumerate().flat_map(|(r, run)| (0..run.slices.len()).map(move |s| (r, s)));
        let Some((run, slice)) = slices().find(|&(r, s)| !version.runs[r].slices[s].covered) else { return Ok(false) };
        let slice_of = &version.runs[run].slices[slice];
        if self.index.bytes() + slice_of.table.meta().keys * ENTRY_BYTES > self.index_bytes_max() {
            return Ok(false);
        }
        covering::cover(|| self.fill(slice_of), || self.set_covered(&version, run, slice, true))?;
        Ok(true)
    }

    /// Inserts the keys of a slice.
    fn fill(&self, slice: &Slice) -> Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut dead = 0;
        slice.table.hashes(|hash, offset| {
            batch.push((hash, offset));
            if batch.len() == BATCH {
                dead += self.fill_batch(slice, &batch)?;
                batch.clear();
                self.free_outgrown();
                if self.signal.wants_segment() {
                    self.prepare_segment();
                }
                self.check_open()?;
            }
            Ok(())
        })?;
        dead += self.fill_batch(slice, &batch)?;
        slice.table.file().count_overwritten(dead);
        Ok(())
    }

    /// Returns the bytes of records that are not the newest of their keys.
    fn fill_batch(&self, slice: &Slice, batch: &[(u32, u64)]) -> Result<u64> {
        let guard = epoch::pin();
        batch.iter().for_each(|(hash, _)| self.index.prefetch(whole_hash(*hash), &guard));
        let mut dead = 0;
        for &(hash, offset) in batch {
            if !self.is_in(slice, offset)? {
                continue;
            }
            let hash = whole_hash(hash);
            let same_key = |candidate| {
                let (bytes, header) = slice.table.record_at(offset)?;
                self.is_key(candidate, header.key(&bytes), &guard)
            };
            if !self.index.lock(hash).fill(hash, address(slice.slot, offset)?, &guard, same_key)? {
                let (_, header) = slice.table.record_at(offset)?;
                dead += header.len() as u64;
            }
        }
        Ok(dead)
    }

    /// Counts as dead what a flush has overwritten in slices of which the index does not speak. Nobody knew, when it was written,
    /// what a key replaced there. To look for each would cost more than the flush, so some keys are looked for and stand for all:
    /// one in [`SAMPLED`], by their hashes.
    pub(crate) fn estimate_overwritten(
        &self,
        version: &Version,
        inputs: &[Arc<Memtable>],
        built: &[Built],
    ) -> Result<()> {
        if !version.uncovered {
            return Ok(());
        }
        for built in built {
            for key in built.keys.iter().filter(|key| key.hash.is_multiple_of(SAMPLED)) {
                let Some((from, _)) = built.sources.of_note(key.note) else { continue };
                let Some(input) = inputs.iter().find(|memtable| memtable.slot == from.slot()) else { continue };
                // One that replaced what the index knew was counted when it was written.
                if frame::prev_of(&input.file, from.offset()) != Prev::Unknown {
                    continue;
                }
                let (bytes, header) = input.file.record_at(from.offset())?;
                let key = header.key(&bytes);
                let hash = coding::hash_seeded(key, self.hash_seed);
                for slice in version.runs.iter().filter_map(|run| run.slice_of(key)).filter(|slice| !slice.covered) {
                    if let Some(found) = slice.table.find(key, hash)? {
                        slice.table.file().add_estimated(found.header.len() as u64 * u64::from(SAMPLED));
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Uncovers the oldest slice, while the index takes more memory than it may. False if it does not.
    pub(crate) fn uncover_some(&self) -> Result<bool> {
        if self.index.bytes() <= self.index_bytes_max() {
            return Ok(false);
        }
        // What it has outgrown is counted, too, and may be free by now.
        self.index.collect();
        if self.index.bytes() <= self.index_bytes_max() {
            return Ok(false);
        }
        self.uncover_oldest()
    }

    /// Uncovers the oldest slice. False if the index leads into none.
    pub(crate) fn uncover_oldest(&self) -> Result<bool> {
        let version = self.version.pin(&epoch::pin());
        let runs = version.runs.iter().enumerate().rev();
        let mut slices = runs.flat_map(|(r, run)| (0..run.slices.len()).rev().map(move |s| (r, s)));
        let has_entries = |slice: &Slice| slice.covered || slice.strays;
        let Some((run, slice)) = slices.find(|&(r, s)| has_entries(&version.runs[r].slices[s])) else {
            return Ok(false);
        };
        let slice_of = &version.runs[run].slices[slice];
        if slice_of.covered {
            // What was overwritten up to now has been counted.
            slice_of.table.file().count_overwritten(0);
        }
        covering::uncover(|| self.set_covered(&version, run, slice, false), || self.unfill(slice_of))?;
        Ok(true)
    }

    /// Removes the entries that lead into a slice.
    ///
    /// They come by their hashes, partition by partition: each goes through all sizes down to the smallest.
    fn unfill(&self, slice: &Slice) -> Result<()> {
        // Whatever leads into a table leads into one of its slices: if this is the only one, no record need be looked at.
        let version = self.version.pin(&epoch::pin());
        let is_only = version.slices().filter(|other| other.slot == slice.slot).count() <= 1;
        let mut count = 0;
        slice.table.hashes(|hash, offset| {
            count += 1;
            if count % BATCH == 0 {
                self.free_outgrown();
                if self.signal.wants_segment() {
                    self.prepare_segment();
                }
                self.check_open()?;
            }
            if is_only || self.is_in(slice, offset)? {
                let hash = whole_hash(hash);
                let guard = epoch::pin();
                self.index.lock(hash).remove(hash, address(slice.slot, offset)?, &guard);
            }
            Ok(())
        })
    }

    /// Frees what this has left behind of the index so far: all of it would be more memory than the index itself.
    fn free_outgrown(&self) {
        if self.index.retired_bytes() > RETIRED_BYTES_MAX {
            self.index.collect();
        }
    }

    /// Is the record at `offset` of the slice's table in the slice?
    fn is_in(&self, slice: &Slice, offset: u64) -> Result<bool> {
        if slice.low.is_none() && slice.high.is_none() {
            return Ok(true);
        }
        let (bytes, header) = slice.table.record_at(offset)?;
        slice.table.file().check(&bytes, &header, offset)?;
        Ok(slice.may_hold(header.key(&bytes)))
    }

    /// Installs a version in which the coverage of one slice is another. Only whoever holds `background` changes runs.
    fn set_covered(&self, version: &Version, run: usize, slice: usize, covered: bool) {
        let mut runs = version.runs.clone();
        let mut slices = runs[run].slices.clone();
        slices[slice].covered = covered;
        slices[slice].strays = false;
        runs[run] = Arc::new(Run { number: runs[run].number, slices });
        let guard = epoch::pin();
        let _commit = self.commit.lock();
        let next = self.version.load(&guard).with_runs(runs);
        self.version.replace(Arc::new(next), &guard);
    }

    /// Memory that the point index may take: what the budget leaves beside segments, their order and the cache.
    pub(crate) fn index_bytes_max(&self) -> u64 {
        let others = self.options.memtable_bytes_max.saturating_add(self.options.cache_bytes);
        self.options.memory_bytes_max.saturating_sub(others)
    }
}
