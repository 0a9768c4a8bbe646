//! What allocates and what does not, counted by the allocator itself.
//!
//! Requirement: a miss allocates nothing, a copy into a buffer that is large enough allocates nothing, a scan allocates
//! nothing for an entry; so it is over logs and over tables. Counted per thread, so the worker and other tests do not disturb.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]

#[path = "common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kvs::{Db, Options, TableIo};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate after its counter is gone: that is of no interest here.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every method hands its arguments to the system's allocator unchanged and returns what that returned; the counter is
// a plain cell that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; `at` came from `System` by one of these methods.
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from `System` by one of these methods.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `work` allocates on this thread.
fn allocations<R>(work: impl FnOnce() -> R) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    let result = work();
    let after = ALLOCATIONS.with(Cell::get);
    drop(result);
    after - before
}

/// One test at a time: what one thread leaves to the epochs another may run, and the epochs' own lists are beyond us.
static ALONE: Mutex<()> = Mutex::new(());

const KEYS: u32 = 20_000;

/// Where the records are that a store reads.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// In several log segments.
    Logs,
    /// In some eighty tables, which are mapped.
    Tables,
}

const BOTH: [Held; 2] = [Held::Logs, Held::Tables];

fn store(dir: &tempfile::TempDir, held: Held) -> (MutexGuard<'static, ()>, Db) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let options = match held {
        // Too little to be flushed, whatever the worker has time for.
        Held::Logs => Options { segment_bytes_min: 16 << 10, ..Options::default() },
        Held::Tables => Options { table_io: TableIo::Mapped, ..common::tiny() },
    };
    let db = Db::open(dir.path().join("db"), options).unwrap();
    for i in 0..KEYS {
        db.put(i.to_be_bytes(), [i as u8; 50]).unwrap();
    }
    db.delete([0; 4]).unwrap();
    if matches!(held, Held::Tables) {
        db.compact::<&[u8]>(..).unwrap();
        // What leaves the store is given back on whatever thread comes next.
        while db.stats().leaving_files > 0 {
            drop(db.snapshot());
        }
    }
    // The first use of a thread registers it with the epochs.
    db.get("warm").unwrap();
    (alone, db)
}

/// The counter counts.
#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| Vec::<u8>::with_capacity(10)), 1);
    assert_eq!(allocations(|| 1 + 1), 0);
    let mut vec = vec![0u8; 16];
    assert_eq!(allocations(|| vec.reserve_exact(1000)), 1);
}

/// Ten thousand misses of each kind: missing keys and deleted ones, now and in a snapshot.
#[test]
fn a_miss_allocates_nothing() {
    for held in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let (_alone, db) = store(&dir, held);
        let snapshot = db.snapshot().unwrap();
        let mut buffer = Vec::new();
        let made = allocations(|| {
            for i in KEYS..KEYS + 10_000 {
                let key = i.to_be_bytes();
                assert!(db.get(key).unwrap().is_none());
                assert!(!db.get_into(key, &mut buffer).unwrap());
                assert!(db.get_owned(key).unwrap().is_none());
                assert!(!db.contains(key).unwrap());
                assert!(snapshot.get(key).unwrap().is_none());
            }
            for _ in 0..10_000 {
                assert!(db.get([0; 4]).unwrap().is_none() && !db.contains([0; 4]).unwrap());
            }
        });
        assert_eq!(made, 0);
    }
}

/// Hits, too: pinned, copied into a buffer that has room, and looked for.
#[test]
fn a_hit_allocates_nothing() {
    for held in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let (_alone, db) = store(&dir, held);
        let mut buffer = Vec::with_capacity(50);
        let made = allocations(|| {
            for i in 1..KEYS {
                let key = i.to_be_bytes();
                assert!(db.get_into(key, &mut buffer).unwrap());
                assert_eq!(buffer, [i as u8; 50]);
                assert!(db.contains(key).unwrap());
                assert_eq!(db.get(key).unwrap().unwrap(), [i as u8; 50]);
            }
        });
        assert_eq!(made, 0);
        assert_eq!(allocations(|| db.get_owned(1u32.to_be_bytes())), 1, "an owned copy is one allocation");
    }
}

/// Once an iterator stands on its first entry, no step allocates unless it goes on to the next table: by cursor or as a standard
/// iterator, either way.
#[test]
fn a_scan_allocates_nothing_for_an_entry() {
    for held in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let (_alone, db) = store(&dir, held);
        let stats = db.stats();
        assert!(stats.segments > 4 || stats.tables > 20, "{stats}");
        for forward in [true, false] {
            let mut iter = db.iter().unwrap();
            assert!(if forward { iter.seek_to_first() } else { iter.seek_to_last() }.unwrap());
            let (mut entries, mut bytes) = (1, 0);
            let made = allocations(|| {
                while if forward { iter.move_next() } else { iter.move_prev() }.unwrap() {
                    entries += 1;
                    bytes += iter.key().len() + iter.value().len();
                }
            });
            assert_eq!((entries, bytes), (KEYS - 1, (KEYS as usize - 2) * 54));
            // Each table is opened when the scan comes to it.
            assert!(made <= 8 * db.stats().tables, "{held:?}: {made} allocations for {entries} entries");
        }
        let mut iter = db.iter().unwrap();
        assert!(iter.next().is_some() && iter.next_back().is_some());
        let made = allocations(|| {
            for _ in 0..5000 {
                assert!(iter.next().is_some() && iter.next_back().is_some());
            }
        });
        assert!(made <= 8 * db.stats().tables, "{held:?}: {made} allocations for pinned pairs from both ends");
    }
}

/// A put allocates nothing of its own: what remains is the growth of the index, far less than one in twenty, and the next
/// segment.
#[test]
fn puts_allocate_rarely() {
    for held in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let (_alone, db) = store(&dir, held);
        let rotations = db.stats().rotations;
        let made = allocations(|| {
            for i in 0..KEYS {
                db.put(i.to_be_bytes(), [1; 50]).unwrap();
            }
        });
        let rotations = db.stats().rotations - rotations;
        let most = u64::from(KEYS) / 20 + 40 * rotations;
        assert!(made < most, "{held:?}: {made} allocations for {KEYS} overwrites and {rotations} segments");
    }
}
