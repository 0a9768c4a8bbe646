//! What scans step over is cleared away before it costs much more than that.

use kvs::env::sim::SimEnv;
use kvs::{Db, Options};

/// A queue: entries are put at its back and taken from its front. Each look at the front meets the tombstones of what was taken.
#[test]
fn a_queue_does_not_get_slower() {
    let sim = SimEnv::new(1);
    let db = Db::open_with(sim.shared(), "/db", Options::default()).unwrap();
    let key = |n: u32| n.to_be_bytes();
    let (mut back, entries) = (0..1000, 5_000);
    back.by_ref().for_each(|n| db.put(key(n), "entry").unwrap());
    for taken in 0..entries {
        db.put(key(1000 + taken), "entry").unwrap();
        let mut front = db.iter().unwrap();
        assert!(front.seek_to_first().unwrap());
        assert_eq!(front.key(), key(taken));
        drop(front);
        db.delete(key(taken)).unwrap();
        db.step_worker();
    }
    let stats = db.stats();
    // Without flushes it would be all that was ever taken: five thousand, in the middle.
    let mean = stats.records_skipped / u64::from(entries);
    assert!(mean < 1200, "{mean} a look\n{stats}");
    assert!(stats.flushes > 5 && stats.flushes < 500, "{stats}");
    assert_eq!(db.iter().unwrap().count(), 1000);
    db.verify().unwrap();
}

/// Flushes of a little, always behind what there is: one run, and of few tables.
#[test]
fn small_tables_are_joined() {
    let sim = SimEnv::new(1);
    let options = Options { segment_bytes_min: 4 << 10, ..Options::default() };
    let db = Db::open_with(sim.shared(), "/db", options).unwrap();
    let mut most = 0;
    for n in 0..600u32 {
        db.put(n.to_be_bytes(), [7; 100]).unwrap();
        db.flush().unwrap();
        db.step_worker();
        most = most.max(db.stats().tables);
    }
    let stats = db.stats();
    assert!((stats.flushes, stats.runs) == (600, 1) && most < 40, "{most} tables\n{stats}");
    assert!(stats.merge_bytes_written < 8 * stats.flush_bytes_written, "{stats}");
    assert_eq!(db.iter().unwrap().count(), 600);
    db.verify().unwrap();
}
