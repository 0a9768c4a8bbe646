//! kvs with its defaults: mapped log, mapped tables, every record checked on every read, class a.
//!
//! In a row of its own gets are pinned: the value is looked at where it lies, verified, not copied.

use std::path::Path;
use std::time::Duration;

use kvs::{Batch, Db, Durability, Options};

use super::wait_until_still;
use crate::Result;
use crate::shape::tag_of;
use crate::store::{Budget, Class, Contestant, Pairs, Scan, Store, Tally};

pub const COPIED: Contestant = Contestant {
    name: "kvs",
    class: Class::Acknowledged,
    syncs: true,
    ordered: true,
    reads: true,
    looks: false,
    vanishes: false,
    peer: false,
    version: kvs_version(),
    settings,
    open,
};

pub const PINNED: Contestant = Contestant {
    name: "kvs_pinned",
    syncs: false,
    looks: true,
    settings: |_| "as kvs; values are verified and looked at where they lie, not copied".to_owned(),
    ..COPIED
};

const fn kvs_version() -> &'static str {
    env!("KVS_VERSION")
}

fn options(budget: &Budget) -> Options {
    Options { memtable_bytes_max: budget.memtable_bytes, memory_bytes_max: budget.cache_bytes, ..Options::default() }
}

fn settings(budget: &Budget) -> String {
    let options = options(budget);
    format!(
        "defaults: mapped log and tables, no compression, a checksum of every record on every read, memtables of {} MiB in segments \
         of up to {} MiB, memory of {} MiB",
        options.memtable_bytes_max >> 20,
        options.segment_bytes_max >> 20,
        options.memory_bytes_max >> 20
    )
}

fn open(path: &Path, budget: &Budget, _synced: bool) -> Result<Box<dyn Store>> {
    Ok(Box::new(Ours(Db::open(path, options(budget))?)))
}

struct Ours(Db);

impl Store for Ours {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.0.put(key, value)?)
    }

    fn put_synced(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.0.put_with(key, value, Durability::Sync)?)
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        let mut batch = Batch::new();
        pairs.iter().for_each(|(key, value)| {
            batch.put(key, value);
        });
        Ok(self.0.write(&batch)?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        Ok(self.0.delete(key)?)
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        Ok(self.0.get_into(key, value)?)
    }

    fn look(&self, key: &[u8]) -> Result<Option<(usize, u64)>> {
        Ok(self.0.get(key)?.map(|value| (value.len(), tag_of(&value))))
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        let mut iter = match scan.prefix {
            Some(prefix) => self.0.prefix(prefix)?,
            None => self.0.iter()?,
        };
        let mut on = match scan.from {
            Some(from) => iter.seek(from)?,
            None if scan.reverse => iter.seek_to_last()?,
            None => iter.seek_to_first()?,
        };
        while on && tally.see(iter.key(), iter.value()) {
            on = if scan.reverse { iter.move_prev()? } else { iter.move_next()? };
        }
        Ok(())
    }

    /// Flushes; then the worker, once at rest (after 2 s), merges what is worth it, and fills the index.
    fn settle(&self) -> Result<()> {
        self.0.flush()?;
        wait_until_still(Duration::from_millis(3000), || Ok(self.signs()))
    }

    /// Merges everything, then waits until the index knows every key.
    fn compact(&self) -> Result<()> {
        // At rest there is nothing to merge: one run, nothing dead. Merging would rewrite it all.
        let stats = self.0.stats();
        if stats.runs > 1 || stats.segments > 1 || stats.dead_bytes > 0 || stats.flushed_seq < stats.visible_seq {
            self.0.compact::<&[u8]>(..)?;
        }
        wait_until_still(Duration::from_millis(200), || Ok(self.signs()))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }
}

impl Ours {
    /// What changes while the worker works.
    fn signs(&self) -> [u64; 7] {
        let stats = self.0.stats();
        let work = [stats.flushes, stats.merge_steps, stats.merge_bytes_written, stats.flush_bytes_written];
        let [a, b, c, d] = work;
        [a, b, c, d, stats.index_keys, stats.covered_tables, stats.leaving_files]
    }
}
