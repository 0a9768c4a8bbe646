//! Loom models of covering and uncovering beside readers and a writer: a key that is there is never missed, and what is not there any more
//! is not found.
//!
//! Index, cell, graveyard and the steps are those of the store. A version here has one part, in which the key's record has the number that the
//! version says, or no part; a record is a number, and 0 a tombstone. The epoch frees at once what it may, so a grace period is as short as it
//! can be.
//!
//! Seen to fail, each with one change to the code: uncovering without the grace period; entries removed before the version says so; the
//! version installed before the entries are there; a reader that loads the version after its search; one that does not look whether its
//! version is still the present one. And with one change to the model: the last entry of a key removed before the version without its older
//! records is there, which `supersede` does not let happen.

use std::convert::Infallible;

use loom::thread;

use super::{cover, find, uncover};
use crate::index::{Address, Index};
use crate::leaving::supersede;
use crate::slots::{EpochCell, Graveyard};
use crate::sync::epoch::{self, reclaiming};
use crate::sync::{Arc, AtomicU64, Ordering};

const HASH: u64 = 1 << u32::BITS;
const TOMBSTONE: u64 = 0;

struct Version {
    /// The key's record in the one part that there is.
    part: Option<u64>,
    covered: bool,
}

struct Store {
    index: Index,
    version: EpochCell<Version>,
    /// The newest record that readers are sure to see.
    visible: AtomicU64,
}

fn address(record: u64) -> Address {
    Address::new(0, 8 * (record + 1)).expect("small")
}

fn record(address: Address) -> u64 {
    address.offset() / 8 - 1
}

impl Store {
    fn new(part: u64, covered: bool, entry: Option<u64>) -> Arc<Store> {
        let version = Arc::new(Version { part: Some(part), covered });
        let version = EpochCell::new(version, Arc::new(Graveyard::default()));
        let store = Store { index: Index::new(), version, visible: AtomicU64::new(0) };
        entry.into_iter().for_each(|entry| store.fill(entry));
        Arc::new(store)
    }

    fn install(&self, part: Option<u64>, covered: bool) {
        self.version.replace(Arc::new(Version { part, covered }), &epoch::pin());
    }

    /// Unless the key is there.
    fn fill(&self, record: u64) {
        let Ok(_) = self.index.lock(HASH).fill(HASH, address(record), &epoch::pin(), |_| Ok::<_, Infallible>(true));
    }

    fn unfill(&self, record: u64) {
        self.index.lock(HASH).remove(HASH, address(record), &epoch::pin());
    }

    fn cover(&self, part: u64) {
        let Ok(()) = cover(
            || {
                self.fill(part);
                Ok::<_, Infallible>(())
            },
            || self.install(Some(part), true),
        );
    }

    fn uncover(&self, part: u64) {
        let Ok(()) = uncover(
            || self.install(Some(part), false),
            || {
                self.unfill(part);
                Ok::<_, Infallible>(())
            },
        );
    }

    /// A writer's part: the newest record of the key.
    fn put(&self, record: u64) {
        let guard = epoch::pin();
        let mut partition = self.index.lock(HASH);
        let Ok(place) = partition.find(HASH, &guard, |_| Ok::<_, Infallible>(true));
        partition.set(place, HASH, address(record), &guard);
        drop(partition);
        self.visible.store(record, Ordering::Release);
    }

    /// The key's record, as a reader finds it.
    fn get(&self) -> Option<u64> {
        let guard = epoch::pin();
        let probe = || self.index.find(HASH, &guard, |_| Ok::<_, Infallible>(true)).map(|found| found.map(record));
        let beyond = |version: &Version| Ok(version.part.filter(|_| !version.covered));
        let Ok((_, found)) = find(&self.version, &guard, |v| v.covered || v.part.is_none(), probe, beyond);
        found.filter(|record| *record != TOMBSTONE)
    }
}

fn race(
    prepare: fn() -> Arc<Store>,
    worker: fn(&Store),
    others: &'static [fn(&Store)],
    reader: fn(&Store),
    after: fn(&Store),
) {
    let mut builder = loom::model::Builder::new();
    // Three changes of thread where there need not be one find all that was ever planted; without a bound it takes hours.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        reclaiming(|| {
            let store = prepare();
            let start = |work: fn(&Store)| {
                let store = Arc::clone(&store);
                thread::spawn(move || work(&store))
            };
            let threads: Vec<_> = std::iter::once(worker).chain(others.iter().copied()).map(start).collect();
            reader(&store);
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
            after(&store);
        });
    });
}

/// Uncovered and emptied: whoever misses the key in the index has a version that says where to look.
#[test]
fn loom_uncovering_hides_nothing() {
    race(
        || Store::new(1, true, Some(1)),
        |store| store.uncover(1),
        &[],
        |store| assert_eq!(store.get(), Some(1)),
        |store| {
            assert_eq!(store.index.len(), 0);
            assert_eq!(store.get(), Some(1));
        },
    );
}

/// Filled and covered: whoever has the version that says so finds the entry.
#[test]
fn loom_covering_hides_nothing() {
    race(
        || Store::new(1, false, None),
        |store| store.cover(1),
        &[],
        |store| assert_eq!(store.get(), Some(1)),
        |store| assert_eq!(store.index.len(), 1),
    );
}

/// A part is uncovered and covered again while the key is read twice.
#[test]
fn loom_to_and_fro() {
    race(
        || Store::new(1, true, Some(1)),
        |store| {
            store.uncover(1);
            store.cover(1);
        },
        &[],
        |store| {
            assert_eq!(store.get(), Some(1));
            assert_eq!(store.get(), Some(1));
        },
        |store| assert_eq!(store.index.len(), 1),
    );
}

/// A part is filled in while the key is written: the newer record stays, for readers who know of it and in the end.
#[test]
fn loom_a_newer_record_is_not_filled_over() {
    race(
        || Store::new(1, false, None),
        |store| store.cover(1),
        &[|store| store.put(2)],
        |store| {
            let visible = store.visible.load(Ordering::Acquire);
            let found = store.get().expect("there all the time");
            assert!(found >= visible, "{found} with {visible} visible");
        },
        |store| assert_eq!(store.get(), Some(2)),
    );
}

/// A part is uncovered while the key is written: the newer record's entry stays.
#[test]
fn loom_a_newer_record_is_not_uncovered() {
    race(
        || Store::new(1, true, Some(1)),
        |store| store.uncover(1),
        &[|store| store.put(2)],
        |store| {
            let visible = store.visible.load(Ordering::Acquire);
            let found = store.get().expect("there all the time");
            assert!(found >= visible, "{found} with {visible} visible");
        },
        |store| assert_eq!(store.get(), Some(2)),
    );
}

/// A key is deleted: the index leads to the tombstone, and an older record is in a part of which the index does not speak. A merge drops
/// both. The older one is never found.
#[test]
fn loom_what_a_merge_drops_does_not_come_back() {
    race(
        || Store::new(1, false, Some(TOMBSTONE)),
        |store| {
            let Ok(()) = supersede(
                || {
                    store.install(None, true);
                    Ok::<_, Infallible>(())
                },
                |()| {
                    store.unfill(TOMBSTONE);
                    Ok(())
                },
                |()| (),
            );
        },
        &[],
        |store| assert_eq!(store.get(), None, "a deleted record came back"),
        |store| assert_eq!(store.index.len(), 0),
    );
}
