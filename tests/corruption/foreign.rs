//! Directories and files that are not what a store leaves.

#![expect(clippy::disallowed_methods, reason = "these directories are made behind the store's back")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use kvs::{Db, ErrorKind, LogBackend, Options};

/// More than the first manifest of a store has.
const SOMETHING_ELSE: &str = "something else, and quite a lot of it: more than a store's very first manifest, which is two frames and has less than this";

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A store of two logs, closed.
fn store(dir: &Path) {
    for key in ["a", "b"] {
        let db = Db::open(dir, Options::default()).unwrap();
        db.put(key, key).unwrap();
        db.close().unwrap();
    }
    assert_eq!(names(dir), ["000001.log", "000002.log", "LOCK", "MANIFEST"]);
}

fn backends() -> [Options; 2] {
    [LogBackend::Mapped, LogBackend::Positioned].map(|log_backend| Options { log_backend, ..Options::default() })
}

/// Another program's directory is refused, and not a byte is written to it. A store that was made beside a file called as one of its own had
/// emptied that, or removed it: only names of logs, tables and other stores' manifests were looked for.
#[test]
fn another_programs_directory_is_left_alone() {
    for files in [
        &["CURRENT", "LOG", "000005.ldb", "000007.log", "MANIFEST-000004"][..],
        &["CURRENT"],
        &["MANIFEST-000004", "IDENTITY", "OPTIONS-000007"],
        &["000003.log"],
        &["data.mdb", "lock.mdb"],
        &["12.tbl", "MANIFEST.tmp"],
        &["LOCK"],
        &["RESERVE"],
        &["UNSYNCED"],
        &["REPAIRING"],
        &["MANIFEST.tmp"],
        &["9.tbl.old"],
        &["000001.log.tmp"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            fs::write(dir.path().join(name), SOMETHING_ELSE).unwrap();
        }
        let before = names(dir.path());
        let e = Db::open(dir.path(), Options::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NotADatabase, "{files:?}: {e:?}");
        assert!(e.path().is_some_and(|path| files.iter().any(|name| path.ends_with(name))), "{files:?}: {e:?}");
        assert_eq!(names(dir.path()), before);
        for name in files {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), SOMETHING_ELSE.as_bytes(), "{name}");
        }
    }
}

/// Files of other names are nobody's concern, whatever a store does beside them. And what an open leaves that died before it had made a
/// manifest is no obstacle for the next.
#[test]
fn a_store_is_made_beside_other_files() {
    for (name, content) in [
        ("notes.txt", &b"mine"[..]),
        ("x.log.tmp", b"mine"),
        ("MANIFESTO", b"mine"),
        ("x.tbl", b"mine"),
        ("LOCK", b""),
        ("LOCK", b"4711\n"),
        ("UNSYNCED", b""),
        ("MANIFEST.tmp", b""),
        ("MANIFEST.tmp", b"kvs"),
        ("MANIFEST.tmp", b"kvs man\n\x01\0\0\0"),
        ("MANIFEST.tmp", &[0; 60]),
        ("MANIFEST.tmp", &[0xa5; 60]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), content).unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap_or_else(|e| panic!("{name} {content:?}: {e}"));
        for i in 0..100u8 {
            db.put([i], [i]).unwrap();
        }
        db.flush().unwrap();
        db.close().unwrap();
        drop(db);
        assert_eq!(Db::open(dir.path(), Options::default()).unwrap().iter().unwrap().count(), 100);
        if content == b"mine" {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"mine", "{name}");
        }
    }
}

/// A FIFO, a directory or a symbolic link where a file should be: an error that names it, at once.
#[test]
fn what_is_not_a_file_is_refused() {
    for name in ["000001.log", "000002.log", "000003.log", "MANIFEST", "LOCK"] {
        for kind in 0..4 {
            for options in backends() {
                for read_only in [false, true] {
                    let dir = tempfile::tempdir().unwrap();
                    let (db, elsewhere) = (dir.path().join("db"), dir.path().join("elsewhere"));
                    store(&db);
                    let path = db.join(name);
                    fs::write(&elsewhere, fs::read(&path).unwrap_or_default()).unwrap();
                    let _ = fs::remove_file(&path);
                    match kind {
                        0 => rustix::fs::mknodat(
                            rustix::fs::CWD,
                            &path,
                            rustix::fs::FileType::Fifo,
                            rustix::fs::Mode::from_raw_mode(0o600),
                            0,
                        )
                        .unwrap(),
                        1 => fs::create_dir(&path).unwrap(),
                        2 => symlink(&elsewhere, &path).unwrap(),
                        _ => symlink("/nowhere", &path).unwrap(),
                    }
                    let options = Options { read_only, ..options.clone() };
                    let e = Db::open(&db, options).expect_err(name);
                    assert_eq!((e.kind(), e.path()), (ErrorKind::NotADatabase, Some(&*path)), "{name} {kind}: {e:?}");
                }
            }
        }
    }
}

/// What LOCK says is for error messages only.
#[test]
fn garbage_in_the_lock_file_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    store(&path);
    for garbage in [&b"\0\xff\xff"[..], b"1\n", b"99999999999999999999999999\n", &[b'7'; 100_000]] {
        fs::write(path.join("LOCK"), garbage).unwrap();
        let db = Db::open(&path, Options::default()).unwrap();
        assert_eq!(db.iter().unwrap().count(), 2);
        db.close().unwrap();
    }
}

/// Without its manifest a store is not mistaken for an empty directory, nor is one whose manifest is something else.
#[test]
fn a_store_without_its_manifest_is_not_started_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    store(&path);
    let (manifest, before) = (path.join("MANIFEST"), names(&path));
    let good = fs::read(&manifest).unwrap();
    for garbage in [&b""[..], b"x", b"MANIFEST-000001\n", &[0; 4096], &[0xff; 4096], &good[..good.len() / 4]] {
        fs::write(&manifest, garbage).unwrap();
        let e = Db::open(&path, Options::default()).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NotADatabase | ErrorKind::Corruption), "{e:?}");
        assert_eq!(e.path(), Some(&*manifest));
    }
    fs::remove_file(&manifest).unwrap();
    let e = Db::open(&path, Options::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotADatabase, "{e:?}");
    fs::write(&manifest, good).unwrap();
    assert_eq!(names(&path), before);
    assert_eq!(Db::open(&path, Options::default()).unwrap().iter().unwrap().count(), 2);
}

/// Other files in a store's directory are none of its business.
#[test]
fn strangers_in_the_directory_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    store(&path);
    let strangers = ["1.log", "0000001.log", "000000.log", "+00009.log", "000009.LOG", "000009.log.bak", "notes.txt"];
    for name in strangers {
        fs::write(path.join(name), "none of your business").unwrap();
    }
    let db = Db::open(&path, Options::default()).unwrap();
    assert_eq!(db.iter().unwrap().count(), 2);
    db.put("c", "c").unwrap();
    db.close().unwrap();
    for name in strangers {
        assert_eq!(fs::read(path.join(name)).unwrap(), b"none of your business", "{name}");
    }
    assert_eq!(Db::open(&path, Options::default()).unwrap().iter().unwrap().count(), 3);
}
