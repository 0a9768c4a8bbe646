//! Threads and the owners of locks do not survive a fork: handles of the parent are dead in the child.

use std::sync::OnceLock;

use crate::boundary::{Fail, Outcome};
use crate::status::KVS_E_NO_MEMORY;

extern "C" fn in_child() {
    engine::handles::note_fork();
}

/// Registers the handler, once. Everything that makes a handle calls this first.
pub(crate) fn watch() -> Outcome<()> {
    static REGISTERED: OnceLock<i32> = OnceLock::new();
    // SAFETY: the handler does nothing but count up an atomic, which is async-signal-safe, and it never goes away: the
    // library is linked with `-z nodelete`.
    match REGISTERED.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(in_child)) }) {
        0 => Ok(()),
        _ => Err(Fail::Here(KVS_E_NO_MEMORY, "fork handler", "cannot be registered")),
    }
}
