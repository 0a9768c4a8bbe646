//! Slots and cells: what readers follow without a lock, and what becomes of a thing that is taken out of one.
//!
//! [`Slots`] lead from the 16-bit slot of an address to a file; [`EpochCell`] is one pointer, to the version. Whoever follows either holds
//! an epoch guard and nothing else. What is taken out goes to the [`Graveyard`] after a grace period, when no guard is left that could have
//! seen it, and dies there on the worker: user threads never unmap or free a file.
//!
//! What holds here is checked by models (`slots/loom.rs` and `leaving/loom.rs`).

#![allow(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

use crate::sync::epoch::Guard;
use crate::sync::{Arc, AtomicPtr, Mutex, OnceLock, Ordering};

#[cfg(all(test, kvs_loom))]
pub(crate) mod loom;

/// How many things may live at once: an address has 16 bits for the slot. A model checker can't follow so many.
pub const SLOTS: usize = if cfg!(kvs_loom) { 4 } else { 1 << 16 };

/// Slots come in blocks, so that a small store does not pay for 65,536 of them.
const BLOCK: usize = if cfg!(kvs_loom) { 2 } else { 256 };

type Block<T> = Box<[AtomicPtr<T>; BLOCK]>;

/// What each slot stands for.
pub struct Slots<T> {
    blocks: Box<[OnceLock<Block<T>>]>,
    /// The lowest slot that was never given out, and those given back.
    free: Mutex<Free>,
    owns: PhantomData<Arc<T>>,
}

#[derive(Debug, Default)]
struct Free {
    fresh: usize,
    back: Vec<u16>,
}

impl<T: Send + Sync + 'static> Slots<T> {
    /// Nothing yet.
    pub fn new() -> Slots<T> {
        let blocks = (0..SLOTS / BLOCK).map(|_| OnceLock::new()).collect();
        Slots { blocks, free: Mutex::default(), owns: PhantomData }
    }

    /// Gives `thing` a slot; `None` if all are taken.
    pub fn give(&self, thing: Arc<T>) -> Option<u16> {
        let mut free = self.free.lock();
        let slot = match free.back.pop() {
            Some(slot) => usize::from(slot),
            None if free.fresh == SLOTS => return None,
            None => {
                free.fresh += 1;
                free.fresh - 1
            }
        };
        let block = self.blocks[slot / BLOCK]
            .get_or_init(|| Box::new(std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut()))));
        // Release pairs with the Acquire in `pointer`: whoever finds the pointer finds the thing behind it.
        block[slot % BLOCK].store(Arc::into_raw(thing).cast_mut(), Ordering::Release);
        Some(slot as u16)
    }

    /// Empties a slot, to be used again. Its count of the thing is given to `then` after a grace period. To be called when nobody can
    /// have an address in the thing any more: an address that is used after this leads nowhere, or into another one.
    pub fn clear(&self, slot: u16, guard: &Guard, then: impl FnOnce(Arc<T>) + Send + 'static) {
        let slot = usize::from(slot);
        let Some(block) = self.blocks[slot / BLOCK].get() else { return };
        let mut free = self.free.lock();
        // AcqRel: Release orders nothing that a reader follows; Acquire because the thing is taken over.
        let old = block[slot % BLOCK].swap(std::ptr::null_mut(), Ordering::AcqRel);
        if old.is_null() {
            return;
        }
        free.back.push(slot as u16);
        drop(free);
        // SAFETY: the pointer came from `Arc::into_raw` in `give`, and the swap took the slots' count out of the slot, so once.
        let old = unsafe { Arc::from_raw(old.cast_const()) };
        // Whoever found the pointer before the swap is pinned until it has done with it.
        guard.defer(move || then(old));
        guard.flush();
    }

    /// What is in `slot`.
    #[inline]
    pub fn get<'g>(&'g self, slot: u16, _guard: &'g Guard) -> Option<&'g T> {
        let pointer = self.pointer(slot);
        // SAFETY: a non-null pointer came from `Arc::into_raw` in `give`, and the slot's count is given back in `drop`, which has
        // `&mut self` and so can't happen while `&'g self` lives, or after a grace period that began when `clear` had emptied the
        // slot: the caller, who found the pointer there, was pinned before that and is for 'g.
        unsafe { pointer.as_ref() }
    }

    /// What is in `slot`, to hold on to.
    #[inline]
    pub fn pin(&self, slot: u16, _guard: &Guard) -> Option<Arc<T>> {
        let pointer = self.pointer(slot);
        if pointer.is_null() {
            return None;
        }
        // SAFETY: as in `get`, the pointer came from `Arc::into_raw` and a count of it is held throughout this
        // call, under the guard; `increment_strong_count` adds the count that `from_raw` takes.
        unsafe {
            Arc::increment_strong_count(pointer);
            Some(Arc::from_raw(pointer))
        }
    }

    #[inline]
    fn pointer(&self, slot: u16) -> *const T {
        match self.blocks[slot as usize / BLOCK].get() {
            // Acquire pairs with the Release in `give`.
            Some(block) => block[slot as usize % BLOCK].load(Ordering::Acquire),
            None => std::ptr::null(),
        }
    }
}

impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.free.lock();
        write!(f, "Slots({} in use)", free.fresh - free.back.len())
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        for slot in self.blocks.iter_mut().filter_map(OnceLock::get_mut).flat_map(|block| block.iter_mut()) {
            // Relaxed: `&mut self` was handed over with everything that happened before.
            let pointer = slot.swap(std::ptr::null_mut(), Ordering::Relaxed);
            if !pointer.is_null() {
                // SAFETY: the pointer came from `Arc::into_raw`, its count was given back nowhere else, and `&mut self`
                // means that no reader is left.
                drop(unsafe { Arc::from_raw(pointer.cast_const()) });
            }
        }
    }
}

/// Where things wait for the worker to drop them.
#[derive(Debug, Default)]
pub struct Graveyard(Mutex<Dead>);

/// Whoever sends a thing on its way makes room for it here, so that the thread that brings it, which may be a reader, does not
/// allocate.
#[derive(Debug, Default)]
struct Dead {
    awaited: usize,
    arrived: Vec<Arc<dyn Any + Send + Sync>>,
}

impl Graveyard {
    /// Drops whatever arrived. Called by the worker, and by whoever closes the store.
    pub fn empty(&self) {
        // One at a time, without the lock: what dies may take long.
        while let Some(dead) = self.next() {
            drop(dead);
        }
    }

    fn next(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.lock().arrived.pop()
    }

    /// Something will [`arrive`](Graveyard::arrive): makes room for it.
    pub fn announce(&self) {
        let mut dead = self.0.lock();
        dead.awaited += 1;
        let room = dead.awaited;
        dead.arrived.reserve(room);
    }

    /// Brings what was announced.
    pub fn arrive(&self, thing: Arc<dyn Any + Send + Sync>) {
        let mut dead = self.0.lock();
        dead.awaited -= 1;
        dead.arrived.push(thing);
    }
}

/// One pointer that readers follow under an epoch guard and writers replace.
pub struct EpochCell<T> {
    pointer: AtomicPtr<T>,
    graveyard: Arc<Graveyard>,
    owns: PhantomData<Arc<T>>,
}

impl<T: Any + Send + Sync> EpochCell<T> {
    /// A cell that holds `value`; what is replaced goes to `graveyard`.
    pub fn new(value: Arc<T>, graveyard: Arc<Graveyard>) -> EpochCell<T> {
        EpochCell { pointer: AtomicPtr::new(Arc::into_raw(value).cast_mut()), graveyard, owns: PhantomData }
    }

    /// What it holds now, for as long as the guard lives.
    #[inline]
    pub fn load<'g>(&'g self, _guard: &'g Guard) -> &'g T {
        // Acquire pairs with the AcqRel in `replace`.
        let pointer = self.pointer.load(Ordering::Acquire);
        // SAFETY: never null; it came from `Arc::into_raw`, and the count that belongs to the cell is released only by a closure
        // deferred past every guard that was alive at the replacement, ours among them, or by `drop`, which has `&mut self`.
        unsafe { &*pointer }
    }

    /// What it holds now, to hold on to.
    pub fn pin(&self, _guard: &Guard) -> Arc<T> {
        let pointer = self.pointer.load(Ordering::Acquire);
        // SAFETY: as in `load` the cell's count outlives the guard; `increment_strong_count` adds the one that `from_raw` takes.
        unsafe {
            Arc::increment_strong_count(pointer);
            Arc::from_raw(pointer)
        }
    }

    /// Replaces what it holds. Writers are serialised by the caller.
    pub fn replace(&self, value: Arc<T>, guard: &Guard) {
        // AcqRel: Release pairs with the Acquire in `load` and `pin`; Acquire because the old value is taken over.
        let old = self.pointer.swap(Arc::into_raw(value).cast_mut(), Ordering::AcqRel);
        // SAFETY: the cell's count of the old value is ours now that no later load can find it.
        let old = unsafe { Arc::from_raw(old) };
        let graveyard = Arc::clone(&self.graveyard);
        graveyard.announce();
        guard.defer(move || graveyard.arrive(old));
        // Out of this thread's private bag: there it would keep closed stores' files open for as long as the thread lives and
        // replaces little else.
        guard.flush();
    }
}

impl<T> Drop for EpochCell<T> {
    fn drop(&mut self) {
        // Relaxed: `&mut self` was handed over with everything that happened before.
        let pointer = self.pointer.swap(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: never null before, from `Arc::into_raw`, and `&mut self` means that no reader is left.
        drop(unsafe { Arc::from_raw(pointer.cast_const()) });
    }
}

impl<T> fmt::Debug for EpochCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochCell")
    }
}
