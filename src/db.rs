//! The store, as its users see it.

use std::ops::RangeBounds;
use std::path::Path;

use crate::batch::{Batch, Bounds};
use crate::engine::commit::{Left, Rest};
use crate::engine::handle::{Handle, Registered};
use crate::engine::recovery;
use crate::env::Env;
use crate::env::memory::MemoryEnv;
use crate::env::os::OsEnv;
use crate::error::{Error, ErrorKind, Result};
use crate::handles::Pinned;
use crate::iterator::Iter;
use crate::metrics::{Stats, Verified};
use crate::options::{Durability, Options};
use crate::record::Kind;
use crate::sync::Arc;
use crate::value::Value;

/// What error messages call the directory of a store in memory.
const IN_MEMORY: &str = "(memory)";

/// An open store.
///
/// Cheap to clone; every clone is the same store, and every method takes `&self` and may be called from any thread at any
/// time. Reads wait for nobody; writes wait for each other, briefly. When the last clone, snapshot and
/// iterator is gone the store is closed; [`close`](Db::close) does that at once and tells errors.
///
/// Keys are any bytes up to 64 KiB, values up to 1 GiB; both may be empty. Keys are ordered as bytes.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let db = kvs::Db::open(dir.path().join("fruit"), kvs::Options::default())?;
/// db.put("apple", "red")?;
/// assert_eq!(db.get("apple")?.as_deref(), Some(&b"red"[..]));
/// assert_eq!(db.get("pear")?, None);
/// db.close()?;
/// # Ok::<(), kvs::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Db(Arc<Handle>);

impl Db {
    /// Opens the store in the directory `path`, and makes it if there is none and [`Options::create`] is on.
    ///
    /// # Errors
    ///
    /// [`Locked`](crate::ErrorKind::Locked) names who has it open; [`NotADatabase`](crate::ErrorKind::NotADatabase),
    /// [`Corruption`](crate::ErrorKind::Corruption) and [`NewerFormat`](crate::ErrorKind::NewerFormat) name the file, and the offset where one is known.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Db> {
        Db::open_with(OsEnv::shared(), path, options)
    }

    /// As [`open`](Db::open), in another [environment](crate::env): a simulated disk, or one that fails.
    pub fn open_with(env: Arc<dyn Env>, path: impl AsRef<Path>, options: Options) -> Result<Db> {
        Ok(Db(Handle::start(recovery::open(env, path.as_ref(), options)?)?))
    }

    /// A new store that lives in memory and leaves nothing behind.
    pub fn in_memory(options: Options) -> Result<Db> {
        options.validate()?;
        if options.read_only {
            let message = "a store in memory can't be opened read-only: it is new";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Db::open_with(MemoryEnv::shared(), IN_MEMORY, Options { create: true, ..options })
    }

    /// Sets `key` to `value`, with the durability that the options name.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge) and [`NoSpace`](crate::ErrorKind::NoSpace): nothing was written, and the store goes on.
    /// [`Io`](crate::ErrorKind::Io): the log could not be written or synced: whether the write survives is unknown, and the store
    /// refuses writes until it is opened again ([`Poisoned`](crate::ErrorKind::Poisoned)). If only the next segment could not be made
    /// (too many open files, say), nothing was written and the next write tries again.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, value, self.options().durability)
    }

    /// Sets `key` to `value`, with this durability.
    pub fn put_with(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, durability: Durability) -> Result<()> {
        self.0.core().write_one(Kind::Put, key.as_ref(), value.as_ref(), durability, true)
    }

    /// Removes `key`, whether it is there or not.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.delete_with(key, self.options().durability)
    }

    /// Removes `key`, whether it is there or not, with this durability.
    pub fn delete_with(&self, key: impl AsRef<[u8]>, durability: Durability) -> Result<()> {
        self.0.core().write_one(Kind::Delete, key.as_ref(), &[], durability, true)
    }

    /// Removes every key in `range`, whether there are any or not: one write, however many keys those are. Their space comes back
    /// as merges get to it; [`compact`](Db::compact) does that at once.
    ///
    /// ```
    /// # let db = kvs::Db::in_memory(Default::default())?;
    /// for key in ["a", "b", "c"] {
    ///     db.put(key, "")?;
    /// }
    /// db.delete_range("a".."c")?;
    /// assert_eq!(db.iter()?.count(), 1);
    /// # Ok::<(), kvs::Error>(())
    /// ```
    pub fn delete_range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete_range(range);
        self.write(&batch)
    }

    /// Applies all of `batch` at once: every reader sees all of it or nothing, and so does recovery.
    pub fn write(&self, batch: &Batch) -> Result<()> {
        self.write_with(batch, self.options().durability)
    }

    /// Applies all of `batch` at once, with this durability.
    pub fn write_with(&self, batch: &Batch, durability: Durability) -> Result<()> {
        self.0.core().write_batch(batch, durability, true)
    }

    /// As [`write_with`](Db::write_with), for those who can't wait: where a write would have to wait until a flush has made room, it answers
    /// [`WouldBlock`](crate::ErrorKind::WouldBlock) and nothing was written.
    pub fn try_write(&self, batch: &Batch, durability: Durability) -> Result<()> {
        self.0.core().write_batch(batch, durability, false)
    }

    /// The value of `key`, pinned: no copy. `None` if there is none; a missing key builds no error and allocates nothing.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        get(&self.0, key.as_ref(), None)
    }

    /// Copies the value of `key` into `buffer`, replacing what was there. False, and an empty buffer, if there is none.
    pub fn get_into(&self, key: impl AsRef<[u8]>, buffer: &mut Vec<u8>) -> Result<bool> {
        get_into(&self.0, key.as_ref(), buffer, None)
    }

    /// Calls `look` with the value of `key`, where it lies: no copy, and nothing to hold on to it with. `None` if there is none.
    ///
    /// For a short look: as long as it takes, what others overwrite is not given back. It must not write to the store, which may have
    /// to wait for just that.
    ///
    /// ```
    /// # let db = kvs::Db::in_memory(Default::default())?;
    /// db.put("k", "value")?;
    /// assert_eq!(db.get_with("k", <[u8]>::len)?, Some(5));
    /// # Ok::<(), kvs::Error>(())
    /// ```
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.0.core().get(key.as_ref(), None, |located| look(located.value()))
    }

    /// As `get_with`, for bindings that have pinned the epoch to get here, in the process that opened the store.
    #[doc(hidden)]
    #[inline(always)]
    pub fn get_with_within<R>(&self, pinned: &Pinned, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.0.core().get_within(pinned.guard(), key, None, |located| look(located.value()))
    }

    /// As `get`, for bindings that have pinned the epoch to get here, in the process that opened the store.
    #[doc(hidden)]
    pub fn get_within(&self, pinned: &Pinned, key: &[u8]) -> Result<Option<Value>> {
        self.0.core().get_pinned_within(pinned.guard(), key, None)
    }

    /// As `put_with`, for bindings that have pinned the epoch to get here, in the process that opened the store. What is left is to be done
    /// without the pin: by `finish`, or if it is all, by `put_with`.
    #[doc(hidden)]
    #[inline]
    pub fn put_within(&self, pinned: &Pinned, key: &[u8], value: &[u8], durability: Durability) -> Result<Left> {
        self.0.core().write_one_within(pinned.guard(), Kind::Put, key, value, durability)
    }

    /// As `put_within`, for `delete_with`.
    #[doc(hidden)]
    pub fn delete_within(&self, pinned: &Pinned, key: &[u8], durability: Durability) -> Result<Left> {
        self.0.core().write_one_within(pinned.guard(), Kind::Delete, key, &[], durability)
    }

    /// What `put_within` has left.
    #[doc(hidden)]
    pub fn finish(&self, rest: Rest) -> Result<()> {
        self.0.core().finish(rest)
    }

    /// A copy of the value of `key`.
    pub fn get_owned(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        self.0.core().get(key.as_ref(), None, |located| located.value().to_vec())
    }

    /// The values of many keys, all as of one moment.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        get_many(&self.0, keys, None)
    }

    /// Is there a value for `key`?
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.0.core().get(key.as_ref(), None, |_| ())?.is_some())
    }

    /// All keys and values, as of now.
    pub fn iter(&self) -> Result<Iter> {
        Iter::new(&self.0, None, None, None)
    }

    /// The keys in `range`, as of now. An inverted range is empty.
    ///
    /// ```
    /// # let db = kvs::Db::in_memory(Default::default())?;
    /// for key in ["a", "b", "c"] {
    ///     db.put(key, "")?;
    /// }
    /// let backwards: Result<Vec<_>, _> = db.range("a"..="b")?.rev().collect();
    /// assert_eq!(backwards?[0].0, b"b");
    /// # Ok::<(), kvs::Error>(())
    /// ```
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Iter> {
        let bounds = Bounds::of(range);
        Iter::new(&self.0, None, bounds.start(), bounds.stop())
    }

    /// The keys that start with `prefix`, as of now.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Iter> {
        let bounds = Bounds::with_prefix(prefix.as_ref());
        Iter::new(&self.0, None, bounds.start(), bounds.stop())
    }

    /// The store as it is now, for as long as the snapshot lives.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot(Registered::now(&self.0)?))
    }

    /// Returns when everything acknowledged before the call survives power loss.
    pub fn sync(&self) -> Result<()> {
        self.0.core().sync()
    }

    /// Returns when everything acknowledged before the call is in tables, and so survives power loss. The worker does this by itself
    /// when there is enough to flush: it is for those who want the log empty, say before they copy the directory or measure it.
    /// For durability alone [`sync`](Db::sync) is cheaper.
    pub fn flush(&self) -> Result<()> {
        self.0.core().flush_all()
    }

    /// Flushes, and merges all tables with keys in `range` to one run: what was overwritten or deleted there is gone afterwards, but for what live
    /// snapshots see. The worker does what is needed by itself; this does all of it at once, and waits.
    pub fn compact<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<()> {
        let bounds = Bounds::of(range);
        self.0.core().compact(bounds.start, bounds.stop)
    }

    /// What the store has done and what it holds. All zeros in a forked child, which must open the store itself.
    pub fn stats(&self) -> Stats {
        self.0.core().stats()
    }

    /// Reads every live byte of every file and checks it. The first damage is the error, with file and offset;
    /// [`repair`](crate::repair()) writes what is good to a new store.
    pub fn verify(&self) -> Result<Verified> {
        self.0.core().verify()
    }

    /// Interrupts the calls that run on this store now and take long: [`verify`](Db::verify), [`compact`](Db::compact),
    /// [`flush`](Db::flush), and writes that wait for a flush. They answer [`Interrupted`](crate::ErrorKind::Interrupted) as soon as they notice, and
    /// such a write was not done; what a merge has done by then stays done. What does not wait, and what begins later, is not
    /// concerned: an interrupt that meets nothing does nothing. For Ctrl-C and cancel buttons: call it from another thread.
    ///
    /// ```
    /// # let db = kvs::Db::in_memory(Default::default())?;
    /// let other = db.clone();
    /// let checking = std::thread::spawn(move || other.verify());
    /// db.interrupt();
    /// match checking.join().unwrap() {
    ///     Ok(seen) => println!("all of {} bytes are good", seen.bytes),
    ///     Err(error) => assert_eq!(error.kind(), kvs::ErrorKind::Interrupted),
    /// }
    /// # Ok::<(), kvs::Error>(())
    /// ```
    pub fn interrupt(&self) {
        self.0.core().interrupt();
    }

    /// Closes the store: makes everything durable, stops the worker, unlocks the directory. Later calls on it, its clones, snapshots and
    /// iterators answer [`Closed`](crate::ErrorKind::Closed); another close does nothing.
    ///
    /// # Errors
    ///
    /// The first thing that went wrong; the store is closed and unlocked all the same.
    pub fn close(&self) -> Result<()> {
        self.0.core().close()
    }

    /// Its directory; `None` in memory.
    pub fn path(&self) -> Option<&Path> {
        let core = self.0.core();
        (!core.env.is_volatile()).then_some(&*core.dir)
    }

    /// As it was opened.
    pub fn options(&self) -> &Options {
        &self.0.core().options
    }

    /// One turn of the worker, in environments that run no threads.
    #[doc(hidden)]
    pub fn step_worker(&self) {
        self.0.core().work();
    }
}

/// The store as it was at one moment.
///
/// Cheap to make and to clone: a registered sequence number. It keeps the store open and merges from
/// dropping what it sees; [`Stats::oldest_snapshot_seq`] tells of forgotten ones.
///
/// ```
/// # let db = kvs::Db::in_memory(Default::default())?;
/// db.put("k", "old")?;
/// let before = db.snapshot()?;
/// db.put("k", "new")?;
/// assert_eq!(before.get("k")?.unwrap(), b"old");
/// # Ok::<(), kvs::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Registered>);

impl Snapshot {
    /// The number of the last write that it sees.
    pub fn sequence(&self) -> u64 {
        self.0.seq()
    }

    /// As [`Db::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        get(self.0.handle(), key.as_ref(), Some(self.0.seq()))
    }

    /// As [`Db::get_into`].
    pub fn get_into(&self, key: impl AsRef<[u8]>, buffer: &mut Vec<u8>) -> Result<bool> {
        get_into(self.0.handle(), key.as_ref(), buffer, Some(self.0.seq()))
    }

    /// As [`Db::get_with`].
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.0.handle().core().get(key.as_ref(), Some(self.0.seq()), |located| look(located.value()))
    }

    /// As `get_with`, for bindings that have pinned the epoch to get here, in the process that opened the store.
    #[doc(hidden)]
    #[inline(always)]
    pub fn get_with_within<R>(&self, pinned: &Pinned, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        let core = self.0.handle().core();
        core.get_within(pinned.guard(), key, Some(self.0.seq()), |located| look(located.value()))
    }

    /// As `get`, for bindings that have pinned the epoch to get here, in the process that opened the store.
    #[doc(hidden)]
    pub fn get_within(&self, pinned: &Pinned, key: &[u8]) -> Result<Option<Value>> {
        self.0.handle().core().get_pinned_within(pinned.guard(), key, Some(self.0.seq()))
    }

    /// As [`Db::get_owned`].
    pub fn get_owned(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        self.0.handle().core().get(key.as_ref(), Some(self.0.seq()), |located| located.value().to_vec())
    }

    /// As [`Db::get_many`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        get_many(self.0.handle(), keys, Some(self.0.seq()))
    }

    /// As [`Db::contains`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.0.handle().core().get(key.as_ref(), Some(self.0.seq()), |_| ())?.is_some())
    }

    /// As [`Db::iter`].
    pub fn iter(&self) -> Result<Iter> {
        Iter::new(self.0.handle(), Some(Arc::clone(&self.0)), None, None)
    }

    /// As [`Db::range`].
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Iter> {
        let bounds = Bounds::of(range);
        Iter::new(self.0.handle(), Some(Arc::clone(&self.0)), bounds.start(), bounds.stop())
    }

    /// As [`Db::prefix`].
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Iter> {
        let bounds = Bounds::with_prefix(prefix.as_ref());
        Iter::new(self.0.handle(), Some(Arc::clone(&self.0)), bounds.start(), bounds.stop())
    }
}

fn get(handle: &Handle, key: &[u8], snapshot: Option<u64>) -> Result<Option<Value>> {
    handle.core().get_pinned(key, snapshot)
}

fn get_into(handle: &Handle, key: &[u8], buffer: &mut Vec<u8>, snapshot: Option<u64>) -> Result<bool> {
    buffer.clear();
    Ok(handle.core().get(key, snapshot, |located| buffer.extend_from_slice(located.value()))?.is_some())
}

fn get_many<K: AsRef<[u8]>>(handle: &Handle, keys: &[K], snapshot: Option<u64>) -> Result<Vec<Option<Value>>> {
    handle.core().get_many(keys, snapshot)
}
