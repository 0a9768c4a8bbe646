//! redb 4, class w.
//!
//! `Durability::None` keeps a commit in the process: all of them are lost by `kill -9` until a later commit is `Immediate`. The only other choice
//! syncs every commit, so there is no setting of class a; synced puts use it. The cache is that of the others.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::Result;
use crate::store::{Budget, Class, Contestant, Pairs, Scan, Store, Tally};

pub const REDB: Contestant = Contestant {
    name: "redb",
    class: Class::Weaker,
    syncs: true,
    ordered: true,
    reads: true,
    looks: false,
    vanishes: false,
    peer: true,
    only_named: false,
    idles: false,
    version: env!("REDB_VERSION"),
    settings: |budget| {
        format!(
            "Durability::None (Immediate where puts are synced), cache of {} MiB, a transaction each",
            budget.cache_bytes >> 20
        )
    },
    open,
};

const PAIRS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("pairs");

fn open(path: &Path, budget: &Budget, synced: bool) -> Result<Box<dyn Store>> {
    std::fs::create_dir_all(path)?;
    let db = Database::builder().set_cache_size(usize::try_from(budget.cache_bytes)?).create(path.join("redb"))?;
    let store = Redb { db, synced };
    store.commit(true, |_| Ok(()))?;
    Ok(Box::new(store))
}

struct Redb {
    db: Database,
    synced: bool,
}

impl Redb {
    fn commit(&self, durable: bool, work: impl FnOnce(&WriteTransaction) -> Result<()>) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
        txn.open_table(PAIRS)?;
        work(&txn)?;
        Ok(txn.commit()?)
    }
}

impl Store for Redb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.commit(self.synced, |txn| {
            txn.open_table(PAIRS)?.insert(key, value)?;
            Ok(())
        })
    }

    fn put_synced(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(key, value)
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        self.commit(self.synced, |txn| {
            let mut table = txn.open_table(PAIRS)?;
            for (key, value) in pairs.iter() {
                table.insert(key, value)?;
            }
            Ok(())
        })
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.commit(self.synced, |txn| {
            txn.open_table(PAIRS)?.remove(key)?;
            Ok(())
        })
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        let found = table.get(key)?;
        if let Some(found) = &found {
            value.extend_from_slice(found.value());
        }
        Ok(found.is_some())
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        if scan.reverse {
            for pair in table.iter()?.rev() {
                let (key, value) = pair?;
                if !tally.see(key.value(), value.value()) {
                    break;
                }
            }
            return Ok(());
        }
        for pair in table.range::<&[u8]>(scan.start().unwrap_or_default()..)? {
            let (key, value) = pair?;
            if scan.prefix.is_some_and(|prefix| !key.value().starts_with(prefix))
                || !tally.see(key.value(), value.value())
            {
                break;
            }
        }
        Ok(())
    }

    /// A durable commit: it makes those before it durable and frees the pages that they kept.
    fn settle(&self) -> Result<()> {
        self.commit(true, |_| Ok(()))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.settle()?;
        Ok(self.db.close()?)
    }
}
