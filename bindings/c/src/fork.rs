//! Threads and the owners of locks do not survive a fork: handles of the parent are dead in the child.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::boundary::{Fail, Outcome};
use crate::status::KVS_E_NO_MEMORY;

extern "C" fn in_child() {
    engine::handles::note_fork();
}

/// Registers the handler. Everything that makes a handle calls this first. Threads that come at the same moment each register it:
/// the fork epoch then counts by more than one, which is as good. Not a `OnceLock`: a fork beside the first call would leave the child
/// with one that somebody is initialising for ever.
pub(crate) fn watch() -> Outcome<()> {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // Acquire: pairs with the release below; whoever sees it has the handler.
    if REGISTERED.load(Ordering::Acquire) {
        return Ok(());
    }
    // SAFETY: the handler does nothing but count up an atomic, which is async-signal-safe, and it never goes away: the
    // library is linked with `-z nodelete`.
    if unsafe { libc::pthread_atfork(None, None, Some(in_child)) } != 0 {
        return Err(Fail::Here(KVS_E_NO_MEMORY, "fork handler", "cannot be registered"));
    }
    REGISTERED.store(true, Ordering::Release);
    Ok(())
}
