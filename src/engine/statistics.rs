//! The store's numbers, gathered from where they are kept.

use std::collections::BTreeMap;

use crate::engine::Core;
use crate::metrics::Stats;
use crate::sync::{Ordering, epoch};

impl Core {
    /// The store's numbers now. Zeros in a forked child: the locks may be held by threads that are not there.
    pub(crate) fn stats(&self) -> Stats {
        if self.is_forked() {
            return Stats::default();
        }
        // Relaxed: nothing is ordered by these.
        let count = |counter: &crate::sync::AtomicU64| counter.load(Ordering::Relaxed);
        let (snapshots, oldest) = self.snapshots.summary();
        let age = self.snapshots.oldest_since().map(|since| self.env.now().saturating_sub(since));
        let version = self.version.pin(&epoch::pin());
        let tables: BTreeMap<u64, _> = version.slices().map(|s| (s.table.meta().number, s)).collect();
        let of_tables = |of: &dyn Fn(&crate::version::Slice) -> u64| tables.values().map(|slice| of(slice)).sum();
        let uncovered = version.slices().filter(|slice| !slice.covered).map(|slice| slice.table.meta().number);
        let uncovered: std::collections::BTreeSet<u64> = uncovered.collect();
        let (leaving_files, leaving_bytes) = self.leaving_size();
        let flushed_seq = self.catalog.lock().flushed_seq;
        let totals = self.commit.lock().totals;
        let counters = &self.counters;
        Stats {
            writes: totals.writes,
            commits: totals.commits,
            user_bytes_written: totals.user_bytes,
            log_bytes_written: totals.log_bytes,
            flush_bytes_written: count(&counters.flush_bytes_written),
            merge_bytes_written: count(&counters.merge_bytes_written),
            merge_bytes_read: count(&counters.merge_bytes_read),
            syncs: count(&counters.syncs),
            rotations: totals.rotations,
            flushes: count(&counters.flushes),
            merges: count(&counters.merges),
            merge_steps: count(&counters.merge_steps),
            tables_written_over: count(&counters.tables_written_over),
            segments_refilled: count(&counters.refills),
            stalls: count(&counters.stalls),
            stall_nanos: count(&counters.stall_nanos),
            delays: count(&counters.delays),
            delay_nanos: count(&counters.delay_nanos),
            iterators: count(&counters.iterators),
            records_skipped: count(&counters.records_skipped),
            visible_seq: self.visible.load(Ordering::Acquire),
            durable_seq: self.durable.reached(),
            flushed_seq,
            index_keys: self.index.len(),
            covered_tables: (tables.len() - uncovered.len()) as u64,
            snapshots: snapshots as u64,
            oldest_snapshot_seq: oldest.unwrap_or(0),
            oldest_snapshot_age_millis: age.map_or(0, |age| age.as_millis() as u64),
            snapshot_held_bytes: of_tables(&|slice| slice.table.file().held()),
            range_deletes: version.ranges.len() as u64,
            segments: version.memtables.len() as u64,
            log_bytes: version.memtables.iter().map(|m| m.file.end()).sum(),
            log_bytes_allocated: version.memtables.iter().map(|m| m.file.memory().len() as u64).sum(),
            runs: version.runs.len() as u64,
            tables: tables.len() as u64,
            table_bytes: of_tables(&|slice| slice.table.meta().len),
            dead_bytes: of_tables(&|slice| slice.table.file().dead().min(slice.table.meta().len)),
            leaving_files,
            leaving_bytes,
            old_table_bytes: self.old_table_bytes(),
            reserve_bytes: self.reserve_bytes(),
            index_bytes: self.index.bytes(),
            order_bytes: version.memtables.iter().map(|m| m.order_bytes() as u64).sum(),
            fence_bytes: of_tables(&|slice| slice.table.memory()),
            cache_bytes: self.cache.bytes(),
            cache_hits: self.cache.hits(),
            cache_misses: self.cache.misses(),
            poisoned: u64::from(self.failure().is_some()),
            merges_stopped: u64::from(self.merge_failure.get().is_some()),
        }
    }
}
