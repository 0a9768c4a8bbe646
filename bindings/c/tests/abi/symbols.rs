//! What the library exports is what symbols.txt, the header and the sources say, and its name carries the ABI's number.

use std::collections::BTreeSet;
use std::process::Command;

use crate::build::{include, library, package, run};

fn listed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(package().join("symbols.txt")).expect("symbols.txt");
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// Exported by libkvs.so, exactly. A symbol that disappears breaks programs: it takes a new SONAME.
#[test]
fn the_library_exports_what_is_listed() {
    let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library().join("libkvs.so")));
    let text = String::from_utf8(output.stdout).expect("nm prints ASCII");
    let exported: BTreeSet<String> =
        text.lines().filter_map(|line| line.split(' ').next_back()).map(str::to_owned).collect();
    if std::env::var_os("KVS_BLESS").is_some() {
        let lines: Vec<&str> = exported.iter().map(String::as_str).collect();
        let head = "# What libkvs.so.0 exports. Adding a line is compatible; removing one is not.";
        std::fs::write(package().join("symbols.txt"), format!("{head}\n{}\n", lines.join("\n"))).expect("symbols.txt");
    }
    assert_eq!(exported, listed(), "exported (left) and symbols.txt (right)");
}

/// Declared in the header, exactly.
#[test]
fn the_header_declares_what_is_listed() {
    let header = std::fs::read_to_string(include().join("kvs.h")).expect("include/kvs.h");
    let code = header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect::<String>();
    let code: String = code.lines().filter(|line| !line.contains('#')).flat_map(|line| [line, " "]).collect();
    // `KVS_API KVS_MUST_USE type *name(...)`: the word before the parenthesis.
    let name =
        |item: &str| item.split_once('(').and_then(|(head, _)| head.rsplit([' ', '*']).next().map(str::to_owned));
    let declared: BTreeSet<String> = code.split("KVS_API").skip(1).filter_map(name).collect();
    assert_eq!(declared, listed(), "declared (left) and symbols.txt (right)");
}

/// Every exported function's body is `call("its name", ...)` or `call_or("its name", ...)`: nothing runs
/// outside of the panic boundary, and the name in its messages is right.
#[test]
fn every_function_goes_through_the_boundary() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(package().join("src")).expect("src") {
        let text = std::fs::read_to_string(entry.expect("src").path()).expect("a source file");
        for item in text.split("#[unsafe(no_mangle)]").skip(1) {
            let name = item.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).expect("a function").0;
            let body = item.split_once("{\n").and_then(|(_, rest)| rest.split_once("\n}")).expect("a body").0;
            let code: String =
                body.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| line.trim()).collect();
            let code = code.trim_start_matches("const NONE: *const c_char = c\"no such error object\".as_ptr();");
            let code = code.trim_start_matches("boundary::");
            let starts = ["call", "call_or"]
                .iter()
                .any(|call| code.strip_prefix(call).is_some_and(|rest| rest.starts_with(&format!("(\"{name}\","))));
            assert!(starts, "{name} does not begin with the boundary: {code}");
            assert!(!code.trim_end_matches(')').contains("});"), "{name} does more after the boundary");
            seen.insert(name.to_owned());
        }
    }
    assert_eq!(seen, listed(), "in the sources (left) and symbols.txt (right)");
}

/// libkvs.so.0, and never unmapped.
#[test]
fn the_soname_is_the_abi() {
    let output = run(Command::new("readelf").arg("-d").arg(library().join("libkvs.so")));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("soname: [libkvs.so.0]"), "{text}");
    assert!(text.contains("NODELETE"), "{text}");
    let header = std::fs::read_to_string(include().join("kvs.h")).expect("include/kvs.h");
    assert!(header.contains("\n#define KVS_ABI_VERSION 0\n"));
    for (part, number) in [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        assert!(header.contains(&format!("\n#define KVS_VERSION_{part} {number}\n")), "{part} is not Cargo's {number}");
    }
}

/// Every exported function is called by a program of tests/programs that looks at what it does. The programs of misuse and of
/// panics, which call all of them by list, do not count; nor do comments and texts.
#[test]
fn every_function_is_called_by_a_test_program() {
    let mut code = String::new();
    for entry in std::fs::read_dir(package().join("tests/programs")).expect("tests/programs") {
        let path = entry.expect("a program").path();
        if path.ends_with("panics.c") || path.extension().is_none_or(|extension| extension != "c") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a program");
        code.extend(text.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)));
    }
    // Every second part stands between quotes; what is escaped in them is no quote.
    let code: String = code.replace("\\\\", "").replace("\\\"", "").replace("'\"'", "").split('"').step_by(2).collect();
    let called: BTreeSet<String> = listed().into_iter().filter(|name| code.contains(&format!("{name}("))).collect();
    assert_eq!(called, listed(), "called (left) and symbols.txt (right)");
}
