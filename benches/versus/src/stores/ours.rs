//! kvs with its defaults: mapped log, mapped tables, every record checked on every read, class a.
//!
//! In a row of its own gets are pinned: the value is looked at where it lies, verified, not copied.
//!
//! Where memory is limited ([`Budget::limited`]):
//!
//! - The log's segments are sized to the memtable budget: three of them, as by default.
//! - The memory that it may use is that of the memtables and of the point index, which gets what all keys need. Tables are mapped: the page cache is
//!   theirs, and counted by the group.
//! - `kvs_pread` reads tables by position instead, through a block cache of the size that the others get.
//! - `kvs_index50` and `kvs_index10` give the index a half and a tenth of that. Keys beyond are found by the tables' own hash sections.

use std::path::Path;
use std::time::Duration;

use kvs::{Batch, Db, Durability, Options, TableIo};

use super::wait_until_still;
use crate::Result;
use crate::record::Metrics;
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
    only_named: false,
    idles: false,
    version: kvs_version(),
    settings: |budget| settings(&options(budget)),
    open: |path, budget, _| open(path, options(budget)),
};

pub const PINNED: Contestant = Contestant {
    name: "kvs_pinned",
    syncs: false,
    looks: true,
    settings: |_| "as kvs; values are verified and looked at where they lie, not copied".to_owned(),
    ..COPIED
};

pub const PREAD: Contestant = Contestant {
    name: "kvs_pread",
    only_named: true,
    settings: |budget| settings(&pread_options(budget)),
    open: |path, budget, _| open(path, pread_options(budget)),
    ..COPIED
};

pub const INDEX_50: Contestant = Contestant {
    name: "kvs_index50",
    only_named: true,
    settings: |budget| settings(&mapped_options(budget, 50)),
    open: |path, budget, _| open(path, mapped_options(budget, 50)),
    ..COPIED
};

pub const INDEX_10: Contestant = Contestant {
    name: "kvs_index10",
    only_named: true,
    settings: |budget| settings(&mapped_options(budget, 10)),
    open: |path, budget, _| open(path, mapped_options(budget, 10)),
    ..COPIED
};

/// Bytes of the point index for a key, with the holes of its memory: what it takes at ten million keys, and a little more.
const INDEX_BYTES_A_KEY: u64 = 17;

const fn kvs_version() -> &'static str {
    env!("KVS_VERSION")
}

fn options(budget: &Budget) -> Options {
    if budget.limited {
        return mapped_options(budget, 100);
    }
    Options { memtable_bytes_max: budget.memtable_bytes, memory_bytes_max: budget.cache_bytes, ..Options::default() }
}

/// For limited memory: an index of so many hundredths of what all keys need.
fn mapped_options(budget: &Budget, index_percent: u64) -> Options {
    let default = Options::default();
    let segment_bytes_max = default.segment_bytes_max.min(budget.memtable_bytes / 3);
    Options {
        memtable_bytes_max: budget.memtable_bytes,
        segment_bytes_max,
        segment_bytes_min: default.segment_bytes_min.min(segment_bytes_max),
        table_io: TableIo::Mapped,
        cache_bytes: 0,
        memory_bytes_max: budget.memtable_bytes + budget.keys * INDEX_BYTES_A_KEY * index_percent / 100,
        ..default
    }
}

/// The same with positioned reads, the whole index, and a cache.
fn pread_options(budget: &Budget) -> Options {
    let mapped = mapped_options(budget, 100);
    Options {
        table_io: TableIo::Positioned,
        cache_bytes: budget.cache_bytes,
        memory_bytes_max: mapped.memory_bytes_max + budget.cache_bytes,
        ..mapped
    }
}

fn settings(options: &Options) -> String {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let default = Options::default();
    let is_default = options.table_io == default.table_io && options.segment_bytes_max == default.segment_bytes_max;
    let tables = match options.table_io {
        TableIo::Positioned => {
            format!("mapped log, tables read by position through a cache of {}", mib(options.cache_bytes))
        }
        _ => "mapped log and tables".to_owned(),
    };
    let index =
        if is_default { String::new() } else { format!(", {} of that for the index", mib(index_bytes_max(options))) };
    format!(
        "{}{tables}, no compression, a checksum of every record on every read, memtables of {} in segments of up to {}, memory of {}{index}",
        if is_default { "defaults: " } else { "" },
        mib(options.memtable_bytes_max),
        mib(options.segment_bytes_max),
        mib(options.memory_bytes_max)
    )
}

/// What the budget of memory leaves for the point index.
fn index_bytes_max(options: &Options) -> u64 {
    options.memory_bytes_max.saturating_sub(options.memtable_bytes_max + options.cache_bytes)
}

fn open(path: &Path, options: Options) -> Result<Box<dyn Store>> {
    Ok(Box::new(Ours(Db::open(path, options)?)))
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
        if let Some(from) = scan.from
            && !iter.seek(from)?
        {
            return Ok(());
        }
        iter.visit(!scan.reverse, |key, value| tally.see(key, value))?;
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

    fn numbers(&self) -> Metrics {
        let (stats, options) = (self.0.stats(), self.0.options());
        let numbers = [
            ("index_bytes", stats.index_bytes),
            ("index_budget_bytes", index_bytes_max(options)),
            ("index_keys", stats.index_keys),
            ("tables", stats.tables),
            ("covered_tables", stats.covered_tables),
            ("cache_bytes", stats.cache_bytes),
            ("order_bytes", stats.order_bytes),
            ("fence_bytes", stats.fence_bytes),
        ];
        numbers.into_iter().map(|(name, value)| (name.to_owned(), value as f64)).collect()
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
