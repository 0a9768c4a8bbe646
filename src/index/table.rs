//! One table of the point index: buckets of slots, and where a key's bits may stand in them.
//!
//! The layout, and why readers may use a table that a writer is changing, stand at the head of [`super`].
//! Functions "for writers" want the partition's lock held, or a table that is not yet published.

use std::num::NonZeroU64;

use crate::sync::{AtomicU64, Ordering};

/// Slots of a bucket. Two suffice to model everything that seven do.
const SLOTS: usize = if cfg!(kvs_loom) { 2 } else { 7 };

const TAG_BITS: u32 = 16;
const EXTRA_BITS: u32 = 9;
const ADDRESS_BITS: u32 = 48;
const EXTRA_MASK: u64 = (1 << EXTRA_BITS) - 1;
const OVERFLOW: u64 = 1 << 63;

/// Where a record is: a file slot and a byte offset in that file, a multiple of 8. 48 bits, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Address(NonZeroU64);

impl Address {
    /// The bytes at `offset` of the file in `slot`. `None` if the offset is no multiple of 8, is 32 GiB or more,
    /// or if both are zero (files start with a header, so no record is there).
    pub fn new(slot: u16, offset: u64) -> Option<Address> {
        let offset8 = u32::try_from(offset / 8).ok()?;
        if !offset.is_multiple_of(8) {
            return None;
        }
        NonZeroU64::new(u64::from(slot) << 32 | u64::from(offset8)).map(Address)
    }

    /// The file slot.
    pub fn slot(self) -> u16 {
        (self.0.get() >> 32) as u16
    }

    /// The offset in the file, in bytes.
    pub fn offset(self) -> u64 {
        (self.0.get() & 0xFFFF_FFFF) * 8
    }
}

/// The 25 bits of a hash that a table keeps: `B` in the layout.
#[derive(Clone, Copy)]
pub(super) struct Bits(u32);

impl Bits {
    pub(super) fn of_hash(hash: u64) -> Bits {
        Bits(hash as u32 & ((1 << (TAG_BITS + EXTRA_BITS)) - 1))
    }

    fn from_parts(tag: u64, extra: u64) -> Bits {
        Bits((extra << TAG_BITS | tag) as u32)
    }

    fn tag(self) -> u64 {
        u64::from(self.0 & 0xFFFF)
    }

    fn extra(self) -> u64 {
        u64::from(self.0 >> TAG_BITS)
    }

    pub(super) fn home(self, buckets: usize) -> usize {
        ((u64::from(self.0) * buckets as u64) >> (TAG_BITS + EXTRA_BITS)) as usize
    }

    /// The slot word for `address`.
    pub(super) fn word(self, address: Address) -> u64 {
        self.tag() << ADDRESS_BITS | address.0.get()
    }
}

fn address_of(word: u64) -> Option<Address> {
    NonZeroU64::new(word & ((1 << ADDRESS_BITS) - 1)).map(Address)
}

/// Position of a slot in a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) bucket: usize,
    pub(super) slot: usize,
}

pub(super) struct Table {
    pub(super) buckets: Box<[Bucket]>,
}

#[repr(C, align(64))]
#[derive(Default)]
pub(super) struct Bucket {
    slots: [AtomicU64; SLOTS],
    meta: AtomicU64,
}

const _: () = assert!(cfg!(kvs_loom) || size_of::<Bucket>() == 64);

impl Table {
    pub(super) fn new(buckets: usize) -> Box<Table> {
        Box::new(Table { buckets: (0..buckets).map(|_| Bucket::default()).collect() })
    }

    /// The bucket in which a search for `bits` starts.
    pub(super) fn home(&self, bits: Bits) -> &Bucket {
        &self.buckets[bits.home(self.buckets.len())]
    }

    pub(super) fn bytes(&self) -> u64 {
        (size_of::<Table>() + size_of_val(&*self.buckets)) as u64
    }

    /// The buckets in which `bits` can be, with their numbers: from the home bucket to the first that has not
    /// overflowed. Whether a bucket has is asked when the caller has done with it.
    #[inline]
    pub(super) fn path(&self, bits: Bits) -> impl Iterator<Item = (usize, &Bucket)> {
        let mut round = self.round(bits);
        let mut last: Option<&Bucket> = None;
        std::iter::from_fn(move || {
            if last.is_some_and(|bucket| !bucket.overflowed()) {
                return None;
            }
            let item = round.next()?;
            last = Some(item.1);
            Some(item)
        })
    }

    /// Every bucket once, from the home bucket on.
    #[inline]
    fn round(&self, bits: Bits) -> impl Iterator<Item = (usize, &Bucket)> {
        let count = self.buckets.len();
        let mut next = bits.home(count);
        let mut left = count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let at = next;
            next = if at + 1 == count { 0 } else { at + 1 };
            Some((at, &self.buckets[at]))
        })
    }

    /// For writers: where `address`, whose key has these `bits`, stands.
    pub(super) fn position(&self, bits: Bits, address: Address) -> Option<At> {
        self.path(bits).find_map(|(bucket, b)| {
            let (slot, _) = b.scan(bits, Ordering::Relaxed).candidates().find(|&(_, found)| found == address)?;
            Some(At { bucket, slot })
        })
    }

    /// For writers: where an absent key goes.
    pub(super) fn vacancy(&self, bits: Bits) -> At {
        self.round(bits)
            .find_map(|(bucket, b)| Some(At { bucket, slot: b.scan(bits, Ordering::Relaxed).vacant()? }))
            .unwrap_or_else(|| unreachable!("a table is never more than 85% full"))
    }

    /// For writers: takes the vacant slot `at`; returns how many buckets overflowed that had not before.
    pub(super) fn insert(&self, at: At, bits: Bits, address: Address) -> usize {
        let bucket = &self.buckets[at.bucket];
        bucket.set_extra(at.slot, bits.extra());
        // Release: pairs with the Acquire in `Bucket::scan`.
        bucket.slots[at.slot].store(bits.word(address), Ordering::Release);
        self.round(bits)
            .take_while(|&(bucket, _)| bucket != at.bucket)
            .map(|(_, passed)| usize::from(passed.set_overflowed()))
            .sum()
    }

    /// For writers: points the entry at `at`, whose key has these `bits`, to `address`.
    pub(super) fn overwrite(&self, at: At, bits: Bits, address: Address) {
        // Release: pairs with the Acquire in `Bucket::scan`.
        self.buckets[at.bucket].slots[at.slot].store(bits.word(address), Ordering::Release);
    }

    /// For writers: makes the slot `at` vacant.
    pub(super) fn vacate(&self, at: At) {
        // Relaxed would do, since 0 leads nowhere; Release keeps one rule: pairs with the Acquire in
        // `Bucket::scan`.
        self.buckets[at.bucket].slots[at.slot].store(0, Ordering::Release);
    }

    /// For writers: all entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Bits, Address)> {
        self.buckets.iter().flat_map(|bucket| {
            bucket.words().filter_map(|(slot, word)| {
                let address = address_of(word)?;
                Some((Bits::from_parts(word >> ADDRESS_BITS, bucket.extra(slot)), address))
            })
        })
    }
}

/// The slots of a bucket at one time, and which of them concern a search: bit n of a mask is slot n.
pub(super) struct Scan {
    words: [u64; SLOTS],
    matching: u32,
    vacant: u32,
}

impl Scan {
    /// The slots with the right tag, and the addresses in them.
    #[inline]
    pub(super) fn candidates(&self) -> impl Iterator<Item = (usize, Address)> {
        let mut left = self.matching;
        std::iter::from_fn(move || {
            while left != 0 {
                let slot = left.trailing_zeros() as usize;
                left &= left - 1;
                if let Some(address) = address_of(self.words[slot]) {
                    return Some((slot, address));
                }
            }
            None
        })
    }

    /// The first vacant slot.
    #[inline]
    pub(super) fn vacant(&self) -> Option<usize> {
        (self.vacant != 0).then(|| self.vacant.trailing_zeros() as usize)
    }
}

impl Bucket {
    /// The slots as they are now, for a search of `bits`. Readers ask for Acquire, which pairs with the Release in
    /// `Table::insert` and `Table::overwrite`; for writers, who hold the lock, Relaxed will do.
    #[inline]
    pub(super) fn scan(&self, bits: Bits, order: Ordering) -> Scan {
        let words = std::array::from_fn(|slot| self.slots[slot].load(order));
        // All tags before the first address, and without a branch, since nobody can predict which slot matches. Under
        // the lock, at 500,000 keys: 45 ns a search, home bucket prefetched; 54 with a branch for each slot.
        let (mut matching, mut vacant) = (0, 0);
        for (slot, word) in words.iter().enumerate() {
            matching |= u32::from(word >> ADDRESS_BITS == bits.tag()) << slot;
            vacant |= u32::from(*word == 0) << slot;
        }
        // A vacant slot looks like tag 0.
        Scan { words, matching: matching & !vacant, vacant }
    }

    /// For writers: the slot words with their numbers.
    #[inline]
    fn words(&self) -> impl Iterator<Item = (usize, u64)> {
        // Relaxed: stored under the lock that the caller holds.
        self.slots.iter().map(|slot| slot.load(Ordering::Relaxed)).enumerate()
    }

    pub(super) fn overflowed(&self) -> bool {
        // Acquire: pairs with the Release in `set_overflowed` and `set_extra`, part A of the proof.
        self.meta.load(Ordering::Acquire) & OVERFLOW != 0
    }

    /// For writers: returns whether the bit was clear.
    fn set_overflowed(&self) -> bool {
        // Relaxed: stored under the lock that the caller holds. Release: pairs with the Acquire in `overflowed`.
        let meta = self.meta.load(Ordering::Relaxed);
        self.meta.store(meta | OVERFLOW, Ordering::Release);
        meta & OVERFLOW == 0
    }

    /// For writers.
    fn extra(&self, slot: usize) -> u64 {
        // Relaxed: stored under the lock that the caller holds.
        self.meta.load(Ordering::Relaxed) >> (EXTRA_BITS * slot as u32) & EXTRA_MASK
    }

    /// For writers.
    fn set_extra(&self, slot: usize, extra: u64) {
        let shift = EXTRA_BITS * slot as u32;
        // Relaxed: stored under the lock that the caller holds. Release: the overflow bit is stored again with it.
        let meta = self.meta.load(Ordering::Relaxed) & !(EXTRA_MASK << shift);
        self.meta.store(meta | extra << shift, Ordering::Release);
    }
}

/// The most entries that a table of `buckets` holds: 85%, where a search still reads 1.3 buckets or so.
pub(super) fn entries_max(buckets: usize) -> usize {
    buckets * SLOTS * 17 / 20
}

/// With fewer entries, 35%, a table is replaced by a smaller one.
pub(super) fn entries_min(buckets: usize) -> usize {
    buckets * SLOTS * 7 / 20
}

/// The size of a table for `entries` that leaves room to grow and to shrink: 65% full.
pub(super) fn buckets_for(entries: usize) -> usize {
    (entries * 20).div_ceil(SLOTS * 13).max(1)
}

/// The size that follows `buckets` in a partition: by half more, and staggered at one early step, whose ratios
/// all later sizes inherit: 1, 2, 3, 4, 6, 9, then 10, 11, 12 or 13, and so on.
pub(super) fn grown(buckets: usize, partition: usize) -> usize {
    match buckets {
        9 => 10 + partition % 4,
        _ => buckets + (buckets / 2).max(1),
    }
}
