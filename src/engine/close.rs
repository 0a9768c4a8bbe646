//! Close: stop writes, join the worker, put what was written into tables, leave tidy files, unlock. Once.
//!
//! Little that was written stays in its log: a program that opens, puts a key and closes should not make a table for it. Then the manifest
//! records where each log ends, unless the disk is too full for it. From then on a log that does not reach its end is
//! damage and no torn tail: rot in a store that was closed is always found.
//!
//! Readers are not waited for: what they follow lives as long as the core, which they hold, and their next call
//! says that the store is closed.

use std::thread::JoinHandle;

use crate::engine::Core;
use crate::engine::LOGS_MAX;
use crate::env::DirLock;
use crate::error::{ErrorKind, Result};
use crate::events::EventLevel;
use crate::log::segment::SEGMENT_HEADER_BYTES;
use crate::manifest::Edit;
use crate::sync::epoch;

/// Less than this stays in the log: it is replayed in a few milliseconds.
const LEFT_IN_LOG_MAX: u64 = 1 << 20;

/// What a close takes down.
#[derive(Debug)]
pub(crate) struct Closing {
    worker: Option<JoinHandle<()>>,
    lock: Option<Box<dyn DirLock>>,
    /// The ends of logs below this number are in the manifest.
    recorded_below: u64,
}

impl Closing {
    pub fn new(lock: Box<dyn DirLock>, recorded_below: u64) -> Closing {
        Closing { worker: None, lock: Some(lock), recorded_below }
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
        // Whoever waits for room hears that there is none to come.
        self.room.tell(None);
        if let Some(worker) = closing.worker.take() {
            // An `Err` is a panic that `run_worker` did not catch, of which there is none.
            let _ = worker.join();
        }
        let result = if self.options.read_only { Ok(()) } else { self.put_away(&closing) };
        self.free_all_retired();
        self.give_back_segment();
        self.unlink_leaving();
        self.give_back_tables();
        closing.lock = None;
        match &result {
            Ok(()) => self.note(EventLevel::Info, || format!("closed {}", self.dir.display())),
            Err(failure) => self.note(EventLevel::Error, || format!("closed with a failure: {failure}")),
        }
        drop(closing);
        self.events.end();
        result
    }

    /// Makes everything durable, gives back what is not needed, and records where logs end.
    fn put_away(&self, closing: &Closing) -> Result<()> {
        self.give_back_segment();
        self.remove_reserve();
        if self.failure().is_some() {
            return Err(self.poisoned());
        }
        let _background = self.background.lock();
        let last_seq = self.commit.lock().next_seq - 1;
        self.sync_to(last_seq)?;
        let version = self.version.pin(&epoch::pin());
        let unflushed: u64 = version.memtables.iter().map(|memtable| memtable.file.end()).sum();
        if unflushed > LEFT_IN_LOG_MAX || version.memtables.len() > LOGS_MAX {
            drop(version);
            self.seal_closed()?;
            match self.flush_rest() {
                // Every write is durable in its log, and the next open flushes.
                Err(full) if full.kind() == ErrorKind::NoSpace => {}
                flushed => return flushed,
            }
        }
        self.record_ends(closing)
    }

    fn flush_rest(&self) -> Result<()> {
        // What is left of a merge stays as it is.
        while self.flush_some(false)? {}
        Ok(())
    }

    fn record_ends(&self, closing: &Closing) -> Result<()> {
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
        let mut catalog = self.catalog.lock();
        let mut state = catalog.clone();
        state.apply(&Edit::Recovered { ends, void: Vec::new(), next_file: self.next_file() });
        match self.replace_manifest(&state) {
            // Every write is durable, and the next open does what is left undone here.
            Err(full) if full.kind() == ErrorKind::NoSpace => Ok(()),
            replaced => {
                *catalog = state;
                replaced
            }
        }
    }
}
