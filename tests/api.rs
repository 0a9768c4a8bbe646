//! What the public interface promises: one file for each promise. Every test opens with what it proves.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]
#![expect(clippy::disallowed_methods, reason = "tests look at files from outside")]

#[path = "common/child.rs"]
mod child;
mod common;

mod api {
    mod batches;
    mod budget;
    mod closing;
    mod interrupts;
    mod iterators;
    mod opening;
    mod options;
    mod ranges;
    mod read_only;
    mod scans;
    mod sizes;
    mod snapshots;
    mod statistics;
    mod types;
    mod visits;

    use std::path::Path;

    use kvs::{Db, Iter, Result, Snapshot};

    pub use super::common::tiny;

    pub fn open(path: impl AsRef<Path>) -> Db {
        Db::open(path, tiny()).unwrap()
    }

    pub fn in_memory() -> Db {
        Db::in_memory(tiny()).unwrap()
    }

    pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    /// What an iterator gives, front to back.
    pub fn pairs(iter: Result<Iter>) -> Pairs {
        iter.unwrap().map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect()
    }

    /// Its keys as text.
    pub fn keys(iter: Result<Iter>) -> Vec<String> {
        iter.unwrap().map(|pair| String::from_utf8(pair.unwrap().0.to_vec()).unwrap()).collect()
    }

    /// Names and contents of all files in a directory.
    pub fn contents(dir: &Path) -> std::collections::BTreeMap<std::ffi::OsString, Vec<u8>> {
        std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name(), std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// The reads that a `Db` and a `Snapshot` share.
    pub fn value(db: &Db, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        db.get_owned(key).unwrap()
    }

    pub fn value_at(snapshot: &Snapshot, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        snapshot.get_owned(key).unwrap()
    }
}

/// Where children enter; an empty test for everybody else.
#[test]
fn child_entry() {
    let Some((role, store)) = child::role() else { return };
    match role.as_str() {
        "hold" => {
            let db = kvs::Db::open(&store, common::tiny()).unwrap();
            child::ready_and_wait();
            db.close().unwrap();
        }
        "hold read-only" => {
            let db = kvs::Db::open(&store, kvs::Options { read_only: true, ..common::tiny() }).unwrap();
            child::ready_and_wait();
            db.close().unwrap();
        }
        // Dies with many segments, some written through a mapping and nothing closed.
        "write and die" => {
            let db = api::open(&store);
            for i in 0..2000u32 {
                db.put(i.to_be_bytes(), format!("value {i}")).unwrap();
            }
            std::process::abort();
        }
        "read on a read-only medium" => api_child::read_on_a_read_only_medium(&store),
        other => panic!("no such role: {other}"),
    }
}

mod api_child {
    use kvs::{Db, ErrorKind, Options};

    pub fn read_on_a_read_only_medium(store: &std::path::Path) {
        let refused = std::fs::write(store.join("probe"), "");
        assert!(refused.is_err(), "the medium is not read-only");
        let writer = Db::open(store, Options::default()).unwrap_err();
        assert!(matches!(writer.kind(), ErrorKind::ReadOnly | ErrorKind::Io), "{writer:?}");
        let db = Db::open(store, Options { read_only: true, ..super::common::tiny() }).unwrap();
        for i in 0..2000u32 {
            assert_eq!(db.get(i.to_be_bytes()).unwrap().as_deref(), Some(format!("value {i}").as_bytes()));
        }
        assert_eq!(db.put("k", "v").unwrap_err().kind(), ErrorKind::ReadOnly);
        db.close().unwrap();
    }
}
