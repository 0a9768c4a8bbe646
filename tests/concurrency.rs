//! Many threads on one store: what each reader may see, and that nobody hangs.
//!
//! Segments, tables and budgets are tiny, so that rotations, flushes, merges and stalls happen all the time, and in many tests a thread
//! beside the others asks for more of them ([`churn`](concurrency::churn)). Tables are mapped and read by position; in the one case the index
//! has room for all keys, in the other for some, so that slices are covered and uncovered. `KVS_CONC_PERCENT` makes the runs longer, or
//! shorter for sanitizers; seeds are printed.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]
#![expect(clippy::disallowed_methods, reason = "tests look at files and threads from outside")]

#[path = "common/child.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod child;
mod common;
#[path = "common/crew.rs"]
mod crew;

mod concurrency {
    mod batches;
    mod closing;
    mod growth;
    mod history;
    mod idle;
    mod many;
    mod ranges;
    mod registers;
    mod scans;
    mod snapshots;

    pub use idle::in_child as idle_in_child;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use kvs::{Db, LogBackend, Options, TableIo};

    use crate::common::Rng;
    use crate::crew::Task;

    /// `n` operations, as many as this run is asked for.
    pub fn scaled(n: u64) -> u64 {
        (n * crate::common::scale("KVS_CONC_PERCENT", 100) / 100).max(20)
    }

    /// Tables are mapped where logs are; where they are read by position the index has room for some keys only.
    pub fn tiny(log_backend: LogBackend) -> Options {
        let options = Options {
            segment_bytes_min: 4 << 10,
            segment_bytes_max: 16 << 10,
            memtable_bytes_max: 64 << 10,
            table_bytes_max: 32 << 10,
            block_bytes: 512,
            cache_bytes: 16 << 10,
            runs_max: 3,
            log_backend,
            ..Options::default()
        };
        match log_backend {
            LogBackend::Positioned => Options {
                table_io: TableIo::Positioned,
                memory_bytes_max: options.memtable_bytes_max + options.cache_bytes + INDEX_BYTES,
                ..options
            },
            LogBackend::Mapped => Options { table_io: TableIo::Mapped, ..options },
            LogBackend::Auto => options,
        }
    }

    /// Room for some two thousand keys in the index, where it is bounded: its partitions have tables of 256 bytes at least.
    const INDEX_BYTES: u64 = 96 << 10;

    /// A store in a directory of its own, which goes when the pair is dropped.
    pub fn store(backend: LogBackend) -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("db"), tiny(backend)).unwrap();
        (dir, db)
    }

    /// Keys of [`churn`] start so; no other test has such keys.
    const CHURN: &str = "zz churn ";

    /// Flushes, merges all or a part, and puts and deletes many keys of its own, so that slices are uncovered and covered again; until the
    /// writers are done.
    pub fn churn(db: &Db, writing: &Writing, seed: u64) -> Task {
        let (db, writing) = (db.clone(), writing.clone());
        Box::new(move || {
            let mut rng = Rng::new(seed ^ 0xc0de);
            let (mut rounds, mut all_covered, mut some_uncovered) = (0, 0, 0);
            while !writing.is_over() || rounds < 10 {
                match rng.below(8) {
                    0 => db.flush().unwrap(),
                    1 => db.compact::<&[u8]>(..).unwrap(),
                    2 => {
                        let from = [rng.next() as u8];
                        db.compact(from.as_slice()..).unwrap();
                    }
                    3 => db.delete_range(CHURN.."zz churn!").unwrap(),
                    4 => db.sync().unwrap(),
                    _ => {
                        for _ in 0..500 {
                            db.put(format!("{CHURN}{}", rng.next()), "").unwrap();
                        }
                    }
                }
                let stats = db.stats();
                if stats.covered_tables == stats.tables {
                    all_covered += 1
                } else {
                    some_uncovered += 1
                };
                rounds += 1;
            }
            let stats = db.stats();
            println!(
                "{rounds} rounds of churn, {some_uncovered} of them with tables that are not covered; {} flushes, {} steps of merges",
                stats.flushes, stats.merge_steps
            );
            assert!(stats.flushes > 2 && stats.merge_steps > 2, "{stats}");
            let bounded = db.options().memory_bytes_max < 1 << 20;
            assert!(rounds < 50 || (all_covered > 0 && (some_uncovered > 0) == bounded), "{stats}");
        })
    }

    /// Says that all writers are done, also if one of them panicked: readers go on until then.
    #[derive(Clone, Default)]
    pub struct Writing(Arc<AtomicBool>);

    impl Writing {
        pub fn is_over(&self) -> bool {
            self.0.load(Ordering::Acquire)
        }

        /// Over when the last of the returned guards is dropped.
        pub fn guard(&self) -> Arc<Guard> {
            Arc::new(Guard(Arc::clone(&self.0)))
        }
    }

    pub struct Guard(Arc<AtomicBool>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
}

/// Where children enter; an empty test for everybody else.
#[test]
fn child_entry() {
    if let Some((role, store)) = child::role() {
        assert_eq!(role, "idle");
        concurrency::idle_in_child(&store);
    }
}
