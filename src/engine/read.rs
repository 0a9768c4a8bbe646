//! Reads: one probe of the index and one look at the record, whatever else goes on.
//!
//! ```text
//! get(k, snap)
//!  1 pin an epoch
//!  2 S = snap, or visible (Acquire)
//!  3 a = index.find(k)                      keys compared in the record; every key is in the index, so none is ABSENT
//!  4 r = the record at a, verified
//!  5 no snap and r.seq > S: S = visible     a write that published since step 2
//!  6 while r.seq > S: follow r.prev; NONE is ABSENT; UNKNOWN, another key, damage or 16 hops: search in order
//!  7 a tombstone is ABSENT
//!  8 copy or pin the value; unpin
//! ```
//!
//! Step 5 is linearizable: the slot held `r` when it was read, so `r` is, at the moment of its publication or of the
//! read, whichever is later, the newest visible version. (A commit sets each key's slot once, to its last write.)

use crate::coding;
use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::files::File;
use crate::log::frame::{self, Prev};
use crate::memtable::cursor::RunCursor;
use crate::memtable::order::record_at;
use crate::merging::shared_prefix;
use crate::ranges::RangeDeletes;
use crate::record::{Header, Kind, Seq};
use crate::sync::epoch::{self, Guard};
use crate::sync::{Arc, Ordering};
use crate::version::Version;

/// A chain of versions is followed so far before the key is searched in order.
const HOPS_MAX: usize = 16;

/// A value that outlives the epoch: its file, where it starts and how long it is.
pub(crate) type Pinned = (Arc<File>, usize, usize);

/// A version that a reader sees.
pub(crate) struct Located<'g> {
    pub file: &'g File,
    pub slot: u16,
    pub bytes: &'g [u8],
    pub header: Header,
    pub offset: u64,
}

impl<'g> Located<'g> {
    #[inline]
    fn check(&self, key_hash: u64) -> Result<()> {
        self.file.check_hashed(self.bytes, &self.header, key_hash, self.offset)
    }

    /// The value.
    pub fn value(&self) -> &'g [u8] {
        self.header.value(self.bytes)
    }
}

impl Core {
    /// The newest put of `key` that a reader at `snapshot`, or now, sees.
    #[inline]
    pub(crate) fn locate<'g>(
        &'g self,
        key: &[u8],
        snapshot: Option<Seq>,
        guard: &'g Guard,
    ) -> Result<Option<Located<'g>>> {
        let key_hash = coding::hash_seeded(key, self.hash_seed);
        // Acquire pairs with the Release in the commit: everything up to this number is in the index.
        let mut seq = snapshot.unwrap_or_else(|| self.visible.load(Ordering::Acquire));
        let mut found = None;
        self.index.find(key_hash, guard, |address| {
            let (file, bytes, header) = self.record(address, guard)?;
            let offset = address.offset();
            if header.key(bytes) != key {
                // By chance, or because the key is damaged.
                file.check(bytes, &header, offset)?;
                return Ok::<bool, Error>(false);
            }
            found = Some(Located { file, slot: address.slot(), bytes, header, offset });
            Ok(true)
        })?;
        let Some(mut located) = found else { return Ok(None) };
        located.check(key_hash)?;
        if located.header.seq() > seq && snapshot.is_none() {
            seq = self.visible.load(Ordering::Acquire);
        }
        if located.header.seq() > seq {
            match self.older(located, key, key_hash, seq, guard)? {
                Some(older) => located = older,
                None => return Ok(None),
            }
        }
        Ok((located.header.kind == Kind::Put).then_some(located))
    }

    /// The newest version of `key` that is at most `seq`, given a newer one.
    #[cold]
    fn older<'g>(
        &'g self,
        mut newer: Located<'g>,
        key: &[u8],
        key_hash: u64,
        seq: Seq,
        guard: &'g Guard,
    ) -> Result<Option<Located<'g>>> {
        let version = self.version.load(guard);
        for _ in 0..HOPS_MAX {
            let (number, offset) = match frame::prev_of(newer.file, newer.offset) {
                Prev::None => return Ok(None),
                Prev::Unknown => break,
                Prev::At(number, offset) => (number, offset),
            };
            let Some(memtable) = version.memtable(number) else { break };
            let (bytes, header) = record_at(&memtable.file, offset)?;
            let older = Located { file: &memtable.file, slot: memtable.slot, bytes, header, offset };
            if header.key(bytes) != key || header.kind == Kind::DeleteRange {
                // Damage, or a hint that leads elsewhere: then the ordered search says what is there.
                older.file.check(bytes, &header, offset)?;
                break;
            }
            older.check(key_hash)?;
            if header.seq() >= newer.header.seq() {
                break;
            }
            if header.seq() <= seq {
                return Ok(Some(older));
            }
            newer = older;
        }
        for memtable in version.memtables.iter().rev() {
            if let Some((offset, header)) = memtable.search(key, seq)? {
                let bytes = memtable.file.tail(offset);
                let found = Located { file: &memtable.file, slot: memtable.slot, bytes, header, offset };
                found.check(key_hash)?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Calls `with` with the version of `key` that a reader sees, if there is one.
    #[inline]
    pub(crate) fn get<R>(
        &self,
        key: &[u8],
        snapshot: Option<Seq>,
        with: impl FnOnce(&Located<'_>) -> R,
    ) -> Result<Option<R>> {
        self.check_open()?;
        let guard = epoch::pin();
        Ok(self.locate(key, snapshot, &guard)?.map(|located| with(&located)))
    }

    /// As `get`, and holds on to the file.
    pub(crate) fn get_pinned(&self, key: &[u8], snapshot: Option<Seq>) -> Result<Option<Pinned>> {
        self.check_open()?;
        let guard = epoch::pin();
        let Some(located) = self.locate(key, snapshot, &guard)? else { return Ok(None) };
        let at = located.offset as usize + located.header.value_at();
        let len = located.header.value_len as usize;
        match self.files.pin(located.slot, &guard) {
            Some(file) => Ok(Some((file, at, len))),
            None => Err(Error::new(ErrorKind::Internal, format!("slot {} has lost its file", located.slot))),
        }
    }

    /// Looks up many keys at one point in time.
    pub(crate) fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], snapshot: Option<Seq>) -> Result<Vec<Option<Pinned>>> {
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
            self.snapshots.release(seq);
        }
        found
    }

    /// Registers a snapshot of what is visible now.
    pub(crate) fn register_snapshot(&self) -> Seq {
        // Acquire pairs with the Release in the commit.
        self.snapshots.register(|| self.visible.load(Ordering::Acquire))
    }

    /// Sorted sources that hold every key from `start` up to but without `stop`, the number at which to read them, and
    /// the range deletes that hide some of what they hold.
    pub(crate) fn cursors(
        &self,
        start: Option<&[u8]>,
        stop: Option<&[u8]>,
        snapshot: Option<Seq>,
    ) -> Result<(Vec<RunCursor>, Seq, Arc<RangeDeletes>)> {
        self.check_open()?;
        // Relaxed: a statistic.
        self.counters.iterators.fetch_add(1, Ordering::Relaxed);
        let (version, seq) = self.view(snapshot);
        let mut cursors = Vec::new();
        for memtable in &version.memtables {
            for run in memtable.runs()? {
                let cursor = RunCursor::new(run, start, stop)?;
                if !cursor.is_empty() {
                    cursors.push(cursor);
                }
            }
        }
        let skip = shared_by_all(&cursors)?;
        cursors.iter_mut().for_each(|cursor| cursor.set_skip(skip));
        // None: nothing writes range deletes yet. They will be the version's.
        Ok((cursors, seq, Arc::default()))
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

/// How many first bytes all keys of all cursors share: what the smallest and the largest share.
fn shared_by_all(cursors: &[RunCursor]) -> Result<usize> {
    let mut ends: Option<(&[u8], &[u8])> = None;
    for cursor in cursors {
        if let Some((first, last)) = cursor.ends()? {
            ends = Some(ends.map_or((first, last), |(low, high)| (low.min(first), high.max(last))));
        }
    }
    Ok(ends.map_or(0, |(low, high)| shared_prefix(low, high)))
}
