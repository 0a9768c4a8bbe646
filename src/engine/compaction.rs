//! Compaction: several runs become one, table by table.
//!
//! A *job* is a number of the newest runs (see [`picking`](super::picking)) or all, and a range of keys, usually all. It goes through
//! the keys in order. One *step* of it
//!
//! 1. merges the job's runs from where the last step stopped until a table is full, reading past mapping and cache;
//! 2. cuts the keys so far out of every run of the job, and puts the table in the place of what it cut out of the oldest;
//! 3. installs that ([`tables`](super::tables)), re-points the index, and retires tables that have no slice left.
//!
//! After each step the store is whole: keys before that point are merged, the others are not, and nothing needs to be
//! remembered. So a job can be dropped between steps, by a close or a kill; picking then begins with what is there. Within a step
//! the worker stops every few hundred records to look whether a flush or a segment is wanted, and does that first.
//!
//! What may be dropped is decided by [`Retention`], from the inputs alone. Tombstones go only if no run is older than the job's.

use std::collections::{BTreeMap, HashSet};

use crate::cursor::{Cursor, RunWalk};
use crate::engine::outlived::{Looks, Piece};
use crate::engine::output::{Built, Output};
use crate::engine::picking::{self, Limits, Shape};
use crate::engine::reserve::Taker;
use crate::engine::signal::COMPACT;
use crate::engine::{Calm, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventLevel;
use crate::leaving;
use crate::merging::{Merging, Source};
use crate::record::Seq;
use crate::sync::epoch;
use crate::sync::{Arc, Condvar, Mutex, Ordering};
use crate::version::{Run, Slice, Version};
use crate::visibility::Retention;

/// Less dead space than this is left alone.
const DEAD_BYTES_MIN: u64 = 64 << 10;
/// Fewer tombstones than this are left alone.
const TOMBSTONES_MIN: u64 = 4096;
/// With so many iterators made since the last merge, scans are frequent, and fewer runs are allowed.
const SCANS_FREQUENT: u64 = 1000;

/// A slice of which so many hundredths are dead is rewritten although nothing newer falls into it.
const WORN_PERCENT: u64 = 25;
/// A table of which so many hundredths are dead is like one of tombstones.
const DEAD_PERCENT: u64 = 75;
/// So many slices ahead a step looks for one at which it can end.
const LOOK_AHEAD: usize = 4;

/// Writers are made to wait for merges from here on: more than the runs, or the dead space, that the options allow.
const BEHIND_PERCENT: u64 = 100;
/// And with more dead space than this.
const DEAD_BYTES_BEHIND: u64 = 1 << 20;
/// So many bytes are merged for a hundred that are flushed when merges begin to be behind, and when they are twice as far as
/// allowed. A store that only grows needs about a hundred (see [`picking`]): so it settles at the lower end, and its writers
/// go at an even rate. Waiting until much is to be done, and doing it at once, made 8 million puts at 0.7 µs and the next two at 3.
const MERGED_PERCENT_LEAST: u64 = 100;
const MERGED_PERCENT_MOST: u64 = 300;

/// How many bytes to merge for a hundred that are flushed, when merges are so far behind.
fn merged_percent(behind: u64) -> u64 {
    if behind <= BEHIND_PERCENT {
        return 0;
    }
    let share = (behind - BEHIND_PERCENT).min(100);
    MERGED_PERCENT_LEAST + (MERGED_PERCENT_MOST - MERGED_PERCENT_LEAST) * share / 100
}

/// A key at which something starts or stops; `None`: the first, or beyond the last.
type Bound = Option<Arc<[u8]>>;

/// What the holder of `background` remembers.
#[derive(Debug)]
pub(crate) struct Background {
    job: Option<Job>,
    /// Something may be dropped that could not be when all runs were last merged.
    unsettled: bool,
    /// The flushes that there were when that was last looked at.
    seen_flushes: u64,
    /// The oldest snapshot when all runs were last merged, if older versions were kept for it.
    held_for: Option<Seq>,
    /// Iterators that had been made at the last merge.
    seen_iterators: u64,
    /// A merge found damage: no more merges until the store is opened again.
    stopped: bool,
    /// Tables of which nothing may be live.
    looks: Looks,
    /// The last piece of work was a flush.
    pub has_flushed: bool,
    /// The last piece of work was none that uncovers.
    pub may_uncover: bool,
}

impl Default for Background {
    /// Of a store that was just opened: nobody knows what a merge could do.
    fn default() -> Background {
        Background {
            job: None,
            unsettled: true,
            seen_flushes: 0,
            held_for: None,
            seen_iterators: 0,
            stopped: false,
            looks: Looks::default(),
            has_flushed: false,
            may_uncover: false,
        }
    }
}

impl Background {
    /// Is a merge under way?
    pub fn is_merging(&self) -> bool {
        self.job.is_some()
    }
}

/// What a caller of `compact` waits for.
#[derive(Debug)]
pub(crate) struct Asked {
    start: Option<Vec<u8>>,
    stop: Option<Vec<u8>>,
    /// An interrupt since ends it.
    calm: Calm,
    outcome: Mutex<Option<Result<()>>>,
    done: Condvar,
}

impl Asked {
    fn answer(&self, outcome: Result<()>) {
        *self.outcome.lock() = Some(outcome);
        self.done.notify_all();
    }
}

/// A merge under way.
#[derive(Clone, Debug)]
struct Job {
    /// The numbers of its runs, newest first. Those that have no slice left are not in the version any more.
    runs: Vec<u64>,
    /// Where it started, and where the next step starts.
    start: Bound,
    next: Bound,
    /// Where it ends.
    stop: Bound,
    /// Everything in the range is rewritten, needed or not.
    whole: bool,
    /// Somebody waits for it, unless there is an interrupt.
    asked: Option<Calm>,
    /// It took all runs that there were, and all keys.
    all: bool,
    /// Bytes of records that it copied although they are not live.
    held: u64,
}

impl Core {
    /// Flushes, and merges the keys from `start` up to but without `stop`; returns when that is done.
    pub(crate) fn compact(&self, start: Option<Vec<u8>>, stop: Option<Vec<u8>>) -> Result<()> {
        let calm = self.calm();
        self.flush_all()?;
        if start.as_ref().zip(stop.as_ref()).is_some_and(|(start, stop)| start >= stop) {
            return Ok(());
        }
        if !self.has_worker() {
            return self.merge_range(&mut self.background.lock(), start.as_deref(), stop.as_deref(), calm);
        }
        let asked = Arc::new(Asked { start, stop, calm, outcome: Mutex::new(None), done: Condvar::new() });
        self.compacting.lock().push(Arc::clone(&asked));
        self.signal.ask_to_compact();
        if let Err(failure) = self.check_writable() {
            // The worker may have looked for the last time before this came.
            self.refuse_compactions(&failure);
        }
        let mut outcome = asked.outcome.lock();
        loop {
            match outcome.take() {
                Some(outcome) => return outcome,
                None => asked.done.wait(&mut outcome),
            }
        }
    }

    /// Does what callers of `compact` wait for.
    pub(crate) fn compact_asked(&self, background: &mut Background) {
        let asked = std::mem::take(&mut *self.compacting.lock());
        for asked in asked {
            asked.answer(self.merge_range(background, asked.start.as_deref(), asked.stop.as_deref(), asked.calm));
        }
    }

    /// Tells callers of `compact` that nobody does it any more.
    pub(crate) fn refuse_compactions(&self, why: &Error) {
        let asked = std::mem::take(&mut *self.compacting.lock());
        asked.iter().for_each(|asked| asked.answer(Err(why.clone())));
    }

    /// Drops tables of which nothing is live. Damage that it meets is left to whoever reads it, and any other failure to whoever writes.
    pub(crate) fn drop_some(&self, background: &mut Background) -> Piece {
        if self.options.read_only || self.failure().is_some() {
            return Piece::default();
        }
        self.drop_outlived(&mut background.looks).unwrap_or_default()
    }

    /// One step of the merge under way, or of one that is picked now. False if there is nothing to merge.
    pub(crate) fn merge_some(&self, background: &mut Background, at_rest: bool) -> Result<bool> {
        if background.stopped || self.options.read_only || self.failure().is_some() {
            return Ok(false);
        }
        if background.job.is_none() {
            background.job = self.pick_job(background, at_rest);
            background.job.iter().for_each(|job| self.note_begin(job));
        }
        let Some(mut job) = background.job.take() else { return Ok(false) };
        if job.asked.is_none() && self.is_reserve_out() {
            // On a full disk only those that somebody asked for: the others mostly give nothing back, and stop half-way.
            background.job = Some(job);
            return Ok(false);
        }
        let mut next = self.merge_sparing(&mut job);
        if job.asked.is_some()
            && next.as_ref().is_err_and(|full| full.kind() == ErrorKind::NoSpace)
            && self.make_space(Taker::Merge)
        {
            next = self.merge_sparing(&mut job);
        }
        let next = match next {
            Ok(next) => next,
            Err(failure) => {
                if !matches!(failure.kind(), ErrorKind::NoSpace | ErrorKind::Closed | ErrorKind::Interrupted)
                    && self.failure().is_none()
                {
                    // The damage is where it was, and reads tell of it. What can't be merged stays.
                    background.stopped = true;
                    self.note_background_failure(&failure);
                }
                return Err(failure);
            }
        };
        match next {
            Some(next) => {
                job.next = next;
                background.job = Some(job);
            }
            None => self.merged(background, &job)?,
        }
        Ok(true)
    }

    fn note_begin(&self, job: &Job) {
        let asked = if job.asked.is_some() { ", as somebody asked" } else { "" };
        self.note(EventLevel::Info, || format!("merging {} runs{asked}", job.runs.len()));
    }

    fn merged(&self, background: &mut Background, job: &Job) -> Result<()> {
        self.cut_empty(job)?;
        self.admit_deletes_again();
        // Relaxed: a statistic.
        self.counters.merges.fetch_add(1, Ordering::Relaxed);
        self.note(EventLevel::Info, || {
            let tables = self.version.pin(&epoch::pin()).slices().count();
            format!("merged {} runs; the store has {tables} tables now", job.runs.len())
        });
        background.seen_iterators = self.counters.iterators.load(Ordering::Relaxed);
        let version = self.version.pin(&epoch::pin());
        if job.all {
            background.unsettled = false;
            self.scans.merged();
            background.held_for = self.snapshots.summary().1.filter(|_| job.held >= DEAD_BYTES_MIN);
        }
        if !version.ranges.is_empty() {
            // Those that the merge has applied everywhere are spent.
            self.install(version.runs.clone(), None)?;
        }
        Ok(())
    }

    fn pick_job(&self, background: &mut Background, at_rest: bool) -> Option<Job> {
        let flushes = self.counters.flushes.load(Ordering::Relaxed);
        let freed = |held_for: &Seq| self.snapshots.summary().1.is_none_or(|oldest| oldest > *held_for);
        if flushes != background.seen_flushes || background.held_for.take_if(|seq| freed(seq)).is_some() {
            background.unsettled = true;
            background.seen_flushes = flushes;
        }
        let version = self.version.pin(&epoch::pin());
        let scans = self.counters.iterators.load(Ordering::Relaxed) - background.seen_iterators;
        let runs_max = self.options.runs_max as usize;
        let limits = Limits {
            space_percent: self.options.space_percent,
            logged: logged(&version),
            dead_bytes_min: DEAD_BYTES_MIN.min(self.options.table_bytes_max / 4),
            tombstones_min: TOMBSTONES_MIN.min(self.options.table_bytes_max / 1024),
            runs_max: if scans > SCANS_FREQUENT { runs_max.div_ceil(3) } else { runs_max },
            at_rest,
            unsettled: background.unsettled,
            skipped: self.scans.in_tables(),
        };
        let Some(pick) = picking::pick(&shapes(&version, self.snapshots.summary().1), &limits) else {
            return version.runs.iter().find_map(|run| self.pick_neighbours(run));
        };
        let runs = version.runs[..pick.count].iter().map(|run| run.number).collect();
        let all = pick.count == version.runs.len();
        Some(Job { runs, start: None, next: None, stop: None, whole: false, asked: None, all, held: 0 })
    }

    /// Small tables of a run that lie side by side become one.
    fn pick_neighbours(&self, run: &Run) -> Option<Job> {
        // What is outlived goes by itself, and is no neighbour.
        let size = |slice: &Slice| if slice.table.file().is_outlived() { u64::MAX } else { slice.table.meta().len };
        let sizes: Vec<u64> = run.slices.iter().map(size).collect();
        let row = picking::neighbours(&sizes, self.options.table_bytes_max / 4)?;
        let start = Some(Arc::from(run.slices[row.start].first()));
        let stop = run.slices.get(row.end).map(|next| Arc::from(next.first()));
        let (next, runs) = (start.clone(), vec![run.number]);
        Some(Job { runs, start, next, stop, whole: true, asked: None, all: false, held: 0 })
    }

    /// Merges everything between `start` and `stop`, all runs. Other jobs are dropped: what they have done stays done.
    pub(crate) fn merge_range(
        &self,
        background: &mut Background,
        start: Option<&[u8]>,
        stop: Option<&[u8]>,
        calm: Calm,
    ) -> Result<()> {
        let runs: Vec<u64> = self.version.pin(&epoch::pin()).runs.iter().map(|run| run.number).collect();
        if runs.is_empty() {
            return Ok(());
        }
        let (next, stop) = (start.map(Arc::from), stop.map(Arc::from));
        let all = start.is_none() && stop.is_none();
        let job = Job { runs, start: next.clone(), next, stop, whole: true, asked: Some(calm), all, held: 0 };
        self.note_begin(&job);
        background.job = Some(job);
        while background.job.is_some() {
            if let Some(damage) = self.merge_failure.get() {
                background.job = None;
                return Err(damage.clone());
            }
            self.check_writable()?;
            if let Err(interrupted) = self.check_calm(calm) {
                background.job = None;
                return Err(interrupted);
            }
            self.merge_some(background, false)?;
            self.free_retired();
        }
        if self.is_reserve_out() {
            // Whoever waits for this wants the room now. As far as there is any.
            self.free_leaving();
            let _ = self.restore_reserve();
        }
        Ok(())
    }

    /// The keys of the next step, from the first up to but without the second. `None`: nothing is left to do.
    ///
    /// Slices of the oldest run in which no newer run has a key stay as they are, unless much of them is dead or tombstones that
    /// can go: the step begins at the first key that is not in such a slice, and ends before the next such slice.
    fn narrow(&self, job: &Job, newer: &[&Arc<Run>], oldest: &Run, bottom: bool) -> Result<Option<(Bound, Bound)>> {
        // On a full disk only what gives space back: to copy a table without loss first takes as much as it has.
        if job.whole && !self.is_reserve_out() {
            return Ok(Some((job.next.clone(), job.stop.clone())));
        }
        let walks = newer.iter().map(|run| self.walk(run, job)).filter(|walk| !walk.is_empty());
        let mut newer = Merging::new(walks.map(Cursor::of_run).collect());
        newer.seek_to_end_of(true)?;
        let first_newer = top_key(&newer);
        let (from, to) = oldest.range_of(job.next.as_deref(), job.stop.as_deref());
        let slices = &oldest.slices[from..to];
        let begin = |slice: &Slice| job.next.as_deref().map_or(slice.first(), |next| next.max(slice.first())).to_vec();
        let snapshot = self.snapshots.summary().1;
        let stays = |slice: &Slice, newer: &Option<Vec<u8>>| {
            let in_the_way = bottom && tombstones(slice, snapshot) > 0;
            let is_apart = newer.as_deref().is_none_or(|key| key > slice.last());
            // What is outlived goes by itself; on a full disk whoever waits for room does not wait for that.
            let goes = slice.table.file().is_outlived() && !self.is_reserve_out();
            is_apart && (goes || !is_worn(slice) && !in_the_way)
        };
        let skipped = slices.iter().take_while(|slice| stays(slice, &first_newer)).count();
        let start = match (first_newer, slices.get(skipped)) {
            (None, None) => return Ok(None),
            (Some(key), None) => key,
            (None, Some(slice)) => begin(slice),
            (Some(key), Some(slice)) => key.min(begin(slice)),
        };
        let mut stop = job.stop.clone();
        for slice in slices[skipped..].iter().take(LOOK_AHEAD).filter(|slice| slice.first() > &*start) {
            newer.seek(slice.first(), true, false)?;
            if stays(slice, &top_key(&newer)) {
                stop = Some(Arc::from(slice.first()));
                break;
            }
        }
        Ok(Some((Some(start.into()), stop)))
    }

    fn walk(&self, run: &Arc<Run>, job: &Job) -> RunWalk {
        RunWalk::new(Arc::clone(run), job.next.clone(), job.stop.clone(), Some(Arc::clone(&self.env)))
    }

    /// A step that leaves to flushes and deletes what is theirs of a full disk.
    fn merge_sparing(&self, job: &mut Job) -> Result<Option<Bound>> {
        if self.is_reserve_out() {
            self.free_leaving();
            if !self.keep_from(Taker::Merge) {
                return Err(self.no_room_to_merge());
            }
        }
        self.merge_step(job)
    }

    /// Steps 1 to 3; returns where the next one starts, `None` at the end.
    fn merge_step(&self, job: &mut Job) -> Result<Option<Bound>> {
        let version = self.version.pin(&epoch::pin()).tables_only();
        let is_input = |run: &Run| job.runs.contains(&run.number);
        let inputs: Vec<_> = version.runs.iter().filter(|run| is_input(run)).collect();
        let Some((oldest, newer)) = inputs.split_last() else { return Ok(None) };
        let target = oldest.number;
        let bottom = version.runs.last().is_some_and(|last| last.number == target);
        let Some((start, stop)) = self.narrow(job, newer, oldest, bottom)? else { return Ok(None) };

        let mut cursors = Vec::new();
        let (mut covered, mut strays) = (true, false);
        for run in &inputs {
            let env = Some(Arc::clone(&self.env));
            let walk = RunWalk::new(Arc::clone(run), start.clone(), stop.clone(), env);
            covered &= walk.is_covered();
            strays |= walk.is_in_index();
            if !walk.is_empty() {
                cursors.push(Cursor::of_run(walk));
            }
        }
        crate::cursor::share_prefix(&mut cursors)?;
        let mut merging = Merging::new(cursors);
        merging.seek_to_end_of(true)?;
        let flushed_seq = self.catalog.lock().flushed_seq;
        let mut retention = Retention::new(self.snapshots.live(), Arc::clone(&version.ranges), flushed_seq, bottom);
        let mut output = Output::new(self, self.step_bytes(), retention.purged());
        let mut told = 0;
        let left = output.take(&mut merging, &mut retention, false, |read| {
            self.merged_since_flush.fetch_add(read - std::mem::replace(&mut told, read), Ordering::Relaxed);
            self.breathe(job.asked)
        })?;
        self.merged_since_flush.fetch_add(output.bytes_read - told, Ordering::Relaxed);
        drop(merging);

        // Where the next step starts, this one's keys end.
        let end: Bound = left.map(Arc::from).or(stop);
        let slices = self.register(&output.built, covered, strays && !covered)?;
        // A flush may have come in between, as a run of its own.
        let current = self.version.pin(&epoch::pin());
        let runs = current.runs.iter().map(|run| {
            if !is_input(run) {
                return Arc::clone(run);
            }
            let mut kept = run.cut(start.as_deref(), end.as_deref());
            if run.number == target {
                kept = Run::joined(kept, slices.iter().cloned());
            }
            Arc::new(Run { number: run.number, slices: kept })
        });
        let runs: Vec<_> = runs.collect();
        let output = leaving::supersede(
            || self.install_output(output, &slices, runs, None),
            |output| self.repoint(&output.built, &slices, &output.gone, covered),
            |_| self.retire_gone(&version),
        )?;
        // Tombstones are still there at the bottom for a snapshot only.
        let held = |built: &Built| built.held + if bottom { built.deletes } else { 0 };
        job.held += output.built.iter().map(held).sum::<u64>();
        // Relaxed: statistics.
        let written: u64 = slices.iter().map(|slice| slice.table.meta().len).sum();
        self.counters.merge_steps.fetch_add(1, Ordering::Relaxed);
        self.counters.merge_bytes_read.fetch_add(output.bytes_read, Ordering::Relaxed);
        self.counters.merge_bytes_written.fetch_add(written, Ordering::Relaxed);
        Ok(if end == job.stop { None } else { Some(end) })
    }

    /// How far merges are behind what is written, in hundredths: of the runs, or of the dead space, that the options allow.
    fn behind_percent(&self) -> u64 {
        let version = self.version.pin(&epoch::pin());
        let shapes = sizes(&version, self.snapshots.summary().1);
        let (bytes, dead) =
            shapes.iter().fold((0, 0), |(b, d), shape| (b + shape.bytes, d + shape.dead.min(shape.bytes)));
        let allowed = (bytes - dead + logged(&version)) / 100 * (self.options.space_percent - 100);
        // A run of which half has been merged away counts half: as a merge goes on it makes up for the flushes beside it.
        let share = |shape: &Shape| (shape.bytes - shape.dead.min(shape.bytes)) * 100 / shape.bytes.max(1);
        let by_runs = shapes.iter().map(share).sum::<u64>() / self.options.runs_max;
        let by_space = dead.saturating_sub(DEAD_BYTES_BEHIND) / (allowed / 100).max(1);
        by_runs.max(by_space)
    }

    /// Are there so many runs, or so much dead space, that flushes have to wait for merges?
    pub(crate) fn is_behind(&self) -> bool {
        self.behind_percent() > BEHIND_PERCENT
    }

    /// Must merges do more before the next flush? Then writers wait, sooner or later: they go no faster than what they write can be
    /// merged. `asked`: somebody waits for the merge under way; writers at full speed would hold it up until merges are behind.
    pub(crate) fn merges_first(&self, asked: bool) -> bool {
        let flushed = self.last_flush_bytes.load(Ordering::Relaxed);
        let merged = self.merged_since_flush.load(Ordering::Relaxed);
        let less_than = |percent: u64| merged < flushed.saturating_mul(percent) / 100;
        (asked && less_than(MERGED_PERCENT_MOST))
            || (less_than(MERGED_PERCENT_MOST) && less_than(merged_percent(self.behind_percent())))
    }

    /// A job has come to its end: no run of it but the oldest has a key left in its range. Slices that they still have there are
    /// empty.
    fn cut_empty(&self, job: &Job) -> Result<()> {
        let version = self.version.pin(&epoch::pin());
        let is_input = |run: &&Arc<Run>| job.runs.contains(&run.number);
        let Some(oldest) = version.runs.iter().rfind(is_input) else { return Ok(()) };
        let newer = |run: &Run| job.runs.contains(&run.number) && run.number != oldest.number;
        let (start, stop) = (job.start.as_deref(), job.stop.as_deref());
        let is_left = |run: &Arc<Run>| newer(run) && run.range_of(start, stop).0 < run.range_of(start, stop).1;
        if !version.runs.iter().any(is_left) {
            return Ok(());
        }
        let runs = version.runs.iter().map(|run| match newer(run) {
            true => Arc::new(Run { number: run.number, slices: run.cut(start, stop) }),
            false => Arc::clone(run),
        });
        self.install(runs.collect(), None)?;
        self.retire_gone(&version);
        Ok(())
    }

    /// Retires the tables of an older version that are not in the present one.
    pub(crate) fn retire_gone(&self, version: &Version) {
        let now = self.version.pin(&epoch::pin());
        let left: HashSet<u64> = now.slices().map(|slice| slice.table.meta().number).collect();
        let gone = version.slices().filter(|slice| !left.contains(&slice.table.meta().number));
        let gone: BTreeMap<u16, _> = gone.map(|slice| (slice.slot, Arc::clone(slice.table.file()))).collect();
        self.retire(gone);
    }

    /// What is more urgent than a merge, which somebody waits for if `asked`. A step of another merge is waited for, too, by whoever
    /// asked for one that comes next.
    fn breathe(&self, asked: Option<Calm>) -> Result<()> {
        if self.signal.wants_segment() {
            self.prepare_segment();
        }
        self.free_garbage();
        // On a full disk between steps only: both take from the reserve.
        let is_awaited = asked.is_some() || self.signal.has(COMPACT);
        if self.flush_is_due() && !self.merges_first(is_awaited) && !self.is_reserve_out() {
            // Its failure is told to those who wait for it, and if it poisoned, the install will fail.
            let _ = self.flush_some(false);
            // The segment that it took is to be filled again, and a step takes long.
            self.free_retired();
        }
        if let Some(calm) = asked {
            self.check_calm(calm)?;
        }
        self.check_writable()
    }
}

fn top_key(merging: &Merging<Cursor>) -> Option<Vec<u8>> {
    Some(merging.source(merging.top()?).key().to_vec())
}

/// Is much of a slice's table dead?
fn is_worn(slice: &Slice) -> bool {
    slice.table.file().dead() * 100 > slice.table.meta().data_bytes * WORN_PERCENT
}

/// How many records of a slice's table are tombstones that a merge of all runs could drop, if they are dense; or, if that is
/// nearly all of them, dead: a scan steps over the one and the other.
fn tombstones(slice: &Slice, oldest_snapshot: Option<Seq>) -> u64 {
    let (meta, file) = (slice.table.meta(), slice.table.file());
    // Tombstones newer than a snapshot stay, and which of a table's are is not known.
    let could_go = oldest_snapshot.is_none_or(|oldest| meta.last_seq <= oldest);
    let is_dense = meta.deletes * picking::TOMBSTONES_DENSE > meta.records;
    let deletes = if could_go && is_dense { meta.deletes } else { 0 };
    // What has been merged away counts as dead, too, but nobody steps over it. And what a snapshot needs of the rest is not known
    // before it was merged.
    let is_whole = slice.low.is_none() && slice.high.is_none();
    let dead = file.dead().min(meta.data_bytes);
    let nearly_all = is_whole && oldest_snapshot.is_none() && dead * 100 > meta.data_bytes * DEAD_PERCENT;
    let hidden = u128::from(meta.records) * u128::from(dead) / u128::from(meta.data_bytes.max(1));
    deletes.max(if nearly_all { hidden as u64 } else { 0 })
}

/// Counts the tombstones of the tables of run `at` in which they are dense, and the records among them: all of those tables, and of
/// the tables of older runs that have keys between theirs.
fn count_tombstones(version: &Version, at: usize, oldest_snapshot: Option<Seq>, shape: &mut Shape) {
    let mut seen = HashSet::new();
    for slice in &version.runs[at].slices {
        let meta = slice.table.meta();
        let tombstones = tombstones(slice, oldest_snapshot);
        if tombstones == 0 || slice.table.file().is_outlived() || !seen.insert(meta.number) {
            continue;
        }
        shape.tombstones += tombstones;
        shape.among += meta.records;
        for older in &version.runs[at + 1..] {
            let (from, to) = older.range_of(Some(slice.first()), None);
            let within = older.slices[from..to].iter().take_while(|below| below.first() <= slice.last());
            for below in within.map(|below| below.table.meta()) {
                if seen.insert(below.number) {
                    shape.among += below.records;
                }
            }
        }
    }
}

/// What picking needs to know of the runs.
fn shapes(version: &Version, oldest_snapshot: Option<Seq>) -> Vec<Shape> {
    let mut shapes = sizes(version, oldest_snapshot);
    for (at, shape) in shapes.iter_mut().enumerate() {
        count_tombstones(version, at, oldest_snapshot, shape);
    }
    shapes
}

/// Bytes in segments.
fn logged(version: &Version) -> u64 {
    version.memtables.iter().map(|memtable| memtable.file.end()).sum()
}

/// The same without tombstones: a merge asks for this again and again.
fn sizes(version: &Version, oldest_snapshot: Option<Seq>) -> Vec<Shape> {
    let shape_of = |run: &Arc<Run>| {
        let mut shape = Shape::default();
        let mut seen = HashSet::new();
        for slice in &run.slices {
            let (meta, file) = (slice.table.meta(), slice.table.file());
            // What is outlived goes by itself.
            if !file.is_outlived() && seen.insert(meta.number) {
                shape.bytes += meta.len;
                shape.records += meta.records;
                // What was kept for snapshots can't be dropped while there are any.
                let kept = if oldest_snapshot.is_some() { file.held() } else { 0 };
                shape.dead += file.dead().min(meta.data_bytes).saturating_sub(kept);
            }
        }
        shape
    };
    version.runs.iter().map(shape_of).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::batch::Batch;
    use crate::engine::recovery;
    use crate::env::memory::MemoryEnv;
    use crate::options::{Durability, Options};
    use crate::record::Kind;

    /// Many large records, and in front of them small ones, in one run; the store, and a merge that is not at rest: was one picked?
    fn store() -> Core {
        let options = Options { table_bytes_max: 64 << 10, segment_bytes_max: 256 << 20, ..Options::default() };
        let core = recovery::open(MemoryEnv::shared(), Path::new("/db"), options).unwrap();
        let mut batch = Batch::new();
        (0..SMALL).for_each(|n| _ = batch.put(small(n), ""));
        (0..20_000).for_each(|n| _ = batch.put(format!("b{n:08}"), [7; 200]));
        core.write_batch(&batch, Durability::Process, true).unwrap();
        core.compact(None, None).unwrap();
        assert!(!merges(&core));
        core
    }

    const SMALL: u32 = 8000;

    fn small(n: u32) -> String {
        format!("a{n:08}")
    }

    fn delete(core: &Core, step: usize) {
        let mut batch = Batch::new();
        (0..SMALL).step_by(step).for_each(|n| _ = batch.delete(small(n)));
        core.write_batch(&batch, Durability::Process, true).unwrap();
        core.flush_all().unwrap();
    }

    fn merges(core: &Core) -> bool {
        let mut background = core.background.lock();
        let mut any = false;
        while core.merge_some(&mut background, false).unwrap() {
            any = true;
        }
        any
    }

    fn deletes(core: &Core) -> u64 {
        core.version.pin(&epoch::pin()).slices().map(|slice| slice.table.meta().deletes).sum()
    }

    /// Records that are small and many are deleted: hardly any space comes back, but scans need not step over them.
    #[test]
    fn dense_tombstones_are_merged_away() {
        let core = store();
        delete(&core, 1);
        let shapes = shapes(&core.version.pin(&epoch::pin()), None);
        let dead: u64 = shapes.iter().map(|shape| shape.dead).sum();
        assert!(dead * 10 < shapes.iter().map(|shape| shape.bytes).sum(), "it is not for the space: {shapes:?}");
        let large = core.counters.merge_bytes_read.load(Ordering::Relaxed);
        assert!(merges(&core));
        assert_eq!(deletes(&core), 0);
        let read = core.counters.merge_bytes_read.load(Ordering::Relaxed) - large;
        assert!(read < 1 << 20, "{read}: what has no tombstone is left alone");
        assert!(!merges(&core));
    }

    #[test]
    fn thin_tombstones_stay() {
        let core = store();
        delete(&core, 20);
        assert!(!merges(&core));
        assert_eq!(deletes(&core), u64::from(SMALL) / 20);
    }

    /// What a snapshot needs is not merged again and again, and goes when the snapshot has gone.
    #[test]
    fn tombstones_wait_for_a_snapshot() {
        let core = store();
        let snapshot = core.register_snapshot();
        delete(&core, 1);
        for _ in 0..3 {
            assert!(!merges(&core));
            core.write_one(Kind::Put, b"c", &[], Durability::Process, true).unwrap();
            core.flush_all().unwrap();
        }
        // Asked for, it changes nothing.
        core.compact(None, None).unwrap();
        assert_eq!((deletes(&core), merges(&core)), (u64::from(SMALL), false));
        core.snapshots.release(snapshot);
        assert!(merges(&core));
        assert_eq!(deletes(&core), 0);
    }

    /// A range delete is one record, and what it hides is in the way of scans.
    #[test]
    fn what_a_range_delete_hides_is_merged_away() {
        let core = store();
        let records = |core: &Core| -> u64 {
            core.version.pin(&epoch::pin()).slices().map(|slice| slice.table.meta().records).sum()
        };
        let mut batch = Batch::new();
        batch.delete_range("a".."b");
        core.write_batch(&batch, Durability::Process, true).unwrap();
        core.write_one(Kind::Put, b"c", &[], Durability::Process, true).unwrap();
        core.flush_all().unwrap();
        assert!(records(&core) > 20_000 + u64::from(SMALL));
        assert!(merges(&core));
        assert!(records(&core) < 20_000 + 2000, "{}", records(&core));
        assert!(!merges(&core));
    }
}
