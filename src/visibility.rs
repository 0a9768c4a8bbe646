//! Visibility: *the* place that says which version of a key a reader sees.
//!
//! A reader at sequence number `S` sees, of each key, the newest version whose number is at most `S`, and nothing if
//! that is a tombstone, or under a range delete that is newer than it and at most `S`. (The older versions are under
//! it, too: both kinds of delete end the search.) Forwards, versions come newest first: skip those beyond `S`, take
//! the first, skip the rest of the key. Backwards they come oldest first: the last one that is at most `S` before the
//! key changes.
//!
//! It remembers at most two versions of one key, and says so ([`Source::release`]) as soon as they stand on top.

#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::merging::{Merging, Source, Stretch};
use crate::ranges::{RangeDeletes, Walk};
use crate::record::{Kind, Seq};
use crate::sync::Arc;

/// A merge as a reader at one sequence number sees it: one live entry for each key.
#[derive(Debug)]
pub struct Visible<S: Source> {
    merging: Merging<S>,
    seq: Seq,
    /// Through the range deletes; none if there are none, so that those pay one branch an entry who use none.
    walk: Option<Walk>,
    current: Current,
    /// What it stands on, if that was passed.
    passed: Option<S::Entry>,
    skipped: Skipped,
}

/// Records that were stepped over although the reader's number is not before theirs: older versions, tombstones, and what
/// range deletes hide. It is these that a flush or a merge could clear away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// In the log.
    pub in_log: u64,
    /// In tables.
    pub in_tables: u64,
}

impl Skipped {
    #[inline]
    fn count(&mut self, source: &impl Source) {
        if source.is_in_log() {
            self.in_log += 1;
        } else {
            self.in_tables += 1;
        }
    }

    /// All of them.
    #[inline]
    pub fn all(&self) -> u64 {
        self.in_log + self.in_tables
    }
}

/// Where the entry is that it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Current {
    None,
    /// Where this source stands, which is still the merge's top: the step past it is left to the next move, which may meet
    /// damage there. Backwards only if the source has one version of each key, so that no newer one follows.
    Top(usize),
    /// This source has stepped past it.
    Passed(usize),
}

/// A version that a source stands on, or has stepped past.
#[derive(Clone, Copy, Debug)]
struct Version<E> {
    source: usize,
    entry: E,
    /// The reader's number is not before its.
    is_seen: bool,
    /// And it is a value.
    is_live: bool,
}

impl<S: Source> Visible<S> {
    /// What a reader at `seq` sees of `sources` under `ranges`; stands nowhere until the first seek.
    pub fn new(sources: Vec<S>, seq: Seq, ranges: Arc<RangeDeletes>) -> Visible<S> {
        let walk = (!ranges.is_empty()).then(|| Walk::new(ranges));
        let merging = Merging::new(sources);
        Visible { merging, seq, walk, current: Current::None, passed: None, skipped: Skipped::default() }
    }

    /// Does it stand on an entry?
    #[inline]
    pub fn is_on(&self) -> bool {
        self.current != Current::None
    }

    /// The entry it stands on: its source, and the entry if the source has passed it.
    #[inline]
    pub fn current(&self) -> Option<(&S, Option<&S::Entry>)> {
        match self.current {
            Current::None => None,
            Current::Top(source) => Some((self.merging.source(source), None)),
            Current::Passed(source) => Some((self.merging.source(source), self.passed.as_ref())),
        }
    }

    /// Its source, if it stands on an entry on which that source stands, too: so it mostly is.
    #[inline]
    pub fn top(&self) -> Option<&S> {
        match self.current {
            Current::Top(source) => Some(self.merging.source(source)),
            Current::Passed(_) | Current::None => None,
        }
    }

    /// The key of the entry it stands on, if its source has passed it; empty if there is none. Out of line: mostly it has not.
    #[inline(never)]
    pub fn key_passed(&self) -> &[u8] {
        match (self.current, &self.passed) {
            (Current::Passed(source), Some(entry)) => self.merging.source(source).key_of(entry),
            _ => &[],
        }
    }

    /// The key of the entry it stands on.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        match self.current {
            Current::Top(source) => Some(self.merging.source(source).key()),
            Current::Passed(source) => Some(self.merging.source(source).key_of(self.passed.as_ref()?)),
            Current::None => None,
        }
    }

    /// Lets go of all sources, and so of all entries: there are none from now on.
    pub fn let_go(&mut self) {
        self.leave();
        self.merging = Merging::new(Vec::new());
    }

    /// Stands nowhere.
    pub fn leave(&mut self) {
        self.current = Current::None;
    }

    /// Another one over the same sources and range deletes, at the same number, standing nowhere.
    pub fn fresh(&self) -> Visible<S>
    where
        S: Clone,
    {
        let merging = Merging::new(self.merging.sources().to_vec());
        let (walk, skipped) = (self.walk.clone(), Skipped::default());
        Visible { merging, seq: self.seq, walk, current: Current::None, passed: None, skipped }
    }

    /// What it has stepped over.
    #[inline]
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// What it has stepped over since it was asked last.
    pub fn take_skipped(&mut self) -> Skipped {
        std::mem::take(&mut self.skipped)
    }

    /// To the first entry, or the last.
    pub fn seek_to_end_of(&mut self, forward: bool) -> Result<()> {
        self.leave();
        self.merging.seek_to_end_of(forward)?;
        self.settle(forward)
    }

    /// To the first entry at or after `key`, or the last at or before it.
    pub fn seek(&mut self, key: &[u8], forward: bool) -> Result<()> {
        self.leave();
        self.merging.seek(key, forward, false)?;
        self.settle(forward)
    }

    /// To the next entry, or the one before. Does nothing if it stands on none.
    #[inline]
    pub fn step(&mut self, forward: bool) -> Result<()> {
        if let (Current::Top(source), true, None) = (self.current, forward, &self.walk)
            && let Some((leader, lead)) = self.merging.leader(true)
        {
            // One source, as in a store that has settled, or one that is before all others, and no version that is not to be seen: no
            // tournament, and nothing to remember.
            let left = leader.prefix();
            if let Err(failure) = leader.step(true) {
                self.leave();
                return Err(failure);
            }
            let prefix = leader.prefix();
            if leader.is_on()
                && prefix != left
                && prefix < lead
                && leader.kind() == Kind::Put
                && leader.seq() <= self.seq
            {
                leader.release();
                return Ok(());
            }
            return self.overtaken(source, left);
        }
        self.step_among_many(forward)
    }

    /// Shows `to` entries that follow the one it stands on, as far as a source that leads can do that by itself, and stands on the last
    /// that it showed. True: the answer to that one was no. Otherwise a [`step`](Visible::step) goes on.
    #[inline]
    pub fn visit(&mut self, forward: bool, to: &mut impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        if let (Current::Top(_), None) = (self.current, &self.walk)
            && let Some((leader, lead)) = self.merging.leader(forward)
        {
            // Backwards it has one version of each key, or it would have been stepped past what it stands on.
            return leader.visit(Stretch { forward, seq: self.seq, lead }, to);
        }
        false
    }

    /// `source`, which led, has stepped from a key with the prefix `left` to a record that needs a closer look.
    #[inline(never)]
    fn overtaken(&mut self, source: usize, left: u64) -> Result<()> {
        self.merging.replay();
        self.current = Current::None;
        self.settle_forward(Some((source, Some(left))))
    }

    /// As `step`, where there are many sources, or other versions than those to be seen; and backwards.
    #[inline(never)]
    fn step_among_many(&mut self, forward: bool) -> Result<()> {
        if let (Current::Top(source) | Current::Passed(source), false, None) = (self.current, forward, &self.walk)
            && let Some(only) = self.merging.only_backward()
        {
            if only.is_unique() {
                // As forwards. If it has passed what it stood on, it is where it must be.
                if self.current == Current::Top(source)
                    && let Err(failure) = only.step(false)
                {
                    self.leave();
                    return Err(failure);
                }
                if only.is_on() && only.kind() == Kind::Put && only.seq() <= self.seq {
                    only.release();
                    self.current = Current::Top(source);
                    return Ok(());
                }
                return self.settle_backward(None);
            }
            if let Some(entry) = only.entry() {
                // As forwards, but that the entry is stepped past, to see that no newer version follows.
                let prefix = only.prefix();
                let is_seen = only.seq() <= self.seq;
                let is_live = is_seen && only.kind() == Kind::Put;
                only.release();
                if let Err(failure) = only.step(false) {
                    self.leave();
                    return Err(failure);
                }
                if is_live && (!only.is_on() || only.prefix() != prefix) {
                    self.passed = Some(entry);
                    return Ok(());
                }
                return self.settle_backward(Some(Version { source, entry, is_seen, is_live }));
            }
        }
        if self.merging.is_forward() != forward {
            let Some(key) = self.key().map(<[u8]>::to_vec) else { return Ok(()) };
            self.leave();
            self.merging.seek(&key, forward, true)?;
        } else if !self.is_on() {
            return Ok(());
        }
        self.settle(forward)
    }

    #[inline]
    fn settle(&mut self, forward: bool) -> Result<()> {
        if !forward {
            return self.settle_backward(None);
        }
        // What is left now may have older versions on top.
        let mut stepped = None;
        if let Current::Top(left) = std::mem::replace(&mut self.current, Current::None) {
            stepped = Some((left, Some(self.merging.source(left).prefix())));
            self.merging.step()?;
        }
        self.settle_forward(stepped)
    }

    /// `stepped`: who stepped last; and the prefix of what it left, if that is a version of a key that needs no more looking at and may
    /// still be on top.
    fn settle_forward(&mut self, mut stepped: Option<(usize, Option<u64>)>) -> Result<()> {
        while let Some(top) = self.merging.top() {
            let source = self.merging.source(top);
            let mut passed = false;
            if let Some((left, done)) = stepped {
                passed = done == Some(source.prefix()) && source.key() == self.merging.source(left).key_left();
                // No other has stepped: from here on nothing is remembered but what its source stands on.
                self.merging.release_source(left);
            }
            let is_seen = self.merging.source(top).seq() <= self.seq;
            if !passed && is_seen && self.is_live(top) {
                self.current = Current::Top(top);
                return Ok(());
            }
            let mut done = None;
            if passed || is_seen {
                let source = self.merging.source(top);
                self.skipped.count(source);
                done = Some(source.prefix());
            }
            stepped = Some((top, done));
            self.merging.step()?;
        }
        Ok(())
    }

    /// The top is the oldest version of a key not yet looked at; or that is what was `looked_at`, and has been stepped past.
    fn settle_backward(&mut self, mut looked_at: Option<Version<S::Entry>>) -> Result<()> {
        self.current = Current::None;
        loop {
            let mut same = match looked_at.take() {
                Some(oldest) => oldest,
                None => {
                    self.merging.release();
                    let Some(oldest) = self.merging.top().and_then(|top| self.look_at(top)) else { return Ok(()) };
                    self.merging.step()?;
                    oldest
                }
            };
            while let Some(top) = self.merging.top() {
                let source = self.merging.source(top);
                if source.key() != self.merging.source(same.source).key_of(&same.entry) {
                    break;
                }
                if source.seq() <= self.seq {
                    if same.is_seen {
                        self.skipped.count(source);
                    }
                    let Some(newer) = self.look_at(top) else { break };
                    same = newer;
                    // It stands on top: nothing earlier is remembered.
                    self.merging.release();
                }
                self.merging.step()?;
            }
            if same.is_live {
                self.current = Current::Passed(same.source);
                self.passed = Some(same.entry);
                return Ok(());
            }
            if same.is_seen {
                self.skipped.count(self.merging.source(same.source));
            }
        }
    }

    /// The version on which a source stands.
    fn look_at(&mut self, number: usize) -> Option<Version<S::Entry>> {
        let source = self.merging.source(number);
        let (entry, is_seen) = (source.entry()?, source.seq() <= self.seq);
        Some(Version { source: number, entry, is_seen, is_live: is_seen && self.is_live(number) })
    }

    /// Does a reader see a value where a source stands, if nothing newer is to be seen?
    #[inline]
    fn is_live(&mut self, source: usize) -> bool {
        self.merging.source(source).kind() == Kind::Put && (self.walk.is_none() || !self.is_hidden(source))
    }

    /// Is what a source stands on under a range delete? Out of line: a scan without any keeps its loop short.
    #[inline(never)]
    fn is_hidden(&mut self, source: usize) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        let source = self.merging.source(source);
        walk.hides(source.key(), source.seq(), self.seq)
    }
}

/// Which versions a merge must keep: what a registered snapshot or a reader of now can see, and nothing else.
///
/// It is asked about the versions of one key after the other, newest first, and knows only what it was asked about: what it lets go is
/// shadowed by versions of the same merge, never by ones elsewhere, which might still be lost with an unsynced log.
///
/// 1. The newest version is what a reader of now sees.
/// 2. An older one is needed if a snapshot's number lies between it and the next newer one, and no range delete up to `limit`,
///    beyond which no snapshot reads, hides it from everybody.
/// 3. Where nothing older lies below (`bottom`), the newest version is not needed either, if it is a tombstone and no snapshot
///    sees beyond it, or if a range delete up to `limit` hides it.
///
/// Elsewhere even a newest version that nobody can see is kept: the point index has an entry for every key of the slices that it
/// covers, and without this one it would take an older version below for the newest.
#[derive(Debug)]
pub struct Retention {
    /// Registered numbers, ascending.
    snapshots: Vec<Seq>,
    ranges: Arc<RangeDeletes>,
    /// Range deletes up to here hide what they hide from every reader.
    limit: Seq,
    bottom: bool,
    /// Of the key at hand: the last version that was asked about.
    newer: Seq,
}

impl Retention {
    /// For a merge of records that are all visible and durable; `snapshots` ascending.
    pub fn new(snapshots: Vec<Seq>, ranges: Arc<RangeDeletes>, limit: Seq, bottom: bool) -> Retention {
        let limit = snapshots.first().map_or(limit, |oldest| limit.min(*oldest));
        Retention { snapshots, ranges, limit, bottom, newer: 0 }
    }

    /// Range deletes up to here have been applied to all that it kept.
    pub fn purged(&self) -> Seq {
        if self.bottom { self.limit } else { 0 }
    }

    /// Is a version of `key` needed? `newest`: it is the first of this key.
    #[inline]
    pub fn keeps(&mut self, newest: bool, key: &[u8], seq: Seq, kind: Kind) -> bool {
        let newer = std::mem::replace(&mut self.newer, seq);
        if newest && !self.bottom {
            return true;
        }
        if !self.ranges.is_empty() && self.ranges.purges(key, seq, self.limit) {
            return false;
        }
        if newest {
            return kind != Kind::Delete || self.snapshots.first().is_some_and(|s| *s < seq);
        }
        if self.snapshots.is_empty() {
            return false;
        }
        // The oldest snapshot that sees this version or a newer one: does it see the next newer one instead?
        let at = self.snapshots.partition_point(|s| *s < seq);
        self.snapshots.get(at).is_some_and(|s| *s < newer)
    }
}
