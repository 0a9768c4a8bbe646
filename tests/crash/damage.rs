//! A torn tail and rot, told apart.
//!
//! Proves: damage to bytes that a later frame proves to have been durable, or that an earlier recovery recorded, is reported as
//! corruption that names the file and the place; damage that no one can tell from a tail that was never promised loses that
//! tail and nothing before it; damage to bytes that are nobody's does nothing. A log that is missing, stale or another's never
//! contributes a wrong answer.
//!
//! How: stores with a sync every few writes, brought down by a power cut; the claims are read from the frames as the format's
//! grammar says, and every frame is damaged in several ways.

use std::path::PathBuf;

use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Durability, ErrorKind, LogBackend, Options};

use crate::common::{self, Rng};
use crate::history::{DIR, History, frames, logs, open};

/// A store that lost its power right after the last of its writes, of which every `every`-th was synced.
struct Victim {
    sim: SimEnv,
    options: Options,
    history: History,
    frames: Vec<Frame>,
}

#[derive(Clone, Debug)]
struct Frame {
    path: PathBuf,
    at: u64,
    len: u64,
    first: u64,
    /// What it says was durable when it was written.
    claim: u64,
}

impl Victim {
    fn new(seed: u64, log_backend: LogBackend, every: usize) -> Victim {
        let mut rng = Rng::new(seed);
        let options =
            Options { log_backend, segment_bytes_min: 4 << 10, segment_bytes_max: 4 << 10, ..Options::default() };
        let sim = SimEnv::new(rng.next());
        sim.set_written_back_once_in(0);
        let db = open(&sim, &options).unwrap();
        let mut history = History::default();
        let mapped = log_backend == LogBackend::Mapped;
        for n in 1..60 {
            let durability = if n % every == 0 { Durability::Sync } else { Durability::Process };
            history.write(&db, &mut rng, durability, mapped).unwrap();
        }
        // Everything survives, synced or not.
        sim.cut_after(sim.ops());
        drop(db);
        let sim = copy(&sim);
        let frames = logs(&sim)
            .into_iter()
            .flat_map(|(path, bytes)| {
                frames(&bytes).into_iter().map(move |(at, len, first, _)| {
                    let lag = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap());
                    let claim = first - 1 - u64::from(lag);
                    Frame { path: path.clone(), at: at as u64, len: len as u64, first, claim }
                })
            })
            .collect();
        Victim { sim, options, history, frames }
    }

    /// Is the write `seq` durable, by what a frame says that is not among `damaged`?
    fn proven(&self, seq: u64, damaged: usize) -> bool {
        self.frames.iter().enumerate().any(|(n, frame)| n > damaged && frame.claim >= seq)
    }
}

/// The same files, all durable.
fn copy(sim: &SimEnv) -> SimEnv {
    let copy = SimEnv::new(1);
    for path in sim.list() {
        copy.write_file(&path, sim.read_file(&path).unwrap());
    }
    copy
}

fn each_victim(mut with: impl FnMut(u64, &Victim)) {
    let mut rng = Rng::new(common::seed(111));
    for backend in [LogBackend::Mapped, LogBackend::Positioned] {
        for every in [1, 2, 5, 1000] {
            for _ in 0..common::scale("KVS_DAMAGE_STORES", 2) {
                let seed = rng.next();
                with(seed, &Victim::new(seed, backend, every));
            }
        }
    }
}

/// Every frame of every log, before the store was opened again.
#[test]
fn c13_rot_is_corruption_and_a_torn_tail_is_not() {
    let (mut rotten, mut torn, mut harmless) = (0, 0, 0);
    each_victim(|seed, victim| {
        let mut rng = Rng::new(seed ^ 1);
        assert!(logs(&victim.sim).len() > 3, "too few logs");
        for (n, frame) in victim.frames.iter().enumerate() {
            for way in 0..4 {
                let sim = copy(&victim.sim);
                let context = || format!("seed {seed} {:?}, way {way}, {frame:?}", victim.options.log_backend);
                let mut bytes = sim.read_file(&frame.path).unwrap();
                let (at, end) = (frame.at as usize, (frame.at + frame.len) as usize);
                match way {
                    // One bit, in the header or anywhere.
                    0 => bytes[at + rng.below(24) as usize] ^= 1 << rng.below(8),
                    1 => bytes[at + rng.below(frame.len) as usize] ^= 1 << rng.below(8),
                    // A sector of it that never was, as far as that takes no other frame with it.
                    2 => bytes[at..end.min((at / 512 + 1) * 512)].fill(0),
                    // The whole frame.
                    _ => bytes[at..end].fill(0),
                }
                if Some(&bytes) == sim.read_file(&frame.path).as_ref() {
                    continue;
                }
                sim.write_file(&frame.path, bytes);
                match open(&sim, &victim.options) {
                    Ok(db) => {
                        torn += 1;
                        assert!(!victim.proven(frame.first, n), "{}: proven to be durable and dropped", context());
                        let kept = victim.history.check(&db, 0, &context);
                        assert_eq!(Some(kept), victim.history.commits_at(frame.first - 1), "{}", context());
                    }
                    Err(e) => {
                        rotten += 1;
                        assert!(victim.proven(frame.first, n), "{}: nobody was promised this: {e:?}", context());
                        assert_eq!(e.kind(), ErrorKind::Corruption, "{}: {e:?}", context());
                        let (path, offset) = (e.path().unwrap().to_owned(), e.offset().unwrap());
                        let here = path == frame.path && (frame.at..=frame.at + frame.len).contains(&offset);
                        // Zeros to the log's end look like its end: only the next log knows better.
                        let next = way >= 2 && path > frame.path && offset == 0;
                        assert!(here || next, "{}: names another place: {e:?}", context());
                    }
                }
            }
        }
        // A log whose header was lost, or never written, while frames after it were: its own frames are witnesses too.
        for (path, _) in logs(&victim.sim) {
            let sim = copy(&victim.sim);
            let mut bytes = sim.read_file(&path).unwrap();
            bytes[..80].fill(0);
            sim.write_file(&path, bytes);
            let first = victim.frames.iter().position(|frame| frame.path == path).unwrap();
            let expect = victim.frames[first].first;
            let proven = victim.frames[first..].iter().any(|frame| frame.claim >= expect);
            let context = || format!("seed {seed} {:?}, header of {path:?}", victim.options.log_backend);
            match open(&sim, &victim.options) {
                Ok(db) => {
                    assert!(!proven, "{}: proven to be durable and dropped", context());
                    let kept = victim.history.check(&db, 0, &context);
                    assert_eq!(Some(kept), victim.history.commits_at(expect - 1), "{}", context());
                }
                Err(e) => {
                    assert!(proven && e.kind() == ErrorKind::Corruption, "{}: {e:?}", context());
                    assert_eq!((e.path(), e.offset()), (Some(&*path), Some(0)), "{}", context());
                }
            }
        }
        // What was never published: the rest of each log after its last frame, up to the file's end.
        for (path, bytes) in logs(&victim.sim) {
            let end = victim.frames.iter().filter(|f| f.path == path).map(|f| f.at + f.len).max().unwrap();
            if end == bytes.len() as u64 {
                continue;
            }
            let sim = copy(&victim.sim);
            assert!(sim.flip(&path, end + rng.below(bytes.len() as u64 - end), rng.below(8) as u32));
            let db = open(&sim, &victim.options).unwrap();
            victim.history.check(&db, victim.history.len(), &|| format!("seed {seed}: damage beyond the end"));
            harmless += 1;
        }
    });
    println!("{rotten} cases of rot, {torn} torn tails, {harmless} harmless");
    assert!(rotten > 500 && torn > 100 && harmless > 50, "too few of one sort");
}

/// Once a recovery recorded a log's end, everything below is proven.
#[test]
fn c13_what_a_recovery_recorded_is_never_taken_for_a_tail() {
    let mut cases = 0;
    each_victim(|seed, victim| {
        let mut rng = Rng::new(seed ^ 2);
        let sim = copy(&victim.sim);
        // Killed, not closed: a close may put the logs into tables, which are for `corruption.rs`.
        let db = open(&sim, &victim.options).unwrap();
        sim.cut_after(sim.ops());
        drop(db);
        sim.cut_after(u64::MAX);
        for frame in &victim.frames {
            let image = copy(&sim);
            let at = frame.at + rng.below(frame.len);
            if rng.one_in(3) {
                let mut bytes = image.read_file(&frame.path).unwrap();
                bytes.truncate(at as usize);
                image.write_file(&frame.path, bytes);
            } else {
                assert!(image.flip(&frame.path, at, rng.below(8) as u32));
            }
            let e = open(&image, &victim.options).expect_err("a recorded log was damaged");
            assert_eq!((e.kind(), e.path()), (ErrorKind::Corruption, Some(&*frame.path)), "seed {seed}: {e:?}");
            assert!(e.offset().unwrap() <= frame.at + frame.len, "seed {seed}: {e:?}, damaged at {at}");
            cases += 1;
        }
    });
    println!("{cases} cases");
    assert!(cases > 500);
}

/// Logs that are missing, old or of another store; headers that are damaged. Before and after a recovery.
#[test]
fn c16_a_log_in_the_wrong_place_is_never_believed() {
    let (mut refused, mut shorter) = (0, 0);
    each_victim(|seed, victim| {
        let mut rng = Rng::new(seed ^ 3);
        let recovered = copy(&victim.sim);
        open(&recovered, &victim.options).unwrap().close().unwrap();
        let other = Victim::new(seed ^ 4, victim.options.log_backend, 3);
        for base in [&victim.sim, &recovered] {
            let all = logs(base);
            for (n, (path, bytes)) in all.iter().enumerate() {
                for way in 0..7 {
                    let sim = copy(base);
                    match way {
                        0 => drop(sim.remove(path)),
                        1 => drop(sim.flip(path, rng.below(80), rng.below(8) as u32)),
                        2 => sim.write_file(path, Vec::new()),
                        3 => sim.write_file(path, vec![0; bytes.len()]),
                        // Another log of this store, under this name.
                        4 => sim.write_file(path, all[(n + 1) % all.len()].1.clone()),
                        // The log with this name of another store.
                        5 => match other.sim.read_file(path) {
                            Some(bytes) => sim.write_file(path, bytes),
                            None => continue,
                        },
                        // The log as it was some writes ago.
                        _ => {
                            let known = frames(bytes);
                            let cut = known[rng.below(known.len() as u64) as usize].0;
                            let mut old = bytes.clone();
                            old[cut..].fill(0);
                            sim.write_file(path, old);
                        }
                    }
                    let context = || format!("seed {seed} {:?}, {path:?}, way {way}", victim.options.log_backend);
                    match open(&sim, &victim.options) {
                        Err(e) => {
                            refused += 1;
                            assert_eq!(e.kind(), ErrorKind::Corruption, "{}: {e:?}", context());
                            assert!(e.path().is_some_and(|p| p.starts_with(DIR)), "{}: {e:?}", context());
                        }
                        Ok(db) => {
                            // Never what is proven: recorded by a recovery, or claimed by a frame elsewhere.
                            let kept = victim.history.check(&db, 0, &context);
                            let seq = db.stats().visible_seq;
                            let whole = victim.history.len();
                            assert!(kept == whole || std::ptr::eq(base, &victim.sim), "{}", context());
                            let elsewhere = victim.frames.iter().filter(|f| f.path != *path);
                            let claim = elsewhere.map(|f| f.claim).max().unwrap_or(0);
                            assert!(claim <= seq, "{}: {claim} writes are proven, {seq} found", context());
                            shorter += u64::from(kept < whole);
                        }
                    }
                }
            }
        }
    });
    println!("{refused} refused, {shorter} shorter");
    assert!(refused > 300 && shorter > 50, "too few of one sort");
}

/// A log that a recovery declared void is not part of the store, whatever comes back under its name.
#[test]
fn c02_a_void_log_that_comes_back_stays_void() {
    let mut met = 0;
    for seed in 0..common::scale("KVS_VOID_CASES", 300) {
        let run =
            crate::history::run(seed, if seed % 2 == 0 { LogBackend::Mapped } else { LogBackend::Positioned }, None);
        let image = run.sim.crash_image(seed, CutModel::Hostile);
        let before = logs(&image);
        let db = open(&image, &run.options).unwrap();
        let kept = run.history.check(&db, run.history.durable, &|| format!("seed {seed}"));
        db.close().unwrap();
        let after = logs(&image);
        for (path, bytes) in before {
            if after.iter().any(|(kept, _)| *kept == path) || bytes.iter().all(|&b| b == 0) {
                continue;
            }
            met += 1;
            image.write_file(&path, bytes);
        }
        let db = open(&image, &run.options).unwrap();
        assert_eq!(run.history.check(&db, kept, &|| format!("seed {seed}, with void logs")), kept);
    }
    println!("{met} void logs came back");
    assert!(met > 10);
}

/// Every bit of a manifest: an error that names it, or the right answer. (The last edit may look as if it had never been; then the
/// logs tell the same.)
#[test]
fn a_damaged_manifest_is_an_error_or_harmless() {
    let (mut refused, mut harmless) = (0, 0);
    each_victim(|seed, victim| {
        let sim = copy(&victim.sim);
        let mut rng = Rng::new(seed ^ 5);
        for _ in 0..rng.below(3) {
            open(&sim, &victim.options).unwrap().close().unwrap();
        }
        let manifest = PathBuf::from(DIR).join("MANIFEST");
        let bytes = sim.read_file(&manifest).unwrap();
        for at in 0..bytes.len() {
            let image = copy(&sim);
            if rng.one_in(2) {
                image.flip(&manifest, at as u64, rng.below(8) as u32);
            } else {
                image.write_file(&manifest, bytes[..at].to_vec());
            }
            match open(&image, &victim.options) {
                Err(e) => {
                    refused += 1;
                    let kind = matches!(e.kind(), ErrorKind::Corruption | ErrorKind::NotADatabase);
                    assert!(kind && e.path() == Some(&manifest), "seed {seed}, byte {at}: {e:?}");
                }
                Ok(db) => {
                    harmless += 1;
                    victim.history.check(&db, victim.history.len(), &|| format!("seed {seed}, manifest byte {at}"));
                }
            }
        }
    });
    println!("{refused} refused, {harmless} harmless");
    assert!(refused > 300 && harmless == 0);
}
