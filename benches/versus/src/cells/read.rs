//! Gets, for some seconds: the value is copied to a buffer that is used again, or looked at in place where the row is about that.

use super::Cell;
use crate::Result;
use crate::measure::{self, Done};
use crate::random::{Rng, Zipf};
use crate::shape::tag;
use crate::store::Store;
use crate::workload::Outcome;

/// Gets between two looks at the clock.
const STRIDE: u32 = 16;

/// Gets of keys that `choose` names; each is there if it is below `n`.
pub(super) fn gets(cell: &Cell, store: &dyn Store, mut choose: impl FnMut() -> u64) -> Result<Done> {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    measure::for_seconds(cell.spec.seconds, STRIDE, || {
        let i = choose();
        cell.shape.key(i, cell.n(), &mut key);
        let right = if cell.contestant.looks {
            let seen = store.look(&key)?;
            let is_right = |(len, seen)| len == cell.shape.value_bytes && seen >> 8 == tag(i, 0) >> 8;
            seen.map_or(i >= cell.n(), |seen| i < cell.n() && is_right(seen))
        } else {
            store.get(&key, &mut value)? == (i < cell.n()) && (i >= cell.n() || cell.shape.is_value_of(i, &value))
        };
        if right { Ok(1) } else { Err(format!("key {i} of {} has a wrong value", cell.n()).into()) }
    })
}

fn alone(cell: &Cell, choose: impl FnMut() -> u64) -> Result<Outcome> {
    let store = cell.begin()?;
    Ok(Outcome::default().with("rate", gets(cell, &*store, choose)?.rate()))
}

/// Every key as likely as any other.
pub fn random(cell: &Cell) -> Result<Outcome> {
    let mut rng = cell.rng(0);
    alone(cell, || rng.below(cell.n()))
}

/// Zipf, theta 0.99.
pub fn zipf(cell: &Cell) -> Result<Outcome> {
    let (mut rng, zipf) = (cell.rng(0), Zipf::new(cell.n(), 0.99));
    alone(cell, || zipf.draw(&mut rng))
}

/// Keys that are not there, between those that are.
pub fn missing(cell: &Cell) -> Result<Outcome> {
    let mut rng = cell.rng(0);
    alone(cell, || cell.n() + rng.below(cell.n()))
}

/// Random keys on two threads; the rate is that of both.
pub fn two_threads(cell: &Cell) -> Result<Outcome> {
    let store = cell.begin()?;
    let work = |mut rng: Rng| gets(cell, &*store, move || rng.below(cell.n()));
    let rates = std::thread::scope(|scope| {
        let handles = [1, 2].map(|thread| scope.spawn(move || work(cell.rng(thread))));
        handles.map(|handle| -> Result<f64> { Ok(handle.join().map_err(|_| "a reader panicked")??.rate()) })
    });
    let [first, second] = rates;
    Ok(Outcome::default().with("rate", first? + second?))
}
