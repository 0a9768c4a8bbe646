//! A machine in memory whose power can be cut.
//!
//! The model
//!
//! 1. A process sees one state of the disk, the current one, as if all were well. The disk itself
//!    lags behind: it holds what was synced, and of every effect since then nothing, all, or some.
//! 2. Effects on a file are writes, cut into sectors of 512 bytes, and changes of its length. Each sector survives on
//!    its own, whole; the length may be any that the file had since it was synced, or lie between two of them. What
//!    was grown and not written reads as zeros.
//! 3. Effects on a directory are names set and names removed. A name stands for a file, not for its bytes: a
//!    file may survive under a new name with old contents, or not at all although it was synced. A rename
//!    is two effects of one call.
//! 4. A store into a mapped segment is a write of its own, in program order, as reported by
//!    [`StoreObserver`](crate::env::StoreObserver); the power may go between any two. Now and then, by the seed, a dirty sector is written back at the moment
//!    at which it stands, even in the middle of a store (though not of an aligned word of 8 bytes), and then this
//!    version, too, may be what survives, although the current one is newer.
//! 5. [`CutModel`] says which subsets of the effects a cut may leave.
//! 6. A failed sync ([`SimEnv::break_next_sync`]) loses what it should have written, and leaves it clean: later syncs succeed
//!    without it, as on Linux.
//!
//! Use. [`SimEnv::crash_image`] makes, at any moment and without disturbing this one, the machine that comes up after a power
//! cut right now: everything that survived, durable; no locks. To cut at an exact point, let
//! [`SimEnv::cut_after`] stop all effects after the n-th and take the image then. Both are functions of their
//! seeds: a failure is replayed by its numbers.
//!
//! Nothing runs by itself here: [`Env::spawn`] leaves the worker to the test, and the clock stands until
//! [`SimEnv::advance`].
//!
//! ```
//! use std::path::Path;
//! use kvs::env::{Env, sim::{CutModel, SimEnv}};
//!
//! let (sim, path) = (SimEnv::new(1), Path::new("/db/MANIFEST"));
//! sim.create_dir(Path::new("/db"))?;
//! let file = sim.create(path)?;
//! file.append(b"precious")?;
//! file.sync()?;
//! // The bytes are safe, the name is not: in some futures the file is gone.
//! let survives = |seed| sim.crash_image(seed, CutModel::Hostile).read_file(path).is_some();
//! assert!((0..100).any(survives) && !(0..100).all(survives));
//! sim.sync_dir(Path::new("/db"))?;
//! assert!((0..100).all(|seed| sim.crash_image(seed, CutModel::Hostile).read_file(path).unwrap() == b"precious"));
//! # Ok::<(), kvs::Error>(())
//! ```

mod directory;
mod disk;
mod fate;
mod file;
mod handles;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

pub(super) use self::fate::Rng;

use self::directory::Node;
use self::disk::{Disk, Settings, charge, place, refused};
use self::fate::{Chosen, Fate, Seeded};
use self::handles::{Handle, SimAppend, SimLock, SimRead, SimSegment, StoresTo, copy_to_memory};
use crate::env::{AppendFile, DirLock, Env, LockMode, Memory, ReadFile, SegmentFile, SegmentKind, Spawned};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Arc, Mutex, MutexGuard};

/// Which of the effects that were not synced a power cut may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CutModel {
    /// None: exactly what was synced survives.
    Strict,
    /// Of each directory the calls up to some moment, whole; of each file any of its sectors. Like a journal of metadata.
    Ordered,
    /// Whatever POSIX permits: any of the names set and removed, any of the sectors.
    Hostile,
}

/// A machine in memory. Clones are the same machine.
#[derive(Clone)]
pub struct SimEnv {
    disk: Arc<Mutex<Disk>>,
}

impl fmt::Debug for SimEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk();
        write!(f, "SimEnv({} effects{})", disk.ops, if disk.power_is_off() { ", power off" } else { "" })
    }
}

impl SimEnv {
    /// An empty machine with mapped segments and a disk without end; `seed` decides when sectors are written back.
    pub fn new(seed: u64) -> SimEnv {
        let segment = SegmentKind::Mapped;
        SimEnv::of(Disk::new(seed, Settings { capacity: None, segment, reserves: true, written_back_once_in: 32 }))
    }

    /// The same, to be handed to a store; keep a clone to look behind the scenes.
    pub fn shared(&self) -> Arc<dyn Env> {
        Arc::new(self.clone())
    }

    fn of(disk: Disk) -> SimEnv {
        SimEnv { disk: Arc::new(Mutex::new(disk)) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock()
    }

    // --- the machine -------------------------------------------------------------------------------------

    /// What [`Env::preferred_segment`] answers from now on.
    pub fn set_preferred_segment(&self, kind: SegmentKind) {
        self.disk().settings.segment = kind;
    }

    /// Does the file system reserve a positioned segment's blocks when it is created? (It does unless told otherwise.)
    /// If not, a full disk shows in [`SegmentFile::write`].
    pub fn set_reserves(&self, reserves: bool) {
        self.disk().settings.reserves = reserves;
    }

    /// How many bytes the disk has; `None`: without end. Less than is used already is possible, then it is full.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().settings.capacity = bytes;
    }

    /// On average every how many writes a dirty sector is written back by itself; 0: never. 32 unless set.
    pub fn set_written_back_once_in(&self, writes: usize) {
        self.disk().settings.written_back_once_in = writes;
    }

    /// Lets time go by.
    pub fn advance(&self, time: Duration) {
        self.disk().clock += time;
    }

    // --- the power ---------------------------------------------------------------------------------------

    /// How many effects there have been: files and names created, written, renamed, removed, cut; stores; syncs.
    pub fn ops(&self) -> u64 {
        self.disk().ops
    }

    /// Cuts the power after the `ops`-th effect, counted from the machine's beginning: every later one is an
    /// [`ErrorKind::Io`] error that says so, or, if it is a store, does not reach the file. Reading goes on, to let the
    /// process come to its end.
    pub fn cut_after(&self, ops: u64) {
        self.disk().cut = Some(ops);
    }

    /// Has [`SimEnv::cut_after`] struck?
    pub fn power_is_off(&self) -> bool {
        self.disk().power_is_off()
    }

    /// How many syncs of files and directories succeeded.
    pub fn sync_count(&self) -> u64 {
        self.disk().syncs.len() as u64
    }

    /// [`SimEnv::ops`] as it was right after each successful sync: a cut there or later keeps what it made durable.
    pub fn sync_points(&self) -> Vec<u64> {
        self.disk().syncs.clone()
    }

    /// The machine after a power cut right now and a reboot. This one goes on undisturbed.
    pub fn crash_image(&self, seed: u64, model: CutModel) -> SimEnv {
        self.image(seed, model, &mut Seeded::new(seed))
    }

    /// Like [`SimEnv::crash_image`], with each decision made by `choose`: it is given the number of alternatives, at least 2,
    /// and returns one of them, from 0. 0 is always "as if the effect had never been"; what is too large means the
    /// last. So a test can walk through every outcome; [`SimEnv::unsynced_effects`] says how many decisions
    /// there are to make at least.
    pub fn crash_image_by(&self, model: CutModel, choose: &mut dyn FnMut(usize) -> usize) -> SimEnv {
        self.image(0, model, &mut Chosen(choose))
    }

    fn image(&self, seed: u64, model: CutModel, fate: &mut dyn Fate) -> SimEnv {
        let image = self.disk().survive(!seed, model, fate);
        SimEnv::of(image)
    }

    /// Sectors, lengths and names that a cut right now would have to decide about.
    pub fn unsynced_effects(&self) -> usize {
        self.disk().unsynced()
    }

    /// The next sync of any file or directory fails with the error number `errno`, and what it should have written is lost:
    /// the process still sees it, the disk does not have it, and no later sync will notice.
    pub fn break_next_sync(&self, errno: i32) {
        self.disk().broken_sync = Some(Errno::from_raw_os_error(errno));
    }

    /// What [`SimEnv::break_next_sync`] does to a file or directory, at once. False if there is none.
    pub fn lose_unsynced(&self, path: &Path) -> bool {
        let mut disk = self.disk();
        if let Ok(Some(file)) = disk.lookup("lose", path) {
            disk.file(file).lose();
            return true;
        }
        disk.dir("lose", path).map(|dir| dir.lose()).is_ok()
    }

    // --- damage ------------------------------------------------------------------------------------------
    // Done to the disk itself: at once, durably, with the power on or off. Memory that is mapped already stays as it is.

    /// A file's bytes as a process sees them.
    pub fn read_file(&self, path: &Path) -> Option<Vec<u8>> {
        let mut disk = self.disk();
        let file = disk.lookup("read", path).ok()??;
        Some(disk.file(file).bytes().to_vec())
    }

    /// Puts a file there, in place of any other, and its directories if they are missing. Capacity is not asked.
    pub fn write_file(&self, path: &Path, bytes: impl Into<Vec<u8>>) {
        self.disk().replace(path, Some(bytes.into()));
    }

    /// Flips one bit of a file, 0 being the lowest. False if there is no such byte.
    pub fn flip(&self, path: &Path, offset: u64, bit: u32) -> bool {
        let mut disk = self.disk();
        match (disk.lookup("flip", path), usize::try_from(offset)) {
            (Ok(Some(file)), Ok(offset)) => disk.file(file).flip(offset, bit),
            _ => false,
        }
    }

    /// Removes a file. False if there is none.
    pub fn remove(&self, path: &Path) -> bool {
        let mut disk = self.disk();
        let found = matches!(disk.lookup("remove", path), Ok(Some(_)));
        if found {
            disk.replace(path, None);
        }
        found
    }

    /// The absolute path of every file, in order.
    pub fn list(&self) -> Vec<PathBuf> {
        self.disk().list()
    }

    // --- handles -----------------------------------------------------------------------------------------

    fn handle(&self, disk: &mut Disk, path: &Path, file: u64) -> Handle {
        disk.open(file);
        Handle { env: self.clone(), path: path.to_owned(), file }
    }
}

impl Env for SimEnv {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        let mut disk = self.disk();
        disk.make_dir(dir)?;
        match dir.parent() {
            Some(parent) => disk.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn list_dir(&self, dir: &Path) -> Result<Vec<OsString>> {
        let mut disk = self.disk();
        Ok(disk.dir("list the directory", dir)?.names().map(|(name, _)| name.clone()).collect())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk().sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk().rename(from, to)
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.disk().unlink(path)
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        let mut disk = self.disk();
        disk.dir("ask for the free space", dir)?;
        Ok(disk.free())
    }

    fn lock(&self, path: &Path, mode: LockMode) -> Result<Box<dyn DirLock>> {
        let mut disk = self.disk();
        let what = "lock";
        let place = place(what, path)?;
        match disk.node(&place) {
            Some(Node::File(_)) => {}
            Some(Node::Dir) => return Err(Error::on(ErrorKind::NotADatabase, path, "is not a regular file")),
            None => drop(disk.make_file(what, path, 0)?),
        }
        let held = disk.locks.get(&place).copied();
        let count = match held {
            None => 1,
            Some((LockMode::Shared, count)) if mode == LockMode::Shared => count + 1,
            Some(_) => {
                let message = "this process (pid 1, simulated) has the store open already";
                return Err(Error::on(ErrorKind::Locked, path, message));
            }
        };
        disk.locks.insert(place, (mode, count));
        Ok(Box::new(SimLock { env: self.clone(), path: path.to_owned() }))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>> {
        let mut disk = self.disk();
        let file = disk.make_file("create the file", path, 0)?;
        Ok(Box::new(SimAppend::new(self.handle(&mut disk, path, file), None)))
    }

    fn create_over(&self, from: &Path, to: &Path) -> Result<Option<Box<dyn AppendFile>>> {
        let mut disk = self.disk();
        let Some(file) = disk.lookup("open the file", from)? else { return Ok(None) };
        if disk.file(file).links != 1 {
            return Ok(None);
        }
        disk.rename(from, to)?;
        Ok(Some(Box::new(SimAppend::new(self.handle(&mut disk, to, file), Some(0)))))
    }

    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>> {
        let what = "open the file";
        let mut disk = self.disk();
        let file = disk.lookup(what, path)?.ok_or_else(|| refused(what, path, Errno::NOENT))?;
        let found = disk.file(file).bytes().len() as u64;
        if found != len {
            return Err(Error::corruption(
                path,
                len.min(found),
                format!("the file is {found} bytes long and not {len}"),
            ));
        }
        Ok(Box::new(SimAppend::new(self.handle(&mut disk, path, file), None)))
    }

    fn open_read(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>> {
        let mut disk = self.disk();
        let Some(file) = disk.lookup("open the file", path)? else { return Ok(None) };
        let len = disk.file(file).bytes().len() as u64;
        Ok(Some(Box::new(SimRead { handle: self.handle(&mut disk, path, file), len })))
    }

    fn preferred_segment(&self, dir: &Path) -> Result<SegmentKind> {
        let mut disk = self.disk();
        disk.dir("ask for the kind of file system", dir)?;
        Ok(disk.settings.segment)
    }

    fn create_segment(&self, path: &Path, len: u64, kind: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        let size = match usize::try_from(len) {
            Ok(size) if size > 0 => size,
            _ => return Err(Error::on(ErrorKind::InvalidArgument, path, format!("no segment has {len} bytes"))),
        };
        let memory = Memory::anonymous(size)?;
        let mut disk = self.disk();
        let reserved = kind == SegmentKind::Mapped || disk.settings.reserves;
        let file = disk.make_file("create the segment", path, if reserved { charge(len) } else { 0 })?;
        disk.file(file).set_len(size);
        let memory = match kind {
            SegmentKind::Mapped => memory.observed(Arc::new(StoresTo { env: self.clone(), file })),
            SegmentKind::Positioned => memory,
        };
        Ok(Box::new(SimSegment { handle: self.handle(&mut disk, path, file), kind, memory, created: true }))
    }

    fn open_segment(&self, path: &Path, kind: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        let what = "open the segment";
        let mut disk = self.disk();
        let file = disk.lookup(what, path)?.ok_or_else(|| refused(what, path, Errno::NOENT))?;
        let memory = copy_to_memory(path, disk.file(file).bytes())?;
        Ok(Box::new(SimSegment { handle: self.handle(&mut disk, path, file), kind, memory, created: false }))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        let what = "sync the file";
        let mut disk = self.disk();
        let file = disk.lookup(what, path)?.ok_or_else(|| refused(what, path, Errno::NOENT))?;
        disk.sync(path, file)
    }

    fn populate(&self, _: &Memory) {}

    /// By the seed, like everything else here.
    fn random(&self) -> u64 {
        self.disk().random()
    }

    fn now(&self) -> Duration {
        self.disk().clock
    }

    fn spawn(&self, _: &str, _: Box<dyn FnOnce() + Send>) -> Result<Spawned> {
        Ok(Spawned::Stepped)
    }
}
