//! What scans step over, and what is done about it.
//!
//! An iterator shows one version of a key. The others that it meets, tombstones, and what a range delete hides cost it as much as those
//! that it shows. So iterators count what they step over, and where that has cost about as much as to clear it away would cost, it
//! is cleared away: as whoever hires skis until the rent is their price, scans lose at most about twice of what was needed.
//!
//! - What lies in the log goes when the log becomes tables. A queue that is taken from at its front has a tombstone for each entry that was taken,
//!   and every look at the front steps over all of them, while the segment may take hours to fill. So the worker flushes early
//!   ([`LOG_SKIPS`]). (RocksDB came to the same in version 10, with `memtable_op_scan_flush_trigger`.)
//! - What lies in tables goes when they are merged; [`picking`](super::picking) is told.
//!
//! The same early flush serves [range deletes](Core::flush_for_ranges), of which a list is searched by every read.

use crate::engine::Core;
use crate::sync::{AtomicU64, Ordering};
use crate::visibility::Skipped;

/// After so many steps over records in the log it is flushed early: at some 30 ns each they have cost what a small flush costs.
const LOG_SKIPS: u64 = 1 << 18;

/// Range deletes that came since the last flush and take so much memory make it come early, if they are as much again as before.
const RANGE_BYTES: u64 = if cfg!(test) { 16 << 10 } else { 1 << 20 };

/// What was stepped over, and not cleared away since. Relaxed throughout: they decide when, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Scans {
    /// In the log, since the last flush.
    in_log: AtomicU64,
    /// In tables, since all runs were merged last.
    in_tables: AtomicU64,
    /// Bytes of the list of range deletes at the last flush.
    range_bytes: AtomicU64,
}

impl Scans {
    /// In tables, since all runs were merged last.
    pub fn in_tables(&self) -> u64 {
        self.in_tables.load(Ordering::Relaxed)
    }

    /// All runs were merged.
    pub fn merged(&self) {
        self.in_tables.store(0, Ordering::Relaxed);
    }

    /// Something was flushed, and range deletes take so many bytes now.
    pub fn flushed(&self, range_bytes: u64) {
        self.in_log.store(0, Ordering::Relaxed);
        self.range_bytes.store(range_bytes, Ordering::Relaxed);
    }
}

impl Core {
    /// An iterator has stepped over these.
    #[cold]
    pub(crate) fn tell_skipped(&self, skipped: Skipped) {
        self.counters.records_skipped.fetch_add(skipped.in_log + skipped.in_tables, Ordering::Relaxed);
        self.scans.in_tables.fetch_add(skipped.in_tables, Ordering::Relaxed);
        let before = self.scans.in_log.fetch_add(skipped.in_log, Ordering::Relaxed);
        if before < LOG_SKIPS && before + skipped.in_log >= LOG_SKIPS {
            self.signal.ask_for_early_flush();
        }
    }

    /// The list of range deletes takes so many bytes: is it time for a flush, after which those that others cover can go?
    pub(crate) fn flush_for_ranges(&self, range_bytes: u64) {
        let before = self.scans.range_bytes.load(Ordering::Relaxed);
        if range_bytes / 2 >= before && range_bytes - before >= RANGE_BYTES {
            // The next one comes when there is as much again, whether this one brings it down or not.
            self.scans.range_bytes.store(range_bytes, Ordering::Relaxed);
            self.signal.ask_for_early_flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::batch::Batch;
    use crate::engine::recovery;
    use crate::env::memory::MemoryEnv;
    use crate::options::{Durability, Options};
    use crate::record::Kind;

    fn open() -> Core {
        recovery::open(MemoryEnv::shared(), Path::new("/db"), Options::default()).unwrap()
    }

    fn settle(core: &Core) {
        core.work();
        assert!(!core.signal.has(crate::engine::signal::EARLY));
    }

    /// The same range again and again, as a cache is emptied: the list does not grow, and the store needs nobody to compact it.
    #[test]
    fn range_deletes_that_others_cover_go_by_themselves() {
        let core = open();
        core.write_one(Kind::Put, b"apple", b"", Durability::Process, true).unwrap();
        core.flush_all().unwrap();
        let mut most = 0;
        for n in 0..2000 {
            let mut batch = Batch::new();
            batch.put(format!("b{n}"), "").delete_range("b".."c");
            core.write_batch(&batch, Durability::Process, true).unwrap();
            core.work();
            most = most.max(core.stats().range_deletes);
        }
        assert!(most < 300 && core.stats().flushes > 4, "{most}\n{}", core.stats());
    }

    /// A hundred thousand ranges that lie apart stay; they do not make a flush of every write.
    #[test]
    fn range_deletes_that_stay_are_flushed_now_and_then() {
        let core = open();
        for n in 0..3000u32 {
            let mut batch = Batch::new();
            let (start, stop) = ((2 * n).to_be_bytes(), (2 * n + 1).to_be_bytes());
            batch.delete_range(start..stop);
            core.write_batch(&batch, Durability::Process, true).unwrap();
            core.write_one(Kind::Put, &start, b"", Durability::Process, true).unwrap();
            settle(&core);
        }
        assert!(core.stats().flushes < 20, "{}", core.stats());
    }

    /// Steps over the log ask for a flush once, and again after as many more.
    #[test]
    fn steps_over_the_log_empty_it() {
        let core = open();
        for round in 1..4 {
            core.write_one(Kind::Put, b"key", b"", Durability::Process, true).unwrap();
            core.tell_skipped(Skipped { in_log: LOG_SKIPS - 1, in_tables: LOG_SKIPS });
            settle(&core);
            assert_eq!(core.stats().flushes, round - 1);
            core.tell_skipped(Skipped { in_log: 1, in_tables: 0 });
            settle(&core);
            assert_eq!((core.stats().flushes, core.stats().log_bytes), (round, 0));
        }
    }
}
