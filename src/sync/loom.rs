//! What `crate::sync` exports when loom checks a model: every interleaving, and every value that an atomic may
//! return under its orderings, within the bounds that the model sets.
//!
//! Differences from the real thing, each of which limits what a passed model proves:
//!
//! - The epoch frees nothing: deferred functions are forgotten. Loom checks protocols of atomics here, not
//!   crossbeam's reclamation; the sanitizers' runs do that.
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

/// The part of `crossbeam_epoch` that kvs uses, without reclamation.
pub mod epoch {
    /// As `crossbeam_epoch::Guard`.
    #[derive(Debug)]
    pub struct Guard(());

    /// As `crossbeam_epoch::pin`. Orders nothing; crossbeam's has a fence.
    pub fn pin() -> Guard {
        Guard(())
    }

    impl Guard {
        /// Forgets `function` and what it owns: nothing is freed before the model ends, nor after.
        pub fn defer<F, R>(&self, function: F)
        where
            F: FnOnce() -> R + Send + 'static,
        {
            std::mem::forget(function);
        }

        /// Nothing to do.
        pub fn flush(&self) {}
    }
}
