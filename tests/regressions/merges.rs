//! Bugs of flush and merge, each as small as it could be made, with its story. Without threads: a test does the worker's work.

use std::path::Path;

use kvs::env::fault::{CallKind, Fault, FaultEnv, Reach};
use kvs::env::sim::SimEnv;
use kvs::{Db, ErrorKind, LogBackend, Options};

const DIR: &str = "/db";

fn open(sim: &SimEnv, options: &Options) -> Db {
    Db::open_with(sim.shared(), Path::new(DIR), options.clone()).unwrap()
}

/// The process dies, not the machine.
fn kill(sim: &SimEnv, db: Db) {
    sim.cut_after(sim.ops());
    drop(db);
    sim.cut_after(u64::MAX);
}

/// Works until the files that left the store are gone: tests beside this one may hold up the epochs.
fn let_go(db: &Db) {
    let gone = || {
        db.step_worker();
        std::thread::yield_now();
        db.stats().leaving_files == 0
    };
    assert!((0..1_000_000).any(|_| gone()), "{}", db.stats());
}

fn count(db: &Db) -> usize {
    db.iter().unwrap().map(Result::unwrap).count()
}

/// A range whose start lies behind its stop is empty. `compact` cut such a range out of every slice: what lies before the stop and what
/// lies behind the start, so that all keys between the two were in two slices of one run. Found by `model.rs`.
#[test]
fn compact_of_an_inverted_range_changes_nothing() {
    let sim = SimEnv::new(1);
    let db = open(&sim, &Options::default());
    ["a", "c", "e", "g"].iter().for_each(|key| db.put(key, key).unwrap());
    db.flush().unwrap();
    let before = db.stats();
    db.compact("f".."b").unwrap();
    db.compact("c".."c").unwrap();
    assert_eq!((db.stats().merge_steps, db.stats().tables), (before.merge_steps, before.tables));
    assert_eq!(count(&db), 4);
    db.verify().unwrap();
    db.close().unwrap();
    assert_eq!(count(&open(&sim, &Options::default())), 4);
}

/// Merges of a part of the keys leave slices whose bounds have room for keys though there are none. A merge found nothing to take from such
/// a slice, and did not take the slice either: its run, and its table with all that was dead in it, stayed for ever.
/// Found by `model.rs`, in which the number of runs only grew.
#[test]
fn a_slice_without_a_key_keeps_no_run_alive() {
    let sim = SimEnv::new(1);
    let db = open(&sim, &Options::default());
    // Many, so that the older run is not worn by two that are overwritten, and there is no other reason to merge them.
    (0..100).for_each(|i| db.put(format!("b{i}"), "").unwrap());
    ["a", "z"].iter().for_each(|key| db.put(key, "older").unwrap());
    db.flush().unwrap();
    ["a", "z"].iter().for_each(|key| db.put(key, "newer").unwrap());
    db.flush().unwrap();
    // What is left of the newer run is a slice from b up to z, in which it has no key.
    db.compact("a".."b").unwrap();
    db.compact("z"..).unwrap();
    assert_eq!(db.stats().runs, 2);
    db.step_worker();
    let stats = db.stats();
    assert_eq!(stats.runs, 1, "{stats}");
    assert_eq!((count(&db), db.get("z").unwrap().unwrap().to_vec()), (102, b"newer".to_vec()));
}

/// A flush puts its table into the newest run if it lies beside all that is there. While a merge went through that run, key by key, so
/// did what was flushed meanwhile; at the merge's end all keys were believed to be merged, and what had joined the run was cut out of it,
/// unmerged: lost. Found by `model.rs`. While a merge is under way a flush makes a run of its own.
#[test]
fn what_is_flushed_during_a_merge_is_not_cut_away_with_its_runs() {
    // Long records make short steps, and flushes come between two of them. Short records make long ones, and flushes come within.
    for (n, value) in [(1000u32, vec![7; 500]), (10_000, vec![])] {
        let sim = SimEnv::new(1);
        let options = Options {
            segment_bytes_min: 4 << 10,
            segment_bytes_max: 4 << 10,
            table_bytes_max: 32 << 10,
            ..Options::default()
        };
        let db = open(&sim, &options);
        // Two runs, of several tables each. Something stays live in each table of the older one, or they would go without a merge.
        for all in [true, false] {
            (n..2 * n).filter(|i| all || i % 16 > 0).for_each(|i| db.put(i.to_be_bytes(), &value).unwrap());
            db.flush().unwrap();
        }
        assert!(db.stats().runs >= 2 && db.stats().tables > 4, "{}", db.stats());
        // More segments than one flush takes, so that flushes and the merge take turns. Each is of keys before all others, so behind the
        // point that the merge has reached.
        (0..n).rev().for_each(|i| db.put(i.to_be_bytes(), &value).unwrap());
        let before = db.stats();
        db.step_worker();
        let stats = db.stats();
        assert!(stats.flushes > before.flushes + 4 && stats.merge_steps > before.merge_steps + 4, "{stats}");
        let lost = (0..2 * n).filter(|i| !db.contains(i.to_be_bytes()).unwrap()).count();
        assert_eq!((lost, count(&db), db.stats().runs), (0, 2 * n as usize, 1));
        db.verify().unwrap();
    }
}

/// A log may have no write in it: the one for which it was made was refused, for want of space. When such a log was the first to be
/// flushed the manifest did not say so, since nothing had been written yet, or it gave it the wrong end; the next log names it as
/// the one before, with its end. The next open believed that the chain was broken, and that all that had been written was void.
/// Found by `faults.rs`.
#[test]
fn the_end_of_a_log_without_a_write_is_recorded() {
    for reopen in [false, true] {
        let sim = SimEnv::new(1);
        let (env, plan) = FaultEnv::over_sim(&sim);
        let options = Options { log_backend: LogBackend::Positioned, ..Options::default() };
        let mut db = Db::open_with(env, DIR, options.clone()).unwrap();
        // The first write is of the log's header.
        let writes = plan.calls_of(CallKind::Write);
        plan.fail_nth(writes + 2, Fault::enospc().on(CallKind::Write));
        assert_eq!(db.put("refused", "").unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!((plan.fired(), db.stats().segments), (1, 1));
        if reopen {
            kill(&sim, db);
            db = open(&sim, &options);
        }
        db.flush().unwrap();
        assert_eq!((db.stats().flushes, db.stats().segments), (1, 0));
        let_go(&db);
        db.put("k", "v").unwrap();
        kill(&sim, db);
        let db = open(&sim, &options);
        assert_eq!(db.get("k").unwrap().unwrap(), b"v", "reopened: {reopen}");
        assert_eq!(count(&db), 1);
    }
}

/// A rename says that there is no space, and nobody knows whether it was done. It was taken for a manifest that was never written: the new
/// table was removed, and the store went on. But the manifest that named it was there; the next open found it, and no table.
/// Found by `faults.rs`.
#[test]
fn a_manifest_whose_rename_failed_may_be_the_one_that_counts() {
    for reach in [Reach::Nothing, Reach::Whole] {
        let sim = SimEnv::new(1);
        let (env, plan) = FaultEnv::over_sim(&sim);
        let db = Db::open_with(env, DIR, Options::default()).unwrap();
        (0..100u8).for_each(|i| db.put([i], "v").unwrap());
        plan.fail_next(Fault::enospc().on(CallKind::Rename).reaching(reach));
        assert!(db.flush().is_err());
        assert_eq!(plan.fired(), 1);
        assert_eq!(db.put("k", "w").unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(count(&db), 100);
        drop(db);
        let db = open(&sim, &Options::default());
        assert_eq!(count(&db), 100, "{reach:?}");
        db.verify().unwrap();
    }
}

/// A new manifest is written beside the old one. Where a full disk cut it short the copy stayed: it took space from whoever would have made
/// some, and every later one failed, since the file was there. Found by `faults/full.rs`.
#[test]
fn a_copy_of_the_manifest_that_was_cut_short_is_not_in_the_way() {
    for unlink_fails in [false, true] {
        let sim = SimEnv::new(1);
        let (env, plan) = FaultEnv::over_sim(&sim);
        let db = Db::open_with(env, DIR, Options::default()).unwrap();
        (0..100u8).for_each(|i| db.put([i], "v").unwrap());
        // The table is written by appends, too: the last one is the manifest's.
        let appends = {
            let other = SimEnv::new(1);
            let (env, plan) = FaultEnv::over_sim(&other);
            let db = Db::open_with(env, DIR, Options::default()).unwrap();
            (0..100u8).for_each(|i| db.put([i], "v").unwrap());
            db.flush().unwrap();
            plan.calls_of(CallKind::Append)
        };
        plan.fail_nth(appends, Fault::enospc().on(CallKind::Append).reaching(Reach::Part));
        if unlink_fails {
            plan.fail_next(Fault::eio().on(CallKind::Unlink));
        }
        assert_eq!(db.flush().unwrap_err().kind(), ErrorKind::NoSpace);
        let copy = Path::new(DIR).join("MANIFEST.tmp");
        assert_eq!(sim.list().contains(&copy), unlink_fails, "{:?}", sim.list());
        assert_eq!(plan.fired(), if unlink_fails { 2 } else { 1 });
        db.flush().unwrap();
        assert_eq!((db.stats().flushes, db.stats().tables), (1, 1));
        kill(&sim, db);
        assert_eq!(count(&open(&sim, &Options::default())), 100);
    }
}
