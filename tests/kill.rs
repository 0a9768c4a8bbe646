//! kill -9.
//!
//! Proves: a write of default durability that was acknowledged survives the death of the process at any moment, no half of a
//! batch does, and nothing that was deleted comes back; so it is in the middle of a flush or a merge, and when recovery itself is
//! killed. While the child lives nobody else opens its store (C20). Real processes, real signals, real files, both ways to write logs
//! and to read tables.
//!
//! How: a child (this program again, with [`CHILD`] set) writes commits that both sides can compute from a seed, and says so on
//! a pipe after each call returned. Its budgets are a few KiB, so that its worker flushes and merges all the time. The parent kills it
//! after a random number of acknowledgements, or right as it opens the store, reads what is left in the pipe, and opens the
//! store: its contents are those after some number of commits, at least as many as were acknowledged, at most one more.
//!
//! Whether a kill landed inside a flush or a merge is told by what it left, before anybody opens the store again: a table that is
//! newer than the manifest, which so was being written or waited to be named; or a manifest that was being written. (What was
//! merged away and not yet removed is older than the manifest and does not count, nor does a merge between two tables.) At least a
//! sixth of the kills must.
//!
//! `KVS_SEED` repeats the work (though not the moment of the kill), `KVS_KILLS` lengthens it (300 unless set).

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/mod.rs"]
mod common;
#[path = "common/format.rs"]
mod format;
#[path = "crash/history.rs"]
mod history;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::Rng;
use history::History;
use kvs::{Db, Durability, ErrorKind, LogBackend, Options, TableIo};

/// The child's directory, way and seed, separated by colons. Seed 0: it opens the store and writes nothing.
const CHILD: &str = "KVS_KILL_CHILD";

/// How logs are written and tables read.
#[derive(Clone, Copy, Debug)]
struct Way(LogBackend, TableIo);

impl Way {
    fn name(self) -> String {
        format!("{self:?}")
    }

    fn of(name: &str) -> Way {
        let ios = [TableIo::Mapped, TableIo::Positioned];
        let backends = [LogBackend::Mapped, LogBackend::Positioned];
        let mut all = backends.iter().flat_map(|backend| ios.map(|io| Way(*backend, io)));
        all.find(|way| way.name() == name).unwrap()
    }

    fn options(self) -> Options {
        Options {
            log_backend: self.0,
            table_io: self.1,
            segment_bytes_min: 4 << 10,
            segment_bytes_max: 8 << 10,
            memtable_bytes_max: 32 << 10,
            table_bytes_max: 8 << 10,
            block_bytes: 512,
            cache_bytes: 16 << 10,
            runs_max: 2,
            ..Options::default()
        }
    }
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let told = std::env::var(CHILD).unwrap();
    let [dir, way, seed] = told.splitn(3, ':').collect::<Vec<_>>().try_into().unwrap();
    let mut rng = Rng::new(seed.parse().unwrap());
    let mut history = History::default();
    // Not through the test harness, which would keep it.
    let mut pipe = std::io::stdout();
    pipe.write_all(b"\nopening\n").unwrap();
    pipe.flush().unwrap();
    let db = Db::open(dir, Way::of(way).options()).unwrap();
    if seed == "0" {
        loop {
            std::thread::park();
        }
    }
    // Now and then somebody else asks the worker for more.
    let eager = seed.ends_with(['1', '5']);
    loop {
        history.write(&db, &mut rng, durability(history.len()), true).unwrap();
        pipe.write_all(b"written\n").unwrap();
        pipe.flush().unwrap();
        match history.len() % 200 {
            50 | 100 if eager => db.flush().unwrap(),
            0 if eager => db.compact::<&[u8]>(..).unwrap(),
            _ => {}
        }
    }
}

/// Now and then one is synced: the store behaves differently once it has been.
fn durability(n: usize) -> Durability {
    if n % 97 == 96 { Durability::Sync } else { Durability::Process }
}

/// Runs a child and kills it after so many acknowledgements, or before the first if that is `None`. Returns how many there were.
fn kill(dir: &Path, way: Way, seed: u64, after: Option<usize>) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{}:{}:{seed}", dir.display(), way.name()))
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

/// Was a table being written, or the manifest, when the process died? Nobody has opened the store since.
#[expect(clippy::disallowed_methods, reason = "the test looks at what a kill left")]
fn is_inside_flush_or_merge(dir: &Path) -> bool {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.collect();
    let next_file = manifest(dir).next_file;
    let mut tables = names.iter().filter_map(|name| name.strip_suffix(".tbl")?.parse::<u64>().ok());
    names.iter().any(|name| name == "MANIFEST.tmp") || tables.any(|number| number >= next_file)
}

fn kills(seed: u64, backend: LogBackend, count: u64) {
    let mut rng = Rng::new(seed);
    let mapped = backend == LogBackend::Mapped;
    let (mut acknowledged, mut unacknowledged, mut in_recovery, mut inside) = (0, 0, 0, 0);
    let (mut flushed, mut half_merged) = (0, 0);
    let mut dir = tempfile::tempdir().unwrap();
    let mut history = History::default();
    for n in 0..count {
        if n % 20 == 0 {
            dir = tempfile::tempdir().unwrap();
            history = History::default();
        }
        let path = dir.path().join("db");
        let child_seed = rng.next();
        let way = Way(backend, if rng.one_in(2) { TableIo::Mapped } else { TableIo::Positioned });
        let most = [4, 100, 600][rng.below(3) as usize];
        let after = 1 + rng.below(most) as usize;
        let written = kill(&path, way, child_seed, Some(after));
        inside += u64::from(is_inside_flush_or_merge(&path));
        // Each time it dies as it comes up, for all that one can see: often while it recovers.
        while rng.one_in(3) {
            kill(&path, way, 0, None);
            in_recovery += 1;
        }
        // The child's commits, as it made them, and the one that it may have been at.
        let replica = Db::in_memory(Options::default()).unwrap();
        let (base, mut same) = (history.len(), Rng::new(child_seed));
        history.restart_values();
        for n in 0..=written {
            history.write(&replica, &mut same, durability(n), mapped).unwrap();
        }
        let manifest = manifest(&path);
        flushed += u64::from(manifest.flushed_seq > 0);
        half_merged += u64::from(manifest.runs.iter().flat_map(|(_, slices)| slices).any(format::Slice::is_cut));
        let db = Db::open(&path, way.options()).unwrap();
        let context = || format!("seed {seed}, {way:?}, kill {n}, {written} acknowledged");
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
        "{backend:?}: {count} kills at work, {inside} of them inside a flush or a merge, {in_recovery} at opening; \
         {flushed} stores had tables, {half_merged} cut slices; {acknowledged} acknowledged, {unacknowledged} more found"
    );
    assert!(acknowledged as u64 > 50 * count && in_recovery > count / 6, "the kills met too little");
    assert!(inside >= count / 6, "{inside} of {count} kills landed inside a flush or a merge");
    assert!(flushed > count / 2 && half_merged > 0, "tables were too few");
}

#[expect(clippy::disallowed_methods, reason = "the test looks at what a kill left")]
fn manifest(dir: &Path) -> format::Manifest {
    format::manifest(&std::fs::read(dir.join("MANIFEST")).unwrap())
}

#[test]
fn what_was_acknowledged_survives_kill_9_mapped() {
    kills(common::seed(401), LogBackend::Mapped, common::scale("KVS_KILLS", 300) / 2);
}

#[test]
fn what_was_acknowledged_survives_kill_9_positioned() {
    kills(common::seed(402), LogBackend::Positioned, common::scale("KVS_KILLS", 300) / 2);
}
