//! One table of the point index: buckets of slots, and where a key's bits may stand in them.
//!
//! The layout, and why readers may use a table that a writer is changing, stand at the head of [`super`].
//! Functions "for writers" want the partition's lock held, or a table that is not yet published.

use super::arena::Arena;
use super::bucket::{Address, Bits, Bucket, SLOTS};
use super::buckets::{Buckets, PER_PAGE, fit};
use crate::sync::{Arc, Ordering};

/// Position of a slot in a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) bucket: usize,
    pub(super) slot: usize,
}

pub(super) struct Table {
    pub(super) buckets: Buckets,
}

impl Table {
    pub(super) fn new(buckets: usize, arena: Option<&Arc<Arena>>) -> Box<Table> {
        Box::new(Table { buckets: Buckets::new(buckets, arena) })
    }

    /// The bucket in which a search for `bits` starts.
    pub(super) fn home(&self, bits: Bits) -> &Bucket {
        &self.buckets[bits.home(self.buckets.len())]
    }

    /// The bucket after it, where a search goes on.
    pub(super) fn after_home(&self, bits: Bits) -> &Bucket {
        let after = bits.home(self.buckets.len()) + 1;
        &self.buckets[if after == self.buckets.len() { 0 } else { after }]
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
                let address = Address::of_word(word)?;
                Some((Bits::from_parts(word >> Address::BITS, bucket.extra(slot)), address))
            })
        })
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
    fit((entries * 20).div_ceil(SLOTS * 13).max(1))
}

/// Sizes of small tables, in buckets: in large steps, because what they leave behind stays with the allocator.
const SMALL: &[usize] = if cfg!(kvs_loom) { &[1, 2, 4] } else { &[4, 16] };
/// The first sizes of larger ones, in pages, for every fourth partition. All later sizes inherit the ratios between these.
const STAGGERED: [&[usize]; 4] = [&[1, 2, 3, 4, 6], &[1, 2, 3, 5, 7], &[1, 2, 3, 5, 8], &[1, 2, 4, 6, 9]];

/// The size that follows `buckets` in a partition: by half more, in whole pages, and staggered, or all partitions would be at
/// one end of the range at the same time.
pub(super) fn grown(buckets: usize, partition: usize) -> usize {
    let pages = STAGGERED[partition % STAGGERED.len()].iter().map(|pages| pages * PER_PAGE);
    let next = SMALL.iter().copied().chain(pages).find(|&size| size > buckets);
    next.unwrap_or(fit(buckets + buckets / 2))
}
