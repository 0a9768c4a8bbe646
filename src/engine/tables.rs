//! Tables come and go: how the set of files changes, and how what is gone is given back.
//!
//! A change, made by whoever holds `background`, in this order:
//!
//! ```text
//!  1 the new tables are written, synced, and opened                               (output.rs)
//!  2 the directory is synced: their names are durable
//!  3 the manifest is replaced: they are part of the store from here on, whatever happens
//!  4 a new Version, under the commit mutex: readers that come now find them
//!  5 the index is re-pointed: each moved record's entry, if it still holds the old place
//!  6 one grace period: no reader is left that took an old place from the index          (leaving.rs)
//!  7 the slots of old files are cleared and used again
//!  8 the worker unlinks and unmaps each old file as soon as no iterator and no pinned value holds it
//! ```
//!
//! Before 3 a crash leaves orphans, which the next open removes; after it, the old files are the orphans. Between 4 and 7 both places
//! of a record can be read. A reader that holds an older version keeps its files alive by the version, not by slots.

use std::collections::BTreeSet;

use crate::engine::Core;
use crate::engine::doubt;
use crate::engine::output::{Built, Gone, Output};
use crate::engine::signal::Signal;
use crate::error::{ErrorKind, Result};
use crate::files::File;
use crate::leaving;
use crate::manifest::{self, RangeState, RunState, SliceState, State};
use crate::ranges::{RangeDelete, RangeDeletes};
use crate::record::Seq;
use crate::sync::Arc;
use crate::sync::epoch::{self, Guard};
use crate::table::hashes::Keyed;
use crate::table::{Meta, reader::Table};
use crate::version::{Run, Slice, Version};

/// So many index entries are re-pointed in one piece.
const BATCH: usize = 32;
/// The place of an index entry is fetched so many entries ahead, one a step: with 5 million keys in the index an entry takes 42 ns so,
/// and 60 when 32 are asked for at once.
const AHEAD: usize = 16;

/// What a flush adds to a change.
pub(crate) struct Flushed {
    /// Every write up to this one is in tables.
    pub seq: Seq,
    /// Number and end of the last log that is.
    pub log: (u64, u64),
}

impl Core {
    /// A number for a new file.
    pub(crate) fn take_file_number(&self) -> Result<u64> {
        self.spare.lock().take_number()
    }

    /// Opens a finished table.
    pub(crate) fn open_table(&self, meta: Meta) -> Result<Table> {
        Table::open(&*self.env, &self.dir, self.database, self.hash_seed, meta, self.table_io, &self.cache)
    }

    /// Steps 2 to 4: from now on the store has these runs, and, after a flush, no log up to the flushed one.
    /// On an error nothing has changed; if it poisoned the store, the manifest may be either.
    /// Range deletes that hide nothing any more are dropped at the same time.
    pub(crate) fn install(&self, runs: Vec<Arc<Run>>, flushed: Option<&Flushed>) -> Result<()> {
        self.sync_entries(&self.dir)?;
        let mut catalog = self.catalog.lock();
        let old = self.version.pin(&epoch::pin());
        let mut state = catalog.clone();
        if let Some(Flushed { seq, log }) = flushed {
            state.flushed(*seq, *log);
        }
        state.next_file = self.next_file();
        let new = old.with_runs(runs);
        // By the old version's tables: the index may still lead to records that this change purges.
        let ranges = match old.ranges.is_empty() {
            true => Arc::clone(&old.ranges),
            false => {
                Arc::new(spent_ranges_dropped(&old, catalog.flushed_seq, state.flushed_seq, &self.snapshots.live()))
            }
        };
        describe(&new, &ranges, &mut state);
        self.replace_manifest(&state)?;
        *catalog = state;

        let guard = epoch::pin();
        let commit = self.commit.lock();
        // Only this thread changes runs; memtables and range deletes may have come meanwhile.
        let current = self.version.load(&guard);
        let mut next = current.with_runs(new.runs);
        if let Some(flushed) = flushed {
            next.memtables.retain(|memtable| memtable.file.number > flushed.log.0);
        }
        if ranges.len() < old.ranges.len() {
            let all: BTreeSet<Seq> = old.ranges.iter().map(|range| range.seq).collect();
            let left: BTreeSet<Seq> = ranges.iter().map(|range| range.seq).collect();
            let spent = |range: &RangeDelete| all.contains(&range.seq) && !left.contains(&range.seq);
            next.ranges = Arc::new(next.ranges.without(spent));
        }
        self.version.replace(Arc::new(next), &guard);
        drop(commit);
        Ok(())
    }

    /// The same for what a flush or a merge made. What could not become part of the store goes.
    pub(crate) fn install_output<'a>(
        &self,
        mut output: Output<'a>,
        slices: &[Slice],
        runs: Vec<Arc<Run>>,
        flushed: Option<&Flushed>,
    ) -> Result<Output<'a>> {
        let installed = self.install(runs, flushed);
        if installed.is_ok() || self.failure().is_some() {
            output.keep();
        } else {
            self.unregister(slices);
        }
        installed.map(|()| output)
    }

    /// Puts a manifest that says `state` in the place of the old one. A failure poisons, but for a full disk while the new one was
    /// written: then the old one stands.
    pub(crate) fn replace_manifest(&self, state: &State) -> Result<()> {
        manifest::replace(&*self.env, &self.dir, state).inspect_err(|failure| {
            doubt::mark_names(&*self.env, &self.dir, failure);
            if failure.kind() != ErrorKind::NoSpace {
                self.poison(failure);
            }
        })
    }

    /// Gives the tables slots. `strays`: the index may lead into them although it does not cover them.
    pub(crate) fn register(&self, built: &[Built], covered: bool, strays: bool) -> Result<Vec<Slice>> {
        let mut slices = Vec::with_capacity(built.len());
        for Built { table, .. } in built {
            match self.files.register(Arc::clone(table.file())) {
                Ok(slot) => slices.push(Slice { strays, ..Slice::whole(Arc::clone(table), slot, covered) }),
                Err(failure) => {
                    self.unregister(&slices);
                    return Err(failure);
                }
            }
        }
        Ok(slices)
    }

    /// Takes back the slots of tables that did not become part of the store: no reader was ever led to them.
    pub(crate) fn unregister(&self, slices: &[Slice]) {
        slices.iter().for_each(|slice| self.clear_slot(slice.slot));
    }

    /// Step 5. What was overwritten meanwhile is dead where it is now; what is not in the index any more is left so.
    ///
    /// Keys come in the order of their hashes, which is that of the index's memory.
    pub(crate) fn repoint(&self, built: &[Built], slices: &[Slice], gone: &[Gone], covered: bool) -> Result<()> {
        for (built, slice) in built.iter().zip(slices) {
            let mut dead = built.held + built.deletes;
            // Of each source, the bytes that were their keys' newest up to now: all that moved, less what was overwritten meanwhile. Where
            // the index does not know every key, a missing entry says nothing, and what was found is counted by its mean.
            let mut left: Vec<u64> =
                built.sources.totals().map(|(_, total)| if covered { total.bytes() } else { 0 }).collect();
            let means: Vec<u64> = built.sources.totals().map(|(_, total)| total.mean()).collect();
            let mut keys = built.keys.as_slice();
            while let Some(first) = keys.first() {
                let guard = epoch::pin();
                let mut ahead = keys.iter().skip(AHEAD);
                let mut partition = self.index.lock(whole_hash(first.hash));
                // A writer may be waiting for the lock.
                let same = |key: &&Keyed| partition.holds(whole_hash(key.hash));
                let (batch, rest) = keys.split_at(keys.iter().take(BATCH).take_while(same).count());
                keys = rest;
                for key in batch {
                    // Where the table has few of the store's keys, each lies in a line of its own.
                    if let Some(ahead) = ahead.next() {
                        self.index.prefetch(whole_hash(ahead.hash), &guard);
                    }
                    let Some((from, source)) = built.sources.of_note(key.note) else { continue };
                    let to = super::commit::address(slice.slot, key.offset())?;
                    let replaced = partition.replace_if(whole_hash(key.hash), from, to, &guard);
                    if covered && !replaced {
                        let len = slice.table.record_at(key.offset()).map_or(0, |(_, header)| header.len() as u64);
                        left[source] = left[source].saturating_sub(len);
                        dead += len;
                    } else if replaced && !covered {
                        left[source] += means[source];
                    }
                }
            }
            let guard = epoch::pin();
            built.sources.totals().zip(left).for_each(|((slot, _), bytes)| self.count_dead(slot, bytes, &guard));
            slice.table.file().add_dead(dead);
            slice.table.file().add_held(built.held);
        }
        for batch in gone.chunks(BATCH) {
            let guard = epoch::pin();
            batch.iter().for_each(|gone| self.index.prefetch(gone.hash, &guard));
            for gone in batch {
                self.index.lock(gone.hash).remove(gone.hash, gone.from, &guard);
            }
        }
        Ok(())
    }

    /// Records of so many bytes in the file in `slot` are not the newest of their keys any more.
    #[inline]
    pub(crate) fn count_dead(&self, slot: u16, bytes: u64, guard: &Guard) {
        if let Some(file) = self.files.get(slot, guard) {
            file.add_dead(bytes);
        }
    }

    /// Steps 6 to 8 begin for these files; the worker goes on with them.
    pub(crate) fn retire(&self, files: impl IntoIterator<Item = (u16, Arc<File>)>) {
        let leaving = files.into_iter().inspect(|(slot, file)| {
            debug_assert_eq!(self.index.leads_to(*slot), None, "the index leads to {file:?}, which leaves the store");
            file.leave(Arc::<Signal>::clone(&self.signal));
        });
        self.leaving.retire(leaving, self.tell_garbage());
    }

    fn clear_slot(&self, slot: u16) {
        leaving::clear_slot(&self.files, slot, &self.graveyard, self.tell_garbage());
    }

    /// Steps 7 and 8, as far as they can be done. An unlink that fails leaves an orphan.
    pub(crate) fn reap(&self) {
        self.leaving.reap(&self.files, &self.graveyard, self.tell_garbage(), |file| {
            if file.is_table() {
                self.cache.remove_file(file.number);
                self.let_table_go(file);
            } else {
                self.let_segment_go(file);
            }
        });
    }

    /// Wakes the worker, from any thread and for as long as it likes.
    fn tell_garbage(&self) -> impl Fn() + Clone + Send + 'static {
        let signal = Arc::clone(&self.signal);
        move || signal.tell_garbage()
    }

    /// Removes the names of all files that are not part of the store any more, whoever still reads them: at close.
    pub(crate) fn unlink_leaving(&self) {
        for file in self.leaving.take_all() {
            let _ = self.env.unlink(&file.path);
        }
    }

    /// How many files have left the store and are still held, and their bytes.
    pub(crate) fn leaving_size(&self) -> (u64, u64) {
        self.leaving.size(File::end)
    }
}

/// A hash of which the index knows the upper half.
pub(crate) fn whole_hash(upper: u32) -> u64 {
    u64::from(upper) << u32::BITS
}

/// Writes down a version's tables, runs and range deletes.
fn describe(version: &Version, ranges: &RangeDeletes, state: &mut State) {
    state.tables = version.slices().map(|slice| (slice.table.meta().number, slice.table.meta().clone())).collect();
    let bound = |bound: &Option<Arc<[u8]>>| bound.as_deref().map(<[u8]>::to_vec);
    let slice_of = |slice: &Slice| SliceState {
        table: slice.table.meta().number,
        low: bound(&slice.low),
        high: bound(&slice.high),
    };
    let run_of = |run: &Arc<Run>| RunState { number: run.number, slices: run.slices.iter().map(slice_of).collect() };
    state.runs = version.runs.iter().map(run_of).collect();
    let flushed = ranges.iter().filter(|range| range.seq <= state.flushed_seq);
    state.ranges = flushed
        .map(|range| RangeState { start: range.start.clone(), stop: range.stop.clone(), seq: range.seq })
        .collect();
}

/// The range deletes without those that hide nothing any more: they are flushed, and every table that has keys of theirs was
/// made after they were applied, or holds newer records only.
///
/// Nor do those that newer ones cover, if these are flushed with this change: a newer one that is in the log only may be lost with it.
fn spent_ranges_dropped(version: &Version, flushed_seq: Seq, flushed_now: Seq, snapshots: &[Seq]) -> RangeDeletes {
    version.ranges.without(|range| {
        if version.ranges.is_covered(range, flushed_now, snapshots) {
            return true;
        }
        range.seq <= flushed_seq
            && version.slices().all(|slice| {
                let meta = slice.table.meta();
                let apart = slice.is_before(&range.start) || slice.first() >= &*range.stop;
                apart || meta.purged_seq >= range.seq || meta.first_seq > range.seq
            })
    })
}
