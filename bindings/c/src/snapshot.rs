//! Snapshots: the database as it was at one moment.

use std::sync::Arc;

use crate::boundary::{ErrorOut, Out, call, call_or, refused};
use crate::db::kvs_db;
use crate::error::kvs_error;
use crate::fork;
use crate::objects::{SNAPSHOTS, SnapshotBody, core, handle, opaque};
use crate::status::*;

/// The database as it was when the snapshot was made, whatever is written since. Any number of threads may use it at once.
/// While it lives, the space of what was overwritten since cannot be used again.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_snapshot {
    _opaque: (),
}

/// Makes a snapshot of now. The caller frees *out with kvs_snapshot_free, before or after the
/// database. On failure *out is NULL. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_snapshot_new(
    db: *const kvs_db,
    out: *mut *mut kvs_snapshot,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_snapshot_new", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2.
        let out = unsafe { Out::null("out", out) }?;
        fork::watch()?;
        let core = core(db)?;
        let snapshot = core.db.snapshot()?;
        let made = core.hold(|core| SNAPSHOTS.insert(SnapshotBody { snapshot, core }))?;
        out.set(opaque(made));
        Ok(KVS_OK)
    })
}

/// The number of the last write that the snapshot sees; writes are numbered from 1 in the order in which they became visible, each
/// put and each delete of a batch by itself. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_snapshot_sequence(
    snapshot: *const kvs_snapshot,
    out: *mut u64,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_snapshot_sequence", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2.
        let out = unsafe { Out::new("out", out) }?;
        let snapshot = handle("snapshot", snapshot)?;
        let sequence = SNAPSHOTS.with(snapshot, |body, _| body.core.check_open().map(|()| body.snapshot.sequence()));
        out.set(sequence.map_err(|why| refused("snapshot", why))??);
        Ok(KVS_OK)
    })
}

/// Frees a snapshot; iterators made from it go on. NULL, or a snapshot freed before: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_snapshot_free(snapshot: *mut kvs_snapshot) {
    call_or("kvs_snapshot_free", (), || {
        if let Ok(core) = SNAPSHOTS.remove(snapshot.addr() as u64, |body| Arc::clone(&body.core)) {
            core.release();
        }
    })
}
