//! Every key is a register: what gets return, by whichever read, is linearizable under concurrent writers.
//!
//! Four writers put, batch and delete a few hot keys, alone and by range, with values that nobody else writes, and make the index grow with
//! fresh keys; four readers read by every way there is, and hold on to some of what they read. All take stamps from one clock before a call
//! and after it, and the checker judges each key's history. Hot keys are moved all the time, by flushes and by merges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvs::{Batch, Db, Durability, LogBackend, Value};
use parking_lot::Mutex;

use super::history::{Op, check};
use super::{Writing, churn, scaled, store};
use crate::common::{self, Rng};
use crate::crew::{self, Task};

const KEYS: u64 = 4;

fn key(i: u64) -> String {
    format!("hot {i}")
}

/// The unique number of a value; 0 is absence.
fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |bytes| u64::from_le_bytes(bytes[..8].try_into().unwrap()))
}

fn write(db: &Db, rng: &mut Rng, key: &str, number: u64) -> u64 {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(8 + rng.below(120) as usize, 0xee);
    let durability = if rng.one_in(8) { Durability::None } else { Durability::Process };
    match rng.below(8) {
        0 => {
            db.delete_with(key, durability).unwrap();
            return 0;
        }
        1 => {
            let mut batch = Batch::new();
            // Only the last write to the key counts; the fresh keys land in other partitions.
            batch.put(key, 0xbad_u64.to_le_bytes()).put(format!("fresh {number}"), "").put(key, &value);
            db.write_with(&batch, durability).unwrap();
        }
        2 => {
            db.put(format!("fresh {number}"), "").unwrap();
            db.put_with(key, &value, durability).unwrap();
        }
        _ => db.put_with(key, &value, durability).unwrap(),
    }
    number
}

fn read(db: &Db, rng: &mut Rng, key: &str, buffer: &mut Vec<u8>, held: &mut Vec<(Value, u64)>) -> u64 {
    match rng.below(10) {
        0 => number(db.get_owned(key).unwrap().as_deref()),
        1 => number(db.get_into(key, buffer).unwrap().then_some(buffer.as_slice())),
        2 => number(db.get_many(&["other", key]).unwrap()[1].as_deref()),
        3 => number(db.snapshot().unwrap().get(key).unwrap().as_deref()),
        4 => {
            let mut iter = db.range(key..).unwrap();
            let there = iter.seek_to_first().unwrap() && iter.key() == key.as_bytes();
            number(there.then(|| iter.value()))
        }
        _ => {
            let value = db.get(key).unwrap();
            let found = number(value.as_deref());
            if let Some(value) = value.filter(|_| rng.one_in(16)) {
                held.push((value, found));
            }
            found
        }
    }
}

fn run(seed: u64, backend: LogBackend) {
    let (_dir, db) = store(backend);
    let clock = Arc::new(AtomicU64::new(0));
    let histories: Arc<Mutex<Vec<Vec<Op>>>> = Arc::new(Mutex::new(vec![Vec::new(); KEYS as usize]));
    let ops = scaled(12_000);
    let writing = Writing::default();
    let guard = writing.guard();
    let worker = |client: u64| {
        let (db, clock, histories) = (db.clone(), Arc::clone(&clock), Arc::clone(&histories));
        let is_write = client < 4;
        let (writing, guard) = (writing.clone(), is_write.then(|| guard.clone()));
        move || {
            let mut rng = Rng::new(seed ^ client << 32);
            let mut own = vec![Vec::new(); KEYS as usize];
            let mut buffer = Vec::new();
            let mut held = Vec::new();
            for i in 0.. {
                if if is_write { i == ops } else { i >= ops && writing.is_over() } {
                    break;
                }
                let at = rng.below(KEYS);
                // Up to but without this one.
                let to = if is_write && rng.one_in(32) { at + 1 + rng.below(KEYS - at) } else { at };
                // Sequentially consistent: one order of all stamps that agrees with every thread's own.
                let invoked = clock.fetch_add(1, Ordering::SeqCst);
                let value = if to > at {
                    db.delete_range(key(at)..key(to)).unwrap();
                    0
                } else if is_write {
                    write(&db, &mut rng, &key(at), (client + 1) << 32 | (i + 1))
                } else {
                    read(&db, &mut rng, &key(at), &mut buffer, &mut held)
                };
                let returned = clock.fetch_add(1, Ordering::SeqCst);
                // Reads may be left out of a history, and readers are faster than writers.
                if is_write || i < ops || rng.one_in(32) {
                    for at in at..to.max(at + 1) {
                        own[at as usize].push(Op { client: client as u32, invoked, returned, is_write, value });
                    }
                }
                if held.len() == 100 {
                    held.drain(..).for_each(|(value, found)| assert_eq!(number(Some(&value)), found, "a held value"));
                }
            }
            drop(guard);
            for (all, own) in histories.lock().iter_mut().zip(own) {
                all.extend(own);
            }
        }
    };
    let mut tasks: Vec<Task> = crew::tasks(8, worker).collect();
    tasks.push(churn(&db, &writing, seed));
    drop(guard);
    crew::run(tasks);
    let stats = db.stats();
    assert!(stats.rotations > ops / 200 && stats.flushes > ops / 2000 && stats.merge_steps > ops / 2000, "{stats}");
    let mut overlapping = 0;
    for (i, history) in histories.lock().iter_mut().enumerate() {
        assert!(history.iter().any(|op| !op.is_write && op.value != 0));
        if let Err(op) = check(history) {
            history.retain(|other| other.returned + 200 > op.invoked && other.invoked < op.returned + 200);
            history.sort_by_key(|op| op.invoked);
            panic!("key {i}: {op:?} can't have happened; around it: {history:#?}");
        }
        history.sort_by_key(|op| op.invoked);
        overlapping += history.windows(2).filter(|pair| pair[1].invoked < pair[0].returned).count() as u64;
    }
    println!("{overlapping} operations overlapped their predecessor on the key");
    assert!(overlapping > 20, "the threads ran one after the other");
    db.verify().unwrap();
}

#[test]
fn gets_are_linearizable_mapped() {
    run(common::seed(21), LogBackend::Mapped);
}

#[test]
fn gets_are_linearizable_positioned() {
    run(common::seed(22), LogBackend::Positioned);
}
