//! Loom models of the protocol: every interleaving of a few operations, with every value that the orderings allow.
//!
//! ```text
//! RUSTFLAGS="--cfg kvs_loom" cargo test --release --lib loom
//! ```
//!
//! The index has one partition and buckets of two slots here, and all keys are at home in bucket 0. A record is one
//! atomic word, stored Relaxed before its address goes into the index, and loaded Relaxed by whoever finds the
//! address: only the index orders the two. As in the engine, a writer publishes by a Release store of `visible` after
//! the index is set, and a reader Acquires `visible` before it searches.

use std::convert::Infallible;

use loom::thread;

use super::{Address, Index};
use crate::sync::epoch;
use crate::sync::{Arc, AtomicU64, Ordering};

const KEYS: u64 = 5;
const VERSIONS: u64 = 6;

/// The upper half of a hash is what the index looks at.
fn hash(key: u64) -> u64 {
    key << u32::BITS
}

struct Store {
    index: Index,
    /// Record `n` is of key `n % KEYS` in version `n / KEYS`, and holds `n` once it is written.
    records: Vec<AtomicU64>,
    visible: AtomicU64,
}

impl Store {
    /// With version 0 of the keys 1 to `keys`.
    fn new(keys: u64) -> Arc<Store> {
        let records = (0..KEYS * VERSIONS).map(|_| AtomicU64::new(0)).collect();
        let store = Store { index: Index::new(), records, visible: AtomicU64::new(0) };
        (1..=keys).for_each(|key| store.put(key, 0));
        Arc::new(store)
    }

    fn address(key: u64, version: u64) -> Address {
        Address::new(0, 8 * (version * KEYS + key)).expect("keys begin with 1")
    }

    fn is_key(&self, key: u64, address: Address) -> Result<bool, Infallible> {
        let n = address.offset() / 8;
        assert_eq!(self.records[n as usize].load(Ordering::Relaxed), n, "an address without its record");
        Ok(n % KEYS == key)
    }

    /// The version of `key`.
    fn find(&self, key: u64) -> Option<u64> {
        let Ok(found) = self.index.find(hash(key), &epoch::pin(), |at| self.is_key(key, at));
        found.map(|at| at.offset() / 8 / KEYS)
    }

    fn write_record(&self, address: Address) {
        let n = address.offset() / 8;
        self.records[n as usize].store(n, Ordering::Relaxed);
    }

    fn put(&self, key: u64, version: u64) {
        let (address, guard) = (Store::address(key, version), epoch::pin());
        self.write_record(address);
        let mut partition = self.index.lock(hash(key));
        let Ok(place) = partition.find(hash(key), &guard, |at| self.is_key(key, at));
        partition.set(place, hash(key), address, &guard);
    }

    /// Moves a record, as flush and merge do: `to` is a copy at a new place, here told by its version.
    fn repoint(&self, key: u64, from: u64, to: u64) -> bool {
        let new = Store::address(key, to);
        self.write_record(new);
        self.index.lock(hash(key)).replace_if(hash(key), Store::address(key, from), new, &epoch::pin())
    }

    fn remove(&self, key: u64, version: u64) {
        assert!(self.index.lock(hash(key)).remove(hash(key), Store::address(key, version), &epoch::pin()));
    }

    fn publish(&self, seq: u64) {
        self.visible.store(seq, Ordering::Release);
    }

    fn visible(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    fn buckets(&self) -> usize {
        self.index.partitions[0].table(&epoch::pin()).map_or(0, |table| table.buckets.len())
    }

    /// The versions in all slots of the current table that hold `key`.
    fn versions(&self, key: u64) -> Vec<u64> {
        let guard = epoch::pin();
        let table = self.index.partitions[0].table(&guard).expect("something was inserted");
        let numbers = table.entries().map(|(_, at)| at.offset() / 8);
        numbers.filter(|n| n % KEYS == key).map(|n| n / KEYS).collect()
    }
}

/// Runs `write` in a thread of its own and `read` in this one, then `after`.
fn race(
    prepare: impl Fn() -> Arc<Store> + Send + Sync + 'static,
    write: fn(&Store),
    read: fn(&Store),
    after: fn(&Store),
) {
    loom::model(move || {
        let store = prepare();
        let writer = thread::spawn({
            let store = Arc::clone(&store);
            move || write(&store)
        });
        read(&store);
        writer.join().expect("no panic");
        after(&store);
    });
}

/// A key is inserted into the full home bucket, so that it overflows: the keys that are there stay, and the new
/// one is found from its publication on, which takes both the overflow bit and the slot behind it.
#[test]
fn loom_insert_into_an_overflowing_bucket() {
    race(
        || Store::new(2),
        |store| {
            store.put(3, 1);
            store.publish(1);
        },
        |store| {
            let visible = store.visible();
            assert_eq!(store.find(2), Some(0));
            let found = store.find(3);
            assert!(found == Some(1) || (found.is_none() && visible == 0), "{found:?} with {visible} visible");
        },
        |store| {
            assert_eq!(store.buckets(), 2, "it was to overflow, not to grow");
            assert_eq!(store.find(3), Some(1));
        },
    );
}

/// A key is overwritten, the table grows, the key is overwritten again: never absent, never older than the published.
#[test]
fn loom_growth_while_a_key_is_overwritten() {
    race(
        || {
            let store = Store::new(1);
            assert_eq!(store.buckets(), 1);
            store
        },
        |store| {
            store.put(1, 1);
            store.publish(1);
            store.put(2, 2);
            store.publish(2);
            store.put(1, 3);
            store.publish(3);
        },
        |store| {
            for _ in 0..2 {
                let visible = store.visible();
                let found = store.find(1).expect("there from the beginning");
                assert!(found >= [0, 1, 1, 3][visible as usize], "version {found} with {visible} visible");
                assert!(store.find(2) == Some(2) || visible < 2);
            }
        },
        |store| {
            assert_eq!(store.buckets(), 2);
            assert_eq!(store.find(1), Some(3));
        },
    );
}

/// Two writers put the same new key, through a growth: it gets one slot. One puts another key which the other
/// re-points: that never undoes the put.
#[test]
fn loom_two_writers() {
    race(
        || Store::new(1),
        |store| {
            store.put(2, 1);
            store.put(1, 5);
        },
        |store| {
            store.put(2, 2);
            store.repoint(1, 0, 4);
        },
        |store| {
            assert!(matches!(store.versions(2)[..], [1] | [2]));
            assert_eq!(store.versions(1), [5]);
            assert_eq!(store.index.len(), 2);
        },
    );
}

/// A record is moved while another key makes the table grow: neither undoes the other.
#[test]
fn loom_repointing_during_growth() {
    race(
        || Store::new(1),
        |store| store.put(2, 1),
        |store| {
            assert!(store.repoint(1, 0, 4));
            assert_eq!(store.find(1), Some(4), "own write");
        },
        |store| assert_eq!((store.versions(1), store.versions(2)), (vec![4], vec![1])),
    );
}

/// A slot that a reader passes goes from one key to another: a third key behind it is found all the time. A key that is
/// removed and inserted again is missed only by a reader that does not know of the insert.
#[test]
fn loom_removal_and_reuse() {
    race(
        || {
            let store = Store::new(3);
            assert_eq!(store.buckets(), 2);
            store
        },
        |store| {
            store.remove(1, 0);
            store.put(4, 1);
            store.remove(2, 0);
            store.put(2, 2);
            store.publish(2);
        },
        |store| {
            let visible = store.visible();
            assert_eq!(store.find(3), Some(0), "stands in the second bucket, untouched");
            let found = store.find(2);
            assert!(found == Some(2) || visible == 0, "{found:?} with {visible} visible");
        },
        |store| {
            assert_eq!(store.buckets(), 2);
            assert_eq!((store.find(1), store.versions(2)), (None, vec![2]));
        },
    );
}

/// A key moves from the second bucket into a slot of the first that became vacant: whoever knows of it finds it there.
#[test]
fn loom_a_key_comes_back_elsewhere() {
    race(
        || Store::new(3),
        |store| {
            store.remove(1, 0);
            store.remove(3, 0);
            store.put(3, 1);
            store.publish(1);
        },
        |store| {
            let visible = store.visible();
            let found = store.find(3);
            assert!(found == Some(1) || visible == 0, "{found:?} with {visible} visible");
        },
        |store| assert_eq!(store.versions(3), [1]),
    );
}

/// A batch of two keys, the second of which makes the table grow: whoever acquires its sequence number sees both,
/// in whatever order they are asked for.
#[test]
fn loom_a_batch_is_seen_whole() {
    race(
        || Store::new(1),
        |store| {
            store.put(1, 1);
            store.put(2, 1);
            store.publish(1);
        },
        |store| {
            let visible = store.visible();
            let found = [store.find(2), store.find(1), store.find(2)];
            assert!(visible == 0 || found == [Some(1); 3], "{found:?} with {visible} visible");
        },
        |_| (),
    );
}
