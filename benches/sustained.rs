//! The store at work for long: many puts in a row, reads beside them, what it costs on disk, and how fast it opens again.
//!
//! `make bench`, or `cargo bench --bench sustained`. `KVS_BENCH_PUTS` (10,000,000) and `KVS_BENCH_KEYS` (1,000,000) change the sizes;
//! `TMPDIR` says on which file system the store lies. Keys of 16 bytes, random; values of 100; default options. What is
//! compared was measured in the same run.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time and starts processes")]

mod keys;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kvs::{Db, Options};

use self::keys::{KEY_BYTES, key, random};

const VALUE_BYTES: usize = 100;
/// Set in the process that is killed: where its store lies.
const KILLED_CHILD: &str = "KVS_BENCH_KILLED_CHILD";

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn value(i: u64) -> [u8; VALUE_BYTES] {
    let mut value = [7; VALUE_BYTES];
    value[..8].copy_from_slice(&i.to_le_bytes());
    value
}

fn fill(db: &Db, keys: std::ops::Range<u64>) -> Duration {
    let start = Instant::now();
    keys.for_each(|i| db.put(key(i), value(i)).unwrap());
    start.elapsed()
}

/// Waits until the worker has nothing left to merge.
fn settle(db: &Db) {
    db.flush().unwrap();
    let mut still = 0;
    let mut seen = 0;
    while still < 50 {
        std::thread::sleep(Duration::from_millis(100));
        let steps = db.stats().merge_steps;
        still = if steps == seen { still + 1 } else { 0 };
        seen = steps;
    }
}

/// One puts until it is killed.
fn be_killed(path: &Path, puts: u64) {
    let db = Db::open(path, Options::default()).unwrap();
    fill(&db, puts..u64::MAX);
}

/// Seconds to open the store and to find a key in it.
fn open(path: &Path) -> f64 {
    let start = Instant::now();
    let db = Db::open(path, Options::default()).unwrap();
    assert!(db.contains(key(0)).unwrap());
    start.elapsed().as_secs_f64()
}

fn puts_in_a_row(path: &Path, puts: u64) {
    const PART: u64 = 1_000_000;
    let db = Db::open(path, Options::default()).unwrap();
    let mut parts = Vec::new();
    for from in (0..puts).step_by(PART as usize) {
        let to = (from + PART).min(puts);
        parts.push(fill(&db, from..to).as_nanos() as f64 / (to - from) as f64);
    }
    let list: Vec<String> = parts.iter().map(|ns| format!("{ns:.0}")).collect();
    println!("ns a put, by the million: {}", list.join(" "));
    let total: f64 = parts.iter().sum::<f64>() / parts.len() as f64;
    println!(
        "rate of the last million to that of the first: {:.2} (aim 0.50); average {total:.0} ns a put",
        parts[0] / parts[parts.len() - 1]
    );
    let stats = db.stats();
    println!(
        "{} flushes, {} steps of merges, {} runs; {} tables written over, {} MiB kept; writers waited {} times, {:.1} s",
        stats.flushes,
        stats.merge_steps,
        stats.runs,
        stats.tables_written_over,
        stats.old_table_bytes >> 20,
        stats.stalls,
        stats.stall_nanos as f64 / 1e9
    );
    settle(&db);
    let stats = db.stats();
    let raw = puts * (KEY_BYTES + VALUE_BYTES) as u64;
    println!("write amplification, settled: {:.2} (aim 6)", stats.write_amplification());
    println!("bytes of files for a byte of pairs, settled: {:.3} (aim 1.3)", stats.table_bytes as f64 / raw as f64);
    db.close().unwrap();
    drop(db);
    let clean: Vec<f64> = (0..5).map(|_| open(path) * 1e3).collect();
    println!("open after a clean close, to the first get: {:.1} ms (aim 50)", median(clean));
    let mut killed = Vec::new();
    for _ in 0..3 {
        let this = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(this).env(KILLED_CHILD, path).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        child.kill().unwrap();
        child.wait().unwrap();
        killed.push(open(path) * 1e3);
    }
    println!("open after a kill in the middle of puts, to the first get: {:.0} ms (aim 1000)", median(killed));
}

/// Gets of random keys below `keys`, for `time`: a second's gets, and the sorted latencies of every eighth in nanoseconds.
fn gets(db: &Db, keys: u64, time: Duration, seed: u64) -> (f64, Vec<u64>) {
    let mut buffer = Vec::with_capacity(VALUE_BYTES);
    let (mut count, mut latencies) = (0u64, Vec::new());
    let start = Instant::now();
    loop {
        let before = Instant::now();
        let found = db.get_into(key(random(seed, count) % keys), &mut buffer).unwrap();
        assert!(found);
        black_box(&buffer);
        if count.is_multiple_of(8) {
            latencies.push(before.elapsed().as_nanos() as u64);
        }
        count += 1;
        if count.is_multiple_of(256) && start.elapsed() >= time {
            break;
        }
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    (rate, latencies)
}

fn percentile(sorted: &[u64], percent: f64) -> u64 {
    sorted[((sorted.len() - 1) as f64 * percent / 100.0) as usize]
}

fn reads_beside_a_writer(path: &Path, keys: u64) {
    let db = Db::open(path, Options::default()).unwrap();
    fill(&db, 0..keys);
    settle(&db);
    let (alone, quiet) = gets(&db, keys, Duration::from_secs(3), 3);
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let (beside, busy, put_rate) = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Overwrites and new keys, without a pause.
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                let which = if i % 2 == 0 { random(4, i) % keys } else { keys + i };
                db.put(key(which), value(which)).unwrap();
                i += 1;
                written.store(i, Ordering::Relaxed);
            }
        });
        std::thread::sleep(Duration::from_secs(1));
        let (before, start) = (written.load(Ordering::Relaxed), Instant::now());
        let (rate, latencies) = gets(&db, keys, Duration::from_secs(8), 5);
        let puts = (written.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        (rate, latencies, puts)
    });
    println!(
        "gets beside a writer at full speed ({put_rate:.0} puts/s): {:.2} of their rate alone ({alone:.0}/s; aim 0.50)",
        beside / alone
    );
    let (median, tail) = (percentile(&busy, 50.0), percentile(&busy, 99.9));
    println!(
        "their latency: median {median} ns, 99.9% {tail} ns, ratio {:.1} (aim below 20); alone {} and {} ns",
        tail as f64 / median as f64,
        percentile(&quiet, 50.0),
        percentile(&quiet, 99.9)
    );
}

fn flushed_and_not(dir: &Path, keys: u64) {
    let in_the_log = Options { segment_bytes_max: 1 << 30, memtable_bytes_max: 1 << 30, ..Options::default() };
    let logs = Db::open(dir.join("logs"), in_the_log).unwrap();
    fill(&logs, 0..keys);
    let db = Db::open(dir.join("tables"), Options::default()).unwrap();
    fill(&db, 0..keys);
    settle(&db);
    assert_eq!((logs.stats().flushes, db.stats().segments), (0, 0));
    // In turns: the machine may change its pace.
    let ratio = |round: u64| {
        let time = Duration::from_secs(1);
        gets(&logs, keys, time, 6 + round).0 / gets(&db, keys, time, 6 + round).0
    };
    println!("get of flushed data to unflushed: {:.2} of the time (aim 1.2)", median((0..7).map(ratio).collect()));
    drop(logs);

    let map: BTreeMap<Vec<u8>, Vec<u8>> = (0..keys).map(|i| (key(i).to_vec(), value(i).to_vec())).collect();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let start = Instant::now();
        let mut iter = db.iter().unwrap();
        let (mut count, mut sum) = (0, 0);
        while iter.move_next().unwrap() {
            (count, sum) = (count + 1, sum ^ look(iter.key(), iter.value()));
        }
        ours.push(start.elapsed().as_nanos() as f64 / keys as f64);
        assert_eq!(count, keys);
        let start = Instant::now();
        let mut other = 0;
        map.iter().for_each(|(key, value)| other ^= look(key, value));
        theirs.push(start.elapsed().as_nanos() as f64 / keys as f64);
        assert_eq!(sum, other);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("full scan, settled: {ours:.0} ns a pair, BTreeMap {theirs:.0}: {:.2} (aim 1.2)", ours / theirs);
}

/// Looks at every byte of key and value, as a reader of data would.
fn look(key: &[u8], value: &[u8]) -> u64 {
    let sum = |bytes: &[u8]| {
        bytes.chunks_exact(8).fold(0u64, |s, c| s.wrapping_add(u64::from_le_bytes(c.try_into().unwrap())))
    };
    sum(key) ^ sum(value)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (puts, keys) = (env("KVS_BENCH_PUTS", 10_000_000), env("KVS_BENCH_KEYS", 1_000_000));
    if let Some(path) = std::env::var_os(KILLED_CHILD) {
        return be_killed(Path::new(&path), puts);
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("keys of {KEY_BYTES} B, random, values of {VALUE_BYTES} B, default options; load average {}", load.trim());
    let dir = tempfile::tempdir().unwrap();
    println!("{keys} keys:");
    flushed_and_not(dir.path(), keys);
    reads_beside_a_writer(&dir.path().join("beside"), keys);
    println!("{puts} puts in a row:");
    puts_in_a_row(&dir.path().join("row"), puts);
}
