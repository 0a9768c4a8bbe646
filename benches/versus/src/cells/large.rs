//! Large values: some 128 MiB of them, written and overwritten, and read.

use std::hint::black_box;
use std::time::Instant;

use super::Cell;
use crate::Result;
use crate::measure::{self, Done, Latencies};
use crate::random::mix;
use crate::shape::tag;
use crate::store::Store;
use crate::workload::Outcome;

const TOTAL_BYTES: u64 = 128 << 20;

/// How many keys there are.
fn count(cell: &Cell, value_bytes: usize) -> u64 {
    (TOTAL_BYTES / value_bytes as u64).min(cell.n() / 16).max(8)
}

/// Puts for some seconds: each key in turn, then the first again.
pub fn puts(cell: &Cell, value_bytes: usize) -> Result<Outcome> {
    let (shape, count) = (cell.shape.with_values_of(value_bytes), count(cell, value_bytes));
    let store = cell.begin()?;
    let (mut key, mut value, mut latencies, mut puts) = (Vec::new(), Vec::new(), Latencies::new()?, 0u64);
    let begin = Instant::now();
    let mut spent = std::time::Duration::ZERO;
    // Making a value takes as long as a fast store needs to put it, so only the puts count.
    while puts < count || begin.elapsed().as_secs_f64() < cell.spec.seconds {
        let i = puts % count;
        shape.key(i, count, &mut key);
        shape.value(i, (puts / count) as u8, &mut value);
        let start = Instant::now();
        store.put(&key, &value)?;
        let latency = start.elapsed();
        latencies.add(latency);
        spent += latency;
        puts += 1;
        if begin.elapsed().as_secs_f64() > cell.spec.fill_seconds {
            break;
        }
    }
    check_all(&*store, shape, puts.min(count), count)?;
    let done = Done { operations: puts, seconds: spent.as_secs_f64() };
    let mut outcome = Outcome { cut: puts < count, ..Outcome::default() }.with("rate", done.rate());
    latencies.tell(&mut outcome.metrics);
    Ok(outcome)
}

/// Random gets for some seconds. `of_floor` is the time of a get over that of hashing (XXH3) and copying as many bytes alone, in the same process.
pub fn gets(cell: &Cell, value_bytes: usize) -> Result<Outcome> {
    let (shape, count) = (cell.shape.with_values_of(value_bytes), count(cell, value_bytes));
    let store = cell.begin()?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for i in 0..count {
        shape.key(i, count, &mut key);
        shape.value(i, 0, &mut value);
        store.put(&key, &value)?;
    }
    store.compact()?;
    check_all(&*store, shape, count, count)?;
    measure::sync();
    let mut rng = cell.rng(0);
    let done = measure::for_seconds(cell.spec.seconds, 1, || {
        let i = rng.below(count);
        shape.key(i, count, &mut key);
        let right = if cell.contestant.looks {
            store.look(&key)?.is_some_and(|(len, seen)| len == value_bytes && seen >> 8 == tag(i, 0) >> 8)
        } else {
            store.get(&key, &mut value)? && shape.is_value_of(i, &value)
        };
        if right { Ok(1) } else { Err(format!("large value {i} is wrong").into()) }
    })?;
    let floor = floor(count, value_bytes, cell.spec.seconds.min(0.5))?;
    Ok(Outcome::default().with("rate", done.rate()).with("of_floor", floor.rate() / done.rate()))
}

/// Every one of them, byte for byte.
fn check_all(store: &dyn Store, shape: crate::shape::Shape, present: u64, count: u64) -> Result<()> {
    let (mut key, mut value, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..present {
        shape.key(i, count, &mut key);
        if !store.get(&key, &mut value)? || !shape.is_exactly_of(i, &value, &mut scratch) {
            return Err(format!("large value {i} is wrong or missing").into());
        }
    }
    Ok(())
}

/// Hashes and copies values that lie in memory as many as the store has.
fn floor(count: u64, value_bytes: usize, seconds: f64) -> Result<Done> {
    let all: Vec<u8> = (0..count * value_bytes as u64 / 8).flat_map(|i| mix(i).to_le_bytes()).collect();
    let (mut rng, mut copy) = (crate::random::Rng::new(5), Vec::with_capacity(value_bytes));
    measure::for_seconds(seconds, 1, || {
        let from = rng.below(count) as usize * value_bytes;
        let value = &all[from..from + value_bytes];
        copy.clear();
        black_box(xxhash_rust::xxh3::xxh3_64(value));
        copy.extend_from_slice(black_box(value));
        black_box(&copy);
        Ok(1)
    })
}
