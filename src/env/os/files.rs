//! Files, segments and their memory.
//!
//! Reads and writes go on until all is done, an interrupted call is made again, and an error of fdatasync is handed on:
//! see the rules in the header of `os.rs`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::behind::{Behind, STEP_BYTES};
use crate::env::{AppendFile, Memory, ReadFile, SegmentFile, SegmentKind, ends_before, memory_size};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Arc, Mutex};

/// A file that grows.
#[derive(Debug)]
pub(super) struct OsAppend {
    file: Arc<OwnedFd>,
    path: PathBuf,
    end: Mutex<End>,
}

/// Where the next byte goes.
#[derive(Debug)]
struct End {
    /// There may be more behind `len`, of what the file held before.
    is_over: bool,
    len: u64,
    /// Who syncs it while it grows, and where it ended when it was last asked to.
    behind: Option<Behind>,
    asked_at: u64,
    /// A sync failed: what was to be synced may be lost, whatever another one would say.
    unsynced: Option<Errno>,
    /// An append failed and what it left could not be cut off.
    unknown: bool,
}

impl OsAppend {
    pub(super) fn create(path: &Path) -> Result<OsAppend> {
        Ok(OsAppend::over(create_new(path, OFlags::WRONLY)?, path, 0))
    }

    pub(super) fn open(path: &Path, len: u64) -> Result<OsAppend> {
        let Some((file, found)) = open_regular(path, OFlags::WRONLY)? else {
            return Err(failed("open the file", path, Errno::NOENT));
        };
        if found != len {
            let what =
                format!("the file is {found} bytes long and not {len}: something else changed it since it was read");
            return Err(Error::corruption(path, len.min(found), what));
        }
        Ok(OsAppend::over(file, path, len))
    }

    /// Nothing if there is no such file, or if it has a second name.
    pub(super) fn create_over(from: &Path, to: &Path) -> Result<Option<OsAppend>> {
        let Some((file, _)) = open_regular(from, OFlags::WRONLY)? else { return Ok(None) };
        let has_one_name = || -> Result<bool> {
            let stat = retry(|| rustix::fs::fstat(&file)).map_err(|e| failed("look at the file", from, e))?;
            Ok(stat.st_nlink == 1)
        };
        if !has_one_name()? {
            return Ok(None);
        }
        retry(|| rustix::fs::rename(from, to)).map_err(|e| failed(&format!("rename to {}", to.display()), from, e))?;
        if !has_one_name()? {
            // Somebody has just given it one: it stays his, as it is.
            retry(|| rustix::fs::unlink(to)).map_err(|e| failed("remove the file", to, e))?;
            return Ok(None);
        }
        let over = OsAppend::over(file, to, 0);
        over.end.lock().is_over = true;
        Ok(Some(over))
    }

    pub(super) fn over(file: OwnedFd, path: &Path, len: u64) -> OsAppend {
        let end = End { is_over: false, len, behind: None, asked_at: len, unsynced: None, unknown: false };
        OsAppend { file: Arc::new(file), path: path.to_owned(), end: Mutex::new(end) }
    }
}

impl AppendFile for OsAppend {
    fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut end = self.end.lock();
        if end.unknown {
            return Err(Error::on(
                ErrorKind::Io,
                &self.path,
                "an earlier append failed and left a part behind: the file must be replaced",
            ));
        }
        let Some(new_len) = end.len.checked_add(bytes.len() as u64) else {
            return Err(Error::on(ErrorKind::TooLarge, &self.path, "the file would exceed 2^64 bytes"));
        };
        if let Err(e) = write_all(&self.file, bytes, end.len) {
            end.unknown = retry(|| rustix::fs::ftruncate(&self.file, end.len)).is_err();
            return Err(failed(&format!("append {} bytes at offset {}", bytes.len(), end.len), &self.path, e));
        }
        end.len = new_len;
        if new_len - end.asked_at >= STEP_BYTES {
            end.asked_at = new_len;
            if end.behind.is_none() {
                end.behind = Behind::start(&self.file);
            }
            end.behind.iter().for_each(Behind::ask);
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        let end = self.end.lock();
        if !end.is_over {
            return Ok(());
        }
        retry(|| rustix::fs::ftruncate(&self.file, end.len)).map_err(|e| failed("cut the file", &self.path, e))
    }

    fn sync(&self) -> Result<()> {
        let mut end = self.end.lock();
        let earlier = end.behind.take().map_or(Ok(()), Behind::finish);
        if let Err(failure) = end.unsynced.map_or(earlier, Err) {
            end.unsynced = Some(failure);
            return Err(failed("sync the file", &self.path, failure));
        }
        // EINTR says that nothing was decided yet, and only that is asked again.
        retry(|| rustix::fs::fdatasync(&*self.file)).map_err(|failure| {
            end.unsynced = Some(failure);
            failed("sync the file", &self.path, failure)
        })
    }
}

/// A file that is read.
#[derive(Debug)]
pub(super) struct OsRead {
    file: OwnedFd,
    path: PathBuf,
    len: u64,
}

impl OsRead {
    /// Nothing if there is no such file.
    pub(super) fn open(path: &Path) -> Result<Option<OsRead>> {
        let opened = open_regular(path, OFlags::RDONLY)?;
        Ok(opened.map(|(file, len)| OsRead { file, path: path.to_owned(), len }))
    }
}

impl ReadFile for OsRead {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.len => read_exact(&self.file, &self.path, buffer, offset),
            _ => Err(ends_before(&self.path, offset, buffer.len(), self.len)),
        }
    }

    fn map(&self) -> Result<Memory> {
        // A page that lies wholly beyond the end is SIGBUS on touch: look again, it costs nothing beside the map.
        let len = length(&self.file, &self.path)?;
        if len < self.len {
            let what = format!("the file shrank from {} to {len} bytes while it was open", self.len);
            return Err(Error::corruption(&self.path, len, what));
        }
        map_read_only(&self.file, &self.path, self.len)
    }
}

/// A log segment, created or opened.
#[derive(Debug)]
pub(super) struct OsSegment {
    /// Only of a segment that was created.
    file: Option<OwnedFd>,
    path: PathBuf,
    kind: SegmentKind,
    memory: Memory,
}

impl OsSegment {
    pub(super) fn create(path: &Path, len: u64, kind: SegmentKind) -> Result<OsSegment> {
        let size = memory_size(path, len)?;
        let file = create_new(path, OFlags::RDWR)?;
        match lay_out(&file, path, size, kind) {
            Ok(memory) => Ok(OsSegment { file: Some(file), path: path.to_owned(), kind, memory }),
            Err(error) => {
                // Best effort: the first error is the one to tell, and an orphan is removed at the next open.
                let _ = retry(|| rustix::fs::unlink(path));
                Err(error)
            }
        }
    }

    pub(super) fn open(path: &Path, kind: SegmentKind) -> Result<OsSegment> {
        let Some((file, len)) = open_regular(path, OFlags::RDONLY)? else {
            return Err(failed("open the segment", path, Errno::NOENT));
        };
        let memory = match kind {
            SegmentKind::Mapped => map_read_only(&file, path, len)?,
            SegmentKind::Positioned => copy_to_memory(&file, path, len)?,
        };
        Ok(OsSegment { file: None, path: path.to_owned(), kind, memory })
    }

    fn created(&self, what: &str) -> Result<&OwnedFd> {
        self.file.as_ref().ok_or_else(|| {
            let message = format!("{what} of a segment that was opened to be read: please report this bug");
            Error::on(ErrorKind::Internal, &self.path, message)
        })
    }
}

impl SegmentFile for OsSegment {
    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn kind(&self) -> SegmentKind {
        self.kind
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let file = self.created("a write")?;
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.memory.len() as u64) {
            let message =
                format!("a write of {} bytes at {offset} leaves the segment: please report this bug", bytes.len());
            return Err(Error::on(ErrorKind::Internal, &self.path, message));
        }
        match self.kind {
            SegmentKind::Mapped => Ok(()),
            SegmentKind::Positioned => write_all(file, bytes, offset)
                .map_err(|e| failed(&format!("write {} bytes at offset {offset}", bytes.len()), &self.path, e)),
        }
    }

    fn sync(&self) -> Result<()> {
        fdatasync(self.created("a sync")?, &self.path)
    }

    fn can_be_refilled(&self) -> bool {
        let has_one_name = |file: &OwnedFd| retry(|| rustix::fs::fstat(file)).is_ok_and(|stat| stat.st_nlink == 1);
        self.kind == SegmentKind::Mapped && self.file.as_ref().is_some_and(has_one_name)
    }

    fn renamed(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    fn trim(&self, len: u64) -> Result<()> {
        let file = self.created("a trim")?;
        if len > self.memory.len() as u64 {
            let message = format!("a trim to {len} bytes would grow the segment: please report this bug");
            return Err(Error::on(ErrorKind::Internal, &self.path, message));
        }
        retry(|| rustix::fs::ftruncate(file, len)).map_err(|e| failed(&format!("cut to {len} bytes"), &self.path, e))
    }
}

/// Syncs a file that is not open.
pub(super) fn sync_file(path: &Path) -> Result<()> {
    match open_regular(path, OFlags::RDONLY)? {
        Some((file, _)) => fdatasync(&file, path),
        None => Err(failed("open the file", path, Errno::NOENT)),
    }
}

/// Creates a file that holds `len` bytes of the disk.
pub(super) fn reserve(path: &Path, len: u64) -> Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let file = create_new(path, OFlags::WRONLY)?;
    let written = || {
        (0..len)
            .step_by(ZEROS.len())
            .try_for_each(|at| write_all(&file, &ZEROS[..(len - at).min(ZEROS.len() as u64) as usize], at))
    };
    let reserved = match retry(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => written(),
        reserved => reserved,
    };
    reserved.map_err(|e| {
        // The first error is the one to tell.
        let _ = retry(|| rustix::fs::unlink(path));
        failed(&format!("reserve {len} bytes"), path, e)
    })
}

/// Reserves the file's blocks and makes the segment's memory.
fn lay_out(file: &OwnedFd, path: &Path, size: usize, kind: SegmentKind) -> Result<Memory> {
    let len = size as u64;
    match (retry(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)), kind) {
        (Ok(()), _) => {}
        (Err(Errno::OPNOTSUPP | Errno::NOSYS), SegmentKind::Positioned) => {
            retry(|| rustix::fs::ftruncate(file, len)).map_err(|e| failed(&format!("grow to {len} bytes"), path, e))?;
        }
        (Err(e), _) => return Err(failed(&format!("reserve {len} bytes"), path, e)),
    }
    let memory = match kind {
        SegmentKind::Mapped => {
            let map = MmapOptions::new().len(size).map_raw(file);
            Memory::mapped(map.map_err(|e| Error::io(&format!("map {len} bytes"), path, e))?)
        }
        SegmentKind::Positioned => Memory::anonymous(size)?,
    };
    memory.advise(Advice::DontFork);
    memory.advise(Advice::DontDump);
    Ok(memory)
}

fn map_read_only(file: &OwnedFd, path: &Path, len: u64) -> Result<Memory> {
    let size = memory_size(path, len)?;
    let map = MmapOptions::new().len(size).map_raw_read_only(file);
    let memory = Memory::mapped(map.map_err(|e| Error::io(&format!("map {len} bytes"), path, e))?);
    // As a segment's: a child could not tell when its parent writes a table's file over.
    memory.advise(Advice::DontFork);
    Ok(memory)
}

fn copy_to_memory(file: &OwnedFd, path: &Path, len: u64) -> Result<Memory> {
    let size = memory_size(path, len)?;
    let no_memory = |e| Error::io(&format!("map {len} bytes of memory"), path, e);
    let mut map = MmapOptions::new().len(size).map_anon().map_err(no_memory)?;
    read_exact(file, path, &mut map, 0)?;
    let memory = Memory::mapped(MmapRaw::from(map.make_read_only().map_err(no_memory)?));
    memory.advise(Advice::DontDump);
    Ok(memory)
}

/// Creates a file that must not exist, mode 0600.
fn create_new(path: &Path, access: OFlags) -> Result<OwnedFd> {
    let flags = access | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))).map_err(|e| failed("create the file", path, e))
}

/// Opens an existing regular file; its length too. `None` if there is none.
fn open_regular(path: &Path, access: OFlags) -> Result<Option<(OwnedFd, u64)>> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match retry(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => {
            return Err(Error::on(
                ErrorKind::NotADatabase,
                path,
                "is a symbolic link, which is not followed: put the file itself there, or open the directory that it is in",
            ));
        }
        // What a FIFO without a reader, a socket, a missing device and a directory answer to an open for writing.
        Err(Errno::NXIO | Errno::NODEV | Errno::ISDIR) => return Err(not_regular(path)),
        Err(e) => return Err(failed("open the file", path, e)),
    };
    let len = length(&file, path)?;
    Ok(Some((file, len)))
}

/// The length of what must be a regular file.
fn length(file: &OwnedFd, path: &Path) -> Result<u64> {
    let stat = retry(|| rustix::fs::fstat(file)).map_err(|e| failed("ask for the length", path, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(not_regular(path));
    }
    u64::try_from(stat.st_size).map_err(|_| Error::on(ErrorKind::Io, path, "has a negative length"))
}

pub(super) fn not_regular(path: &Path) -> Error {
    Error::on(
        ErrorKind::NotADatabase,
        path,
        "is not a regular file (but a directory, a FIFO, a socket or a device): a store holds nothing of the kind, remove it",
    )
}

pub(super) fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let written = retry(|| rustix::io::pwrite(file, bytes, offset))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

fn read_exact(file: &OwnedFd, path: &Path, buffer: &mut [u8], offset: u64) -> Result<()> {
    let (wanted, mut done) = (buffer.len(), 0);
    while done < wanted {
        let at = offset + done as u64;
        match retry(|| rustix::io::pread(file, &mut buffer[done..], at)) {
            Ok(0) => return Err(ends_before(path, offset, wanted, at)),
            Ok(read) => done += read,
            Err(e) => return Err(failed(&format!("read {wanted} bytes at offset {offset}"), path, e)),
        }
    }
    Ok(())
}

fn fdatasync(file: &OwnedFd, path: &Path) -> Result<()> {
    // EINTR says that nothing was decided yet, and only that is asked again.
    retry(|| rustix::fs::fdatasync(file)).map_err(|e| failed("sync the file", path, e))
}

pub(super) fn fsync_dir(dir: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = retry(|| rustix::fs::open(dir, flags, Mode::empty()))?;
    retry(|| rustix::fs::fsync(dir.as_fd()))
}

/// The directory that holds `path`'s entry.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        // `a` stands in the current directory, and so does a path that ends in `..`, as far as text can tell.
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

pub(super) fn failed(operation: &str, path: &Path, e: Errno) -> Error {
    Error::io(operation, path, e.into())
}

pub(super) fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(call)
}
