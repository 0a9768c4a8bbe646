//! Versions and statuses: numbers that are never given another meaning.

use std::ffi::{CStr, c_char};

use crate::boundary;

/// Version of this header, to compare with kvs_version_number(): a program may run with a newer library.
pub const KVS_VERSION_MAJOR: u32 = 0;
/// See KVS_VERSION_MAJOR.
pub const KVS_VERSION_MINOR: u32 = 1;
/// See KVS_VERSION_MAJOR.
pub const KVS_VERSION_PATCH: u32 = 0;
/// Version of the binary interface: the number in the library's file name, libkvs.so.0. It
/// changes only if a program has to be compiled again.
pub const KVS_ABI_VERSION: u32 = 0;

/// What a call came to: 0 is success, a positive number an ordinary outcome, a negative one an error.
#[expect(non_camel_case_types, reason = "the name in C")]
pub type kvs_status = i32;

/// Done.
pub const KVS_OK: i32 = 0;
/// There is no such key. Not an error: no kvs_error is made.
pub const KVS_NOT_FOUND: i32 = 1;
/// The iterator stands on no entry: before the first or after the last. Not an error.
pub const KVS_END: i32 = 2;
/// Reserved for transactions: another one wrote what this one read. Not an error.
pub const KVS_CONFLICT: i32 = 3;
/// An argument is unusable: NULL where that is not allowed, an unknown flag or option, a malformed value.
pub const KVS_E_INVALID: i32 = -1;
/// The database was closed by kvs_close. Open it again.
pub const KVS_E_CLOSED: i32 = -2;
/// The handle was freed, is of another type, or never was one.
pub const KVS_E_BAD_HANDLE: i32 = -3;
/// Another thread is using this iterator or batch at this moment; nothing was done.
pub const KVS_E_CONCURRENT: i32 = -4;
/// The handle was made before a fork(), in the parent process. Open the database again in the child.
pub const KVS_E_FORKED: i32 = -5;
/// The caller's buffer is too small; the length needed was reported, nothing was copied.
pub const KVS_E_BUFFER: i32 = -6;
/// The operating system refused an operation: see kvs_error_os and the message.
pub const KVS_E_IO: i32 = -7;
/// A file is damaged: the message names it and the offset. Other keys stay readable.
pub const KVS_E_CORRUPTION: i32 = -8;
/// Another process, or this one, has the database open.
pub const KVS_E_LOCKED: i32 = -9;
/// The database was opened read-only, or its files cannot be written.
pub const KVS_E_READ_ONLY: i32 = -10;
/// The disk or the quota is full. Nothing was written; the database works again as
/// soon as there is space.
pub const KVS_E_NO_SPACE: i32 = -11;
/// Memory, or the number of handles, is exhausted.
pub const KVS_E_NO_MEMORY: i32 = -12;
/// The files were written by a newer version of kvs.
pub const KVS_E_VERSION: i32 = -13;
/// A key, a value or a batch is larger than the format allows. Nothing was read or written.
pub const KVS_E_TOO_LARGE: i32 = -14;
/// An earlier write or sync failed: writes are refused until the database is opened again, reads go on. Whether the
/// failed write is durable is unknown.
pub const KVS_E_POISONED: i32 = -15;
/// The call would have had to wait and was asked not to.
pub const KVS_E_WOULD_BLOCK: i32 = -16;
/// The call was interrupted on request.
pub const KVS_E_INTERRUPTED: i32 = -17;
/// The directory is missing and was not to be created, or holds something that is not a kvs database.
pub const KVS_E_NOT_A_DATABASE: i32 = -18;
/// The call came from inside a log hook, where it could wait for itself. Nothing was done.
pub const KVS_E_REENTRANT: i32 = -19;
/// A bug in kvs, caught at the boundary: please report it with the message. After one inside a write,
/// the database takes no more writes until it is opened again; reads go on.
pub const KVS_E_PANIC: i32 = -100;

/// For writes: return only when this write, and all before it, would survive a power failure. Without
/// it the option "durability" decides.
pub const KVS_SYNC: u32 = 1;

/// For writes: where the write would have to wait until a flush has made room, return KVS_E_WOULD_BLOCK
/// instead, and write nothing.
pub const KVS_NO_WAIT: u32 = 2;
/// For kvs_iter_fill: towards smaller keys.
pub const KVS_REVERSE: u32 = 4;

/// For kvs_options_set_durability: what was acknowledged may be lost when the process dies.
pub const KVS_DURABILITY_NONE: u32 = 0;
/// For kvs_options_set_durability: what was acknowledged survives the death of the process, not a power failure.
/// The default.
pub const KVS_DURABILITY_PROCESS: u32 = 1;
/// For kvs_options_set_durability: what was acknowledged survives a power failure.
pub const KVS_DURABILITY_SYNC: u32 = 2;

/// Levels of events, for kvs_log_fn: what the database does by itself.
pub const KVS_LOG_INFO: i32 = 1;
/// See KVS_LOG_INFO: it works, but not as it should: writes have to wait, the disk is full.
pub const KVS_LOG_WARNING: i32 = 2;
/// See KVS_LOG_INFO: something is broken: damage, or a failure after which writes are refused.
pub const KVS_LOG_ERROR: i32 = 3;

/// Kinds of packed writes, for kvs_batch_append_packed: a put of a key and a value.
pub const KVS_PACKED_PUT: u8 = 1;
/// See KVS_PACKED_PUT: a delete of a key. The value is empty.
pub const KVS_PACKED_DELETE: u8 = 2;
/// See KVS_PACKED_PUT: a delete of all keys from the key (included) to the value (excluded).
pub const KVS_PACKED_DELETE_RANGE: u8 = 3;
/// See KVS_PACKED_PUT: a delete of all keys from the key (included) on. The value is empty.
pub const KVS_PACKED_DELETE_FROM: u8 = 4;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("the version holds a NUL"),
};

const _: () = {
    const fn number(text: &str) -> u32 {
        let (digits, mut i, mut number) = (text.as_bytes(), 0, 0);
        while i < digits.len() {
            number = number * 10 + (digits[i] - b'0') as u32;
            i += 1;
        }
        number
    }
    assert!(number(env!("CARGO_PKG_VERSION_MAJOR")) == KVS_VERSION_MAJOR);
    assert!(number(env!("CARGO_PKG_VERSION_MINOR")) == KVS_VERSION_MINOR);
    assert!(number(env!("CARGO_PKG_VERSION_PATCH")) == KVS_VERSION_PATCH);
};

/// The library's version, such as "0.1.0". Static: valid for ever, never freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_version() -> *const c_char {
    boundary::call_or("kvs_version", VERSION.as_ptr(), || VERSION.as_ptr())
}

/// The library's version as a number: major * 1000000 + minor * 1000 + patch. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_version_number() -> u32 {
    boundary::call_or("kvs_version_number", 0, || {
        KVS_VERSION_MAJOR * 1_000_000 + KVS_VERSION_MINOR * 1_000 + KVS_VERSION_PATCH
    })
}

/// The library's KVS_ABI_VERSION. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_abi_version() -> u32 {
    boundary::call_or("kvs_abi_version", 0, || KVS_ABI_VERSION)
}

/// The name of a status, such as "KVS_E_IO"; for a number that is none, "unknown status". Never
/// NULL. Static: valid for ever, never freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_status_name(status: kvs_status) -> *const c_char {
    boundary::call_or("kvs_status_name", c"KVS_E_PANIC".as_ptr(), || name(status).as_ptr())
}

fn name(status: kvs_status) -> &'static CStr {
    match status {
        KVS_OK => c"KVS_OK",
        KVS_NOT_FOUND => c"KVS_NOT_FOUND",
        KVS_END => c"KVS_END",
        KVS_CONFLICT => c"KVS_CONFLICT",
        KVS_E_INVALID => c"KVS_E_INVALID",
        KVS_E_CLOSED => c"KVS_E_CLOSED",
        KVS_E_BAD_HANDLE => c"KVS_E_BAD_HANDLE",
        KVS_E_CONCURRENT => c"KVS_E_CONCURRENT",
        KVS_E_FORKED => c"KVS_E_FORKED",
        KVS_E_BUFFER => c"KVS_E_BUFFER",
        KVS_E_IO => c"KVS_E_IO",
        KVS_E_CORRUPTION => c"KVS_E_CORRUPTION",
        KVS_E_LOCKED => c"KVS_E_LOCKED",
        KVS_E_READ_ONLY => c"KVS_E_READ_ONLY",
        KVS_E_NO_SPACE => c"KVS_E_NO_SPACE",
        KVS_E_NO_MEMORY => c"KVS_E_NO_MEMORY",
        KVS_E_VERSION => c"KVS_E_VERSION",
        KVS_E_TOO_LARGE => c"KVS_E_TOO_LARGE",
        KVS_E_POISONED => c"KVS_E_POISONED",
        KVS_E_WOULD_BLOCK => c"KVS_E_WOULD_BLOCK",
        KVS_E_INTERRUPTED => c"KVS_E_INTERRUPTED",
        KVS_E_NOT_A_DATABASE => c"KVS_E_NOT_A_DATABASE",
        KVS_E_REENTRANT => c"KVS_E_REENTRANT",
        KVS_E_PANIC => c"KVS_E_PANIC",
        _ => c"unknown status",
    }
}
