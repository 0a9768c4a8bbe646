//! A close beside running reads, writes, flushes and merges, from sixteen threads: every call says `Ok` or `Closed`, and none hangs.

use std::sync::mpsc;
use std::time::Duration;

use kvs::{Batch, Db, Durability, Error, ErrorKind, LogBackend};

use super::{scaled, tiny};
use crate::common::{self, Rng};
use crate::crew::{self, Task};

/// True when the store says that it is closed; any other error is one too many.
fn closed(result: Result<(), Error>) -> bool {
    match result {
        Ok(()) => false,
        Err(e) if e.kind() == ErrorKind::Closed => true,
        Err(e) => panic!("neither Ok nor Closed: {e:?}"),
    }
}

fn one_round(seed: u64, round: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let backend = if round.is_multiple_of(2) { LogBackend::Mapped } else { LogBackend::Positioned };
    let db = Db::open(&path, tiny(backend)).unwrap();
    let acknowledged = std::sync::Arc::new(parking_lot::Mutex::new(0u64));
    let task = |id: u64| {
        let (db, acknowledged) = (db.clone(), std::sync::Arc::clone(&acknowledged));
        move || {
            let mut rng = Rng::new(seed ^ round << 8 ^ id);
            for i in 0.. {
                let key = rng.below(100).to_be_bytes();
                // One writes in order, one closes, and the others do one of four things each.
                let role = if id < 6 { id } else { 1 + id % 4 };
                let result = match role {
                    0 => {
                        // In order, so that all of them must be there afterwards.
                        let result = db.put(format!("in order {i:08}"), vec![0; rng.below(200) as usize]);
                        if result.is_ok() {
                            *acknowledged.lock() = i + 1;
                        }
                        result
                    }
                    1 => db.write(Batch::new().put(key, "batch").delete("absent")),
                    2 => db.get(key).map(|_| ()).and_then(|()| db.get_many(&[key, key]).map(|_| ())),
                    3 => db.iter().and_then(|mut iter| {
                        while iter.move_next()? {
                            assert!(!iter.key().is_empty());
                        }
                        Ok(())
                    }),
                    4 if rng.one_in(10) => db.put_with(key, "synced", Durability::Sync),
                    4 => db.snapshot().and_then(|s| s.range(key..)?.next_back().transpose().map(|_| ())),
                    _ if i == round % 3 => db.close(),
                    _ if rng.one_in(4) => db.verify().map(|_| ()),
                    _ if rng.one_in(20) => db.flush(),
                    _ if rng.one_in(20) => db.compact::<&[u8]>(..),
                    _ => db.sync(),
                };
                if closed(result) {
                    return;
                }
            }
        }
    };
    crew::run(crew::tasks(16, task).collect::<Vec<Task>>());
    assert!(closed(db.put("a", "")) && !closed(db.close()));
    drop(db);
    let db = Db::open(&path, tiny(backend)).unwrap();
    let there = db.prefix("in order").unwrap().count() as u64;
    assert_eq!(there, *acknowledged.lock(), "what was acknowledged before the close");
    db.verify().unwrap();
}

#[test]
fn close_beside_everything() {
    let seed = common::seed(71);
    let (done, wait) = mpsc::channel();
    let rounds = std::thread::spawn(move || {
        for round in 0..scaled(200) {
            one_round(seed, round);
            done.send(round).unwrap();
        }
    });
    // Only a hang lasts so long; the loop ends when the sender is gone, by panic or not.
    let mut last = None;
    loop {
        match wait.recv_timeout(Duration::from_secs(120)) {
            Ok(round) => last = Some(round),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("a call hangs in the round after {last:?}"),
        }
    }
    rounds.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
