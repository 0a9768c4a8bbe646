//! The environment: the only door to files, clocks and threads.
//!
//! The engine sees the world through [`Env`]. Four implementations:
//!
//! * [`OsEnv`](os::OsEnv): the operating system.
//! * [`MemoryEnv`](memory::MemoryEnv): files in memory that are gone with it; threads and clock of the operating system.
//! * [`SimEnv`](sim::SimEnv): a disk in memory that forgets, tears and reorders whatever was not synced when
//!   the power is cut, stores into mapped segments included, and steps the worker instead of running it.
//! * [`FaultEnv`](fault::FaultEnv): wraps another one and fails its n-th call, once or for ever.
//!
//! Rules of the trait
//!
//! 1. Every method may be called from any thread.
//! 2. Errors carry the operation and the path ([`Error::io`](crate::Error::io)); no method panics or retries a failed sync.
//! 3. Files are created with mode 0600 and opened without following a final symbolic link; anything but a
//!    regular file is refused.
//! 4. Nothing is durable before [`sync`](SegmentFile::sync) of its file returned, and no directory entry (created, renamed or
//!    removed) before [`Env::sync_dir`] of its directory returned.
//! 5. No published byte of a file is ever changed while anybody can read it.

pub mod ahead;
pub mod fault;
pub mod memory;
pub mod os;
pub mod sim;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Arc, AtomicPtr, Ordering};

/// How a log segment's memory relates to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// The file itself is mapped, shared: a store into the memory survives the death of the process.
    /// Only where the file system reserves every block beforehand, or a full disk would be a fatal signal.
    Mapped,
    /// Anonymous memory; [`SegmentFile::write`] copies it into the file by positioned writes.
    Positioned,
}

/// Who else may hold the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// One writer and nobody else.
    Exclusive,
    /// Any number of read-only opens, no writer.
    Shared,
}

/// Sees every store into a [`Memory`], in program order, before the next one is made.
pub trait StoreObserver: fmt::Debug + Send + Sync {
    /// `bytes` now stand at `offset`.
    fn stored(&self, offset: usize, bytes: &[u8]);
}

/// Memory that stands still, reached by raw pointer only: no reference to it exists but those that
/// `log/segment.rs` and `files.rs` form over bytes that no one will write again.
pub struct Memory {
    /// The first byte; never changed, hence Relaxed.
    base: AtomicPtr<u8>,
    len: usize,
    /// What `base` points into.
    owner: Owner,
    observer: Option<Arc<dyn StoreObserver>>,
}

/// Who frees a [`Memory`].
enum Owner {
    Map(MmapRaw),
    SharedMap(Arc<MmapRaw>),
    Bytes(#[expect(dead_code, reason = "held, and reached through `base`")] Arc<Vec<u8>>),
}

impl Memory {
    /// Memory that a file backs, or that holds a copy of one.
    pub fn mapped(map: MmapRaw) -> Memory {
        Memory::owned(map.as_mut_ptr(), map.len(), Owner::Map(map))
    }

    /// A mapping that others hold too; the last one unmaps it.
    pub fn shared(map: Arc<MmapRaw>) -> Memory {
        Memory::owned(map.as_mut_ptr(), map.len(), Owner::SharedMap(map))
    }

    /// Bytes that others may read too: nobody may store into this memory.
    pub fn bytes(bytes: Arc<Vec<u8>>) -> Memory {
        Memory::owned(bytes.as_ptr().cast_mut(), bytes.len(), Owner::Bytes(bytes))
    }

    /// `owner` keeps `len` bytes at `base` where they are, for as long as it lives and wherever it is moved.
    fn owned(base: *mut u8, len: usize, owner: Owner) -> Memory {
        Memory { base: AtomicPtr::new(base), len, owner, observer: None }
    }

    /// Zeroed memory that no file backs.
    pub fn anonymous(len: usize) -> Result<Memory> {
        let map = MmapOptions::new()
            .len(len)
            .map_anon()
            .map_err(|e| Error::io(&format!("map {len} bytes of memory"), Path::new("(memory)"), e))?;
        Ok(Memory::mapped(MmapRaw::from(map)))
    }

    /// The same memory, with every store reported to `observer`.
    pub fn observed(self, observer: Arc<dyn StoreObserver>) -> Memory {
        Memory { observer: Some(observer), ..self }
    }

    /// The first byte; valid for [`len`](Memory::len) bytes as long as `self` lives.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.base.load(Ordering::Relaxed)
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is there not a single byte?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whoever wants to see every store.
    pub fn observer(&self) -> Option<&dyn StoreObserver> {
        self.observer.as_deref()
    }

    /// Asks for huge pages, as far as whole ones fit.
    pub fn prefer_huge_pages(&self) {
        self.advise(Advice::HugePage);
    }

    /// What is read of it next may be anywhere: where a page is missing, that page is read and not those around it.
    pub fn expect_random_reads(&self) {
        self.advise(Advice::Random);
    }

    /// These bytes will be read soon, as far as there are such: they are read in the background if they are not there.
    pub fn will_need(&self, from: u64, len: u64) {
        let size = self.len as u64;
        let (from, end) = (from.min(size) as usize, from.saturating_add(len).min(size) as usize);
        let _ = match &self.owner {
            Owner::Map(map) => map.advise_range(Advice::WillNeed, from, end - from),
            Owner::SharedMap(map) => map.advise_range(Advice::WillNeed, from, end - from),
            Owner::Bytes(_) => Ok(()),
        };
    }

    /// Tells the kernel how it will be used. What the kernel does not know or refuses is not done, and bytes of the
    /// heap take no advice.
    pub fn advise(&self, advice: Advice) {
        let _ = match &self.owner {
            Owner::Map(map) => map.advise(advice),
            Owner::SharedMap(map) => map.advise(advice),
            Owner::Bytes(_) => Ok(()),
        };
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.len())
    }
}

/// A length that can be mapped, as the machine's own integer.
fn memory_size(path: &Path, len: u64) -> Result<usize> {
    match usize::try_from(len) {
        Ok(0) => Err(Error::on(ErrorKind::InvalidArgument, path, "an empty file cannot be mapped")),
        Ok(size) if isize::try_from(size).is_ok() => Ok(size),
        _ => Err(Error::on(ErrorKind::TooLarge, path, format!("{len} bytes are more than this machine can map"))),
    }
}

/// A read that reaches beyond the end of its file.
fn ends_before(path: &Path, offset: u64, wanted: usize, len: u64) -> Error {
    Error::corruption(path, offset, format!("{wanted} bytes wanted, but the file ends at {len}"))
}

/// The file behind one log segment. A created one keeps its one descriptor open for life, so that no
/// write-back error is missed.
pub trait SegmentFile: fmt::Debug + Send + Sync {
    /// The segment's memory, of the file's length. Read-only for a segment that was opened, not created.
    fn memory(&self) -> &Memory;

    /// Which relation memory and file have.
    fn kind(&self) -> SegmentKind;

    /// Puts `bytes`, which stand at `offset` of the memory, into the file. Nothing to do when mapped.
    /// After an error a part of them may be in the file, and writing them again is allowed.
    /// An error for a segment that was opened and not created.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Makes everything written or stored so far durable (fdatasync). Never retried after an error.
    /// An error for a segment that was opened and not created: see [`Env::sync_file`].
    fn sync(&self) -> Result<()>;

    /// May the memory be filled again, once nobody reads it any more? A created segment that is mapped, so that what is stored is in the
    /// file; and that has one name only: another one is somebody's copy.
    fn can_be_refilled(&self) -> bool;

    /// The file has this name now: for errors.
    fn renamed(&mut self, path: &Path);

    /// Cuts the file to `len` bytes: only ever bytes that were not published, at close. The memory stays,
    /// but what lies beyond `len` must not be touched any more. An error for a segment that was opened and not created.
    fn trim(&self, len: u64) -> Result<()>;
}

/// A file that grows at its end: the manifest.
pub trait AppendFile: fmt::Debug + Send + Sync {
    /// Appends all of `bytes`. An error leaves the file's contents as they were or, if that is not possible, the handle
    /// broken: then every later append fails too, and the file must be replaced. After a power cut
    /// a part of `bytes` may stand at the end either way.
    fn append(&self, bytes: &[u8]) -> Result<()>;
    /// What was appended is all of it: cuts off what the file held behind that. Nothing to do unless it is written over.
    fn end(&self) -> Result<()>;
    /// fdatasync. Never retried after an error.
    fn sync(&self) -> Result<()>;
}

/// A file that is read at positions.
pub trait ReadFile: fmt::Debug + Send + Sync {
    /// Its length when it was opened, in bytes.
    fn len(&self) -> u64;
    /// Is there nothing in it?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills all of `buffer` from `offset`; an error if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Maps the whole file, read-only. Not for an empty file.
    fn map(&self) -> Result<Memory>;
}

/// A held directory lock; dropping it unlocks.
pub trait DirLock: fmt::Debug + Send + Sync {}

/// What became of a thread that was asked for.
#[derive(Debug)]
pub enum Spawned {
    /// It runs; join it before the handle goes.
    Thread(std::thread::JoinHandle<()>),
    /// This environment runs no threads: the test steps the worker by hand.
    Stepped,
}

/// Files, clock and threads. See the [module](self) for the rules.
pub trait Env: fmt::Debug + Send + Sync + 'static {
    /// Makes one directory, mode 0700, and makes its entry durable; fine if it is there already.
    fn create_dir(&self, dir: &Path) -> Result<()>;
    /// The names in a directory, in no order.
    fn list_dir(&self, dir: &Path) -> Result<Vec<OsString>>;
    /// The one path of what is at `path`, which must be there: absolute and without symbolic links, where there are such things.
    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        Ok(path.to_owned())
    }
    /// Makes the directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// Renames within a directory, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file's name.
    fn unlink(&self, path: &Path) -> Result<()>;
    /// Bytes that an unprivileged writer may still use on the directory's file system.
    fn free_space(&self, dir: &Path) -> Result<u64>;
    /// Takes the lock in the file `path` (created if missing and the medium allows), at once or with
    /// [`ErrorKind::Locked`] that names the holder's pid and the path. One process at a time
    /// by the operating system's lock, one open per process by a registry.
    fn lock(&self, path: &Path, mode: LockMode) -> Result<Box<dyn DirLock>>;

    /// Creates a file that must not exist.
    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>>;
    /// Gives the existing file `from` the name `to`, which must be free, and opens it to be written over from its beginning: its
    /// blocks, and its pages in memory, are there already. What stands behind what is appended stays there until [`AppendFile::end`].
    /// `Ok(None)` if that is no gain here, or if the file has another name, which is somebody's copy; then `from` may be gone.
    fn create_over(&self, from: &Path, to: &Path) -> Result<Option<Box<dyn AppendFile>>>;
    /// Opens an existing file to append at `len`, which must be its length.
    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>>;
    /// Opens an existing file to read. `Ok(None)` if there is none.
    fn open_read(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>>;
    /// Which kind of segment is safe and fast in `dir`.
    fn preferred_segment(&self, dir: &Path) -> Result<SegmentKind>;
    /// Creates a segment of `len` zero bytes, every block reserved: a full disk is an error here and nowhere later.
    /// On an error no file stays behind. (Where the file system cannot reserve blocks, which only a positioned
    /// segment accepts, a full disk may show in [`SegmentFile::write`].)
    fn create_segment(&self, path: &Path, len: u64, kind: SegmentKind) -> Result<Box<dyn SegmentFile>>;
    /// Opens an existing, non-empty segment to read it. Positioned: its bytes are copied into memory. Holds no descriptor: a store
    /// may have more segments than a process may have open files.
    fn open_segment(&self, path: &Path, kind: SegmentKind) -> Result<Box<dyn SegmentFile>>;

    /// Creates a file of `len` bytes that nobody will read and that keeps so much room for when it is removed. On an error no file stays
    /// behind, unless it was there already.
    fn reserve(&self, path: &Path, len: u64) -> Result<()> {
        static PIECE: [u8; 64 << 10] = [0; 64 << 10];
        let file = self.create(path)?;
        let mut left = len;
        while left > 0 {
            let piece = left.min(PIECE.len() as u64);
            if let Err(failure) = file.append(&PIECE[..piece as usize]) {
                drop(file);
                // The first error is the one to tell.
                let _ = self.unlink(path);
                return Err(failure);
            }
            left -= piece;
        }
        Ok(())
    }

    /// Makes an existing file, which nobody writes, durable (fdatasync). Never retried after an error.
    fn sync_file(&self, path: &Path) -> Result<()>;

    /// Touches every page of `memory` so that no later store faults; advice, and free to do nothing.
    fn populate(&self, memory: &Memory);

    /// Sixty-four bits that nobody else is likely to have drawn: identities and hash seeds.
    fn random(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        // The standard library seeds its hash maps from the operating system's randomness; this is one such seed, hashed.
        std::hash::RandomState::new().build_hasher().finish()
    }

    /// Are its files gone with the environment, or at the latest with the process? Then a segment's memory is its file: there
    /// is nothing else to read, and [`ReadFile::read_at`] of a segment may be refused.
    fn is_volatile(&self) -> bool {
        false
    }

    /// How many times this process was made by a fork of a process that had used this environment, as far as it can tell.
    fn fork_generation(&self) -> u64 {
        0
    }

    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
    /// Starts a thread that has all signals blocked, or says that the test steps it.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Spawned>;
}
