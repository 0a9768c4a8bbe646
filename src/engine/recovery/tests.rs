//! Logs that almost follow.
//!
//! Proves: a log continues the chain only if its header is right in every respect and the chain has not ended before it. Damage hits
//! several fields at once, and one check covers for another; so each header here is whole and wrong in one thing alone.
//!
//! How: stores that the engine wrote, with headers encoded anew. A header's fields are no part of what the frames' checks cover, so
//! all frames stay whole and in order: nothing but the header speaks against the log.

use std::path::{Path, PathBuf};

use crate::env::sim::SimEnv;
use crate::log::segment::{HeaderRead, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::log::{self, frame::FrameHeader};
use crate::manifest::{self, MANIFEST};
use crate::{Db, Durability, Error, ErrorKind, LogBackend, Options, Result};

const DIR: &str = "/db";
/// So many writes fill a log.
const PER_LOG: u8 = 4;

fn path(number: u64) -> PathBuf {
    Path::new(DIR).join(log::name(number))
}

fn open(sim: &SimEnv) -> Result<Db> {
    let (segment_bytes_min, segment_bytes_max) = (4 << 10, 4 << 10);
    let options =
        Options { log_backend: LogBackend::Mapped, segment_bytes_min, segment_bytes_max, ..Options::default() };
    Db::open_with(sim.shared(), DIR, options)
}

/// Writes the keys `from..to`.
fn write(db: &Db, from: u8, to: u8, durability: Durability) {
    for n in from..to {
        db.put_with([n], [n; 900], durability).unwrap();
    }
}

/// Ends the process, not the machine.
fn kill(sim: &SimEnv, db: Db) {
    sim.cut_after(sim.ops());
    drop(db);
    sim.cut_after(u64::MAX);
}

/// The keys of the store, and the logs that its manifest calls void.
fn found(sim: &SimEnv, db: &Db) -> (Vec<u8>, Vec<u64>) {
    let keys = db.iter().unwrap().map(|pair| pair.unwrap().0[0]).collect();
    (keys, manifest::read(sim, Path::new(DIR)).unwrap().unwrap().void)
}

fn is_corruption(e: &Error, number: u64, offset: u64) -> bool {
    (e.kind(), e.path(), e.offset()) == (ErrorKind::Corruption, Some(&*path(number)), Some(offset))
}

/// Changes a log's header. Its check is made anew.
fn change(sim: &SimEnv, number: u64, lie: fn(&mut SegmentHeader)) {
    let database = manifest::read(sim, Path::new(DIR)).unwrap().unwrap().database;
    let mut bytes = sim.read_file(&path(number)).unwrap();
    let HeaderRead::Good(mut header) = SegmentHeader::read(&bytes, database, number) else {
        panic!("log {number} has no good header")
    };
    assert_eq!(bytes[..SEGMENT_HEADER_BYTES], header.encode());
    lie(&mut header);
    bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.encode());
    sim.write_file(&path(number), bytes);
}

/// Of the predecessor, its end and the first sequence number one is wrong. The log does not follow, whichever log it is and
/// whichever of them it is: it is void with all after it, or, if a frame in it says that the missing write was durable or the
/// manifest has its end, the store is damaged.
#[test]
fn a_log_that_follows_in_all_but_one_respect_does_not_follow() {
    type Lie = fn(&mut SegmentHeader);
    let (elsewhere, misnumbered) = ("the log before it ended elsewhere", "its first sequence number does not follow");
    let lies: [(&str, &str, Lie); 6] = [
        ("predecessor before", elsewhere, |header| header.predecessor = header.predecessor.wrapping_sub(1)),
        ("predecessor after", elsewhere, |header| header.predecessor += 1),
        ("end before", elsewhere, |header| header.predecessor_end = header.predecessor_end.wrapping_sub(8)),
        ("end after", elsewhere, |header| header.predecessor_end += 8),
        ("first_seq before", misnumbered, |header| header.first_seq -= 1),
        ("first_seq after", misnumbered, |header| header.first_seq += 1),
    ];
    for (closed, durability) in [(false, Durability::Process), (false, Durability::Sync), (true, Durability::Process)] {
        for log in 1..=3 {
            for (what, why, lie) in lies {
                let context = format!("log {log}, {what}, {durability:?}, closed: {closed}");
                let sim = SimEnv::new(1);
                let db = open(&sim).unwrap();
                write(&db, 0, 3 * PER_LOG, durability);
                if closed {
                    db.close().unwrap()
                } else {
                    kill(&sim, db)
                }
                change(&sim, log, lie);
                match open(&sim) {
                    Ok(db) => {
                        let kept = (0..(log as u8 - 1) * PER_LOG).collect();
                        assert_eq!(found(&sim, &db), (kept, (log..=3).collect()), "{context}");
                        assert!(!closed && durability == Durability::Process, "{context}: it was durable");
                    }
                    Err(e) => {
                        assert!(closed || durability == Durability::Sync, "{context}: nobody was promised this: {e:?}");
                        assert!(is_corruption(&e, log, 0) && e.to_string().contains(why), "{context}: {e:?}");
                    }
                }
            }
        }
    }
}

/// Once the chain has ended nothing continues it, not even a log that fits exactly where it ended. How there can be one: a
/// recovery found log 2 void, and log 3 of the next session followed log 1. Then an old copy of the manifest was put back, and
/// log 2 with it: nothing says any more that log 2 is void, and log 3 may stand behind a gap. So it is void too; or, if it proves
/// that the missing write was durable, the store is damaged.
#[test]
fn no_log_follows_once_the_chain_has_ended() {
    type Break = fn(&SimEnv, u64);
    // What breaks the chain, which log the error names, and how many writes are before that.
    let breaks: [(&str, Break, u64, u8); 4] = [
        ("log 2 names another log", |sim, _| change(sim, 2, |header| header.predecessor = 7), 2, PER_LOG),
        ("log 2 has a damaged header", |sim, _| assert!(sim.flip(&path(2), 40, 1)), 2, PER_LOG),
        (
            "log 2 has lost its header",
            |sim, _| {
                let mut bytes = sim.read_file(&path(2)).unwrap();
                bytes[..SEGMENT_HEADER_BYTES].fill(0);
                sim.write_file(&path(2), bytes);
            },
            2,
            PER_LOG,
        ),
        ("log 1 is torn in its last frame", |sim, last| assert!(sim.flip(&path(1), last + 100, 1)), 1, PER_LOG - 1),
    ];
    for (what, break_chain, broken, kept) in breaks {
        for durability in [Durability::Process, Durability::Sync] {
            let context = format!("{what}, {durability:?}");
            let sim = SimEnv::new(1);
            let db = open(&sim).unwrap();
            write(&db, 0, 2 * PER_LOG, Durability::Process);
            kill(&sim, db);
            let frame = FrameHeader::decode(&sim.read_file(&path(1)).unwrap()[SEGMENT_HEADER_BYTES..]).unwrap();
            let last = SEGMENT_HEADER_BYTES as u64 + u64::from(PER_LOG - 1) * frame.len;
            break_chain(&sim, last);
            let old = [Path::new(DIR).join(MANIFEST), path(2)].map(|path| (sim.read_file(&path).unwrap(), path));

            let db = open(&sim).unwrap();
            assert_eq!(found(&sim, &db), ((0..kept).collect(), vec![2]), "{context}");
            write(&db, 100, 103, durability);
            kill(&sim, db);
            old.into_iter().for_each(|(bytes, path)| sim.write_file(&path, bytes));
            let mut logs = sim.list();
            logs.retain(|path| path.extension() == Some("log".as_ref()));
            assert_eq!(logs, [path(1), path(2), path(3)], "{context}");

            match open(&sim) {
                Ok(db) => {
                    assert_eq!(found(&sim, &db), ((0..kept).collect(), vec![2, 3]), "{context}");
                    assert_eq!(durability, Durability::Process, "{context}: it was durable");
                }
                Err(e) => {
                    assert_eq!(durability, Durability::Sync, "{context}: nobody was promised this: {e:?}");
                    let offset = e.offset().unwrap_or(0);
                    assert!(is_corruption(&e, broken, offset), "{context}: {e:?}");
                    let there = if broken == 1 { (last..last + frame.len).contains(&offset) } else { offset == 0 };
                    assert!(there && e.to_string().contains(&log::name(3)), "{context}: {e:?}");
                }
            }
        }
    }
}
