//! An idle store uses no CPU: its worker sleeps and is not woken.
//!
//! Looked at in a process of its own, where no other test has threads. The only place where a test lets time pass: there is no
//! event for "nothing happens".

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use kvs::{Db, Durability, LogBackend};

use super::tiny;
use crate::child;

#[test]
fn an_idle_store_uses_no_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let output = child::command("child_entry", "idle", &dir.path().join("db")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

/// State, CPU ticks and voluntary context switches of a thread.
fn look(task: &Path) -> (char, u64, u64) {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap();
    // The name, in parentheses, may hold anything; after it: state is field 3, utime and stime are 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    (fields[0].chars().next().unwrap(), ticks, switches.trim().parse().unwrap())
}

fn worker() -> PathBuf {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let is_worker = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).unwrap().trim() == "kvs-worker";
    let workers: Vec<_> = tasks.filter(is_worker).collect();
    assert_eq!(workers.len(), 1, "one worker for one store");
    workers.into_iter().next().unwrap()
}

/// The child's part.
pub fn in_child(store: &Path) {
    let db = Db::open(store, tiny(LogBackend::Auto)).unwrap();
    for i in 0..20_000u32 {
        db.put(i.to_be_bytes(), [0; 20]).unwrap();
    }
    db.put_with("synced", "", Durability::Sync).unwrap();
    // Only now: a thread names itself some time after it was started.
    let worker = worker();
    let _snapshot = db.snapshot().unwrap();
    let _iter = db.iter().unwrap();
    let (_silent, nothing) = mpsc::channel::<()>();
    let let_pass = |ms| assert!(nothing.recv_timeout(Duration::from_millis(ms)).is_err());
    // Until the worker has done what it was asked to: asleep, and not woken between two looks.
    let mut before = look(&worker);
    for _ in 0..1000 {
        let_pass(10);
        let now = look(&worker);
        if now.0 == 'S' && now == before {
            break;
        }
        before = now;
    }
    let_pass(1000);
    assert_eq!(look(&worker), ('S', before.1, before.2), "the worker of an idle store ran (state, ticks, switches)");
    db.close().unwrap();
}
