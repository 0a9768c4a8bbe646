//! Mutex and condition variable, of the standard library, without poisoning: a panic under a lock is told by other means.
//!
//! Each lock is a word of its own, on which waiting threads sleep. Nothing is shared by all locks of a process, so that in the child of a
//! fork a lock which the child has made works, whatever the parent's threads were doing (parking_lot's waiting threads are in one
//! table for all locks; forked in the wrong moment, 2 children of 70 whose parents had four busy threads hung there).

use std::ops::{Deref, DerefMut};
use std::sync::{self, PoisonError, TryLockError};
use std::time::Duration;

/// Mutual exclusion.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

/// A mutex that is locked. `None` only while a condition variable has it.
#[derive(Debug)]
pub struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    /// Unlocked.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard(Some(poisoned.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("not waiting")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("not waiting")
    }
}

/// Where threads wait for what others do under a mutex.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

/// How a wait with an end has ended.
#[derive(Clone, Copy, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Was it the time?
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Nobody waits.
    pub const fn new() -> Condvar {
        Condvar(sync::Condvar::new())
    }

    /// Unlocks, waits for a notification, locks. May wake without one.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let locked = guard.0.take().expect("not waiting");
        guard.0 = Some(self.0.wait(locked).unwrap_or_else(PoisonError::into_inner));
    }

    /// As [`wait`](Condvar::wait), but not for longer than that.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) -> WaitTimeoutResult {
        let locked = guard.0.take().expect("not waiting");
        let (locked, result) = self.0.wait_timeout(locked, timeout).unwrap_or_else(PoisonError::into_inner);
        guard.0 = Some(locked);
        WaitTimeoutResult(result.timed_out())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic under the lock leaves it to be taken, in each of the ways there are.
    #[test]
    fn a_panic_does_not_poison() {
        let mut mutex = Mutex::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            *mutex.lock() += 1;
            let _held = mutex.lock();
            panic!("under the lock");
        }));
        assert!(panicked.is_err());
        assert_eq!(*mutex.lock(), 2);
        assert_eq!(mutex.try_lock().map(|held| *held), Some(2));
        *mutex.get_mut() += 1;
        let held = mutex.lock();
        assert!(mutex.try_lock().is_none());
        drop(held);
        assert_eq!(mutex.into_inner(), 3);
    }

    #[test]
    fn a_wait_ends_by_notice_or_by_time() {
        let (mutex, changed) = (Mutex::new(false), Condvar::new());
        let mut told = mutex.lock();
        assert!(changed.wait_for(&mut told, Duration::from_millis(1)).timed_out());
        drop(told);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                *mutex.lock() = true;
                changed.notify_all();
            });
            let mut told = mutex.lock();
            while !*told {
                changed.wait(&mut told);
            }
        });
    }
}
