//! The worker: the handle's background thread.
//!
//! It sleeps until it is asked; then it prepares the next segment, sorts what was sealed (whoever scans next needs that order, and so
//! will a flush), and frees what readers have left behind: user threads free nothing.
//! A store that has not been written for a while gives its prepared segment back, and after that the worker sleeps without
//! a timer: an idle store uses no CPU.
//!
//! The worker holds the core, not the handle, so it keeps nothing open: the last handle stops and joins it. In
//! environments without threads the test steps it ([`Core::work`]).

use std::time::Duration;

use crate::engine::Core;
use crate::error::{Error, ErrorKind};
use crate::sync::{Condvar, Mutex, epoch};

/// A prepared segment that is not taken for so long is given back.
const IDLE: Duration = Duration::from_secs(60);

/// What the worker is asked to do.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    segment: bool,
    sealed: bool,
    garbage: bool,
    stop: bool,
    /// A prepared segment lies about.
    prepared: bool,
}

impl Asked {
    fn is_idle(&self) -> bool {
        !self.segment && !self.sealed && !self.garbage && !self.stop
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Prepare,
    Sort,
    Free,
    GiveBack,
    Stop,
}

impl Signal {
    /// The active segment is half full.
    pub fn ask_for_segment(&self) {
        self.asked.lock().segment = true;
        self.changed.notify_one();
    }

    /// A segment was sealed.
    pub fn tell_sealed(&self) {
        self.asked.lock().sealed = true;
        self.changed.notify_one();
    }

    /// Something was retired that only the worker frees.
    pub fn tell_garbage(&self) {
        self.asked.lock().garbage = true;
        self.changed.notify_one();
    }

    /// The store closes.
    pub fn ask_to_stop(&self) {
        self.asked.lock().stop = true;
        self.changed.notify_one();
    }

    /// Is there something to do that someone may be waiting for?
    fn is_urgent(&self) -> bool {
        let asked = self.asked.lock();
        asked.segment || asked.stop
    }

    /// Sleeps until there is something to do.
    fn next(&self) -> Job {
        let mut asked = self.asked.lock();
        loop {
            if asked.stop {
                return Job::Stop;
            }
            if std::mem::take(&mut asked.segment) {
                asked.prepared = true;
                return Job::Prepare;
            }
            if std::mem::take(&mut asked.sealed) {
                return Job::Sort;
            }
            if std::mem::take(&mut asked.garbage) {
                return Job::Free;
            }
            if !asked.prepared {
                self.changed.wait(&mut asked);
            } else if self.changed.wait_for(&mut asked, IDLE).timed_out() && asked.is_idle() {
                asked.prepared = false;
                return Job::GiveBack;
            }
        }
    }
}

impl Core {
    /// The worker's life.
    pub(crate) fn run_worker(&self) {
        // A panic here is a bug; it must not pass silently, and readers can go on.
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            loop {
                match self.signal.next() {
                    Job::Prepare => self.prepare_segment(),
                    Job::Sort => self.sort_sealed(),
                    Job::Free => {}
                    Job::GiveBack => self.give_back_segment(),
                    Job::Stop => return,
                }
                self.free_retired();
            }
        }));
        if lived.is_err() {
            self.poison(&Error::new(ErrorKind::Internal, "the worker panicked"));
        }
    }

    /// One turn of the worker's duties.
    pub(crate) fn work(&self) {
        self.prepare_segment();
        self.sort_sealed();
        self.free_retired();
    }

    /// Sorts sealed segments, one after the other. Damage is left for the scan that meets it.
    fn sort_sealed(&self) {
        let version = self.version.pin(&epoch::pin());
        let sealed = version.memtables.len().saturating_sub(1);
        for memtable in &version.memtables[..sealed] {
            if self.signal.is_urgent() {
                self.signal.tell_sealed();
                return;
            }
            let _ = memtable.sort();
        }
    }

    /// Frees what no reader can hold any more.
    pub(crate) fn free_retired(&self) {
        self.index.collect();
        self.graveyard.empty();
    }
}
