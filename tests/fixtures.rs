//! Stores of every released format open for ever, and are what the page on the format says.
//!
//! What version 1 wrote stands in `tests/fixtures/v1`. This program reads it, key by key, and can go on with it:
//!
//! | directory | what it is | made by |
//! |---|---|---|
//! | `closed` | logs only, closed | `KVS_BLESS=logs` |
//! | `killed` | logs only, as a kill left it | `KVS_BLESS=logs` |
//! | `tables` | three runs of tables, with tombstones, several versions of a key, blocks of one long record, a range delete in the manifest and one in a log; closed | an earlier program |
//! | `half_merged` | the same contents, but the power went while all of it was merged: slices of which a part is gone; then went on, and was cut off again | an earlier program |
//! | `tables_whole`, `half_merged_whole` | the same two, with a check of all records in each trailer; the former are from before there was one | `KVS_BLESS=tables` |
//!
//! `KVS_BLESS=tables cargo test --test fixtures` writes fixtures of the *current* version anew; those of released versions are never
//! touched again. `tables_whole` and `half_merged_whole` come from a simulated disk with a fixed seed, so they come out the same byte for byte
//! until the engine decides otherwise about files; `logs` have a new identity each time.
//!
//! A second reader, written after `docs/format.md` alone (`common/format.rs`), reads all of them, and random stores that this program
//! writes: it takes every byte for something that the page names and must find the same keys and values.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]
#![expect(clippy::disallowed_methods, reason = "the test copies directories")]

#[path = "common/mod.rs"]
mod common;
#[path = "common/format.rs"]
mod format;
#[path = "crash/history.rs"]
mod history;
#[path = "fixtures/tables.rs"]
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::Rng;
use format::{Files, Map};
use history::{DIR, History};
use kvs::env::sim::SimEnv;
use kvs::{Batch, Db, Durability, LogBackend, Options, TableIo};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn options() -> Options {
    Options { segment_bytes_min: 4 << 10, segment_bytes_max: 8 << 10, ..Options::default() }
}

/// What the fixtures hold: the same calls fill the store and this map.
fn fill(mut put: impl FnMut(&[u8], Option<&[u8]>)) {
    for i in 0..60u32 {
        put(format!("key/{i:04}").as_bytes(), Some(format!("value {i}").repeat(i as usize % 7).as_bytes()));
    }
    put(b"", Some(b"the empty key"));
    put(&[0xff; 300], Some(&[0; 1000]));
    put("schlüssel".as_bytes(), Some("wert".as_bytes()));
    for i in (0..60u32).step_by(3) {
        put(format!("key/{i:04}").as_bytes(), None);
    }
    for i in (0..60u32).step_by(4) {
        put(format!("key/{i:04}").as_bytes(), Some(b"again"));
    }
    put(b"large", Some(&[7; 5000]));
}

fn expected() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut map = BTreeMap::new();
    fill(|key, value| {
        match value {
            Some(value) => map.insert(key.to_vec(), value.to_vec()),
            None => map.remove(key),
        };
    });
    map.extend([(b"batch/1".to_vec(), b"one".to_vec()), (b"batch/2".to_vec(), b"two".to_vec())]);
    map
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn bless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, options()).unwrap();
    fill(|key, value| match value {
        Some(value) => db.put_with(key, value, Durability::Sync).unwrap(),
        None => db.delete(key).unwrap(),
    });
    db.write(Batch::new().put("batch/1", "zero").put("batch/2", "two").put("batch/1", "one")).unwrap();
    // `LOCK` says nothing; a prepared segment is zeros.
    let keep = |to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        copy(&path, to);
        std::fs::remove_file(to.join("LOCK")).unwrap();
    };
    keep(&fixtures().join("killed"));
    db.close().unwrap();
    keep(&fixtures().join("closed"));
}

/// Writes fixtures anew, if that is asked for.
fn bless_if_told() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| match std::env::var("KVS_BLESS").as_deref() {
        Ok("logs") => bless(),
        Ok("tables") => tables::bless(&fixtures()),
        Ok(other) => panic!("KVS_BLESS is {other:?}, must be logs or tables"),
        Err(_) => {}
    });
}

/// The fixtures and what they hold.
fn all() -> [(&'static str, Map); 6] {
    bless_if_told();
    [
        ("closed", expected()),
        ("killed", expected()),
        ("tables", tables::expected()),
        ("half_merged", tables::expected()),
        ("tables_whole", tables::expected()),
        ("half_merged_whole", tables::expected()),
    ]
}

fn check(db: &Db, wanted: &Map, context: &str) {
    let owned = |pair: kvs::Result<(kvs::Value, kvs::Value)>| pair.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap();
    assert_eq!(&db.iter().unwrap().map(owned).collect::<Map>(), wanted, "{context}");
    assert_eq!(&db.iter().unwrap().rev().map(owned).collect::<Map>(), wanted, "{context}, backwards");
    for (key, value) in wanted {
        assert_eq!(db.get_owned(key).unwrap().as_ref(), Some(value), "{context}");
        let absent = [key, &b"?"[..]].concat();
        assert_eq!(db.get_owned(&absent).unwrap().as_ref(), wanted.get(&absent), "{context}");
    }
}

#[test]
fn version_1_opens_and_goes_on() {
    for (state, expected) in all() {
        for io in [TableIo::Mapped, TableIo::Positioned] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db");
            copy(&fixtures().join(state), &path);
            let mut wanted = expected.clone();
            for round in 0..3 {
                // Read-only first: a fixture that only opens after a repair would not be one.
                let read_only = Options { read_only: round == 0, table_io: io, ..options() };
                let db = Db::open(&path, read_only).unwrap();
                let context = format!("{state}, {io:?}, round {round}");
                check(&db, &wanted, &context);
                // All versions that were written; what a flush takes over is the newest of each key.
                let least = if round == 0 { 100 } else { wanted.len() as u64 };
                assert!(db.verify().unwrap().records >= least);
                if round == 1 {
                    db.put("later", "1").unwrap();
                    wanted.insert(b"later".to_vec(), b"1".to_vec());
                }
                if round == 2 {
                    db.compact::<&[u8]>(..).unwrap();
                    check(&db, &wanted, &context);
                    assert_eq!(db.verify().unwrap().records, wanted.len() as u64, "{context}");
                }
                db.close().unwrap();
            }
        }
    }
}

fn files(dir: &Path) -> Files {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

#[test]
fn the_fixtures_are_what_the_page_says() {
    for (state, expected) in all() {
        let files = files(&fixtures().join(state));
        assert!(files.values().map(Vec::len).sum::<usize>() < 100 << 10, "{state} is large");
        let store = format::store(&files);
        assert_eq!(store.contents(), expected, "{state}");
        if state.contains("tables") || state.contains("half_merged") {
            tables::has_everything(&store);
            assert_eq!(store.has_cut_slice(), state.contains("half_merged"), "{state}");
            let has_whole_checks = store.tables.values().all(|table| table.has_whole_checks);
            assert_eq!(has_whole_checks, state.ends_with("_whole"), "{state}");
        }
    }
}

/// The page leaves no byte out: the reader that follows it refuses each one that is another. (But for what stands in a log behind its
/// end, which the page says is not looked at where the end is recorded.)
#[test]
fn the_page_names_every_byte() {
    let mut rng = Rng::new(common::seed(602));
    for (state, _) in all() {
        let files = files(&fixtures().join(state));
        let store = format::store(&files);
        for (name, bytes) in &files {
            let number = name.split('.').next().and_then(|number| number.parse().ok());
            let end = store.logs.iter().find(|log| Some(log.number) == number).map_or(bytes.len(), |log| log.end);
            for at in (rng.below(97) as usize..end).step_by(97) {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << rng.below(8);
                let (id, seed) = (store.manifest.id, store.manifest.hash_seed);
                let read = std::panic::catch_unwind(|| match name.rsplit('.').next() {
                    Some("log") => format::log(name, &bad, id, seed).map(|log| log.end),
                    Some("tbl") => Some(format::table(name, &bad, id, seed).records.len()),
                    _ => Some(format::manifest(&bad).runs.len()),
                });
                assert!(read.is_err(), "{state}/{name}: byte {at} says nothing");
            }
        }
    }
}

/// Random stores with options of all kinds, as this program writes them.
#[test]
fn what_is_written_is_what_the_page_says() {
    let seed = common::seed(601);
    let mut rng = Rng::new(seed);
    let (mut tables, mut cut, mut ranges, mut blocks) = (0, 0, 0, 0);
    for n in 0..common::scale("KVS_FORMAT_STORES", 60) {
        let backend = if rng.one_in(2) { LogBackend::Mapped } else { LogBackend::Positioned };
        let options = history::tiny(backend, &mut rng);
        let sim = SimEnv::new(rng.next());
        let db = history::open(&sim, &options).unwrap();
        let mut history = History::default();
        let mut held = None;
        for _ in 0..20 + rng.below(150) {
            history.write(&db, &mut rng, Durability::Process, true).unwrap();
            match rng.below(60) {
                0..3 => db.flush().unwrap(),
                3 => db.step_worker(),
                // Cuts slices, of tables that reach beyond.
                4..6 => db.compact(history::key(rng.next())..history::key(rng.next())).unwrap(),
                6..8 => held = Some(db.snapshot().unwrap()),
                8 => held = None,
                _ => {}
            }
        }
        drop(held);
        db.close().unwrap();
        let name = |path: &PathBuf| path.strip_prefix(DIR).unwrap().to_str().unwrap().to_owned();
        let files: Files = sim.list().iter().map(|path| (name(path), sim.read_file(path).unwrap())).collect();
        let store = format::store(&files);
        assert_eq!(store.contents(), history.state(history.len()), "seed {seed}, store {n}, {options:?}");
        tables += store.tables.len();
        cut += usize::from(store.has_cut_slice());
        ranges += store.manifest.ranges.len();
        blocks += store.tables.values().filter(|table| table.blocks.len() > 2).count();
    }
    println!("{tables} tables, {blocks} of several blocks; {cut} stores with cut slices, {ranges} range deletes");
    assert!(tables > 100 && blocks > 50 && cut > 5 && ranges > 5);
}
