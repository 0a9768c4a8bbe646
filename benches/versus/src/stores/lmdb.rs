//! LMDB through heed, with and without `MDB_WRITEMAP`, class a.
//!
//! - `MDB_NOSYNC`: a commit writes pages to the page cache (or changes the mapping) and syncs nothing, so it survives
//!   `kill -9` and not power loss. Synced puts go without that flag: an fdatasync (or msync) and a synced meta page a commit, LMDB's default.
//! - The map is 32 times the memory budget, or 32 GiB, which reserves addresses only; the file is sparse. Read-ahead stays on where data fits into memory;
//!   where a group limits memory it is off (`MDB_NORDAHEAD`), as its documentation says for data larger than memory.
//! - `MDB_NOMEMINIT` is not reachable through heed; its cost is small.
//! - Every get and scan opens and ends a read transaction, as every other store pays its own; heed keeps the slot of the thread.
//! - LMDB has no checksums and no compression; that is in its favour on reads and against it on disk.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use crate::Result;
use crate::store::{Budget, Class, Contestant, Pairs, Scan, Store, Tally};

pub const LMDB: Contestant = Contestant {
    name: "lmdb",
    class: Class::Acknowledged,
    syncs: true,
    ordered: true,
    reads: true,
    looks: false,
    vanishes: false,
    peer: true,
    only_named: false,
    idles: false,
    version: env!("LMDB_VERSION"),
    settings: |budget| settings(budget, "MDB_NOSYNC"),
    open: |path, budget, synced| open(path, budget, synced, EnvFlags::empty()),
};

pub const LMDB_WRITEMAP: Contestant = Contestant {
    name: "lmdb_writemap",
    settings: |budget| settings(budget, "MDB_NOSYNC, MDB_WRITEMAP"),
    open: |path, budget, synced| open(path, budget, synced, EnvFlags::WRITE_MAP),
    ..LMDB
};

fn map_bytes(budget: &Budget) -> u64 {
    (budget.cache_bytes * 32).max(32 << 30)
}

fn settings(budget: &Budget, flags: &str) -> String {
    format!(
        "{flags}{} (neither NOSYNC nor NOMETASYNC where puts are synced), map of {} MiB, a transaction each",
        if budget.limited { ", MDB_NORDAHEAD" } else { "" },
        map_bytes(budget) >> 20
    )
}

fn open(path: &Path, budget: &Budget, synced: bool, flags: EnvFlags) -> Result<Box<dyn Store>> {
    std::fs::create_dir_all(path)?;
    let flags = if synced { flags } else { flags | EnvFlags::NO_SYNC };
    let flags = if budget.limited { flags | EnvFlags::NO_READ_AHEAD } else { flags };
    let mut options = EnvOpenOptions::new();
    options.map_size(usize::try_from(map_bytes(budget))?);
    // SAFETY: `flags` asks for what the module's head says: less durability, which is wanted, and WRITE_MAP, under which a stray write of this
    // process could damage the file; LMDB's pages are reached through heed's safe interface only.
    unsafe { options.flags(flags) };
    // SAFETY: the directory belongs to this cell: no other process changes the file under the mapping, and it is opened once.
    let env = unsafe { options.open(path)? };
    let created = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        opener.create_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    let pairs = created.commit().ok_or("its database was not created")?;
    Ok(Box::new(Lmdb { env, pairs }))
}

struct Lmdb {
    env: Env,
    pairs: Database<'static, Bytes, Bytes>,
}

impl Store for Lmdb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        self.pairs.put(&mut txn, key, value)?;
        Ok(txn.commit()?)
    }

    fn put_synced(&self, key: &[u8], value: &[u8]) -> Result<()> {
        // The environment was opened to sync.
        self.put(key, value)
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        for (key, value) in pairs.iter() {
            self.pairs.put(&mut txn, key, value)?;
        }
        Ok(txn.commit()?)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        self.pairs.delete(&mut txn, key)?;
        Ok(txn.commit()?)
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let txn = self.env.read_txn()?;
        let found = self.pairs.get(&txn, key)?;
        value.extend_from_slice(found.unwrap_or_default());
        Ok(found.is_some())
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        let txn = self.env.read_txn()?;
        if scan.reverse {
            for pair in self.pairs.rev_iter(&txn)? {
                let (key, value) = pair?;
                if !tally.see(key, value) {
                    break;
                }
            }
            return Ok(());
        }
        let from: (Bound<&[u8]>, Bound<&[u8]>) =
            (scan.start().map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded);
        for pair in self.pairs.range(&txn, &from)? {
            let (key, value) = pair?;
            if scan.prefix.is_some_and(|prefix| !key.starts_with(prefix)) || !tally.see(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        let closing = self.env.prepare_for_closing();
        closing.wait();
        Ok(())
    }
}
