//! kill -9.
//!
//! Proves: a write of default durability that was acknowledged survives the death of the process at any moment, and no half of a
//! batch does; so it is when recovery itself is killed. While the child lives nobody else opens its store (C20). Real processes, real signals, real files, both ways to write
//! logs and to read tables. Budgets are so small that the child flushes and merges all the time.
//!
//! How: a child (this program again, with [`CHILD`] set) writes commits that both sides can compute from a seed, and says so on
//! a pipe after each call returned. The parent kills it after a random number of acknowledgements, or right as it opens the
//! store, reads what is left in the pipe, and opens the store: its contents are those after some number of
//! commits, at least as many as were acknowledged, at most one more.
//!
//! A kill counts as one inside a flush or a merge if it left tables that the manifest does not name: not yet, or not any more. What it leaves is looked
//! at by opening the store read-only, which removes nothing.
//!
//! `KVS_SEED` repeats the work (though not the moment of the kill), `KVS_KILLS` lengthens it.

#![allow(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "looks at what a killed process left")]

#[path = "common/mod.rs"]
mod common;
#[path = "crash/history.rs"]
mod history;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::Rng;
use history::History;
use kvs::{Db, Durability, ErrorKind, LogBackend, Options, TableIo};

/// The child's directory, backend and seed, separated by colons. Seed 0: it opens the store and writes nothing.
const CHILD: &str = "KVS_KILL_CHILD";

fn options(log_backend: LogBackend) -> Options {
    let table_io = if log_backend == LogBackend::Mapped { TableIo::Mapped } else { TableIo::Positioned };
    Options {
        log_backend,
        segment_bytes_min: 4 << 10,
        segment_bytes_max: 8 << 10,
        memtable_bytes_max: 64 << 10,
        table_bytes_max: 32 << 10,
        table_io,
        cache_bytes: 64 << 10,
        runs_max: 3,
        ..Options::default()
    }
}

/// Did the kill leave tables that are not part of the store?
fn is_inside_flush_or_merge(path: &Path, backend: LogBackend) -> bool {
    let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let tables = names.filter(|name| name.to_string_lossy().ends_with(".tbl")).count() as u64;
    let db = Db::open(path, Options { read_only: true, ..options(backend) }).unwrap();
    let live = db.stats().tables;
    assert!(live <= tables, "{live} tables are part of the store, {tables} are there");
    live < tables
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let told = std::env::var(CHILD).unwrap();
    let [dir, backend, seed] = told.splitn(3, ':').collect::<Vec<_>>().try_into().unwrap();
    let backend = if backend == "mapped" { LogBackend::Mapped } else { LogBackend::Positioned };
    let mut rng = Rng::new(seed.parse().unwrap());
    let mut history = History::default();
    // Not through the test harness, which would keep it.
    let mut pipe = std::io::stdout();
    pipe.write_all(b"\nopening\n").unwrap();
    pipe.flush().unwrap();
    let db = Db::open(dir, options(backend)).unwrap();
    if seed == "0" {
        loop {
            std::thread::park();
        }
    }
    loop {
        history.write(&db, &mut rng, durability(history.len()), true).unwrap();
        pipe.write_all(b"written\n").unwrap();
        pipe.flush().unwrap();
    }
}

/// Now and then one is synced: the store behaves differently once it has been.
fn durability(n: usize) -> Durability {
    if n % 97 == 96 { Durability::Sync } else { Durability::Process }
}

/// Runs a child and kills it after so many acknowledgements, or before the first if that is `None`. Returns how many there were.
fn kill(dir: &Path, backend: LogBackend, seed: u64, after: Option<usize>) -> usize {
    let backend = if backend == LogBackend::Mapped { "mapped" } else { "positioned" };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{}:{backend}:{seed}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.by_ref().find(|line| line == "opening").expect("the child did not get as far as to open");
    let mut written = 0;
    while after.is_some_and(|after| written < after) && lines.next().is_some_and(|line| line == "written") {
        written += 1;
    }
    if written > 0 {
        let e = Db::open(dir, Options::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Locked, "{e:?}");
        assert!(e.to_string().contains(&child.id().to_string()), "{e:?} does not name process {}", child.id());
    }
    child.kill().unwrap();
    // Those that it wrote to the pipe before it died count too. A line that was cut short does not.
    written += lines.filter(|line| line == "written").count();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(9), "the child died of something else: {stderr}");
    written
}

fn kills(seed: u64, backend: LogBackend, count: u64) {
    let mut rng = Rng::new(seed);
    let mapped = backend == LogBackend::Mapped;
    let (mut acknowledged, mut unacknowledged, mut in_recovery, mut inside) = (0, 0, 0, 0);
    let mut dir = tempfile::tempdir().unwrap();
    let mut history = History::default();
    for n in 0..count {
        if n % 20 == 0 {
            dir = tempfile::tempdir().unwrap();
            history = History::default();
        }
        let path = dir.path().join("db");
        let child_seed = rng.next();
        let most = [4, 300, 2000][rng.below(3) as usize];
        let after = 1 + rng.below(most) as usize;
        let written = kill(&path, backend, child_seed, Some(after));
        inside += u64::from(is_inside_flush_or_merge(&path, backend));
        // Each time it dies as it comes up, for all that one can see: often while it recovers.
        while rng.one_in(3) {
            kill(&path, backend, 0, None);
            in_recovery += 1;
        }
        // The child's commits, as it made them, and the one that it may have been at.
        let replica = Db::in_memory(Options::default()).unwrap();
        let (base, mut same) = (history.len(), Rng::new(child_seed));
        history.restart_values();
        for n in 0..=written {
            history.write(&replica, &mut same, durability(n), mapped).unwrap();
        }
        let db = Db::open(&path, options(backend)).unwrap();
        let context = || format!("seed {seed}, {backend:?}, kill {n}, {written} acknowledged");
        let found = history.check(&db, base + written, &context);
        history.settle(found);
        db.verify().unwrap_or_else(|e| panic!("{}: {e:?}", context()));
        acknowledged += written;
        unacknowledged += found - base - written;
        if rng.one_in(2) {
            db.close().unwrap();
        }
    }
    println!(
        "{backend:?}: {count} kills at work, {inside} of them inside a flush or a merge, {in_recovery} at opening, {acknowledged} acknowledged, {unacknowledged} more found"
    );
    assert!(acknowledged as u64 > 100 * count && in_recovery > count / 6, "the kills met too little");
    assert!(inside > count / 6, "too few kills inside a flush or a merge");
}

#[test]
fn what_was_acknowledged_survives_kill_9_mapped() {
    kills(common::seed(401), LogBackend::Mapped, common::scale("KVS_KILLS", 300) / 2);
}

#[test]
fn what_was_acknowledged_survives_kill_9_positioned() {
    kills(common::seed(402), LogBackend::Positioned, common::scale("KVS_KILLS", 300) / 2);
}
