//! `memtable_bytes_max`: writes beyond it wait for flushes and are never refused; those who can't wait are told.

use kvs::{Batch, Db, Durability, ErrorKind, LogBackend, Options};

use super::value;

fn ten_times_the_budget(backend: LogBackend) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let options = Options { memtable_bytes_max: 64 << 10, log_backend: backend, ..super::tiny() };
    let db = Db::open(&path, options.clone()).unwrap();
    for i in 0..5000u32 {
        db.put(i.to_be_bytes(), [i as u8; 100]).unwrap();
        assert!(db.stats().log_bytes_allocated <= 64 << 10, "{}", db.stats());
    }
    let stats = db.stats();
    assert!(stats.flushes > 5 && stats.flushed_seq > 4000, "{stats}");
    assert_eq!(db.iter().unwrap().count(), 5000);
    assert_eq!(value(&db, 0u32.to_be_bytes()), Some(vec![0; 100]));
    // One that is larger than all of the budget gets through when there is nothing else.
    db.put("large", vec![7; 300 << 10]).unwrap();
    db.put("after", "it").unwrap();
    drop(db);
    let db = Db::open(&path, options).unwrap();
    assert_eq!(value(&db, "large"), Some(vec![7; 300 << 10]));
    assert_eq!(db.iter().unwrap().count(), 5002);
}

/// Mapped segments.
#[test]
fn the_budget_of_mapped_logs() {
    ten_times_the_budget(LogBackend::Mapped);
}

/// Positioned writes.
#[test]
fn the_budget_of_positioned_logs() {
    ten_times_the_budget(LogBackend::Positioned);
}

/// Without a worker nobody makes room but those who wait: who will not wait is told so, and nothing was written.
#[test]
fn who_can_not_wait_is_told() {
    let sim = kvs::env::sim::SimEnv::new(1);
    let options = Options { memtable_bytes_max: 32 << 10, ..super::tiny() };
    let db = Db::open_with(sim.shared(), "/db", options).unwrap();
    let one = |i: u32| {
        let mut batch = Batch::new();
        batch.put(i.to_be_bytes(), [1; 1000]);
        batch
    };
    let mut written = 0;
    let refused = loop {
        match db.try_write(&one(written), Durability::Process) {
            Ok(()) => written += 1,
            Err(refused) => break refused,
        }
        assert!(written < 100);
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    assert!(written > 10, "{written}");
    assert_eq!(value(&db, written.to_be_bytes()), None);
    // Patience makes room, and then there is some for those without.
    db.write(&one(written)).unwrap();
    db.try_write(&one(written + 1), Durability::Process).unwrap();
    assert_eq!(db.iter().unwrap().count(), written as usize + 2);
    assert_eq!(db.stats().stalls, 1);
}

/// Whoever writes faster than the log is flushed is slowed down before it has to wait; whoever can't wait is not.
#[test]
fn writers_slow_down_first() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { memtable_bytes_max: 256 << 10, ..super::tiny() };
    let db = Db::open(dir.path().join("db"), options).unwrap();
    let mut i = 0u32;
    while db.stats().delays < 3 {
        db.put(i.to_be_bytes(), [1; 1000]).unwrap();
        i += 1;
    }
    let stats = db.stats();
    assert!(stats.flushes > 0 && stats.delay_nanos > 0, "{stats}");
    let mut batch = Batch::new();
    batch.put("key", [1; 1000]);
    let refused = loop {
        if let Err(refused) = db.try_write(&batch, Durability::Process) {
            break refused;
        }
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    assert_eq!(db.stats().delays, stats.delays);
}

/// One full segment becomes a table. It is never full to the last byte: the frame that did not fit is in the next one.
#[test]
fn a_full_segment_is_flushed() {
    let sim = kvs::env::sim::SimEnv::new(1);
    let options = Options { segment_bytes_min: 16 << 10, memtable_bytes_max: 96 << 10, ..super::tiny() };
    let db = Db::open_with(sim.shared(), "/db", options).unwrap();
    let mut written = 0u32;
    while db.stats().rotations < 2 {
        db.step_worker();
        assert_eq!(db.stats().flushes, 0);
        db.put(written.to_be_bytes(), [1; 1000]).unwrap();
        written += 1;
    }
    db.step_worker();
    assert_eq!((db.stats().flushes, db.stats().segments), (1, 1));
}
