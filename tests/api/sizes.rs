//! Any bytes are a key and a value, up to the stated sizes; beyond, a clear error and an untouched store.

use kvs::{BATCH_BYTES_MAX, Batch, Db, ErrorKind, KEY_BYTES_MAX, Options, VALUE_BYTES_MAX};

use super::{in_memory, open, pairs, value};
use crate::common;

/// Empty keys and values are keys and values, on disk too; a missing key is not an empty value.
#[test]
fn empty_keys_and_values_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = open(&path);
    assert_eq!(value(&db, ""), None);
    db.put("", "").unwrap();
    db.put("empty", "").unwrap();
    db.put([0], [0]).unwrap();
    let expected = [(b"".to_vec(), b"".to_vec()), (vec![0], vec![0]), (b"empty".to_vec(), b"".to_vec())];
    let mut db = db;
    for reopened in [false, true] {
        if reopened {
            drop(db);
            db = open(&path);
        }
        assert_eq!(value(&db, ""), Some(Vec::new()));
        assert_eq!(value(&db, "empty"), Some(Vec::new()));
        assert_eq!(pairs(db.iter()), expected);
    }
}

/// 64 KiB is a key; one byte more is not, and nothing happened.
#[test]
fn the_longest_key() {
    let db = in_memory();
    let key = vec![7; KEY_BYTES_MAX];
    db.put(&key, "v").unwrap();
    assert_eq!(value(&db, &key), Some(b"v".to_vec()));
    assert_eq!(pairs(db.iter()), [(key.clone(), b"v".to_vec())]);
    let longer = vec![7; KEY_BYTES_MAX + 1];
    let before = db.stats();
    for refused in [db.put(&longer, "v"), db.delete(&longer), db.write(Batch::new().put("a", "b").put(&longer, "v"))] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TooLarge);
        assert!(refused.to_string().contains("65537 bytes, at most 65536"), "{refused}");
    }
    assert_eq!(db.stats(), before);
    assert_eq!(value(&db, "a"), None);
    // Reading with one is no error: no such key is there.
    assert_eq!(value(&db, &longer), None);
    assert_eq!(pairs(db.range(longer.clone()..)), []);
    assert!(!db.contains(&longer).unwrap());
}

/// A value one byte too long is refused by its length: the zeros are never read, no byte of the store changes.
#[test]
fn a_value_that_is_too_long_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = open(&path);
    db.put("k", "v").unwrap();
    let too_long = vec![0; VALUE_BYTES_MAX + 1];
    let (files, before) = (super::contents(&path), db.stats());
    let refused = db.put("k", &too_long).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    assert!(refused.to_string().contains("1073741825 bytes, at most 1073741824"), "{refused}");
    assert_eq!(db.stats(), before);
    assert_eq!(super::contents(&path), files);
    assert_eq!(value(&db, "k"), Some(b"v".to_vec()));
    db.put("k", "w").unwrap();
}

/// A value of 1 GiB (in memory; on disk it takes `KVS_API_BIG_FILE=1`) comes back whole, and the store goes on.
#[test]
fn the_longest_value() {
    let dir = tempfile::tempdir().unwrap();
    let on_disk = common::scale("KVS_API_BIG_FILE", 0) == 1;
    let db = if on_disk { open(dir.path().join("db")) } else { in_memory() };
    let mut big = vec![0; VALUE_BYTES_MAX];
    for (i, byte) in [(0, 1), (VALUE_BYTES_MAX / 2, 2), (VALUE_BYTES_MAX - 1, 3)] {
        big[i] = byte;
    }
    db.put("small", "1").unwrap();
    db.put("big", &big).unwrap();
    db.put("small", "2").unwrap();
    let read = db.get("big").unwrap().unwrap();
    assert!(*read == *big, "the big value is not what was written");
    assert_eq!(value(&db, "small"), Some(b"2".to_vec()));
    drop(read);
    let mut iter = db.iter().unwrap();
    assert!(iter.seek_to_first().unwrap() && iter.value() == big);
}

/// A batch beyond 4 GiB is refused before anything of it is written. The exact limit is tested beside the code, on lengths
/// alone; five values of 1 GiB need 5 GiB of memory, since a batch copies them: `KVS_API_HUGE=1`.
#[test]
fn a_batch_beyond_four_gibibytes() {
    if common::scale("KVS_API_HUGE", 0) != 1 {
        println!("SKIPPED: takes 5 GiB of memory, run with KVS_API_HUGE=1");
        return;
    }
    let db = Db::in_memory(Options::default()).unwrap();
    let big = vec![0; VALUE_BYTES_MAX];
    let mut batch = Batch::new();
    for i in 0..5u8 {
        batch.put([i], &big);
    }
    assert!(batch.byte_len() as u64 > BATCH_BYTES_MAX);
    let before = db.stats();
    assert_eq!(db.write(&batch).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(db.stats(), before);
    assert_eq!(pairs(db.iter()), []);
}
