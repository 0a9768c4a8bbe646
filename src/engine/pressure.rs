//! Soft back-pressure: writers slow down before they hit the wall.
//!
//! Log that is not in tables yet is bounded. Writers that outrun the worker would go at full speed until the bound is reached and
//! then stand still for as long as a flush takes: a tenth of a second and more. Instead, above half of the bound each write
//! *owes* a time, which grows with the bytes that are unflushed, from nothing to what its own bytes take to be flushed at the
//! rate measured last:
//!
//! ```text
//! owed = bytes of the write / flush rate * (unflushed - half) / (bound - half)
//! ```
//!
//! So writers come to the pace of the worker somewhere in between, and the wall (see [`Room`](super::flush::Room)) is for bursts
//! and for rates that change. What is owed for one write is mostly less than a thread can sleep, so it adds up, for all writers
//! together; whoever brings it to [`NAP_MIN`] pays by a nap, after the write and without any lock. No write naps for longer than
//! [`NAP_MAX`].
//!
//! Where nothing is measured yet, or half of the bound is not reached, a write costs one comparison.

use std::time::Duration;

/// What is owed is paid from here on: less can't be slept with any precision.
pub(crate) const NAP_MIN: Duration = Duration::from_micros(250);
/// The longest nap, and the most that is ever owed.
pub(crate) const NAP_MAX: Duration = Duration::from_millis(1);

/// Flushes that end so many times their own length apart do not follow one another.
const FLUSHES_APART: u32 = 5;

/// How the slope is scaled.
const SCALE: u32 = 40;

/// What writers owe. Guarded by the commit mutex.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Pressure {
    /// Unflushed bytes from which on something is owed.
    from: u64,
    max: u64,
    /// Nanoseconds for a byte of a write and a byte above `from`, scaled by 2^40.
    slope: u64,
    owed_nanos: u64,
    /// Bytes of log that are flushed in a second; 0: not known. And when the last flush ended.
    rate: u64,
    last_flush: Duration,
}

impl Pressure {
    /// With at most `max` unflushed bytes; no rate is known yet.
    pub fn new(max: u64) -> Pressure {
        Pressure { from: u64::MAX, max, slope: 0, owed_nanos: 0, rate: 0, last_flush: Duration::ZERO }
    }

    /// A flush of `bytes` of log went from `start` to `end`.
    pub fn flushed(&mut self, bytes: u64, start: Duration, end: Duration) {
        let (own, since_last) = (end.saturating_sub(start), end.saturating_sub(self.last_flush));
        // One flush after the other: what came in between, merges mostly, is part of the pace.
        let took = if since_last < own.saturating_mul(FLUSHES_APART) { since_last } else { own };
        self.last_flush = end;
        self.rate = smoothed(self.rate, bytes, took);
        self.measured(self.rate);
    }

    /// Log is flushed at so many bytes a second.
    fn measured(&mut self, rate: u64) {
        let from = self.max / 2;
        let whole = u128::from(rate.max(1)) * u128::from((self.max - from).max(1));
        self.slope = u64::try_from((1_000_000_000 << SCALE) / whole).unwrap_or(u64::MAX);
        self.from = from;
    }

    /// A write of `len` bytes was done, and `unflushed` are so now: how long its writer is to nap.
    #[inline]
    pub fn owe(&mut self, len: u64, unflushed: u64) -> Option<Duration> {
        if unflushed <= self.from {
            return None;
        }
        self.add(len, unflushed)
    }

    #[cold]
    fn add(&mut self, len: u64, unflushed: u64) -> Option<Duration> {
        let over = unflushed.min(self.max) - self.from;
        let nanos = (u128::from(len) * u128::from(over)).saturating_mul(u128::from(self.slope)) >> SCALE;
        let most = NAP_MAX.as_nanos() as u64;
        self.owed_nanos = (self.owed_nanos + u64::try_from(nanos).unwrap_or(u64::MAX).min(most)).min(most);
        let owed = Duration::from_nanos(self.owed_nanos);
        (owed >= NAP_MIN).then(|| {
            self.owed_nanos = 0;
            owed
        })
    }
}

/// The rate of flushes, in bytes a second, each weighed half as much as the next.
fn smoothed(before: u64, bytes: u64, took: Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    let now = u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX).max(1);
    if before == 0 { now } else { before / 2 + now / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Bound 96 MiB, flushes at 192 MiB/s: bytes of a write, unflushed, and the nanoseconds that it owes.
    #[test]
    fn the_table() {
        let rows = [
            ("an empty store", 168, 0, 0),
            ("half of the bound", 168, 48 * MIB, 0),
            ("a little more", 1024, 49 * MIB, 106),
            ("half way", 1024, 72 * MIB, 2543),
            ("at the bound: its own bytes' time", 1024, 96 * MIB, 5086),
            ("above it, as a frame too large for it may be", 1024, 960 * MIB, 5086),
            ("a large one owes the most", 64 * MIB, 96 * MIB, 1_000_000),
            ("the largest of all", 4 << 30, 96 * MIB, 1_000_000),
        ];
        for (what, len, unflushed, expected) in rows {
            let mut pressure = Pressure::new(96 * MIB);
            assert_eq!(pressure.owe(len, unflushed), None, "{what}: nothing is measured yet");
            pressure.measured(192 * MIB);
            let nap = pressure.owe(len, unflushed);
            let owed = nap.map_or(pressure.owed_nanos, |nap| nap.as_nanos() as u64);
            assert!(owed.abs_diff(expected) <= 1, "{what}: {owed}");
            assert_eq!(nap.is_some(), expected >= NAP_MIN.as_nanos() as u64, "{what}");
        }
    }

    /// What is owed in small parts is paid, and no more: the naps of many writes are their own bytes' time.
    #[test]
    fn naps_add_up() {
        let mut pressure = Pressure::new(96 * MIB);
        pressure.measured(192 * MIB);
        let writes = 100_000;
        let naps: Vec<Duration> = (0..writes).filter_map(|_| pressure.owe(168, 96 * MIB)).collect();
        let (total, exact) = (naps.iter().sum::<Duration>(), writes as f64 * 168.0 / (192 * MIB) as f64);
        assert!((total.as_secs_f64() - exact).abs() < exact / 100.0, "{total:?} for {exact} s");
        assert!(naps.iter().all(|nap| (NAP_MIN..=NAP_MAX).contains(nap)), "{naps:?}");
    }

    /// Nothing overflows, whatever is measured.
    #[test]
    fn extremes() {
        for max in [0, 1, 2, u64::MAX] {
            for rate in [0, 1, u64::MAX] {
                let mut pressure = Pressure::new(max);
                pressure.measured(rate);
                for len in [0, 1, u64::MAX] {
                    for unflushed in [0, 1, u64::MAX] {
                        assert!(pressure.owe(len, unflushed).is_none_or(|nap| nap <= NAP_MAX));
                    }
                }
            }
        }
    }

    /// What lies between flushes that follow one another counts, and a pause does not.
    #[test]
    fn the_pace_is_that_of_flushes_in_a_row() {
        let at = Duration::from_secs;
        let mut pressure = Pressure::new(96 * MIB);
        pressure.flushed(100 * MIB, at(100), at(101));
        assert_eq!(pressure.rate, 100 * MIB, "the first, after a pause");
        pressure.flushed(100 * MIB, at(104), at(105));
        assert_eq!(pressure.rate, 50 * MIB + 25 * MIB / 2, "three seconds of merges before it");
        pressure.flushed(100 * MIB, at(200), at(201));
        assert_eq!(pressure.rate, 25 * MIB + 25 * MIB / 4 + 50 * MIB, "after a pause");
    }

    #[test]
    fn rates_are_smoothed() {
        let second = Duration::from_secs(1);
        assert_eq!(smoothed(0, 100, second), 100);
        assert_eq!(smoothed(100, 200, second), 150);
        assert_eq!(smoothed(100, 200, Duration::ZERO), 50 + 100_000_000_000);
        assert!(smoothed(u64::MAX, u64::MAX, Duration::ZERO) > u64::MAX / 2);
    }
}
