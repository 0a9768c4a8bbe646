//! A snapshot does not change while writers, flushes and merges run: every scan of it gives the same bytes, in both directions, and
//! gets give them too. So do iterators that were made before, and pinned values.

use kvs::{LogBackend, Snapshot, Value};

use super::{Writing, churn, scaled, store};
use crate::common::{self, Rng};
use crate::crew::{self, Task};

const KEYS: u64 = 400;
/// The keys of these tests, and not those of `churn`.
const STOP: &[u8] = b"zz";

type Pairs = Vec<(Value, Value)>;

fn scan(snapshot: &Snapshot, forward: bool) -> Pairs {
    let pairs = snapshot.range(..STOP).unwrap();
    if forward {
        return pairs.map(Result::unwrap).collect();
    }
    let mut pairs: Pairs = pairs.rev().map(Result::unwrap).collect();
    pairs.reverse();
    pairs
}

fn run(seed: u64, backend: LogBackend) {
    let (_dir, db) = store(backend);
    let writing = Writing::default();
    let guard = writing.guard();
    let writer = |id: u64| {
        let (db, guard) = (db.clone(), guard.clone());
        move || {
            let mut rng = Rng::new(seed + id);
            for i in 0..scaled(15_000) {
                let key = rng.below(KEYS);
                match rng.below(64) {
                    0 => db.delete_range(key.to_be_bytes()..(key + rng.below(20)).to_be_bytes()),
                    1..16 => db.delete(key.to_be_bytes()),
                    _ => db.put(key.to_be_bytes(), format!("{id} {i} {}", "-".repeat(rng.below(60) as usize))),
                }
                .unwrap();
            }
            drop(guard);
        }
    };
    let reader = |id: u64| {
        let (db, writing) = (db.clone(), writing.clone());
        move || {
            let mut rng = Rng::new(seed + 10 + id);
            let mut rounds = 0;
            while !writing.is_over() || rounds < 3 {
                let snapshot = db.snapshot().unwrap();
                let first = scan(&snapshot, rng.one_in(2));
                let copies: Vec<_> = first.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
                let mut held = snapshot.range(..STOP).unwrap();
                // Some live for a moment, some while tables come and go.
                for _ in 0..1 + rng.below(12) {
                    let again = scan(&snapshot, rng.one_in(2));
                    assert_eq!(first.len(), again.len(), "two scans at {}", snapshot.sequence());
                    assert!(first == again, "two scans at {}", snapshot.sequence());
                }
                let asked: Vec<_> = (0..KEYS).map(u64::to_be_bytes).collect();
                let gets = asked.iter().filter_map(|key| Some((key.to_vec(), snapshot.get_owned(key).unwrap()?)));
                let gets: Vec<_> = gets.collect();
                assert!(copies == gets, "scan and gets at {}", snapshot.sequence());
                let many = snapshot.get_many(&asked).unwrap();
                assert!(many.iter().flatten().map(|value| &**value).eq(copies.iter().map(|pair| &*pair.1)), "get_many");
                let mut at = 0;
                while held.move_next().unwrap() {
                    assert!(held.key() == copies[at].0 && held.value() == copies[at].1, "a held iterator");
                    at += 1;
                }
                assert_eq!(at, copies.len());
                let pinned = first.iter().zip(&copies);
                assert!(pinned.map(|(a, b)| (*a.0 == *b.0, *a.1 == *b.1)).all(|same| same == (true, true)), "pinned");
                rounds += 1;
            }
        }
    };
    let mut tasks: Vec<Task> = crew::tasks(2, writer).collect();
    tasks.extend(crew::tasks(3, reader));
    tasks.push(churn(&db, &writing, seed));
    drop(guard);
    crew::run(tasks);
    assert_eq!(db.stats().snapshots, 0);
    db.verify().unwrap();
}

#[test]
fn snapshots_do_not_change_mapped() {
    run(common::seed(41), LogBackend::Mapped);
}

#[test]
fn snapshots_do_not_change_positioned() {
    run(common::seed(42), LogBackend::Positioned);
}
