//! The index against a map, with records that are nothing but their keys: the record at offset 8 * n is `keys[n]`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::bucket::Address;
use super::buckets::{PER_PAGE, fit};
use super::table::{entries_max, entries_min, grown};
use super::{Index, Part};
use crate::sync::epoch;

/// xorshift64*: the seed makes a run repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn good_hash(key: u64) -> u64 {
    let mut h = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    h = (h ^ h >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    h = (h ^ h >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    h ^ h >> 31
}

fn address(n: u64) -> Address {
    Address::new((n >> 32) as u16, (n & 0xFFFF_FFFF) * 8).expect("a number between 1 and 2^48")
}

fn number(address: Address) -> u64 {
    (u64::from(address.slot()) << 32) + address.offset() / 8
}

/// An index, the records it points to, and what it should hold.
struct Model {
    index: Index,
    hash: fn(u64) -> u64,
    keys: Vec<u64>,
    expected: HashMap<u64, Address>,
}

impl Model {
    fn new(hash: fn(u64) -> u64) -> Model {
        Model { index: Index::new(), hash, keys: vec![u64::MAX], expected: HashMap::new() }
    }

    fn append(&mut self, key: u64) -> Address {
        self.keys.push(key);
        address(self.keys.len() as u64 - 1)
    }

    fn find(&self, key: u64) -> Option<Address> {
        let guard = epoch::pin();
        let is_key = |at| Ok::<_, Infallible>(self.keys[number(at) as usize] == key);
        let Ok(found) = self.index.find((self.hash)(key), &guard, is_key);
        found
    }

    fn put(&mut self, key: u64) {
        let new = self.append(key);
        let hash = (self.hash)(key);
        let guard = epoch::pin();
        let mut partition = self.index.lock(hash);
        let Ok(place) = partition.find(hash, &guard, |at| Ok::<_, Infallible>(self.keys[number(at) as usize] == key));
        assert_eq!(place.address(), self.expected.get(&key).copied());
        partition.set(place, hash, new, &guard);
        self.expected.insert(key, new);
    }

    fn fill(&mut self, key: u64) {
        let new = self.append(key);
        let hash = (self.hash)(key);
        let guard = epoch::pin();
        let is_key = |at| Ok::<_, Infallible>(self.keys[number(at) as usize] == key);
        let Ok(filled) = self.index.lock(hash).fill(hash, new, &guard, is_key);
        assert_eq!(filled, !self.expected.contains_key(&key));
        self.expected.entry(key).or_insert(new);
    }

    /// Re-points with the right old address, or with one that the index does not hold any more.
    fn repoint(&mut self, key: u64, stale: bool) {
        let Some(&held) = self.expected.get(&key) else { return };
        let new = self.append(key);
        let hash = (self.hash)(key);
        let guard = epoch::pin();
        let mut partition = self.index.lock(hash);
        if stale {
            assert!(!partition.replace_if(hash, new, held, &guard));
        } else {
            assert!(partition.replace_if(hash, held, new, &guard));
            self.expected.insert(key, new);
        }
    }

    fn remove(&mut self, key: u64) {
        let hash = (self.hash)(key);
        let guard = epoch::pin();
        match self.expected.remove(&key) {
            Some(held) => {
                assert!(self.index.lock(hash).remove(hash, held, &guard));
                assert!(!self.index.lock(hash).remove(hash, held, &guard), "removed twice");
            }
            None => assert!(!self.index.lock(hash).remove(hash, address(0xFFFF_FFFF), &guard)),
        }
    }

    /// Every key that should be there is, none is there twice, and the counts of all partitions are right.
    fn check(&self, keys: impl Iterator<Item = u64>) {
        for key in keys {
            assert_eq!(self.find(key), self.expected.get(&key).copied(), "key {key}");
        }
        assert_eq!(self.index.len(), self.expected.len() as u64);
        assert_eq!(self.index.is_empty(), self.expected.is_empty());
        let guard = epoch::pin();
        let mut all: Vec<u64> = Vec::new();
        for (number, part) in self.index.partitions.iter().enumerate() {
            let Some(table) = part.table(&guard) else { continue };
            let entries: Vec<_> = table.entries().collect();
            assert_eq!(entries.len() as u64, part.entries.load(Ordering::Relaxed), "entries of partition {number}");
            assert!(entries.len() <= entries_max(table.buckets.len()));
            let overflowed = table.buckets.iter().filter(|bucket| bucket.overflowed()).count();
            assert_eq!(overflowed, part.writer.lock().overflowed, "overflow bits of partition {number}");
            all.extend(entries.iter().map(|&(_, at)| self.keys[at.offset() as usize / 8]));
        }
        let found = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(found, all.len(), "a key stands in two slots");
        assert_eq!(found, self.expected.len());
    }

    fn run(&mut self, seed: u64, operations: u64, keys: u64) {
        let mut random = Random(seed);
        for n in 0..operations {
            let key = random.below(keys);
            // Removals win in every other phase, so that tables grow, shrink and are cleaned.
            let removals = if (n / (operations / 6).max(1)).is_multiple_of(2) { 15 } else { 45 };
            match random.below(100) {
                r if r < removals => self.remove(key),
                r if r < removals + 10 => self.fill(key),
                r if r < removals + 15 => self.repoint(key, false),
                r if r < removals + 18 => self.repoint(key, true),
                r if r < removals + 35 => assert_eq!(self.find(key), self.expected.get(&key).copied(), "seed {seed}"),
                _ => self.put(key),
            }
            if n % (operations / 8).max(1) == 0 {
                self.check(0..keys);
                self.index.collect();
            }
        }
        self.check(0..keys);
    }
}

#[test]
fn agrees_with_a_map() {
    Model::new(good_hash).run(1, 3_000_000, 200_000);
    Model::new(good_hash).run(2, 1_000_000, 3_000);
}

/// All keys of a few partitions, so that single tables are large and wrap often.
#[test]
fn agrees_with_a_map_in_few_partitions() {
    Model::new(|key| good_hash(key) & !0 >> 7).run(3, 1_000_000, 20_000);
}

/// Hashes that collide: wholly; in home and tag but not in the partition; in the home only; in the tag only.
#[test]
fn agrees_with_a_map_when_hashes_collide() {
    Model::new(|_| 0).run(4, 60_000, 150);
    Model::new(|_| !0).run(5, 60_000, 150);
    Model::new(|key| key << 56).run(6, 200_000, 3_000);
    Model::new(|key| (good_hash(key) & 0xFFFF) << 32).run(7, 100_000, 400);
    Model::new(|key| good_hash(key) & !(0xFFFF << 32) & !0 >> 7).run(8, 300_000, 2_000);
    Model::new(|key| (good_hash(key) % 50) << 32).run(9, 100_000, 300);
}

#[test]
fn an_error_of_the_closure_ends_the_search_and_changes_nothing() {
    let index = Index::new();
    let guard = epoch::pin();
    let Ok(filled) = index.lock(5).fill(5, address(1), &guard, |_| Ok::<_, Infallible>(false));
    assert!(filled);
    assert_eq!(index.find(5, &guard, |at| if at == address(1) { Err("damaged") } else { Ok(true) }), Err("damaged"));
    assert!(matches!(index.lock(5).find(5, &guard, |_| Err("damaged")), Err("damaged")));
    assert_eq!(index.lock(5).fill(5, address(2), &guard, |_| Err("damaged")), Err("damaged"));
    assert_eq!(index.len(), 1);
    assert_eq!(index.find(5, &guard, |_| Ok::<_, Infallible>(true)), Ok(Some(address(1))));
}

#[test]
#[should_panic(expected = "the partition changed after this place was found")]
fn an_outdated_place_is_refused() {
    let index = Index::new();
    let guard = epoch::pin();
    let mut partition = index.lock(5);
    let Ok(place) = partition.find(5, &guard, |_| Ok::<_, Infallible>(false));
    partition.set(place, 5, address(1), &guard);
    partition.set(place, 5, address(2), &guard);
}

#[test]
fn addresses_are_checked() {
    assert_eq!(Address::new(0, 0), None);
    assert_eq!(Address::new(1, 4), None);
    assert_eq!(Address::new(1, 1 << 35), None);
    assert_eq!(Address::new(1, !7), None);
    let last = Address::new(u16::MAX, (1 << 35) - 8).unwrap();
    assert_eq!((last.slot(), last.offset()), (u16::MAX, (1 << 35) - 8));
    let first = Address::new(1, 0).unwrap();
    assert_eq!((first.slot(), first.offset()), (1, 0));
    assert_eq!(size_of::<Option<Address>>(), 8);
}

/// At most 17 bytes a key at any size from 500,000 keys on, and 14 on average; at most 22, for whole pages, from 100,000 on; little when
/// empty.
#[test]
fn memory_per_key_is_bounded() {
    let index = Index::new();
    assert_eq!(index.bytes(), 256 * size_of::<Part>() as u64);
    assert!(index.bytes() < 64 << 10, "{} bytes when empty", index.bytes());
    let mut ratios = Vec::new();
    for n in 1..=3_000_000_u64 {
        let guard = epoch::pin();
        let hash = good_hash(n);
        let Ok(_) = index.lock(hash).fill(hash, address(n), &guard, |_| Ok::<_, Infallible>(false));
        drop(guard);
        if n >= 100_000 && n % (n / 100) == 0 {
            // Other tests hold old epochs now and then: count what is in use, and wait for the rest below.
            let ratio = used(&index) as f64 / n as f64;
            assert!(ratio <= 22.0, "{ratio} at {n}");
            if n >= 500_000 {
                ratios.push(ratio);
            }
        }
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    println!("bytes a key: mean {mean:.2}, worst {worst:.2}, {} sizes", ratios.len());
    assert!(ratios.len() > 150);
    assert!(worst <= 17.0, "worst {worst}");
    assert!(mean <= 14.0, "mean {mean}");

    // Retired tables are all freed once nobody holds them, and most of the room they leave is used again.
    wait_for_collect(&index);
    let holes = index.memory.arena.hole_bytes() as f64 / index.len() as f64;
    println!("holes: {holes:.2} bytes a key");
    assert!(0.0 < holes && holes <= 5.0, "{holes} bytes a key are holes");
    let guard = epoch::pin();
    for n in 1..=2_900_000_u64 {
        let hash = good_hash(n);
        assert!(index.lock(hash).remove(hash, address(n), &guard));
    }
    drop(guard);
    wait_for_collect(&index);
    assert_eq!(index.len(), 100_000);
    let shrunk = used(&index) as f64 / 100_000.0;
    assert!(shrunk <= 9.2 / 0.35 + 1.0, "{shrunk} bytes a key after most were removed");
    // What small tables can't fill counts up to a quarter of them.
    assert!(index.bytes() <= used(&index) * 5 / 4);
}

/// A table of two pages was built anew for each of the last twenty keys or so that were removed before it fitted one: 40 MiB in all, for an
/// index of 2. Down to nothing a partition goes through each size once.
#[test]
fn a_table_that_cannot_shrink_yet_is_not_built_anew() {
    let index = Index::new();
    let keys = 150_000_u64;
    let guard = epoch::pin();
    for n in 1..=keys {
        let Ok(_) = index.lock(good_hash(n)).fill(good_hash(n), address(n), &guard, |_| Ok::<_, Infallible>(false));
    }
    let before = index.bytes();
    for n in 1..=keys {
        assert!(index.lock(good_hash(n)).remove(good_hash(n), address(n), &guard));
    }
    // Nothing is freed while the guard is held.
    let built = index.bytes() - before;
    println!("{built} bytes of tables built on the way down from {before}");
    assert!(built < 2 * before, "{built} bytes of tables built on the way down from {before}");
}

/// The bytes of the partitions and of their current tables.
fn used(index: &Index) -> u64 {
    let guard = epoch::pin();
    let tables: u64 = index.partitions.iter().filter_map(|part| Some(part.table(&guard)?.bytes())).sum();
    size_of_val(&*index.partitions) as u64 + tables
}

fn wait_for_collect(index: &Index) {
    let mut freed = 0;
    let retired = || size_of_val(&*index.partitions) as u64 + index.memory.tables.load(Ordering::Relaxed) - used(index);
    while retired() > 0 {
        freed += index.collect();
        std::thread::yield_now();
    }
    println!("{freed} retired tables freed");
}

#[test]
fn sizes_follow_the_plan() {
    for partition in 0..8 {
        let mut buckets = 0;
        while buckets < 1 << 20 {
            let next = grown(buckets, partition);
            assert!(entries_max(next) > entries_max(buckets));
            if buckets >= 2 * PER_PAGE {
                assert!(next <= fit(buckets * 5 / 3), "by two thirds at most, but for whole pages");
            }
            if buckets >= PER_PAGE {
                assert!(entries_max(buckets) > entries_min(next) * 6 / 5, "does not shrink soon after it has grown");
            }
            buckets = next;
        }
    }
}

/// Churn at one size sets overflow bits that nothing but a cleaning clears: there must be few, or misses get slow.
#[test]
fn churn_does_not_wear_a_table_out() {
    let mut model = Model::new(|key| good_hash(key) & !0 >> 8);
    let mut random = Random(10);
    let limit = entries_max(grown(grown(grown(0, 0), 0), 0)) as u64;
    (0..limit).for_each(|key| model.put(key));
    let mut live: Vec<u64> = (0..limit).collect();
    for new in limit..limit + 200_000 {
        let at = random.below(limit) as usize;
        model.remove(std::mem::replace(&mut live[at], new));
        model.put(new);
    }
    let guard = epoch::pin();
    let part = &model.index.partitions[0];
    let (buckets, overflowed) = (part.table(&guard).unwrap().buckets.len(), part.writer.lock().overflowed);
    assert_eq!(entries_max(buckets) as u64, limit, "neither grown nor shrunk");
    assert!(overflowed <= buckets * 3 / 4 + 1, "{overflowed} of {buckets} buckets have overflowed");
    model.check(0..limit);
}

/// One writer inserts, grows, overwrites and removes; readers look up published keys all the time. A published key is
/// never missing, and its value never older than what was published when the search began.
#[test]
fn readers_miss_nothing_while_tables_grow() {
    const KEYS: u64 = 200_000;
    const ROUNDS: u64 = 4;
    let index = Index::new();
    // Record n is key n % KEYS in its version n / KEYS; from KEYS * 100 on it is a passing key, n itself.
    let key_of = |at: Address| if number(at) < KEYS * 100 { number(at) % KEYS } else { number(at) };
    let published = AtomicU64::new(KEYS - 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (index, published, done) = (&index, &published, &done);
            scope.spawn(move || {
                let mut random = Random(reader + 20);
                let mut found = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    let guard = epoch::pin();
                    // Acquire: pairs with the writer's Release, as the engine's visible sequence number does.
                    let visible = published.load(Ordering::Acquire);
                    if visible < KEYS {
                        continue;
                    }
                    let n = KEYS + random.below(visible - KEYS + 1);
                    let key = n % KEYS;
                    let Ok(at) = index.find(good_hash(key), &guard, |at| Ok::<_, Infallible>(key_of(at) == key));
                    let at =
                        at.unwrap_or_else(|| panic!("key {key}, record {n} published up to {visible}, is missing"));
                    assert!(number(at) >= n, "key {key}: record {} is older than {n}", number(at));
                    found += 1;
                }
                assert!(found > 1_000, "the reader hardly ran: {found}");
            });
        }
        for n in KEYS..KEYS * (ROUNDS + 1) {
            let (key, guard) = (n % KEYS, epoch::pin());
            let hash = good_hash(key);
            let mut partition = index.lock(hash);
            let Ok(place) = partition.find(hash, &guard, |at| Ok::<_, Infallible>(key_of(at) == key));
            partition.set(place, hash, address(n), &guard);
            drop(partition);
            published.store(n, Ordering::Release);
            // A passing key that comes and goes, to have slots reused and tables cleaned beside the lasting ones.
            let passing = KEYS * 100 + n;
            let other = good_hash(passing);
            let Ok(filled) = index.lock(other).fill(other, address(passing), &guard, |_| Ok::<_, Infallible>(false));
            assert!(filled);
            if n >= KEYS + 500 {
                let gone = good_hash(passing - 500);
                assert!(index.lock(gone).remove(gone, address(passing - 500), &guard));
            }
            if n % 10_000 == 0 {
                index.collect();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(index.len(), KEYS + 500);
}

/// Writers on all partitions at once: nothing is lost.
#[test]
fn writers_do_not_disturb_each_other() {
    const KEYS: u64 = 50_000;
    let index = Index::new();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let index = &index;
            scope.spawn(move || {
                for n in (1..=KEYS).map(|n| n * 4 + writer) {
                    let (hash, guard) = (good_hash(n), epoch::pin());
                    let is_key = |at| Ok::<_, Infallible>(number(at) == n);
                    let Ok(filled) = index.lock(hash).fill(hash, address(n), &guard, is_key);
                    assert!(filled);
                    if n % 3 == 0 {
                        assert!(index.lock(hash).remove(hash, address(n), &guard));
                    }
                }
            });
        }
    });
    let guard = epoch::pin();
    for n in 4..KEYS * 4 + 4 {
        let Ok(found) = index.find(good_hash(n), &guard, |at| Ok::<_, Infallible>(number(at) == n));
        assert_eq!(found, (n % 3 != 0).then(|| address(n)));
    }
    assert_eq!(index.len(), (4..KEYS * 4 + 4).filter(|n| n % 3 != 0).count() as u64);
}
