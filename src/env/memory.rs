//! Files in memory, as an [`Env`]: what a store in memory lies on.
//!
//! One flat set of files. A path counts by its last part only, compared as bytes, and every directory exists. Nothing is on
//! disk and no descriptor is held; the files are gone with the environment and with whoever still holds them. Clock,
//! threads and forks are those of [`OsEnv`].
//!
//! 1. A segment is anonymous memory, and its memory is its file: `write`, `sync` and `trim` have nothing to do, whatever kind was asked
//!    for. Whoever opens it shares the mapping. Its bytes are reached through that memory and in no other way: only the log knows
//!    which of them are being written, so [`ReadFile::read_at`] of a segment is refused.
//! 2. An appended file is one buffer of the heap, which grows by doubling. Opening it, in whichever way, shares the buffer and copies
//!    nothing, so that 64 MiB appended in pieces cost what the allocator's growth costs: glibc moves the pages of large blocks and
//!    copies none; another allocator copies each byte about once. Room that is not used was never touched.
//! 3. Who opened a file keeps it as it was. So an append beside an open reader first copies the whole file: right for a
//!    manifest, wrong for a file that is read while it grows.
//! 4. A file lives on without its name for as long as something holds it.
//! 5. The lock is real, though a store in memory finds it free: two stores that write one set of files would store into each
//!    other's segments.
//!
//! ```
//! use kvs::{Db, Options, env::memory::MemoryEnv};
//!
//! let env = MemoryEnv::shared();
//! Db::open_with(env.clone(), "anywhere", Options::default())?.put("k", "v")?;
//! // Closed, and opened again: the files are still there.
//! assert_eq!(Db::open_with(env, "anywhere", Options::default())?.get("k")?.unwrap(), b"v");
//! # Ok::<(), kvs::Error>(())
//! ```

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use rustix::io::Errno;

use crate::env::os::OsEnv;
use crate::env::{
    AppendFile, DirLock, Env, LockMode, Memory, ReadFile, SegmentFile, SegmentKind, Spawned, ends_before, memory_size,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Arc, Mutex};

/// Files in memory. Each value of this type has its own.
pub struct MemoryEnv {
    files: Mutex<BTreeMap<OsString, File>>,
    /// How the lock is held, shared with everybody who holds it.
    lock: Mutex<Arc<LockMode>>,
}

impl Default for MemoryEnv {
    fn default() -> MemoryEnv {
        MemoryEnv::new()
    }
}

impl MemoryEnv {
    /// No file yet.
    pub fn new() -> MemoryEnv {
        MemoryEnv { files: Mutex::default(), lock: Mutex::new(Arc::new(LockMode::Shared)) }
    }

    /// No file yet, ready to be handed to a store.
    pub fn shared() -> Arc<dyn Env> {
        Arc::new(MemoryEnv::new())
    }

    /// Gives `bytes` a name that must be free.
    fn add(&self, path: &Path, bytes: Bytes) -> Result<File> {
        let name = name(path)?;
        let mut files = self.files.lock();
        if files.contains_key(name) {
            return Err(failed("create the file", path, Errno::EXIST));
        }
        let file = Arc::new(Mutex::new(bytes));
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn find(&self, path: &Path) -> Result<Option<File>> {
        Ok(self.files.lock().get(name(path)?).cloned())
    }

    fn existing(&self, operation: &str, path: &Path) -> Result<File> {
        self.find(path)?.ok_or_else(|| failed(operation, path, Errno::NOENT))
    }
}

impl fmt::Debug for MemoryEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryEnv({} files)", self.files.lock().len())
    }
}

/// What a name stands for.
type File = Arc<Mutex<Bytes>>;

/// What a file holds.
#[derive(Clone)]
enum Bytes {
    Segment(Arc<MmapRaw>),
    /// Changed only while nobody else holds it.
    Appended(Arc<Vec<u8>>),
}

impl Bytes {
    fn len(&self) -> usize {
        match self {
            Bytes::Segment(map) => map.len(),
            Bytes::Appended(bytes) => bytes.len(),
        }
    }

    /// The same bytes.
    fn memory(&self, path: &Path) -> Result<Memory> {
        memory_size(path, self.len() as u64)?;
        Ok(match self {
            Bytes::Segment(map) => Memory::shared(Arc::clone(map)),
            Bytes::Appended(bytes) => Memory::bytes(Arc::clone(bytes)),
        })
    }
}

impl Env for MemoryEnv {
    fn create_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn list_dir(&self, _: &Path) -> Result<Vec<OsString>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn sync_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (old, new) = (name(from)?, name(to)?);
        let mut files = self.files.lock();
        let Some(file) = files.remove(old) else {
            return Err(failed(&format!("rename to {}", to.display()), from, Errno::NOENT));
        };
        let replaced = files.insert(new.to_owned(), file);
        // Without the lock: to free a large file takes long.
        drop(files);
        drop(replaced);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        let removed = self.files.lock().remove(name(path)?);
        removed.map(drop).ok_or_else(|| failed("remove the file", path, Errno::NOENT))
    }

    /// What the system calls available; without end if it does not say. A limit of the process or its group is not looked at.
    #[expect(clippy::disallowed_methods, reason = "this is the environment")]
    fn free_space(&self, _: &Path) -> Result<u64> {
        let available = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
            line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
        };
        Ok(std::fs::read_to_string("/proc/meminfo").ok().and_then(available).unwrap_or(u64::MAX))
    }

    /// Makes no file.
    fn lock(&self, path: &Path, mode: LockMode) -> Result<Box<dyn DirLock>> {
        let mut held = self.lock.lock();
        if let Some(free) = Arc::get_mut(&mut held) {
            *free = mode;
        } else if mode == LockMode::Exclusive || **held == LockMode::Exclusive {
            let pid = std::process::id();
            let message = format!("this process (pid {pid}) has the store open already: use that handle");
            return Err(Error::on(ErrorKind::Locked, path, message));
        }
        Ok(Box::new(MemoryLock(Arc::clone(&held))))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>> {
        let file = self.add(path, Bytes::Appended(Arc::default()))?;
        Ok(Box::new(MemoryAppend { path: path.to_owned(), file }))
    }

    /// Never: memory that was freed is as good.
    fn create_over(&self, _from: &Path, _to: &Path) -> Result<Option<Box<dyn AppendFile>>> {
        Ok(None)
    }

    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>> {
        let file = self.existing("open the file", path)?;
        let found = file.lock().len() as u64;
        if found != len {
            let what = format!("the file is {found} bytes long and not {len}");
            return Err(Error::corruption(path, len.min(found), what));
        }
        Ok(Box::new(MemoryAppend { path: path.to_owned(), file }))
    }

    fn open_read(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>> {
        let Some(file) = self.find(path)? else { return Ok(None) };
        let bytes = file.lock().clone();
        Ok(Some(Box::new(MemoryRead { path: path.to_owned(), bytes })))
    }

    fn preferred_segment(&self, _: &Path) -> Result<SegmentKind> {
        Ok(SegmentKind::Mapped)
    }

    /// Mapped, whatever `kind` is.
    fn create_segment(&self, path: &Path, len: u64, _: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        let map = MmapOptions::new().len(memory_size(path, len)?).map_anon();
        let map = map.map_err(|e| Error::io(&format!("map {len} bytes of memory"), path, e))?;
        let bytes = Bytes::Segment(Arc::new(MmapRaw::from(map)));
        let memory = bytes.memory(path)?;
        self.add(path, bytes)?;
        Ok(Box::new(MemorySegment { path: path.to_owned(), memory, created: true }))
    }

    /// Mapped, whatever `kind` is.
    fn open_segment(&self, path: &Path, _: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        let memory = self.existing("open the segment", path)?.lock().memory(path)?;
        Ok(Box::new(MemorySegment { path: path.to_owned(), memory, created: false }))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        self.existing("sync the file", path).map(drop)
    }

    fn populate(&self, memory: &Memory) {
        OsEnv.populate(memory);
    }

    fn random(&self) -> u64 {
        OsEnv.random()
    }

    fn is_volatile(&self) -> bool {
        true
    }

    #[inline]
    fn fork_generation(&self) -> u64 {
        OsEnv.fork_generation()
    }

    fn now(&self) -> Duration {
        OsEnv.now()
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Spawned> {
        OsEnv.spawn(name, body)
    }
}

/// A file that grows.
#[derive(Debug)]
struct MemoryAppend {
    path: PathBuf,
    file: File,
}

impl AppendFile for MemoryAppend {
    fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut file = self.file.lock();
        let Bytes::Appended(whole) = &mut *file else {
            return Err(Error::on(ErrorKind::Internal, &self.path, "an append to a segment: please report this bug"));
        };
        let reserve = |buffer: &mut Vec<u8>, more: usize| {
            let message = || format!("no memory to append {} bytes", bytes.len());
            buffer.try_reserve(more).map_err(|_| Error::on(ErrorKind::NoMemory, &self.path, message()))
        };
        match Arc::get_mut(whole) {
            Some(alone) => {
                reserve(alone, bytes.len())?;
                alone.extend_from_slice(bytes);
            }
            // Somebody has it open, and what they have stays as it is.
            None => {
                let mut copy = Vec::new();
                reserve(&mut copy, whole.len().saturating_add(bytes.len()))?;
                copy.extend_from_slice(whole);
                copy.extend_from_slice(bytes);
                *whole = Arc::new(copy);
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

/// A file as it was when it was opened.
#[derive(Debug)]
struct MemoryRead {
    path: PathBuf,
    bytes: Bytes,
}

impl ReadFile for MemoryRead {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let Bytes::Appended(bytes) = &self.bytes else {
            let message = "a segment in memory is read through its memory only: please report this bug";
            return Err(Error::on(ErrorKind::Internal, &self.path, message));
        };
        let rest = usize::try_from(offset).ok().and_then(|from| bytes.get(from..)?.get(..buffer.len()));
        let wanted = buffer.len();
        buffer.copy_from_slice(rest.ok_or_else(|| ends_before(&self.path, offset, wanted, bytes.len() as u64))?);
        Ok(())
    }

    fn map(&self) -> Result<Memory> {
        self.bytes.memory(&self.path)
    }
}

/// A segment, created or opened; or an appended file, opened as one.
#[derive(Debug)]
struct MemorySegment {
    path: PathBuf,
    memory: Memory,
    created: bool,
}

impl MemorySegment {
    /// May `what` be done up to `end`?
    fn check(&self, what: &str, end: Option<u64>) -> Result<()> {
        if self.created && end.is_some_and(|end| end <= self.memory.len() as u64) {
            return Ok(());
        }
        let message =
            format!("{what} beyond the segment, or of one that was opened to be read: please report this bug");
        Err(Error::on(ErrorKind::Internal, &self.path, message))
    }
}

impl SegmentFile for MemorySegment {
    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn kind(&self) -> SegmentKind {
        SegmentKind::Mapped
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check("a write", offset.checked_add(bytes.len() as u64))
    }

    fn sync(&self) -> Result<()> {
        self.check("a sync", Some(0))
    }

    fn can_be_refilled(&self) -> bool {
        self.created
    }

    fn renamed(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    fn trim(&self, len: u64) -> Result<()> {
        self.check("a trim", Some(len))
    }
}

/// One who holds the lock.
#[derive(Debug)]
struct MemoryLock(#[expect(dead_code, reason = "that it is held is all that counts")] Arc<LockMode>);

impl DirLock for MemoryLock {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

/// The last part of a path.
fn name(path: &Path) -> Result<&OsStr> {
    path.file_name().ok_or_else(|| Error::on(ErrorKind::InvalidArgument, path, "names no file"))
}

fn failed(operation: &str, path: &Path, e: Errno) -> Error {
    Error::io(operation, path, e.into())
}
