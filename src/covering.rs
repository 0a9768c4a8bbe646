//! Covering: the order of steps that makes a miss in the index final where it may be, between readers and whoever changes what the index
//! speaks for.
//!
//! A version says of which of its parts the index knows every key. Where that is all of them, a key that is not in the index is absent. So
//!
//! 1. a **reader** loads the version first and searches the index then. If it misses, and the version has parts of which the index
//!    does not speak, it looks into these, and what it finds there counts only if the version is still the present one: an entry that was
//!    newer may have been removed meanwhile, with what it led to ([`supersede`](crate::leaving::supersede));
//! 2. to **cover** a part its keys are put into the index, and a version that says so is installed afterwards;
//! 3. to **uncover** it a version that says so is installed; then comes a grace period, for whoever takes a miss for final holds a version
//!    from before; then the entries are removed.
//!
//! `covering/loom.rs` has models of all this, with the index and the cell as they are.

#[cfg(all(test, kvs_loom))]
mod loom;

use std::any::Any;

use crate::slots::EpochCell;
use crate::sync::epoch::{self, Guard};
use crate::sync::{Arc, AtomicBool, Backoff, Ordering};

/// What is found for a key, and the version by which it was searched.
///
/// `probe` searches the index, `is_final` says whether a miss is the answer, and `beyond` looks where the index does not speak.
#[inline(always)]
pub fn find<'g, V: Any + Send + Sync, F, E>(
    cell: &'g EpochCell<V>,
    guard: &'g Guard,
    is_final: impl Fn(&V) -> bool,
    mut probe: impl FnMut() -> Result<Option<F>, E>,
    mut beyond: impl FnMut(&'g V) -> Result<Option<F>, E>,
) -> Result<(&'g V, Option<F>), E> {
    loop {
        let version = cell.load(guard);
        let found = probe()?;
        if found.is_some() || is_final(version) {
            return Ok((version, found));
        }
        let found = beyond(version)?;
        if found.is_none() || std::ptr::eq(version, cell.load(guard)) {
            return Ok((version, found));
        }
    }
}

/// Rule 2.
pub fn cover<E>(fill: impl FnOnce() -> Result<(), E>, install: impl FnOnce()) -> Result<(), E> {
    fill()?;
    install();
    Ok(())
}

/// Rule 3.
pub fn uncover<E>(install: impl FnOnce(), unfill: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    install();
    wait_for_readers();
    unfill()
}

/// Returns when every reader that was at work when this was called has ended.
pub fn wait_for_readers() {
    let passed = Arc::new(AtomicBool::new(false));
    let guard = epoch::pin();
    let told = Arc::clone(&passed);
    // Release pairs with the Acquire below.
    guard.defer(move || told.store(true, Ordering::Release));
    guard.flush();
    drop(guard);
    let backoff = Backoff::new();
    while !passed.load(Ordering::Acquire) {
        epoch::pin().flush();
        backoff.snooze();
    }
}
