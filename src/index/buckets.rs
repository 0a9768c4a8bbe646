//! The memory of one table: buckets, all zero at first.
//!
//! Tables are outgrown all the time, and what an allocator keeps of them is of no use to the next, larger ones: at 500,000 keys
//! such holes came to four bytes a key. So a table of a page and more stands in pages of its own, which the operating
//! system takes back when the table is freed; [`fit`] makes its size a whole number of pages. Smaller ones come from the allocator.

use std::ops::Deref;
use std::ptr::NonNull;

use super::bucket::Bucket;
#[cfg(not(kvs_loom))]
use crate::env::Memory;

/// Buckets in a page of memory, if pages are of 4 KiB; larger pages cost a little of what is saved.
pub(super) const PER_PAGE: usize = 4096 / size_of::<Bucket>();

/// The next larger number of buckets that wastes no part of a page.
pub(super) fn fit(buckets: usize) -> usize {
    if buckets <= PER_PAGE { buckets } else { buckets.next_multiple_of(PER_PAGE) }
}

/// A fixed number of buckets.
pub(super) struct Buckets {
    first: NonNull<Bucket>,
    count: usize,
    /// What `first` points into; freed with it.
    _memory: Owner,
}

enum Owner {
    Heap(#[expect(dead_code, reason = "held, and reached through `first`")] Box<[Bucket]>),
    // Loom's atomics are not plain words that may begin as zeros.
    #[cfg(not(kvs_loom))]
    Pages(#[expect(dead_code, reason = "held, and reached through `first`")] Memory),
}

// SAFETY: `first` points into memory that `_memory` owns and nobody else does, of buckets, which are atomics: they may be used and
// freed by any thread.
unsafe impl Send for Buckets {}
// SAFETY: as above; shared access gives out `&[Bucket]` only.
unsafe impl Sync for Buckets {}

impl Buckets {
    /// So many, at least one.
    pub(super) fn new(count: usize) -> Buckets {
        #[cfg(not(kvs_loom))]
        if count >= PER_PAGE
            && let Some(pages) = count.checked_mul(size_of::<Bucket>()).and_then(|len| Memory::anonymous(len).ok())
            && let Some(first) = NonNull::new(pages.as_mut_ptr().cast::<Bucket>())
        {
            return Buckets { first, count, _memory: Owner::Pages(pages) };
        }
        // A small table, or a process with as many mappings as it may have.
        let mut heap: Box<[Bucket]> = (0..count).map(|_| Bucket::default()).collect();
        let first = NonNull::from(&mut *heap).cast();
        Buckets { first, count, _memory: Owner::Heap(heap) }
    }
}

impl Deref for Buckets {
    type Target = [Bucket];

    #[inline]
    fn deref(&self) -> &[Bucket] {
        // SAFETY: `first` points to `count` buckets in memory that `_memory` keeps for as long as `self` lives, and that
        // does not move with it (a boxed slice, or a mapping). From the heap they were made one by one. In pages they are zeros, which is
        // what `Bucket::default` makes of its plain atomic words, and the mapping starts at a page, so it is aligned for
        // them. Nobody ever forms a `&mut` to a bucket.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}
