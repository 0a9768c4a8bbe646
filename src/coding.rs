//! Fixed and variable integers, hashes and checksums: the alphabet of every file.
//!
//! All integers are little-endian. A varint is LEB128: seven bits a byte, low ones first, the top bit set on
//! all but the last. Decoders answer `None` for whatever the bytes do not hold; they never panic.
//!
//! Hashes are XXH3-64 (Yann Collet, <https://xxhash.com>); `fold` is the 64 x 64 -> 128 bit multiplication whose halves are
//! XORed, as wyhash and XXH3 mix their words.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of the longest varint of a `u32`.
pub const VARINT32_BYTES_MAX: usize = 5;

/// Beyond this XXH3 goes over its input in stripes, and what counts is how wide the CPU's registers are.
const SHORT_BYTES: usize = 240;

/// XXH3-64 of `bytes`.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    if bytes.len() <= SHORT_BYTES { xxh3_64(bytes) } else { hash_long(bytes) }
}

/// The same, by an implementation that asks the CPU for what it can do: with AVX2 it takes about half the time.
#[inline(never)]
fn hash_long(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// XXH3-64 of `bytes` under `seed`.
#[inline(always)]
pub fn hash_seeded(bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// Multiplies and XORs the two halves of the product: each bit of the result hangs on every bit of both words.
#[inline]
pub fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The two halves of a word, XORed.
#[inline]
pub fn half(word: u64) -> u32 {
    (word as u32) ^ ((word >> 32) as u32)
}

/// The `u32` at `at`, if there are four bytes.
#[inline]
pub fn get_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

/// The `u64` at `at`, if there are eight bytes.
#[inline]
pub fn get_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(eight.try_into().ok()?))
}

/// Writes `value` as a varint at the start of `out`, which has room for five bytes; returns how many it took.
#[inline]
pub fn put_varint32(out: &mut [u8], mut value: u32) -> usize {
    let mut used = 0;
    while value >= 0x80 {
        out[used] = (value as u8) | 0x80;
        value >>= 7;
        used += 1;
    }
    out[used] = value as u8;
    used + 1
}

/// Bytes that `value` takes as a varint.
#[inline]
pub fn varint32_len(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}

/// The varint at `at` and the offset after it. Refuses more than 32 bits, and a longer form than the number needs: each number has
/// one encoding.
#[inline]
pub fn get_varint32(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((u32::from(first), at + 1));
    }
    let mut value = u64::from(first & 0x7f);
    for i in 1..VARINT32_BYTES_MAX {
        let byte = *bytes.get(at.checked_add(i)?)?;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return if byte == 0 { None } else { Some((u32::try_from(value).ok()?, at + i + 1)) };
        }
    }
    None
}

/// `n` rounded up to a multiple of eight.
#[inline]
pub const fn round_up_8(n: usize) -> usize {
    (n + 7) & !7
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two implementations are of one function.
    #[test]
    fn a_hash_does_not_depend_on_who_computes_it() {
        let bytes: Vec<u8> = (0..70_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for len in (0..600).chain([1023, 1024, 1025, 4096, 65_536, 70_000]) {
            assert_eq!(hash(&bytes[..len]), xxh3_64(&bytes[..len]), "{len} bytes");
        }
    }

    #[test]
    fn varints_round_trip_and_refuse_what_is_not_one() {
        let mut out = [0; 5];
        for shift in 0..32 {
            for value in [1u32 << shift, (1u32 << shift).wrapping_sub(1), (1u32 << shift) | 1] {
                let n = put_varint32(&mut out, value);
                assert_eq!(n, varint32_len(value), "{value}");
                assert_eq!(get_varint32(&out[..n], 0), Some((value, n)));
                assert_eq!(get_varint32(&out[..n - 1], 0), None, "cut short");
            }
        }
        assert_eq!(get_varint32(&[0xff, 0xff, 0xff, 0xff, 0x10], 0), None, "33 bits");
        assert_eq!(get_varint32(&[0xff; 9], 0), None, "no end");
        assert_eq!(get_varint32(&[0x80, 0], 0), None, "zero in two bytes");
        assert_eq!(get_varint32(&[], usize::MAX), None);
        assert_eq!(get_u64(&[0; 8], usize::MAX - 3), None);
    }
}
