//! The store against a `BTreeMap`: random puts, deletes, batches, scans, snapshots, flushes and reopens, with tiny segments so
//! that rotations happen all the time. Every key is read through the index, by ordered search and by a scan.
//!
//! The seed is printed; `KVS_SEED` repeats a run, `KVS_MODEL_OPS` lengthens it.

#![allow(clippy::unwrap_used, reason = "a test that fails stops")]

mod common;

use std::collections::BTreeMap;

use common::Rng;
use kvs::{Batch, Db, Durability, Iter, LogBackend, Options, Snapshot};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys that are few enough to be overwritten often, and of every awkward shape.
fn key(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0 => Vec::new(),
        1 => vec![0; rng.below(20) as usize],
        2 => vec![0xff; rng.below(20) as usize],
        3 => format!("{:016}", rng.below(300)).into_bytes(),
        4 => [b"https://example.org/a/long/shared/prefix/".as_slice(), rng.below(300).to_string().as_bytes()].concat(),
        5 => {
            let mut key = vec![b'p'; 8 * rng.below(5) as usize];
            key.extend(vec![0; rng.below(10) as usize]);
            key
        }
        6 => rng.bytes(1),
        _ => rng.below(2000).to_be_bytes()[4..].to_vec(),
    }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(50) {
        0 => 0,
        1 => rng.below(6000),
        _ => rng.below(40),
    };
    rng.bytes(len as usize)
}

/// An iterator and the model agree, in both directions and after seeks.
fn same_walk(mut iter: Iter, model: &[(&Vec<u8>, &Vec<u8>)], rng: &mut Rng) {
    let mut at: i64 = -1;
    let n = model.len() as i64;
    assert!(!iter.valid());
    let mut fresh = true;
    for _ in 0..12 {
        let (found, expected) = match rng.below(8) {
            0 => (iter.seek_to_first().unwrap(), 0),
            1 => (iter.seek_to_last().unwrap(), n - 1),
            2 => {
                let key = key(rng);
                (iter.seek(&key).unwrap(), model.partition_point(|(k, _)| **k < key) as i64)
            }
            3 => {
                let key = key(rng);
                (iter.seek_for_prev(&key).unwrap(), model.partition_point(|(k, _)| **k <= key) as i64 - 1)
            }
            4 | 5 => (iter.move_next().unwrap(), (at + 1).min(n)),
            _ => (iter.move_prev().unwrap(), if fresh { n - 1 } else { (at - 1).max(-1) }),
        };
        fresh = false;
        at = expected;
        match usize::try_from(at).ok().and_then(|at| model.get(at)) {
            Some((key, value)) => {
                assert!(found && iter.valid());
                assert_eq!((iter.key(), iter.value()), (key.as_slice(), value.as_slice()));
            }
            None => assert!(!found && !iter.valid() && iter.key().is_empty()),
        }
    }
}

fn same_scan(db: &Db, snapshot: Option<&Snapshot>, model: &Map, rng: &mut Rng) {
    let (low, high) = (key(rng), key(rng));
    let all: Vec<_> = model.iter().collect();
    let within: Vec<_> = all.iter().copied().filter(|(k, _)| **k >= low && **k < high).collect();
    let (whole, range, prefixed) = match snapshot {
        None => (db.iter(), db.range(low.clone()..high), db.prefix(&low)),
        Some(s) => (s.iter(), s.range(low.clone()..high), s.prefix(&low)),
    };
    match rng.below(4) {
        0 => {
            let whole: Vec<_> = whole.unwrap().map(Result::unwrap).collect();
            assert_eq!(whole.len(), all.len());
            assert!(whole.iter().zip(&all).all(|(a, b)| a.0 == b.0.as_slice() && a.1 == b.1.as_slice()));
        }
        1 => {
            let back: Vec<_> = range.unwrap().rev().map(Result::unwrap).collect();
            assert_eq!(back.len(), within.len());
            assert!(back.iter().zip(within.iter().rev()).all(|(a, b)| a.0 == b.0.as_slice() && a.1 == b.1.as_slice()));
        }
        2 => {
            let mut iter = prefixed.unwrap();
            let expected: Vec<_> = all.iter().filter(|(k, _)| k.starts_with(&low)).collect();
            // From both ends until they meet.
            let (mut front, mut back) = (0, expected.len());
            loop {
                let next =
                    if rng.one_in(2) { iter.next().map(|p| (p, true)) } else { iter.next_back().map(|p| (p, false)) };
                let Some((pair, forward)) = next else { break };
                let pair = pair.unwrap();
                let expected = if forward {
                    front += 1;
                    expected[front - 1]
                } else {
                    back -= 1;
                    expected[back]
                };
                assert!(pair.0 == expected.0.as_slice() && pair.1 == expected.1.as_slice());
            }
            assert_eq!(front, back);
        }
        _ => same_walk(range.unwrap(), &within, rng),
    }
}

fn same_get(db: &Db, snapshot: Option<&Snapshot>, model: &Map, key: &[u8], buffer: &mut Vec<u8>) {
    let expected = model.get(key).map(Vec::as_slice);
    let pinned = match snapshot {
        None => db.get(key),
        Some(s) => s.get(key),
    };
    assert_eq!(pinned.unwrap().as_deref(), expected, "{key:?}");
    let there = match snapshot {
        None => db.get_into(key, buffer),
        Some(s) => s.get_into(key, buffer),
    };
    assert_eq!(there.unwrap().then_some(buffer.as_slice()), expected);
    // By order instead of the index.
    let mut ordered = match snapshot {
        None => db.range(key..),
        Some(s) => s.range(key..),
    }
    .unwrap();
    let found = ordered.seek_to_first().unwrap() && ordered.key() == key;
    assert_eq!(found.then(|| ordered.value()), expected, "by order: {key:?}");
}

fn run(seed: u64, ops: u64, options: Options) {
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let open = || Db::open(&path, options.clone()).unwrap();
    let mut db = open();
    let mut model = Map::new();
    let mut snapshots: Vec<(Snapshot, Map)> = Vec::new();
    let mut buffer = Vec::new();
    let (mut reopens, mut rotations) = (0, 0);
    for op in 0..ops {
        match rng.below(1000) {
            0..420 => {
                let (key, value) = (key(&mut rng), value(&mut rng));
                let durability = match rng.below(400) {
                    0 => Durability::Sync,
                    1..20 => Durability::None,
                    _ => Durability::Process,
                };
                db.put_with(&key, &value, durability).unwrap();
                model.insert(key, value);
            }
            420..560 => {
                let key = key(&mut rng);
                db.delete(&key).unwrap();
                model.remove(&key);
            }
            560..620 => {
                let mut batch = Batch::new();
                for _ in 0..rng.below(12) {
                    let (key, value) = (key(&mut rng), value(&mut rng));
                    if rng.one_in(4) {
                        batch.delete(&key);
                        model.remove(&key);
                    } else {
                        batch.put(&key, &value);
                        model.insert(key, value);
                    }
                }
                db.write(&batch).unwrap();
            }
            620..940 => {
                let key = key(&mut rng);
                match rng.below(4) {
                    0 if !snapshots.is_empty() => {
                        let (snapshot, model) = &snapshots[rng.below(snapshots.len() as u64) as usize];
                        same_get(&db, Some(snapshot), model, &key, &mut buffer);
                    }
                    1 => assert_eq!(db.contains(&key).unwrap(), model.contains_key(&key)),
                    _ => assert_eq!(db.get(&key).unwrap().as_deref(), model.get(&key).map(Vec::as_slice)),
                }
            }
            940..970 => same_get(&db, None, &model, &key(&mut rng), &mut buffer),
            970..976 => same_scan(&db, None, &model, &mut rng),
            976..982 => {
                if let Some((snapshot, model)) = snapshots.last() {
                    same_scan(&db, Some(snapshot), model, &mut rng);
                }
            }
            982..988 => {
                let keys: Vec<_> = (0..rng.below(20)).map(|_| key(&mut rng)).collect();
                let values = db.get_many(&keys).unwrap();
                assert!(keys.iter().zip(&values).all(|(k, v)| v.as_deref() == model.get(k).map(Vec::as_slice)));
            }
            988..994 if snapshots.len() < 4 => snapshots.push((db.snapshot().unwrap(), model.clone())),
            988..997 => {
                if !snapshots.is_empty() {
                    snapshots.swap_remove(rng.below(snapshots.len() as u64) as usize);
                }
            }
            997 => db.flush().unwrap(),
            998 => {
                db.step_worker();
            }
            _ => {
                if rng.one_in(3) && op > 0 {
                    snapshots.clear();
                    rotations += db.stats().rotations;
                    if rng.one_in(2) {
                        db.close().unwrap();
                    }
                    drop(db);
                    db = open();
                    reopens += 1;
                }
            }
        }
    }
    rotations += db.stats().rotations;
    let all: Vec<_> = db.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(all.len(), model.len());
    for ((key, value), (k, v)) in all.iter().zip(&model) {
        assert!(*key == k.as_slice() && *value == v.as_slice());
        same_get(&db, None, &model, k, &mut buffer);
    }
    let verified = db.verify().unwrap();
    println!("{ops} operations, {reopens} reopens, {rotations} rotations, {verified:?}");
    assert!(rotations > ops / 5000 && reopens > 0, "the run met too little");
}

fn tiny(log_backend: LogBackend) -> Options {
    Options { log_backend, segment_bytes_min: 4 << 10, segment_bytes_max: 64 << 10, ..Options::default() }
}

/// Many stores, each of a short life: without tables a store only grows, and so would the time of each reopen.
fn campaign(name: u64, log_backend: LogBackend) {
    const OPS_A_STORE: u64 = 20_000;
    let seed = common::seed(name);
    for part in 0..common::scale("KVS_MODEL_OPS", 500_000).div_ceil(OPS_A_STORE) {
        run(seed + (part << 32), OPS_A_STORE, tiny(log_backend));
    }
}

#[test]
fn the_store_is_a_sorted_map_mapped() {
    campaign(1, LogBackend::Mapped);
}

#[test]
fn the_store_is_a_sorted_map_positioned() {
    campaign(2, LogBackend::Positioned);
}
