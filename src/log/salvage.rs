//! Salvage: the whole frames of a segment that may be damaged anywhere.
//!
//! ```text
//! 1 behind the last byte that is not zero there is nothing
//! 2 a frame is whole if its check and the checksums of all its records are right at this very place of this very file: a batch is
//!   kept as a whole or not at all
//! 3 where none is, the next one is looked for at every multiple of 8; what lies between is a gap
//! 4 of a gap that opens with something like a frame, the keys that it seems to have are told: nothing proves them
//! ```
//!
//! A damaged frame whose own check is right still says how long it is, so the search goes on behind it. The work of the search is
//! bounded by the file's size, whatever the bytes say: beyond that bound the rest of the segment is one gap.

use crate::coding;
use crate::log::frame::{Entry, FRAME_HEADER_BYTES, FrameCheck, FrameHeader, PREV_BYTES, walk_damaged};
use crate::options::KEY_BYTES_MAX;
use crate::record::{self, FileSalt, Header, Seq};

/// How many times its length a segment may be looked at in search of frames.
const SEARCHES: u64 = 64;

/// A frame, every byte of which is as it was written.
#[derive(Debug)]
pub struct Whole {
    /// Where it starts.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// The number of its first record.
    pub first_seq: Seq,
    /// Its records.
    pub entries: Vec<Entry>,
}

/// Bytes that are no whole frame.
#[derive(Debug)]
pub struct Gap {
    /// The first one.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
    /// How many records it had, if it is one frame that says so.
    pub records: Option<u64>,
    /// Keys that its records seem to have.
    pub said: Vec<Vec<u8>>,
}

/// The frames and the gaps of a segment's `bytes` from `from` on, in order.
pub fn salvage(bytes: &[u8], from: u64, salt: FileSalt, hash_seed: u64) -> (Vec<Whole>, Vec<Gap>) {
    let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last as u64 + 1);
    let budget = SEARCHES.saturating_mul(bytes.len() as u64);
    let mut search = Search { bytes, salt, hash_seed, check: FrameCheck::default(), budget };
    let (mut wholes, mut gaps): (Vec<Whole>, Vec<Gap>) = (Vec::new(), Vec::new());
    let mut at = from;
    while at < end {
        match search.frame(at) {
            Found::Whole(whole) => {
                at = whole.to;
                wholes.push(whole);
            }
            Found::Damaged { to, records } => {
                gaps.push(Gap { from: at, to, records: Some(records), said: search.said(at) });
                at = to;
            }
            Found::Nothing => {
                let from = at;
                at += 8;
                while at < end && search.budget > 0 && matches!(search.frame(at), Found::Nothing) {
                    at += 8;
                }
                let to = if search.budget > 0 { at.min(bytes.len() as u64) } else { end };
                at = to;
                gaps.push(Gap { from, to, records: None, said: search.said(from) });
            }
        }
    }
    (wholes, gaps)
}

enum Found {
    Whole(Whole),
    /// A frame whose own check is right, and a record's is not.
    Damaged {
        to: u64,
        records: u64,
    },
    Nothing,
}

struct Search<'a> {
    bytes: &'a [u8],
    salt: FileSalt,
    hash_seed: u64,
    check: FrameCheck,
    /// Bytes that may still be looked at in vain.
    budget: u64,
}

impl Search<'_> {
    fn frame(&mut self, at: u64) -> Found {
        let rest = self.bytes.get(at as usize..).unwrap_or(&[]);
        let Some(header) = FrameHeader::decode(rest) else {
            self.budget = self.budget.saturating_sub(8);
            return Found::Nothing;
        };
        let mut entries = Vec::new();
        if !walk_damaged(rest, at, self.salt, &header, &mut self.check, &mut entries) {
            // The walk looks at the records' headers only.
            self.budget = self.budget.saturating_sub(8 + 32 * entries.len() as u64);
            return Found::Nothing;
        }
        let in_order = (header.first_seq..).zip(&entries).all(|(seq, entry)| entry.header.seq() == seq);
        if in_order && entries.iter().all(|entry| self.holds(rest, at, entry)) {
            return Found::Whole(Whole { from: at, to: at + header.len, first_seq: header.first_seq, entries });
        }
        self.budget = self.budget.saturating_sub(header.len);
        Found::Damaged { to: at + header.len, records: u64::from(header.count) }
    }

    /// The keys that a damaged frame at `at` seems to have.
    fn said(&mut self, at: u64) -> Vec<Vec<u8>> {
        let rest = self.bytes.get(at as usize..).unwrap_or(&[]);
        let mut entries = Vec::new();
        let first = FRAME_HEADER_BYTES + PREV_BYTES;
        match FrameHeader::decode(rest) {
            Some(header) => drop(walk_damaged(rest, at, self.salt, &header, &mut self.check, &mut entries)),
            // The first record of a frame whose header is damaged stands where it always does.
            None => entries.extend(
                Header::decode(rest.get(first..).unwrap_or(&[]))
                    .map(|header| Entry { offset: at + first as u64, header }),
            ),
        }
        let key = |entry: &Entry| entry.header.key(rest.get((entry.offset - at) as usize..).unwrap_or(&[])).to_vec();
        entries.iter().filter(|entry| entry.header.key_len as usize <= KEY_BYTES_MAX).map(key).collect()
    }

    fn holds(&self, rest: &[u8], at: u64, entry: &Entry) -> bool {
        let record = rest.get((entry.offset - at) as usize..).unwrap_or(&[]);
        let key_hash = coding::hash_seeded(entry.header.key(record), self.hash_seed);
        record::verify(record, &entry.header, key_hash, self.salt, entry.offset)
    }
}
