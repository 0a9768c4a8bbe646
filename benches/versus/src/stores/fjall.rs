//! fjall 3, class a.
//!
//! - Each write reaches the system (`manual_journal_persist` off, the default), so it survives `kill -9`; synced puts call
//!   `persist(SyncData)`, as its manual says.
//! - lz4 and a bloom filter of about 10 bits a key are its defaults; blocks of 4 KiB, its default and its advice for point reads.
//! - Its manual recommends memtables of 8 to 64 MiB: it gets the memtable budget, but not more than that. The cache is that of the others;
//!   its manual recommends one that holds the data. The journal may grow to its default of 512 MiB.

use std::path::Path;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::wait_until_still;
use crate::Result;
use crate::store::{Budget, Class, Contestant, Pairs, Scan, Store, Tally};

pub const FJALL: Contestant = Contestant {
    name: "fjall",
    class: Class::Acknowledged,
    syncs: true,
    ordered: true,
    reads: true,
    looks: false,
    vanishes: false,
    peer: true,
    only_named: false,
    idles: false,
    version: env!("FJALL_VERSION"),
    settings: |budget| {
        format!(
            "lz4, bloom filters, blocks of 4 KiB (defaults), memtable of {} MiB (its manual's largest), cache of {} MiB, 2 workers",
            memtable_bytes(budget) >> 20,
            budget.cache_bytes >> 20
        )
    },
    open,
};

fn memtable_bytes(budget: &Budget) -> u64 {
    budget.memtable_bytes.min(64 << 20)
}

fn open(path: &Path, budget: &Budget, _synced: bool) -> Result<Box<dyn Store>> {
    let db = Database::builder(path).cache_size(budget.cache_bytes).worker_threads(2).open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes(budget));
    let pairs = db.keyspace("pairs", options)?;
    Ok(Box::new(Fjall { db, pairs }))
}

struct Fjall {
    db: Database,
    pairs: Keyspace,
}

impl Store for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.pairs.insert(key, value)?)
    }

    fn put_synced(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.pairs.insert(key, value)?;
        Ok(self.db.persist(PersistMode::SyncData)?)
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        let mut batch = self.db.batch();
        for (key, value) in pairs.iter() {
            batch.insert(&self.pairs, key, value);
        }
        Ok(batch.commit()?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        Ok(self.pairs.remove(key)?)
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.pairs.get(key)?;
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        let iter = match (scan.prefix, scan.from) {
            (Some(prefix), _) => self.pairs.prefix(prefix),
            (None, Some(from)) => self.pairs.range(from..),
            (None, None) => self.pairs.iter(),
        };
        let mut see = |guard: fjall::Guard| -> Result<bool> {
            let (key, value) = guard.into_inner()?;
            Ok(tally.see(&key, &value))
        };
        if scan.reverse {
            for guard in iter.rev() {
                if !see(guard)? {
                    break;
                }
            }
        } else {
            for guard in iter {
                if !see(guard)? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.pairs.rotate_memtable_and_wait()?;
        let db = &self.db;
        wait_until_still(Duration::from_millis(500), || {
            let busy = db.outstanding_flushes() + db.active_compactions();
            Ok((busy, db.time_compacting(), db.compactions_completed(), self.pairs.table_count()))
        })
    }

    fn compact(&self) -> Result<()> {
        self.pairs.rotate_memtable_and_wait()?;
        if self.pairs.l0_table_count() > 0 {
            self.pairs.major_compact()?;
        }
        self.settle()
    }
}
