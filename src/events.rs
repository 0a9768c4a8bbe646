//! Events: what a store tells whoever asked to hear of it.
//!
//! ```text
//! note      anywhere, under any lock: the text goes into a bounded queue          commit, flush, merge, poison, ...
//! deliver   where no lock is held: the hook is called, one event at a time        open, worker, close
//! ```
//!
//! 1. Nothing is ever on a hot path: without a hook a note costs one comparison and builds no text.
//! 2. The queue is bounded: a hook that is slow loses events and hears how many, the store waits for nobody.
//! 3. A hook that panics loses that event, and nothing else.
//! 4. After a close nothing is delivered any more, and the hook is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::{Arc, Mutex};

/// So many events wait for delivery.
const QUEUED_MAX: usize = 256;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventLevel {
    /// What the store does by itself: it opens, flushes, merges, closes.
    Info,
    /// It works, but not as it should: writes have to wait, the disk is full.
    Warning,
    /// Something is broken: damage, or a failure after which writes are refused.
    Error,
}

type Hook = dyn Fn(EventLevel, &str) + Send + Sync;

/// What hears of a store's events: [`Options::log`](crate::Options::log). Clones are the same hook.
///
/// It is called on the store's own thread, or on one that opens or closes the store, with none of its locks held, and one event at a
/// time for each store. It must not call the store: that may wait for the very thread that it runs on.
///
/// ```
/// use std::sync::mpsc;
///
/// let (told, heard) = mpsc::channel();
/// let hook = kvs::LogHook::new(move |level, text| told.send(format!("{level:?}: {text}")).unwrap_or(()));
/// let db = kvs::Db::in_memory(kvs::Options { log: Some(hook), ..Default::default() })?;
/// db.close()?;
/// let all: Vec<String> = heard.try_iter().collect();
/// assert!(all[0].starts_with("Info: opened") && all[1].starts_with("Info: closed"));
/// # Ok::<(), kvs::Error>(())
/// ```
#[derive(Clone)]
pub struct LogHook(Arc<Hook>);

impl LogHook {
    /// Calls `hook` with each event: how much it matters, and one line of text for people.
    pub fn new(hook: impl Fn(EventLevel, &str) + Send + Sync + 'static) -> LogHook {
        LogHook(Arc::new(hook))
    }

    fn call(&self, level: EventLevel, text: &str) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.0)(level, text))) {
            // Its destructor may panic in turn.
            std::mem::forget(payload);
        }
    }
}

impl PartialEq for LogHook {
    fn eq(&self, other: &LogHook) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LogHook {}

impl fmt::Debug for LogHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogHook")
    }
}

/// A store's events and who hears of them.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Was there a hook when the store was opened? So that a note without one takes no lock.
    is_heard: bool,
    queue: Mutex<Queue>,
    /// Held while the hook is called: one event at a time, in order.
    delivering: Mutex<()>,
}

#[derive(Debug, Default)]
struct Queue {
    /// None: after the close.
    hook: Option<LogHook>,
    waiting: VecDeque<(EventLevel, String)>,
    lost: u64,
}

impl Events {
    pub fn new(hook: Option<LogHook>) -> Events {
        let is_heard = hook.is_some();
        let queue = Queue { hook, ..Queue::default() };
        Events { is_heard, queue: Mutex::new(queue), delivering: Mutex::default() }
    }

    /// Queues an event. True: somebody should deliver it.
    #[inline]
    pub fn note(&self, level: EventLevel, text: impl FnOnce() -> String) -> bool {
        self.is_heard && self.push(level, text())
    }

    #[cold]
    fn push(&self, level: EventLevel, text: String) -> bool {
        let mut queue = self.queue.lock();
        if queue.waiting.len() < QUEUED_MAX {
            queue.waiting.push_back((level, text));
        } else {
            queue.lost += 1;
        }
        true
    }

    /// Calls the hook with all that is queued. No lock of the store may be held.
    pub fn deliver(&self) {
        if !self.is_heard {
            return;
        }
        // Whoever is at it takes what this one would have.
        let Some(_delivering) = self.delivering.try_lock() else { return };
        while let Some((hook, level, text)) = self.next() {
            hook.call(level, &text);
        }
    }

    /// Delivers what is left, and lets the hook go.
    pub fn end(&self) {
        if !self.is_heard {
            return;
        }
        let _delivering = self.delivering.lock();
        while let Some((hook, level, text)) = self.next() {
            hook.call(level, &text);
        }
        let hook = self.queue.lock().hook.take();
        drop(hook);
    }

    fn next(&self) -> Option<(LogHook, EventLevel, String)> {
        let mut queue = self.queue.lock();
        let hook = queue.hook.clone()?;
        let (level, text) = match queue.waiting.pop_front() {
            Some(event) => event,
            None if queue.lost > 0 => {
                let lost = std::mem::take(&mut queue.lost);
                (EventLevel::Warning, format!("{lost} events were lost: the log hook is too slow"))
            }
            None => return None,
        };
        Some((hook, level, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> (LogHook, Arc<Mutex<Vec<String>>>) {
        let all = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&all);
        (LogHook::new(move |level, text| to.lock().push(format!("{level:?} {text}"))), all)
    }

    /// In order, and what does not fit is counted.
    #[test]
    fn the_queue_is_bounded_and_says_so() {
        let (hook, all) = recorded();
        let events = Events::new(Some(hook));
        for i in 0..QUEUED_MAX + 7 {
            assert!(events.note(EventLevel::Info, || i.to_string()));
        }
        assert!(all.lock().is_empty());
        events.deliver();
        let heard = std::mem::take(&mut *all.lock());
        assert_eq!(heard.len(), QUEUED_MAX + 1);
        assert_eq!((&*heard[0], &*heard[QUEUED_MAX - 1]), ("Info 0", "Info 255"));
        assert!(heard[QUEUED_MAX].starts_with("Warning 7 events were lost"), "{}", heard[QUEUED_MAX]);
        events.note(EventLevel::Error, || "later".to_owned());
        events.deliver();
        assert_eq!(*all.lock(), ["Error later"]);
    }

    /// After the end there is nobody, and the hook is gone.
    #[test]
    fn the_end_is_the_end() {
        let (hook, all) = recorded();
        let events = Events::new(Some(hook));
        events.note(EventLevel::Info, || "last".to_owned());
        events.end();
        events.note(EventLevel::Info, || "too late".to_owned());
        events.deliver();
        events.end();
        assert_eq!(*all.lock(), ["Info last"]);
        assert_eq!(Arc::strong_count(&all), 1, "the hook still lives");
    }

    /// No hook, no text.
    #[test]
    fn nobody_hears() {
        let events = Events::new(None);
        assert!(!events.note(EventLevel::Info, || unreachable!("a text was built for nobody")));
        events.deliver();
        events.end();
    }

    /// A hook that panics does not take the store with it.
    #[test]
    fn a_hook_may_panic() {
        let events = Events::new(Some(LogHook::new(|_, text| assert_ne!(text, "bad", "on purpose"))));
        events.note(EventLevel::Info, || "bad".to_owned());
        events.note(EventLevel::Info, || "good".to_owned());
        events.deliver();
        assert!(events.queue.lock().waiting.is_empty());
    }
}
