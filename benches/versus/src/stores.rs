//! The stores, one a file, and the list of those that this build has.

mod append;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "leveldb")]
mod leveldb;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "memory")]
mod memory;
mod ours;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
mod spinner;

use std::time::{Duration, Instant};

pub use spinner::SPINNER_NAME;

use crate::Result;
use crate::store::Contestant;

/// Those that this build has, in the order of the table's columns.
pub fn all() -> Vec<Contestant> {
    #[allow(unused_mut, reason = "with every feature off there are few")]
    let mut all = vec![ours::COPIED, ours::PINNED, ours::PREAD, ours::INDEX_50, ours::INDEX_10];
    #[cfg(feature = "rocksdb")]
    all.push(rocksdb::ROCKSDB);
    #[cfg(feature = "lmdb")]
    all.extend([lmdb::LMDB, lmdb::LMDB_WRITEMAP]);
    #[cfg(feature = "leveldb")]
    all.push(leveldb::LEVELDB);
    #[cfg(feature = "redb")]
    all.push(redb::REDB);
    #[cfg(feature = "fjall")]
    all.push(fjall::FJALL);
    #[cfg(feature = "sled")]
    all.push(sled::SLED);
    #[cfg(feature = "memory")]
    all.extend([memory::BTREEMAP, memory::DASHMAP, memory::SKIPLIST, memory::LOCKFREE]);
    all.extend([append::APPEND, spinner::SPINNER]);
    all
}

/// The store of this name.
pub fn by_name(name: &str) -> Result<Contestant> {
    let all = all();
    let known = || all.iter().map(|c| c.name).collect::<Vec<_>>().join(", ");
    let found = all.iter().find(|c| c.name == name).copied();
    found.ok_or_else(|| format!("this build has no store {name:?}; it has {}", known()).into())
}

/// Waits until `signs` has answered the same for `still`, for stores that cannot say that they are at rest. Gives up after ten minutes.
fn wait_until_still<T: PartialEq>(still: Duration, mut signs: impl FnMut() -> Result<T>) -> Result<()> {
    let begin = Instant::now();
    let mut since = begin;
    let mut last = signs()?;
    while since.elapsed() < still {
        if begin.elapsed() > Duration::from_secs(600) {
            return Err("it does not come to rest".into());
        }
        std::thread::sleep(Duration::from_millis(10));
        let now = signs()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(())
}
