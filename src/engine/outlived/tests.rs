//! Tables go when nobody can want a record of theirs, and not before.

use std::path::Path;

use crate::cursor::Cursor;
use crate::engine::{Core, recovery};
use crate::env::sim::{CutModel, SimEnv};
use crate::options::{Durability, Options, TableIo};
use crate::record::Kind;
use crate::sync::{Arc, Ordering, epoch};
use crate::visibility::Visible;

const KEYS: u32 = 200;

fn open(sim: &SimEnv, table_io: TableIo) -> Core {
    let options = Options { table_io, segment_bytes_max: 1 << 20, memtable_bytes_max: 16 << 20, ..Options::default() };
    recovery::open(sim.shared(), Path::new("/db"), options).unwrap()
}

fn write(core: &Core, kind: Kind, keys: impl IntoIterator<Item = u32>, value: &[u8]) {
    let value = if kind == Kind::Put { value } else { &[] };
    for key in keys {
        core.write_one(kind, &key.to_be_bytes(), value, Durability::Process, true).unwrap();
    }
}

fn put(core: &Core, keys: impl IntoIterator<Item = u32>, value: u8) {
    write(core, Kind::Put, keys, &[value; 1000]);
}

/// A store with one table of all keys, which have the value 1.
fn store(sim: &SimEnv) -> Core {
    store_with(sim, TableIo::Mapped)
}

fn store_with(sim: &SimEnv, table_io: TableIo) -> Core {
    let core = open(sim, table_io);
    put(&core, 0..KEYS, 1);
    core.flush_all().unwrap();
    assert_eq!(tables(&core).len(), 1);
    core
}

fn tables(core: &Core) -> Vec<u64> {
    core.version.pin(&epoch::pin()).slices().map(|slice| slice.table.meta().number).collect()
}

/// What was dropped, if anything was.
fn drops(core: &Core) -> Vec<u64> {
    let before = tables(core);
    let mut dropped = false;
    loop {
        let piece = core.drop_some(&mut core.background.lock());
        dropped |= piece.dropped;
        if !piece.more {
            break;
        }
    }
    let gone: Vec<u64> = before.into_iter().filter(|number| !tables(core).contains(number)).collect();
    assert_eq!(dropped, !gone.is_empty());
    core.free_all_retired();
    gone
}

fn is_outlived(core: &Core, number: u64) -> bool {
    let version = core.version.pin(&epoch::pin());
    version.slices().any(|slice| slice.table.meta().number == number && slice.table.file().is_outlived())
}

fn flush(core: &Core) {
    core.seal().unwrap();
    while core.flush_some(false).unwrap() {}
}

/// All that is visible now.
fn view(core: &Core) -> Visible<Cursor> {
    let (sources, seq, ranges) = core.cursors(None, None, None).unwrap();
    Visible::new(sources, seq, ranges)
}

fn values(view: &mut Visible<Cursor>) -> Vec<u8> {
    let mut values = Vec::new();
    view.seek_to_end_of(true).unwrap();
    while let Some(source) = view.top() {
        values.push(source.value()[0]);
        view.step(true).unwrap();
    }
    values
}

fn value_of(core: &Core, key: u32) -> Option<u8> {
    core.get(&key.to_be_bytes(), None, |value| value.value()[0]).unwrap()
}

fn merged(core: &Core) -> u64 {
    core.counters.merge_bytes_read.load(Ordering::Relaxed)
}

#[test]
fn what_was_overwritten_or_deleted_goes_without_a_merge() {
    for kind in [Kind::Put, Kind::Delete] {
        let sim = SimEnv::new(1);
        let core = store(&sim);
        let first = tables(&core);
        write(&core, kind, 0..KEYS, &[2; 1000]);
        flush(&core);
        assert_eq!((drops(&core), tables(&core).len(), merged(&core)), (first, 1, 0));
        let expected = (kind == Kind::Put).then_some(2);
        assert!((0..KEYS).all(|key| value_of(&core, key) == expected));
        assert_eq!(values(&mut view(&core)), if kind == Kind::Put { vec![2; KEYS as usize] } else { Vec::new() });
        // And so it is after a power cut.
        let image = sim.crash_image(1, CutModel::Strict);
        drop(core);
        let core = open(&image, TableIo::Mapped);
        assert!((0..KEYS).all(|key| value_of(&core, key) == expected));
        assert_eq!(tables(&core).len(), 1);
    }
}

/// What overwrote it may be lost with the power, as long as it is in a log.
#[test]
fn a_table_stays_until_what_outlived_it_is_in_tables() {
    let sim = SimEnv::new(2);
    let core = store(&sim);
    let first = tables(&core);
    put(&core, 0..KEYS, 2);
    for _ in 0..3 {
        assert!(drops(&core).is_empty());
        let image = sim.crash_image(3, CutModel::Strict);
        let after = open(&image, TableIo::Mapped);
        let values: Vec<_> = (0..KEYS).map(|key| value_of(&after, key)).collect();
        assert!(values.iter().all(|value| *value == Some(1)), "{values:?}");
    }
    // Newer writes do not keep it.
    core.seal().unwrap();
    put(&core, 0..KEYS / 2, 3);
    assert!(core.flush_some(false).unwrap());
    assert_eq!(drops(&core), first);
    let image = sim.crash_image(4, CutModel::Strict);
    let after = open(&image, TableIo::Mapped);
    assert!((0..KEYS).all(|key| value_of(&after, key) == Some(2)));
}

#[test]
fn a_table_stays_for_a_snapshot() {
    let core = store(&SimEnv::new(3));
    let (first, old) = (tables(&core), core.register_snapshot());
    put(&core, 0..KEYS, 2);
    let new = core.register_snapshot();
    flush(&core);
    assert!(drops(&core).is_empty());
    // A merge may give back what the snapshot does not need of it.
    assert!(core.outlived_held.load(Ordering::Relaxed) && !is_outlived(&core, first[0]));
    assert_eq!(core.get(&7u32.to_be_bytes(), Some(old), |value| value.value()[0]).unwrap(), Some(1));
    core.release_snapshot(old);
    assert_eq!(drops(&core), first);
    assert!(!core.outlived_held.load(Ordering::Relaxed));
    assert_eq!(core.get(&7u32.to_be_bytes(), Some(new), |value| value.value()[0]).unwrap(), Some(2));
    core.release_snapshot(new);
}

/// One that is older than everything in a table does not keep it: who held a snapshot for long, and overwrote everything in turn, had all that was ever
/// written on the disk. Found by a reader.
#[test]
fn a_table_does_not_stay_for_a_snapshot_that_sees_nothing_of_it() {
    let core = store(&SimEnv::new(7));
    let old = core.register_snapshot();
    for value in 2..12 {
        put(&core, 0..KEYS, value);
        flush(&core);
        drops(&core);
        assert!(tables(&core).len() <= 2, "{:?}", tables(&core));
        assert_eq!(core.get(&7u32.to_be_bytes(), Some(old), |value| value.value()[0]).unwrap(), Some(1));
        assert_eq!(value_of(&core, 7), Some(value));
    }
    core.release_snapshot(old);
    drops(&core);
    assert_eq!(tables(&core).len(), 1);
}

/// A table whose hashes have rotted stays, and does not keep the others. Found by a reader.
#[test]
fn a_damaged_table_keeps_itself_only() {
    let sim = SimEnv::new(8);
    // Mapped, a simulated file is a copy.
    let core = store_with(&sim, TableIo::Positioned);
    put(&core, KEYS..2 * KEYS, 1);
    flush(&core);
    let both = tables(&core);
    let newer = *both.iter().max().unwrap();
    let path = Path::new("/db").join(crate::table::name(both.iter().copied().min().unwrap()));
    let bytes = sim.read_file(&path).unwrap();
    put(&core, 0..2 * KEYS, 2);
    flush(&core);
    // The first of its pages of hashes stands behind blocks and fences.
    let footer = &bytes[bytes.len() - 104..];
    let pages_at = u64::from_le_bytes(footer[32..40].try_into().unwrap());
    assert!(sim.flip(&path, pages_at + 12, 3));
    assert_eq!(drops(&core), [newer]);
    assert!(drops(&core).is_empty());
    assert!((0..2 * KEYS).all(|key| value_of(&core, key) == Some(2)));
}

/// One that is read goes on being read, and its file goes when that is over.
#[test]
fn an_iterator_keeps_what_was_dropped() {
    let core = store(&SimEnv::new(4));
    let mut before = view(&core);
    put(&core, 0..KEYS, 2);
    flush(&core);
    assert_eq!(drops(&core).len(), 1);
    assert_eq!(values(&mut before), vec![1; KEYS as usize]);
    assert!(core.leaving_size().0 > 0);
    drop(before);
    // A grace period ends when no thread of the process stands in an earlier one: other tests' threads do for a while.
    let mut looks = 0;
    while core.leaving_size().0 > 0 {
        looks += 1;
        assert!(looks < 10_000_000, "{:?} is kept", core.leaving_size());
        core.free_all_retired();
        std::thread::yield_now();
    }
}

/// A look ends at the first key whose record is live, and the next goes on from there.
#[test]
fn one_live_record_keeps_a_table() {
    let core = store(&SimEnv::new(5));
    let first = tables(&core);
    for left in [3, 120, 199] {
        put(&core, (0..KEYS).filter(|key| *key != left), 2);
        flush(&core);
        assert!(!drops(&core).contains(&first[0]));
        assert_eq!(value_of(&core, left), Some(if left == 3 { 1 } else { 2 }));
        if left == 3 {
            assert_eq!(value_of(&core, 4), Some(2));
            put(&core, [3], 2);
            flush(&core);
            assert_eq!(drops(&core)[0], first[0]);
        }
    }
}

/// Where the index does not know a table's keys nothing is known of them.
#[test]
fn what_the_index_does_not_cover_is_left_alone() {
    let core = store(&SimEnv::new(6));
    let version = core.version.pin(&epoch::pin());
    assert!(core.uncover_oldest().unwrap());
    put(&core, 0..KEYS, 2);
    flush(&core);
    let table = Arc::clone(version.runs[0].slices[0].table.file());
    table.add_dead(1 << 20);
    assert!(drops(&core).is_empty());
    drop(version);
    while core.cover_some().unwrap() {}
    assert_eq!(drops(&core).len(), 1);
}
