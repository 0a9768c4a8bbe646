//! Fences: which block a key belongs to. The grammar stands in [`table`](super).
//!
//! A fence is eight bytes of a block's first key, behind what all keys of the table share. While a table is built, the first and
//! the latest key say what all keys so far share, and that can only become less. [`Fence`] keeps the eight bytes behind what was
//! shared then: whatever lies before them is, if it turns out not to be shared, the same as in the very first key.

use crate::bracket::{Share, Sought};
use crate::coding::{get_u32, get_u64, round_up_8};
use crate::error::Result;
use crate::interpolation;
use crate::merging::prefix_after;
use crate::record::Seq;
use crate::table::HEADER_BYTES;
use crate::table::block::BLOCK_BYTES_LEAST;

/// Bytes of the section for so many blocks.
pub fn section_len(blocks: u64) -> Option<u64> {
    blocks.checked_mul(12)?.checked_add(4)?.checked_next_multiple_of(8)
}

/// A block's first key, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// Of the block, in units of 8 bytes.
    start: u32,
    /// How many first bytes the key shares with the table's first one.
    shared: u32,
    /// The eight bytes behind.
    prefix: u64,
}

impl Fence {
    /// Of the block at `start`, in units of 8 bytes, whose first key shares `shared` bytes with the first of all.
    pub fn new(start: u32, key: &[u8], shared: usize) -> Fence {
        Fence { start, shared: shared as u32, prefix: prefix_after(key, shared) }
    }

    /// The eight bytes behind `skip`, which is at most what is shared.
    fn prefix(&self, first: &[u8], skip: usize) -> u64 {
        let known = first.get(skip..self.shared as usize).unwrap_or(&[]);
        if known.len() >= 8 {
            return prefix_after(known, 0);
        }
        let known_bits = 8 * known.len() as u32;
        prefix_after(known, 0) | self.prefix.checked_shr(known_bits).unwrap_or(0)
    }
}

/// The section for the fences of all blocks, of which the last ends at `end`, in units of 8 bytes. `first` is the
/// table's first key, of which all keys have the first `shared` bytes.
pub fn encode(fences: &[Fence], end: u32, first: &[u8], shared: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(round_up_8(12 * fences.len() + 4));
    for fence in fences {
        out.extend_from_slice(&fence.prefix(first, shared).to_le_bytes());
    }
    for fence in fences {
        out.extend_from_slice(&fence.start.to_le_bytes());
    }
    out.extend_from_slice(&end.to_le_bytes());
    out.resize(round_up_8(out.len()), 0);
    out
}

/// All fences of a table, in memory.
#[derive(Debug)]
pub struct Fences {
    prefixes: Box<[u64]>,
    /// One more than blocks.
    starts: Box<[u32]>,
    /// What all keys share.
    shared: usize,
}

impl Fences {
    /// From the section, whose length is right for `blocks`; they must lie between the header and `end`.
    pub fn parse(section: &[u8], blocks: usize, end: u64, shared: usize) -> Result<Fences, &'static str> {
        let (prefixes, starts) = section.split_at_checked(8 * blocks).ok_or("the table's fences are cut short")?;
        let prefixes: Box<[u64]> = prefixes.chunks_exact(8).map(|b| get_u64(b, 0).unwrap_or(0)).collect();
        let starts: Box<[u32]> = starts.chunks_exact(4).take(blocks + 1).map(|b| get_u32(b, 0).unwrap_or(0)).collect();
        let ascending = prefixes.is_sorted()
            && starts.windows(2).all(|two| two[1].checked_sub(two[0]) >= Some(BLOCK_BYTES_LEAST / 8));
        let ends = (starts.first().map(|&s| u64::from(s) * 8), starts.last().map(|&s| u64::from(s) * 8));
        if starts.len() != blocks + 1 || !ascending || ends != (Some(HEADER_BYTES as u64), Some(end)) {
            return Err("the table's fences do not describe its blocks");
        }
        Ok(Fences { prefixes, starts, shared })
    }

    /// How many blocks.
    #[inline]
    pub fn blocks(&self) -> u32 {
        self.prefixes.len() as u32
    }

    /// Where a block starts and ends; none of it behind the last.
    #[inline]
    pub fn bounds(&self, block: u32) -> (u64, u64) {
        let start = |i: u32| self.starts.get(i as usize).or(self.starts.last()).map_or(0, |&s| u64::from(s) * 8);
        (start(block), start(block.saturating_add(1)))
    }

    /// The block that `offset` lies in.
    #[inline]
    pub fn block_of(&self, offset: u64) -> Option<u32> {
        let unit = u32::try_from(offset / 8).ok()?;
        let behind = self.starts.partition_point(|&start| start <= unit);
        (behind < self.starts.len()).then(|| behind.checked_sub(1).map(|block| block as u32))?
    }

    /// Where the first block starts that is not before `offset`: its number, that of all blocks if there is none.
    pub fn first_from(&self, offset: u64) -> u32 {
        let starts = &self.starts[..self.prefixes.len()];
        starts.partition_point(|&start| u64::from(start) * 8 < offset) as u32
    }

    /// The last place, at or before `offset`, where a block starts or the last one ends.
    pub fn boundary_before(&self, offset: u64) -> u64 {
        let behind = self.starts.partition_point(|&start| u64::from(start) * 8 <= offset);
        self.starts.get(behind.saturating_sub(1)).map_or(0, |&start| u64::from(start) * 8)
    }

    /// `key` at `seq`, to be looked for, if it is between the smallest and the largest key.
    #[inline]
    pub fn sought<'a>(&self, key: &'a [u8], seq: Seq) -> Sought<'a> {
        Sought::new(key, seq, self.shared)
    }

    /// The blocks before the first number start with a smaller key, those from the second on with a larger one, and between them the
    /// eight bytes are equal.
    #[inline]
    pub fn candidates(&self, sought: &Sought<'_>) -> (u32, u32) {
        let wanted = sought.prefix;
        let low = interpolation::count_below(&self.prefixes, wanted);
        let mut equal = 0;
        if self.prefixes.get(low) == Some(&wanted) {
            equal = self.prefixes[low..].partition_point(|&fence| fence == wanted);
        }
        (low as u32, (low + equal) as u32)
    }

    /// Which part of a block's keys is probably smaller than the key sought, if keys are as many between any two of its fence and the next one.
    /// None, if these don't tell.
    #[inline]
    pub fn share_below(&self, block: u32, sought: &Sought<'_>) -> Option<Share> {
        let (&low, &high) = (self.prefixes.get(block as usize)?, self.prefixes.get(block as usize + 1)?);
        let above = sought.prefix.saturating_sub(low);
        (low < high).then(|| Share::new(above, high - low))
    }

    /// May a block start with the key sought?
    #[inline]
    pub fn may_start_with(&self, block: u32, sought: &Sought<'_>) -> bool {
        self.prefixes.get(block as usize) == Some(&sought.prefix)
    }

    /// The fence of a block.
    pub fn prefix(&self, block: u32) -> Option<u64> {
        self.prefixes.get(block as usize).copied()
    }

    /// Anonymous memory, in bytes.
    pub fn memory(&self) -> usize {
        self.prefixes.len() * 8 + self.starts.len() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merging::shared_prefix;

    /// Whatever all keys share in the end, the section has the eight bytes behind it, as `prefix_after` gives them.
    #[test]
    fn fences_are_the_bytes_behind_what_all_keys_share_in_the_end() {
        let long = [7u8; 40];
        let lists: [&[&[u8]]; 5] = [
            &[b"", b"a", b"b"],
            &[b"user:0000000001", b"user:0000000002", b"user:0000000099", b"user:9"],
            &[b"abc", b"abcd", b"abcdefghijklmnopq", b"abd", b"b"],
            &[&long[..20], &long[..30], &long, b"\x08"],
            &[b"the only one, longer than eight bytes"],
        ];
        for keys in lists {
            let fences: Vec<Fence> =
                keys.iter().zip(0..).map(|(key, i)| Fence::new(8 + 4 * i, key, shared_prefix(keys[0], key))).collect();
            let shared = shared_prefix(keys[0], keys[keys.len() - 1]);
            let end = 8 + 4 * keys.len() as u32;
            let section = encode(&fences, end, keys[0], shared);
            assert_eq!(section.len() as u64, section_len(keys.len() as u64).unwrap());
            let parsed = Fences::parse(&section, keys.len(), u64::from(end) * 8, shared).unwrap();
            for (key, block) in keys.iter().zip(0..) {
                assert_eq!(parsed.prefix(block), Some(prefix_after(key, shared)), "{key:?} behind {shared}");
                assert_eq!(parsed.bounds(block), (64 + 32 * u64::from(block), 96 + 32 * u64::from(block)));
                let (low, high) = parsed.candidates(&parsed.sought(key, 0));
                assert!(low <= block && block < high);
            }
            assert_eq!(parsed.block_of(63), None);
            assert_eq!(parsed.block_of(64 + 31), Some(0));
            assert_eq!(parsed.block_of(u64::from(end) * 8), None);
        }
    }
}
