//! `log_bytes_max`: a clear error at the limit, a store that goes on, and room again with a larger limit.

use kvs::{Db, ErrorKind, LogBackend, Options};

use super::value;

fn reach_the_limit(backend: LogBackend) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let options = Options { log_bytes_max: 64 << 10, log_backend: backend, ..super::tiny() };
    let db = Db::open(&path, options.clone()).unwrap();
    let mut written = 0u32;
    let refused = loop {
        match db.put(written.to_be_bytes(), [7; 100]) {
            Ok(()) => written += 1,
            Err(refused) => break refused,
        }
        assert!(written < 1000, "the limit does not bind");
    };
    assert_eq!(refused.kind(), ErrorKind::NoSpace);
    let message = refused.to_string();
    assert!(message.contains("log_bytes_max") && message.contains("65536") && message.contains("raise"), "{message}");
    assert!(written > 300, "only {written} of about 400 fitted");
    assert!(db.stats().log_bytes_allocated <= 64 << 10);

    // Not poisoned, and what was refused left no trace.
    assert_eq!(db.stats().poisoned, 0);
    assert_eq!(value(&db, written.to_be_bytes()), None);
    assert_eq!(db.iter().unwrap().count(), written as usize);
    assert_eq!(value(&db, 0u32.to_be_bytes()), Some(vec![7; 100]));
    db.flush().unwrap();
    // The same again is refused again.
    assert_eq!(db.put(written.to_be_bytes(), [7; 100]).unwrap_err().kind(), ErrorKind::NoSpace);
    drop(db);

    let db = Db::open(&path, Options { log_bytes_max: 1 << 20, ..options }).unwrap();
    assert_eq!(db.iter().unwrap().count(), written as usize);
    db.put(written.to_be_bytes(), "fits").unwrap();
    for i in 0..written {
        db.delete(i.to_be_bytes()).unwrap();
    }
    assert_eq!(db.iter().unwrap().count(), 1);
    drop(db);
    let db = Db::open(&path, Options { log_bytes_max: 1 << 20, ..super::tiny() }).unwrap();
    assert_eq!(super::pairs(db.iter()), [(written.to_be_bytes().to_vec(), b"fits".to_vec())]);
}

/// Mapped segments.
#[test]
fn the_limit_of_mapped_logs() {
    reach_the_limit(LogBackend::Mapped);
}

/// Positioned writes.
#[test]
fn the_limit_of_positioned_logs() {
    reach_the_limit(LogBackend::Positioned);
}
