//! Chance, and who decides what a power cut leaves.

/// A small seeded generator (SplitMix64): the same seed gives the same run on every machine.
#[derive(Clone, Debug)]
pub(in crate::env) struct Rng(u64);

impl Rng {
    pub(in crate::env) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(in crate::env) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0. The bias of the modulus is far below what any test could see.
    pub(in crate::env) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Decides, one question at a time, what a power cut leaves. Every question has at least two answers.
pub(super) trait Fate {
    /// The questions that follow are about another file or directory.
    fn next_object(&mut self) {}
    /// One of `ways` alternatives; 0 is always "as if the effect had never been".
    fn pick(&mut self, ways: usize) -> usize;
    /// Does this effect survive?
    fn survives(&mut self) -> bool {
        self.pick(2) == 1
    }
}

/// By seed. Each file and directory draws how likely its effects are to survive: were it one half throughout,
/// then of 20 effects all or none would hardly ever survive, and those are the cases that real disks produce most.
pub(super) struct Seeded {
    rng: Rng,
    eighths: usize,
}

impl Seeded {
    pub(super) fn new(seed: u64) -> Seeded {
        Seeded { rng: Rng::new(seed), eighths: 4 }
    }
}

impl Fate for Seeded {
    fn next_object(&mut self) {
        self.eighths = [0, 1, 4, 4, 7, 8][self.rng.below(6)];
    }

    fn pick(&mut self, ways: usize) -> usize {
        self.rng.below(ways)
    }

    fn survives(&mut self) -> bool {
        self.rng.below(8) < self.eighths
    }
}

/// By a closure of the test, which may thus walk through every outcome there is.
pub(super) struct Chosen<'a>(pub(super) &'a mut dyn FnMut(usize) -> usize);

impl Fate for Chosen<'_> {
    fn pick(&mut self, ways: usize) -> usize {
        (self.0)(ways).min(ways - 1)
    }
}
