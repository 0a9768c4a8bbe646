//! A forked child is refused, and what it drops does not hurt its parent.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kvs::{Batch, Db, Durability, ErrorKind, LogBackend, Result};

use super::{alone, tiny};

/// Runs `body` in a forked child, which ends without any exit handler; true if it said so. A child that hangs is ended by an
/// alarm after 20 seconds.
fn in_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child is a copy of this thread alone. It runs code of this test that takes no lock which another thread
    // could have held at the fork (the allocator's are handled by the C library), prints nothing, and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: `alarm` sets a timer of this process; its default action ends it.
        unsafe { libc::alarm(20) };
        let good = catch_unwind(AssertUnwindSafe(body)).unwrap_or(false);
        // SAFETY: ends the process at once; nothing after it runs.
        unsafe { libc::_exit(if good { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `status` lives for the call, and `pid` is our child, waited for once.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(waited, pid);
    assert!(!libc::WIFSIGNALED(status), "the child was ended by signal {}", libc::WTERMSIG(status));
    libc::WEXITSTATUS(status) == 0
}

fn forked<T>(result: Result<T>) -> bool {
    matches!(result, Err(e) if e.kind() == ErrorKind::Forked)
}

fn fill(db: &Db, from: u32, to: u32) {
    for i in from..to {
        db.put(i.to_be_bytes(), [9; 100]).unwrap();
    }
}

/// Every call in the child says `Forked`; it drops everything it inherited and exits; the parent never notices.
#[test]
fn a_child_is_refused_and_harmless() {
    let _alone = alone();
    for backend in [LogBackend::Mapped, LogBackend::Positioned] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let db = Db::open(&path, tiny(backend)).unwrap();
        fill(&db, 0, 300);
        let snapshot = db.snapshot().unwrap();
        let mut iter = db.iter().unwrap();
        assert!(iter.seek_to_first().unwrap());
        let good = in_child(|| {
            let mut good = forked(db.get([0; 4]))
                && forked(db.get("missing"))
                && forked(db.get_into([0; 4], &mut Vec::new()))
                && forked(db.get_owned([0; 4]))
                && forked(db.get_many(&[[0; 4]]))
                && forked(db.contains([0; 4]))
                && forked(db.put("k", "v"))
                && forked(db.put_with("k", "v", Durability::Sync))
                && forked(db.delete([0; 4]))
                && forked(db.write(Batch::new().put("k", "v")))
                && forked(db.iter())
                && forked(db.range([0]..))
                && forked(db.prefix("k"))
                && forked(db.snapshot())
                && forked(db.flush())
                && forked(db.verify())
                && forked(snapshot.get([0; 4]))
                && forked(snapshot.iter())
                && forked(iter.move_next())
                && forked(iter.seek([0; 4]))
                && db.stats().writes == 0;
            // Not its to open either, as long as the parent has it, whom the error names.
            let parent = std::os::unix::process::parent_id();
            let locked = Db::open(&path, tiny(backend)).unwrap_err();
            good &= locked.kind() == ErrorKind::Locked && locked.to_string().contains(&parent.to_string());
            // A store of its own works.
            let own = Db::open(dir.path().join("own"), tiny(backend)).unwrap();
            own.put("k", "v").unwrap();
            good &= own.get("k").unwrap().is_some_and(|value| value == b"v") && own.close().is_ok();
            drop((iter, snapshot));
            good & db.close().is_ok() & {
                drop(db);
                true
            }
        });
        assert!(good, "a call in the child said something else");
        // `iter`, `snapshot` and `db` were moved into the closure, which the parent never ran: so they were dropped here as well.
        let db = Db::open(&path, tiny(backend)).unwrap();
        assert_eq!(db.iter().unwrap().count(), 300);
        db.verify().unwrap();
    }
}

/// A parent goes on while children come and go that hold its store: its own handle, worker, lock and files stay as they are.
#[test]
fn a_parent_goes_on() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, tiny(LogBackend::Mapped)).unwrap();
    let iter = db.iter().unwrap();
    for round in 0..20 {
        fill(&db, 100 * round, 100 * (round + 1));
        let clone = db.clone();
        let good = in_child(|| {
            let refused = forked(clone.get([0; 4])) && forked(clone.flush());
            drop(clone);
            refused
        });
        assert!(good);
        assert_eq!(Db::open(&path, tiny(LogBackend::Mapped)).unwrap_err().kind(), ErrorKind::Locked);
        assert_eq!(db.iter().unwrap().count(), 100 * (round as usize + 1));
        db.flush().unwrap();
    }
    assert_eq!(iter.count(), 0);
    db.verify().unwrap();
    db.close().unwrap();
    drop(db);
    // The children's copies of the lock went with them.
    let db = Db::open(&path, tiny(LogBackend::Mapped)).unwrap();
    assert_eq!(db.iter().unwrap().count(), 2000);
}

/// Forks from one thread while others write: a child never hangs on a lock that a thread of its parent held.
#[test]
fn forks_beside_writers() {
    let _alone = alone();
    let db = Db::in_memory(tiny(LogBackend::Auto)).unwrap();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let threads: Vec<_> = (0..3u32)
        .map(|id| {
            let (db, over) = (db.clone(), std::sync::Arc::clone(&over));
            std::thread::spawn(move || {
                let mut i = 0u32;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    db.put([id, i % 1000].map(u32::to_be_bytes).concat(), [0; 100]).unwrap();
                    db.get([id, 0].map(u32::to_be_bytes).concat()).unwrap();
                    drop(db.snapshot().unwrap());
                    i += 1;
                }
            })
        })
        .collect();
    for _ in 0..100 {
        let clone = db.clone();
        assert!(in_child(|| {
            let good = forked(clone.put("k", "v"))
                && forked(clone.get("k"))
                && forked(clone.snapshot())
                && clone.stats().writes == 0;
            drop(clone);
            good
        }));
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(db.verify().is_ok() && db.close().is_ok());
}
