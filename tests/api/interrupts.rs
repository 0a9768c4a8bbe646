//! `Db::interrupt`: calls that take long end early and say so, nothing else notices, and nothing is half done.
//!
//! Nobody can say when a call is in the middle of its work, so one thread makes the call again and again and another interrupts, until one of
//! them was caught. A call that can't be interrupted never is, and the test fails at its deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvs::{Db, ErrorKind, Options, Result};

use super::value;

const DEADLINE: Duration = Duration::from_secs(60);

/// Interrupts until `call` was caught once; what it answers otherwise must be no error.
fn catch(db: &Db, mut call: impl FnMut() -> Result<()> + Send) {
    let caught = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while start.elapsed() < DEADLINE {
                if let Err(failure) = call() {
                    assert_eq!(failure.kind(), ErrorKind::Interrupted, "{failure}");
                    caught.store(true, Ordering::Relaxed);
                    return;
                }
            }
        });
        let start = Instant::now();
        while !caught.load(Ordering::Relaxed) && start.elapsed() < DEADLINE {
            db.interrupt();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    assert!(caught.into_inner(), "nothing was ever interrupted");
}

fn filled(path: &std::path::Path) -> Db {
    let db = Db::open(path, Options { table_bytes_max: 1 << 20, ..Options::default() }).unwrap();
    for i in 0..50_000u32 {
        db.put(i.to_be_bytes(), [i as u8; 200]).unwrap();
    }
    db.flush().unwrap();
    db
}

/// A check of all files; the next one finds them as good as they were.
#[test]
fn a_verify_ends_early() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(&dir.path().join("db"));
    catch(&db, || db.verify().map(|_| ()));
    assert_eq!(db.verify().unwrap().records, 50_000);
}

/// A merge; what it has done stays done, merges go on afterwards, and every key is there.
#[test]
fn a_compact_ends_early_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(&dir.path().join("db"));
    catch(&db, || db.compact::<&[u8]>(..));
    let stats = db.stats();
    assert_eq!((stats.merges_stopped, stats.poisoned), (0, 0), "{stats}");
    db.compact::<&[u8]>(..).unwrap();
    assert_eq!(db.verify().unwrap().records, 50_000);
    assert_eq!(db.iter().unwrap().count(), 50_000);
    assert_eq!(value(&db, 77u32.to_be_bytes()), Some(vec![77; 200]));
}

/// A write that waits for room. It was not done; one that nobody interrupts is.
#[test]
fn a_write_that_waits_gives_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let options = Options { segment_bytes_max: 1 << 20, memtable_bytes_max: 2 << 20, ..Options::default() };
    let db = Db::open(&path, options).unwrap();
    let large = vec![1; 500 << 10];
    let mut last = 0u32;
    catch(&db, || {
        last += 1;
        db.put(last.to_be_bytes(), &large)
    });
    assert!(!db.contains(last.to_be_bytes()).unwrap());
    assert!(last == 1 || db.contains((last - 1).to_be_bytes()).unwrap());
    db.put(last.to_be_bytes(), "now").unwrap();
    assert_eq!(db.stats().poisoned, 0);
    drop(db);
    let db = Db::open(&path, Options::default()).unwrap();
    assert_eq!(db.iter().unwrap().count() as u32, last);
    assert_eq!(value(&db, last.to_be_bytes()), Some(b"now".to_vec()));
}

/// An interrupt that meets nothing does nothing.
#[test]
fn nothing_is_left_of_an_interrupt() {
    let db = Db::in_memory(Options::default()).unwrap();
    db.interrupt();
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.compact::<&[u8]>(..).unwrap();
    db.verify().unwrap();
    db.interrupt();
    db.close().unwrap();
    db.interrupt();
    assert_eq!(db.verify().unwrap_err().kind(), ErrorKind::Closed);
}
