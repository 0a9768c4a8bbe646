//! What a repair refuses, and what it does not follow; over real files.
#![expect(clippy::disallowed_methods, reason = "the test looks at directories behind the library's back")]

use std::fs;
use std::path::Path;

use kvs::{Db, ErrorKind, Keys, Options, repair};

fn make(dir: &Path) {
    let db = Db::open(dir, Options::default()).unwrap();
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.put("l", "w").unwrap();
    db.close().unwrap();
}

fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn the_new_directory_must_be_new_and_elsewhere() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let refused = |dir: &str, out: &str| repair(at(dir), at(out), &Options::default()).unwrap_err();
    assert_eq!(refused("nowhere", "out").kind(), ErrorKind::NotADatabase);
    fs::create_dir(at("empty")).unwrap();
    assert_eq!(refused("empty", "out").kind(), ErrorKind::NotADatabase);
    make(&at("store"));
    std::os::unix::fs::symlink(at("store"), at("link")).unwrap();
    fs::write(at("file"), "x").unwrap();
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/x"), "x").unwrap();
    let before = names(&at("store"));
    for out in ["store", "store/out", "link/out", "file", "file/out", "full"] {
        assert_eq!(refused("store", out).kind(), ErrorKind::InvalidArgument, "{out}");
    }
    assert_eq!(refused("link", "store/out").kind(), ErrorKind::InvalidArgument);
    assert_eq!(names(&at("store")), before, "nothing was written there");

    let db = Db::open(at("store"), Options::default()).unwrap();
    assert_eq!(refused("store", "out").kind(), ErrorKind::Locked);
    db.close().unwrap();
    assert!(!at("out").exists());
    // Readers may be there, and an empty directory is a new one.
    let reader = Db::open(at("store"), Options { read_only: true, ..Options::default() }).unwrap();
    let repaired = repair(at("store"), at("empty"), &Options::default()).unwrap();
    assert!(repaired.is_complete() && repaired.keys == 2, "{repaired}");
    drop(reader);
    assert_eq!(Db::open(at("empty"), Options::default()).unwrap().get_owned("k").unwrap().as_deref(), Some(&b"v"[..]));
}

/// A symbolic link or a directory in a file's place is not followed; the list says so.
#[test]
fn what_is_no_file_is_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("store"), temp.path().join("out"));
    make(&dir);
    let table = names(&dir).into_iter().find(|name| name.to_str().unwrap().ends_with(".tbl")).unwrap();
    let elsewhere = temp.path().join("elsewhere");
    fs::rename(dir.join(&table), &elsewhere).unwrap();
    for n in 0..2 {
        match n {
            0 => std::os::unix::fs::symlink(&elsewhere, dir.join(&table)).unwrap(),
            _ => fs::create_dir(dir.join(&table)).unwrap(),
        }
        let repaired = repair(&dir, &out, &Options::default()).unwrap();
        assert_eq!((repaired.keys, repaired.left_out.len()), (1, 1), "{repaired}");
        let lost = &repaired.left_out[0];
        assert!(lost.file.ends_with(&table) && lost.keys.covers("k") && !lost.keys.covers("l"), "{repaired}");
        assert!(lost.keys != Keys::Unknown && lost.records == Some(1));
        fs::remove_dir_all(&out).unwrap();
        let _ = fs::remove_file(dir.join(&table));
    }
}

/// A lock file is not made, and a store that a repair has not finished is none.
#[test]
fn nothing_is_made_in_the_old_store_and_half_a_store_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("store"), temp.path().join("out"));
    make(&dir);
    fs::remove_file(dir.join("LOCK")).unwrap();
    let before = names(&dir);
    let repaired = repair(&dir, &out, &Options::default()).unwrap();
    assert!(repaired.is_complete() && names(&dir) == before, "{repaired}");
    assert!(!out.join("REPAIRING").exists());
    fs::write(out.join("REPAIRING"), "").unwrap();
    for read_only in [false, true] {
        let e = Db::open(&out, Options { read_only, ..Options::default() }).unwrap_err();
        assert!(e.kind() == ErrorKind::Corruption && e.path() == Some(&out.join("REPAIRING")), "{e:?}");
    }
    let e = repair(&out, temp.path().join("third"), &Options::default()).unwrap_err();
    assert!(e.kind() == ErrorKind::Corruption && !temp.path().join("third").exists(), "{e:?}");
}
