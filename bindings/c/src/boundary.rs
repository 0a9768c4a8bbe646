//! Where C ends and Rust begins: panics stop here, errors become objects, and every pointer of the caller is checked.
//!
//! The contract of the header, which no check can replace. SAFETY lines refer to it by number:
//!
//! - C1. `(pointer, length)` of an input is NULL or readable for `length` bytes, and not written to, until the call returns.
//! - C2. An out-pointer is NULL or writable for its type until the call returns.
//! - C3. A string is NULL or ends in a NUL byte, and is not written to until the call returns.
//! - C4. A buffer given to `kvs_free` came from this library and was not freed before.
//! - C5. A log hook and its `ctx_free` may be called by any thread with the `ctx` that came with them, the hook by several at once if it is
//!   given to several databases, until `ctx_free` was called, which is once; neither unwinds.
//!
//! Handles are not in this list: any 64 bits are a safe handle.

use std::any::Any;
use std::ffi::{CStr, c_char};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use engine::handles::{Full, Refused};
use engine::{Error, ErrorKind, KEY_BYTES_MAX, VALUE_BYTES_MAX};

use crate::error::{ErrorBody, kvs_error, publish_error};
use crate::fault;
use crate::status::*;

/// Why a call failed. Costs nothing to make: text is built only if the caller asked for an error object.
pub(crate) enum Fail {
    Engine(Error),
    /// Which argument or object, and what is wrong with it.
    Here(kvs_status, &'static str, &'static str),
}

pub(crate) type Outcome<T = kvs_status> = Result<T, Fail>;

impl From<Error> for Fail {
    fn from(error: Error) -> Fail {
        Fail::Engine(error)
    }
}

impl From<Full> for Fail {
    fn from(_: Full) -> Fail {
        Fail::Here(KVS_E_NO_MEMORY, "handle", "cannot be made: too many of its type are live; free some")
    }
}

/// A refusal, said of the argument `what`.
pub(crate) fn refused(what: &'static str, why: Refused) -> Fail {
    match why {
        Refused::Bad => Fail::Here(KVS_E_BAD_HANDLE, what, "was freed, is of another type, or never was a handle"),
        Refused::Busy => Fail::Here(KVS_E_CONCURRENT, what, "is in use by another thread: it is for one at a time"),
        Refused::Forked => Fail::Here(KVS_E_FORKED, what, "was made before a fork: make one in this process"),
    }
}

/// Runs the body of a function that reports by status and error object.
#[inline]
pub(crate) fn call(name: &'static str, err: ErrorOut, body: impl FnOnce() -> Outcome) -> kvs_status {
    let guarded = || {
        fault::point(name);
        body()
    };
    // Unwind-safe: shared state lies behind locks that a panic releases and in a database that a panic in a write poisons.
    match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(Ok(status)) => status,
        Ok(Err(fail)) => report(name, err, fail),
        Err(payload) => report_panic(name, err, payload),
    }
}

/// Runs the body of a function that cannot report: `fallback` is what it returns after a panic.
#[inline]
pub(crate) fn call_or<T>(name: &'static str, fallback: T, body: impl FnOnce() -> T) -> T {
    let guarded = || {
        fault::point(name);
        body()
    };
    match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(value) => value,
        Err(payload) => {
            discard(payload);
            fallback
        }
    }
}

#[cold]
fn report(name: &'static str, err: ErrorOut, fail: Fail) -> kvs_status {
    let code = match &fail {
        Fail::Engine(error) => status_of(error.kind()),
        Fail::Here(status, ..) => *status,
    };
    err.set(|| match fail {
        Fail::Engine(error) => ErrorBody::new(code, error.os_code().unwrap_or(0), format!("{name}: {error}")),
        Fail::Here(_, what, why) => ErrorBody::new(code, 0, format!("{name}: {what} {why}")),
    });
    code
}

#[cold]
fn report_panic(name: &'static str, err: ErrorOut, payload: Box<dyn Any + Send>) -> kvs_status {
    err.set(|| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let message = format!("{name}: a bug in kvs was caught, please report it: {text}");
        ErrorBody::new(KVS_E_PANIC, 0, message)
    });
    discard(payload);
    KVS_E_PANIC
}

/// Drops what a panic carried. Its destructor may panic in turn, and so may that panic's: those are leaked.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

fn status_of(kind: ErrorKind) -> kvs_status {
    match kind {
        ErrorKind::InvalidArgument => KVS_E_INVALID,
        ErrorKind::TooLarge => KVS_E_TOO_LARGE,
        ErrorKind::Closed => KVS_E_CLOSED,
        ErrorKind::Io => KVS_E_IO,
        ErrorKind::Corruption => KVS_E_CORRUPTION,
        ErrorKind::Locked => KVS_E_LOCKED,
        ErrorKind::ReadOnly => KVS_E_READ_ONLY,
        ErrorKind::NoSpace => KVS_E_NO_SPACE,
        ErrorKind::NoMemory => KVS_E_NO_MEMORY,
        ErrorKind::NewerFormat => KVS_E_VERSION,
        ErrorKind::NotADatabase => KVS_E_NOT_A_DATABASE,
        ErrorKind::Poisoned => KVS_E_POISONED,
        ErrorKind::Forked => KVS_E_FORKED,
        ErrorKind::WouldBlock => KVS_E_WOULD_BLOCK,
        ErrorKind::Interrupted => KVS_E_INTERRUPTED,
        // `Internal`, and kinds that this file does not know yet: a bug in kvs either way.
        _ => KVS_E_PANIC,
    }
}

/// The nullable last parameter `kvs_error **err`: written on failure only, whatever it held is ignored.
#[derive(Clone, Copy)]
pub(crate) struct ErrorOut(Option<NonNull<*mut kvs_error>>);

impl ErrorOut {
    /// For functions without the parameter.
    pub const NONE: ErrorOut = ErrorOut(None);

    /// # Safety
    /// `pointer` obeys C2, until the call returns.
    pub unsafe fn new(pointer: *mut *mut kvs_error) -> ErrorOut {
        ErrorOut(NonNull::new(pointer))
    }

    fn set(self, body: impl FnOnce() -> ErrorBody) {
        let Some(place) = self.0 else { return };
        let made = catch_unwind(AssertUnwindSafe(|| publish_error(body())));
        let handle = made.unwrap_or_else(|payload| {
            discard(payload);
            std::ptr::null_mut()
        });
        // SAFETY: `new` was promised C2: not NULL here, writable until the call returns, which it has not. Unaligned
        // is allowed, which costs nothing and spares the caller a trap.
        unsafe { place.as_ptr().write_unaligned(handle) }
    }
}

/// An out-parameter that must be there.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` obeys C2, until the call returns.
    pub unsafe fn new(what: &'static str, pointer: *mut T) -> Outcome<Out<T>> {
        NonNull::new(pointer).map(Out).ok_or(Fail::Here(KVS_E_INVALID, what, "is NULL"))
    }

    pub fn set(&self, value: T) {
        // SAFETY: `new` was promised C2: not NULL here, writable until the call returns, which it has not. `T` is a
        // number or a pointer: overwriting it forgets nothing.
        unsafe { self.0.as_ptr().write_unaligned(value) }
    }
}

impl<T> Out<*mut T> {
    /// An out-handle or buffer: NULL at once, so that it is NULL after every failure.
    ///
    /// # Safety
    /// `pointer` obeys C2, until the call returns.
    pub unsafe fn null(what: &'static str, pointer: *mut *mut T) -> Outcome<Out<*mut T>> {
        // SAFETY: the caller's promise, handed on.
        let out = unsafe { Out::new(what, pointer) }?;
        out.set(std::ptr::null_mut());
        Ok(out)
    }
}

/// A key: NULL only if empty, refused before it is read if too long.
///
/// # Safety
/// `(pointer, length)` obeys C1 for `'a`, which ends before the call returns.
#[inline]
pub(crate) unsafe fn key<'a>(pointer: *const u8, length: usize) -> Outcome<&'a [u8]> {
    // SAFETY: the caller's promise, handed on.
    unsafe { bytes("key", pointer, length, KEY_BYTES_MAX, "is longer than 64 KiB") }
}

/// A value: NULL only if empty, refused before it is read if too long.
///
/// # Safety
/// `(pointer, length)` obeys C1 for `'a`, which ends before the call returns.
#[inline]
pub(crate) unsafe fn value<'a>(pointer: *const u8, length: usize) -> Outcome<&'a [u8]> {
    // SAFETY: the caller's promise, handed on.
    unsafe { bytes("value", pointer, length, VALUE_BYTES_MAX, "is longer than 1 GiB") }
}

/// From where to where, as the engine takes it.
pub(crate) type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The keys from `low` (included) to `high` (excluded). Each is an argument's name, pointer and length.
///
/// # Safety
/// Both obey C1 for `'a`, which ends before the call returns.
pub(crate) unsafe fn range<'a>(
    low: (&'static str, *const u8, usize),
    high: (&'static str, *const u8, usize),
) -> Outcome<Range<'a>> {
    // SAFETY: the caller's promise, handed on, for both.
    let (low, high) = unsafe { (bound(low.0, low.1, low.2)?, bound(high.0, high.1, high.2)?) };
    Ok((low.map_or(Bound::Unbounded, Bound::Included), high.map_or(Bound::Unbounded, Bound::Excluded)))
}

/// A bound of a range: `(NULL, 0)` is none, `(non-NULL, 0)` is the empty key.
///
/// # Safety
/// `(pointer, length)` obeys C1 for `'a`, which ends before the call returns.
unsafe fn bound<'a>(what: &'static str, pointer: *const u8, length: usize) -> Outcome<Option<&'a [u8]>> {
    // SAFETY: the caller's promise, handed on.
    let bytes = unsafe { bytes(what, pointer, length, KEY_BYTES_MAX, "is longer than 64 KiB") }?;
    Ok((!pointer.is_null()).then_some(bytes))
}

/// # Safety
/// `(pointer, length)` obeys C1 for `'a`, which ends before the call returns.
#[inline]
unsafe fn bytes<'a>(
    what: &'static str,
    pointer: *const u8,
    length: usize,
    max: usize,
    too_long: &'static str,
) -> Outcome<&'a [u8]> {
    if pointer.is_null() {
        return match length {
            0 => Ok(&[]),
            _ => Err(Fail::Here(KVS_E_INVALID, what, "is NULL, but its length is not 0")),
        };
    }
    if length > max {
        return Err(Fail::Here(KVS_E_TOO_LARGE, what, too_long));
    }
    // SAFETY: not NULL; readable and unchanged for `length` bytes during `'a` by C1; bytes have no alignment and
    // no invalid values; `length` is at most `max`, far below isize::MAX, and the range does not wrap, since an object of C lies there.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// Numbers that must be there unless there are none of them: copied, since C's array may be anywhere.
///
/// # Safety
/// `pointer` is NULL or readable for `count` numbers, as C1 has it.
pub(crate) unsafe fn sizes(what: &'static str, pointer: *const usize, count: usize) -> Outcome<Vec<usize>> {
    if pointer.is_null() && count != 0 {
        return Err(Fail::Here(KVS_E_INVALID, what, "is NULL, but their number is not 0"));
    }
    // SAFETY: not NULL if there is an `i`; readable at each `i` below `count` by C1. Unaligned is allowed, as for out-pointers.
    Ok((0..count).map(|i| unsafe { pointer.add(i).read_unaligned() }).collect())
}

/// Packed writes: NULL only if empty, refused before they are read if too long.
///
/// # Safety
/// `(pointer, length)` obeys C1 for `'a`, which ends before the call returns.
pub(crate) unsafe fn packed<'a>(what: &'static str, pointer: *const u8, length: usize) -> Outcome<&'a [u8]> {
    // SAFETY: the caller's promise, handed on.
    unsafe { bytes(what, pointer, length, PACKED_BYTES_MAX, "is longer than 4 GiB: give it in parts") }
}

/// What one call takes of packed writes or keys.
const PACKED_BYTES_MAX: usize = 4 << 30;

/// The caller's buffer, to be filled from its start: NULL only if it has no room.
pub(crate) struct Buffer {
    at: *mut u8,
    room: usize,
    used: usize,
}

impl Buffer {
    /// # Safety
    /// `(pointer, capacity)` obeys C2 until the call returns: NULL or writable for `capacity` bytes.
    pub unsafe fn new(what: &'static str, pointer: *mut u8, capacity: usize) -> Outcome<Buffer> {
        if pointer.is_null() && capacity != 0 {
            return Err(Fail::Here(KVS_E_INVALID, what, "is NULL, but its capacity is not 0"));
        }
        Ok(Buffer { at: pointer, room: capacity, used: 0 })
    }

    /// How many bytes were put.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Puts an entry: four bytes each for the lengths, little-endian, the key, the value; or nothing if it does not fit.
    #[inline(always)]
    pub fn put_entry(&mut self, key: &[u8], value: &[u8]) -> bool {
        // A key has at most 64 KiB and a value 1 GiB: within u32, and the sum within usize.
        let total = 8 + key.len() + value.len();
        if total > self.room - self.used {
            return false;
        }
        let lengths = (value.len() as u64) << 32 | key.len() as u64;
        // SAFETY: `new` was promised C2: writable for `room` bytes until the call returns, and not NULL, since there is room for more than
        // nothing. From `used` on there is room for `total` bytes: eight, unaligned, then the key, then the value. Neither overlaps
        // the buffer: they lie in memory of the engine, into which the caller has no pointers that may be written through.
        unsafe {
            let at = self.at.add(self.used);
            at.cast::<[u8; 8]>().write_unaligned(lengths.to_le_bytes());
            at.add(8).copy_from_nonoverlapping(key.as_ptr(), key.len());
            at.add(8 + key.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        self.used += total;
        true
    }
}

/// A struct of the caller, of the size that the caller was compiled with: an older one is shorter than ours, a newer one longer.
pub(crate) struct OutStruct<T: Copy> {
    at: NonNull<u8>,
    size: usize,
    of: std::marker::PhantomData<T>,
}

/// No version of any struct will be larger: a size beyond it was never `sizeof` of one.
const STRUCT_BYTES_MAX: usize = 4096;

impl<T: Copy> OutStruct<T> {
    /// # Safety
    /// `pointer` is NULL or writable for `size` bytes, as C2 has it, until the call returns.
    pub unsafe fn new(what: &'static str, pointer: *mut T, size: usize) -> Outcome<OutStruct<T>> {
        let at = NonNull::new(pointer.cast()).ok_or(Fail::Here(KVS_E_INVALID, what, "is NULL"))?;
        match size {
            0..8 => Err(Fail::Here(KVS_E_INVALID, what, "has a size below its first field: give sizeof of the struct")),
            8..=STRUCT_BYTES_MAX => Ok(OutStruct { at, size, of: std::marker::PhantomData }),
            _ => Err(Fail::Here(KVS_E_TOO_LARGE, what, "has a size beyond 4096: give sizeof of the struct")),
        }
    }

    /// Sets the fields that the caller knows; those that only the caller knows become 0.
    pub fn set(&self, value: T) {
        let known = self.size.min(size_of::<T>());
        let at = self.at.as_ptr();
        // SAFETY: `new` was promised C2: writable for `size` bytes until the call returns. `known` is at most `size` and at most what
        // `value` has. `value` lies on this stack, apart from the caller's struct. As bytes, so that nothing is asked of alignment; that
        // the structs have no padding is asserted beside each of them.
        unsafe {
            at.copy_from_nonoverlapping((&raw const value).cast::<u8>(), known);
            at.add(known).write_bytes(0, self.size - known);
        }
    }
}

/// A string that must be there.
///
/// # Safety
/// `pointer` obeys C3 for `'a`, which ends before the call returns.
pub(crate) unsafe fn string<'a>(what: &'static str, pointer: *const c_char) -> Outcome<&'a CStr> {
    if pointer.is_null() {
        return Err(Fail::Here(KVS_E_INVALID, what, "is NULL"));
    }
    // SAFETY: not NULL; ends in a NUL byte and stays unchanged during `'a` by C3.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

/// Flags with a meaning are in `known`; any other bit is refused, so that it can be given one later.
pub(crate) fn flags(given: u32, known: u32) -> Outcome<u32> {
    match given & !known {
        0 => Ok(given),
        _ => Err(Fail::Here(KVS_E_INVALID, "flags", "has bits that are not known here")),
    }
}
