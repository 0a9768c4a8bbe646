//! Reads: one probe of the index and one look at the record, whatever else goes on.
//!
//! ```text
//! get(k, snap)
//!  1 pin an epoch; V = version
//!  2 S = snap, or visible (Acquire)
//!  3 a = index.find(k)                      keys compared in the record
//!  4 none: c = what V's uncovered slices hold of k, newest first; no such slice, or nothing in them, is ABSENT; go to 9
//!  5 r = the record at a, verified; in a table and no snap: c = r, go to 9             flushed implies published
//!  6 no snap and r.seq > S: S = visible     a write that published since step 2
//!  7 while r.seq > S: follow r.prev; NONE is ABSENT; UNKNOWN, flushed, another key, damage or 16 hops: search in order
//!  8 c = r
//!  9 c is a tombstone, or under a range delete of V between c.seq and S: ABSENT
//! 10 copy or pin the value; unpin
//! ```
//!
//! Step 6 is linearizable: the slot held `r` when it was read, so `r` is, at the moment of its publication or of the
//! read, whichever is later, the newest visible version. (A commit sets each key's slot once, to its last write.)
//!
//! The version is loaded before the index is searched: a slice is uncovered first and emptied of entries a grace period later, so
//! whoever takes a miss for final holds a version from before. It may be older than the records that are found, which is no
//! harm: what it is asked for are slices that are not covered, and range deletes, which enter the version before they publish.
//!
//! A merge that drops a key's last version installs its version first and removes the entry then. So a reader that found something older in an
//! uncovered slice looks whether the version is still the one that it began with; if not, the entry may have gone meanwhile, and
//! it starts again.
//!
//! The search in order needs a version that has everything up to `S`: it is loaded before `S`, and if it changed meanwhile the
//! search starts again. A registered snapshot is older than any version that can be loaded.

use std::cell::Cell;

use crate::coding;
use crate::covering;
use crate::cursor::{self, Cursor, RunWalk};
use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{Bytes, File};
use crate::log::frame::{self, Prev};
use crate::memtable::walk::MemtableWalk;
use crate::ranges::RangeDeletes;
use crate::record::{Header, Kind, Seq};
use crate::sync::epoch::{self, Guard};
use crate::sync::{Arc, Ordering};
use crate::table::reader::Found;
use crate::value::Value;
use crate::version::Version;

/// A chain of versions is followed so far before the key is searched in order.
const HOPS_MAX: usize = 16;

/// A version that a reader sees.
pub(crate) struct Located<'g> {
    file: &'g File,
    holder: Holder<'g>,
    bytes: Bytes<'g>,
    header: Header,
    offset: u64,
}

/// By what the file is held on to.
#[derive(Clone, Copy)]
enum Holder<'g> {
    Slot(u16),
    Arc(&'g Arc<File>),
}

impl<'g> Located<'g> {
    fn of_table(file: &'g Arc<File>, found: Found<'g>) -> Located<'g> {
        Located { file, holder: Holder::Arc(file), bytes: found.bytes, header: found.header, offset: found.offset }
    }

    #[inline]
    fn check(&self, key_hash: u64) -> Result<()> {
        self.file.check_hashed(&self.bytes, &self.header, key_hash, self.offset)
    }

    #[inline]
    fn seq(&self) -> Seq {
        self.header.seq()
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.header.value(&self.bytes)
    }
}

impl Core {
    /// Puts the newest put of `key` that a reader at `snapshot`, or now, sees, into `found`, which is empty.
    ///
    /// A `Located` is large: it is made where the caller wants it, and handed on by no return value on the way that nearly all reads take.
    #[inline(always)]
    pub(crate) fn locate<'g>(
        &'g self,
        key: &[u8],
        snapshot: Option<Seq>,
        guard: &'g Guard,
        found: &mut Option<Located<'g>>,
    ) -> Result<()> {
        let key_hash = coding::hash_seeded(key, self.hash_seed);
        let version = self.version.load(guard);
        // Acquire pairs with the Release in the commit: everything up to this number is in the index.
        let seq = snapshot.unwrap_or_else(|| self.visible.load(Ordering::Acquire));
        self.probe(key, key_hash, guard, found)?;
        match found {
            Some(newest) if newest.seq() <= seq && version.ranges.is_empty() => {
                if newest.header.kind != Kind::Put {
                    *found = None;
                }
                return Ok(());
            }
            None if !version.uncovered => return Ok(()),
            _ => {}
        }
        *found = self.locate_whole(key, key_hash, snapshot, guard)?;
        Ok(())
    }

    /// All of the protocol, from its beginning.
    #[cold]
    fn locate_whole<'g>(
        &'g self,
        key: &[u8],
        key_hash: u64,
        snapshot: Option<Seq>,
        guard: &'g Guard,
    ) -> Result<Option<Located<'g>>> {
        let seq = Cell::new(0);
        let probe = || {
            // Acquire pairs with the Release in the commit: everything up to this number is in the index.
            let mut at = snapshot.unwrap_or_else(|| self.visible.load(Ordering::Acquire));
            let mut newest = None;
            self.probe(key, key_hash, guard, &mut newest)?;
            let located = match newest {
                Some(newest) => Some(self.settle(newest, key, key_hash, snapshot, &mut at, guard)?),
                None => None,
            };
            seq.set(at);
            Ok::<_, Error>(located)
        };
        let beyond = |version: &'g Version| {
            let mut at = seq.get();
            let located = self.uncovered(version, key, key_hash, snapshot, &mut at, guard)?;
            seq.set(at);
            Ok(located)
        };
        let (version, located) = covering::find(&self.version, guard, |version| !version.uncovered, probe, beyond)?;
        let Some(located) = located.flatten() else { return Ok(None) };
        let hidden = !version.ranges.is_empty() && version.ranges.hides(key, located.seq(), seq.get());
        Ok((located.header.kind == Kind::Put && !hidden).then_some(located))
    }

    /// Step 3, and the verification of what it found.
    #[inline(always)]
    fn probe<'g>(&'g self, key: &[u8], key_hash: u64, guard: &'g Guard, found: &mut Option<Located<'g>>) -> Result<()> {
        self.index.find(key_hash, guard, |address| {
            let (file, bytes, header) = self.record(address, guard)?;
            let offset = address.offset();
            if header.key(&bytes) != key {
                // By chance, or because the key is damaged.
                file.check(&bytes, &header, offset)?;
                return Ok::<bool, Error>(false);
            }
            file.will_need(&header, offset);
            file.check_hashed(&bytes, &header, key_hash, offset)?;
            *found = Some(Located { file, holder: Holder::Slot(address.slot()), bytes, header, offset });
            Ok(true)
        })?;
        Ok(())
    }

    /// Steps 5 to 8: the version at `seq`, given the newest one.
    #[inline]
    fn settle<'g>(
        &'g self,
        newest: Located<'g>,
        key: &[u8],
        key_hash: u64,
        snapshot: Option<Seq>,
        seq: &mut Seq,
        guard: &'g Guard,
    ) -> Result<Option<Located<'g>>> {
        if newest.seq() <= *seq {
            return Ok(Some(newest));
        }
        if snapshot.is_none() {
            *seq = self.visible.load(Ordering::Acquire);
            if newest.seq() <= *seq {
                return Ok(Some(newest));
            }
        }
        self.older(newest, key, key_hash, snapshot, seq, guard)
    }

    /// Step 4: `None` if nothing is there, `Some(None)` if nothing that is visible is.
    #[cold]
    fn uncovered<'g>(
        &'g self,
        version: &'g Version,
        key: &[u8],
        key_hash: u64,
        snapshot: Option<Seq>,
        seq: &mut Seq,
        guard: &'g Guard,
    ) -> Result<Option<Option<Located<'g>>>> {
        for slice in version.runs.iter().filter_map(|run| run.slice_of(key)).filter(|slice| !slice.covered) {
            if let Some(found) = slice.table.find(key, key_hash)? {
                let newest = Located::of_table(slice.table.file(), found);
                return Ok(Some(self.settle(newest, key, key_hash, snapshot, seq, guard)?));
            }
        }
        Ok(None)
    }

    /// The newest version of `key` that is at most `seq`, given a newer one.
    #[cold]
    fn older<'g>(
        &'g self,
        mut newer: Located<'g>,
        key: &[u8],
        key_hash: u64,
        snapshot: Option<Seq>,
        seq: &mut Seq,
        guard: &'g Guard,
    ) -> Result<Option<Located<'g>>> {
        let version = self.version.load(guard);
        for _ in 0..HOPS_MAX {
            if newer.file.is_table() {
                break;
            }
            let (number, offset) = match frame::prev_of(newer.file, newer.offset) {
                Prev::None => return Ok(None),
                Prev::Unknown => break,
                Prev::At(number, offset) => (number, offset),
            };
            // In a segment that was flushed meanwhile, or in a table: the ordered search finds what became of it.
            let Some(memtable) = version.memtable(number) else { break };
            let (bytes, header) = crate::memtable::order::record_at(&memtable.file, offset)?;
            let holder = Holder::Arc(&memtable.file);
            let older = Located { file: &memtable.file, holder, bytes: Bytes::Mapped(bytes), header, offset };
            if header.key(bytes) != key {
                // Damage, or a hint that leads elsewhere: then the ordered search says what is there.
                older.file.check(bytes, &header, offset)?;
                break;
            }
            older.check(key_hash)?;
            if older.seq() >= newer.seq() {
                break;
            }
            if older.seq() <= *seq {
                return Ok(Some(older));
            }
            newer = older;
        }
        self.search(key, key_hash, snapshot, seq, guard)
    }

    /// The newest version of `key` that is at most `seq`, found by order.
    fn search<'g>(
        &'g self,
        key: &[u8],
        key_hash: u64,
        snapshot: Option<Seq>,
        seq: &mut Seq,
        guard: &'g Guard,
    ) -> Result<Option<Located<'g>>> {
        loop {
            let version = self.version.load(guard);
            if snapshot.is_none() {
                *seq = self.visible.load(Ordering::Acquire);
            }
            let found = search_version(version, key, key_hash, *seq)?;
            if snapshot.is_some() || std::ptr::eq(version, self.version.load(guard)) {
                return Ok(found);
            }
        }
    }

    /// Calls `with` with the version of `key` that a reader sees, if there is one.
    #[inline]
    pub(crate) fn get<R>(
        &self,
        key: &[u8],
        snapshot: Option<Seq>,
        with: impl FnOnce(&Located<'_>) -> R,
    ) -> Result<Option<R>> {
        // Before anything of it is looked at: in the child of a fork nothing of it may be.
        self.check_open()?;
        self.get_checked(key, snapshot, &epoch::pin(), with)
    }

    /// As `get`, under the pin of a caller who knows that this process has opened the store.
    #[inline(always)]
    pub(crate) fn get_within<R>(
        &self,
        guard: &Guard,
        key: &[u8],
        snapshot: Option<Seq>,
        with: impl FnOnce(&Located<'_>) -> R,
    ) -> Result<Option<R>> {
        self.check_open_here()?;
        self.get_checked(key, snapshot, guard, with)
    }

    #[inline(always)]
    fn get_checked<R>(
        &self,
        key: &[u8],
        snapshot: Option<Seq>,
        guard: &Guard,
        with: impl FnOnce(&Located<'_>) -> R,
    ) -> Result<Option<R>> {
        let mut found = None;
        self.locate(key, snapshot, guard, &mut found)?;
        Ok(found.as_ref().map(with))
    }

    /// As `get`, and holds on to the value.
    pub(crate) fn get_pinned(&self, key: &[u8], snapshot: Option<Seq>) -> Result<Option<Value>> {
        self.check_open()?;
        self.get_pinned_checked(key, snapshot, &epoch::pin())
    }

    /// As `get_pinned`, under the pin of a caller who knows that this process has opened the store.
    pub(crate) fn get_pinned_within(&self, guard: &Guard, key: &[u8], snapshot: Option<Seq>) -> Result<Option<Value>> {
        self.check_open_here()?;
        self.get_pinned_checked(key, snapshot, guard)
    }

    #[inline(always)]
    fn get_pinned_checked(&self, key: &[u8], snapshot: Option<Seq>, guard: &Guard) -> Result<Option<Value>> {
        let mut found = None;
        self.locate(key, snapshot, guard, &mut found)?;
        let Some(located) = found else { return Ok(None) };
        let (at, len) = (located.header.value_at(), located.header.value_len as usize);
        let file = match located.holder {
            Holder::Arc(file) => Some(Arc::clone(file)),
            Holder::Slot(slot) => self.files.pin(slot, guard),
        };
        match file {
            Some(file) => Ok(Some(Value::pin(&file, &located.bytes, located.offset, at, len))),
            None => Err(Error::new(ErrorKind::Internal, "a slot has lost its file under a reader")),
        }
    }

    /// Looks up many keys at one point in time.
    pub(crate) fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], snapshot: Option<Seq>) -> Result<Vec<Option<Value>>> {
        self.check_open()?;
        let registered = snapshot.is_none().then(|| self.register_snapshot());
        let seq = snapshot.or(registered);
        let guard = epoch::pin();
        for key in keys {
            self.index.prefetch(coding::hash_seeded(key.as_ref(), self.hash_seed), &guard);
        }
        drop(guard);
        let found = keys.iter().map(|key| self.get_pinned(key.as_ref(), seq)).collect();
        if let Some(seq) = registered {
            self.release_snapshot(seq);
        }
        found
    }

    /// Registers a snapshot of what is visible now.
    pub(crate) fn register_snapshot(&self) -> Seq {
        // Acquire pairs with the Release in the commit.
        self.snapshots.register(self.env.now(), || self.visible.load(Ordering::Acquire))
    }

    /// A snapshot lives no longer. If the worker could not drop a table for one, it looks again.
    pub(crate) fn release_snapshot(&self, seq: Seq) {
        self.snapshots.release(seq);
        // Relaxed: see where it is set.
        if self.outlived_held.load(Ordering::Relaxed) {
            self.signal.tell_garbage();
        }
    }

    /// Sorted sources that hold every key from `start` up to but without `stop`, the number at which to read them, and the range
    /// deletes among them.
    pub(crate) fn cursors(
        &self,
        start: Option<&[u8]>,
        stop: Option<&[u8]>,
        snapshot: Option<Seq>,
    ) -> Result<(Vec<Cursor>, Seq, Arc<RangeDeletes>)> {
        self.check_open()?;
        // Relaxed: a statistic.
        self.counters.iterators.fetch_add(1, Ordering::Relaxed);
        let (version, seq) = self.view(snapshot);
        // A memtable mostly has one sorted part, and the one that is written has one for what came last.
        let mut cursors = Vec::with_capacity(version.memtables.len() + 1 + version.runs.len());
        for memtable in &version.memtables {
            for run in memtable.runs()? {
                let walk = MemtableWalk::new(run, start, stop)?;
                if !walk.is_empty() {
                    cursors.push(Cursor::of_memtable(walk, memtable.slot));
                }
            }
        }
        for run in &version.runs {
            let walk = RunWalk::new(Arc::clone(run), start.map(Arc::from), stop.map(Arc::from), None);
            if !walk.is_empty() {
                cursors.push(Cursor::of_run(walk));
            }
        }
        cursor::share_prefix(&mut cursors)?;
        Ok((cursors, seq, Arc::clone(&version.ranges)))
    }

    /// A version and a number that belong together: everything up to the number is in the version, and the version was
    /// current after the number was read.
    fn view(&self, snapshot: Option<Seq>) -> (Arc<Version>, Seq) {
        let guard = epoch::pin();
        loop {
            let version = self.version.pin(&guard);
            let seq = snapshot.unwrap_or_else(|| self.visible.load(Ordering::Acquire));
            if std::ptr::eq(&raw const *version, self.version.load(&guard)) {
                return (version, seq);
            }
        }
    }
}

/// Memtables hold what is newer than all tables, and each of both is ordered by age.
fn search_version<'g>(version: &'g Version, key: &[u8], key_hash: u64, seq: Seq) -> Result<Option<Located<'g>>> {
    for memtable in version.memtables.iter().rev() {
        if let Some((offset, header)) = memtable.search(key, seq)? {
            let bytes = Bytes::Mapped(memtable.file.tail(offset));
            let found = Located { file: &memtable.file, holder: Holder::Arc(&memtable.file), bytes, header, offset };
            found.check(key_hash)?;
            return Ok(Some(found));
        }
    }
    for slice in version.runs.iter().filter_map(|run| run.slice_of(key)) {
        if let Some(found) = slice.table.search(key, seq)? {
            return Ok(Some(Located::of_table(slice.table.file(), found)));
        }
    }
    Ok(None)
}
