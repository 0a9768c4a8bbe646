//! Damaged, foreign and hostile directories.
//!
//! Proves: whatever byte of whatever file is changed, cut off, swapped or replaced, opening and reading end in the right answer or in
//! an error that names the file; nothing panics, and nothing allocates what a damaged length asks for (the process may not grow by
//! more than a gigabyte here, while such lengths ask for up to 32). Damage that comes while the store is open is found by
//! `verify`, whatever the byte, and by a read of that key where the file is mapped; other keys stay readable.
//! What is not a store, or not a file, is refused before anything is written to it.
//!
//! How: a small store with several logs, simulated for the exhaustive part, real for what only an operating system has.
//! `KVS_CORRUPTION_BITS` (1 to 8) says how many bits of each byte are flipped.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/mod.rs"]
mod common;
#[path = "corruption/foreign.rs"]
mod foreign;
#[path = "common/format.rs"]
mod format;
#[path = "crash/history.rs"]
mod history;
#[path = "corruption/rot.rs"]
mod rot;

use std::path::{Path, PathBuf};
use std::sync::Once;

use common::Rng;
use history::{DIR, History, frames, logs, open};
use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, Durability, ErrorKind, LogBackend, Options};

/// No damage may make the process grow by more than this.
fn no_large_allocations() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        #[expect(clippy::disallowed_methods, reason = "the process looks at itself")]
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        let limit = pages * rustix::param::page_size() as u64 + (1 << 30);
        let maximum = getrlimit(Resource::As).maximum;
        setrlimit(Resource::As, Rlimit { current: Some(limit), maximum }).unwrap();
    });
}

/// A closed store with at least three logs; all of them recorded in the manifest, or none.
fn store(seed: u64, log_backend: LogBackend, recorded: bool) -> (SimEnv, Options, History) {
    no_large_allocations();
    let mut rng = Rng::new(seed);
    let options = Options { log_backend, segment_bytes_min: 4 << 10, segment_bytes_max: 4 << 10, ..common::tiny() };
    let sim = SimEnv::new(rng.next());
    let mut history = History::default();
    let db = open(&sim, &options).unwrap();
    while logs(&sim).len() < 4 {
        history.write(&db, &mut rng, Durability::Sync, true).unwrap();
    }
    if recorded {
        db.close().unwrap();
        return (sim, options, history);
    }
    // Power cut: every write was synced, and no manifest says where the logs end.
    let cut = sim.crash_image(rng.next(), CutModel::Strict);
    (cut, options, history)
}

fn copy(sim: &SimEnv) -> SimEnv {
    let copy = SimEnv::new(1);
    for path in sim.list() {
        copy.write_file(&path, sim.read_file(&path).unwrap());
    }
    copy
}

#[derive(Debug, Default)]
struct Outcomes {
    refused: u64,
    whole: u64,
    shorter: u64,
}

/// Opens a damaged store: an error that names one of its files, or a prefix of what was written, all of it readable. Never less than
/// everything if `recorded`.
fn come_up(
    sim: &SimEnv,
    options: &Options,
    history: &History,
    recorded: bool,
    outcomes: &mut Outcomes,
    context: &dyn Fn() -> String,
) {
    match open(sim, options) {
        Err(e) => {
            let kind = matches!(e.kind(), ErrorKind::Corruption | ErrorKind::NotADatabase | ErrorKind::NewerFormat);
            assert!(kind && e.path().is_some_and(|path| path.starts_with(DIR)), "{}: {e:?}", context());
            outcomes.refused += 1;
        }
        Ok(db) => {
            let least = if recorded { history.len() } else { 0 };
            let n = history.check(&db, least, context);
            *(if n == history.len() { &mut outcomes.whole } else { &mut outcomes.shorter }) += 1;
            db.verify().unwrap_or_else(|e| panic!("{}: open accepts what verify does not: {e:?}", context()));
        }
    }
}

/// Every byte of every file.
fn every_byte(seed: u64, backend: LogBackend) {
    let bits = common::scale("KVS_CORRUPTION_BITS", 1);
    let mut rng = Rng::new(seed);
    for recorded in [true, false] {
        let mut outcomes = Outcomes::default();
        let (sim, options, history) = store(rng.next(), backend, recorded);
        for path in sim.list() {
            let len = sim.read_file(&path).unwrap().len() as u64;
            for at in 0..len {
                let from = rng.below(8);
                for bit in (from..from + bits).map(|bit| (bit % 8) as u32) {
                    let image = copy(&sim);
                    assert!(image.flip(&path, at, bit));
                    let context =
                        || format!("seed {seed}, {backend:?}, {path:?}, byte {at}, bit {bit}, recorded {recorded}");
                    come_up(&image, &options, &history, recorded, &mut outcomes, &context);
                }
            }
        }
        println!("{backend:?}, recorded {recorded}: {outcomes:?}");
        assert!(outcomes.refused > 5000 && (outcomes.shorter > 0) != recorded, "{outcomes:?}");
    }
}

#[test]
fn every_byte_of_every_file_mapped() {
    every_byte(common::seed(301), LogBackend::Mapped);
}

#[test]
fn every_byte_of_every_file_positioned() {
    every_byte(common::seed(302), LogBackend::Positioned);
}

/// Every length of every file; growth by zeros and by noise; lengths of frames and records that ask for the whole of memory.
#[test]
fn c14_cut_grown_and_hostile_lengths() {
    let seed = common::seed(303);
    let mut rng = Rng::new(seed);
    let mut outcomes = Outcomes::default();
    for recorded in [true, false] {
        let backend = if recorded { LogBackend::Mapped } else { LogBackend::Positioned };
        let (sim, options, history) = store(rng.next(), backend, recorded);
        for path in sim.list() {
            let bytes = sim.read_file(&path).unwrap();
            let mut variants: Vec<Vec<u8>> = (0..bytes.len()).map(|len| bytes[..len].to_vec()).collect();
            for _ in 0..20 {
                variants.push([&bytes[..], &vec![0; 1 + rng.below(10_000) as usize]].concat());
                let noise = 1 + rng.below(10_000) as usize;
                variants.push([&bytes[..], &rng.bytes(noise)].concat());
            }
            for at in (0..bytes.len().saturating_sub(8)).step_by(4) {
                let mut hostile = bytes.clone();
                match rng.below(3) {
                    0 => hostile[at..at + 8].fill(0xff),
                    1 => hostile[at..at + 4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes()),
                    // A varint of the largest size.
                    _ => hostile[at..at + 5].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
                }
                variants.push(hostile);
            }
            for (n, variant) in variants.into_iter().enumerate() {
                let image = copy(&sim);
                // What lies beyond a manifest's end is an edit that never happened.
                image.write_file(&path, variant);
                let context = || format!("seed {seed}, {path:?}, variant {n}, recorded {recorded}");
                come_up(&image, &options, &history, recorded, &mut outcomes, &context);
            }
        }
    }
    println!("{outcomes:?}");
    assert!(outcomes.refused > 1000 && outcomes.whole > 100);
}

/// Logs in each other's places, and blocks of 512 bytes in each other's places.
#[test]
fn c16_swapped_files_and_blocks() {
    let seed = common::seed(304);
    let mut rng = Rng::new(seed);
    let mut outcomes = Outcomes::default();
    for recorded in [true, false] {
        let (sim, options, history) = store(rng.next(), LogBackend::Mapped, recorded);
        let all = logs(&sim);
        for (a, one) in &all {
            for (b, other) in all.iter().filter(|(b, _)| a < b) {
                let image = copy(&sim);
                image.write_file(a, other.clone());
                image.write_file(b, one.clone());
                // Nobody may be left to tell that the last two were durable; they are not taken for each other all the same.
                let context = || format!("seed {seed}, {a:?} and {b:?} swapped, recorded {recorded}");
                let whole = outcomes.whole;
                come_up(&image, &options, &history, recorded, &mut outcomes, &context);
                assert!(outcomes.whole == whole, "{}: nothing is missing", context());
                for _ in 0..common::scale("KVS_CORRUPTION_SWAPS", 100) {
                    let (from, to) = (rng.below(7) as usize * 512, rng.below(7) as usize * 512);
                    let image = copy(&sim);
                    let (mut one, mut other) = (one.clone(), other.clone());
                    if one.len() < from + 512 || other.len() < to + 512 {
                        continue;
                    }
                    one[from..from + 512].swap_with_slice(&mut other[to..to + 512]);
                    image.write_file(a, one);
                    image.write_file(b, other);
                    let context = || format!("seed {seed}, {a:?} {from}, {b:?} {to}, recorded {recorded}");
                    come_up(&image, &options, &history, recorded, &mut outcomes, &context);
                }
            }
        }
    }
    println!("{outcomes:?}");
    assert!(outcomes.refused > 300);
}

/// Damage that comes while the store is open: `verify` reads the files, not the memory, and finds every live byte.
#[test]
fn c18_verify_finds_every_live_byte() {
    let seed = common::seed(305);
    let mut rng = Rng::new(seed);
    for backend in [LogBackend::Mapped, LogBackend::Positioned] {
        let (sim, options, mut history) = store(rng.next(), backend, true);
        let db = open(&sim, &options).unwrap();
        for _ in 0..3 {
            history.write(&db, &mut rng, Durability::Process, backend == LogBackend::Mapped).unwrap();
        }
        let verified = db.verify().unwrap();
        let mut live = 0;
        for path in sim.list() {
            let bytes = sim.read_file(&path).unwrap();
            if path.ends_with("LOCK") {
                continue;
            }
            // A manifest is live to its last byte.
            let mut parts = vec![(0, bytes.len() as u64)];
            if !path.ends_with("MANIFEST") {
                parts = vec![(0, 80)];
                parts.extend(frames(&bytes).iter().map(|&(at, len, ..)| (at as u64, (at + len) as u64)));
            }
            let end = parts[parts.len() - 1].1;
            live += end;
            for at in 0..end {
                let bit = rng.below(8) as u32;
                sim.flip(&path, at, bit);
                let e = db.verify().err();
                let e = e.unwrap_or_else(|| panic!("seed {seed}, {backend:?}, {path:?}: byte {at} is live"));
                assert_eq!(e.path(), Some(&*path), "byte {at}: {e:?}");
                if !matches!(e.kind(), ErrorKind::Corruption) {
                    // The first bytes say what a file is.
                    assert!(at < 16 && e.kind() == ErrorKind::NotADatabase, "byte {at}: {e:?}");
                } else {
                    let part = parts.iter().find(|part| at < part.1).unwrap();
                    assert!(e.offset().is_some_and(|offset| (part.0..=part.1).contains(&offset)), "byte {at}: {e:?}");
                }
                sim.flip(&path, at, bit);
            }
        }
        db.verify().unwrap();
        println!("{backend:?}: {live} live bytes of {verified:?}");
    }
}

/// The same through a read, over a real file that is mapped: the damaged key is an error, the others are not.
#[test]
fn a_damaged_record_is_an_error_and_the_others_stay_readable() {
    let seed = common::seed(306);
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let options = Options { log_backend: LogBackend::Mapped, segment_bytes_min: 64 << 10, ..Options::default() };
    let db = Db::open(dir.path().join("db"), options.clone()).unwrap();
    let (key, value) = (|n: u64| format!("key {n:05}").into_bytes(), |n: u64| vec![n as u8; 100 + n as usize]);
    for n in 0..200 {
        db.put(key(n), value(n)).unwrap();
    }
    // Half of it is replayed and read-only, half is in the active segment.
    db.close().unwrap();
    let db = Db::open(dir.path().join("db"), options).unwrap();
    for n in 200..400 {
        db.put(key(n), value(n)).unwrap();
    }
    let files: Vec<PathBuf> =
        (1..9).map(|n| dir.path().join(format!("db/{n:06}.log"))).filter(|p| p.exists()).collect();
    assert!(files.len() > 2);
    for _ in 0..common::scale("KVS_CORRUPTION_READS", 300) {
        let n = rng.below(400);
        let (path, at) = files
            .iter()
            .find_map(|path| Some((path, find(path, &key(n))?)))
            .unwrap_or_else(|| panic!("key {n} is in no log"));
        // In its value, or in its key: then the key that was asked for is what must not be called absent.
        let at = if rng.one_in(3) { at + rng.below(9) } else { at + 9 + rng.below(100) };
        let bit = rng.below(8) as u32;
        flip(path, at, bit);
        let context = format!("seed {seed}: key {n}, byte {at}, bit {bit} of {path:?}");
        let e = db.get(key(n)).expect_err(&context);
        assert_eq!((e.kind(), e.path()), (ErrorKind::Corruption, Some(&**path)), "{context}: {e:?}");
        assert!(e.offset().is_some_and(|offset| offset < at && at < offset + 700), "{context}: {e:?}");
        for _ in 0..20 {
            let other = rng.below(400);
            if other != n {
                assert_eq!(db.get(key(other)).unwrap().as_deref(), Some(&value(other)[..]), "{context}");
            }
        }
        let scanned = db.iter().and_then(|mut iter| iter.try_for_each(|pair| pair.map(drop)));
        assert_eq!(scanned.unwrap_err().kind(), ErrorKind::Corruption, "{context}: a scan passes over it");
        assert_eq!(db.verify().unwrap_err().kind(), ErrorKind::Corruption, "{context}");
        flip(path, at, bit);
        assert_eq!(db.get(key(n)).unwrap().as_deref(), Some(&value(n)[..]), "{context}");
    }
    db.verify().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the damage is done behind the store's back")]
fn find(path: &Path, key: &[u8]) -> Option<u64> {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(key.len()).position(|window| window == key).map(|at| at as u64)
}

#[expect(clippy::disallowed_methods, reason = "the damage is done behind the store's back")]
fn flip(path: &Path, at: u64, bit: u32) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}
