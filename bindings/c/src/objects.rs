//! What lies behind each kind of handle, and when a database closes.
//!
//! 1. A [`Core`] is an open database. Its handle, its snapshots and its iterators each hold it, and are counted. The one that
//!    is freed last closes the database, on the thread that frees: so they may be freed in any order, and
//!    a lock file is let go at a moment that the caller can know.
//! 2. The count is not `Arc`'s: a body in an epoch cell is dropped by the collector, later and anywhere. What
//!    it drops then is closed already.
//! 3. A panic inside a write leaves the engine in a state nobody has thought about: the core takes no more
//!    writes. Reads go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use engine::handles::{ExclusiveTable, Full, Pinned};
use engine::{Batch, Db, Error, Iter, Left, Snapshot, Value};

use crate::boundary::{Fail, Outcome, refused};
use crate::cell::SharedTable;
use crate::db::kvs_db;
use crate::error::ErrorBody;
use crate::fault;
use crate::options::{OptionsBody, in_hook};
use crate::repair::ReportBody;
use crate::snapshot::kvs_snapshot;
use crate::status::{KVS_E_CLOSED, KVS_E_INVALID, KVS_E_PANIC, KVS_E_REENTRANT};

pub(crate) static DBS: SharedTable<Arc<Core>> = SharedTable::new(1);
pub(crate) static SNAPSHOTS: SharedTable<SnapshotBody> = SharedTable::new(2);
pub(crate) static ITERS: ExclusiveTable<IterBody> = ExclusiveTable::new(3);
pub(crate) static BATCHES: ExclusiveTable<Batch> = ExclusiveTable::new(4);
pub(crate) static OPTIONS: ExclusiveTable<OptionsBody> = ExclusiveTable::new(5);
pub(crate) static ERRORS: ExclusiveTable<ErrorBody> = ExclusiveTable::new(6);
pub(crate) static PINS: ExclusiveTable<Value> = ExclusiveTable::new(7);
pub(crate) static RESULTS: ExclusiveTable<Vec<Option<Value>>> = ExclusiveTable::new(8);
pub(crate) static REPORTS: ExclusiveTable<ReportBody> = ExclusiveTable::new(9);

pub(crate) struct SnapshotBody {
    pub snapshot: Snapshot,
    pub core: Arc<Core>,
}

pub(crate) struct IterBody {
    pub iter: Iter,
    /// A fill met it after it had filled something: the next move tells.
    pub failed: Option<Error>,
    pub core: Arc<Core>,
}

pub(crate) struct Core {
    pub db: Db,
    /// Handles that hold it (rule 1).
    holders: AtomicUsize,
    /// A write panicked (rule 3).
    panicked: AtomicBool,
    /// `kvs_close` was called: for calls that ask the engine nothing that it would refuse.
    closed: AtomicBool,
}

impl Core {
    /// Held once, by the handle to be made.
    pub fn new(db: Db) -> Arc<Core> {
        let (panicked, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Core { db, holders: AtomicUsize::new(1), panicked, closed })
    }

    /// Closes, for good, whatever it reports.
    pub fn close(&self) -> Outcome<()> {
        // Release: pairs with the acquire in `check_open`.
        self.closed.store(true, Ordering::Release);
        Ok(self.db.close()?)
    }

    /// Refuses after `close`.
    pub fn check_open(&self) -> Outcome<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Fail::Here(KVS_E_CLOSED, "db", "was closed: open it again")),
            false => Ok(()),
        }
    }

    /// One more handle holds it: `make` makes it.
    pub fn hold(self: &Arc<Core>, make: impl FnOnce(Arc<Core>) -> Result<u64, Full>) -> Outcome<u64> {
        // Relaxed: as with `Arc`, who counts up has a reference already.
        self.holders.fetch_add(1, Ordering::Relaxed);
        make(self.clone()).map_err(|full| {
            self.release();
            full.into()
        })
    }

    /// One handle less. The last one closes; what that reports is lost, `kvs_close` is for who wants to know.
    pub fn release(&self) {
        // AcqRel: the one who sees 1 comes after everything that the others did.
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.db.close();
        }
    }

    /// A write, refused after one that panicked.
    #[inline]
    pub fn write<T>(&self, write: impl FnOnce(&Db) -> engine::Result<T>) -> Outcome<T> {
        if self.panicked.load(Ordering::Acquire) {
            return Err(Fail::Here(KVS_E_PANIC, "db", "takes no writes since one of them panicked: open it again"));
        }
        self.armed(write)
    }

    /// A write, or what is left of one, that is remembered if it panics.
    #[inline]
    fn armed<T>(&self, write: impl FnOnce(&Db) -> engine::Result<T>) -> Outcome<T> {
        struct Armed<'a>(&'a AtomicBool);
        impl Drop for Armed<'_> {
            fn drop(&mut self) {
                // Release: pairs with the acquire in `write`. Runs only if `write` unwinds.
                self.0.store(true, Ordering::Release);
            }
        }
        let armed = Armed(&self.panicked);
        fault::point("engine_write");
        let written = write(&self.db);
        std::mem::forget(armed);
        Ok(written?)
    }
}

/// What a read sees, and the pin that it was found under.
pub(crate) struct Source<'a>(Seen<'a>, &'a Pinned);

enum Seen<'a> {
    Live(&'a Arc<Core>),
    At(&'a SnapshotBody),
}

impl Source<'_> {
    pub fn core(&self) -> &Arc<Core> {
        match self.0 {
            Seen::Live(core) => core,
            Seen::At(body) => &body.core,
        }
    }

    /// The snapshot, if it is one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self.0 {
            Seen::Live(_) => None,
            Seen::At(body) => Some(&body.snapshot),
        }
    }

    #[inline]
    pub fn get(&self, key: &[u8]) -> engine::Result<Option<engine::Value>> {
        match self.0 {
            Seen::Live(core) => core.db.get_within(self.1, key),
            Seen::At(body) => body.snapshot.get_within(self.1, key),
        }
    }

    /// Calls `look` with the value where it lies.
    #[inline]
    pub fn get_with<R>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> engine::Result<Option<R>> {
        match self.0 {
            Seen::Live(core) => core.db.get_with_within(self.1, key, look),
            Seen::At(body) => body.snapshot.get_with_within(self.1, key, look),
        }
    }

    /// The same beyond the look-up: for a read that takes long.
    pub fn held(&self) -> Held {
        match self.0 {
            Seen::Live(core) => Held::Live(Arc::clone(core)),
            Seen::At(body) => Held::At(body.snapshot.clone()),
        }
    }

    pub fn contains(&self, key: &[u8]) -> engine::Result<bool> {
        Ok(self.get_with(key, |_| ())?.is_some())
    }
}

/// What a long read sees. It closes nothing when it goes: if the handles went meanwhile, the last of them has.
pub(crate) enum Held {
    Live(Arc<Core>),
    At(Snapshot),
}

impl Held {
    /// The values of many keys, all as of one moment.
    pub fn get_many(&self, keys: &[&[u8]]) -> engine::Result<Vec<Option<Value>>> {
        match self {
            Held::Live(core) => core.db.get_many(keys),
            Held::At(snapshot) => snapshot.get_many(keys),
        }
    }
}

/// Runs `f` on the snapshot, or on the live database if the snapshot is NULL. With a snapshot, the
/// database may be NULL; if it is not, they must belong together.
#[inline]
pub(crate) fn read<R>(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    f: impl FnOnce(Source<'_>) -> Outcome<R>,
) -> Outcome<R> {
    if snapshot.is_null() {
        let live = |core: &Arc<Core>, pinned: &Pinned| f(Source(Seen::Live(core), pinned));
        return DBS.with(handle("db", db)?, live).map_err(|why| refused("db", why))?;
    }
    let at = |body: &SnapshotBody, pinned: &Pinned| {
        if !db.is_null() {
            let same = DBS.with(handle("db", db)?, |core, _| Arc::ptr_eq(core, &body.core));
            if !same.map_err(|why| refused("db", why))? {
                return Err(Fail::Here(KVS_E_INVALID, "snapshot", "is of another database"));
            }
        }
        f(Source(Seen::At(body), pinned))
    };
    SNAPSHOTS.with(handle("snapshot", snapshot)?, at).map_err(|why| refused("snapshot", why))?
}

/// The database, held beyond the look-up: for calls that may wait, which a log hook must not.
pub(crate) fn core(db: *const kvs_db) -> Outcome<Arc<Core>> {
    not_in_hook()?;
    DBS.with(handle("db", db)?, |core, _| Arc::clone(core)).map_err(|why| refused("db", why))
}

fn not_in_hook() -> Outcome<()> {
    match in_hook() {
        false => Ok(()),
        true => Err(Fail::Here(KVS_E_REENTRANT, "db", "is called from inside a log hook, where only reads work")),
    }
}

/// A write of one key: tried under the pin that found the database; what has to wait does so with the database held, by `patiently` if it is
/// all.
#[inline]
pub(crate) fn write_one(
    db: *const kvs_db,
    write: impl FnOnce(&Db, &Pinned) -> engine::Result<Left>,
    patiently: impl FnOnce(&Db) -> engine::Result<()>,
) -> Outcome<()> {
    not_in_hook()?;
    let tried = |core: &Arc<Core>, pinned: &Pinned| match core.write(|db| write(db, pinned))? {
        Left::Nothing => Outcome::Ok(None),
        left => Ok(Some((Arc::clone(core), left))),
    };
    match DBS.with(handle("db", db)?, tried).map_err(|why| refused("db", why))?? {
        None | Some((_, Left::Nothing)) => Ok(()),
        // It is visible: a panic of another write is no reason to refuse it now.
        Some((core, Left::Rest(rest))) => core.armed(|db| db.finish(rest)),
        Some((core, Left::All)) => core.write(patiently),
    }
}

/// Calls `look` with the value of a key where it lies, as [`read`] finds it: as straight as it can be for the live database.
#[inline(always)]
pub(crate) fn get_with<R>(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    key: &[u8],
    look: impl FnOnce(&[u8]) -> R,
) -> Outcome<Option<R>> {
    if !snapshot.is_null() {
        return get_at_with(db, snapshot, key, look);
    }
    let live = |core: &Arc<Core>, pinned: &Pinned| core.db.get_with_within(pinned, key, look);
    Ok(DBS.with(handle("db", db)?, live).map_err(|why| refused("db", why))??)
}

#[inline(never)]
fn get_at_with<R>(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    key: &[u8],
    look: impl FnOnce(&[u8]) -> R,
) -> Outcome<Option<R>> {
    read(db, snapshot, |source| Ok(source.get_with(key, look)?))
}

/// The handle in a pointer.
#[inline]
pub(crate) fn handle<T>(what: &'static str, pointer: *const T) -> Outcome<u64> {
    match pointer.addr() {
        0 => Err(Fail::Here(KVS_E_INVALID, what, "is NULL")),
        handle => Ok(handle as u64),
    }
}

/// The pointer that carries a handle: never an address.
pub(crate) fn opaque<T>(handle: u64) -> *mut T {
    std::ptr::without_provenance_mut(handle as usize)
}

/// Frees an object that one thread at a time uses. Nothing happens for NULL and for handles that are not live.
pub(crate) fn free<T, P>(table: &ExclusiveTable<T>, pointer: *const P) -> Option<T> {
    table.remove(pointer.addr() as u64).ok()
}
