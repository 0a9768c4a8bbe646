//! The record: one layout for logs and tables, so that data moves between them without being encoded again.
//!
//! ```text
//! record   := checksum u32 | seq_kind u64 | klen varint | vlen varint | key | value | zeros to a multiple of 8
//! seq_kind := sequence number << 8 | kind
//! ```
//!
//! A put has a value and a delete has none. A delete of a range has its first key as the key, and as the value the first
//! key that stays. It is no version of any key: it stands in a log so that the list of range deletes can be made again.
//!
//! **Checksum.** With `K` = XXH3-64 of the key seeded with the database's hash seed (the same hash that finds the key
//! in the point index, so a lookup that already has it hashes only the value), `V` = XXH3-64 of the value:
//!
//! ```text
//! content  := fold(K ^ seq_kind, V ^ CONTENT)               depends on every byte of key, value, sequence number and kind
//! mask     := fold(salt of the file ^ offset / 8, PLACE)    salt of the file := fold(database id, number ^ FILE)
//! checksum := half(content) ^ half(mask)
//! ```
//!
//! The mask ties a record to its place: a stale, recycled or misplaced copy never validates, and moving a record to
//! another place costs two XORs instead of a pass over its bytes. The lengths need no part of their own: a changed
//! length changes which bytes are hashed.

use crate::coding::{self, fold, half};

/// A write's place in the one order of all writes, starting at 1. 56 bits.
pub type Seq = u64;

/// The largest sequence number.
pub const SEQ_MAX: Seq = (1 << 56) - 1;

/// Every record starts at a multiple of this.
pub const RECORD_ALIGN: usize = 8;

/// Checksum and seq_kind.
const FIXED_BYTES: usize = 12;

/// Bytes of the longest record header.
pub const HEADER_BYTES_MAX: usize = FIXED_BYTES + 2 * coding::VARINT32_BYTES_MAX;

// Digits of the fractional part of the golden ratio, of sqrt 3 and of sqrt 5, made odd: nothing up a sleeve.
/// For what is in a record.
pub const CONTENT: u64 = 0x9e37_79b9_7f4a_7c15;
/// For where it is.
pub const PLACE: u64 = 0xbb67_ae85_84ca_a73b;
const FILE: u64 = 0x3c6e_f372_fe94_f82b;

/// What a record does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Sets the value.
    Put = 1,
    /// Removes the key: a tombstone.
    Delete = 2,
    /// Removes the keys from the record's key up to but without its value. Never in the index nor in a run.
    DeleteRange = 3,
}

impl Kind {
    fn of(seq_kind: u64) -> Option<Kind> {
        match seq_kind as u8 {
            1 => Some(Kind::Put),
            2 => Some(Kind::Delete),
            3 => Some(Kind::DeleteRange),
            _ => None,
        }
    }
}

/// A record's header, decoded: where its key and value lie relative to the record's first byte.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub checksum: u32,
    pub seq_kind: u64,
    pub kind: Kind,
    pub key_at: u32,
    pub key_len: u32,
    pub value_len: u32,
}

impl Header {
    /// Reads the header of the record at the start of `bytes` and checks that the record lies within them.
    #[inline(always)]
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let checksum = coding::get_u32(bytes, 0)?;
        let seq_kind = coding::get_u64(bytes, 4)?;
        let kind = Kind::of(seq_kind)?;
        let (key_len, at) = coding::get_varint32(bytes, FIXED_BYTES)?;
        let (value_len, at) = coding::get_varint32(bytes, at)?;
        let end = at.checked_add(key_len as usize)?.checked_add(value_len as usize)?;
        if end > bytes.len() {
            return None;
        }
        Some(Header { checksum, seq_kind, kind, key_at: at as u32, key_len, value_len })
    }

    /// The sequence number.
    #[inline]
    pub fn seq(&self) -> Seq {
        self.seq_kind >> 8
    }

    /// Where the value starts.
    #[inline]
    pub fn value_at(&self) -> usize {
        self.key_at as usize + self.key_len as usize
    }

    /// Bytes without the padding.
    #[inline]
    pub fn unpadded_len(&self) -> usize {
        self.value_at() + self.value_len as usize
    }

    /// Bytes with the padding.
    #[inline]
    pub fn len(&self) -> usize {
        coding::round_up_8(self.unpadded_len())
    }

    /// The key, in the bytes that [`decode`](Header::decode) read.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.key_at as usize..self.value_at()]
    }

    /// The value, in the bytes that [`decode`](Header::decode) read.
    #[inline]
    pub fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.value_at()..self.unpadded_len()]
    }
}

/// The key of the record at the start of `bytes`; nothing else is looked at.
#[inline]
pub fn key(bytes: &[u8]) -> Option<&[u8]> {
    let (key_len, at) = coding::get_varint32(bytes, FIXED_BYTES)?;
    let (_, at) = coding::get_varint32(bytes, at)?;
    bytes.get(at..at.checked_add(key_len as usize)?)
}

/// A record in its file: where it stands, and its header, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// In the file.
    pub offset: u64,
    /// Decoded.
    pub header: Header,
}

/// Bytes of a record, padding included.
#[inline]
pub fn encoded_len(key_len: usize, value_len: usize) -> usize {
    let header = FIXED_BYTES + coding::varint32_len(key_len as u32) + coding::varint32_len(value_len as u32);
    coding::round_up_8(header + key_len + value_len)
}

/// Writes a record's header at the start of `out` and returns its length.
#[inline]
pub fn encode_header(
    out: &mut [u8; HEADER_BYTES_MAX],
    checksum: u32,
    seq_kind: u64,
    key_len: u32,
    value_len: u32,
) -> usize {
    out[..4].copy_from_slice(&checksum.to_le_bytes());
    out[4..12].copy_from_slice(&seq_kind.to_le_bytes());
    let at = FIXED_BYTES + coding::put_varint32(&mut out[FIXED_BYTES..], key_len);
    at + coding::put_varint32(&mut out[at..], value_len)
}

/// Sequence number and kind in one word.
#[inline]
pub fn seq_kind(seq: Seq, kind: Kind) -> u64 {
    debug_assert!(seq <= SEQ_MAX);
    seq << 8 | kind as u64
}

/// What ties records to one file of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSalt(u64);

impl FileSalt {
    /// For file `number` of the database `id`.
    pub fn new(id: u128, number: u64) -> FileSalt {
        let database = fold(id as u64 ^ PLACE, (id >> 64) as u64 ^ CONTENT);
        FileSalt(fold(database, number ^ FILE))
    }

    /// For checks other than a record's, at `offset`.
    #[inline]
    pub fn at(self, offset: u64) -> u64 {
        self.0 ^ (offset / RECORD_ALIGN as u64)
    }

    /// The part of a record's checksum that says where it stands.
    #[inline]
    fn mask(self, offset: u64) -> u32 {
        half(fold(self.at(offset), PLACE))
    }
}

/// The checksum of a record at `offset` of the file with `salt`.
#[inline]
pub fn checksum(key_hash: u64, value_hash: u64, seq_kind: u64, salt: FileSalt, offset: u64) -> u32 {
    half(fold(key_hash ^ seq_kind, value_hash ^ CONTENT)) ^ salt.mask(offset)
}

/// What a record's checksum becomes when the record moves from `offset` of the file with `salt` to another place. No byte of it is
/// looked at, so one that is damaged stays so.
#[inline]
pub fn moved(checksum: u32, (salt, offset): (FileSalt, u64), to: (FileSalt, u64)) -> u32 {
    checksum ^ salt.mask(offset) ^ to.0.mask(to.1)
}

/// Does the record that `header` opens at the start of `bytes`, at `offset` of its file, hold what was written there?
#[inline(always)]
pub fn verify(bytes: &[u8], header: &Header, key_hash: u64, salt: FileSalt, offset: u64) -> bool {
    checksum(key_hash, coding::hash(header.value(bytes)), header.seq_kind, salt, offset) == header.checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(seq: Seq, kind: Kind, key: &[u8], value: &[u8], salt: FileSalt, offset: u64) -> Vec<u8> {
        let word = seq_kind(seq, kind);
        let sum = checksum(coding::hash_seeded(key, 7), coding::hash(value), word, salt, offset);
        let mut header = [0; HEADER_BYTES_MAX];
        let n = encode_header(&mut header, sum, word, key.len() as u32, value.len() as u32);
        let mut bytes = [&header[..n], key, value].concat();
        bytes.resize(encoded_len(key.len(), value.len()), 0);
        bytes
    }

    fn valid(bytes: &[u8], salt: FileSalt, offset: u64) -> bool {
        let Some(h) = Header::decode(bytes) else { return false };
        let sum =
            checksum(coding::hash_seeded(h.key(bytes), 7), coding::hash(h.value(bytes)), h.seq_kind, salt, offset);
        sum == h.checksum
    }

    /// Every flipped bit but those of the padding is found, and so is every cut.
    #[test]
    fn a_flipped_bit_or_a_wrong_place_never_validates() {
        let salt = FileSalt::new(0x1234_5678_9abc, 3);
        for (key, value) in [(&b"key"[..], &b"value"[..]), (b"", b""), (&[7; 200], &[9; 300])] {
            let bytes = encode(77, Kind::Put, key, value, salt, 4096);
            assert_eq!(bytes.len() % 8, 0);
            assert!(valid(&bytes, salt, 4096));
            let content = Header::decode(&bytes).unwrap().unpadded_len();
            for bit in 0..content * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(!valid(&bad, salt, 4096), "bit {bit}");
            }
            for cut in 0..content {
                assert!(!valid(&bytes[..cut], salt, 4096), "cut at {cut}");
            }
            assert!(!valid(&bytes, salt, 4104), "moved");
            assert!(!valid(&bytes, FileSalt::new(0x1234_5678_9abc, 4), 4096), "another file");
            assert!(!valid(&bytes, FileSalt::new(0x1234_5678_9abd, 3), 4096), "another database");
        }
    }

    /// A record that moves is valid at its new place and nowhere else, and damage moves with it.
    #[test]
    fn moving_changes_the_place_only() {
        let (old, new) = ((FileSalt::new(9, 3), 4096), (FileSalt::new(9, 4), 64));
        let mut bytes = encode(77, Kind::Put, b"key", b"value", old.0, old.1);
        let sum = Header::decode(&bytes).unwrap().checksum;
        bytes[..4].copy_from_slice(&moved(sum, old, new).to_le_bytes());
        assert!(valid(&bytes, new.0, new.1) && !valid(&bytes, old.0, old.1));
        bytes[15] ^= 1;
        assert!(!valid(&bytes, new.0, new.1));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let mut bytes = encode(1, Kind::Delete, b"k", b"", FileSalt::new(1, 1), 0);
        bytes[12] = 0xff;
        bytes[13] = 0xff;
        assert!(Header::decode(&bytes).is_none());
        bytes[4] = 99;
        assert!(Header::decode(&bytes).is_none(), "unknown kind");
        assert!(Header::decode(&[]).is_none());
    }
}
