//! The store against `BTreeMap<Vec<u8>, Vec<u8>>` in memory doing the same: one thread, shuffled keys of 16 bytes, values of
//! 100, default durability (every put survives `kill -9`). Figures are ratios within one run, medians of paired rounds.
//!
//! `make bench`, or `cargo bench --bench memory_map`. `KVS_BENCH_KEYS` (500,000) and `KVS_BENCH_ROUNDS` (5) change the size;
//! `TMPDIR` says on which file system the store lies.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time and looks at the process from outside")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use kvs::{Db, Options};

const VALUE_BYTES: usize = 100;
const LOG_BYTES_TO_RECOVER: u64 = 64 << 20;

fn env(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
    }
}

/// What one round measured, in nanoseconds an operation.
#[derive(Default)]
struct Round {
    map: [f64; 4],
    kvs: [f64; 6],
}

fn time(n: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / n as f64
}

/// Anonymous memory a key after the fill, after a scan, and when the worker has come to rest, in bytes, measured in a process that does
/// nothing else: another's freed memory would be reused and not be seen.
fn memory_in_a_fresh_process(n: usize) -> [f64; 3] {
    let this = std::env::current_exe().unwrap();
    let output = std::process::Command::new(this).env(MEMORY_CHILD, n.to_string()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
    std::array::from_fn(|_| numbers.next().unwrap())
}

/// Set in the process that measures memory: the number of keys.
const MEMORY_CHILD: &str = "KVS_BENCH_MEMORY_CHILD";

fn measure_memory(n: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(1);
    let before = anonymous_bytes();
    let per_key = || anonymous_bytes().saturating_sub(before) as f64 / n as f64;
    let db = Db::open(dir.path().join("db"), Options::default()).unwrap();
    for _ in 0..n {
        let key = [rng.next().to_be_bytes(), rng.next().to_be_bytes()].concat();
        db.put(key, [7; VALUE_BYTES]).unwrap();
    }
    let filled = per_key();
    let mut iter = db.iter().unwrap();
    while iter.move_next().unwrap() {}
    drop(iter);
    let scanned = per_key();
    // The store is at rest after 2 s, and what it merges then is little.
    std::thread::sleep(std::time::Duration::from_secs(5));
    println!("{filled} {scanned} {}", per_key());
}

fn anonymous_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|l| l.strip_prefix("Anonymous:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")).and_then(|kb| kb.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Looks at every byte of key and value, as a reader of data would.
fn look(key: &[u8], value: &[u8]) -> u64 {
    let sum = |bytes: &[u8]| {
        bytes.chunks_exact(8).fold(0u64, |s, c| s.wrapping_add(u64::from_le_bytes(c.try_into().unwrap())))
    };
    sum(key) ^ sum(value)
}

fn round(number: usize, n: usize) -> Round {
    let mut rng = Rng(number as u64);
    // Random keys: no prefix in common, no order in memory.
    let keys: Vec<[u8; 16]> = (0..n)
        .map(|_| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&rng.next().to_be_bytes());
            key[8..].copy_from_slice(&rng.next().to_be_bytes());
            key
        })
        .collect();
    let mut asked = keys.clone();
    rng.shuffle(&mut asked);
    let mut missing = asked.clone();
    missing.iter_mut().for_each(|key| key[15] ^= 1);
    let value = [7u8; VALUE_BYTES];
    let mut result = Round::default();

    {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("db"), Options::default()).unwrap();
        let mut value = value;
        result.kvs[0] = time(n, || {
            for (i, key) in keys.iter().enumerate() {
                value[..8].copy_from_slice(&(i as u64).to_le_bytes());
                db.put(key, value).unwrap();
            }
        });
        let scan = || {
            let mut iter = db.iter().unwrap();
            let (mut count, mut sum) = (0, 0);
            while iter.move_next().unwrap() {
                count += 1;
                sum ^= look(iter.key(), iter.value());
            }
            assert_eq!(count, n);
            black_box(sum);
        };
        result.kvs[1] = time(n, scan);
        result.kvs[2] = time(n, scan);
        let mut buffer = Vec::with_capacity(VALUE_BYTES);
        result.kvs[3] = time(n, || {
            for key in &asked {
                assert!(db.get_into(key, &mut buffer).unwrap());
                black_box(&buffer);
            }
        });
        result.kvs[4] = time(n, || missing.iter().for_each(|key| assert!(!db.contains(key).unwrap())));
        result.kvs[5] = time(n, || {
            for key in &asked {
                black_box(look(key, &db.get(key).unwrap().unwrap()));
            }
        });
    }
    {
        let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut value = value;
        result.map[0] = time(n, || {
            for (i, key) in keys.iter().enumerate() {
                value[..8].copy_from_slice(&(i as u64).to_le_bytes());
                map.insert(key.to_vec(), value.to_vec());
            }
        });
        result.map[1] = time(n, || {
            let mut sum = 0;
            for (key, value) in &map {
                sum ^= look(key, value);
            }
            black_box(sum);
        });
        let mut buffer = Vec::with_capacity(VALUE_BYTES);
        result.map[2] = time(n, || {
            for key in &asked {
                buffer.clear();
                buffer.extend_from_slice(map.get(key.as_slice()).unwrap());
                black_box(&buffer);
            }
        });
        result.map[3] = time(n, || missing.iter().for_each(|key| assert!(!map.contains_key(key.as_slice()))));
    }
    result
}

/// Milliseconds to open a store of which 64 MiB of log must be replayed, to the first get.
fn recovery() -> f64 {
    let all_in_the_log = Options { segment_bytes_max: 128 << 20, memtable_bytes_max: 1 << 30, ..Options::default() };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, all_in_the_log).unwrap();
    let mut rng = Rng(1);
    let value = [7u8; VALUE_BYTES];
    let mut last = [0; 16];
    while db.stats().log_bytes < LOG_BYTES_TO_RECOVER {
        for _ in 0..1000 {
            last[..8].copy_from_slice(&rng.next().to_be_bytes());
            db.put(last, value).unwrap();
        }
    }
    // A close would put the log into tables; so copy the files as a kill leaves them.
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    drop(db);
    let start = Instant::now();
    let db = Db::open(&copy, Options::default()).unwrap();
    assert!(db.contains(last).unwrap());
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    if let Some(n) = std::env::var(MEMORY_CHILD).ok().and_then(|n| n.parse().ok()) {
        return measure_memory(n);
    }
    let (n, rounds) = (env("KVS_BENCH_KEYS", 500_000), env("KVS_BENCH_ROUNDS", 5));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{n} keys of 16 B, values of {VALUE_BYTES} B, {rounds} paired rounds, one thread; load average {}",
        load.trim()
    );
    let rounds: Vec<Round> = (0..rounds).map(|number| round(number, n)).collect();
    let rows = [
        ("put, durable against kill -9", 0, 0, 0.8),
        ("get into a buffer", 3, 2, 0.7),
        ("get pinned", 5, 2, 0.7),
        ("get of a missing key", 4, 3, 0.4),
        ("full scan", 2, 1, 1.5),
    ];
    println!("{:<32} {:>10} {:>12} {:>8} {:>8}", "", "kvs ns", "BTreeMap ns", "ratio", "aim");
    for (name, ours, theirs, aim) in rows {
        let of = |f: &dyn Fn(&Round) -> f64| median(rounds.iter().map(f).collect());
        println!(
            "{name:<32} {:>10.0} {:>12.0} {:>8.2} {aim:>8.2}",
            of(&|r| r.kvs[ours]),
            of(&|r| r.map[theirs]),
            of(&|r| r.kvs[ours] / r.map[theirs]),
        );
    }
    let first = median(rounds.iter().map(|r| r.kvs[1] / r.kvs[0]).collect());
    let of = |f: &dyn Fn(&Round) -> f64| median(rounds.iter().map(f).collect());
    println!(
        "{:<32} {:>10.0} {:>12} {first:>8.2} {:>8.2}",
        "first scan (ratio to the fill)",
        of(&|r| r.kvs[1]),
        "",
        0.3
    );
    let [filled, scanned, at_rest] = memory_in_a_fresh_process(n);
    println!(
        "anonymous memory a key: {filled:.1} B after the fill, {scanned:.1} B after a scan, {at_rest:.1} B at rest (aim 24)"
    );
    println!("recovery of 64 MiB of log: {:.0} ms (aim 200)", median((0..5).map(|_| recovery()).collect()));
}
