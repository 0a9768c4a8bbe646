//! Random numbers that can be computed from their place, and the Zipf distribution.

/// SplitMix64's finisher: a bijection of 64-bit numbers that looks random.
#[inline]
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The number that [`mix`] made this of.
pub fn unmix(mixed: u64) -> u64 {
    let mut z = mixed;
    z ^= (z >> 31) ^ (z >> 62);
    z = z.wrapping_mul(0x3196_42b2_d24d_8ec3);
    z ^= (z >> 27) ^ (z >> 54);
    z = z.wrapping_mul(0x96de_1b17_3f11_9089);
    z ^= (z >> 30) ^ (z >> 60);
    z.wrapping_sub(0x9e37_79b9_7f4a_7c15)
}

/// SplitMix64: small, fast, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same sequence for the same seed.
    pub fn new(seed: u64) -> Rng {
        Rng(mix(seed))
    }

    /// The next number.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`, which must not be zero.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `[0, 1)`.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// Ranks from 0, of which rank `r` comes with a probability proportional to `1 / (r + 1)^theta`.
///
/// The method of Gray et al., "Quickly generating billion-record synthetic databases", which YCSB uses too: two terms exact, the rest by
/// a power. Ranks are indexes of keys here; since keys are random in their order, hot keys do not lie together.
#[derive(Clone, Debug)]
pub struct Zipf {
    n: u64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// Over `n` ranks. Takes time in proportion to `n`, no memory.
    pub fn new(n: u64, theta: f64) -> Zipf {
        let zeta: f64 = (1..=n).map(|rank| (rank as f64).powf(-theta)).sum();
        let first_two = 1.0 + 0.5f64.powf(theta);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - theta)) / (1.0 - first_two / zeta);
        Zipf { n, theta, alpha: 1.0 / (1.0 - theta), zeta, eta }
    }

    /// The next rank.
    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        let u = rng.unit();
        let at = u * self.zeta;
        if at < 1.0 {
            return 0;
        }
        if at < 1.0 + 0.5f64.powf(self.theta) {
            return 1.min(self.n - 1);
        }
        ((self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64).min(self.n - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_can_be_undone() {
        for i in (0..1000).chain([u64::MAX, u64::MAX / 3, 1 << 40]) {
            assert_eq!(unmix(mix(i)), i);
        }
    }

    /// The shares of the first ranks and of the first tenth are those of the distribution, and so is its tail.
    #[test]
    fn zipf_has_its_shape() {
        let (n, theta, draws) = (10_000u64, 0.99, 2_000_000u32);
        let zipf = Zipf::new(n, theta);
        let mut rng = Rng::new(7);
        let mut seen = vec![0u32; n as usize];
        for _ in 0..draws {
            seen[zipf.draw(&mut rng) as usize] += 1;
        }
        let zeta: f64 = (1..=n).map(|r| (r as f64).powf(-theta)).sum();
        let share = |ranks: std::ops::Range<usize>| seen[ranks].iter().sum::<u32>() as f64 / f64::from(draws);
        let expected = |ranks: std::ops::Range<usize>| ranks.map(|r| (r as f64 + 1.0).powf(-theta)).sum::<f64>() / zeta;
        for (ranks, tolerance) in
            [(0..1, 0.02), (1..2, 0.02), (0..10, 0.05), (0..100, 0.05), (0..1000, 0.05), (5000..10_000, 0.1)]
        {
            let (is, should) = (share(ranks.clone()), expected(ranks.clone()));
            assert!((is / should - 1.0).abs() < tolerance, "ranks {ranks:?}: {is} instead of {should}");
        }
        assert!(seen[0] > 9 * seen[9], "the first is some ten times as frequent as the tenth");
    }

    #[test]
    fn zipf_of_few_ranks_stays_inside() {
        for n in 1..5 {
            let zipf = Zipf::new(n, 0.99);
            let mut rng = Rng::new(n);
            assert!((0..1000).all(|_| zipf.draw(&mut rng) < n));
        }
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 10];
        (0..100_000).for_each(|_| seen[rng.below(10) as usize] += 1);
        assert!(seen.iter().all(|&count| (9_500..10_500).contains(&count)), "{seen:?}");
    }
}
