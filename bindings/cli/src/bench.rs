//! `bench`: what this machine does with this store. Seven phases over the same keys, each timed call by call.
//!
//! 1. Pair `i` of `n` has the key `i` in decimal, with zeros in front; the phases visit the pairs in an order that
//!    looks random: the `k`-th is `k * step mod n`, with a step that has no divisor in common with `n`.
//! 2. Thread `t` of `T` takes every `T`-th visit, beginning with the `t`-th. A scan is whole in every thread.
//! 3. A missing key is a present one with its last digit replaced by a letter: it would stand between others.
//! 4. In the mixed phase every other visit of a thread reads and the others overwrite.
//! 5. What is read is checked: a wrong result ends the run, and no figure is printed for it.
//! 6. Before the deletes, which leave nothing that space could be compared with, all is flushed, and the store's own
//!    figures are taken.
//!
//! The clock is read twice a call, which adds some 50 ns to each figure; compare with figures of the same tool.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use kvs::{Db, Error, ErrorKind, KEY_BYTES_MAX, Result, Stats, VALUE_BYTES_MAX};

use crate::args::Bench;
use crate::exit::{Exit, Failure, Outcome};
use crate::files::{Holds, holds, stdout};
use crate::report::{now, rate};
use crate::store::Place;

/// One phase: a name and what it does for one visit. The scan is a phase of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fill,
    Read,
    Missing,
    Scan,
    Overwrite,
    Mixed,
    Delete,
}

pub fn run(place: &Place<'_>, bench: &Bench) -> Outcome {
    let plan = Plan::new(bench)?;
    // Removed when it is dropped, on every way out.
    let mut temporary = None;
    let path: PathBuf = if bench.keep {
        if holds(place.dir) != Holds::Nothing {
            let message = format!("{}: --keep wants a directory that is empty or not there", place.dir.display());
            return Err(Failure::usage(message));
        }
        place.dir.to_owned()
    } else {
        let made = tempfile::Builder::new()
            .prefix("kvs-bench-")
            .tempdir_in(place.dir)
            .map_err(|e| Failure::io(format_args!("make a directory in {}", place.dir.display()), &e))?;
        temporary.insert(made).path().join("store")
    };
    let outcome = phases(place, bench, &plan, &path);
    if let Some(made) = temporary {
        let name = made.path().display().to_string();
        let removed = made.close().map_err(|e| Failure::io(format_args!("remove {name}, which is of no use"), &e));
        return outcome.and_then(|exit| removed.map(|()| exit));
    }
    outcome
}

fn phases(place: &Place<'_>, bench: &Bench, plan: &Plan, path: &PathBuf) -> Outcome {
    let db = Db::open(path, place.options().clone())?;
    let mut out = stdout();
    let failed = |e: std::io::Error| Failure::output("stdout", &e);
    writeln!(
        out,
        "kvs {}: {} pairs, key {} B, value {} B, threads {}, durability {:?}\n",
        kvs::version(),
        bench.num,
        bench.key_size,
        bench.value_size,
        bench.threads,
        place.options().durability
    )
    .and_then(|()| {
        writeln!(out, "{:<10}{:>12}{:>10}{:>10}{:>10}{:>10}", "phase", "ops", "s", "ops/s", "p50 µs", "p99 µs")
    })
    .map_err(failed)?;
    use Phase::*;
    let all = [Fill, Read, Missing, Scan, Overwrite, Mixed, Delete];
    let mut stats = None;
    for phase in &all[..if bench.keep { 6 } else { 7 }] {
        if *phase == Delete {
            stats = Some(flushed(&db)?);
        }
        let began = now();
        let latencies = plan.phase(&db, *phase)?;
        let seconds = began.elapsed().as_secs_f64();
        writeln!(
            out,
            "{:<10}{:>12}{seconds:>10.3}{:>10}{:>10.2}{:>10.2}",
            format!("{phase:?}").to_lowercase(),
            latencies.count,
            rate(latencies.count as f64 / seconds.max(1e-9)),
            latencies.percentile_us(50.0),
            latencies.percentile_us(99.0),
        )
        // A line a phase, while a person waits.
        .and_then(|()| out.flush())
        .map_err(failed)?;
    }
    let stats = stats.map_or_else(|| flushed(&db), Ok)?;
    let (write, space) = (stats.write_amplification(), stats.space_amplification());
    writeln!(out, "\nflushes {}, merges {}", stats.flushes, stats.merges)
        .and_then(|()| writeln!(out, "write amplification {write:.2}, space amplification {space:.2}"))
        .and_then(|()| out.flush())
        .map_err(failed)?;
    db.close()?;
    Ok(Exit::Ok)
}

/// The store's figures once everything is in tables.
fn flushed(db: &Db) -> Result<Stats> {
    db.flush()?;
    Ok(db.stats())
}

#[derive(Debug)]
struct Plan {
    num: u64,
    step: u64,
    threads: u64,
    key_size: usize,
    value: Vec<u8>,
}

impl Plan {
    fn new(bench: &Bench) -> Outcome<Plan> {
        let digits = (bench.num - 1).to_string().len();
        if bench.key_size < digits || bench.key_size > KEY_BYTES_MAX {
            let message = format!("--key-size {}: must be {digits} (for --num) to {KEY_BYTES_MAX}", bench.key_size);
            return Err(Failure::usage(message));
        }
        if bench.value_size > VALUE_BYTES_MAX {
            return Err(Failure::usage(format!("--value-size {}: must be 0 to {VALUE_BYTES_MAX}", bench.value_size)));
        }
        // About the golden ratio of n: neighbours in time are far apart in order.
        let mut step = (bench.num as f64 * 0.618_033_988_75) as u64 | 1;
        while common_divisor(step, bench.num) != 1 {
            step += 1;
        }
        let value = (0..bench.value_size).map(|i| (i % 251) as u8).collect();
        Ok(Plan { num: bench.num, step, threads: bench.threads, key_size: bench.key_size, value })
    }

    /// One phase in all threads; the first error of any.
    fn phase(&self, db: &Db, phase: Phase) -> Result<Latencies> {
        let mut sum = Latencies::default();
        std::thread::scope(|scope| {
            let started: Vec<_> =
                (0..self.threads).map(|thread| scope.spawn(move || self.thread(db, phase, thread))).collect();
            for thread in started {
                match thread.join() {
                    Ok(latencies) => sum.add(&latencies?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(sum)
        })
    }

    fn thread(&self, db: &Db, phase: Phase, thread: u64) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        if phase == Phase::Scan {
            let mut pairs = db.iter()?;
            loop {
                let began = now();
                if !pairs.move_next()? {
                    break;
                }
                latencies.record(began.elapsed());
            }
            return expect(latencies.count == self.num, "a scan did not see every pair").map(|()| latencies);
        }
        let mut key = Vec::with_capacity(self.key_size);
        let mut value = self.value.clone();
        for visit in (thread..self.num).step_by(self.threads as usize) {
            self.key(visit, phase == Phase::Missing, &mut key);
            let mixed_read = phase == Phase::Mixed && (visit / self.threads).is_multiple_of(2);
            let reads = phase == Phase::Read || mixed_read;
            // Every value is another one, so that a stale read shows.
            let generation = match phase {
                Phase::Overwrite => 1,
                Phase::Mixed if reads => 1,
                Phase::Mixed => 2,
                _ => 0,
            };
            stamp(&mut value, visit, generation);
            let began = now();
            let sound = match phase {
                _ if reads => db.get(&key).map(|found| found.is_some_and(|found| *found == *value)),
                Phase::Missing => db.get(&key).map(|found| found.is_none()),
                Phase::Delete => db.delete(&key).map(|()| true),
                _ => db.put(&key, &value).map(|()| true),
            }?;
            latencies.record(began.elapsed());
            expect(sound, "a get did not return what was put")?;
        }
        Ok(latencies)
    }

    fn key(&self, visit: u64, missing: bool, key: &mut Vec<u8>) {
        let pair = (u128::from(visit) * u128::from(self.step) % u128::from(self.num)) as u64;
        key.clear();
        // Writing to memory does not fail.
        let _ = write!(key, "{pair:0width$}", width = self.key_size);
        if let (true, Some(last)) = (missing, key.last_mut()) {
            *last = b'x';
        }
    }
}

fn stamp(value: &mut [u8], visit: u64, generation: u64) {
    for (byte, stamp) in value.iter_mut().zip((visit ^ generation << 62).to_le_bytes()) {
        *byte = stamp;
    }
}

fn expect(sound: bool, what: &str) -> Result<()> {
    if sound { Ok(()) } else { Err(Error::new(ErrorKind::Internal, what)) }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Sub-buckets of a power of two: a percentile is within 1/64 of the truth.
const SUB_BITS: u32 = 6;

/// How many calls took how long: a histogram of nanoseconds whose buckets grow with the value.
#[derive(Debug)]
struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { buckets: vec![0; (65 - SUB_BITS as usize) << SUB_BITS], count: 0 }
    }
}

impl Latencies {
    fn record(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
    }

    fn add(&mut self, other: &Latencies) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    /// The time, in microseconds, within which `percent` of the calls came back.
    fn percentile_us(&self, percent: f64) -> f64 {
        let wanted = (self.count as f64 * percent / 100.0).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return least(index) as f64 / 1e3;
            }
        }
        0.0
    }
}

/// Values below 64 have a bucket each; above, the highest set bit and the six bits after it name the bucket.
fn bucket(value: u64) -> usize {
    let shift = (64 - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    ((shift as usize) << SUB_BITS) + (value >> shift) as usize
}

/// The least value of a bucket.
fn least(bucket: usize) -> u64 {
    let shift = (bucket >> SUB_BITS).saturating_sub(1);
    ((bucket - (shift << SUB_BITS)) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_narrow_and_in_order() {
        let last = Latencies::default().buckets.len() - 1;
        assert_eq!(bucket(u64::MAX), last);
        for value in (0..5000).chain((12..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1])) {
            let low = least(bucket(value));
            assert!(low <= value && value - low <= value / 64, "{value} is in the bucket from {low}");
        }
        for index in 1..=last {
            assert!(least(index) > least(index - 1), "{index}");
            assert_eq!(bucket(least(index)), index);
        }
    }

    #[test]
    fn percentiles() {
        let mut latencies = Latencies::default();
        for us in 1..=50 {
            latencies.record(Duration::from_nanos(us));
        }
        assert_eq!(latencies.percentile_us(50.0), 0.025);
        assert_eq!(latencies.percentile_us(100.0), 0.050);
        assert_eq!(Latencies::default().percentile_us(99.0), 0.0);
    }

    /// Every key once, each as long as asked, and no missing key among them.
    #[test]
    fn keys_are_a_permutation() {
        for num in [1, 2, 3, 10, 97, 100, 1000] {
            let plan = Plan::new(&Bench { num, value_size: 0, key_size: 4, threads: 1, keep: false }).unwrap();
            let keys = |missing| {
                let mut keys = std::collections::BTreeSet::new();
                for visit in 0..num {
                    let mut key = Vec::new();
                    plan.key(visit, missing, &mut key);
                    assert_eq!(key.len(), 4);
                    keys.insert(key);
                }
                keys
            };
            assert_eq!(keys(false).len() as u64, num, "{num}");
            assert!(keys(false).is_disjoint(&keys(true)));
        }
    }
}
