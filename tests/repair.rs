//! Repair of damaged stores.
//!
//! Proves: whatever byte of whatever file is changed, and whatever file is cut, missing, exchanged or another store's, a repair ends in a
//! sound store. For every key it holds what the old store held, or the list of what was left out speaks of that key, by name, by a range
//! that it lies in, or by the numbers of writes that were lost and one of which was to that key; and it never holds a value that was
//! never written. A store that is whole comes out whole, with nothing on the list. Not a byte of the old directory changes.
//!
//! How: a small simulated store with logs, several runs, slices of a merge that was not finished, tombstones and range deletes. Every
//! value is written once, so an older value can't pass for the present one. `KVS_REPAIR_STRIDE` (default 29) says how many bytes
//! are passed over from one that is flipped to the next; 1 is all of them.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/mod.rs"]
mod common;
#[path = "repair/cut.rs"]
mod cut;
#[path = "repair/refused.rs"]
mod refused;
#[path = "repair/single.rs"]
mod single;
#[path = "repair/strangers.rs"]
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::Rng;
use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Batch, Db, Durability, Keys, LeftOut, LogBackend, Options, Repaired, repair_with};

const DIR: &str = "/db";
const OUT: &str = "/out";
const KEYS: u64 = 120;

fn key(n: u64) -> Vec<u8> {
    format!("key{:03}{}", n % KEYS, ".".repeat((n % 7) as usize)).into_bytes()
}

fn options() -> Options {
    Options {
        log_backend: LogBackend::Mapped,
        segment_bytes_min: 4 << 10,
        segment_bytes_max: 4 << 10,
        memtable_bytes_max: 16 << 10,
        table_bytes_max: 4 << 10,
        block_bytes: 512,
        runs_max: 3,
        ..Options::default()
    }
}

/// A store, and what is known of it.
struct Store {
    sim: SimEnv,
    truth: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every value that a key ever had.
    ever: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// Every write, by its number less one: the keys from the first up to but without the second.
    writes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Store {
    fn put(&mut self, db: &Db, n: u64, value: Vec<u8>) {
        db.put_with(key(n), &value, Durability::Sync).unwrap();
        self.note(n, value);
    }

    fn note(&mut self, n: u64, value: Vec<u8>) {
        self.writes.push((key(n), [key(n), vec![0]].concat()));
        self.ever.entry(key(n)).or_default().insert(value.clone());
        self.truth.insert(key(n), value);
    }

    /// One random commit.
    fn write(&mut self, db: &Db, rng: &mut Rng, stamp: u64) {
        let value = |rng: &mut Rng, i: u64| {
            let fill = if rng.one_in(40) { 900 } else { rng.below(60) };
            format!("{stamp}.{i}:{}", "x".repeat(fill as usize)).into_bytes()
        };
        match rng.below(12) {
            0 | 1 => {
                let n = rng.below(KEYS);
                db.delete_with(key(n), Durability::Sync).unwrap();
                self.writes.push((key(n), [key(n), vec![0]].concat()));
                self.truth.remove(&key(n));
            }
            2 => {
                let mut batch = Batch::new();
                for i in 0..3 {
                    let (n, value) = (rng.below(KEYS), value(rng, i));
                    batch.put(key(n), &value);
                    self.note(n, value);
                }
                db.write_with(&batch, Durability::Sync).unwrap();
            }
            3 if rng.one_in(2) => {
                let from = rng.below(KEYS);
                let (start, stop) = (key(from), key((from + 3).min(KEYS - 1)));
                let mut batch = Batch::new();
                batch.delete_range(start.as_slice()..stop.as_slice());
                db.write_with(&batch, Durability::Sync).unwrap();
                self.truth.retain(|key, _| *key < start || *key >= stop);
                self.writes.push((start, stop));
            }
            _ => {
                let value = value(rng, 0);
                self.put(db, rng.below(KEYS), value);
            }
        }
    }

    fn copy(&self) -> SimEnv {
        let copy = SimEnv::new(1);
        for path in self.files() {
            copy.write_file(&path, self.sim.read_file(&path).unwrap());
        }
        copy
    }

    /// Its files, without the lock.
    fn files(&self) -> Vec<PathBuf> {
        let ours = |path: &PathBuf| path.starts_with(DIR) && !path.ends_with("LOCK");
        self.sim.list().into_iter().filter(ours).collect()
    }

    fn named(&self, end: &str) -> Vec<PathBuf> {
        self.files().into_iter().filter(|path| path.to_str().unwrap().ends_with(end)).collect()
    }

    /// Is `key` among what was left out? Where the keys are unknown and the numbers are not: did one of these writes change it?
    fn speaks_of(&self, left_out: &LeftOut, key: &[u8]) -> bool {
        let writes = match left_out.seqs {
            Some((first, last)) if left_out.keys == Keys::Unknown => first as usize - 1..last as usize,
            _ => return left_out.keys.covers(key),
        };
        self.writes[writes].iter().any(|(start, stop)| **start <= *key && *key < **stop)
    }

    /// Repairs `image` and checks the result; says which keys are not as they were.
    fn repaired(&self, image: &SimEnv, context: &dyn Fn() -> String) -> (Repaired, Vec<Vec<u8>>) {
        let (repaired, different) = self.repaired_or_shorter(image, context);
        for key in &different {
            let listed = repaired.left_out.iter().any(|left_out| self.speaks_of(left_out, key));
            assert!(listed, "{}: {} differs and nothing tells\n{repaired}", context(), key.escape_ascii());
        }
        (repaired, different)
    }

    /// As `repaired`, where nothing bears witness to what is missing.
    fn repaired_or_shorter(&self, image: &SimEnv, context: &dyn Fn() -> String) -> (Repaired, Vec<Vec<u8>>) {
        let old = |image: &SimEnv| -> Vec<_> {
            let paths = image.list().into_iter().filter(|path| path.starts_with(DIR));
            paths.map(|path| (image.read_file(&path), path)).collect()
        };
        let before = old(image);
        let repaired = repair_with(image.shared(), DIR, OUT, &options());
        let repaired = repaired.unwrap_or_else(|e| panic!("{}: {e:?}", context()));
        assert!(old(image) == before, "{}: the old directory was changed", context());
        let db = Db::open_with(image.shared(), OUT, options()).unwrap();
        let mut different = Vec::new();
        let mut kept = 0;
        for n in 0..KEYS {
            let found = db.get_owned(key(n)).unwrap_or_else(|e| panic!("{}: {e:?}", context()));
            kept += u64::from(found.is_some());
            if let Some(value) = &found {
                let known = self.ever.get(&key(n)).is_some_and(|ever| ever.contains(value));
                assert!(known, "{}: {:?} never had the value {value:?}", context(), key(n).escape_ascii().to_string());
            }
            if found.as_ref() != self.truth.get(&key(n)) {
                different.push(key(n));
            }
        }
        assert_eq!((repaired.keys, db.iter().unwrap().count() as u64), (kept, kept), "{}", context());
        db.verify().unwrap_or_else(|e| panic!("{}: {e:?}", context()));
        db.close().unwrap();
        (repaired, different)
    }
}

/// A store with everything in it, closed or cut off with every write synced.
fn store(seed: u64, closed: bool) -> Store {
    let mut rng = Rng::new(seed);
    let found = (0..1000).find_map(|_| try_store(&mut rng, closed));
    found.unwrap_or_else(|| panic!("seed {seed}: no such store comes about"))
}

/// One that may lack something.
fn try_store(rng: &mut Rng, closed: bool) -> Option<Store> {
    let sim = SimEnv::new(rng.next());
    let mut store = Store { sim: sim.clone(), truth: BTreeMap::new(), ever: BTreeMap::new(), writes: Vec::new() };
    let db = Db::open_with(sim.shared(), DIR, options()).unwrap();
    let mut stamps = 0..;
    let mut write = |store: &mut Store, db: &Db, rng: &mut Rng, count: u64| {
        stamps.by_ref().take(count as usize).for_each(|stamp| store.write(db, rng, stamp));
    };
    write(&mut store, &db, rng, 300);
    db.compact::<&[u8]>(..).unwrap();
    for _ in 0..5 {
        write(&mut store, &db, rng, 50);
        db.flush().unwrap();
    }
    // The power goes in the middle of a merge: what an open counts as dead is what has been merged out of tables that are still there.
    let effects = sim.ops();
    sim.cut_after(effects + 14 + rng.below(8));
    db.step_worker();
    drop(db);
    store.sim = sim.crash_image(rng.next(), CutModel::Strict);
    let db = Db::open_with(store.sim.shared(), DIR, options()).unwrap();
    let stats = db.stats();
    if stats.dead_bytes == 0 || stats.runs < 2 || stats.range_deletes == 0 {
        return None;
    }
    write(&mut store, &db, rng, 50);
    if closed {
        db.close().unwrap();
    } else {
        store.sim = store.sim.crash_image(rng.next(), CutModel::Strict);
    }
    (store.named(".log").len() > 1 && store.named(".tbl").len() > 4).then_some(store)
}

/// What is whole comes out whole.
#[test]
fn a_whole_store_comes_out_whole() {
    let seed = common::seed(801);
    for closed in [true, false] {
        for seed in seed..seed + 4 {
            let store = store(seed, closed);
            let (repaired, different) = store.repaired(&store.copy(), &|| format!("seed {seed}, closed {closed}"));
            assert!(different.is_empty() && repaired.is_complete(), "seed {seed}: {repaired}");
            assert!(repaired.warnings.is_empty(), "seed {seed}: {repaired}");
        }
    }
}

/// Every byte of every file. In a table one byte takes one key at most, and the list names that key or its neighbours.
#[test]
fn every_byte_of_every_file() {
    let stride = common::scale("KVS_REPAIR_STRIDE", 29);
    let seed = common::seed(802);
    let mut rng = Rng::new(seed);
    for closed in [true, false] {
        let store = store(rng.next(), closed);
        let (mut complete, mut lost) = (0, 0);
        for path in store.files() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let len = store.sim.read_file(&path).unwrap().len() as u64;
            let mut at = rng.below(stride);
            while at < len {
                let (image, bit) = (store.copy(), rng.below(8) as u32);
                assert!(image.flip(&path, at, bit));
                let context = || format!("seed {seed}, closed {closed}, {name}, byte {at}, bit {bit}");
                let (repaired, different) = store.repaired(&image, &context);
                if repaired.is_complete() {
                    complete += 1;
                    assert!(different.is_empty(), "{}", context());
                } else {
                    lost += 1;
                }
                if name.ends_with(".tbl") {
                    assert!(different.len() <= 1, "{}: {different:?}\n{repaired}", context());
                    let unknown = repaired.left_out.iter().any(|left_out| left_out.keys == Keys::Unknown);
                    assert!(!unknown, "{}: {repaired}", context());
                    // Header and footer lead to records and are none.
                    assert!(repaired.is_complete() || (64..len - 104).contains(&at), "{}: {repaired}", context());
                } else if name == "MANIFEST" {
                    assert!(!repaired.is_complete() && !repaired.warnings.is_empty(), "{}", context());
                } else if repaired.left_out.iter().all(|left_out| left_out.records.is_some_and(|records| records < 4)) {
                    // A batch has three keys, a range delete as many.
                    assert!(different.len() <= 6, "{}: {different:?}\n{repaired}", context());
                }
                at += stride;
            }
        }
        println!("closed {closed}: nothing lost {complete} times, something {lost} times");
        assert!(complete > 50 && lost > 50);
    }
}

/// Files that are cut, gone, exchanged, or of another store.
#[test]
fn files_cut_missing_exchanged_and_foreign() {
    let seed = common::seed(803);
    let mut rng = Rng::new(seed);
    for closed in [true, false] {
        let whole = store(rng.next(), closed);
        let other = store(rng.next(), closed);
        let read = |path: &Path| whole.sim.read_file(path).unwrap();
        // Nothing is left to tell of the end of the newest log of a store that was cut off: see docs/durability.md.
        let newest = whole.named(".log").pop().filter(|_| !closed);
        let repaired = |path: &PathBuf, image: &SimEnv, context: &dyn Fn() -> String| match &newest {
            Some(newest) if newest == path => whole.repaired_or_shorter(image, context),
            _ => whole.repaired(image, context),
        };
        for path in whole.files() {
            let bytes = read(&path);
            for _ in 0..common::scale("KVS_REPAIR_CUTS", 12) {
                let (image, len) = (whole.copy(), rng.below(bytes.len() as u64));
                image.write_file(&path, &bytes[..len as usize]);
                repaired(&path, &image, &|| format!("seed {seed}, closed {closed}, {path:?} cut to {len}"));
                let (image, more) = (whole.copy(), 1 + rng.below(3000) as usize);
                image.write_file(&path, [&bytes[..], &rng.bytes(more)].concat());
                repaired(&path, &image, &|| format!("seed {seed}, closed {closed}, {path:?} and {more} more"));
                // A sector of zeros, or of noise.
                let (image, mut damaged) = (whole.copy(), bytes.clone());
                let from = len as usize / 512 * 512;
                let to = (from + 512).min(damaged.len());
                let noise = if rng.one_in(2) { vec![0; to - from] } else { rng.bytes(to - from) };
                damaged[from..to].copy_from_slice(&noise);
                image.write_file(&path, damaged);
                repaired(&path, &image, &|| format!("seed {seed}, closed {closed}, {path:?} sector at {from}"));
            }
            let image = whole.copy();
            assert!(image.remove(&path));
            repaired(&path, &image, &|| format!("seed {seed}, closed {closed}, {path:?} removed"));
        }
        for end in [".tbl", ".log"] {
            let files = whole.named(end);
            for (a, b) in files.iter().zip(&files[1..]) {
                let image = whole.copy();
                image.write_file(a, read(b));
                image.write_file(b, read(a));
                let context = || format!("seed {seed}, closed {closed}, {a:?} and {b:?} exchanged");
                let (repaired, _) = whole.repaired(&image, &context);
                assert!(!repaired.is_complete(), "{}", context());
            }
            for (ours, theirs) in files.iter().zip(other.named(end)) {
                let image = whole.copy();
                image.write_file(ours, other.sim.read_file(&theirs).unwrap());
                let context = || format!("seed {seed}, closed {closed}, {ours:?} of another store");
                let (repaired, _) = whole.repaired(&image, &context);
                assert!(!repaired.is_complete(), "{}", context());
            }
        }
    }
}

/// Several damages at once, in tables and logs: footers, fences and hash pages that would tell what is lost may be lost themselves.
#[test]
fn several_damages_at_once() {
    let seed = common::seed(804);
    let mut rng = Rng::new(seed);
    let (mut complete, mut lost) = (0, 0);
    for _ in 0..4 {
        let whole = store(rng.next(), true);
        let files: Vec<PathBuf> = whole.files().into_iter().filter(|path| !path.ends_with("MANIFEST")).collect();
        for round in 0..common::scale("KVS_REPAIR_CUTS", 12) * 12 {
            let image = whole.copy();
            let mut what = Vec::new();
            // Half of the time all of it in one file.
            let one = rng.one_in(2).then(|| rng.below(files.len() as u64));
            for _ in 0..2 + rng.below(4) {
                let path = &files[one.unwrap_or_else(|| rng.below(files.len() as u64)) as usize];
                let Some(mut bytes) = image.read_file(path) else { continue };
                let from = rng.below(bytes.len() as u64) as usize;
                match rng.below(8) {
                    0 => drop(image.remove(path)),
                    1 => {
                        let to = (from + 512).min(bytes.len());
                        bytes[from..to].fill(0);
                        image.write_file(path, bytes);
                    }
                    2 => {
                        let len = 1 + rng.below(64) as usize;
                        let noise = rng.bytes(len);
                        let to = (from + noise.len()).min(bytes.len());
                        bytes[from..to].copy_from_slice(&noise[..to - from]);
                        image.write_file(path, bytes);
                    }
                    // Where a table's sections are.
                    3 | 4 => {
                        let at = bytes.len() - 1 - rng.below(bytes.len().min(700) as u64) as usize;
                        bytes[at] ^= 1u8 << rng.below(8);
                        image.write_file(path, bytes);
                    }
                    _ => assert!(image.flip(path, from as u64, rng.below(8) as u32)),
                }
                what.push((path, from));
            }
            let context = || format!("seed {seed}, round {round}: {what:?}");
            let (repaired, different) = whole.repaired(&image, &context);
            assert!(different.is_empty() || !repaired.is_complete(), "{}", context());
            *(if repaired.is_complete() { &mut complete } else { &mut lost }) += 1;
        }
    }
    println!("nothing lost {complete} times, something {lost} times");
    assert!(complete > 0 && lost > 50);
}
