//! The files and segments of a [`FaultEnv`](super::FaultEnv).

use std::path::{Path, PathBuf};

use super::{CallKind, Core, Reach};
use crate::env::{AppendFile, Memory, ReadFile, SegmentFile, SegmentKind};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Arc, Mutex};

#[derive(Debug)]
pub(super) struct FaultAppend {
    core: Arc<Core>,
    path: PathBuf,
    inner: Box<dyn AppendFile>,
    /// A failed append left something behind.
    broken: Mutex<bool>,
}

impl FaultAppend {
    pub(super) fn new(core: Arc<Core>, path: &Path, inner: Box<dyn AppendFile>) -> FaultAppend {
        FaultAppend { core, path: path.to_owned(), inner, broken: Mutex::new(false) }
    }
}

impl AppendFile for FaultAppend {
    fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut broken = self.broken.lock();
        let failure = self.core.plan.admit(CallKind::Append, &self.path);
        if *broken {
            let message = "an earlier append failed and left a part behind: the file must be replaced";
            return Err(Error::on(ErrorKind::Io, &self.path, message));
        }
        let Some(failure) = failure else { return self.inner.append(bytes) };
        let part = failure.part(bytes.len());
        if part > 0 {
            *broken = self.inner.append(&bytes[..part]).is_ok();
        }
        Err(failure.error(CallKind::Append, &self.path))
    }

    fn end(&self) -> Result<()> {
        self.core.call(CallKind::Trim, &self.path, || self.inner.end())
    }

    fn sync(&self) -> Result<()> {
        self.core.sync(CallKind::Sync, &self.path, || self.inner.sync())
    }
}

#[derive(Debug)]
pub(super) struct FaultRead {
    pub(super) core: Arc<Core>,
    pub(super) path: PathBuf,
    pub(super) inner: Box<dyn ReadFile>,
}

impl ReadFile for FaultRead {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let Some(failure) = self.core.plan.admit(CallKind::Read, &self.path) else {
            return self.inner.read_at(offset, buffer);
        };
        let part = failure.part(buffer.len());
        let _ = self.inner.read_at(offset, &mut buffer[..part]);
        Err(failure.error(CallKind::Read, &self.path))
    }

    fn map(&self) -> Result<Memory> {
        self.core.call_or_nothing(CallKind::Map, &self.path, || self.inner.map())
    }
}

#[derive(Debug)]
pub(super) struct FaultSegment {
    pub(super) core: Arc<Core>,
    pub(super) path: PathBuf,
    pub(super) inner: Box<dyn SegmentFile>,
}

impl SegmentFile for FaultSegment {
    fn memory(&self) -> &Memory {
        self.inner.memory()
    }

    fn kind(&self) -> SegmentKind {
        self.inner.kind()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.kind() == SegmentKind::Mapped {
            return self.inner.write(offset, bytes);
        }
        let Some(failure) = self.core.plan.admit(CallKind::Write, &self.path) else {
            return self.inner.write(offset, bytes);
        };
        if failure.fault.reach != Reach::Nothing {
            let _ = self.inner.write(offset, &bytes[..failure.part(bytes.len())]);
        }
        Err(failure.error(CallKind::Write, &self.path))
    }

    fn sync(&self) -> Result<()> {
        self.core.sync(CallKind::Sync, &self.path, || self.inner.sync())
    }

    fn can_be_refilled(&self) -> bool {
        self.inner.can_be_refilled()
    }

    fn renamed(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
        self.inner.renamed(path);
    }

    fn trim(&self, len: u64) -> Result<()> {
        self.core.call(CallKind::Trim, &self.path, || self.inner.trim(len))
    }
}
