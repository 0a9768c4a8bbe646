//! What the C doors cost, in instructions, over the Rust calls behind them: the same on every machine. `make instructions` runs it, on the
//! library as it is shipped and under callgrind.

use std::process::Command;

use crate::build::{cc, include, library, package, run, scratch};
use crate::programs::STRICT;

/// As in `tests/programs/doors.c`.
const OPERATIONS: u64 = 4000;

/// A row of the program; that of `benches/instructions.txt` which does the same from Rust; and how many instructions more it may take: for
/// the first two the promise, for the third some more than it does. A get and a put enter the epoch once, for the handle and for the
/// engine; what is left is to check the arguments, to look the handle up twice, and the thread-local storage of a shared library.
const DOORS: [(&str, &str, f64); 3] = [
    ("get", "get into a buffer, a hot key", 60.0),
    ("put", "put, a hot key", 60.0),
    ("fill", "next, of a table", 60.0),
];

#[test]
#[ignore = "counts instructions of a release build: make instructions"]
fn doors_cost_little() {
    if cfg!(debug_assertions) {
        panic!("the instructions of a debug build say nothing: make instructions");
    }
    let directory = scratch("doors");
    let program = directory.join("program");
    let mut compile = cc();
    compile.arg("-O2").args(STRICT).arg("-I").arg(include());
    compile.arg(package().join("tests/programs/doors.c")).arg("-L").arg(library()).arg("-lkvs");
    run(compile.arg("-o").arg(&program));
    let known =
        std::fs::read_to_string(package().join("../../benches/instructions.txt")).expect("what Rust's rows cost");
    let mut too_many = 0;
    println!("{:<40} {:>8} {:>8} {:>8} {:>8}", "instructions an operation", "C", "Rust", "more", "may be");
    for (row, name, may_be) in DOORS {
        let rust = known.lines().filter_map(|line| line.rsplit_once('\t')).find(|(known, _)| *known == name);
        let rust: f64 = rust.unwrap_or_else(|| panic!("no row {name:?}")).1.parse().expect("a number");
        let out = directory.join(row);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--separate-threads=yes", "--toggle-collect=measured", "--quiet"]);
        valgrind.arg(format!("--callgrind-out-file={}", out.display())).arg(&program).arg(row);
        run(valgrind.arg(directory.join(format!("db-{row}"))).env("LD_LIBRARY_PATH", library()));
        let first_thread = std::fs::read_to_string(format!("{}-01", out.display())).expect("the first thread's counts");
        let total = first_thread.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
        let cost = total.trim().parse::<f64>().expect("a number") / OPERATIONS as f64;
        println!("{name:<40} {cost:>8.0} {rust:>8.0} {:>8.0} {may_be:>8.0}", cost - rust);
        too_many += usize::from(cost - rust > may_be);
    }
    assert_eq!(too_many, 0, "rows above cost more than they may");
}
