//! include/kvs.h is what the sources say, and every compiler takes it at its strictest.

use std::process::Command;

use crate::build::{cc, cxx, include, package, run, scratch};

/// The files whose items make the header, in its order.
const SOURCES: [&str; 11] =
    ["status", "error", "options", "db", "pin", "results", "stats", "repair", "batch", "snapshot", "iter"];

fn generate() -> String {
    let config = cbindgen::Config::from_file(package().join("cbindgen.toml")).expect("cbindgen.toml");
    let sources = SOURCES.iter().map(|name| package().join(format!("src/{name}.rs")));
    let builder = sources.fold(cbindgen::Builder::new().with_config(config), |builder, path| builder.with_src(path));
    let mut text = Vec::new();
    builder.generate().expect("cbindgen").write(&mut text);
    let text = String::from_utf8(text).expect("UTF-8");
    // cbindgen writes `#define X -1`; a macro's value wants parentheses.
    let parenthesised = |line: &str| match line.split_once(" -") {
        Some((define, number)) if line.starts_with("#define KVS_") => format!("{define} (-{number})\n"),
        _ => format!("{}\n", line.trim_end()),
    };
    text.lines().map(parenthesised).collect()
}

/// Generated from the sources; `KVS_BLESS=1` writes it.
#[test]
fn the_header_is_up_to_date() {
    let (generated, path) = (generate(), include().join("kvs.h"));
    if std::env::var_os("KVS_BLESS").is_some() {
        std::fs::write(&path, &generated).expect("write include/kvs.h");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if committed != generated {
        let differs = committed.lines().zip(generated.lines()).position(|(a, b)| a != b);
        let line = differs.unwrap_or(committed.lines().count().min(generated.lines().count())) + 1;
        panic!(
            "include/kvs.h differs from the sources from line {line}: run this test with KVS_BLESS=1 and commit the file"
        );
    }
}

/// A handle type is a name in C and no more: none of the internals leaked, none of the types is missing.
#[test]
fn the_header_declares_the_handles_and_nothing_of_rust() {
    let header = generate();
    for name in ["db", "options", "batch", "snapshot", "iter", "error", "pin", "results", "report"] {
        assert!(header.contains(&format!("typedef struct kvs_{name} kvs_{name};")), "kvs_{name} is missing");
    }
    for foreign in ["uintptr_t", "bool", "enum ", "long", "Body", "Outcome", "#include <std"] {
        let allowed = if foreign.starts_with("#include") { 2 } else { 0 };
        let code = header.lines().filter(|line| !line.trim_start().starts_with(['*', '/']));
        assert_eq!(code.filter(|line| line.contains(foreign)).count(), allowed, "{foreign:?} in the header");
    }
}

/// Alone and first, in each language, with every warning an error, by gcc and by clang. Clang may be missing on a developer's machine; with
/// `KVS_CLANG=required`, as CI has it, that is a failure.
#[test]
fn the_header_compiles_alone_and_strictly() {
    let directory = scratch("header");
    let both = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wundef", "-Werror", "-fsyntax-only"];
    let only_c = ["-Wstrict-prototypes", "-Wc++-compat"];
    for (file, versions) in
        [("alone.c", &["c99", "c11", "c17", "c2x"][..]), ("alone.cc", &["c++11", "c++14", "c++17", "c++20"])]
    {
        let is_c = file.ends_with(".c");
        let path = directory.join(file);
        std::fs::write(&path, "#include <kvs.h>\n#include <kvs.h>\n").expect("write the source");
        let own = if is_c { cc() } else { cxx() };
        let clang = Command::new(if is_c { "clang" } else { "clang++" });
        for compiler in [own, clang].iter().filter(|compiler| is_there(compiler)) {
            for version in versions {
                let mut compiler = Command::new(compiler.get_program());
                compiler.args(if is_c { &only_c[..] } else { &[] });
                run(compiler.args(both).arg(format!("-std={version}")).arg("-I").arg(include()).arg(&path));
            }
        }
    }
}

/// The layer for C++, alone and first, with more warnings than users will have.
#[test]
fn the_header_for_cpp_compiles_alone_and_strictly() {
    let path = scratch("header_for_cpp").join("alone.cc");
    std::fs::write(&path, "#include <kvs.hpp>\n#include <kvs.hpp>\n").expect("write the source");
    for own in [cxx(), Command::new("clang++")].iter().filter(|compiler| is_there(compiler)) {
        for version in ["c++17", "c++20", "c++2b"] {
            let mut compiler = Command::new(own.get_program());
            compiler.args(["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wundef", "-Wshadow", "-Wold-style-cast"]);
            compiler.args(["-Wnon-virtual-dtor", "-Werror", "-fsyntax-only"]).arg(format!("-std={version}"));
            run(compiler.arg("-I").arg(include()).arg(&path));
        }
    }
}

/// Only clang may be missing, and only where it is not required.
pub fn is_there(compiler: &Command) -> bool {
    let is_clang = compiler.get_program().to_string_lossy().starts_with("clang");
    let is_required = !is_clang || std::env::var("KVS_CLANG").is_ok_and(|value| value == "required");
    is_required || Command::new(compiler.get_program()).arg("--version").output().is_ok()
}
