//! Batches: all or nothing, in their order, and the last write to a key wins.

use kvs::{Batch, Durability, ErrorKind};

use super::{in_memory, open, pairs, value};

/// Of several writes to one key the last one counts, whatever they are; also after recovery.
#[test]
fn the_last_write_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = open(&path);
    db.put("gone", "old").unwrap();
    let mut batch = Batch::new();
    batch.put("a", "1").delete("a").put("a", "2").put("b", "1").delete("b").delete("gone").put("c", "1").put("c", "2");
    assert_eq!((batch.len(), batch.is_empty(), batch.byte_len()), (8, false, 16));
    db.write(&batch).unwrap();
    let expected = [(b"a".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"2".to_vec())];
    let mut db = db;
    for reopened in [false, true] {
        if reopened {
            drop(db);
            db = open(&path);
        }
        assert_eq!(pairs(db.iter()), expected);
        assert_eq!((value(&db, "a"), value(&db, "b"), value(&db, "gone")), (Some(b"2".to_vec()), None, None));
    }
}

/// A write that can't be refuses the whole batch.
#[test]
fn all_or_nothing() {
    let db = in_memory();
    let mut batch = Batch::new();
    batch.put("a", "1").put(vec![0; kvs::KEY_BYTES_MAX + 1], "").put("b", "1");
    assert_eq!(db.write(&batch).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(pairs(db.iter()), []);
    batch.clear();
    assert!(batch.is_empty() && batch.byte_len() == 0);
    batch.put("b", "1");
    db.write(&batch).unwrap();
    assert_eq!(pairs(db.iter()), [(b"b".to_vec(), b"1".to_vec())]);
}

/// An empty batch is nothing, except that `Sync` makes durable what was before it.
#[test]
fn an_empty_batch() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path().join("db"));
    db.put("a", "").unwrap();
    db.write(&Batch::new()).unwrap();
    let before = db.stats();
    assert!(before.durable_seq < before.visible_seq);
    db.write_with(&Batch::new(), Durability::Sync).unwrap();
    let after = db.stats();
    assert_eq!((after.durable_seq, after.commits), (before.visible_seq, 1));
}

/// A batch larger than any segment gets one of its own, and every key of it is there, on disk too.
#[test]
fn larger_than_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = open(&path);
    let mut batch = Batch::new();
    for i in 0..20_000u32 {
        batch.put(i.to_be_bytes(), [i as u8; 20]);
    }
    db.write(&batch).unwrap();
    db.put("after", "1").unwrap();
    assert_eq!(db.stats().commits, 2);
    let mut db = db;
    for reopened in [false, true] {
        if reopened {
            drop(db);
            db = open(&path);
        }
        assert_eq!(db.iter().unwrap().count(), 20_001);
        assert_eq!(value(&db, 19_999u32.to_be_bytes()), Some(vec![19_999u32 as u8; 20]));
    }
}
