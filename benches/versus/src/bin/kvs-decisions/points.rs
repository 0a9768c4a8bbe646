//! The point index alone, against maps that could stand in its place: what leads from a key to the place of its newest record.
//!
//! Around the map everything is as in the engine: records of 144 bytes lie in memory in the order in which they were put, keys are 16 random bytes,
//! and a get ends at the record, whose tag is looked at. Contenders are of two kinds:
//!
//! * *hash*: the map holds the 64-bit hash of the key and the address, no key; whoever finds something compares the key in the record. This is what the
//!   engine's index does. (A map from hashes can hold one of two keys with the same hash only: as a peer here that is forgiven.)
//! * *key*: the map holds the key itself, inline, as users of such a map do who have no record to compare with.
//!
//! Nobody is told beforehand how many keys will come. Hashes are XXH3-64 with a seed, as in the engine; maps of keys use foldhash, the fastest that
//! we know. What is freed later is freed in the row that causes it: the index's outgrown tables too, which in the engine is the worker's task.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use dashmap::DashMap;
use hashbrown::{HashMap, HashTable};
use kvs_versus::Result;
use kvs_versus::measure::Resident;
use kvs_versus::random::{Rng, mix};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::index::{Address, Index};
use crate::report::{Metrics, Rounds, Spec, asked_for, tell_where, version};
use crate::sync::epoch;

/// What `index` is asked.
#[derive(Args)]
pub struct Options {
    /// How many keys: tables for each. Ten million take ten times as long, and `lockfree::map` some 8 GB.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000])]
    keys: Vec<u64>,
    /// Rounds; each measures every contender once on one thread and once on two.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Threads.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<u32>,
    /// Contenders with this in their names; may be given again for more. The first contender is always measured.
    #[arg(long)]
    only: Vec<String>,
}

/// One contender in one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    contender: String,
    keys: u64,
    threads: u32,
}

const COLUMNS: [&str; 8] = [
    "insert",
    "longest wait, ms",
    "replace",
    "get",
    "get absent",
    "get beside a writer",
    "bytes a key",
    "bytes a key, replaced",
];

/// The clock is read after so many inserts, so that a table's growth shows and the clock does not.
const STRETCH: u64 = 64;

type Run = fn(&Cell, &Records) -> Result<Metrics>;

/// Name, crate, and what runs it. The first is what the others are compared with.
const CONTENDERS: &[(&str, &str, Run)] = &[
    ("kvs's index (hash)", "kvs", run_with::<Ours>),
    ("dashmap (hash)", "dashmap", run_with::<Dash<Hashed>>),
    ("dashmap (key)", "dashmap", run_with::<Dash<Key>>),
    ("hashbrown table of addresses, RwLock (hash)", "hashbrown", run_with::<Table>),
    ("hashbrown map, RwLock (hash)", "hashbrown", run_with::<Swiss<Hashed>>),
    ("hashbrown map, RwLock (key)", "hashbrown", run_with::<Swiss<Key>>),
    ("BTreeMap, RwLock (hash)", "", run_with::<Tree<Hashed>>),
    ("BTreeMap, RwLock (key)", "", run_with::<Tree<Key>>),
    ("lockfree::map (hash)", "lockfree", run_with::<Lockfree<Hashed>>),
    ("lockfree::map (key)", "lockfree", run_with::<Lockfree<Key>>),
    ("no map: keys and records alone", "", run_with::<Nothing>),
];

/// All rounds, and a table for each number of keys and threads.
pub fn run(options: &Options) -> Result<()> {
    let contenders: Vec<_> = asked_for(CONTENDERS, |(name, ..)| name, &options.only);
    let versions: Vec<String> =
        ["dashmap", "lockfree", "foldhash"].iter().map(|name| format!("{name} {}", version(name))).collect();
    tell_where(&format!(
        "{}, hashbrown 0.17, parking_lot 0.13. Nanoseconds an operation (time of all threads together over all operations; {} rounds), in \
         brackets the ratio to the first row; the longest wait for {STRETCH} inserts; anonymous memory after the inserts, and after each key was replaced once, records left out.",
        versions.join(", "),
        options.rounds
    ));
    for &keys in &options.keys {
        for &threads in &options.threads {
            let mut rounds = Rounds::new(contenders.iter().map(|(name, ..)| (*name).to_owned()).collect(), &COLUMNS);
            for round in 0..options.rounds {
                for (contender, (name, ..)) in contenders.iter().enumerate() {
                    eprintln!("{keys} keys, {threads} threads, round {round}: {name}");
                    let cell = Cell { contender: (*name).to_owned(), keys, threads };
                    rounds.add_all(contender, &Spec::Index(cell).measure()?);
                }
            }
            println!("{keys} keys, {threads} thread{}:\n", if threads == 1 { "" } else { "s" });
            rounds.print("map", Some(0));
        }
    }
    Ok(())
}

/// In the process of a cell.
pub fn measure(cell: &Cell) -> Result<Metrics> {
    let (.., run) = CONTENDERS.iter().find(|(name, ..)| *name == cell.contender).ok_or("no such contender")?;
    run(cell, &Records::new(cell.keys))
}

const KEY_BYTES: usize = 16;
const SEED: u64 = 0x5eed;

/// A key: two random words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key([u8; KEY_BYTES]);

impl Key {
    /// The `i`-th; no two are the same, since the first word tells `i`.
    #[inline]
    fn new(i: u64) -> Key {
        let mut key = [0; KEY_BYTES];
        key[..8].copy_from_slice(&mix(i).to_be_bytes());
        key[8..].copy_from_slice(&mix(!i).to_be_bytes());
        Key(key)
    }

    #[inline]
    fn hash(&self) -> u64 {
        xxh3_64_with_seed(&self.0, SEED)
    }
}

// Without the length, which is the same for all.
impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// Where a record is, as the index has it: a version in bits 32 to 47, an offset in units of eight bytes below. The version stands for another file
/// in which the record would be after it was replaced.
type Place = u64;

/// The records: key, tag, and what else 144 bytes hold. The first unit is not used, as a file's header is not.
struct Records(Vec<u64>);

const RECORD_WORDS: u64 = 18;

impl Records {
    fn new(keys: u64) -> Records {
        let mut words = vec![0u64; ((keys + 1) * RECORD_WORDS) as usize];
        for (i, record) in words.chunks_exact_mut(RECORD_WORDS as usize).skip(1).enumerate() {
            let key = Key::new(i as u64);
            record.fill(!(i as u64));
            record[0] = u64::from_ne_bytes(key.0[..8].try_into().unwrap_or_default());
            record[1] = u64::from_ne_bytes(key.0[8..].try_into().unwrap_or_default());
            record[2] = i as u64;
        }
        Records(words)
    }

    #[inline]
    fn place(i: u64, version: u64) -> Place {
        version << 32 | ((i + 1) * RECORD_WORDS)
    }

    #[inline]
    fn record(&self, place: Place) -> &[u64] {
        let at = (place & 0xffff_ffff) as usize;
        &self.0[at..at + RECORD_WORDS as usize]
    }

    #[inline]
    fn is_key(&self, place: Place, key: &Key) -> bool {
        let record = self.record(place);
        let word = |range: std::ops::Range<usize>| u64::from_ne_bytes(key.0[range].try_into().unwrap_or_default());
        record[0] == word(0..8) && record[1] == word(8..16)
    }

    #[inline]
    fn tag(&self, place: Place) -> u64 {
        self.record(place)[2]
    }

    fn key(&self, place: Place) -> Key {
        let record = self.record(place);
        let mut key = [0; KEY_BYTES];
        key[..8].copy_from_slice(&record[0].to_ne_bytes());
        key[8..].copy_from_slice(&record[1].to_ne_bytes());
        Key(key)
    }
}

/// What leads from a key to a place.
trait Points: Sync {
    fn new() -> Self;
    /// Points the key to `place`; where it pointed before.
    fn set(&self, key: &Key, place: Place, records: &Records) -> Option<Place>;
    fn get(&self, key: &Key, records: &Records) -> Option<Place>;
    /// Is there something in it? The floor has nothing.
    fn is_a_map() -> bool {
        true
    }
}

/// Runs `work(thread, share)` on each thread, with its share of `0..count`; nanoseconds an operation.
fn time(count: u64, threads: u32, work: impl Fn(u32, Range<u64>) + Sync) -> f64 {
    let share = |thread: u32| {
        let at = |t: u32| count * u64::from(t) / u64::from(threads);
        at(thread)..at(thread + 1)
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 1..threads {
            let work = &work;
            scope.spawn(move || work(thread, share(thread)));
        }
        work(0, share(0));
    });
    start.elapsed().as_nanos() as f64 / count as f64
}

/// A map in use, and what is known of its keys.
struct Use<'a, M> {
    map: M,
    records: &'a Records,
    keys: u64,
}

impl<M: Points> Use<'_, M> {
    /// Points key `i` to its record of `version`, where it was of `before`.
    #[inline]
    fn set(&self, i: u64, version: u64, before: Option<u64>) {
        let old = self.map.set(&Key::new(i), Records::place(i, version), self.records);
        let right = old == before.map(|version| Records::place(i, version));
        assert!(right || !M::is_a_map(), "key {i} led to {old:?}");
    }

    /// Gets a key, and looks at its record, which is of `version` or later.
    #[inline]
    fn get(&self, i: u64, version: u64) {
        let key = Key::new(i);
        let found = self.map.get(&key, self.records);
        let found = if M::is_a_map() { found } else { Some(Records::place(i, version)) };
        let right = found.is_some_and(|place| self.records.tag(place) == i && place >> 32 >= version);
        assert!(right, "key {i}: {found:?}");
    }

    /// So many random keys on each thread.
    fn gets(&self, threads: u32, version: u64) -> f64 {
        time(self.keys, threads, |thread, share| {
            let mut rng = Rng::new(10 * version + u64::from(thread));
            share.for_each(|_| self.get(rng.below(self.keys), version));
        })
    }

    /// The longest time that [`STRETCH`] inserts took, in milliseconds, and nanoseconds an insert.
    fn inserts(&self, threads: u32) -> (f64, f64) {
        let longest = AtomicU64::new(0);
        let nanos = time(self.keys, threads, |_, share| {
            let mut last = Instant::now();
            for start in share.clone().step_by(STRETCH as usize) {
                (start..share.end.min(start + STRETCH)).for_each(|i| self.set(i, 1, None));
                let now = Instant::now();
                longest.fetch_max((now - last).as_nanos() as u64, Ordering::Relaxed);
                last = now;
            }
        });
        (longest.into_inner() as f64 / 1e6, nanos)
    }

    /// Each key once, in an order that has nothing to do with that of the inserts.
    fn replaces(&self, threads: u32) -> f64 {
        let step = step(self.keys);
        time(self.keys, threads, |_, share| {
            for turn in share {
                let i = (u128::from(turn) * u128::from(step) % u128::from(self.keys)) as u64;
                self.set(i, 2, Some(1));
            }
        })
    }

    /// Nanoseconds a get, while another thread points keys anew as fast as it can.
    fn gets_beside_a_writer(&self) -> f64 {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut rng = Rng::new(77);
                while !done.load(Ordering::Relaxed) {
                    self.set(rng.below(self.keys), 2, Some(2));
                }
            });
            let nanos = self.gets(1, 2);
            done.store(true, Ordering::Relaxed);
            nanos
        })
    }
}

fn run_with<M: Points>(cell: &Cell, records: &Records) -> Result<Metrics> {
    let (keys, threads) = (cell.keys, cell.threads);
    let before = Resident::now()?.anonymous;
    let held = || Ok::<_, kvs_versus::Error>(Resident::now()?.anonymous.saturating_sub(before) as f64 / keys as f64);
    let used = Use { map: M::new(), records, keys };
    let mut metrics = Metrics::new();
    let mut tell = |name: &str, value: f64| metrics.insert(name.to_owned(), value);
    let (longest, insert) = used.inserts(threads);
    tell("insert", insert);
    tell("longest wait, ms", longest);
    tell("bytes a key", held()?);
    tell("get", used.gets(threads, 1));
    let absent = time(keys, threads, |thread, share| {
        let mut rng = Rng::new(20 + u64::from(thread));
        for _ in share {
            let key = Key::new(keys + rng.below(keys));
            assert!(used.map.get(&key, records).is_none(), "{key:?} was never inserted");
        }
    });
    tell("get absent", absent);
    tell("replace", used.replaces(threads));
    tell("bytes a key, replaced", held()?);
    if threads > 1 {
        tell("get beside a writer", used.gets_beside_a_writer());
    }
    Ok(metrics)
}

/// A number without a divisor in common with `n`, so that its multiples meet every number below `n`.
fn step(n: u64) -> u64 {
    let divisor = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = (n as f64 * 0.618_033_988_75) as u64;
    (golden.max(1)..).find(|&step| divisor(step, n) == 1).unwrap_or(1)
}

/// The engine's index, used as the engine uses it: the partition's lock to write, a pinned epoch to read.
struct Ours(Index);

impl Points for Ours {
    fn new() -> Ours {
        Ours(Index::new())
    }

    #[inline]
    fn set(&self, key: &Key, place: Place, records: &Records) -> Option<Place> {
        let hash = key.hash();
        let address = Address::of_word(place)?;
        let guard = epoch::pin();
        let mut partition = self.0.lock(hash);
        let Ok(found) = partition.find(hash, &guard, is_key(records, key));
        let retired = partition.set(found, hash, address, &guard);
        drop(partition);
        drop(guard);
        if retired {
            self.0.collect();
        }
        found.address().map(place_of)
    }

    #[inline]
    fn get(&self, key: &Key, records: &Records) -> Option<Place> {
        let Ok(found) = self.0.find(key.hash(), &epoch::pin(), is_key(records, key));
        found.map(place_of)
    }
}

#[inline]
fn place_of(address: Address) -> Place {
    (u64::from(address.slot()) << 32) | (address.offset() / 8)
}

#[inline]
fn is_key<'a>(records: &'a Records, key: &'a Key) -> impl FnMut(Address) -> std::result::Result<bool, Infallible> + 'a {
    move |address| Ok(records.is_key(place_of(address), key))
}

/// What a map holds in place of the key.
trait Held: Copy + Eq + Ord + Hash + Send + Sync + 'static {
    type State: BuildHasher + Clone + Default + Send + Sync;
    fn of(key: &Key) -> Self;
    /// Is what was found under it the key's?
    fn is_right(place: Place, key: &Key, records: &Records) -> bool;
}

impl Held for Key {
    type State = foldhash::fast::RandomState;

    #[inline]
    fn of(key: &Key) -> Key {
        *key
    }

    #[inline]
    fn is_right(_: Place, _: &Key, _: &Records) -> bool {
        true
    }
}

/// The hash of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hashed(u64);

impl Hash for Hashed {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl Held for Hashed {
    type State = AsItIs;

    #[inline]
    fn of(key: &Key) -> Hashed {
        Hashed(key.hash())
    }

    #[inline]
    fn is_right(place: Place, key: &Key, records: &Records) -> bool {
        records.is_key(place, key)
    }
}

/// Hashes what is a hash already.
#[derive(Clone, Default)]
struct AsItIs;

struct Word(u64);

impl BuildHasher for AsItIs {
    type Hasher = Word;

    #[inline]
    fn build_hasher(&self) -> Word {
        Word(0)
    }
}

impl Hasher for Word {
    fn write(&mut self, _: &[u8]) {
        unreachable!("hashes are words");
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// What a map of hashes replaces must be the same key's: it looks, as the engine's index does.
#[inline]
fn checked<K: Held>(old: Option<Place>, key: &Key, records: &Records) -> Option<Place> {
    old.filter(|&place| K::is_right(place, key, records))
}

struct Dash<K: Held>(DashMap<K, Place, K::State>);

impl<K: Held> Points for Dash<K> {
    fn new() -> Self {
        Dash(DashMap::default())
    }

    #[inline]
    fn set(&self, key: &Key, place: Place, records: &Records) -> Option<Place> {
        checked::<K>(self.0.insert(K::of(key), place), key, records)
    }

    #[inline]
    fn get(&self, key: &Key, records: &Records) -> Option<Place> {
        checked::<K>(self.0.get(&K::of(key)).map(|found| *found), key, records)
    }
}

struct Swiss<K: Held>(RwLock<HashMap<K, Place, K::State>>);

impl<K: Held> Points for Swiss<K> {
    fn new() -> Self {
        Swiss(RwLock::default())
    }

    #[inline]
    fn set(&self, key: &Key, place: Place, records: &Records) -> Option<Place> {
        let held = K::of(key);
        let old = self.0.write().insert(held, place);
        checked::<K>(old, key, records)
    }

    #[inline]
    fn get(&self, key: &Key, records: &Records) -> Option<Place> {
        let held = K::of(key);
        let found = self.0.read().get(&held).copied();
        checked::<K>(found, key, records)
    }
}

/// Addresses only, eight bytes each: the smallest that hashbrown can be. When it grows it hashes the key of every record again.
struct Table(RwLock<HashTable<Place>>);

impl Points for Table {
    fn new() -> Self {
        Table(RwLock::new(HashTable::new()))
    }

    #[inline]
    fn set(&self, key: &Key, place: Place, records: &Records) -> Option<Place> {
        use hashbrown::hash_table::Entry;
        let hash = key.hash();
        let mut table = self.0.write();
        match table.entry(hash, |&at| records.is_key(at, key), |&at| records.key(at).hash()) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(entry.get_mut(), place)),
            Entry::Vacant(entry) => {
                entry.insert(place);
                None
            }
        }
    }

    #[inline]
    fn get(&self, key: &Key, records: &Records) -> Option<Place> {
        let hash = key.hash();
        self.0.read().find(hash, |&at| records.is_key(at, key)).copied()
    }
}

struct Tree<K: Held>(RwLock<std::collections::BTreeMap<K, Place>>);

impl<K: Held> Points for Tree<K> {
    fn new() -> Self {
        Tree(RwLock::default())
    }

    #[inline]
    fn set(&self, key: &Key, place: Place, records: &Records) -> Option<Place> {
        let held = K::of(key);
        let old = self.0.write().insert(held, place);
        checked::<K>(old, key, records)
    }

    #[inline]
    fn get(&self, key: &Key, records: &Records) -> Option<Place> {
        let held = K::of(key);
        let found = self.0.read().get(&held).copied();
        checked::<K>(found, key, records)
    }
}

struct Lockfree<K: Held>(lockfree::map::Map<K, Place, K::State>);

impl<K: Held> Points for Lockfree<K> {
    fn new() -> Self {
        Lockfree(lockfree::map::Map::with_hasher(K::State::default()))
    }

    #[inline]
    fn set(&self, key: &Key, place: Place, records: &Records) -> Option<Place> {
        let old = self.0.insert(K::of(key), place).map(|removed| *removed.val());
        checked::<K>(old, key, records)
    }

    #[inline]
    fn get(&self, key: &Key, records: &Records) -> Option<Place> {
        let found = self.0.get(&K::of(key)).map(|guard| *guard.val());
        checked::<K>(found, key, records)
    }
}

/// No map at all: what keys, hashes and records cost by themselves.
struct Nothing;

impl Points for Nothing {
    fn new() -> Self {
        Nothing
    }

    #[inline]
    fn set(&self, key: &Key, _: Place, _: &Records) -> Option<Place> {
        std::hint::black_box(key.hash());
        None
    }

    #[inline]
    fn get(&self, key: &Key, _: &Records) -> Option<Place> {
        std::hint::black_box(key.hash());
        None
    }

    fn is_a_map() -> bool {
        false
    }
}
