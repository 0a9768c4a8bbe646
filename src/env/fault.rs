//! An environment whose n-th call fails.
//!
//! [`FaultEnv`] passes every call on to another environment, and so do the files and segments that it hands out. Each
//! fallible call is counted and noted, all together and by [`CallKind`]. The [`FaultPlan`] that comes with it says which of
//! them fail:
//!
//! 1. A test runs its scenario once without faults and asks for [`FaultPlan::calls`].
//! 2. Then, for each n up to there, it runs the scenario with the n-th call failing, once or for ever.
//! 3. It checks what the store promises, and [`FaultPlan::fired`] tells it that the fault was met at all.
//!
//! A call that fails need not have done nothing: [`Reach`] says how far it gets. What it may leave behind is
//! what the traits allow after an error:
//!
//! * an append that got anywhere leaves a part of its bytes, and its handle broken;
//! * a write to a segment leaves a part of its bytes, and may be repeated;
//! * a read leaves a part of the buffer filled;
//! * a sync over a [`SimEnv`] makes nothing durable and loses what was dirty: the next sync succeeds and
//!   brings nothing back ([`SimEnv::break_next_sync`]). Over another environment it is just not done.
//! * `create_segment` leaves no file and `spawn` no thread, however far they were to reach.
//!
//! Calls that cannot fail are not counted: stores into mapped memory and [`SegmentFile::write`] of a mapped segment,
//! [`Env::populate`], [`Env::now`], [`ReadFile::len`].
//!
//! ```
//! use std::path::Path;
//! use kvs::env::{Env, fault::{CallKind, Fault, FaultEnv}, sim::SimEnv};
//!
//! let (env, plan) = FaultEnv::over_sim(&SimEnv::new(1));
//! plan.fail_nth(2, Fault::eio().on(CallKind::Append));
//! let file = env.create(Path::new("/file"))?;
//! file.append(b"first")?;
//! assert_eq!(file.append(b"second").unwrap_err().os_code(), Some(5));
//! assert_eq!((plan.calls(), plan.calls_of(CallKind::Append), plan.fired()), (3, 2, 1));
//! # Ok::<(), kvs::Error>(())
//! ```

mod files;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::files::{FaultAppend, FaultRead, FaultSegment};
use crate::env::sim::{Rng, SimEnv};
use crate::env::{AppendFile, DirLock, Env, LockMode, Memory, ReadFile, SegmentFile, SegmentKind, Spawned};
use crate::error::{Error, Result};
use crate::sync::{Arc, Mutex};

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// [`Env::create_dir`]
    CreateDir,
    /// [`Env::list_dir`]
    ListDir,
    /// [`Env::sync_dir`]
    SyncDir,
    /// [`Env::rename`]
    Rename,
    /// [`Env::unlink`]
    Unlink,
    /// [`Env::free_space`]
    FreeSpace,
    /// [`Env::lock`]
    Lock,
    /// [`Env::create`] and [`Env::create_over`]
    Create,
    /// [`Env::open_append`]
    OpenAppend,
    /// [`Env::open_read`]
    OpenRead,
    /// [`Env::preferred_segment`]
    PreferredSegment,
    /// [`Env::create_segment`]
    CreateSegment,
    /// [`Env::open_segment`]
    OpenSegment,
    /// [`Env::spawn`]
    Spawn,
    /// [`AppendFile::append`]
    Append,
    /// [`SegmentFile::write`] of a positioned segment
    Write,
    /// [`AppendFile::sync`], [`SegmentFile::sync`] and [`Env::sync_file`]
    Sync,
    /// [`SegmentFile::trim`] and [`AppendFile::end`]
    Trim,
    /// [`ReadFile::read_at`]
    Read,
    /// [`ReadFile::map`]
    Map,
}

impl CallKind {
    /// Every kind there is.
    pub const ALL: [CallKind; 20] = [
        CallKind::CreateDir,
        CallKind::ListDir,
        CallKind::SyncDir,
        CallKind::Rename,
        CallKind::Unlink,
        CallKind::FreeSpace,
        CallKind::Lock,
        CallKind::Create,
        CallKind::OpenAppend,
        CallKind::OpenRead,
        CallKind::PreferredSegment,
        CallKind::CreateSegment,
        CallKind::OpenSegment,
        CallKind::Spawn,
        CallKind::Append,
        CallKind::Write,
        CallKind::Sync,
        CallKind::Trim,
        CallKind::Read,
        CallKind::Map,
    ];
}

/// How far a failing call gets before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Nothing is done.
    Nothing,
    /// An append, a write or a read does a part, by the plan's seed; all others do nothing.
    Part,
    /// All is done, and yet an error returned: the answer was lost.
    Whole,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    errno: i32,
    kind: Option<CallKind>,
    forever: bool,
    reach: Reach,
}

impl Fault {
    /// Fails once, with the operating system's error number `errno`, whatever is called. Reaches a part, unless the number
    /// says that there is no room: then nothing.
    pub fn new(errno: i32) -> Fault {
        let reach = if errno == libc::ENOSPC || errno == libc::EDQUOT { Reach::Nothing } else { Reach::Part };
        Fault { errno, kind: None, forever: false, reach }
    }

    /// The device failed (EIO).
    pub fn eio() -> Fault {
        Fault::new(libc::EIO)
    }

    /// The disk is full (ENOSPC).
    pub fn enospc() -> Fault {
        Fault::new(libc::ENOSPC)
    }

    /// The quota is used up (EDQUOT).
    pub fn edquot() -> Fault {
        Fault::new(libc::EDQUOT)
    }

    /// The process has too many files open (EMFILE).
    pub fn emfile() -> Fault {
        Fault::new(libc::EMFILE)
    }

    /// Counts, and fails, only calls of this kind.
    pub fn on(self, kind: CallKind) -> Fault {
        Fault { kind: Some(kind), ..self }
    }

    /// Fails the n-th call and all that follow it.
    pub fn forever(self) -> Fault {
        Fault { forever: true, ..self }
    }

    /// Fails after having done so much.
    pub fn reaching(self, reach: Reach) -> Fault {
        Fault { reach, ..self }
    }
}

/// Which calls of a [`FaultEnv`] fail, and which there were. Clones are the same plan; any thread may use it.
#[derive(Clone, Debug)]
pub struct FaultPlan(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    calls: u64,
    calls_of: [u64; CallKind::ALL.len()],
    log: Vec<(CallKind, PathBuf)>,
    faults: Vec<(u64, Fault)>,
    fired: u64,
    rng: Rng,
}

impl FaultPlan {
    fn new() -> FaultPlan {
        FaultPlan(Arc::new(Mutex::new(State {
            calls: 0,
            calls_of: [0; CallKind::ALL.len()],
            log: Vec::new(),
            faults: Vec::new(),
            fired: 0,
            rng: Rng::new(0),
        })))
    }

    /// Fails the `n`-th call, the first being 1, counted from the environment's beginning or the last
    /// [`FaultPlan::reset`], over all calls or those of the fault's kind. Several faults stand side by side; where two
    /// meet, the earlier one counts.
    pub fn fail_nth(&self, n: u64, fault: Fault) {
        self.0.lock().faults.push((n, fault));
    }

    /// Fails the next call (of the fault's kind).
    pub fn fail_next(&self, fault: Fault) {
        let mut state = self.0.lock();
        let n = fault.kind.map_or(state.calls, |kind| state.calls_of[kind as usize]) + 1;
        state.faults.push((n, fault));
    }

    /// No call fails any more. The counts go on.
    pub fn clear(&self) {
        self.0.lock().faults.clear();
    }

    /// No call fails any more, and there were none.
    pub fn reset(&self) {
        let mut state = self.0.lock();
        (state.calls, state.calls_of, state.fired) = (0, [0; CallKind::ALL.len()], 0);
        state.log.clear();
        state.faults.clear();
    }

    /// Decides from now on how much a failing call does of its bytes.
    pub fn set_seed(&self, seed: u64) {
        self.0.lock().rng = Rng::new(seed);
    }

    /// How many calls there were, failed ones included.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// How many calls of that kind there were.
    pub fn calls_of(&self, kind: CallKind) -> u64 {
        self.0.lock().calls_of[kind as usize]
    }

    /// How many calls were made to fail.
    pub fn fired(&self) -> u64 {
        self.0.lock().fired
    }

    /// Every call, in order, with the path it was about: for a rename the old one, for a thread its name.
    pub fn log(&self) -> Vec<(CallKind, PathBuf)> {
        self.0.lock().log.clone()
    }

    /// Counts a call and says whether it fails.
    fn admit(&self, kind: CallKind, path: &Path) -> Option<Failure> {
        let mut state = self.0.lock();
        state.calls += 1;
        state.calls_of[kind as usize] += 1;
        state.log.push((kind, path.to_owned()));
        let (all, of_kind) = (state.calls, state.calls_of[kind as usize]);
        let strikes = |&(n, fault): &(u64, Fault)| {
            let count = match fault.kind {
                None => all,
                Some(only) if only == kind => of_kind,
                Some(_) => return false,
            };
            count == n || fault.forever && count > n
        };
        let index = state.faults.iter().position(strikes)?;
        let fault = state.faults[index].1;
        if !fault.forever {
            state.faults.remove(index);
        }
        state.fired += 1;
        Some(Failure { fault, chance: state.rng.next() })
    }
}

/// A call that is to fail.
struct Failure {
    fault: Fault,
    chance: u64,
}

impl Failure {
    /// How many of `len` bytes are done; less than all unless the whole is.
    fn part(&self, len: usize) -> usize {
        match self.fault.reach {
            Reach::Nothing => 0,
            Reach::Part => (self.chance % (len as u64).max(1)) as usize,
            Reach::Whole => len,
        }
    }

    fn error(&self, kind: CallKind, path: &Path) -> Error {
        Error::io(&format!("{kind:?} (injected)"), path, io::Error::from_raw_os_error(self.fault.errno))
    }
}

/// Passes calls on to another environment, but for those that its [`FaultPlan`] makes fail.
#[derive(Debug)]
pub struct FaultEnv {
    core: Arc<Core>,
}

/// What the environment shares with its files.
#[derive(Debug)]
struct Core {
    inner: Arc<dyn Env>,
    /// The same, where it is one that can lose what a failed sync should have written.
    sim: Option<SimEnv>,
    plan: FaultPlan,
    /// Held while a sync of the simulated machine is armed to fail and then made.
    syncing: Mutex<()>,
}

impl Core {
    /// Makes the call, or lets it fail. Undoing what it did before it failed is `undo`'s.
    fn call<T>(&self, kind: CallKind, path: &Path, run: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.plan.admit(kind, path) {
            None => run(),
            Some(failure) => {
                if failure.fault.reach == Reach::Whole {
                    // Whatever came of it: the caller never learns.
                    let _ = run();
                }
                Err(failure.error(kind, path))
            }
        }
    }

    /// Like `call`, for what leaves nothing behind when it fails.
    fn call_or_nothing<T>(&self, kind: CallKind, path: &Path, run: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.plan.admit(kind, path) {
            None => run(),
            Some(failure) => Err(failure.error(kind, path)),
        }
    }

    fn sync(&self, kind: CallKind, path: &Path, run: impl FnOnce() -> Result<()>) -> Result<()> {
        // Also the syncs that succeed wait here, or one of them would take the armed failure of another.
        let _turn = self.syncing.lock();
        match self.plan.admit(kind, path) {
            None => run(),
            Some(failure) => {
                match (&self.sim, failure.fault.reach) {
                    (_, Reach::Whole) => drop(run()),
                    (Some(sim), _) => {
                        sim.break_next_sync(failure.fault.errno);
                        drop(run());
                    }
                    (None, _) => {}
                }
                Err(failure.error(kind, path))
            }
        }
    }
}

impl FaultEnv {
    /// Wraps `inner`; the plan is empty. A failing sync is just not made.
    pub fn new(inner: Arc<dyn Env>) -> (Arc<FaultEnv>, FaultPlan) {
        FaultEnv::wrap(inner, None)
    }

    /// Wraps a simulated machine, in which a failing sync loses what it should have written.
    pub fn over_sim(sim: &SimEnv) -> (Arc<FaultEnv>, FaultPlan) {
        FaultEnv::wrap(sim.shared(), Some(sim.clone()))
    }

    fn wrap(inner: Arc<dyn Env>, sim: Option<SimEnv>) -> (Arc<FaultEnv>, FaultPlan) {
        let plan = FaultPlan::new();
        let core = Core { inner, sim, plan: plan.clone(), syncing: Mutex::new(()) };
        (Arc::new(FaultEnv { core: Arc::new(core) }), plan)
    }

    fn inner(&self) -> &dyn Env {
        &*self.core.inner
    }

    fn call<T>(&self, kind: CallKind, path: &Path, run: impl FnOnce(&dyn Env) -> Result<T>) -> Result<T> {
        self.core.call(kind, path, || run(self.inner()))
    }

    fn append(&self, path: &Path, inner: Box<dyn AppendFile>) -> Box<dyn AppendFile> {
        Box::new(FaultAppend::new(self.core.clone(), path, inner))
    }

    fn segment(&self, path: &Path, inner: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
        Box::new(FaultSegment { core: self.core.clone(), path: path.to_owned(), inner })
    }
}

impl Env for FaultEnv {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.call(CallKind::CreateDir, dir, |env| env.create_dir(dir))
    }

    fn list_dir(&self, dir: &Path) -> Result<Vec<OsString>> {
        self.call(CallKind::ListDir, dir, |env| env.list_dir(dir))
    }

    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        self.inner().real_path(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.core.sync(CallKind::SyncDir, dir, || self.inner().sync_dir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.call(CallKind::Rename, from, |env| env.rename(from, to))
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.call(CallKind::Unlink, path, |env| env.unlink(path))
    }

    fn free_space(&self, dir: &Path) -> Result<u64> {
        self.call(CallKind::FreeSpace, dir, |env| env.free_space(dir))
    }

    fn lock(&self, path: &Path, mode: LockMode) -> Result<Box<dyn DirLock>> {
        self.call(CallKind::Lock, path, |env| env.lock(path, mode))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>> {
        self.call(CallKind::Create, path, |env| env.create(path)).map(|file| self.append(path, file))
    }

    fn create_over(&self, from: &Path, to: &Path) -> Result<Option<Box<dyn AppendFile>>> {
        let opened = self.call(CallKind::Create, to, |env| env.create_over(from, to))?;
        Ok(opened.map(|file| self.append(to, file)))
    }

    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>> {
        self.call(CallKind::OpenAppend, path, |env| env.open_append(path, len)).map(|file| self.append(path, file))
    }

    fn open_read(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>> {
        let inner = self.call(CallKind::OpenRead, path, |env| env.open_read(path))?;
        Ok(inner.map(|inner| {
            Box::new(FaultRead { core: self.core.clone(), path: path.to_owned(), inner }) as Box<dyn ReadFile>
        }))
    }

    fn preferred_segment(&self, dir: &Path) -> Result<SegmentKind> {
        self.call(CallKind::PreferredSegment, dir, |env| env.preferred_segment(dir))
    }

    fn create_segment(&self, path: &Path, len: u64, kind: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        let create = || self.inner().create_segment(path, len, kind);
        self.core.call_or_nothing(CallKind::CreateSegment, path, create).map(|inner| self.segment(path, inner))
    }

    fn open_segment(&self, path: &Path, kind: SegmentKind) -> Result<Box<dyn SegmentFile>> {
        let opened = self.call(CallKind::OpenSegment, path, |env| env.open_segment(path, kind));
        opened.map(|inner| self.segment(path, inner))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        self.core.sync(CallKind::Sync, path, || self.inner().sync_file(path))
    }

    fn populate(&self, memory: &Memory) {
        self.inner().populate(memory);
    }

    fn random(&self) -> u64 {
        self.inner().random()
    }

    fn is_volatile(&self) -> bool {
        self.inner().is_volatile()
    }

    fn fork_generation(&self) -> u64 {
        self.inner().fork_generation()
    }

    fn now(&self) -> Duration {
        self.inner().now()
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Spawned> {
        self.core.call_or_nothing(CallKind::Spawn, Path::new(name), || self.inner().spawn(name, body))
    }
}
