//! Epochs, as `crossbeam_epoch` has them, with a collector of each life of the process.
//!
//! Whoever pins holds up what others have retired. In the child of a fork, threads of the parent that were pinned at that moment stay so for
//! ever: with their collector nothing would be freed any more, and whoever waits for readers would wait for good. And what the parent
//! has retired is not the child's to free. So the child begins with a new one (`sync/forks.rs`); the handle that its first
//! thread has of the old one is left alone.

use std::cell::RefCell;

pub use crossbeam_epoch::{Atomic, Guard, Owned, Shared};
use crossbeam_epoch::{Collector, LocalHandle};

use super::forks::{self, PerLife};

static COLLECTOR: PerLife<Collector> = PerLife::new();

/// A thread's part in the collector of one life.
struct Here {
    generation: u64,
    /// Always there, but while the thread ends.
    local: Option<LocalHandle>,
}

impl Here {
    fn new() -> Here {
        Here { generation: forks::generation(), local: Some(COLLECTOR.get().register()) }
    }

    #[inline]
    fn pin(&self) -> Option<Guard> {
        if self.generation != forks::generation() {
            return None;
        }
        self.local.as_ref().map(LocalHandle::pin)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if self.generation != forks::generation() {
            // What it has retired is the parent's.
            std::mem::forget(self.local.take());
        }
    }
}

thread_local! {
    static HERE: Here = Here::new();
    /// The same, of a thread that has forked, and is a child's first one now.
    static REBORN: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// Pins the epoch: what is retired from now on is not freed while the guard lives.
#[inline]
pub fn pin() -> Guard {
    match HERE.try_with(Here::pin) {
        Ok(Some(guard)) => guard,
        _ => pin_elsewhere(),
    }
}

/// In the thread that forked, and in one whose own storage is gone: a guard keeps its participant as long as it lives.
#[cold]
#[inline(never)]
fn pin_elsewhere() -> Guard {
    let reborn = REBORN.try_with(|reborn| {
        let mut reborn = reborn.try_borrow_mut().ok()?;
        match reborn.as_ref().and_then(Here::pin) {
            Some(guard) => Some(guard),
            None => reborn.insert(Here::new()).pin(),
        }
    });
    reborn.ok().flatten().unwrap_or_else(|| COLLECTOR.get().register().pin())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, AtomicBool, Ordering};

    /// What is retired is freed when the last guard is gone, and a guard that was made without storage of a thread counts.
    #[test]
    fn a_guard_of_either_kind_holds_up_what_is_retired() {
        for elsewhere in [false, true] {
            let freed = Arc::new(AtomicBool::new(false));
            let held = if elsewhere { pin_elsewhere() } else { pin() };
            let told = Arc::clone(&freed);
            #[expect(clippy::disallowed_methods, reason = "another thread, so that the guard is not this one's")]
            let retired = std::thread::spawn(move || {
                pin().defer(move || told.store(true, Ordering::Release));
                (0..10).for_each(|_| pin().flush());
            });
            retired.join().unwrap();
            (0..10).for_each(|_| pin_elsewhere().flush());
            assert!(!freed.load(Ordering::Acquire), "freed under a guard");
            drop(held);
            // Other tests pin now and then, and hold it up.
            while !freed.load(Ordering::Acquire) {
                pin().flush();
            }
        }
    }
}
