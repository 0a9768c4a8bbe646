//! The store against a `BTreeMap`: random puts, deletes, range deletes, batches, scans, snapshots, flushes, merges and reopens, with budgets so
//! small that segments, tables and runs come and go all the time. Every key is read through the index, by ordered search and by a
//! scan, and, where the memory budget leaves nothing for the index, from the tables alone. Snapshots and iterators are held across all of it.
//!
//! The same history runs under eight sets of options: all must agree with the model, and so with each other.
//!
//! The seed is printed; `KVS_SEED` repeats a run, `KVS_MODEL_OPS` lengthens it.

#![allow(clippy::unwrap_used, reason = "a test that fails stops")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::Rng;
use kvs::env::Env;
use kvs::env::memory::MemoryEnv;
use kvs::env::os::OsEnv;
use kvs::{Batch, Db, Durability, Iter, LogBackend, Options, Snapshot, TableIo};

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
        let (found, expected) = match rng.below(10) {
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
            6 | 7 => {
                let forward = rng.one_in(2);
                // Standing on an entry it begins with that, else with the one that a move would lead to.
                let from = match (at, forward) {
                    _ if iter.valid() => at,
                    _ if fresh => {
                        if forward {
                            0
                        } else {
                            n - 1
                        }
                    }
                    (_, true) => (at + 1).min(n),
                    (_, false) => (at - 1).max(-1),
                };
                let (most, mut shown) = (1 + rng.below(2 * model.len() as u64 + 2) as usize, Vec::new());
                let more = iter.visit(forward, |key, value| {
                    shown.push((key.to_vec(), value.to_vec()));
                    shown.len() < most
                });
                let step = if forward { 1 } else { -1 };
                let seen = shown.iter().map(|(key, value)| (key, value));
                let expected = (0..shown.len() as i64).map(|i| model[(from + step * i) as usize]);
                assert!(seen.eq(expected), "{from}, forward: {forward}");
                let more = more.unwrap();
                assert_eq!(more, shown.len() == most, "{n} there");
                let end = from + step * (shown.len() as i64 - i64::from(more));
                (
                    more,
                    if more {
                        end
                    } else if forward {
                        n
                    } else {
                        -1
                    },
                )
            }
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
            let mut visited = Vec::new();
            let forward = rng.one_in(2);
            let more = range.unwrap().visit(forward, |key, value| {
                visited.push((key.to_vec(), value.to_vec()));
                true
            });
            assert!(!more.unwrap());
            if !forward {
                visited.reverse();
            }
            assert!(visited.iter().map(|(key, value)| (key, value)).eq(within.iter().copied()));
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

/// A range, as often short as long, sometimes inverted.
fn range(rng: &mut Rng) -> (Vec<u8>, Vec<u8>) {
    let low = key(rng);
    let high = if rng.one_in(2) { [low.as_slice(), &[0]].concat() } else { key(rng) };
    (low, high)
}

fn remove_range(model: &mut Map, low: &[u8], high: &[u8]) {
    model.retain(|key, _| !(low <= key.as_slice() && key.as_slice() < high));
}

/// An iterator that was made some time ago, and what it must still give.
struct Held {
    iter: Iter,
    rest: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
}

impl Held {
    fn new(db: &Db, model: &Map) -> Held {
        let pairs: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        Held { iter: db.iter().unwrap(), rest: pairs.into_iter() }
    }

    /// Goes on by some entries. False at the end.
    fn advance(&mut self, rng: &mut Rng) -> bool {
        for _ in 0..rng.below(40) {
            let Some((key, value)) = self.rest.next() else {
                assert!(self.iter.next().is_none());
                return false;
            };
            let found = self.iter.next().unwrap().unwrap();
            assert!(found.0 == key.as_slice() && found.1 == value.as_slice());
        }
        true
    }
}

/// What was met.
#[derive(Debug, Default)]
struct Met {
    ops: u64,
    reopens: u64,
    rotations: u64,
    flushes: u64,
    merges: u64,
    uncovered: u64,
    covered: u64,
}

impl Met {
    fn add(&mut self, db: &Db) {
        let stats = db.stats();
        self.rotations += stats.rotations;
        self.flushes += stats.flushes;
        self.merges += stats.merges;
        self.uncovered += stats.tables - stats.covered_tables;
        self.covered += stats.covered_tables;
    }
}

/// Returns the contents at the end.
fn run(seed: u64, ops: u64, env: &Arc<dyn Env>, path: &Path, options: &Options, met: &mut Met) -> Map {
    let mut rng = Rng::new(seed);
    // Where there are range deletes every entry is asked about, so some histories have empty ones only.
    let deletes_ranges = !rng.one_in(4);
    let doomed = |rng: &mut Rng| {
        let (low, high) = range(rng);
        if deletes_ranges { (low, high) } else { (low.clone(), low) }
    };
    let open = || Db::open_with(Arc::clone(env), path, options.clone()).unwrap();
    let mut db = open();
    let mut model = Map::new();
    let mut snapshots: Vec<(Snapshot, Map)> = Vec::new();
    let mut held: Vec<Held> = Vec::new();
    let mut buffer = Vec::new();
    met.ops += ops;
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
            420..556 => {
                let key = key(&mut rng);
                db.delete(&key).unwrap();
                model.remove(&key);
            }
            556..560 => {
                let (low, high) = doomed(&mut rng);
                db.delete_range(low.as_slice()..high.as_slice()).unwrap();
                remove_range(&mut model, &low, &high);
            }
            560..620 => {
                let mut batch = Batch::new();
                for _ in 0..rng.below(12) {
                    let (key, value) = (key(&mut rng), value(&mut rng));
                    match rng.below(16) {
                        0..4 => {
                            batch.delete(&key);
                            model.remove(&key);
                        }
                        4 => {
                            let (low, high) = doomed(&mut rng);
                            batch.delete_range(low.as_slice()..high.as_slice());
                            remove_range(&mut model, &low, &high);
                        }
                        _ => {
                            batch.put(&key, &value);
                            model.insert(key, value);
                        }
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
            970..975 => same_scan(&db, None, &model, &mut rng),
            975..979 => {
                if let Some((snapshot, model)) = snapshots.last() {
                    same_scan(&db, Some(snapshot), model, &mut rng);
                }
            }
            979..984 => {
                let keys: Vec<_> = (0..rng.below(20)).map(|_| key(&mut rng)).collect();
                let values = db.get_many(&keys).unwrap();
                assert!(keys.iter().zip(&values).all(|(k, v)| v.as_deref() == model.get(k).map(Vec::as_slice)));
            }
            984..987 if held.len() < 3 => held.push(Held::new(&db, &model)),
            984..988 => {
                if !held.is_empty() {
                    let at = rng.below(held.len() as u64) as usize;
                    if !held[at].advance(&mut rng) || rng.one_in(8) {
                        held.swap_remove(at);
                    }
                }
            }
            988..993 if snapshots.len() < 4 => snapshots.push((db.snapshot().unwrap(), model.clone())),
            988..997 => {
                if !snapshots.is_empty() {
                    snapshots.swap_remove(rng.below(snapshots.len() as u64) as usize);
                }
            }
            997 => match rng.below(8) {
                0 => {
                    let (low, high) = range(&mut rng);
                    db.compact(low.as_slice()..high.as_slice()).unwrap();
                }
                1 => db.compact::<&[u8]>(..).unwrap(),
                2..5 => db.sync().unwrap(),
                _ => db.flush().unwrap(),
            },
            998 => db.step_worker(),
            _ => {
                if rng.one_in(3) && op > 0 {
                    snapshots.clear();
                    held.clear();
                    met.add(&db);
                    if rng.one_in(2) {
                        db.close().unwrap();
                    }
                    drop(db);
                    db = open();
                    met.reopens += 1;
                }
            }
        }
    }
    met.add(&db);
    let all: Vec<_> = db.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(all.len(), model.len());
    for ((key, value), (k, v)) in all.iter().zip(&model) {
        assert!(*key == k.as_slice() && *value == v.as_slice());
        same_get(&db, None, &model, k, &mut buffer);
    }
    db.verify().unwrap();
    model
}

/// Budgets of 64 KiB and less.
fn tiny() -> Options {
    Options {
        segment_bytes_min: 4 << 10,
        segment_bytes_max: 16 << 10,
        memtable_bytes_max: 64 << 10,
        table_bytes_max: 32 << 10,
        block_bytes: 512,
        cache_bytes: 16 << 10,
        runs_max: 4,
        ..Options::default()
    }
}

/// Eight sets of options that have little in common.
fn eight() -> [Options; 8] {
    let positioned = || Options { log_backend: LogBackend::Positioned, table_io: TableIo::Positioned, ..tiny() };
    let mapped = || Options { log_backend: LogBackend::Mapped, table_io: TableIo::Mapped, ..tiny() };
    // Nothing is left for the index: every table is searched by its own hash section.
    let starved = |options: Options| Options { memory_bytes_max: 0, ..options };
    [
        mapped(),
        positioned(),
        starved(mapped()),
        starved(positioned()),
        Options { table_bytes_max: 4 << 10, block_bytes: 256, runs_max: 1, ..mapped() },
        Options { segment_bytes_max: 4 << 10, memtable_bytes_max: 8 << 10, space_percent: 110, ..positioned() },
        Options { block_bytes: 4096, space_percent: 1000, runs_max: 100, cache_bytes: 0, ..positioned() },
        // The index has room for some of the tables.
        Options { memory_bytes_max: (64 << 10) + (16 << 10) + (20 << 10), ..mapped() },
    ]
}

#[test]
fn the_store_is_a_sorted_map() {
    const OPS_A_STORE: u64 = 20_000;
    let seed = common::seed(1);
    let mut met = Met::default();
    let sets = eight();
    for part in 0..common::scale("KVS_MODEL_OPS", 2_000_000).div_ceil(OPS_A_STORE * 8) {
        let mut ends = sets.iter().map(|options| {
            let env: Arc<dyn Env> = Arc::new(MemoryEnv::new());
            run(seed + (part << 32), OPS_A_STORE, &env, Path::new("(model)"), options, &mut met)
        });
        let first = ends.next().unwrap();
        assert!(ends.all(|end| end == first), "seed {seed}, part {part}: two sets of options disagree");
    }
    println!("{met:?}");
    let Met { ops, reopens, flushes, merges, uncovered, covered, .. } = met;
    let share = |of_two_million: u64| of_two_million * ops / 2_000_000;
    assert!(reopens >= share(100) && flushes >= share(1000) && merges >= share(200), "the run met too little");
    assert!(uncovered > 0 && covered > 0);
}

/// The same on the operating system's files.
#[test]
fn the_store_is_a_sorted_map_on_disk() {
    let seed = common::seed(2);
    let mut met = Met::default();
    for (part, options) in eight().iter().take(2).enumerate() {
        let dir = tempfile::tempdir().unwrap();
        run(seed + part as u64, 10_000, &OsEnv::shared(), &dir.path().join("db"), options, &mut met);
    }
    println!("{met:?}");
    assert!(met.flushes > 50 && met.merges > 5, "the run met too little");
}
