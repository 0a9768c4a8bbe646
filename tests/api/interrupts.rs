//! What takes long ends early when somebody asks, and nothing else is concerned.

use std::sync::atomic::{AtomicBool, Ordering};

use kvs::env::sim::SimEnv;
use kvs::{Db, ErrorKind, Options};

use super::tiny;

fn key(i: u64) -> [u8; 8] {
    i.to_be_bytes()
}

/// Interrupts until `call`, made again and again on another thread, has been interrupted; it may be through before, now and then.
fn interrupted(db: &Db, call: impl Fn(&Db) -> kvs::Result<()> + Send + Sync) {
    let was = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !was.load(Ordering::Relaxed) {
                match call(db) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::Interrupted => was.store(true, Ordering::Relaxed),
                    Err(e) => panic!("{e:?}"),
                }
            }
        });
        while !was.load(Ordering::Relaxed) {
            db.interrupt();
            std::thread::yield_now();
        }
    });
}

/// Each call that takes long or waits is ended by an interrupt, and goes through when there is none.
#[test]
fn calls_under_way_are_ended_and_later_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path().join("db"), tiny()).unwrap();
    let n = std::sync::atomic::AtomicU64::new(0);
    let put = |db: &Db| {
        let i = n.fetch_add(1, Ordering::Relaxed);
        db.put(key(i % 3000), [i as u8; 200])
    };
    for _ in 0..20_000 {
        put(&db).unwrap();
    }
    interrupted(&db, |db| db.verify().map(drop));
    interrupted(&db, |db| db.compact::<&[u8]>(..));
    interrupted(&db, |db| put(db).and_then(|()| db.flush()));
    interrupted(&db, put);
    // No interrupt is under way any more.
    db.put("after", "all").unwrap();
    db.compact::<&[u8]>(..).unwrap();
    db.verify().unwrap();
    assert_eq!(db.get("after").unwrap().unwrap(), b"all");
    assert_eq!(db.iter().unwrap().count(), 3001);
}

/// An interrupt of which nothing knows: calls that begin after it, and a store where nothing is under way.
#[test]
fn an_interrupt_is_for_calls_under_way() {
    let sim = SimEnv::new(1);
    let db = Db::open_with(sim.shared(), "/db", tiny()).unwrap();
    for i in 0..2000 {
        db.interrupt();
        db.put(key(i), [7; 200]).unwrap();
    }
    db.interrupt();
    db.flush().unwrap();
    db.interrupt();
    db.compact::<&[u8]>(..).unwrap();
    db.interrupt();
    db.verify().unwrap();
    db.close().unwrap();
    db.interrupt();
    assert_eq!(Db::open_with(sim.shared(), "/db", Options::default()).unwrap().iter().unwrap().count(), 2000);
}
