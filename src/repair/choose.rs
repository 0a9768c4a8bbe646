//! The choice: of each key the newest version that is there, unless there may have been a newer one.
//!
//! All sources are merged in the order of keys, versions of a key newest first. A doubt is in force while the merge is at keys that it is
//! about, so only those that begin before the key and have not ended are looked at.
//!
//! A lost version may be newer than the one that is there if it may have a larger sequence number: than what is known of the table, or of
//! the gap in a log, that it was in.
//!
//! Values that are left out are listed key by key, but for those of a doubt that is about very many keys: the list must fit into memory.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;
use std::path::Path;

use super::logs::Logged;
use super::tables::{Chain, Chains, Slice};
use super::{Doubt, Keys, LeftOut, Repair, behind};
use crate::batch::Batch;
use crate::db::Db;
use crate::error::Result;
use crate::options::Durability;
use crate::record::{Kind, SEQ_MAX, Seq};
use crate::table::salvage::{Piece, Records, hash32};

/// What is written at once.
const BATCH_BYTES: usize = 1 << 20;

/// So many values that are left out for the same doubt are listed one by one; the others together, for each file that they are in.
const LISTED_MAX: usize = 1000;

/// A version of a key.
struct Version {
    key: Vec<u8>,
    value: Vec<u8>,
    seq: Seq,
    kind: Kind,
    file: std::path::PathBuf,
    at: Range<u64>,
}

/// A sorted source.
enum Source<'a> {
    Logs { logged: &'a Logged, next: usize },
    Tables { chains: &'a Chains, chain: &'a Chain, next: usize, open: Option<Open<'a>> },
}

/// A slice that is being read.
struct Open<'a> {
    slice: &'a Slice,
    path: &'a Path,
    records: Box<Records>,
}

/// The next version of a source: the smallest key comes first, then the largest number.
struct Head(Version, usize);

impl Head {
    fn order(&self) -> (Reverse<&[u8]>, Seq, Reverse<usize>) {
        (Reverse(&self.0.key), self.0.seq, Reverse(self.1))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Repair<'_> {
    /// Merges all sources into `db`.
    pub fn choose(&mut self, chains: &Chains, logged: &Logged, db: &Db) -> Result<()> {
        let mut sources = vec![Source::Logs { logged, next: 0 }];
        sources.extend(chains.chains.iter().map(|chain| Source::Tables { chains, chain, next: 0, open: None }));
        let mut heads = BinaryHeap::new();
        for (number, source) in sources.iter_mut().enumerate() {
            heads.extend(source.next(self)?.map(|version| Head(version, number)));
        }
        let mut doubts = Doubts::new(std::mem::take(&mut self.doubts));
        let mut batch = Batch::new();
        let mut last: Option<Vec<u8>> = None;
        while let Some(Head(version, number)) = heads.pop() {
            heads.extend(sources[number].next(self)?.map(|version| Head(version, number)));
            if last.as_ref() == Some(&version.key) {
                continue;
            }
            last = Some(version.key.clone());
            let is_hidden = logged.ranges.hides(&version.key, version.seq, SEQ_MAX);
            if version.kind != Kind::Put || is_hidden {
                continue;
            }
            if let Some(doubt) = doubts.newer_than(&version, self.state.hash_seed) {
                doubt.leave_out(version, &mut self.report.left_out);
                continue;
            }
            self.report.keys += 1;
            self.report.bytes += (version.key.len() + version.value.len()) as u64;
            batch.put(&version.key, &version.value);
            if batch.byte_len() >= BATCH_BYTES {
                db.write_with(&batch, Durability::None)?;
                batch.clear();
            }
        }
        db.write_with(&batch, Durability::None)
    }
}

impl Doubt {
    fn leave_out(&mut self, version: Version, left_out: &mut Vec<LeftOut>) {
        let Version { key, seq, file, at, .. } = version;
        let place = &self.place;
        self.listed += 1;
        if self.listed <= LISTED_MAX {
            return left_out.push(LeftOut {
                file,
                from: at.start,
                to: at.end,
                why: format!("it may be an older value: a newer one may have been in {place}"),
                keys: Keys::One(key),
                records: Some(1),
                seqs: Some((seq, seq)),
            });
        }
        let known = self.together.iter().find(|known| left_out[**known].file == file).copied();
        let number = known.unwrap_or_else(|| {
            self.together.push(left_out.len());
            left_out.push(LeftOut {
                file,
                from: at.start,
                to: at.end,
                why: format!("they may be older values: newer ones may have been in {place}"),
                keys: Keys::Between { from: Some(key.clone()), to: None },
                records: Some(0),
                seqs: Some((seq, seq)),
            });
            left_out.len() - 1
        });
        let lost = &mut left_out[number];
        // Keys ascend, places do so in a table only.
        (lost.from, lost.to) = (lost.from.min(at.start), lost.to.max(at.end));
        if let Keys::Between { to, .. } = &mut lost.keys {
            *to = Some(behind(&key));
        }
        lost.records = lost.records.map(|records| records + 1);
        lost.seqs = lost.seqs.map(|(first, last)| (first.min(seq), last.max(seq)));
    }
}

impl Source<'_> {
    fn next(&mut self, repair: &Repair<'_>) -> Result<Option<Version>> {
        match self {
            Source::Logs { logged, next } => {
                let Some(entry) = logged.entries.get(*next) else { return Ok(None) };
                *next += 1;
                let (log, stored) = (&logged.logs[entry.0], &entry.1);
                Ok(Some(Version {
                    key: logged.key(entry).to_vec(),
                    value: logged.value(entry).to_vec(),
                    seq: stored.header.seq(),
                    kind: stored.header.kind,
                    file: log.path.clone(),
                    at: stored.offset..stored.offset + stored.header.len() as u64,
                }))
            }
            Source::Tables { chains, chain, next, open } => loop {
                if open.is_none() {
                    let Some(slice) = chain.slices.get(*next) else { return Ok(None) };
                    *next += 1;
                    // One that can't be read is listed.
                    let Some(wreck) = chains.wrecks.get(&slice.table) else { continue };
                    let records = Box::new(wreck.records(repair.env)?);
                    *open = Some(Open { slice, path: &wreck.path, records });
                }
                let Some(Open { slice, path, records }) = open else { return Ok(None) };
                match records.next()? {
                    None => *open = None,
                    Some(Piece::Record(record)) if slice.holds(&record.key) => {
                        return Ok(Some(Version {
                            key: record.key,
                            value: record.value,
                            seq: record.seq,
                            kind: record.kind,
                            file: path.to_owned(),
                            at: record.at,
                        }));
                    }
                    Some(_) => {}
                }
            },
        }
    }
}

/// The doubts, for keys that ascend.
struct Doubts {
    /// By their first key, the last one first.
    waiting: Vec<Doubt>,
    active: Vec<Doubt>,
}

impl Doubts {
    fn new(mut doubts: Vec<Doubt>) -> Doubts {
        doubts.sort_by(|a, b| first(&b.keys).cmp(&first(&a.keys)));
        Doubts { waiting: doubts, active: Vec::new() }
    }

    /// One that says that there may have been a newer version.
    fn newer_than(&mut self, version: &Version, hash_seed: u64) -> Option<&mut Doubt> {
        let key = &*version.key;
        while let Some(doubt) = self.waiting.pop_if(|doubt| first(&doubt.keys).is_none_or(|first| first <= key)) {
            self.active.push(doubt);
        }
        self.active.retain(|doubt| match &doubt.keys {
            Keys::One(one) => **one >= *key,
            Keys::Between { to, .. } => to.as_deref().is_none_or(|to| key < to),
            Keys::Unknown => true,
        });
        if self.active.is_empty() {
            return None;
        }
        let hash32 = hash32(key, hash_seed);
        self.active.iter_mut().find(|doubt| {
            doubt.keys.covers(key)
                && doubt.last_seq > version.seq
                && doubt.hashes.as_ref().is_none_or(|hashes| hashes.binary_search(&hash32).is_ok())
        })
    }
}

/// The first key that it may be about.
fn first(keys: &Keys) -> Option<&[u8]> {
    match keys {
        Keys::One(key) => Some(key),
        Keys::Between { from, .. } => from.as_deref(),
        Keys::Unknown => None,
    }
}
