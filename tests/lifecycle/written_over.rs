//! A table's file is written over when the table was merged away and nobody holds it: to nobody's harm, and not for ever.

use std::path::{Path, PathBuf};

use kvs::env::fault::{CallKind, Fault, FaultEnv};
use kvs::env::sim::SimEnv;
use kvs::{Db, LogBackend, Options};

use super::{alone, names, tiny};

fn small() -> Options {
    Options { table_bytes_max: 16 << 10, ..tiny(LogBackend::Mapped) }
}

fn key(i: u64) -> [u8; 8] {
    (i.wrapping_mul(7919) % 3000).to_be_bytes()
}

fn value(i: u64) -> [u8; 100] {
    let mut value = [i as u8; 100];
    value[..8].copy_from_slice(&i.to_be_bytes());
    value
}

/// The number of the last write before `end` to the key of write `i`.
fn last(i: u64, end: u64) -> u64 {
    i + (end - 1 - i) / 3000 * 3000
}

/// Values that outlive their store stay what they were, whatever is done by those who open it later: a file that they may be mapping is removed,
/// and never written over. One that had been a table of an earlier open was: what it held became zeros, or another table, or a bus error.
#[test]
fn what_outlived_an_earlier_open_is_not_written_over() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut held = Vec::new();
    let mut written_over = 0;
    for open in 0..6u64 {
        let db = Db::open(&path, small()).unwrap();
        let from = open * 20_000;
        for i in from..from + 20_000 {
            db.put(key(i), value(i)).unwrap();
        }
        db.flush().unwrap();
        written_over += db.stats().tables_written_over;
        let end = from + 20_000;
        held.extend((end - 3000..end).step_by(7).map(|i| (db.get(key(i)).unwrap().unwrap(), i)));
        db.close().unwrap();
        for (value_held, i) in &held {
            assert_eq!(**value_held, value(*i), "after open {open}");
        }
    }
    assert!(written_over > 50, "{written_over}");
}

fn with_end<'a>(names: impl IntoIterator<Item = &'a String>, end: &str) -> usize {
    names.into_iter().filter(|name| name.ends_with(end)).count()
}

/// Values, iterators and snapshots read what they stand on for as long as they live; what is kept is bounded by what lives; and a store that
/// is closed has no file but its own.
#[test]
fn what_is_held_is_not_written_over() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, small()).unwrap();
    let mut held = Vec::new();
    let mut beside_them = 0;
    for i in 0..60_000 {
        db.put(key(i), value(i)).unwrap();
        if i % 500 == 499 {
            let before = db.stats().tables_written_over;
            // In tables by now, most of them.
            let older = i.saturating_sub(2900);
            held.push((db.get(key(older)).unwrap().unwrap(), older));
            let mut iter = db.iter().unwrap();
            assert!(iter.move_next().unwrap());
            let (found, copy) = (iter.value().to_vec(), db.snapshot().unwrap());
            for j in i + 1..(i + 400).min(60_000) {
                db.put(key(j), value(j)).unwrap();
            }
            assert_eq!(iter.value(), found, "under an iterator");
            assert_eq!(copy.get(key(older)).unwrap().as_deref(), Some(value(older).as_slice()), "under a snapshot");
            beside_them += db.stats().tables_written_over - before;
            let stats = db.stats();
            assert!(stats.old_table_bytes <= stats.table_bytes, "{stats}");
        }
        if held.len() > 40 {
            held.drain(..20).for_each(|(held, n)| assert_eq!(*held, value(n)));
        }
    }
    held.drain(..).for_each(|(held, n)| assert_eq!(*held, value(n)));
    let stats = db.stats();
    assert!(stats.tables_written_over > stats.merge_steps / 20 && beside_them > 0, "{stats}");
    db.verify().unwrap();
    db.close().unwrap();
    assert_eq!(with_end(&names(&path), ".old"), 0, "{:?}", names(&path));
    let db = Db::open(&path, small()).unwrap();
    for i in 57_000..60_000 {
        assert_eq!(db.get(key(i)).unwrap().as_deref(), Some(value(last(i, 60_000)).as_slice()));
    }
    db.verify().unwrap();
}

/// Somebody's copy of a table, by a hard link, stays what it was.
#[test]
fn what_has_another_name_is_not_written_over() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (path, copies) = (dir.path().join("db"), dir.path().join("copies"));
    std::fs::create_dir(&copies).unwrap();
    let db = Db::open(&path, small()).unwrap();
    let mut linked: Vec<(PathBuf, Option<Vec<u8>>)> = Vec::new();
    for i in 0..60_000 {
        db.put(key(i), value(i)).unwrap();
        if i % 499 == 0 {
            for name in names(&path).into_iter().filter(|name| name.ends_with(".tbl")) {
                let copy = copies.join(format!("{i}-{name}"));
                // It may be gone again, or not be finished yet: then it has no footer.
                if std::fs::hard_link(path.join(&name), &copy).is_ok() {
                    let bytes = std::fs::read(&copy).unwrap();
                    linked.push((copy, bytes.ends_with(b"kvs end\n").then_some(bytes)));
                }
            }
        }
    }
    let stats = db.stats();
    assert!(stats.tables_written_over > 0, "{stats}");
    drop(db);
    let whole: Vec<_> = linked.into_iter().filter_map(|(copy, bytes)| Some((copy, bytes?))).collect();
    let number = |name: &Path| name.to_str()?.rsplit_once('-')?.1.strip_suffix(".tbl")?.parse::<u64>().ok();
    let mut found = 0;
    for (copy, bytes) in whole {
        // A file that is being written over may end with an old footer.
        if bytes.get(32..40) == Some(&number(&copy).unwrap().to_le_bytes()) {
            assert!(std::fs::read(&copy).unwrap() == bytes, "{} has become another table", copy.display());
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}

/// What a process that died had kept is removed by the next open; names that only look so are left alone.
#[test]
fn what_was_kept_is_removed_by_the_next_open() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, small()).unwrap();
    (0..5000).for_each(|i| db.put(key(i), value(i)).unwrap());
    db.close().unwrap();
    for name in ["000077.tbl.old", "77.tbl.old", "000000.tbl.old", "x.tbl.old"] {
        std::fs::write(path.join(name), b"anything").unwrap();
    }
    let db = Db::open(&path, Options { read_only: true, ..small() }).unwrap();
    assert_eq!(with_end(&names(&path), ".old"), 4, "a reader changes nothing");
    drop(db);
    let db = Db::open(&path, small()).unwrap();
    let left: Vec<String> = names(&path).into_iter().filter(|name| name.ends_with(".old")).collect();
    assert_eq!(left, ["000000.tbl.old", "77.tbl.old", "x.tbl.old"]);
    db.verify().unwrap();
}

/// A file that cannot be had again is let go, and the table is made afresh.
#[test]
fn a_file_that_cannot_be_had_again_is_let_go() {
    let sim = SimEnv::new(1);
    let (env, plan) = FaultEnv::over_sim(&sim);
    let db = Db::open_with(env, "/db", small()).unwrap();
    let old = || -> Vec<PathBuf> {
        sim.list().into_iter().filter(|path| path.extension().is_some_and(|end| end == "old")).collect()
    };
    let mut end = 0;
    // Without a worker a compaction is done by its caller, and nothing is given back as at rest.
    let mut write = || {
        (end..end + 200).for_each(|i| db.put(key(i), value(i)).unwrap());
        end += 200;
        db.flush().unwrap();
        db.compact::<&[u8]>(..).unwrap();
        assert!(end < 100_000, "{}", db.stats());
        end
    };
    while old().is_empty() {
        write();
    }
    // The next file is that of a table: a flush makes one before it replaces the manifest.
    let (kept, written_over) = (old(), db.stats().tables_written_over);
    plan.fail_next(Fault::eio().on(CallKind::Create));
    write();
    assert_eq!(plan.fired(), 1);
    assert!(!old().contains(&kept[kept.len() - 1]), "{:?}", old());
    let end = loop {
        let end = write();
        if db.stats().tables_written_over > written_over + 3 {
            break end;
        }
    };
    for n in end.saturating_sub(3000)..end {
        assert_eq!(db.get_owned(key(n)).unwrap().unwrap(), value(n));
    }
    db.verify().unwrap();
    db.close().unwrap();
    assert_eq!(old(), [] as [PathBuf; 0]);
}
