//! Files that are whole and not this store's, or not any more: what proves it is believed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, Keys, Options};

use crate::DIR;
use crate::single::outcome;

fn options() -> Options {
    Options { segment_bytes_min: 4 << 10, segment_bytes_max: 4 << 10, ..Options::default() }
}

fn open(sim: &SimEnv) -> Db {
    Db::open_with(sim.shared(), DIR, options()).unwrap()
}

fn copy(sim: &SimEnv) -> SimEnv {
    let copy = SimEnv::new(2);
    sim.list().into_iter().for_each(|path| copy.write_file(&path, sim.read_file(&path).unwrap()));
    copy
}

fn named(sim: &SimEnv, end: &str) -> Vec<PathBuf> {
    sim.list().into_iter().filter(|path| path.starts_with(DIR) && path.to_str().unwrap().ends_with(end)).collect()
}

fn manifest() -> PathBuf {
    Path::new(DIR).join("MANIFEST")
}

/// A log that was flushed and is put back, and tables that were merged away: they count for nothing.
#[test]
fn what_is_in_tables_does_not_come_back() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    db.put("a", "old").unwrap();
    db.put("deleted", "old").unwrap();
    db.sync().unwrap();
    let mut old: Vec<_> = named(&sim, ".log");
    let mut put_back: Vec<_> = old.drain(..).map(|path| (sim.read_file(&path).unwrap(), path)).collect();
    db.flush().unwrap();
    put_back.extend(named(&sim, ".tbl").into_iter().map(|path| (sim.read_file(&path).unwrap(), path)));
    db.put("a", "new").unwrap();
    db.delete("deleted").unwrap();
    db.flush().unwrap();
    db.compact::<&[u8]>(..).unwrap();
    db.close().unwrap();
    for (bytes, path) in put_back {
        assert!(sim.read_file(&path).is_none(), "{path:?} had left the store");
        sim.write_file(&path, bytes);
    }
    let (repaired, get) = outcome(&sim);
    assert_eq!([get("a"), get("deleted")], [Some("new".into()), None]);
    assert!(repaired.is_complete() && repaired.warnings.is_empty(), "{repaired}");
}

/// A log of a copy of the store that went its own way, where its header contradicts what the manifest says: whether its writes have
/// numbers that the store has, too, or later ones.
#[test]
fn a_log_of_another_life_is_left_out() {
    let base = SimEnv::new(1);
    let db = open(&base);
    db.put("a", "base").unwrap();
    db.close().unwrap();
    for (bytes, is_later) in [(1000, false), (200, true)] {
        let (one, other) = (copy(&base), copy(&base));
        let db = open(&one);
        for n in 0..10 {
            db.put(format!("key {n}"), "one").unwrap();
        }
        db.close().unwrap();
        let db = open(&other);
        for n in 0..20 {
            db.put(format!("key {n}"), vec![b'x'; bytes]).unwrap();
        }
        db.close().unwrap();
        let (ours, theirs) = (named(&one, ".log"), named(&other, ".log"));
        let next = theirs.iter().find(|path| !ours.contains(path)).unwrap();
        one.write_file(next, other.read_file(next).unwrap());
        let (repaired, get) = outcome(&one);
        assert_eq!(get("a").as_deref(), Some("base"));
        for n in 0..20 {
            assert_eq!(get(&format!("key {n}")).as_deref(), (n < 10).then_some("one"), "{n}");
        }
        assert_eq!(repaired.left_out.len(), 1, "{repaired}");
        let lost = &repaired.left_out[0];
        assert!(lost.file == *next && lost.keys == Keys::Unknown && lost.why.contains("contradicts"), "{repaired}");
        assert_eq!(lost.seqs.is_some_and(|seqs| seqs.0 > 11), is_later, "{repaired}");
    }
}

/// A table of such a copy is whole, has the very keys and numbers, and is not the one that the manifest remembers.
#[test]
fn a_table_of_another_life_is_left_out() {
    let base = SimEnv::new(1);
    let db = open(&base);
    db.put("m", "base").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let live = |fill: &str| {
        let sim = copy(&base);
        let db = open(&sim);
        for n in 0..10 {
            db.put(format!("key {n}"), fill).unwrap();
        }
        db.flush().unwrap();
        db.close().unwrap();
        sim
    };
    let (one, other) = (live("one"), live("two"));
    let newest = named(&one, ".tbl").pop().unwrap();
    assert_ne!(one.read_file(&newest), other.read_file(&newest));
    one.write_file(&newest, other.read_file(&newest).unwrap());
    let (repaired, get) = outcome(&one);
    assert_eq!((get("m").as_deref(), get("key 3"), repaired.keys), (Some("base"), None, 1));
    let lost = &repaired.left_out[0];
    assert!(repaired.left_out.len() == 1 && lost.keys.covers("key 0") && lost.keys.covers("key 9"), "{repaired}");
    assert!(!lost.keys.covers("m") && lost.records == Some(10), "{repaired}");
}

/// The same with its footer destroyed: records that the manifest's table can't have had are not kept.
#[test]
fn records_that_a_table_can_not_have_had_are_not_kept() {
    let base = SimEnv::new(1);
    let db = open(&base);
    db.put("m", "base").unwrap();
    db.close().unwrap();
    let live = |writes: &[(&str, &str)]| {
        let sim = copy(&base);
        let db = open(&sim);
        writes.iter().for_each(|(key, value)| db.put(key, value).unwrap());
        db.flush().unwrap();
        db.close().unwrap();
        sim
    };
    let one = live(&[("b", "one"), ("y", "one")]);
    // A key before the first, one behind the last, and a write of a number that comes later.
    let other = live(&[("a", "two"), ("z", "two"), ("n", "two"), ("o", "two")]);
    let one_and_other = |one: &SimEnv, other: &SimEnv| {
        let table = named(one, ".tbl").pop().unwrap();
        let mut bytes = other.read_file(&table).unwrap();
        let footer = bytes.len() - 104;
        bytes[footer..].fill(0);
        one.write_file(&table, bytes);
    };
    one_and_other(&one, &other);
    let (repaired, get) = outcome(&one);
    assert_eq!(["a", "z", "n", "o"].map(get), [const { None }; 4], "{repaired}");
    assert!(["b", "m", "y"].iter().all(|key| repaired.left_out.iter().any(|lost| lost.keys.covers(key))), "{repaired}");

    // Keys, numbers and lengths that it can have had, and a record less: of one key only the newer version went to the table.
    let one = live(&[("b", "1"), ("n", "1"), ("y", "1")]);
    let other = live(&[("b", "2"), ("b", "22222222222222222"), ("y", "2")]);
    one_and_other(&one, &other);
    let (repaired, get) = outcome(&one);
    assert_eq!(["b", "n", "y"].map(get), [const { None }; 3], "{repaired}");
    assert!(
        repaired.left_out[0].why.contains("another table") && repaired.left_out[0].records == Some(4),
        "{repaired}"
    );
}

/// What an open has given up after a power cut, and said so in the manifest: logs that are void, and what stands behind a log's end.
/// It stays given up, even where the files are still there.
#[test]
fn what_an_open_has_given_up_stays_given_up() {
    let seed = crate::common::seed(821);
    let (mut void, mut kept) = (0, 0);
    for seed in seed..seed + 300 {
        let sim = SimEnv::new(seed);
        let db = open(&sim);
        for n in 0..60 {
            db.put(format!("key {}", n % 20), vec![b'a' + n as u8 % 26; 200]).unwrap();
            if n == 20 {
                db.sync().unwrap();
            }
        }
        let image = sim.crash_image(seed, CutModel::Hostile);
        let Ok(db) = Db::open_with(image.shared(), DIR, options()) else { continue };
        let contents: Vec<_> =
            db.iter().unwrap().map(|pair| pair.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        // As the power would leave it now: what was removed is still there, as nobody has synced the directory since.
        let opened = image.crash_image(seed, CutModel::Strict);
        for path in named(&opened, ".log") {
            let is_used = opened.read_file(&path).unwrap().iter().any(|&b| b != 0);
            let is_removed = image.read_file(&path).is_none();
            *(if is_removed { &mut void } else { &mut kept }) += usize::from(is_used);
        }
        drop(db);
        let (repaired, get) = outcome(&opened);
        let found =
            (0..20).filter_map(|n| Some((format!("key {n}").into_bytes(), get(&format!("key {n}"))?.into_bytes())));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), contents.into_iter().collect(), "seed {seed}: {repaired}");
        assert!(repaired.is_complete() && repaired.warnings.is_empty(), "seed {seed}: {repaired}");
    }
    println!("void {void}, kept {kept}");
    assert!(void > 10 && kept > 100, "{void} {kept}");
}

/// The manifest of another store says nothing of this one.
#[test]
fn the_manifest_of_another_store_is_as_good_as_none() {
    let make = |seed: u64, value: &str| {
        let sim = SimEnv::new(seed);
        let db = open(&sim);
        db.put("a", value).unwrap();
        db.flush().unwrap();
        db.put("b", value).unwrap();
        db.close().unwrap();
        sim
    };
    let (one, other) = (make(1, "one"), make(2, "two"));
    one.write_file(&manifest(), other.read_file(&manifest()).unwrap());
    let (repaired, get) = outcome(&one);
    assert_eq!([get("a"), get("b")], [Some("one".into()), Some("one".into())]);
    assert!(repaired.warnings[0].contains("guess") && repaired.left_out[0].file == manifest(), "{repaired}");
    assert!(repaired.left_out[0].why.contains("another store"), "{repaired}");
}

/// An older manifest that is put back, where a table shows that there were later writes.
#[test]
fn an_older_manifest_is_found_out_by_what_it_does_not_know() {
    for compacted in [false, true] {
        let sim = SimEnv::new(1);
        let db = open(&sim);
        db.put("a", "old").unwrap();
        db.put("b", "b").unwrap();
        db.flush().unwrap();
        db.put("a", "newer").unwrap();
        db.close().unwrap();
        let older = sim.read_file(&manifest()).unwrap();
        let db = open(&sim);
        db.put("a", "newest").unwrap();
        db.put("c", "c").unwrap();
        db.flush().unwrap();
        if compacted {
            db.compact::<&[u8]>(..).unwrap();
        }
        db.put("d", "d").unwrap();
        db.close().unwrap();
        sim.write_file(&manifest(), older);
        let (repaired, get) = outcome(&sim);
        for (key, value) in [("a", "newest"), ("b", "b"), ("c", "c"), ("d", "d")] {
            assert_eq!(get(key).as_deref(), Some(value), "{key}, compacted {compacted}: {repaired}");
        }
        assert!(repaired.left_out[0].why.contains("older"), "{repaired}");
    }
}

/// Without a manifest, a table of which nothing can be read does not take the others with it.
#[test]
fn one_file_of_noise_does_not_cost_the_others() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    db.put("a", "a").unwrap();
    db.flush().unwrap();
    db.put("b", "b").unwrap();
    db.close().unwrap();
    assert!(sim.remove(&manifest()));
    let noise: Vec<u8> = (0..5000u32).map(|n| ((n * n) >> 5) as u8).collect();
    sim.write_file(&Path::new(DIR).join("000900.tbl"), noise.clone());
    sim.write_file(&Path::new(DIR).join("000901.log"), noise);
    let (repaired, get) = outcome(&sim);
    assert_eq!([get("a"), get("b"), get("c")], [Some("a".into()), Some("b".into()), None]);
    assert_eq!(repaired.left_out.len(), 3, "{repaired}");
}
