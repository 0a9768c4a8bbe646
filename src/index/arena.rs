//! Pages for the tables of a large index: close together, so that the system can map them by huge pages.
//!
//! A search touches one line of the index at random. With pages of 4 KiB a processor finds some 8 MiB of them without walking the page
//! table; an index of 1 million keys is 13 MB, and a virtual machine walks two page tables. A huge page is 2 MiB. But a
//! partition's table is of 50 KiB at 1 million keys and of 1.5 MiB at 30 million: tables must share huge pages.
//!
//! ```text
//! arena  := region*                    in the order in which they were mapped: an extent goes to the first region and page where it fits
//! region := 8 MiB, at a multiple of 2 MiB, of pages of 4 KiB; free ones are kept as runs, in order, neighbours joined
//! extent := a run of pages: one table
//! ```
//!
//! Tables grow by half, each partition at another time. What an outgrown one leaves is room for those that are smaller yet, and with its
//! neighbours for larger ones: over all sizes from 500,000 to 30 million keys, computed, the holes are 14 to 32% of the tables. So an index of a few MiB, which
//! the processor reaches anyhow, has no arena, but mappings of exactly its size ([`super::buckets`]). A region whose tables
//! are all gone is unmapped.
//!
//! First fit, lowest address first: Knuth, The Art of Computer Programming 1, 2.5.

use std::ops::Range;

use crate::env::Memory;
use crate::sync::{Arc, Mutex};

const PAGE_BYTES: usize = 4096;
/// Of x86-64; where they are larger, a region has fewer or none.
const HUGE_BYTES: usize = 2 << 20;
const REGION_PAGES: usize = (8 << 20) / PAGE_BYTES;
/// Larger extents would leave too much of a region unused. A table of that size has huge pages by itself.
pub(super) const EXTENT_BYTES_MAX: usize = REGION_PAGES * PAGE_BYTES / 2;

/// The regions of one index.
#[derive(Default)]
pub(super) struct Arena {
    regions: Mutex<Vec<Region>>,
}

struct Region {
    memory: Arc<Memory>,
    /// Where in `memory` the first page starts.
    start: usize,
    free: Free,
    /// No page from here on was ever taken: they are zeros, and no memory yet.
    fresh: usize,
}

impl Region {
    fn map() -> Option<Region> {
        let memory = Memory::anonymous(REGION_PAGES * PAGE_BYTES + HUGE_BYTES).ok()?;
        memory.prefer_huge_pages();
        let start = memory.as_mut_ptr().align_offset(HUGE_BYTES);
        Some(Region { memory: Arc::new(memory), start, free: Free::all(REGION_PAGES), fresh: 0 })
    }

    fn take(&mut self, pages: usize) -> Option<(usize, bool)> {
        let first = self.free.take(pages)?;
        let used = first < self.fresh;
        self.fresh = self.fresh.max(first + pages);
        Some((first, used))
    }

    /// Pages that are memory, as far as is known: huge ones become so as a whole.
    fn held(&self) -> usize {
        self.fresh.next_multiple_of(HUGE_BYTES / PAGE_BYTES)
    }
}

impl Arena {
    /// So many bytes, a whole number of pages. None if they are too many, or the process has as many mappings as it may have.
    pub(super) fn take(self: &Arc<Arena>, bytes: usize) -> Option<Extent> {
        debug_assert!(bytes.is_multiple_of(PAGE_BYTES));
        if bytes > EXTENT_BYTES_MAX {
            return None;
        }
        let pages = bytes / PAGE_BYTES;
        let mut regions = self.regions.lock();
        let found = regions.iter_mut().enumerate().find_map(|(at, region)| Some((at, region.take(pages)?)));
        let (at, (first, used)) = match found {
            Some(found) => found,
            None => {
                let mut region = Region::map()?;
                let taken = region.take(pages)?;
                regions.push(region);
                (regions.len() - 1, taken)
            }
        };
        let Region { memory, start, .. } = &regions[at];
        let extent = Extent {
            arena: Arc::clone(self),
            memory: Arc::clone(memory),
            offset: start + first * PAGE_BYTES,
            pages: first..first + pages,
            used,
        };
        Some(extent)
    }

    /// Unmaps the region if this was its last extent.
    fn put_back(&self, memory: &Arc<Memory>, pages: Range<usize>) {
        let mut regions = self.regions.lock();
        let Some(at) = regions.iter().position(|region| Arc::ptr_eq(&region.memory, memory)) else { return };
        regions[at].free.put_back(pages);
        if regions[at].free.pages() == REGION_PAGES {
            let region = regions.remove(at);
            drop(regions);
            drop(region);
        }
    }

    /// Bytes of memory that no extent has: what was taken once and was put back, and the rest of a huge page.
    pub(super) fn hole_bytes(&self) -> u64 {
        let regions = self.regions.lock();
        let holes = regions.iter().map(|region| region.held() - (REGION_PAGES - region.free.pages()));
        (holes.sum::<usize>() * PAGE_BYTES) as u64
    }
}

/// Pages of a region, of nobody else until they are dropped.
pub(super) struct Extent {
    arena: Arc<Arena>,
    memory: Arc<Memory>,
    /// Where it starts in `memory`.
    offset: usize,
    pages: Range<usize>,
    used: bool,
}

impl Extent {
    /// The first byte, at the start of a page; valid for as many bytes as were asked for, as long as `self` lives.
    pub(super) fn as_mut_ptr(&self) -> *mut u8 {
        self.memory.as_mut_ptr().wrapping_add(self.offset)
    }

    /// Did a part of it belong to another extent before? Otherwise it is zeros.
    pub(super) fn was_used(&self) -> bool {
        self.used
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.arena.put_back(&self.memory, self.pages.clone());
    }
}

/// Runs of free pages, in order, no two next to each other.
struct Free {
    runs: Vec<Range<usize>>,
}

impl Free {
    fn all(pages: usize) -> Free {
        Free { runs: std::iter::once(0..pages).collect() }
    }

    fn pages(&self) -> usize {
        self.runs.iter().map(ExactSizeIterator::len).sum()
    }

    /// Takes the first so many that lie in a row.
    fn take(&mut self, pages: usize) -> Option<usize> {
        let at = self.runs.iter().position(|run| run.len() >= pages)?;
        let run = &mut self.runs[at];
        let first = run.start;
        run.start += pages;
        if run.start == run.end {
            self.runs.remove(at);
        }
        Some(first)
    }

    fn put_back(&mut self, pages: Range<usize>) {
        let at = self.runs.partition_point(|run| run.start < pages.start);
        debug_assert!(at == 0 || self.runs[at - 1].end <= pages.start, "{pages:?} were free");
        debug_assert!(self.runs.get(at).is_none_or(|next| pages.end <= next.start), "{pages:?} were free");
        let joins_before = at > 0 && self.runs[at - 1].end == pages.start;
        let joins_next = self.runs.get(at).is_some_and(|next| next.start == pages.end);
        match (joins_before, joins_next) {
            (true, true) => {
                self.runs[at - 1].end = self.runs[at].end;
                self.runs.remove(at);
            }
            (true, false) => self.runs[at - 1].end = pages.end,
            (false, true) => self.runs[at].start = pages.start,
            (false, false) => self.runs.insert(at, pages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is taken and put back in whatever order: no page has two owners, none is lost, and runs are joined.
    #[test]
    fn pages_have_one_owner() {
        let mut seed = 5u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        const PAGES: usize = 300;
        let mut free = Free::all(PAGES);
        let mut taken: Vec<Range<usize>> = Vec::new();
        for _ in 0..20_000 {
            if random(2) == 0 || taken.is_empty() {
                let wanted = 1 + random(40);
                match free.take(wanted) {
                    Some(first) => taken.push(first..first + wanted),
                    None => assert!(free.runs.iter().all(|run| run.len() < wanted)),
                }
            } else {
                let put = taken.swap_remove(random(taken.len()));
                free.put_back(put);
            }
            let mut owned: Vec<_> = taken.iter().chain(&free.runs).cloned().collect();
            owned.sort_by_key(|run| run.start);
            assert_eq!((owned[0].start, owned[owned.len() - 1].end), (0, PAGES));
            assert!(owned.windows(2).all(|pair| pair[0].end == pair[1].start), "{owned:?}");
            assert!(free.runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", free.runs);
        }
    }

    /// Extents are of one region while they fit, at pages, and tell whether they are zeros; a region without any is gone.
    #[test]
    fn regions_come_and_go() {
        let arena = Arc::new(Arena::default());
        assert!(arena.take(EXTENT_BYTES_MAX + PAGE_BYTES).is_none());
        assert_eq!(arena.hole_bytes(), 0);
        let first = arena.take(3 * PAGE_BYTES).unwrap();
        let second = arena.take(PAGE_BYTES).unwrap();
        assert!(!first.was_used() && !second.was_used());
        assert_eq!(second.as_mut_ptr() as usize, first.as_mut_ptr() as usize + 3 * PAGE_BYTES);
        assert_eq!(first.as_mut_ptr() as usize % HUGE_BYTES, 0);
        assert_eq!(arena.hole_bytes(), (HUGE_BYTES - 4 * PAGE_BYTES) as u64);
        drop(first);
        let again = arena.take(2 * PAGE_BYTES).unwrap();
        assert!(again.was_used());
        let halves = [arena.take(EXTENT_BYTES_MAX).unwrap(), arena.take(EXTENT_BYTES_MAX).unwrap()];
        assert_eq!(arena.regions.lock().len(), 2);
        drop(halves);
        assert_eq!(arena.regions.lock().len(), 1);
        drop((again, second));
        assert!(arena.regions.lock().is_empty());
        assert_eq!(arena.hole_bytes(), 0);
    }
}
