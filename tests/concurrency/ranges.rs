//! What a range delete deleted is never seen again, whatever is flushed, merged, covered or uncovered afterwards.
//!
//! One writer for each block of keys writes a generation, deletes the range, and says which generation is gone. Whoever reads after
//! that may find a later generation, or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvs::{Batch, LogBackend};

use super::{Writing, churn, scaled, store};
use crate::common::{self, Rng};
use crate::crew::{self, Task};

const BLOCKS: u64 = 2;
const KEYS: u64 = 60;

fn key(block: u64, i: u64) -> String {
    format!("block {block} {i:03}")
}

fn generation(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

fn run(seed: u64, backend: LogBackend) {
    let (_dir, db) = store(backend);
    let writing = Writing::default();
    let guard = writing.guard();
    let gone: Arc<Vec<AtomicU64>> = Arc::new((0..BLOCKS).map(|_| AtomicU64::new(0)).collect());
    let writer = |block: u64| {
        let (db, guard, gone) = (db.clone(), guard.clone(), Arc::clone(&gone));
        move || {
            let mut rng = Rng::new(seed + block);
            for generation in 1..scaled(300) {
                let value = || [&generation.to_le_bytes()[..], &[7; 60]].concat();
                for i in 0..KEYS {
                    if rng.one_in(2) {
                        db.put(key(block, i), value()).unwrap();
                    }
                }
                let range = format!("block {block} ")..format!("block {block}!");
                if rng.one_in(2) {
                    db.delete_range(range).unwrap();
                } else {
                    // In one step with the first key of the next generation.
                    let mut batch = Batch::new();
                    batch.delete_range(range).put(key(block, rng.below(KEYS)), (generation + 1).to_le_bytes());
                    db.write(&batch).unwrap();
                }
                gone[block as usize].store(generation, Ordering::Release);
            }
            drop(guard);
        }
    };
    let reader = |id: u64| {
        let (db, writing, gone) = (db.clone(), writing.clone(), Arc::clone(&gone));
        move || {
            let mut rng = Rng::new(seed + 100 + id);
            let mut rounds = 0;
            while !writing.is_over() || rounds < 100 {
                let block = rng.below(BLOCKS);
                let gone = gone[block as usize].load(Ordering::Acquire);
                let check = |what: &str, value: &[u8]| {
                    let found = generation(value);
                    assert!(found > gone, "generation {found} by {what}, though {gone} is gone");
                };
                match rng.below(4) {
                    0 | 1 => {
                        for _ in 0..KEYS {
                            if let Some(value) = db.get(key(block, rng.below(KEYS))).unwrap() {
                                check("get", &value);
                            }
                        }
                    }
                    2 => db.prefix(format!("block {block}")).unwrap().for_each(|pair| check("scan", &pair.unwrap().1)),
                    _ => {
                        let snapshot = db.snapshot().unwrap();
                        let pairs = snapshot.prefix(format!("block {block}")).unwrap().rev();
                        pairs.for_each(|pair| check("a scan of a snapshot", &pair.unwrap().1));
                        for i in 0..KEYS {
                            if let Some(value) = snapshot.get(key(block, i)).unwrap() {
                                check("get from a snapshot", &value);
                            }
                        }
                    }
                }
                rounds += 1;
            }
        }
    };
    let mut tasks: Vec<Task> = crew::tasks(BLOCKS, writer).collect();
    tasks.extend(crew::tasks(3, reader));
    tasks.push(churn(&db, &writing, seed));
    drop(guard);
    crew::run(tasks);
    db.compact::<&[u8]>(..).unwrap();
    assert_eq!(db.stats().range_deletes, 0, "a merge of everything has applied them all");
    db.verify().unwrap();
}

#[test]
fn what_a_range_delete_deleted_stays_so_mapped() {
    run(common::seed(81), LogBackend::Mapped);
}

#[test]
fn what_a_range_delete_deleted_stays_so_positioned() {
    run(common::seed(82), LogBackend::Positioned);
}
