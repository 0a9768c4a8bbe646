//! Iterators beside writers: sorted, no key twice, and none missing that was there before and never deleted.

use kvs::{Iter, LogBackend, Value};

use super::{Writing, churn, scaled, store};
use crate::common::{self, Rng};
use crate::crew::{self, Task};

/// Even keys are there from the start and only overwritten; odd keys come and go.
const KEYS: u32 = 2000;

fn check(iter: &mut Iter, forward: bool) {
    let step = |iter: &mut Iter| if forward { iter.move_next().unwrap() } else { iter.move_prev().unwrap() };
    let mut evens = 0;
    let mut last: Option<u32> = None;
    while step(iter) {
        if iter.key().starts_with(b"zz") {
            continue;
        }
        let key = u32::from_be_bytes(iter.key().try_into().unwrap());
        assert!(last.is_none_or(|last| if forward { last < key } else { last > key }), "{key} after {last:?}");
        last = Some(key);
        if key % 2 == 0 {
            let expected = if forward { 2 * evens } else { KEYS - 2 - 2 * evens };
            assert_eq!(key, expected, "a key that is never deleted is missing");
            evens += 1;
        }
        assert_eq!(iter.value()[..4], key.to_be_bytes(), "the value of another key");
    }
    assert_eq!(evens, KEYS / 2);
}

fn run(seed: u64, backend: LogBackend) {
    let (_dir, db) = store(backend);
    for key in (0..KEYS).step_by(2) {
        db.put(key.to_be_bytes(), key.to_be_bytes()).unwrap();
    }
    let writing = Writing::default();
    let guard = writing.guard();
    let writer = |id: u64| {
        let (db, guard) = (db.clone(), guard.clone());
        move || {
            let mut rng = Rng::new(seed + id);
            for _ in 0..scaled(15_000) {
                let key = rng.below(u64::from(KEYS)) as u32;
                if key % 2 == 1 && rng.one_in(8) {
                    // The odd key alone lies in the range.
                    db.delete_range(key.to_be_bytes()..(key + 1).to_be_bytes()).unwrap();
                } else if key % 2 == 1 && rng.one_in(2) {
                    db.delete(key.to_be_bytes()).unwrap();
                } else {
                    let mut value = key.to_be_bytes().to_vec();
                    value.resize(4 + rng.below(60) as usize, id as u8);
                    db.put(key.to_be_bytes(), value).unwrap();
                }
            }
            drop(guard);
        }
    };
    let reader = |id: u64| {
        let (db, writing) = (db.clone(), writing.clone());
        move || {
            let mut rng = Rng::new(seed + 100 + id);
            let mut rounds = 0;
            let mut held: Option<(Iter, Vec<(Value, Value)>)> = None;
            while !writing.is_over() || rounds < 5 {
                let mut iter = db.iter().unwrap();
                check(&mut iter, rng.one_in(2));
                // Once more over the same, from the other end, and from a key that is there for certain.
                let forward = rng.one_in(2);
                let mut iter = db.iter().unwrap();
                let from = (rng.below(u64::from(KEYS) / 2) * 2) as u32;
                assert!(iter.seek(from.to_be_bytes()).unwrap() && iter.key() == from.to_be_bytes());
                assert!(iter.seek_for_prev(from.to_be_bytes()).unwrap() && iter.key() == from.to_be_bytes());
                if forward { iter.seek_to_last() } else { iter.seek_to_first() }.unwrap();
                if forward {
                    assert!(!iter.move_next().unwrap())
                } else {
                    assert!(!iter.move_prev().unwrap())
                }
                check(&mut iter, !forward);
                // Once more, by one that has been held while everything was flushed and merged.
                match &mut held {
                    Some((iter, pairs)) if rng.one_in(4) => {
                        iter.seek_to_first().unwrap();
                        let mut again = 0;
                        while iter.valid() {
                            let (key, value) = &pairs[again];
                            assert!(iter.key() == &**key && iter.value() == &**value, "a held iterator has changed");
                            again += 1;
                            iter.move_next().unwrap();
                        }
                        assert_eq!(again, pairs.len());
                        held = None;
                    }
                    Some(_) => {}
                    None => {
                        let mut iter = db.iter().unwrap();
                        let mut pairs = Vec::new();
                        while iter.move_next().unwrap() {
                            pairs.push((iter.key_pinned().unwrap(), iter.value_pinned().unwrap()));
                        }
                        held = Some((iter, pairs));
                    }
                }
                rounds += 1;
            }
        }
    };
    let mut tasks: Vec<Task> = crew::tasks(2, writer).collect();
    tasks.extend(crew::tasks(3, reader));
    tasks.push(churn(&db, &writing, seed));
    drop(guard);
    crew::run(tasks);
}

#[test]
fn scans_beside_writers_mapped() {
    run(common::seed(51), LogBackend::Mapped);
}

#[test]
fn scans_beside_writers_positioned() {
    run(common::seed(52), LogBackend::Positioned);
}
