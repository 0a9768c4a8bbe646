//! Loom models of slots and cells: what a guard protects lives until the guard is gone, and is not taken for another thing.
//!
//! The epoch of these models frees what it is given as soon as it may ([`epoch::reclaiming`]). A thing here says when it dies; nobody touches
//! the memory of a dead one even if the protocol is broken, for the models keep a weak count of each.
//!
//! Seen to fail without the grace period of a cleared slot, and without that of a replaced value.

use loom::thread;

use super::{EpochCell, Graveyard, Slots};
use crate::sync::epoch::{self, reclaiming};
use crate::sync::{Arc, AtomicBool, Ordering, Weak};

/// Something that readers follow.
pub(crate) struct Thing {
    pub id: usize,
    dead: Arc<Vec<AtomicBool>>,
}

impl Thing {
    /// Must be alive: whoever calls this is protected.
    pub fn read(&self) -> usize {
        assert!(!self.dead[self.id].load(Ordering::Relaxed), "thing {} was dropped under a reader", self.id);
        self.id
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.dead[self.id].store(true, Ordering::Relaxed);
    }
}

/// Makes things, and keeps their memory.
pub(crate) struct Maker {
    dead: Arc<Vec<AtomicBool>>,
    kept: std::sync::Mutex<Vec<Weak<Thing>>>,
}

impl Maker {
    pub fn new(things: usize) -> Arc<Maker> {
        let dead = Arc::new((0..things).map(|_| AtomicBool::new(false)).collect());
        Arc::new(Maker { dead, kept: std::sync::Mutex::default() })
    }

    pub fn thing(&self, id: usize) -> Arc<Thing> {
        let thing = Arc::new(Thing { id, dead: Arc::clone(&self.dead) });
        self.kept.lock().expect("no panic").push(Arc::downgrade(&thing));
        thing
    }

    pub fn is_dead(&self, id: usize) -> bool {
        self.dead[id].load(Ordering::Relaxed)
    }
}

/// What a cell held when it was loaded lives as long as the guard, though it is replaced and the graveyard emptied; and it dies then.
#[test]
fn loom_a_replaced_value_outlives_its_readers() {
    loom::model(|| {
        reclaiming(|| {
            let maker = Maker::new(2);
            let graveyard = Arc::new(Graveyard::default());
            let cell = Arc::new(EpochCell::new(maker.thing(0), Arc::clone(&graveyard)));
            let writer = thread::spawn({
                let (cell, graveyard, maker) = (Arc::clone(&cell), Arc::clone(&graveyard), Arc::clone(&maker));
                move || {
                    cell.replace(maker.thing(1), &epoch::pin());
                    graveyard.empty();
                }
            });
            let guard = epoch::pin();
            let value = cell.load(&guard);
            value.read();
            thread::yield_now();
            value.read();
            drop(guard);
            writer.join().expect("no panic");
            graveyard.empty();
            assert!(maker.is_dead(0) && !maker.is_dead(1));
        });
    });
}

/// What a reader pinned lives as long as it likes.
#[test]
fn loom_a_pinned_value_outlives_the_guard() {
    loom::model(|| {
        reclaiming(|| {
            let maker = Maker::new(2);
            let graveyard = Arc::new(Graveyard::default());
            let cell = Arc::new(EpochCell::new(maker.thing(0), Arc::clone(&graveyard)));
            let writer = thread::spawn({
                let (cell, graveyard, maker) = (Arc::clone(&cell), Arc::clone(&graveyard), Arc::clone(&maker));
                move || {
                    cell.replace(maker.thing(1), &epoch::pin());
                    graveyard.empty();
                }
            });
            let pinned = cell.pin(&epoch::pin());
            pinned.read();
            writer.join().expect("no panic");
            graveyard.empty();
            pinned.read();
        });
    });
}

/// A slot is cleared and given to another thing. Whoever follows it finds the one, none, or the other, and what it finds lives.
#[test]
fn loom_a_slot_is_cleared_and_used_again() {
    loom::model(|| {
        reclaiming(|| {
            let maker = Maker::new(2);
            let slots = Arc::new(Slots::new());
            assert_eq!(slots.give(maker.thing(0)), Some(0));
            let worker = thread::spawn({
                let (slots, maker) = (Arc::clone(&slots), Arc::clone(&maker));
                move || {
                    slots.clear(0, &epoch::pin(), drop);
                    assert_eq!(slots.give(maker.thing(1)), Some(0));
                }
            });
            let guard = epoch::pin();
            let found = slots.get(0, &guard);
            let id = found.map(Thing::read);
            thread::yield_now();
            assert_eq!(found.map(Thing::read), id);
            let pinned = slots.pin(0, &guard);
            drop(guard);
            // Never back from the second to the first.
            assert!(id != Some(1) || pinned.as_ref().map(|thing| thing.id) == Some(1));
            pinned.map(|thing| thing.read());
            worker.join().expect("no panic");
            assert!(maker.is_dead(0) && !maker.is_dead(1));
        });
    });
}
