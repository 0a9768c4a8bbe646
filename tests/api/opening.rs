//! Opening: one at a time, errors that name the path, and any path that the system can name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use kvs::{Db, Error, ErrorKind, Options};

use super::{open, value};
use crate::child;

fn refused(path: &Path, options: Options) -> Error {
    Db::open(path, options).unwrap_err()
}

/// A second open in this process says so, with pid and path; by another path to the same directory too.
#[test]
fn a_second_open_in_this_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    let db = open(&path);
    for way in [&path, &link, &dir.path().join("db/../db")] {
        for read_only in [false, true] {
            let refused = refused(way, Options { read_only, ..Options::default() });
            assert_eq!(refused.kind(), ErrorKind::Locked);
            let message = refused.to_string();
            assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
            assert!(message.contains(&*way.to_string_lossy()), "{message}");
        }
    }
    drop(db);
    open(&link);
}

/// Another process that has it is named by its pid; when it is gone, so is the lock.
#[test]
fn a_second_open_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let holder = child::start("child_entry", "hold", &path);
    for read_only in [false, true] {
        let refused = refused(&path, Options { read_only, ..Options::default() });
        assert_eq!(refused.kind(), ErrorKind::Locked);
        let message = refused.to_string();
        assert!(message.contains(&format!("process {}", holder.process.id())), "{message}");
        assert!(message.contains(&*path.to_string_lossy()), "{message}");
    }
    holder.end();
    open(&path);
}

/// A killed process keeps no lock.
#[test]
fn a_killed_process_keeps_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut holder = child::start("child_entry", "hold", &path);
    assert_eq!(refused(&path, Options::default()).kind(), ErrorKind::Locked);
    holder.process.kill().unwrap();
    holder.process.wait().unwrap();
    open(&path);
}

/// What is no store, or can't become one, is refused with its path, and left as it was.
#[test]
fn paths_that_are_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file"), "text").unwrap();
    symlink(at("loop2"), at("loop1")).unwrap();
    symlink(at("loop1"), at("loop2")).unwrap();
    std::fs::create_dir(at("leveldb")).unwrap();
    std::fs::write(at("leveldb/CURRENT"), "MANIFEST-000001\n").unwrap();
    std::fs::create_dir(at("lost")).unwrap();
    std::fs::write(at("lost/000001.log"), "a log without its manifest").unwrap();
    for (name, kind) in [
        ("file", ErrorKind::NotADatabase),
        ("file/db", ErrorKind::NotADatabase),
        ("loop1", ErrorKind::Io),
        ("missing/db", ErrorKind::Io),
        ("leveldb", ErrorKind::NotADatabase),
        ("lost", ErrorKind::NotADatabase),
    ] {
        for read_only in [false, true] {
            let refused = refused(&at(name), Options { read_only, ..Options::default() });
            let expected = if read_only && name == "missing/db" { ErrorKind::NotADatabase } else { kind };
            assert_eq!(refused.kind(), expected, "{name}: {refused}");
            assert!(refused.to_string().contains(name.split('/').next().unwrap()), "{refused}");
            assert!(refused.path().is_some(), "{refused}");
        }
    }
    assert_eq!(std::fs::read(at("file")).unwrap(), b"text");
    assert_eq!(super::contents(&at("leveldb")).len(), 1);
    assert_eq!(super::contents(&at("lost")).len(), 1);
    assert!(!at("missing").exists());
}

/// With `create` off a missing store is an error and nothing is made; an existing one opens.
#[test]
fn without_create() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let options = Options { create: false, ..Options::default() };
    assert_eq!(refused(&path, options.clone()).kind(), ErrorKind::NotADatabase);
    assert!(!path.exists());
    std::fs::create_dir(&path).unwrap();
    assert_eq!(refused(&path, options.clone()).kind(), ErrorKind::NotADatabase);
    assert_eq!(super::contents(&path).len(), 0);
    open(&path).put("a", "1").unwrap();
    assert_eq!(value(&Db::open(&path, options).unwrap(), "a"), Some(b"1".to_vec()));
}

/// A path is bytes, not text; errors show it as well as they can.
#[test]
fn a_path_that_is_not_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(OsStr::from_bytes(b"caf\xe9 \xff\n"));
    let db = open(&path);
    db.put("a", "1").unwrap();
    assert_eq!(db.path(), Some(path.as_path()));
    assert_eq!(refused(&path, Options::default()).kind(), ErrorKind::Locked);
    drop(db);
    assert_eq!(value(&open(&path), "a"), Some(b"1".to_vec()));
}

/// A relative path is taken from the current directory.
#[test]
fn a_relative_path() {
    let here = std::env::current_dir().unwrap();
    let dir = tempfile::tempdir_in(&here).unwrap();
    let relative = dir.path().strip_prefix(&here).unwrap().join("db");
    assert!(relative.is_relative());
    let db = open(&relative);
    db.put("a", "1").unwrap();
    assert_eq!(refused(&dir.path().join("db"), Options::default()).kind(), ErrorKind::Locked);
    drop(db);
    assert_eq!(value(&open(dir.path().join("db")), "a"), Some(b"1".to_vec()));
}

/// A store in memory has no path, shares nothing with another one, and is gone with its last handle.
#[test]
fn in_memory() {
    let (one, two) = (super::in_memory(), super::in_memory());
    one.put("a", "1").unwrap();
    one.flush().unwrap();
    assert_eq!((value(&one, "a"), value(&two, "a")), (Some(b"1".to_vec()), None));
    assert_eq!(one.path(), None);
    let verified = one.verify().unwrap();
    assert_eq!((verified.records, one.stats().durable_seq), (1, 1));
    one.close().unwrap();
    assert_eq!(one.get("a").unwrap_err().kind(), ErrorKind::Closed);
}
