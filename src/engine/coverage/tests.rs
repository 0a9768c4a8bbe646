//! What the index says after slices were uncovered and covered again.

use std::path::Path;

use crate::batch::Batch;
use crate::engine::{Core, recovery};
use crate::env::sim::SimEnv;
use crate::options::{Durability, Options};
use crate::record::Kind;
use crate::sync::epoch;

fn put(core: &Core, key: &str, value: &str) {
    core.write_one(Kind::Put, key.as_bytes(), value.as_bytes(), Durability::Process, true).unwrap();
}

/// A flush dropped the newest version of a key under a range delete, and with it the key's entry in the index. Of two older
/// versions in tables the older one's table was uncovered and covered again, as it happens where memory is short; the index,
/// which had no entry for the key, took the oldest version for the newest. A merge of both tables looked for the entry of the
/// newer version, and left one behind that led into a table that was gone. Found by `model.rs`. A newest version goes at the
/// bottom only, see docs/decisions/0011.
#[test]
fn a_flush_keeps_the_newest_version_under_a_range_delete() {
    let core = recovery::open(SimEnv::new(1).shared(), Path::new("/db"), Options::default()).unwrap();
    for value in ["1", "2"] {
        put(&core, "a", value);
        core.flush_all().unwrap();
    }
    put(&core, "a", "3");
    core.write_batch(Batch::new().delete_range("a".."b"), Durability::Process, true).unwrap();
    core.flush_all().unwrap();

    let version = core.version.pin(&epoch::pin());
    let oldest = version.runs.len() - 1;
    assert!(oldest >= 1 && !version.uncovered);
    core.set_covered(&version, oldest, 0, false);
    core.unfill(&version.runs[oldest].slices[0]).unwrap();
    assert!(core.cover_some().unwrap());
    let entry = core.index.find(crate::coding::hash_seeded(b"a", core.hash_seed), &epoch::pin(), |_| Ok::<_, ()>(true));
    let newest = version.runs[0].slices[0].slot;
    assert_eq!(entry.unwrap().map(|address| address.slot()), Some(newest), "the entry of an older version");

    core.compact(None, None).unwrap();
    assert_eq!(core.index.len(), 0);
    assert!(core.get(b"a", None, |_| ()).unwrap().is_none());
}

/// Records that were overwritten before an open were counted dead each time the index was filled from their table: after an open,
/// and again whenever the table was uncovered for want of memory and covered again. Merges for space came too early.
#[test]
fn filling_again_counts_no_record_dead_twice() {
    let (sim, path) = (SimEnv::new(1), Path::new("/db"));
    let core = recovery::open(sim.shared(), path, Options::default()).unwrap();
    for value in ["1", "2"] {
        put(&core, "a", value);
        core.flush_all().unwrap();
    }
    drop(core);
    let core = recovery::open(sim.shared(), path, Options::default()).unwrap();
    while core.cover_some().unwrap() {}
    let dead = core.stats().dead_bytes;
    assert!(dead > 0);
    let version = core.version.pin(&epoch::pin());
    let oldest = version.runs.len() - 1;
    core.set_covered(&version, oldest, 0, false);
    core.unfill(&version.runs[oldest].slices[0]).unwrap();
    assert!(core.cover_some().unwrap());
    assert_eq!(core.stats().dead_bytes, dead);
}

/// What is overwritten where the index does not speak is dead, too: estimated when it is flushed, and counted once, however often
/// the keys are written again and the index filled again.
#[test]
fn what_is_overwritten_unseen_is_estimated() {
    let core = recovery::open(SimEnv::new(1).shared(), Path::new("/db"), Options::default()).unwrap();
    let keys = 40_000;
    let write = |first: usize, step: usize| {
        let mut batch = Batch::new();
        (first..keys).step_by(step).for_each(|n| _ = batch.put(format!("key {n:08}"), [7; 20]));
        core.write_batch(&batch, Durability::Process, true).unwrap();
        core.flush_all().unwrap();
    };
    let oldest = || core.version.pin(&epoch::pin()).runs.last().map(|run| run.slices[0].clone()).unwrap();
    let dead_percent = || oldest().table.file().dead() * 100 / oldest().table.meta().data_bytes;
    write(0, 1);
    while core.uncover_oldest().unwrap() {}
    assert_eq!(dead_percent(), 0);
    write(0, 2);
    let half = dead_percent();
    assert!((40..60).contains(&half), "{half} %");
    // These were in the log when they were written again, or in a table that the index knows.
    write(0, 2);
    assert_eq!(dead_percent(), half);
    while core.cover_some().unwrap() {}
    assert_eq!(dead_percent(), half);
    // A quarter that the index knows now is counted exactly.
    write(1, 4);
    let rest = dead_percent() - half;
    assert!((24..=26).contains(&rest), "{rest} %");
}

/// Tables of the index that were outgrown, or that shrank, while slices were covered and uncovered waited for the worker's next look at
/// what writers leave behind, which need not come: a store with 4 MiB for its index held 40 MiB more, now and then. Other tests hold
/// epochs for a moment, so what waits at the end is bounded generously: it was all of it.
#[test]
fn what_covering_leaves_behind_is_freed_meanwhile() {
    let core = recovery::open(SimEnv::new(1).shared(), Path::new("/db"), Options::default()).unwrap();
    let keys = 150_000;
    for first in (0..keys).step_by(1000) {
        let mut batch = Batch::new();
        (first..first + 1000).for_each(|n| _ = batch.put(format!("key {n:08}"), b"value"));
        core.write_batch(&batch, Durability::Process, true).unwrap();
    }
    core.flush_all().unwrap();
    core.free_all_retired();
    let mut left = Vec::new();
    for _ in 0..5 {
        let version = core.version.pin(&epoch::pin());
        core.set_covered(&version, 0, 0, false);
        core.unfill(&version.runs[0].slices[0]).unwrap();
        left.push(core.index.retired_bytes());
        assert!(core.cover_some().unwrap());
        left.push(core.index.retired_bytes());
    }
    left.sort_unstable();
    let whole = core.index.bytes() - core.index.retired_bytes();
    assert!(whole > 1 << 20 && left[left.len() / 2] < whole / 2, "{left:?} of {whole} bytes");
    assert_eq!(core.index.len(), keys);
}

/// A merge of a slice that was covered and one that was not made one that was not, and left the entries of the former in the index, where
/// nothing looked for them any more: a store that was filled with memory for a tenth of its keys had most of them in the index.
#[test]
fn what_a_merge_leaves_in_the_index_can_be_taken_out() {
    let core = recovery::open(SimEnv::new(1).shared(), Path::new("/db"), Options::default()).unwrap();
    let keys = 20_000;
    for odd in [0, 1] {
        let mut batch = Batch::new();
        (odd..keys).step_by(2).for_each(|n| _ = batch.put(format!("key {n:08}"), b"value"));
        core.write_batch(&batch, Durability::Process, true).unwrap();
        core.flush_all().unwrap();
        while odd == 0 && core.uncover_oldest().unwrap() {}
    }
    assert_eq!(core.index.len(), keys / 2);
    core.compact(None, None).unwrap();
    let version = core.version.pin(&epoch::pin());
    assert_eq!((core.index.len(), version.uncovered, core.stats().covered_tables), (keys / 2, true, 0));
    while core.uncover_oldest().unwrap() {}
    assert_eq!(core.index.len(), 0);
    for n in 0..keys {
        assert!(core.get(format!("key {n:08}").as_bytes(), None, |_| ()).unwrap().is_some(), "{n}");
    }
    while core.cover_some().unwrap() {}
    assert_eq!((core.index.len(), core.stats().covered_tables), (keys, core.stats().tables));
}
