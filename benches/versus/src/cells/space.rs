//! What a store takes: disk, bytes written, memory.

use std::time::Instant;

use super::{Cell, fill, read};
use crate::Result;
use crate::measure::{Resident, Written, disk_bytes, sync};
use crate::store::Pairs;
use crate::workload::Outcome;

/// Disk after the load, at rest and closed.
pub fn after_load(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    cell.load_into(&*store)?;
    store.settle()?;
    cell.check_all(&*store, cell.n())?;
    store.close()?;
    told(cell, Outcome::default())
}

/// Disk after `n` overwrites of random keys, in batches of a hundred, at rest and closed.
pub fn after_overwrites(cell: &Cell) -> Result<Outcome> {
    const BATCH: u64 = 100;
    let store = cell.begin()?;
    let (mut key, mut value, mut pairs, mut rng) = (Vec::new(), Vec::new(), Pairs::default(), cell.rng(0));
    let begin = Instant::now();
    let mut written = 0;
    while written < cell.n() && begin.elapsed().as_secs_f64() < 6.0 * cell.spec.fill_seconds {
        pairs.clear();
        for _ in 0..BATCH {
            let i = rng.below(cell.n());
            cell.shape.key(i, cell.n(), &mut key);
            cell.shape.value(i, (written / cell.n().div_ceil(200)) as u8, &mut value);
            pairs.push(&key, &value);
        }
        store.write(&pairs)?;
        written += BATCH;
    }
    store.settle()?;
    cell.check_all(&*store, cell.n())?;
    store.close()?;
    told(cell, Outcome { cut: written < cell.n(), ..Outcome::default() })
}

fn told(cell: &Cell, outcome: Outcome) -> Result<Outcome> {
    // Blocks are assigned when they are written out.
    sync();
    let bytes = disk_bytes(&cell.spec.dir)? as f64;
    Ok(outcome.with("disk_bytes", bytes).with("of_raw", bytes / cell.shape.raw_bytes(cell.n(), cell.n()) as f64))
}

/// Bytes that the process writes for random puts, until it is at rest and closed.
pub fn bytes_written(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let before = Written::now()?;
    let (done, mut outcome) = fill::put_all(cell, &*store)?;
    store.settle()?;
    store.close()?;
    let after = Written::now()?;
    let user = cell.shape.raw_bytes(done.operations, cell.n()) as f64;
    outcome.metrics.clear();
    let (calls, pages) = ((after.calls - before.calls) as f64, (after.pages - before.pages) as f64);
    let outcome = outcome.with("call_bytes", calls).with("page_bytes", pages);
    Ok(outcome.with("call_bytes_of_user", calls / user).with("page_bytes_of_user", pages / user))
}

/// Memory after random gets, and how much of it was not there before the store was opened.
pub fn memory(cell: &Cell) -> Result<Outcome> {
    let before = Resident::now()?;
    let store = cell.begin()?;
    let mut rng = cell.rng(0);
    read::gets(cell, &*store, || rng.below(cell.n()))?;
    let after = Resident::now()?;
    let anonymous = after.anonymous.saturating_sub(before.anonymous) as f64;
    let mapped = after.mapped.saturating_sub(before.mapped) as f64;
    Ok(Outcome::default()
        .with("anonymous_bytes", anonymous)
        .with("mapped_bytes", mapped)
        .with("anonymous_bytes_a_key", anonymous / cell.n() as f64))
}
