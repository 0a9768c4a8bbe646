//! Close: stop writes, join the worker, make everything durable, leave tidy files, unlock. Once.
//!
//! After the last sync the manifest records where each log ends, unless the disk is too full for it. From then on a log that does not reach its end is
//! damage and no torn tail: rot in a store that was closed is always found.
//!
//! Readers are not waited for: what they follow lives as long as the core, which they hold, and their next call
//! says that the store is closed.

use std::thread::JoinHandle;

use crate::engine::{Core, doubt};
use crate::env::DirLock;
use crate::error::{ErrorKind, Result};
use crate::log::segment::SEGMENT_HEADER_BYTES;
use crate::manifest::{self, Edit, State};
use crate::sync::epoch;

/// What a close takes down.
#[derive(Debug)]
pub(crate) struct Closing {
    worker: Option<JoinHandle<()>>,
    lock: Option<Box<dyn DirLock>>,
    /// What the manifest says.
    pub state: State,
    /// The ends of logs below this number are in it.
    recorded_below: u64,
}

impl Closing {
    pub fn new(lock: Box<dyn DirLock>, state: State, recorded_below: u64) -> Closing {
        Closing { worker: None, lock: Some(lock), state, recorded_below }
    }
}

impl Core {
    /// Hands over the worker's thread, to be joined at close.
    pub(crate) fn set_worker(&self, worker: JoinHandle<()>) {
        self.closing.lock().worker = Some(worker);
    }

    /// Closes the store; every later call on it gets `Closed`. Fine if it is closed already. Returns the first thing that went wrong;
    /// the store is closed and unlocked even then.
    pub(crate) fn close(&self) -> Result<()> {
        if self.is_forked() {
            // Nothing of this is ours: not the files, not the lock, not the thread.
            return Ok(());
        }
        let mut closing = self.closing.lock();
        if !self.set_closed(&self.commit.lock()) {
            return Ok(());
        }
        self.signal.ask_to_stop();
        if let Some(worker) = closing.worker.take() {
            // An `Err` is a panic that `run_worker` did not catch, of which there is none.
            let _ = worker.join();
        }
        let result = if self.options.read_only { Ok(()) } else { self.settle(&mut closing) };
        closing.lock = None;
        self.free_retired();
        result
    }

    /// Makes the files durable, gives back what they do not need, and records their ends.
    fn settle(&self, closing: &mut Closing) -> Result<()> {
        self.give_back_segment();
        if self.failure().is_some() {
            return Err(self.poisoned());
        }
        let (seen, next_file) = (self.commit.lock().next_seq - 1, self.next_file());
        self.sync_to(seen)?;
        if let Some(active) = &self.commit.lock().active {
            // The rest was never published: nobody reads it, in memory or at the next open.
            active.appender.file().source().trim(active.appender.position())?;
        }
        let version = self.version.pin(&epoch::pin());
        // One without a frame was not synced, and need not be.
        let unrecorded = version
            .memtables
            .iter()
            .filter(|m| m.file.number >= closing.recorded_below && m.file.end() > SEGMENT_HEADER_BYTES as u64);
        let ends: Vec<_> = unrecorded.map(|m| (m.file.number, m.file.end())).collect();
        if ends.is_empty() {
            return Ok(());
        }
        closing.state.apply(&Edit::Recovered { ends, void: Vec::new(), next_file });
        match manifest::replace(&*self.env, &self.dir, &closing.state) {
            // Every write is durable, and the next open does what is left undone here.
            Err(full) if full.kind() == ErrorKind::NoSpace => Ok(()),
            replaced => replaced.inspect_err(|failure| doubt::mark_names(&*self.env, &self.dir, failure)),
        }
    }
}
