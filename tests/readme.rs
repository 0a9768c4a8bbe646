//! The README's Rust is this file's, letter for letter, and runs. (Its C and Python are run by the tests of those bindings.)
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]
#![expect(clippy::disallowed_methods, reason = "the test reads the README")]

fn fruit(dir: &std::path::Path) -> kvs::Result<()> {
    let db = kvs::Db::open(dir, kvs::Options::default())?;
    db.put("apple", "red")?;
    let before = db.snapshot()?;
    db.delete("apple")?;
    assert_eq!(before.get("apple")?.unwrap(), b"red");
    for pair in before.range("a".."b")? {
        let (key, value) = pair?;
        println!("{key:?} = {value:?}");
    }
    db.close()
}

#[test]
fn the_readmes_rust_runs() {
    let dir = tempfile::tempdir().unwrap();
    fruit(&dir.path().join("fruit")).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let block = |path: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        let start = text.find(from).unwrap() + from.len();
        text[start..].split_once(to).unwrap().0.trim().to_owned()
    };
    let readme = block("README.md", "```rust\n", "```\n");
    let here = block("tests/readme.rs", "the README\")]\n\n", "\n#[test]");
    assert_eq!(readme, here);
}
