//! Whose files these are: what a good manifest says, or what is left to go by without one.
//!
//! A good manifest that is of another store than all files, or older than some of them, is as good as none. Without a manifest that is
//! good to its last byte nobody knows which tables and logs count. What records are checked by is still to be had:
//!
//! * **The identity** stands in the manifest's header and in that of every table and log, each with its own check. A header that is good
//!   speaks for its file. If files of several stores are there, most of them decide.
//! * **The hash seed** stands in the manifest's first edit, and follows from the identity in stores that were made since it does.
//!   A seed is believed if records check out under it: 32 bits each.
//! * **Range deletes** of the manifest stand in edits of their own, each with its own check. Those that are good are real.

use std::collections::BTreeMap;
use std::path::Path;

use super::is_of_this_machine;
use crate::coding;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::lenient::Lenient;
use crate::log::frame::{FRAME_HEADER_BYTES, PREV_BYTES};
use crate::log::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::manifest::{self, MANIFEST, Remains, State};
use crate::record::{self, FileSalt, Header};
use crate::{log, table};

/// How many bytes of a file are looked at for records that prove a seed.
const PROBE_BYTES: u64 = 64 << 10;
/// How many records are tried, of all files.
const PROBES_MAX: usize = 256;

/// A store that was found.
#[derive(Debug)]
pub struct Identity {
    /// What the manifest says if it is good; else what little is known.
    pub state: State,
    /// Why the manifest can't be believed: where, and what.
    pub lost: Option<(u64, String)>,
}

/// A record that proves a seed.
struct Probe {
    salt: FileSalt,
    offset: u64,
    header: Header,
    bytes: Vec<u8>,
}

/// Finds out whose files `tables` and `logs` in `dir` are. `newer` is a file that shows that the manifest is an older one.
pub fn find(env: &dyn Env, dir: &Path, tables: &[u64], logs: &[u64], newer: Option<&str>) -> Result<Identity> {
    let path = dir.join(MANIFEST);
    let mut remains = Remains::read(env, dir);
    let failure = match manifest::read(env, dir) {
        Ok(Some(state)) => {
            let heads = heads(env, dir, tables, logs, SEGMENT_HEADER_BYTES as u64);
            let is_foreign = heads.iter().any(|head| head.database().is_some())
                && heads.iter().all(|head| head.database() != Some(state.database));
            let message = match newer {
                _ if is_foreign => "the manifest is of another store than all the files beside it".to_owned(),
                Some(newer) => format!(
                    "the manifest is an older one, and does not tell all: {newer} has writes that are nowhere else"
                ),
                None => return Ok(Identity { state, lost: None }),
            };
            if is_foreign {
                remains = Remains::default();
            }
            Error::on(ErrorKind::Corruption, &path, message)
        }
        Ok(None) => Error::on(ErrorKind::Corruption, &path, "the manifest is gone"),
        Err(failure) if is_of_this_machine(&failure) => return Err(failure),
        Err(failure) => failure,
    };
    let lost = Some((failure.offset().unwrap_or(0), failure.to_string()));
    let heads = heads(env, dir, tables, logs, PROBE_BYTES);

    let mut votes: BTreeMap<u128, u64> = BTreeMap::new();
    for id in heads.iter().filter_map(Head::database).chain(remains.database) {
        *votes.entry(id).or_default() += 1;
    }
    let most = votes.values().max().copied().unwrap_or(0);
    let mut leaders = votes.into_iter().filter(|(_, count)| *count == most).map(|(id, _)| id);
    let database = match (leaders.next(), leaders.next(), remains.database) {
        (Some(id), None, _) => id,
        // As many files of one store as of another: the manifest's header decides, if it is good.
        (Some(_), Some(_), Some(id)) => id,
        (None, ..) => {
            let message = "the manifest is lost, and no file has a header that says whose it is: nothing can be proved";
            return Err(Error::on(ErrorKind::Corruption, &path, message));
        }
        (Some(_), Some(_), None) => {
            let message =
                "the manifest is lost, and there are as many files of one store as of another: take one's away";
            return Err(Error::on(ErrorKind::Corruption, &path, message));
        }
    };
    let remains = remains.of(database);
    let derived = manifest::hash_seed_of(database);
    let probes = probes(&heads, database);
    let proof = |seed: u64| probes.iter().filter(|probe| probe.proves(seed)).count();
    // A seed whose edit is damaged, and all that differ from it in one bit: so many that one record could be chance.
    let near = remains.damaged_seed.into_iter().flat_map(|seed| (0..64).map(move |bit| seed ^ 1 << bit).chain([seed]));
    let hash_seed = match remains.hash_seed {
        Some(seed) => seed,
        // Nothing is there that a seed could prove.
        None if probes.is_empty() || proof(derived) > 0 => derived,
        None => near.into_iter().find(|seed| proof(*seed) > 1).ok_or_else(|| {
            let message =
                "the manifest is lost, and with it the seed that every record's checksum needs: nothing can be proved";
            Error::on(ErrorKind::Corruption, &path, message)
        })?,
    };
    let mut state = State::new(database, hash_seed);
    remains.ranges.iter().for_each(|edit| state.apply(edit));
    Ok(Identity { state, lost })
}

/// The first bytes of a file.
struct Head {
    is_log: bool,
    number: u64,
    bytes: Vec<u8>,
}

impl Head {
    /// Whose it says that it is, if its header is good.
    fn database(&self) -> Option<u128> {
        let database_of = if self.is_log { SegmentHeader::database_of } else { table::database_of };
        database_of(&self.bytes, self.number)
    }
}

/// The first bytes of each file that can be read.
fn heads(env: &dyn Env, dir: &Path, tables: &[u64], logs: &[u64], bytes: u64) -> Vec<Head> {
    let tables = tables.iter().map(|number| (false, *number, table::name(*number)));
    let logs = logs.iter().map(|number| (true, *number, log::name(*number)));
    let head = |name: String| Lenient::open(env, &dir.join(name)).and_then(|mut file| file.copy(0, bytes));
    let each = tables.chain(logs);
    each.filter_map(|(is_log, number, name)| Some(Head { is_log, number, bytes: head(name).ok()? })).collect()
}

/// Things that look like records, at places where records start.
fn probes(heads: &[Head], database: u128) -> Vec<Probe> {
    let mut probes = Vec::new();
    for Head { is_log, number, bytes: head } in heads {
        let salt = FileSalt::new(database, *number);
        let first = if *is_log { SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + PREV_BYTES } else { table::HEADER_BYTES };
        let mut at = first;
        // One after the other; behind the end of a frame or a block, or damage, a little farther on.
        for _ in 0..32 {
            let bytes = head.get(at..).unwrap_or(&[]);
            match Header::decode(bytes) {
                Some(header) => {
                    let bytes = bytes[..header.unpadded_len()].to_vec();
                    probes.push(Probe { salt, offset: at as u64, header, bytes });
                    at += header.len() + if *is_log { FRAME_HEADER_BYTES + PREV_BYTES } else { 0 };
                }
                None => at += 8,
            }
            if probes.len() >= PROBES_MAX {
                return probes;
            }
        }
    }
    probes
}

impl Probe {
    fn proves(&self, seed: u64) -> bool {
        let key_hash = coding::hash_seeded(self.header.key(&self.bytes), seed);
        record::verify(&self.bytes, &self.header, key_hash, self.salt, self.offset)
    }
}
