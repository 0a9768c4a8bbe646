//! The operating system (Linux) as an [`Env`].
//!
//! What is done here once, so that nothing above has to think of it:
//!
//! 1. Opening (`os/files.rs`, as are 2 to 4). Every descriptor is close-on-exec. A final symbolic link is refused (`O_NOFOLLOW`), and so is
//!    anything but a regular file: opened with `O_NONBLOCK`, so that a FIFO cannot hang us, and judged by
//!    `fstat` of the descriptor, so that no name can be swapped in between.
//! 2. Short results and `EINTR`. Reads and writes go on until all is done; an interrupted call is made again.
//!    An error of fdatasync is handed on and never tried again: after one the kernel may have dropped the
//!    dirty pages and would answer the second call with a lie.
//! 3. Segments. `fallocate` reserves every block before the first store, since a store into a hole on a full
//!    disk is a fatal signal and not an error. Nothing is ever zeroed by writing: large writes leave large
//!    folios in the page cache, and each later fdatasync of a few bytes then writes them whole.
//! 4. Memory is held as a raw map. A created segment is neither inherited by `fork` (copy-on-write
//!    faults in the parent, and a child that could scribble into the log) nor written into core dumps.
//!    A file that grows by many megabytes is synced while it grows: see `os/behind.rs`.
//! 5. The lock: see `os/lock.rs`.
//! 6. Forks are counted by a handler that runs in every child. Threads and the owners of locks do not survive a fork, so a
//!    store that came through one is refused before it touches a lock.
//! 7. Threads run no handler of the program that embeds us: see `os/threads.rs`.

mod behind;
mod files;
mod lock;
#[cfg(test)]
pub(super) mod tests;
mod threads;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memmap2::Advice;
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::files::{OsAppend, OsRead, OsSegment, failed, fsync_dir, parent, retry};
use crate::env::{AppendFile, DirLock, Env, LockMode, Memory, ReadFile, SegmentFile, SegmentKind, Spawned};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Arc, AtomicU8, OnceLock, Ordering, forks};

/// `statfs` magic of ext2, ext3 and ext4, which share one.
const EXT_MAGIC: u64 = 0xEF53;
/// `statfs` magic of tmpfs.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// The operating system. Holds nothing: all values of this type are the same environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEnv;

impl OsEnv {
    /// The operating system, ready to be handed to a store.
    pub fn shared() -> Arc<dyn Env> {
        Arc::new(OsEnv)
    }
}

impl Env for OsEnv {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        match retry(|| rustix::fs::mkdir(dir, Mode::from_raw_mode(0o700))) {
            Ok(()) => self.sync_dir(parent(dir)),
            Err(Errno::EXIST) => {
                let stat = rustix::fs::stat(dir).map_err(|e| failed("look at the directory", dir, e))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    return Err(Error::on(
                        ErrorKind::NotADatabase,
                        dir,
                        "is not a directory: a store needs a directory of its own, name another path",
                    ));
                }
                // Whoever made it may have died before its entry was durable, so it is synced again.
                // Where we may not even open the parent it was not us who made it.
                match fsync_dir(parent(dir)) {
                    Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Ok(()),
                    result => result.map_err(|e| failed("sync the directory", parent(dir), e)),
                }
            }
            Err(e) => Err(failed("create the directory", dir, e)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the environment")]
    fn list_dir(&self, dir: &Path) -> Result<Vec<OsString>> {
        let list = || std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
        list().map_err(|e| Error::io("list the directory", dir, e))
    }

    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        std::fs::canonicalize(path).map_err(|e| Error::io("follow the path", path, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        fsync_dir(dir).map_err(|e| failed("sync the directory", dir, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        retry(|| rustix::fs::rename(from, to)).map_err(|e| failed(&format!("rename to {}", to.display()), from, e))
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        retry(|| rustix::fs::unlink(path)).map_err(|e| failed("remove the file", path, e))
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        let stat = retry(|| rustix::fs::statvfs(dir)).map_err(|e| failed("ask for the free space", dir, e))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path, mode: LockMode) -> Result<Box<dyn DirLock>> {
        Ok(Box::new(lock::OsLock::take(path, mode)?))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>> {
        Ok(Box::new(OsAppend::create(path)?))
    }

    fn create_over(&self, from: &Path, to: &Path) -> Result<Option<Box<dyn AppendFile>>> {
        Ok(OsAppend::create_over(from, to)?.map(|file| Box::new(file) as Box<dyn AppendFile>))
    }

    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>> {
        Ok(Box::new(OsAppend::open(path, len)?))
    }

    fn open_read(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>> {
        Ok(OsRead::open(path)?.map(|file| Box::new(file) as Box<dyn ReadFile>))
    }

    /// Mapped only on ext4 and tmpfs, which keep the blocks that `fallocate` reserved for the file. File systems
    /// that copy on write (btrfs, bcachefs, ZFS, XFS with reflinks), stacked ones (overlay) and
    /// those over a network or FUSE may need a new block for a store long after that, and a store that finds
    /// none is SIGBUS. ext2 and ext3 have the magic of ext4 but no `fallocate`: hence the trial.
    fn preferred_segment(&self, dir: &Path) -> Result<SegmentKind> {
        let stat = retry(|| rustix::fs::statfs(dir)).map_err(|e| failed("ask for the kind of file system", dir, e))?;
        let magic = stat.f_type as u64 & 0xFFFF_FFFF;
        if magic != EXT_MAGIC && magic != TMPFS_MAGIC {
            return Ok(SegmentKind::Positioned);
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let Ok(trial) = retry(|| rustix::fs::open(dir, flags, Mode::from_raw_mode(0o600))) else {
            // A medium that cannot be written (or a disk with no inode left): only reading matters, and that is safe.
            return Ok(SegmentKind::Mapped);
        };
        match retry(|| rustix::fs::fallocate(&trial, FallocateFlags::empty(), 0, 4096)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(SegmentKind::Positioned),
            _ => Ok(SegmentKind::Mapped),
        }
    }

    /// A positioned segment on a file system without `fallocate` (NFS before 4.2, ext3) has no blocks
    /// reserved: there, and only there, a full disk shows in [`SegmentFile::write`].
    fn create_segment(&self, path: &Path, len: u64, kind: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        Ok(Box::new(OsSegment::create(path, len, kind)?))
    }

    /// By `fallocate`, or, on a file system without, by writing.
    fn reserve(&self, path: &Path, len: u64) -> Result<()> {
        files::reserve(path, len)
    }

    /// [`SegmentFile::write`] and [`SegmentFile::trim`] of an opened segment are errors, its memory is read-only.
    fn open_segment(&self, path: &Path, kind: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        Ok(Box::new(OsSegment::open(path, kind)?))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        files::sync_file(path)
    }

    fn populate(&self, memory: &Memory) {
        // Linux before 5.14 does not know it, and a full memory cgroup refuses it: then the stores fault one by one.
        memory.advise(Advice::PopulateWrite);
    }

    fn fork_generation(&self) -> u64 {
        if count_forks() {
            forks::generation()
        } else {
            // A system call each time, but right: a child has another pid.
            u64::from(std::process::id())
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the environment")]
    fn now(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Spawned> {
        threads::spawn(name, body)
            .map(Spawned::Thread)
            .map_err(|e| Error::io(&format!("start the thread {name}"), Path::new("(thread)"), e))
    }
}

extern "C" fn in_child() {
    forks::note();
}

/// Registers the handler, at the first call; false if there was no memory for that, and then for good: what a store remembers of a process is
/// either kind of number. Threads that come at the same moment each register it: a fork then counts by more than one, which is as good. Not
/// a `OnceLock`: a fork beside the first call would leave the child with one that somebody is initialising for ever.
#[inline]
fn count_forks() -> bool {
    // Acquire pairs with the AcqRel in `watch_forks`: whoever sees it has the handler.
    match COUNTED.load(Ordering::Acquire) {
        NOT_ASKED => watch_forks(),
        counted => counted == YES,
    }
}

static COUNTED: AtomicU8 = AtomicU8::new(NOT_ASKED);
const NOT_ASKED: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

#[cold]
#[expect(unsafe_code, reason = "neither std nor rustix can watch for forks")]
fn watch_forks() -> bool {
    // SAFETY: `in_child` is an `extern "C"` function without parameters, as is asked for, and the two others may be
    // absent. It runs in a child between `fork` and its return, where only async-signal-safe things are allowed: it adds to a
    // lock-free atomic that lives as long as the program, and can't unwind. If this code is in a shared library that is unloaded, the
    // C library takes the handlers of that library off its list first.
    let watched = unsafe { libc::pthread_atfork(None, None, Some(in_child)) } == 0;
    let counted = if watched { YES } else { NO };
    match COUNTED.compare_exchange(NOT_ASKED, counted, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => watched,
        // Another thread's answer came first, and counts.
        Err(first) => first == YES,
    }
}
