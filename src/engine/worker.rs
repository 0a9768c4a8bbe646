//! The worker: the handle's background thread.
//!
//! It sleeps until it is asked, and then does one bounded piece of work after the other, the most urgent first:
//!
//! ```text
//!  stop        the store closes
//!  segment     the active segment is half full: prepare the next
//!  early       scans step over too much of the log: seal it, for a flush                               scans.rs
//!  uncover     the index is too large; every other piece of work is something else                     coverage.rs
//!  drop        tables of which nothing is live                                                       outlived.rs
//!  flush       enough is sealed, or somebody waits for it; but if merges are behind, they come first in turn    flush.rs
//!  free        what readers have left behind; user threads free nothing. No piece of work of its own.   tables.rs, index.rs
//!  asked for   merge a range that a caller named                               compaction.rs
//!  cover       fill the index from tables after an open, or shrink it          coverage.rs
//!  merge       a step of the merge under way, or of one that is picked         compaction.rs
//!  sort        sealed segments that wait for a flush: a scan may come first
//! ```
//!
//! A store that nobody has written to for a while is at rest: it settles towards one run, and gives back the files of old
//! tables and, later, its prepared segment. After that the worker sleeps without a timer: an idle store uses no CPU.
//!
//! Whoever does such work holds `background`: the worker, or, in environments without threads, the thread that would wait for it.
//! The worker holds the core, not the handle, so it keeps nothing open: the last handle stops and joins it. Tests without
//! threads step it ([`Core::work`]).

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::engine::compaction::Background;
use crate::engine::outlived::Piece;
use crate::engine::signal::{COMPACT, EARLY, FLUSH, GARBAGE, SEALED, SEGMENT, STOP};
use crate::engine::{Core, LOGS_MAX};
use crate::error::{Error, ErrorKind};
use crate::leaving::GRACE_PERIODS;
use crate::sync::epoch;

/// Nobody has written for so long: the store is at rest.
const REST: Duration = Duration::from_secs(2);
/// A prepared segment that is not taken for so long is given back.
const IDLE: Duration = Duration::from_secs(60);

impl Core {
    /// The worker's life.
    pub(crate) fn run_worker(&self) {
        // A panic here is a bug; it must not pass silently, and readers can go on.
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.live()));
        if lived.is_err() {
            self.poison(&Error::new(ErrorKind::Internal, "the worker panicked"));
        }
        // Nobody flushes or merges any more: whoever waits must hear of it.
        self.room.tell(self.failure());
        self.refuse_compactions(&self.failure().map_or_else(super::closed, Error::poisoned_by));
        self.events.deliver();
    }

    fn live(&self) {
        let mut rest = Rest::Busy;
        loop {
            let mut did_something = true;
            while did_something {
                if self.signal.has(STOP) {
                    return;
                }
                did_something = self.turn(&mut self.background.lock(), rest != Rest::Busy);
                self.events.deliver();
            }
            if rest != Rest::Busy {
                // It has settled: there will be no merge for a while.
                self.give_back_tables();
            }
            let patience = match rest {
                Rest::Busy => Some(REST),
                Rest::Settled => Some(IDLE),
                Rest::Idle => None,
            };
            if self.signal.wait(patience) {
                rest = Rest::Busy;
                continue;
            }
            rest = match rest {
                Rest::Busy => Rest::Settled,
                Rest::Settled | Rest::Idle => {
                    self.give_back_segment();
                    Rest::Idle
                }
            };
        }
    }

    /// One piece of work. False: there was none. What fails is told to those who wait for it, or remembered; it is not tried again
    /// before something new is asked.
    fn turn(&self, background: &mut Background, at_rest: bool) -> bool {
        if self.signal.take(SEGMENT) {
            self.prepare_segment();
            return true;
        }
        if self.signal.take(EARLY) && self.seal().is_ok() {
            self.signal.ask_for_flush();
            return true;
        }
        // A writer at full speed, who leaves no time for anything but flushes and merges, must not make the index outgrow its bound.
        if std::mem::take(&mut background.may_uncover) && matches!(self.uncover_some(), Ok(true)) {
            return true;
        }
        background.may_uncover = true;
        // It is short, and it may save the merge that comes next.
        let Piece { dropped, more } = self.drop_some(background);
        if dropped {
            self.free_retired();
            return true;
        }
        if self.flush_is_due() && self.merges_first(false) && matches!(self.merge_some(background, false), Ok(true)) {
            self.free_retired();
            return true;
        }
        // Between two flushes comes a piece of something else, if there is any: a writer at full speed must not starve it. (Merges
        // stop for flushes by themselves.)
        let has_flushed = std::mem::take(&mut background.has_flushed);
        if self.flush_is_due() && !has_flushed {
            let wanted = self.signal.take(FLUSH);
            let flushed = self.flush_some(!background.is_merging());
            if wanted && matches!(flushed, Ok(true)) && self.backlog.count() > 0 {
                self.signal.ask_for_flush();
            }
            self.signal.take(SEALED);
            self.free_retired();
            if matches!(flushed, Ok(true)) {
                background.has_flushed = true;
                return true;
            }
            // A full disk: what else is asked may make room.
        } else if !has_flushed && self.signal.take(FLUSH) {
            // There was nothing to flush: whoever waits looks again.
            self.room.tell(None);
            return true;
        }
        // This is not the piece that comes between two flushes: readers and flushes make garbage all the time.
        let has_freed = self.free_garbage();
        if self.signal.take(COMPACT) {
            self.compact_asked(background);
            return true;
        }
        if matches!(self.uncover_some(), Ok(true)) {
            background.may_uncover = false;
            return true;
        }
        if matches!(self.cover_some(), Ok(true)) {
            return true;
        }
        if matches!(self.merge_some(background, at_rest), Ok(true)) {
            self.free_retired();
            return true;
        }
        if self.signal.take(SEALED) {
            self.sort_sealed();
            return true;
        }
        if !has_flushed {
            // There is nothing left to do: what was done may have made room.
            let _ = self.restore_reserve();
        }
        has_flushed || has_freed || more
    }

    /// Is so much sealed that it should become a table, or does somebody wait for it?
    pub(crate) fn flush_is_due(&self) -> bool {
        if self.failure().is_some() || self.options.read_only {
            return false;
        }
        let (count, bytes) = (self.backlog.count(), self.backlog.bytes());
        let enough = bytes >= self.flush_bytes() || count > LOGS_MAX;
        count > 0 && (enough || self.signal.wants_flush())
    }

    /// So many sealed bytes should become a table: what one segment holds. It is never quite full, since the frame that did not
    /// fit went to the next, so three quarters of it are enough; if all of it were asked for, two would have to be sealed.
    pub(crate) fn flush_bytes(&self) -> u64 {
        self.options.segment_bytes_max.min(self.options.memtable_bytes_max / 3) / 4 * 3
    }

    /// All of the worker's duties, until there is nothing left to do, as at rest: for environments without threads.
    pub(crate) fn work(&self) {
        let mut background = self.background.lock();
        self.prepare_segment();
        while self.turn(&mut background, true) {}
        self.free_retired();
        self.give_back_tables();
        drop(background);
        self.events.deliver();
    }

    /// Sorts sealed segments, one after the other. Damage is left for the scan that meets it.
    fn sort_sealed(&self) {
        let version = self.version.pin(&epoch::pin());
        let sealed = version.memtables.len().saturating_sub(1);
        for memtable in &version.memtables[..sealed] {
            if self.signal.has(SEGMENT | FLUSH | STOP) {
                self.signal.tell_sealed();
                return;
            }
            let _ = memtable.sort();
        }
    }

    /// Frees all that can be freed: at close, when nobody does it later. A file goes through two grace periods.
    pub(crate) fn free_all_retired(&self) {
        for _ in 0..GRACE_PERIODS {
            self.free_retired();
        }
    }

    /// Frees what readers and writers have left behind since it was looked at: between the records of a long piece of work, too. An index
    /// that doubles while a flush goes on leaves as much as it has.
    pub(crate) fn free_garbage(&self) -> bool {
        let is_any = self.signal.take(GARBAGE);
        if is_any {
            self.free_retired();
        }
        is_any
    }

    /// Frees what no reader can hold any more.
    pub(crate) fn free_retired(&self) {
        self.index.collect();
        self.graveyard.empty();
        self.reap();
    }
}

/// How long nobody has asked for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Not long.
    Busy,
    /// A little: all runs may become one.
    Settled,
    /// Long.
    Idle,
}
