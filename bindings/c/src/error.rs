//! Error objects: made only on failure, and only if the caller asked.

use std::ffi::{CString, c_char};

use engine::handles::Refused;

use crate::boundary;
use crate::objects::{ERRORS, free, opaque};
use crate::status::*;

/// What went wrong, in detail: made by a call that fails and was given a place for it (the last parameter, err). The caller
/// owns it and frees it with kvs_error_free. Any thread may use it, several at once.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_error {
    _opaque: (),
}

pub(crate) struct ErrorBody {
    code: kvs_status,
    os: i32,
    message: CString,
}

impl ErrorBody {
    pub fn new(code: kvs_status, os: i32, message: String) -> ErrorBody {
        // A path may hold anything: a NUL would cut the message short.
        let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
        ErrorBody { code, os, message }
    }
}

/// A handle of the error; NULL if there can be none.
pub(crate) fn publish_error(body: ErrorBody) -> *mut kvs_error {
    match crate::fork::watch().map(|()| ERRORS.insert(body)) {
        Ok(Ok(handle)) => opaque(handle),
        _ => std::ptr::null_mut(),
    }
}

/// The status that the failed call returned. KVS_E_INVALID for NULL, KVS_E_BAD_HANDLE after kvs_error_free.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_error_code(error: *const kvs_error) -> kvs_status {
    boundary::call_or("kvs_error_code", KVS_E_PANIC, || match look(error, |body| body.code) {
        Some(Ok(code)) => code,
        Some(Err(Refused::Forked)) => KVS_E_FORKED,
        Some(Err(_)) => KVS_E_BAD_HANDLE,
        None => KVS_E_INVALID,
    })
}

/// The operating system's error number (errno), or 0 if none is behind this.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_error_os(error: *const kvs_error) -> i32 {
    boundary::call_or("kvs_error_os", 0, || match look(error, |body| body.os) {
        Some(Ok(os)) => os,
        _ => 0,
    })
}

/// What failed, on which file, at which offset, for people to read: UTF-8 as far as paths are, ends in a NUL byte.
/// Never NULL. Borrowed: valid until kvs_error_free. The wording may change at any time.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_error_message(error: *const kvs_error) -> *const c_char {
    const NONE: *const c_char = c"no such error object".as_ptr();
    // The text stays where it is while the object lives: its `CString` is never changed.
    boundary::call_or("kvs_error_message", NONE, || match look(error, |body| body.message.as_ptr()) {
        Some(Ok(message)) => message,
        _ => NONE,
    })
}

/// Frees an error and its message. NULL, or one that was freed before: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_error_free(error: *mut kvs_error) {
    boundary::call_or("kvs_error_free", (), || drop(free(&ERRORS, error)))
}

fn look<R>(error: *const kvs_error, f: impl FnOnce(&mut ErrorBody) -> R) -> Option<Result<R, Refused>> {
    (!error.is_null()).then(|| ERRORS.with(error.addr() as u64, f))
}
