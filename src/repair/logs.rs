//! The logs: their whole frames, and the writes that are missing between them.
//!
//! A frame that is whole was written at this very place of this very log, so it is kept whatever stands before it. An open would stop at the
//! first damage, or refuse; a repair goes on and says which sequence numbers are missing.
//!
//! Which logs count, and where each ends, is told by [`chain`](super::chain).
//!
//! What is missing may have been a write of any key, or a delete of a range. The keys that the bytes seem to say are doubted.

use std::cmp::Reverse;

use super::chain::{Log, Part, Place};
use super::{Doubt, Keys, LeftOut, Repair};
use crate::error::Result;
use crate::log;
use crate::log::frame::Entry;
use crate::log::salvage::{Gap, Whole};
use crate::ranges::{RangeDelete, RangeDeletes};
use crate::record::{Kind, SEQ_MAX, Seq};

/// What the logs say.
#[derive(Debug, Default)]
pub struct Logged {
    pub logs: Vec<Log>,
    /// Number of the log and record, by key, newest first.
    pub entries: Vec<(usize, Entry)>,
    pub ranges: RangeDeletes,
    /// The first and the last number of writes that are there, ascending and apart.
    seqs: Vec<(Seq, Seq)>,
}

impl Logged {
    /// Are all writes from `first` to `last` there?
    pub fn has(&self, first: Seq, last: Seq) -> bool {
        let at = self.seqs.partition_point(|seqs| seqs.1 < first);
        first > last || self.seqs.get(at).is_some_and(|seqs| seqs.0 <= first && last <= seqs.1)
    }

    /// The key of an entry.
    pub fn key(&self, entry: &(usize, Entry)) -> &[u8] {
        entry.1.header.key(&self.logs[entry.0].bytes[entry.1.offset as usize..])
    }

    /// The value of an entry.
    pub fn value(&self, entry: &(usize, Entry)) -> &[u8] {
        entry.1.header.value(&self.logs[entry.0].bytes[entry.1.offset as usize..])
    }
}

/// What is listed and doubted since the last whole frame: its numbers are known when the next one comes.
#[derive(Debug, Default)]
struct Since {
    left_out: usize,
    doubts: usize,
}

impl Repair<'_> {
    /// Goes through the logs that count; `found` are those that are there.
    pub fn logs(&mut self, found: &[u64]) -> Result<Logged> {
        let mut logged = Logged::default();
        for range in &self.state.ranges {
            let range = RangeDelete { start: range.start.clone(), stop: range.stop.clone(), seq: range.seq };
            logged.ranges = logged.ranges.with(range);
        }
        let places = self.places(found)?;
        let first_seq = |place: &Place| match place {
            Place::There(log) => Some(log.header?.first_seq),
            Place::Gone(..) => None,
        };
        let starts: Vec<Option<Seq>> = places.iter().map(first_seq).collect();
        // Of a store whose manifest is lost nobody knows where the logs began.
        let mut expect = (!self.is_guess).then_some(self.state.flushed_seq + 1);
        let mut since = self.since();
        for (place, starts) in places.into_iter().zip(1..).map(|(place, next)| (place, &starts[next..])) {
            let log = match place {
                Place::There(log) => log,
                Place::Gone(number, why) => {
                    self.lose_log(number, why);
                    continue;
                }
            };
            let given_up_from = starts.iter().flatten().min().copied().filter(|_| self.is_guess).unwrap_or(SEQ_MAX);
            if let Some(header) = log.header {
                self.missing(&log, header.first_seq, &mut expect, &mut since);
            }
            let at = logged.logs.len();
            logged.logs.push(log);
            let mut given_up: Option<LeftOut> = None;
            for part in self.parts(&logged.logs[at]) {
                match part {
                    Part::Gap(gap) => self.lose_gap(&logged.logs[at], gap),
                    Part::Whole(whole) => {
                        let last_seq = whole.first_seq + whole.entries.len() as u64 - 1;
                        if last_seq >= given_up_from || expect.is_some_and(|expect| whole.first_seq < expect) {
                            give_up(&mut given_up, &logged.logs[at], &whole, last_seq);
                            continue;
                        }
                        self.missing(&logged.logs[at], whole.first_seq, &mut expect, &mut since);
                        expect = Some(last_seq + 1);
                        since = self.since();
                        match logged.seqs.last_mut() {
                            Some(seqs) if seqs.1 + 1 == whole.first_seq => seqs.1 = last_seq,
                            _ => logged.seqs.push((whole.first_seq, last_seq)),
                        }
                        for entry in whole.entries {
                            keep(&mut logged, at, entry);
                        }
                    }
                }
            }
            self.report.left_out.extend(given_up);
        }
        // Nothing follows that would tell how much the last gap held; one frame may say so itself.
        if let (Some(expect), [lost]) = (expect, &mut self.report.left_out[since.left_out..])
            && lost.seqs.is_none()
        {
            lost.seqs = lost.records.map(|records| (expect, expect.saturating_add(records - 1)));
        }
        let mut entries = std::mem::take(&mut logged.entries);
        entries.sort_by(|a, b| {
            let newest_first = |entry: &(usize, Entry)| Reverse(entry.1.header.seq());
            logged.key(a).cmp(logged.key(b)).then_with(|| newest_first(a).cmp(&newest_first(b)))
        });
        logged.entries = entries;
        Ok(logged)
    }

    fn since(&self) -> Since {
        Since { left_out: self.report.left_out.len(), doubts: self.doubts.len() }
    }

    /// The next write that is there is `first`: those before it that are not are lost.
    fn missing(&mut self, log: &Log, first: Seq, expect: &mut Option<Seq>, since: &mut Since) {
        self.doubts[since.doubts..].iter_mut().for_each(|doubt| doubt.last_seq = first.saturating_sub(1));
        let Some(expected) = expect.filter(|expect| *expect < first) else { return };
        let seqs = Some((expected, first - 1));
        if self.report.left_out.len() == since.left_out {
            self.report.left_out.push(LeftOut {
                file: log.path.clone(),
                from: 0,
                to: 0,
                why: "writes before it are in no log that is there".to_owned(),
                keys: Keys::Unknown,
                records: Some(first - expected),
                seqs,
            });
        }
        self.report.left_out[since.left_out..].iter_mut().for_each(|left_out| left_out.seqs = seqs);
        *expect = Some(first);
        *since = self.since();
    }

    fn lose_log(&mut self, number: u64, why: String) {
        let file = self.dir.join(log::name(number));
        let to = self.state.ends.get(&number).copied().unwrap_or(0);
        let keys = Keys::Unknown;
        self.report.left_out.push(LeftOut { file, from: 0, to, why, keys, records: None, seqs: None });
    }

    fn lose_gap(&mut self, log: &Log, gap: Gap) {
        let mut why = match log.end {
            Some(_) => "damaged".to_owned(),
            None => "damaged, or torn by a crash if nothing follows".to_owned(),
        };
        for (n, key) in gap.said.iter().enumerate() {
            why += if n == 0 { "; its bytes seem to say " } else { ", " };
            why += &format!("\"{}\"", key.escape_ascii());
        }
        let place = format!("{} at {}", log.path.display(), gap.from);
        for key in gap.said {
            let (keys, place) = (Keys::One(key), place.clone());
            self.doubts.push(Doubt::new(keys, None, SEQ_MAX, place));
        }
        self.report.left_out.push(LeftOut {
            file: log.path.clone(),
            from: gap.from,
            to: gap.to,
            why,
            keys: Keys::Unknown,
            records: gap.records,
            seqs: None,
        });
    }
}

/// Notes a frame that was given up; those of a log are listed as one.
fn give_up(given_up: &mut Option<LeftOut>, log: &Log, whole: &Whole, last_seq: Seq) {
    let lost = given_up.get_or_insert_with(|| LeftOut {
        file: log.path.clone(),
        from: whole.from,
        to: whole.to,
        why: "writes whose numbers others have: they were given up when a later log was made".to_owned(),
        keys: Keys::Unknown,
        records: Some(0),
        seqs: Some((whole.first_seq, last_seq)),
    });
    lost.to = whole.to;
    lost.records = lost.records.map(|records| records + whole.entries.len() as u64);
    lost.seqs = lost.seqs.map(|(first, last)| (first.min(whole.first_seq), last.max(last_seq)));
}

fn keep(logged: &mut Logged, log: usize, entry: Entry) {
    if entry.header.kind != Kind::DeleteRange {
        return logged.entries.push((log, entry));
    }
    let (start, stop) = (logged.key(&(log, entry)).to_vec(), logged.value(&(log, entry)).to_vec());
    logged.ranges = logged.ranges.with(RangeDelete { start, stop, seq: entry.header.seq() });
}
