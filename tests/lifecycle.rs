//! Opening, closing, dropping and forking leave nothing behind: no thread, descriptor, mapping or file.
//!
//! The tests count what the whole process has, so they run one at a time.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]
#![expect(clippy::disallowed_methods, reason = "tests look at files and threads from outside")]

mod common;

mod lifecycle {
    mod drops;
    mod forks;
    mod leaks;
    mod refills;
    mod written_over;

    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use kvs::{LogBackend, Options};

    static ALONE: Mutex<()> = Mutex::new(());

    /// Until the guard is dropped no other test runs.
    pub fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tiny(log_backend: LogBackend) -> Options {
        Options { log_backend, ..super::common::tiny() }
    }

    /// What this process holds: the engine's threads, and descriptors and mappings that name something under `dir`.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Held {
        pub workers: usize,
        pub descriptors: usize,
        pub mappings: usize,
    }

    pub const NOTHING: Held = Held { workers: 0, descriptors: 0, mappings: 0 };

    pub fn held(dir: &Path) -> Held {
        let entries = |of: &str| std::fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
        let is_worker = |task: &std::path::PathBuf| {
            // A thread may end between the listing and the look.
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "kvs-worker")
        };
        let is_ours = |fd: &std::path::PathBuf| std::fs::read_link(fd).is_ok_and(|target| target.starts_with(dir));
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        Held {
            workers: entries("/proc/self/task").filter(is_worker).count(),
            descriptors: entries("/proc/self/fd").filter(is_ours).count(),
            mappings: maps.lines().filter(|line| line.contains(dir.to_str().unwrap())).count(),
        }
    }

    /// Holds the process this and nothing else? A joined thread is listed for a moment longer, and a started one names itself
    /// a moment later: so it looks again, a bounded number of times.
    pub fn holds(dir: &Path, expected: &Held, when: &str) {
        let settled = (0..10_000).any(|_| {
            let as_expected = held(dir) == *expected;
            if !as_expected {
                std::thread::yield_now();
            }
            as_expected
        });
        assert!(settled, "{when}: {:?}", held(dir));
    }

    /// All descriptors of the process, and all lines of its memory map.
    pub fn totals() -> (usize, usize) {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        (std::fs::read_dir("/proc/self/fd").unwrap().count(), maps.lines().count())
    }

    pub fn names(dir: &Path) -> BTreeSet<String> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}
