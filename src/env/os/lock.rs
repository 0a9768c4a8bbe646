//! One writer or many readers: the lock on a store's directory.
//!
//! Two locks are held together, for neither is enough alone.
//!
//! * `flock` on the file `LOCK` keeps other processes out. The kernel drops it when the process dies, however
//!   it dies.
//! * A registry in this process, keyed by the file's (device, inode), keeps a second open in the same process
//!   out and names the culprit: "this process has it". (NFS makes `flock` a lock of the process, which would let it in.) Two paths to one directory meet in the key.
//!
//! Taking: 1. open `LOCK`, creating it if need be; 2. under the registry's mutex look for a holder in this process;
//! 3. `flock` without waiting; 4. an exclusive holder writes its pid into the file, for the error message of whoever
//! comes next and for nothing else; 5. register.
//!
//! Dropping: 1. the pid is removed; 2. `LOCK_UN`; 3. out of the registry, still under its mutex: between 2 and 3 another
//! process may have taken the lock, and a thread of ours then gets the error that names it.
//!
//! Fork. A child shares the open file description and with it the `flock`; were it to say `LOCK_UN`, it would unlock its
//! parent's store. So a lock remembers its pid, and in any other process its drop only closes the descriptor. The child
//! has a registry of its own, so that it is told of its parent and waits for none of its threads; entries carry the pid, too, for a fork of
//! which no handler knew.
//! A child that lives on without `exec` keeps the description, hence the lock, after its parent died
//! without closing the store.
//!
//! A shared lock on a medium that cannot be written (EROFS), where there is no `LOCK` file, is granted without one:
//! nobody can write there. `LOCK` is never removed: two processes could then hold locks on two files of that name.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::files::{failed, not_regular, retry, write_all};
use crate::env::{DirLock, LockMode};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;
use crate::sync::forks::PerLife;

/// Of each life of the process: a child must not wait for a thread of its parent, and what that held is not the child's.
static REGISTRY: PerLife<Mutex<Vec<Held>>> = PerLife::new();

/// A lock that this process holds.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Held {
    dev: u64,
    inode: u64,
    pid: u32,
    mode: LockMode,
}

/// A held lock.
#[derive(Debug)]
pub(super) struct OsLock {
    /// Nothing on a medium that cannot be written and has no lock file.
    pub(super) file: Option<OwnedFd>,
    dev: u64,
    inode: u64,
    pid: u32,
    mode: LockMode,
}

impl DirLock for OsLock {}

impl OsLock {
    /// Takes the lock at once or not at all.
    pub(super) fn take(path: &Path, mode: LockMode) -> Result<OsLock> {
        let pid = std::process::id();
        let Some(file) = open_lock_file(path, mode)? else {
            return Ok(OsLock { file: None, dev: 0, inode: 0, pid, mode });
        };
        let stat = retry(|| rustix::fs::fstat(&file)).map_err(|e| failed("look at the lock file", path, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(not_regular(path));
        }
        let held = Held { dev: stat.st_dev as u64, inode: stat.st_ino as u64, pid, mode };

        let mut registry = REGISTRY.get().lock();
        // What a parent held before it forked us is not ours.
        registry.retain(|other| other.pid == pid);
        let conflicts = |other: &Held| {
            (other.dev, other.inode) == (held.dev, held.inode)
                && (other.mode == LockMode::Exclusive || mode == LockMode::Exclusive)
        };
        if registry.iter().any(conflicts) {
            return Err(Error::on(
                ErrorKind::Locked,
                path,
                format!("this process (pid {pid}) has the store open already: use that handle, or close it first"),
            ));
        }
        let operation = match mode {
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
        };
        match retry(|| rustix::fs::flock(&file, operation)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(held_elsewhere(path, &file, mode)),
            Err(e) => return Err(failed("lock the file", path, e)),
        }
        if mode == LockMode::Exclusive {
            // Only for messages: a disk that is full must not keep a store from being opened.
            let text = format!("{pid}\n");
            let _ = write_all(&file, text.as_bytes(), 0);
            let _ = retry(|| rustix::fs::ftruncate(&file, text.len() as u64));
        }
        registry.push(held);
        Ok(OsLock { file: Some(file), dev: held.dev, inode: held.inode, pid, mode })
    }
}

impl Drop for OsLock {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        if std::process::id() != self.pid {
            return;
        }
        let held = Held { dev: self.dev, inode: self.inode, pid: self.pid, mode: self.mode };
        let mut registry = REGISTRY.get().lock();
        if self.mode == LockMode::Exclusive {
            let _ = retry(|| rustix::fs::ftruncate(file, 0));
        }
        // Closing would do, but for a forked child that still has the description.
        let _ = retry(|| rustix::fs::flock(file, FlockOperation::Unlock));
        if let Some(index) = registry.iter().position(|other| *other == held) {
            registry.swap_remove(index);
        }
    }
}

/// The lock file, created if it is missing; `None` if it is missing on a read-only medium and only shared access is wanted.
fn open_lock_file(path: &Path, mode: LockMode) -> Result<Option<OwnedFd>> {
    let common = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let writing =
        match retry(|| rustix::fs::open(path, common | OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(0o600))) {
            Ok(file) => return Ok(Some(file)),
            Err(Errno::LOOP) => {
                let message = "is a symbolic link, which is not followed: remove it, it is made anew";
                return Err(Error::on(ErrorKind::NotADatabase, path, message));
            }
            Err(Errno::NXIO | Errno::NODEV | Errno::ISDIR) => return Err(not_regular(path)),
            Err(e) => e,
        };
    if mode == LockMode::Exclusive || !matches!(writing, Errno::ROFS | Errno::ACCESS | Errno::PERM) {
        return Err(failed("open the lock file to write", path, writing));
    }
    match retry(|| rustix::fs::open(path, common | OFlags::RDONLY, Mode::empty())) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) if writing == Errno::ROFS => Ok(None),
        Err(Errno::NOENT) => Err(Error::on(
            ErrorKind::Io,
            path,
            "there is no lock file, and this user may not create one: create it, empty and readable, as a user who may",
        )),
        Err(e) => Err(failed("open the lock file", path, e)),
    }
}

/// Who has it? The pid in the file is the writer's, if there is one; beside readers it may be that of a writer that died.
fn held_elsewhere(path: &Path, file: &OwnedFd, wanted: LockMode) -> Error {
    // If a shared lock is to be had, only readers are in the way. It may turn away another writer for
    // a moment, who would have been turned away by those readers anyhow; closing the file drops it.
    let only_readers = wanted == LockMode::Exclusive
        && retry(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockShared)).is_ok();
    let message = if only_readers {
        "another process has the store open read-only, and a writer is alone: close it there first".to_owned()
    } else {
        let own = std::process::id();
        let holder = match writer_pid(file) {
            Some(pid) if pid == own => format!("another copy of kvs in this process (pid {pid})"),
            Some(pid) => format!("process {pid}"),
            None => "another process".to_owned(),
        };
        format!("{holder} has the store open to write: close it there first (read-only, too, needs the writer gone)")
    };
    Error::on(ErrorKind::Locked, path, message)
}

fn writer_pid(file: &OwnedFd) -> Option<u32> {
    let mut buffer = [0; 16];
    let read = retry(|| rustix::io::pread(file, &mut buffer[..], 0)).ok()?;
    std::str::from_utf8(&buffer[..read]).ok()?.strip_suffix('\n')?.parse().ok()
}
