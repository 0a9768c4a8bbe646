//! Rot in a store with tables.
//!
//! Proves: whichever byte of whichever file is flipped, however short a file is cut, whichever files or blocks of a table
//! change places, whichever file is missing or is one from before: the open fails with an error that names a file, or whatever is
//! asked afterwards is answered right or with an error that names the damaged file. No key is called absent that was
//! there, none has another value, nothing panics; merges copy no damage and lose nothing by it. `verify` finds each flipped byte.
//!
//! How: a store of some 30 KiB in several tables and runs, one of them cut by a merge that the power interrupted, with versions,
//! tombstones and range deletes in tables, manifest and logs. It is asked through the index (all slices covered), through the
//! tables' hash sections (none covered), in order (by scans both ways, and by a snapshot of which every key is overwritten), and
//! after the worker has merged what it can; with tables that are mapped, and read by position.
//!
//! CI flips a bit of every few bytes and asks each store in one of these ways, in turn. Every bit, in all ways, takes some two hours, and one bit of
//! each byte (without `KVS_CORRUPTION_BITS`) a quarter of one:
//!
//! ```text
//! KVS_ROT=all KVS_CORRUPTION_BITS=8 cargo test --release --test corruption rot::
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, Durability, Error, ErrorKind, LogBackend, Options, TableIo};

use super::{copy, no_large_allocations};
use crate::common::{self, Rng};
use crate::format::{self, Map};
use crate::history::{DIR, open};

const KEYS: u64 = 60;

/// Long common parts, short ones, and the empty key.
fn key(n: u64) -> Vec<u8> {
    match n % 12 {
        0 if n == 0 => Vec::new(),
        1 => format!("{n}").into_bytes(),
        _ => format!("common/{:03}{}", n * 7 % KEYS, "+".repeat(n as usize % 9)).into_bytes(),
    }
}

fn options(table_io: TableIo) -> Options {
    Options {
        log_backend: LogBackend::Mapped,
        segment_bytes_min: 4 << 10,
        segment_bytes_max: 4 << 10,
        memtable_bytes_max: 32 << 10,
        table_bytes_max: 4 << 10,
        block_bytes: 256,
        table_io,
        cache_bytes: 4 << 10,
        ..Options::default()
    }
}

/// What the store held after each number of writes: each of them takes one.
#[derive(Clone, Debug)]
struct Truth(Vec<Map>);

impl Truth {
    fn last(&self) -> &Map {
        &self.0[self.0.len() - 1]
    }

    /// Deletes all keys from `start` up to but without `stop`.
    fn delete_range(&mut self, db: &Db, start: &[u8], stop: &[u8]) {
        db.delete_range(start..stop).unwrap();
        let mut map = self.last().clone();
        map.retain(|key, _| &key[..] < start || &key[..] >= stop);
        self.0.push(map);
    }

    /// One random write, made and noted.
    fn write(&mut self, db: &Db, rng: &mut Rng) {
        let (mut map, key, n) = (self.last().clone(), key(rng.below(KEYS)), self.0.len());
        match rng.below(40) {
            0 => {
                return self.delete_range(db, &key, &[&key[..], b"2"].concat());
            }
            1..7 => {
                db.delete(&key).unwrap();
                map.remove(&key);
            }
            dice => {
                let mut value = format!("{n}:").into_bytes();
                let len = if dice == 39 { 600 } else { rng.below(120) };
                value.extend((0..len).map(|i| (n as u64 + i * 3) as u8));
                db.put(&key, &value).unwrap();
                map.insert(key, value);
            }
        }
        self.0.push(map);
    }
}

/// Every content that a file of the store ever had.
type Past = BTreeMap<PathBuf, BTreeSet<Vec<u8>>>;

fn note(past: &mut Past, sim: &SimEnv) {
    for path in sim.list() {
        let bytes = sim.read_file(&path).unwrap();
        past.entry(path).or_default().insert(bytes);
    }
}

/// The store as `docs/format.md` reads it.
fn decode(sim: &SimEnv) -> format::Store {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    format::store(&sim.list().iter().map(|path| (name(path), sim.read_file(path).unwrap())).collect())
}

struct Victim {
    sim: SimEnv,
    truth: Truth,
    /// The manifest says where all logs end.
    recorded: bool,
    past: Past,
}

/// The store that is damaged.
fn victim(seed: u64, recorded: bool) -> Victim {
    no_large_allocations();
    let mut rng = Rng::new(seed);
    let (mut truth, mut past) = (Truth(vec![Map::new()]), Past::new());
    let sim = SimEnv::new(rng.next());
    let db = open(&sim, &options(TableIo::Mapped)).unwrap();
    for round in 0..4 {
        for _ in 0..50 {
            truth.write(&db, &mut rng);
        }
        if round > 0 {
            // Where older tables have keys.
            let start = format!("common/0{round}");
            truth.delete_range(&db, start.as_bytes(), &[start.as_bytes(), b"4"].concat());
        }
        note(&mut past, &sim);
        db.flush().unwrap();
        note(&mut past, &sim);
    }
    db.close().unwrap();
    note(&mut past, &sim);

    // The power goes while all of it is merged: the first moment at which a part of it was.
    let mut cut = (1..).map(|effects| {
        let image = copy(&sim);
        let db = open(&image, &options(TableIo::Mapped)).unwrap();
        image.cut_after(image.ops() + effects);
        assert!(db.compact::<&[u8]>(..).is_err(), "no merge was ever interrupted half-way");
        image.crash_image(effects, CutModel::Strict)
    });
    let half_merged = |image: &SimEnv| {
        let manifest = format::manifest(&image.read_file(&Path::new(DIR).join("MANIFEST")).unwrap());
        manifest.runs.len() > 2 && manifest.runs.iter().flat_map(|(_, slices)| slices).any(format::Slice::is_cut)
    };
    let sim = cut.find(half_merged).unwrap();
    note(&mut past, &sim);
    let db = open(&sim, &options(TableIo::Mapped)).unwrap();
    while sim.list().iter().filter(|path| path.extension() == Some("log".as_ref())).count() < 2 {
        truth.write(&db, &mut rng);
    }
    note(&mut past, &sim);
    let key = key(30);
    truth.delete_range(&db, &key, &[&key[..], b"1"].concat());
    db.put_with("last", "one", Durability::Sync).unwrap();
    truth.0.push(truth.last().clone());
    truth.0.last_mut().unwrap().insert(b"last".to_vec(), b"one".to_vec());
    let sim = if recorded {
        db.close().unwrap();
        sim
    } else {
        sim.crash_image(1, CutModel::Strict)
    };
    note(&mut past, &sim);

    let store = decode(&sim);
    let ranges_in_logs = store.logs.iter().flat_map(|log| &log.frames).flat_map(|(_, records)| records);
    assert_eq!(&store.contents(), truth.last());
    assert!(store.has_cut_slice() && store.manifest.runs.len() > 2 && store.tables.len() > 4 && store.logs.len() > 1);
    assert!(!store.manifest.ranges.is_empty() && ranges_in_logs.filter(|(_, record)| record.kind == 3).count() > 0);
    assert!(store.tables.values().any(|table| table.properties.deletes > 0));
    assert_eq!(store.manifest.ends.len(), if recorded { store.logs.len() } else { 0 });
    Victim { sim, truth, recorded, past }
}

/// How a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// No slice is covered: the tables' hash sections find what the logs do not have.
    Uncovered,
    /// All slices are covered, as far as that goes.
    Covered,
    /// As of before every key was overwritten.
    Overwritten,
    /// After the worker, and then a caller, have merged what they can.
    Merged,
}

const WAYS: [(Way, TableIo); 8] = [
    (Way::Uncovered, TableIo::Mapped),
    (Way::Covered, TableIo::Positioned),
    (Way::Overwritten, TableIo::Mapped),
    (Way::Merged, TableIo::Positioned),
    (Way::Uncovered, TableIo::Positioned),
    (Way::Covered, TableIo::Mapped),
    (Way::Overwritten, TableIo::Positioned),
    (Way::Merged, TableIo::Mapped),
];

#[derive(Debug, Default)]
struct Outcomes {
    /// The store was not opened.
    refused: u64,
    /// It was, and something was not answered.
    erred: u64,
    /// It was, and everything was answered.
    whole: u64,
    /// Its last writes were taken for a torn tail, or it is an earlier one.
    earlier: u64,
    /// Merges met the damage.
    stopped: u64,
}

/// What was done to a store, and how it is asked.
struct Asking<'a> {
    victim: &'a Victim,
    way: Way,
    table_io: TableIo,
    /// An error must name one of these.
    named: &'a [&'a Path],
    /// Its last writes may be missing.
    earlier: bool,
    /// `verify` must find something, and does.
    found: bool,
    what: &'a dyn Fn() -> String,
}

impl Asking<'_> {
    fn context(&self) -> String {
        format!("{}, recorded {}, {:?}, {:?}", (self.what)(), self.victim.recorded, self.way, self.table_io)
    }

    /// Is it an error that tells what is damaged?
    fn tells(&self, e: &Error) {
        let path = e.path().unwrap_or(Path::new(""));
        assert!(self.named.contains(&path), "{}: {e:?} names none of {:?}", self.context(), self.named);
        match e.kind() {
            ErrorKind::Corruption => {
                let is_gone = ["gone", "missing"].iter().any(|word| e.to_string().contains(word));
                assert!(e.offset().is_some() || is_gone, "{}: where? {e:?}", self.context());
            }
            // The manifest says what a directory is.
            ErrorKind::NotADatabase => {
                let may = path.ends_with("MANIFEST") || self.named.contains(&Path::new(DIR));
                assert!(may, "{}: {e:?}", self.context());
            }
            _ => panic!("{}: {e:?}", self.context()),
        }
    }

    /// The answer, if there is one.
    fn answer<T>(&self, answer: Result<T, Error>, errors: &mut u64) -> Option<T> {
        answer.inspect_err(|e| self.tells(e)).inspect_err(|_| *errors += 1).ok()
    }

    fn ask(&self, image: &SimEnv, outcomes: &mut Outcomes) {
        let read_only = self.way == Way::Covered;
        let options = Options { read_only, ..options(self.table_io) };
        let db = match open(image, &options) {
            Ok(db) => db,
            Err(e) => {
                self.tells(&e);
                outcomes.refused += 1;
                return;
            }
        };
        let seq = db.stats().visible_seq as usize;
        let truth = &self.victim.truth;
        let is_last = seq + 1 == truth.0.len();
        assert!(is_last || self.earlier && seq < truth.0.len(), "{}: {seq} writes", self.context());
        let map = &truth.0[seq];
        let verified = db.verify();
        match &verified {
            Ok(_) => assert!(!self.found || !is_last, "{}: verify finds nothing", self.context()),
            Err(e) => self.tells(e),
        }

        let mut errors = 0;
        match self.way {
            Way::Uncovered => errors += self.check(&db, map),
            Way::Covered => {
                db.step_worker();
                errors += self.check(&db, map);
            }
            Way::Overwritten => {
                let before = db.snapshot().unwrap();
                for n in 0..KEYS {
                    let put = db.put(key(n), "new");
                    let new = self.answer(put, &mut errors).is_some();
                    let now = self.answer(db.get_owned(key(n)), &mut errors);
                    let expected = if new { Some(&b"new"[..]) } else { map.get(&key(n)).map(|v| &v[..]) };
                    assert!(now.is_none_or(|now| now.as_deref() == expected), "{}: {:?}", self.context(), key(n));
                    let then = self.answer(before.get_owned(key(n)), &mut errors);
                    assert!(then.is_none_or(|v| v.as_ref() == map.get(&key(n))), "{}: {:?}", self.context(), key(n));
                }
                let scan = before.iter().map(|iter| iter.map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec()))));
                if let Some(mut scan) = self.answer(scan, &mut errors) {
                    errors += self.compare(&mut scan, &mut map.iter());
                }
            }
            Way::Merged => {
                db.step_worker();
                errors += self.check(&db, map);
                self.answer(db.compact::<&[u8]>(..), &mut errors);
                outcomes.stopped += db.stats().merges_stopped;
                errors += self.check(&db, map);
                let again = db.close().and_then(|()| open(image, &options));
                if let Some(db) = self.answer(again, &mut errors) {
                    errors += self.check(&db, map);
                    self.answer(db.verify(), &mut errors);
                }
            }
        }
        let outcome = match (errors, is_last) {
            (0, true) => &mut outcomes.whole,
            (0, false) => &mut outcomes.earlier,
            _ => &mut outcomes.erred,
        };
        *outcome += 1;
    }

    /// Each key by itself, and scans from both ends; returns how many questions had no answer.
    fn check(&self, db: &Db, map: &Map) -> u64 {
        let mut errors = 0;
        let absent = [&b"common"[..], b"common/031*", b"zzz", b"\0"].map(<[u8]>::to_vec);
        for key in (0..KEYS).map(key).chain(absent) {
            let got = self.answer(db.get_owned(&key), &mut errors);
            assert!(got.is_none_or(|got| got.as_ref() == map.get(&key)), "{}: get {key:?}", self.context());
        }
        let owned = |pair: Result<(kvs::Value, kvs::Value), Error>| pair.map(|(k, v)| (k.to_vec(), v.to_vec()));
        let key = key(17);
        for (range, part) in
            [(db.iter(), map.range::<Vec<u8>, _>(..)), (db.range::<&[u8]>(&key[..]..), map.range(key.clone()..))]
        {
            if let Some(iter) = self.answer(range, &mut errors) {
                errors += self.compare(&mut iter.map(owned), &mut part.clone());
            }
        }
        if let Some(iter) = self.answer(db.range::<&[u8]>(..&key[..]), &mut errors) {
            errors += self.compare(&mut iter.rev().map(owned), &mut map.range(..key.clone()).rev());
        }
        if let Some(iter) = self.answer(db.iter(), &mut errors) {
            errors += self.compare(&mut iter.rev().map(owned), &mut map.iter().rev());
        }
        for forward in [true, false] {
            if let Some(mut iter) = self.answer(db.iter(), &mut errors) {
                let mut shown = Vec::new();
                let end = iter.visit(forward, |key, value| {
                    shown.push(Ok((key.to_vec(), value.to_vec())));
                    true
                });
                shown.extend(end.err().map(Err));
                let mut shown = shown.into_iter();
                errors += match forward {
                    true => self.compare(&mut shown, &mut map.iter()),
                    false => self.compare(&mut shown, &mut map.iter().rev()),
                };
            }
        }
        errors
    }

    /// A scan brings what it should, up to an error if there is one.
    fn compare<'m>(
        &self,
        scan: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>), Error>>,
        expected: &mut dyn Iterator<Item = (&'m Vec<u8>, &'m Vec<u8>)>,
    ) -> u64 {
        let mut errors = 0;
        for pair in scan {
            let Some((key, value)) = self.answer(pair, &mut errors) else { return errors };
            assert_eq!(expected.next(), Some((&key, &value)), "{}: a scan", self.context());
        }
        assert_eq!(expected.next(), None, "{}: a scan ends before its end", self.context());
        0
    }
}

/// The ways in which the `n`th damage is asked: one in turn, or all.
fn ways(n: usize) -> impl Iterator<Item = (Way, TableIo)> {
    let all = std::env::var_os("KVS_ROT").is_some();
    WAYS.into_iter().enumerate().filter(move |(way, _)| all || n % WAYS.len() == *way).map(|(_, way)| way)
}

/// Of every how many bytes one is damaged.
fn stride(sampled: usize) -> usize {
    if std::env::var_os("KVS_ROT").is_some() { 1 } else { sampled }
}

/// Every byte of every file.
#[test]
fn rot_is_never_a_wrong_answer_and_verify_finds_it() {
    let seed = common::seed(311);
    let mut rng = Rng::new(seed);
    let bits = common::scale("KVS_CORRUPTION_BITS", 1);
    for recorded in [true, false] {
        let victim = victim(rng.next(), recorded);
        let (mut outcomes, mut n) = (Outcomes::default(), 0);
        let log_path = |number: u64| Path::new(DIR).join(format!("{number:06}.log"));
        let logs = decode(&victim.sim).logs;
        let ends: BTreeMap<_, _> = logs.iter().map(|log| (log_path(log.number), log.end as u64)).collect();
        for path in victim.sim.list() {
            let is_log = path.extension() == Some("log".as_ref());
            let all_logs: Vec<_> = victim.past.keys().filter(|p| p.extension() == path.extension()).collect();
            let named: Vec<&Path> = if is_log { all_logs.iter().map(|p| &***p).collect() } else { vec![&path] };
            // Of a log, what stands behind its end is the one part of the store that says nothing.
            let end = ends.get(&*path).copied().unwrap_or(if path.ends_with("LOCK") { 0 } else { u64::MAX });
            let mut at = rng.below(stride(13) as u64);
            while at < victim.sim.read_file(&path).unwrap().len() as u64 {
                let from = rng.below(8);
                for bit in (from..from + bits).map(|bit| (bit % 8) as u32) {
                    for (way, table_io) in ways(n) {
                        let image = copy(&victim.sim);
                        assert!(image.flip(&path, at, bit));
                        let what = || format!("seed {seed}, {path:?}, byte {at}, bit {bit}");
                        let found = at < end;
                        let earlier = is_log && !recorded;
                        Asking { victim: &victim, way, table_io, named: &named, earlier, found, what: &what }
                            .ask(&image, &mut outcomes);
                    }
                    n += 1;
                }
                at += stride(13) as u64;
            }
        }
        println!("recorded {recorded}: {n} flips, {outcomes:?}");
        assert!(outcomes.refused > 80 && outcomes.erred > 400, "{outcomes:?}");
        assert_eq!((outcomes.earlier > 0, outcomes.stopped > 40), (!recorded, true), "{outcomes:?}");
    }
}

/// Every length of every file, and every file gone.
#[test]
fn a_file_that_is_cut_or_gone_is_missed() {
    let seed = common::seed(312);
    let mut rng = Rng::new(seed);
    for recorded in [true, false] {
        let victim = victim(rng.next(), recorded);
        let store = decode(&victim.sim);
        let (mut outcomes, mut n) = (Outcomes::default(), 0);
        for path in victim.sim.list() {
            let bytes = victim.sim.read_file(&path).unwrap();
            let logs: Vec<_> = victim.past.keys().filter(|p| p.extension() == Some("log".as_ref())).collect();
            let is_log = logs.contains(&&path);
            let end = store.logs.iter().find(|log| path.ends_with(format!("{:06}.log", log.number)));
            let mut named: Vec<&Path> = logs.iter().map(|p| &***p).filter(|_| is_log).collect();
            named.push(&path);
            if path.ends_with("MANIFEST") {
                // Without it a directory is refused as a whole.
                named.push(Path::new(DIR));
                named.extend(victim.past.keys().map(|path| &**path));
            }
            let lens = (0..bytes.len()).step_by(stride(23)).chain(bytes.len().checked_sub(1)).map(Some).chain([None]);
            for len in lens {
                for (way, table_io) in ways(n) {
                    let image = copy(&victim.sim);
                    match len {
                        Some(len) => image.write_file(&path, &bytes[..len]),
                        None => assert!(image.remove(&path)),
                    }
                    let what = || format!("seed {seed}, {path:?} cut to {len:?}");
                    let found = !path.ends_with("LOCK") && end.is_none_or(|log| len.unwrap_or(0) < log.end);
                    let earlier = is_log && !recorded;
                    let before = outcomes.refused;
                    Asking { victim: &victim, way, table_io, named: &named, earlier, found, what: &what }
                        .ask(&image, &mut outcomes);
                    // What an open knows of every file.
                    assert!(!found || earlier || outcomes.refused > before, "{}: it opens", what());
                }
                n += 1;
            }
        }
        println!("recorded {recorded}: {n} cuts, {outcomes:?}");
        assert!(outcomes.refused > 500 && (outcomes.earlier > 0) != recorded, "{outcomes:?}");
    }
}

/// Files in each other's places, and blocks of one table.
#[test]
fn what_stands_in_anothers_place_is_never_believed() {
    let seed = common::seed(313);
    let victim = victim(seed, true);
    let (mut outcomes, mut n) = (Outcomes::default(), 0);
    let mut ask = |image: &SimEnv, named: &[&Path], refused: bool, what: &dyn Fn() -> String| {
        for (way, table_io) in ways(n) {
            let before = outcomes.refused;
            Asking { victim: &victim, way, table_io, named, earlier: false, found: true, what }
                .ask(&copy(image), &mut outcomes);
            assert_eq!(outcomes.refused > before, refused, "{}", what());
        }
        n += 1;
    };
    let files: Vec<_> = victim.sim.list().into_iter().filter(|path| !path.ends_with("LOCK")).collect();
    for (i, one) in files.iter().enumerate() {
        for other in &files[..i] {
            let image = copy(&victim.sim);
            image.write_file(one, victim.sim.read_file(other).unwrap());
            image.write_file(other, victim.sim.read_file(one).unwrap());
            ask(&image, &[one, other], true, &|| format!("{one:?} and {other:?} swapped"));
        }
    }
    let store = decode(&victim.sim);
    for (number, table) in &store.tables {
        let path = Path::new(DIR).join(format!("{number:06}.tbl"));
        let bytes = victim.sim.read_file(&path).unwrap();
        let blocks: Vec<_> = table.blocks.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        for i in 0..blocks.len() {
            for j in 0..i {
                let mut swapped = blocks.clone();
                swapped.swap(i, j);
                let parts = [&bytes[..64], &swapped.concat(), &bytes[table.blocks[blocks.len()]..]];
                let image = copy(&victim.sim);
                image.write_file(&path, parts.concat());
                ask(&image, &[&path], false, &|| format!("{path:?}: blocks {i} and {j} swapped"));
            }
        }
    }
    println!("{n} swaps, {outcomes:?}");
    assert!(outcomes.refused > 30 && outcomes.erred > 60, "{outcomes:?}");
}

/// Files from before: older ones of each name, and those that were removed since.
///
/// An older manifest is whole, and says what was the store. If all that it names is there, the store opens as it was then; see
/// `docs/durability.md`. So nothing here is a wrong value, but a manifest may bring back an earlier state.
#[test]
fn a_stale_file_is_refused_or_harmless() {
    let seed = common::seed(314);
    let mut rng = Rng::new(seed);
    for recorded in [true, false] {
        let victim = victim(rng.next(), recorded);
        let (mut outcomes, mut n) = (Outcomes::default(), 0);
        for (path, contents) in &victim.past {
            let now = victim.sim.read_file(path);
            let named: Vec<&Path> = victim.past.keys().map(|path| &**path).collect();
            for old in contents.iter().filter(|old| Some(*old) != now.as_ref()) {
                for (way, table_io) in ways(n) {
                    let image = copy(&victim.sim);
                    image.write_file(path, &old[..]);
                    let what = || format!("seed {seed}, {path:?}, {} bytes from before", old.len());
                    let is_log = path.extension() == Some("log".as_ref());
                    let earlier = path.ends_with("MANIFEST") || is_log && !recorded;
                    Asking { victim: &victim, way, table_io, named: &named, earlier, found: false, what: &what }
                        .ask(&image, &mut outcomes);
                }
                n += 1;
            }
        }
        println!("recorded {recorded}: {n} stale files, {outcomes:?}");
        assert!(outcomes.refused > 3 && outcomes.whole > 3, "{outcomes:?}");
    }
}

/// A table of another life of the same store, under the same number: a copy of the directory went its own way. The same keys in
/// the same order, numbers and lengths as well: only the values differ.
#[test]
fn a_table_of_another_life_is_refused() {
    let seed = common::seed(315);
    let mut outcomes = Outcomes::default();
    let sim = SimEnv::new(seed);
    open(&sim, &options(TableIo::Mapped)).unwrap().close().unwrap();
    let live = |fill: u8| {
        let sim = copy(&sim);
        let db = open(&sim, &options(TableIo::Mapped)).unwrap();
        let mut truth = Truth(vec![Map::new()]);
        for n in 0..40 {
            db.put(key(n), [fill; 50]).unwrap();
            let mut map = truth.last().clone();
            map.insert(key(n), vec![fill; 50]);
            truth.0.push(map);
        }
        db.flush().unwrap();
        db.close().unwrap();
        Victim { sim, truth, recorded: true, past: Past::new() }
    };
    let (one, other) = (live(1), live(2));
    let tables: Vec<_> = one.sim.list().into_iter().filter(|path| path.extension() == Some("tbl".as_ref())).collect();
    assert!(!tables.is_empty());
    for path in &tables {
        let image = copy(&one.sim);
        image.write_file(path, other.sim.read_file(path).unwrap());
        for (way, table_io) in WAYS {
            let what = || format!("{path:?} of another life");
            Asking { victim: &one, way, table_io, named: &[path], earlier: false, found: true, what: &what }
                .ask(&copy(&image), &mut outcomes);
        }
    }
    assert_eq!(outcomes.refused, tables.len() as u64 * WAYS.len() as u64, "{outcomes:?}");
}
