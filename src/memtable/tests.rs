//! Order over segments that hold range deletes, too.

use std::path::Path;

use super::*;
use crate::coding;
use crate::env::memory::MemoryEnv;
use crate::env::os::OsEnv;
use crate::env::{Env, SegmentFile, SegmentKind};
use crate::error::ErrorKind;
use crate::log::frame::{FRAME_HEADER_BYTES, FrameCheck, PREV_BYTES};
use crate::log::segment::{Appender, SegmentHeader};
use crate::record::{self, HEADER_BYTES_MAX, Kind, SEQ_MAX, seq_kind};

const SEED: u64 = 7;

/// A segment in memory, written record by record: a frame each, numbered from 1.
struct Log {
    appender: Appender,
    next_seq: Seq,
}

impl Log {
    fn new(bytes: u64) -> Log {
        Log::over(MemoryEnv::new().create_segment(Path::new("1.log"), bytes, SegmentKind::Mapped).unwrap())
    }

    fn over(source: Box<dyn SegmentFile>) -> Log {
        let file = File::new(1, SEED, 1, "1.log".into(), source);
        let header = SegmentHeader { database: 1, number: 1, first_seq: 1, predecessor: 0, predecessor_end: 0 };
        Log { appender: Appender::activate(file, &header).unwrap(), next_seq: 1 }
    }

    /// `told` is the kind that the record's bytes tell, whatever it was when its checksum was made.
    fn append(&mut self, kind: Kind, told: Kind, key: &[u8], value: &[u8]) {
        let (seq, salt) = (self.next_seq, self.appender.file().salt);
        let start = self.appender.position();
        let at = start + (FRAME_HEADER_BYTES + PREV_BYTES) as u64;
        let sum = record::checksum(coding::hash_seeded(key, SEED), coding::hash(value), seq_kind(seq, kind), salt, at);
        let mut head = [0; HEADER_BYTES_MAX];
        let n = record::encode_header(&mut head, sum, seq_kind(seq, told), key.len() as u32, value.len() as u32);
        let len = (FRAME_HEADER_BYTES + PREV_BYTES + record::encoded_len(key.len(), value.len())) as u64;
        let mut check = FrameCheck::default();
        let frame = check.start(len, 1, seq, 0);
        check.entry(0, sum);
        let check = check.finish(salt, start).to_le_bytes();
        self.appender.store(start, &[&frame[..], &check, &[0; PREV_BYTES], &head[..n], key, value].concat());
        self.appender.publish(start + len);
        self.next_seq += 1;
    }

    fn memtable(&self) -> Memtable {
        Memtable::new(Arc::clone(self.appender.file()), 0, 1)
    }
}

fn memtable(records: &[(Kind, &[u8], &[u8])], told: impl Fn(Kind) -> Kind) -> Memtable {
    let mut log = Log::new(64 << 10);
    records.iter().for_each(|(kind, key, value)| log.append(*kind, told(*kind), key, value));
    log.memtable()
}

/// Keys and numbers of all runs, in the order of the first run's and then the next one's records.
fn entries(memtable: &Memtable) -> Vec<(Vec<u8>, Seq)> {
    let mut entries = Vec::new();
    for run in memtable.runs().unwrap() {
        for i in 0..run.len() {
            let (bytes, header) = order::record_at(&memtable.file, run.offset(i)).unwrap();
            entries.push((header.key(bytes).to_vec(), header.seq()));
        }
    }
    entries
}

/// A range delete is no version of its first key: no run holds it, and no search finds it.
#[test]
fn range_deletes_are_no_entries() {
    let records: [(Kind, &[u8], &[u8]); 5] = [
        (Kind::Put, b"b", b"1"),
        (Kind::DeleteRange, b"b", b"c"),
        (Kind::Delete, b"c", b""),
        (Kind::DeleteRange, b"a", b"z"),
        (Kind::Put, b"a", b"5"),
    ];
    let mixed = memtable(&records, |kind| kind);
    let expected = vec![(b"a".to_vec(), 5), (b"b".to_vec(), 1), (b"c".to_vec(), 3)];
    assert_eq!(entries(&mixed), expected, "a tail");
    mixed.sort().unwrap();
    assert_eq!(entries(&mixed), expected, "a run that all share");
    let found = |key: &[u8]| mixed.search(key, SEQ_MAX).unwrap().map(|(_, header)| header.seq());
    assert_eq!((found(b"a"), found(b"b"), found(b"c"), found(b"z")), (Some(5), Some(1), Some(3), None));

    let many: [(Kind, &[u8], &[u8]); 200] = [(Kind::DeleteRange, b"a", b"z"); 200];
    let nothing = memtable(&many, |kind| kind);
    for _ in 0..2 {
        assert_eq!(entries(&nothing), Vec::new());
        assert!(nothing.search(b"a", SEQ_MAX).unwrap().is_none());
        nothing.sort().unwrap();
    }
}

/// A put that damage makes look like a range delete is reported, not left out.
#[test]
fn a_damaged_kind_hides_nothing() {
    let damaged = memtable(&[(Kind::Put, b"a", b"z")], |_| Kind::DeleteRange);
    assert_eq!(damaged.runs().unwrap_err().kind(), ErrorKind::Corruption);
}

/// Numbers of which each follows from the one before.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Whatever the keys are, and however many writes come between two looks: the runs hold every record once, each run is in order, and a
/// search in it ends where one by halves over whole keys would, whether its fences decide or records do.
#[test]
fn runs_are_in_order_however_they_came_to_be() {
    type Key = fn(&mut Random) -> Vec<u8>;
    let shapes: [Key; 7] = [
        |random| random.below(u64::MAX).to_be_bytes().to_vec(),
        |random| format!("user:{:012}", random.below(1_000_000)).into_bytes(),
        |random| format!("{:03}", random.below(200)).into_bytes(),
        // What all share grows and shrinks while runs are merged, past eight bytes and more.
        |random| [vec![b'x'; random.below(20) as usize], vec![b'y'; random.below(3) as usize]].concat(),
        |random| [&b"http://example.org/a/long/path/"[..], &random.below(50).to_be_bytes(), b"tail"].concat(),
        |random| vec![0; random.below(12) as usize],
        |random| {
            if random.below(400) == 0 {
                b"a".to_vec()
            } else {
                format!("zzzzzzzzzzzz{}", random.below(99)).into_bytes()
            }
        },
    ];
    let mut dense = 0;
    for (shape, key) in shapes.iter().enumerate() {
        let (mut random, mut log) = (Random(shape as u64 + 1), Log::new(1 << 20));
        let memtable = log.memtable();
        let mut written = Vec::new();
        while written.len() < 4000 {
            let few = [3, 40, 300][random.below(3) as usize];
            for _ in 0..1 + random.below(few) {
                let key = key(&mut random);
                let kind = if random.below(5) == 0 { Kind::Delete } else { Kind::Put };
                written.push((key.clone(), log.next_seq));
                log.append(kind, kind, &key, b"");
            }
            if random.below(10) == 0 {
                memtable.sort().unwrap();
            }
            let runs = memtable.runs().unwrap();
            assert!(runs.len() <= RUNS_MAX + 1, "{} runs", runs.len());
            let mut seen = Vec::new();
            for run in &runs {
                dense += usize::from(run.is_dense() && run.len() > TAIL_SHORT);
                let entry = |i: usize| {
                    let (bytes, header) = order::record_at(&memtable.file, run.offset(i)).unwrap();
                    (header.key(bytes).to_vec(), std::cmp::Reverse(header.seq()))
                };
                let entries: Vec<_> = (0..run.len()).map(entry).collect();
                assert!(entries.windows(2).all(|two| two[0] < two[1]), "shape {shape}");
                for _ in 0..5 {
                    let mut sought = if random.below(2) == 0 {
                        key(&mut random)
                    } else {
                        entries[random.below(run.len() as u64) as usize].0.clone()
                    };
                    if random.below(4) == 0 {
                        sought.truncate(random.below(sought.len() as u64 + 1) as usize);
                    }
                    let seq = [0, SEQ_MAX, random.below(log.next_seq)][random.below(3) as usize];
                    let right =
                        entries.partition_point(|(key, at)| (key.as_slice(), *at) < (&sought, std::cmp::Reverse(seq)));
                    assert_eq!(run.lower_bound(&sought, seq).unwrap().at, right, "shape {shape}, {sought:?} at {seq}");
                }
                seen.extend(entries.into_iter().map(|(key, seq)| (key, seq.0)));
            }
            seen.sort_unstable_by_key(|(_, seq)| *seq);
            assert_eq!(seen, written, "shape {shape}");
        }
    }
    assert!(dense > 100, "{dense} dense runs");
}

/// A log in a file whose mapping the memtable reads: what is written to the file by another way is rot.
fn on_disk(dir: &Path) -> (Log, std::path::PathBuf) {
    let path = dir.join("1.log");
    (Log::over(OsEnv.create_segment(&path, 1 << 20, SegmentKind::Mapped).unwrap()), path)
}

/// Replaces `from` by `to`, which is as long, behind `offset`.
#[expect(clippy::disallowed_methods, reason = "damage comes round the environment")]
fn rot(path: &Path, offset: u64, from: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let behind = offset as usize;
    let at = bytes[behind..].windows(from.len()).position(|part| part == from).unwrap() + behind;
    bytes[at..at + to.len()].copy_from_slice(to);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[at..at + to.len()], at as u64).unwrap();
}

/// Dense runs were merged with the order of ties taken from records that nobody had verified since they were sorted: with the newest of three versions
/// damaged, the older ones came first, and a search for the key ended at the second, as if it were the newest.
#[test]
fn a_merge_of_runs_notices_a_damaged_tie() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, path) = on_disk(dir.path());
    let memtable = log.memtable();
    for _ in 0..3 {
        log.append(Kind::Put, Kind::Put, b"key 1", b"");
    }
    let newest = memtable.runs().unwrap()[0].offset(0);
    rot(&path, newest, b"key 1", b"key 9");
    log.append(Kind::Put, Kind::Put, b"key 5", b"");
    let found = memtable.runs().map(|runs| runs[0].lower_bound(b"key 1", SEQ_MAX).map(|bound| bound.at));
    assert!(matches!(&found, Err(error) if error.kind() == ErrorKind::Corruption), "{found:?}");
}

/// What all keys of a run share was taken from its first record as it is now: with that one damaged every other key of the run was lost to searches. It is known from
/// when the run was sorted.
#[test]
fn a_damaged_first_record_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, path) = on_disk(dir.path());
    let memtable = log.memtable();
    for n in 0..10 {
        log.append(Kind::Put, Kind::Put, format!("user:{n}").as_bytes(), b"");
    }
    let first = memtable.runs().unwrap()[0].offset(0);
    rot(&path, first, b"user:0", b"tser:0");
    log.append(Kind::Put, Kind::Put, b"uses", b"");
    let runs = memtable.runs().unwrap();
    assert_eq!((runs.len(), runs[0].len(), runs[0].ends()), (1, 11, Some((&b"user:0"[..], &b"uses"[..]))));
    assert_eq!(memtable.search(b"user:7", SEQ_MAX).unwrap().map(|(_, header)| header.seq()), Some(8));
    assert_eq!(memtable.search(b"user:0", SEQ_MAX).unwrap_err().kind(), ErrorKind::Corruption);
}

/// The keys at the ends of a part of a run say what all sources of a merge share; a damaged one would put others out of order.
#[test]
fn a_damaged_end_of_a_range_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, path) = on_disk(dir.path());
    let memtable = log.memtable();
    for key in ["a0", "a1", "a5", "b9"] {
        log.append(Kind::Put, Kind::Put, key.as_bytes(), b"");
    }
    let run = Arc::clone(&memtable.runs().unwrap()[0]);
    rot(&path, run.offset(1), b"a1", b"b1");
    let walk = walk::MemtableWalk::new(run, Some(b"a05"), None).unwrap();
    assert_eq!(walk.ends().unwrap_err().kind(), ErrorKind::Corruption);
}
