//! A snapshot does not change while writers run: two scans of it are equal, and equal to gets, backwards too.

use kvs::LogBackend;

use super::{Writing, scaled, store};
use crate::common::{self, Rng};
use crate::crew::{self, Task};

const KEYS: u64 = 400;

#[test]
fn snapshots_do_not_change() {
    let seed = common::seed(41);
    let (_dir, db) = store(LogBackend::Auto);
    let writing = Writing::default();
    let guard = writing.guard();
    let writer = |id: u64| {
        let (db, guard) = (db.clone(), guard.clone());
        move || {
            let mut rng = Rng::new(seed + id);
            for i in 0..scaled(30_000) {
                let key = rng.below(KEYS).to_be_bytes();
                if rng.one_in(4) { db.delete(key) } else { db.put(key, format!("{id} {i}")) }.unwrap();
            }
            drop(guard);
        }
    };
    let reader = |_| {
        let (db, writing) = (db.clone(), writing.clone());
        move || {
            let mut rounds = 0;
            while !writing.is_over() || rounds < 5 {
                let snapshot = db.snapshot().unwrap();
                let first: Vec<_> = snapshot.iter().unwrap().map(Result::unwrap).collect();
                let asked: Vec<_> = (0..KEYS).map(u64::to_be_bytes).collect();
                let gets: Vec<_> =
                    asked.iter().filter_map(|key| Some((key.to_vec(), snapshot.get_owned(key).unwrap()?))).collect();
                let mut second: Vec<_> = snapshot.iter().unwrap().rev().map(Result::unwrap).collect();
                second.reverse();
                assert_eq!(first, second, "two scans at {}", snapshot.sequence());
                assert_eq!(first.len(), gets.len(), "scan and gets at {}", snapshot.sequence());
                for (pair, (key, value)) in first.iter().zip(&gets) {
                    assert!(pair.0 == key.as_slice() && pair.1 == value.as_slice(), "at {}", snapshot.sequence());
                }
                rounds += 1;
            }
        }
    };
    let mut tasks: Vec<Task> = crew::tasks(2, writer).collect();
    tasks.extend(crew::tasks(3, reader));
    drop(guard);
    crew::run(tasks);
    assert_eq!(db.stats().snapshots, 0);
}
