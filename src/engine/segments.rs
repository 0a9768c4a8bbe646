//! Segments: prepared ahead, taken into use, trimmed.
//!
//! The worker keeps one segment prepared: its blocks are reserved and its pages touched, so that taking it into use
//! costs a header. A writer that finds none makes one itself; nobody waits for a timer. Sizes double from
//! `segment_bytes_min` to `segment_bytes_max`, so that an empty store stays small; a frame that is larger than that gets a
//! segment of its own.
//!
//! Rotation, under the commit mutex:
//!
//! 1. write through what `Durability::None` left in the process;
//! 2. take the prepared segment if it is large enough, else make one (a full disk shows here, as an error; see `reserve.rs`);
//! 3. write its header, which names its predecessor and where that ended;
//! 4. give it a slot and put its memtable into a new version, before anything in it is published;
//! 5. remember it as unsynced, and ask the worker for the next.
//!
//! File numbers ascend in the order of use: a prepared segment that is too small is thrown away, not kept for later.
//!
//! A segment that is in tables and that nobody reads any more is not removed: its memory is erased, its file renamed, and it is the next one
//! to be prepared, if that has the same size. Its pages and blocks are there already. What readers, a kill and a power cut make of that
//! stands in `docs/decisions/0014-refilled-segments.md`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::commit::{Active, Commit};
use crate::engine::reserve::Taker;
use crate::engine::{Calm, Core};
use crate::env::SegmentFile;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventLevel;
use crate::files::File;
use crate::log::segment::{self, Appender, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::log::{self, FILE_NUMBER_MAX};
use crate::memtable::Memtable;
use crate::record::SEQ_MAX;
use crate::sync::epoch::Guard;
use crate::sync::{Arc, Ordering};

/// Segment sizes are multiples of a page.
const PAGE: u64 = 4096;

/// No more segments than this wait for a flush, however small they are: a scan looks into each of them.
const MEMTABLES_MAX: usize = 64;

fn is_full(failure: &Error) -> bool {
    failure.kind() == ErrorKind::NoSpace
}

/// The prepared segment.
#[derive(Debug)]
pub(crate) struct Spare {
    ready: Option<Prepared>,
    /// Files of segments that are in tables and that nobody reads: to be filled again.
    left: Vec<File>,
    /// No file has this number yet.
    next_file: u64,
    /// Bytes of the next one to prepare.
    next_len: u64,
}

#[derive(Debug)]
struct Prepared {
    number: u64,
    source: Box<dyn SegmentFile>,
    /// It was another segment before.
    is_refilled: bool,
}

impl Prepared {
    /// Is it still nobody's copy? Whoever gives a file a second name may have looked up the first before the file was renamed, and be done with
    /// it only now.
    fn is_ours(&self) -> bool {
        !self.is_refilled || self.source.can_be_refilled()
    }

    fn len(&self) -> u64 {
        self.source.memory().len() as u64
    }
}

impl Spare {
    pub fn new(next_file: u64, next_len: u64) -> Spare {
        Spare { ready: None, left: Vec::new(), next_file, next_len }
    }

    fn unused(&self) -> Result<u64> {
        if self.next_file >= FILE_NUMBER_MAX {
            let message = format!("the store has used up its {FILE_NUMBER_MAX} file numbers");
            return Err(Error::new(ErrorKind::NoSpace, message));
        }
        Ok(self.next_file)
    }

    /// A number for a file that is no segment. A segment that is prepared already keeps its lower number: only among
    /// themselves do segments ascend in the order of use.
    pub fn take_number(&mut self) -> Result<u64> {
        let number = self.unused()?;
        self.next_file += 1;
        Ok(number)
    }
}

impl Core {
    /// Makes sure that the active segment has room for a frame of `len` bytes. `commit` is held. False: a flush must make room.
    /// `frees`: the frame deletes only, and may use what is kept on a full disk.
    #[inline]
    pub(crate) fn make_room(&self, commit: &mut Commit, len: u64, frees: bool, guard: &Guard) -> Result<bool> {
        if let Some(active) = &mut commit.active {
            let (end, capacity) = (active.appender.position() + len, active.appender.capacity());
            if end <= capacity {
                if end > capacity / 2 && !active.asked {
                    active.asked = true;
                    self.signal.ask_for_segment();
                }
                return Ok(true);
            }
        }
        self.rotate(commit, len, frees, guard)
    }

    #[cold]
    fn rotate(&self, commit: &mut Commit, len: u64, frees: bool, guard: &Guard) -> Result<bool> {
        if commit.next_seq > SEQ_MAX - u64::from(u32::MAX) {
            return Err(Error::new(ErrorKind::TooLarge, "the store has used up its 2^56 sequence numbers"));
        }
        // What stayed in the process goes to the file before a later segment exists, or the log would have a hole: the old
        // segment has no appender after this.
        self.write_through(commit)?;
        if self.version.load(guard).memtables.len() >= MEMTABLES_MAX {
            return Ok(false);
        }
        let need = (SEGMENT_HEADER_BYTES as u64 + len).next_multiple_of(PAGE);
        let Some(prepared) = self.take_segment(need, frees, commit)? else { return Ok(false) };
        let (predecessor, predecessor_end) = match &commit.active {
            Some(active) => (active.appender.file().number, active.appender.position()),
            None => commit.last,
        };
        let header = SegmentHeader {
            database: self.database,
            number: prepared.number,
            first_seq: commit.next_seq,
            predecessor,
            predecessor_end,
        };
        let allocated = prepared.source.memory().len() as u64;
        let path = self.dir.join(log::name(prepared.number));
        let file = File::new(self.database, self.hash_seed, prepared.number, path.clone(), prepared.source);
        let appender = match Appender::activate(file, &header) {
            Ok(appender) => appender,
            Err(failure) => {
                self.discard(&path);
                if failure.kind() != ErrorKind::NoSpace {
                    self.poison(&failure);
                }
                return Err(failure);
            }
        };
        let slot = self.files.register(Arc::clone(appender.file())).inspect_err(|_| self.discard(&path))?;

        let memtable = Arc::new(Memtable::new(Arc::clone(appender.file()), slot, commit.next_seq));
        let version = self.version.load(guard).with_memtable(memtable);
        self.version.replace(Arc::new(version), guard);
        self.unsynced.lock().push(Arc::clone(appender.file()));
        if commit.active.is_some() {
            self.backlog.sealed(predecessor_end);
            self.signal.tell_sealed();
        }
        commit.last = (predecessor, predecessor_end);
        commit.log_bytes += allocated;
        commit.totals.rotations += 1;
        commit.active = Some(Active { appender, slot, asked: false });
        Ok(true)
    }

    /// The prepared segment, or one made now, of at least `need` bytes. `None`: there are as many bytes of log as there may be, and
    /// a flush can take some away. (A frame that is too large for what is allowed gets its segment when nothing else is left.)
    fn take_segment(&self, need: u64, frees: bool, commit: &Commit) -> Result<Option<Prepared>> {
        let mut spare = self.spare.lock();
        let max = self.options.memtable_bytes_max;
        let room = max.saturating_sub(commit.log_bytes);
        let wanted = spare.ready.as_ref().map_or(spare.next_len, Prepared::len).max(need);
        if wanted > room && commit.log_bytes > 0 {
            // The last bytes of the allowance are as good as the first, unless they make a segment that is full at once.
            let rest = room / PAGE * PAGE;
            if rest < need.max(self.options.segment_bytes_min) {
                return Ok(None);
            }
            self.discard_spare(&mut spare);
            return self.make_segment_or_free(&mut spare, rest, need, frees).map(Some);
        }
        if let Some(ready) = spare.ready.take_if(|ready| ready.len() >= need && ready.is_ours()) {
            spare.next_len = self.after(ready.len());
            return Ok(Some(ready));
        }
        self.discard_spare(&mut spare);
        let made = self.make_segment_or_free(&mut spare, wanted, need, frees)?;
        spare.next_len = self.after(made.len());
        Ok(Some(made))
    }

    /// A segment of `wanted` bytes, or, where the disk has no room for that, one that is no larger than it must be. On a disk that is
    /// full but for the reserve there is none for puts.
    fn make_segment_or_free(&self, spare: &mut Spare, wanted: u64, need: u64, frees: bool) -> Result<Prepared> {
        let least = need.max(self.options.segment_bytes_min).min(wanted);
        if !frees {
            self.restore_reserve()?;
        }
        if !self.is_reserve_out() {
            let mut made = self.make_segment(spare, wanted);
            if made.as_ref().is_err_and(is_full) && least < wanted {
                made = self.make_segment(spare, least);
            }
            if !(frees && made.as_ref().is_err_and(is_full) && self.release_reserve(Taker::Delete)) {
                return made;
            }
        }
        let made = self.make_segment(spare, least);
        if made.as_ref().is_err_and(is_full) {
            return Err(self.too_many_deletes());
        }
        let made = made?;
        if !self.admit_deletes() {
            drop(made.source);
            self.discard(&self.dir.join(log::name(made.number)));
            return Err(self.too_many_deletes());
        }
        Ok(made)
    }

    /// Returns when a flush has made room, or says why none can.
    #[cold]
    pub(crate) fn wait_for_room(&self, calm: Calm) -> Result<()> {
        let start = self.env.now();
        let waited = self.make_room_by_flush(calm);
        // Relaxed: statistics.
        self.counters.stalls.fetch_add(1, Ordering::Relaxed);
        let nanos = self.env.now().saturating_sub(start).as_nanos() as u64;
        self.counters.stall_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.note(EventLevel::Warning, || format!("a write waited {} ms for a flush", nanos / 1_000_000));
        waited
    }

    /// Pays what writes owe the worker (see [`pressure`](super::pressure)). Ends early when a flush has ended.
    #[cold]
    pub(crate) fn nap(&self, at_most: Duration) {
        if !self.has_worker() {
            return;
        }
        let start = self.env.now();
        self.room.nap(at_most);
        // Relaxed: statistics.
        self.counters.delays.fetch_add(1, Ordering::Relaxed);
        let nanos = self.env.now().saturating_sub(start).as_nanos() as u64;
        self.counters.delay_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn make_room_by_flush(&self, calm: Calm) -> Result<()> {
        // The active segment alone may be all there is.
        if !self.has_sealed() {
            self.seal()?;
        }
        self.wait_for_flush(calm)
    }

    /// The size after `len`.
    fn after(&self, len: u64) -> u64 {
        len.saturating_mul(2).clamp(self.options.segment_bytes_min, self.options.segment_bytes_max)
    }

    /// A segment was sealed before it was full, with so many bytes: who flushes often pays for no more memory than is used.
    pub(crate) fn sealed_early(&self, used: u64) {
        let mut spare = self.spare.lock();
        spare.next_len = spare.next_len.min(self.after(used.next_multiple_of(PAGE)));
    }

    /// Makes a segment of `len` bytes ready to use.
    fn make_segment(&self, spare: &mut Spare, len: u64) -> Result<Prepared> {
        let len = len.next_multiple_of(PAGE);
        let refilled = self.refill(spare, len)?;
        let is_fresh = refilled.is_none();
        let made = match refilled {
            Some(refilled) => refilled,
            None => {
                let (number, path) = self.next_name(spare)?;
                Prepared { number, source: self.env.create_segment(&path, len, self.segment_kind)?, is_refilled: false }
            }
        };
        // The first sync of a large fresh file is slow, so where syncs matter it is paid here, ahead of time.
        if self.counters.syncs.load(Ordering::Relaxed) > 0 {
            // A file that failed to sync is thrown away: nothing is in it. A directory can't be, and its next sync would be
            // a second try.
            made.source.sync().inspect_err(|_| self.discard(&self.dir.join(log::name(made.number))))?;
            self.sync_entries(&self.dir)?;
        }
        if is_fresh {
            self.env.populate(made.source.memory());
        }
        Ok(made)
    }

    /// The next number, and the path of the segment that has it.
    fn next_name(&self, spare: &mut Spare) -> Result<(u64, PathBuf)> {
        // The number is spent even if nothing comes of it: it is never used for anything else.
        let number = spare.take_number()?;
        Ok((number, self.dir.join(log::name(number))))
    }

    /// A segment of `len` bytes out of the file of an earlier one, if there is one of that size. Others are removed: nobody wants them
    /// any more, and their room may be needed.
    ///
    /// Erased first and renamed then: a process that dies in between leaves a log that is in tables, of which nothing is read.
    fn refill(&self, spare: &mut Spare, len: u64) -> Result<Option<Prepared>> {
        while let Some(file) = spare.left.pop() {
            let (old, is_wanted) = (file.path.clone(), file.memory().len() as u64 == len);
            let Some(mut source) = is_wanted.then(|| segment::erased(file)).flatten() else {
                self.discard(&old);
                continue;
            };
            let (number, path) = self.next_name(spare)?;
            if self.env.rename(&old, &path).is_err() {
                // It may have either name. A fresh one will do.
                self.discard(&old);
                self.discard(&path);
                continue;
            }
            source.renamed(&path);
            if !source.can_be_refilled() {
                // Somebody has just given it a second name: it stays his, of zeros.
                self.discard(&path);
                continue;
            }
            // Relaxed: a statistic.
            self.counters.refills.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(Prepared { number, source, is_refilled: true }));
        }
        Ok(None)
    }

    /// A segment is in tables, and nobody reads it any more: its file is kept to be filled again, or removed.
    pub(crate) fn let_segment_go(&self, file: File) {
        let log_bytes = self.commit.lock().log_bytes;
        let is_kept = self.failure().is_none() && !self.is_reserve_out();
        let mut spare = self.spare.lock();
        let kept: u64 = spare.left.iter().map(|file| file.memory().len() as u64).sum();
        let (len, prepared) = (file.memory().len() as u64, spare.ready.as_ref().map_or(0, Prepared::len));
        // One, or as many as the log may take besides what it takes now.
        let has_room = kept == 0 || log_bytes + prepared + kept + len <= self.options.memtable_bytes_max;
        if is_kept && has_room && len == spare.next_len && file.source().can_be_refilled() {
            spare.left.push(file);
        } else {
            self.discard(&file.path);
        }
    }

    /// Prepares the next segment, if there is none. Called by the worker; an error is left for the writer that meets it too.
    pub(crate) fn prepare_segment(&self) {
        let log_bytes = {
            let commit = self.commit.lock();
            if self.check_writable().is_err() {
                return;
            }
            commit.log_bytes
        };
        if !self.prepare_reserve() {
            return;
        }
        let mut spare = self.spare.lock();
        if spare.ready.is_none() && log_bytes.saturating_add(spare.next_len) <= self.options.memtable_bytes_max {
            let len = spare.next_len;
            spare.ready = self.make_segment(&mut spare, len).ok();
        }
    }

    /// No file has this number or a higher one.
    pub(crate) fn next_file(&self) -> u64 {
        self.spare.lock().next_file
    }

    /// Gives the prepared segment back, and files that were to be refilled: at close, when the store has been idle, and on a full
    /// disk. Was there one?
    pub(crate) fn give_back_segment(&self) -> bool {
        let mut spare = self.spare.lock();
        let left = std::mem::take(&mut spare.left);
        left.iter().for_each(|file| self.discard(&file.path));
        self.discard_spare(&mut spare) || !left.is_empty()
    }

    fn discard_spare(&self, spare: &mut Spare) -> bool {
        let ready = spare.ready.take();
        if let Some(ready) = &ready {
            self.discard(&self.dir.join(log::name(ready.number)));
        }
        ready.is_some()
    }

    /// Removes a segment that was never used, or is in tables. If that fails it stays, and recovery removes it.
    fn discard(&self, path: &Path) {
        let _ = self.env.unlink(path);
    }
}
