//! What a second thread adds: gets, scans and puts on one thread and on two, in turns.
//!
//! `make bench`, or `cargo bench --bench threads`. `KVS_BENCH_KEYS` (1,000,000) changes the size. Keys of 16 bytes, random; values of 100; default options
//! but for the puts', which have room for all that is put: what is asked is whether writers get in each other's way, not how fast the worker is.
//! A word after `--` chooses the rows with it in their names. `docs/threads.md` says what the figures mean.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time and starts threads")]

mod keys;

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kvs::{Db, Options};

use self::keys::{key, random};

const VALUE: [u8; 100] = [7; 100];
const ROUNDS: usize = 9;
/// Puts of a turn, how many turns a store serves, and what is there before: together less than half a segment of 1 GiB.
const PUTS: u64 = 200_000;
const PUT_TURNS: u64 = 12;
const EARLIER: u64 = 1_000_000;
const PUT_ROUNDS: usize = 30;
const TIME: Duration = Duration::from_millis(1000);

/// Operations a second of `threads` threads together, for [`TIME`] or as long as there is work: `work` does some, told which thread it is and how
/// many it has done, and says how many.
fn rate(threads: u64, work: impl Fn(u64, u64) -> u64 + Sync) -> f64 {
    let barrier = Barrier::new(threads as usize);
    let rates = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let mut done = 0;
                    while start.elapsed() < TIME {
                        let did = work(thread, done);
                        if did == 0 {
                            break;
                        }
                        done += did;
                    }
                    done as f64 / start.elapsed().as_secs_f64()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<f64>>()
    });
    rates.iter().sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One line: on one thread, on two, and the median of the ratios of each turn.
fn row(name: &str, aim: &str, rounds: usize, mut measure: impl FnMut(u64) -> f64) {
    if !std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).all(|arg| name.contains(&arg)) {
        return;
    }
    let turns: Vec<(f64, f64)> = (0..rounds).map(|_| (measure(1), measure(2))).collect();
    let ratio = median(turns.iter().map(|(one, two)| two / one).collect());
    let [one, two] = [0, 1].map(|i| median(turns.iter().map(|turn| [turn.0, turn.1][i]).collect()));
    println!("{name:<44} {:>9.0} k/s {:>9.0} k/s {ratio:>8.2} {aim:>6}", one / 1e3, two / 1e3);
}

fn main() {
    let keys = std::env::var("KVS_BENCH_KEYS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000_000u64);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{keys} keys of 16 B, values of 100 B, {ROUNDS} turns ({PUT_ROUNDS} of puts); load average {}",
        load.trim()
    );
    println!("{:<44} {:>13} {:>13} {:>8} {:>6}", "", "one thread", "two together", "ratio", "aim");
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path().join("reads"), Options::default()).unwrap();
    (0..keys).for_each(|i| db.put(key(i), VALUE).unwrap());
    db.compact::<&[u8]>(..).unwrap();

    const SOME: u64 = 256;
    row("get into a buffer", "1.9", ROUNDS, |threads| {
        rate(threads, |thread, done| {
            let mut buffer = Vec::with_capacity(VALUE.len());
            for i in done..done + SOME {
                assert!(db.get_into(key(random(3 + thread, i) % keys), &mut buffer).unwrap());
                black_box(&buffer);
            }
            SOME
        })
    });
    row("get, pinned", "", ROUNDS, |threads| {
        rate(threads, |thread, done| {
            for i in done..done + SOME {
                black_box(db.get(key(random(3 + thread, i) % keys)).unwrap().unwrap());
            }
            SOME
        })
    });
    row("get, pinned, of few keys", "", ROUNDS, |threads| {
        rate(threads, |thread, done| {
            for i in done..done + SOME {
                black_box(db.get(key(random(3 + thread, i) % 64)).unwrap().unwrap());
            }
            SOME
        })
    });
    row("a scan, entries", "", ROUNDS, |threads| {
        rate(threads, |_, _| {
            let mut iter = db.iter().unwrap();
            let mut count = 0;
            while iter.move_next().unwrap() {
                count += u64::from(!black_box(iter.value()).is_empty());
            }
            count
        })
    });
    row("an iterator, its seek and 10 entries", "", ROUNDS, |threads| {
        rate(threads, |thread, done| {
            for i in done..done + SOME {
                let mut iter = db.iter().unwrap();
                iter.seek(key(random(3 + thread, i) % keys)).unwrap();
                for _ in 0..10 {
                    black_box(iter.move_next().unwrap());
                }
            }
            SOME
        })
    });
    // The worker rests: a store has one segment, made before the time starts, and is left before half of it is full and the next one is asked for.
    let roomy = Options {
        segment_bytes_min: 1 << 30,
        segment_bytes_max: 1 << 30,
        memtable_bytes_max: 2 << 30,
        memory_bytes_max: 4 << 30,
        ..Options::default()
    };
    for (name, of) in [("put, new keys", u64::MAX), ("put, over earlier ones", EARLIER)] {
        let (mut store, mut turn) = (None, 0);
        row(name, "1.0", PUT_ROUNDS, |threads| {
            if turn % PUT_TURNS == 0 {
                store = None;
                let dir = tempfile::tempdir().unwrap();
                let db = Db::open(dir.path().join("puts"), roomy.clone()).unwrap();
                (0..EARLIER).for_each(|i| db.put(key(i), VALUE).unwrap());
                store = Some((db, dir));
            }
            let (db, _) = store.as_ref().unwrap();
            turn += 1;
            let left = AtomicU64::new(PUTS / SOME);
            let rate = rate(threads, |thread, done| {
                let take = |left: u64| left.checked_sub(1);
                let some = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_or(0, |_| SOME);
                (done..done + some).for_each(|i| db.put(key(random(2 * turn + thread, i) % of), VALUE).unwrap());
                some
            });
            let stats = db.stats();
            assert!(stats.flushes == 0 && stats.rotations <= 1, "the segment was too small: {stats:?}");
            rate
        });
    }
}
