//! The handle: what keeps a store open.
//!
//! Everything that a user holds (`Db`, snapshots, iterators) shares one [`Handle`]; the worker and pinned values do
//! not. So the last user to go stops and joins the worker and closes the store, and nothing in the background can
//! keep it open.

use crate::engine::Core;
use crate::env::Spawned;
use crate::error::Result;
use crate::events::EventLevel;
use crate::record::Seq;
use crate::sync::{Arc, Ordering, epoch};

/// The users' share of a core; closes it when the last one goes.
#[derive(Debug)]
pub struct Handle(Arc<Core>);

impl Handle {
    /// Starts the worker of a recovered core.
    pub(crate) fn start(core: Core) -> Result<Arc<Handle>> {
        let core = Arc::new(core);
        core.note(EventLevel::Info, || {
            let version = core.version.pin(&epoch::pin());
            let (tables, segments) = (version.slices().count(), version.memtables.len());
            format!("opened {}: {tables} tables, {segments} log segments", core.dir.display())
        });
        core.events.deliver();
        let handle = Arc::new(Handle(Arc::clone(&core)));
        // A store that is only read has a worker if there are tables, to fill the index from.
        if !core.options.read_only || core.version.load(&epoch::pin()).uncovered {
            let env = Arc::clone(&core.env);
            core.threaded.store(true, Ordering::Relaxed);
            match env.spawn("kvs-worker", Box::new(move || core.run_worker()))? {
                Spawned::Thread(thread) => handle.0.set_worker(thread),
                Spawned::Stepped => handle.0.threaded.store(false, Ordering::Relaxed),
            }
        }
        Ok(handle)
    }

    /// The store.
    #[inline]
    pub(crate) fn core(&self) -> &Core {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.is_forked() {
            // The mappings are not in this process and the worker is not either: dropping the core would touch both.
            std::mem::forget(Arc::clone(&self.0));
            return;
        }
        // Whoever wants to see errors calls `close` before.
        let _ = self.0.close();
    }
}

/// A registered sequence number, as long as it lives.
#[derive(Debug)]
pub struct Registered {
    handle: Arc<Handle>,
    seq: Seq,
}

impl Registered {
    /// Registers what is visible now.
    pub(crate) fn now(handle: &Arc<Handle>) -> Result<Arc<Registered>> {
        handle.core().check_open()?;
        let seq = handle.core().register_snapshot();
        Ok(Arc::new(Registered { handle: Arc::clone(handle), seq }))
    }

    /// The number.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// The store.
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if !self.handle.core().is_forked() {
            self.handle.core().release_snapshot(self.seq);
        }
    }
}
