//! The version: which files a store consists of, at one moment.
//!
//! Immutable. A reader that holds one sees that set of files whatever happens meanwhile; every change makes a new one
//! and replaces the pointer to it in one step, so nobody ever sees a mix.

use crate::memtable::Memtable;
use crate::sync::Arc;

/// The live files. Replaced under the commit mutex, before anything that a new file holds is published.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// One for each segment, oldest first: file numbers and sequence numbers ascend. The last may still grow.
    pub memtables: Vec<Arc<Memtable>>,
}

impl Version {
    /// The memtable over the file with this number.
    pub fn memtable(&self, number: u64) -> Option<&Arc<Memtable>> {
        let at = self.memtables.binary_search_by_key(&number, |m| m.file.number).ok()?;
        self.memtables.get(at)
    }

    /// This one with one more memtable.
    pub fn with(&self, memtable: Arc<Memtable>) -> Version {
        let mut memtables = self.memtables.clone();
        memtables.push(memtable);
        Version { memtables }
    }
}
