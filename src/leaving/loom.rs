//! Loom models of a thing that is replaced, leaves, and is given back, beside readers who got to it in every way there is.
//!
//! Index, slots, cell, graveyard and the steps are those of the store. In the place of files are things that know when they die, and that
//! nobody may reach when they have [`gone`](super::Leaving::reap). The epoch frees at once what it may.
//!
//! Seen to fail, each with one change to the code: without the grace period of step 2; if the things leave before the index is re-pointed; if
//! a thing is gone whoever holds it. (Without that of step 4, which a reader needs who follows a slot that it should not, `slots/loom.rs` fails.)

use std::convert::Infallible;

use loom::thread;

use super::{Leaving, supersede};
use crate::index::{Address, Index};
use crate::slots::loom::{Maker, Thing};
use crate::slots::{EpochCell, Graveyard, Slots};
use crate::sync::epoch::{self, reclaiming};
use crate::sync::{Arc, AtomicBool, Ordering};

/// The key's hash, of which the index looks at the upper half.
const HASH: u64 = 1 << u32::BITS;

/// A version: one thing, and its slot.
struct One {
    thing: Arc<Thing>,
    slot: u16,
}

struct Store {
    maker: Arc<Maker>,
    index: Index,
    slots: Slots<Thing>,
    version: EpochCell<One>,
    graveyard: Arc<Graveyard>,
    leaving: Leaving<Thing>,
    /// Things whose names are gone. Nobody may hold one.
    gone: Vec<AtomicBool>,
}

/// Each thing has its key's record at another place, which tells it from others in the same slot.
fn address(slot: u16, id: usize) -> Address {
    Address::new(slot, 8 * (id as u64 + 1)).expect("small")
}

fn id_of(address: Address) -> usize {
    (address.offset() / 8) as usize - 1
}

impl Store {
    fn new() -> Arc<Store> {
        let maker = Maker::new(3);
        let (graveyard, slots, index) = (Arc::new(Graveyard::default()), Slots::new(), Index::new());
        let thing = maker.thing(0);
        let slot = slots.give(Arc::clone(&thing)).expect("room");
        let guard = epoch::pin();
        let Ok(_) = index.lock(HASH).fill(HASH, address(slot, 0), &guard, |_| Ok::<_, Infallible>(false));
        let version = EpochCell::new(Arc::new(One { thing, slot }), Arc::clone(&graveyard));
        let gone = (0..3).map(|_| AtomicBool::new(false)).collect();
        drop(guard);
        Arc::new(Store { maker, index, slots, version, graveyard, leaving: Leaving::default(), gone })
    }

    /// Puts the thing `id` in the place of the one before.
    fn replace(&self, id: usize) {
        let old = self.version.pin(&epoch::pin());
        let thing = self.maker.thing(id);
        let slot = self.slots.give(Arc::clone(&thing)).expect("room");
        let Ok(()) = supersede(
            || {
                self.version.replace(Arc::new(One { thing, slot }), &epoch::pin());
                Ok::<_, Infallible>(())
            },
            |()| {
                let (from, to) = (address(old.slot, id - 1), address(slot, id));
                assert!(self.index.lock(HASH).replace_if(HASH, from, to, &epoch::pin()));
                Ok(())
            },
            |()| self.leaving.retire([(old.slot, Arc::clone(&old.thing))], || ()),
        );
    }

    /// A turn of the worker.
    fn free(&self) {
        self.graveyard.empty();
        self.leaving.reap(
            &self.slots,
            &self.graveyard,
            || (),
            |thing| {
                self.gone[thing.id].store(true, Ordering::Relaxed);
            },
        );
    }

    fn check(&self, thing: &Thing) -> usize {
        assert!(!self.gone[thing.id].load(Ordering::Relaxed), "thing {} is gone under a reader", thing.id);
        thing.read()
    }
}

fn race(worker: fn(&Store), reader: fn(&Store), after: fn(&Store)) {
    let mut builder = loom::model::Builder::new();
    // Three changes of thread where there need not be one find all that was ever planted; without a bound it takes hours.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        reclaiming(|| {
            let store = Store::new();
            let working = thread::spawn({
                let store = Arc::clone(&store);
                move || worker(&store)
            });
            reader(&store);
            working.join().expect("no panic");
            after(&store);
        });
    });
}

/// Looks the key up, and follows the address for as long as the guard lives.
fn get(store: &Store) {
    let guard = epoch::pin();
    let Ok(found) = store.index.find(HASH, &guard, |_| Ok::<_, Infallible>(true));
    let address = found.expect("the key is there all the time");
    thread::yield_now();
    let thing = store.slots.get(address.slot(), &guard).expect("an address leads to a thing");
    assert_eq!(store.check(thing), id_of(address), "the slot was used again under a reader");
    thread::yield_now();
    store.check(thing);
}

/// A reader that has an address finds there what it was told, though the thing is replaced, and its slot cleared and used again.
#[test]
fn loom_an_address_leads_where_it_did() {
    race(
        |store| {
            store.replace(1);
            store.free();
            store.free();
            // Where the first one was, if nobody was in the way.
            store.replace(2);
        },
        get,
        |store| {
            (0..3).for_each(|_| store.free());
            assert!(
                store.gone[0].load(Ordering::Relaxed) && store.gone[1].load(Ordering::Relaxed),
                "all is given back"
            );
            assert!(store.maker.is_dead(0) && store.maker.is_dead(1) && !store.maker.is_dead(2));
            assert!(!store.leaving.is_any());
        },
    );
}

/// What was pinned by its slot is not gone before it is let go of.
#[test]
fn loom_a_pinned_thing_is_not_gone() {
    race(
        |store| {
            store.replace(1);
            store.free();
            store.free();
        },
        |store| {
            let guard = epoch::pin();
            let Ok(found) = store.index.find(HASH, &guard, |_| Ok::<_, Infallible>(true));
            let thing = store.slots.pin(found.expect("there").slot(), &guard).expect("a thing");
            drop(guard);
            store.check(&thing);
            thread::yield_now();
            store.check(&thing);
        },
        |store| {
            (0..3).for_each(|_| store.free());
            assert!(store.gone[0].load(Ordering::Relaxed));
        },
    );
}

/// Nor is what a version holds that an iterator holds.
#[test]
fn loom_an_older_version_keeps_its_things() {
    race(
        |store| {
            store.replace(1);
            store.free();
            store.free();
        },
        |store| {
            let version = store.version.pin(&epoch::pin());
            store.check(&version.thing);
            thread::yield_now();
            store.check(&version.thing);
        },
        |store| {
            (0..3).for_each(|_| store.free());
            assert!(store.gone[0].load(Ordering::Relaxed));
        },
    );
}
