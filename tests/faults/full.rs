//! Full disks.
//!
//! Proves: a write that finds no room fails with `NoSpace` and leaves no trace; reads go on; as soon as there is room the very same
//! write succeeds, without opening the store again; a kill or a power cut while the disk is full loses nothing that was acknowledged.
//!
//! How: a simulated disk of a few KiB, with blocks reserved beforehand and without; and real file systems of a few MiB (tmpfs and ext4 on a
//! loop device), which only root can mount: elsewhere those two say that they were skipped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, Durability, ErrorKind, LogBackend, Options};

use crate::common::{self, Rng};
use crate::history::{History, open};

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
            run("mount", &["-t", "tmpfs", "-o", "size=6m", "tmpfs", target])
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
    std::fs::write(&ballast, vec![7; 2 << 20]).unwrap();
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

fn really_full(kind: &str) {
    for backend in [LogBackend::Mapped, LogBackend::Positioned] {
        if let Some(small) = Small::mount(kind) {
            full(&small.at, backend);
            println!("{kind}, {backend:?}: filled and emptied");
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
