//! Snapshots: the store as it was, through every read; and many keys at one moment.

use super::{in_memory, pairs, value, value_at};

/// Every way of reading gives what was there when the snapshot was taken, however many versions follow.
#[test]
fn a_snapshot_stays_as_it_was() {
    let db = in_memory();
    db.put("kept", "old").unwrap();
    db.put("deleted", "old").unwrap();
    let snapshot = db.snapshot().unwrap();
    let clone = snapshot.clone();
    let iter = snapshot.iter().unwrap();
    // More versions than a reader follows one by one.
    for i in 0..200 {
        db.put("kept", format!("new {i}")).unwrap();
        db.put("added", "new").unwrap();
        db.delete("deleted").unwrap();
    }
    let expected = vec![(b"deleted".to_vec(), b"old".to_vec()), (b"kept".to_vec(), b"old".to_vec())];
    drop(snapshot);
    assert_eq!(pairs(clone.iter()), expected);
    assert_eq!(pairs(Ok(iter)), expected);
    assert_eq!(pairs(clone.range("e"..)), expected[1..]);
    assert_eq!(pairs(clone.prefix("d")), expected[..1]);
    assert_eq!(value_at(&clone, "kept"), Some(b"old".to_vec()));
    assert_eq!(value_at(&clone, "added"), None);
    assert_eq!(clone.get("deleted").unwrap().unwrap(), b"old");
    assert!(clone.contains("deleted").unwrap() && !clone.contains("added").unwrap());
    let mut buffer = b"rest".to_vec();
    assert!(clone.get_into("kept", &mut buffer).unwrap());
    assert_eq!(buffer, b"old");
    assert!(!clone.get_into("added", &mut buffer).unwrap() && buffer.is_empty());
    let many = clone.get_many(&["added", "deleted", "kept", "added"]).unwrap();
    assert_eq!(many.iter().map(Option::as_deref).collect::<Vec<_>>(), [None, Some(&b"old"[..]), Some(b"old"), None]);
    assert_eq!(value(&db, "deleted"), None);
    assert_eq!(value(&db, "kept"), Some(b"new 199".to_vec()));
}

/// Snapshots are counted while they, their clones or their iterators live; the oldest one is told.
#[test]
fn live_snapshots_are_counted() {
    let db = in_memory();
    db.put("a", "").unwrap();
    let first = db.snapshot().unwrap();
    db.put("b", "").unwrap();
    let second = db.snapshot().unwrap();
    assert!(first.sequence() < second.sequence());
    assert_eq!((db.stats().snapshots, db.stats().oldest_snapshot_seq), (2, first.sequence()));
    let iter = first.iter().unwrap();
    drop(first);
    assert_eq!(db.stats().oldest_snapshot_seq, 1, "its iterator still reads there");
    drop(iter);
    assert_eq!((db.stats().snapshots, db.stats().oldest_snapshot_seq), (1, second.sequence()));
    drop(second);
    assert_eq!((db.stats().snapshots, db.stats().oldest_snapshot_seq), (0, 0));
    db.get_many(&["a", "b"]).unwrap();
    assert_eq!(db.stats().snapshots, 0);
}

/// `get_many` answers in the order of the question, duplicates and missing keys included.
#[test]
fn many_keys_in_order() {
    let db = in_memory();
    for i in 0..300u32 {
        db.put(i.to_be_bytes(), i.to_string()).unwrap();
    }
    let asked: Vec<_> = (0..600u32).rev().chain([5, 5]).map(u32::to_be_bytes).collect();
    let found = db.get_many(&asked).unwrap();
    assert_eq!(found.len(), asked.len());
    for (key, value) in asked.iter().zip(&found) {
        let i = u32::from_be_bytes(*key);
        assert_eq!(value.as_deref(), (i < 300).then(|| i.to_string().into_bytes()).as_deref());
    }
    assert!(db.get_many::<&str>(&[]).unwrap().is_empty());
}
