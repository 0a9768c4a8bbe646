//! Durability: one fdatasync for everybody who waits.
//!
//! ```text
//!  1 wait for the sync under way, if there is one; whose write is durable then leaves, and of the others one goes on
//!  2 target = visible                                 everything up to it lies in segments on the unsynced list
//!  3 make new segments' directory entries durable
//!  4 fdatasync the unsynced segments, oldest first    never a later one without all before it: a prefix survives
//!  5 durable = target (Release)
//! ```
//!
//! Who waits for whom stands in [`together`](crate::together). There is no timer: while one sync is under way the next one's writes
//! come together. A failed sync poisons and is never
//! tried again: the kernel may have dropped what it could not write and call the next try a success. For the same reason it leaves
//! a mark for the next open (see [`doubt`]).

use std::path::Path;

use crate::engine::Core;
use crate::engine::commit::Commit;
use crate::engine::doubt;
use crate::engine::reserve::Taker;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Seq;
use crate::sync::{Arc, Ordering};

/// What whoever syncs knows.
#[derive(Debug, Default)]
pub(crate) struct Syncing {
    /// Directory entries of files up to this number are durable.
    entries_synced: u64,
}

impl Core {
    /// Makes everything acknowledged before the call durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.check_writable()?;
        self.sync_to(self.visible.load(Ordering::Acquire))
    }

    /// Returns when every write up to `seq`, which is visible, survives power loss.
    pub(crate) fn sync_to(&self, seq: Seq) -> Result<()> {
        let may = || if self.failure().is_some() { Err(self.poisoned()) } else { Ok(()) };
        self.durable.reach(seq, may, |syncing| {
            let target = self.write_through_all()?;
            // Whoever waits hears of a failure by the poison, so that comes first.
            self.sync_segments(syncing).map_err(|failure| self.sync_failed(failure))?;
            Ok(target)
        })
    }

    /// Poisons the store after a failed sync; what to tell the caller. Not `NoSpace`, even if that was the reason (a
    /// file system may look for blocks as late as that): it would say that nothing was written and that all will be well.
    pub(crate) fn sync_failed(&self, failure: Error) -> Error {
        self.poison(&failure);
        doubt::leave_mark(&*self.env, &self.dir);
        if failure.kind() == ErrorKind::NoSpace { self.poisoned() } else { failure }
    }

    /// Writes through what stayed in the process; returns the number up to which everything is in the files now.
    fn write_through_all(&self) -> Result<Seq> {
        let mut commit = self.commit.lock();
        self.write_through(&mut commit)?;
        Ok(commit.next_seq - 1)
    }

    /// Writes through what stayed in the process. Only the active segment can hold such bytes: a rotation does this first.
    pub(crate) fn write_through(&self, commit: &mut Commit) -> Result<()> {
        let Some(active) = &mut commit.active else { return Ok(()) };
        let end = active.appender.position();
        let mut written = active.appender.write_through(end);
        if written.as_ref().is_err_and(|failure| failure.kind() == ErrorKind::NoSpace)
            && self.release_reserve(Taker::Flush)
        {
            // These writes were acknowledged, and a flush can't give their segment back before they are in it.
            written = active.appender.write_through(end);
        }
        written.inspect_err(|failure| {
            if failure.kind() != ErrorKind::NoSpace {
                self.poison(failure);
            }
        })
    }

    /// Makes the directory's entries durable. One thread at a time, so that nobody takes the success of a second try for the
    /// truth between another's failure and the poisoning.
    pub(crate) fn sync_entries(&self, dir: &Path) -> Result<()> {
        let _turn = self.entries.lock();
        if self.failure().is_some() {
            return Err(self.poisoned());
        }
        self.env.sync_dir(dir).map_err(|failure| self.sync_failed(failure))
    }

    fn sync_segments(&self, syncing: &mut Syncing) -> Result<()> {
        let files = self.unsynced.lock().clone();
        let Some(last) = files.last() else { return Ok(()) };
        if last.number > syncing.entries_synced {
            self.sync_entries(&self.dir)?;
            syncing.entries_synced = last.number;
        }
        for file in &files {
            file.source().sync()?;
            // Relaxed: a statistic, and a hint that syncs matter here.
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        }
        // All but the last were sealed when the list was read, so nothing was added to them since.
        self.unsynced.lock().retain(|file| file.number >= last.number || !files.iter().any(|f| Arc::ptr_eq(f, file)));
        Ok(())
    }
}
