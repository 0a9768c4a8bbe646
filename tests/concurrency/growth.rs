//! The index grows beside readers: no key that is there is ever missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvs::{Db, LogBackend, Options};

use super::{scaled, tiny};
use crate::common::{self, Rng};
use crate::crew::{self, Task};

fn run(seed: u64, options: Options, total: u64) -> Db {
    crew::warm_up();
    let db = Db::in_memory(options).unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let writer = {
        let (db, written) = (db.clone(), Arc::clone(&written));
        move || {
            for i in 0..total {
                db.put(i.to_le_bytes(), i.to_le_bytes()).unwrap();
                written.store(i + 1, Ordering::Release);
            }
        }
    };
    let reader = |id: u64| {
        let (db, written) = (db.clone(), Arc::clone(&written));
        move || {
            let mut rng = Rng::new(seed + id);
            let mut reads = 0;
            loop {
                let there = written.load(Ordering::Acquire);
                if there > 0 {
                    // Any of them, and the newest ones more often.
                    let i = if rng.one_in(2) { rng.below(there) } else { there - 1 - rng.below(there.min(64)) };
                    let found = db.get(i.to_le_bytes()).unwrap();
                    assert_eq!(found.as_deref(), Some(&i.to_le_bytes()[..]), "key {i} of {there} is missing");
                    reads += 1;
                }
                if there == total && reads > 1000 {
                    return;
                }
            }
        }
    };
    let mut tasks: Vec<Task> = vec![Box::new(writer)];
    tasks.extend(crew::tasks(3, reader));
    crew::run(tasks);
    db
}

#[test]
fn no_key_is_missed_while_the_index_grows() {
    let total = scaled(1_000_000);
    let db = run(common::seed(61), Options::default(), total);
    assert_eq!(db.stats().index_keys, total);
}

/// Nor while it gives up keys that are in tables, since it has no room for all of them.
#[test]
fn no_key_is_missed_while_slices_are_uncovered() {
    let total = scaled(100_000);
    let db = run(common::seed(62), tiny(LogBackend::Positioned), total);
    db.step_worker();
    let stats = db.stats();
    assert!(stats.covered_tables < stats.tables || total < 10_000, "{stats}");
    assert!(stats.index_keys < total || total < 10_000, "{stats}");
}
