//! RocksDB, class a.
//!
//! By its wiki's "Setup options and basic tuning" and the defaults of recent releases, moved towards point reads in memory where those differ:
//!
//! - The log is written to the system with each put (the default), so it survives `kill -9`; synced puts set `sync`.
//! - lz4 on all levels; dynamic level sizes; 2 background jobs, one a core; write buffers of the memtable budget each, two of them and a third
//!   before writes stop; `bytes_per_sync` of 1 MiB.
//! - Blocks of 4 KiB rather than the wiki's 16, with a hash index inside, for point reads; full filters of 10 bits a key; the newest table format
//!   that the release writes by default.
//! - The block cache (a `HyperClockCache`, which the wiki recommends over the LRU one) holds the whole data set at a million keys. Indexes and filters stay outside of it,
//!   in memory, the default, which is faster than inside.
//! - `run.sh` builds it with SSE4.2, PCLMUL and AVX2, without which its CRC-32C is computed by tables.
//! - Checksums are verified when a block is read into the cache, the default. Gets are pinned and copied once.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DataBlockIndexType, FlushOptions, Options, ReadOptions,
    WaitForCompactOptions, WriteBatch, WriteOptions,
};

use crate::Result;
use crate::store::{Budget, Class, Contestant, Pairs, Scan, Store, Tally};

pub const ROCKSDB: Contestant = Contestant {
    name: "rocksdb",
    class: Class::Acknowledged,
    syncs: true,
    ordered: true,
    reads: true,
    looks: false,
    vanishes: false,
    peer: true,
    only_named: false,
    idles: false,
    version: env!("ROCKSDB_VERSION"),
    settings: |budget| {
        format!(
            "lz4 on all levels, dynamic level sizes, {WRITE_BUFFERS} write buffers of {} MiB, HyperClockCache of {} MiB, blocks of {} KiB with hash index, \
             filters of {FILTER_BITS} bits, 2 background jobs, bytes_per_sync of 1 MiB; {}",
            budget.memtable_bytes >> 20,
            budget.cache_bytes >> 20,
            BLOCK_BYTES >> 10,
            env!("ROCKSDB_BUILD")
        )
    },
    open,
};

const WRITE_BUFFERS: i32 = 3;
const BLOCK_BYTES: usize = 4 << 10;
const FILTER_BITS: u32 = 10;

fn open(path: &Path, budget: &Budget, _synced: bool) -> Result<Box<dyn Store>> {
    let mut table = BlockBasedOptions::default();
    // An estimate of 0 lets the cache find its own.
    table.set_block_cache(&Cache::new_hyper_clock_cache(usize::try_from(budget.cache_bytes)?, 0));
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(f64::from(FILTER_BITS), false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_data_block_hash_ratio(0.75);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_write_buffer_size(usize::try_from(budget.memtable_bytes)?);
    options.set_max_write_buffer_number(WRITE_BUFFERS);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    Ok(Box::new(Rocks {
        db: DB::open(&options, path)?,
        reads: ReadOptions::default(),
        writes: WriteOptions::default(),
        synced,
    }))
}

struct Rocks {
    db: DB,
    reads: ReadOptions,
    writes: WriteOptions,
    synced: WriteOptions,
}

impl Store for Rocks {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.writes)?)
    }

    fn put_synced(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.synced)?)
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        let mut batch = WriteBatch::default();
        pairs.iter().for_each(|(key, value)| batch.put(key, value));
        Ok(self.db.write_opt(batch, &self.writes)?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        Ok(self.db.delete_opt(key, &self.writes)?)
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.db.get_pinned_opt(key, &self.reads)?;
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        let mut iter = self.db.raw_iterator_opt(ReadOptions::default());
        match scan.start() {
            Some(start) => iter.seek(start),
            None if scan.reverse => iter.seek_to_last(),
            None => iter.seek_to_first(),
        }
        while let Some((key, value)) = iter.item() {
            if scan.prefix.is_some_and(|prefix| !key.starts_with(prefix)) || !tally.see(key, value) {
                break;
            }
            if scan.reverse { iter.prev() } else { iter.next() }
        }
        Ok(iter.status()?)
    }

    fn settle(&self) -> Result<()> {
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        self.db.flush_opt(&wait)?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn compact(&self) -> Result<()> {
        self.db.compact_range::<&[u8], &[u8]>(None, None);
        self.settle()
    }
}
