//! The values of many keys with one owner.

use engine::{KEY_BYTES_MAX, Value};

use crate::boundary::{ErrorOut, Fail, Out, Outcome, call, call_or, packed, refused, sizes};
use crate::db::kvs_db;
use crate::error::kvs_error;
use crate::fork;
use crate::objects::{RESULTS, free, handle, opaque, read};
use crate::snapshot::kvs_snapshot;
use crate::status::*;

/// The values of many keys, as of one moment. Any number of threads may use it at once. The values are pinned as by
/// kvs_get_pinned: readable until it is freed, whatever happens to the database.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_results {
    _opaque: (),
}

/// So many keys go into one call.
const KEYS_MAX: usize = 1 << 20;

/// Looks up many keys, all as of one moment. keys holds all of them, back to back: number i begins where number i - 1 ends, the first
/// at 0, and ends before the byte key_ends[i]; the last ends at keys_len. key_ends has count numbers. Up to 1048576 keys.
/// snapshot may be NULL: now; with a snapshot, db may be NULL. The caller frees *out with kvs_results_free, before or after
/// the database; kvs_results_get tells of each key. On failure *out is NULL. A missing key is no failure. KVS_E_INVALID: a key
/// ends before it begins, or behind keys_len, or the last one elsewhere. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_multi_get(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    keys: *const u8,
    keys_len: usize,
    key_ends: *const usize,
    count: usize,
    out: *mut *mut kvs_results,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_multi_get", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2.
        let out = unsafe { Out::null("out", out) }?;
        if count > KEYS_MAX {
            return Err(Fail::Here(KVS_E_TOO_LARGE, "count", "is above 1048576: ask in parts"));
        }
        // SAFETY: C1, for both; of `key_ends`, `count` numbers.
        let (keys, ends) = unsafe { (packed("keys", keys, keys_len)?, sizes("key_ends", key_ends, count)?) };
        let keys = cut(keys, &ends)?;
        fork::watch()?;
        // A million keys take a while: not with the epoch pinned.
        let values = read(db, snapshot, |source| Ok(source.held()))?.get_many(&keys)?;
        out.set(opaque(RESULTS.insert(values)?));
        Ok(KVS_OK)
    })
}

fn cut<'a>(all: &'a [u8], ends: &[usize]) -> Outcome<Vec<&'a [u8]>> {
    let mut start = 0;
    let keys = ends.iter().map(|&end| {
        let why = "has a key that ends before it begins, or behind keys_len";
        let key = all.get(start..end).ok_or(Fail::Here(KVS_E_INVALID, "key_ends", why))?;
        start = end;
        match key.len() > KEY_BYTES_MAX {
            true => Err(Fail::Here(KVS_E_TOO_LARGE, "keys", "has a key that is longer than 64 KiB")),
            false => Ok(key),
        }
    });
    let keys = keys.collect::<Outcome<Vec<_>>>()?;
    match start == all.len() {
        true => Ok(keys),
        false => Err(Fail::Here(KVS_E_INVALID, "key_ends", "has a last key that does not end at keys_len")),
    }
}

/// How many keys were asked for; 0 for NULL and for what is freed or of another type. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_results_count(results: *const kvs_results) -> usize {
    call_or("kvs_results_count", 0, || {
        if results.is_null() { 0 } else { RESULTS.with(results.addr() as u64, |values| values.len()).unwrap_or(0) }
    })
}

/// The value of key number i. KVS_OK: *data (never NULL) and *data_len are set, borrowed until the results are freed.
/// KVS_NOT_FOUND: there was no such key, nothing is set. KVS_E_INVALID if i is kvs_results_count() or more. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_results_get(
    results: *const kvs_results,
    i: usize,
    data: *mut *const u8,
    data_len: *mut usize,
) -> kvs_status {
    call("kvs_results_get", ErrorOut::NONE, || {
        // SAFETY: C2, for both.
        let (data, data_len) = unsafe { (Out::new("data", data)?, Out::new("data_len", data_len)?) };
        let look = |values: &mut Vec<Option<Value>>| match values.get(i) {
            Some(value) => Ok(value.as_ref().map(|value| (value.as_ptr(), value.len()))),
            None => Err(Fail::Here(KVS_E_INVALID, "i", "is not below kvs_results_count()")),
        };
        let value = RESULTS.with(handle("results", results)?, look);
        let Some((at, len)) = value.map_err(|why| refused("results", why))?? else { return Ok(KVS_NOT_FOUND) };
        data.set(at);
        data_len.set(len);
        Ok(KVS_OK)
    })
}

/// Frees results; what they lent is not to be touched any more. NULL, or results freed before: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_results_free(results: *mut kvs_results) {
    call_or("kvs_results_free", (), || drop(free(&RESULTS, results)))
}
