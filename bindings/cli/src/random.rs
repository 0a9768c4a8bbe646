//! Pseudo-random bytes for the tests, from a seed that is printed.

/// SplitMix64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// Seeded by `KVS_SEED`, else by the process's id. Prints the seed, which a failing test then shows.
    pub fn printed(test: &str) -> Random {
        let seed = match std::env::var("KVS_SEED") {
            Ok(seed) => seed.parse().expect("KVS_SEED is a number"),
            Err(_) => u64::from(std::process::id()),
        };
        println!("{test}: KVS_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Up to `len_max` bytes: mostly those that encodings stumble over.
    pub fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        const AWKWARD: &[u8] = b"\t\n\r\\\"{}x0= \0\x1b\x7f\xc2\x9b\xe2\x80\xa8\xff\xef\xbb\xbf";
        (0..self.below(len_max + 1))
            .map(|_| match self.below(3) {
                0 => self.next() as u8,
                1 => b'a' + self.below(26) as u8,
                _ => AWKWARD[self.below(AWKWARD.len() as u64) as usize],
            })
            .collect()
    }
}
