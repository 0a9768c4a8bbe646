//! No reader ever sees half a batch.
//!
//! Two writers write batches that set the same number under sixteen keys (all over the index's partitions), or delete
//! them all, one by one or as a range; single puts between them move the batches through segments. Whoever looks at all keys at one moment must find
//! them equal: by snapshot, by `get_many`, by iterators forward and backward.

use kvs::{Batch, LogBackend};

use super::{Writing, churn, scaled, store};
use crate::common::{self, Rng};
use crate::crew::{self, Task};

const KEYS: usize = 16;

fn keys() -> Vec<String> {
    (0..KEYS).map(|i| format!("batch {i:02}")).collect()
}

fn all_equal(what: &str, values: &[Option<Vec<u8>>]) {
    assert_eq!(values.len(), KEYS);
    assert!(values.iter().all(|value| *value == values[0]), "half a batch, by {what}: {values:?}");
}

fn run(seed: u64, backend: LogBackend) {
    let (_dir, db) = store(backend);
    let writing = Writing::default();
    let guard = writing.guard();
    let writer = |id: u64| {
        let (db, guard) = (db.clone(), guard.clone());
        move || {
            let mut rng = Rng::new(seed + id);
            for i in 0..scaled(4000) {
                let mut batch = Batch::new();
                let value = [id.to_le_bytes(), i.to_le_bytes()].concat().repeat(1 + rng.below(4) as usize);
                match rng.below(12) {
                    0 | 1 => keys().iter().for_each(|key| {
                        batch.delete(key);
                    }),
                    2 => {
                        batch.delete_range("batch".."batch!");
                    }
                    // A range delete and what comes after it in the same batch.
                    way => {
                        if way == 3 {
                            batch.delete_range("batch".."batch!");
                        }
                        keys().iter().for_each(|key| {
                            batch.put(key, &value);
                        });
                    }
                }
                db.write(&batch).unwrap();
                db.put(format!("fresh {id} {i}"), vec![0; rng.below(300) as usize]).unwrap();
            }
            drop(guard);
        }
    };
    let reader = |id: u64| {
        let (db, writing) = (db.clone(), writing.clone());
        move || {
            let (mut rounds, mut values_seen) = (0u64, 0u64);
            while !writing.is_over() || rounds < 20 {
                let keys = keys();
                let copied = |value: Option<kvs::Value>| value.map(|value| value.to_vec());
                let values: Vec<_> = match (rounds + id) % 4 {
                    0 => {
                        let snapshot = db.snapshot().unwrap();
                        keys.iter().map(|key| snapshot.get_owned(key).unwrap()).collect()
                    }
                    1 => db.get_many(&keys).unwrap().into_iter().map(copied).collect(),
                    way => {
                        let pairs: Vec<_> = if way == 2 {
                            db.prefix("batch").unwrap().map(Result::unwrap).collect()
                        } else {
                            db.prefix("batch").unwrap().rev().map(Result::unwrap).collect()
                        };
                        assert!(pairs.is_empty() || pairs.len() == KEYS, "{} of {KEYS} keys", pairs.len());
                        if pairs.is_empty() {
                            vec![None; KEYS]
                        } else {
                            pairs.into_iter().map(|p| copied(Some(p.1))).collect()
                        }
                    }
                };
                all_equal(
                    ["snapshot", "get_many", "iterator", "iterator backwards"][((rounds + id) % 4) as usize],
                    &values,
                );
                values_seen += u64::from(values[0].is_some());
                rounds += 1;
            }
            assert!(values_seen > 0);
        }
    };
    let mut tasks: Vec<Task> = crew::tasks(2, writer).collect();
    tasks.extend(crew::tasks(4, reader));
    tasks.push(churn(&db, &writing, seed));
    drop(guard);
    crew::run(tasks);
}

#[test]
fn no_half_batch_is_seen_mapped() {
    run(common::seed(31), LogBackend::Mapped);
}

#[test]
fn no_half_batch_is_seen_positioned() {
    run(common::seed(32), LogBackend::Positioned);
}
