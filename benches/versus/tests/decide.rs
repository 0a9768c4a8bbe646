//! `kvs-decisions` does what the pages of `docs/decisions` say: every command runs, small, prints its tables with a figure in each cell that has
//! one, and checks what it read. The figures themselves are looked at by people.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]

use std::process::Command;

/// What a command printed.
fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kvs-decisions")).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// The rows of all tables: names and cells.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("|---"));
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// A number at its beginning that is not negative.
fn figure(cell: &str) -> f64 {
    let number: f64 = cell.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{cell:?} is no figure"));
    assert!(number.is_finite() && number >= 0.0, "{cell}");
    number
}

#[test]
fn every_map_is_measured() {
    let text = run(&["index", "--keys", "3000", "--rounds", "2"]);
    let rows = rows(&text);
    assert_eq!(rows.len(), 2 * (1 + 11), "{text}");
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| row[0] != "map") {
        let beside_a_writer = 6;
        for (column, cell) in row.iter().enumerate().skip(1) {
            // One thread has nobody beside it.
            if column == beside_a_writer && at < 12 {
                assert!(cell.is_empty(), "{row:?}");
            } else {
                figure(cell);
            }
        }
    }
    let first = |name: &str| rows.iter().find(|row| row[0].starts_with(name)).unwrap();
    assert!(figure(&first("kvs's index")[1]) > figure(&first("no map")[1]), "{text}");
}

#[test]
fn every_order_is_measured() {
    let text = run(&["order", "--keys", "25000", "--rounds", "1", "--scans", "none,full,seldom"]);
    let rows = rows(&text);
    assert_eq!(rows.len(), 3 * (1 + 9), "{text}");
    rows.iter()
        .filter(|row| !row[0].is_empty())
        .for_each(|row| row[1..].iter().for_each(|cell| assert!(figure(cell) > 0.0)));
    let always = run(&["order", "--keys", "500", "--rounds", "1", "--scans", "always", "--only", "BTreeMap, RwLock"]);
    assert_eq!(self::rows(&always).len(), 1 + 3, "{always}");
}

#[test]
fn every_log_is_measured_and_killed() {
    let text = run(&["log", "--keys", "2000", "--rounds", "1", "--syncs", "10", "--kills", "1"]);
    let rows = rows(&text);
    assert_eq!(rows.len(), (1 + 7) + (1 + 6) + (1 + 3) + (1 + 7), "{text}");
    // What was acknowledged after it was stored in a mapping or written is there, whoever is killed.
    let killed = &rows[rows.len() - 7..];
    for row in killed {
        assert!(figure(&row[1]) >= 20_000.0, "{row:?}");
        let may_lose = row[0].contains("of 100") || row[0].contains("none");
        assert!(may_lose || figure(&row[2]) == 0.0, "{row:?}");
    }
}

#[test]
fn every_hash_is_measured() {
    let text = run(&["hash", "--rounds", "1", "--calls", "2000"]);
    assert_eq!(rows(&text).len(), 2 * (1 + 7), "{text}");
}
