//! Iterators: where they stand, how they turn, and that later writes do not reach them.

use kvs::{Db, Iter};

use super::{in_memory, keys, open, pairs};

fn letters() -> Db {
    let db = in_memory();
    // Spread over several segments, and written out of order.
    for key in ["d", "b", "e", "a", "c"] {
        db.put(key, vec![key.as_bytes()[0]; 3000]).unwrap();
    }
    assert!(db.stats().segments > 2);
    db
}

fn at(iter: &Iter) -> &str {
    std::str::from_utf8(iter.key()).unwrap()
}

/// A fresh iterator stands nowhere; its first step goes to the first entry or the last.
#[test]
fn a_fresh_iterator() {
    let db = letters();
    let mut iter = db.iter().unwrap();
    assert!(!iter.valid() && iter.key().is_empty() && iter.value().is_empty());
    assert!(iter.key_pinned().is_none() && iter.value_pinned().is_none());
    assert!(iter.move_next().unwrap());
    assert_eq!(at(&iter), "a");
    let mut iter = db.iter().unwrap();
    assert!(iter.move_prev().unwrap());
    assert_eq!(at(&iter), "e");
    assert_eq!(iter.value_pinned().unwrap(), vec![b'e'; 3000].as_slice());
}

/// Beyond an end it stays, until it is asked to come back.
#[test]
fn before_the_first_and_after_the_last() {
    let db = letters();
    let mut iter = db.iter().unwrap();
    assert!(iter.seek_to_last().unwrap());
    for _ in 0..3 {
        assert!(!iter.move_next().unwrap() && !iter.valid() && iter.key().is_empty());
    }
    assert!(iter.move_prev().unwrap());
    assert_eq!(at(&iter), "e");
    assert!(iter.seek_to_first().unwrap());
    for _ in 0..3 {
        assert!(!iter.move_prev().unwrap() && !iter.valid());
    }
    assert!(iter.move_next().unwrap());
    assert_eq!(at(&iter), "a");
}

/// Seeks find the neighbour on their side, and never leave the bounds.
#[test]
fn seeks_within_bounds() {
    let db = letters();
    let mut iter = db.range("b".."e").unwrap();
    for (key, next, prev) in [
        ("", Some("b"), None),
        ("a", Some("b"), None),
        ("b", Some("b"), Some("b")),
        ("bb", Some("c"), Some("b")),
        ("d", Some("d"), Some("d")),
        ("dd", None, Some("d")),
        ("e", None, Some("d")),
        ("z", None, Some("d")),
    ] {
        let found = iter.seek(key).unwrap();
        assert_eq!(found.then(|| at(&iter)), next, "seek {key:?}");
        let found = iter.seek_for_prev(key).unwrap();
        assert_eq!(found.then(|| at(&iter)), prev, "seek_for_prev {key:?}");
    }
    // After a seek ran out it stands outside on that side.
    assert!(!iter.seek("z").unwrap());
    assert!(!iter.move_next().unwrap());
    assert!(iter.move_prev().unwrap());
    assert_eq!(at(&iter), "d");
}

/// It turns on any entry, any number of times.
#[test]
fn directions_change() {
    let db = letters();
    let mut iter = db.iter().unwrap();
    assert!(iter.seek("c").unwrap());
    for (forward, key) in
        [(true, "d"), (false, "c"), (false, "b"), (true, "c"), (false, "b"), (false, "a"), (true, "b")]
    {
        assert!(if forward { iter.move_next() } else { iter.move_prev() }.unwrap());
        assert_eq!(at(&iter), key);
        assert_eq!(iter.value(), vec![key.as_bytes()[0]; 3000]);
    }
}

/// `next` and `next_back` share out the entries: wherever they meet, each is given once, and then no more, for ever.
#[test]
fn both_ends_meet() {
    let db = letters();
    for pattern in 0u32..32 {
        let mut iter = db.iter().unwrap();
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for i in 0..5 {
            let (list, pair) =
                if pattern >> i & 1 == 0 { (&mut front, iter.next()) } else { (&mut back, iter.next_back()) };
            list.push(String::from_utf8(pair.unwrap().unwrap().0.to_vec()).unwrap());
        }
        for _ in 0..2 {
            assert!(iter.next().is_none() && iter.next_back().is_none(), "{pattern:05b}");
        }
        front.extend(back.into_iter().rev());
        assert_eq!(front, ["a", "b", "c", "d", "e"], "{pattern:05b}");
    }
    let backwards: Vec<_> = db.range("b"..="d").unwrap().rev().map(|pair| pair.unwrap().0.to_vec()).collect();
    assert_eq!(backwards, [b"d", b"c", b"b"]);
}

/// As a standard iterator it goes on from where the cursor stands.
#[test]
fn cursor_and_iterator_are_one() {
    let db = letters();
    let mut iter = db.iter().unwrap();
    assert!(iter.seek("c").unwrap());
    assert_eq!(iter.next().unwrap().unwrap().0, b"d");
    assert_eq!(at(&iter), "d");
    assert_eq!(iter.by_ref().map(|p| p.unwrap().0.to_vec()).collect::<Vec<_>>(), [b"e"]);
}

/// What is written after an iterator was made, it does not see: puts, overwrites and deletes, in new segments too.
#[test]
fn later_writes_do_not_reach_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path().join("db"));
    for i in 0..500u32 {
        db.put(i.to_be_bytes(), "before").unwrap();
    }
    let (mut stepped, whole, fresh) = (db.iter().unwrap(), db.iter().unwrap(), db.range([0]..).unwrap());
    assert!(stepped.seek_to_first().unwrap());
    for i in 0..1000u32 {
        match i % 3 {
            0 => db.delete(i.to_be_bytes()).unwrap(),
            _ => db.put(i.to_be_bytes(), "after").unwrap(),
        }
    }
    let expected: Vec<_> = (0..500u32).map(|i| (i.to_be_bytes().to_vec(), b"before".to_vec())).collect();
    let mut seen = vec![(stepped.key().to_vec(), stepped.value().to_vec())];
    while stepped.move_next().unwrap() {
        seen.push((stepped.key().to_vec(), stepped.value().to_vec()));
    }
    assert_eq!(seen, expected);
    assert_eq!(pairs(Ok(whole)), expected);
    let mut backwards: Vec<_> = fresh.rev().map(|p| p.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect();
    backwards.reverse();
    assert_eq!(backwards, expected);
    assert_eq!(db.iter().unwrap().count(), 1000 - 334);
}

/// Over nothing: an empty store, and one of which everything was deleted.
#[test]
fn over_nothing() {
    let db = in_memory();
    assert_eq!(keys(db.iter()), Vec::<String>::new());
    db.put("a", "").unwrap();
    db.delete("a").unwrap();
    let mut iter = db.iter().unwrap();
    assert!(!iter.seek_to_first().unwrap() && !iter.seek_to_last().unwrap() && !iter.seek("a").unwrap());
    assert!(iter.next().is_none() && iter.next_back().is_none());
}
