//! A caller of `compact` waited for as long as others wrote at full speed, up to twenty seconds for a few megabytes.
//!
//! Two reasons. Within a step a merge looks every few hundred records whether a flush is due, and beside such writers one always is; the
//! merge got on by those few hundred records a flush until merges were so far behind that they went first. And the piece of other work
//! between two flushes, which is there so that nothing starves, was mostly spent on freeing what the last flush had retired.
//!
//! And a third one, found later, by 110 flushes where 100 are allowed: before the merge that was asked for comes the step of the one that the
//! worker was at, for which nobody had asked; so it got on by those few hundred records a flush. It is waited for, too.
//!
//! Now three times as much is merged as was flushed, while somebody waits; and to free is no piece of work. Found by a test of closing that took minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvs::{Db, Options};

use crate::crew::{self, Task};

/// Flushes are counted, not time.
#[test]
fn writers_at_full_speed_do_not_hold_up_compact() {
    let options = Options {
        segment_bytes_min: 64 << 10,
        segment_bytes_max: 256 << 10,
        memtable_bytes_max: 1 << 20,
        // Merges are never behind.
        runs_max: 100,
        space_percent: 1000,
        ..Options::default()
    };
    let db = Db::in_memory(options).unwrap();
    // Some 8 MiB, so 800 times as many records as a merge reads between two looks at what is more urgent.
    for i in 0..400_000u32 {
        db.put(i.to_be_bytes(), b"").unwrap();
    }
    db.flush().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let writer = |id: u64| {
        let (db, over) = (db.clone(), Arc::clone(&over));
        move || {
            while !over.load(Ordering::Acquire) {
                db.put(id.to_be_bytes(), [0; 2000]).unwrap();
            }
        }
    };
    let compact = {
        let (db, over) = (db.clone(), Arc::clone(&over));
        move || {
            let before = db.stats().flushes;
            let compacted = db.compact::<&[u8]>(..);
            let flushes = db.stats().flushes - before;
            over.store(true, Ordering::Release);
            compacted.unwrap();
            println!("{flushes} flushes while one merged");
            assert!(flushes < 100, "{flushes} flushes while one merged");
        }
    };
    let mut tasks: Vec<Task> = vec![Box::new(compact)];
    tasks.extend(crew::tasks(3, writer));
    crew::run(tasks);
}
