//! Order over segments that hold range deletes, too.

use super::*;
use crate::coding;
use crate::env::memory::MemoryEnv;
use crate::env::{Env, SegmentKind};
use crate::error::ErrorKind;
use crate::log::frame::{FRAME_HEADER_BYTES, FrameCheck, PREV_BYTES};
use crate::log::segment::{Appender, SegmentHeader};
use crate::record::{self, HEADER_BYTES_MAX, Kind, SEQ_MAX, seq_kind};

const SEED: u64 = 7;

/// A memtable over a frame for each record, numbered from 1. `told` is the kind that a record's bytes tell, whatever it
/// was when its checksum was made.
fn memtable(records: &[(Kind, &[u8], &[u8])], told: impl Fn(Kind) -> Kind) -> Memtable {
    let path = std::path::Path::new("1.log");
    let source = MemoryEnv::new().create_segment(path, 64 << 10, SegmentKind::Mapped).unwrap();
    let file = File::new(1, SEED, 1, "1.log".into(), source);
    let header = SegmentHeader { database: 1, number: 1, first_seq: 1, predecessor: 0, predecessor_end: 0 };
    let mut appender = Appender::activate(file, &header).unwrap();
    let salt = appender.file().salt;
    for (seq, (kind, key, value)) in (1..).zip(records) {
        let start = appender.position();
        let at = start + (FRAME_HEADER_BYTES + PREV_BYTES) as u64;
        let sum = record::checksum(coding::hash_seeded(key, SEED), coding::hash(value), seq_kind(seq, *kind), salt, at);
        let mut head = [0; HEADER_BYTES_MAX];
        let word = seq_kind(seq, told(*kind));
        let n = record::encode_header(&mut head, sum, word, key.len() as u32, value.len() as u32);
        let len = (FRAME_HEADER_BYTES + PREV_BYTES + record::encoded_len(key.len(), value.len())) as u64;
        let mut check = FrameCheck::default();
        let frame = check.start(len, 1, seq, 0);
        check.entry(0, sum);
        let check = check.finish(salt, start).to_le_bytes();
        appender.store(start, &[&frame[..], &check, &[0; PREV_BYTES], &head[..n], key, value].concat());
        appender.publish(start + len);
    }
    Memtable::new(Arc::clone(appender.file()), 0, 1)
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
