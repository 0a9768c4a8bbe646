//! What several test binaries share.
#![allow(dead_code, reason = "each test binary uses its part")]

/// A small generator (SplitMix64, Steele et al. 2014): the same numbers for the same seed, everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// For this seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Budgets of a few KiB, so that a handful of writes spans several segments, and some more are flushed and merged.
pub fn tiny() -> kvs::Options {
    kvs::Options {
        segment_bytes_min: 4 << 10,
        segment_bytes_max: 16 << 10,
        memtable_bytes_max: 64 << 10,
        table_bytes_max: 16 << 10,
        block_bytes: 512,
        cache_bytes: 16 << 10,
        runs_max: 3,
        ..kvs::Options::default()
    }
}

/// The seed of this run: `KVS_SEED`, or `default`. Printed, so that a failure can be repeated.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("KVS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
    println!("seed {seed} (repeat with KVS_SEED={seed})");
    seed
}

/// A number that a longer campaign may raise by an environment variable.
pub fn scale(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}
