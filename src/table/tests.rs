//! A table against a sorted list: whatever shape keys and values have, however the bytes are reached, it answers as the
//! list does. What damage does is tested beside `verify`.

use std::path::{Path, PathBuf};

use super::builder::Builder;
use super::reader::Table;
use super::walk::{Reading, TableCursor};
use super::{BLOCK_BYTES, Io, Meta};
use crate::cache::Cache;
use crate::coding;
use crate::env::Env;
use crate::env::os::OsEnv;
use crate::env::sim::SimEnv;
use crate::error::ErrorKind;
use crate::files::File;
use crate::merging::{Source, Stretch};
use crate::record::{self, FileSalt, Header, Kind, SEQ_MAX, Seq};
use crate::sync::Arc;
use crate::visibility::Visible;
use crate::walk::Entry;

pub const DATABASE: u128 = 0x1122_3344_5566_7788_99aa;
pub const HASH_SEED: u64 = 77;
pub const NUMBER: u64 = 12;

/// xorshift64*: the seed makes a run repeatable.
pub struct Random(u64);

impl Random {
    pub fn new(default: u64) -> Random {
        let seed = std::env::var("KVS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
        println!("seed {seed} (repeat with KVS_SEED={seed})");
        Random(seed | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8) % bound
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// A version of a key: its value, or none if it is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub key: Vec<u8>,
    pub seq: Seq,
    pub value: Option<Vec<u8>>,
}

pub fn put(key: impl Into<Vec<u8>>, seq: Seq, value: impl Into<Vec<u8>>) -> Item {
    Item { key: key.into(), seq, value: Some(value.into()) }
}

/// In the order of a table.
pub fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by(|a, b| a.key.cmp(&b.key).then(b.seq.cmp(&a.seq)));
    items.dedup_by(|a, b| (&a.key, a.seq) == (&b.key, b.seq));
    items
}

/// A machine with a directory, and records in a file of it that stands for a log.
pub struct Place {
    pub env: Arc<dyn Env>,
    pub dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    pub fn simulated() -> Place {
        let env = Arc::new(SimEnv::new(1));
        let dir = PathBuf::from("/db");
        env.create_dir(&dir).unwrap();
        Place { env, dir, _temporary: None }
    }

    pub fn real() -> Place {
        let temporary = tempfile::tempdir().unwrap();
        Place { env: OsEnv::shared(), dir: temporary.path().to_owned(), _temporary: Some(temporary) }
    }

    /// A mapped file with these records, and where each stands.
    pub fn source(&self, items: &[Item]) -> (File, Vec<u64>) {
        let number = 5;
        let salt = FileSalt::new(DATABASE, number);
        let (mut bytes, mut offsets) = (vec![0; 8], Vec::new());
        for item in items {
            let offset = bytes.len() as u64;
            let kind = if item.value.is_some() { Kind::Put } else { Kind::Delete };
            let value = item.value.as_deref().unwrap_or(&[]);
            let word = record::seq_kind(item.seq, kind);
            let hash = coding::hash_seeded(&item.key, HASH_SEED);
            let sum = record::checksum(hash, coding::hash(value), word, salt, offset);
            let mut header = [0; record::HEADER_BYTES_MAX];
            let n = record::encode_header(&mut header, sum, word, item.key.len() as u32, value.len() as u32);
            bytes.extend_from_slice(&header[..n]);
            bytes.extend_from_slice(&item.key);
            bytes.extend_from_slice(value);
            bytes.resize(coding::round_up_8(bytes.len()), 0xee);
            offsets.push(offset);
        }
        let path = self.dir.join("source");
        if self.env.open_read(&path).unwrap().is_some() {
            self.env.unlink(&path).unwrap();
        }
        self.env.create(&path).unwrap().append(&bytes).unwrap();
        let memory = self.env.open_read(&path).unwrap().unwrap().map().unwrap();
        (File::mapped(DATABASE, HASH_SEED, number, path, memory), offsets)
    }

    pub fn builder(&self, block_bytes: u32) -> Builder {
        let path = self.dir.join(super::name(NUMBER));
        Builder::create(&*self.env, &path, DATABASE, HASH_SEED, NUMBER, block_bytes).unwrap()
    }

    /// Builds the table of these records.
    pub fn build(&self, items: &[Item], block_bytes: u32) -> Meta {
        let (source, offsets) = self.source(items);
        let mut builder = self.builder(block_bytes);
        for (item, &offset) in items.iter().zip(&offsets) {
            let (bytes, header) = source.record_at(offset).unwrap();
            let hash = coding::hash_seeded(&item.key, HASH_SEED);
            builder.add(&source, &bytes, &header, offset, super::hashes::hash32(hash)).unwrap();
        }
        let estimate = builder.len();
        let (meta, keys) = builder.finish(3).unwrap();
        assert!(keys.is_sorted_by_key(|key| key.hash), "keys are in the order of their hashes");
        assert!(keys.iter().all(|key| key.note == key.hash), "a note stays with its key");
        assert!(estimate >= meta.len && estimate < meta.len + meta.len / 8 + 2048, "{estimate} for {}", meta.len);
        meta
    }

    /// All bytes of the table.
    pub fn bytes(&self) -> Vec<u8> {
        let read = self.read();
        let mut bytes = vec![0; read.len() as usize];
        read.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// Puts another file in the table's place.
    pub fn replace(&self, bytes: &[u8]) {
        let path = self.dir.join(super::name(NUMBER));
        self.env.unlink(&path).unwrap();
        self.env.create(&path).unwrap().append(bytes).unwrap();
    }

    pub fn open(&self, meta: &Meta, io: Io) -> crate::Result<Arc<Table>> {
        let cache = Arc::new(Cache::new(1 << 20));
        Table::open(&*self.env, &self.dir, DATABASE, HASH_SEED, meta.clone(), io, &cache).map(Arc::new)
    }

    pub fn read(&self) -> Box<dyn crate::env::ReadFile> {
        self.env.open_read(&self.dir.join(super::name(NUMBER))).unwrap().unwrap()
    }

    /// A cursor by one of the ways to read.
    pub fn cursor(&self, table: &Arc<Table>, streaming: bool, low: Option<&[u8]>, high: Option<&[u8]>) -> TableCursor {
        let reading = if streaming { Reading::Streaming(self.read()) } else { Reading::Shared };
        table.cursor(reading, low, high).unwrap()
    }
}

/// The record that a cursor stands on.
pub fn current(cursor: &TableCursor) -> Option<Item> {
    cursor.entry().map(|entry| item_of(cursor, &entry))
}

fn item_of(cursor: &TableCursor, entry: &Entry) -> Item {
    let (key, value) = cursor.pin(entry);
    assert_eq!((&*key, &*value), (cursor.key_of(entry), cursor.value_of(entry)));
    let value = (entry.stored.header.kind == Kind::Put).then(|| value.to_vec());
    Item { key: key.to_vec(), seq: entry.stored.header.seq(), value }
}

/// Lists of many shapes.
fn shapes(random: &mut Random) -> Vec<(&'static str, Vec<Item>)> {
    let mut seq = 0;
    let mut item = |random: &mut Random, key: Vec<u8>, len: u64| {
        seq += 1;
        let value = (random.below(8) > 0).then(|| random.bytes(len as usize));
        Item { key, seq, value }
    };
    let mut shapes: Vec<(&'static str, Vec<Item>)> = vec![
        ("one empty key, one empty value", vec![put("", 1, "")]),
        ("one long key", vec![put(vec![b'k'; 64 << 10], SEQ_MAX, "v")]),
        (
            "a key and the same with zeros",
            vec![put("a", 1, "1"), put("a\0", 2, "2"), put("a\0\0\0\0\0\0\0\0\0", 3, "")],
        ),
    ];
    let mut list = Vec::new();
    for _ in 0..700 {
        let key_len = random.below(12) as usize;
        let (key, len) = (random.bytes(key_len), random.below(200));
        list.push(item(random, key, len));
    }
    shapes.push(("short random keys", list));
    let mut list = Vec::new();
    for _ in 0..600 {
        let (key, len) = (format!("https://example.org/user/{:016}", random.below(400)), random.below(60));
        list.push(item(random, key.into_bytes(), len));
    }
    shapes.push(("shared long prefixes", list));
    let mut list = Vec::new();
    for i in 0..900 {
        let key = if i % 3 == 0 { format!("key{}", random.below(4)) } else { "key2".to_owned() };
        let len = random.below(100);
        list.push(item(random, key.into_bytes(), len));
    }
    shapes.push(("versions of a key over many blocks", list));
    let mut list = Vec::new();
    for i in 0..40 {
        let mut key = vec![b'p'; (64 << 10) - 2];
        key.extend_from_slice(&[(i / 2) as u8, 7]);
        if i % 3 == 0 {
            key.truncate(1000 + i);
        }
        list.push(item(random, key, 10));
    }
    shapes.push(("keys of 64 KiB that differ at their end", list));
    let mut list = Vec::new();
    for i in 0..24u64 {
        let len = [0, 1, 100, 4096, 70_000, 300_000, 1 << 20][random.below(7) as usize];
        list.push(item(random, format!("{:03}", i * 7 % 24).into_bytes(), len));
    }
    shapes.push(("values of 0 B to 1 MiB", list));
    shapes.into_iter().map(|(name, list)| (name, sorted(list))).collect()
}

/// Keys in the list, between, before and behind them.
fn probes(items: &[Item]) -> Vec<Vec<u8>> {
    let mut probes = vec![Vec::new(), vec![0], vec![0xff; 20]];
    let step = 1 + items.len() / 150;
    for item in items.iter().step_by(step) {
        let key = &item.key;
        probes.push(key.clone());
        probes.push([key, &[0][..]].concat());
        probes.push(key[..key.len() / 2].to_vec());
        let mut less = key.clone();
        if let Some(last) = less.last_mut() {
            *last = last.wrapping_sub(1);
        }
        probes.push(less);
    }
    probes.sort();
    probes.dedup();
    probes
}

/// The newest version of `key` that is at most `seq`.
pub fn newest<'a>(items: &'a [Item], key: &[u8], seq: Seq) -> Option<&'a Item> {
    let at = items.partition_point(|item| item.key.as_slice() < key || (item.key == key && item.seq > seq));
    items.get(at).filter(|item| item.key == key)
}

fn check_lookups(table: &Arc<Table>, items: &[Item], random: &mut Random, name: &str) {
    for key in probes(items) {
        let hash = coding::hash_seeded(&key, HASH_SEED);
        let found = table.find(&key, hash).unwrap();
        let expected = newest(items, &key, SEQ_MAX);
        let seen = found.as_ref().map(|f| (f.key(), f.header.seq(), f.value()));
        assert_eq!(seen, expected.map(|i| (&i.key[..], i.seq, i.value.as_deref().unwrap_or(&[]))), "{name}: {key:?}");
        if let Some(found) = found {
            let (bytes, header) = table.record_at(found.offset).unwrap();
            assert_eq!((header.seq(), header.key(&bytes)), (found.header.seq(), &key[..]));
            table.file().check(&bytes, &header, found.offset).unwrap();
            assert_eq!(bytes[..header.len()], found.bytes[..header.len()]);
        }
        for _ in 0..4 {
            let seq = random.below(1000);
            let found = table.search(&key, seq).unwrap();
            let seen = found.as_ref().map(|f| (f.header.seq(), f.value()));
            let expected = newest(items, &key, seq).map(|i| (i.seq, i.value.as_deref().unwrap_or(&[])));
            assert_eq!(seen, expected, "{name}: {key:?} at {seq}");
        }
    }
    let mut hashed = Vec::new();
    table
        .hashes(|hash32, offset| {
            let (bytes, header) = table.record_at(offset)?;
            assert_eq!(u64::from(hash32), coding::hash_seeded(header.key(&bytes), HASH_SEED) >> 32);
            hashed.push((header.key(&bytes).to_vec(), header.seq()));
            Ok(())
        })
        .unwrap();
    hashed.sort();
    let mut expected: Vec<_> = items.iter().map(|item| (item.key.clone(), item.seq)).collect();
    expected.dedup_by(|later, first| later.0 == first.0);
    assert_eq!(hashed, expected, "{name}");
}

fn check_cursor(cursor: &mut TableCursor, items: &[Item], keys: &[Vec<u8>], name: &str) {
    assert_eq!(cursor.walk().is_empty(), items.is_empty());
    let ends = cursor.walk().ends().unwrap().map(|(first, last)| (first.to_vec(), last.to_vec()));
    assert_eq!(ends, items.first().map(|first| (first.key.clone(), items[items.len() - 1].key.clone())), "{name}");
    assert_eq!(current(cursor), None);
    for forward in [true, false] {
        cursor.seek_to_end_of(forward).unwrap();
        let mut seen = Vec::new();
        while let Some(item) = current(cursor) {
            seen.push(item);
            cursor.step(forward).unwrap();
            if seen.len() % 3 == 0 {
                cursor.release();
            }
        }
        if !forward {
            seen.reverse();
        }
        assert!(seen == items, "{name}: forward {forward}: {} of {}", seen.len(), items.len());
    }
    for (i, key) in keys.iter().enumerate() {
        for (forward, beyond) in [(true, false), (true, true), (false, false), (false, true)] {
            cursor.seek(key, forward, beyond).unwrap();
            let at = match (forward, beyond) {
                (true, false) => items.iter().position(|item| item.key >= *key),
                (true, true) => items.iter().position(|item| item.key > *key),
                (false, false) => items.iter().rposition(|item| item.key <= *key),
                (false, true) => items.iter().rposition(|item| item.key < *key),
            };
            assert_eq!(current(cursor), at.map(|at| items[at].clone()), "{name}: {key:?} {forward} {beyond}");
            // A turn without a seek between.
            if let (Some(at), true) = (at, i % 4 == 0) {
                cursor.step(!forward).unwrap();
                let next = if forward { at.checked_sub(1) } else { at.checked_add(1) };
                assert_eq!(current(cursor), next.and_then(|at| items.get(at)).cloned(), "{name}");
            }
        }
    }
}

/// Every search at every number, every hash, and every walk, with and without bounds, gives what the list gives.
#[test]
fn a_table_answers_as_its_list_does() {
    let mut random = Random::new(42);
    for (round, place) in [Place::simulated(), Place::real()].into_iter().enumerate() {
        for (i, (name, items)) in shapes(&mut random).into_iter().enumerate() {
            let block_bytes = [BLOCK_BYTES, 200, 1, 1 << 20][(i + round) % 4];
            let meta = place.build(&items, block_bytes);
            assert_eq!(meta.records, items.len() as u64);
            assert_eq!(meta.deletes, items.iter().filter(|item| item.value.is_none()).count() as u64);
            assert_eq!((&meta.smallest, &meta.largest), (&items[0].key, &items[items.len() - 1].key));
            assert_eq!((meta.number, meta.purged_seq), (NUMBER, 3));
            let seqs = || items.iter().map(|item| item.seq);
            assert_eq!((meta.first_seq, meta.last_seq), (seqs().min().unwrap(), seqs().max().unwrap()));
            let keys = probes(&items);
            for io in [Io::Mapped, Io::Positioned] {
                let table = place.open(&meta, io).unwrap();
                check_lookups(&table, &items, &mut random, name);
                for streaming in [false, true] {
                    let few: Vec<_> = keys.iter().step_by(1 + keys.len() / 60).cloned().collect();
                    check_cursor(&mut place.cursor(&table, streaming, None, None), &items, &few, name);
                    for _ in 0..4 {
                        let mut bound =
                            || random.below(5).checked_sub(1).map(|_| &keys[random.below(keys.len() as u64) as usize]);
                        let (low, high) = (bound(), bound());
                        let inside = |item: &&Item| {
                            low.is_none_or(|low| item.key >= *low) && high.is_none_or(|high| item.key < *high)
                        };
                        let part: Vec<Item> = items.iter().filter(inside).cloned().collect();
                        let (low, high) = (low.map(|k| &k[..]), high.map(|k| &k[..]));
                        check_cursor(
                            &mut place.cursor(&table, streaming, low, high),
                            &part,
                            &few[..few.len().min(20)],
                            name,
                        );
                    }
                }
                assert_eq!(table.verify(&*place.read()).unwrap(), (items.len() as u64, meta.len), "{name}");
                assert!(table.memory() > 0);
            }
            place.env.unlink(&place.dir.join(super::name(NUMBER))).unwrap();
        }
    }
}

/// Entries stay usable after the cursor has stepped on, until it is told to release; then only what it needs is kept.
#[test]
fn entries_last_until_they_are_released() {
    let place = Place::simulated();
    let items: Vec<Item> = (0..5000u64).map(|i| put(format!("{i:05}"), i + 1, vec![7; 100])).collect();
    let meta = place.build(&items, 4096);
    for (io, streaming) in [(Io::Mapped, false), (Io::Positioned, false), (Io::Mapped, true)] {
        let table = place.open(&meta, io).unwrap();
        let mut cursor = place.cursor(&table, streaming, None, None);
        for forward in [true, false] {
            cursor.seek_to_end_of(forward).unwrap();
            let mut entries = Vec::new();
            while let Some(entry) = cursor.entry() {
                entries.push(entry);
                cursor.step(forward).unwrap();
            }
            let mut seen: Vec<Item> = entries.iter().map(|entry| item_of(&cursor, entry)).collect();
            if !forward {
                seen.reverse();
            }
            assert!(seen == items);
            assert_eq!(cursor.windows() > 1, io == Io::Positioned || streaming);
            cursor.release();
            assert!(cursor.windows() <= 1);
        }
    }
}

/// A reader of versions sees the same through a merge of two tables, both ways, as a look at the list says; and what the cursors keep
/// meanwhile stays small.
#[test]
fn a_merge_of_tables_shows_what_is_visible() {
    let mut random = Random::new(7);
    for io in [Io::Mapped, Io::Positioned] {
        let places = [Place::simulated(), Place::simulated()];
        let mut lists = [Vec::new(), Vec::new()];
        for seq in 1..3000u64 {
            let value = (random.below(3) > 0).then(|| random.bytes(50));
            let item = Item { key: format!("k{:010}", random.below(800)).into_bytes(), seq, value };
            lists[usize::from(seq > 1500)].push(item);
        }
        let lists = lists.map(sorted);
        let cursors = |places: &[Place; 2]| -> Vec<TableCursor> {
            let cursor = |(place, list): (&Place, &Vec<Item>)| {
                let meta = place.build(list, 500);
                let table = place.open(&meta, io).unwrap();
                place.env.unlink(&place.dir.join(super::name(NUMBER))).unwrap();
                let mut cursor = table.cursor(Reading::Shared, None, None).unwrap();
                cursor.set_skip(1);
                assert!(Arc::ptr_eq(cursor.walk().table(), &table));
                cursor
            };
            places.iter().zip(&lists).map(cursor).collect()
        };
        let all = sorted(lists.concat());
        for seq in [0, 1, 700, 1500, 2000, 5000] {
            let mut keys: Vec<&Vec<u8>> = all.iter().map(|item| &item.key).collect();
            keys.dedup();
            let live = |key: &&Vec<u8>| newest(&all, key, seq).filter(|item| item.value.is_some()).cloned();
            let expected: Vec<Item> = keys.iter().filter_map(live).collect();
            let mut visible = Visible::new(cursors(&places), seq, Arc::default());
            for forward in [true, false] {
                visible.seek_to_end_of(forward).unwrap();
                let mut seen = Vec::new();
                while let Some((cursor, passed)) = visible.current() {
                    let entry = passed.copied().or(cursor.entry()).unwrap();
                    seen.push(item_of(cursor, &entry));
                    assert!(cursor.windows() < 40, "{}", cursor.windows());
                    visible.step(forward).unwrap();
                }
                if !forward {
                    seen.reverse();
                }
                assert!(seen == expected, "at {seq}: {} of {}", seen.len(), expected.len());
            }
        }
    }
}

/// Sizes and parting keys are right to a block, and parting goes on behind any number of versions of one key.
#[test]
fn a_table_is_measured_and_parted_by_blocks() {
    let place = Place::simulated();
    let mut items: Vec<Item> = (0..2000u64).map(|i| put(format!("{i:05}"), 1, vec![1; 80])).collect();
    items.extend((2..2000).map(|seq| put("01000", seq, vec![2; 80])));
    let items = sorted(items);
    let meta = place.build(&items, 1000);
    for io in [Io::Mapped, Io::Positioned] {
        let table = place.open(&meta, io).unwrap();
        assert_eq!(table.bytes_between(None, None).unwrap(), meta.data_bytes);
        assert_eq!(table.bytes_between(Some(b"x"), None).unwrap(), 0);
        assert_eq!(table.bytes_between(Some(b"01500"), Some(b"00500")).unwrap(), 0);
        for (low, high) in [(0, 100), (900, 1001), (1500, 2000), (77, 78)] {
            let inside = |item: &&Item| {
                (format!("{low:05}")..format!("{high:05}")).contains(&String::from_utf8_lossy(&item.key).into_owned())
            };
            let bytes: usize = items
                .iter()
                .filter(inside)
                .map(|item| record::encoded_len(5, item.value.as_ref().unwrap().len()))
                .sum();
            let told = table
                .bytes_between(Some(format!("{low:05}").as_bytes()), Some(format!("{high:05}").as_bytes()))
                .unwrap();
            assert!(told.abs_diff(bytes as u64) < 2500 + bytes as u64 / 20, "{low}..{high}: {told} for {bytes}");
        }
        let (mut low, mut parts) = (None::<Vec<u8>>, 0);
        while let Some(key) = table.split_key(low.as_deref(), 20_000).unwrap() {
            assert!(low.as_ref().is_none_or(|low| key > *low), "{low:?} {key:?}");
            let bytes = table.bytes_between(low.as_deref(), Some(&key)).unwrap();
            // A key with many versions starts in an earlier block than the one that the measure led to.
            let odd = key == b"01000" || low.as_deref() == Some(b"01000");
            assert!(odd || (18_000..23_000).contains(&bytes), "{bytes} up to {key:?}");
            (low, parts) = (Some(key), parts + 1);
        }
        assert!(parts > 8, "{parts}");
        assert!(table.split_key(Some(b"01000"), 0).unwrap().unwrap().as_slice() > b"01000");
        assert_eq!(table.split_key(None, u64::MAX).unwrap(), None);
        assert_eq!(table.split_key(Some(b"x"), 0).unwrap(), None);
    }
}

/// A record that was damaged before it was copied is damaged in the table.
#[test]
fn damage_moves_with_its_record() {
    let place = Place::simulated();
    let (source, offsets) = place.source(&[put("a", 1, "sound"), put("b", 2, "damaged")]);
    let mut builder = place.builder(4096);
    for offset in offsets {
        let (bytes, header) = source.record_at(offset).unwrap();
        let mut bytes = bytes.to_vec();
        bytes[header.value_at()] ^= u8::from(header.seq() == 2);
        builder.add(&source, &bytes, &header, offset, 0).unwrap();
    }
    let (meta, _) = builder.finish(0).unwrap();
    let table = place.open(&meta, Io::Mapped).unwrap();
    assert_eq!(table.verify(&*place.read()).unwrap_err().kind(), ErrorKind::Corruption);
    let mut cursor = place.cursor(&table, false, None, None);
    cursor.seek_to_end_of(true).unwrap();
    assert_eq!(cursor.key(), b"a");
    assert_eq!(cursor.step(true).unwrap_err().kind(), ErrorKind::Corruption);
}

/// The builder takes records in order, and nothing else.
#[test]
fn the_builder_refuses_what_is_out_of_order() {
    let place = Place::simulated();
    let items =
        [put("b", 5, "new"), put("b", 5, "same"), put("b", 6, "newer"), put("a", 9, "less"), put("c", 1, "more")];
    let (source, offsets) = place.source(&items);
    let mut builder = place.builder(4096);
    assert!(builder.is_empty());
    let add = |builder: &mut Builder, i: usize| {
        let (bytes, header) = source.record_at(offsets[i]).unwrap();
        builder.add(&source, &bytes, &header, offsets[i], 0)
    };
    add(&mut builder, 0).unwrap();
    for i in [0, 1, 2, 3] {
        assert_eq!(add(&mut builder, i).unwrap_err().kind(), ErrorKind::Internal, "{i}");
    }
    let (bytes, header) = source.record_at(offsets[4]).unwrap();
    assert_eq!(builder.add(&source, &bytes[..10], &header, offsets[4], 0).unwrap_err().kind(), ErrorKind::Internal);
    add(&mut builder, 4).unwrap();
    let (meta, _) = builder.finish(0).unwrap();
    assert_eq!((meta.records, meta.keys), (2, 2));
    let table = place.open(&meta, Io::Mapped).unwrap();
    table.verify(&*place.read()).unwrap();
    place.env.unlink(&place.dir.join(super::name(NUMBER))).unwrap();
    assert_eq!(place.builder(1).finish(0).unwrap_err().kind(), ErrorKind::Internal, "no record");
}

/// A table is made of records of another table as well as of a log's, and comes out the same.
#[test]
fn a_table_of_a_tables_records_is_the_same() {
    let place = Place::simulated();
    let items: Vec<Item> = (0..500u64).map(|i| put(format!("{i:05}"), i + 1, vec![7; i as usize * 10])).collect();
    let meta = place.build(&items, 4096);
    let table = place.open(&meta, Io::Positioned).unwrap();
    let path = Path::new("/db/000013.tbl");
    let mut builder = Builder::create(&*place.env, path, DATABASE, HASH_SEED, 13, 4096).unwrap();
    let mut cursor = place.cursor(&table, true, None, None);
    cursor.seek_to_end_of(true).unwrap();
    while let Some(entry) = cursor.entry() {
        builder.add(table.file(), cursor.record(), &entry.stored.header, entry.stored.offset, 0).unwrap();
        cursor.step(true).unwrap();
        cursor.release();
    }
    let (copied, _) = builder.finish(3).unwrap();
    assert_eq!(Meta { number: NUMBER, footer_check: meta.footer_check, ..copied.clone() }, meta);
    let copy = place.open(&copied, Io::Mapped).unwrap();
    assert_eq!(copy.verify(&*place.env.open_read(path).unwrap().unwrap()).unwrap().0, 500);
    check_cursor(&mut copy.cursor(Reading::Shared, None, None).unwrap(), &items, &[], "copy");
}

/// Names are taken as this program writes them only.
#[test]
fn names_are_exact() {
    let names = [
        "000012.tbl",
        "12.tbl",
        "000000.tbl",
        "000012.log",
        "1000000.tbl",
        "0000012.tbl",
        "4294967295.tbl",
        "000013.tbl.tmp",
    ];
    let names: Vec<std::ffi::OsString> = names.iter().map(Into::into).collect();
    assert_eq!(super::numbers(&names).into_keys().collect::<Vec<_>>(), [12, 1_000_000]);
}

/// What building, walking and looking up cost, the least of several rounds; for people:
/// `cargo test --release --lib table::tests::costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn costs() {
    let place = Place::real();
    let mut random = Random::new(3);
    let items: Vec<Item> = (0..480_000u64).map(|i| put(format!("{i:016}"), i + 1, vec![i as u8; 100])).collect();
    let (source, offsets) = place.source(&items);
    let mut least: std::collections::BTreeMap<String, f64> = std::collections::BTreeMap::new();
    let mut time = |what: String, n: usize, work: &mut dyn FnMut()| {
        let start = place.env.now();
        work();
        let took = (place.env.now() - start).as_nanos() as f64 / n as f64;
        let least = least.entry(what).or_insert(took);
        *least = least.min(took);
    };
    let keys: Vec<(&[u8], u64)> = (0..40_000)
        .map(|_| &items[random.below(480_000) as usize].key)
        .map(|key| (key.as_slice(), coding::hash_seeded(key, HASH_SEED)))
        .collect();
    for _ in 0..5 {
        let n = offsets.len();
        time("a record: decode and check, for comparison".to_owned(), n, &mut || {
            for &offset in &offsets {
                let bytes = source.tail(offset);
                let header = Header::decode(bytes).unwrap();
                source.check(bytes, &header, offset).unwrap();
            }
        });
        let mut builder = place.builder(BLOCK_BYTES);
        time("a record: add".to_owned(), n, &mut || {
            for &offset in &offsets {
                let bytes = source.tail(offset);
                let header = Header::decode(bytes).unwrap();
                builder.add(&source, bytes, &header, offset, 0).unwrap();
            }
        });
        let (mut builder, mut meta) = (Some(builder), None);
        time("a record: finish, with its sync".to_owned(), n, &mut || {
            meta = Some(builder.take().unwrap().finish(0).unwrap().0)
        });
        let meta = meta.unwrap();
        for io in [Io::Mapped, Io::Positioned] {
            let mut table = None;
            time(format!("a table: {io:?}: open and load"), 1, &mut || {
                let opened = place.open(&meta, io).unwrap();
                opened.find(b"x", 1).unwrap();
                opened.search(&items[7].key, 7).unwrap();
                table = Some(opened);
            });
            let table = table.unwrap();
            for streaming in [false, true] {
                for forward in [true, false] {
                    time(format!("a record: {io:?}: walk, streaming {streaming}, forward {forward}"), n, &mut || {
                        let mut cursor = place.cursor(&table, streaming, None, None);
                        cursor.seek_to_end_of(forward).unwrap();
                        while cursor.entry().is_some() {
                            cursor.step(forward).unwrap();
                            cursor.release();
                        }
                    });
                }
            }
            let n = keys.len();
            time(format!("a key: {io:?}: find"), n, &mut || {
                assert!(keys.iter().all(|(key, hash)| table.find(key, *hash).unwrap().is_some()));
            });
            time(format!("a key: {io:?}: find none"), n, &mut || {
                assert!(keys.iter().all(|(key, hash)| table.find(key, hash.rotate_left(7)).unwrap().is_none()));
            });
            time(format!("a key: {io:?}: search"), n, &mut || {
                assert!(keys.iter().all(|(key, _)| table.search(key, SEQ_MAX).unwrap().is_some()));
            });
        }
        let table = place.open(&meta, Io::Mapped).unwrap();
        let mut sum = 0;
        time("a key: hashes".to_owned(), n, &mut || {
            let add = |hash32, offset| {
                sum ^= u64::from(hash32) ^ offset;
                Ok(())
            };
            table.hashes(add).unwrap();
        });
        time("a record: verify".to_owned(), n, &mut || assert!(table.verify(&*place.read()).is_ok()));
        assert_ne!(sum, 1);
        place.env.unlink(&place.dir.join(super::name(NUMBER))).unwrap();
    }
    for (what, took) in least {
        println!("{took:9.1} ns {what}");
    }
}

/// A walk that has come far verifies whole blocks, and what it gives is the same: all that stands before a damaged record, and then an error.
#[test]
fn a_walk_that_goes_far_passes_no_damage() {
    let items: Vec<Item> = (0..300u64).map(|i| put(format!("key:{i:04}"), i + 1, vec![i as u8; 20])).collect();
    let place = Place::simulated();
    let meta = place.build(&items, 1024);
    let bytes = place.bytes();
    let table = place.open(&meta, Io::Mapped).unwrap();
    let blocks = table.fences().unwrap().blocks();
    let mut whole = 0;
    for forward in [true, false] {
        let mut cursor = place.cursor(&table, false, None, None);
        cursor.seek_to_end_of(forward).unwrap();
        while current(&cursor).is_some() {
            whole += u32::from(cursor.walk().is_whole());
            cursor.step(forward).unwrap();
        }
    }
    assert!(whole > 500, "{whole} records of {blocks} blocks, twice, were verified as part of a whole");
    let (mut random, mut visited, mut enoughs) = (Random::new(23), 0, 0);
    // Where records stand, in the order of keys.
    let mut starts = Vec::new();
    let note = |_, offset| {
        starts.push(offset);
        Ok(())
    };
    table.hashes(note).unwrap();
    starts.sort_unstable();
    for (round, forward) in (0..1000).map(|round| (round, round % 2 == 0)) {
        let at = random.below(items.len() as u64) as usize;
        let len = table.record_at(starts[at]).unwrap().1.unpadded_len() as u64;
        let mut bad = bytes.clone();
        bad[(starts[at] + random.below(len)) as usize] ^= 1 << random.below(8);
        place.replace(&bad);
        let io = if round % 3 == 0 { Io::Positioned } else { Io::Mapped };
        let damaged = place.open(&meta, io).unwrap();
        let mut cursor = place.cursor(&damaged, round % 5 == 0, None, None);
        let mut seen = Vec::new();
        let mut moved = cursor.seek_to_end_of(forward);
        while let (Ok(()), Some(item)) = (&moved, current(&cursor)) {
            seen.push(item);
            if round % 4 < 2 {
                // As far as it goes by itself: it tells nothing, and the step behind it meets the damage.
                let stretch = Stretch { forward, seq: u64::MAX, lead: u64::MAX };
                let mut shown = 0;
                let mut show = |key: &[u8], value: &[u8]| {
                    let number = if forward { seen.len() } else { items.len() - 1 - seen.len() };
                    seen.push(items[number].clone());
                    shown += 1;
                    assert_eq!(
                        (key, Some(value)),
                        (&*items[number].key, items[number].value.as_deref()),
                        "round {round}"
                    );
                    shown < 5
                };
                let enough = cursor.visit(stretch, &mut show);
                assert_eq!(enough, shown == 5);
                enoughs += u32::from(enough);
                visited += shown;
            }
            moved = cursor.step(forward);
        }
        assert_eq!(moved.unwrap_err().kind(), crate::ErrorKind::Corruption, "round {round}");
        if !forward {
            seen.reverse();
        }
        let expected = if forward { &items[..at] } else { &items[at + 1..] };
        assert!(seen == expected, "round {round}: {} records, and the damage is in number {at}", seen.len());
    }
    assert!(visited > 10_000 && enoughs > 1000, "{visited}, {enoughs}");
}

/// A merge gives its table a new check of all records, so it looks at each of those that it takes: a block whose checks are right, with a record
/// in it whose checksum is not, goes no further.
#[test]
fn a_merge_looks_at_each_record() {
    let items: Vec<Item> = (0..300u64).map(|i| put(format!("key:{i:04}"), i + 1, vec![i as u8; 20])).collect();
    let place = Place::simulated();
    let meta = place.build(&items, 1024);
    let mut bytes = place.bytes();
    let table = place.open(&meta, Io::Mapped).unwrap();
    let fences = table.fences().unwrap();
    let (start, end) = fences.bounds(fences.blocks() / 2);
    let (start, end) = (start as usize, end as usize);
    let salt = FileSalt::new(DATABASE, NUMBER);
    let layout = super::block::Layout::read(&bytes[start..end], salt, start as u64).unwrap();
    bytes[start + 40] ^= 1;
    let starts: Vec<u16> =
        (0..layout.count).map(|i| (layout.start(&bytes[start..end], i).unwrap() / 8) as u16).collect();
    let records = &bytes[start..start + layout.records_end];
    let mut sealed = records.to_vec();
    let whole = Some(super::block::whole_check(records));
    super::block::put_trailer(&mut sealed, &starts, whole, salt, start as u64);
    bytes[start..end].copy_from_slice(&sealed);
    place.replace(&bytes);
    let table = place.open(&meta, Io::Mapped).unwrap();
    for (streaming, is_refused) in [(false, false), (true, true)] {
        let mut cursor = place.cursor(&table, streaming, None, None);
        let mut moved = cursor.seek_to_end_of(true);
        while moved.is_ok() && current(&cursor).is_some() {
            moved = cursor.step(true);
        }
        assert_eq!(moved.is_err(), is_refused, "streaming: {streaming}");
    }
    assert!(table.verify(&*place.read()).is_err());
}

/// Where fences are lost, a damaged record that was as long as a trailer would be there was taken for one: it was in no list of what is lost. Found by a
/// reader.
#[test]
fn a_damaged_record_is_no_trailer() {
    use super::HEADER_BYTES;
    use super::salvage::records::{Piece, Records};
    let items: Vec<Item> = (0..300u64).map(|i| put(format!("key:{i:04}"), i + 1, vec![i as u8; 14])).collect();
    let place = Place::simulated();
    let meta = place.build(&items, 4096);
    let bytes = place.bytes();
    let salt = FileSalt::new(DATABASE, NUMBER);
    for damaged in 1..40u64 {
        let at = HEADER_BYTES as u64 + 40 * damaged;
        let mut bad = bytes.clone();
        bad[at as usize + 20] ^= 1;
        place.replace(&bad);
        let file = crate::lenient::Lenient::open(&*place.env, &place.dir.join(super::name(NUMBER))).unwrap();
        let end = HEADER_BYTES as u64 + meta.data_bytes;
        let mut records = Records::new(file, salt, HASH_SEED, None, end, Some(meta.clone()));
        let (mut count, mut gaps) = (0, Vec::new());
        while let Some(piece) = records.next().unwrap() {
            match piece {
                Piece::Record(_) => count += 1,
                Piece::Gap(gap) => gaps.push((gap.start, gap.end)),
            }
        }
        assert_eq!((count, &*gaps), (299, &[(at, at + 40)][..]), "number {damaged}");
    }
}
