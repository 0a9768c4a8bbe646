//! A get could return an earlier put of a batch that writes the same key twice: a state that never was.
//!
//! The records of a batch were installed in the index in their order, each before the batch was visible. A reader that found the first of
//! two, saw that it was not visible yet, and looked again for what is visible, took it if the batch had been published
//! meanwhile; by then the second one was the value.
//!
//! Found by the linearizability checker, which saw a value that no operation had left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvs::{Batch, Db, Options};

use crate::crew::{self, Task};

#[test]
fn only_the_last_write_to_a_key_is_ever_seen() {
    let db = Db::in_memory(Options::default()).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (db, over) = (db.clone(), Arc::clone(&over));
        move || {
            for i in 0..60_000u32 {
                let mut batch = Batch::new();
                batch.put("key", "earlier").put("other", i.to_le_bytes()).put("key", "last");
                db.write(&batch).unwrap();
            }
            over.store(true, Ordering::Release);
        }
    };
    let reader = |_| {
        let (db, over) = (db.clone(), Arc::clone(&over));
        move || {
            while !over.load(Ordering::Acquire) {
                let value = db.get_owned("key").unwrap();
                assert!(value.is_none() || value.as_deref() == Some(b"last"), "half of a batch: {value:?}");
            }
        }
    };
    let mut tasks: Vec<Task> = vec![Box::new(writer)];
    tasks.extend(crew::tasks(3, reader));
    crew::run(tasks);
}
