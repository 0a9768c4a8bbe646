//! Room for lists that are large for a while: to sort a segment, to build a table, for as long as a segment is in the log.
//!
//! Freed, their memory should go back to the system. glibc's malloc keeps it where it has learnt that such sizes come and go; but
//! above 32 MiB (`DEFAULT_MMAP_THRESHOLD_MAX`) it always maps and unmaps. So a list that will be large gets room for more than
//! that at once: addresses, of which only those that are used become memory. A list that grew by doubling instead left
//! megabytes behind.

/// A list of so many bytes may stay with the allocator.
const KEPT_BYTES: usize = 128 << 10;
/// Room that is mapped, and unmapped again.
const MAPPED_BYTES: usize = 33 << 20;

/// An empty list, with room for about `expected` items.
pub fn list<T>(expected: u64) -> Vec<T> {
    let expected = usize::try_from(expected).unwrap_or(usize::MAX);
    let size = size_of::<T>().max(1);
    if expected < KEPT_BYTES / size {
        return Vec::with_capacity(expected);
    }
    let mut list = Vec::new();
    // Without room it grows as others do.
    let _ = list.try_reserve_exact(expected.max(MAPPED_BYTES / size));
    list
}

/// These items.
pub fn collected<T>(items: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut list = list(items.len() as u64);
    list.extend(items);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_small_or_mapped() {
        assert_eq!(list::<u64>(0).capacity(), 0);
        assert!((100..1000).contains(&list::<u64>(100).capacity()));
        assert!(list::<(u64, u32)>(100_000).capacity() * 16 >= MAPPED_BYTES);
        assert!(list::<u64>(u64::MAX).is_empty());
        assert!(list::<()>(5).is_empty());
        assert_eq!(collected((0..3).rev()), [2, 1, 0]);
        assert!(collected((0..100_000u32).map(u64::from)).capacity() * 8 >= MAPPED_BYTES);
    }
}
