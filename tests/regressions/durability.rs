//! Bugs that were found once, each as small as it could be made, with its story.

use std::path::Path;

use kvs::env::fault::{CallKind, Fault, FaultEnv, Reach};
use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, Durability, ErrorKind, LogBackend, Options};

const DIR: &str = "/db";

fn small(log_backend: LogBackend) -> Options {
    Options { log_backend, segment_bytes_min: 4 << 10, segment_bytes_max: 4 << 10, ..Options::default() }
}

fn open(sim: &SimEnv, options: &Options) -> kvs::Result<Db> {
    Db::open_with(sim.shared(), Path::new(DIR), options.clone())
}

/// Writes of durability `none` stay in the process where logs are written by position, until something stronger writes them
/// through. That looked only at the active segment: what was still in the process when the store went on to the next segment
/// never reached its file, and with it went everything after it, however strongly acknowledged and even after a clean close.
/// Found by `crash.rs` in its first run.
#[test]
fn writes_that_stayed_in_the_process_are_written_through_before_the_next_segment() {
    for close in [true, false] {
        let (sim, options) = (SimEnv::new(1), small(LogBackend::Positioned));
        let db = open(&sim, &options).unwrap();
        for n in 0..10u8 {
            db.put_with([n], [n; 900], Durability::None).unwrap();
        }
        db.put("last", "of a later segment").unwrap();
        if close {
            db.close().unwrap();
        } else {
            // kill -9.
            sim.cut_after(sim.ops());
            drop(db);
            sim.cut_after(u64::MAX);
        }
        let db = open(&sim, &options).unwrap();
        assert_eq!(db.iter().unwrap().count(), 11, "closed: {close}");
    }
}

/// A file system that looks for blocks only when it is synced answers a sync with "no space". The store is poisoned then, as after any
/// failed sync, yet the caller was told `NoSpace`: that nothing had been written and that it could go on. The
/// write was there for all to see.
#[test]
fn a_sync_without_space_is_not_told_as_a_write_that_did_not_happen() {
    for kind in [CallKind::Sync, CallKind::SyncDir] {
        let (env, plan) = FaultEnv::over_sim(&SimEnv::new(1));
        let db = Db::open_with(env, DIR, small(LogBackend::Mapped)).unwrap();
        plan.fail_next(Fault::enospc().on(kind));
        let e = db.put_with("k", "v", Durability::Sync).unwrap_err();
        assert_eq!((e.kind(), e.os_code()), (ErrorKind::Poisoned, Some(28)), "{e:?}");
        assert_eq!(db.put("k", "w").unwrap_err().kind(), ErrorKind::Poisoned);
    }
}

/// Once a store has synced, a segment that is made ahead is synced together with its name. If the sync of the directory failed
/// the segment was thrown away and all went on: the next one synced the same directory again, got a success, and
/// believed in names that the failure had lost.
#[test]
fn a_failed_sync_of_the_directory_is_not_tried_again() {
    let (env, plan) = FaultEnv::over_sim(&SimEnv::new(1));
    let db = Db::open_with(env, DIR, small(LogBackend::Mapped)).unwrap();
    db.put_with("k", "v", Durability::Sync).unwrap();
    plan.fail_next(Fault::eio().on(CallKind::SyncDir));
    db.step_worker();
    assert_eq!(plan.fired(), 1);
    assert_eq!(db.put("k", "w").unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(db.get("k").unwrap().unwrap(), b"v");
}

/// The last edit of a manifest, damaged, looks like one that a power cut tore off, which is fine at open. `verify` read the manifest
/// just so and found nothing wrong with it, although the open store knows what it has written. Found by `corruption.rs`.
#[test]
fn verify_finds_damage_to_the_last_edit_of_the_manifest() {
    let (sim, options) = (SimEnv::new(1), small(LogBackend::Mapped));
    let db = open(&sim, &options).unwrap();
    db.put("k", "v").unwrap();
    db.close().unwrap();
    let db = open(&sim, &options).unwrap();
    let path = Path::new(DIR).join("MANIFEST");
    let bytes = sim.read_file(&path).unwrap();
    db.verify().unwrap();
    for damaged in [bytes[..bytes.len() - 1].to_vec(), bytes[..80].to_vec(), [&bytes[..], &[1; 8]].concat()] {
        sim.write_file(&path, damaged);
        let e = db.verify().unwrap_err();
        assert_eq!((e.kind(), e.path()), (ErrorKind::Corruption, Some(&*path)), "{e:?}");
    }
}

/// After a failed sync the kernel calls pages clean that the disk does not have. The next open, on the same machine, replayed them,
/// synced them with success, and recorded in the manifest what was not there: after a power cut the store did not open,
/// and with it were lost writes that had been acknowledged as durable since.
#[test]
fn a_store_opened_after_a_failed_sync_trusts_no_page_from_before() {
    for backend in [LogBackend::Mapped, LogBackend::Positioned] {
        for kind in [CallKind::Sync, CallKind::SyncDir] {
            let sim = SimEnv::new(1);
            let (env, plan) = FaultEnv::over_sim(&sim);
            let db = Db::open_with(env, DIR, small(backend)).unwrap();
            for n in 0..8u8 {
                db.put([n], [n; 900]).unwrap();
            }
            plan.fail_next(Fault::eio().on(kind));
            assert!(db.sync().is_err());
            drop(db);
            let db = open(&sim, &small(backend)).unwrap();
            db.put_with("later", "durable", Durability::Sync).unwrap();
            let after = open(&sim.crash_image(1, CutModel::Strict), &small(backend)).unwrap();
            assert_eq!(after.iter().unwrap().count(), 9, "{backend:?}, {kind:?}");
            assert!(sim.list().iter().all(|path| !path.ends_with("UNSYNCED") && !path.ends_with(".tmp")));
        }
    }
}

/// A write that finds no room may leave a part of its frame in the file, and a part may be the whole, if the frame ends in zeros. It was
/// erased in memory only: killed now, the store came back with a write that it had said was not done; and if the next
/// write went to another segment, with a log that did not fit in front of it, so that all later ones were lost.
#[test]
fn a_write_without_room_leaves_nothing_in_the_file() {
    for larger in [false, true] {
        let sim = SimEnv::new(1);
        let (env, plan) = FaultEnv::over_sim(&sim);
        let db = Db::open_with(env, DIR, small(LogBackend::Positioned)).unwrap();
        db.put("before", "1").unwrap();
        plan.fail_next(Fault::enospc().on(CallKind::Write).reaching(Reach::Whole));
        assert_eq!(db.put("refused", "2").unwrap_err().kind(), ErrorKind::NoSpace);
        if larger {
            db.put("after", [3; 4000]).unwrap();
        }
        // kill -9.
        sim.cut_after(sim.ops());
        drop(db);
        sim.cut_after(u64::MAX);
        let db = open(&sim, &small(LogBackend::Positioned)).unwrap();
        assert_eq!(db.get("refused").unwrap(), None, "larger: {larger}");
        assert_eq!(db.contains("after").unwrap(), larger);
        assert!(db.contains("before").unwrap());
    }
}

/// The renewal after a failed sync may itself be cut off at any point: what was durable before stays so.
#[test]
fn a_renewal_that_is_cut_off_loses_nothing() {
    let mut cuts = 0;
    for (cut, model) in
        (1..80).flat_map(|cut| [(cut, CutModel::Strict), (cut, CutModel::Ordered), (cut, CutModel::Hostile)])
    {
        let (sim, options) = (SimEnv::new(cut), small(LogBackend::Mapped));
        let (env, plan) = FaultEnv::over_sim(&sim);
        let db = Db::open_with(env, DIR, options.clone()).unwrap();
        for n in 0..6u8 {
            db.put_with([n], [n; 900], Durability::Sync).unwrap();
        }
        for n in 6..12u8 {
            db.put([n], [n; 900]).unwrap();
        }
        plan.fail_next(Fault::eio().on(CallKind::Sync));
        assert!(db.sync().is_err());
        drop(db);
        sim.cut_after(sim.ops() + cut);
        let opened = open(&sim, &options);
        cuts += usize::from(opened.is_err());
        let image = sim.crash_image(cut, model);
        drop(opened);
        let db = open(&image, &options).unwrap_or_else(|e| panic!("cut {cut}, {model:?}: {e:?}"));
        let found: Vec<_> = db.iter().unwrap().map(|pair| pair.unwrap().0[0]).collect();
        assert!(found.len() >= 6 && found.iter().copied().eq(0..found.len() as u8), "cut {cut}, {model:?}: {found:?}");
        drop(db);
        assert!(
            image.list().iter().all(|path| !path.ends_with("UNSYNCED") && path.extension() != Some("tmp".as_ref()))
        );
    }
    assert!(cuts > 60, "{cuts}");
}

/// The mark is all that would have the files renewed again, so it goes last. A store that was closed syncs its directory nowhere else
/// while it opens: if that one sync fails, the open fails, the mark stays, and the next open renews every file once more.
#[test]
fn the_mark_stays_until_the_names_of_renewed_files_are_durable() {
    let (sim, options) = (SimEnv::new(1), small(LogBackend::Mapped));
    let db = open(&sim, &options).unwrap();
    for n in 0..8u8 {
        db.put([n], [n; 900]).unwrap();
    }
    db.close().unwrap();
    let mark = Path::new(DIR).join("UNSYNCED");
    sim.write_file(&mark, Vec::new());

    let (env, plan) = FaultEnv::over_sim(&sim);
    plan.fail_next(Fault::eio().on(CallKind::SyncDir));
    let e = Db::open_with(env.clone(), DIR, options.clone()).expect_err("the names are not durable");
    assert_eq!((plan.fired(), e.os_code(), e.path()), (1, Some(5), Some(Path::new(DIR))), "{e:?}");
    assert!(sim.list().contains(&mark), "the mark went although the names were not durable");

    plan.reset();
    let db = Db::open_with(env, DIR, options).unwrap();
    assert!(!sim.list().contains(&mark));
    assert_eq!(db.iter().unwrap().count(), 8);
    let calls = plan.log();
    let place = |kind, name: &str| {
        let found = calls.iter().position(|(called, path)| *called == kind && path.ends_with(name));
        found.unwrap_or_else(|| panic!("no {kind:?} of {name}: {calls:?}"))
    };
    let (synced, unmarked) = (place(CallKind::SyncDir, "db"), place(CallKind::Unlink, "UNSYNCED"));
    assert!(synced < unmarked, "{calls:?}");
    for copy in ["000001.log.tmp", "000002.log.tmp", "MANIFEST.tmp"] {
        assert!(place(CallKind::Rename, copy) < synced, "{copy}: {calls:?}");
    }
}

/// What the names are needed for. A new store's manifest loses its name to a failed sync; the next open still sees it and renews it. If
/// a log could have a durable name before the manifest has one, a power cut would leave logs without a manifest, which no open takes
/// for a store.
#[test]
fn a_renewed_manifest_has_its_name_before_the_first_log_has_one() {
    let (sim, options) = (SimEnv::new(1), small(LogBackend::Mapped));
    let (env, plan) = FaultEnv::over_sim(&sim);
    plan.fail_next(Fault::eio().on(CallKind::SyncDir));
    assert!(Db::open_with(env, DIR, options.clone()).is_err());
    assert!(["MANIFEST", "UNSYNCED"].iter().all(|name| sim.list().contains(&Path::new(DIR).join(name))));

    let db = open(&sim, &options).unwrap();
    db.put("k", "v").unwrap();
    let mut with_log = 0;
    for seed in 0..100 {
        let image = sim.crash_image(seed, CutModel::Hostile);
        with_log += usize::from(image.list().iter().any(|path| path.ends_with("000001.log")));
        open(&image, &options).unwrap_or_else(|e| panic!("image {seed}: it does not open: {e:?}"));
    }
    assert!((10..90).contains(&with_log), "{with_log}: this proves too little");
}

/// Where the call fails that puts a new manifest in the place of the old one, nobody knows which of the two the next open finds, and the store
/// is poisoned. `verify` found the new one, compared it with what the store remembers, and called it corruption.
#[test]
fn verify_takes_either_manifest_of_a_store_that_was_poisoned_between_them() {
    for reach in [Reach::Nothing, Reach::Whole] {
        let (env, plan) = FaultEnv::over_sim(&SimEnv::new(1));
        let db = Db::open_with(env, DIR, small(LogBackend::Mapped)).unwrap();
        db.put("k", "v").unwrap();
        db.flush().unwrap();
        db.put("k", "w").unwrap();
        plan.fail_next(Fault::enospc().on(CallKind::Rename).reaching(reach));
        assert!(db.flush().is_err());
        assert_eq!(db.put("k", "x").unwrap_err().kind(), ErrorKind::Poisoned);
        db.verify().unwrap();
        assert_eq!(db.get("k").unwrap().unwrap(), b"w");
    }
}
