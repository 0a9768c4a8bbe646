//! The k-way merge, in both directions: a tournament tree of losers over sorted sources.
//!
//! Order: keys ascending, versions of one key newest first; backwards the exact reverse. Each leaf is a source;
//! an inner node remembers the source that lost there, so that replacing the winner costs one comparison for each level
//! and none between losers (Knuth, The Art of Computer Programming 3, 5.4.1). Most comparisons are decided by eight
//! cached bytes of key, which stand in the tree; one source needs no tree at all.
//!
//! A source that won twice in a row often goes on to win: of a table and the little that was written since, the table. So the best of those that lost
//! to it is remembered, and while the source stays before that one it needs no tournament at all ([`Merging::leader`]).
//!
//! A turn, or a seek, positions every source anew and replays the whole tournament.

use std::cmp::Ordering;
use std::hint::select_unpredictable;

use crate::error::Result;
use crate::record::{Header, Kind, Seq};

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

/// Which records of a source that leads are entries, without a look at any other source: puts of the reader's number or before it, of other
/// keys than the one before, that come before what the other sources stand on. Backwards the source must be one with one version of each
/// key.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Which way.
    pub forward: bool,
    /// The reader's number.
    pub seq: Seq,
    /// Ranks below this one come before all other sources: forwards the prefix, backwards its complement.
    pub lead: u64,
}

impl Stretch {
    /// Is a record with this header and prefix an entry? `before`: the prefix of the one before it; `is_other`: whether its key is another
    /// one than that one's, which is asked only if the prefixes do not tell.
    #[inline(always)]
    pub fn has(&self, header: &Header, prefix: u64, before: u64, is_other: impl FnOnce() -> bool) -> bool {
        let rank = if self.forward { prefix } else { !prefix };
        header.kind == Kind::Put && header.seq() <= self.seq && rank < self.lead && (prefix != before || is_other())
    }
}

/// A sorted stream of records that can go both ways.
pub trait Source {
    /// A record, to come back to after the source has stepped on. Valid until the source is sought anew, or stands on another
    /// record and is told to [`release`](Source::release).
    type Entry: Copy;

    /// Does it stand on a record, or did it run out?
    fn is_on(&self) -> bool;
    /// Eight bytes that order the key it stands on among all sources' keys, but for ties.
    fn prefix(&self) -> u64;
    /// The key it stands on; empty if it ran out.
    fn key(&self) -> &[u8];
    /// The sequence number of the record it stands on.
    fn seq(&self) -> Seq;
    /// What the record it stands on does.
    fn kind(&self) -> Kind;
    /// The record it stands on, if any. Whoever wants no more than to look at it now is faster without.
    fn entry(&self) -> Option<Self::Entry>;
    /// The key of the record that it stood on before its last step, unless it was told to [`release`](Source::release) since.
    fn key_left(&self) -> &[u8];
    /// A record's key.
    fn key_of<'a>(&'a self, entry: &Self::Entry) -> &'a [u8];
    /// To the next record, or the one before.
    fn step(&mut self, forward: bool) -> Result<()>;
    /// Shows `to` the records that follow the one it stands on, one by one, and stands on the last that it showed, or on the one to which
    /// the answer was no: then it says true. It ends before a record that has to be looked at by whoever merges (see [`Stretch`]), is out
    /// of easy reach, or is damaged; a step from there tells. A source may always end at once.
    #[inline]
    fn visit(&mut self, _stretch: Stretch, _to: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        false
    }
    /// To the first record (forward) or the last.
    fn seek_to_end_of(&mut self, forward: bool) -> Result<()>;
    /// Forward: to the first record whose key is at least `key` (or larger, if `beyond`).
    /// Backward: to the last whose key is at most `key` (or smaller, if `beyond`).
    fn seek(&mut self, key: &[u8], forward: bool, beyond: bool) -> Result<()>;
    /// The next call will be [`seek`](Source::seek) with the same arguments: what it will read may be asked for from memory, so that several
    /// sources wait for it together.
    #[inline]
    fn approach(&mut self, _key: &[u8], _forward: bool, _beyond: bool) {}
    /// Nobody needs earlier entries any more, but the one that it stands on: what was kept for them may go.
    #[inline]
    fn release(&mut self) {}
    /// Is it a part of the log, and not of tables?
    #[inline]
    fn is_in_log(&self) -> bool {
        false
    }
    /// Is it known to have one version of each key at most?
    #[inline]
    fn is_unique(&self) -> bool {
        false
    }
}

/// Sources, merged.
#[derive(Debug)]
pub struct Merging<S> {
    sources: Vec<S>,
    /// `losers[i]` for `i` in `1..sources.len()`: who lost at node `i`; the children of node `i` are `2i` and `2i + 1`, leaf
    /// `s` is node `sources.len() + s`. One source alone is a leaf without a node above it.
    losers: Vec<Contender>,
    winner: Contender,
    /// The smallest rank among those that lost to the winner, if that is known; else 0, below which nobody is.
    lead: u64,
    forward: bool,
}

/// A source in the tournament, and what mostly decides: so a comparison touches no source, and is one of two words. Its
/// outcome can't be foreseen, so what follows from it must not be a branch: one that was cost 15 of 110 ns a record.
#[derive(Clone, Copy, Debug, Default)]
struct Contender {
    /// The smaller comes first: the prefix, or backwards its complement; of a source that ran out the largest that there is.
    rank: u64,
    source: u64,
}

impl<S: Source> Merging<S> {
    /// Over `sources`; stands nowhere until the first seek.
    pub fn new(sources: Vec<S>) -> Merging<S> {
        let losers = if sources.len() > 1 { vec![Contender::default(); sources.len()] } else { Vec::new() };
        Merging { sources, losers, winner: Contender::default(), lead: 0, forward: true }
    }

    /// The source that stands on the smallest (forward) or largest record of all.
    #[inline]
    pub fn top(&self) -> Option<usize> {
        let source = self.winner.source as usize;
        self.sources.get(source)?.is_on().then_some(source)
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

    /// The only source, if it goes backwards: whoever steps it needs no tournament.
    #[inline]
    pub fn only_backward(&mut self) -> Option<&mut S> {
        match &mut *self.sources {
            [only] if !self.forward => Some(only),
            _ => None,
        }
    }

    /// The source on top, if it goes this way and is known to lead: for as long as its [`prefix`](Source::prefix) (backwards, the
    /// complement) is smaller than the number that comes with it, it may be stepped by itself and stays on top. When it is not any more,
    /// [`replay`](Merging::replay) must follow.
    #[inline]
    pub fn leader(&mut self, forward: bool) -> Option<(&mut S, u64)> {
        match &mut *self.sources {
            _ if self.forward != forward => None,
            // Without a look at who it is: that costs 4 % of a scan.
            [only] => Some((only, u64::MAX)),
            many if self.lead > 0 => Some((many.get_mut(self.winner.source as usize)?, self.lead)),
            _ => None,
        }
    }

    /// Which way it goes.
    pub fn is_forward(&self) -> bool {
        self.forward
    }

    /// To the next record in the direction of the last seek. Does nothing at the end.
    #[inline]
    pub fn step(&mut self) -> Result<()> {
        let Some(source) = self.sources.get_mut(self.winner.source as usize) else { return Ok(()) };
        source.step(self.forward)?;
        self.replay();
        Ok(())
    }

    /// The source on top has stepped: who is it now?
    #[inline]
    pub fn replay(&mut self) {
        let number = self.winner.source;
        let Some(source) = self.sources.get(number as usize) else { return };
        let mut winner = contender(source, number, self.forward);
        let mut node = (self.sources.len() + number as usize) / 2;
        // If it is the same, it has met all whom only it beats.
        let mut lead = u64::MAX;
        while node > 0 {
            let loser = self.losers[node];
            lead = lead.min(loser.rank);
            let beaten = if loser.rank == winner.rank { self.ties(loser, winner) } else { loser.rank < winner.rank };
            self.losers[node] = select_unpredictable(beaten, winner, loser);
            winner = select_unpredictable(beaten, loser, winner);
            node /= 2;
        }
        self.winner = winner;
        self.lead = if winner.source == number { lead } else { 0 };
    }

    /// Lets go of all entries but those that the sources stand on.
    #[inline]
    pub fn release(&mut self) {
        self.sources.iter_mut().for_each(S::release);
    }

    /// Lets go of the entries of one source but that which it stands on: enough where no other has stepped.
    #[inline]
    pub fn release_source(&mut self, number: usize) {
        self.sources[number].release();
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
        if self.sources.len() > 1 {
            self.sources.iter_mut().for_each(|source| source.approach(key, forward, beyond));
        }
        for source in &mut self.sources {
            source.seek(key, forward, beyond)?;
        }
        self.play();
        Ok(())
    }

    /// Plays the whole tournament.
    fn play(&mut self) {
        let n = self.sources.len();
        self.lead = if n == 1 { u64::MAX } else { 0 };
        self.losers.fill(NOBODY);
        'leaves: for number in 0..n {
            let mut winner = contender(&self.sources[number], number as u64, self.forward);
            let mut node = (n + number) / 2;
            while node > 0 {
                let other = self.losers[node];
                if other.source == NOBODY.source {
                    // Whoever comes up the other side plays against it.
                    self.losers[node] = winner;
                    continue 'leaves;
                }
                let beaten =
                    if other.rank == winner.rank { self.ties(other, winner) } else { other.rank < winner.rank };
                self.losers[node] = if beaten { winner } else { other };
                winner = if beaten { other } else { winner };
                node /= 2;
            }
            self.winner = winner;
        }
    }

    /// Does `a` come before `b`, if their ranks don't say?
    #[cold]
    fn ties(&self, a: Contender, b: Contender) -> bool {
        let (a, b) = (&self.sources[a.source as usize], &self.sources[b.source as usize]);
        if !a.is_on() || !b.is_on() {
            return a.is_on();
        }
        let order = a.key().cmp(b.key()).then_with(|| b.seq().cmp(&a.seq()));
        if self.forward { order == Ordering::Less } else { order == Ordering::Greater }
    }
}

/// At a node to which none has come yet.
const NOBODY: Contender = Contender { rank: u64::MAX, source: u64::MAX };

#[inline]
fn contender<S: Source>(source: &S, number: u64, forward: bool) -> Contender {
    let rank = if forward { source.prefix() } else { !source.prefix() };
    Contender { rank: if source.is_on() { rank } else { u64::MAX }, source: number }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Item = (&'static [u8], Seq);

    struct List {
        items: Vec<Item>,
        at: Option<usize>,
        left: Option<usize>,
    }

    impl Source for List {
        type Entry = Item;
        fn is_on(&self) -> bool {
            self.entry().is_some()
        }
        fn key(&self) -> &[u8] {
            self.entry().map_or(&[], |item| item.0)
        }
        fn seq(&self) -> Seq {
            self.entry().map_or(0, |item| item.1)
        }
        fn kind(&self) -> Kind {
            Kind::Put
        }
        fn entry(&self) -> Option<Item> {
            self.items.get(self.at?).copied()
        }
        /// Some keys share it, others do not.
        fn prefix(&self) -> u64 {
            self.key().first().map_or(0, |first| u64::from(*first) + 1)
        }
        fn key_left(&self) -> &[u8] {
            self.left.map_or(&[], |left| self.items[left].0)
        }
        fn key_of<'a>(&'a self, entry: &Item) -> &'a [u8] {
            entry.0
        }
        fn step(&mut self, forward: bool) -> Result<()> {
            self.left = self.at;
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
                let mut sources: Vec<List> = (0..n).map(|_| List { items: Vec::new(), at: None, left: None }).collect();
                for (i, item) in all.iter().enumerate() {
                    if n > 0 {
                        sources[(i * 7 + i * i * salt + salt) % n].items.push(*item);
                    }
                }
                let mut merging = Merging::new(sources);
                for forward in [true, false] {
                    merging.seek_to_end_of(forward).unwrap();
                    let mut seen = Vec::new();
                    while let Some(source) = merging.top() {
                        seen.push(merging.source(source).entry().unwrap());
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

    /// A leader that is stepped by itself for as long as it may be: the order is the same, and long stretches of one source take no tournament.
    #[test]
    fn a_leader_goes_on_alone() {
        // Two keys share each first byte, which is what `prefix` looks at.
        const TEXT: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let keys: Vec<&'static [u8]> = (0..TEXT.len() - 1).flat_map(|i| [&TEXT[i..i + 1], &TEXT[i..i + 2]]).collect();
        let (mut alone, mut all) = (0, 0);
        for n in 1..6u64 {
            for salt in 0..40u64 {
                let mut sources: Vec<List> = (0..n).map(|_| List { items: Vec::new(), at: None, left: None }).collect();
                let mut wanted = Vec::new();
                for (i, &key) in (0u64..).zip(&keys) {
                    // Most of them in the first.
                    let hash = (i + 1).wrapping_mul(0x9e37_79b9 + 2 * salt) >> 4;
                    let source = if hash.is_multiple_of(4) { hash / 4 % n } else { 0 };
                    sources[source as usize].items.push((key, i));
                    wanted.push((key, i));
                }
                let mut merging = Merging::new(sources);
                merging.seek_to_end_of(true).unwrap();
                let mut seen = Vec::new();
                while let Some(top) = merging.top() {
                    seen.push(merging.source(top).entry().unwrap());
                    all += 1;
                    let Some((leader, lead)) = merging.leader(true) else {
                        merging.step().unwrap();
                        continue;
                    };
                    leader.step(true).unwrap();
                    if leader.is_on() && leader.prefix() < lead {
                        alone += 1;
                        assert_eq!(merging.top(), Some(top));
                    } else {
                        merging.replay();
                    }
                }
                assert_eq!(seen, wanted, "{n} sources, salt {salt}");
            }
        }
        assert!(alone > all / 3, "{alone} of {all}");
    }
}
