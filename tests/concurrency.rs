//! Many threads on one store: what each reader may see, and that nobody hangs.
//!
//! Tiny segments, so that rotations and the growth of the index happen all the time. `KVS_CONC_PERCENT` makes the runs longer, or
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
    mod registers;
    mod scans;
    mod snapshots;

    pub use idle::in_child as idle_in_child;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use kvs::{Db, LogBackend, Options};

    /// `n` operations, as many as this run is asked for.
    pub fn scaled(n: u64) -> u64 {
        (n * crate::common::scale("KVS_CONC_PERCENT", 100) / 100).max(20)
    }

    pub fn tiny(log_backend: LogBackend) -> Options {
        Options { segment_bytes_min: 4 << 10, segment_bytes_max: 64 << 10, log_backend, ..Options::default() }
    }

    /// A store in a directory of its own, which goes when the pair is dropped.
    pub fn store(backend: LogBackend) -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("db"), tiny(backend)).unwrap();
        (dir, db)
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
