//! One bucket of the point index, a cache line: seven slots, and what else a search needs to know of them.
//!
//! The layout, and why readers may use a bucket that a writer is changing, stand at the head of [`super`].
//! Functions "for writers" want the partition's lock held, or a table that is not yet published.

use std::num::NonZeroU64;

use crate::sync::{AtomicU64, Ordering};

/// Slots of a bucket. Two suffice to model everything that seven do.
pub(super) const SLOTS: usize = if cfg!(kvs_loom) { 2 } else { 7 };

const TAG_BITS: u32 = 16;
const EXTRA_BITS: u32 = 8;
const EXTRA_MASK: u64 = (1 << EXTRA_BITS) - 1;
const OVERFLOW: u64 = 1 << 63;

/// Where a record is: a file slot and a byte offset in that file, a multiple of 8. 48 bits, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Address(NonZeroU64);

impl Address {
    /// How many bits it has.
    pub const BITS: u32 = 48;

    /// The bytes at `offset` of the file in `slot`. `None` if the offset is no multiple of 8, is 32 GiB or more,
    /// or if both are zero (files start with a header, so no record is there).
    pub fn new(slot: u16, offset: u64) -> Option<Address> {
        let offset8 = u32::try_from(offset / 8).ok()?;
        if !offset.is_multiple_of(8) {
            return None;
        }
        NonZeroU64::new(u64::from(slot) << 32 | u64::from(offset8)).map(Address)
    }

    /// From the lowest bits of a word; 0 is none.
    pub fn of_word(word: u64) -> Option<Address> {
        NonZeroU64::new(word & ((1 << Address::BITS) - 1)).map(Address)
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

/// The 24 bits of a hash that a table keeps: `B` in the layout.
#[derive(Clone, Copy)]
pub(super) struct Bits(u32);

impl Bits {
    pub(super) fn of_hash(hash: u64) -> Bits {
        Bits((hash >> u32::BITS) as u32 & ((1 << (TAG_BITS + EXTRA_BITS)) - 1))
    }

    pub(super) fn from_parts(tag: u64, extra: u64) -> Bits {
        Bits((extra << TAG_BITS | tag) as u32)
    }

    fn tag(self) -> u64 {
        u64::from(self.0 & 0xFFFF)
    }

    pub(super) fn extra(self) -> u64 {
        u64::from(self.0 >> TAG_BITS)
    }

    pub(super) fn home(self, buckets: usize) -> usize {
        ((u64::from(self.0) * buckets as u64) >> (TAG_BITS + EXTRA_BITS)) as usize
    }

    /// The slot word for `address`.
    pub(super) fn word(self, address: Address) -> u64 {
        self.tag() << Address::BITS | address.0.get()
    }
}

#[repr(C, align(64))]
#[derive(Default)]
pub(super) struct Bucket {
    pub(super) slots: [AtomicU64; SLOTS],
    meta: AtomicU64,
}

const _: () = assert!(cfg!(kvs_loom) || size_of::<Bucket>() == 64);

/// The slots of a bucket at one time, and which of them concern a search.
pub(super) struct Scan {
    words: [u64; SLOTS],
    /// Bit n is slot n: it has the right tag, or it is vacant and the tag is 0.
    matching: u32,
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
                if let Some(address) = Address::of_word(self.words[slot]) {
                    return Some((slot, address));
                }
            }
            None
        })
    }

    /// The first vacant slot.
    #[inline]
    pub(super) fn vacant(&self) -> Option<usize> {
        let vacant = mask(&self.words, |word| word == 0);
        (vacant != 0).then(|| vacant.trailing_zeros() as usize)
    }
}

/// Bit n says whether `is` holds for the n-th word.
#[inline]
fn mask(words: &[u64; SLOTS], is: impl Fn(u64) -> bool) -> u32 {
    words.iter().rev().fold(0, |mask, word| mask << 1 | u32::from(is(*word)))
}

impl Bucket {
    /// The slots as they are now, for a search of `bits`. Readers ask for Acquire, which pairs with the Release in
    /// `Table::insert` and `Table::overwrite`; for writers, who hold the lock, Relaxed will do.
    #[inline]
    pub(super) fn scan(&self, bits: Bits, order: Ordering) -> Scan {
        let words = std::array::from_fn(|slot| self.slots[slot].load(order));
        // All tags before the first address, and without a branch, since nobody can predict which slot matches. Under
        // the lock, at 500,000 keys: 45 ns a search, home bucket prefetched; 54 with a branch for each slot.
        let tag = bits.tag() << Address::BITS;
        Scan { words, matching: mask(&words, |word| (word ^ tag) >> Address::BITS == 0) }
    }

    /// For writers: the slot words with their numbers.
    #[inline]
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, u64)> {
        // Relaxed: stored under the lock that the caller holds.
        self.slots.iter().map(|slot| slot.load(Ordering::Relaxed)).enumerate()
    }

    pub(super) fn overflowed(&self) -> bool {
        // Acquire: pairs with the Release in `set_overflowed` and `set_extra`, part A of the proof.
        self.meta.load(Ordering::Acquire) & OVERFLOW != 0
    }

    /// For writers: returns whether the bit was clear.
    pub(super) fn set_overflowed(&self) -> bool {
        // Relaxed: stored under the lock that the caller holds. Release: pairs with the Acquire in `overflowed`.
        let meta = self.meta.load(Ordering::Relaxed);
        self.meta.store(meta | OVERFLOW, Ordering::Release);
        meta & OVERFLOW == 0
    }

    /// For writers.
    pub(super) fn extra(&self, slot: usize) -> u64 {
        // Relaxed: stored under the lock that the caller holds.
        self.meta.load(Ordering::Relaxed) >> (EXTRA_BITS * slot as u32) & EXTRA_MASK
    }

    /// For writers.
    pub(super) fn set_extra(&self, slot: usize, extra: u64) {
        let shift = EXTRA_BITS * slot as u32;
        // Relaxed: stored under the lock that the caller holds. Release: the overflow bit is stored again with it.
        let meta = self.meta.load(Ordering::Relaxed) & !(EXTRA_MASK << shift);
        self.meta.store(meta | extra << shift, Ordering::Release);
    }
}
