//! An environment in which a repair can be told to give up.
//!
//! A store ends its calls by itself when it is interrupted, but a repair belongs to no store that the caller has. What it does go
//! through is its environment: once a [`Stop`] is pulled, this one refuses to read, to create and to make durable.
//!
//! 1. What a repair reads of a damaged store may be unreadable: it goes on without. So pulling alone does not end it, it only has
//!    it run out of things to read, in no time.
//! 2. But before it says that a new store is whole it opens that store's files again and verifies them. That is refused too, so a
//!    repair that was told in time ends with an error, and clears away what it has written; listing and removing files is allowed
//!    for that.
//! 3. Told later, it has nothing more to read, and what it has made is right.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::env::os::OsEnv;
use engine::env::{AppendFile, DirLock, Env, LockMode, Memory, ReadFile, SegmentFile, SegmentKind, Spawned};
use engine::{Error, ErrorKind, Result};

/// Pulled once, by whoever wants the repair to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    // Relaxed: nothing is handed over with it, it only has to be seen soon.
    pub fn pull(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self, path: &Path) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            // Of this kind, so that the repair clears away even what it had only begun to open.
            return Err(Error::on(ErrorKind::Io, path, "the repair was interrupted"));
        }
        Ok(())
    }
}

/// The operating system, until the [`Stop`] is pulled.
#[derive(Debug)]
pub struct StoppableEnv {
    env: Arc<dyn Env>,
    stop: Stop,
}

impl StoppableEnv {
    pub fn shared(stop: &Stop) -> Arc<dyn Env> {
        Arc::new(StoppableEnv { env: OsEnv::shared(), stop: stop.clone() })
    }
}

impl Env for StoppableEnv {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.stop.check(dir)?;
        self.env.create_dir(dir)
    }
    fn list_dir(&self, dir: &Path) -> Result<Vec<OsString>> {
        self.env.list_dir(dir)
    }
    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        self.env.real_path(path)
    }
    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.stop.check(dir)?;
        self.env.sync_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.stop.check(from)?;
        self.env.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> Result<()> {
        self.env.unlink(path)
    }
    fn free_space(&self, dir: &Path) -> Result<u64> {
        self.env.free_space(dir)
    }
    fn lock(&self, path: &Path, mode: LockMode) -> Result<Box<dyn DirLock>> {
        self.env.lock(path, mode)
    }
    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>> {
        self.stop.check(path)?;
        self.env.create(path)
    }
    fn create_over(&self, from: &Path, to: &Path) -> Result<Option<Box<dyn AppendFile>>> {
        self.stop.check(to)?;
        self.env.create_over(from, to)
    }
    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>> {
        self.stop.check(path)?;
        self.env.open_append(path, len)
    }
    fn open_read(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>> {
        self.stop.check(path)?;
        Ok(self.env.open_read(path)?.map(|file| -> Box<dyn ReadFile> {
            Box::new(StoppableFile { file, path: path.into(), stop: self.stop.clone() })
        }))
    }
    fn preferred_segment(&self, dir: &Path) -> Result<SegmentKind> {
        self.env.preferred_segment(dir)
    }
    fn create_segment(&self, path: &Path, len: u64, kind: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        self.stop.check(path)?;
        self.env.create_segment(path, len, kind)
    }
    fn open_segment(&self, path: &Path, kind: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        self.stop.check(path)?;
        self.env.open_segment(path, kind)
    }
    fn reserve(&self, path: &Path, len: u64) -> Result<()> {
        self.stop.check(path)?;
        self.env.reserve(path, len)
    }
    fn sync_file(&self, path: &Path) -> Result<()> {
        self.stop.check(path)?;
        self.env.sync_file(path)
    }
    fn populate(&self, memory: &Memory) {
        self.env.populate(memory);
    }
    fn random(&self) -> u64 {
        self.env.random()
    }
    fn is_volatile(&self) -> bool {
        self.env.is_volatile()
    }
    fn fork_generation(&self) -> u64 {
        self.env.fork_generation()
    }
    fn now(&self) -> Duration {
        self.env.now()
    }
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Spawned> {
        self.env.spawn(name, body)
    }
}

/// A file that is read until the [`Stop`] is pulled.
#[derive(Debug)]
struct StoppableFile {
    file: Box<dyn ReadFile>,
    path: PathBuf,
    stop: Stop,
}

impl ReadFile for StoppableFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.stop.check(&self.path)?;
        self.file.read_at(offset, buffer)
    }
    fn map(&self) -> Result<Memory> {
        self.stop.check(&self.path)?;
        self.file.map()
    }
}
