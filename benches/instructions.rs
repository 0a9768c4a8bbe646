//! What the operations of the hot paths cost in instructions: the same on a busy machine as on a quiet one.
//!
//! `make instructions`, or `cargo bench --bench instructions`. It needs `valgrind`, under which it runs itself, once for each row: what is
//! counted is what the calling thread does within [`measured`]. A row that costs more than `benches/instructions.txt` says, by more than
//! [`TOLERANCE_PERCENT`], is an error; `KVS_BLESS=1` writes that file anew. The file is for x86-64 and the compiler that CI has.
//!
//! Instructions are not time: a cache miss is one of them. They tell that a path has grown, and by how much.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(clippy::disallowed_methods, reason = "a benchmark starts processes and reads files")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use kvs::{Batch, Db, Options};

/// How much a row may cost more than it did: keys lie elsewhere in the index each time, and the C library has other ways to copy on other
/// processors.
const TOLERANCE_PERCENT: f64 = 4.0;
/// Keys in the store before the operations begin. With so many no partition of the index grows while it is counted: when it would
/// depends on the store's hash seed.
const KEYS: u64 = 40_000;
/// Operations that are counted.
const OPERATIONS: u64 = 4_000;
/// Set in the process that works.
const CHILD: &str = "KVS_BENCH_INSTRUCTIONS_CHILD";

type Row = (&'static str, fn(&Db));

const ROWS: [Row; 20] = [
    ("put, a new key", |db| measured(|| new_keys().for_each(|i| db.put(key(i), VALUE).unwrap()))),
    ("put, an overwrite", |db| measured(|| old_keys().for_each(|i| db.put(key(i), VALUE).unwrap()))),
    ("put, a hot key", |db| {
        let hot = key(7);
        // Of lengths that the compiler does not know, as nearly all are, and as C's.
        measured(|| (0..OPERATIONS).for_each(|_| db.put(black_box(&hot[..]), black_box(&VALUE[..])).unwrap()));
    }),
    ("put, one of a batch of 100", |db| {
        measured(|| {
            for first in new_keys().step_by(100) {
                let mut batch = Batch::new();
                (first..first + 100).for_each(|i| _ = batch.put(key(i), VALUE));
                db.write(&batch).unwrap();
            }
        });
    }),
    ("delete", |db| measured(|| old_keys().for_each(|i| db.delete(key(i)).unwrap()))),
    ("get into a buffer, of the log", |db| {
        let mut buffer = Vec::with_capacity(VALUE.len());
        measured(|| old_keys().for_each(|i| assert!(db.get_into(key(i), &mut buffer).unwrap())));
    }),
    ("get into a buffer, a hot key", |db| {
        let (hot, mut buffer) = (key(7), Vec::with_capacity(VALUE.len()));
        measured(|| (0..OPERATIONS).for_each(|_| assert!(db.get_into(black_box(&hot[..]), &mut buffer).unwrap())));
    }),
    ("get pinned, of the log", get_pinned),
    ("get pinned, of a table", |db| {
        db.flush().unwrap();
        get_pinned(db);
    }),
    ("get of a missing key", |db| measured(|| new_keys().for_each(|i| assert!(!db.contains(key(i)).unwrap())))),
    ("get in a snapshot", |db| {
        let snapshot = db.snapshot().unwrap();
        measured(|| old_keys().for_each(|i| drop(black_box(snapshot.get(key(i)).unwrap().unwrap()))));
    }),
    ("next, of the log", next),
    ("previous, of the log", previous),
    ("next, of a table", |db| {
        db.flush().unwrap();
        next(db);
    }),
    ("previous, of a table", |db| {
        db.flush().unwrap();
        previous(db);
    }),
    ("an entry shown, of the log", |db| visit(db, true)),
    ("an entry shown, of a table", |db| {
        db.flush().unwrap();
        visit(db, true);
    }),
    ("an entry shown backwards, of a table", |db| {
        db.flush().unwrap();
        visit(db, false);
    }),
    ("an iterator and its seek, of the log", seek),
    ("an iterator and its seek, of a table", |db| {
        db.flush().unwrap();
        seek(db);
    }),
];

/// What is counted.
#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
}

fn old_keys() -> std::ops::Range<u64> {
    0..OPERATIONS
}

fn new_keys() -> std::ops::Range<u64> {
    KEYS..KEYS + OPERATIONS
}

fn get_pinned(db: &Db) {
    measured(|| old_keys().for_each(|i| drop(black_box(db.get(key(i)).unwrap().unwrap()))));
}

const VALUE: [u8; 100] = [7; 100];

/// SplitMix64, so that keys are in no order.
fn key(i: u64) -> [u8; 16] {
    let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    key[8..].copy_from_slice(&i.to_be_bytes());
    key
}

fn next(db: &Db) {
    let mut iter = db.iter().unwrap();
    measured(|| {
        for _ in 0..OPERATIONS {
            assert!(iter.move_next().unwrap());
            black_box((iter.key(), iter.value()));
        }
    });
}

fn previous(db: &Db) {
    let mut iter = db.iter().unwrap();
    measured(|| {
        for _ in 0..OPERATIONS {
            assert!(iter.move_prev().unwrap());
            black_box((iter.key(), iter.value()));
        }
    });
}

fn visit(db: &Db, forward: bool) {
    let mut iter = db.iter().unwrap();
    measured(|| {
        let mut left = OPERATIONS;
        let more = iter.visit(forward, |key, value| {
            black_box((key, value));
            left -= 1;
            left > 0
        });
        assert!(more.unwrap() && left == 0);
    });
}

fn seek(db: &Db) {
    // What is done once is not counted: the log is sorted, the table's fences are read.
    assert!(db.iter().unwrap().seek(key(0)).unwrap());
    measured(|| {
        for i in old_keys() {
            let mut iter = db.iter().unwrap();
            assert!(iter.seek(key(i)).unwrap());
            black_box((iter.key(), iter.value()));
        }
    });
}

/// The process that is watched: the row `number`, on a store at `path`. It ends like a killed one: a close would
/// flush, on the same thread.
fn work(number: usize, path: &str) -> ! {
    // One segment holds all, so that none is changed while it is counted.
    let options = Options { segment_bytes_min: 16 << 20, ..Options::default() };
    let db = Db::open(path, options).unwrap();
    (0..KEYS).for_each(|i| db.put(key(i), VALUE).unwrap());
    ROWS[number].1(&db);
    std::process::exit(0)
}

/// The instructions of [`measured`] in the first thread of such a process, for each operation.
fn instructions(dir: &Path, number: usize) -> f64 {
    let out = dir.join(number.to_string());
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes", "--toggle-collect=*measured*", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, format!("{number} {}", dir.join(format!("db-{number}")).display()))
        .output();
    let done = valgrind.expect("this needs valgrind: apt-get install valgrind");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let first_thread = std::fs::read_to_string(format!("{}-01", out.display())).unwrap();
    let total = first_thread.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    total.trim().parse::<f64>().unwrap() / OPERATIONS as f64
}

fn main() -> ExitCode {
    if let Ok(child) = std::env::var(CHILD) {
        let mut words = child.splitn(2, ' ');
        let mut word = || words.next().unwrap();
        work(word().parse().unwrap(), word());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let known: BTreeMap<&str, f64> =
        known.lines().filter_map(|line| line.rsplit_once('\t')).map(|(name, n)| (name, n.parse().unwrap())).collect();
    let dir = tempfile::tempdir().unwrap();
    let (mut text, mut too_many) = (String::new(), 0);
    println!("{:<40} {:>8} {:>8}", "instructions an operation", "now", "known");
    for (number, (name, _)) in ROWS.iter().enumerate() {
        let cost = instructions(dir.path(), number);
        let known = known.get(name).copied();
        let verdict = match known {
            Some(known) if cost > known * (1.0 + TOLERANCE_PERCENT / 100.0) => "more than it may",
            Some(known) if cost < known * (1.0 - TOLERANCE_PERCENT / 100.0) => "less: KVS_BLESS=1 remembers that",
            Some(_) => "",
            None => "not known yet",
        };
        too_many += usize::from(known.is_none_or(|known| cost > known * (1.0 + TOLERANCE_PERCENT / 100.0)));
        println!("{name:<40} {cost:>8.0} {:>8.0} {verdict}", known.unwrap_or(0.0));
        text += &format!("{name}\t{cost:.0}\n");
    }
    if std::env::var_os("KVS_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return ExitCode::SUCCESS;
    }
    if too_many > 0 {
        println!("{too_many} rows cost more than benches/instructions.txt says");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
