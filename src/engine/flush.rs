//! Flush: sealed log segments become a table, in the order in which they were written.
//!
//! ```text
//!  1 take the oldest sealed segments, as many as fill a table; the active one stays
//!  2 sort what is not sorted; merge; write what somebody may still see                   (output.rs)
//!  3 change the store: these tables, without these segments                              (tables.rs)
//!  4 every write up to the last of them is durable now
//! ```
//!
//! First in, first out, so what is in tables is a prefix of the writes, and the logs that are left are the rest. A segment is
//! sealed under the commit mutex, after its last write has published, so everything in it is visible.
//!
//! The newest table is put into the newest run if no key of that run lies within its keys: a store that is filled in order has
//! one run.
//!
//! A full disk is not the end of it: the reserve is given up, and one segment is tried again. If that fails too, nothing was
//! changed, writers that wait for room are told, and the next one that comes starts another try. Any other failure poisons, for
//! the log can't be given back.

use std::time::Duration;

use crate::cursor::Cursor;
use crate::engine::output::Output;
use crate::engine::reserve::Taker;
use crate::engine::tables::Flushed;
use crate::engine::{Calm, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventLevel;
use crate::leaving;
use crate::memtable::Memtable;
use crate::memtable::walk::MemtableWalk;
use crate::merging::Merging;
use crate::ranges::RangeDelete;
use crate::record::Seq;
use crate::sync::epoch;
use crate::sync::{Arc, AtomicU64, AtomicUsize, Ordering};
use crate::version::{Run, Slice, Version};
use crate::visibility::Retention;

impl Core {
    /// The sealed segments, oldest first, and the last write in them.
    fn sealed(&self) -> (Arc<Version>, Vec<Arc<Memtable>>, Seq) {
        let commit = self.commit.lock();
        let version = self.version.pin(&epoch::pin());
        let active = commit.active.as_ref().map(|active| active.appender.file().number);
        let mut sealed: Vec<_> = version.memtables.clone();
        let last_seq = match active.and_then(|active| sealed.iter().position(|m| m.file.number == active)) {
            Some(at) => {
                let first_seq = sealed[at].first_seq;
                sealed.truncate(at);
                first_seq - 1
            }
            None => commit.next_seq - 1,
        };
        (version, sealed, last_seq)
    }

    /// Is anything sealed?
    pub(crate) fn has_sealed(&self) -> bool {
        !self.sealed().1.is_empty()
    }

    /// Flushes sealed segments, the oldest first, as many as make a table. False if there was none. `join`: their table may go into
    /// the newest run; not while a merge is under way, which knows its runs and not what is added to them.
    pub(crate) fn flush_some(&self, join: bool) -> Result<bool> {
        // What was let go of is written to the disk before it gives room back: little by little if there is only a little.
        let most = if self.is_reserve_out() { 1 } else { usize::MAX };
        let mut flushed = self.try_flush(join, most);
        if flushed.as_ref().is_err_and(|full| full.kind() == ErrorKind::NoSpace) && self.make_space(Taker::Flush) {
            flushed = self.try_flush(join, 1);
        }
        if self.is_reserve_out() {
            // What was flushed has made room: all of the reserve again, or what is kept from merges.
            self.free_leaving();
            if self.restore_reserve().is_err() {
                self.keep_from(Taker::Merge);
            }
        }
        if let Err(failure) = &flushed
            && failure.kind() != ErrorKind::NoSpace
        {
            self.poison(failure);
        }
        if let Err(full) = &flushed
            && full.kind() == ErrorKind::NoSpace
        {
            self.note(EventLevel::Warning, || format!("a flush found no space: {full}"));
        }
        self.room.tell(flushed.as_ref().err());
        flushed
    }

    /// Flushes at most so many segments.
    fn try_flush(&self, join: bool, most: usize) -> Result<bool> {
        if self.failure().is_some() {
            return Err(self.poisoned());
        }
        let start = self.env.now();
        let (version, mut inputs, mut last_seq) = self.sealed();
        let (mut count, mut bytes) = (0, 0);
        for memtable in &inputs {
            bytes += memtable.file.end();
            if count > 0 && (bytes > self.options.table_bytes_max || count >= most) {
                break;
            }
            count += 1;
        }
        if let Some(next) = inputs.get(count) {
            last_seq = next.first_seq - 1;
        }
        inputs.truncate(count);
        let Some(last) = inputs.last() else { return Ok(false) };
        let flushed_before = self.catalog.lock().flushed_seq;
        let flushed = Flushed { seq: last_seq, log: (last.file.number, last.file.end()) };

        let mut cursors = Vec::new();
        for memtable in &inputs {
            memtable.sort()?;
            for run in memtable.runs()? {
                cursors.push(Cursor::of_memtable(MemtableWalk::new(run, None, None)?, memtable.slot));
            }
        }
        crate::cursor::share_prefix(&mut cursors)?;
        let mut merging = Merging::new(cursors);
        merging.seek_to_end_of(true)?;
        let bottom = version.runs.is_empty();
        let mut retention = Retention::new(self.snapshots.live(), Arc::clone(&version.ranges), last_seq, bottom);
        let mut output = Output::new(self, self.options.table_bytes_max, retention.purged());
        output.take(&mut merging, &mut retention, true, |_| {
            if self.signal.wants_segment() {
                self.prepare_segment();
            }
            self.free_garbage();
            Ok(())
        })?;
        drop(merging);

        let slices = self.register(&output.built, true, false)?;
        let runs = add_newest(&version, &slices, flushed.log.0, join);
        let output = leaving::supersede(
            || {
                let output = self.install_output(output, &slices, runs, Some(&flushed))?;
                // Everything up to there is in tables and recorded: it survives power loss.
                self.durable.raise(last_seq);
                Ok(output)
            },
            |output| {
                self.repoint(&output.built, &slices, &output.gone, true)?;
                let newly = |range: &&RangeDelete| range.seq > flushed_before && range.seq <= last_seq;
                self.count_hidden(version.ranges.iter().filter(newly));
                // Damage in a table is for those to tell who read it.
                let _ = self.estimate_overwritten(&version, &inputs, &output.built);
                Ok(())
            },
            |_| {
                self.let_logs_go(&inputs, start);
                self.retire(inputs.iter().map(|memtable| (memtable.slot, Arc::clone(&memtable.file))));
            },
        )?;
        let written: u64 = slices.iter().map(|slice| slice.table.meta().len).sum();
        self.note(EventLevel::Info, || {
            let took = self.env.now().saturating_sub(start).as_millis();
            format!("flushed {count} segments to {} tables of {written} bytes in {took} ms", slices.len())
        });
        self.scans.flushed(self.version.load(&epoch::pin()).ranges.bytes() as u64);
        // Relaxed: statistics.
        self.merged_since_flush.store(0, Ordering::Relaxed);
        self.last_flush_bytes.store(output.bytes_read, Ordering::Relaxed);
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        self.counters.flush_bytes_written.fetch_add(written, Ordering::Relaxed);
        Ok(true)
    }

    /// What these range deletes hide in tables is dead: an estimate, exact to a block. Where a table is damaged nothing is
    /// counted: that is for those to tell who read it.
    fn count_hidden<'a>(&self, ranges: impl Iterator<Item = &'a RangeDelete>) {
        let version = self.version.pin(&epoch::pin());
        for range in ranges {
            for slice in version.slices().filter(|slice| slice.table.meta().first_seq < range.seq) {
                if let Some(part) = slice.clip(Some(&range.start), Some(&range.stop)) {
                    let bytes = part.table.bytes_between(part.low.as_deref(), part.high.as_deref()).unwrap_or(0);
                    part.table.file().add_dead(bytes);
                }
            }
        }
    }

    /// These segments count no longer; the flush that took them started at `start`.
    fn let_logs_go(&self, gone: &[Arc<Memtable>], start: Duration) {
        let is_gone = |number: u64| gone.iter().any(|memtable| memtable.file.number == number);
        self.unsynced.lock().retain(|file| !is_gone(file.number));
        let bytes: u64 = gone.iter().map(|memtable| memtable.file.memory().len() as u64).sum();
        let mut commit = self.commit.lock();
        commit.log_bytes = commit.log_bytes.saturating_sub(bytes);
        commit.pressure.flushed(bytes, start, self.env.now());
        gone.iter().for_each(|memtable| self.backlog.flushed(memtable.file.end()));
    }

    /// Seals the active segment, if there is one: the next write makes another.
    pub(crate) fn seal(&self) -> Result<()> {
        self.check_writable()?;
        self.seal_closed()
    }

    /// The same, of a store that is being closed.
    pub(crate) fn seal_closed(&self) -> Result<()> {
        let mut commit = self.commit.lock();
        self.write_through(&mut commit)?;
        if let Some(active) = commit.active.take() {
            commit.last = (active.appender.file().number, active.appender.position());
            self.backlog.sealed(active.appender.position());
            self.sealed_early(active.appender.position());
        }
        Ok(())
    }

    /// Returns when everything that was written before the call is in tables.
    pub(crate) fn flush_all(&self) -> Result<()> {
        let calm = self.calm();
        self.seal()?;
        let last = self.commit.lock().last.0;
        loop {
            let version = self.version.pin(&epoch::pin());
            if version.memtables.first().is_none_or(|oldest| oldest.file.number > last) {
                return Ok(());
            }
            drop(version);
            self.check_writable()?;
            self.wait_for_flush(calm)?;
        }
    }

    /// Waits for the next flush to end; makes one itself if there is no worker.
    pub(crate) fn wait_for_flush(&self, calm: Calm) -> Result<()> {
        if !self.has_worker() {
            let mut background = self.background.lock();
            self.flush_some(!background.is_merging())?;
            // A failure of these is for merges, not for whoever waits for the flush.
            while self.is_behind() && matches!(self.merge_some(&mut background, false), Ok(true)) {}
            self.free_retired();
            return Ok(());
        }
        let seen = self.room.now();
        self.signal.ask_for_flush();
        self.room.wait(seen, || {
            self.check_writable()?;
            self.check_calm(calm)
        })
    }
}

/// The runs of `version` and newer slices: in the newest run if no key of it lies within theirs, else as a run of their own.
fn add_newest(version: &Version, slices: &[Slice], number: u64, join: bool) -> Vec<Arc<Run>> {
    let mut runs = version.runs.clone();
    let (Some(first), Some(last)) = (slices.first(), slices.last()) else { return runs };
    match runs.first_mut() {
        Some(newest) if join && !newest.overlaps(first.first(), last.last()) => {
            let joined = Run::joined(newest.slices.clone(), slices.iter().cloned());
            *newest = Arc::new(Run { number: newest.number, slices: joined });
        }
        _ => runs.insert(0, Arc::new(Run { number, slices: slices.to_vec() })),
    }
    runs
}

/// How many segments are sealed and not in tables, and the bytes in them.
///
/// Changed under the commit mutex, right where segments are sealed and let go of, so that it says what the version says as soon as a
/// flush is over. Read without: whoever looks is told by the signal when there is more. So Relaxed.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    count: AtomicUsize,
    bytes: AtomicU64,
}

impl Backlog {
    /// A segment of so many bytes was sealed.
    pub fn sealed(&self, bytes: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A segment of so many bytes is in tables.
    pub fn flushed(&self, bytes: u64) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Sealed segments.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes in them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Where writers wait for flushes, and hear of their failures.
#[derive(Debug, Default)]
pub(crate) struct Room {
    state: crate::sync::Mutex<Told>,
    changed: crate::sync::Condvar,
}

#[derive(Debug, Default)]
struct Told {
    /// Flushes that ended, one way or the other, and other reasons to look again.
    times: u64,
    failure: Option<Error>,
}

impl Room {
    /// A flush has ended, or nothing can be waited for any more.
    pub fn tell(&self, failure: Option<&Error>) {
        let mut told = self.state.lock();
        told.times += 1;
        told.failure = failure.cloned();
        self.changed.notify_all();
    }

    /// Whoever waits checks once more whether to go on.
    pub fn look_again(&self) {
        let _told = self.state.lock();
        self.changed.notify_all();
    }

    /// What [`wait`](Room::wait) is to wait beyond.
    pub fn now(&self) -> u64 {
        self.state.lock().times
    }

    /// Waits until something is told, but not for long.
    pub fn nap(&self, at_most: Duration) {
        let mut told = self.state.lock();
        let seen = told.times;
        while told.times == seen && !self.changed.wait_for(&mut told, at_most).timed_out() {}
    }

    /// Waits until something was told since `seen`; its failure, if it had one.
    pub fn wait(&self, seen: u64, check: impl Fn() -> Result<()>) -> Result<()> {
        let mut told = self.state.lock();
        while told.times == seen {
            check()?;
            self.changed.wait(&mut told);
        }
        match &told.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::recovery;
    use crate::env::sim::SimEnv;
    use crate::options::{Durability, Options};
    use crate::record::Kind;

    /// What is counted is what is there: after rotations, seals, flushes, and an open that replays.
    #[test]
    fn the_backlog_is_what_is_sealed() {
        let sim = SimEnv::new(1);
        let (segment_bytes_min, segment_bytes_max) = (4 << 10, 16 << 10);
        let options = Options { segment_bytes_min, segment_bytes_max, ..Options::default() };
        let counted = |core: &Core| {
            let (_, sealed, _) = core.sealed();
            let bytes = sealed.iter().map(|memtable| memtable.file.end()).sum::<u64>();
            assert_eq!((core.backlog.count(), core.backlog.bytes()), (sealed.len(), bytes));
            sealed.len()
        };
        let (mut most, mut least, mut replayed) = (0, usize::MAX, 0);
        for round in 0..4 {
            let core = recovery::open(sim.shared(), Path::new("/db"), options.clone()).unwrap();
            replayed = replayed.max(counted(&core));
            for n in 0..200u64 {
                core.write_one(Kind::Put, &n.to_be_bytes(), &[7; 300], Durability::Process, true).unwrap();
                most = most.max(counted(&core));
                match n % 100 {
                    50 => core.seal().unwrap(),
                    70 => drop(core.flush_some(true).unwrap()),
                    90 if round != 2 => core.flush_all().unwrap(),
                    _ => {}
                }
                least = least.min(counted(&core));
            }
            // As a kill leaves it: with logs to replay.
            drop(core);
        }
        assert!(most > 2 && least == 0 && replayed > 1, "{most}, {least}, {replayed}");
    }
}
