//! The open files, segments and locks of a [`SimEnv`]: each names its file by number and asks the disk.

use std::path::{Path, PathBuf};

use memmap2::{MmapOptions, MmapRaw};

use super::SimEnv;
use super::disk::place;
use crate::env::{AppendFile, DirLock, Memory, ReadFile, SegmentFile, SegmentKind, StoreObserver};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;

/// Memory that nobody can write, with a copy of `bytes`.
pub(super) fn copy_to_memory(path: &Path, bytes: &[u8]) -> Result<Memory> {
    if bytes.is_empty() {
        return Err(Error::on(ErrorKind::InvalidArgument, path, "an empty file cannot be mapped"));
    }
    let copy = || {
        let mut map = MmapOptions::new().len(bytes.len()).map_anon()?;
        map.copy_from_slice(bytes);
        map.make_read_only()
    };
    let map = copy().map_err(|e| Error::io(&format!("map {} bytes of memory", bytes.len()), path, e))?;
    Ok(Memory::mapped(MmapRaw::from(map)))
}

/// An open file: keeps it in being when its last name is gone.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) env: SimEnv,
    pub(super) path: PathBuf,
    pub(super) file: u64,
}

impl Handle {
    fn sync(&self) -> Result<()> {
        self.env.disk().sync(&self.path, self.file)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.env.disk().close(self.file);
    }
}

#[derive(Debug)]
pub(super) struct SimAppend {
    handle: Handle,
    /// Where the next byte goes, if that is not the file's end.
    over: Mutex<Option<usize>>,
}

impl SimAppend {
    pub(super) fn new(handle: Handle, over: Option<usize>) -> SimAppend {
        SimAppend { handle, over: Mutex::new(over) }
    }
}

impl AppendFile for SimAppend {
    fn append(&self, bytes: &[u8]) -> Result<()> {
        let Handle { env, path, file } = &self.handle;
        let (mut over, mut disk) = (self.over.lock(), env.disk());
        let at = over.unwrap_or_else(|| disk.file(*file).bytes().len());
        disk.write(&format!("append {} bytes", bytes.len()), path, *file, at, bytes)?;
        if let Some(at) = &mut *over {
            *at += bytes.len();
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        let Handle { env, path, file } = &self.handle;
        if let Some(len) = *self.over.lock() {
            let mut disk = env.disk();
            disk.effect("cut the file", path)?;
            disk.set_len(*file, len);
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.handle.sync()
    }
}

#[derive(Debug)]
pub(super) struct SimRead {
    pub(super) handle: Handle,
    pub(super) len: u64,
}

impl SimRead {
    /// `None` if it ends before.
    fn copy(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(buffer.len())?;
        if end as u64 > self.len {
            return None;
        }
        buffer.copy_from_slice(self.handle.env.disk().file(self.handle.file).bytes().get(start..end)?);
        Some(())
    }
}

impl ReadFile for SimRead {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len();
        self.copy(offset, buffer).ok_or_else(|| {
            let what = format!("{wanted} bytes wanted, but the file ends at {}", self.len);
            Error::corruption(&self.handle.path, offset, what)
        })
    }

    fn map(&self) -> Result<Memory> {
        let mut disk = self.handle.env.disk();
        match usize::try_from(self.len).ok().and_then(|len| disk.file(self.handle.file).bytes().get(..len)) {
            Some(bytes) => copy_to_memory(&self.handle.path, bytes),
            None => Err(Error::corruption(&self.handle.path, self.len, "the file shrank while it was open")),
        }
    }
}

#[derive(Debug)]
pub(super) struct SimSegment {
    pub(super) handle: Handle,
    pub(super) kind: SegmentKind,
    pub(super) memory: Memory,
    pub(super) created: bool,
}

impl SimSegment {
    fn check(&self, what: &str, end: Option<u64>) -> Result<usize> {
        match end.filter(|&end| self.created && end <= self.memory.len() as u64) {
            Some(end) => Ok(end as usize),
            None => {
                let message = format!("{what}, outside the segment or of one that was opened to be read: a bug");
                Err(Error::on(ErrorKind::Internal, &self.handle.path, message))
            }
        }
    }
}

impl SegmentFile for SimSegment {
    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn kind(&self) -> SegmentKind {
        self.kind
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let what = "write to the segment";
        let end = self.check(what, offset.checked_add(bytes.len() as u64))?;
        match self.kind {
            SegmentKind::Mapped => Ok(()),
            SegmentKind::Positioned => {
                let Handle { env, path, file } = &self.handle;
                env.disk().write(what, path, *file, end - bytes.len(), bytes)
            }
        }
    }

    fn sync(&self) -> Result<()> {
        self.check("a sync", Some(0))?;
        self.handle.sync()
    }

    fn can_be_refilled(&self) -> bool {
        self.created && self.kind == SegmentKind::Mapped
    }

    fn renamed(&mut self, path: &Path) {
        path.clone_into(&mut self.handle.path);
    }

    fn trim(&self, len: u64) -> Result<()> {
        let len = self.check("a trim", Some(len))?;
        let mut disk = self.handle.env.disk();
        disk.effect("cut the segment", &self.handle.path)?;
        disk.set_len(self.handle.file, len);
        Ok(())
    }
}

/// Brings the stores into a mapped segment to its file.
#[derive(Debug)]
pub(super) struct StoresTo {
    pub(super) env: SimEnv,
    pub(super) file: u64,
}

impl StoreObserver for StoresTo {
    fn stored(&self, offset: usize, bytes: &[u8]) {
        self.env.disk().store(self.file, offset, bytes);
    }
}

#[derive(Debug)]
pub(super) struct SimLock {
    pub(super) env: SimEnv,
    pub(super) path: PathBuf,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let Ok(place) = place("unlock", &self.path) else { return };
        let mut disk = self.env.disk();
        if let Some((_, count)) = disk.locks.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                disk.locks.remove(&place);
            }
        }
    }
}
