//! Write-behind: the disk keeps up with a file that grows.
//!
//! A table of some tens of megabytes must be durable before it is told of. With one fdatasync at its end the disk has nothing to do
//! while the table is made, and who makes it has nothing to do while the disk writes. So once a file has grown by
//! [`STEP_BYTES`] a thread of its own syncs it, and again for each further step, while it grows; the sync at the end finds
//! little left.
//!
//! The kernel tells of a failed write-back once, to whoever asks next. So the first failure is kept, nothing is synced
//! after it, and it is what the file's own sync answers from then on.
//!
//! `sync_file_range`, which only starts the writing, was tried before: where the disk is a file of the machine's host, the time goes into
//! the flush of the disk's cache at the end, which it does not begin.

use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use rustix::io::Errno;

use super::threads;
use crate::sync::{Arc, Condvar, Mutex};

/// A file that has grown by so much is synced.
pub(super) const STEP_BYTES: u64 = 8 << 20;

/// The thread that syncs one file; joined when it is dropped.
#[derive(Debug)]
pub(super) struct Behind {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    file: Arc<OwnedFd>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The file has grown since the last sync began.
    asked: bool,
    /// It grows no more.
    over: bool,
    failure: Option<Errno>,
}

impl Behind {
    /// Nothing, if no thread can be had: then the disk waits for the end.
    pub fn start(file: &Arc<OwnedFd>) -> Option<Behind> {
        let shared = Arc::new(Shared { file: Arc::clone(file), state: Mutex::default(), changed: Condvar::default() });
        let theirs = Arc::clone(&shared);
        let thread = threads::spawn("kvs-sync", Box::new(move || theirs.run())).ok()?;
        Some(Behind { shared, thread: Some(thread) })
    }

    /// The file has grown.
    pub fn ask(&self) {
        self.shared.state.lock().asked = true;
        self.shared.changed.notify_one();
    }

    /// The first failure so far.
    #[cfg(test)]
    pub fn failure(&self) -> Option<Errno> {
        self.shared.state.lock().failure
    }

    /// Returns when no sync is under way any more: the first failure, if there was one.
    pub fn finish(mut self) -> Result<(), Errno> {
        self.join();
        self.shared.state.lock().failure.map_or(Ok(()), Err)
    }

    fn join(&mut self) {
        self.shared.state.lock().over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It can't have panicked: it calls the system and nothing else.
            let _ = thread.join();
        }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.over {
            if !std::mem::take(&mut state.asked) {
                self.changed.wait(&mut state);
                continue;
            }
            drop(state);
            let synced = rustix::fs::fdatasync(&*self.file);
            if synced == Err(Errno::INTR) {
                // Nothing was decided yet.
                state = self.state.lock();
                state.asked = true;
                continue;
            }
            state = self.state.lock();
            if let Err(failure) = synced {
                state.failure = Some(failure);
                return;
            }
        }
    }
}
