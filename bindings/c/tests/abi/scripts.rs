//! The scripts of tests/scripts, played by a C program over kvs.h and by a C++ program over kvs.hpp.
//!
//! Both must also fail where they have to: on a wrong expectation, on what they do not understand, on a script that expects
//! nothing, and on too few scripts.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{cc, cxx, include, library, package, run, scratch};
use crate::programs::{STRICT, run_in, sanitizers};

/// Fewer are a mistake of the test.
const SCRIPTS_MIN: &str = "200";

fn scripts() -> PathBuf {
    package().join("../../tests/scripts")
}

/// Scripts behind a good beginning, each with what must be said of it.
const BAD: [(&str, &str); 8] = [
    ("get \"k\" -> \"w\"", "instead of"),
    ("get \"k\" -> KVS_NOT_FOUND", "instead of"),
    ("put \"k\" \"v\" -> KVS_E_CLOSED", "instead of"),
    ("scan -> \"k\"=\"v\" \"l\"=\"v\"", "instead of"),
    ("frobnicate -> KVS_OK", "no such operation"),
    ("put \"k\" \"v\" quickly -> KVS_OK", "is not understood"),
    ("get \"k\"\nflush -> KVS_OK", "without ->"),
    ("put \"l\" \"v\"", "no expectation"),
];

/// Plays all scripts, and those that must fail.
fn play(directory: &Path, program: &Path) {
    let all = scripts().display().to_string();
    let said = run_in(directory, program, &[&all, SCRIPTS_MIN]);
    let count: usize = said.trim().strip_suffix(" scripts").and_then(|count| count.parse().ok()).expect("a count");
    let there = std::fs::read_dir(scripts()).expect("the scripts").filter(|entry| {
        let path = entry.as_ref().expect("a script").path();
        path.extension().is_some_and(|extension| extension == "txt")
    });
    assert_eq!(count, there.count());
    for (number, (behind, expected)) in BAD.iter().enumerate() {
        let own = directory.join(format!("bad-{number}"));
        std::fs::create_dir_all(own.join("data")).expect("a directory for the script");
        let text = format!("# A bad one.\nopen db\nput \"k\" \"v\"\n{behind}\n");
        std::fs::write(own.join("script.txt"), text).expect("write the script");
        let message = refused(program, &own, "1");
        assert!(message.contains(expected) && message.contains("script.txt"), "{behind}: {message}");
    }
    let own = directory.join("few");
    std::fs::create_dir_all(own.join("data")).expect("a directory for the script");
    std::fs::write(own.join("script.txt"), "# A good one.\nopen db\nflush -> KVS_OK\n").expect("write the script");
    assert!(refused(program, &own, "2").contains("only 1 scripts"));
}

/// What a program says that fails.
fn refused(program: &Path, directory: &Path, least: &str) -> String {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", library()).env("ASAN_OPTIONS", "detect_leaks=0");
    let output = command.arg(directory.join("data")).arg(directory).arg(least).output().expect("run the program");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn compiled(mut compiler: Command, standard: &str, name: &str) -> (PathBuf, PathBuf) {
    let directory = scratch(&name.replace('.', "_"));
    let program = directory.join("program");
    compiler.arg(standard).args(&STRICT[1..]).args(sanitizers()).arg("-I").arg(include());
    let programs = package().join("tests/programs");
    compiler.arg("-I").arg(&programs).arg(programs.join(name)).arg("-L").arg(library()).arg("-lkvs");
    run(compiler.arg("-o").arg(&program));
    (directory, program)
}

#[test]
fn scripts_in_c() {
    let (directory, program) = compiled(cc(), STRICT[0], "scripts.c");
    play(&directory, &program);
}

#[test]
fn scripts_in_cpp() {
    let (directory, program) = compiled(cxx(), "-std=c++17", "scripts.cc");
    play(&directory, &program);
}
