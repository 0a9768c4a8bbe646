//! Scans: everything, from a key on, and by prefix.

use super::Cell;
use crate::Result;
use crate::measure;
use crate::shape::tag;
use crate::store::{Scan, Store, Tally};
use crate::workload::Outcome;

/// Everything, again and again; the rate counts entries.
pub fn full(cell: &Cell, reverse: bool) -> Result<Outcome> {
    let store = cell.begin()?;
    if reverse {
        // The other direction was looked at byte for byte when the cell began.
        let scan = Scan::all(true);
        let mut tally = Tally::checking(cell.shape, &scan);
        store.scan(&scan, &mut tally)?;
        if let Some(complaint) = tally.complaint() {
            return Err(complaint.into());
        }
    }
    let mut last = Tally::default();
    let done = measure::for_seconds(cell.spec.seconds, 1, || {
        last = Tally::new(u64::MAX);
        store.scan(&Scan::all(reverse), &mut last)?;
        if last.count == cell.n() {
            Ok(last.count)
        } else {
            Err(format!("{} entries instead of {}", last.count, cell.n()).into())
        }
    })?;
    cell.check_count(&last, cell.n())?;
    Ok(Outcome::default().with("rate", done.rate()))
}

/// A key such that seeks to greater ones find fewer than `limit` entries, and to smaller ones as many.
///
/// A tally keeps no keys, so it is searched for: the number of entries from a key on falls as the key rises. Byte by byte, the
/// greatest with `limit` entries left.
fn last_full(store: &dyn Store, limit: u64) -> Result<Vec<u8>> {
    const KEY_BYTES_MAX: usize = 120;
    let mut found: Vec<u8> = Vec::new();
    for _ in 0..KEY_BYTES_MAX {
        let (mut low, mut high) = (0u16, 256u16);
        found.push(0);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if let Some(last) = found.last_mut() {
                *last = middle as u8;
            }
            let mut tally = Tally::new(limit);
            store.scan(&Scan::from(&found, limit), &mut tally)?;
            if tally.count >= limit { low = middle } else { high = middle }
        }
        if let Some(last) = found.last_mut() {
            *last = low as u8;
        }
    }
    Ok(found)
}

/// Seeks to random keys that are there, then `limit` entries; the rate counts seeks.
pub fn seeks(cell: &Cell, limit: u64) -> Result<Outcome> {
    let store = cell.begin()?;
    let limit = limit.min(cell.n());
    let last_full = last_full(&*store, limit)?;
    let (mut rng, mut key) = (cell.rng(0), Vec::new());
    let done = measure::for_seconds(cell.spec.seconds, 1, || {
        let i = rng.below(cell.n());
        cell.shape.key(i, cell.n(), &mut key);
        let mut tally = Tally::new(limit);
        store.scan(&Scan::from(&key, limit), &mut tally)?;
        let enough = tally.count == limit || (tally.count > 0 && tally.count < limit && key > last_full);
        let right = enough && tally.first == tag(i, 0);
        if right {
            Ok(1)
        } else {
            Err(format!("a seek to key {i} saw {} entries, or began elsewhere", tally.count).into())
        }
    })?;
    Ok(Outcome::default().with("rate", done.rate()))
}

/// All entries of random prefixes; the rate counts scans, `entries_rate` entries.
pub fn prefixes(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let prefixes = cell.shape.prefixes(cell.n());
    let (mut rng, mut prefix, mut entries) = (cell.rng(0), Vec::new(), 0);
    let done = measure::for_seconds(cell.spec.seconds, 1, || {
        let count = prefixes.get(rng.below(prefixes.len()), &mut prefix);
        let mut tally = Tally::new(u64::MAX);
        store.scan(&Scan::prefix(&prefix), &mut tally)?;
        entries += count;
        if tally.count == count {
            Ok(1)
        } else {
            Err(format!("prefix {} has {count} keys and a scan saw {}", prefix.escape_ascii(), tally.count).into())
        }
    })?;
    Ok(Outcome::default().with("rate", done.rate()).with("entries_rate", entries as f64 / done.seconds))
}
