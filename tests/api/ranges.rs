//! Bounds: every kind of them, inverted ones, and prefixes.

use std::ops::Bound;

use super::{in_memory, keys};

/// Each kind of bound means what it means for a sorted map; the neighbours of a bound that extend it by a zero byte too.
#[test]
fn every_kind_of_bound() {
    let db = in_memory();
    let all = ["", "a", "a\0", "a\0\0", "ab", "b", "b\0", "c"];
    for key in all {
        db.put(key, key).unwrap();
    }
    let model: std::collections::BTreeSet<&str> = all.into();
    let ends = ["", "a", "a\0", "aa", "b", "bb", "c", "d"];
    let bounds = |key: &'static str| [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded];
    let mut looked_at = 0;
    for start in ends.iter().flat_map(|key| bounds(key)) {
        for stop in ends.iter().flat_map(|key| bounds(key)) {
            let expected: Vec<&str> = model
                .iter()
                .copied()
                .filter(|&key| match start {
                    Bound::Included(s) => key >= s,
                    Bound::Excluded(s) => key > s,
                    Bound::Unbounded => true,
                })
                .filter(|&key| match stop {
                    Bound::Included(s) => key <= s,
                    Bound::Excluded(s) => key < s,
                    Bound::Unbounded => true,
                })
                .collect();
            assert_eq!(keys(db.range::<&str>((start, stop))), expected, "{start:?} {stop:?}");
            looked_at += expected.len();
        }
    }
    assert!(looked_at > 1000);
    assert_eq!(keys(db.range("a".."b")), ["a", "a\0", "a\0\0", "ab"]);
    assert_eq!(keys(db.range("a"..="b")), ["a", "a\0", "a\0\0", "ab", "b"]);
    assert_eq!(keys(db.range("b"..)), ["b", "b\0", "c"]);
    assert_eq!(keys(db.range(.."a")), [""]);
    assert_eq!(keys(db.range(..="a")), ["", "a"]);
    assert_eq!(keys(db.range::<&str>(..)), all);
    assert_eq!(keys(db.iter()), all);
}

/// A range whose end comes before its start holds nothing, in any direction, and is no error.
#[test]
fn an_inverted_range_is_empty() {
    let db = in_memory();
    for key in ["a", "b", "c"] {
        db.put(key, "").unwrap();
    }
    for range in [db.range("c".."a"), db.range("b".."b"), db.range("b\0".."b"), db.snapshot().unwrap().range("c".."a")]
    {
        let mut iter = range.unwrap();
        assert!(iter.next().is_none() && iter.next_back().is_none());
        assert!(!iter.seek_to_first().unwrap() && !iter.seek_to_last().unwrap());
        assert!(!iter.seek("b").unwrap() && !iter.seek_for_prev("b").unwrap());
        assert!(!iter.move_next().unwrap() && !iter.move_prev().unwrap() && !iter.valid());
    }
    assert_eq!(keys(db.range("c"..="a")), Vec::<String>::new());
}

/// A prefix is a range, also where it has no successor: bytes 0xff, and none at all.
#[test]
fn prefixes_of_the_largest_byte() {
    let db = in_memory();
    let all: [&[u8]; 9] =
        [b"", b"a", b"a\xff", b"a\xff\x00", b"a\xff\xff", b"b", b"\xff", b"\xff\xff", b"\xff\xff\xff\x00"];
    for key in all {
        db.put(key, "").unwrap();
    }
    for prefix in [&b""[..], b"a", b"a\xff", b"a\xff\xff", b"a\xff\xff\xff", b"\xff", b"\xff\xff", b"\xff\xff\xff\xff"]
    {
        let expected: Vec<_> = all.iter().filter(|key| key.starts_with(prefix)).map(|key| key.to_vec()).collect();
        let found = |iter: kvs::Result<kvs::Iter>| -> Vec<_> { super::pairs(iter).into_iter().map(|p| p.0).collect() };
        assert_eq!(found(db.prefix(prefix)), expected, "{prefix:?}");
        assert_eq!(found(db.snapshot().unwrap().prefix(prefix)), expected, "{prefix:?}");
    }
}
