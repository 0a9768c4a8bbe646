//! What the benchmarks put: random keys, the same each time.

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// SplitMix64: the `i`-th number of the sequence that starts at `seed`.
pub fn random(seed: u64, i: u64) -> u64 {
    let mut z = (seed << 40).wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `i`-th key.
pub fn key(i: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&random(1, i).to_be_bytes());
    key[8..].copy_from_slice(&random(2, i).to_be_bytes());
    key
}
