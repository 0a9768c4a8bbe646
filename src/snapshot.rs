//! The registry of live snapshots.
//!
//! A snapshot is a registered sequence number and nothing else: it pins no file. A merge keeps what
//! registered numbers can see. Both sides meet under the registry's lock: whoever registers reads the visible
//! sequence number while holding it, and whoever computes the oldest number does so while holding it, so no
//! snapshot can be born older than a merge believed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::Seq;
use crate::sync::Mutex;

/// Which sequence numbers live snapshots read at.
#[derive(Debug, Default)]
pub struct Registry {
    /// Number to how many snapshots hold it, and when the first of them was made.
    live: Mutex<BTreeMap<Seq, (usize, Duration)>>,
}

impl Registry {
    /// Registers the number that `visible` answers under the registry's lock.
    pub fn register(&self, now: Duration, visible: impl FnOnce() -> Seq) -> Seq {
        let mut live = self.live.lock();
        let seq = visible();
        live.entry(seq).or_insert((0, now)).0 += 1;
        seq
    }

    /// Takes back one registration of `seq`.
    pub fn release(&self, seq: Seq) {
        let mut live = self.live.lock();
        if let Some((count, _)) = live.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                live.remove(&seq);
            }
        }
    }

    /// The numbers of live snapshots, each once, ascending.
    pub fn live(&self) -> Vec<Seq> {
        self.live.lock().keys().copied().collect()
    }

    /// How many snapshots live, and the oldest one's number.
    pub fn summary(&self) -> (usize, Option<Seq>) {
        let live = self.live.lock();
        (live.values().map(|(count, _)| count).sum(), live.keys().next().copied())
    }

    /// When the oldest live snapshot was made.
    pub fn oldest_since(&self) -> Option<Duration> {
        self.live.lock().values().next().map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted() {
        let registry = Registry::default();
        assert_eq!(registry.register(Duration::ZERO, || 5), 5);
        registry.register(Duration::from_secs(1), || 5);
        registry.register(Duration::from_secs(2), || 9);
        assert_eq!(registry.summary(), (3, Some(5)));
        assert_eq!((registry.live(), registry.oldest_since()), (vec![5, 9], Some(Duration::ZERO)));
        registry.release(5);
        registry.release(5);
        registry.release(5);
        assert_eq!(registry.summary(), (1, Some(9)));
    }
}
