//! Visibility against a map that every write is applied to, at every sequence number.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use super::*;
use crate::ranges::RangeDelete;
use crate::ranges::tests::Random;

type Record = (Vec<u8>, Seq, Kind);

/// Records in order.
#[derive(Clone)]
struct List {
    items: Vec<Record>,
    at: Option<usize>,
    entry: Option<(usize, Seq, Kind)>,
    left: Option<usize>,
}

impl List {
    fn to(&mut self, at: Option<usize>) -> Result<()> {
        self.at = at;
        self.entry = at.and_then(|at| self.items.get(at).map(|item| (at, item.1, item.2)));
        Ok(())
    }
}

impl Source for List {
    type Entry = (usize, Seq, Kind);
    fn is_on(&self) -> bool {
        self.entry.is_some()
    }
    fn key(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], |entry| self.key_of(entry))
    }
    fn seq(&self) -> Seq {
        self.entry.map_or(0, |entry| entry.1)
    }
    fn kind(&self) -> Kind {
        self.entry.map_or(Kind::Put, |entry| entry.2)
    }
    fn entry(&self) -> Option<Self::Entry> {
        self.entry
    }
    /// Some keys share it, others do not.
    fn prefix(&self) -> u64 {
        self.key().first().map_or(0, |first| u64::from(*first) + 1)
    }
    fn is_unique(&self) -> bool {
        self.items.windows(2).all(|two| two[0].0 != two[1].0)
    }
    fn key_left(&self) -> &[u8] {
        self.left.map_or(&[], |left| &self.items[left].0)
    }
    fn key_of<'a>(&'a self, entry: &Self::Entry) -> &'a [u8] {
        &self.items[entry.0].0
    }
    fn step(&mut self, forward: bool) -> Result<()> {
        self.left = self.at;
        self.to(self.at.and_then(|at| if forward { at.checked_add(1) } else { at.checked_sub(1) }))
    }
    fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
        self.to(if forward { Some(0) } else { self.items.len().checked_sub(1) })
    }
    fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        self.to(if forward {
            self.items.iter().position(|i| if beyond { *i.0 > *key } else { *i.0 >= *key })
        } else {
            self.items.iter().rposition(|i| if beyond { *i.0 < *key } else { *i.0 <= *key })
        })
    }
}

/// Each key and the number of its value.
type Model = BTreeMap<Vec<u8>, Seq>;

/// Random writes, of which the n-th has the number n: the records, spread over sources; the range deletes; and what
/// there is after each, from before the first on.
fn history(random: &mut Random, writes: u64, with_ranges: bool) -> (Vec<List>, Arc<RangeDeletes>, Vec<Model>) {
    let mut sources = vec![List { items: Vec::new(), at: None, entry: None, left: None }; 1 + random.below(5) as usize];
    let (mut ranges, mut known) = (RangeDeletes::default(), Vec::new());
    let mut states = vec![Model::new()];
    for seq in 1..=writes {
        let mut now = states[states.len() - 1].clone();
        let kind = match random.below(10) {
            0 | 1 if with_ranges => Kind::DeleteRange,
            2 | 3 => Kind::Delete,
            _ => Kind::Put,
        };
        if kind == Kind::DeleteRange {
            let (start, stop) = random.range(&known);
            now.retain(|key, _| !(start <= *key && *key < stop));
            known.push(RangeDelete { start, stop, seq });
            ranges = ranges.with(known[known.len() - 1].clone());
        } else {
            let key = random.key();
            if kind == Kind::Put {
                now.insert(key.clone(), seq);
            } else {
                now.remove(&key);
            }
            let source = random.below(sources.len() as u64) as usize;
            sources[source].items.push((key, seq, kind));
        }
        states.push(now);
    }
    for source in &mut sources {
        source.items.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    }
    (sources, Arc::new(ranges), states)
}

fn at(visible: &Visible<List>) -> Option<(Vec<u8>, Seq)> {
    let (source, passed) = visible.current()?;
    let entry = passed.copied().or(source.entry())?;
    assert_eq!(visible.key(), Some(source.key_of(&entry)));
    Some((source.key_of(&entry).to_vec(), entry.1))
}

fn all(visible: &mut Visible<List>, forward: bool) -> Vec<(Vec<u8>, Seq)> {
    let mut seen = Vec::new();
    visible.seek_to_end_of(forward).unwrap();
    while let Some(entry) = at(visible) {
        seen.push(entry);
        visible.step(forward).unwrap();
    }
    seen
}

/// What a whole scan steps over is what it does not show, in both directions; what is newer than the reader counts for neither.
#[test]
fn what_is_stepped_over_is_counted() {
    let mut random = Random::new(51);
    for round in 0..300 {
        let (sources, ranges, _) = history(&mut random, 80, round % 2 == 0);
        let seq = random.below(81);
        let seen = sources.iter().flat_map(|source| &source.items).filter(|item| item.1 <= seq).count();
        let mut visible = Visible::new(sources, seq, ranges);
        for forward in [true, false, true] {
            let shown = all(&mut visible, forward).len();
            assert_eq!(visible.skipped().all() as usize, seen - shown, "{round}, {forward}");
            assert_eq!(visible.take_skipped().in_log, 0);
        }
        assert_eq!(visible.skipped(), Skipped::default());
    }
}

/// Seeks and steps at random, with turns; the map says where each must lead.
fn wander(visible: &mut Visible<List>, model: &Model, random: &mut Random) {
    let own = |(key, seq): (&Vec<u8>, &Seq)| (key.clone(), *seq);
    let mut place: Option<(Vec<u8>, Seq)> = at(visible);
    for _ in 0..60 {
        let forward = random.below(2) == 0;
        match random.below(8) {
            0 => {
                visible.seek_to_end_of(forward).unwrap();
                place = if forward { model.iter().next() } else { model.iter().next_back() }.map(own);
            }
            1 | 2 => {
                let key = random.key();
                visible.seek(&key, forward).unwrap();
                let key = key.as_slice();
                place = if forward {
                    model.range::<[u8], _>((Included(key), Unbounded)).next().map(own)
                } else {
                    model.range::<[u8], _>((Unbounded, Included(key))).next_back().map(own)
                };
            }
            _ => {
                visible.step(forward).unwrap();
                place = place.and_then(|(key, _)| {
                    let key = key.as_slice();
                    if forward {
                        model.range::<[u8], _>((Excluded(key), Unbounded)).next().map(own)
                    } else {
                        model.range::<[u8], _>((Unbounded, Excluded(key))).next_back().map(own)
                    }
                });
            }
        }
        assert_eq!(at(visible), place);
    }
}

/// At every number, in both directions and on any way, a reader sees what the map held after that many writes.
#[test]
fn a_reader_sees_the_state_at_its_number() {
    let mut random = Random::new(21);
    for round in 0..60 {
        let (sources, ranges, states) = history(&mut random, 40, round % 4 > 0);
        for (seq, model) in states.iter().enumerate() {
            let mut visible = Visible::new(sources.clone(), seq as Seq, Arc::clone(&ranges));
            let expected: Vec<_> = model.iter().map(|(key, seq)| (key.clone(), *seq)).collect();
            assert_eq!(all(&mut visible, true), expected, "round {round} at {seq}");
            assert_eq!(
                all(&mut visible, false).into_iter().rev().collect::<Vec<_>>(),
                expected,
                "round {round} at {seq}"
            );
            wander(&mut visible, model, &mut random);
            let mut fresh = visible.fresh();
            assert!(fresh.current().is_none(), "a fresh one stands nowhere");
            wander(&mut fresh, model, &mut random);
        }
    }
}

/// One source with one version of each key at most is walked without looking for another: what it shows and counts is the same.
#[test]
fn one_version_of_each_key_is_seen_alike() {
    let mut random = Random::new(77);
    let mut taken = 0;
    for round in 0..200 {
        let (mut sources, ranges, _) = history(&mut random, 40, false);
        let mut source = sources.swap_remove(0);
        source.items.dedup_by(|a, b| a.0 == b.0);
        taken += source.items.len();
        for seq in 0..=40 {
            let seen: Vec<_> = source.items.iter().filter(|item| item.1 <= seq).collect();
            let puts = seen.iter().filter(|item| item.2 == Kind::Put);
            let model: Model = puts.map(|item| (item.0.clone(), item.1)).collect();
            let expected: Vec<_> = model.iter().map(|(key, seq)| (key.clone(), *seq)).collect();
            let mut visible = Visible::new(vec![source.clone()], seq, Arc::clone(&ranges));
            for forward in [true, false] {
                let mut shown = all(&mut visible, forward);
                if !forward {
                    shown.reverse();
                }
                assert_eq!(shown, expected, "round {round} at {seq}");
                assert_eq!(visible.take_skipped().all() as usize, seen.len() - model.len(), "round {round} at {seq}");
            }
            wander(&mut visible, &model, &mut random);
        }
    }
    assert!(taken > 1000, "{taken}");
}

/// A put that a range delete hides hides the older ones, and a newer put is not hidden.
#[test]
fn a_hidden_version_ends_its_key() {
    let put = |seq| (b"k".to_vec(), seq, Kind::Put);
    let source = List { items: vec![put(7), put(3), put(1)], at: None, entry: None, left: None };
    let ranges = RangeDeletes::default().with(RangeDelete { start: b"a".to_vec(), stop: b"z".to_vec(), seq: 5 });
    let ranges = Arc::new(ranges);
    for (seq, seen) in [(1, Some(1)), (2, Some(1)), (4, Some(3)), (5, None), (6, None), (7, Some(7))] {
        let mut visible = Visible::new(vec![source.clone()], seq, Arc::clone(&ranges));
        for forward in [true, false] {
            visible.seek_to_end_of(forward).unwrap();
            assert_eq!(at(&visible).map(|(_, seq)| seq), seen, "at {seq}");
        }
    }
}
