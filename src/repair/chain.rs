//! The chain: which logs are a part of the store, and where each of them ends.
//!
//! 1. Logs that are in tables, and those that the manifest calls void, do not count.
//! 2. A log ends where the manifest says that it does, or where the next log says so: what stands behind was never part of the store.
//! 3. With a good manifest each log follows the one before, as its header says: by number, by end, and by the sequence number. One that
//!    contradicts what is known is of another time, or of a copy of the store that went its own way. It is left out and listed.
//! 4. Without a manifest nobody knows where the chain began. There, a frame whose number a later log begins with or goes beyond was given
//!    up when that log was made: it is left out and listed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Keys, LeftOut, Repair, is_of_this_machine};
use crate::error::{Error, ErrorKind, Result};
use crate::lenient::Lenient;
use crate::log;
use crate::log::replay::all_zero;
use crate::log::salvage::{self, Gap, Whole};
use crate::log::segment::{HeaderRead, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::{FileSalt, Seq};

/// A log, all of it in memory.
#[derive(Debug)]
pub struct Log {
    pub number: u64,
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    /// If it is good.
    pub header: Option<SegmentHeader>,
    /// Where it ended, if the manifest says so.
    recorded: Option<u64>,
    /// Where it ended, if somebody says so.
    pub end: Option<u64>,
}

/// A log in its place, or a place without one.
#[derive(Debug)]
pub enum Place {
    There(Log),
    Gone(u64, String),
}

/// A part of a log, in order.
pub enum Part {
    Whole(Whole),
    Gap(Gap),
}

impl Part {
    fn from(&self) -> u64 {
        match self {
            Part::Whole(whole) => whole.from,
            Part::Gap(gap) => gap.from,
        }
    }
}

/// How far the chain of logs is known, in the order of their numbers.
struct Chain {
    /// The last log that is surely a part of it.
    number: u64,
    /// Where that ended, if somebody says so.
    end: Option<u64>,
    /// Where its last whole frame ends.
    reached: u64,
    /// The number of the next write, at least.
    expect: Seq,
}

impl Chain {
    /// Can the log with this header stand where the chain has come to? `unsure` is a log before it whose header is damaged.
    fn admits(&self, header: &SegmentHeader, unsure: Option<u64>) -> bool {
        let follows = match header.predecessor {
            last if last == self.number => match self.end {
                Some(end) => end == header.predecessor_end,
                None => self.reached <= header.predecessor_end,
            },
            // One that is damaged, or gone.
            other => self.number < other && other < header.number && unsure.is_none_or(|unsure| unsure <= other),
        };
        follows && header.first_seq >= self.expect
    }
}

impl Repair<'_> {
    /// The logs of the chain, in order; `found` are those that are there.
    pub fn places(&mut self, found: &[u64]) -> Result<Vec<Place>> {
        let state = &self.state;
        let counts = |number: &u64| *number > state.flushed_log.0 && !state.void.contains(number);
        let numbers: BTreeSet<u64> = found.iter().chain(state.ends.keys()).copied().filter(counts).collect();
        let mut places = Vec::new();
        for number in numbers {
            match found.contains(&number) {
                true => places.extend(self.read_log(number)?),
                false => places.push(Place::Gone(number, "the log is gone".to_owned())),
            }
        }
        Ok(if self.is_guess { with_ends(places) } else { self.chained(places) })
    }

    /// The logs that make one chain, each with its end as far as it is known; the others are listed.
    fn chained(&mut self, places: Vec<Place>) -> Vec<Place> {
        let (number, end) = self.state.flushed_log;
        let mut chain = Chain { number, end: Some(end), reached: end, expect: self.state.flushed_seq + 1 };
        let mut kept: Vec<Place> = Vec::new();
        for place in places {
            let log = match place {
                Place::There(log) => log,
                Place::Gone(number, why) => {
                    if let Some(end) = self.state.ends.get(&number) {
                        (chain.number, chain.end, chain.reached) = (number, Some(*end), *end);
                    }
                    kept.push(Place::Gone(number, why));
                    continue;
                }
            };
            let unsure = kept.iter().rev().find_map(|place| match place {
                Place::There(log) if log.number > chain.number => Some(log.number),
                _ => None,
            });
            if let Some(header) = log.header {
                if !chain.admits(&header, unsure) {
                    self.stranger(log, "its header contradicts the manifest, or the logs before it");
                    continue;
                }
                // Its header is good, so what it passes over was no part of the store: another store's, or nobody's.
                while let Some(Place::There(before)) = kept.pop_if(|place| passed_over(place, &chain, &header)) {
                    self.stranger(
                        before,
                        "its header is damaged, and the next log says that it was no part of the store",
                    );
                }
                if let Some(before) = kept.iter_mut().find_map(|place| match place {
                    Place::There(before) if before.number == header.predecessor => Some(before),
                    _ => None,
                }) {
                    before.end = before.end.or(Some(header.predecessor_end));
                }
            }
            let (reached, next) = self.reach(&log);
            chain.expect = chain.expect.max(next).max(log.header.map_or(0, |header| header.first_seq));
            if log.header.is_some() || log.recorded.is_some() {
                (chain.number, chain.end, chain.reached) = (log.number, log.recorded, reached);
            }
            kept.push(Place::There(log));
        }
        kept
    }

    /// Where the last whole frame of a log ends, and the number after its last write.
    fn reach(&self, log: &Log) -> (u64, Seq) {
        let mut reach = (SEGMENT_HEADER_BYTES as u64, 0);
        for part in self.parts(log) {
            if let Part::Whole(whole) = part {
                reach = (whole.to, whole.first_seq + whole.entries.len() as u64);
            }
        }
        reach
    }

    /// Lists a log that is no part of the chain, unless there is nothing in it.
    fn stranger(&mut self, log: Log, why: &str) {
        let (mut records, mut seqs): (u64, Option<(Seq, Seq)>) = (0, None);
        for part in self.parts(&log) {
            if let Part::Whole(whole) = part {
                let last = whole.first_seq + whole.entries.len() as u64 - 1;
                records += whole.entries.len() as u64;
                seqs = Some(seqs.map_or((whole.first_seq, last), |seqs| (seqs.0, last)));
            }
        }
        if records == 0 && log.recorded.is_none() {
            self.report.warnings.push(format!("{}: not kept: {why}", log.path.display()));
            return;
        }
        let to = log.bytes.len() as u64;
        let (why, keys) = (why.to_owned(), Keys::Unknown);
        self.report.left_out.push(LeftOut { file: log.path, from: 0, to, why, keys, records: Some(records), seqs });
    }

    /// The log with this number; None if there is nothing in it.
    fn read_log(&mut self, number: u64) -> Result<Option<Place>> {
        let path = self.dir.join(log::name(number));
        let bytes = match Lenient::open(self.env, &path).and_then(Lenient::all) {
            Ok(bytes) => bytes,
            Err(failure) if is_of_this_machine(&failure) => return Err(failure),
            Err(failure) => {
                return Ok(Some(Place::Gone(number, format!("the log can't be read: {failure}"))));
            }
        };
        let end = self.state.ends.get(&number).copied();
        if all_zero(&bytes) && end.is_none() {
            // Prepared and never used.
            return Ok(None);
        }
        self.report.files += 1;
        let header = match SegmentHeader::read(&bytes, self.state.database, number) {
            HeaderRead::Good(header) => Some(header),
            HeaderRead::Newer(message) => return Err(Error::on(ErrorKind::NewerFormat, &path, message)),
            HeaderRead::Bad(what) => {
                self.report.warnings.push(format!("{}: offset 0: {what}", path.display()));
                None
            }
            HeaderRead::Prepared => {
                self.report.warnings.push(format!("{}: offset 0: the segment's header is gone", path.display()));
                None
            }
        };
        Ok(Some(Place::There(Log { number, path, bytes, header, recorded: end, end })))
    }

    /// Its frames and gaps, in order.
    pub fn parts(&self, log: &Log) -> Vec<Part> {
        let end = log.end.unwrap_or(log.bytes.len() as u64);
        let bytes = log.bytes.get(..end as usize).unwrap_or(&log.bytes);
        let salt = FileSalt::new(self.state.database, log.number);
        let (wholes, gaps) = salvage::salvage(bytes, SEGMENT_HEADER_BYTES as u64, salt, self.state.hash_seed);
        let mut parts: Vec<Part> = wholes.into_iter().map(Part::Whole).chain(gaps.into_iter().map(Part::Gap)).collect();
        parts.sort_by_key(Part::from);
        let reached = parts.last().map_or(SEGMENT_HEADER_BYTES as u64, |part| match part {
            Part::Whole(whole) => whole.to,
            Part::Gap(gap) => gap.to,
        });
        if log.end.is_some_and(|end| reached < end) {
            parts.push(Part::Gap(Gap { from: reached, to: end, records: None, said: Vec::new() }));
        } else if log.header.is_none() && parts.is_empty() {
            // Whatever it was.
            parts.push(Part::Gap(Gap { from: 0, to: log.bytes.len() as u64, records: None, said: Vec::new() }));
        }
        parts
    }
}

/// Is it a log whose header is damaged, between the chain's last log and the one that names that as its predecessor?
fn passed_over(place: &Place, chain: &Chain, header: &SegmentHeader) -> bool {
    let number = match place {
        Place::There(log) => log.number,
        Place::Gone(..) => return false,
    };
    chain.number < number && header.predecessor < number
}

/// Without a manifest: each log ends where the last one says that follows it.
fn with_ends(mut places: Vec<Place>) -> Vec<Place> {
    let header = |place: &Place| match place {
        Place::There(log) => log.header,
        Place::Gone(..) => None,
    };
    let headers: Vec<SegmentHeader> = places.iter().filter_map(header).collect();
    for place in &mut places {
        if let Place::There(log) = place {
            let next = headers.iter().rev().find(|next| next.predecessor == log.number && next.number > log.number);
            log.end = next.map(|next| next.predecessor_end);
        }
    }
    places
}
