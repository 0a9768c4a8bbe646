//! Open and close, a thousand times.

use std::collections::BTreeSet;

use kvs::{Db, Durability, LogBackend};

use super::{Held, NOTHING, alone, holds, names, tiny, totals};

/// A thousand opens and closes, with writes, iterators and snapshots in some: after each the process holds nothing of the store,
/// and the directory has the manifest, the lock file and logs that hold records.
#[test]
fn a_thousand_opens_leave_nothing() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    // Ten stores, so that none has a log of a thousand files.
    let stores: Vec<_> = (0..10).map(|i| dir.path().join(format!("db{i}"))).collect();
    let mut written = [0u32; 10];
    let mut after_warm_up = (0, 0);
    for round in 0..1000usize {
        let at = round % 10;
        let path = &stores[at];
        let backend = if round % 3 == 0 { LogBackend::Positioned } else { LogBackend::Mapped };
        let db = Db::open(path, tiny(backend)).unwrap();
        assert!(db.iter().unwrap().count() == written[at] as usize, "round {round}");
        if round % 5 == at % 5 && round % 7 < 3 {
            for i in 0..100 {
                let durability = if i == 50 && round % 2 == 0 { Durability::Sync } else { Durability::None };
                db.put_with((written[at] + i).to_be_bytes(), [1; 100], durability).unwrap();
            }
            written[at] += 100;
            let snapshot = db.snapshot().unwrap();
            assert_eq!(snapshot.iter().unwrap().count(), written[at] as usize);
        }
        if round % 2 == 0 {
            db.close().unwrap();
        }
        drop(db);
        holds(dir.path(), &NOTHING, &format!("after round {round}"));
        if round == 200 {
            after_warm_up = totals();
        }
    }
    let (descriptors, mappings) = totals();
    assert_eq!(descriptors, after_warm_up.0, "descriptors of the process");
    // The heap may move by a few; a leak of one in ten rounds would be eighty.
    assert!(mappings < after_warm_up.1 + 20, "{mappings} lines of memory map after {}", after_warm_up.1);
    for path in &stores {
        let expected: BTreeSet<String> = ["LOCK", "MANIFEST"].map(String::from).into();
        let (logs, rest): (BTreeSet<_>, BTreeSet<_>) = names(path).into_iter().partition(|n| n.ends_with(".log"));
        let (tables, rest): (BTreeSet<_>, BTreeSet<_>) = rest.into_iter().partition(|n| n.ends_with(".tbl"));
        assert_eq!(rest, expected);
        for log in logs {
            assert!(std::fs::metadata(path.join(&log)).unwrap().len() > 80, "{log} holds no record");
        }
        // Last: a store that is open may flush and remove a log.
        assert_eq!(tables.len() as u64, Db::open(path, tiny(LogBackend::Mapped)).unwrap().stats().tables, "orphans");
    }
    assert!(written.iter().sum::<u32>() > 2000);
}

/// A thousand stores in memory, with writes that fill several segments, iterators, snapshots, syncs and values that outlive their
/// store: no thread, descriptor or mapping stays, and while one is open it has no descriptor.
#[test]
fn a_thousand_stores_in_memory_leave_nothing() {
    let _alone = alone();
    let nowhere = tempfile::tempdir().unwrap();
    // Mappings without a file that lie side by side are one line of the memory map, so their memory is what is counted.
    let resident_pages = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
    };
    let mut after_warm_up = (0, 0);
    for round in 0..1000usize {
        let backend = if round % 3 == 0 { LogBackend::Positioned } else { LogBackend::Mapped };
        let descriptors = totals().0;
        let db = Db::in_memory(tiny(backend)).unwrap();
        for i in 0..(round % 7 * 50) as u32 {
            let durability = if i == 50 && round % 2 == 0 { Durability::Sync } else { Durability::None };
            db.put_with(i.to_be_bytes(), [1; 100], durability).unwrap();
        }
        assert_eq!(db.iter().unwrap().count(), round % 7 * 50, "round {round}");
        assert_eq!(totals().0, descriptors, "round {round}");
        let value = db.snapshot().unwrap().get(7u32.to_be_bytes()).unwrap();
        if round % 2 == 0 {
            db.flush().unwrap();
            db.verify().unwrap();
            db.close().unwrap();
        }
        drop(db);
        assert!(value.is_none_or(|value| *value == [1; 100]), "round {round}");
        holds(nowhere.path(), &NOTHING, &format!("after round {round}"));
        if round == 200 {
            after_warm_up = (totals().0, resident_pages());
        }
    }
    let (descriptors, pages) = (totals().0, resident_pages());
    assert_eq!(descriptors, after_warm_up.0, "descriptors of the process");
    // The heap may move by a few; a leak of one segment a store would be a thousand and more.
    assert!(pages < after_warm_up.1 + 400, "{pages} pages of memory after {}", after_warm_up.1);
}

/// A handle that many threads wrote through is gone when they are: also what their threads left to the epochs.
#[test]
fn writers_leave_nothing_to_the_epochs() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    for _ in 0..20 {
        let db = Db::open(&path, tiny(LogBackend::Mapped)).unwrap();
        // Rotations replace versions; the old ones hold files. The writing thread lives on, so its private bag is not emptied.
        let threads: Vec<_> = (0..4u32)
            .map(|id| {
                let db = db.clone();
                std::thread::spawn(move || {
                    for i in 0..200u32 {
                        db.put([id, i].map(u32::to_be_bytes).concat(), [0; 100]).unwrap();
                    }
                })
            })
            .collect();
        for i in 0..200u32 {
            db.put(i.to_be_bytes(), [0; 100]).unwrap();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(db);
        holds(dir.path(), &NOTHING, "after all threads and the last handle");
    }
}

/// A failed open holds nothing either.
#[test]
fn a_failed_open_leaves_nothing() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, tiny(LogBackend::Mapped)).unwrap();
    // Less than half a segment, so that the worker has nothing to do.
    for i in 0..8u32 {
        db.put(i.to_be_bytes(), [0; 100]).unwrap();
    }
    // The lock file and the log; the manifest is closed once it is read.
    let before = Held { workers: 1, descriptors: 2, mappings: 1 };
    holds(dir.path(), &before, "open");
    for _ in 0..50 {
        Db::open(&path, tiny(LogBackend::Mapped)).unwrap_err();
    }
    holds(dir.path(), &before, "after opens that were refused");
    drop(db);
    // Damage in the manifest: an error after the lock was taken.
    let manifest = path.join("MANIFEST");
    let good = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &good[..10]).unwrap();
    for _ in 0..50 {
        Db::open(&path, tiny(LogBackend::Mapped)).unwrap_err();
    }
    holds(dir.path(), &NOTHING, "after opens that met damage");
    std::fs::write(&manifest, good).unwrap();
    assert_eq!(Db::open(&path, tiny(LogBackend::Mapped)).unwrap().iter().unwrap().count(), 8);
}
