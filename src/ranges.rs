//! Range deletes: which keys were deleted as a range, and up to which number.
//!
//! A range delete has one sequence number `r`. It hides every record with `start <= key < stop` and a number below `r`,
//! from every reader at `r` or later. It touches no record: whoever is about to show one asks here. Ranges overlap as
//! users like, and nobody wants to try all of them, so a list has two shapes:
//!
//! ```text
//! deletes      [a.............................q)        5      what was asked for, oldest first
//!                       [f...........................w) 8
//!                       [f........k)                    3
//!
//! fragments    [a......f)[f......k)[k.........q)[q...w)        disjoint, ascending, none empty
//!                  5       8 5 3       8 5        8            the numbers that cover it, newest first
//! ```
//!
//! 1. The bounds of the deletes are the bounds of the fragments, and no other key is. So the fragments depend on what was
//!    deleted and not on the order in which it came.
//! 2. A key is looked up by binary search: only the first fragment that ends after it can cover it. The newest number
//!    there that the reader may see decides. The older ones hide less.
//! 3. A list never changes: [`with`](RangeDeletes::with) and [`without`](RangeDeletes::without) make another. Adding cuts
//!    the fragments in which the new range starts and ends, puts its number on those between, and fills the gaps; all
//!    others are shared by the two lists, a pointer each. Removing sweeps over the bounds of what is left.
//! 4. A scan asks for one key after another, and fragments are wide. A [`Walk`] remembers the fragment, or the gap, around
//!    the last key: while the keys stay there two comparisons answer, and whoever leaves it mostly comes to its
//!    neighbour.
//!
//! A record that is newer than every delete is answered by one comparison of numbers.
//!
//! What it costs: a fragment has a number for each delete that covers it. Ranges that mostly lie apart need memory in
//! proportion to their number; `n` ranges that all cover one another need `n` squared, so whoever keeps a list drops
//! deletes that nobody needs any more.

#[cfg(test)]
pub(crate) mod tests;

use crate::record::Seq;
use crate::sync::Arc;

/// The keys from `start` up to but without `stop` are deleted, as far as they are older than `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeDelete {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key that is not deleted any more.
    pub stop: Vec<u8>,
    /// When.
    pub seq: Seq,
}

/// An interval of keys that the same deletes cover.
#[derive(Debug, PartialEq, Eq)]
struct Fragment {
    start: Arc<[u8]>,
    stop: Arc<[u8]>,
    /// Newest first; at least one.
    seqs: Box<[Seq]>,
}

impl Fragment {
    fn new(start: &Arc<[u8]>, stop: &Arc<[u8]>, seqs: &[Seq]) -> Arc<Fragment> {
        Arc::new(Fragment { start: Arc::clone(start), stop: Arc::clone(stop), seqs: seqs.into() })
    }

    /// The newest number that is at most `seq`.
    #[inline]
    fn newest(&self, seq: Seq) -> Option<Seq> {
        self.seqs.get(self.seqs.partition_point(|r| *r > seq)).copied()
    }
}

/// The live range deletes, at one moment. Immutable; a copy costs a pointer for each.
#[derive(Clone, Debug, Default)]
pub struct RangeDeletes {
    /// Oldest first.
    deletes: Vec<Arc<RangeDelete>>,
    /// Disjoint, ascending.
    fragments: Vec<Arc<Fragment>>,
    /// The newest delete's number; 0 if there is none.
    newest: Seq,
}

/// What readers ask.
impl RangeDeletes {
    /// Is there none? One load: all that range deletes cost a read of a store without them.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.deletes.is_empty()
    }

    /// The newest delete of `key` that a reader at `seq` sees.
    pub fn newest_over(&self, key: &[u8], seq: Seq) -> Option<Seq> {
        let at = self.fragments.partition_point(|f| *f.stop <= *key);
        let fragment = self.fragments.get(at).filter(|f| *f.start <= *key)?;
        fragment.newest(seq)
    }

    /// Is the record of `key` with the number `record_seq` hidden from a reader at `seq`?
    #[inline]
    pub fn hides(&self, key: &[u8], record_seq: Seq, seq: Seq) -> bool {
        record_seq < self.newest && self.newest_over(key, seq).is_some_and(|r| record_seq < r)
    }
}

/// What the engine does with a list.
impl RangeDeletes {
    /// How many deletes.
    pub fn len(&self) -> usize {
        self.deletes.len()
    }

    /// Memory, in bytes, as if nothing were shared with other lists.
    pub fn bytes(&self) -> usize {
        let of_delete = |d: &Arc<RangeDelete>| size_of::<RangeDelete>() + d.start.len() + d.stop.len();
        let of_fragment =
            |f: &Arc<Fragment>| size_of::<Fragment>() + f.start.len() + f.stop.len() + size_of_val(&*f.seqs);
        let pointers = (self.deletes.len() + self.fragments.len()) * size_of::<usize>();
        pointers + self.deletes.iter().map(of_delete).chain(self.fragments.iter().map(of_fragment)).sum::<usize>()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &RangeDelete> {
        self.deletes.iter().map(|delete| &**delete)
    }

    /// Those of some key from `low` up to but without `high`, as far as given; oldest first.
    #[cfg(test)]
    pub fn overlaps(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> impl Iterator<Item = &RangeDelete> {
        self.iter().filter(move |delete| {
            let (start, stop) = (delete.start.as_slice(), delete.stop.as_slice());
            let start = low.map_or(start, |low| low.max(start));
            let stop = high.map_or(stop, |high| high.min(stop));
            start < stop
        })
    }

    /// May a merge drop the record of `key` with the number `record_seq`, if every reader, now and later, is at `limit`
    /// or beyond?
    pub fn purges(&self, key: &[u8], record_seq: Seq, limit: Seq) -> bool {
        // A reader at `limit` is the one from whom the fewest deletes hide.
        self.hides(key, record_seq, limit)
    }

    /// This list and one more delete. A delete of no key, and one that is there already, changes nothing.
    pub fn with(&self, delete: RangeDelete) -> RangeDeletes {
        let at = self.deletes.partition_point(|d| d.seq <= delete.seq);
        let (older, newer) = self.deletes.split_at(at);
        let known = older.iter().rev().take_while(|d| d.seq == delete.seq).any(|d| **d == delete);
        if known || delete.start >= delete.stop {
            return self.clone();
        }
        let fragments = self.fragments_with(&delete);
        let newest = self.newest.max(delete.seq);
        let mut deletes = Vec::with_capacity(self.deletes.len() + 1);
        deletes.extend_from_slice(older);
        deletes.push(Arc::new(delete));
        deletes.extend_from_slice(newer);
        RangeDeletes { deletes, fragments, newest }
    }

    /// The fragments, cut and numbered for one more delete.
    fn fragments_with(&self, delete: &RangeDelete) -> Vec<Arc<Fragment>> {
        let (start, stop): (Arc<[u8]>, Arc<[u8]>) = (delete.start.as_slice().into(), delete.stop.as_slice().into());
        let alone = [delete.seq];
        let first = self.fragments.partition_point(|f| *f.stop <= *start);
        let (before, rest) = self.fragments.split_at(first);
        let (within, after) = rest.split_at(rest.partition_point(|f| *f.start < *stop));
        // At most two are cut in three, and a gap goes before each and after the last.
        let mut out = Vec::with_capacity(self.fragments.len() + within.len() + 3);
        out.extend_from_slice(before);
        // The new range is done up to here.
        let mut at = &start;
        for old in within {
            if old.start < *at {
                out.push(Fragment::new(&old.start, at, &old.seqs));
            } else if *at < old.start {
                out.push(Fragment::new(at, &old.start, &alone));
                at = &old.start;
            }
            let end = (&old.stop).min(&stop);
            let place = old.seqs.partition_point(|r| *r > delete.seq);
            let (newer, older) = old.seqs.split_at(place);
            out.push(Fragment::new(at, end, &[newer, &alone, older].concat()));
            if *end < old.stop {
                out.push(Fragment::new(end, &old.stop, &old.seqs));
            }
            at = end;
        }
        if *at < stop {
            out.push(Fragment::new(at, &stop, &alone));
        }
        out.extend_from_slice(after);
        out
    }

    /// Do newer deletes up to `limit` hide from every reader what `delete`, which is in the list, hides? `snapshots` are the
    /// readers that are not beyond all of it, ascending.
    pub fn is_covered(&self, delete: &RangeDelete, limit: Seq, snapshots: &[Seq]) -> bool {
        let first = self.fragments.partition_point(|f| *f.stop <= *delete.start);
        let within = self.fragments[first..].iter().take_while(|f| *f.start < *delete.stop);
        within.into_iter().all(|fragment| {
            let place = fragment.seqs.partition_point(|r| *r > delete.seq);
            // The next newer one: no reader lies between the two.
            let next = place.checked_sub(1).map(|before| fragment.seqs[before]);
            next.is_some_and(|next| {
                let reader = snapshots.partition_point(|reader| *reader < delete.seq);
                next <= limit && snapshots.get(reader).is_none_or(|reader| *reader >= next)
            })
        })
    }

    /// This list without the deletes that `is_gone` names.
    pub fn without(&self, is_gone: impl Fn(&RangeDelete) -> bool) -> RangeDeletes {
        let deletes: Vec<_> = self.deletes.iter().filter(|delete| !is_gone(delete)).cloned().collect();
        if deletes.len() == self.deletes.len() {
            return self.clone();
        }
        let newest = deletes.last().map_or(0, |delete| delete.seq);
        RangeDeletes { fragments: fragments_of(&deletes), deletes, newest }
    }
}

/// The fragments of some deletes: a sweep over all bounds that keeps the numbers of the ranges it is in.
fn fragments_of(deletes: &[Arc<RangeDelete>]) -> Vec<Arc<Fragment>> {
    let starts = deletes.iter().map(|delete| (delete.start.as_slice(), true, delete.seq));
    let stops = deletes.iter().map(|delete| (delete.stop.as_slice(), false, delete.seq));
    let mut bounds: Vec<(&[u8], bool, Seq)> = starts.chain(stops).collect();
    bounds.sort_unstable();
    let mut fragments = Vec::with_capacity(bounds.len());
    let mut from: Arc<[u8]> = Arc::default();
    // Newest first.
    let mut open: Vec<Seq> = Vec::new();
    for (bound, opens, seq) in bounds {
        if *from != *bound {
            let to: Arc<[u8]> = bound.into();
            if !open.is_empty() {
                fragments.push(Fragment::new(&from, &to, &open));
            }
            from = to;
        }
        let place = open.partition_point(|r| *r > seq);
        if opens {
            open.insert(place, seq);
        } else if open.get(place) == Some(&seq) {
            open.remove(place);
        }
    }
    fragments
}

/// A place in a list that follows the keys of a scan, in either direction.
#[derive(Clone, Debug)]
pub struct Walk {
    ranges: Arc<RangeDeletes>,
    /// The last key lies in this fragment, or in the gap right before it.
    at: usize,
    inside: bool,
}

impl Walk {
    /// Over `ranges`, at the first key.
    pub fn new(ranges: Arc<RangeDeletes>) -> Walk {
        let inside = ranges.fragments.first().is_some_and(|first| first.start.is_empty());
        Walk { ranges, at: 0, inside }
    }

    /// As [`RangeDeletes::newest_over`].
    #[inline]
    pub fn newest_over(&mut self, key: &[u8], seq: Seq) -> Option<Seq> {
        if !self.is_around(key) {
            self.follow(key);
        }
        if !self.inside {
            return None;
        }
        self.ranges.fragments.get(self.at)?.newest(seq)
    }

    /// As [`RangeDeletes::hides`].
    #[inline]
    pub fn hides(&mut self, key: &[u8], record_seq: Seq, seq: Seq) -> bool {
        record_seq < self.ranges.newest && self.newest_over(key, seq).is_some_and(|r| record_seq < r)
    }

    /// Does `key` lie where the last one did?
    #[inline]
    fn is_around(&self, key: &[u8]) -> bool {
        let fragments = &self.ranges.fragments;
        match fragments.get(self.at) {
            Some(fragment) if self.inside => *fragment.start <= *key && *key < *fragment.stop,
            next => next.is_none_or(|next| *key < *next.start) && self.is_behind_previous(key),
        }
    }

    /// Does the fragment before this place end at or before `key`?
    #[inline]
    fn is_behind_previous(&self, key: &[u8]) -> bool {
        let previous = self.at.checked_sub(1).and_then(|at| self.ranges.fragments.get(at));
        previous.is_none_or(|previous| *previous.stop <= *key)
    }

    /// To where `key` is, which is not here: mostly next door.
    #[cold]
    fn follow(&mut self, key: &[u8]) {
        let fragments = &self.ranges.fragments;
        if fragments.get(self.at).is_some_and(|f| *f.start <= *key) {
            // Beyond this gap, which `at` already ends, or beyond this fragment.
            self.at += usize::from(self.inside);
            if fragments.get(self.at).is_some_and(|f| *f.stop <= *key) {
                let rest = fragments.get(self.at..).unwrap_or(&[]);
                self.at += rest.partition_point(|f| *f.stop <= *key);
            }
        } else if !self.is_behind_previous(key) {
            // Before the gap: in the fragment before it, or farther on.
            self.at -= 1;
            if !self.is_behind_previous(key) {
                let rest = fragments.get(..self.at).unwrap_or(&[]);
                self.at = rest.partition_point(|f| *f.stop <= *key);
            }
        }
        self.inside = fragments.get(self.at).is_some_and(|f| *f.start <= *key);
    }
}
