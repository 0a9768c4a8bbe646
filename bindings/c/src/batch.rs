//! Batches: writes that become visible, and survive, together or not at all.

use std::ops::Bound;

use engine::{BATCH_BYTES_MAX, Batch, Error, ErrorKind, KEY_BYTES_MAX, VALUE_BYTES_MAX};

use crate::boundary::{ErrorOut, Fail, Out, Outcome, call, call_or, key, packed, range, refused, value};
use crate::db::{How, kvs_db};
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

/// Adds writes from their packed form, for languages in which one call is cheaper than many. One after the other, each is:
///
/// 1 byte: KVS_PACKED_PUT, KVS_PACKED_DELETE, KVS_PACKED_DELETE_RANGE or KVS_PACKED_DELETE_FROM;
/// 4 bytes: the length of the key; 4 bytes: the length of the value, both little-endian; the key; the value.
///
/// Nothing is aligned. All of it is added, or nothing: KVS_E_INVALID (the error says at which byte) if it is not of this form,
/// KVS_E_TOO_LARGE as for kvs_batch_put. Up to 4 GiB in one call. Copied.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_batch_append_packed(
    batch: *mut kvs_batch,
    writes: *const u8,
    writes_len: usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_batch_append_packed", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1.
        let writes = unsafe { packed("writes", writes, writes_len) }?;
        with(batch, |batch| {
            // All are looked at before the first is added.
            let mut more = 0;
            for write in Unpacked::of(writes) {
                let Packed { kind, key, value } = write?;
                more += key.len() + if kind == KVS_PACKED_DELETE_FROM { KEY_BYTES_MAX + 1 } else { value.len() };
            }
            room(batch, more)?;
            for write in Unpacked::of(writes) {
                let Packed { kind, key, value } = write?;
                let from = Bound::Included(key);
                match kind {
                    KVS_PACKED_PUT => batch.put(key, value),
                    KVS_PACKED_DELETE => batch.delete(key),
                    KVS_PACKED_DELETE_RANGE => batch.delete_range::<&[u8]>((from, Bound::Excluded(value))),
                    _ => batch.delete_range::<&[u8]>((from, Bound::Unbounded)),
                };
            }
            Ok(KVS_OK)
        })
    })
}

/// One write of the packed form, its kind and its lengths checked.
struct Packed<'a> {
    kind: u8,
    key: &'a [u8],
    value: &'a [u8],
}

/// Kind and two lengths.
const PACKED_HEAD_BYTES: usize = 9;

/// The writes of a packed form. Ends with the first that is none.
struct Unpacked<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Unpacked<'a> {
    fn of(all: &'a [u8]) -> Unpacked<'a> {
        Unpacked { all, at: 0 }
    }

    fn take(&mut self) -> Outcome<Packed<'a>> {
        let malformed =
            |kind, what: &str| Fail::from(Error::new(kind, format!("the write at byte {} {what}", self.at)));
        let invalid = |what| malformed(ErrorKind::InvalidArgument, what);
        let rest = &self.all[self.at..];
        let Some((head, body)) = rest.split_first_chunk::<PACKED_HEAD_BYTES>() else {
            return Err(invalid("ends within its kind and lengths"));
        };
        let [kind, a, b, c, d, e, f, g, h] = *head;
        let (key_len, value_len) =
            (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
        let value_bytes_max = match kind {
            KVS_PACKED_PUT => VALUE_BYTES_MAX,
            KVS_PACKED_DELETE_RANGE => KEY_BYTES_MAX,
            KVS_PACKED_DELETE | KVS_PACKED_DELETE_FROM if value_len == 0 => 0,
            KVS_PACKED_DELETE | KVS_PACKED_DELETE_FROM => return Err(invalid("is a delete and has a value")),
            _ => return Err(invalid("is of no known kind")),
        };
        if key_len > KEY_BYTES_MAX || value_len > value_bytes_max {
            return Err(malformed(ErrorKind::TooLarge, "has a key or a value that is too long"));
        }
        let Some((bytes, _)) = body.split_at_checked(key_len + value_len) else {
            return Err(invalid("ends within its key or value"));
        };
        self.at += PACKED_HEAD_BYTES + bytes.len();
        let (key, value) = bytes.split_at(key_len);
        Ok(Packed { kind, key, value })
    }
}

impl<'a> Iterator for Unpacked<'a> {
    type Item = Outcome<Packed<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.all.len()).then(|| self.take())
    }
}

/// How many bytes of keys and values the batch holds; 0 if it is NULL, freed or in use by another thread.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_batch_bytes(batch: *const kvs_batch) -> usize {
    call_or("kvs_batch_bytes", 0, || with(batch, |batch| Ok(batch.byte_len())).unwrap_or(0))
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
/// again, cleared or freed. flags: 0, or KVS_SYNC and KVS_NO_WAIT. May wait for the disk.
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
        let how = How::of(flags)?;
        let core = core(db)?;
        with(batch, |batch| {
            core.write(|db| how.write(db, batch))?;
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
