//! Batches: writes that become visible, and survive, together or not at all.

use engine::{BATCH_BYTES_MAX, Batch, KEY_BYTES_MAX};

use crate::boundary::{ErrorOut, Fail, Out, Outcome, call, call_or, key, range, refused, value};
use crate::db::{durability, kvs_db};
use crate::error::kvs_error;
use crate::fork;
use crate::objects::{BATCHES, core, free, handle, opaque};
use crate::status::*;

/// Puts and deletes to be applied in order, atomically. For one thread at a time; it may move between threads. A
/// second thread that comes at the same moment gets KVS_E_CONCURRENT. Belongs to no database: kvs_write says which.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_batch {
    _opaque: (),
}

/// Makes an empty batch. The caller frees *out with kvs_batch_free. On failure *out is NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_batch_new(out: *mut *mut kvs_batch) -> kvs_status {
    call("kvs_batch_new", ErrorOut::NONE, || {
        // SAFETY: C2.
        let out = unsafe { Out::null("out", out) }?;
        fork::watch()?;
        out.set(opaque(BATCHES.insert(Batch::new())?));
        Ok(KVS_OK)
    })
}

/// Adds a put; key and value are copied. KVS_E_TOO_LARGE, and the batch as it was, if the key, the value or the whole
/// batch (4 GiB) gets too large.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_batch_put(
    batch: *mut kvs_batch,
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
) -> kvs_status {
    call("kvs_batch_put", ErrorOut::NONE, || {
        // SAFETY: C1, for both.
        let (key, value) = unsafe { (self::key(key, key_len)?, self::value(value, value_len)?) };
        with(batch, |batch| {
            room(batch, key.len() + value.len())?;
            batch.put(key, value);
            Ok(KVS_OK)
        })
    })
}

/// Adds a delete; the key is copied. KVS_E_TOO_LARGE as for kvs_batch_put.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_batch_delete(batch: *mut kvs_batch, key: *const u8, key_len: usize) -> kvs_status {
    call("kvs_batch_delete", ErrorOut::NONE, || {
        // SAFETY: C1.
        let key = unsafe { self::key(key, key_len) }?;
        with(batch, |batch| {
            room(batch, key.len())?;
            batch.delete(key);
            Ok(KVS_OK)
        })
    })
}

/// Adds a delete of every key from start (included) to stop (excluded), copied. What the batch itself put there before is
/// removed too, what it puts later is not. start NULL: from the first key; stop NULL: to the last; their lengths are 0
/// then. (non-NULL, 0) is the empty key. KVS_E_TOO_LARGE as for kvs_batch_put.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_batch_delete_range(
    batch: *mut kvs_batch,
    start: *const u8,
    start_len: usize,
    stop: *const u8,
    stop_len: usize,
) -> kvs_status {
    call("kvs_batch_delete_range", ErrorOut::NONE, || {
        // SAFETY: C1, for both.
        let range = unsafe { range(("start", start, start_len), ("stop", stop, stop_len)) }?;
        with(batch, |batch| {
            // As the end of an open range something longer than every key is kept.
            room(batch, start_len + if stop.is_null() { KEY_BYTES_MAX + 1 } else { stop_len })?;
            batch.delete_range::<&[u8]>(range);
            Ok(KVS_OK)
        })
    })
}

/// How many writes the batch holds; 0 if it is NULL, freed or in use by another thread.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_batch_count(batch: *const kvs_batch) -> usize {
    call_or("kvs_batch_count", 0, || with(batch, |batch| Ok(batch.len())).unwrap_or(0))
}

/// Empties the batch; it keeps its memory for what comes.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_batch_clear(batch: *mut kvs_batch) -> kvs_status {
    call("kvs_batch_clear", ErrorOut::NONE, || {
        with(batch, |batch| {
            batch.clear();
            Ok(KVS_OK)
        })
    })
}

/// Applies the batch to a database: all of it or, on failure, nothing. The batch stays as it is, to be written
/// again, cleared or freed. flags: 0 or KVS_SYNC. May wait for the disk.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_write(
    db: *const kvs_db,
    batch: *mut kvs_batch,
    flags: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_write", unsafe { ErrorOut::new(err) }, || {
        let durability = durability(flags)?;
        let core = core(db)?;
        with(batch, |batch| {
            core.write(|db| match durability {
                None => db.write(batch),
                Some(durability) => db.write_with(batch, durability),
            })?;
            Ok(KVS_OK)
        })
    })
}

/// Frees a batch, after waiting for a call that uses it. NULL, or a batch freed before: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_batch_free(batch: *mut kvs_batch) {
    call_or("kvs_batch_free", (), || drop(free(&BATCHES, batch)))
}

fn with<R>(batch: *const kvs_batch, f: impl FnOnce(&mut Batch) -> Outcome<R>) -> Outcome<R> {
    BATCHES.try_with(handle("batch", batch)?, f).map_err(|why| refused("batch", why))?
}

/// Refuses a batch that could never be written before it takes the memory.
fn room(batch: &Batch, more: usize) -> Outcome<()> {
    match (batch.byte_len() + more) as u64 > BATCH_BYTES_MAX {
        true => Err(Fail::Here(KVS_E_TOO_LARGE, "batch", "would be larger than 4 GiB")),
        false => Ok(()),
    }
}
