//! Stores of every released format open for ever: what version 1 wrote stands in `tests/fixtures/v1`, as it was closed and as a
//! kill left it, and this program reads it, key by key, and can go on with it.
//!
//! `KVS_BLESS=1` writes the fixtures of the *current* version anew; those of released versions are never touched again.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]
#![expect(clippy::disallowed_methods, reason = "the test copies directories")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kvs::{Batch, Db, Durability, Options};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn options() -> Options {
    Options { segment_bytes_min: 4 << 10, segment_bytes_max: 8 << 10, ..Options::default() }
}

/// What the fixtures hold: the same calls fill the store and this map.
fn fill(mut put: impl FnMut(&[u8], Option<&[u8]>)) {
    for i in 0..60u32 {
        put(format!("key/{i:04}").as_bytes(), Some(format!("value {i}").repeat(i as usize % 7).as_bytes()));
    }
    put(b"", Some(b"the empty key"));
    put(&[0xff; 300], Some(&[0; 1000]));
    put("schlüssel".as_bytes(), Some("wert".as_bytes()));
    for i in (0..60u32).step_by(3) {
        put(format!("key/{i:04}").as_bytes(), None);
    }
    for i in (0..60u32).step_by(4) {
        put(format!("key/{i:04}").as_bytes(), Some(b"again"));
    }
    put(b"large", Some(&[7; 5000]));
}

fn expected() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut map = BTreeMap::new();
    fill(|key, value| {
        match value {
            Some(value) => map.insert(key.to_vec(), value.to_vec()),
            None => map.remove(key),
        };
    });
    map.extend([(b"batch/1".to_vec(), b"one".to_vec()), (b"batch/2".to_vec(), b"two".to_vec())]);
    map
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn bless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, options()).unwrap();
    fill(|key, value| match value {
        Some(value) => db.put_with(key, value, Durability::Sync).unwrap(),
        None => db.delete(key).unwrap(),
    });
    db.write(Batch::new().put("batch/1", "zero").put("batch/2", "two").put("batch/1", "one")).unwrap();
    // `LOCK` says nothing; a prepared segment is zeros.
    let keep = |to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        copy(&path, to);
        std::fs::remove_file(to.join("LOCK")).unwrap();
    };
    keep(&fixtures().join("killed"));
    db.close().unwrap();
    keep(&fixtures().join("closed"));
}

#[test]
fn version_1_opens_and_goes_on() {
    if std::env::var_os("KVS_BLESS").is_some() {
        bless();
    }
    for state in ["closed", "killed"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        copy(&fixtures().join(state), &path);
        let expected = expected();
        for round in 0..3 {
            // Read-only first: a fixture that only opens after a repair would not be one.
            let read_only = Options { read_only: round == 0, ..options() };
            let db = Db::open(&path, read_only).unwrap();
            let found: BTreeMap<Vec<u8>, Vec<u8>> =
                db.iter().unwrap().map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect();
            let mut wanted = expected.clone();
            if round == 2 {
                wanted.insert(b"later".to_vec(), b"1".to_vec());
            }
            assert_eq!(found, wanted, "{state}, round {round}");
            for (key, value) in &wanted {
                assert_eq!(db.get_owned(key).unwrap().as_ref(), Some(value));
            }
            // All versions that were written; what a flush takes over is the newest of each key.
            let least = if round == 0 { 100 } else { wanted.len() as u64 };
            assert!(db.verify().unwrap().records >= least);
            if round == 1 {
                db.put("later", "1").unwrap();
            }
            db.close().unwrap();
        }
    }
}
