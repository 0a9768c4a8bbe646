//! The frame: what is appended, and accepted or refused, as one. The grammar stands in [`log`](super).

use crate::coding::{self, get_u32, get_u64};
use crate::error::Result;
use crate::files::File;
use crate::record::{FileSalt, Header, SEQ_MAX, Seq};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 24;
/// Bytes of a `prev`, which stands right before its record.
pub const PREV_BYTES: usize = 8;
/// Frame lengths count units of this many bytes.
const UNIT: usize = 8;
/// The smallest record is 16 bytes.
const ENTRY_BYTES_MIN: u64 = 24;
/// A `lag` that tells nothing.
const LAG_UNKNOWN: u32 = u32::MAX;

/// Where the version that a record replaced stands: a hint for readers of old versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prev {
    /// There was none: the key is absent before this record.
    None,
    /// Not known: search in order.
    Unknown,
    /// In the file with this number, at this offset.
    At(u64, u64),
}

impl Prev {
    /// As it stands in a frame. A place that does not fit becomes `Unknown`.
    pub fn encode(self) -> u64 {
        match self {
            Prev::None => 0,
            Prev::Unknown => u64::MAX,
            Prev::At(number, offset) => match (u32::try_from(number), u32::try_from(offset / 8)) {
                (Ok(number), Ok(unit)) if number != 0 && number != u32::MAX => {
                    u64::from(number) << 32 | u64::from(unit)
                }
                _ => u64::MAX,
            },
        }
    }

    /// From a frame.
    pub fn decode(word: u64) -> Prev {
        match word {
            0 => Prev::None,
            u64::MAX => Prev::Unknown,
            _ => Prev::At(word >> 32, (word & 0xffff_ffff) * 8),
        }
    }
}

/// A frame's header, decoded.
#[derive(Clone, Copy, Debug)]
pub struct FrameHeader {
    /// Bytes of the whole frame, this header included.
    pub len: u64,
    /// Records.
    pub count: u32,
    /// The first record's sequence number; the others follow without a gap.
    pub first_seq: Seq,
    lag: u32,
    check: u32,
}

impl FrameHeader {
    /// The header at the start of `bytes`, if what it says is possible within them.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Option<FrameHeader> {
        let len = u64::from(get_u32(bytes, 0)?) * UNIT as u64;
        let count = get_u32(bytes, 4)?;
        let first_seq = get_u64(bytes, 8)?;
        let header = FrameHeader { len, count, first_seq, lag: get_u32(bytes, 16)?, check: get_u32(bytes, 20)? };
        let least = FRAME_HEADER_BYTES as u64 + u64::from(count) * ENTRY_BYTES_MIN;
        let possible = count > 0
            && len >= least
            && len <= bytes.len() as u64
            && first_seq > 0
            && first_seq <= SEQ_MAX - u64::from(count);
        possible.then_some(header)
    }

    /// The sequence number known to be synced when the frame was written.
    pub fn durable_seq(&self) -> Seq {
        match self.lag {
            LAG_UNKNOWN => 0,
            lag => (self.first_seq - 1).saturating_sub(u64::from(lag)),
        }
    }
}

/// The first five fields of a frame's header.
#[inline(always)]
fn first_fields(len: u64, count: u32, first_seq: Seq, durable_seq: Seq) -> [u8; 20] {
    debug_assert!(len.is_multiple_of(UNIT as u64) && len / UNIT as u64 <= u64::from(u32::MAX));
    let lag = u32::try_from(first_seq - 1 - durable_seq.min(first_seq - 1)).unwrap_or(LAG_UNKNOWN);
    let mut head = [0; 20];
    head[..4].copy_from_slice(&((len / UNIT as u64) as u32).to_le_bytes());
    head[4..8].copy_from_slice(&count.to_le_bytes());
    head[8..16].copy_from_slice(&first_seq.to_le_bytes());
    head[16..20].copy_from_slice(&lag.to_le_bytes());
    head
}

/// A record that is a frame of its own.
#[derive(Clone, Copy, Debug)]
pub struct Single {
    /// The frame's length, without a remainder by its unit.
    pub len: u64,
    /// Its sequence number.
    pub seq: Seq,
    /// As the frame tells it.
    pub prev: u64,
    /// Its checksum.
    pub checksum: u32,
}

impl Single {
    /// The header of the frame, at `offset`, when writes up to `durable_seq` are known to be synced.
    #[inline(always)]
    pub fn header(&self, durable_seq: Seq, salt: FileSalt, offset: u64) -> [u8; FRAME_HEADER_BYTES] {
        let head = first_fields(self.len, 1, self.seq, durable_seq);
        let mut covered = [0; 32];
        covered[..20].copy_from_slice(&head);
        covered[20..28].copy_from_slice(&self.prev.to_le_bytes());
        covered[28..].copy_from_slice(&self.checksum.to_le_bytes());
        let check = coding::half(coding::hash_seeded(&covered, salt.at(offset)));
        let mut header = [0; FRAME_HEADER_BYTES];
        header[..20].copy_from_slice(&head);
        header[20..].copy_from_slice(&check.to_le_bytes());
        header
    }
}

/// Collects what the check of a frame of any number of records covers, in order.
#[derive(Debug, Default)]
pub struct FrameCheck(Vec<u8>);

impl FrameCheck {
    /// Starts over with the header's first five fields.
    pub fn start(&mut self, len: u64, count: u32, first_seq: Seq, durable_seq: Seq) -> [u8; 20] {
        let head = first_fields(len, count, first_seq, durable_seq);
        self.restart(&head);
        head
    }

    fn restart(&mut self, head: &[u8]) {
        self.0.clear();
        self.0.extend_from_slice(head);
    }

    /// One record.
    #[inline]
    pub fn entry(&mut self, prev: u64, checksum: u32) {
        self.0.extend_from_slice(&prev.to_le_bytes());
        self.0.extend_from_slice(&checksum.to_le_bytes());
    }

    /// The check of the frame at `offset`.
    #[inline]
    pub fn finish(&self, salt: FileSalt, offset: u64) -> u32 {
        coding::half(coding::hash_seeded(&self.0, salt.at(offset)))
    }
}

/// A record of a frame that was checked.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Of the record in the file.
    pub offset: u64,
    /// Its header.
    pub header: Header,
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// In the file.
    pub offset: u64,
    /// In a few words.
    pub what: &'static str,
}

/// Checks the frame that `header` opens at `offset` of the file whose bytes from there on are `bytes`: structure, sequence numbers
/// and its own check, but not yet what the records' checksums cover. Pushes its records to `entries` and returns its length.
pub fn check_frame(
    bytes: &[u8],
    offset: u64,
    salt: FileSalt,
    header: &FrameHeader,
    check: &mut FrameCheck,
    entries: &mut Vec<Entry>,
) -> Result<(), Bad> {
    let bad = |at: usize, what| Bad { offset: offset + at as u64, what };
    let frame = bytes.get(..header.len as usize).ok_or(bad(0, "the frame is longer than the file"))?;
    check.restart(frame.get(..20).ok_or(bad(0, "the frame is cut short"))?);
    entries.clear();
    let mut at = FRAME_HEADER_BYTES;
    for i in 0..header.count {
        let prev = get_u64(frame, at).ok_or(bad(at, "the frame ends within a record"))?;
        let record = frame.get(at + PREV_BYTES..).unwrap_or(&[]);
        let decoded = Header::decode(record).ok_or(bad(at, "no record where one should be"))?;
        if decoded.seq() != header.first_seq + u64::from(i) {
            return Err(bad(at, "the record has another sequence number than its place in the frame says"));
        }
        if decoded.len() > record.len() || record[decoded.unpadded_len()..decoded.len()].iter().any(|&b| b != 0) {
            return Err(bad(at, "the record is not padded with zeros"));
        }
        check.entry(prev, decoded.checksum);
        entries.push(Entry { offset: offset + (at + PREV_BYTES) as u64, header: decoded });
        at += PREV_BYTES + decoded.len();
    }
    if at != frame.len() {
        return Err(bad(at, "the frame is longer than its records"));
    }
    if check.finish(salt, offset) != header.check {
        return Err(bad(0, "the frame's check does not match"));
    }
    Ok(())
}

/// Walks the records of a frame that may be damaged, as far as they lead: pushes those that look like records, and says whether
/// what the frame's own check covers is as it was written. Padding, which nothing covers, may be anything.
pub fn walk_damaged(
    bytes: &[u8],
    offset: u64,
    salt: FileSalt,
    header: &FrameHeader,
    check: &mut FrameCheck,
    entries: &mut Vec<Entry>,
) -> bool {
    entries.clear();
    let Some(frame) = bytes.get(..header.len as usize) else { return false };
    let Some(head) = frame.get(..20) else { return false };
    check.restart(head);
    let mut at = FRAME_HEADER_BYTES;
    for _ in 0..header.count {
        let record = frame.get(at + PREV_BYTES..).unwrap_or(&[]);
        let (Some(prev), Some(decoded)) = (get_u64(frame, at), Header::decode(record)) else { return false };
        check.entry(prev, decoded.checksum);
        entries.push(Entry { offset: offset + (at + PREV_BYTES) as u64, header: decoded });
        at += PREV_BYTES + decoded.len();
    }
    at == frame.len() && check.finish(salt, offset) == header.check
}

/// Walks the frames of published bytes, which this process wrote or checked at recovery.
/// `each` gets every record's offset, its bytes and more, and its header; it returns false to stop.
pub fn walk<'a>(
    file: &'a File,
    from: u64,
    to: u64,
    mut each: impl FnMut(u64, &'a [u8], &Header) -> bool,
) -> Result<()> {
    let bytes = file.published();
    let bytes = bytes.get(..to as usize).unwrap_or(bytes);
    let damaged = |at: usize| file.corrupt(at as u64, "the log is damaged in memory: no frame where one was written");
    let mut at = from as usize;
    while at < bytes.len() {
        let frame = FrameHeader::decode(&bytes[at..]).ok_or_else(|| damaged(at))?;
        let end = at + frame.len as usize;
        at += FRAME_HEADER_BYTES;
        for _ in 0..frame.count {
            at += PREV_BYTES;
            let record = bytes.get(at..end).unwrap_or(&[]);
            let header = Header::decode(record).ok_or_else(|| damaged(at))?;
            if !each(at as u64, record, &header) {
                return Ok(());
            }
            at += header.len();
        }
        if at != end {
            return Err(damaged(at));
        }
    }
    Ok(())
}

/// The `prev` of the record at `offset`.
#[inline]
pub fn prev_of(file: &File, offset: u64) -> Prev {
    let word = (offset as usize).checked_sub(PREV_BYTES).and_then(|at| get_u64(file.published(), at));
    word.map_or(Prev::Unknown, Prev::decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prev_round_trips_or_is_unknown() {
        for prev in [Prev::None, Prev::Unknown, Prev::At(1, 80), Prev::At(u64::from(u32::MAX) - 1, 32 << 30)] {
            let expected = if prev == Prev::At(u64::from(u32::MAX) - 1, 32 << 30) { Prev::Unknown } else { prev };
            assert_eq!(Prev::decode(prev.encode()), expected);
        }
        assert_eq!(Prev::decode(Prev::At(1 << 40, 8).encode()), Prev::Unknown);
    }

    #[test]
    fn the_lag_saturates_to_unknown() {
        let mut check = FrameCheck::default();
        for (first, durable, told) in [(10, 9, 9), (10, 0, 0), (1 << 40, 5, 0), (1 << 40, (1 << 40) - 7, (1 << 40) - 7)]
        {
            let mut bytes = check.start(48, 1, first, durable).to_vec();
            bytes.resize(48, 0);
            assert_eq!(FrameHeader::decode(&bytes).unwrap().durable_seq(), told);
        }
    }
}
