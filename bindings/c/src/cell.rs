//! A cell that readers enter without writing to shared memory: rule 4 of the handle table.
//!
//! 1. The body is behind one atomic pointer. A reader pins the epoch, loads the pointer, uses the body, unpins. It hands its
//!    pin on to the engine, whose calls for one key need no other.
//! 2. To free, the pointer is swapped for NULL and the body is handed to the collector, which drops it
//!    when nobody who could have loaded it is pinned any more: on any thread, at some later time. A body's destructor must
//!    therefore be fit for both: see `objects`, which closes a database explicitly.
//! 3. What waits (a sync, a close, a write for which there is no room) must not stay pinned: clone an `Arc` out and unpin.

use engine::handles::epoch::{self, Atomic, Guard, Owned, Shared};
use engine::handles::{self, Full, Pinned, Refused, Table};
use std::sync::atomic::Ordering;

pub(crate) struct EpochCell<T: Send + Sync + 'static>(Atomic<T>);

impl<T: Send + Sync + 'static> Default for EpochCell<T> {
    fn default() -> EpochCell<T> {
        EpochCell(Atomic::null())
    }
}

impl<T: Send + Sync + 'static> EpochCell<T> {
    fn put(&self, body: T) {
        // Release: pairs with the acquire in `get`.
        self.0.store(Owned::new(body), Ordering::Release);
    }

    #[inline]
    fn get<'g>(&self, guard: &'g Guard) -> Option<&'g T> {
        let body = self.0.load(Ordering::Acquire, guard);
        // SAFETY: the pointer is NULL or was stored by `put` from an `Owned<T>`, so it is aligned and initialised, and
        // the acquire makes that visible. It is freed only by `take`, through this collector, after every guard that was
        // pinned when the pointer was swapped out is gone; `guard` was pinned before the load, so it is
        // one of them or the load saw NULL. Nobody makes a `&mut T` of a body in the cell.
        unsafe { body.as_ref() }
    }

    fn take(&self, guard: &Guard) {
        // AcqRel: acquires what `put` released, for the destructor; a later `put` into the cell comes after.
        let body = self.0.swap(Shared::null(), Ordering::AcqRel, guard);
        if !body.is_null() {
            // SAFETY: the swap took the only pointer to the body out of the cell, so nobody can reach it that is not
            // pinned already, and no second `take` can get it. `T` is Send and 'static: any thread may drop it, at any time.
            unsafe { guard.defer_destroy(body) }
        }
    }
}

/// A table of objects that any number of threads use at once.
pub(crate) struct SharedTable<T: Send + Sync + 'static>(Table<EpochCell<T>>);

impl<T: Send + Sync + 'static> SharedTable<T> {
    pub const fn new(kind: u8) -> SharedTable<T> {
        SharedTable(Table::new(kind))
    }

    pub fn insert(&self, body: T) -> Result<u64, Full> {
        self.0.insert_with(|cell| cell.put(body))
    }

    /// Runs `f` on the object, pinned.
    #[inline]
    pub fn with<R>(&self, handle: u64, f: impl FnOnce(&T, &Pinned) -> R) -> Result<R, Refused> {
        // Before the pin: in the child of a fork, the pin is of another collector than what the parent's cells lead to.
        let found = self.0.find(handle)?;
        let pinned = handles::pin();
        match found.cell().get(pinned.guard()) {
            // The second look: the slot may have been freed and filled anew since the first.
            Some(body) if found.is_live() => Ok(f(body, &pinned)),
            _ => Err(Refused::Bad),
        }
    }

    /// Frees the handle. `last` sees the body before it goes to the collector.
    pub fn remove<R>(&self, handle: u64, last: impl FnOnce(&T) -> R) -> Result<R, Refused> {
        let seen = self.0.remove_with(handle, |cell| {
            let guard = epoch::pin();
            let seen = cell.get(&guard).map(last);
            cell.take(&guard);
            seen
        })?;
        // Two steps of the epoch make the body unreachable; if no other thread is pinned now, it is dropped here.
        for _ in 0..3 {
            epoch::pin().flush();
        }
        seen.ok_or(Refused::Bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64};

    /// Readers never see a dropped body, nor another handle's, while handles are made and freed under them.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test drives threads, the table starts none")]
    fn readers_race_with_free() {
        struct Body(u64, AtomicBool);
        impl Drop for Body {
            fn drop(&mut self) {
                self.1.store(true, Ordering::SeqCst);
            }
        }
        let table = Arc::new(SharedTable::<Body>::new(1));
        let (current, expected) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (table, current, stop) = (table.clone(), current.clone(), expected.clone());
                std::thread::spawn(move || {
                    let (mut seen, mut refused) = (0u64, 0u64);
                    while !stop.load(Ordering::Relaxed) {
                        let handle = current.load(Ordering::Acquire);
                        let read = table.with(handle, |body, _| {
                            std::hint::spin_loop();
                            assert!(!body.1.load(Ordering::SeqCst), "a body was dropped under a reader");
                            body.0
                        });
                        match read {
                            // The body's number is the handle's generation.
                            Ok(number) => {
                                assert_eq!(number, handle >> 24 & 0xffff_ffff);
                                seen += 1;
                            }
                            Err(_) => refused += 1,
                        }
                    }
                    (seen, refused)
                })
            })
            .collect();
        for number in 1..=50_000 {
            let handle = table.insert(Body(number, AtomicBool::new(false))).unwrap();
            current.store(handle, Ordering::Release);
            if number % 64 == 0 {
                std::thread::yield_now();
            }
            table.remove(handle, |_| ()).unwrap();
            assert_eq!(table.remove(handle, |_| ()), Err(Refused::Bad));
        }
        expected.store(true, Ordering::Relaxed);
        let seen: u64 = readers.into_iter().map(|reader| reader.join().unwrap().0).sum();
        assert!(seen > 0, "no reader ever found a live handle: the test proves nothing");
    }

    /// A body is dropped by the call that frees it if nobody else is reading.
    #[test]
    fn a_quiet_free_drops_at_once() {
        let table = SharedTable::<Arc<()>>::new(1);
        let body = Arc::new(());
        let handle = table.insert(body.clone()).unwrap();
        table.remove(handle, |_| ()).unwrap();
        // The other test's threads share the collector and may be pinned now and then.
        for _ in 0..1_000_000 {
            if Arc::strong_count(&body) == 1 {
                return;
            }
            epoch::pin().flush();
        }
        panic!("the body was never dropped");
    }
}
