//! The tables: which of their records are lost, and what that puts in doubt.
//!
//! A gap lies between two good records, so its keys lie between theirs. The table's hash pages, if they are good, say more: they list the
//! newest version of every key, by hash and place. So they tell
//!
//! * that nothing is lost but older versions, which nobody sees: no entry leads into the gap;
//! * the key of a lost record, if what stands there has the very hash;
//! * else the hashes of the lost keys: other keys are in no doubt.
//!
//! With a good manifest the slices count, and what a gap may hold outside of them does not.

use std::collections::BTreeMap;
use std::ops::Range;

use super::logs::Logged;
use super::{Doubt, Keys, LeftOut, Repair, behind, is_of_this_machine};
use crate::error::Result;
use crate::lenient::Lenient;
use crate::manifest::SliceState;
use crate::record::SEQ_MAX;
use crate::table::Meta;
use crate::table::salvage::{Piece, Wreck};

/// A part of a table that counts.
#[derive(Clone, Debug)]
pub struct Slice {
    pub table: u64,
    pub low: Option<Vec<u8>>,
    pub high: Option<Vec<u8>>,
}

/// Slices whose keys ascend: one sorted source.
#[derive(Debug)]
pub struct Chain {
    pub slices: Vec<Slice>,
}

/// All sources that are tables.
#[derive(Debug, Default)]
pub struct Chains {
    pub wrecks: BTreeMap<u64, Wreck>,
    pub chains: Vec<Chain>,
}

/// Where records are lost.
#[derive(Debug)]
struct Gap {
    at: Range<u64>,
    /// The keys that it may have held.
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
}

impl Repair<'_> {
    /// Goes through the tables that count; `found` are those that are there.
    pub fn tables(&mut self, found: &[u64]) -> Result<Chains> {
        let known = self.state.tables.clone();
        let mut chains = Chains::default();
        if self.is_guess {
            for number in found {
                self.table(*number, None, &[whole(*number)], &mut chains)?;
            }
            chains.chains = chained(&chains.wrecks);
            return Ok(chains);
        }
        let slice_of =
            |slice: &SliceState| Slice { table: slice.table, low: slice.low.clone(), high: slice.high.clone() };
        let mut lives: BTreeMap<u64, Vec<Slice>> = BTreeMap::new();
        for run in &self.state.runs {
            let slices: Vec<Slice> = run.slices.iter().map(slice_of).collect();
            for slice in &slices {
                lives.entry(slice.table).or_default().push(slice.clone());
            }
            chains.chains.push(Chain { slices });
        }
        for (number, meta) in &known {
            let lives = lives.get(number).map_or(&[][..], Vec::as_slice);
            self.table(*number, Some(meta), lives, &mut chains)?;
        }
        Ok(chains)
    }

    fn table(&mut self, number: u64, meta: Option<&Meta>, lives: &[Slice], chains: &mut Chains) -> Result<()> {
        let (database, hash_seed) = (self.state.database, self.state.hash_seed);
        let wreck = match Wreck::open(self.env, self.dir, database, hash_seed, number, meta) {
            Ok(wreck) => wreck,
            Err(failure) if is_of_this_machine(&failure) => return Err(failure),
            Err(failure) => {
                self.lose_table(number, meta, lives, &failure.to_string());
                return Ok(());
            }
        };
        self.report.files += 1;
        for (at, what) in &wreck.notes {
            self.report.warnings.push(format!("{}: offset {at}: {what}", wreck.path.display()));
        }
        match self.gaps(&wreck)? {
            Some(gaps) => {
                self.gaps_in_doubt(&wreck, &gaps, lives)?;
                chains.wrecks.insert(number, wreck);
            }
            None => {
                let why = "it is another table: nothing in it is damaged, and it has not as many records as it should";
                self.lose_table(number, wreck.meta.as_ref(), lives, why);
            }
        }
        Ok(())
    }

    /// Lists a table, nothing of which counts.
    fn lose_table(&mut self, number: u64, meta: Option<&Meta>, lives: &[Slice], why: &str) {
        let path = self.dir.join(crate::table::name(number));
        for slice in lives {
            let gap = Gap {
                at: 0..meta.map_or(0, |meta| meta.len),
                from: meta.map(|meta| meta.smallest.clone()),
                to: meta.map(|meta| behind(&meta.largest)),
            };
            let keys = clipped(&gap, slice);
            let lost = LeftOut {
                file: path.clone(),
                from: 0,
                to: gap.at.end,
                why: format!("the table can't be used: {why}"),
                keys: Keys::Unknown,
                records: meta.map(|meta| meta.records),
                seqs: meta.map(|meta| (meta.first_seq, meta.last_seq)),
            };
            self.lose(keys, None, lost);
        }
    }

    /// Reads the table once. None: it has no gap, and is not the table that it should be.
    fn gaps(&self, wreck: &Wreck) -> Result<Option<Vec<Gap>>> {
        let mut records = wreck.records(self.env)?;
        let smallest = wreck.meta.as_ref().map(|meta| meta.smallest.clone());
        let largest = wreck.meta.as_ref().map(|meta| behind(&meta.largest));
        let (mut gaps, mut count) = (Vec::new(), 0);
        // From here on it may hold keys.
        let mut from = smallest;
        let mut open: Option<Range<u64>> = None;
        while let Some(piece) = records.next()? {
            match piece {
                Piece::Gap(at) => open = Some(open.map_or(at.clone(), |open| open.start..at.end)),
                Piece::Record(record) => {
                    if let Some(at) = open.take() {
                        gaps.push(Gap { at, from: from.take(), to: Some(behind(&record.key)) });
                    }
                    from = Some(behind(&record.key));
                    count += 1;
                }
            }
        }
        if let Some(at) = open {
            gaps.push(Gap { at, from, to: largest });
        }
        let is_another = gaps.is_empty() && wreck.meta.as_ref().is_some_and(|meta| meta.records != count);
        Ok((!is_another).then_some(gaps))
    }

    fn gaps_in_doubt(&mut self, wreck: &Wreck, gaps: &[Gap], lives: &[Slice]) -> Result<()> {
        if gaps.is_empty() {
            return Ok(());
        }
        let places: Vec<_> = gaps.iter().map(|gap| gap.at.clone()).collect();
        let mut file = Lenient::open(self.env, &wreck.path)?;
        let listed = wreck.keys_in(&mut file, &places)?;
        for gap in gaps {
            let mut named = Vec::new();
            let mut nameless: Option<Vec<u32>> = None;
            if let Some(listed) = &listed {
                let hashes = nameless.insert(Vec::new());
                let first = listed.partition_point(|(_, offset)| *offset < gap.at.start);
                for (hash32, offset) in listed[first..].iter().take_while(|(_, offset)| *offset < gap.at.end) {
                    match wreck.key_at(&mut file, *offset, *hash32)?.filter(|key| gap.keys().covers(key)) {
                        Some(key) => named.push((*offset, key)),
                        None => hashes.push(*hash32),
                    }
                }
                hashes.sort_unstable();
                if named.is_empty() && hashes.is_empty() {
                    let (path, at) = (wreck.path.display(), &gap.at);
                    let note =
                        format!("{path}: {}..{}: damaged, and nothing was there that anybody sees", at.start, at.end);
                    self.report.warnings.push(note);
                    continue;
                }
            }
            for slice in lives {
                let lost = |from: u64, records: Option<u64>| LeftOut {
                    file: wreck.path.clone(),
                    from,
                    to: gap.at.end,
                    why: "damaged".to_owned(),
                    keys: Keys::Unknown,
                    records,
                    seqs: None,
                };
                let last_seq = wreck.meta.as_ref().map_or(SEQ_MAX, |meta| meta.last_seq);
                for (offset, key) in named.iter().filter(|(_, key)| slice.holds(key)) {
                    let keys = Some(Keys::One(key.clone()));
                    self.lose_up_to(keys, None, last_seq, lost(*offset, Some(1)));
                }
                if nameless.as_ref().is_none_or(|hashes| !hashes.is_empty()) {
                    let records = nameless.as_ref().map(|hashes| hashes.len() as u64);
                    let lost = lost(gap.at.start, records);
                    self.lose_up_to(clipped(gap, slice), nameless.clone(), last_seq, lost);
                }
            }
        }
        Ok(())
    }

    fn lose(&mut self, keys: Option<Keys>, hashes: Option<Vec<u32>>, lost: LeftOut) {
        let last_seq = lost.seqs.map_or(SEQ_MAX, |(_, last)| last);
        self.lose_up_to(keys, hashes, last_seq, lost);
    }

    /// Lists `lost`, and doubts what is older. Nothing if it is about no key.
    fn lose_up_to(&mut self, keys: Option<Keys>, hashes: Option<Vec<u32>>, last_seq: u64, lost: LeftOut) {
        let Some(keys) = keys else { return };
        // Without a manifest a table that says nothing of itself may have held any key. If all of them were doubted nothing would be
        // left; there, as for logs, the list says so.
        if !self.is_guess || hashes.is_some() || keys.is_bounded() {
            let place = format!("{} at {}", lost.file.display(), lost.from);
            self.doubts.push(Doubt::new(keys.clone(), hashes, last_seq, place));
        }
        self.report.left_out.push(LeftOut { keys, ..lost });
    }

    /// Is there a table that the manifest does not name, with writes that are neither in its tables nor in the logs? Logs go only after the
    /// manifest names the table that they went to. So the manifest is an older one, or a power cut that came in the middle of a flush
    /// took the end of a log. Says which table.
    pub fn newer_than_manifest(&self, found: &[u64], logged: &Logged) -> Result<Option<String>> {
        let (database, hash_seed) = (self.state.database, self.state.hash_seed);
        for number in found.iter().filter(|number| !self.is_guess && !self.state.tables.contains_key(number)) {
            match Wreck::open(self.env, self.dir, database, hash_seed, *number, None) {
                Ok(Wreck { meta: Some(meta), .. })
                    if !logged.has(meta.first_seq.max(self.state.flushed_seq + 1), meta.last_seq) =>
                {
                    return Ok(Some(crate::table::name(*number)));
                }
                Err(failure) if is_of_this_machine(&failure) => return Err(failure),
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Gap {
    fn keys(&self) -> Keys {
        Keys::Between { from: self.from.clone(), to: self.to.clone() }
    }
}

impl Slice {
    /// Is `key` within its bounds?
    pub fn holds(&self, key: &[u8]) -> bool {
        self.low.as_deref().is_none_or(|low| low <= key) && self.high.as_deref().is_none_or(|high| key < high)
    }
}

/// All of a table.
fn whole(table: u64) -> Slice {
    Slice { table, low: None, high: None }
}

/// The keys of a gap that count in `slice`. None: there are none.
fn clipped(gap: &Gap, slice: &Slice) -> Option<Keys> {
    let from = gap.from.as_ref().max(slice.low.as_ref());
    let to = match (&gap.to, &slice.high) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.as_ref().or(b.as_ref()),
    };
    let is_empty = from.zip(to).is_some_and(|(from, to)| from >= to);
    (!is_empty).then(|| Keys::Between { from: from.cloned(), to: to.cloned() })
}

/// As few chains as there must be of tables that nobody has put in order; one that does not say what it holds is one of its own.
fn chained(wrecks: &BTreeMap<u64, Wreck>) -> Vec<Chain> {
    let mut known: Vec<(u64, &Meta)> =
        wrecks.iter().filter_map(|(number, wreck)| Some((*number, wreck.meta.as_ref()?))).collect();
    known.sort_by(|a, b| a.1.smallest.cmp(&b.1.smallest));
    let mut chains: Vec<(Vec<u8>, Chain)> = Vec::new();
    for (number, meta) in known {
        match chains.iter_mut().find(|(last, _)| *last < meta.smallest) {
            Some((last, chain)) => {
                *last = meta.largest.clone();
                chain.slices.push(whole(number));
            }
            None => chains.push((meta.largest.clone(), Chain { slices: vec![whole(number)] })),
        }
    }
    let unknown = wrecks.iter().filter(|(_, wreck)| wreck.meta.is_none());
    let alone = unknown.map(|(number, _)| Chain { slices: vec![whole(*number)] });
    chains.into_iter().map(|(_, chain)| chain).chain(alone).collect()
}
