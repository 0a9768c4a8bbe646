//! Every order in which what a store hands out can be dropped.

use kvs::{Db, Iter, LogBackend, Snapshot, Value};

use super::{NOTHING, alone, held, holds, tiny};

enum Part {
    Db(Db),
    Clone(Db),
    Iter(Iter),
    SnapshotIter(Iter),
    Snapshot(Snapshot),
    Value(Value),
}

impl Part {
    /// Works whatever was dropped before it.
    fn use_it(&mut self) {
        match self {
            Part::Db(db) | Part::Clone(db) => assert_eq!(db.get("k1").unwrap().unwrap(), b"new"),
            Part::Iter(iter) | Part::SnapshotIter(iter) => {
                assert!(iter.seek_to_first().unwrap() && iter.value() == b"v0");
            }
            Part::Snapshot(snapshot) => assert_eq!(snapshot.get("k1").unwrap().unwrap(), b"v1"),
            Part::Value(value) => assert_eq!(*value, b"v1"),
        }
    }
}

fn parts(db: Db) -> Vec<Part> {
    for i in 0..60 {
        db.put(format!("k{i}"), format!("v{i}")).unwrap();
    }
    let snapshot = db.snapshot().unwrap();
    let value = db.get("k1").unwrap().unwrap();
    db.put("k1", "new").unwrap();
    vec![
        Part::Clone(db.clone()),
        Part::Iter(db.iter().unwrap()),
        Part::SnapshotIter(snapshot.iter().unwrap()),
        Part::Db(db),
        Part::Snapshot(snapshot),
        Part::Value(value),
    ]
}

/// All orders of `n` things.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let insert = |order: Vec<usize>| {
        (0..n).map(move |at| {
            let mut order = order.clone();
            order.insert(at, n - 1);
            order
        })
    };
    orders(n - 1).into_iter().flat_map(insert).collect()
}

/// In all 720 orders every part works until it is dropped, and after the last one that keeps the store open it is closed.
#[test]
fn every_order_of_drops() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    for (i, order) in orders(6).into_iter().enumerate() {
        // A few on disk, where closing can be seen from outside; they cost a sync each.
        let path = dir.path().join(format!("db{i}"));
        let on_disk = i % 20 == 0;
        let db =
            if on_disk { Db::open(&path, tiny(LogBackend::Mapped)) } else { Db::in_memory(tiny(LogBackend::Auto)) };
        let mut parts: Vec<Option<Part>> = parts(db.unwrap()).into_iter().map(Some).collect();
        for at in order {
            drop(parts[at].take());
            parts.iter_mut().flatten().for_each(Part::use_it);
            let open = parts.iter().flatten().any(|part| !matches!(part, Part::Value(_)));
            let any = parts.iter().flatten().next().is_some();
            match (open, any && on_disk) {
                (true, _) => assert!((0..10_000).any(|_| held(dir.path()).workers == 1), "no worker"),
                // A value keeps the mapping that it lies in, and its file.
                (false, true) => assert!((0..10_000).any(|_| held(dir.path()).workers == 0), "still a worker"),
                (false, false) => holds(dir.path(), &NOTHING, "closed"),
            }
            if on_disk && !open {
                drop(Db::open(&path, tiny(LogBackend::Mapped)).unwrap());
            }
        }
    }
}

/// The last drop may happen on any thread, also while the worker is busy preparing a segment.
#[test]
fn the_last_drop_on_another_thread_beside_a_busy_worker() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    for round in 0..60u32 {
        let db = Db::open(&path, tiny(LogBackend::Mapped)).unwrap();
        // Past the middle of a segment, so that the worker has just been asked for the next; a little more each round.
        for i in 0..20 + round % 30 {
            db.put(format!("{round:02} {i:02}"), [0; 100]).unwrap();
        }
        let iter = db.iter().unwrap();
        std::thread::spawn(move || drop(db)).join().unwrap();
        std::thread::spawn(move || drop(iter)).join().unwrap();
        holds(dir.path(), &NOTHING, &format!("after round {round}"));
    }
    let db = Db::open(&path, tiny(LogBackend::Mapped)).unwrap();
    let written: u32 = (0..60).map(|round| 20 + round % 30).sum();
    assert_eq!(db.iter().unwrap().count(), written as usize);
}
