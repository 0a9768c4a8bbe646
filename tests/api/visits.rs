//! Visits show what as many moves lead to, from wherever they begin and wherever they are told to stop, and the iterator goes on from there.

use std::cell::RefCell;
use std::collections::BTreeMap;

use kvs::{Db, Iter, Options, Snapshot};

use super::{Pairs, in_memory, open};

const KEYS: u64 = 150;

/// Some share their first bytes, and more of them than a comparison of prefixes looks at.
fn key(i: u64) -> Vec<u8> {
    match i % 3 {
        0 => format!("all of these begin with the same many bytes {i:03}").into_bytes(),
        1 => i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec(),
        _ => vec![b'k'; (i % 40) as usize + 1],
    }
}

/// Writes every key with some versions and some deletes, and tells of each state which it was.
fn write(db: &Db, round: u64) {
    for i in 0..KEYS {
        match (i + round) % 7 {
            0 => db.delete(key(i)).unwrap(),
            1 | 2 => {}
            n => (0..n % 3 + 1).for_each(|version| db.put(key(i), format!("{round} {i} {version}")).unwrap()),
        }
    }
}

/// What moves lead to from where the iterator stands: the entry it stands on first.
fn moved(iter: &mut Iter, forward: bool) -> Pairs {
    let mut pairs = Pairs::new();
    let step = |iter: &mut Iter| if forward { iter.move_next() } else { iter.move_prev() }.unwrap();
    let mut on = iter.valid() || step(iter);
    while on {
        pairs.push((iter.key().to_vec(), iter.value().to_vec()));
        on = step(iter);
    }
    pairs
}

fn visited(iter: &mut Iter, forward: bool, most: usize) -> (Pairs, bool) {
    let mut pairs = Pairs::new();
    let more = iter.visit(forward, |key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
        pairs.len() < most
    });
    (pairs, more.unwrap())
}

/// All of a view, from every sixth key on and from its ends, both ways, with and without stops.
fn same(what: &str, iter: impl Fn() -> Iter, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let own = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
    for forward in [true, false] {
        let all: Pairs = if forward { model.iter().map(own).collect() } else { model.iter().rev().map(own).collect() };
        assert_eq!(visited(&mut iter(), forward, usize::MAX), (all, false), "{what}, forward: {forward}");
        for start in (0..KEYS).step_by(6).map(key) {
            for most in [1, 2, 5, 40, usize::MAX] {
                let what = format!("{what}, forward: {forward}, from {start:?}, {most}");
                let (mut by_moves, mut by_visit) = (iter(), iter());
                for iter in [&mut by_moves, &mut by_visit] {
                    if forward { iter.seek(&start) } else { iter.seek_for_prev(&start) }.unwrap();
                }
                // Beyond the last there is none to begin with, and none follows.
                let expected = moved(&mut by_moves, forward);
                let (shown, more) = visited(&mut by_visit, forward, most);
                assert_eq!(shown, expected[..expected.len().min(most)], "{what}");
                assert_eq!(more, shown.len() == most, "{what}");
                // It stands on the last that it showed, and goes on.
                let Some(last) = shown.last().filter(|_| more) else { continue };
                assert_eq!((by_visit.key(), by_visit.value()), (&*last.0, &*last.1), "{what}");
                assert_eq!(moved(&mut by_visit, forward), expected[most - 1..], "{what}");
                let mut turned = iter();
                if forward { turned.seek(&start) } else { turned.seek_for_prev(&start) }.unwrap();
                assert!(visited(&mut turned, forward, most).1);
                let until = turned.key().to_vec();
                let mut expected: Pairs = model.range(..=until.clone()).map(own).collect();
                expected.reverse();
                if !forward {
                    expected = model.range(until..).map(own).collect();
                }
                assert_eq!(visited(&mut turned, !forward, usize::MAX).0, expected, "{what}, and back");
            }
        }
    }
}

fn state(snapshot: &Snapshot) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let get = |i| Some((key(i), snapshot.get(key(i)).unwrap()?.to_vec()));
    (0..KEYS).filter_map(get).collect()
}

/// Of a store whose every key has versions before, between and after snapshots: in the log, in a table, in both, and merged.
#[test]
fn a_visit_is_many_moves() {
    for in_memory_only in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        // One sorted part of the log, and one table of several blocks.
        let options = Options { segment_bytes_min: 1 << 20, ..Options::default() };
        let db =
            if in_memory_only { Db::in_memory(options) } else { Db::open(dir.path().join("db"), options) }.unwrap();
        let mut snapshots = Vec::new();
        let mut seen = 0;
        for round in 0..4 {
            write(&db, round);
            snapshots.push(db.snapshot().unwrap());
            if round == 1 && !in_memory_only {
                same("flushed later", || db.iter().unwrap(), &state(&snapshots[1]));
                db.flush().unwrap();
            }
            if round == 3 && !in_memory_only {
                // Versions of one key side by side in one table, for the snapshots.
                db.compact::<&[u8]>(..).unwrap();
                assert_eq!(db.stats().runs, 1);
                let gone =
                    snapshots.drain(..3).map(|snapshot| (snapshot.iter().unwrap().count(), state(&snapshot).len()));
                seen += gone.map(|(a, b)| usize::from(a == b)).sum::<usize>();
                snapshots.push(db.snapshot().unwrap());
            }
            for (i, snapshot) in snapshots.iter().enumerate() {
                same(&format!("round {round}, snapshot {i}"), || snapshot.iter().unwrap(), &state(snapshot));
            }
        }
        assert!(in_memory_only || seen == 3);
        drop(snapshots);
        if !in_memory_only {
            // One version of each key: backwards, too, without a closer look.
            db.compact::<&[u8]>(..).unwrap();
            let now = db.snapshot().unwrap();
            same("settled", || now.iter().unwrap(), &state(&now));
            // Nothing but this is in a visit's way then.
            db.delete_range([0x40].as_slice()..[0xa0].as_slice()).unwrap();
            let now = db.snapshot().unwrap();
            same("a range deleted", || now.iter().unwrap(), &state(&now));
        }
    }
}

/// What is written after an iterator was made, in stores of one sorted part and of many; and under range deletes.
#[test]
fn later_writes_and_range_deletes_are_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let one = Db::open(dir.path().join("one"), Options { segment_bytes_min: 1 << 20, ..Options::default() }).unwrap();
    for db in [in_memory(), open(dir.path().join("db")), one] {
        write(&db, 1);
        write(&db, 4);
        let before = db.snapshot().unwrap();
        let made = RefCell::new((0..1000).map(|_| db.iter().unwrap()).collect::<Vec<_>>());
        write(&db, 3);
        same("made before", || made.borrow_mut().pop().unwrap(), &state(&before));
        db.delete_range(b"all".as_slice()..b"alm".as_slice()).unwrap();
        let (after, held) = (db.snapshot().unwrap(), || before.iter().unwrap());
        write(&db, 2);
        same("before the delete", held, &state(&before));
        same("after it", || after.iter().unwrap(), &state(&after));
        assert!(state(&after).keys().all(|key| !key.starts_with(b"all")));
    }
}
