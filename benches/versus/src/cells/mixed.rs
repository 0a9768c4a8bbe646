//! Reads and writes at once: by two threads, and in one (YCSB).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Cell;
use crate::Result;
use crate::measure::{self, Done, Latencies};
use crate::random::Zipf;
use crate::store::{Scan, Store, Tally};
use crate::workload::Outcome;

/// Runs `reader` while another thread overwrites random keys as fast as it can; answers with what the writer did.
fn beside_writer<T>(cell: &Cell, store: &dyn Store, reader: impl FnOnce() -> Result<T>) -> Result<(T, Done)> {
    let stop = AtomicBool::new(false);
    let write = || -> Result<Done> {
        let (mut key, mut value, mut rng) = (Vec::new(), Vec::new(), cell.rng(50));
        let (start, mut operations) = (Instant::now(), 0u64);
        // Relaxed: the flag carries nothing but itself; what the threads share is the store.
        while !stop.load(Ordering::Relaxed) {
            let i = rng.below(cell.n());
            cell.shape.key(i, cell.n(), &mut key);
            cell.shape.value(i, operations as u8, &mut value);
            store.put(&key, &value)?;
            operations += 1;
        }
        Ok(Done { operations, seconds: start.elapsed().as_secs_f64() })
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        let read = reader();
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panicked")?;
        Ok((read?, written?))
    })
}

/// Random gets beside a writer: both rates, and the reader's latencies.
pub fn reader_beside_writer(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let read = || -> Result<(Done, Latencies, u64)> {
        let (mut key, mut value, mut rng, mut latencies) = (Vec::new(), Vec::new(), cell.rng(0), Latencies::new()?);
        let mut vanished = 0u64;
        let done = measure::for_seconds(cell.spec.seconds, 1, || {
            let i = rng.below(cell.n());
            cell.shape.key(i, cell.n(), &mut key);
            let start = Instant::now();
            let found = store.get(&key, &mut value)?;
            latencies.add(start.elapsed());
            if !found && cell.contestant.vanishes {
                vanished += 1;
                return Ok(1);
            }
            if found && cell.shape.is_value_of(i, &value) {
                Ok(1)
            } else {
                Err(format!("key {i} has a wrong value or none").into())
            }
        })?;
        Ok((done, latencies, vanished))
    };
    let ((done, latencies, vanished), written) = beside_writer(cell, &*store, read)?;
    let mut outcome = Outcome::default().with("rate", done.rate()).with("writer_rate", written.rate());
    latencies.tell(&mut outcome.metrics);
    if cell.contestant.vanishes {
        outcome = outcome.with("vanished", vanished as f64);
    }
    cell.check_some(&*store, cell.n())?;
    Ok(outcome)
}

/// Full scans beside a writer; each must see every key once.
pub fn scan_beside_writer(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let read = || {
        measure::for_seconds(cell.spec.seconds, 1, || {
            let mut tally = Tally::new(u64::MAX);
            store.scan(&Scan::all(false), &mut tally)?;
            if !cell.contestant.vanishes {
                cell.check_count(&tally, cell.n())?;
            }
            Ok(tally.count)
        })
    };
    let (done, written) = beside_writer(cell, &*store, read)?;
    Ok(Outcome::default().with("rate", done.rate()).with("writer_rate", written.rate()))
}

/// Shares of the operations of a YCSB workload, in percent; the rest are reads. Keys are chosen by Zipf, 0.99.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    updates: u64,
    scans: u64,
    inserts: u64,
    modifications: u64,
}

const READS: Mix = Mix { updates: 0, scans: 0, inserts: 0, modifications: 0 };
/// Half reads, half updates.
pub const A: Mix = Mix { updates: 50, ..READS };
/// Reads, few updates.
pub const B: Mix = Mix { updates: 5, ..READS };
/// Scans of 1 to 100 entries, few inserts.
pub const E: Mix = Mix { scans: 95, inserts: 5, ..READS };
/// Half reads, half reads that write the value back changed.
pub const F: Mix = Mix { modifications: 50, ..READS };

/// One thread.
pub fn ycsb(cell: &Cell, mix: Mix) -> Result<Outcome> {
    const SCAN_ENTRIES_MAX: u64 = 100;
    let store = cell.begin()?;
    let (mut rng, zipf) = (cell.rng(0), Zipf::new(cell.n(), 0.99));
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let (mut present, mut version) = (cell.n(), 0u8);
    let done = measure::for_seconds(cell.spec.seconds, 4, || {
        let mut dice = rng.below(100);
        let mut falls_to = |share: u64| {
            let falls = dice < share;
            dice = dice.wrapping_sub(share);
            falls
        };
        version = version.wrapping_add(1);
        if falls_to(mix.inserts) {
            cell.shape.key(present, cell.n(), &mut key);
            cell.shape.value(present, 0, &mut value);
            present += 1;
            store.put(&key, &value)?;
            return Ok(1);
        }
        let i = zipf.draw(&mut rng);
        cell.shape.key(i, cell.n(), &mut key);
        if falls_to(mix.scans) {
            let limit = 1 + rng.below(SCAN_ENTRIES_MAX);
            let mut tally = Tally::new(limit);
            store.scan(&Scan::from(&key, limit), &mut tally)?;
            let right = tally.count > 0 && tally.count <= limit && tally.first == crate::shape::tag(i, 0);
            return if right { Ok(1) } else { Err(format!("a scan from key {i} began elsewhere").into()) };
        }
        let reads = !falls_to(mix.updates);
        if reads && !(store.get(&key, &mut value)? && cell.shape.is_value_of(i, &value)) {
            return Err(format!("key {i} has a wrong value or none").into());
        }
        if !reads || falls_to(mix.modifications) {
            if reads {
                // The new value is made of the old one: its version is one more.
                let next = value.first().copied().unwrap_or(0).wrapping_add(1);
                cell.shape.value(i, next, &mut value);
            } else {
                cell.shape.value(i, version, &mut value);
            }
            store.put(&key, &value)?;
        }
        Ok(1)
    })?;
    cell.check_some(&*store, present)?;
    if cell.contestant.ordered {
        let mut tally = Tally::new(u64::MAX);
        store.scan(&Scan::all(false), &mut tally)?;
        cell.check_count(&tally, present)?;
    }
    Ok(Outcome::default().with("rate", done.rate()))
}
