//! The point index: hash of a key -> address of the key's newest record.
//!
//! It stores no keys. Whoever searches passes a closure that looks at the record at an address and says
//! whether that is the sought key. It is a hint built from logs and tables, never the truth.
//!
//! # Layout
//!
//! ```text
//! hash      := P (8 bits: the partition) | B (24 bits) | 32 bits not used
//! B         := extra (8 bits) | tag (16 bits)
//! partition := pointer to its table (null: no entry yet) | entries | writer lock
//! table     := bucket*                            any number; a key's home is bucket (B * count) >> 24
//! bucket    := slot u64 * 7 | meta u64            one cache line
//! slot      := tag (16 bits) | address (48 bits)  0: vacant, for address 0 never occurs
//! meta      := overflow (bit 63) | extra * 7      the extra of slot i is bits 8*i .. 8*i + 8
//! ```
//!
//! tag + extra are all of B, so a larger table is built from the smaller one alone, without a look at any record.
//!
//! # Protocol
//!
//! 1. Everything that writes holds the partition's lock. Readers take none, allocate nothing, and pin an epoch.
//! 2. A search starts in the home bucket and goes on to the next (wrapping) only while the overflow bit is set,
//!    for at most one round.
//! 3. An insert takes the first vacant slot from the home bucket on: extra into meta, then the slot word
//!    (Release), then the overflow bit of every bucket it went past (Release).
//! 4. An overwrite stores one slot word (Release). An entry never moves within a table.
//! 5. A removal stores 0. Overflow bits stay. A later insert may take the slot.
//! 6. Growth, shrinking, and cleaning (same size, when removals have left too many overflow bits) build a new
//!    table privately from slots and meta, publish its pointer (Release), and retire the old table, which nobody
//!    writes again.
//! 7. A retired table reaches a queue when no reader can hold it; [`Index::collect`], called by the worker, frees it.
//!    User threads free nothing.
//!
//! # Why a reader is right
//!
//! *Definitions.* A reader *knows of* a write if the write happens before the reader's search: the engine publishes
//! by a Release store of the visible sequence number after the write, and readers Acquire that first.
//!
//! **A.** *Path.* If an entry stands in bucket b with home h, the overflow bits of h .. b are set: step 3 sets
//! them with the insert, and nothing clears a bit within a table. So a reader that knows of the insert walks from
//! h to b: it sees the bits (coherence; the bits only ever go from 0 to 1). A reader that does not know of it may
//! stop early: for that reader the insert has not happened. The order of step 3 is not needed for this; it makes
//! a reader which does follow a fresh bit find the entry behind it (Acquire of meta pairs with the Release), so
//! no reader walks for nothing. Meta is also stored when only an extra changes, with the same Release, so that
//! the pairing holds through any store of the word.
//!
//! **B.** *Table.* A reader that knows of a write knows of every pointer that the partition had before it, as
//! writes to a partition are ordered by its lock. It loads that pointer or a newer one (coherence), so it never
//! searches a table that was retired before a write it knows of. A table is complete before its pointer is stored
//! (Release, Acquire), and holds everything that the old one held.
//!
//! **C.** *Never an older value.* By B the reader's table is not older than the newest write of this key that it
//! knows of; in that table the slot word was stored before, so it loads this word or a newer one. Record bytes
//! are written before the slot word's Release, which pairs with the Acquire load of the slot.
//!
//! **D.** *Removal and reuse, other keys.* A slot word is one atomic: tag and address always belong together. If
//! a reader is on its way while a slot that it will pass goes from key X to key Y, it sees X's word, 0, or Y's
//! word. A word that is not the sought key's fails the tag or the key comparison, and the search goes on exactly
//! as if the slot were vacant: what lies behind is decided by overflow bits, which removal leaves. So reuse can't
//! hide a third key. If the same word comes back (ABA), it is the same address and the record there is compared
//! again: words carry no history.
//!
//! **E.** *Removal and reinsertion of the same key* is the one way in which a key changes its slot in a table. A
//! reader may pass the new slot before the insert, and reach the old one after the removal. It then reports a
//! miss. The removal came before the insert, so there was a moment during the search when the key was in no slot,
//! and the reader does not know of the insert: the miss is the correct answer for that moment. (Removal itself is
//! lawful only where a miss is: the engine's business.) A reader that knows of the insert can't find the old
//! word: the store of 0 is before the insert.
//!
//! **F.** *At most one slot of the current table holds a given key*: inserts search the whole path under the lock
//! first, and use the entry if there is one. A reader sees at most one, by E, and ends at the first match.
//!
//! # Size
//!
//! A table grows by half when more than 85% of its slots would be taken, so it is between 57% and 85% full: 16.1 to
//! 10.8 bytes an entry, 13 on average. The sizes of different partitions are staggered, or all of them would grow at
//! the same time and the whole index would be at one end of this range. Tables of a page and more are whole pages
//! ([`buckets`] says why), which costs up to 22 bytes an entry below some 300,000 keys. Beyond 8 MiB they lie in an [`arena`], whose
//! holes are about a fifth more.
#![expect(unsafe_code, reason = "tables are freed by hand when the epoch has passed; prefetch is an intrinsic")]

#[cfg(not(kvs_loom))]
mod arena;
mod bucket;
mod buckets;
#[cfg(all(test, kvs_loom))]
mod loom;
mod table;
#[cfg(all(test, not(kvs_loom)))]
mod tests;

/// Loom's atomics are not plain words in pages.
#[cfg(kvs_loom)]
mod arena {
    #[derive(Default)]
    pub(super) struct Arena;

    impl Arena {
        pub(super) fn hole_bytes(&self) -> u64 {
            0
        }
    }
}

use std::ptr;

use crate::sync::epoch::{self, Guard};
use crate::sync::{Arc, AtomicPtr, AtomicU64, Mutex, MutexGuard, Ordering};

use self::arena::Arena;
pub use self::bucket::Address;
use self::bucket::{Bits, Bucket};
use self::table::{At, Table, buckets_for, entries_max, entries_min, grown};

/// One partition is one lock and one table that grows alone. More of them: shorter pauses for growth. Fewer: less lost to whole
/// pages. With 256 a table of 500,000 keys is of five pages, and the longest growth at 100 million keys moves 400,000
/// entries, some 4 ms. A model checker can't follow so many.
const PARTITIONS: usize = if cfg!(kvs_loom) { 1 } else { 1 << PARTITION_BITS };
const PARTITION_BITS: u32 = 8;
/// Tables of a larger index share huge pages. Zen and Golden Cove reach 8 to 12 MiB in pages of 4 KiB without a walk of the page table (2,048 to
/// 3,072 entries of the second level's TLB).
const SMALL_BYTES_MAX: u64 = 8 << 20;
/// What the holes between tables count at most, in parts of the tables' bytes: fewer entries don't fill them.
const HOLES_PART: u64 = 4;

/// The point index. See the module for layout and protocol.
///
/// Any number of threads may search and lock at the same time; writers of different partitions do not wait for
/// each other.
pub struct Index {
    partitions: Box<[Part]>,
    memory: Arc<Memory>,
}

/// A partition at rest, on a cache line of its own: threads that put write another one's line half of the time.
#[derive(Default)]
#[repr(align(64))]
struct Part {
    /// Null until the first insert, else from `Box::into_raw`. Stored under `writer`, Release; loaded Acquire.
    table: AtomicPtr<Table>,
    /// Entries in the table. Stored under `writer`; whoever else reads it gets a recent number, so Relaxed is enough.
    entries: AtomicU64,
    writer: Mutex<Writer>,
}

/// What only writers of a partition need.
#[derive(Default)]
struct Writer {
    /// Buckets of the current table with the overflow bit set, and the number at which it is cleaned.
    overflowed: usize,
    overflowed_max: usize,
    /// Inserts, removals and new tables so far: tells an outdated [`Place`].
    changes: u32,
}

/// Shared with the deferred functions, which may run after the index is gone.
#[derive(Default)]
struct Memory {
    /// Bytes of all tables not yet freed. A statistic: Relaxed throughout.
    tables: AtomicU64,
    /// Bytes of the current ones. The same.
    current: AtomicU64,
    /// Where the tables of a large index lie.
    arena: Arc<Arena>,
    retired: Mutex<Retirement>,
}

impl Memory {
    /// Where a new table goes, if not to pages of its own.
    fn arena(&self) -> Option<&Arc<Arena>> {
        (self.current.load(Ordering::Relaxed) > SMALL_BYTES_MAX).then_some(&self.arena)
    }
}

/// Tables on their way out. Whoever retires one makes room for it here, so that the thread that brings it, which may be a
/// reader, does not allocate.
#[derive(Default)]
struct Retirement {
    /// Tables that readers may still hold.
    awaited: usize,
    /// Tables that no reader holds any more, to be freed by [`Index::collect`].
    #[expect(clippy::vec_box, reason = "to unbox a table is to free its box, on whatever thread moves the epoch on")]
    arrived: Vec<Box<Table>>,
}

impl Retirement {
    fn announce(&mut self) {
        self.awaited += 1;
        self.arrived.reserve(self.awaited);
    }

    fn arrive(&mut self, table: Box<Table>) {
        self.awaited -= 1;
        self.arrived.push(table);
    }
}

impl Index {
    /// An empty index. It allocates 16 KiB, and tables with the first keys.
    pub fn new() -> Index {
        Index { partitions: (0..PARTITIONS).map(|_| Part::default()).collect(), memory: Arc::default() }
    }

    /// Hints to the processor to fetch the home bucket of `hash`, for a search that comes soon.
    pub fn prefetch(&self, hash: u64, guard: &Guard) {
        if let Some(table) = self.partitions[partition_of(hash)].table(guard) {
            prefetch(table.home(Bits::of_hash(hash)));
        }
    }

    /// Where the record of the key with this `hash` probably is, if it has one: the first with its tag in its home bucket. A hint, to
    /// fetch the record early; what the search finds later counts.
    #[inline(always)]
    pub fn likely(&self, hash: u64, guard: &Guard) -> Option<Address> {
        let bits = Bits::of_hash(hash);
        let table = self.partitions[partition_of(hash)].table(guard)?;
        // Relaxed: nobody reads the record by it.
        let scan = table.home(bits).scan(bits, Ordering::Relaxed);
        let found = scan.candidates().next().map(|(_, address)| address);
        if found.is_none() && scan.vacant().is_none() {
            prefetch(table.after_home(bits));
        }
        found
    }

    /// The address of the key with this `hash`, for which `is_key` says `Ok(true)`. An `Err` of `is_key` ends the
    /// search.
    ///
    /// `is_key` is asked about every entry with the same 16-bit tag on the key's path: mostly just the
    /// right one. Takes no lock and allocates nothing.
    #[inline(always)]
    pub fn find<E>(
        &self,
        hash: u64,
        guard: &Guard,
        mut is_key: impl FnMut(Address) -> Result<bool, E>,
    ) -> Result<Option<Address>, E> {
        let Some(table) = self.partitions[partition_of(hash)].table(guard) else {
            return Ok(None);
        };
        let bits = Bits::of_hash(hash);
        for (_, bucket) in table.path(bits) {
            // Acquire: see `Bucket::scan`.
            for (_, address) in bucket.scan(bits, Ordering::Acquire).candidates() {
                if is_key(address)? {
                    return Ok(Some(address));
                }
            }
        }
        Ok(None)
    }

    /// Locks the partition of `hash`: every change goes through it. Waits while another thread holds it.
    #[inline(always)]
    pub fn lock(&self, hash: u64) -> Partition<'_> {
        let number = partition_of(hash);
        let part = &self.partitions[number];
        Partition { number, part, memory: &self.memory, writer: part.writer.lock() }
    }

    /// Entries in the index: a recent number while others write.
    pub fn len(&self) -> u64 {
        self.partitions.iter().map(|part| part.entries.load(Ordering::Relaxed)).sum()
    }

    /// Whether there is no entry.
    #[cfg_attr(not(test), expect(dead_code, reason = "`len` wants it beside it"))]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Does any entry lead to the file in `slot`? Looks at all of them: for checks.
    pub fn leads_to(&self, slot: u16) -> Option<Address> {
        let guard = epoch::pin();
        self.partitions.iter().find_map(|part| {
            let _writer = part.writer.lock();
            part.table(&guard)?.entries().map(|(_, address)| address).find(|address| address.slot() == slot)
        })
    }

    /// Bytes of memory allocated, retired tables and the holes between tables included.
    pub fn bytes(&self) -> u64 {
        let tables = self.memory.tables.load(Ordering::Relaxed);
        let holes = self.memory.arena.hole_bytes().min(tables / HOLES_PART);
        size_of_val(&*self.partitions) as u64 + tables + holes
    }

    /// Of these, bytes of retired tables.
    pub fn retired_bytes(&self) -> u64 {
        let Memory { tables, current, .. } = &*self.memory;
        // Two counters, read one after the other.
        tables.load(Ordering::Relaxed).saturating_sub(current.load(Ordering::Relaxed))
    }

    /// Frees the retired tables that no reader holds any more; returns how many.
    ///
    /// To be called by the worker now and then while keys are added or removed.
    pub fn collect(&self) -> usize {
        let mut freed = 0;
        let mut fruitless = 0;
        // A table retired just now comes free when the epoch has moved on twice, and each flush moves it on once at
        // most.
        while fruitless < 3 {
            epoch::pin().flush();
            let before = freed;
            // One at a time: whoever brings another one waits for the lock, and the list keeps its room.
            while let Some(table) = self.arrived() {
                self.memory.tables.fetch_sub(table.bytes(), Ordering::Relaxed);
                freed += 1;
            }
            fruitless = if freed == before { fruitless + 1 } else { 0 };
        }
        freed
    }

    fn arrived(&self) -> Option<Box<Table>> {
        self.memory.retired.lock().arrived.pop()
    }
}

impl Default for Index {
    fn default() -> Index {
        Index::new()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        for part in &mut self.partitions {
            // Relaxed: `&mut self` was handed over with everything that happened before.
            let table = part.table.swap(ptr::null_mut(), Ordering::Relaxed);
            if !table.is_null() {
                // SAFETY: a non-null pointer in `Part::table` is from `Box::into_raw` in `Partition::rebuild` and was
                // not retired: rebuild retires a table after it has replaced the pointer. No reference is left: each
                // borrows the index (`Part::table` ties it to `&self`), which is borrowed exclusively here.
                drop(unsafe { Box::from_raw(table) });
            }
        }
    }
}

impl Part {
    /// The current table, for as long as both the index and the guard live.
    fn table<'g>(&'g self, _guard: &'g Guard) -> Option<&'g Table> {
        // Acquire: pairs with the Release in `Partition::rebuild`.
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: the pointer is null or from `Box::into_raw` in `Partition::rebuild`, and the table complete, by the
        // pair above. It is freed by `Index::drop`, which `&'g self` excludes, or by `collect` after the function
        // deferred in `rebuild` has run. That was deferred after the pointer was replaced; it runs when every thread
        // pinned at that time has unpinned. The caller is pinned for 'g (all guards are of the one global collector:
        // `epoch::pin` is the only source in this crate), and it loaded the pointer while pinned, so either it was
        // pinned when the function was deferred, or it pinned later and saw the replacement. Nobody ever makes a `&mut
        // Table` of a published table; its contents are atomics.
        unsafe { table.as_ref() }
    }
}

/// A partition locked for writing. Searching for readers goes on meanwhile.
///
/// Every method wants the hash (or a hash of the partition) that it was locked with.
pub struct Partition<'a> {
    number: usize,
    part: &'a Part,
    memory: &'a Arc<Memory>,
    writer: MutexGuard<'a, Writer>,
}

/// Where a key stands in a locked partition, or where it would go.
///
/// Valid until the partition is unlocked or another key is inserted in it or removed from it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    at: At,
    address: Option<Address>,
    changes: u32,
}

impl Place {
    /// The address that stands there; `None` if the key is not in the index.
    pub fn address(&self) -> Option<Address> {
        self.address
    }
}

impl<'a> Partition<'a> {
    /// Searches as [`Index::find`] does, and says where.
    pub fn find<E>(
        &mut self,
        hash: u64,
        guard: &Guard,
        mut is_key: impl FnMut(Address) -> Result<bool, E>,
    ) -> Result<Place, E> {
        self.check(hash);
        let changes = self.writer.changes;
        let Some(table) = self.part.table(guard) else {
            return Ok(Place { at: At { bucket: 0, slot: 0 }, address: None, changes });
        };
        let bits = Bits::of_hash(hash);
        let mut vacant = None;
        for (bucket, b) in table.path(bits) {
            // Relaxed: see `Bucket::scan`.
            let scan = b.scan(bits, Ordering::Relaxed);
            for (slot, address) in scan.candidates() {
                if is_key(address)? {
                    return Ok(Place { at: At { bucket, slot }, address: Some(address), changes });
                }
            }
            vacant = vacant.or_else(|| Some(At { bucket, slot: scan.vacant()? }));
        }
        Ok(Place { at: vacant.unwrap_or_else(|| table.vacancy(bits)), address: None, changes })
    }

    /// Makes the key found at `place` point to `address`: overwrites, or inserts at a vacant place.
    ///
    /// `place` is from [`Partition::find`] with this `hash`, and still valid. May allocate: true if a table was retired, so
    /// that [`Index::collect`] has something to do.
    pub fn set(&mut self, place: Place, hash: u64, address: Address, guard: &Guard) -> bool {
        self.check(hash);
        assert_eq!(place.changes, self.writer.changes, "the partition changed after this place was found");
        let bits = Bits::of_hash(hash);
        if place.address.is_some() {
            if let Some(table) = self.part.table(guard) {
                table.overwrite(place.at, bits, address);
            }
            return false;
        }
        let before = self.part.table(guard).map(ptr::from_ref);
        self.insert(place.at, bits, address, guard);
        before.is_some() && before != self.part.table(guard).map(ptr::from_ref)
    }

    /// Does it hold the keys with this hash?
    pub fn holds(&self, hash: u64) -> bool {
        partition_of(hash) == self.number
    }

    /// Points `old` to `new` if the index still holds `old`; otherwise does nothing and returns false.
    ///
    /// For a record that was moved: no key is compared, for an address belongs to one key.
    pub fn replace_if(&mut self, hash: u64, old: Address, new: Address, guard: &Guard) -> bool {
        let Some((table, at)) = self.entry(hash, old, guard) else {
            return false;
        };
        table.overwrite(at, Bits::of_hash(hash), new);
        true
    }

    /// Inserts `address` unless the key is in the index already; returns whether it did. May allocate.
    pub fn fill<E>(
        &mut self,
        hash: u64,
        address: Address,
        guard: &Guard,
        is_key: impl FnMut(Address) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let place = self.find(hash, guard, is_key)?;
        if place.address.is_some() {
            return Ok(false);
        }
        self.set(place, hash, address, guard);
        Ok(true)
    }

    /// Removes the entry that holds `old`; returns false if the index does not hold it (any more). May allocate:
    /// a table that became rather empty is replaced by a smaller one.
    pub fn remove(&mut self, hash: u64, old: Address, guard: &Guard) -> bool {
        let Some((table, at)) = self.entry(hash, old, guard) else {
            return false;
        };
        table.vacate(at);
        let entries = self.entries() - 1;
        // Relaxed: see `Part::entries`.
        self.part.entries.store(entries as u64, Ordering::Relaxed);
        self.writer.changes = self.writer.changes.wrapping_add(1);
        let buckets = table.buckets.len();
        // In whole pages there may be no smaller size yet.
        let smaller = buckets_for(entries);
        if entries < entries_min(buckets) && smaller < buckets {
            self.rebuild(smaller, guard);
        }
        true
    }

    /// The table, and where in it `old` stands.
    fn entry<'g>(&self, hash: u64, old: Address, guard: &'g Guard) -> Option<(&'g Table, At)>
    where
        'a: 'g,
    {
        self.check(hash);
        let table = self.part.table(guard)?;
        Some((table, table.position(Bits::of_hash(hash), old)?))
    }

    /// Inserts a key known to be absent, at the vacant slot `at` unless that table is full.
    fn insert(&mut self, at: At, bits: Bits, address: Address, guard: &Guard) {
        let entries = self.entries() + 1;
        let (table, at) = match self.part.table(guard) {
            Some(table) if entries <= entries_max(table.buckets.len()) => {
                if self.writer.overflowed <= self.writer.overflowed_max {
                    (table, at)
                } else {
                    let table = self.rebuild(table.buckets.len(), guard);
                    (table, table.vacancy(bits))
                }
            }
            full_or_none => {
                let buckets = full_or_none.map_or(0, |table| table.buckets.len());
                let table = self.rebuild(grown(buckets, self.number), guard);
                (table, table.vacancy(bits))
            }
        };
        self.writer.overflowed += table.insert(at, bits, address);
        self.writer.changes = self.writer.changes.wrapping_add(1);
        // Relaxed: see `Part::entries`.
        self.part.entries.store(entries as u64, Ordering::Relaxed);
    }

    /// Replaces the table by one of `buckets` buckets with the same entries, and retires the old one.
    fn rebuild<'g>(&mut self, buckets: usize, guard: &'g Guard) -> &'g Table
    where
        'a: 'g,
    {
        let table = Table::new(buckets, self.memory.arena());
        self.memory.tables.fetch_add(table.bytes(), Ordering::Relaxed);
        let before = self.part.table(guard).map_or(0, Table::bytes);
        self.memory.current.fetch_add(table.bytes(), Ordering::Relaxed);
        self.memory.current.fetch_sub(before, Ordering::Relaxed);
        let mut overflowed = 0;
        for (bits, address) in self.part.table(guard).into_iter().flat_map(Table::entries) {
            overflowed += table.insert(table.vacancy(bits), bits, address);
        }
        self.writer.overflowed = overflowed;
        // At 85% full about a third of the buckets overflow. At least a quarter of the buckets must do so anew before
        // the work is worth repeating: keys that all hash alike overflow for good.
        self.writer.overflowed_max = (buckets * 3 / 4).max(overflowed + buckets / 4 + 1);
        self.writer.changes = self.writer.changes.wrapping_add(1);

        // Release: pairs with the Acquire in `Part::table`. What it replaces was stored under the lock that we hold.
        let old = self.part.table.swap(Box::into_raw(table), Ordering::Release);
        if !old.is_null() {
            let old = Retired(old);
            let memory = Arc::clone(self.memory);
            memory.retired.lock().announce();
            guard.defer(move || memory.retired.lock().arrive(old.into_box()));
            // Out of this thread's private bag, where it could stay for as long as the thread writes no more.
            guard.flush();
        }
        self.part.table(guard).unwrap_or_else(|| unreachable!("the table was stored above, under the lock"))
    }

    fn entries(&self) -> usize {
        // Relaxed: stored under the lock that we hold.
        self.part.entries.load(Ordering::Relaxed) as usize
    }

    fn check(&self, hash: u64) {
        debug_assert_eq!(partition_of(hash), self.number, "a hash of another partition than the locked one");
    }
}

/// A table that was replaced, on its way through the epoch.
struct Retired(*mut Table);

// SAFETY: the pointer is to a `Table`, which is atomics and may be used and freed by any thread; it is the only
// owner.
unsafe impl Send for Retired {}

impl Retired {
    fn into_box(self) -> Box<Table> {
        // SAFETY: made only in `Partition::rebuild`, of a pointer that came from `Box::into_raw` and that the swap
        // under the lock took out of `Part::table`, so once; consumed here, so freed once. Called only by the function
        // deferred there, when no thread that could have loaded the pointer is pinned any more.
        unsafe { Box::from_raw(self.0) }
    }
}

fn partition_of(hash: u64) -> usize {
    (hash >> (u64::BITS - PARTITION_BITS)) as usize & (PARTITIONS - 1)
}

fn prefetch(bucket: &Bucket) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and cannot fault, and the address is that of a live reference; SSE, which
        // the instruction needs, is part of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ptr::from_ref(bucket).cast()) };
    }
    // Elsewhere there is no stable intrinsic: the search itself fetches.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = bucket;
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} entries, {} bytes)", self.len(), self.bytes())
    }
}
