//! Leaving: how a thing that readers may be following is given back, step by step.
//!
//! ```text
//!  1 retire   no version that is loaded from now on has it, and the index does not lead to it
//!  2          a grace period: no reader is left that took its slot from the index
//!  3 reap     the slot is cleared, and is used again
//!  4          a grace period: no reader is left that followed the slot
//!  5 reap     nobody holds it, by a version, an iterator or a pinned value: it is `gone`
//! ```
//!
//! Steps 3 and 5 are done by whoever calls [`reap`](Leaving::reap), which is the worker; the ends of 2 and 4 are told by the epoch, on any
//! thread. A reader with an older version keeps its things by that version and not by their slots.
//!
//! [`supersede`] is the order of what comes before.

#[cfg(all(test, kvs_loom))]
mod loom;

use std::any::Any;

use crate::slots::{Graveyard, Slots};
use crate::sync::epoch;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

/// Grace periods until what was retired can be gone: one until nobody has an address in it, one until nobody follows its slot; and one
/// more, since the first may have begun already.
pub const GRACE_PERIODS: usize = 3;

/// Things that are not part of the store any more and that somebody may still read.
#[derive(Debug)]
pub struct Leaving<T> {
    all: Mutex<Vec<One<T>>>,
    /// How many they are.
    count: AtomicU64,
}

#[derive(Debug)]
struct One<T> {
    thing: Arc<T>,
    /// Still to be cleared.
    slot: Option<u16>,
    /// Set when nobody can have an address in it any more.
    passed: Arc<AtomicBool>,
}

impl<T> Default for Leaving<T> {
    fn default() -> Leaving<T> {
        Leaving { all: Mutex::default(), count: AtomicU64::new(0) }
    }
}

impl<T: Any + Send + Sync> Leaving<T> {
    /// Step 1 is done for these. `tell` is called when [`reap`](Leaving::reap) has something to do.
    pub fn retire(&self, things: impl IntoIterator<Item = (u16, Arc<T>)>, tell: impl FnOnce() + Send + 'static) {
        let passed = Arc::new(AtomicBool::new(false));
        let one = |(slot, thing)| One { thing, slot: Some(slot), passed: Arc::clone(&passed) };
        let leaving: Vec<_> = things.into_iter().map(one).collect();
        {
            let mut all = self.all.lock();
            all.extend(leaving);
            self.count.store(all.len() as u64, Ordering::Relaxed);
        }
        let guard = epoch::pin();
        guard.defer(move || {
            // Release pairs with the Acquire in `reap`: whatever readers did is over.
            passed.store(true, Ordering::Release);
            tell();
        });
        guard.flush();
    }

    /// Steps 3 and 5, as far as they can be done. `gone` gets what nobody holds any more: it may do with it what it likes.
    pub fn reap(
        &self,
        slots: &Slots<T>,
        graveyard: &Arc<Graveyard>,
        tell: impl Fn() + Clone + Send + 'static,
        mut gone: impl FnMut(T),
    ) {
        let leaving = std::mem::take(&mut *self.all.lock());
        let mut left = Vec::with_capacity(leaving.len());
        for mut one in leaving {
            // Acquire pairs with the Release in `retire`.
            if !one.passed.load(Ordering::Acquire) {
                left.push(one);
                continue;
            }
            if let Some(slot) = one.slot.take() {
                clear_slot(slots, slot, graveyard, tell.clone());
            }
            // The slot's own count is among those held until step 4 is over. Nobody can make another one out of none. What those who let go
            // of it did to it is over: `try_unwrap` Acquires what each of them Released.
            match Arc::try_unwrap(one.thing) {
                Ok(thing) => gone(thing),
                Err(thing) => left.push(One { thing, ..one }),
            }
        }
        let mut all = self.all.lock();
        all.append(&mut left);
        self.count.store(all.len() as u64, Ordering::Relaxed);
    }

    /// Is there any? A hint.
    pub fn is_any(&self) -> bool {
        self.count() > 0
    }

    /// How many there are. A hint, too.
    pub fn count(&self) -> u64 {
        // Relaxed: nothing is done to them by this.
        self.count.load(Ordering::Relaxed)
    }

    /// All of them, whoever still reads them.
    pub fn take_all(&self) -> Vec<Arc<T>> {
        self.all.lock().drain(..).map(|one| one.thing).collect()
    }

    /// How many there are, and the sum of what `size` says of each.
    pub fn size(&self, size: impl Fn(&T) -> u64) -> (u64, u64) {
        let all = self.all.lock();
        (all.len() as u64, all.iter().map(|one| size(&one.thing)).sum())
    }
}

/// Step 3. Also for what no reader was ever led to.
pub fn clear_slot<T: Any + Send + Sync>(
    slots: &Slots<T>,
    slot: u16,
    graveyard: &Arc<Graveyard>,
    tell: impl FnOnce() + Send + 'static,
) {
    let brings = Arc::clone(graveyard);
    graveyard.announce();
    slots.clear(slot, &epoch::pin(), move |thing| {
        brings.arrive(thing);
        tell();
    });
}

/// Puts new things in the place of old ones: a version that has the new ones, then the index, then the old ones leave.
///
/// The version comes first. A reader that misses an entry which `repoint` has removed, and finds something older where the index does not
/// speak, sees that its version is not the present one any more. The index comes before the old things leave: who takes an address from
/// it after that does not get one of theirs.
pub fn supersede<R, E>(
    install: impl FnOnce() -> Result<R, E>,
    repoint: impl FnOnce(&R) -> Result<(), E>,
    retire: impl FnOnce(&R),
) -> Result<R, E> {
    let installed = install()?;
    repoint(&installed)?;
    retire(&installed);
    Ok(installed)
}
