//! What `crate::sync` exports when loom checks a model: every interleaving, and every value that an atomic may
//! return under its orderings, within the bounds that the model sets.
//!
//! Differences from the real thing, each of which limits what a passed model proves:
//!
//! - The epoch is not crossbeam's, whose own reclamation the sanitizers' runs look at. In most models it frees nothing: deferred functions
//!   are forgotten, and pinning orders nothing, as little as can be relied on. Where the protocol is about what is freed
//!   ([`epoch::reclaiming`]) it is a list of guards under a lock, which runs each function as soon as the last guard that was alive when
//!   it was deferred has gone: no grace period can be shorter. The lock orders more than crossbeam does: an ordering that
//!   is missing somewhere may be hidden by it, and is for the other models to find.
//! - `Arc`, `Weak` and `OnceLock` are those of `std`, whose own synchronisation loom does not see: it is as if
//!   cloning, dropping and initialising ordered nothing. (Loom has no `Weak`, and its `Arc` can't hold a `dyn`.)
//! - Time stands still: a timed wait ends by a notification only.
//! - Atomics and locks exist within a model only, so no `static` can hold one.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Arc, OnceLock, Weak};

/// Loom's locks poison, as those of `std` do; a panic ends the model anyway.
fn unpoisoned<T>(result: std::sync::LockResult<T>) -> T {
    result.unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As `parking_lot::Mutex`.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// As `parking_lot::MutexGuard`. `None` only while a condition variable has it.
pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    /// As in parking_lot, but not `const`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(unpoisoned(self.0.lock())))
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        Some(MutexGuard(Some(self.0.try_lock().ok()?)))
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        unpoisoned(self.0.get_mut())
    }

    /// The value.
    pub fn into_inner(self) -> T {
        unpoisoned(self.0.into_inner())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("not waiting")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("not waiting")
    }
}

/// As `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub struct Condvar(loom::sync::Condvar);

/// As `parking_lot::WaitTimeoutResult`.
#[derive(Debug)]
pub struct WaitTimeoutResult(());

impl WaitTimeoutResult {
    /// Never: time stands still.
    pub fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    /// As in parking_lot, but not `const`.
    pub fn new() -> Condvar {
        Condvar::default()
    }

    /// Unlocks, waits for a notification, locks.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let locked = guard.0.take().expect("not waiting");
        guard.0 = Some(unpoisoned(self.0.wait(locked)));
    }

    /// As [`Condvar::wait`].
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult(())
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// As `crossbeam_utils::Backoff`.
#[derive(Debug, Default)]
pub struct Backoff(());

impl Backoff {
    /// As in crossbeam.
    pub fn new() -> Backoff {
        Backoff::default()
    }

    /// Lets others run.
    pub fn snooze(&self) {
        loom::thread::yield_now();
    }
}

/// As `parking_lot::RwLock`.
#[derive(Debug, Default)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// As in parking_lot, but not `const`.
    pub fn new(value: T) -> RwLock<T> {
        RwLock(loom::sync::RwLock::new(value))
    }

    /// Waits until no writer holds it.
    pub fn read(&self) -> loom::sync::RwLockReadGuard<'_, T> {
        unpoisoned(self.0.read())
    }

    /// Waits until nobody holds it.
    pub fn write(&self) -> loom::sync::RwLockWriteGuard<'_, T> {
        unpoisoned(self.0.write())
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        unpoisoned(self.0.get_mut())
    }
}

/// The part of `crossbeam_epoch` that kvs uses.
pub mod epoch {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::fmt;

    use super::{Arc, Mutex};

    std::thread_local! {
        /// Of the model that runs: all its threads are one of the system's.
        static COLLECTOR: RefCell<Option<Arc<Mutex<Collector>>>> = const { RefCell::new(None) };
    }

    /// Which guards there are, and what waits for which of them.
    #[derive(Default)]
    struct Collector {
        next: u64,
        pinned: BTreeSet<u64>,
        deferred: Vec<(BTreeSet<u64>, Deferred)>,
    }

    type Deferred = Box<dyn FnOnce() + Send>;

    /// Runs a model in which what is deferred is done, as soon as it may be.
    pub fn reclaiming(model: impl FnOnce()) {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                COLLECTOR.with(|collector| collector.replace(None));
            }
        }
        COLLECTOR.with(|collector| collector.replace(Some(Arc::default())));
        let _reset = Reset;
        model();
    }

    /// As `crossbeam_epoch::Guard`.
    pub struct Guard(Option<(Arc<Mutex<Collector>>, u64)>);

    /// As `crossbeam_epoch::pin`.
    pub fn pin() -> Guard {
        let collector = COLLECTOR.with(|collector| collector.borrow().clone());
        Guard(collector.map(|collector| {
            let number = {
                let mut all = collector.lock();
                all.next += 1;
                let number = all.next;
                all.pinned.insert(number);
                number
            };
            (collector, number)
        }))
    }

    impl Guard {
        /// Runs `function` when all guards that there are now have gone, on the thread of the last one; or never.
        pub fn defer<F, R>(&self, function: F)
        where
            F: FnOnce() -> R + Send + 'static,
        {
            let Some((collector, _)) = &self.0 else { return std::mem::forget(function) };
            let mut all = collector.lock();
            let waits_for = all.pinned.clone();
            all.deferred.push((waits_for, Box::new(move || drop(function()))));
        }

        /// Nothing to do.
        pub fn flush(&self) {}
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            let Some((collector, number)) = self.0.take() else { return };
            let mut ready: Vec<Deferred> = Vec::new();
            {
                let mut all = collector.lock();
                all.pinned.remove(&number);
                let (go, wait): (Vec<_>, Vec<_>) = std::mem::take(&mut all.deferred)
                    .into_iter()
                    .map(|(mut waits_for, function)| {
                        waits_for.remove(&number);
                        (waits_for, function)
                    })
                    .partition(|(waits_for, _)| waits_for.is_empty());
                all.deferred = wait;
                ready.extend(go.into_iter().map(|(_, function)| function));
            }
            ready.into_iter().for_each(|function| function());
        }
    }

    impl fmt::Debug for Guard {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Guard")
        }
    }
}
