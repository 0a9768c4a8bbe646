//! sled 0.34, class w.
//!
//! Writes wait in buffers of the process; a thread writes them out, here every 500 ms, its default. `flush` writes
//! them out but does no fdatasync of what it wrote, so sled takes no part in the rows of synced puts. `Mode::HighThroughput`; no compression (its zstd is slow);
//! a cache of the size that the others get.

use std::path::Path;

use sled::{Config, Db, Mode};

use crate::Result;
use crate::store::{Budget, Class, Contestant, Pairs, Scan, Store, Tally};

pub const SLED: Contestant = Contestant {
    name: "sled",
    class: Class::Weaker,
    syncs: false,
    ordered: true,
    reads: true,
    looks: false,
    vanishes: false,
    peer: true,
    only_named: false,
    idles: false,
    version: env!("SLED_VERSION"),
    settings: |budget| {
        format!("HighThroughput, flushed every 500 ms, no compression, cache of {} MiB", budget.cache_bytes >> 20)
    },
    open,
};

fn open(path: &Path, budget: &Budget, _synced: bool) -> Result<Box<dyn Store>> {
    let config = Config::new().path(path).mode(Mode::HighThroughput).cache_capacity(budget.cache_bytes);
    Ok(Box::new(Sled(config.flush_every_ms(Some(500)).open()?)))
}

struct Sled(Db);

impl Store for Sled {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key, value)?;
        Ok(())
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        let mut batch = sled::Batch::default();
        pairs.iter().for_each(|(key, value)| batch.insert(key, value));
        Ok(self.0.apply_batch(batch)?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.0.remove(key)?;
        Ok(())
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.0.get(key)?;
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        let iter = match (scan.prefix, scan.from) {
            (Some(prefix), _) => self.0.scan_prefix(prefix),
            (None, Some(from)) => self.0.range(from..),
            (None, None) => self.0.iter(),
        };
        if scan.reverse {
            for pair in iter.rev() {
                let (key, value) = pair?;
                if !tally.see(&key, &value) {
                    break;
                }
            }
        } else {
            for pair in iter {
                let (key, value) = pair?;
                if !tally.see(&key, &value) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.settle()
    }
}
