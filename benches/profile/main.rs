//! What is under the magnifier of `make profile`: one kind of work, for some seconds, in a store of a million keys.
//!
//! `run.sh` beside this file records it and draws the flame graphs. By hand: `cargo bench --bench profile -- scan`. Keys of 16 bytes, random; values of
//! 100; default options. `KVS_PROFILE_SECONDS` (6). What comes before, the fill and the merges, is not recorded: when all is ready, "enable" is
//! written to the pipe that `KVS_PROFILE_CONTROL` names, and perf, which reads it, begins.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

#[path = "../keys/mod.rs"]
mod keys;

use std::hint::black_box;
use std::time::{Duration, Instant};

use kvs::{Db, Options};

use self::keys::{key, random};

const KEYS: u64 = 1_000_000;
const VALUE: [u8; 100] = [7; 100];
/// Operations between two looks at the clock.
const SOME: u64 = 256;

/// Does `work`, which is told how often it was done before, again and again for `time`.
fn repeat(time: Duration, mut work: impl FnMut(u64)) {
    if let Some(control) = std::env::var_os("KVS_PROFILE_CONTROL") {
        std::fs::write(control, "enable\n").unwrap();
    }
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < time {
        (done..done + SOME).for_each(&mut work);
        done += SOME;
    }
    println!("{done} times, {:.0} ns each", start.elapsed().as_nanos() as f64 / done as f64);
}

fn main() {
    let name = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let seconds = std::env::var("KVS_PROFILE_SECONDS").ok().and_then(|v| v.parse().ok()).unwrap_or(6);
    let time = Duration::from_secs(seconds);
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path().join("store"), Options::default()).unwrap();
    let fill = || (0..KEYS).for_each(|i| db.put(key(i), VALUE).unwrap());
    match &*name {
        // New keys at full speed, so that the worker flushes, and merges from the third million on.
        "put" => repeat(time, |i| db.put(key(i), VALUE).unwrap()),
        // The same keys over and over: what is merged is mostly dropped.
        "merge" => {
            fill();
            repeat(time, |i| db.put(key(random(3, i) % KEYS), VALUE).unwrap());
        }
        "get" => {
            fill();
            db.compact::<&[u8]>(..).unwrap();
            let mut buffer = Vec::with_capacity(VALUE.len());
            repeat(time, |i| {
                assert!(db.get_into(key(random(3, i) % KEYS), &mut buffer).unwrap());
                black_box(&buffer);
            });
        }
        "scan" => {
            fill();
            db.compact::<&[u8]>(..).unwrap();
            let mut iter = db.iter().unwrap();
            repeat(time, |_| {
                if iter.move_next().unwrap() {
                    black_box((iter.key(), iter.value()));
                } else {
                    assert!(iter.seek_to_first().unwrap());
                }
            });
        }
        // As `cargo bench` without a word.
        "" => println!("one of put, get, scan, merge; see benches/profile/run.sh"),
        other => panic!("no profile of {other}: one of put, get, scan, merge"),
    }
}
