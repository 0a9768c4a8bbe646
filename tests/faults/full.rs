//! Full disks.
//!
//! Proves: a write that finds no room fails with `NoSpace` and leaves no trace; reads go on; as soon as there is room the very same
//! write succeeds, without opening the store again; a kill or a power cut while the disk is full loses nothing that was acknowledged.
//! Where not one byte is left, deletes and a `compact` give space back, with nothing but what the store keeps for that; and a flush, a merge
//! and the manifest's replacement may meet the end of the disk at any of their bytes.
//!
//! How: a simulated disk of a few KiB, with blocks reserved beforehand and without; and real file systems of a few MiB (tmpfs and ext4 on a
//! loop device), which only root can mount: elsewhere those two say that they were skipped.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvs::env::Env;
use kvs::env::os::OsEnv;
use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, Durability, ErrorKind, LogBackend, Options, Result};

use crate::common::{self, Rng};
use crate::history::{DIR, History, open};

#[test]
fn c12_a_full_disk_heals_simulated() {
    let seed = common::seed(211);
    let mut rng = Rng::new(seed);
    let mut met = 0;
    for case in 0..common::scale("KVS_FULL_CASES", 300) {
        let backend = [LogBackend::Mapped, LogBackend::Positioned][(case % 2) as usize];
        let mapped = backend == LogBackend::Mapped;
        let options = Options { log_backend: backend, ..common::tiny() };
        let sim = SimEnv::new(rng.next());
        sim.set_reserves(rng.one_in(2));
        let context = || format!("seed {seed}, case {case}, {backend:?}");
        let mut history = History::default();
        let db = open(&sim, &options).unwrap();
        let mut capacity = 8192 + rng.below(40_000);
        sim.set_capacity(Some(capacity));
        for _ in 0..150 {
            let durability = match rng.below(8) {
                0 => Durability::Sync,
                1 => Durability::None,
                _ => Durability::Process,
            };
            let before = rng.clone();
            if let Err(e) = history.write(&db, &mut rng, durability, mapped) {
                assert_eq!((e.kind(), db.stats().poisoned), (ErrorKind::NoSpace, 0), "{}: {e:?}", context());
                history.undo();
                history.check(&db, history.len(), &context);
                met += 1;
                // A cut now: what was acknowledged is there. (Recovery wants room for a manifest.)
                let image = sim.crash_image(rng.next(), CutModel::Hostile);
                image.set_capacity(None);
                let after = open(&image, &options).unwrap_or_else(|e| panic!("{}: {e:?}", context()));
                history.check(&after, history.durable, &context);
                // With room the same write succeeds, by itself. (A flush or a merge may take the first of it.)
                let roomy = capacity + (1 << 20);
                loop {
                    capacity += 64 << 10;
                    sim.set_capacity(Some(capacity));
                    let mut same = before.clone();
                    match history.write(&db, &mut same, durability, mapped) {
                        Ok(()) => break,
                        Err(e) if e.kind() == ErrorKind::NoSpace && capacity < roomy => history.undo(),
                        Err(e) => panic!("{}: {e:?}", context()),
                    }
                }
                history.check(&db, history.len(), &context);
            }
            if rng.one_in(5) {
                db.step_worker();
            }
        }
        if rng.one_in(2) {
            match db.close() {
                Ok(()) => history.settle(history.len()),
                // What stayed in the process finds no room either, and may be lost as in a kill.
                Err(e) => assert_eq!((e.kind(), mapped), (ErrorKind::NoSpace, false), "{}: {e:?}", context()),
            }
        } else {
            sim.cut_after(sim.ops());
            drop(db);
            sim.cut_after(u64::MAX);
        }
        sim.set_capacity(None);
        let db = open(&sim, &options).unwrap();
        history.check(&db, history.kept, &context);
    }
    println!("{met} writes found no room");
    assert!(met > 200);
}

/// What a store should hold.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn small_tables(log_backend: LogBackend) -> Options {
    Options {
        log_backend,
        segment_bytes_min: 4 << 10,
        segment_bytes_max: 16 << 10,
        memtable_bytes_max: 64 << 10,
        table_bytes_max: 32 << 10,
        ..Options::default()
    }
}

fn put(db: &Db, model: &mut Model, n: u64, fill: u8) -> Result<()> {
    let (key, value) = (format!("{n:08}").into_bytes(), vec![fill; 500 + (n % 7 * 100) as usize]);
    db.put(&key, &value)?;
    model.insert(key, value);
    Ok(())
}

fn same(db: &Db, model: &Model, context: &str) {
    let pairs = db.iter().unwrap().map(|pair| pair.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec()));
    assert!(pairs.eq(model.iter().map(|(k, v)| (k.clone(), v.clone()))), "{context}");
    for key in model.keys().step_by(17) {
        assert_eq!(db.get(key).unwrap().as_deref(), model.get(key).map(Vec::as_slice), "{context}");
    }
}

/// Writes until there is not one byte left; the file that took the last of them.
fn leave_nothing(env: &dyn Env, path: &Path) {
    let Ok(ballast) = env.create(path) else { return };
    for piece in [64 << 10, 4096, 512] {
        while ballast.append(&vec![7; piece]).is_ok() {}
    }
}

/// Deletes `doomed`; where even that finds no room a `compact` makes some. Then gives back what they took.
fn delete_and_compact(db: &Db, model: &mut Model, doomed: &[Vec<u8>], context: &str) {
    let mut compactions = 0;
    for key in doomed {
        if let Err(full) = db.delete(key) {
            assert_eq!(full.kind(), ErrorKind::NoSpace, "{context}: {full:?}");
            db.compact::<&[u8]>(..)
                .unwrap_or_else(|e| panic!("{context}: {} live: {e:?}\n{}", model.len(), db.stats()));
            db.delete(key).unwrap_or_else(|e| panic!("{context}: compacted, and then: {e:?}"));
            compactions += 1;
        }
        model.remove(key);
        db.step_worker();
    }
    db.compact::<&[u8]>(..).unwrap_or_else(|e| panic!("{context}: {e:?}"));
    same(db, model, context);
    println!("{context}: {} deletes, {compactions} of them after a compaction", doomed.len());
}

#[test]
fn deletes_give_space_back_on_a_full_simulated_disk() {
    let mut nothing = 0;
    for (case, backend) in [LogBackend::Mapped, LogBackend::Positioned, LogBackend::Positioned].into_iter().enumerate()
    {
        let sim = SimEnv::new(5);
        sim.set_reserves(case < 2);
        let context = format!("case {case}, {backend:?}");
        let options = Options {
            segment_bytes_max: 64 << 10,
            memtable_bytes_max: 256 << 10,
            table_bytes_max: 128 << 10,
            ..small_tables(backend)
        };
        let db = open(&sim, &options).unwrap();
        sim.set_capacity(Some(2 << 20));
        let mut model = Model::new();
        let (mut next, mut reserved) = (0, 0);
        let refused = loop {
            match put(&db, &mut model, next, 1) {
                Ok(()) => next += 1,
                Err(refused) => break refused,
            }
            db.step_worker();
            reserved = reserved.max(db.stats().reserve_bytes);
            assert!(next < 5000, "{context}");
        };
        assert_eq!((refused.kind(), db.stats().poisoned), (ErrorKind::NoSpace, 0), "{context}: {refused:?}");
        assert!(refused.path().is_some(), "{refused:?}");
        assert!(db.stats().tables > 8, "{context}: {}", db.stats());
        // If a flush has taken the reserve already, what is left is the store's, and nobody else may have it.
        if db.stats().reserve_bytes == reserved {
            leave_nothing(&sim, Path::new("/ballast"));
            assert_eq!(sim.free_space(Path::new(DIR)).unwrap(), 0, "{context}");
            nothing += 1;
        }
        same(&db, &model, &context);

        // Every second key, then all but a few.
        let half: Vec<_> = model.keys().step_by(2).cloned().collect();
        delete_and_compact(&db, &mut model, &half, &context);
        assert!(sim.free_space(Path::new(DIR)).unwrap() > 100 << 10, "{context}: {}", db.stats());
        assert!(db.stats().reserve_bytes > 0, "{context}: it was not made again");
        db.delete_range("00000100".."99999999").unwrap();
        model.retain(|key, _| key.as_slice() < b"00000100".as_slice());
        db.compact::<&[u8]>(..).unwrap();
        same(&db, &model, &context);
        for n in 0..200 {
            put(&db, &mut model, n, 2).unwrap_or_else(|e| panic!("{context}: there is room again: {e:?}"));
            db.step_worker();
        }
        db.verify().unwrap();
        // A kill leaves the reserve, and the next open takes it away; so does a close.
        let is_there = |sim: &SimEnv| sim.list().iter().any(|path| path.ends_with("RESERVE"));
        assert!(is_there(&sim), "{context}");
        sim.cut_after(sim.ops());
        drop(db);
        sim.cut_after(u64::MAX);
        let db = open(&sim, &options).unwrap();
        assert!(!is_there(&sim), "{context}");
        same(&db, &model, &context);
        for n in 0..100 {
            put(&db, &mut model, n, 3).unwrap();
            db.step_worker();
        }
        assert!(is_there(&sim), "{context}");
        db.close().unwrap();
        assert!(!is_there(&sim), "{context}");
    }
    assert!(nothing > 0, "no disk was full to the last byte");
}

#[test]
fn a_store_that_holds_little_reserves_nothing() {
    let sim = SimEnv::new(5);
    let db = open(&sim, &Options::default()).unwrap();
    for n in 0..100u32 {
        db.put(n.to_be_bytes(), [1; 1000]).unwrap();
    }
    db.step_worker();
    db.compact::<&[u8]>(..).unwrap();
    assert_eq!((db.stats().tables, db.stats().reserve_bytes), (1, 0));
}

/// The disk ends at any byte of a flush, or of a flush and a merge of everything; with the reserve and without.
#[test]
fn c12_a_flush_and_a_merge_may_fill_the_disk() {
    let options = small_tables(LogBackend::Mapped);
    let sim = SimEnv::new(6);
    let mut model = Model::new();
    {
        let db = open(&sim, &options).unwrap();
        for n in 0..150 {
            put(&db, &mut model, n * 13 % 100, n as u8).unwrap();
            db.step_worker();
        }
        db.flush().unwrap();
        db.close().unwrap();
    }
    let (mut refused, mut done, mut at_once) = (0, 0, 0);
    for (reserved, compacts) in [(false, false), (false, true), (true, false), (true, true)] {
        for step in 0..common::scale("KVS_FULL_STEPS", 120) {
            let context = format!("reserve {reserved}, compact {compacts}, {step} sectors");
            let image = sim.crash_image(step, CutModel::Strict);
            let mut model = model.clone();
            let db = open(&image, &options).unwrap();
            for n in 0..20 {
                put(&db, &mut model, n * 5, 99).unwrap();
            }
            db.step_worker();
            db.sync().unwrap();
            assert!(db.stats().reserve_bytes > 0, "{context}");
            if !reserved {
                assert!(image.remove(&Path::new(DIR).join("RESERVE")));
            }
            const LARGE: u64 = 1 << 40;
            image.set_capacity(Some(LARGE));
            let used = LARGE - image.free_space(Path::new(DIR)).unwrap();
            image.set_capacity(Some(used + step * 512));
            let work = || if compacts { db.compact::<&[u8]>(..) } else { db.flush() };
            match work() {
                Ok(()) => {
                    done += 1;
                    at_once += u64::from(step == 0);
                }
                Err(full) => {
                    assert_eq!((full.kind(), db.stats().poisoned), (ErrorKind::NoSpace, 0), "{context}: {full:?}");
                    assert!(full.path().is_some_and(|path| path.starts_with(DIR)), "{context}: {full:?}");
                    assert!(!reserved || compacts, "{context}: the reserve is there for flushes: {full:?}");
                    refused += 1;
                    same(&db, &model, &context);
                    let after = image.crash_image(step, CutModel::Hostile);
                    after.set_capacity(None);
                    let after = open(&after, &options);
                    same(&after.unwrap_or_else(|e| panic!("{context}: {e:?}")), &model, &context);
                    image.set_capacity(None);
                    work().unwrap_or_else(|e| panic!("{context}: there is room again: {e:?}"));
                }
            }
            same(&db, &model, &context);
            db.verify().unwrap();
        }
    }
    println!("{refused} found no room, {done} did, {at_once} of them on a disk without one byte");
    assert!(refused > 5 && at_once > 1);
}

/// A file system of a few MiB, unmounted when it goes.
struct Small {
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Small {
    fn mount(kind: &str) -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("mnt");
        let skipped = |why: String| {
            // Past the test harness, which would swallow it.
            let _ = writeln!(std::io::stderr(), "SKIPPED: the test on a full {kind}: {why}");
            None
        };
        let run = |program: &str, arguments: &[&str]| match Command::new(program).args(arguments).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(e) => Err(format!("{program}: {e}")),
        };
        #[expect(clippy::disallowed_methods, reason = "a file system is made here, not a store")]
        std::fs::create_dir(&at).unwrap();
        let target = at.to_str()?;
        let mounted = if kind == "tmpfs" {
            run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs", target])
        } else {
            let image = dir.path().join("image");
            #[expect(clippy::disallowed_methods, reason = "a file system is made here, not a store")]
            std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
            let image = image.to_str()?;
            run("mkfs.ext4", &["-q", "-F", image]).and_then(|()| run("mount", &["-o", "loop", image, target]))
        };
        match mounted {
            Ok(()) => Some(Small { at, _dir: dir }),
            Err(why) => skipped(why),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The lock and the mappings of a failed test may still be there: let go lazily.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn full(dir: &Path, log_backend: LogBackend) {
    // Most of it is in tables. What segments, a flush and a merge need for a while is far less than the ballast.
    let options = Options { log_backend, ..common::tiny() };
    let ballast = dir.join("ballast");
    #[expect(clippy::disallowed_methods, reason = "the ballast is not the store's")]
    std::fs::write(&ballast, vec![7; 4 << 20]).unwrap();
    let db = Db::open(dir.join("db"), options.clone()).unwrap();
    let value = [9; 10_000];
    let mut written: u32 = 0;
    let e = loop {
        match db.put(written.to_be_bytes(), value) {
            Ok(()) => written += 1,
            Err(e) => break e,
        }
        assert!(written < 10_000, "a disk of a few MiB holds more than 100");
    };
    assert_eq!((e.kind(), db.stats().poisoned), (ErrorKind::NoSpace, 0), "{e:?}");
    assert!(written > 10);
    // A sync of what is there needs no room, and reads need nothing.
    db.sync().unwrap();
    assert_eq!(db.iter().unwrap().count(), written as usize);
    assert_eq!(db.get(written.to_be_bytes()).unwrap(), None);
    // What is full for a large value is full for the next one too, unless a flush has made room meanwhile.
    match db.put(written.to_be_bytes(), value) {
        Ok(()) => written += 1,
        Err(e) => assert_eq!(e.kind(), ErrorKind::NoSpace, "{e:?}"),
    }

    #[expect(clippy::disallowed_methods, reason = "the ballast is not the store's")]
    std::fs::remove_file(&ballast).unwrap();
    for n in 0..20 {
        db.put((written + n).to_be_bytes(), value).unwrap_or_else(|e| panic!("there is room again: {e:?}"));
    }
    db.verify().unwrap();
    db.close().unwrap();
    let db = Db::open(dir.join("db"), options).unwrap();
    assert_eq!(db.iter().unwrap().count(), written as usize + 20);
    db.verify().unwrap();
}

/// Filled to the last byte, by the store and by somebody else; deletes and `compact` make room.
fn emptied(dir: &Path, log_backend: LogBackend) {
    let options = Options {
        log_backend,
        segment_bytes_min: 16 << 10,
        segment_bytes_max: 256 << 10,
        memtable_bytes_max: 1 << 20,
        table_bytes_max: 512 << 10,
        ..Options::default()
    };
    let context = format!("{}, {log_backend:?}", dir.display());
    let db = Db::open(dir.join("db"), options.clone()).unwrap();
    let mut model = Model::new();
    let (mut next, mut reserved) = (0, 0);
    let refused = loop {
        match put(&db, &mut model, next, 1) {
            Ok(()) => next += 1,
            Err(refused) => break refused,
        }
        reserved = reserved.max(db.stats().reserve_bytes);
        assert!(next < 100_000, "{context}");
    };
    assert_eq!((refused.kind(), db.stats().poisoned), (ErrorKind::NoSpace, 0), "{context}: {refused:?}");
    assert!(refused.path().is_some_and(|path| path.starts_with(dir)), "{refused:?}");
    // What was written may still be on its way to tables.
    let _ = db.flush();
    if db.stats().reserve_bytes == reserved {
        leave_nothing(&OsEnv, &dir.join("ballast"));
    }
    same(&db, &model, &context);
    let doomed: Vec<_> = model.keys().filter(|key| !key.ends_with(b"0")).cloned().collect();
    delete_and_compact(&db, &mut model, &doomed, &context);
    assert!(OsEnv.free_space(dir).unwrap() > 1 << 20, "{context}: {}", db.stats());
    for n in 0..100 {
        put(&db, &mut model, next + n, 2).unwrap_or_else(|e| panic!("{context}: there is room again: {e:?}"));
    }
    db.verify().unwrap();
    db.close().unwrap();
    let db = Db::open(dir.join("db"), options).unwrap();
    same(&db, &model, &context);
    db.verify().unwrap();
}

fn really_full(kind: &str) {
    for backend in [LogBackend::Mapped, LogBackend::Positioned] {
        if let Some(small) = Small::mount(kind) {
            full(&small.at, backend);
            println!("{kind}, {backend:?}: filled and emptied");
        }
        if let Some(small) = Small::mount(kind) {
            emptied(&small.at, backend);
        }
    }
}

#[test]
fn c12_a_full_tmpfs_heals() {
    really_full("tmpfs");
}

#[test]
fn c12_a_full_ext4_heals() {
    really_full("ext4");
}
