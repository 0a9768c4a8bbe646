//! Iterators: cursors over a range of one snapshot, both ways.

use engine::Iter;

use crate::boundary::{Buffer, ErrorOut, Fail, Out, Outcome, call, call_or, flags, key, range, refused};
use crate::db::kvs_db;
use crate::error::kvs_error;
use crate::fault;
use crate::fork;
use crate::objects::{ITERS, IterBody, Source, free, handle, opaque, read};
use crate::snapshot::kvs_snapshot;
use crate::status::*;

/// A cursor over the keys of a range, in order of their bytes, as they were when it was made. For one thread at a time; it may
/// move between threads. A second thread that comes at the same moment gets KVS_E_CONCURRENT.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_iter {
    _opaque: (),
}

/// Makes an iterator over the keys from low (included) to high (excluded). A bound (NULL, 0) is none; (non-NULL, 0) is the
/// empty key. If high is not above low, the range is empty. The bounds are copied. snapshot may be NULL: the iterator sees
/// the database as it is now; with a snapshot, db may be NULL, and the snapshot may be freed before the iterator.
/// It stands before the first entry: move it before kvs_iter_item. flags: 0. The caller frees *out with
/// kvs_iter_free, before or after the database. On failure *out is NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_new(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    low: *const u8,
    low_len: usize,
    high: *const u8,
    high_len: usize,
    flags: u32,
    out: *mut *mut kvs_iter,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_new", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2.
        let out = unsafe { Out::null("out", out) }?;
        // SAFETY: C1, for both.
        let range = unsafe { range(("low", low, low_len), ("high", high, high_len)) }?;
        self::flags(flags, 0)?;
        fork::watch()?;
        out.set(make(db, snapshot, |source| match source.snapshot() {
            None => source.core().db.range::<&[u8]>(range),
            Some(snapshot) => snapshot.range::<&[u8]>(range),
        })?);
        Ok(KVS_OK)
    })
}

/// Makes an iterator over the keys that begin with prefix; of an empty prefix, over all. Copied. Otherwise as kvs_iter_new.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_new_prefix(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    prefix: *const u8,
    prefix_len: usize,
    flags: u32,
    out: *mut *mut kvs_iter,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_new_prefix", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2.
        let out = unsafe { Out::null("out", out) }?;
        // SAFETY: C1.
        let prefix = unsafe { key(prefix, prefix_len) }?;
        self::flags(flags, 0)?;
        fork::watch()?;
        out.set(make(db, snapshot, |source| match source.snapshot() {
            None => source.core().db.prefix(prefix),
            Some(snapshot) => snapshot.prefix(prefix),
        })?);
        Ok(KVS_OK)
    })
}

fn make(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    iterate: impl FnOnce(&Source<'_>) -> engine::Result<Iter>,
) -> Outcome<*mut kvs_iter> {
    let made = read(db, snapshot, |source| {
        let iter = iterate(&source)?;
        source.core().hold(|core| ITERS.insert(IterBody { iter, failed: None, core }))
    })?;
    Ok(opaque(made))
}

/// Moves to the first entry of the range. KVS_OK, or KVS_END if there is none.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_first(iter: *mut kvs_iter, err: *mut *mut kvs_error) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_first", unsafe { ErrorOut::new(err) }, || jump(iter, |iter| iter.seek_to_first()))
}

/// Moves to the last entry of the range. KVS_OK, or KVS_END if there is none.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_last(iter: *mut kvs_iter, err: *mut *mut kvs_error) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_last", unsafe { ErrorOut::new(err) }, || jump(iter, |iter| iter.seek_to_last()))
}

/// Moves to the next entry. From a new iterator, and from before the first entry: to the first. KVS_OK, or KVS_END
/// behind the last, where it stays.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_next(iter: *mut kvs_iter, err: *mut *mut kvs_error) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_next", unsafe { ErrorOut::new(err) }, || step(iter, |iter| iter.move_next()))
}

/// Moves to the previous entry. From a new iterator, and from behind the last entry: to the last. KVS_OK, or KVS_END
/// before the first, where it stays.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_prev(iter: *mut kvs_iter, err: *mut *mut kvs_error) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_prev", unsafe { ErrorOut::new(err) }, || step(iter, |iter| iter.move_prev()))
}

/// Moves to the first entry of the range whose key is not below the given one. KVS_OK, or KVS_END if there is none.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_seek(
    iter: *mut kvs_iter,
    key: *const u8,
    key_len: usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_seek", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1.
        let key = unsafe { self::key(key, key_len) }?;
        jump(iter, |iter| iter.seek(key))
    })
}

/// Moves to the last entry of the range whose key is not above the given one. KVS_OK, or KVS_END if there is none.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_seek_for_prev(
    iter: *mut kvs_iter,
    key: *const u8,
    key_len: usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_seek_for_prev", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1.
        let key = unsafe { self::key(key, key_len) }?;
        jump(iter, |iter| iter.seek_for_prev(key))
    })
}

/// The entry that the iterator stands on. Key and value are borrowed: valid until the iterator is moved or
/// freed, whatever happens to the database. KVS_END, and nothing set, if it stands on none. The four pointers must not be NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_item(
    iter: *const kvs_iter,
    key: *mut *const u8,
    key_len: *mut usize,
    value: *mut *const u8,
    value_len: *mut usize,
) -> kvs_status {
    call("kvs_iter_item", ErrorOut::NONE, || {
        // SAFETY: C2, for the four.
        let (key, key_len) = unsafe { (Out::new("key", key)?, Out::new("key_len", key_len)?) };
        // SAFETY: as above.
        let (value, value_len) = unsafe { (Out::new("value", value)?, Out::new("value_len", value_len)?) };
        with(iter, |iter| {
            if !iter.valid() {
                return Ok(KVS_END);
            }
            // The slices outlive the lock: the iterator lies in a slot that never moves, and lends them until it is changed.
            key.set(iter.key().as_ptr());
            key_len.set(iter.key().len());
            value.set(iter.value().as_ptr());
            value_len.set(iter.value().len());
            Ok(KVS_OK)
        })
    })
}

/// Puts the entry that the iterator stands on, and those that follow, into the caller's buffer, as many as fit: one call where a
/// foreign language would pay for many. If it stands on none it is moved first, as by kvs_iter_next. With the flag KVS_REVERSE
/// the direction is that of kvs_iter_prev. One after the other, each entry is:
///
/// 4 bytes: the length of the key; 4 bytes: the length of the value, both little-endian; the key; the value.
///
/// Nothing is aligned. Afterwards the iterator stands on the first entry that was not put, so that the next call goes on there: call
/// until KVS_END. KVS_OK: *items (1 to max_items) entries were put, *used bytes. KVS_END: there are no more, nothing was put.
/// KVS_E_BUFFER: not even one fits, nothing was put and *used is what it needs; *items is untouched. An error that is met
/// after some entries were put is told by the next call, if that is not a seek. max_items must not be 0.
/// buffer may be NULL if capacity is 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_iter_fill(
    iter: *mut kvs_iter,
    buffer: *mut u8,
    capacity: usize,
    max_items: usize,
    flags: u32,
    items: *mut usize,
    used: *mut usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_iter_fill", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2, for the three.
        let (mut buffer, items, used) =
            unsafe { (Buffer::new("buffer", buffer, capacity)?, Out::new("items", items)?, Out::new("used", used)?) };
        let reverse = self::flags(flags, KVS_REVERSE)? != 0;
        if max_items == 0 {
            return Err(Fail::Here(KVS_E_INVALID, "max_items", "is 0"));
        }
        with_body(iter, |body| {
            // Standing on an entry is no reason to go on with it after a close.
            body.core.check_open()?;
            if let Some(failed) = body.failed.take() {
                return Err(failed.into());
            }
            let (mut count, mut too_long) = (0, 0);
            let put = |key: &[u8], value: &[u8]| {
                if count == max_items {
                    return false;
                }
                let fits = buffer.put_entry(key, value);
                count += usize::from(fits);
                too_long = if fits { 0 } else { 8 + key.len() + value.len() };
                fits
            };
            match body.iter.visit(!reverse, put) {
                Err(failure) if count == 0 => return Err(failure.into()),
                Err(failure) => body.failed = Some(failure),
                Ok(true) if count == 0 => {
                    used.set(too_long);
                    let why = "is too small for one entry: *used says what is needed";
                    return Err(Fail::Here(KVS_E_BUFFER, "buffer", why));
                }
                Ok(false) if count == 0 => return Ok(KVS_END),
                Ok(_) => {}
            }
            items.set(count);
            used.set(buffer.used());
            Ok(KVS_OK)
        })
    })
}

/// Frees an iterator, after waiting for a call that uses it. NULL, or an iterator freed before: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_iter_free(iter: *mut kvs_iter) {
    call_or("kvs_iter_free", (), || {
        if let Some(IterBody { iter, core, .. }) = free(&ITERS, iter) {
            // What it pins goes first, then perhaps the database.
            drop(iter);
            core.release();
        }
    })
}

fn with_body<R>(iter: *const kvs_iter, f: impl FnOnce(&mut IterBody) -> Outcome<R>) -> Outcome<R> {
    ITERS.try_with(handle("iter", iter)?, f).map_err(|why| refused("iter", why))?
}

fn with<R>(iter: *const kvs_iter, f: impl FnOnce(&mut Iter) -> Outcome<R>) -> Outcome<R> {
    with_body(iter, |body| f(&mut body.iter))
}

/// A move to an entry that has nothing to do with the present one: what a fill met is of no interest any more.
fn jump(iter: *const kvs_iter, f: impl FnOnce(&mut Iter) -> engine::Result<bool>) -> Outcome {
    with_body(iter, |body| {
        body.failed = None;
        fault::point("engine_move");
        Ok(if f(&mut body.iter)? { KVS_OK } else { KVS_END })
    })
}

/// A move from the present entry.
fn step(iter: *const kvs_iter, f: impl FnOnce(&mut Iter) -> engine::Result<bool>) -> Outcome {
    with_body(iter, |body| match body.failed.take() {
        Some(failed) => Err(failed.into()),
        None => Ok(if f(&mut body.iter)? { KVS_OK } else { KVS_END }),
    })
}
