//! A reader of a store's files that was written after `docs/format.md` and shares no code with the engine.
//!
//! It proves the page: it takes every byte of a file, in order, for something that the page names, recomputes every check by the
//! page's formulas, and finds what the store holds. It reads what is whole; anything else is a panic that says where the
//! file and the page differ.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Keys and values.
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;
/// File names and bytes.
pub type Files = BTreeMap<String, Vec<u8>>;

// --- conventions -------------------------------------------------------------------------------------------

const CONTENT: u64 = 0x9e37_79b9_7f4a_7c15;
const PLACE: u64 = 0xbb67_ae85_84ca_a73b;
const FILE: u64 = 0x3c6e_f372_fe94_f82b;

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

fn half(word: u64) -> u32 {
    (word >> 32) as u32 ^ word as u32
}

fn up_8(n: usize) -> usize {
    n.div_ceil(8) * 8
}

/// `at(N, o)` of one file.
#[derive(Clone, Copy)]
struct Salt(u64);

impl Salt {
    fn of(id: u128, number: u64) -> Salt {
        let database = fold(id as u64 ^ PLACE, (id >> 64) as u64 ^ CONTENT);
        Salt(fold(database, number ^ FILE))
    }

    fn at(self, offset: usize) -> u64 {
        assert_eq!(offset % 8, 0);
        self.0 ^ (offset as u64 / 8)
    }

    /// The check that most parts have.
    fn check(self, bytes: &[u8], offset: usize) -> u32 {
        half(xxh3_64_with_seed(bytes, self.at(offset)))
    }
}

/// Takes a file from its first byte to its last.
struct Taker<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Taker<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let taken = self.bytes.get(self.at..self.at + n);
        self.at += n;
        taken.unwrap_or_else(|| panic!("{}: ends before {}", self.name, self.at))
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.take(16).try_into().unwrap())
    }

    fn is(&mut self, what: &[u8]) {
        let at = self.at;
        assert_eq!(self.take(what.len()), what, "{} at {at}", self.name);
    }

    fn zeros(&mut self, n: usize) {
        let at = self.at;
        assert!(self.take(n).iter().all(|b| *b == 0), "{} at {at}: not {n} zeros", self.name);
    }

    fn pad(&mut self) {
        self.zeros(up_8(self.at) - self.at);
    }

    fn equals<T: PartialEq + std::fmt::Debug>(&self, found: T, told: T, what: &str) {
        assert_eq!(found, told, "{} before {}: {what}", self.name, self.at);
    }

    /// LEB128, no longer than needed.
    fn varint(&mut self) -> usize {
        let (mut value, mut bytes) = (0_u64, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << (7 * bytes);
            bytes += 1;
            if byte < 0x80 {
                assert!(bytes == 1 || byte != 0, "{} at {}: a varint that is longer than it needs", self.name, self.at);
                assert!(value <= u64::from(u32::MAX) && bytes <= 5);
                return value as usize;
            }
        }
    }

    // Of edits.

    fn number(&mut self) -> u64 {
        match self.take(1)[0] {
            251 => u64::from(self.u16()),
            252 => u64::from(self.u32()),
            253 => self.u64(),
            small => u64::from(small),
        }
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.number()).map(|_| item(self)).collect()
    }

    fn key(&mut self) -> Vec<u8> {
        let len = self.number() as usize;
        self.take(len).to_vec()
    }

    fn optional_key(&mut self) -> Option<Vec<u8>> {
        match self.take(1)[0] {
            0 => None,
            1 => Some(self.key()),
            other => panic!("{} at {}: {other} where an optional key is", self.name, self.at),
        }
    }
}

// --- record ------------------------------------------------------------------------------------------------

/// A record: where it stands and what it says.
#[derive(Clone, Debug)]
pub struct Record {
    pub at: usize,
    pub len: usize,
    pub seq: u64,
    pub kind: u8,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub hash: u64,
    pub checksum: u32,
}

fn record(taker: &mut Taker<'_>, salt: Salt, hash_seed: u64) -> Record {
    let at = taker.at;
    let checksum = taker.u32();
    let seq_kind = taker.u64();
    let (klen, vlen) = (taker.varint(), taker.varint());
    let (key, value) = (taker.take(klen).to_vec(), taker.take(vlen).to_vec());
    taker.pad();
    let (k, v) = (xxh3_64_with_seed(&key, hash_seed), xxh3_64(&value));
    let told = half(fold(k ^ seq_kind, v ^ CONTENT)) ^ half(fold(salt.at(at), PLACE));
    taker.equals(checksum, told, "the checksum of a record");
    let kind = seq_kind as u8;
    assert!(matches!(kind, 1..=3) && (kind != 2 || vlen == 0));
    Record { at, len: taker.at - at, seq: seq_kind >> 8, kind, key, value, hash: k, checksum }
}

// --- log ---------------------------------------------------------------------------------------------------

/// A log segment.
pub struct Log {
    pub number: u64,
    pub first_seq: u64,
    /// Its predecessor and where that ended.
    pub predecessor: (u64, u64),
    pub frames: Vec<(usize, Vec<(u64, Record)>)>,
    /// Where its last frame ends.
    pub end: usize,
}

/// `None`: one that was prepared and never used.
pub fn log(name: &str, bytes: &[u8], id: u128, hash_seed: u64) -> Option<Log> {
    if bytes.iter().all(|b| *b == 0) {
        return None;
    }
    let number: u64 = name.strip_suffix(".log").unwrap().parse().unwrap();
    let (salt, mut taker) = (Salt::of(id, number), Taker { name, bytes, at: 0 });
    taker.is(b"kvs log\n");
    assert_eq!(taker.u32(), 1);
    let features = taker.u32();
    assert!(features <= 1);
    let (found, told) = (taker.u128(), taker.u64());
    assert_eq!((found, told), (id, number));
    let first_seq = taker.u64();
    let predecessor = (taker.u64(), taker.u64());
    let check = taker.u32();
    taker.equals(check, salt.check(&bytes[..64], 0), "the check of the header");
    taker.zeros(12);

    let (mut frames, mut next) = (Vec::new(), first_seq);
    while bytes.get(taker.at..taker.at + 24).is_some_and(|head| head[..4] != [0; 4]) {
        let at = taker.at;
        let len = taker.u32() as usize * 8;
        let (count, first, lag) = (taker.u32(), taker.u64(), taker.u32());
        assert_eq!(first, next, "{name} at {at}: a gap");
        assert!(count >= 1 && (lag == u32::MAX || u64::from(lag) < first));
        let check = taker.u32();
        let (mut covered, mut records) = (bytes[at..at + 20].to_vec(), Vec::new());
        for n in 0..count {
            let prev = taker.u64();
            let record = record(&mut taker, salt, hash_seed);
            assert_eq!(record.seq, first + u64::from(n));
            assert!(record.kind != 3 || features == 1 && (prev == 0 || prev == u64::MAX));
            covered.extend_from_slice(&prev.to_le_bytes());
            covered.extend_from_slice(&record.checksum.to_le_bytes());
            records.push((prev, record));
        }
        taker.equals(taker.at, at + len, "the length of a frame");
        taker.equals(check, salt.check(&covered, at), "the check of a frame");
        next += u64::from(count);
        frames.push((at, records));
    }
    let end = taker.at;
    taker.zeros(bytes.len() - end);
    Some(Log { number, first_seq, predecessor, frames, end })
}

// --- table -------------------------------------------------------------------------------------------------

/// What the properties say, and the manifest as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    pub smallest: Vec<u8>,
    pub largest: Vec<u8>,
    pub first_seq: u64,
    pub last_seq: u64,
    pub records: u64,
    pub keys: u64,
    pub deletes: u64,
    pub data_bytes: u64,
    pub purged_seq: u64,
}

fn properties(taker: &mut Taker<'_>) -> Properties {
    Properties {
        smallest: taker.key(),
        largest: taker.key(),
        first_seq: taker.number(),
        last_seq: taker.number(),
        records: taker.number(),
        keys: taker.number(),
        deletes: taker.number(),
        data_bytes: taker.number(),
        purged_seq: taker.number(),
    }
}

/// A table.
pub struct Table {
    pub properties: Properties,
    /// Where each block starts, and where the last one ends.
    pub blocks: Vec<usize>,
    /// In order.
    pub records: Vec<Record>,
    /// Names of all parts, and where they start.
    pub parts: Vec<(&'static str, usize)>,
    pub footer_check: u32,
    /// Do trailers say it of all records of a block together, too?
    pub has_whole_checks: bool,
}

pub fn table(name: &str, bytes: &[u8], id: u128, hash_seed: u64) -> Table {
    let number: u64 = name.strip_suffix(".tbl").unwrap().parse().unwrap();
    let salt = Salt::of(id, number);
    // The footer says where everything is.
    let footer_at = bytes.len() - 104;
    let mut taker = Taker { name, bytes, at: footer_at };
    let counts = [taker.u64(), taker.u64(), taker.u64()];
    let [fences_at, pages_at, index_at, properties_at, properties_len] = [(); 5].map(|()| taker.u64() as usize);
    let [fences_check, index_check, properties_check, records_check] = [(); 4].map(|()| taker.u32());
    taker.zeros(8);
    let footer_check = taker.u32();
    taker.equals(footer_check, salt.check(&bytes[footer_at..footer_at + 88], footer_at), "the check of the footer");
    taker.zeros(4);
    taker.is(b"kvs end\n");
    let blocks_count = counts[0] as usize;

    taker.at = 0;
    taker.is(b"kvs tbl\n");
    assert_eq!(taker.u32(), 1);
    let features = taker.u32();
    assert!(features <= 1);
    let (found, told) = (taker.u128(), taker.u64());
    assert_eq!((found, told), (id, number));
    taker.zeros(16);
    let check = taker.u32();
    taker.equals(check, salt.check(&bytes[..56], 0), "the check of the header");
    taker.zeros(4);

    // The fences say where blocks start; what they are is read as it stands.
    let mut fences = Taker { name, bytes, at: fences_at };
    let prefixes: Vec<u64> = (0..blocks_count).map(|_| fences.u64()).collect();
    let starts: Vec<usize> = (0..=blocks_count).map(|_| fences.u32() as usize * 8).collect();
    assert_eq!((starts[0], starts[blocks_count]), (64, fences_at));
    let mut records = Vec::new();
    let mut firsts = Vec::new();
    for block in starts.windows(2) {
        assert_eq!(taker.at, block[0]);
        let n = u16::from_le_bytes(bytes[block[1] - 8..block[1] - 6].try_into().unwrap()) as usize;
        let flags = u16::from_le_bytes(bytes[block[1] - 6..block[1] - 4].try_into().unwrap());
        assert!(u32::from(flags) <= features, "{name}: the flags of a block");
        let trailer = block[1] - 8 - 8 * usize::from(flags) - up_8(2 * n);
        assert!(
            features == 0 || flags == u16::from(trailer - block[0] <= 32 << 10),
            "{name}: whether there is a check of all"
        );
        let mut offsets = Vec::new();
        firsts.push(records.len());
        while taker.at < trailer {
            offsets.push(((taker.at - block[0]) / 8) as u16);
            records.push(record(&mut taker, salt, hash_seed));
        }
        assert_eq!((taker.at, offsets.len()), (trailer, n), "{name}: the records of a block");
        let told: Vec<u16> = (0..n).map(|_| taker.u16()).collect();
        taker.equals(offsets, told, "where a block's records start");
        taker.pad();
        if flags == 1 {
            let whole = taker.u64();
            assert_eq!(whole, xxh3_64(&bytes[block[0]..trailer]), "{name}: the check of a block's records");
        }
        assert_eq!((taker.u16() as usize, taker.u16()), (n, flags));
        let check = taker.u32();
        taker.equals(check, salt.check(&bytes[trailer..block[1] - 4], block[0]), "the check of a block");
    }
    let chained = records.iter().fold(CONTENT, |c, record| fold(c ^ u64::from(record.checksum), PLACE));
    assert_eq!(half(chained), records_check, "{name}: the check of the records");
    for pair in records.windows(2) {
        assert!(pair[0].key < pair[1].key || pair[0].key == pair[1].key && pair[0].seq > pair[1].seq, "{name}: order");
    }

    assert_eq!(taker.at, fences_at);
    taker.at = fences.at;
    taker.pad();
    assert_eq!(taker.at, pages_at);
    assert_eq!(fences_check, salt.check(&bytes[fences_at..pages_at], fences_at), "{name}: the check of the fences");
    let (smallest, largest) = (&records[0].key, &records[records.len() - 1].key);
    let shared = smallest.iter().zip(largest).take_while(|(a, b)| a == b).count();
    for (first, prefix) in firsts.iter().zip(prefixes) {
        let mut eight = [0; 8];
        let rest = &records[*first].key[shared..];
        eight[..rest.len().min(8)].copy_from_slice(&rest[..rest.len().min(8)]);
        assert_eq!(u64::from_be_bytes(eight), prefix, "{name}: a fence");
    }

    let newest = |n: &usize| *n == 0 || records[*n - 1].key != records[*n].key;
    let entry = |n: usize| (records[n].hash >> 32) << 32 | (records[n].at as u64 / 8);
    let mut entries: Vec<u64> = (0..records.len()).filter(newest).map(entry).collect();
    entries.sort_unstable();
    let keys = entries.len();
    entries.resize(keys.div_ceil(64) * 64, u64::MAX);
    let mut index = Vec::new();
    for page in entries.chunks(64) {
        let at = taker.at;
        let found: Vec<u64> = (0..64).map(|_| taker.u64()).collect();
        assert_eq!(found, page, "{name}: the hash page at {at}");
        index.push(((page[0] >> 32) as u32, salt.check(&bytes[at..at + 512], at)));
    }
    assert_eq!(taker.at, index_at);
    for page in index {
        assert_eq!((taker.u32(), taker.u32()), page, "{name}: the hash index");
    }
    assert_eq!(taker.at, properties_at);
    assert_eq!(index_check, salt.check(&bytes[index_at..properties_at], index_at), "{name}: the check of the index");

    assert_eq!(taker.number(), 0, "V1");
    let told = properties(&mut taker);
    assert_eq!(taker.at, properties_at + properties_len);
    taker.pad();
    assert_eq!(taker.at, footer_at);
    let section = &bytes[properties_at..footer_at];
    assert_eq!(properties_check, salt.check(section, properties_at), "{name}: the check of the properties");
    let found = Properties {
        smallest: smallest.clone(),
        largest: largest.clone(),
        first_seq: records.iter().map(|r| r.seq).min().unwrap(),
        last_seq: records.iter().map(|r| r.seq).max().unwrap(),
        records: records.len() as u64,
        keys: keys as u64,
        deletes: records.iter().filter(|r| r.kind == 2).count() as u64,
        data_bytes: (fences_at - 64) as u64,
        purged_seq: told.purged_seq,
    };
    assert_eq!(found, told, "{name}: the properties");
    assert_eq!(counts, [blocks_count as u64, found.records, found.keys]);
    assert!(records.iter().all(|r| r.kind != 3), "{name}: a range delete in a table");
    let parts = vec![
        ("header", 0),
        ("blocks", 64),
        ("fences", fences_at),
        ("hash pages", pages_at),
        ("hash index", index_at),
        ("properties", properties_at),
        ("footer", footer_at),
    ];
    Table { properties: told, blocks: starts, records, parts, footer_check, has_whole_checks: features == 1 }
}

// --- manifest ----------------------------------------------------------------------------------------------

/// A part of a table.
#[derive(Clone, Debug)]
pub struct Slice {
    pub table: u64,
    pub low: Option<Vec<u8>>,
    pub high: Option<Vec<u8>>,
}

impl Slice {
    pub fn is_cut(&self) -> bool {
        self.low.is_some() || self.high.is_some()
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.low.as_deref().is_none_or(|low| low <= key) && self.high.as_deref().is_none_or(|high| key < high)
    }
}

/// What all edits together say.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    pub id: u128,
    pub hash_seed: u64,
    pub ends: BTreeMap<u64, u64>,
    pub void: Vec<u64>,
    pub next_file: u64,
    /// Length, check of the footer, properties.
    pub tables: BTreeMap<u64, (u64, u32, Properties)>,
    /// Newest first.
    pub runs: Vec<(u64, Vec<Slice>)>,
    pub flushed_seq: u64,
    pub flushed_log: (u64, u64),
    /// From, up to but without, number.
    pub ranges: Vec<(Vec<u8>, Vec<u8>, u64)>,
}

pub fn manifest(bytes: &[u8]) -> Manifest {
    let mut taker = Taker { name: "MANIFEST", bytes, at: 0 };
    taker.is(b"kvs man\n");
    assert_eq!(taker.u32(), 1);
    let features = taker.u32();
    let id = taker.u128();
    assert_eq!(taker.u64(), bytes.len() as u64);
    let salt = Salt::of(id, 0);
    let check = taker.u32();
    taker.equals(check, salt.check(&bytes[..40], 0), "the check of the header");
    taker.zeros(12);

    let mut manifest = Manifest { id, ..Manifest::default() };
    let mut uses_tables = false;
    let mut order = Vec::new();
    while taker.at < bytes.len() {
        let at = taker.at;
        let n = taker.u32() as usize;
        let check = taker.u32();
        let edit = &bytes[at + 8..at + 8 + n];
        taker.equals(check, half(xxh3_64_with_seed(edit, salt.at(at) ^ (n as u64) << 32)), "the check of an edit");
        let variant = taker.number();
        order.push(variant);
        uses_tables |= variant > 1;
        match variant {
            0 => manifest.hash_seed = taker.number(),
            1 => {
                manifest.ends.extend(taker.list(|taker| (taker.number(), taker.number())));
                manifest.void.extend(taker.list(Taker::number));
                manifest.next_file = manifest.next_file.max(taker.number());
            }
            2 => {
                let (number, len, footer_check) = (taker.number(), taker.number(), taker.number() as u32);
                manifest.tables.insert(number, (len, footer_check, properties(&mut taker)));
            }
            3 => {
                let slice = |taker: &mut Taker<'_>| Slice {
                    table: taker.number(),
                    low: taker.optional_key(),
                    high: taker.optional_key(),
                };
                let run = (taker.number(), taker.list(slice));
                manifest.runs.push(run);
            }
            4 => {
                manifest.flushed_seq = taker.number();
                manifest.flushed_log = (taker.number(), taker.number());
            }
            5 => {
                let range = (taker.key(), taker.key(), taker.number());
                manifest.ranges.push(range);
            }
            other => panic!("MANIFEST at {at}: an edit {other}"),
        }
        taker.equals(taker.at, at + 8 + n, "the length of an edit");
        taker.pad();
    }
    assert_eq!(features, u32::from(uses_tables));
    // `Create`, `Recovered`, `Flushed`, tables by number, runs, range deletes oldest first.
    let rank = |variant: &u64| [0, 1, 3, 4, 2, 5][*variant as usize];
    assert!(order[0] == 0 && order.is_sorted_by_key(rank) && manifest.ranges.is_sorted_by_key(|range| range.2));
    manifest
}

// --- store -------------------------------------------------------------------------------------------------

/// A store.
pub struct Store {
    pub manifest: Manifest,
    /// Those that the manifest names.
    pub tables: BTreeMap<u64, Table>,
    /// Those that count, in order.
    pub logs: Vec<Log>,
}

/// All files that count, and the rules that tie them together.
pub fn store(files: &Files) -> Store {
    let manifest = manifest(&files["MANIFEST"]);
    let (id, seed) = (manifest.id, manifest.hash_seed);
    let mut tables = BTreeMap::new();
    for (number, (len, footer_check, properties)) in &manifest.tables {
        let name = format!("{number:06}.tbl");
        let table = table(&name, &files[&name], id, seed);
        let told = (*len, *footer_check, properties);
        assert_eq!((files[&name].len() as u64, table.footer_check, &table.properties), told, "{name}");
        assert!(*number < manifest.next_file);
        tables.insert(*number, table);
    }
    for (run, slices) in &manifest.runs {
        for pair in slices.windows(2) {
            let (before, after) = (&tables[&pair[0].table].properties, &tables[&pair[1].table].properties);
            let last = pair[0].high.as_ref().map_or(&before.largest, |high| high.min(&before.largest));
            let first = pair[1].low.as_ref().map_or(&after.smallest, |low| low.max(&after.smallest));
            assert!(last <= first, "run {run}: slices overlap");
        }
    }
    let mut logs = Vec::new();
    let mut last = (manifest.flushed_log, manifest.flushed_seq + 1);
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".log")) {
        let number: u64 = name[..name.len() - 4].parse().unwrap();
        if number <= manifest.flushed_log.0 || manifest.void.contains(&number) {
            continue;
        }
        let Some(log) = log(name, bytes, id, seed) else { continue };
        assert_eq!((log.predecessor, log.first_seq), last, "{name} does not follow");
        assert_eq!(manifest.ends.get(&number).unwrap_or(&(log.end as u64)), &(log.end as u64), "{name}: its end");
        let writes: usize = log.frames.iter().map(|(_, records)| records.len()).sum();
        last = ((number, log.end as u64), log.first_seq + writes as u64);
        logs.push(log);
    }
    Store { manifest, tables, logs }
}

impl Store {
    /// What it holds: of each key the newest version, unless that is a tombstone or a range delete hides it.
    pub fn contents(&self) -> Map {
        let mut newest: BTreeMap<&[u8], &Record> = BTreeMap::new();
        let mut ranges = self.manifest.ranges.clone();
        // Newest last: what is in a run is older than what is in those before it, and all of it older than the logs.
        for (_, slices) in self.manifest.runs.iter().rev() {
            let mut run: BTreeMap<&[u8], &Record> = BTreeMap::new();
            for slice in slices {
                for record in self.tables[&slice.table].records.iter().filter(|record| slice.holds(&record.key)) {
                    // The first one of a key is its newest here.
                    run.entry(&record.key).or_insert(record);
                }
            }
            for (key, record) in run {
                let older = newest.insert(key, record);
                assert!(older.is_none_or(|older| older.seq < record.seq), "a run is older than the one behind it");
            }
        }
        for (_, record) in self.logs.iter().flat_map(|log| &log.frames).flat_map(|(_, records)| records) {
            match record.kind {
                3 => ranges.push((record.key.clone(), record.value.clone(), record.seq)),
                _ => drop(newest.insert(&record.key, record)),
            }
        }
        let hidden = |r: &Record| ranges.iter().any(|(from, to, seq)| *from <= r.key && r.key < *to && r.seq < *seq);
        let seen = newest.into_values().filter(|record| record.kind == 1 && !hidden(record));
        seen.map(|record| (record.key.clone(), record.value.clone())).collect()
    }

    /// Is a slice somewhere a part of its table?
    pub fn has_cut_slice(&self) -> bool {
        self.manifest.runs.iter().flat_map(|(_, slices)| slices).any(Slice::is_cut)
    }
}
