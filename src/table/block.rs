//! The block: records, and a trailer that says where each starts. The grammar stands in [`table`](super).
//!
//! The trailer has a check of all records together, too, unless they are long: a walk that goes through the whole block computes this one check
//! instead of one for each record. It is 64 bits of one hash over some four thousand bytes, and takes a third of the time
//! ([decision 0023](../../docs/decisions/0023-whole-blocks.md)).

use crate::bracket::{self, Bound, Share, Sought};
use crate::coding::{self, get_u32, get_u64, round_up_8};
use crate::error::Result;
use crate::files::File;
use crate::record::{FileSalt, Header};
use crate::table::check_of;

/// A record of 16 bytes and a trailer of as many.
pub const BLOCK_BYTES_LEAST: u32 = 32;
/// Parts of a block at whose boundaries a search looks first.
const EIGHTHS: u32 = 8;
/// Count, flags and check.
const TAIL_BYTES: usize = 8;
/// The check of all records, where there is one.
const WHOLE_BYTES: usize = 8;
/// The flag, above the count, that says so.
const HAS_WHOLE: u32 = 1 << u16::BITS;
/// Records that take more together have none: a walk that ends before a long value would wait for it.
pub const WHOLE_RECORDS_MAX: usize = 32 << 10;

/// The check of a block's records together. Nothing of their place is in it: the trailer's own check, which covers this one, has that.
pub fn whole_check(records: &[u8]) -> u64 {
    coding::hash(records)
}

/// Appends the trailer of the block at `offset` whose records start at `starts`, in units of 8 bytes from the block's start. `whole`: their
/// check, if they are to have one together.
pub fn put_trailer(out: &mut Vec<u8>, starts: &[u16], whole: Option<u64>, salt: FileSalt, offset: u64) {
    let from = out.len();
    starts.iter().for_each(|start| out.extend_from_slice(&start.to_le_bytes()));
    out.resize(from + round_up_8(2 * starts.len()), 0);
    let flags = if whole.is_some() { HAS_WHOLE } else { 0 };
    whole.iter().for_each(|whole| out.extend_from_slice(&whole.to_le_bytes()));
    out.extend_from_slice(&(starts.len() as u32 | flags).to_le_bytes());
    let check = check_of(&out[from..], salt, offset);
    out.extend_from_slice(&check.to_le_bytes());
}

/// Where the parts of a block lie, relative to its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// How many records.
    pub count: u32,
    /// Where the records end and their offsets begin.
    pub records_end: usize,
    /// The check of all of them together, if there is one.
    whole: Option<u64>,
}

impl Layout {
    /// Reads and checks the trailer of the block with all these bytes, which stands at `offset`.
    #[inline]
    pub fn read(block: &[u8], salt: FileSalt, offset: u64) -> Option<Layout> {
        let tail = block.len().checked_sub(TAIL_BYTES)?;
        let word = get_u32(block, tail)?;
        let count = word & u32::from(u16::MAX);
        let whole_at = match word - count {
            0 => tail,
            HAS_WHOLE => tail.checked_sub(WHOLE_BYTES)?,
            _ => return None,
        };
        let records_end = whole_at.checked_sub(round_up_8(2 * count as usize))?;
        let good = count > 0
            && records_end > 0
            && get_u32(block, tail + 4) == Some(check_of(&block[records_end..tail + 4], salt, offset));
        let whole = if whole_at < tail { get_u64(block, whole_at) } else { None };
        good.then_some(Layout { count, records_end, whole })
    }

    /// Where the records' offsets end, with their padding.
    pub fn starts_end(&self) -> usize {
        self.records_end + round_up_8(2 * self.count as usize)
    }

    /// Is the check of all records together right? Then each of them is as it was written. `None`: there is no such check.
    #[inline]
    pub fn is_whole(&self, block: &[u8]) -> Option<bool> {
        let records = block.get(..self.records_end)?;
        Some(whole_check(records) == self.whole?)
    }

    /// Where the `i`-th record starts.
    #[inline]
    pub fn start(&self, block: &[u8], i: u32) -> Option<usize> {
        let at = self.records_end + 2 * i as usize;
        let two = block.get(at..at + 2)?;
        let start = u16::from_le_bytes([two[0], two[1]]) as usize * 8;
        (i < self.count && start < self.records_end).then_some(start)
    }

    /// Its bytes, to the end of all records, and its header; not verified.
    #[inline]
    pub fn record<'a>(&self, block: &'a [u8], i: u32) -> Option<(usize, &'a [u8], Header)> {
        let start = self.start(block, i)?;
        let bytes = block.get(start..self.records_end)?;
        Some((start, bytes, Header::decode(bytes)?))
    }

    /// The first record of a block at `offset` of `file` that is not before (`key`, `seq`): a larger key, or this key at `seq` or
    /// older. The records that decide are verified. `share`: which part of the block is probably before it.
    pub fn lower_bound(
        &self,
        file: &File,
        block: &[u8],
        offset: u64,
        sought: &Sought<'_>,
        share: Option<Share>,
    ) -> Result<Bound> {
        let count = self.count as usize;
        let likely = share.map(|share| share.among(count));
        if likely.is_none() {
            // The next three comparisons, whichever they are, wait for memory together.
            for eighth in 1..EIGHTHS {
                if let Some(start) = self.start(block, self.count * eighth / EIGHTHS) {
                    file.prefetch(offset + start as u64, 1);
                }
            }
        }
        let no_record = || no_record(file, offset);
        let start = |i: usize| self.start(block, i as u32).ok_or_else(no_record);
        let bytes = |start: usize| block.get(start..self.records_end).unwrap_or(&[]);
        bracket::first_not_before(
            0,
            count,
            likely,
            |i| sought.is_behind(bytes(start(i)?)).ok_or_else(no_record),
            |i| {
                let (start, bytes, header) = self.record(block, i as u32).ok_or_else(no_record)?;
                file.check(bytes, &header, offset + start as u64)
            },
        )
    }

    /// Does the `i`-th record, which is verified, stand before what is sought?
    #[inline]
    pub fn is_before(&self, file: &File, block: &[u8], offset: u64, i: u32, sought: &Sought<'_>) -> Result<bool> {
        let (start, bytes, header) = self.record(block, i).ok_or_else(|| no_record(file, offset))?;
        file.check(bytes, &header, offset + start as u64)?;
        sought.is_behind(bytes).ok_or_else(|| no_record(file, offset))
    }
}

#[cold]
pub fn no_record(file: &File, offset: u64) -> crate::error::Error {
    file.corrupt(offset, "the block's trailer leads to where no record is")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trailer round trips; a flipped bit, a cut or another place is refused. With a check of all records a flipped bit of these is noticed.
    #[test]
    fn a_trailer_is_accepted_as_it_was_written_only() {
        let salt = FileSalt::new(5, 6);
        let some = [&[0u16][..], &[0, 2, 5], &[0, 2, 4, 6], &[0, 3, 6, 9, 12]];
        for (starts, has_whole) in some.into_iter().flat_map(|starts| [(starts, false), (starts, true)]) {
            let mut block = vec![7; 120];
            let whole = has_whole.then(|| whole_check(&block));
            put_trailer(&mut block, starts, whole, salt, 4096);
            let layout = Layout::read(&block, salt, 4096).unwrap();
            assert_eq!((layout.count as usize, layout.records_end, block.len() % 8), (starts.len(), 120, 0));
            assert_eq!((layout.is_whole(&block), layout.starts_end() % 8), (has_whole.then_some(true), 0));
            for bit in 0..120 * 8 {
                let mut bad = block.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Layout::read(&bad, salt, 4096).unwrap().is_whole(&bad), has_whole.then_some(false));
            }
            for (i, &start) in (0..).zip(starts) {
                assert_eq!(layout.start(&block, i), Some(start as usize * 8));
            }
            assert_eq!(layout.start(&block, layout.count), None);
            assert_eq!(Layout::read(&block, salt, 4104), None);
            assert_eq!(Layout::read(&block, FileSalt::new(5, 7), 4096), None);
            for bit in 120 * 8..block.len() * 8 {
                let mut bad = block.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Layout::read(&bad, salt, 4096), None, "bit {bit}");
            }
            for cut in 0..block.len() {
                assert_eq!(Layout::read(&block[..cut], salt, 4096), None);
            }
        }
    }
}
