//! Iterators: a cursor over what is visible at one sequence number, both ways.

use std::fmt;

use crate::cursor::Cursor;
use crate::engine::handle::{Handle, Registered};
use crate::error::Result;
use crate::merging::Source;
use crate::ranges::RangeDeletes;
use crate::record::Seq;
use crate::sync::Arc;
use crate::value::Value;
use crate::visibility::Visible;

/// An iterator tells between seeks of so many records that it has stepped over, and of fewer when it is dropped.
const SKIPS_TOLD: u64 = 1024;

/// Keys and values in order, as they were when it was made.
///
/// A cursor ([`seek`](Iter::seek), [`move_next`](Iter::move_next), [`key`](Iter::key), ...) that copies and allocates nothing for
/// an entry, and at the same time a standard [`Iterator`] and [`DoubleEndedIterator`] over pinned pairs. As an iterator, `next`
/// goes on from where the cursor stands and `next_back` from the end, and they end where they meet.
///
/// It owns all it needs: it can be stored, sent to another thread, and keeps the store open. After
/// [`close`](crate::Db::close) its moves answer [`Closed`](crate::ErrorKind::Closed); values that it handed out stay valid.
///
/// A move that fails leaves it outside all entries; damage is reported, never skipped.
///
/// ```
/// # let db = kvs::Db::in_memory(Default::default())?;
/// db.put("apple", "red")?;
/// db.put("banana", "yellow")?;
/// for pair in db.iter()? {
///     let (key, value) = pair?;
///     println!("{key:?} {value:?}");
/// }
/// let mut cursor = db.range("b"..)?;
/// assert!(cursor.seek_to_first()?);
/// assert_eq!(cursor.key(), b"banana");
/// assert!(!cursor.move_next()?);
/// # Ok::<(), kvs::Error>(())
/// ```
pub struct Iter {
    handle: Arc<Handle>,
    front: Position,
    /// Made by the first `next_back`.
    back: Option<Position>,
    /// `next` and `next_back` have met, or one of them failed.
    finished: bool,
    /// A snapshot's number stays registered while its iterators live.
    _registered: Option<Arc<Registered>>,
}

impl Iter {
    /// Over the keys from `start` up to but without `stop`, at a snapshot or now.
    pub(crate) fn new(
        handle: &Arc<Handle>,
        registered: Option<Arc<Registered>>,
        start: Option<&[u8]>,
        stop: Option<&[u8]>,
    ) -> Result<Iter> {
        let snapshot = registered.as_ref().map(|r| r.seq());
        let (sources, seq, ranges) = handle.core().cursors(start, stop, snapshot)?;
        let front = Position::new(sources, seq, ranges);
        Ok(Iter { handle: Arc::clone(handle), front, back: None, finished: false, _registered: registered })
    }

    /// To the first entry. Like all moves: is there one?
    pub fn seek_to_first(&mut self) -> Result<bool> {
        self.sought(|front| front.seek_to_end_of(true))
    }

    /// To the last entry.
    pub fn seek_to_last(&mut self) -> Result<bool> {
        self.sought(|front| front.seek_to_end_of(false))
    }

    /// To the first entry whose key is at least `key`.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.sought(|front| front.seek(key.as_ref(), true))
    }

    /// To the last entry whose key is at most `key`.
    pub fn seek_for_prev(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.sought(|front| front.seek(key.as_ref(), false))
    }

    /// Every seek is one of these: what was stepped over is told when it is much.
    fn sought(&mut self, seek: impl FnOnce(&mut Position) -> Result<bool>) -> Result<bool> {
        self.handle.core().check_open()?;
        let found = seek(&mut self.front);
        if self.front.visible.skipped().all() >= SKIPS_TOLD {
            self.handle.core().tell_skipped(self.front.visible.take_skipped());
        }
        found
    }

    /// To the next entry; from a fresh iterator, or from before the first, to the first. After the last it stays there.
    #[inline]
    pub fn move_next(&mut self) -> Result<bool> {
        self.handle.core().check_open()?;
        self.front.step(true)
    }

    /// To the entry before; from a fresh iterator, or from after the last, to the last. Before the first it stays there.
    #[inline]
    pub fn move_prev(&mut self) -> Result<bool> {
        self.handle.core().check_open()?;
        self.front.step(false)
    }

    /// Shows `to` the entry that the iterator stands on and those that follow, forwards or backwards, until it says no: the fastest way
    /// through many entries. On a fresh iterator it begins at the first, or the last. Afterwards the iterator stands on the entry to which
    /// the answer was no; false: there are no more. An error on the way leaves it on none, and what was shown before it was right. A close
    /// meanwhile is noticed by the next move. If `to` panics, the iterator stands on an entry that was shown.
    ///
    /// ```
    /// # let db = kvs::Db::in_memory(Default::default())?;
    /// # (0..100u32).try_for_each(|i| db.put(i.to_be_bytes(), "7 bytes"))?;
    /// let (mut entries, mut bytes) = (0, 0);
    /// db.iter()?.visit(true, |_, value| {
    ///     (entries, bytes) = (entries + 1, bytes + value.len());
    ///     true
    /// })?;
    /// assert_eq!((entries, bytes), (100, 700));
    ///
    /// // Ten entries from a key on; it stands on the next one then.
    /// let (mut iter, mut keys) = (db.iter()?, Vec::new());
    /// iter.seek(50u32.to_be_bytes())?;
    /// let more = iter.visit(true, |key, _| {
    ///     let is_wanted = keys.len() < 10;
    ///     keys.extend(is_wanted.then(|| key.to_vec()));
    ///     is_wanted
    /// })?;
    /// assert!(more && iter.key() == 60u32.to_be_bytes());
    /// # Ok::<(), kvs::Error>(())
    /// ```
    #[inline]
    pub fn visit(&mut self, forward: bool, mut to: impl FnMut(&[u8], &[u8]) -> bool) -> Result<bool> {
        self.handle.core().check_open()?;
        if !self.valid() && !self.front.step(forward)? {
            return Ok(false);
        }
        loop {
            let (key, value) = match self.front.visible.top() {
                Some(source) => (source.key(), source.value()),
                None => (self.front.visible.key_passed(), self.value_passed()),
            };
            if !to(key, value) || self.front.visible.visit(forward, &mut to) {
                return Ok(true);
            }
            let moved = self.front.visible.step(forward);
            if moved.is_err() || !self.front.visible.is_on() {
                return self.front.settle(forward, moved);
            }
        }
    }

    /// Does it stand on an entry?
    pub fn valid(&self) -> bool {
        self.front.visible.is_on()
    }

    /// The key it stands on, until the next move; empty if there is none.
    #[inline]
    pub fn key(&self) -> &[u8] {
        match self.front.visible.top() {
            Some(source) => source.key(),
            None => self.front.visible.key_passed(),
        }
    }

    /// The value it stands on, until the next move; empty if there is none.
    #[inline]
    pub fn value(&self) -> &[u8] {
        match self.front.visible.top() {
            Some(source) => source.value(),
            None => self.value_passed(),
        }
    }

    /// Out of line: forwards there is none.
    #[inline(never)]
    fn value_passed(&self) -> &[u8] {
        match self.front.visible.current() {
            Some((source, Some(entry))) => source.value_of(entry),
            _ => &[],
        }
    }

    /// The key it stands on, pinned.
    pub fn key_pinned(&self) -> Option<Value> {
        self.front.pair().map(|(key, _)| key)
    }

    /// The value it stands on, pinned.
    pub fn value_pinned(&self) -> Option<Value> {
        self.front.pair().map(|(_, value)| value)
    }

    fn next_pair(&mut self) -> Result<Option<(Value, Value)>> {
        if self.finished || !self.move_next()? || self.met() {
            self.finished = true;
            return Ok(None);
        }
        Ok(self.front.pair())
    }

    fn next_back_pair(&mut self) -> Result<Option<(Value, Value)>> {
        self.handle.core().check_open()?;
        let back = self.back.get_or_insert_with(|| self.front.fresh());
        if self.finished || !back.step(false)? || self.met() {
            self.finished = true;
            return Ok(None);
        }
        Ok(self.back.as_ref().and_then(Position::pair))
    }

    /// Have the two ends met? Each stands on what it just reached, or is fresh.
    fn met(&self) -> bool {
        let back = self.back.as_ref().and_then(Position::key);
        match (self.front.key(), back) {
            (Some(front), Some(back)) => front >= back,
            _ => false,
        }
    }
}

impl Iterator for Iter {
    type Item = Result<(Value, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_pair();
        self.finished |= next.is_err();
        next.transpose()
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        let next = self.next_back_pair();
        self.finished |= next.is_err();
        next.transpose()
    }
}

impl std::iter::FusedIterator for Iter {}

impl Drop for Iter {
    fn drop(&mut self) {
        let core = self.handle.core();
        if core.is_forked() {
            return;
        }
        for position in [Some(&mut self.front), self.back.as_mut()].into_iter().flatten() {
            if position.visible.skipped().all() > 0 {
                core.tell_skipped(position.visible.take_skipped());
            }
        }
        // What it held may be the last that kept a file which was merged away.
        self.back = None;
        self.front.visible.let_go();
        core.tell_if_leaving();
    }
}

impl fmt::Debug for Iter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("at", &self.key().escape_ascii().to_string()).finish_non_exhaustive()
    }
}

/// Where a cursor that stands on no entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    Fresh,
    Before,
    After,
}

/// One position.
struct Position {
    visible: Visible<Cursor>,
    /// Counts only while `visible` stands on nothing.
    outside: Outside,
}

impl Position {
    fn new(sources: Vec<Cursor>, seq: Seq, ranges: Arc<RangeDeletes>) -> Position {
        Position { visible: Visible::new(sources, seq, ranges), outside: Outside::Fresh }
    }

    /// Another one over the same, standing nowhere.
    fn fresh(&self) -> Position {
        Position { visible: self.visible.fresh(), outside: Outside::Fresh }
    }

    fn seek_to_end_of(&mut self, forward: bool) -> Result<bool> {
        let moved = self.visible.seek_to_end_of(forward);
        self.settle(forward, moved)
    }

    fn seek(&mut self, key: &[u8], forward: bool) -> Result<bool> {
        let moved = self.visible.seek(key, forward);
        self.settle(forward, moved)
    }

    #[inline]
    fn step(&mut self, forward: bool) -> Result<bool> {
        if self.visible.is_on() {
            let moved = self.visible.step(forward);
            return self.settle(forward, moved);
        }
        match (self.outside, forward) {
            (Outside::Fresh, _) | (Outside::Before, true) | (Outside::After, false) => self.seek_to_end_of(forward),
            _ => Ok(false),
        }
    }

    /// After a move in this direction: where it ran out, it stands outside on that side.
    #[inline]
    fn settle(&mut self, forward: bool, moved: Result<()>) -> Result<bool> {
        self.outside = if forward { Outside::After } else { Outside::Before };
        if moved.is_err() {
            self.visible.leave();
        }
        moved.map(|()| self.visible.is_on())
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.visible.key()
    }

    fn pair(&self) -> Option<(Value, Value)> {
        let (source, passed) = self.visible.current()?;
        Some(source.pin(&passed.copied().or_else(|| source.entry())?))
    }
}
