//! Is a history of one register linearizable? A checker, and the proof that it catches what it should.
//!
//! A history is what clients saw: each operation with the moments at which it was invoked and returned, on one
//! clock. It is linearizable if every operation can be given one moment between the two so that, in that order, every read
//! returns the last write. Keys are independent registers (linearizability is local), so each key is checked alone.
//!
//! The method is "just in time" linearization (Lowe 2017, after Wing and Gong 1993):
//!
//! 1. Walk the events in time. Keep all configurations that can be true: the register's value, and which of the operations
//!    under way have taken effect already.
//! 2. When an operation returns it must have taken effect: from every configuration let operations under way take effect, in
//!    every order, until this one has; a read may only do so while the register holds what it returned. Keep the
//!    configurations that get there, each once.
//! 3. None left: not linearizable, and this operation is where it shows.
//!
//! A client has one operation under way at a time, so a set of them is a bit mask of clients. It is exact: values need not be
//! unique, so deletes (value 0) are checked like any write.

use std::collections::HashSet;

use crate::common::{self, Rng};

/// What one client did.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub client: u32,
    pub invoked: u64,
    pub returned: u64,
    pub is_write: bool,
    /// What was written or read; 0 is absence.
    pub value: u64,
}

/// `Err`: the operation that can't have happened.
pub fn check(history: &[Op]) -> Result<(), Op> {
    let mut events: Vec<(u64, bool, &Op)> =
        history.iter().flat_map(|op| [(op.invoked, false, op), (op.returned, true, op)]).collect();
    events.sort_unstable_by_key(|event| event.0);
    let mut under_way: [Option<&Op>; 64] = [None; 64];
    let mut configurations = HashSet::from([(0u64, 0u64)]);
    for (_, is_return, op) in events {
        let client = op.client as usize;
        if !is_return {
            assert!(under_way[client].replace(op).is_none(), "one operation of a client at a time");
            continue;
        }
        configurations = returned(&configurations, &under_way, client);
        under_way[client] = None;
        if configurations.is_empty() {
            return Err(*op);
        }
    }
    Ok(())
}

/// Step 2 for the operation of `client`.
fn returned(configurations: &HashSet<(u64, u64)>, under_way: &[Option<&Op>; 64], client: usize) -> HashSet<(u64, u64)> {
    let mut seen = configurations.clone();
    let mut open: Vec<_> = configurations.iter().copied().collect();
    let mut reached = HashSet::new();
    while let Some((value, done)) = open.pop() {
        if done >> client & 1 == 1 {
            reached.insert((value, done & !(1 << client)));
            continue;
        }
        for (other, op) in under_way.iter().enumerate() {
            let Some(op) = op else { continue };
            if done >> other & 1 == 1 || (!op.is_write && op.value != value) {
                continue;
            }
            let next = (op.value, done | 1 << other);
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}

/// A history of a true register: every operation takes effect at a random moment within its interval.
fn true_history(rng: &mut Rng, clients: u32, ops: u64, write_once_in: u64) -> Vec<Op> {
    // Intervals overlap: each client's next moment is drawn from a few ahead.
    let mut free_at = vec![0; clients as usize];
    let mut timed: Vec<(u64, Op)> = (0..ops)
        .map(|i| {
            let client = rng.below(u64::from(clients)) as u32;
            let invoked = free_at[client as usize] + 1 + rng.below(4);
            let (effect, returned) = {
                let effect = invoked + 1 + rng.below(6);
                (effect, effect + 1 + rng.below(6))
            };
            free_at[client as usize] = returned;
            let is_write = rng.one_in(write_once_in);
            let value = if rng.one_in(5) { 0 } else { i + 1 };
            (effect, Op { client, invoked, returned, is_write, value })
        })
        .collect();
    // Distinct moments: position, then invocations before effects before returns does not matter, order is what counts.
    timed.sort_by_key(|(effect, _)| *effect);
    let mut value = 0;
    for (_, op) in &mut timed {
        if op.is_write {
            value = op.value;
        } else {
            op.value = value;
        }
        // Invocations on thirds, returns on two thirds, so that no two kinds of event fall on one moment.
        (op.invoked, op.returned) = (op.invoked * 3, op.returned * 3 + 1);
    }
    timed.into_iter().map(|(_, op)| op).collect()
}

fn read(client: u32, invoked: u64, returned: u64, value: u64) -> Op {
    Op { client, invoked, returned, is_write: false, value }
}

fn write(client: u32, invoked: u64, returned: u64, value: u64) -> Op {
    Op { client, invoked, returned, is_write: true, value }
}

/// Histories made from a true register pass, whatever overlaps.
#[test]
fn the_checker_accepts_true_histories() {
    let mut rng = Rng::new(common::seed(11));
    for _ in 0..300 {
        let history = true_history(&mut rng, 8, 200, 3);
        assert!(check(&history).is_ok());
    }
}

/// The classical wrong ones, by hand, beside right ones that differ by one moment.
#[test]
fn the_checker_knows_the_classics() {
    // A stale read after the write returned; fine while it is under way.
    assert!(check(&[write(0, 1, 2, 7), read(1, 3, 4, 0)]).is_err());
    assert!(check(&[write(0, 1, 3, 7), read(1, 2, 4, 0)]).is_ok());
    // A read of what nobody wrote, or not yet.
    assert!(check(&[write(0, 1, 2, 7), read(1, 3, 4, 8)]).is_err());
    assert!(check(&[read(1, 1, 2, 7), write(0, 3, 4, 7)]).is_err());
    // New, then old, by two readers one after the other, while the write is under way.
    assert!(check(&[write(0, 1, 9, 7), read(1, 2, 3, 7), read(2, 4, 5, 0)]).is_err());
    assert!(check(&[write(0, 1, 9, 7), read(1, 2, 5, 7), read(2, 4, 6, 0)]).is_ok());
    // Two writes at once: readers must agree on their order.
    let writes = [write(0, 1, 4, 7), write(1, 2, 5, 8)];
    let reads = |a: u64, b: u64| [read(2, 6, 7, a), read(3, 8, 9, b)];
    assert!(check(&[writes, reads(7, 7)].concat()).is_ok());
    assert!(check(&[writes, reads(8, 8)].concat()).is_ok());
    assert!(check(&[writes, reads(7, 8)].concat()).is_err());
    // A lost delete.
    assert!(check(&[write(0, 1, 2, 7), write(0, 3, 4, 0), read(0, 5, 6, 7)]).is_err());
}

/// Five kinds of bug, put into true histories at random places where they must show, are all caught.
#[test]
fn the_checker_catches_seeded_bugs() {
    let mut rng = Rng::new(common::seed(12));
    let mut caught = [0; 5];
    while caught.iter().any(|&n| n < 40) {
        let mut history = true_history(&mut rng, 6, 150, 4);
        let reads: Vec<_> = (0..history.len()).filter(|&i| !history[i].is_write).collect();
        let victim = reads[rng.below(reads.len() as u64) as usize];
        let op = history[victim];
        let bug = rng.below(5) as usize;
        let wrong = match bug {
            // What stood before a write that was over when the read began, and that no other write brought back.
            0 | 1 => {
                let over = history.iter().filter(|w| w.is_write && w.returned < op.invoked);
                let Some(newest) = over.max_by_key(|w| w.invoked) else { continue };
                // The newest of the writes that were over before that one began: overwritten for certain.
                let older = history.iter().filter(|w| w.is_write && w.returned < newest.invoked && w.value != 0);
                match (bug, older.max_by_key(|w| w.invoked)) {
                    (0, Some(older)) => older.value,
                    // Absence, though no delete can explain it.
                    (1, _) if history.iter().all(|w| !w.is_write || w.value != 0 || w.returned < newest.invoked) => 0,
                    _ => continue,
                }
            }
            // From the future.
            2 => match history.iter().find(|w| w.is_write && w.invoked > op.returned && w.value != 0) {
                Some(later) => later.value,
                None => continue,
            },
            // Never written.
            3 => u64::MAX,
            // A write that was acknowledged and lost, though the read must see it: it is taken out of the history.
            _ => {
                let writer = history.iter().position(|w| w.is_write && w.value == op.value && op.value != 0);
                let Some(writer) = writer else { continue };
                history.remove(writer);
                assert!(check(&history).is_err());
                caught[bug] += 1;
                continue;
            }
        };
        if wrong == op.value {
            continue;
        }
        history[victim].value = wrong;
        assert!(check(&history).is_err(), "bug {bug}: read {victim} of {history:?}");
        caught[bug] += 1;
    }
}
