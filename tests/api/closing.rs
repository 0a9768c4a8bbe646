//! Closing: once, with an answer; afterwards everything says `Closed`, and values live on.

use kvs::{Batch, Db, Durability, ErrorKind, Options, Result};

use super::{open, value};

fn closed<T: std::fmt::Debug>(result: Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
}

/// Every call after a close says `Closed`, on every clone, snapshot and iterator; a second close does nothing; values stay.
#[test]
fn everything_says_closed() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path().join("db"));
    db.put("a", "1").unwrap();
    db.put("b", "2").unwrap();
    let (clone, snapshot) = (db.clone(), db.snapshot().unwrap());
    let (mut iter, mut standing) = (db.iter().unwrap(), snapshot.iter().unwrap());
    assert!(standing.seek_to_first().unwrap());
    let value = db.get("a").unwrap().unwrap();
    db.close().unwrap();
    db.close().unwrap();
    clone.close().unwrap();

    for db in [&db, &clone] {
        closed(db.put("a", ""));
        closed(db.put_with("a", "", Durability::Sync));
        closed(db.delete("a"));
        closed(db.write(Batch::new().put("a", "")));
        closed(db.write(&Batch::new()));
        closed(db.get("a"));
        closed(db.get("missing"));
        closed(db.get_into("a", &mut Vec::new()));
        closed(db.get_owned("a"));
        closed(db.get_many(&["a"]));
        closed(db.contains("a"));
        closed(db.iter());
        closed(db.range("a".."b"));
        closed(db.prefix("a"));
        closed(db.snapshot());
        closed(db.flush());
        closed(db.verify());
    }
    closed(snapshot.get("a"));
    closed(snapshot.get_many(&["a"]));
    closed(snapshot.iter());
    closed(iter.seek_to_first());
    closed(iter.seek_to_last());
    closed(iter.seek("a"));
    closed(iter.seek_for_prev("a"));
    closed(standing.move_next());
    closed(standing.move_prev());
    closed(iter.next().unwrap());
    closed(standing.next_back().unwrap());
    assert!(iter.next().is_none(), "an error ends an iterator");
    // What it stands on stays.
    assert_eq!((standing.key(), standing.value()), (&b"a"[..], &b"1"[..]));
    assert_eq!(value, b"1");
    assert_eq!((db.stats().writes, db.options()), (2, &super::tiny()));
    drop((db, clone, snapshot, iter, standing));
    assert_eq!(value, b"1", "a value outlives all of them");
}

/// Dropping the last of clones, snapshots and iterators closes and unlocks; dropping any other one does not.
#[test]
fn the_last_one_closes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let locked = || Db::open(&path, Options::default()).unwrap_err().kind() == ErrorKind::Locked;
    let db = open(&path);
    db.put("a", "1").unwrap();
    let (clone, snapshot, iter) = (db.clone(), db.snapshot().unwrap(), db.iter().unwrap());
    let value = db.get("a").unwrap().unwrap();
    drop(db);
    assert!(locked());
    drop(clone);
    assert!(locked());
    drop(iter);
    assert!(locked());
    assert_eq!(snapshot.get("a").unwrap().unwrap(), b"1");
    drop(snapshot);
    let again = open(&path);
    assert_eq!(super::value(&again, "a"), Some(b"1".to_vec()));
    assert_eq!(value, b"1");
}

/// After `close` the directory can be opened at once, though clones are still about; they do not reach the new handle.
#[test]
fn a_closed_store_can_be_opened_beside_its_clones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let old = open(&path);
    old.put("a", "1").unwrap();
    old.close().unwrap();
    let new = open(&path);
    assert_eq!(value(&new, "a"), Some(b"1".to_vec()));
    new.put("a", "2").unwrap();
    closed(old.get("a"));
    drop(old);
    assert_eq!(value(&new, "a"), Some(b"2".to_vec()));
    assert_eq!(Db::open(&path, Options::default()).unwrap_err().kind(), ErrorKind::Locked);
}

/// Close makes everything durable and leaves no byte that holds nothing.
#[test]
fn a_closed_store_is_tidy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    // All in the active segment: a sealed one keeps what the next frame did not fit into.
    let db = Db::open(&path, Options { segment_bytes_min: 16 << 10, ..super::tiny() }).unwrap();
    for i in 0..100u32 {
        db.put_with(i.to_be_bytes(), "v", Durability::None).unwrap();
    }
    db.close().unwrap();
    let stats = db.stats();
    assert_eq!(stats.durable_seq, stats.visible_seq);
    let logs: u64 = super::contents(&path)
        .iter()
        .filter(|(name, _)| name.to_string_lossy().ends_with(".log"))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    assert_eq!(logs, stats.log_bytes, "not a byte that holds nothing");
}
