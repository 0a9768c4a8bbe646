//! The database: open, close, single reads and writes, and the buffers that reads hand out.

use std::ffi::{OsStr, c_char, c_void};
use std::sync::Arc;

use engine::{Batch, Db, Durability};

use crate::boundary::{ErrorOut, Fail, Out, Outcome, call, call_or, flags, key, range, refused, string, value};
use crate::error::kvs_error;
use crate::fork;
use crate::objects::{Core, DBS, OPTIONS, core, get_with, handle, opaque, read, write_one};
use crate::options::{OptionsBody, in_hook, kvs_options};
use crate::snapshot::kvs_snapshot;
use crate::status::*;

/// An open database. Any number of threads may use it at once, for every call that takes one.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_db {
    _opaque: (),
}

/// Opens the database in the directory path, and creates it if the options do not forbid that. The path is a string of bytes
/// (UTF-8 on Windows), copied. A NULL path with the option in_memory = "true" opens a database in memory.
/// options may be NULL: all defaults. They are copied and may be freed or changed afterwards.
/// The caller frees *out with kvs_free_db. On failure *out is NULL. Waits for recovery of what a crash left.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_open(
    path: *const c_char,
    options: *const kvs_options,
    out: *mut *mut kvs_db,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_open", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2.
        let out = unsafe { Out::null("out", out) }?;
        fork::watch()?;
        let with = match options.is_null() {
            true => OptionsBody::default(),
            false => {
                let options = handle("options", options)?;
                OPTIONS.with(options, |body| body.clone()).map_err(|why| refused("options", why))?
            }
        };
        let db = match (path.is_null(), with.in_memory) {
            (true, true) => Db::in_memory(with.options)?,
            (true, false) => {
                return Err(Fail::Here(KVS_E_INVALID, "path", "is NULL, but the option in_memory is not set"));
            }
            (false, true) => {
                return Err(Fail::Here(KVS_E_INVALID, "path", "must be NULL: the option in_memory is set"));
            }
            (false, false) => {
                // SAFETY: C3.
                let path = unsafe { string("path", path) }?;
                if path.is_empty() {
                    return Err(Fail::Here(KVS_E_INVALID, "path", "is empty"));
                }
                Db::open(os_path(path)?, with.options)?
            }
        };
        let core = Core::new(db);
        match DBS.insert(core.clone()) {
            Ok(handle) => out.set(opaque(handle)),
            Err(full) => {
                core.release();
                return Err(full.into());
            }
        }
        Ok(KVS_OK)
    })
}

#[cfg(unix)]
pub(crate) fn os_path(path: &std::ffi::CStr) -> Outcome<&OsStr> {
    Ok(std::os::unix::ffi::OsStrExt::from_bytes(path.to_bytes()))
}

#[cfg(not(unix))]
pub(crate) fn os_path(path: &std::ffi::CStr) -> Outcome<&OsStr> {
    path.to_str().map(OsStr::new).map_err(|_| Fail::Here(KVS_E_INVALID, "path", "is not UTF-8"))
}

/// Closes the database: waits for running calls, makes everything durable, releases the files and the lock, and
/// reports what fails. The handle stays the caller's, to be freed with kvs_free_db. Afterwards every other call on the
/// database, its snapshots and its iterators returns KVS_E_CLOSED, except that what an iterator
/// stands on stays readable. Closing again does nothing and returns KVS_OK. Any thread, also beside running calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvs_close(db: *const kvs_db, err: *mut *mut kvs_error) -> kvs_status {
    // SAFETY: C2.
    call("kvs_close", unsafe { ErrorOut::new(err) }, || {
        core(db)?.close()?;
        Ok(KVS_OK)
    })
}

/// Frees the handle. If no snapshot or iterator of it is left, the database is closed now, otherwise when the last of
/// them is freed: they may be freed in any order. What closing reports is lost here; kvs_close tells.
/// NULL, or a database freed before, or inside of a log hook: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_free_db(db: *mut kvs_db) {
    call_or("kvs_free_db", (), || {
        // It would wait for the thread that it is on.
        if in_hook() {
            return;
        }
        if let Ok(core) = DBS.remove(db.addr() as u64, Arc::clone) {
            core.release();
        }
    })
}

/// Sets a key to a value, both copied. Any bytes; a key of up to 64 KiB, a value of up to 1 GiB, both may be empty.
/// flags: 0, or KVS_SYNC and KVS_NO_WAIT. Any thread.
/// May wait for the disk.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_put(
    db: *const kvs_db,
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
    flags: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_put", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1, for both.
        let (key, value) = unsafe { (self::key(key, key_len)?, self::value(value, value_len)?) };
        let how = How::of(flags)?;
        if how.wait && value.len() <= SHORT {
            let patiently = move |db: &Db| db.put_with(key, value, how.durability(db));
            write_one(db, move |db, pinned| db.put_within(pinned, key, value, how.durability(db)), patiently)?;
        } else if how.wait {
            core(db)?.write(|db| db.put_with(key, value, how.durability(db)))?;
        } else {
            core(db)?.write(|db| how.write(db, Batch::new().put(key, value)))?;
        }
        Ok(KVS_OK)
    })
}

/// Removes a key. KVS_OK whether it was there or not. flags: 0, or KVS_SYNC and KVS_NO_WAIT. Any thread.
/// May wait for the disk.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_delete(
    db: *const kvs_db,
    key: *const u8,
    key_len: usize,
    flags: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_delete", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1.
        let key = unsafe { self::key(key, key_len) }?;
        let how = How::of(flags)?;
        if how.wait {
            let patiently = move |db: &Db| db.delete_with(key, how.durability(db));
            write_one(db, move |db, pinned| db.delete_within(pinned, key, how.durability(db)), patiently)?;
        } else {
            core(db)?.write(|db| how.write(db, Batch::new().delete(key)))?;
        }
        Ok(KVS_OK)
    })
}

/// Removes every key from start (included) to stop (excluded), whether there are any or not: one write, however many keys
/// those are. start NULL: from the first key; stop NULL: to the last; their lengths are 0 then. (non-NULL, 0) is the
/// empty key. If stop is not above start, nothing is removed. flags: 0, or KVS_SYNC and KVS_NO_WAIT. Any thread.
/// May wait for the disk.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_delete_range(
    db: *const kvs_db,
    start: *const u8,
    start_len: usize,
    stop: *const u8,
    stop_len: usize,
    flags: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_delete_range", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1, for both.
        let range = unsafe { range(("start", start, start_len), ("stop", stop, stop_len)) }?;
        let how = How::of(flags)?;
        core(db)?.write(|db| how.write(db, Batch::new().delete_range::<&[u8]>(range)))?;
        Ok(KVS_OK)
    })
}

/// Values up to here are written under the pin that found the database: to hash more takes so long that others would wait for what they have
/// retired.
const SHORT: usize = 64 << 10;

/// What a write's flags ask for.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// None: as the options say.
    durability: Option<Durability>,
    wait: bool,
}

impl How {
    pub fn of(given: u32) -> Outcome<How> {
        let given = flags(given, KVS_SYNC | KVS_NO_WAIT)?;
        let durability = (given & KVS_SYNC != 0).then_some(Durability::Sync);
        Ok(How { durability, wait: given & KVS_NO_WAIT == 0 })
    }

    fn durability(self, db: &Db) -> Durability {
        self.durability.unwrap_or(db.options().durability)
    }

    pub fn write(self, db: &Db, batch: &Batch) -> engine::Result<()> {
        let durability = self.durability(db);
        if self.wait { db.write_with(batch, durability) } else { db.try_write(batch, durability) }
    }
}

/// Copies the value of a key into the caller's buffer: nothing is allocated. snapshot may be NULL: the current
/// value; with a snapshot, db may be NULL. buffer may be NULL if capacity is 0.
/// *out_len is the value's length after KVS_OK, and after KVS_E_BUFFER, when the value is longer than
/// capacity and nothing was copied; otherwise it is untouched. KVS_NOT_FOUND if there is no such key. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_get_into(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    key: *const u8,
    key_len: usize,
    buffer: *mut u8,
    capacity: usize,
    out_len: *mut usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_get_into", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1, C2.
        let (key, out_len) = unsafe { (self::key(key, key_len)?, Out::new("out_len", out_len)?) };
        if buffer.is_null() && capacity != 0 {
            return Err(Fail::Here(KVS_E_INVALID, "buffer", "is NULL, but its capacity is not 0"));
        }
        let copied = move |value: &[u8]| {
            out_len.set(value.len());
            if value.len() > capacity {
                return false;
            }
            // SAFETY: by C2 the buffer is writable for `capacity` bytes, which the value does not exceed; if it is NULL, that is no byte, for
            // which any pointer will do. It does not overlap the value, which lies in memory of the engine that the caller has only
            // read-only pointers into.
            unsafe { buffer.copy_from_nonoverlapping(value.as_ptr(), value.len()) }
            true
        };
        match get_with(db, snapshot, key, copied)? {
            Some(true) => Ok(KVS_OK),
            Some(false) => Err(Fail::Here(KVS_E_BUFFER, "buffer", "is too small: *out_len says what is needed")),
            None => Ok(KVS_NOT_FOUND),
        }
    })
}

/// Copies the value of a key into a new buffer, which the caller frees with kvs_free (not with free).
/// snapshot may be NULL: the current value; with a snapshot, db may be NULL. *out is not NULL after KVS_OK, even if
/// the value is empty; it is NULL after anything else. *out_len is set on KVS_OK only. KVS_NOT_FOUND if there is no
/// such key. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_get(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    key: *const u8,
    key_len: usize,
    out: *mut *mut u8,
    out_len: *mut usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_get", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2, for both.
        let (out, out_len) = unsafe { (Out::null("out", out)?, Out::new("out_len", out_len)?) };
        // SAFETY: C1.
        let key = unsafe { self::key(key, key_len) }?;
        read(db, snapshot, |source| {
            let Some(value) = source.get(key)? else { return Ok(KVS_NOT_FOUND) };
            out.set(copy(&value)?);
            out_len.set(value.len());
            Ok(KVS_OK)
        })
    })
}

/// A copy that `kvs_free` frees, never NULL.
pub(crate) fn copy(bytes: &[u8]) -> Outcome<*mut u8> {
    // SAFETY: malloc takes any size; not 0 here, so that NULL means failure and nothing else.
    let buffer = unsafe { libc::malloc(bytes.len().max(1)) }.cast::<u8>();
    if buffer.is_null() {
        return Err(Fail::Here(KVS_E_NO_MEMORY, "value", "does not fit into memory"));
    }
    // SAFETY: the buffer is fresh, hence apart from `bytes`, and holds at least as many bytes.
    unsafe { buffer.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    Ok(buffer)
}

/// Frees a buffer that a call of this library made, such as kvs_get's. NULL: nothing happens. Unlike handles, a buffer is
/// memory: freeing it twice, or anything else with this, is undefined. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvs_free(buffer: *mut c_void) {
    call_or("kvs_free", (), || {
        // SAFETY: C4: NULL, or from `copy`, which called malloc, and not freed before.
        unsafe { libc::free(buffer) }
    })
}

/// Is there such a key? KVS_OK or KVS_NOT_FOUND. snapshot may be NULL: now; with a snapshot, db may be NULL. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_contains(
    db: *const kvs_db,
    snapshot: *const kvs_snapshot,
    key: *const u8,
    key_len: usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_contains", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1.
        let key = unsafe { self::key(key, key_len) }?;
        let there = read(db, snapshot, |source| Ok(source.contains(key)?))?;
        Ok(if there { KVS_OK } else { KVS_NOT_FOUND })
    })
}

/// Returns when every write that was acknowledged before the call would survive a power failure. flags: 0. Any
/// thread. Waits for the disk.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_sync(db: *const kvs_db, flags: u32, err: *mut *mut kvs_error) -> kvs_status {
    // SAFETY: C2.
    call("kvs_sync", unsafe { ErrorOut::new(err) }, || {
        self::flags(flags, 0)?;
        core(db)?.write(Db::sync)?;
        Ok(KVS_OK)
    })
}

/// Returns when every write that was acknowledged before the call is in tables, and so would survive a power failure.
/// The database does this by itself when there is enough to flush; for durability alone kvs_sync is cheaper. flags: 0.
/// Any thread. Waits for the disk.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_flush(db: *const kvs_db, flags: u32, err: *mut *mut kvs_error) -> kvs_status {
    // SAFETY: C2.
    call("kvs_flush", unsafe { ErrorOut::new(err) }, || {
        self::flags(flags, 0)?;
        core(db)?.write(Db::flush)?;
        Ok(KVS_OK)
    })
}

/// Flushes, and merges all tables with keys from start (included) to stop (excluded): what was overwritten or deleted there
/// gives its space back, but for what snapshots see. start NULL: from the first key; stop NULL: to the last; their lengths
/// are 0 then. (non-NULL, 0) is the empty key. The database merges by itself when there is need; this does all of it at
/// once, and waits. flags: 0. Any thread. Waits for the disk, perhaps for long.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_compact(
    db: *const kvs_db,
    start: *const u8,
    start_len: usize,
    stop: *const u8,
    stop_len: usize,
    flags: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_compact", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C1, for both.
        let range = unsafe { range(("start", start, start_len), ("stop", stop, stop_len)) }?;
        self::flags(flags, 0)?;
        core(db)?.write(|db| db.compact::<&[u8]>(range))?;
        Ok(KVS_OK)
    })
}

/// Interrupts the calls that run on the database now and take long: kvs_verify, kvs_compact, kvs_flush, and writes that wait for a flush.
/// They return KVS_E_INTERRUPTED as soon as they notice, and such a write was not done; what a merge has done by then stays
/// done. What does not wait, and what begins later, is not concerned: an interrupt that meets nothing does nothing. For Ctrl-C and
/// cancel buttons. Any thread, at once; not from a signal handler: let a thread wait for the signal.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_interrupt(db: *const kvs_db, err: *mut *mut kvs_error) -> kvs_status {
    // SAFETY: C2.
    call("kvs_interrupt", unsafe { ErrorOut::new(err) }, || {
        let core = core(db)?;
        core.check_open()?;
        core.db.interrupt();
        Ok(KVS_OK)
    })
}
