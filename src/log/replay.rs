//! Replay: which frames of a segment count, and whether what follows them was torn or rotted away.
//!
//! Frames are accepted one by one while they are whole, checked to the last record, and numbered without a gap. The first that is
//! not ends the segment. It is a **torn tail**, which a crash may leave and nobody was promised, unless a
//! later valid frame, in this segment or a later one, says that everything up to the missing one was synced when it was written:
//! then it is **rot**, and the store refuses to open. Rot in the last synced group has no such witness
//! and looks torn (`docs/durability.md` says so).
//!
//! The search for a witness tries every multiple of eight, since a damaged frame can't be trusted to say where the next
//! one starts. Its work is bounded by the file's size, whatever the bytes say.

use super::frame::{self, Bad, Entry, FrameCheck, FrameHeader};
use crate::coding;
use crate::record::{self, FileSalt, Seq};

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The first byte after the last accepted frame.
    pub end: u64,
    /// The number that the next frame would have to start with.
    pub next_seq: Seq,
    /// What stands at `end`, if it is neither the end of the file nor zeros to its end.
    pub stop: Option<Bad>,
}

/// Replays frames from `from` up to `to` (the recorded end, or the file's), of which the first must start with `expect`.
/// `accept` gets each frame's records together with their keys' hashes.
pub fn replay<E>(
    bytes: &[u8],
    from: u64,
    salt: FileSalt,
    hash_seed: u64,
    expect: Seq,
    mut accept: impl FnMut(&[Entry], &[u64]) -> Result<(), E>,
) -> Result<Replayed, E> {
    let mut check = FrameCheck::default();
    let (mut entries, mut hashes) = (Vec::new(), Vec::new());
    let (mut at, mut next_seq) = (from, expect);
    loop {
        let rest = bytes.get(at as usize..).unwrap_or(&[]);
        match next_frame(rest, at, salt, hash_seed, next_seq, &mut check, &mut entries, &mut hashes) {
            Ok(header) => {
                accept(&entries, &hashes)?;
                at += header.len;
                next_seq += u64::from(header.count);
            }
            Err(bad) => {
                let stop = (!all_zero(rest)).then_some(bad);
                return Ok(Replayed { end: at, next_seq, stop });
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the last three are buffers that outlive the call")]
fn next_frame(
    rest: &[u8],
    at: u64,
    salt: FileSalt,
    hash_seed: u64,
    expect: Seq,
    check: &mut FrameCheck,
    entries: &mut Vec<Entry>,
    hashes: &mut Vec<u64>,
) -> Result<FrameHeader, Bad> {
    let bad = |what| Bad { offset: at, what };
    let header = FrameHeader::decode(rest).ok_or(bad("no frame header"))?;
    if header.first_seq != expect {
        return Err(bad("the frame's sequence number does not follow the one before"));
    }
    frame::check_frame(rest, at, salt, &header, check, entries)?;
    hashes.clear();
    for entry in &*entries {
        let record = &rest[(entry.offset - at) as usize..];
        let key_hash = coding::hash_seeded(entry.header.key(record), hash_seed);
        let value_hash = coding::hash(entry.header.value(record));
        let sum = record::checksum(key_hash, value_hash, entry.header.seq_kind, salt, entry.offset);
        if sum != entry.header.checksum {
            return Err(Bad { offset: entry.offset, what: "the record's checksum does not match" });
        }
        hashes.push(key_hash);
    }
    Ok(header)
}

/// The first valid frame at or after `from` that says everything below and including `expect` was durable.
/// An error if the bytes are made to keep the search busy.
pub fn find_witness(bytes: &[u8], from: u64, salt: FileSalt, expect: Seq) -> Result<Option<u64>, Bad> {
    let mut check = FrameCheck::default();
    let mut entries = Vec::new();
    let mut budget = 64 * bytes.len() as u64;
    let mut at = from.next_multiple_of(8);
    while let Some(rest) = bytes.get(at as usize..).filter(|rest| !rest.is_empty()) {
        let zeros = rest.iter().take_while(|&&b| b == 0).count() as u64;
        // A frame starts with its length, whose low byte may be zero: step back to the word that is not all zeros.
        let skip = zeros / 8 * 8;
        if skip > 0 {
            at += skip;
            continue;
        }
        if let Some(header) = FrameHeader::decode(rest).filter(|h| h.durable_seq() >= expect) {
            match frame::check_frame(rest, at, salt, &header, &mut check, &mut entries) {
                Ok(()) => return Ok(Some(at)),
                Err(bad) => {
                    let walked = if bad.offset == at { header.len } else { bad.offset - at };
                    budget = budget
                        .checked_sub(walked)
                        .ok_or(Bad { offset: at, what: "too many things that look like frames: made, not damaged" })?;
                }
            }
        }
        at += 8;
    }
    Ok(None)
}

/// Are all bytes zero?
pub fn all_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |or, &b| or | b) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{HEADER_BYTES_MAX, Kind};

    const SALT: u64 = 7;

    /// A frame of one put, at `offset`.
    fn one(seq: Seq, durable: Seq, offset: u64, salt: FileSalt) -> Vec<u8> {
        let (key, value) = (b"key".as_slice(), b"value".as_slice());
        let at = offset + (frame::FRAME_HEADER_BYTES + frame::PREV_BYTES) as u64;
        let word = record::seq_kind(seq, Kind::Put);
        let sum = record::checksum(coding::hash_seeded(key, SALT), coding::hash(value), word, salt, at);
        let mut header = [0; HEADER_BYTES_MAX];
        let n = record::encode_header(&mut header, sum, word, key.len() as u32, value.len() as u32);
        let len = frame::FRAME_HEADER_BYTES + frame::PREV_BYTES + record::encoded_len(key.len(), value.len());
        let mut check = FrameCheck::default();
        let head = check.start(len as u64, 1, seq, durable);
        check.entry(0, sum);
        let mut frame =
            [&head[..], &check.finish(salt, offset).to_le_bytes(), &[0; 8], &header[..n], key, value].concat();
        frame.resize(len, 0);
        frame
    }

    fn log(frames: &[(Seq, Seq)], salt: FileSalt) -> Vec<u8> {
        let mut bytes = vec![0; 80];
        for (seq, durable) in frames {
            let frame = one(*seq, *durable, bytes.len() as u64, salt);
            bytes.extend(frame);
        }
        bytes.resize(bytes.len() + 100, 0);
        bytes
    }

    fn replayed(bytes: &[u8], salt: FileSalt, expect: Seq) -> Replayed {
        replay(bytes, 80, salt, SALT, expect, |_, _| Ok::<(), ()>(())).unwrap()
    }

    /// Whole frames in the wrong order, of another file or in another place end the log, however whole they are. Whether that is rot
    /// is told by what a later frame claims.
    #[test]
    fn a_whole_frame_counts_only_where_it_belongs() {
        let salt = FileSalt::new(1, 2);
        let good = log(&[(5, 0), (6, 0), (7, 0)], salt);
        let len = one(5, 0, 80, salt).len() as u64;
        assert_eq!(replayed(&good, salt, 5), Replayed { end: 80 + 3 * len, next_seq: 8, stop: None });
        assert_eq!(replayed(&good, salt, 4).next_seq, 4, "another log went before");
        assert_eq!(replayed(&good, FileSalt::new(1, 3), 5).next_seq, 5, "another file");
        assert_eq!(replayed(&good, FileSalt::new(2, 2), 5).next_seq, 5, "another store");
        for wrong in [5, 7] {
            let gap = replayed(&log(&[(5, 0), (wrong, 0)], salt), salt, 5);
            assert_eq!((gap.next_seq, gap.stop.map(|bad| bad.offset)), (6, Some(80 + len)), "{wrong} after 5");
        }
        let moved = [&good[..80], &good[80 + len as usize..]].concat();
        assert_eq!(replayed(&moved, salt, 6).next_seq, 6, "another place");

        for (claim, witness) in [(4, None), (5, None), (6, Some(80 + len)), (7, Some(80 + len))] {
            let bytes = log(&[(5, 0), (8, claim)], salt);
            assert_eq!(find_witness(&bytes, 80, salt, 6).unwrap(), witness, "a claim of {claim}, 6 is missing");
        }
        assert_eq!(find_witness(&log(&[(5, 0), (8, 7)], salt), 80, FileSalt::new(1, 3), 6).unwrap(), None);
    }
}
