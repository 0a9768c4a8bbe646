//! Order on demand against orders that are kept.
//!
//! All hold the same pairs: 16 random bytes and 100 bytes of value, put in the same order. What differs is when order is made:
//!
//! * kvs appends to its log and sorts when a scan asks (`src/memtable`). Its puts also hash, checksum and set the point index, and survive `kill -9`.
//! * A skiplist or a B-tree finds each key's place as it is put. That is the whole of their put: no log, no checksum. Keys stand inline; of values
//!   both ways are shown, inline and in a box.
//! * "kvs's put, and ..." does both: what a store would pay that does all the rest of what kvs does and keeps an order besides.
//!
//! Rows are the four ways to scan that matter here: never, everything now and then, a little now and then, a little after every put. A scan looks at
//! every byte of keys and values. The clock is read around each put or stretch of puts and around each scan, and what those readings cost is
//! taken off.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use crossbeam_skiplist::SkipMap;
use kvs::Db;
use kvs_versus::Result;
use kvs_versus::random::mix;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::report::{Metrics, Rounds, Scratch, Spec, asked_for, tell_where, version};

/// What `order` is asked.
#[derive(Args)]
pub struct Options {
    /// Puts. Up to some 590,000 stay within kvs's default memtables.
    #[arg(long, default_value_t = 500_000)]
    keys: u64,
    /// Rounds; each measures every contender once in every way.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Ways to scan; all if none.
    #[arg(long, value_delimiter = ',')]
    scans: Vec<Scans>,
    /// Contenders with this in their names; may be given again for more. The first contender is always measured.
    #[arg(long)]
    only: Vec<String>,
}

/// When and how much is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Scans {
    /// Puts only; at the end one full scan, and another one.
    None,
    /// Everything, after every 10,000 puts.
    Full,
    /// Seek and 100 entries, after every 10,000 puts.
    Seldom,
    /// Seek and 10 entries, after every put.
    Always,
}

impl Scans {
    fn every(self) -> u64 {
        match self {
            Scans::None => u64::MAX,
            Scans::Full | Scans::Seldom => 10_000,
            Scans::Always => 1,
        }
    }

    fn limit(self) -> u64 {
        match self {
            Scans::None | Scans::Full => u64::MAX,
            Scans::Seldom => 100,
            Scans::Always => 10,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Scans::None => "No scans; at the end two full ones (nanoseconds an entry)",
            Scans::Full => "A full scan after every 10,000 puts (nanoseconds an entry)",
            Scans::Seldom => "Seek and 100 entries after every 10,000 puts (nanoseconds a scan)",
            Scans::Always => "Seek and 10 entries after every put (nanoseconds a scan)",
        }
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Scans::None => &["put", "first scan", "second scan", "puts and one scan, ms"],
            _ => &["put", "scan", "all of it, ms"],
        }
    }
}

/// One contender, one way, in one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    contender: String,
    keys: u64,
    scans: Scans,
}

type Run = fn(&Cell, &Scratch) -> Result<Metrics>;

/// The first is what the others are compared with.
const CONTENDERS: &[(&str, Run)] = &[
    ("kvs in memory", |cell, _| run_with(cell, Db::in_memory(kvs::Options::default())?)),
    ("kvs on disk", |cell, scratch| run_with(cell, Db::open(scratch.path("db"), kvs::Options::default())?)),
    ("kvs in memory, one memtable", |cell, _| run_with(cell, Db::in_memory(one_memtable(cell.keys))?)),
    ("crossbeam-skiplist", |cell, _| run_with(cell, SkipMap::<Key, Inline>::new())),
    ("crossbeam-skiplist, boxed values", |cell, _| run_with(cell, SkipMap::<Key, Boxed>::new())),
    ("kvs's put, and a skiplist", |cell, _| {
        run_with(cell, Beside(Db::in_memory(kvs::Options::default())?, SkipMap::<Key, Inline>::new()))
    }),
    ("BTreeMap, RwLock", |cell, _| run_with(cell, RwLock::new(BTreeMap::<Key, Inline>::new()))),
    ("BTreeMap, RwLock, boxed values", |cell, _| run_with(cell, RwLock::new(BTreeMap::<Key, Boxed>::new()))),
    ("kvs's put, and a BTreeMap", |cell, _| {
        run_with(cell, Beside(Db::in_memory(kvs::Options::default())?, RwLock::new(BTreeMap::<Key, Boxed>::new())))
    }),
];

/// Nothing is flushed, and all records are of one segment.
fn one_memtable(keys: u64) -> kvs::Options {
    // A pair of 116 bytes takes 168 in the log: frame, what it replaces, record.
    let bytes = (keys * 168).next_multiple_of(1 << 20) + (1 << 20);
    kvs::Options {
        segment_bytes_min: bytes,
        segment_bytes_max: bytes,
        memtable_bytes_max: 3 * bytes,
        memory_bytes_max: 4 * bytes + (1 << 30),
        ..Default::default()
    }
}

/// All rounds, and a table for each way to scan.
pub fn run(options: &Options) -> Result<()> {
    let contenders: Vec<_> = asked_for(CONTENDERS, |(name, _)| name, &options.only);
    tell_where(&format!(
        "{} puts of 16 B keys and 100 B values, one thread; crossbeam-skiplist {}, parking_lot 0.13; nanoseconds a put; medians of {} rounds, in brackets \
         the ratio to the first row.",
        options.keys,
        version("crossbeam-skiplist"),
        options.rounds
    ));
    let ways = if options.scans.is_empty() { Scans::value_variants() } else { &options.scans };
    for &scans in ways {
        let names = contenders.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut rounds = Rounds::new(names, scans.columns());
        for round in 0..options.rounds {
            for (contender, (name, _)) in contenders.iter().enumerate() {
                eprintln!("{scans:?}, round {round}: {name}");
                let cell = Cell { contender: (*name).to_owned(), keys: options.keys, scans };
                rounds.add_all(contender, &Spec::Order(cell).measure()?);
            }
        }
        println!("{}:\n", scans.title());
        rounds.print("", Some(0));
    }
    Ok(())
}

/// In the process of a cell.
pub fn measure(cell: &Cell) -> Result<Metrics> {
    let (_, run) = CONTENDERS.iter().find(|(name, _)| *name == cell.contender).ok_or("no such contender")?;
    run(cell, &Scratch::new(None)?)
}

type Key = [u8; 16];
type Inline = [u8; 100];
type Boxed = Box<[u8; 100]>;

fn key(i: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(i).to_be_bytes());
    key[8..].copy_from_slice(&mix(!i).to_be_bytes());
    key
}

fn value(i: u64) -> Inline {
    let mut value = [7; 100];
    value[..8].copy_from_slice(&i.to_le_bytes());
    value
}

/// What a scan saw.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Seen {
    entries: u64,
    sum: u64,
}

impl Seen {
    /// Looks at every byte, as a reader of data would.
    #[inline]
    fn see(&mut self, key: &[u8], value: &[u8]) {
        let words = |bytes: &[u8]| {
            let words = bytes.chunks_exact(8);
            let rest = words.remainder().iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
            words.fold(rest, |sum, word| sum.wrapping_add(u64::from_le_bytes(word.try_into().unwrap_or_default())))
        };
        self.entries += 1;
        self.sum = self.sum.wrapping_add(words(key) ^ words(value).rotate_left(1));
    }
}

/// Pairs in order.
trait Ordered {
    fn put(&self, key: &Key, value: &Inline) -> Result<()>;
    /// From `from` on, or from the first key on, at most `limit` entries.
    fn scan(&self, from: Option<&Key>, limit: u64) -> Result<Seen>;
}

impl Ordered for Db {
    #[inline]
    fn put(&self, key: &Key, value: &Inline) -> Result<()> {
        Ok(Db::put(self, key, value)?)
    }

    fn scan(&self, from: Option<&Key>, limit: u64) -> Result<Seen> {
        let mut seen = Seen::default();
        let mut iter = self.iter()?;
        let mut on = match from {
            Some(from) => iter.seek(from)?,
            None => iter.seek_to_first()?,
        };
        while on && seen.entries < limit {
            seen.see(iter.key(), iter.value());
            on = seen.entries < limit && iter.move_next()?;
        }
        Ok(seen)
    }
}

/// A value, however it is held.
trait Value: Send + 'static {
    fn of(value: &Inline) -> Self;
    fn bytes(&self) -> &[u8];
}

impl Value for Inline {
    fn of(value: &Inline) -> Inline {
        *value
    }

    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Value for Boxed {
    fn of(value: &Inline) -> Boxed {
        Box::new(*value)
    }

    fn bytes(&self) -> &[u8] {
        &**self
    }
}

fn bounds(from: Option<&Key>) -> (Bound<Key>, Bound<Key>) {
    (from.map_or(Bound::Unbounded, |&from| Bound::Included(from)), Bound::Unbounded)
}

impl<V: Value> Ordered for SkipMap<Key, V> {
    #[inline]
    fn put(&self, key: &Key, value: &Inline) -> Result<()> {
        self.insert(*key, V::of(value));
        Ok(())
    }

    fn scan(&self, from: Option<&Key>, limit: u64) -> Result<Seen> {
        let mut seen = Seen::default();
        for entry in self.range(bounds(from)) {
            seen.see(entry.key(), entry.value().bytes());
            if seen.entries == limit {
                break;
            }
        }
        Ok(seen)
    }
}

impl<V: Value> Ordered for RwLock<BTreeMap<Key, V>> {
    #[inline]
    fn put(&self, key: &Key, value: &Inline) -> Result<()> {
        self.write().insert(*key, V::of(value));
        Ok(())
    }

    fn scan(&self, from: Option<&Key>, limit: u64) -> Result<Seen> {
        let mut seen = Seen::default();
        for (key, value) in self.read().range(bounds(from)) {
            seen.see(key, value.bytes());
            if seen.entries == limit {
                break;
            }
        }
        Ok(seen)
    }
}

/// A store that keeps an order beside its log: puts go to both, scans to the order. This is what a store would pay that does all that kvs does at a put, and
/// does not make order on demand.
struct Beside<O>(Db, O);

impl<O: Ordered> Ordered for Beside<O> {
    #[inline]
    fn put(&self, key: &Key, value: &Inline) -> Result<()> {
        Ordered::put(&self.0, key, value)?;
        self.1.put(key, value)
    }

    fn scan(&self, from: Option<&Key>, limit: u64) -> Result<Seen> {
        self.1.scan(from, limit)
    }
}

/// What a pair of clock readings costs.
fn clock() -> Duration {
    const PAIRS: u32 = 200_000;
    let start = Instant::now();
    let sum: Duration = (0..PAIRS).map(|_| std::hint::black_box(Instant::now()).elapsed()).sum();
    std::hint::black_box(sum);
    start.elapsed() / PAIRS
}

fn run_with<S: Ordered>(cell: &Cell, store: S) -> Result<Metrics> {
    let Cell { keys, scans, .. } = *cell;
    let clock = clock();
    let (mut putting, mut scanning) = (Duration::ZERO, Duration::ZERO);
    let (mut scans_made, mut entries) = (0u64, 0u64);
    // The first one makes what the others find: kvs's first segment. The key is put again below.
    store.put(&key(0), &value(0))?;
    let mut i = 0;
    while i < keys {
        let stretch = scans.every().min(keys - i);
        let start = Instant::now();
        for i in i..i + stretch {
            store.put(&key(i), &value(i))?;
        }
        putting += start.elapsed().saturating_sub(clock / 2);
        i += stretch;
        if scans == Scans::None {
            break;
        }
        // Somewhere: no key that was put.
        let from = key(u64::MAX / 2 + i);
        let start = Instant::now();
        let seen = store.scan((scans != Scans::Full).then_some(&from), scans.limit())?;
        scanning += start.elapsed().saturating_sub(clock / 2);
        if scans == Scans::Full && seen.entries != i {
            return Err(format!("a scan saw {} entries of {i}", seen.entries).into());
        }
        scans_made += 1;
        entries += seen.entries;
    }
    let full = || {
        let start = Instant::now();
        let seen = store.scan(None, u64::MAX)?;
        Ok::<_, kvs_versus::Error>((start.elapsed(), seen))
    };
    let (first, seen) = full()?;
    let (second, again) = full()?;
    let mut expected = Seen::default();
    (0..keys).for_each(|i| expected.see(&key(i), &value(i)));
    if seen != expected || again != expected {
        return Err(format!("a scan saw {seen:?} and {again:?} where {expected:?} is right").into());
    }
    let nanos = |time: Duration, count: u64| time.as_nanos() as f64 / count.max(1) as f64;
    let mut metrics = Metrics::new();
    metrics.insert("put".to_owned(), nanos(putting, keys));
    match scans {
        Scans::None => {
            metrics.insert("first scan".to_owned(), nanos(first, keys));
            metrics.insert("second scan".to_owned(), nanos(second, keys));
            metrics.insert("puts and one scan, ms".to_owned(), (putting + first).as_secs_f64() * 1e3);
        }
        Scans::Full => {
            metrics.insert("scan".to_owned(), nanos(scanning, entries));
        }
        Scans::Seldom | Scans::Always => {
            metrics.insert("scan".to_owned(), nanos(scanning, scans_made));
        }
    }
    metrics.insert("all of it, ms".to_owned(), (putting + scanning).as_secs_f64() * 1e3);
    Ok(metrics)
}
