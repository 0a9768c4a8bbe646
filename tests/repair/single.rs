//! Single damages whose outcome is known to the key.

use kvs::env::sim::SimEnv;
use kvs::{Batch, Db, Keys, Options, Repaired, repair_with};

use crate::{DIR, OUT};

fn find(sim: &SimEnv, end: &str, what: &[u8]) -> (std::path::PathBuf, u64) {
    let files = sim.list().into_iter().filter(|path| path.starts_with(DIR) && path.to_str().unwrap().ends_with(end));
    let mut found = files.filter_map(|path| {
        let bytes = sim.read_file(&path).unwrap();
        let at = bytes.windows(what.len()).position(|window| window == what)?;
        Some((path, at as u64))
    });
    found.next().unwrap_or_else(|| panic!("no {end} holds {what:?}"))
}

fn open(sim: &SimEnv) -> Db {
    Db::open_with(sim.shared(), DIR, Options::default()).unwrap()
}

/// Flips a bit in `what`, repairs, and reads keys.
fn damage(sim: &SimEnv, end: &str, what: &str) -> (Repaired, impl Fn(&str) -> Option<String>) {
    let (path, at) = find(sim, end, what.as_bytes());
    assert!(sim.flip(&path, at, 0));
    outcome(sim)
}

pub fn outcome(sim: &SimEnv) -> (Repaired, impl Fn(&str) -> Option<String>) {
    let repaired = repair_with(sim.shared(), DIR, OUT, &Options::default()).unwrap();
    println!("{repaired}");
    let db = Db::open_with(sim.shared(), OUT, Options::default()).unwrap();
    (repaired, move |key: &str| db.get_owned(key).unwrap().map(|value| String::from_utf8(value).unwrap()))
}

fn about<'a>(repaired: &'a Repaired, key: &str) -> Vec<&'a kvs::LeftOut> {
    repaired.left_out.iter().filter(|left_out| left_out.keys == Keys::One(key.into())).collect()
}

/// Two tables, the newer with a damaged value: the older value does not come forth, and both are named.
#[test]
fn an_older_value_in_a_table_is_not_passed_off_as_the_present_one() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    for key in ["a", "b", "c"] {
        db.put(key, format!("old {key}")).unwrap();
    }
    db.flush().unwrap();
    for key in ["a", "b", "c"] {
        db.put(key, format!("new {key}")).unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
    let (repaired, get) = damage(&sim, ".tbl", "new b");
    assert_eq!([get("a"), get("b"), get("c")], [Some("new a".into()), None, Some("new c".into())]);
    let named = about(&repaired, "b");
    assert_eq!((named.len(), repaired.left_out.len(), repaired.keys), (2, 2, 2));
    assert!(named[0].file != named[1].file && named[0].to > named[0].from);
}

/// The same where the damaged record is a tombstone: the key does not come back.
#[test]
fn a_damaged_tombstone_does_not_bring_its_key_back() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    db.put("aaa", "kept").unwrap();
    db.put("deleted key", "gone").unwrap();
    db.flush().unwrap();
    db.delete("deleted key").unwrap();
    db.put("zzz", "kept").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    // The tombstone is in the newer table; in the older one a value follows the key.
    let tables: Vec<_> = sim.list().into_iter().filter(|path| path.to_str().unwrap().ends_with(".tbl")).collect();
    let newer = tables.iter().find(|path| !sim.read_file(path).unwrap().windows(4).any(|w| w == b"gone")).unwrap();
    let at = sim.read_file(newer).unwrap().windows(11).position(|w| w == b"deleted key").unwrap();
    assert!(sim.flip(newer, at as u64, 1));
    let (repaired, get) = outcome(&sim);
    assert_eq!([get("aaa"), get("deleted key"), get("zzz")], [Some("kept".into()), None, Some("kept".into())]);
    assert!(repaired.left_out.iter().any(|left_out| left_out.keys.covers("deleted key")));
    assert_eq!(about(&repaired, "deleted key").len(), 1, "the older value is listed by its key");
}

/// A log with a bad frame in its middle: what follows is kept, a batch as a whole or not at all, and older values of its keys are not shown.
#[test]
fn what_follows_a_damaged_frame_is_kept() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    db.put("a", "first a").unwrap();
    db.put("b", "first b").unwrap();
    db.put("c", "first c").unwrap();
    let mut batch = Batch::new();
    batch.put("a", "second a").put("b", "second b").put("d", "second d");
    db.write(&batch).unwrap();
    db.put("a", "third a").unwrap();
    db.put("e", "third e").unwrap();
    db.close().unwrap();
    let (repaired, get) = damage(&sim, ".log", "second b");
    let expected = [("a", Some("third a")), ("b", None), ("c", Some("first c")), ("d", None), ("e", Some("third e"))];
    for (key, value) in expected {
        assert_eq!(get(key).as_deref(), value, "{key}");
    }
    let gap = repaired.left_out.iter().find(|left_out| left_out.keys == Keys::Unknown).unwrap();
    assert_eq!((gap.records, gap.seqs), (Some(3), Some((4, 6))));
    assert_eq!((about(&repaired, "b").len(), repaired.left_out.len()), (1, 2));
}

/// A range delete that is damaged is listed, with its number.
#[test]
fn a_damaged_range_delete_is_listed() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    db.put("kept", "v").unwrap();
    db.put("range 5", "v").unwrap();
    db.delete_range("range 1".."range 9").unwrap();
    db.put("later", "v").unwrap();
    db.close().unwrap();
    let (repaired, get) = damage(&sim, ".log", "range 1");
    assert_eq!([get("kept"), get("later")], [Some("v".into()), Some("v".into())]);
    assert_eq!(repaired.left_out.len(), 1);
    let lost = &repaired.left_out[0];
    assert_eq!((&lost.keys, lost.records, lost.seqs), (&Keys::Unknown, Some(1), Some((3, 3))));
}

/// Without a manifest: the newest versions of tables and logs, and the list says that this is a guess.
#[test]
fn a_lost_manifest_is_said_loudly() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    db.put("a", "old a").unwrap();
    db.put("b", "old b").unwrap();
    db.put("d", "old d").unwrap();
    db.flush().unwrap();
    db.put("a", "new a").unwrap();
    db.delete("d").unwrap();
    db.flush().unwrap();
    db.put("c", "new c").unwrap();
    db.close().unwrap();
    assert!(sim.remove(&std::path::Path::new(DIR).join("MANIFEST")));
    let (repaired, get) = outcome(&sim);
    for (key, value) in [("a", Some("new a")), ("b", Some("old b")), ("c", Some("new c")), ("d", None)] {
        assert_eq!(get(key).as_deref(), value, "{key}");
    }
    assert!(repaired.warnings[0].contains("guess"));
    assert_eq!((repaired.left_out.len(), &repaired.left_out[0].keys), (1, &Keys::Unknown));
    assert!(repaired.left_out[0].file.ends_with("MANIFEST"));
}

/// A disk that is full is an error, and half a store does not stay behind.
#[test]
fn half_a_store_does_not_stay() {
    let sim = SimEnv::new(1);
    let options = Options { segment_bytes_min: 64 << 10, segment_bytes_max: 64 << 10, ..Options::default() };
    let db = Db::open_with(sim.shared(), DIR, options.clone()).unwrap();
    for n in 0..2000 {
        db.put(format!("key {n}"), [7; 1000]).unwrap();
    }
    db.close().unwrap();
    let used: usize = sim.list().iter().map(|path| sim.read_file(path).unwrap().len()).sum();
    sim.set_capacity(Some(used as u64 + (1 << 20)));
    let e = repair_with(sim.shared(), DIR, OUT, &options).unwrap_err();
    assert_eq!(e.kind(), kvs::ErrorKind::NoSpace, "{e:?}");
    assert!(!sim.list().iter().any(|path| path.starts_with(OUT)), "{:?}", sim.list());
    sim.set_capacity(None);
    let repaired = repair_with(sim.shared(), DIR, OUT, &options).unwrap();
    assert!(repaired.is_complete() && repaired.keys == 2000, "{repaired}");
}

/// A footer that is gone, or any of its bytes: it is made again, and nothing is lost.
#[test]
fn a_footer_is_made_again() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    for n in 0..300 {
        db.put(format!("key {n}"), format!("value {n}")).unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
    let table = sim.list().into_iter().find(|path| path.to_str().unwrap().ends_with(".tbl")).unwrap();
    let bytes = sim.read_file(&table).unwrap();
    let footer = bytes.len() - 104;
    let mut images: Vec<Vec<u8>> = Vec::new();
    for at in footer..bytes.len() {
        images.push(bytes.clone());
        images.last_mut().unwrap()[at] ^= 0x10;
    }
    images.push([&bytes[..footer], &[0; 104]].concat());
    images.push([&bytes[..footer], &[0xaa; 104][..]].concat());
    for (n, image) in images.into_iter().enumerate() {
        sim.write_file(&table, image.clone());
        let (repaired, get) = outcome(&sim);
        assert!(repaired.is_complete() && repaired.keys == 300 && repaired.warnings.len() == 1, "{n}: {repaired}");
        assert_eq!(get("key 7").as_deref(), Some("value 7"));
        drop(get);
        sim.list().into_iter().filter(|path| path.starts_with(OUT)).for_each(|path| assert!(sim.remove(&path)));
        // With a damaged record besides: footer, fences and hash pages still say which key it is.
        if (footer..footer + 76).contains(&(footer + n)) {
            let mut image = image;
            let at = image.windows(9).position(|w| w == b"value 123").unwrap();
            image[at] ^= 1;
            sim.write_file(&table, image);
            let (repaired, get) = outcome(&sim);
            assert!(repaired.left_out.len() == 1 && about(&repaired, "key 123").len() == 1, "{n}: {repaired}");
            drop(get);
            sim.list().into_iter().filter(|path| path.starts_with(OUT)).for_each(|path| assert!(sim.remove(&path)));
        }
    }
}

/// The newest table is gone, and with it any of its keys: older values are left out, and the list of them stays short.
#[test]
fn a_list_of_very_many_keys_is_short() {
    const KEYS: u64 = 5000;
    let key = |n: u64| format!("key {n:05}");
    let sim = SimEnv::new(1);
    let db = open(&sim);
    for n in 0..KEYS {
        db.put(key(n), "old").unwrap();
    }
    db.flush().unwrap();
    db.put(key(10), "new").unwrap();
    db.put(key(4990), "new").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let newest = sim.list().into_iter().rfind(|path| path.to_str().unwrap().ends_with(".tbl")).unwrap();
    assert!(sim.remove(&newest));
    let (repaired, get) = outcome(&sim);
    assert_eq!((repaired.keys, repaired.left_out.len()), (KEYS - 4981, 1002), "{repaired}");
    for n in 0..KEYS {
        let is_there = !(10..=4990).contains(&n);
        assert_eq!(get(&key(n)).as_deref(), is_there.then_some("old"), "{n}");
        // By itself, and in what was lost.
        let named = repaired.left_out[1..].iter().filter(|lost| lost.keys.covers(key(n))).count();
        assert_eq!((named, repaired.left_out[0].keys.covers(key(n))), (usize::from(!is_there), !is_there), "{n}");
    }
    let together = repaired.left_out.last().unwrap();
    assert_eq!(together.records, Some(4981 - 1000));
}

/// Where the hash pages are damaged, too: what is lost is told by its neighbours.
#[test]
fn a_gap_lies_between_its_neighbours() {
    let sim = SimEnv::new(1);
    let db = open(&sim);
    for n in 100..400 {
        db.put(format!("key {n}"), format!("value {n}")).unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
    let (table, at) = find(&sim, ".tbl", b"value 223");
    let pages = sim.read_file(&table).unwrap().windows(8).rposition(|w| w == [0xff; 8]).unwrap();
    assert!(sim.flip(&table, at, 0) && sim.flip(&table, pages as u64, 0));
    let (repaired, get) = outcome(&sim);
    assert_eq!((repaired.keys, get("key 222").is_some(), get("key 225").is_some()), (298, true, true));
    let covers = ["key 222", "key 223", "key 224", "key 225"].map(|key| repaired.left_out[0].keys.covers(key));
    assert_eq!(covers, [false, true, true, false], "what stands behind may be an older version: {repaired}");
    assert_eq!((about(&repaired, "key 224").len(), repaired.left_out.len()), (1, 2), "{repaired}");
}
