//! Syncs the logs that a kill left while they are replayed.
//!
//! What is replayed must be durable before the store says that it was (step 10). After a kill most of it is still on its way to the
//! disk: syncing 64 MiB takes as long as replaying them, so both go at the same time, where there are threads. Nobody writes to
//! these logs any more, so it makes no difference which comes first; a failure ends the open. Whatever else ends it before
//! that is heard of, the failure has left its mark by then (see [`doubt`]): the next sync would know nothing of it.

use std::path::{Path, PathBuf};

use crate::engine::doubt;
use crate::env::{Env, Spawned};
use crate::error::{Error, Result};
use crate::sync::{Arc, Mutex};

/// With fewer bytes in all logs a thread is not worth it.
const BYTES_MIN: u64 = 4 << 20;

/// Syncs under way, or done; ends them when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    thread: Option<std::thread::JoinHandle<()>>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

/// A log that was synced, and the failure, if it was one.
type Outcome = (PathBuf, Option<Error>);

impl Syncing {
    /// Begins with all of these, of so many bytes together, which stand in `dir`.
    pub fn start(env: &Arc<dyn Env>, dir: &Path, paths: Vec<PathBuf>, bytes: u64) -> Syncing {
        let mut syncing = Syncing::default();
        if bytes < BYTES_MIN {
            return syncing;
        }
        let (theirs, outcomes, dir) = (Arc::clone(env), Arc::clone(&syncing.outcomes), dir.to_owned());
        let body = move || {
            for path in paths {
                let failure = theirs.sync_file(&path).err();
                if failure.is_some() {
                    doubt::leave_mark(&*theirs, &dir);
                }
                outcomes.lock().push((path, failure));
            }
        };
        if let Ok(Spawned::Thread(thread)) = env.spawn("kvs-sync", Box::new(body)) {
            syncing.thread = Some(thread);
        }
        syncing
    }

    /// Returns when this log is synced, by now or before.
    pub fn sync(&mut self, env: &dyn Env, path: &Path) -> Result<()> {
        self.join();
        match self.outcomes.lock().iter().find(|(synced, _)| synced == path) {
            Some((_, Some(failure))) => Err(failure.clone()),
            Some((_, None)) => Ok(()),
            None => env.sync_file(path),
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It can't have panicked: it calls the system and nothing else.
            let _ = thread.join();
        }
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.join();
    }
}
