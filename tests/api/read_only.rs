//! Read-only: shared with other readers, never beside a writer, and not one byte is written.

use kvs::{Batch, Db, Durability, ErrorKind, LogBackend, Options};

use super::{contents, open, pairs, value};
use crate::child;

fn read_only() -> Options {
    Options { read_only: true, ..super::tiny() }
}

/// Any number of read-only opens at once, here and in other processes; a writer is refused beside them.
#[test]
fn readers_share_and_writers_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    open(&path).put("a", "1").unwrap();
    let readers = [Db::open(&path, read_only()).unwrap(), Db::open(&path, read_only()).unwrap()];
    let elsewhere = child::start("child_entry", "hold read-only", &path);
    let refused = Db::open(&path, Options::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked);
    for reader in &readers {
        assert_eq!(value(reader, "a"), Some(b"1".to_vec()));
    }
    drop(readers);
    let refused = Db::open(&path, Options::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked);
    assert!(refused.to_string().contains("read-only") && refused.to_string().contains("LOCK"), "{refused}");
    Db::open(&path, read_only()).unwrap();
    elsewhere.end();
    open(&path);
}

/// Every write says `ReadOnly`; every read works.
#[test]
fn writes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    open(&path).put("a", "1").unwrap();
    let before = contents(&path);
    let db = Db::open(&path, read_only()).unwrap();
    for refused in [
        db.put("a", "2"),
        db.put_with("a", "2", Durability::Sync),
        db.delete("a"),
        db.write(Batch::new().put("b", "2")),
        db.write(&Batch::new()),
        db.flush(),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ReadOnly);
    }
    assert_eq!(pairs(db.iter()), [(b"a".to_vec(), b"1".to_vec())]);
    assert_eq!(pairs(db.snapshot().unwrap().iter()), [(b"a".to_vec(), b"1".to_vec())]);
    assert_eq!(db.get_many(&["a", "b"]).unwrap()[0].as_deref(), Some(&b"1"[..]));
    db.verify().unwrap();
    db.close().unwrap();
    assert_eq!(contents(&path), before);
}

/// A store whose writer was killed is read as recovery would make it, and stays byte for byte as it was left; then
/// a writer recovers the same.
#[test]
fn a_killed_store_is_read_and_not_touched() {
    for log_backend in [LogBackend::Auto, LogBackend::Positioned] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let killed = child::command("child_entry", "write and die", &path).output().unwrap();
        assert!(!killed.status.success());
        let before = contents(&path);
        assert!(before.len() > 5, "several logs: {:?}", before.keys());
        let expected: Vec<_> =
            (0..2000u32).map(|i| (i.to_be_bytes().to_vec(), format!("value {i}").into_bytes())).collect();
        for _ in 0..2 {
            let db = Db::open(&path, Options { log_backend, ..read_only() }).unwrap();
            assert_eq!(pairs(db.iter()), expected);
            db.verify().unwrap();
            drop(db);
            assert_eq!(contents(&path), before);
        }
        assert_eq!(pairs(open(&path).iter()), expected);
    }
}

/// On a read-only medium a read-only open works, killed store or not; with its lock file and without.
#[test]
fn on_a_read_only_medium() {
    if !child::can_mount() {
        println!("SKIPPED: may not make mounts");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    assert!(!child::command("child_entry", "write and die", &path).output().unwrap().status.success());
    for with_lock_file in [true, false] {
        if !with_lock_file {
            std::fs::remove_file(path.join("LOCK")).unwrap();
        }
        let before = contents(&path);
        let reader = child::command("child_entry", "read on a read-only medium", &path);
        let output = child::on_read_only_mount(&path, &reader).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(contents(&path), before);
    }
}

/// Without a store there is nothing to read, and none is made.
#[test]
fn nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    assert_eq!(Db::open(&path, read_only()).unwrap_err().kind(), ErrorKind::NotADatabase);
    assert!(!path.exists());
}
