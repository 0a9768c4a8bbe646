//! The registry of live snapshots.
//!
//! A snapshot is a registered sequence number and nothing else: it pins no file. A merge keeps what
//! registered numbers can see. Both sides meet under the registry's lock: whoever registers reads the visible
//! sequence number while holding it, and whoever computes the oldest number does so while holding it, so no
//! snapshot can be born older than a merge believed.

use std::collections::BTreeMap;

use crate::record::Seq;
use crate::sync::Mutex;

/// Which sequence numbers live snapshots read at.
#[derive(Debug, Default)]
pub struct Registry {
    /// Number to how many snapshots hold it.
    live: Mutex<BTreeMap<Seq, usize>>,
}

impl Registry {
    /// Registers the number that `visible` answers under the registry's lock.
    pub fn register(&self, visible: impl FnOnce() -> Seq) -> Seq {
        let mut live = self.live.lock();
        let seq = visible();
        *live.entry(seq).or_insert(0) += 1;
        seq
    }

    /// Takes back one registration of `seq`.
    pub fn release(&self, seq: Seq) {
        let mut live = self.live.lock();
        if let Some(count) = live.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                live.remove(&seq);
            }
        }
    }

    /// How many snapshots live, and the oldest one's number.
    pub fn summary(&self) -> (usize, Option<Seq>) {
        let live = self.live.lock();
        (live.values().sum(), live.keys().next().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted() {
        let registry = Registry::default();
        assert_eq!(registry.register(|| 5), 5);
        registry.register(|| 5);
        registry.register(|| 9);
        assert_eq!(registry.summary(), (3, Some(5)));
        registry.release(5);
        registry.release(5);
        registry.release(5);
        assert_eq!(registry.summary(), (1, Some(9)));
    }
}
