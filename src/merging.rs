//! The k-way merge, in both directions: a tournament tree of losers over sorted sources.
//!
//! Order: keys ascending, versions of one key newest first; backwards the exact reverse. Each leaf is a source;
//! an inner node remembers the source that lost there, so that replacing the winner costs one comparison for each level
//! and none between losers (Knuth, The Art of Computer Programming 3, 5.4.1). Most comparisons are decided by eight
//! cached bytes of key; one source needs no tree at all.
//!
//! A turn, or a seek, positions every source anew and replays the whole tournament.

use std::cmp::Ordering;

use crate::error::Result;
use crate::record::{Kind, Seq};

/// Eight bytes of `key` from `skip` on as a number that compares as they do; zeros after its end.
#[inline]
pub fn prefix_after(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or(&[]);
    match rest.first_chunk::<8>() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => {
            let mut eight = [0; 8];
            eight[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(eight)
        }
    }
}

/// How many first bytes `a` and `b` share.
pub fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A sorted stream of records that can go both ways.
pub trait Source {
    /// One record; cheap to copy. Valid until the source is sought anew, or stands on another record and is told to
    /// [`release`](Source::release).
    type Entry: Copy;

    /// The record under the source, unless it ran out.
    fn entry(&self) -> Option<Self::Entry>;
    /// Eight bytes that order the record's key among all sources' keys, but for ties.
    fn prefix(&self) -> u64;
    /// A record's key.
    fn key_of<'a>(&'a self, entry: &Self::Entry) -> &'a [u8];
    /// A record's sequence number.
    fn seq_of(entry: &Self::Entry) -> Seq;
    /// What a record does.
    fn kind_of(entry: &Self::Entry) -> Kind;
    /// To the next record, or the one before.
    fn step(&mut self, forward: bool) -> Result<()>;
    /// To the first record (forward) or the last.
    fn seek_to_end_of(&mut self, forward: bool) -> Result<()>;
    /// Forward: to the first record whose key is at least `key` (or larger, if `beyond`).
    /// Backward: to the last whose key is at most `key` (or smaller, if `beyond`).
    fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()>;
    /// Nobody needs earlier entries any more, but the one that it stands on: what was kept for them may go.
    #[inline]
    fn release(&mut self) {}
}

/// Sources, merged.
#[derive(Debug)]
pub struct Merging<S> {
    sources: Vec<S>,
    /// `losers[i]` for `i` in `1..sources.len()`: who lost at node `i`; the children of node `i` are `2i` and `2i + 1`, leaf
    /// `s` is node `sources.len() + s`.
    losers: Vec<usize>,
    winner: usize,
    forward: bool,
    stepped: Stepped,
}

/// Which sources have left entries behind since the last release: mostly one, so that a release costs the same however many
/// there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stepped {
    None,
    One(usize),
    Many,
}

impl<S: Source> Merging<S> {
    /// Over `sources`; stands nowhere until the first seek.
    pub fn new(sources: Vec<S>) -> Merging<S> {
        let losers = vec![0; sources.len()];
        Merging { sources, losers, winner: 0, forward: true, stepped: Stepped::None }
    }

    /// The smallest (forward) or largest record of all sources, and whose it is.
    #[inline]
    pub fn top(&self) -> Option<(usize, S::Entry)> {
        Some((self.winner, self.sources.get(self.winner)?.entry()?))
    }

    /// All of them.
    pub fn sources(&self) -> &[S] {
        &self.sources
    }

    /// The source with this number.
    #[inline]
    pub fn source(&self, number: usize) -> &S {
        &self.sources[number]
    }

    /// Which way it goes.
    pub fn is_forward(&self) -> bool {
        self.forward
    }

    /// To the next record in the direction of the last seek.
    #[inline]
    pub fn step(&mut self) -> Result<()> {
        let winner = self.winner;
        self.stepped = match self.stepped {
            Stepped::None => Stepped::One(winner),
            Stepped::One(other) if other == winner => Stepped::One(winner),
            _ => Stepped::Many,
        };
        self.sources[winner].step(self.forward)?;
        let mut node = (self.sources.len() + winner) / 2;
        let mut winner = winner;
        while node > 0 {
            if self.beats(self.losers[node], winner) {
                std::mem::swap(&mut self.losers[node], &mut winner);
            }
            node /= 2;
        }
        self.winner = winner;
        Ok(())
    }

    /// Lets go of all entries but those that the sources stand on.
    #[inline]
    pub fn release(&mut self) {
        match self.stepped {
            Stepped::None => {}
            Stepped::One(source) => self.sources[source].release(),
            Stepped::Many => self.sources.iter_mut().for_each(S::release),
        }
        self.stepped = Stepped::None;
    }

    /// To the first record (forward) or the last (backward).
    pub fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
        self.forward = forward;
        for source in &mut self.sources {
            source.seek_to_end_of(forward)?;
        }
        self.play();
        Ok(())
    }

    /// As [`Source::seek`].
    pub fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
        self.forward = forward;
        for source in &mut self.sources {
            source.seek(key, forward, beyond)?;
        }
        self.play();
        Ok(())
    }

    /// Plays the whole tournament.
    fn play(&mut self) {
        let n = self.sources.len();
        // winners[i] for every node; leaves first, then towards the root.
        let mut winners: Vec<usize> = (0..2 * n).map(|node| node.saturating_sub(n)).collect();
        for node in (1..n).rev() {
            let (a, b) = (winners[2 * node], winners[2 * node + 1]);
            let a_wins = self.beats(a, b);
            winners[node] = if a_wins { a } else { b };
            self.losers[node] = if a_wins { b } else { a };
        }
        self.winner = winners.get(1).copied().unwrap_or(0);
    }

    /// Does source `a` come before source `b` in the present direction?
    #[inline]
    fn beats(&self, a: usize, b: usize) -> bool {
        let (left, right) = (&self.sources[a], &self.sources[b]);
        let (Some(x), Some(y)) = (left.entry(), right.entry()) else { return left.entry().is_some() };
        let order = left.prefix().cmp(&right.prefix()).then_with(|| Self::ties(left, &x, right, &y));
        if self.forward { order == Ordering::Less } else { order == Ordering::Greater }
    }

    #[cold]
    fn ties(left: &S, x: &S::Entry, right: &S, y: &S::Entry) -> Ordering {
        left.key_of(x).cmp(right.key_of(y)).then_with(|| S::seq_of(y).cmp(&S::seq_of(x)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Item = (&'static [u8], Seq);

    struct List {
        items: Vec<Item>,
        at: Option<usize>,
    }

    impl Source for List {
        type Entry = Item;
        fn entry(&self) -> Option<Item> {
            self.items.get(self.at?).copied()
        }
        fn prefix(&self) -> u64 {
            0
        }
        fn key_of<'a>(&'a self, entry: &Item) -> &'a [u8] {
            entry.0
        }
        fn seq_of(entry: &Item) -> Seq {
            entry.1
        }
        fn kind_of(_: &Item) -> Kind {
            Kind::Put
        }
        fn step(&mut self, forward: bool) -> Result<()> {
            self.at = self.at.and_then(|at| if forward { at.checked_add(1) } else { at.checked_sub(1) });
            Ok(())
        }
        fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
            self.at = if forward { Some(0) } else { self.items.len().checked_sub(1) };
            Ok(())
        }
        fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()> {
            self.at = if forward {
                self.items.iter().position(|i| if beyond { i.0 > key } else { i.0 >= key })
            } else {
                self.items.iter().rposition(|i| if beyond { i.0 < key } else { i.0 <= key })
            };
            Ok(())
        }
    }

    /// Every split of a sorted list over up to nine sources merges to that list, forwards and backwards.
    #[test]
    fn merging_is_sorting() {
        let keys: [&[u8]; 5] = [b"", b"a", b"aa", b"b", b"c"];
        let all: Vec<Item> = keys.iter().flat_map(|k| [(*k, 9), (*k, 4), (*k, 2)]).collect();
        for n in 0..10usize {
            for salt in 0..20 {
                let mut sources: Vec<List> = (0..n).map(|_| List { items: Vec::new(), at: None }).collect();
                for (i, item) in all.iter().enumerate() {
                    if n > 0 {
                        sources[(i * 7 + i * i * salt + salt) % n].items.push(*item);
                    }
                }
                let mut merging = Merging::new(sources);
                for forward in [true, false] {
                    merging.seek_to_end_of(forward).unwrap();
                    let mut seen = Vec::new();
                    while let Some((_, item)) = merging.top() {
                        seen.push(item);
                        merging.step().unwrap();
                    }
                    if !forward {
                        seen.reverse();
                    }
                    assert_eq!(seen, if n == 0 { Vec::new() } else { all.clone() }, "{n} sources, salt {salt}");
                }
            }
        }
    }
}
