//! What the engine refuses: a store that is open elsewhere, and one that is damaged.
#![expect(clippy::disallowed_methods, reason = "the ban guards the engine's files; this test damages them")]

use kvs::{Db, Options};

use crate::tool::Tool;

/// Beside a writer nothing opens, and whoever it was is named; beside a reader, readers do.
#[test]
fn a_store_that_is_locked() {
    let tool = Tool::new();
    let here = tool.path("store");
    let tool = |args: &[&str]| tool.run(&[&["-d", "store"], args].concat());
    let db = Db::open(&here, Options::default()).unwrap();
    db.put("k", "v").unwrap();
    let pid = std::process::id().to_string();
    let read = [&["get", "k"][..], &["scan"], &["dump"], &["stats"], &["verify"]];
    let write = [&["set", "k", "w"][..], &["rm", "k"], &["rm", "--prefix", "k"], &["load"], &["compact"]];
    for args in read.iter().chain(&write) {
        tool(args).fails(5, &["store", &pid, "or try again later"]);
    }
    db.close().unwrap();
    drop(db);

    let reader = Db::open(&here, Options { read_only: true, ..Options::default() }).unwrap();
    tool(&["get", "k"]).is(0, "v\n");
    for args in read {
        assert_eq!(tool(args).code, 0, "{args:?}");
    }
    for args in write {
        assert_eq!(tool(args).code, 5, "{args:?}");
    }
    drop(reader);
    tool(&["set", "k", "w"]).is(0, "");
    tool(&["get", "k"]).is(0, "w\n");
}

/// One flipped bit in the middle of a file of records is code 4, with the file's name.
#[test]
fn a_store_that_is_damaged() {
    let tool = Tool::new();
    let lines: String = (0..2000).map(|i| format!("key{i:08}\tvalue {i} of some length\n")).collect();
    assert_eq!(tool.run_with(&["-d", "store", "load"], lines.as_bytes()).code, 0);
    assert_eq!(tool.run(&["-d", "store", "verify"]).code, 0);
    let mut damaged = 0;
    for entry in std::fs::read_dir(tool.path("store")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let sound = std::fs::read(&path).unwrap();
        // Where a record is: found by its bytes, so that the test knows nothing of the layout.
        let Some(at) = sound.windows(11).position(|bytes| bytes == b"key00000700") else { continue };
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        tool.run(&["-d", "store", "verify"]).fails(4, &[&name, "offset", "backup"]);
        std::fs::write(&path, sound).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0, "some file holds the records");
    assert_eq!(tool.run(&["-d", "store", "verify"]).code, 0);
}

/// Whole: code 0, and the same store. Damaged: code 4, what was left out, and everything else.
#[test]
fn a_store_is_repaired() {
    let tool = Tool::new();
    let lines: String = (0..2000).map(|i| format!("key{i:08}\tvalue {i} of some length\n")).collect();
    assert_eq!(tool.run_with(&["-d", "store", "load"], lines.as_bytes()).code, 0);
    assert_eq!(tool.run(&["-d", "store", "compact"]).code, 0);
    let whole = tool.text(&["repair", "store", "whole"]);
    assert!(whole.starts_with("kept: 2000 keys, ") && whole.lines().count() == 1, "{whole}");
    assert_eq!(tool.text(&["-d", "whole", "scan"]), lines);
    tool.run(&["repair", "store", "whole"]).fails(2, &["whole", "not empty"]);
    tool.run(&["repair", "store", "store/out"]).fails(2, &["store/out", "lies in the store"]);

    let tables = std::fs::read_dir(tool.path("store")).unwrap().map(|entry| entry.unwrap().path());
    let table = tables.into_iter().find(|path| path.extension().is_some_and(|end| end == "tbl")).unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    let at = bytes.windows(11).position(|bytes| bytes == b"key00000700").unwrap();
    bytes[at + 13] ^= 1;
    std::fs::write(&table, &bytes).unwrap();
    tool.run(&["-d", "store", "verify"]).fails(4, &["kvs repair DIR OUT"]);
    let mended = tool.run(&["repair", "store", "mended", "--option", "block_bytes=1k"]);
    let report = String::from_utf8(mended.out).unwrap();
    assert!(mended.code == 4 && report.starts_with("kept: 1999 keys, ") && mended.err.is_empty(), "{report}");
    let left_out = report.lines().find(|line| line.starts_with("left out: ")).unwrap();
    assert!(left_out.contains(table.to_str().unwrap().rsplit('/').next().unwrap()), "{left_out}");
    assert!(left_out.contains("; key \"key00000700\"; records 1"), "{left_out}");
    let rest: String = lines.split_inclusive('\n').filter(|line| !line.starts_with("key00000700")).collect();
    assert_eq!(tool.text(&["-d", "mended", "scan"]), rest);
    assert_eq!(tool.run(&["-d", "mended", "verify"]).code, 0);
    assert_eq!(std::fs::read(&table).unwrap(), bytes);

    let db = Db::open(tool.path("whole"), Options::default()).unwrap();
    tool.run(&["repair", "whole", "third"]).fails(5, &["whole"]);
    drop(db);
}
