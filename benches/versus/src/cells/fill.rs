//! Writes: `n` operations, or as many as fit into the limit; then the row is marked as cut.

use std::time::Instant;

use super::Cell;
use crate::Result;
use crate::measure::{self, Done, Latencies, Seconds};
use crate::store::{Pairs, Store};
use crate::workload::Outcome;

/// Calls `work` with 0, 1, … up to `n` in steps, until the limit. `prepare` stands outside of the latency, inside of the rate.
fn work_off<T>(
    cell: &Cell,
    step: u64,
    mut prepare: impl FnMut(u64, &mut T),
    mut work: impl FnMut(&T) -> Result<()>,
    mut state: T,
) -> Result<(Done, Outcome)> {
    let mut latencies = Latencies::new()?;
    let begin = Instant::now();
    let mut i = 0;
    let mut passed = 0.0;
    while i < cell.n() {
        prepare(i, &mut state);
        let start = Instant::now();
        work(&state)?;
        let end = Instant::now();
        latencies.add(end - start);
        i += step.min(cell.n() - i);
        passed = (end - begin).as_secs_f64();
        if passed > cell.spec.fill_seconds {
            break;
        }
    }
    let done = Done { operations: i, seconds: passed };
    let mut outcome = Outcome { cut: i < cell.n(), ..Outcome::default() }.with("rate", done.rate());
    latencies.tell(&mut outcome.metrics);
    Ok((done, outcome))
}

type Buffers = (Vec<u8>, Vec<u8>);

/// Keys in ascending order.
pub fn sequential(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let prepare = |i, (key, value): &mut Buffers| {
        cell.shape.sequential_key(i, key);
        cell.shape.value(i, 0, value);
    };
    let (done, outcome) = work_off(cell, 1, prepare, |(key, value)| store.put(key, value), Buffers::default())?;
    if cell.contestant.reads {
        let (mut key, mut value, mut scratch, mut rng) = (Vec::new(), Vec::new(), Vec::new(), cell.rng(98));
        for _ in 0..done.operations.min(1000) {
            let i = rng.below(done.operations);
            cell.shape.sequential_key(i, &mut key);
            if !store.get(&key, &mut value)? || !cell.shape.is_exactly_of(i, &value, &mut scratch) {
                return Err(format!("sequential key {i} was written and has a wrong value or none").into());
            }
        }
    }
    Ok(outcome)
}

/// Keys in random order.
pub fn random(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let (done, outcome) = put_all(cell, &*store)?;
    finish(cell, &*store, done.operations, outcome)
}

/// Puts the `n` pairs one by one, in random order.
pub(super) fn put_all(cell: &Cell, store: &dyn Store) -> Result<(Done, Outcome)> {
    let prepare = |i, (key, value): &mut Buffers| {
        cell.shape.key(i, cell.n(), key);
        cell.shape.value(i, 0, value);
    };
    work_off(cell, 1, prepare, |(key, value)| store.put(key, value), Buffers::default())
}

/// Batches of a hundred, keys in random order; the rate counts entries, latencies are those of batches.
pub fn batches(cell: &Cell) -> Result<Outcome> {
    const BATCH: u64 = 100;
    let store = cell.begin()?;
    let prepare = |from: u64, (pairs, key, value): &mut (Pairs, Vec<u8>, Vec<u8>)| {
        pairs.clear();
        for i in from..(from + BATCH).min(cell.n()) {
            cell.shape.key(i, cell.n(), key);
            cell.shape.value(i, 0, value);
            pairs.push(key, value);
        }
    };
    let (done, outcome) = work_off(cell, BATCH, prepare, |(pairs, ..)| store.write(pairs), Default::default())?;
    finish(cell, &*store, done.operations, outcome)
}

/// Keys that are there, chosen at random, `n` times.
pub fn overwrite(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let mut rng = cell.rng(0);
    let prepare = |i, (key, value): &mut Buffers| {
        let chosen = rng.below(cell.n());
        cell.shape.key(chosen, cell.n(), key);
        cell.shape.value(chosen, i as u8, value);
    };
    let (_, outcome) = work_off(cell, 1, prepare, |(key, value)| store.put(key, value), Buffers::default())?;
    finish(cell, &*store, cell.n(), outcome)
}

/// Random keys that are there, for so many seconds: latencies, and how many there were in each second.
pub fn over_time(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let (mut rng, mut key, mut value) = (cell.rng(0), Vec::new(), Vec::new());
    let (mut latencies, mut seconds) = (Latencies::new()?, Seconds::default());
    let begin = Instant::now();
    let mut operations = 0;
    let passed = loop {
        let chosen = rng.below(cell.n());
        cell.shape.key(chosen, cell.n(), &mut key);
        cell.shape.value(chosen, operations as u8, &mut value);
        let start = Instant::now();
        store.put(&key, &value)?;
        let end = Instant::now();
        latencies.add(end - start);
        operations += 1;
        seconds.add(end - begin);
        if (end - begin).as_secs_f64() >= cell.spec.seconds {
            break end - begin;
        }
    };
    let done = Done { operations, seconds: passed.as_secs_f64() };
    let mut outcome = Outcome { series: seconds.whole(passed), ..Outcome::default() }.with("rate", done.rate());
    latencies.tell(&mut outcome.metrics);
    if let Some(slowest) = outcome.series.iter().copied().min_by(f64::total_cmp) {
        outcome = outcome.with("slowest_second_rate", slowest);
    }
    finish(cell, &*store, if cell.contestant.reads { cell.n() } else { 0 }, outcome)
}

/// All keys, each once, in an order unlike that in which they were written.
pub fn delete(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let n = cell.n();
    let stride = (n / 3 * 2..).find(|&stride| gcd(stride, n) == 1).unwrap_or(1);
    let place = |i: u64| ((u128::from(i) * u128::from(stride)) % u128::from(n)) as u64;
    let prepare = |i, key: &mut Vec<u8>| cell.shape.key(place(i), n, key);
    let (done, outcome) = work_off(cell, 1, prepare, |key| store.delete(key), Vec::new())?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for i in (0..n).step_by((n / 1000).max(1) as usize) {
        cell.shape.key(place(i), n, &mut key);
        if store.get(&key, &mut value)? != (i >= done.operations) {
            return Err(format!(
                "the key deleted as number {i} of {} is there, or one that was not deleted is missing",
                done.operations
            )
            .into());
        }
    }
    Ok(outcome)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// After a fill: what was written is there, and nothing else.
fn finish(cell: &Cell, store: &dyn Store, count: u64, outcome: Outcome) -> Result<Outcome> {
    cell.check_some(store, count)?;
    if cell.contestant.ordered {
        let mut tally = crate::store::Tally::new(u64::MAX);
        store.scan(&crate::store::Scan::all(false), &mut tally)?;
        cell.check_count(&tally, count)?;
    }
    Ok(outcome)
}

/// Puts that survive power loss when they return, by so many threads.
pub fn synced(cell: &Cell, threads: u64) -> Result<Outcome> {
    let store = cell.begin()?;
    let work = |thread: u64| -> Result<(Done, Latencies)> {
        let (mut key, mut value, mut latencies) = (Vec::new(), Vec::new(), Latencies::new()?);
        let mut i = thread;
        let done = measure::for_seconds(cell.spec.seconds, 1, || {
            cell.shape.key(i, cell.n(), &mut key);
            cell.shape.value(i, 0, &mut value);
            i += threads;
            let start = Instant::now();
            store.put_synced(&key, &value)?;
            latencies.add(start.elapsed());
            Ok(1)
        })?;
        if cell.contestant.reads {
            cell.shape.key(thread, cell.n(), &mut key);
            if !store.get(&key, &mut value)? || !cell.shape.is_value_of(thread, &value) {
                return Err("the first synced put is not there".into());
            }
        }
        Ok((done, latencies))
    };
    let results = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        handles.into_iter().map(|handle| handle.join().map_err(|_| "a thread panicked")?).collect::<Result<Vec<_>>>()
    })?;
    let mut all = Latencies::new()?;
    results.iter().try_for_each(|(_, latencies)| all.join(latencies))?;
    let mut outcome = Outcome::default().with("rate", results.iter().map(|(done, _)| done.rate()).sum());
    all.tell(&mut outcome.metrics);
    Ok(outcome)
}

/// Leaves a store with all `n` pairs, compacted and closed, for other cells to begin with.
pub fn load(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let start = Instant::now();
    cell.load_into(&*store)?;
    let done = Done { operations: cell.n(), seconds: start.elapsed().as_secs_f64() };
    store.compact()?;
    cell.check_all(&*store, cell.n())?;
    store.close()?;
    Ok(Outcome::default().with("rate", done.rate()).with("load_s", done.seconds))
}
