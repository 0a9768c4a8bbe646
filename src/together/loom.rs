//! Loom models of threads that raise a number together.
//!
//! Seen to fail, each with one change to the code: the number raised after the tool was put back; no wake; one instead of all woken; the
//! number not looked at again under the lock; Relaxed instead of Release.

use loom::thread;

use super::Together;
use crate::error::{Error, ErrorKind};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// What is asked for, what was worked for, and whether somebody works.
struct Store {
    visible: AtomicU64,
    /// Written by whoever works, and read by whoever finds the number high enough.
    synced: AtomicU64,
    is_busy: AtomicBool,
    rounds: AtomicU64,
    durable: Together<()>,
}

impl Store {
    fn new() -> Arc<Store> {
        Arc::new(Store {
            visible: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            is_busy: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            durable: Together::new(0, ()),
        })
    }

    /// A write, and the wait until it is durable. `fails`: if this thread works, it fails.
    fn write(&self, fails: bool) -> bool {
        let wanted = self.visible.fetch_add(1, Ordering::AcqRel) + 1;
        let reached = self.durable.reach(
            wanted,
            || Ok(()),
            |()| {
                assert!(!self.is_busy.swap(true, Ordering::Relaxed), "two threads work");
                let target = self.visible.load(Ordering::Acquire);
                if !fails {
                    assert!(self.synced.swap(target, Ordering::Relaxed) < target, "the work had been done");
                }
                self.rounds.fetch_add(1, Ordering::Relaxed);
                assert!(self.is_busy.swap(false, Ordering::Relaxed));
                if fails { Err(Error::new(ErrorKind::Io, "no")) } else { Ok(target) }
            },
        );
        if reached.is_ok() {
            assert!(self.synced.load(Ordering::Relaxed) >= wanted, "not all of the work is seen");
        }
        reached.is_ok()
    }
}

/// Everybody gets what he asked for, and one works at a time.
#[test]
fn loom_one_works_for_all() {
    let mut builder = loom::model::Builder::new();
    // Three threads have more ways to go than can be gone; with so many switches where none is forced each step is met by each other.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(|| {
        let store = Store::new();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let store = Arc::clone(&store);
                thread::spawn(move || assert!(store.write(false)))
            })
            .collect();
        assert!(store.write(false));
        others.into_iter().for_each(|other| other.join().expect("it ends"));
        let rounds = store.rounds.load(Ordering::Relaxed);
        assert!((1..=3).contains(&rounds), "{rounds} rounds");
    });
}

/// A failure is for the one who met it; the other goes on.
#[test]
fn loom_a_failure_is_not_for_those_who_wait() {
    loom::model(|| {
        let store = Store::new();
        let other = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.write(true))
        };
        assert!(store.write(false));
        other.join().expect("it ends");
    });
}
