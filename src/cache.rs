//! The block cache: blocks of tables that are read by position, by file number and offset.
//!
//! Bounded in bytes and scan resistant: `quick_cache` keeps what is asked for twice (S3-FIFO, with a memory of what it has just
//! thrown out), so that a scan of everything does not wash out what point reads need. It is used without its own locks: each of a
//! few shards stands in one of ours, held for a few instructions, since all locks come from `sync`.
//!
//! File numbers are never reused in the life of a database, so a block that is still here after its file has gone
//! can't be taken for another one's; [`Cache::remove_file`] only gives its memory back sooner.
//!
//! Two readers that miss the same block at the same time both read it. Nobody waits for anybody's disk.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use quick_cache::Weighter;
use quick_cache::unsync::{Cache as Shard, DefaultLifecycle};

use crate::coding;
use crate::error::Result;
use crate::sync::{Arc, CachePadded, Mutex};

/// At most so many shards.
const SHARDS_MAX: u64 = 8;
/// No shard is smaller, unless the whole cache is.
const SHARD_BYTES_MIN: u64 = 256 << 10;
/// What a cached block takes besides its bytes: the table's slot, the list, the counted allocation.
const OVERHEAD: u64 = 96;
/// Most blocks are about so long.
const BLOCK_BYTES_USUAL: u64 = 4 << 10;

/// Bytes of a file, read and not changed since. Whoever reads them checks them.
pub struct Block(Vec<u8>);

impl Block {
    /// That holds `bytes`.
    pub fn new(bytes: Vec<u8>) -> Block {
        Block(bytes)
    }

    /// All of them.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The buffer, to be filled again.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.0.len())
    }
}

/// File number and offset.
type Key = (u64, u64);

#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<Key, Arc<Block>> for Weigh {
    fn weight(&self, _: &Key, block: &Arc<Block>) -> u64 {
        weight(block)
    }
}

fn weight(block: &Block) -> u64 {
    block.0.capacity() as u64 + OVERHEAD
}

/// Hashes a [`Key`]: two multiplications.
#[derive(Clone, Debug, Default)]
struct Hash(u64);

impl BuildHasher for Hash {
    type Hasher = Hash;
    fn build_hasher(&self) -> Hash {
        Hash(0x9e37_79b9_7f4a_7c15)
    }
}

impl Hasher for Hash {
    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(coding::hash(bytes));
    }
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = coding::fold(self.0 ^ word, 0xbb67_ae85_84ca_a73b);
    }
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The cache; shared by all tables of a store.
pub struct Cache {
    shards: Box<[CachePadded<Mutex<Counted>>]>,
    /// Heavier blocks are handed out and not kept.
    weight_max: u64,
    capacity: u64,
}

/// A shard and what was asked of it.
struct Counted {
    blocks: Shard<Key, Arc<Block>, Weigh, Hash, DefaultLifecycle<Key, Arc<Block>>>,
    hits: u64,
    misses: u64,
}

impl Cache {
    /// For at most `capacity` bytes; none if it is too small for anything.
    pub fn new(capacity: u64) -> Cache {
        let shards = (capacity / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let shard = || {
            let capacity = capacity / shards;
            let blocks = (capacity / BLOCK_BYTES_USUAL) as usize;
            let blocks = Shard::with(blocks, capacity, Weigh, Hash::default(), DefaultLifecycle::default());
            CachePadded::new(Mutex::new(Counted { blocks, hits: 0, misses: 0 }))
        };
        Cache { shards: (0..shards).map(|_| shard()).collect(), weight_max: capacity / 8, capacity }
    }

    /// The block at `offset` of file `number`, made by `read` if it is not here.
    pub fn get_or_read(&self, number: u64, offset: u64, read: impl FnOnce() -> Result<Vec<u8>>) -> Result<Arc<Block>> {
        let key = (number, offset);
        if let Some(block) = self.look_up(&key) {
            return Ok(block);
        }
        let block = Arc::new(Block::new(read()?));
        if weight(&block) <= self.weight_max {
            self.shard(&key).lock().blocks.insert(key, Arc::clone(&block));
        }
        Ok(block)
    }

    #[inline]
    fn look_up(&self, key: &Key) -> Option<Arc<Block>> {
        let mut shard = self.shard(key).lock();
        let found = shard.blocks.get(key).cloned();
        if found.is_some() {
            shard.hits += 1;
        } else {
            shard.misses += 1;
        }
        found
    }

    #[inline]
    fn shard(&self, key: &Key) -> &Mutex<Counted> {
        // Other bits of the hash than the shard's own table looks at first.
        let hash = Hash::default().hash_one(key) >> 32;
        &self.shards[hash as usize & (self.shards.len() - 1)]
    }

    /// Forgets the blocks of a file that is gone.
    pub fn remove_file(&self, number: u64) {
        for shard in &self.shards {
            shard.lock().blocks.retain(|key, _| key.0 != number);
        }
    }

    /// How many bytes it may hold.
    #[cfg(test)]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().blocks.weight()).sum()
    }

    /// How often a block was found here.
    pub fn hits(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().hits).sum()
    }

    /// How often one had to be read.
    pub fn misses(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().misses).sum()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} of {} bytes)", self.bytes(), self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(cache: &Cache, number: u64, offset: u64, len: usize) -> Arc<Block> {
        cache.get_or_read(number, offset, || Ok(vec![number as u8; len])).unwrap()
    }

    /// Whatever goes in, it never holds more than its capacity.
    #[test]
    fn the_capacity_is_a_bound() {
        for capacity in [0, 1, 4096, 100 << 10, 1 << 20, 3 << 20] {
            let cache = Cache::new(capacity);
            for i in 0..5000u64 {
                let len = 1 + (i * 7919 % 9000) as usize;
                assert_eq!(get(&cache, i % 7, i * 8, len).bytes().len(), len);
                assert!(cache.bytes() <= capacity, "{} of {capacity}", cache.bytes());
            }
            assert_eq!((cache.hits(), cache.misses(), cache.capacity()), (0, 5000, capacity));
            assert!(capacity < 1 << 20 || cache.bytes() > capacity / 2, "{} of {capacity}", cache.bytes());
        }
    }

    /// What fits is read once; a block over an eighth of the capacity is handed out and not kept; an error is passed on.
    #[test]
    fn a_block_is_read_once_unless_it_is_too_large() {
        let cache = Cache::new(1 << 20);
        for _ in 0..3 {
            assert_eq!(get(&cache, 1, 64, 4096).bytes(), [1; 4096]);
        }
        assert_eq!((cache.hits(), cache.misses()), (2, 1));
        for _ in 0..2 {
            assert_eq!(get(&cache, 2, 64, 200 << 10).bytes().len(), 200 << 10);
        }
        assert_eq!((cache.hits(), cache.misses()), (2, 3));
        assert!(cache.bytes() < 10_000);
        let failed = || Err(crate::error::Error::new(crate::error::ErrorKind::Io, "gone"));
        cache.get_or_read(3, 8, failed).unwrap_err();
        assert_eq!(get(&cache, 3, 8, 10).bytes(), [3; 10]);
    }

    #[test]
    fn a_retired_file_leaves_nothing_behind() {
        let cache = Cache::new(4 << 20);
        for offset in 0..100 {
            get(&cache, 1, offset * 8, 4096);
            get(&cache, 2, offset * 8, 4096);
        }
        let before = cache.bytes();
        cache.remove_file(1);
        assert_eq!(cache.bytes() * 2, before);
        get(&cache, 2, 0, 0);
        assert_eq!(cache.hits(), 1);
    }

    /// A scan ten times the size of the cache does not wash out what is asked for again and again.
    #[test]
    fn a_scan_leaves_the_hot_blocks() {
        let cache = Cache::new(4 << 20);
        let hot = |cache: &Cache| (0..200).for_each(|i| drop(get(cache, 1, i * 8, 4096)));
        (0..5).for_each(|_| hot(&cache));
        (0..10_000).for_each(|i| drop(get(&cache, 2, i * 8, 4096)));
        let before = cache.hits();
        hot(&cache);
        assert!(cache.hits() - before > 150, "{} of 200 are left", cache.hits() - before);
    }
}
