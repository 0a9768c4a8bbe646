//! Handles for callers that cannot be trusted with references: the foundation of the foreign bindings.
//!
//! C has no borrow checker. A handle given to it is therefore a **value, not an address**: it is never
//! dereferenced, only looked up, so that a stale, foreign, doubly freed or random one is answered with
//! an error instead of undefined behaviour.
//!
//! ```text
//! bit 63        56 55            24 23          0
//!     +-----------+----------------+------------+
//!     | 0xA0|kind |   generation   |    slot    |     kind 1..=15, generation 1..=2^32-1, slot 0..2^24-64
//!     +-----------+----------------+------------+
//! ```
//!
//! The top byte makes a handle non-zero and non-canonical: no address of user space looks like one, so a pointer
//! passed where a handle belongs is refused for certain, and so is a handle of another kind.
//!
//! 1. A [`Table`] holds the objects of one kind in slots. Slots live in chunks that double in size, are allocated on
//!    demand and never given back: looking at a slot is always sound, whoever made up its number.
//! 2. `Slot::word` is the handle that is live in the slot, or 0. A look-up is a bounds check, a load of the word, a
//!    comparison and a comparison of the fork epoch; then the body, which is the cell's business (3, 4).
//! 3. Objects that one thread at a time may use lie in `Mutex<Option<T>>` ([`ExclusiveTable`]). A second thread finds
//!    the mutex taken and gets [`Refused::Busy`]. After locking, the word is compared again: the object
//!    may have been freed, and the slot reused, in between.
//! 4. Objects that any number of threads use need a cell that readers enter without writing to shared memory. That takes
//!    epochs and `unsafe`, so the binding that needs one brings it; the word is compared again after
//!    entering, for the same reason.
//! 5. To free is to swap the word from the handle to 0: exactly one caller wins, whatever the race. The winner empties
//!    the cell, then pushes the slot on the free list with its next generation. A slot
//!    whose generations are used up is retired, so a handle never becomes valid again.
//! 6. A fork copies the handles but neither the threads nor the locks' owners. Each slot remembers the fork epoch at
//!    which it was filled; in a child the epoch differs, look-ups answer [`Refused::Forked`] before any lock is touched,
//!    and freeing leaks. The free list is lock-free, so that the child can make handles of its own even if it was
//!    forked while another thread was making one.

use crate::sync::{AtomicU32, AtomicU64, CachePadded, Mutex, OnceLock, Ordering, forks};

/// The epochs by which cells of rule 4 reclaim memory: the engine's own collector, so that one pin does for both.
pub use crate::sync::epoch;

/// The epoch, pinned: nothing that cells or the engine take away meanwhile is freed. Not for long, and not while waiting: as long as one thread
/// is pinned, no memory is given back to anybody.
///
/// A type of its own, since a guard might be another collector's: whoever holds this has pinned the engine's.
#[derive(Debug)]
pub struct Pinned(epoch::Guard);

/// Pins the epoch. Not in the child of a fork for what a parent made.
#[inline]
pub fn pin() -> Pinned {
    Pinned(epoch::pin())
}

impl Pinned {
    /// The guard.
    #[inline]
    pub fn guard(&self) -> &epoch::Guard {
        &self.0
    }
}

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 32;
const MARK: u64 = 0xA0;
/// Slots in the first chunk; each later one is twice as large.
const FIRST_CHUNK: u32 = 64;
const CHUNKS: usize = (SLOT_BITS - FIRST_CHUNK.ilog2()) as usize;
/// Handles of one kind that can be live at once: 16,777,152.
pub const SLOTS_MAX: u32 = FIRST_CHUNK * ((1 << CHUNKS) - 1);

/// The current fork epoch. A handle made at another one belongs to an ancestor of this process.
#[inline]
pub fn fork_epoch() -> u64 {
    forks::generation()
}

/// To be called in the child of every fork, from a `pthread_atfork` handler. Async-signal-safe.
pub fn note_fork() {
    forks::note();
}

/// Why a handle was not looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Freed, of another kind, or never a handle.
    Bad,
    /// Another thread is using the object at this moment.
    Busy,
    /// The handle was made before a fork, by the parent.
    Forked,
}

/// All [`SLOTS_MAX`] handles of this kind are live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The objects of one kind, by handle. `C` is the cell that holds a body; see the module's rules 3 and 4.
pub struct Table<C> {
    kind: u8,
    /// The first chunk. Most tables never have more, and to look into this takes half as many instructions.
    first: OnceLock<Box<[CachePadded<Slot<C>>; FIRST_CHUNK as usize]>>,
    /// All later ones.
    chunks: [OnceLock<Chunk<C>>; CHUNKS - 1],
    /// Treiber stack of free slots: a tag that every change counts up, against ABA, then slot + 1; 0 in the
    /// low half is empty.
    free: AtomicU64,
    /// Slots handed out so far, first use.
    used: AtomicU32,
    stale_frees: AtomicU64,
}

type Chunk<C> = Box<[CachePadded<Slot<C>>]>;

struct Slot<C> {
    /// The live handle, or 0.
    word: AtomicU64,
    /// The fork epoch at which the live handle was made. Written before `word`, by the slot's maker.
    fork: AtomicU64,
    /// The last generation given out. Only the thread that took the slot off the free list touches it.
    generation: AtomicU32,
    /// The next free slot + 1, meaningful while this one is free.
    next_free: AtomicU32,
    cell: C,
}

impl<C: Default> Table<C> {
    /// An empty table of objects of `kind`, 1 to 15, different for every table of the program.
    pub const fn new(kind: u8) -> Table<C> {
        assert!(kind >= 1 && kind <= 15);
        Table {
            kind,
            first: OnceLock::new(),
            chunks: [const { OnceLock::new() }; CHUNKS - 1],
            free: AtomicU64::new(0),
            used: AtomicU32::new(0),
            stale_frees: AtomicU64::new(0),
        }
    }

    /// Makes a handle: takes a slot, lets `fill` put the body into its empty cell, publishes.
    ///
    /// If `fill` panics the slot is lost, nothing else.
    pub fn insert_with(&self, fill: impl FnOnce(&C)) -> Result<u64, Full> {
        let index = self.take_free().or_else(|| self.take_new()).ok_or(Full)?;
        let slot = self.slot(index).ok_or(Full)?;
        fill(&slot.cell);
        // Relaxed: `release` has pushed the slot with a release, `take_free` popped it with an acquire.
        let generation = slot.generation.load(Ordering::Relaxed) + 1;
        slot.generation.store(generation, Ordering::Relaxed);
        slot.fork.store(fork_epoch(), Ordering::Relaxed);
        let handle = self.encode(index, generation);
        // Release: pairs with the acquire in `find`, which must see the fork epoch and the body.
        slot.word.store(handle, Ordering::Release);
        Ok(handle)
    }

    /// Where a live handle of this process leads. The body may be freed at any moment: enter the cell
    /// by its own rules, then ask [`is_live`](Found::is_live).
    #[inline]
    pub fn find(&self, handle: u64) -> Result<Found<'_, C>, Refused> {
        let slot = self.slot(handle as u32 & ((1 << SLOT_BITS) - 1)).ok_or(Refused::Bad)?;
        // Acquire: pairs with the release in `insert_with`. No live word is 0, so the comparison covers
        // mark, kind, generation and "is it live" at once.
        if slot.word.load(Ordering::Acquire) != handle || handle == 0 {
            return Err(Refused::Bad);
        }
        if slot.fork.load(Ordering::Relaxed) != fork_epoch() {
            return Err(Refused::Forked);
        }
        Ok(Found { handle, slot })
    }

    /// Frees a handle: whoever comes first gets what `take` took out of the cell, everyone else [`Refused::Bad`].
    ///
    /// A handle that is not live is counted in [`stale_frees`](Table::stale_frees), but for 0, C's NULL; one of a parent
    /// process is left as it is.
    pub fn remove_with<R>(&self, handle: u64, take: impl FnOnce(&C) -> R) -> Result<R, Refused> {
        let index = handle as u32 & ((1 << SLOT_BITS) - 1);
        let won = self.find(handle).and_then(|Found { slot, .. }| {
            // AcqRel: acquires the body as `find` does; releases nothing that matters, but orders the swap before
            // the emptying of the cell for readers that take their second look.
            slot.word
                .compare_exchange(handle, 0, Ordering::AcqRel, Ordering::Relaxed)
                .map(|_| slot)
                .map_err(|_| Refused::Bad)
        });
        match won {
            Ok(slot) => {
                let body = take(&slot.cell);
                self.release(index, slot);
                Ok(body)
            }
            Err(refused) => {
                if refused == Refused::Bad && handle != 0 {
                    self.stale_frees.fetch_add(1, Ordering::Relaxed);
                }
                Err(refused)
            }
        }
    }

    /// How often something was freed that was not live: a bug in the caller, without consequence here.
    pub fn stale_frees(&self) -> u64 {
        self.stale_frees.load(Ordering::Relaxed)
    }

    /// Live handles, counted slot by slot: for diagnosis.
    pub fn live(&self) -> usize {
        let used = self.used.load(Ordering::Relaxed).min(SLOTS_MAX);
        let live = |index: &u32| self.slot(*index).is_some_and(|slot| slot.word.load(Ordering::Relaxed) != 0);
        (0..used).filter(live).count()
    }

    fn encode(&self, index: u32, generation: u32) -> u64 {
        (MARK | u64::from(self.kind)) << (SLOT_BITS + GENERATION_BITS)
            | u64::from(generation) << SLOT_BITS
            | u64::from(index)
    }

    /// The slot of that number, if its chunk is there.
    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot<C>> {
        if index < FIRST_CHUNK {
            return Some(&self.first.get()?[index as usize]);
        }
        let position = index + FIRST_CHUNK;
        let chunk = (position.ilog2() - FIRST_CHUNK.ilog2() - 1) as usize;
        let chunk = self.chunks.get(chunk)?.get()?;
        let within = position - (1 << position.ilog2());
        chunk.get(within as usize).map(|slot| &**slot)
    }

    fn take_free(&self) -> Option<u32> {
        // Acquire, here and on failure: pairs with the release in `release`, which wrote `next_free` and `generation`.
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            // If another thread takes the slot meanwhile, this reads a value of no meaning, and the tag fails the exchange.
            let next = self.slot(index)?.next_free.load(Ordering::Relaxed);
            let tagged = next_tag(head) | u64::from(next);
            match self.free.compare_exchange_weak(head, tagged, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    fn take_new(&self) -> Option<u32> {
        let more = |used: u32| (used < SLOTS_MAX).then_some(used + 1);
        // Relaxed: the number is all that is handed over.
        let index = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        if self.slot(index).is_none() {
            // Built outside of the `OnceLock`: a fork must not meet a half-done initialisation that takes long.
            // Threads that race here throw away all chunks but one.
            let chunk = ((index + FIRST_CHUNK).ilog2() - FIRST_CHUNK.ilog2()) as usize;
            let slots: Chunk<C> = (0..FIRST_CHUNK << chunk).map(|_| CachePadded::new(Slot::empty())).collect();
            match (chunk.checked_sub(1), slots) {
                (Some(later), slots) => _ = self.chunks[later].set(slots),
                (None, slots) => _ = slots.try_into().map(|slots| self.first.set(slots)),
            }
        }
        Some(index)
    }

    /// Puts an emptied slot on the free list, or retires it.
    fn release(&self, index: u32, slot: &Slot<C>) {
        if slot.generation.load(Ordering::Relaxed) == u32::MAX {
            return;
        }
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            slot.next_free.store(head as u32, Ordering::Relaxed);
            let tagged = next_tag(head) | u64::from(index + 1);
            // Release: pairs with the acquire in `take_free`.
            match self.free.compare_exchange_weak(head, tagged, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// Where a handle leads that was live.
pub struct Found<'t, C> {
    handle: u64,
    slot: &'t Slot<C>,
}

impl<'t, C> Found<'t, C> {
    /// The cell.
    #[inline]
    pub fn cell(&self) -> &'t C {
        &self.slot.cell
    }

    /// Is the handle still live? Meant for the second look, after the cell was entered.
    #[inline]
    pub fn is_live(&self) -> bool {
        // Acquire: pairs with the release in `insert_with`, as in `find`. A handle is never given out twice, so the slot's fork epoch
        // is what it was at the first look.
        self.slot.word.load(Ordering::Acquire) == self.handle
    }
}

impl<C: Default> Slot<C> {
    fn empty() -> Slot<C> {
        Slot {
            word: AtomicU64::new(0),
            fork: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            next_free: AtomicU32::new(0),
            cell: C::default(),
        }
    }
}

/// The tag after `head`'s, in place; the low half is 0.
fn next_tag(head: u64) -> u64 {
    (head >> 32).wrapping_add(1) << 32
}

/// A table of objects that one thread at a time may use (rule 3).
pub type ExclusiveTable<T> = Table<Mutex<Option<T>>>;

impl<T> ExclusiveTable<T> {
    /// Makes a handle of `body`.
    pub fn insert(&self, body: T) -> Result<u64, Full> {
        self.insert_with(|cell| *cell.lock() = Some(body))
    }

    /// Runs `f` on the object, or answers [`Refused::Busy`] if another thread is at it.
    #[inline]
    pub fn try_with<R>(&self, handle: u64, f: impl FnOnce(&mut T) -> R) -> Result<R, Refused> {
        let found = self.find(handle)?;
        let mut body = found.cell().try_lock().ok_or(Refused::Busy)?;
        match body.as_mut() {
            Some(body) if found.is_live() => Ok(f(body)),
            _ => Err(Refused::Bad),
        }
    }

    /// Runs `f` on the object, after waiting for another thread that is at it. For objects whose calls are short.
    pub fn with<R>(&self, handle: u64, f: impl FnOnce(&mut T) -> R) -> Result<R, Refused> {
        let found = self.find(handle)?;
        let mut body = found.cell().lock();
        match body.as_mut() {
            Some(body) if found.is_live() => Ok(f(body)),
            _ => Err(Refused::Bad),
        }
    }

    /// Frees the handle and gives the object back, after waiting for a call that is using it.
    pub fn remove(&self, handle: u64) -> Result<T, Refused> {
        self.remove_with(handle, |cell| cell.lock().take())?.ok_or(Refused::Bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, AtomicBool, AtomicUsize};

    fn xorshift(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn a_handle_is_good_until_freed_and_never_again() {
        let table = ExclusiveTable::<String>::new(3);
        let first = table.insert("one".into()).unwrap();
        assert_eq!(table.with(first, |s| s.clone()), Ok("one".into()));
        assert_eq!(table.remove(first), Ok("one".into()));
        assert_eq!(table.remove(first), Err(Refused::Bad));
        let second = table.insert("two".into()).unwrap();
        assert_eq!(first & 0xff_ffff, second & 0xff_ffff, "the slot was to be used again");
        assert_ne!(first, second);
        assert_eq!(table.with(first, |_| ()), Err(Refused::Bad));
        assert_eq!(table.with(second, |s| s.clone()), Ok("two".into()));
        assert_eq!((table.stale_frees(), table.live()), (1, 1));
    }

    #[test]
    fn handles_of_another_kind_and_addresses_are_refused() {
        let (a, b) = (ExclusiveTable::<u8>::new(1), ExclusiveTable::<u8>::new(2));
        let (of_a, of_b) = (a.insert(1).unwrap(), b.insert(2).unwrap());
        assert_eq!(a.try_with(of_b, |_| ()), Err(Refused::Bad));
        assert_eq!(b.remove(of_a), Err(Refused::Bad));
        let local = 0u8;
        for foreign in [0, 1, u64::MAX, &raw const local as u64, of_a ^ 1, of_a ^ (1 << 63), of_a + (1 << 24)] {
            assert_eq!(a.try_with(foreign, |_| ()), Err(Refused::Bad), "{foreign:#x}");
        }
        assert_eq!(a.try_with(of_a, |n| *n), Ok(1));
    }

    /// Random values, and random values that look like handles: none is accepted but the one that is live.
    #[test]
    fn random_handles_are_refused() {
        let table = ExclusiveTable::<u8>::new(5);
        let live: Vec<u64> = (0..100).map(|_| table.insert(0).unwrap()).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for round in 0..1_000_000 {
            let mut value = xorshift(&mut state);
            if round % 2 == 1 {
                value = live[0] & !0xffff_ffff | value & 0x0300_00ff;
            }
            assert_eq!(table.find(value).is_ok(), live.contains(&value), "{value:#x}");
        }
    }

    /// A slot with no generation left is not used again: the last handle stays dead.
    #[test]
    fn a_slot_is_retired_when_its_generations_are_used_up() {
        let table = ExclusiveTable::<u8>::new(1);
        let handle = table.insert(0).unwrap();
        table.remove(handle).unwrap();
        table.slot(0).unwrap().generation.store(u32::MAX - 1, Ordering::Relaxed);
        let last = table.insert(1).unwrap();
        assert_eq!(last & 0xff_ffff, 0);
        table.remove(last).unwrap();
        let next = table.insert(2).unwrap();
        assert_eq!(next & 0xff_ffff, 1, "slot 0 must be retired");
        assert_eq!(table.find(last).err(), Some(Refused::Bad));
    }

    #[test]
    fn chunks_grow_and_every_number_is_in_one() {
        let table = ExclusiveTable::<u32>::new(1);
        let handles: Vec<u64> = (0..10_000).map(|n| table.insert(n).unwrap()).collect();
        for (n, handle) in handles.iter().enumerate() {
            assert_eq!(table.with(*handle, |body| *body), Ok(n as u32));
        }
        assert!(table.slot(SLOTS_MAX - 1).is_none() && table.slot((1 << 24) - 1).is_none());
        assert_eq!(table.live(), 10_000);
    }

    #[test]
    fn a_second_thread_is_told_that_the_object_is_busy() {
        let table = ExclusiveTable::<u8>::new(1);
        let handle = table.insert(7).unwrap();
        let inner = table.try_with(handle, |_| table.try_with(handle, |_| ()));
        assert_eq!(inner, Ok(Err(Refused::Busy)));
        assert_eq!(table.try_with(handle, |n| *n), Ok(7));
    }

    /// Threads make, use and free handles, their own and each other's. Every object is freed exactly once,
    /// nobody sees an object other than the handle's.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test drives threads, the table starts none")]
    fn races_free_once_and_never_mix_objects() {
        struct Counted(u64, Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.1.fetch_add(1, Ordering::Relaxed);
            }
        }
        const ROUNDS: u64 = 20_000;
        let table = Arc::new(ExclusiveTable::<Counted>::new(9));
        let shared: Arc<Vec<AtomicU64>> = Arc::new((0..16).map(|_| AtomicU64::new(0)).collect());
        let (drops, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let threads: Vec<_> = (1..=4u64)
            .map(|thread| {
                let (table, shared, drops, stop) = (table.clone(), shared.clone(), drops.clone(), stop.clone());
                std::thread::spawn(move || {
                    let mut state = thread * 0x1234_5678_9abc_def1;
                    for round in 0..ROUNDS {
                        let place = &shared[(xorshift(&mut state) % 16) as usize];
                        let body = thread << 32 | round;
                        let handle = table.insert(Counted(body, drops.clone())).unwrap();
                        assert_eq!(table.try_with(handle, |b| b.0), Ok(body), "a fresh handle is its maker's alone");
                        let old = place.swap(handle, Ordering::AcqRel);
                        // Both the thread that swaps it out and a bystander free it; one wins.
                        let _ = table.remove(old);
                        let _ = table.remove(shared[(xorshift(&mut state) % 16) as usize].load(Ordering::Acquire));
                        assert!(!stop.load(Ordering::Relaxed));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(drops.load(Ordering::Relaxed) + table.live(), 4 * ROUNDS as usize);
        assert!(table.stale_frees() > 0);
    }
}
