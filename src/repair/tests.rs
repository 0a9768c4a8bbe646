//! Files that were made and not damaged: every check in them is right, and what they say is not possible. A repair ends, without a
//! panic, with a store or an error.

use std::path::{Path, PathBuf};

use crate::db::Db;
use crate::env::Env;
use crate::env::sim::SimEnv;
use crate::log::segment::{HeaderRead, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::manifest::{self, Edit, State};
use crate::options::Options;
use crate::record::SEQ_MAX;
use crate::repair::{Repaired, repair_with};
use crate::table::Meta;
use crate::{Result, log};

const DIR: &str = "/db";
const OUT: &str = "/out";
const NUMBERS: [u64; 12] =
    [0, 1, 2, 7, 64, 1 << 20, u32::MAX as u64, 1 << 35, SEQ_MAX, SEQ_MAX + 1, u64::MAX - 7, u64::MAX];

fn options() -> Options {
    Options { segment_bytes_min: 4 << 10, segment_bytes_max: 4 << 10, block_bytes: 512, ..Options::default() }
}

/// A store with a table and two logs.
fn store() -> SimEnv {
    let sim = SimEnv::new(1);
    let open = || Db::open_with(sim.shared(), DIR, options()).unwrap();
    let db = open();
    for n in 0..100 {
        db.put(format!("key {n}"), [b'x'; 50]).unwrap();
    }
    db.flush().unwrap();
    db.put("log", "one").unwrap();
    db.delete_range("key 3".."key 4").unwrap();
    db.close().unwrap();
    let db = open();
    db.put("log", "two").unwrap();
    db.close().unwrap();
    sim
}

fn copy(sim: &SimEnv) -> SimEnv {
    let copy = SimEnv::new(2);
    sim.list().into_iter().for_each(|path| copy.write_file(&path, sim.read_file(&path).unwrap()));
    copy
}

/// What comes of it; a store must be sound.
fn repaired(sim: &SimEnv) -> Result<Repaired> {
    let repaired = repair_with(sim.shared(), DIR, OUT, &options())?;
    let db = Db::open_with(sim.shared(), OUT, options()).unwrap();
    db.verify().unwrap();
    assert_eq!(db.iter().unwrap().count() as u64, repaired.keys);
    Ok(repaired)
}

fn logs(sim: &SimEnv) -> Vec<(u64, PathBuf)> {
    let names = sim.list_dir(Path::new(DIR)).unwrap();
    log::numbers(&names).into_iter().map(|(number, name)| (number, Path::new(DIR).join(name))).collect()
}

/// Logs whose headers are whole and say anything, with a manifest and without one.
#[test]
fn log_headers_that_were_made() {
    let whole = store();
    let state = manifest::read(&whole, Path::new(DIR)).unwrap().unwrap();
    for (number, path) in logs(&whole) {
        let bytes = whole.read_file(&path).unwrap();
        let HeaderRead::Good(header) = SegmentHeader::read(&bytes, state.database, number) else { panic!("{path:?}") };
        for told in NUMBERS {
            let headers = [
                SegmentHeader { first_seq: told, ..header },
                SegmentHeader { predecessor: told, ..header },
                SegmentHeader { predecessor_end: told, ..header },
                SegmentHeader { first_seq: told, predecessor: told, predecessor_end: told, ..header },
            ];
            for made in headers {
                let image = copy(&whole);
                image.write_file(&path, [&made.encode(), &bytes[SEGMENT_HEADER_BYTES..]].concat());
                for has_manifest in [true, false] {
                    if !has_manifest {
                        image.remove(&Path::new(DIR).join("MANIFEST"));
                        image.list().into_iter().filter(|path| path.starts_with(OUT)).for_each(|path| {
                            image.remove(&path);
                        });
                    }
                    let repaired = repaired(&image).unwrap();
                    assert!(made == header || !repaired.is_complete(), "{made:?}: {repaired}");
                }
            }
        }
    }
}

/// Manifests that are whole and say anything of tables, logs and deletes.
#[test]
fn manifests_that_were_made() {
    let whole = store();
    let state = manifest::read(&whole, Path::new(DIR)).unwrap().unwrap();
    let number = *state.tables.keys().next().unwrap();
    let (mut refused, mut outcomes) = (0, 0);
    for told in NUMBERS {
        let table = |change: &dyn Fn(&mut Meta)| {
            let mut made = state.clone();
            change(made.tables.get_mut(&number).unwrap());
            made
        };
        let with = |change: &dyn Fn(&mut State)| {
            let mut made = state.clone();
            change(&mut made);
            made
        };
        let states = [
            table(&|meta| meta.len = told),
            table(&|meta| meta.data_bytes = told),
            table(&|meta| meta.keys = told),
            table(&|meta| meta.records = told),
            table(&|meta| (meta.len, meta.data_bytes, meta.keys, meta.records) = (told, told, told, told)),
            table(&|meta| meta.first_seq = told),
            table(&|meta| meta.last_seq = told),
            table(&|meta| meta.footer_check = told as u32),
            with(&|state| state.ends.values_mut().for_each(|end| *end = told)),
            with(&|state| state.ends = [(told, told)].into()),
            with(&|state| state.void = vec![told]),
            with(&|state| state.flushed_seq = told.min(SEQ_MAX)),
            with(&|state| state.flushed_log.1 = told),
            with(&|state| state.hash_seed = told),
            with(&|state| {
                state.apply(&Edit::RangeDelete { start: vec![], stop: vec![9; 9], seq: told.min(SEQ_MAX) });
            }),
        ];
        for made in states {
            let image = copy(&whole);
            manifest::replace(&image, Path::new(DIR), &made).unwrap();
            match repaired(&image) {
                Ok(_) => outcomes += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(outcomes > 100 && refused == 0, "{outcomes} {refused}");
}
