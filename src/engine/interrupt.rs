//! Interrupts: calls that take long, or wait, end early because somebody asks for it, say on Ctrl-C.
//!
//! An interrupt is for the calls that are under way. Each such call remembers how many interrupts there had been when it began, and
//! looks between two pieces of its work whether there were more; those that sleep are woken to look. A call that begins later
//! does not know of it, so nobody has to take an interrupt back.
//!
//! | call | it looks | what is left |
//! |---|---|---|
//! | `verify` | after each MiB of a table, after each log | |
//! | `flush`, a write that waits for room | when it is woken | the worker flushes all the same |
//! | `compact` | is answered by the interrupt itself | the worker drops the merge after the step that it is at |

use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{AtomicU64, Ordering};

/// How many interrupts there were.
#[derive(Debug, Default)]
pub(crate) struct Interrupts(AtomicU64);

/// A call that can be interrupted, from its beginning on.
#[derive(Debug)]
pub(crate) struct Interruptible<'a> {
    interrupts: &'a Interrupts,
    seen: u64,
}

impl Interrupts {
    /// A call begins.
    pub fn watch(&self) -> Interruptible<'_> {
        // Relaxed: which of an interrupt and a call came first is told by nothing else.
        Interruptible { interrupts: self, seen: self.0.load(Ordering::Relaxed) }
    }
}

impl Interruptible<'_> {
    /// An error if there was an interrupt since the call began.
    pub fn check(&self) -> Result<()> {
        // Relaxed: an interrupt that is seen late is noticed at the next look; sleepers are woken by a lock, after the count was raised.
        if self.interrupts.0.load(Ordering::Relaxed) == self.seen { Ok(()) } else { Err(interrupted()) }
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "the call was interrupted, as somebody asked")
}

impl Core {
    /// Ends calls under way that take long or wait.
    pub(crate) fn interrupt(&self) {
        self.interrupts.0.fetch_add(1, Ordering::Relaxed);
        // After the count: who is woken looks at it.
        self.room.tell(None);
        self.refuse_compactions(&interrupted());
    }
}
