//! C programs, compiled with every warning an error and run against the library: shared, and once static.
//!
//! What each proves is in its first lines, in `tests/programs`. With `KVS_VALGRIND=1` they run under valgrind, with `KVS_SANITIZE=1` they are
//! compiled with the sanitizers of addresses, leaks and undefined behaviour.

use std::path::Path;
use std::process::Command;

use crate::build::{cc, cxx, include, library, package, run, scratch};
use crate::header::is_there;

pub const STRICT: [&str; 7] = ["-std=c11", "-g", "-Wall", "-Wextra", "-pedantic", "-Werror", "-pthread"];

/// What sanitizers want of the compiler, if they are wanted.
pub fn sanitizers() -> &'static [&'static str] {
    match std::env::var_os("KVS_SANITIZE") {
        Some(_) => &["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
        None => &[],
    }
}

/// Compiles `source`, runs it on an empty directory and returns what it printed.
pub fn run_program(source: &Path, arguments: &[&str]) -> String {
    let name = source.file_stem().and_then(|stem| stem.to_str()).expect("a file name");
    let directory = scratch(name);
    let program = directory.join("program");
    let mut compile = cc();
    compile.args(STRICT).args(sanitizers()).arg("-I").arg(include());
    compile.arg("-I").arg(package().join("tests/programs")).arg(source);
    run(compile.arg("-L").arg(library()).arg("-lkvs").arg("-o").arg(&program));
    run_in(&directory, &program, arguments)
}

pub fn run_in(directory: &Path, program: &Path, arguments: &[&str]) -> String {
    let data = directory.join("data");
    std::fs::create_dir_all(&data).expect("a directory for the program");
    // The child of a fork leaks what its parent made, and a payload that panics twice is leaked: that is the promise.
    let leaks = ["fork", "panics", "matrix"].iter().any(|name| directory.ends_with(name));
    let output = run(watched(program, leaks).arg(data).args(arguments));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A program to be run with the library, under valgrind if that is wanted. `leaks`: it does so, and is allowed to.
pub fn watched(program: &Path, leaks: bool) -> Command {
    let mut command = if std::env::var_os("KVS_VALGRIND").is_some() {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--error-exitcode=99", "--errors-for-leak-kinds=definite"]);
        valgrind.arg(if leaks { "--leak-check=no" } else { "--leak-check=full" });
        valgrind.arg(program);
        valgrind
    } else {
        Command::new(program)
    };
    command.env("LD_LIBRARY_PATH", library()).env("RUST_BACKTRACE", "0");
    if leaks {
        command.env("ASAN_OPTIONS", "detect_leaks=0");
    }
    command
}

fn run_test(name: &str, arguments: &[&str]) {
    run_program(&package().join("tests/programs").join(name), arguments);
}

#[test]
fn reads_and_writes() {
    run_test("reads_and_writes.c", &[]);
}

#[test]
fn bulk() {
    run_test("bulk.c", &[]);
}

#[test]
fn reports() {
    run_test("reports.c", &[]);
}

/// include/kvs.hpp, compiled by each compiler that is there; with sanitizers by the first, of which clang's are a package of their own.
#[test]
fn plus() {
    let compilers = [cxx(), Command::new("clang++")];
    let wanted = if sanitizers().is_empty() { &compilers[..] } else { &compilers[..1] };
    for own in wanted.iter().filter(|compiler| is_there(compiler)) {
        for version in ["c++17", "c++20"] {
            let directory = scratch("plus");
            let program = directory.join("program");
            let mut compile = Command::new(own.get_program());
            compile.arg(format!("-std={version}")).args(&STRICT[1..]).args(sanitizers()).arg("-I").arg(include());
            compile.arg(package().join("tests/programs/plus.cc")).arg("-L").arg(library()).arg("-lkvs");
            run(compile.arg("-o").arg(&program));
            run_in(&directory, &program, &[]);
        }
    }
}

#[test]
fn lifetimes() {
    run_test("lifetimes.c", &[]);
}

#[test]
fn threads() {
    run_test("threads.c", &[]);
}

/// Not linked with the library, which it loads; and not under valgrind, which knows nothing of memory in use.
#[test]
#[cfg(target_os = "linux")]
fn loading() {
    let directory = scratch("loading");
    let program = directory.join("program");
    let mut compile = cc();
    compile.arg("-std=gnu11").args(&STRICT[1..]).arg("-I").arg(include());
    run(compile.arg(package().join("tests/programs/loading.c")).arg("-ldl").arg("-o").arg(&program));
    run(Command::new(&program).arg(&directory).arg(library().join("libkvs.so.0")));
}

#[test]
fn fork() {
    run_test("fork.c", &[]);
}

/// Every exported function, by name: one that the program does not know fails it.
#[test]
#[cfg(any(debug_assertions, feature = "fault-injection"))]
fn panics() {
    let listed = std::fs::read_to_string(package().join("symbols.txt")).expect("symbols.txt");
    let names: Vec<&str> = listed.lines().filter(|line| !line.starts_with('#')).collect();
    run_test("panics.c", &[&names.join(" ")]);
}

const BASIC: &str = "greeting = hello\nuser:005 = name 5\nuser:004 = name 4\nuser:003 = name 3\nuser:002 = name 2\n\
                     user:001 = name 1\n";

#[test]
fn the_example_prints_what_it_should() {
    assert_eq!(run_program(&package().join("examples/basic.c"), &[]), BASIC);
}

/// The program in the project's README compiles as strictly as ours and prints what it says.
#[test]
fn the_readme_prints_what_it_says() {
    let readme = std::fs::read_to_string(package().join("../../README.md")).expect("README.md");
    let source = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of C");
    let directory = scratch("readme");
    let (file, program) = (directory.join("readme.c"), directory.join("program"));
    std::fs::write(&file, source).expect("the program's source");
    let mut compile = cc();
    compile.args(STRICT).arg("-I").arg(include()).arg(&file);
    run(compile.arg("-L").arg(library()).arg("-lkvs").arg("-o").arg(&program));
    let output = run(Command::new(&program).current_dir(&directory).env("LD_LIBRARY_PATH", library()));
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), "red\n");
}

/// The same with libkvs.a, which needs what rustc says it needs.
#[test]
#[cfg(target_os = "linux")]
fn the_example_links_statically() {
    let directory = scratch("static");
    let program = directory.join("program");
    let mut compile = cc();
    compile.args(STRICT).arg("-I").arg(include()).arg(package().join("examples/basic.c"));
    run(compile.arg(library().join("libkvs.a")).args(["-lpthread", "-ldl", "-lm", "-lrt"]).arg("-o").arg(&program));
    assert_eq!(run_in(&directory, &program, &[]), BASIC);
}
