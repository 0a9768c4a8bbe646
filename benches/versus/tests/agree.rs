//! The stores of this build do what the harness thinks they do.
//!
//! 1. Random puts, batches, deletes, gets and scans leave each store and a `BTreeMap` in the same state, and after it was closed and opened
//!    again too.
//! 2. Every store runs every workload that it takes part in, with a thousand keys. A cell checks what it reads; that it would notice is shown by a store
//!    that lies.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]

use std::collections::BTreeMap;
use std::path::Path;

use kvs_versus::cells::{Cell, Spec};
use kvs_versus::random::Rng;
use kvs_versus::store::{Budget, Contestant, Pairs, Scan, Store, Tally};
use kvs_versus::workload::{Begins, LOAD, WORKLOADS};
use kvs_versus::{Result, shape, stores};

const BUDGET: Budget = Budget { memtable_bytes: 4 << 20, cache_bytes: 64 << 20, keys: 1000, limited: false };

fn spec(store: &str, workload: &str, shape: &str, n: u64, dir: &Path) -> Spec {
    Spec {
        store: store.to_owned(),
        workload: workload.to_owned(),
        shape: shape.to_owned(),
        n,
        seconds: 0.02,
        fill_seconds: 20.0,
        memtable_bytes: BUDGET.memtable_bytes,
        cache_bytes: BUDGET.cache_bytes,
        memory_limit_bytes: None,
        group: None,
        dir: dir.to_owned(),
        program: env!("CARGO_BIN_EXE_kvs-versus").into(),
        seed: 1,
    }
}

fn key_and_value(i: u64, version: u8) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    shape::SHAPES[0].key(i, 0, &mut key);
    shape::SHAPES[0].value(i, version, &mut value);
    (key, value)
}

/// What a scan of the map would leave behind.
fn tally_of<'a>(entries: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>, limit: u64) -> (u64, u64, u64, u64) {
    let mut tally = Tally::new(limit);
    for (key, value) in entries {
        if !tally.see(key, value) {
            break;
        }
    }
    (tally.count, tally.sum, tally.bytes, tally.first)
}

fn scanned(store: &dyn Store, scan: &Scan<'_>) -> (u64, u64, u64, u64) {
    let mut tally = Tally::new(scan.limit);
    store.scan(scan, &mut tally).unwrap();
    (tally.count, tally.sum, tally.bytes, tally.first)
}

fn compare(contestant: &Contestant, store: &dyn Store, map: &BTreeMap<Vec<u8>, Vec<u8>>, rng: &mut Rng, keys: u64) {
    let name = contestant.name;
    let mut buffer = vec![1, 2, 3];
    for i in 0..keys {
        let (key, _) = key_and_value(i, 0);
        assert_eq!(store.get(&key, &mut buffer).unwrap(), map.contains_key(&key), "{name} {i}");
        assert_eq!(&buffer, map.get(&key).unwrap_or(&Vec::new()), "{name} {i}");
        if contestant.looks {
            let seen = store.look(&key).unwrap();
            assert_eq!(seen, map.get(&key).map(|value| (value.len(), shape::tag_of(value))), "{name} {i}");
        }
    }
    if !contestant.ordered {
        return;
    }
    assert_eq!(scanned(store, &Scan::all(false)), tally_of(map.iter(), u64::MAX), "{name} forward");
    assert_eq!(scanned(store, &Scan::all(true)), tally_of(map.iter().rev(), u64::MAX), "{name} reverse");
    let reverse = Scan { limit: 7, ..Scan::all(true) };
    assert_eq!(scanned(store, &reverse), tally_of(map.iter().rev(), 7), "{name} reverse, limited");
    for _ in 0..50 {
        let (from, _) = key_and_value(rng.below(keys * 2), 0);
        let limit = 1 + rng.below(20);
        let expected = tally_of(map.range(from.clone()..), limit);
        assert_eq!(scanned(store, &Scan::from(&from, limit)), expected, "{name} from");
    }
    for first in 0..=255u8 {
        let prefix = [first];
        let expected = tally_of(map.iter().filter(|(key, _)| key.starts_with(&prefix)), u64::MAX);
        assert_eq!(scanned(store, &Scan::prefix(&prefix)), expected, "{name} prefix {first}");
    }
}

#[test]
fn every_store_agrees_with_a_map() {
    stores::all().iter().filter(|contestant| contestant.reads).for_each(|contestant| agree(contestant, &BUDGET));
}

/// Those that have settings of their own for limited memory, with those: small segments, an index for few of the keys, no read-ahead.
#[test]
fn stores_agree_with_a_map_where_memory_is_limited() {
    let budget = Budget { memtable_bytes: 256 << 10, cache_bytes: 64 << 10, keys: 300, limited: true };
    let all = stores::all();
    let special: Vec<_> = all
        .iter()
        .filter(|c| c.reads && (c.settings)(&budget) != (c.settings)(&Budget { limited: false, ..budget }))
        .collect();
    assert!(special.iter().any(|contestant| contestant.name == "kvs"));
    special.into_iter().for_each(|contestant| agree(contestant, &budget));
}

fn agree(contestant: &Contestant, budget: &Budget) {
    const KEYS: u64 = 400;
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut store = (contestant.open)(&path, budget, false).unwrap();
        let mut map = BTreeMap::new();
        let mut rng = Rng::new(42);
        for round in 0..3 {
            for step in 0..600 {
                let (key, value) = key_and_value(rng.below(KEYS), step as u8);
                match rng.below(10) {
                    0..=2 => {
                        store.delete(&key).unwrap();
                        map.remove(&key);
                    }
                    3 => {
                        let mut pairs = Pairs::default();
                        for _ in 0..rng.below(5) {
                            let (key, value) = key_and_value(rng.below(KEYS), step as u8);
                            pairs.push(&key, &value);
                            map.insert(key, value);
                        }
                        store.write(&pairs).unwrap();
                    }
                    _ => {
                        store.put(&key, &value).unwrap();
                        map.insert(key, value);
                    }
                }
            }
            compare(contestant, &*store, &map, &mut rng, KEYS);
            match round {
                0 => store.settle().unwrap(),
                1 => store.compact().unwrap(),
                _ => {}
            }
            compare(contestant, &*store, &map, &mut rng, KEYS);
        }
        if contestant.is_durable() {
            store.close().unwrap();
            store = (contestant.open)(&path, budget, false).unwrap();
            compare(contestant, &*store, &map, &mut rng, KEYS);
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").args(["-a", "--sparse=auto"]).arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn run_all(shape: &str, n: u64, only_main: bool) {
    for contestant in stores::all() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = dir.path().join("loaded");
        if LOAD.suits(&contestant) {
            Cell::new(spec(contestant.name, "load", shape, n, &loaded)).unwrap().run().unwrap();
        }
        for workload in WORKLOADS.iter().filter(|workload| workload.suits(&contestant) && (!only_main || workload.main))
        {
            let path = dir.path().join(workload.name);
            if workload.begins == Begins::Loaded && contestant.is_durable() {
                if !loaded.exists() {
                    // Pinned reads take the load of kvs.
                    Cell::new(spec("kvs", "load", shape, n, &loaded)).unwrap().run().unwrap();
                }
                copy_dir(&loaded, &path);
            }
            let cell = Cell::new(spec(contestant.name, workload.name, shape, n, &path)).unwrap();
            let outcome =
                cell.run().unwrap_or_else(|error| panic!("{} {} {shape}: {error}", contestant.name, workload.name));
            assert!(!outcome.metrics.is_empty());
            assert!(
                outcome.metrics.values().all(|number| number.is_finite()),
                "{} {}: {outcome:?}",
                contestant.name,
                workload.name
            );
            if let Some(rate) = outcome.metrics.get("rate") {
                assert!(*rate > 0.0, "{} {}", contestant.name, workload.name);
            }
            if workload.name == "open_killed" {
                assert!(outcome.metrics["acknowledged"] >= n as f64);
                let missing = outcome.metrics["missing"];
                assert!(
                    missing == 0.0 || contestant.class != kvs_versus::store::Class::Acknowledged,
                    "{}: {missing} missing",
                    contestant.name
                );
            }
        }
    }
}

#[test]
fn every_store_runs_every_workload() {
    run_all("16/100", 1000, false);
}

#[test]
fn every_store_runs_the_main_rows_in_other_shapes() {
    for shape in ["8/8", "24/400", "urls"] {
        run_all(shape, 1000, true);
    }
}

/// A cell whose memory is limited says what its store used when it was let go of, and when it was closed; others say nothing of it.
#[test]
fn limited_cells_tell_what_was_used() {
    let dir = tempfile::tempdir().unwrap();
    let run = |workload: &str, limit: Option<u64>| {
        let path = dir.path().join(format!("{workload} {limit:?}"));
        let spec = Spec { memory_limit_bytes: limit, ..spec("kvs", workload, "16/100", 1000, &path) };
        Cell::new(spec).unwrap().run().unwrap().metrics
    };
    for workload in ["fill_random", "disk_load"] {
        let metrics = run(workload, Some(1 << 30));
        // The keys of the log are always known. Those of tables are not all where so few make an index of whole pages.
        let known = metrics["index_keys"];
        assert!(known == 1000.0 || (workload == "disk_load" && known < 1000.0), "{workload}: {metrics:?}");
        assert_eq!(metrics["index_budget_bytes"], 17_000.0, "{workload}");
        assert!(metrics["anonymous_bytes"] > 1e5 && metrics["mapped_bytes"] > 1e5, "{workload}: {metrics:?}");
        assert!(!run(workload, None).contains_key("index_keys"));
    }
}

/// Forwards to a store and lies about one thing.
struct Liar {
    store: Box<dyn Store>,
    lie: Lie,
}

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    LosesEveryTenthPut,
    AnswersWithTheWrongValue,
    SkipsAnEntry,
    KeepsWhatIsDeleted,
}

impl Store for Liar {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.lie == Lie::LosesEveryTenthPut && key[1].is_multiple_of(10) {
            Ok(())
        } else {
            self.store.put(key, value)
        }
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        if self.lie == Lie::KeepsWhatIsDeleted { Ok(()) } else { self.store.delete(key) }
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.store.get(key, value)?;
        if self.lie == Lie::AnswersWithTheWrongValue && found && key[1].is_multiple_of(10) {
            value[5] ^= 1;
        }
        Ok(found)
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        if self.lie == Lie::SkipsAnEntry {
            // Of the whole, all but one.
            let limited = Scan { limit: scan.limit.min(999), ..*scan };
            let mut inner = Tally::new(limited.limit);
            self.store.scan(&limited, &mut inner)?;
            *tally = inner;
            return Ok(());
        }
        self.store.scan(scan, tally)
    }
}

/// What cells check, they see: a lost put, a wrong value, an entry that a scan leaves out, a delete that does nothing.
#[test]
fn lies_are_seen() {
    fn liar(path: &Path, budget: &Budget, synced: bool, lie: Lie) -> Result<Box<dyn Store>> {
        let store = (stores::by_name("kvs")?.open)(path, budget, synced)?;
        Ok(Box::new(Liar { store, lie }))
    }
    type Open = fn(&Path, &Budget, bool) -> Result<Box<dyn Store>>;
    let cases: [(Open, &str); 8] = [
        (|p, b, s| liar(p, b, s, Lie::LosesEveryTenthPut), "fill_random"),
        (|p, b, s| liar(p, b, s, Lie::LosesEveryTenthPut), "fill_batch100"),
        (|p, b, s| liar(p, b, s, Lie::LosesEveryTenthPut), "ycsb_e"),
        (|p, b, s| liar(p, b, s, Lie::AnswersWithTheWrongValue), "read_random"),
        (|p, b, s| liar(p, b, s, Lie::AnswersWithTheWrongValue), "read_beside_write"),
        (|p, b, s| liar(p, b, s, Lie::AnswersWithTheWrongValue), "ycsb_a"),
        (|p, b, s| liar(p, b, s, Lie::SkipsAnEntry), "scan_full"),
        (|p, b, s| liar(p, b, s, Lie::KeepsWhatIsDeleted), "delete_random"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let loaded = dir.path().join("loaded");
    Cell::new(spec("kvs", "load", "16/100", 1000, &loaded)).unwrap().run().unwrap();
    for (number, (open, workload)) in cases.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        let mut cell = Cell::new(spec("kvs", workload, "16/100", 1000, &path)).unwrap();
        if cell.workload.begins == Begins::Loaded {
            copy_dir(&loaded, &path);
        }
        cell.contestant.open = open;
        assert!(cell.run().is_err(), "case {number}: {workload} did not see it");
    }
}
