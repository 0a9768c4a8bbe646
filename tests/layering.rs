//! The layers of `src`, as data, and the proof that the code keeps to them.
//!
//! A file imports only from files that stand above it in [`TABLE`]: lower layers, or earlier in its own. So there are no
//! cycles, and a reader can start at the top. How it is read:
//!
//! 1. Comments, strings and `#[cfg(test)]` items are cut out; files of tests and models are left aside (`tests.rs`, `loom.rs`).
//! 2. Every path `crate::…`, `super::…` and `self::…` is resolved, groups in braces included, and so is one that starts
//!    with the name of a child module (`commit::Commit` in `engine/mod.rs`). The longest prefix that is a module is what is imported.
//! 3. The one cycle that is allowed is between a parent and its own children. A parent declares its children and may name their
//!    types, since its state consists of theirs; a child may use what its parent defines. Seen from outside they are one unit
//!    that stands where each of them stands in the table; among themselves children keep the order of the table.
//! 4. The crate root, `lib.rs`, only declares and re-exports: it may name everything.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]
#![expect(clippy::disallowed_methods, reason = "the test reads the sources")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each file once, lower layers first. A parent stands before its children.
const TABLE: &[(&str, &[&str])] = &[
    (
        "ground",
        &[
            "error",
            "sync",
            "sync/tsan",
            "sync/forks",
            "sync/epoch",
            "sync/locks",
            "coding",
            "record",
            "metrics",
            "scratch",
            "sorting",
            "interpolation",
        ],
    ),
    (
        "environment",
        &[
            "env",
            "env/ahead",
            "env/os",
            "env/os/threads",
            "env/os/behind",
            "env/os/files",
            "env/os/lock",
            "env/memory",
            "env/sim",
            "env/sim/fate",
            "env/sim/directory",
            "env/sim/file",
            "env/sim/disk",
            "env/sim/handles",
            "env/fault",
            "env/fault/files",
        ],
    ),
    (
        "vocabulary",
        &[
            "slots",
            "leaving",
            "covering",
            "together",
            "cache",
            "files",
            "files/region",
            "lenient",
            "events",
            "options",
            "batch",
            "value",
            "snapshot",
            "ranges",
            "merging",
            "bracket",
            "visibility",
            "walk",
        ],
    ),
    (
        "stores",
        &[
            "log",
            "log/frame",
            "log/segment",
            "log/replay",
            "log/salvage",
            "memtable",
            "memtable/order",
            "memtable/walk",
            "table",
            "table/block",
            "table/fences",
            "table/hashes",
            "table/properties",
            "table/footer",
            "table/builder",
            "table/reader",
            "table/walk",
            "table/verify",
            "table/salvage/records",
            "table/salvage",
            "index",
            "index/arena",
            "index/bucket",
            "index/buckets",
            "index/table",
        ],
    ),
    ("versions", &["version", "cursor", "manifest"]),
    (
        "engine",
        &[
            "engine",
            "engine/signal",
            "engine/pressure",
            "engine/reserve",
            "engine/scans",
            "engine/commit",
            "engine/doubt",
            "engine/durable",
            "engine/segments",
            "engine/read",
            "engine/reuse",
            "engine/moved",
            "engine/output",
            "engine/tables",
            "engine/flush",
            "engine/picking",
            "engine/outlived",
            "engine/compaction",
            "engine/coverage",
            "engine/worker",
            "engine/close",
            "engine/verify",
            "engine/statistics",
            "engine/recovery",
            "engine/recovery/syncing",
            "engine/handle",
        ],
    ),
    (
        "public",
        &[
            "handles",
            "iterator",
            "db",
            "repair",
            "repair/report",
            "repair/identity",
            "repair/chain",
            "repair/logs",
            "repair/tables",
            "repair/choose",
            "lib",
        ],
    ),
];

/// The only files that may hold `unsafe`.
const UNSAFE: &[&str] =
    &["env/os", "env/os/threads", "log/segment", "files", "files/region", "slots", "index", "index/buckets"];

/// Each module, such as `log/frame`, with its source.
fn sources() -> BTreeMap<String, String> {
    fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let module = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap().with_extension("");
        let name = name.to_str().unwrap();
        name.strip_suffix("/mod").unwrap_or(name).to_owned()
    };
    let is_source = |path: &PathBuf| path.extension().is_some_and(|e| e == "rs");
    let read = |path: PathBuf| (module(&path), std::fs::read_to_string(path).unwrap());
    files.into_iter().filter(is_source).map(read).collect()
}

fn is_product(module: &str) -> bool {
    let last = module.rsplit('/').next().unwrap();
    last != "tests" && last != "loom"
}

/// `source` without comments, strings and characters; everything else keeps its place.
fn code_of(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let blank = |out: &mut Vec<u8>, from: usize, to: usize| {
        out[from..to].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
    };
    let find = |from: usize, what: &str| source[from..].find(what).map_or(bytes.len(), |at| from + at + what.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let is_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let end = if rest.starts_with(b"//") {
            source[at..].find('\n').map_or(bytes.len(), |n| at + n)
        } else if rest.starts_with(b"/*") {
            find(at + 2, "*/")
        } else if rest.starts_with(b"r\"") && !is_word {
            find(at + 2, "\"")
        } else if rest.starts_with(b"r#\"") && !is_word {
            find(at + 3, "\"#")
        } else if rest[0] == b'"' {
            let mut end = at + 1;
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            end + 1
        } else if rest[0] == b'\'' && rest.get(1) == Some(&b'\\') {
            find(at + 3, "'")
        } else if rest[0] == b'\'' && rest.get(2) == Some(&b'\'') {
            at + 3
        } else {
            at += 1;
            continue;
        };
        blank(&mut out, at, end);
        at = end;
    }
    String::from_utf8(out).unwrap()
}

/// The end of what starts at `from`: of its block, or of its line that ends in a semicolon.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return from + at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return from + at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Without items under `#[cfg(test)]`.
fn without_tests(mut code: String) -> String {
    while let Some(at) = code.find("#[cfg(test)]") {
        let end = end_of_item(&code, at);
        code.replace_range(at..end, "");
    }
    code
}

/// All paths that start at `at`, which is just behind `prefix::`: braces are multiplied out, to any depth.
fn paths(code: &str, prefix: &[String], out: &mut Vec<Vec<String>>) {
    let code = code.trim_start();
    if let Some(group) = code.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    if !group[start..at].trim().is_empty() {
                        paths(&group[start..at], prefix, out);
                    }
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let len = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    let path = [prefix, &[code[..len].to_owned()]].concat();
    match code[len..].strip_prefix("::") {
        Some(rest) if len > 0 => paths(rest, &path, out),
        _ => out.push(path),
    }
}

/// Where `word::` stands in `code` as a whole word that no path precedes.
fn starts<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let needle = format!("{word}::");
    let found: Vec<usize> = code.match_indices(&needle).map(|(at, _)| at).collect();
    found.into_iter().filter(|&at| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

/// The modules that `module` names in `code`.
fn imports(module: &str, code: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let parts = |path: &str| -> Vec<String> {
        if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    };
    let own = parts(module);
    let mut found = Vec::new();
    for at in starts(code, "crate") {
        paths(&code[at + 7..], &[], &mut found);
    }
    for at in starts(code, "self") {
        paths(&code[at + 6..], &own, &mut found);
    }
    for at in starts(code, "super") {
        let mut base = own.clone();
        let mut rest = &code[at..];
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        paths(rest, &base, &mut found);
    }
    for child in modules.iter().filter_map(|m| m.strip_prefix(&format!("{module}/"))).filter(|c| !c.contains('/')) {
        for at in starts(code, child) {
            paths(&code[at..], &own, &mut found);
        }
    }
    let module_of = |path: &Vec<String>| {
        let longest = (1..=path.len()).rev().map(|n| path[..n].join("/")).find(|m| modules.contains(m));
        longest.unwrap_or_else(|| "lib".to_owned())
    };
    let mut imported: BTreeSet<String> = found.iter().map(module_of).collect();
    imported.remove(module);
    imported
}

/// Is one the directory that the other lies in, at any depth?
fn related(a: &str, b: &str) -> bool {
    let holds = |parent: &str, child: &str| child.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'));
    holds(a, b) || holds(b, a)
}

/// What breaks the rule, in words.
fn violations(sources: &BTreeMap<String, String>) -> Vec<String> {
    let order: Vec<&str> = TABLE.iter().flat_map(|(_, files)| files.iter().copied()).collect();
    let layer = |module: &str| TABLE.iter().find(|(_, files)| files.contains(&module)).map_or("?", |(name, _)| name);
    let place = |module: &str| order.iter().position(|m| *m == module);
    let modules: BTreeSet<String> = sources.keys().cloned().collect();
    let mut wrong = Vec::new();
    for (module, source) in sources.iter().filter(|(module, _)| is_product(module) && *module != "lib") {
        let Some(own) = place(module) else {
            wrong.push(format!("{module}.rs stands in no layer: add it to the table"));
            continue;
        };
        for import in imports(module, &without_tests(code_of(source)), &modules) {
            let fine = match place(&import) {
                Some(_) if related(module, &import) => true,
                Some(other) => other < own,
                // Its own model, under the model checker's cfg.
                None => !is_product(&import) && related(module, &import),
            };
            if !fine {
                let (from, to) = (layer(module), layer(&import));
                wrong.push(format!("{module}.rs ({from}) may not import {import} ({to})"));
            }
        }
    }
    wrong
}

/// Every file of `src` stands in the table and imports only what stands above it.
#[test]
fn files_import_only_from_above() {
    let sources = sources();
    assert!(sources.len() > 40, "the sources were not found");
    let wrong = violations(&sources);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let order: BTreeSet<&str> = TABLE.iter().flat_map(|(_, files)| files.iter().copied()).collect();
    for file in order {
        assert!(sources.contains_key(file), "{file}.rs is in the table and not in src");
    }
}

/// The reader of imports sees every way of writing one, so a breach can't hide.
#[test]
fn breaches_are_seen() {
    for (module, line) in [
        ("log/segment", "use crate::engine::commit::Commit;"),
        ("log/segment", "use crate::{coding, engine::commit::{Active, Commit}};"),
        ("log/segment", "fn f() { let x = crate::engine::Core::new(); }"),
        ("log/segment", "use super::super::engine;\nfn f(_: super::super::engine::Core) {}"),
        ("log/frame", "use super::replay::replay;"),
        ("log/frame", "use super::{\n    replay::{self, find_witness},\n};"),
        ("error", "impl From<crate::db::Db> for Error {}"),
        ("files", "use crate::memtable::Memtable;"),
        ("engine/durable", "use super::recovery;\nuse super::recovery::open;"),
        ("engine/commit", "use crate::Db;"),
        ("env/os/files", "use crate::env::sim::SimEnv;"),
        ("nowhere", ""),
    ] {
        let mut sources: BTreeMap<String, String> = sources().into_keys().map(|m| (m, String::new())).collect();
        sources.insert(module.to_owned(), line.to_owned());
        let wrong = violations(&sources);
        assert_eq!(wrong.len(), 1, "{module}: {line}: {wrong:?}");
        assert!(wrong[0].starts_with(&format!("{module}.rs ")), "{wrong:?}");
    }
    for (module, line) in [
        ("log/segment", "// crate::engine::Core\n/// [`x`](crate::engine)\nconst X: &str = \"crate::engine\";"),
        (
            "log/segment",
            "#[cfg(test)]\nmod tests {\n    use crate::engine::Core;\n    fn f() { {} }\n}\nuse crate::files::File;",
        ),
        ("engine", "use commit::Commit;\npub mod commit;\nfn f(_: self::worker::Signal) {}"),
        ("engine/worker", "use crate::engine::Core;\nuse super::Core as Other;\nuse super::commit::Commit;"),
        ("memtable/walk", "use super::order::{Run, record_at};"),
    ] {
        let mut sources: BTreeMap<String, String> = sources().into_keys().map(|m| (m, String::new())).collect();
        sources.insert(module.to_owned(), line.to_owned());
        assert_eq!(violations(&sources), Vec::<String>::new(), "{module}: {line}");
    }
}

/// `unsafe` stands only in the files that are named for it, and the list is no longer than it must be.
#[test]
fn unsafe_stands_only_where_it_may() {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut with = BTreeSet::new();
    for (module, source) in sources() {
        let code = code_of(&source);
        let uses = code.match_indices("unsafe").any(|(at, word)| {
            !is_word(code[..at].chars().next_back()) && !is_word(code[at + word.len()..].chars().next())
        });
        if uses && is_product(&module) {
            with.insert(module);
        }
    }
    assert_eq!(with, UNSAFE.iter().map(|m| (*m).to_owned()).collect());
}

/// Every `unsafe` block and impl has a SAFETY comment right above it. (Clippy knows this too; here it can't be switched off.)
#[test]
fn unsafe_is_argued() {
    let mut blocks = 0;
    for (module, source) in sources() {
        let code = code_of(&source);
        let lines: Vec<&str> = source.lines().collect();
        for (number, line) in code.lines().enumerate() {
            if !line.contains("unsafe {") && !line.contains("unsafe impl") {
                continue;
            }
            blocks += 1;
            // Up to the start of the statement, then through the comment above it.
            let argued = lines[..=number].iter().rev().take(14).any(|above| above.contains("// SAFETY:"));
            assert!(argued, "{module}.rs:{}: no SAFETY comment: {}", number + 1, line.trim());
        }
    }
    assert!(blocks > 10, "no unsafe found: {blocks}");
}

/// Atomics, locks and epochs are named in `sync.rs` and nowhere else, so that the model checker and the sanitizer see them all.
#[test]
fn locks_and_atomics_come_from_sync() {
    for (module, source) in sources() {
        if module == "sync" || module.starts_with("sync/") || !is_product(&module) {
            continue;
        }
        let code = without_tests(code_of(&source));
        for name in ["parking_lot", "crossbeam_epoch", "crossbeam_utils", "loom::"] {
            assert!(!code.contains(name), "{module}.rs names {name}: import it from crate::sync");
        }
        let mut named = Vec::new();
        for at in starts(&code, "std").chain(starts(&code, "core")).chain(starts(&code, "alloc")) {
            let behind = at + code[at..].find("::").unwrap() + 2;
            paths(&code[behind..], &[], &mut named);
        }
        for path in named.into_iter().filter(|path| path[0] == "sync") {
            // Errors come before everything, `sync` too; a shared error is no synchronisation.
            let fine = module == "error" && path == ["sync", "Arc"];
            assert!(fine, "{module}.rs names std::{}: import it from crate::sync", path.join("::"));
        }
    }
}

/// Files, clocks and threads of the standard library only in the environment. (Clippy bans the calls; this the imports.)
#[test]
fn the_system_is_reached_through_the_environment() {
    for (module, source) in sources() {
        if module.starts_with("env") || !is_product(&module) {
            continue;
        }
        let code = without_tests(code_of(&source));
        for name in [
            "std::fs",
            "std::thread::spawn",
            "std::thread::Builder",
            "std::net",
            "std::process",
            "Instant",
            "SystemTime",
        ] {
            assert!(!code.contains(name), "{module}.rs names {name}: use the environment");
        }
    }
}
