//! Writes of `Durability::None` that stood at the end of a positioned segment were lost when the segment was full.
//!
//! They may stay in the process until something stronger comes. The rotation to the next segment forgot them: from then on
//! only the new segment was written through. So neither `flush` nor `close` nor a later synced write put them into the file;
//! the store said that they were durable, and the next open found zeros where the log after it promised records.
//!
//! Found by `verify` at the end of a concurrency test.

use kvs::{Db, Durability, LogBackend, Options};

#[test]
fn what_stayed_in_the_process_is_written_when_the_segment_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let options = Options {
        // Several segments, and too little in them for a flush, which would take files away under the copy below.
        segment_bytes_min: 4 << 10,
        segment_bytes_max: 1 << 20,
        log_backend: LogBackend::Positioned,
        ..Options::default()
    };
    let db = Db::open(&path, options.clone()).unwrap();
    for i in 0..1000u32 {
        db.put_with(i.to_be_bytes(), [7; 50], Durability::None).unwrap();
    }
    assert!(db.stats().segments > 3);
    assert_eq!(db.stats().flushes, 0);
    db.sync().unwrap();
    let verified = db.verify().unwrap();
    assert_eq!(verified.records, 1000);
    // The files alone, as a killed process would leave them.
    let copy = dir.path().join("copy");
    assert!(std::process::Command::new("cp").arg("-r").args([&path, &copy]).status().unwrap().success());
    for path in [copy, {
        drop(db);
        path
    }] {
        let db = Db::open(path, options.clone()).unwrap();
        assert_eq!(db.iter().unwrap().count(), 1000);
    }
}
