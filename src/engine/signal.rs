//! The signal: what the worker is asked to do, and how it is woken.
//!
//! One word of bits. Whoever sets a bit wakes the worker if it was not set; the worker takes bits as it gets to them and sleeps
//! on none.

use std::time::Duration;

use crate::files::Wake;
use crate::sync::{AtomicU8, Condvar, Mutex, MutexGuard, Ordering};

/// The active segment is half full: the next one is wanted.
pub(crate) const SEGMENT: u8 = 1;
/// A segment was sealed.
pub(crate) const SEALED: u8 = 2;
/// Somebody waits for a flush.
pub(crate) const FLUSH: u8 = 4;
/// Something was retired that only the worker frees.
pub(crate) const GARBAGE: u8 = 8;
/// Somebody waits for a merge.
pub(crate) const COMPACT: u8 = 16;
/// The store closes.
pub(crate) const STOP: u8 = 32;
/// The log should become tables although little is in it.
pub(crate) const EARLY: u8 = 64;

/// What the worker is asked to do.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// Bits of the above.
    asked: AtomicU8,
    /// Held between a look at `asked` and sleep, and to wake.
    lock: Mutex<()>,
    changed: Condvar,
}

impl Signal {
    fn ask(&self, what: u8) {
        // AcqRel pairs with itself in `take`: whoever takes the bit sees what it was set for. One that was set already is still to be
        // taken, for a read-modify-write reads the latest value.
        if self.asked.fetch_or(what, Ordering::AcqRel) & what != what {
            let _lock = self.lock.lock();
            self.changed.notify_one();
        }
    }

    /// The active segment is half full.
    pub fn ask_for_segment(&self) {
        self.ask(SEGMENT);
    }

    /// A segment was sealed.
    pub fn tell_sealed(&self) {
        self.ask(SEALED);
    }

    /// Somebody waits for a flush.
    pub fn ask_for_flush(&self) {
        self.ask(FLUSH);
    }

    /// Something was retired that only the worker frees.
    pub fn tell_garbage(&self) {
        self.ask(GARBAGE);
    }

    /// Somebody waits for a merge.
    pub fn ask_to_compact(&self) {
        self.ask(COMPACT);
    }

    /// The log should become tables although little is in it.
    pub fn ask_for_early_flush(&self) {
        self.ask(EARLY);
    }

    /// The store closes.
    pub fn ask_to_stop(&self) {
        self.ask(STOP);
    }

    /// Takes these requests; was there any?
    pub fn take(&self, what: u8) -> bool {
        self.has(what) && self.asked.fetch_and(!what, Ordering::AcqRel) & what != 0
    }

    /// Was this asked, as far as this thread has seen? An old answer delays and no more. Acquire pairs with `ask`: whoever sees a bit
    /// sees what it was set for.
    pub fn has(&self, what: u8) -> bool {
        self.asked.load(Ordering::Acquire) & what != 0
    }

    /// Is a segment wanted?
    pub fn wants_segment(&self) -> bool {
        self.has(SEGMENT)
    }

    /// Does somebody wait for a flush?
    pub fn wants_flush(&self) -> bool {
        self.has(FLUSH)
    }

    /// Sleeps until something is asked, or for `at_most`. False: nothing was.
    pub fn wait(&self, at_most: Option<Duration>) -> bool {
        let mut lock: MutexGuard<'_, ()> = self.lock.lock();
        while self.asked.load(Ordering::Relaxed) == 0 {
            match at_most {
                None => self.changed.wait(&mut lock),
                Some(at_most) => {
                    if self.changed.wait_for(&mut lock, at_most).timed_out() {
                        return self.asked.load(Ordering::Relaxed) != 0;
                    }
                }
            }
        }
        true
    }
}

impl Wake for Signal {
    fn wake(&self) {
        self.tell_garbage();
    }
}
