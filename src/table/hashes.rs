//! Hash pages and their index: which record is a key's newest, by the key's hash. The grammar stands in [`table`](super).
//!
//! An entry is `hash32 << 32 | offset / 8`, so entries sort by hash and, of equal hashes, by offset, which is by key.

use crate::coding::{get_u32, get_u64};
use crate::record::FileSalt;
use crate::table::check_of;

/// Entries of a page.
pub const PAGE_ENTRIES: usize = 64;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 8 * PAGE_ENTRIES;
/// What fills up the last page: no record stands at the highest offset.
pub const FILLER: u64 = u64::MAX;

/// How many pages so many keys take.
pub fn pages(keys: u64) -> u64 {
    keys.div_ceil(PAGE_ENTRIES as u64)
}

/// The half of a key's hash that counts.
#[inline]
pub fn hash32(key_hash: u64) -> u32 {
    (key_hash >> 32) as u32
}

/// The entry of a key whose newest record stands at `offset`.
#[inline]
pub fn entry(hash32: u32, offset: u64) -> u64 {
    (u64::from(hash32) << 32) | (offset / 8)
}

/// Hash and offset of an entry.
#[inline]
pub fn parts(entry: u64) -> (u32, u64) {
    ((entry >> 32) as u32, (entry & 0xffff_ffff) * 8)
}

/// A key of a table: the parts of its entry, and what whoever builds the table wants to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    pub hash: u32,
    /// Where its newest record stands, in units of eight bytes.
    at: u32,
    /// Not written.
    pub note: u32,
}

impl Keyed {
    /// `offset` is below 32 GiB, as all that addresses reach.
    #[inline]
    pub fn new(hash: u32, offset: u64, note: u32) -> Keyed {
        Keyed { hash, at: (offset / 8) as u32, note }
    }

    /// As it stands in a hash page.
    #[inline]
    pub fn entry(self) -> u64 {
        entry(self.hash, self.offset())
    }

    #[inline]
    pub fn offset(self) -> u64 {
        u64::from(self.at) * 8
    }
}

/// Appends the page of these keys' entries, which stands at `offset`, to `out` and what the index says of it to `index`.
pub fn put_page(out: &mut Vec<u8>, index: &mut Vec<u8>, keys: &[Keyed], salt: FileSalt, offset: u64) {
    let from = out.len();
    keys.iter().for_each(|key| out.extend_from_slice(&key.entry().to_le_bytes()));
    out.resize(from + PAGE_BYTES, 0xff);
    let first = keys.first().map_or(u32::MAX, |first| first.hash);
    index.extend_from_slice(&first.to_le_bytes());
    index.extend_from_slice(&check_of(&out[from..], salt, offset).to_le_bytes());
}

/// The index of the hash pages, in memory.
#[derive(Debug)]
pub struct HashIndex {
    /// Of each page.
    firsts: Box<[u32]>,
    checks: Box<[u32]>,
}

impl HashIndex {
    /// From the section, whose length is right.
    pub fn parse(section: &[u8]) -> Result<HashIndex, &'static str> {
        let half = |at: usize| section.chunks_exact(8).map(move |page| get_u32(page, at).unwrap_or(0)).collect();
        let (firsts, checks): (Box<[u32]>, Box<[u32]>) = (half(0), half(4));
        if firsts.is_empty() || !firsts.is_sorted() {
            return Err("the table's hash index is not in order");
        }
        Ok(HashIndex { firsts, checks })
    }

    /// How many pages.
    #[cfg(test)]
    pub fn pages(&self) -> usize {
        self.firsts.len()
    }

    /// The pages that may hold `hash32`.
    #[inline]
    pub fn candidates(&self, hash32: u32) -> std::ops::Range<usize> {
        // The last page that starts with less may end with it; those that start with it follow.
        let low = self.first_from(hash32);
        let equal = self.firsts[low..].iter().take_while(|&&first| first == hash32).count();
        low.saturating_sub(1)..low + equal
    }

    /// The first page that starts with `hash32` or more.
    #[inline]
    fn first_from(&self, hash32: u32) -> usize {
        self.firsts.partition_point(|&first| first < hash32)
    }

    /// Is `page`, all bytes of the page with this number that stands at `offset`, what was written there?
    #[inline]
    pub fn accepts(&self, number: usize, page: &[u8], salt: FileSalt, offset: u64) -> bool {
        let check = self.checks.get(number).copied();
        page.len() == PAGE_BYTES
            && check == Some(check_of(page, salt, offset))
            && self.firsts.get(number).copied() == Some(parts(word(page, 0)).0)
    }

    /// Anonymous memory, in bytes.
    pub fn memory(&self) -> usize {
        (self.firsts.len() + self.checks.len()) * 4
    }
}

#[inline]
fn word(page: &[u8], i: usize) -> u64 {
    get_u64(page, 8 * i).unwrap_or(FILLER)
}

/// The offsets that a page has for `hash32`.
#[inline]
pub fn offsets_of(page: &[u8], hash32: u32) -> impl Iterator<Item = u64> + '_ {
    let wanted = u64::from(hash32) << 32;
    let mut low = 0;
    let mut len = PAGE_ENTRIES;
    // A binary search without branches: six steps.
    while len > 1 {
        let half = len / 2;
        low += if word(page, low + half - 1) < wanted { half } else { 0 };
        len -= half;
    }
    low += usize::from(word(page, low) < wanted);
    let entries = (low..PAGE_ENTRIES).map(move |i| word(page, i));
    entries.take_while(move |&e| parts(e).0 == hash32 && e != FILLER).map(|e| parts(e).1)
}

/// All entries of a page.
pub fn entries(page: &[u8]) -> impl Iterator<Item = u64> + '_ {
    page.chunks_exact(8).map(|bytes| word(bytes, 0)).filter(|&entry| entry != FILLER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(n: usize, spread: u64) -> Vec<u64> {
        let entry_of =
            |i| entry(hash32(crate::coding::hash(&[i as u8, (i >> 8) as u8]).wrapping_mul(spread)), 64 + 16 * i as u64);
        (0..n).map(entry_of).collect()
    }

    /// Every hash is found in the pages, with all its offsets, whether hashes are distinct, few, or all the same.
    #[test]
    fn every_hash_is_found_with_all_its_offsets() {
        let salt = FileSalt::new(1, 2);
        for (n, few) in [(1, 0), (63, 0), (64, 0), (65, 0), (1000, 0), (1000, 5), (300, 1), (300, 2)] {
            let mut all = hashes(n, 1);
            if few > 0 {
                for (i, e) in all.iter_mut().enumerate() {
                    let hash = if few == 2 { u32::MAX } else { (i % few) as u32 * 7 };
                    *e = entry(hash, parts(*e).1);
                }
            }
            all.sort_unstable();
            let (mut bytes, mut section) = (Vec::new(), Vec::new());
            for page in all.chunks(PAGE_ENTRIES) {
                let offset = bytes.len() as u64;
                let page: Vec<Keyed> =
                    page.iter().map(|&entry| Keyed::new(parts(entry).0, parts(entry).1, 7)).collect();
                put_page(&mut bytes, &mut section, &page, salt, offset);
            }
            let index = HashIndex::parse(&section).unwrap();
            assert_eq!(index.pages() as u64, pages(n as u64));
            let find = |hash| {
                let mut found = Vec::new();
                for number in index.candidates(hash) {
                    let page = &bytes[number * PAGE_BYTES..][..PAGE_BYTES];
                    assert!(index.accepts(number, page, salt, (number * PAGE_BYTES) as u64));
                    found.extend(offsets_of(page, hash));
                }
                found
            };
            for hash in all.iter().map(|&e| parts(e).0).flat_map(|h| [h, h.wrapping_add(1), h.wrapping_sub(1)]) {
                let expected: Vec<u64> = all.iter().map(|&e| parts(e)).filter(|e| e.0 == hash).map(|e| e.1).collect();
                assert_eq!(find(hash), expected, "{hash:#x} of {n}");
            }
            let listed: Vec<u64> = bytes.chunks(PAGE_BYTES).flat_map(entries).collect();
            assert_eq!(listed, all);
        }
    }
}
