//! Every key is a register: what gets return, by whichever read, is linearizable under concurrent writers.
//!
//! Four writers put, batch and delete a few hot keys with values that nobody else writes, and make the index grow with
//! fresh keys; four readers read by every way there is. All take stamps from one clock before a call and after it, and
//! the checker judges each key's history.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvs::{Batch, Db, Durability, LogBackend};
use parking_lot::Mutex;

use super::history::{Op, check};
use super::{scaled, store};
use crate::common::{self, Rng};
use crate::crew;

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

fn read(db: &Db, rng: &mut Rng, key: &str, buffer: &mut Vec<u8>) -> u64 {
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
        _ => number(db.get(key).unwrap().as_deref()),
    }
}

fn run(seed: u64, backend: LogBackend) {
    let (_dir, db) = store(backend);
    let clock = Arc::new(AtomicU64::new(0));
    let histories: Arc<Mutex<Vec<Vec<Op>>>> = Arc::new(Mutex::new(vec![Vec::new(); KEYS as usize]));
    let ops = scaled(20_000);
    let worker = |client: u64| {
        let (db, clock, histories) = (db.clone(), Arc::clone(&clock), Arc::clone(&histories));
        move || {
            let mut rng = Rng::new(seed ^ client << 32);
            let mut own = vec![Vec::new(); KEYS as usize];
            let mut buffer = Vec::new();
            for i in 0..ops {
                let at = rng.below(KEYS);
                let is_write = client < 4;
                // Sequentially consistent: one order of all stamps that agrees with every thread's own.
                let invoked = clock.fetch_add(1, Ordering::SeqCst);
                let value = if is_write {
                    write(&db, &mut rng, &key(at), (client + 1) << 32 | (i + 1))
                } else {
                    read(&db, &mut rng, &key(at), &mut buffer)
                };
                let returned = clock.fetch_add(1, Ordering::SeqCst);
                own[at as usize].push(Op { client: client as u32, invoked, returned, is_write, value });
            }
            for (all, own) in histories.lock().iter_mut().zip(own) {
                all.extend(own);
            }
        }
    };
    crew::run(crew::tasks(8, worker).collect());
    assert!(db.stats().rotations > ops / 200, "hardly a rotation");
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
    println!("{} of {} operations overlapped their predecessor on the key", overlapping, 8 * ops);
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
