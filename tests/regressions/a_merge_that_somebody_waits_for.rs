//! A caller of `compact` waited for as long as others wrote at full speed, up to twenty seconds for a few megabytes.
//!
//! Two reasons. Within a step a merge looks every few hundred records whether a flush is due, and beside such writers one always is; the
//! merge got on by those few hundred records a flush until merges were so far behind that they went first. And the piece of other work
//! between two flushes, which is there so that nothing starves, was mostly spent on freeing what the last flush had retired.
//!
//! Now three times as much is merged as was flushed, while somebody waits; and to free is no piece of work. Found by a test of closing that took minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvs::{Db, LogHook, Options};
use parking_lot::Mutex;

use crate::crew::{self, Task};

/// Flushes are counted, not time: those between the beginning and the end of the merge, as the store's own log has them. The caller of
/// `compact` would count those before it ran again, too: on a busy machine a hundred, now and then.
#[test]
fn writers_at_full_speed_do_not_hold_up_compact() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = {
        let told = Arc::clone(&told);
        LogHook::new(move |_, event| told.lock().push(event.to_owned()))
    };
    let options = Options {
        segment_bytes_min: 64 << 10,
        segment_bytes_max: 256 << 10,
        memtable_bytes_max: 1 << 20,
        // Merges are never behind.
        runs_max: 100,
        space_percent: 1000,
        log: Some(log),
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
            let compacted = db.compact::<&[u8]>(..);
            over.store(true, Ordering::Release);
            compacted.unwrap();
        }
    };
    let mut tasks: Vec<Task> = vec![Box::new(compact)];
    tasks.extend(crew::tasks(3, writer));
    crew::run(tasks);
    db.close().unwrap();
    let told = told.lock();
    assert!(!told.iter().any(|event| event.contains("lost")), "some 800 flushes are more than a log holds: {told:#?}");
    let begin = told.iter().position(|event| event.contains("as somebody asked")).expect("a merge has begun");
    let end = begin + told[begin..].iter().position(|event| event.starts_with("merged")).expect("it has ended");
    let flushes = told[begin..end].iter().filter(|event| event.starts_with("flushed")).count();
    println!("{flushes} flushes while one merged");
    assert!(flushes < 100, "{flushes} flushes while one merged");
}
