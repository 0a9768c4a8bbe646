//! Pinned values: read where they lie, without a copy.

use crate::boundary::{ErrorOut, Out, call, call_or, key, refused};
use crate::db::kvs_db;
use crate::error::kvs_error;
use crate::fork;
use crate::objects::{PINS, free, handle, opaque, read};
use crate::snapshot::kvs_snapshot;
use crate::status::*;

/// A value where it lies: in the log, in a table or in the block cache. Any number of threads may use it at once. It stays as it was and
/// readable until it is freed, whatever is written, and after the database is closed and freed, too. Meanwhile the
/// file that it lies in is kept: copy what is needed for long.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_pin {
    _opaque: (),
}

/// Pins the value of a key: nothing is copied, whatever its size. snapshot may be NULL: the current value; with a
/// snapshot, db may be NULL. On KVS_OK *data (never NULL) and *data_len are the value, borrowed: valid until the
/// pin is freed. The caller frees *out with kvs_pin_free, before or after the database. KVS_NOT_FOUND if there is no such key.
/// After anything but KVS_OK *out is NULL, and *data and *data_len are untouched. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_get_pinned(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    key: *const u8,
    key_len: usize,
    out: *mut *mut kvs_pin,
    data: *mut *const u8,
    data_len: *mut usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_get_pinned", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2, for the three.
        let (out, data, data_len) =
            unsafe { (Out::null("out", out)?, Out::new("data", data)?, Out::new("data_len", data_len)?) };
        // SAFETY: C1.
        let key = unsafe { self::key(key, key_len) }?;
        fork::watch()?;
        read(db, snapshot, |source| {
            let Some(value) = source.get(key)? else { return Ok(KVS_NOT_FOUND) };
            // The bytes stay where they are when the value, which only points to them, moves into the table.
            let (at, len) = (value.as_ptr(), value.len());
            out.set(opaque(PINS.insert(value)?));
            data.set(at);
            data_len.set(len);
            Ok(KVS_OK)
        })
    })
}

/// The value again: what kvs_get_pinned gave. Borrowed until the pin is freed. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_pin_data(pin: *const kvs_pin, data: *mut *const u8, data_len: *mut usize) -> kvs_status {
    call("kvs_pin_data", ErrorOut::NONE, || {
        // SAFETY: C2, for both.
        let (data, data_len) = unsafe { (Out::new("data", data)?, Out::new("data_len", data_len)?) };
        let (at, len) =
            PINS.with(handle("pin", pin)?, |value| (value.as_ptr(), value.len())).map_err(|why| refused("pin", why))?;
        data.set(at);
        data_len.set(len);
        Ok(KVS_OK)
    })
}

/// Frees a pin; what it lent is not to be touched any more. NULL, or a pin freed before: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_pin_free(pin: *mut kvs_pin) {
    call_or("kvs_pin_free", (), || drop(free(&PINS, pin)))
}
