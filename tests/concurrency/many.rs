//! Many threads: no hidden limit, and waiting writers sleep and are woken once, not in a herd.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvs::{Db, Durability, LogBackend};

use super::{scaled, store, tiny};
use crate::crew;

/// A thousand threads each put a key and read it back; after a reopen all keys are there.
#[test]
fn a_thousand_threads() {
    let (dir, db) = store(LogBackend::Auto);
    let threads = scaled(1000);
    let task = |i: u64| {
        let db = db.clone();
        move || {
            db.put(i.to_be_bytes(), format!("of thread {i}")).unwrap();
            assert_eq!(db.get(i.to_be_bytes()).unwrap().as_deref(), Some(format!("of thread {i}").as_bytes()));
        }
    };
    crew::run(crew::tasks(threads, task).collect());
    drop(db);
    let db = Db::open(dir.path().join("db"), tiny(LogBackend::Auto)).unwrap();
    let found: Vec<_> = db.iter().unwrap().map(|pair| pair.unwrap().1.to_vec()).collect();
    let expected: Vec<_> = (0..threads).map(|i| format!("of thread {i}").into_bytes()).collect();
    assert_eq!(found, expected);
}

/// How often this thread has waited.
fn voluntary_switches() -> u64 {
    // SAFETY: `rusage` is integers, for which all zeros is a value; `getrusage` fills in the one that it is given, which lives
    // for the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage
    };
    usage.ru_nvcsw as u64
}

/// Sixty-four writers released at once, all finish. A structural bound on wake-ups: a herd would wake each of them for
/// every write of another, 64 times and more.
fn released_at_once(durability: Durability, writes: u64) {
    let (dir, db) = store(LogBackend::Auto);
    let switches = Arc::new(AtomicU64::new(0));
    let task = |id: u64| {
        let (db, switches) = (db.clone(), Arc::clone(&switches));
        move || {
            let before = voluntary_switches();
            for i in 0..writes {
                db.put_with([id.to_be_bytes(), i.to_be_bytes()].concat(), "value", durability).unwrap();
            }
            switches.fetch_add(voluntary_switches() - before, Ordering::Relaxed);
        }
    };
    crew::run(crew::tasks(64, task).collect());
    let stats = db.stats();
    assert_eq!((stats.writes, stats.visible_seq), (64 * writes, 64 * writes));
    if durability == Durability::Process {
        // More than the log may hold: they wait for flushes, many at a time, and are released together.
        assert!(stats.stalls > 0 || stats.user_bytes_written < 10 * db.options().memtable_bytes_max, "{stats}");
    }
    if durability == Durability::Sync {
        assert_eq!(stats.durable_seq, stats.visible_seq);
        assert!(stats.syncs > 0 && stats.syncs <= stats.writes + stats.rotations, "{stats:?}");
    }
    let each = switches.load(Ordering::Relaxed) as f64 / stats.writes as f64;
    println!(
        "{durability:?}: {} writes, {} syncs, {each:.2} voluntary context switches a write",
        stats.writes, stats.syncs
    );
    assert!(each < 20.0, "{each} waits for a write");
    drop(db);
    let db = Db::open(dir.path().join("db"), tiny(LogBackend::Auto)).unwrap();
    assert_eq!(db.iter().unwrap().count() as u64, 64 * writes);
}

#[test]
fn sixty_four_writers_at_once_process() {
    released_at_once(Durability::Process, scaled(1000));
}

#[test]
fn sixty_four_writers_at_once_sync() {
    released_at_once(Durability::Sync, scaled(20));
}
