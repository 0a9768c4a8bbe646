//! Threads that run no signal handler of the program that embeds us: all signals are blocked on them but those that a thread raises
//! against itself.

use std::io;
use std::thread::JoinHandle;

/// Starts a thread.
pub(super) fn spawn(name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    // A new thread inherits the mask of the one that starts it, so there is no moment at which a handler could run on it.
    let blocked = SignalsBlocked::new();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    drop(blocked);
    thread
}

/// This thread's signals are blocked until it is dropped; it stays on its thread.
struct SignalsBlocked {
    before: libc::sigset_t,
    _not_send: std::marker::PhantomData<*const ()>,
}

/// What a thread raises against itself: blocked, these would kill the process without the handler that
/// the embedding program (a language runtime, a crash reporter) may have for them.
pub(super) const SYNCHRONOUS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

#[expect(unsafe_code, reason = "neither std nor rustix can set a thread's signal mask")]
impl SignalsBlocked {
    fn new() -> SignalsBlocked {
        // SAFETY: `sigset_t` is an array of integers, for which all zeros is a value. `sigfillset` and
        // `sigdelset` get a pointer to a set that lives on this stack frame, exclusively borrowed, and signal
        // numbers that the platform defines. `pthread_sigmask` reads the one set and writes the other, both
        // valid for the call, and changes nothing but the mask of the calling thread. With SIG_BLOCK
        // and valid pointers it cannot fail.
        let before = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            for signal in SYNCHRONOUS {
                libc::sigdelset(&mut all, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
            before
        };
        SignalsBlocked { before, _not_send: std::marker::PhantomData }
    }
}

#[expect(unsafe_code, reason = "neither std nor rustix can set a thread's signal mask")]
impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that `pthread_sigmask` gave for this very thread (the type is not Send),
        // valid for reading; the third argument may be null. Only this thread's mask changes.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut());
        }
    }
}
