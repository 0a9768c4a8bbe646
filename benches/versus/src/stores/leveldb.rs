//! LevelDB, Debian's `libleveldb` through its C interface, class a.
//!
//! - Its log is written to the system with each put (the default), so it survives `kill -9`; synced puts set `sync`.
//! - snappy is the only compression it has; a write buffer of the memtable budget; an LRU cache of the size that the others get; filters of 10 bits
//!   a key; blocks of 4 KiB, its default; files of 2 MiB, its default, of which it may hold 4,000 open.
//! - Checksums of blocks are verified when they are read, which is not its default: the others do so too, and a cached block is not read again.
//! - It has no call that waits for background work, so at rest it is compacted: `leveldb_compact_range` over everything.

mod ffi;

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{NonNull, null, null_mut};

use crate::Result;
use crate::store::{Budget, Class, Contestant, Pairs, Scan, Store, Tally};

pub const LEVELDB: Contestant = Contestant {
    name: "leveldb",
    class: Class::Acknowledged,
    syncs: true,
    ordered: true,
    reads: true,
    looks: false,
    vanishes: false,
    peer: true,
    only_named: false,
    idles: false,
    version: env!("LEVELDB_VERSION"),
    settings: |budget| {
        format!(
            "snappy, write buffer of {} MiB, LRU cache of {} MiB, filters of {FILTER_BITS} bits, blocks of 4 KiB, checksums verified",
            budget.memtable_bytes >> 20,
            budget.cache_bytes >> 20
        )
    },
    open,
};

const FILTER_BITS: i32 = 10;

fn open(path: &Path, budget: &Budget, _synced: bool) -> Result<Box<dyn Store>> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: each object is made by the library right here and handed to functions of the library that take its type; the two
    // flags are 0 or 1. The cache, the filter and the options outlive the database: `LevelDb` frees them after it.
    unsafe {
        let options = ffi::leveldb_options_create();
        let cache = ffi::leveldb_cache_create_lru(usize::try_from(budget.cache_bytes)?);
        let filter = ffi::leveldb_filterpolicy_create_bloom(FILTER_BITS);
        ffi::leveldb_options_set_create_if_missing(options, 1);
        ffi::leveldb_options_set_write_buffer_size(options, usize::try_from(budget.memtable_bytes)?);
        ffi::leveldb_options_set_cache(options, cache);
        ffi::leveldb_options_set_filter_policy(options, filter);
        ffi::leveldb_options_set_compression(options, ffi::LEVELDB_SNAPPY_COMPRESSION);
        ffi::leveldb_options_set_max_open_files(options, 4000);
        let reads = ffi::leveldb_readoptions_create();
        ffi::leveldb_readoptions_set_verify_checksums(reads, 1);
        let (writes, synced) = (ffi::leveldb_writeoptions_create(), ffi::leveldb_writeoptions_create());
        ffi::leveldb_writeoptions_set_sync(synced, 1);
        let mut store = LevelDb { db: null_mut(), options, cache, filter, reads, writes, synced };
        let mut failure = null_mut();
        store.db = ffi::leveldb_open(options, name.as_ptr(), &mut failure);
        told(failure)?;
        Ok(Box::new(store))
    }
}

/// An error that the library allocated, or none.
fn told(failure: *mut c_char) -> Result<()> {
    let Some(failure) = NonNull::new(failure) else { return Ok(()) };
    // SAFETY: the library sets the pointer to a string that ends in a zero byte and is the caller's, to free once with `leveldb_free`.
    let message = unsafe {
        let message = CStr::from_ptr(failure.as_ptr()).to_string_lossy().into_owned();
        ffi::leveldb_free(failure.as_ptr().cast());
        message
    };
    Err(message.into())
}

struct LevelDb {
    /// Null only where opening failed.
    db: *mut ffi::leveldb_t,
    options: *mut ffi::leveldb_options_t,
    cache: *mut ffi::leveldb_cache_t,
    filter: *mut ffi::leveldb_filterpolicy_t,
    reads: *mut ffi::leveldb_readoptions_t,
    writes: *mut ffi::leveldb_writeoptions_t,
    synced: *mut ffi::leveldb_writeoptions_t,
}

// SAFETY: the objects belong to no thread: LevelDB's documentation lets any thread use and close a database.
unsafe impl Send for LevelDb {}
// SAFETY: a database may be used by several threads at once without locks outside (its documentation, "Concurrency"); the options are only read once they are made.
unsafe impl Sync for LevelDb {}

impl Drop for LevelDb {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: nobody uses the database any more, and it goes first; each object is freed once, by the function for it.
        unsafe {
            if !self.db.is_null() {
                ffi::leveldb_close(self.db);
            }
            ffi::leveldb_readoptions_destroy(self.reads);
            ffi::leveldb_writeoptions_destroy(self.writes);
            ffi::leveldb_writeoptions_destroy(self.synced);
            ffi::leveldb_options_destroy(self.options);
            ffi::leveldb_cache_destroy(self.cache);
            ffi::leveldb_filterpolicy_destroy(self.filter);
        }
    }
}

impl LevelDb {
    fn put_with(&self, options: *mut ffi::leveldb_writeoptions_t, key: &[u8], value: &[u8]) -> Result<()> {
        let mut failure = null_mut();
        // SAFETY: database and options live as long as `self`; the library reads key and value in their lengths and keeps neither.
        unsafe {
            ffi::leveldb_put(
                self.db,
                options,
                key.as_ptr().cast(),
                key.len(),
                value.as_ptr().cast(),
                value.len(),
                &mut failure,
            );
        }
        told(failure)
    }
}

impl Store for LevelDb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_with(self.writes, key, value)
    }

    fn put_synced(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_with(self.synced, key, value)
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        let mut failure = null_mut();
        // SAFETY: the batch is made and freed here, once; the library copies keys and values into it, in their lengths; database and options live as long as
        // `self`.
        unsafe {
            let batch = ffi::leveldb_writebatch_create();
            for (key, value) in pairs.iter() {
                ffi::leveldb_writebatch_put(batch, key.as_ptr().cast(), key.len(), value.as_ptr().cast(), value.len());
            }
            ffi::leveldb_write(self.db, self.writes, batch, &mut failure);
            ffi::leveldb_writebatch_destroy(batch);
        }
        told(failure)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        let mut failure = null_mut();
        // SAFETY: as in `put_with`.
        unsafe { ffi::leveldb_delete(self.db, self.writes, key.as_ptr().cast(), key.len(), &mut failure) };
        told(failure)
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let (mut len, mut failure) = (0, null_mut());
        // SAFETY: as in `put_with`; the library sets `len` to the length of what it returns.
        let found =
            unsafe { ffi::leveldb_get(self.db, self.reads, key.as_ptr().cast(), key.len(), &mut len, &mut failure) };
        told(failure)?;
        let Some(found) = NonNull::new(found) else { return Ok(false) };
        // SAFETY: `found` is an array of `len` bytes that the library allocated for us; it is copied, then freed once, and not used again.
        unsafe {
            value.extend_from_slice(std::slice::from_raw_parts(found.as_ptr().cast(), len));
            ffi::leveldb_free(found.as_ptr().cast());
        }
        Ok(true)
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        let mut iter = Iter::new(self);
        iter.seek(scan.start(), scan.reverse);
        while let Some((key, value)) = iter.item() {
            if scan.prefix.is_some_and(|prefix| !key.starts_with(prefix)) || !tally.see(key, value) {
                break;
            }
            iter.step(scan.reverse);
        }
        iter.status()
    }

    fn settle(&self) -> Result<()> {
        // SAFETY: the database lives as long as `self`; null pointers mean no bound.
        unsafe { ffi::leveldb_compact_range(self.db, null(), 0, null(), 0) };
        Ok(())
    }
}

/// An iterator of the library, freed when dropped. It cannot outlive the database, and is not handed to another thread.
struct Iter<'a> {
    iter: *mut ffi::leveldb_iterator_t,
    _store: &'a LevelDb,
}

impl Iter<'_> {
    fn new(store: &LevelDb) -> Iter<'_> {
        // SAFETY: database and options live as long as `store`, which the result borrows.
        Iter { iter: unsafe { ffi::leveldb_create_iterator(store.db, store.reads) }, _store: store }
    }

    fn seek(&mut self, start: Option<&[u8]>, reverse: bool) {
        // SAFETY: the iterator lives; the library reads the key in its length.
        unsafe {
            match start {
                Some(key) => ffi::leveldb_iter_seek(self.iter, key.as_ptr().cast(), key.len()),
                None if reverse => ffi::leveldb_iter_seek_to_last(self.iter),
                None => ffi::leveldb_iter_seek_to_first(self.iter),
            }
        }
    }

    /// Key and value, until the next step.
    fn item(&self) -> Option<(&[u8], &[u8])> {
        let (mut key_len, mut value_len) = (0, 0);
        // SAFETY: the iterator lives; key and value are asked for only where it is valid, and are arrays of the lengths that the library sets,
        // unchanged until the iterator moves: `seek` and `step` need it exclusively, and these borrow it.
        unsafe {
            if ffi::leveldb_iter_valid(self.iter) == 0 {
                return None;
            }
            let key = ffi::leveldb_iter_key(self.iter, &mut key_len);
            let value = ffi::leveldb_iter_value(self.iter, &mut value_len);
            Some((std::slice::from_raw_parts(key.cast(), key_len), std::slice::from_raw_parts(value.cast(), value_len)))
        }
    }

    fn step(&mut self, reverse: bool) {
        // SAFETY: the iterator lives and is valid: `item` answered.
        unsafe { if reverse { ffi::leveldb_iter_prev(self.iter) } else { ffi::leveldb_iter_next(self.iter) } }
    }

    fn status(&self) -> Result<()> {
        let mut failure = null_mut();
        // SAFETY: the iterator lives.
        unsafe { ffi::leveldb_iter_get_error(self.iter, &mut failure) };
        told(failure)
    }
}

impl Drop for Iter<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed here and nowhere else.
        unsafe { ffi::leveldb_iter_destroy(self.iter) };
    }
}
