//! A segment's file is filled again when its log is in tables: by nobody else's leave, and to nobody's harm.

use std::path::{Path, PathBuf};

use kvs::env::fault::{CallKind, Fault, FaultEnv};
use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, LogBackend, Options};

use super::{alone, names, tiny};

/// Segments all of one size: the first one will do for any other.
fn alike() -> Options {
    Options { segment_bytes_min: 8 << 10, segment_bytes_max: 8 << 10, ..tiny(LogBackend::Mapped) }
}

fn key(i: u64) -> [u8; 8] {
    (i % 500).to_be_bytes()
}

fn value(i: u64) -> [u8; 100] {
    let mut value = [i as u8; 100];
    value[..8].copy_from_slice(&i.to_be_bytes());
    value
}

fn logs(names: impl IntoIterator<Item = String>) -> usize {
    names.into_iter().filter(|name| name.ends_with(".log")).count()
}

/// What a value, an iterator and a snapshot stand on is not written again for as long as they live, however many segments are; and the
/// directory has no more logs than the log may have, one that is prepared, and one that waits.
#[test]
fn what_is_held_is_not_filled_again() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, alike()).unwrap();
    let logs_max = alike().memtable_bytes_max as usize / (8 << 10) + 2;
    let mut held = Vec::new();
    let mut refilled_beside_them = 0;
    for i in 0..30_000 {
        db.put(key(i), value(i)).unwrap();
        if i % 100 == 0 {
            // Of the active segment, and of whatever the key before it is in by now.
            held.push((db.get(key(i)).unwrap().unwrap(), i));
            let older = i.saturating_sub(60);
            held.push((db.get(key(older)).unwrap().unwrap(), older));
            let mut iter = db.iter().unwrap();
            assert!(iter.move_next().unwrap());
            let (found, copy) = (iter.value().to_vec(), db.snapshot().unwrap());
            let before = db.stats().segments_refilled;
            for j in i + 1..i + 50 {
                db.put(key(j), value(j)).unwrap();
            }
            refilled_beside_them += db.stats().segments_refilled - before;
            assert_eq!(iter.value(), found, "under an iterator");
            let read = copy.get(key(i)).unwrap();
            assert_eq!(read.as_deref(), Some(value(i).as_slice()), "under a snapshot");
        }
        if held.len() > 40 {
            assert!(logs(names(&path)) <= logs_max + held.len(), "{:?}", names(&path));
            held.drain(..20).for_each(|(value_held, n)| assert_eq!(*value_held, value(n)));
        }
    }
    held.drain(..).for_each(|(value_held, n)| assert_eq!(*value_held, value(n)));
    let stats = db.stats();
    assert!(stats.segments_refilled > stats.rotations / 10 && refilled_beside_them > 0, "{stats}");
    assert!(stats.flushes > 100, "{stats}");
    db.flush().unwrap();
    db.flush().unwrap();
    assert!(logs(names(&path)) <= logs_max, "{:?}", names(&path));
    db.close().unwrap();
    assert!(logs(names(&path)) <= 1, "{:?}", names(&path));
}

/// Somebody's copy of a log, by a hard link, stays what it was.
#[test]
fn what_has_another_name_is_not_filled_again() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (path, copies) = (dir.path().join("db"), dir.path().join("copies"));
    std::fs::create_dir(&copies).unwrap();
    let db = Db::open(&path, alike()).unwrap();
    let mut linked = Vec::new();
    for i in 0..20_000 {
        db.put(key(i), value(i)).unwrap();
        if i % 997 == 0 {
            for name in names(&path).into_iter().filter(|name| name.ends_with(".log")) {
                let (log, copy) = (path.join(&name), copies.join(format!("{i}-{name}")));
                // It may be gone again.
                if std::fs::hard_link(log, &copy).is_ok() {
                    linked.push((copy, i));
                }
            }
        }
    }
    let stats = db.stats();
    assert!(stats.segments_refilled > 0, "{stats}");
    drop(db);
    let number = |copy: &Path| copy.to_str()?.rsplit_once('-')?.1.strip_suffix(".log")?.parse::<u64>().ok();
    let mut found = 0;
    for (copy, i) in linked {
        let bytes = std::fs::read(&copy).unwrap();
        let (head, named) = (bytes.get(32..40), number(&copy).unwrap().to_le_bytes());
        // One that was prepared when it was linked may be in use by now, and by its own name.
        let as_named = head.is_none_or(|head| head == named || head == [0; 8]);
        assert!(as_named, "{}, linked after {i} writes, has become another log", copy.display());
        found += usize::from(head.is_some_and(|head| head == named));
    }
    assert!(found > 20, "{found}");
}

fn sim_logs(sim: &SimEnv) -> Vec<PathBuf> {
    sim.list().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect()
}

/// Writes until a segment has been refilled that is not in use yet.
fn until_one_is_prepared(db: &Db, sim: &SimEnv) -> PathBuf {
    for i in 0..10_000 {
        let (before, refilled) = (sim_logs(sim), db.stats().segments_refilled);
        db.put(key(i), value(i)).unwrap();
        db.step_worker();
        if db.stats().segments_refilled > refilled {
            let is_new = |path: &PathBuf| !before.contains(path);
            return sim_logs(sim).into_iter().find(is_new).expect("it has a new name");
        }
    }
    panic!("none is ever refilled: {}", db.stats());
}

/// A process that dies leaves a refilled segment as zeros, as a fresh one is; a machine that does may leave what its file held
/// before, under the new name. Neither is taken for a log.
#[test]
fn what_a_file_held_before_is_never_replayed() {
    for seed in 0..20 {
        let sim = SimEnv::new(seed);
        sim.set_written_back_once_in(3);
        let db = Db::open_with(sim.shared(), "/db", alike()).unwrap();
        let prepared = until_one_is_prepared(&db, &sim);
        assert!(sim.read_file(&prepared).unwrap().iter().all(|byte| *byte == 0), "erased before it has its name");
        db.sync().unwrap();
        let expected: Vec<_> = db.iter().unwrap().map(Result::unwrap).collect();
        let mut stale = 0;
        for model in [CutModel::Strict, CutModel::Ordered, CutModel::Hostile] {
            for image_seed in 0..10 {
                let image = sim.crash_image(image_seed, model);
                let left = image.read_file(&prepared).unwrap_or_default();
                stale += usize::from(left.starts_with(b"kvs log\n"));
                let again = Db::open_with(image.shared(), "/db", alike()).unwrap();
                let found: Vec<_> = again.iter().unwrap().map(Result::unwrap).collect();
                assert!(found == expected, "seed {seed}, {model:?} {image_seed}");
                drop(again);
                assert!(image.read_file(&prepared).is_none_or(|log| !log.starts_with(&left) || left.is_empty()));
            }
        }
        if seed == 19 {
            assert!(stale > 0, "no image had the old header under the new name: this proves nothing");
        }
    }
}

/// A segment whose file cannot be renamed is made afresh, and nothing is left of the old one.
#[test]
fn a_file_that_cannot_be_renamed_is_let_go() {
    let sim = SimEnv::new(1);
    let (env, plan) = FaultEnv::over_sim(&sim);
    let db = Db::open_with(env, "/db", alike()).unwrap();
    let is_log = |path: &Path| path.extension().is_some_and(|kind| kind == "log");
    let refills = |plan: &kvs::env::fault::FaultPlan| {
        plan.log().iter().filter(|(kind, path)| *kind == CallKind::Rename && is_log(path)).count()
    };
    // The first flush replaces the manifest, by a rename; the one after that is of the log that it has let go of.
    let mut i = 0;
    while db.stats().flushes == 0 {
        db.put(key(i), value(i)).unwrap();
        i += 1;
        db.step_worker();
    }
    assert_eq!(refills(&plan), 0);
    plan.fail_next(Fault::eio().on(CallKind::Rename));
    while plan.fired() == 0 {
        db.put(key(i), value(i)).unwrap();
        i += 1;
        db.step_worker();
    }
    assert_eq!((refills(&plan), db.stats().segments_refilled), (1, 0), "the rename that failed was another one");
    for _ in 0..2000 {
        db.put(key(i), value(i)).unwrap();
        i += 1;
        db.step_worker();
    }
    assert!(db.stats().segments_refilled > 0, "{}", db.stats());
    for n in i - 500..i {
        assert_eq!(db.get_owned(key(n)).unwrap().unwrap(), value(n));
    }
    db.close().unwrap();
    assert!(sim_logs(&sim).len() <= 1, "{:?}", sim.list());
}
