//! The memory of one table: buckets, all zero at first.
//!
//! Tables are outgrown all the time, and what an allocator keeps of them is of no use to the next, larger ones: at 500,000 keys
//! such holes came to four bytes a key. So a table of a page and more stands in pages of its own, which the operating
//! system takes back when the table is freed; [`fit`] makes its size a whole number of pages. Smaller ones come from the allocator, and those of
//! a large index from an [`Arena`], for huge pages.

use std::ops::Deref;
use std::ptr::NonNull;

use super::arena::Arena;
#[cfg(not(kvs_loom))]
use super::arena::{EXTENT_BYTES_MAX, Extent};
use super::bucket::Bucket;
#[cfg(not(kvs_loom))]
use crate::env::Memory;
use crate::sync::Arc;

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
    #[cfg(not(kvs_loom))]
    Extent(#[expect(dead_code, reason = "held, and reached through `first`")] Extent),
}

// SAFETY: `first` points into memory that `_memory` owns and nobody else does, of buckets, which are atomics: they may be used and
// freed by any thread.
unsafe impl Send for Buckets {}
// SAFETY: as above; shared access gives out `&[Bucket]` only.
unsafe impl Sync for Buckets {}

impl Buckets {
    /// So many, at least one; in `arena`, if there is one and they are whole pages.
    pub(super) fn new(count: usize, arena: Option<&Arc<Arena>>) -> Buckets {
        #[cfg(kvs_loom)]
        let _ = arena;
        #[cfg(not(kvs_loom))]
        if count >= PER_PAGE {
            if let Some(buckets) = arena.and_then(|arena| Buckets::in_arena(count, arena)) {
                return buckets;
            }
            if let Some(buckets) = Buckets::in_pages(count) {
                return buckets;
            }
        }
        // A small table, or a process with as many mappings as it may have.
        let mut heap: Box<[Bucket]> = (0..count).map(|_| Bucket::default()).collect();
        let first = NonNull::from(&mut *heap).cast();
        Buckets { first, count, _memory: Owner::Heap(heap) }
    }

    #[cfg(not(kvs_loom))]
    fn in_pages(count: usize) -> Option<Buckets> {
        let len = count.checked_mul(size_of::<Bucket>())?;
        let pages = Memory::anonymous(len).ok()?;
        if len > EXTENT_BYTES_MAX {
            pages.prefer_huge_pages();
        }
        let first = NonNull::new(pages.as_mut_ptr().cast::<Bucket>())?;
        Some(Buckets { first, count, _memory: Owner::Pages(pages) })
    }

    #[cfg(not(kvs_loom))]
    fn in_arena(count: usize, arena: &Arc<Arena>) -> Option<Buckets> {
        let len = count.checked_mul(size_of::<Bucket>())?;
        let extent = arena.take(len)?;
        let first = NonNull::new(extent.as_mut_ptr().cast::<Bucket>())?;
        if extent.was_used() {
            // SAFETY: the extent is of `len` bytes, `count` buckets, at the start of a page, in a mapping that can be written and
            // that it keeps; it was taken just now, and is of nobody else: what was there before was dropped, and a table's
            // buckets are dropped when no reader holds the table any more (`Index::collect`, `Index::drop`).
            unsafe { first.as_ptr().write_bytes(0, count) };
        }
        Some(Buckets { first, count, _memory: Owner::Extent(extent) })
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
