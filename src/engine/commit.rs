//! The commit: one mutex, held short.
//!
//! ```text
//!  outside   check sizes; hash key and value; fetch the index bucket and the record it names
//!  1 lock    may we write? make room in the active segment (rotate if there is none)
//!  2         take sequence numbers
//!  3         look up what each key replaces (`prev`); store the frame beyond the published end
//!  4         write it through, unless the file is mapped or the write may stay in the process
//!  5         publish the segment's end
//!  6         install each key in the index; of a key that a batch writes twice, the last write only
//!  7         visible = last number (Release)                       from here on readers see it
//!  8 unlock
//!  9         `sync`: fdatasync what was visible, once for everybody who waits
//! ```
//!
//! An error before step 5 leaves no trace: the bytes are erased and the numbers were not taken. A failed
//! write (4) other than a full disk poisons. A panic anywhere between poisons too: the frame may be published
//! and not indexed.
//!
//! One order for log, index and publication: no parallel unsynced writers, and none of the bugs that come with them.

use std::time::Duration;

use crate::batch::{Batch, Write};
use crate::coding;
use crate::engine::pressure::Pressure;
use crate::engine::reserve::Taker;
use crate::engine::{Calm, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::files::File;
use crate::index::Address;
use crate::log::frame::{FRAME_HEADER_BYTES, FrameCheck, PREV_BYTES, Prev, Single};
use crate::log::segment::Appender;
use crate::options::{BATCH_BYTES_MAX, Durability, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::ranges::{RangeDelete, RangeDeletes};
use crate::record::{self, FileSalt, HEADER_BYTES_MAX, Kind, Seq};
use crate::sync::epoch::{self, Guard};
use crate::sync::{Arc, MutexGuard, Ordering};
use crate::version::Version;

/// So many retired tables of the index may wait for the worker's next turn.
const RETIRED_MAX: u32 = 16;

/// Head and key of most records.
const FETCHED_BYTES: usize = 64;

/// Memory for range deletes, which all versions hold.
const RANGES_BYTES_MAX: usize = 64 << 20;

/// What the commit mutex guards. What each put looks at stands together: it goes from one processor's cache to the other's when threads take turns.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Commit {
    /// The next write's number.
    pub next_seq: Seq,
    /// Where frames go; none until the first write.
    pub active: Option<Active>,
    /// Bytes of all segments' files.
    pub log_bytes: u64,
    /// What writers owe the worker.
    pub pressure: Pressure,
    pub totals: Totals,
    /// Index tables retired since the worker was last told.
    retired: u32,
    /// Number and end of the segment before the active one, or the last one that was replayed.
    pub last: (u64, u64),
    check: FrameCheck,
}

/// The active segment.
#[derive(Debug)]
pub(crate) struct Active {
    pub appender: Appender,
    pub slot: u16,
    /// The worker was told to prepare the next one.
    pub asked: bool,
}

/// What was written since open.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub writes: u64,
    pub commits: u64,
    pub user_bytes: u64,
    pub log_bytes: u64,
    pub rotations: u64,
}

/// One write, hashed outside the mutex.
#[derive(Clone, Copy)]
struct Hashed<'a> {
    kind: Kind,
    key: &'a [u8],
    value: &'a [u8],
    key_hash: u64,
    value_hash: u64,
}

impl<'a> Hashed<'a> {
    fn new(kind: Kind, key: &'a [u8], value: &'a [u8], seed: u64) -> Hashed<'a> {
        Hashed { kind, key, value, key_hash: coding::hash_seeded(key, seed), value_hash: coding::hash(value) }
    }

    /// Writes prev and record header to `head` and returns their length and the record's checksum.
    #[inline]
    fn encode(&self, seq: Seq, prev: u64, salt: FileSalt, offset: u64, head: &mut Head) -> (usize, u32) {
        let word = record::seq_kind(seq, self.kind);
        let sum = record::checksum(self.key_hash, self.value_hash, word, salt, offset);
        let mut header = [0; HEADER_BYTES_MAX];
        let n = record::encode_header(&mut header, sum, word, self.key.len() as u32, self.value.len() as u32);
        head[..PREV_BYTES].copy_from_slice(&prev.to_le_bytes());
        head[PREV_BYTES..].copy_from_slice(&header);
        (PREV_BYTES + n, sum)
    }
}

type Head = [u8; PREV_BYTES + HEADER_BYTES_MAX];

impl Commit {
    pub fn new(next_seq: Seq, last: (u64, u64), log_bytes: u64, log_bytes_max: u64) -> Commit {
        Commit {
            next_seq,
            active: None,
            last,
            log_bytes,
            totals: Totals::default(),
            retired: 0,
            check: FrameCheck::default(),
            pressure: Pressure::new(log_bytes_max),
        }
    }

    /// A frame of `len` bytes was written: how long its writer is to nap.
    #[inline]
    fn owe(&mut self, len: u64) -> Option<Duration> {
        let free = self.active.as_ref().map_or(0, |active| active.appender.capacity() - active.appender.position());
        self.pressure.owe(len, self.log_bytes.saturating_sub(free))
    }

    fn count(&mut self, writes: u64, user_bytes: usize, log_bytes: u64) {
        self.totals.writes += writes;
        self.totals.commits += 1;
        self.totals.user_bytes += user_bytes as u64;
        self.totals.log_bytes += log_bytes;
    }
}

/// Poisons the store if the thread panics while a commit is under way.
struct Unwinding<'a> {
    core: &'a Core,
    /// The caller was unwinding when it called, say from a destructor.
    before: bool,
}

impl<'a> Unwinding<'a> {
    fn watch(core: &'a Core) -> Unwinding<'a> {
        Unwinding { core, before: std::thread::panicking() }
    }
}

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.before {
            self.core.poison(&Error::new(ErrorKind::Internal, "a panic interrupted a write"));
        }
    }
}

impl Core {
    /// Writes one record. `patient`: waits for room if there is none.
    pub(crate) fn write_one(
        &self,
        kind: Kind,
        key: &[u8],
        value: &[u8],
        durability: Durability,
        patient: bool,
    ) -> Result<()> {
        check_sizes(key, value)?;
        self.check_writable()?;
        // Hashed before anything is held: a value may be long.
        let write = Hashed::new(kind, key, value, self.hash_seed);
        let mut waiting = Waiting::default();
        loop {
            let left = self.write_hashed(&epoch::pin(), &write, durability, patient)?;
            // Neither lock nor epoch is held while it waits.
            match left {
                Left::Nothing => return Ok(()),
                Left::Rest(rest) => return self.finish(rest),
                Left::All if !patient => return Err(would_block()),
                Left::All => self.wait_to_write(&mut waiting)?,
            }
        }
    }

    /// As a patient `write_one`, under a pin: so it does not wait for room or for its record to be synced, but says what is left to do without
    /// the pin. For short values, which are hashed under it. The caller knows that this process has opened the store.
    #[inline(always)]
    pub(crate) fn write_one_within(
        &self,
        guard: &Guard,
        kind: Kind,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<Left> {
        debug_assert!(!self.is_forked());
        check_sizes(key, value)?;
        self.check_writable_here()?;
        self.write_hashed(guard, &Hashed::new(kind, key, value, self.hash_seed), durability, true)
    }

    #[inline(always)]
    fn write_hashed(&self, guard: &Guard, write: &Hashed<'_>, durability: Durability, patient: bool) -> Result<Left> {
        let Hashed { kind, key, value, .. } = *write;
        let frees = kind != Kind::Put;
        let frame_len = (FRAME_HEADER_BYTES + PREV_BYTES + record::encoded_len(key.len(), value.len())) as u64;
        self.fetch_replaced(write.key_hash, guard);
        let Some(entered) = self.try_enter(frame_len, frees, guard)? else { return Ok(Left::All) };
        let Entered { mut commit, unwinding: _unwinding } = entered;
        let Commit { active: Some(active), next_seq, .. } = &mut *commit else {
            return Err(Error::new(ErrorKind::Internal, "no active segment after making room"));
        };
        let seq = *next_seq;
        let (offset, salt) = (active.appender.position(), active.appender.file().salt);
        let record_at = offset + (FRAME_HEADER_BYTES + PREV_BYTES) as u64;
        let address = address(active.slot, record_at)?;

        let mut partition = self.index.lock(write.key_hash);
        let mut replaced = Replaced::default();
        let place = partition.find(write.key_hash, guard, |a| replaced.is_key(self, a, key, guard))?;
        let prev = replaced.prev(self, guard).encode();

        // Frame header, prev and record header in one store, then key and value.
        let mut record_head: Head = [0; PREV_BYTES + HEADER_BYTES_MAX];
        let (n, sum) = write.encode(seq, prev, salt, record_at, &mut record_head);
        let mut head = [0; FRAME_HEADER_BYTES + PREV_BYTES + HEADER_BYTES_MAX];
        let frame = Single { len: frame_len, seq, prev, checksum: sum };
        head[..FRAME_HEADER_BYTES].copy_from_slice(&frame.header(self.durable.reached_relaxed(), salt, offset));
        head[FRAME_HEADER_BYTES..].copy_from_slice(&record_head);
        let key_at = offset + (FRAME_HEADER_BYTES + n) as u64;
        active.appender.store(offset, &head[..FRAME_HEADER_BYTES + n]);
        active.appender.store(key_at, key);
        active.appender.store(key_at + key.len() as u64, value);

        self.publish(active, offset + frame_len, durability, frees)?;
        let retired = partition.set(place, write.key_hash, address, guard);
        drop(partition);
        replaced.count_dead();
        commit.next_seq = seq + 1;
        self.count_retired(&mut commit, u32::from(retired));
        commit.count(1, key.len() + value.len(), frame_len);
        // Release pairs with the Acquire of whoever reads: see the invariants of `visible`.
        self.visible.store(seq, Ordering::Release);
        let nap = if patient { commit.owe(frame_len) } else { None };
        if durability != Durability::Sync && nap.is_none() {
            return Ok(Left::Nothing);
        }
        Ok(Left::Rest(Rest { seq, durability, nap }))
    }

    /// Writes all of `batch`, or nothing. `patient`: waits for room if there is none.
    pub(crate) fn write_batch(&self, batch: &Batch, durability: Durability, patient: bool) -> Result<()> {
        self.check_writable()?;
        let (count, frame_len) = frame_size(batch.writes())?;
        if count == 0 {
            return if durability == Durability::Sync { self.sync() } else { Ok(()) };
        }
        if batch.writes().any(|write| write.kind == Kind::DeleteRange) {
            self.check_ranges()?;
        }
        let frees = batch.writes().all(|write| write.kind != Kind::Put);
        let writes: Vec<_> =
            batch.writes().map(|write| Hashed::new(write.kind, write.key, write.value, self.hash_seed)).collect();
        let (guard, entered) = self.enter(frame_len, patient, frees, |guard| {
            writes.iter().for_each(|write| self.index.prefetch(write.key_hash, guard));
            writes.iter().for_each(|write| self.fetch_replaced(write.key_hash, guard));
        })?;
        let Entered { mut commit, unwinding: _unwinding } = entered;
        let Commit { active: Some(active), check, next_seq, .. } = &mut *commit else {
            return Err(Error::new(ErrorKind::Internal, "no active segment after making room"));
        };
        let first_seq = *next_seq;
        let offset = active.appender.position();
        let addresses = self.store_batch(active, check, &writes, first_seq, frame_len, &guard);
        if addresses.is_err() {
            active.appender.erase(offset + frame_len);
        }
        let addresses = addresses?;
        self.publish(active, offset + frame_len, durability, frees)?;
        let mut retired = 0;
        // Newest first, and a key's newest write only: a reader may find an entry as soon as it is set, and take it if the batch
        // becomes visible meanwhile, so what the batch itself overwrites must never be found.
        for (write, address) in writes.iter().zip(addresses).rev() {
            if write.kind == Kind::DeleteRange {
                continue;
            }
            let mut partition = self.index.lock(write.key_hash);
            let mut replaced = Replaced::default();
            let place = partition.find(write.key_hash, &guard, |a| replaced.is_key(self, a, write.key, &guard));
            // The same search succeeded a moment ago: what fails now is memory. The frame is published, so its numbers are taken.
            let place = place.inspect_err(|failure| self.poison(failure))?;
            let overwritten = place
                .address()
                .is_some_and(|newer| newer.slot() == address.slot() && newer.offset() > address.offset());
            if !overwritten {
                retired += u32::from(partition.set(place, write.key_hash, address, &guard));
                replaced.count_dead();
            }
        }
        self.hide_ranges(&writes, first_seq, &guard);
        self.count_retired(&mut commit, retired);
        let last_seq = first_seq + u64::from(count) - 1;
        commit.next_seq = last_seq + 1;
        commit.count(u64::from(count), batch.byte_len(), frame_len);
        // Release pairs with the Acquire of whoever reads: see the invariants of `visible`.
        self.visible.store(last_seq, Ordering::Release);
        let nap = if patient { commit.owe(frame_len) } else { None };
        drop(commit);
        drop(guard);

        self.finish(Rest { seq: last_seq, durability, nap })
    }

    /// What is left to do when a write is visible and no lock is held.
    #[inline]
    pub(crate) fn finish(&self, rest: Rest) -> Result<()> {
        let synced = if rest.durability == Durability::Sync { self.sync_to(rest.seq) } else { Ok(()) };
        if let Some(nap) = rest.nap {
            self.nap(nap);
        }
        synced
    }

    /// Stores a batch's frame beyond the published end; returns where each record stands.
    fn store_batch(
        &self,
        active: &mut Active,
        check: &mut FrameCheck,
        writes: &[Hashed<'_>],
        first_seq: Seq,
        frame_len: u64,
        guard: &Guard,
    ) -> Result<Vec<Address>> {
        let (offset, salt) = (active.appender.position(), active.appender.file().salt);
        let mut addresses = Vec::with_capacity(writes.len());
        let durable = self.durable.reached_relaxed();
        let head = check.start(frame_len, writes.len() as u32, first_seq, durable);
        let mut at = offset + FRAME_HEADER_BYTES as u64;
        for (seq, write) in (first_seq..).zip(writes) {
            // A key that the batch writes twice gets the same prev twice: no reader's number falls inside a batch.
            let mut replaced = Replaced::default();
            if write.kind != Kind::DeleteRange {
                self.index.find(write.key_hash, guard, |a| replaced.is_key(self, a, write.key, guard))?;
            }
            let prev = replaced.prev(self, guard).encode();
            let record_at = at + PREV_BYTES as u64;
            let mut record_head: Head = [0; PREV_BYTES + HEADER_BYTES_MAX];
            let (n, sum) = write.encode(seq, prev, salt, record_at, &mut record_head);
            check.entry(prev, sum);
            let key_at = at + n as u64;
            active.appender.store(at, &record_head[..n]);
            active.appender.store(key_at, write.key);
            active.appender.store(key_at + write.key.len() as u64, write.value);
            addresses.push(address(active.slot, record_at)?);
            at = record_at + record::encoded_len(write.key.len(), write.value.len()) as u64;
        }
        debug_assert_eq!(at, offset + frame_len);
        active.appender.store(offset, &head);
        active.appender.store(offset + head.len() as u64, &check.finish(salt, offset).to_le_bytes());
        Ok(addresses)
    }

    /// Range deletes are in memory, in every version and in the manifest until merges have applied them.
    fn check_ranges(&self) -> Result<()> {
        let bytes = self.version.load(&epoch::pin()).ranges.bytes();
        self.flush_for_ranges(bytes as u64);
        if bytes <= RANGES_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "the range deletes that merges have not applied yet take {bytes} bytes, more than {RANGES_BYTES_MAX}: compact the store, or wait until merges get to them"
        );
        Err(Error::new(ErrorKind::NoSpace, message))
    }

    /// Puts a batch's range deletes into the version, before anybody sees their numbers.
    fn hide_ranges(&self, writes: &[Hashed<'_>], first_seq: Seq, guard: &Guard) {
        let mut ranges = None;
        for (seq, write) in (first_seq..).zip(writes) {
            if write.kind == Kind::DeleteRange && write.key < write.value {
                let range = RangeDelete { start: write.key.to_vec(), stop: write.value.to_vec(), seq };
                let before = ranges.unwrap_or_else(|| RangeDeletes::clone(&self.version.load(guard).ranges));
                ranges = Some(before.with(range));
            }
        }
        if let Some(ranges) = ranges {
            let version = Version { ranges: Arc::new(ranges), ..self.version.load(guard).clone() };
            self.version.replace(Arc::new(version), guard);
        }
    }

    /// Tells the worker of garbage now and then.
    #[inline]
    fn count_retired(&self, commit: &mut Commit, tables: u32) {
        commit.retired += tables;
        if commit.retired >= RETIRED_MAX {
            commit.retired = 0;
            self.signal.tell_garbage();
        }
    }

    /// Steps 4 and 5.
    #[inline]
    fn publish(&self, active: &mut Active, end: u64, durability: Durability, frees: bool) -> Result<()> {
        let full = |e: &Error| e.kind() == ErrorKind::NoSpace;
        let mut written = Ok(());
        if durability != Durability::None {
            written = active.appender.write_through(end);
            if frees && written.as_ref().is_err_and(full) && self.release_reserve(Taker::DeleteInPlace) {
                // Only where the file system reserves no blocks.
                written = active.appender.write_through(end);
            }
        }
        if let Err(failure) = written {
            // A full disk heals, and then nothing of this write may be in the file.
            let failure = match active.appender.take_back(end) {
                Err(second) if full(&failure) && !full(&second) => second,
                _ => failure,
            };
            if !full(&failure) {
                self.poison(&failure);
            }
            return Err(failure);
        }
        active.appender.publish(end);
        Ok(())
    }

    /// Fetches what a write of the key with this hash will look at under the lock: its bucket of the index, and head and key of the record that
    /// the bucket names. Two threads that overwrite waited for that memory one after the other, and did 0.86 of what one does: 1.4 with this.
    /// The records that a batch replaces come together: batches of 100 over earlier keys take 215 ns a key, 405 before.
    #[inline(always)]
    fn fetch_replaced(&self, key_hash: u64, guard: &Guard) {
        if let Some(address) = self.index.likely(key_hash, guard)
            && let Some(file) = self.files.get(address.slot(), guard)
        {
            file.prefetch(address.offset(), FETCHED_BYTES);
        }
    }

    /// Takes the commit mutex when the active segment has room for a frame of `len` bytes. `prefetch` is called before.
    /// `frees`: it deletes only.
    #[inline]
    fn enter(&self, len: u64, patient: bool, frees: bool, prefetch: impl Fn(&Guard)) -> Result<(Guard, Entered<'_>)> {
        let mut waiting = Waiting::default();
        loop {
            let guard = epoch::pin();
            prefetch(&guard);
            if let Some(entered) = self.try_enter(len, frees, &guard)? {
                return Ok((guard, entered));
            }
            // Neither lock nor epoch is held while it waits.
            drop(guard);
            if !patient {
                return Err(would_block());
            }
            self.wait_to_write(&mut waiting)?;
        }
    }

    /// Waits until there may be room. From when a write first has to wait, it can be interrupted.
    fn wait_to_write(&self, waiting: &mut Waiting) -> Result<()> {
        self.wait_for_room(*waiting.0.get_or_insert_with(|| self.calm()))
    }

    /// Takes the commit mutex, unless the active segment has no room for a frame of `len` bytes and there is no other yet.
    #[inline(always)]
    fn try_enter(&self, len: u64, frees: bool, guard: &Guard) -> Result<Option<Entered<'_>>> {
        let mut commit = self.commit.lock();
        let unwinding = Unwinding::watch(self);
        self.check_writable_here()?;
        Ok(self.make_room(&mut commit, len, frees, guard)?.then_some(Entered { unwinding, commit }))
    }
}

/// The commit mutex, and what goes with it. Fields are dropped in order.
struct Entered<'a> {
    unwinding: Unwinding<'a>,
    commit: MutexGuard<'a, Commit>,
}

/// A write that may have to wait: since when it can be interrupted.
#[derive(Debug, Default)]
struct Waiting(Option<Calm>);

/// What is left to do of a write, without lock and pin.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Left {
    /// It is done.
    Nothing,
    /// It is visible, but not yet to be acknowledged.
    Rest(Rest),
    /// Nothing was done, since there is no room.
    All,
}

/// What is left to do of a write that is visible.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    seq: Seq,
    durability: Durability,
    /// How long its writer is to nap.
    nap: Option<Duration>,
}

/// The version that a write replaces.
#[derive(Default)]
struct Replaced<'g> {
    file: Option<&'g File>,
    offset: u64,
    len: u64,
}

impl<'g> Replaced<'g> {
    /// Is the record at `address` one of `key`? Then it is the one. A damaged one is an error: it might be.
    #[inline]
    fn is_key(&mut self, core: &'g Core, address: Address, key: &[u8], guard: &'g Guard) -> Result<bool> {
        let (file, bytes, header) = core.record(address, guard)?;
        if header.key(&bytes) == key {
            *self = Replaced { file: Some(file), offset: address.offset(), len: header.len() as u64 };
            return Ok(true);
        }
        // The tag matched and the key does not: by chance, once in some ten thousand searches, or because the key is damaged.
        file.check(&bytes, &header, address.offset())?;
        Ok(false)
    }

    /// Where it stands, as a `prev`. What is not in the index is absent, unless a slice is not covered.
    #[inline]
    fn prev(&self, core: &Core, guard: &Guard) -> Prev {
        match self.file {
            Some(file) => Prev::At(file.number, self.offset),
            None if core.version.load(guard).uncovered => Prev::Unknown,
            None => Prev::None,
        }
    }

    /// It is not its key's newest version any more.
    #[inline]
    fn count_dead(&self) {
        if let Some(file) = self.file.filter(|file| file.is_table()) {
            file.add_dead(self.len);
        }
    }
}

#[cold]
fn would_block() -> Error {
    Error::new(ErrorKind::WouldBlock, "the write would have to wait until a flush has made room")
}

/// The address of a record at `offset` of the file in `slot`.
pub(crate) fn address(slot: u16, offset: u64) -> Result<Address> {
    Address::new(slot, offset)
        .ok_or_else(|| Error::new(ErrorKind::Internal, format!("no address for slot {slot}, offset {offset}")))
}

#[inline]
fn check_sizes(key: &[u8], value: &[u8]) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(too_large(key.len(), value.len()))
}

/// How many writes, and how many bytes their frame takes; an error if either is too large. Looks at lengths only.
fn frame_size<'a>(writes: impl Iterator<Item = Write<'a>>) -> Result<(u32, u64)> {
    let (mut count, mut len) = (0u32, FRAME_HEADER_BYTES as u64);
    for write in writes {
        check_sizes(write.key, write.value)?;
        count = count.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::TooLarge, "the batch is too large: more than 2^32 writes; split it")
        })?;
        len += (PREV_BYTES + record::encoded_len(write.key.len(), write.value.len())) as u64;
        if len > BATCH_BYTES_MAX {
            let message = format!("the batch is too large: more than {BATCH_BYTES_MAX} bytes in the log; split it");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
    }
    Ok((count, len))
}

#[cold]
fn too_large(key: usize, value: usize) -> Error {
    let message = if key > KEY_BYTES_MAX {
        format!("the key is too large: {key} bytes, at most {KEY_BYTES_MAX} are allowed")
    } else {
        format!("the value is too large: {value} bytes, at most {VALUE_BYTES_MAX} are allowed")
    };
    Error::new(ErrorKind::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One value of zeros stands for all: only its length is looked at, so no memory is ever touched.
    #[test]
    fn a_batch_may_take_four_gibibytes_and_no_more() {
        let big = vec![0; VALUE_BYTES_MAX];
        let write = |value_len: usize| Write { kind: Kind::Put, key: b"", value: &big[..value_len] };
        let three = || std::iter::repeat_n(write(VALUE_BYTES_MAX), 3);
        let (count, len) = frame_size(three()).unwrap();
        assert_eq!(count, 3);
        let left = (BATCH_BYTES_MAX - len) as usize;
        // The largest last value that still fits: records are padded to eight bytes.
        let overhead =
            (frame_size(std::iter::once(write(left - 64))).unwrap().1 as usize) - FRAME_HEADER_BYTES - (left - 64);
        let fits = (left - overhead) / 8 * 8;
        let (_, full) = frame_size(three().chain([write(fits)])).unwrap();
        assert!(full <= BATCH_BYTES_MAX && full > BATCH_BYTES_MAX - 16, "{full}");
        for larger in [fits + 16, left, VALUE_BYTES_MAX] {
            let refused = frame_size(three().chain([write(larger)])).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::TooLarge);
            assert!(refused.to_string().contains("split it"), "{refused}");
        }
        assert_eq!(frame_size(std::iter::empty()).unwrap(), (0, FRAME_HEADER_BYTES as u64));
    }
}
