//! The records of a table that may be damaged, and the gaps between them, one after the other.
//!
//! ```text
//! 3 a block's trailer tells where its records start. One that is damaged is not needed as long as they follow one another
//! 4 a record counts if its checksum is right at this very place of this very file, if it stands in order, and if its key
//!   and its number are among those that the table is said to have
//! 5 what is neither such a record nor a trailer is a gap
//! ```
//!
//! Is what lies between records a trailer, or has it lost some? A trailer of `n` records has `T(n) = round_up_8(2n) + 8` bytes, or 8 more with
//! a check of all records, and a record has 16 at least. So if `n` records follow one another from a block's start and exactly that many
//! bytes are left, nothing was lost: with one more record there would be more. Where fences do not say
//! where blocks are, a damaged record may have just that length: there a trailer proves itself by its check, and one that is damaged is a gap.
//!
//! Work is bounded by the file's length, whatever the bytes say; memory by a block, or by the longest record.

use std::collections::VecDeque;
use std::ops::Range;

use crate::coding::{self, get_u32, get_varint32, round_up_8};
use crate::error::Result;
use crate::lenient::Lenient;
use crate::options::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::record::{self, FileSalt, Header, Kind, Seq};
use crate::sync::Arc;
use crate::table::block::Layout;
use crate::table::fences::Fences;
use crate::table::{HEADER_BYTES, Meta, check_of};

/// How many times its length a table may be looked at in search of records.
const SEARCHES: u64 = 64;
/// Bytes of a record before its lengths.
pub const LENGTHS_AT: usize = 12;
/// What is behind a trailer's offsets, and behind the check of all records.
const TRAILER_TAIL: u64 = 8;
/// The flag of a trailer with such a check.
const WHOLE: u32 = 1;

/// What comes next in a table.
#[derive(Debug)]
pub enum Piece {
    /// A record that is as it was written.
    Record(Salvaged),
    /// Bytes that are none.
    Gap(Range<u64>),
}

/// A record that is as it was written.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// Where it stands.
    pub at: Range<u64>,
    pub checksum: u32,
    pub seq: Seq,
    pub kind: Kind,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// The records and gaps of a table, one after the other.
#[derive(Debug)]
pub struct Records {
    file: Lenient,
    salt: FileSalt,
    hash_seed: u64,
    fences: Option<Arc<Fences>>,
    /// Where records end.
    end: u64,
    /// Without fences: where it is.
    at: u64,
    /// With fences: the next block.
    block: u32,
    /// Where the last record started.
    last_start: u64,
    queue: VecDeque<Piece>,
    /// The last record's key and number.
    last: Option<(Vec<u8>, Seq)>,
    /// What the table is said to hold.
    meta: Option<Meta>,
    /// Bytes that may still be looked at in vain.
    budget: u64,
}

impl Records {
    pub fn new(
        file: Lenient,
        salt: FileSalt,
        hash_seed: u64,
        fences: Option<Fences>,
        end: u64,
        meta: Option<Meta>,
    ) -> Records {
        let budget = SEARCHES.saturating_mul(file.len());
        let first = HEADER_BYTES as u64;
        let fences = fences.map(Arc::new);
        let queue = VecDeque::new();
        let (block, last_start, last) = (0, 0, None);
        Records { file, salt, hash_seed, fences, end, at: first, block, last_start, queue, last, meta, budget }
    }

    /// The next piece. An error is one of this machine, say a lack of memory, and not one of the table.
    pub fn next(&mut self) -> Result<Option<Piece>> {
        while self.queue.is_empty() {
            let goes_on = match self.fences.clone() {
                Some(fences) => self.fenced(&fences)?,
                None => self.followed()?,
            };
            if !goes_on {
                return Ok(None);
            }
        }
        let Some(Piece::Record(record)) = self.queue.front() else { return Ok(self.queue.pop_front()) };
        let in_order =
            self.last.as_ref().is_none_or(|(key, seq)| record.key > *key || (record.key == *key && record.seq < *seq));
        let is_said = self.meta.as_ref().is_none_or(|meta| {
            (meta.first_seq..=meta.last_seq).contains(&record.seq)
                && meta.smallest <= record.key
                && record.key <= meta.largest
        });
        if !in_order || !is_said {
            let at = record.at.clone();
            self.queue.pop_front();
            return Ok(Some(Piece::Gap(at)));
        }
        self.last = Some((record.key.clone(), record.seq));
        Ok(self.queue.pop_front())
    }

    /// The next block.
    fn fenced(&mut self, fences: &Fences) -> Result<bool> {
        if self.block >= fences.blocks() {
            return Ok(false);
        }
        let (start, end) = fences.bounds(self.block);
        self.block += 1;
        let bytes = self.file.copy(start, end)?;
        let layout = Layout::read(&bytes, self.salt, start).filter(|_| bytes.len() as u64 == end - start);
        match layout {
            Some(layout) => self.by_trailer(&bytes, start, layout),
            None => self.in_sequence(&bytes, start..end),
        }
        Ok(true)
    }

    /// The records of a block whose trailer is good.
    fn by_trailer(&mut self, bytes: &[u8], start: u64, layout: Layout) {
        let mut expected = 0;
        for i in 0..layout.count {
            let from = layout.start(bytes, i).unwrap_or(usize::MAX);
            let to = layout.start(bytes, i + 1).unwrap_or(layout.records_end);
            // A trailer that is good says this of every record; one that was made does not.
            let part = bytes.get(from..to).filter(|_| from == expected);
            let Some(part) = part else {
                return self.queue.push_back(Piece::Gap(start + expected as u64..start + layout.records_end as u64));
            };
            let at = start + from as u64;
            match self.verified(part, at) {
                Some(record) if record.at.end == start + to as u64 => self.queue.push_back(Piece::Record(record)),
                _ => self.queue.push_back(Piece::Gap(at..start + to as u64)),
            }
            expected = to;
        }
    }

    /// The records of a block whose trailer is damaged.
    fn in_sequence(&mut self, bytes: &[u8], block: Range<u64>) {
        let (mut at, mut count, mut whole) = (0, 0, true);
        while at < bytes.len() {
            if let Some(record) = self.verified(&bytes[at..], block.start + at as u64) {
                at = (record.at.end - block.start) as usize;
                count += 1;
                self.queue.push_back(Piece::Record(record));
                continue;
            }
            let left = block.end - block.start - at as u64;
            if whole && is_trailer_len(left, count) {
                return;
            }
            whole = false;
            let from = at;
            at += 8;
            while at < bytes.len() && self.budget > 0 && !self.is_record(&bytes[at..], block.start + at as u64) {
                at += 8;
            }
            let to = if at < bytes.len() && self.budget > 0 { block.start + at as u64 } else { block.end };
            self.queue.push_back(Piece::Gap(block.start + from as u64..to));
            if to == block.end {
                return;
            }
        }
        let reached = block.start + at as u64;
        if reached < block.end {
            self.queue.push_back(Piece::Gap(reached..block.end));
        }
    }

    /// The next record, or what lies before it, where nobody knows where blocks start.
    fn followed(&mut self) -> Result<bool> {
        if self.at >= self.end {
            return Ok(false);
        }
        if let Some(record) = self.record_at(self.at)? {
            self.last_start = record.at.start;
            self.at = record.at.end;
            self.queue.push_back(Piece::Record(record));
            return Ok(true);
        }
        let from = self.at;
        let readable = self.end.min(self.file.len());
        let mut to = from + 8;
        while to < readable && self.budget > 0 && self.record_at(to)?.is_none() {
            to += 8;
        }
        if to >= readable || self.budget == 0 {
            to = self.end.max(from);
        }
        if !self.proves_itself(from, to)? {
            self.queue.push_back(Piece::Gap(from..to));
        }
        self.at = to;
        Ok(true)
    }

    /// Are the bytes `from..to` a good trailer of the block with the last record?
    fn proves_itself(&mut self, from: u64, to: u64) -> Result<bool> {
        let longest = trailer_len(u64::from(u16::MAX), WHOLE);
        if to - from > longest || to > self.file.len() {
            return Ok(false);
        }
        let bytes = self.file.copy(from, to)?;
        let tail = bytes.len().saturating_sub(TRAILER_TAIL as usize);
        let word = get_u32(&bytes, tail).unwrap_or(0);
        let (count, flags) = (word & u32::from(u16::MAX), word >> u16::BITS);
        if count == 0 || flags > WHOLE || trailer_len(u64::from(count), flags) != to - from {
            return Ok(false);
        }
        let last = 2 * (count as usize - 1);
        let Some(two) = bytes.get(last..last + 2) else { return Ok(false) };
        let within = u64::from(u16::from_le_bytes([two[0], two[1]])) * 8;
        let Some(start) = self.last_start.checked_sub(within) else { return Ok(false) };
        Ok(get_u32(&bytes, tail + 4) == Some(check_of(&bytes[..tail + 4], self.salt, start)))
    }

    /// The record at `at`, if there is a good one that ends before the records do.
    fn record_at(&mut self, at: u64) -> Result<Option<Salvaged>> {
        let head = self.file.get(at, record::HEADER_BYTES_MAX as u64)?;
        let Some(len) = claimed_len(head).filter(|len| at.saturating_add(*len) <= self.end) else {
            self.budget = self.budget.saturating_sub(8);
            return Ok(None);
        };
        let bytes = self.file.get(at, len)?;
        let found = verified(bytes, at, self.salt, self.hash_seed);
        if found.is_none() {
            self.budget = self.budget.saturating_sub(8 + len);
        }
        Ok(found)
    }

    fn is_record(&mut self, bytes: &[u8], at: u64) -> bool {
        self.verified(bytes, at).is_some()
    }

    fn verified(&mut self, bytes: &[u8], at: u64) -> Option<Salvaged> {
        let found = verified(bytes, at, self.salt, self.hash_seed);
        if found.is_none() {
            let looked_at = claimed_len(bytes).filter(|len| *len <= bytes.len() as u64).unwrap_or(0);
            self.budget = self.budget.saturating_sub(8 + looked_at);
        }
        found
    }
}

/// Bytes of the trailer of so many records: with these flags, a check of all of them or none.
fn trailer_len(count: u64, flags: u32) -> u64 {
    (2 * count).next_multiple_of(8) + 8 * u64::from(flags) + TRAILER_TAIL
}

fn is_trailer_len(len: u64, count: u64) -> bool {
    [0, WHOLE].iter().any(|&flags| len == trailer_len(count, flags))
}

/// How long the record at the start of `bytes` says it is, if it says what a record can say.
fn claimed_len(bytes: &[u8]) -> Option<u64> {
    let (key_len, at) = get_varint32(bytes, LENGTHS_AT)?;
    let (value_len, at) = get_varint32(bytes, at)?;
    let possible = key_len as usize <= KEY_BYTES_MAX && value_len as usize <= VALUE_BYTES_MAX;
    possible.then(|| round_up_8(at + key_len as usize + value_len as usize) as u64)
}

/// The record at the start of `bytes`, which stand at `at`, if it is as it was written.
fn verified(bytes: &[u8], at: u64, salt: FileSalt, hash_seed: u64) -> Option<Salvaged> {
    let header = Header::decode(bytes).filter(|header| header.kind != Kind::DeleteRange)?;
    let (key, value) = (header.key(bytes), header.value(bytes));
    let good = record::verify(bytes, &header, coding::hash_seeded(key, hash_seed), salt, at);
    good.then(|| Salvaged {
        at: at..at + header.len() as u64,
        checksum: header.checksum,
        seq: header.seq(),
        kind: header.kind,
        key: key.to_vec(),
        value: value.to_vec(),
    })
}
