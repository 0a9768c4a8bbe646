//! Failing calls.
//!
//! Proves: whatever call to the operating system fails, with whatever error, once or for ever, and however much of it was done:
//! nothing panics or hangs, and no read gives a wrong answer. A write whose error says that nothing was written was not;
//! one that poisons the store is unknown, and no write is accepted after it until the store is opened again. A sync that failed is not
//! tried again. A full disk heals. What was acknowledged is there when the store is opened again, and what was acknowledged
//! as durable is there after a power cut, also when a sync lost what it should have written.
//!
//! How: each scenario runs with its n-th call failing, for n = 1, 2, ... until it passes untouched, for several errors, for once
//! and for ever, for calls that did nothing, a part and the whole. An error is only accepted from a call during which a fault
//! fired, or from a store that is poisoned. Over the simulated machine and over real files.
//!
//! `KVS_SEED` repeats a run; a failure prints scenario, fault and n.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/mod.rs"]
mod common;
#[path = "faults/full.rs"]
mod full;
#[path = "crash/history.rs"]
mod history;

use std::path::PathBuf;
use std::sync::Arc;

use common::Rng;
use history::{DIR, History};
use kvs::env::Env;
use kvs::env::fault::{CallKind, Fault, FaultEnv, FaultPlan, Reach};
use kvs::env::os::OsEnv;
use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, Durability, Error, ErrorKind, LogBackend, Options};

/// A store with faults, and what it may answer.
struct Session {
    env: Arc<dyn Env>,
    plan: FaultPlan,
    sim: Option<SimEnv>,
    dir: PathBuf,
    options: Options,
    history: History,
    db: Option<Db>,
    /// Whether the last commit happened is not known.
    unknown: bool,
    /// Faults that had fired when the last call to the store began.
    fired: u64,
    /// How many calls there had been at each open.
    opens: Vec<u64>,
    /// Which call fails first, from 1; whether all after it do; how many there were when that was over.
    n: u64,
    fault_is_forever: bool,
    faults_end: u64,
    /// So many writes the store called durable when the faults were over.
    claim: u64,
    rng: Rng,
    context: String,
    _keep: Option<tempfile::TempDir>,
}

impl Session {
    fn fail(&self, what: &str, e: &Error) -> ! {
        panic!("{}: {what}: {e:?}", self.context)
    }

    /// A call to the store begins.
    fn begin(&mut self) {
        self.fired = self.plan.fired();
    }

    /// An error needs a cause: a fault that fired meanwhile, or one that the worker met.
    fn excuse(&self, what: &str, e: &Error) {
        if self.plan.fired() == self.fired && e.kind() != ErrorKind::Poisoned {
            self.fail(&format!("{what}: an error although no call failed"), e);
        }
    }

    fn poisoned(&self) -> bool {
        self.db.as_ref().is_some_and(|db| db.stats().poisoned == 1)
    }

    /// Opens the store; tries again if a fault that is over came in between.
    fn open(&mut self) {
        self.db = None;
        self.unknown = false;
        for attempt in 0..2 {
            self.begin();
            self.opens.push(self.plan.calls());
            match Db::open_with(Arc::clone(&self.env), &self.dir, self.options.clone()) {
                Ok(db) => {
                    let n = self.history.check(&db, self.history.kept, &|| format!("{}: open", self.context));
                    self.db = Some(db);
                    if !self.options.read_only {
                        self.history.settle(n);
                    }
                    return;
                }
                Err(e) => self.excuse(&format!("open, attempt {attempt}"), &e),
            }
        }
    }

    fn write(&mut self, durability: Durability) {
        self.begin();
        let Some(db) = &self.db else { return };
        let (was_poisoned, mapped) = (self.poisoned(), self.options.log_backend == LogBackend::Mapped);
        let Err(e) = self.history.write(db, &mut self.rng, durability, mapped) else {
            assert!(!was_poisoned, "{}: a poisoned store accepted a write", self.context);
            return self.read();
        };
        if was_poisoned {
            assert_eq!(e.kind(), ErrorKind::Poisoned, "{}: {e:?}", self.context);
            self.history.undo();
            return;
        }
        self.excuse("write", &e);
        if self.poisoned() {
            assert_ne!(e.kind(), ErrorKind::NoSpace, "{}: not written, yet poisoned: {e:?}", self.context);
            self.unknown = true;
        } else {
            // It did not happen, and the store goes on.
            self.history.undo();
        }
        self.read();
    }

    fn flush(&mut self) {
        self.begin();
        let Some(db) = &self.db else { return };
        let was_poisoned = self.poisoned();
        match db.flush() {
            Ok(()) => {
                assert!(!was_poisoned, "{}: a poisoned store says that it flushed", self.context);
                let all = self.history.len();
                (self.history.durable, self.history.kept) = (all, all);
            }
            Err(e) if was_poisoned => assert_eq!(e.kind(), ErrorKind::Poisoned, "{}: {e:?}", self.context),
            Err(e) => {
                self.excuse("flush", &e);
                assert!(e.kind() != ErrorKind::NoSpace || !self.poisoned(), "{}: {e:?}", self.context);
            }
        }
        self.read();
    }

    /// Reads never fail, whatever happened to writes.
    fn read(&self) {
        let Some(db) = &self.db else { return };
        let least = self.history.len() - usize::from(self.unknown);
        self.history.check(db, least, &|| format!("{}: read", self.context));
        let snapshot = db.snapshot().unwrap_or_else(|e| self.fail("snapshot", &e));
        assert_eq!(snapshot.iter().unwrap_or_else(|e| self.fail("iterate", &e)).count(), db.iter().unwrap().count());
    }

    fn verify(&mut self) {
        self.begin();
        let Some(db) = &self.db else { return };
        if let Err(e) = db.verify() {
            self.excuse("verify", &e);
            assert_ne!(e.kind(), ErrorKind::Corruption, "{}: a failed call taken for damage: {e:?}", self.context);
        } else if !self.options.read_only && !self.poisoned() {
            let all = self.history.len();
            (self.history.durable, self.history.kept) = (all, all);
        }
    }

    fn worker(&self) {
        if let Some(db) = &self.db {
            db.step_worker();
        }
    }

    fn close(&mut self) {
        self.begin();
        let Some(db) = self.db.take() else { return };
        let was_poisoned = db.stats().poisoned == 1;
        match db.close() {
            Ok(()) => {
                assert!(!was_poisoned, "{}: a poisoned store says that it closed well", self.context);
                let all = self.history.len();
                (self.history.durable, self.history.kept) = (all, all);
            }
            Err(e) if was_poisoned => assert_eq!(e.kind(), ErrorKind::Poisoned, "{}: {e:?}", self.context),
            Err(e) => self.excuse("close", &e),
        }
        assert_eq!(db.get("x").unwrap_err().kind(), ErrorKind::Closed, "{}", self.context);
    }

    /// The faults are over.
    fn finish(mut self) {
        let seed = self.rng.next();
        self.faults_end = self.plan.calls();
        self.no_sync_twice();
        self.plan.clear();
        if self.db.is_some() {
            let db = self.db.take();
            self.claim = db.as_ref().map_or(0, |db| db.stats().durable_seq);
            self.crash(seed, self.history.durable, "cut with the store open");
            drop(db);
        }
        self.crash(seed + 1, self.history.durable, "cut after the faults");
        self.options.read_only = false;
        self.open();
        for durability in [Durability::Process, Durability::Sync] {
            self.write(durability);
        }
        self.verify();
        let all = self.history.len();
        self.crash(seed + 2, all, "cut after life went on");
        self.close();
        self.open();
        assert_eq!(self.history.len(), all, "{}", self.context);
    }

    /// The failed syncs: their places among all calls, from 0.
    fn failed_syncs(&self) -> Vec<u64> {
        let (n, log) = (self.n - 1, self.plan.log());
        let end = if self.fault_is_forever { self.faults_end } else { n + 1 };
        let is_sync = |at: &u64| matches!(log.get(*at as usize), Some((CallKind::Sync | CallKind::SyncDir, _)));
        (n..end).filter(is_sync).collect()
    }

    /// Was the store opened again on a machine that has lost what a sync should have written, and that let nobody leave a mark of it?
    /// What the store read then may never have been on the disk, and nothing that it can ask tells it so.
    fn went_on_after_a_loss_without_a_mark(&self) -> bool {
        let unmarked = |at: &u64| self.fault_is_forever && self.opens.iter().any(|open| open > at);
        self.failed_syncs().iter().any(unmarked)
    }

    /// Opens what a power cut may leave.
    fn crash(&self, seed: u64, least: usize, when: &str) {
        let Some(sim) = self.sim.as_ref().filter(|_| !self.went_on_after_a_loss_without_a_mark()) else { return };
        for model in [CutModel::Strict, CutModel::Hostile] {
            let context = || format!("{}: {when}, image {seed} {model:?}", self.context);
            let options = Options { read_only: false, ..self.options.clone() };
            match history::open(&sim.crash_image(seed, model), &options) {
                Ok(db) => {
                    self.history.check(&db, least, &context);
                    assert!(db.stats().visible_seq >= self.claim, "{}: less than was called durable", context());
                }
                Err(e) => panic!("{}: {e:?}", context()),
            }
        }
    }

    /// No file or directory is synced again, before the next open, once that failed.
    fn no_sync_twice(&self) {
        let log = self.plan.log();
        for at in self.failed_syncs() {
            let end = self.opens.iter().copied().find(|&open| open > at).unwrap_or(log.len() as u64) as usize;
            let (call, later) = (&log[at as usize], &log[at as usize + 1..end]);
            assert!(!later.contains(call), "{}: {call:?} failed and was tried again", self.context);
        }
    }
}

/// What runs before the faults, and what runs with them.
type Scenario = (&'static str, fn(&mut Session), fn(&mut Session));

const SCENARIOS: [Scenario; 7] = [
    (
        "a new store",
        |_| {},
        |s| {
            s.open();
            s.write(Durability::Process);
            s.write(Durability::None);
            s.write(Durability::Sync);
            s.flush();
            s.close();
        },
    ),
    (
        "rotations",
        |_| {},
        |s| {
            s.open();
            for n in 0..24 {
                s.write([Durability::Process, Durability::None, Durability::Process, Durability::Sync][n % 4]);
                if n % 3 == 0 {
                    s.worker();
                }
            }
            s.flush();
            s.close();
        },
    ),
    (
        "rotations without a sync",
        |_| {},
        |s| {
            s.open();
            for n in 0..20 {
                s.write([Durability::Process, Durability::None][n % 2]);
                if n % 5 == 0 {
                    s.worker();
                }
            }
            s.flush();
            s.write(Durability::Process);
        },
    ),
    ("opened after a close", written_and_closed, |s| {
        s.open();
        (0..4).for_each(|_| s.write(Durability::Sync));
        s.verify();
        s.close();
        s.open();
        s.write(Durability::Process);
    }),
    ("opened after a kill", written_and_killed, |s| {
        s.open();
        s.verify();
        s.write(Durability::Sync);
        s.close();
    }),
    ("opened after a failed sync", written_and_not_synced, |s| {
        s.open();
        s.verify();
        s.write(Durability::Sync);
        s.close();
    }),
    ("opened read-only", written_and_closed, |s| {
        s.options.read_only = true;
        s.open();
        s.read();
        s.verify();
        s.close();
    }),
];

fn written_and_closed(s: &mut Session) {
    s.open();
    (0..12).for_each(|_| s.write(Durability::Process));
    s.close();
}

fn written_and_killed(s: &mut Session) {
    s.open();
    (0..8).for_each(|_| s.write(Durability::Process));
    s.flush();
    (0..8).for_each(|_| s.write(Durability::Process));
    // Real files: the files of a closed store will do.
    if let Some(sim) = &s.sim {
        sim.cut_after(sim.ops());
        s.db = None;
        sim.cut_after(u64::MAX);
    }
    s.db = None;
}

fn written_and_not_synced(s: &mut Session) {
    s.open();
    (0..4).for_each(|_| s.write(Durability::Process));
    s.flush();
    (0..8).for_each(|_| s.write(Durability::Process));
    s.plan.fail_next(Fault::eio().on(CallKind::Sync));
    s.flush();
    s.close();
}

/// Runs `scenario` with `fault` at the n-th call. False if there was no such call.
fn run(scenario: &Scenario, seed: u64, backend: LogBackend, n: u64, fault: Fault, forever: bool, real: bool) -> bool {
    let mut rng = Rng::new(seed);
    let (name, prepare, work) = scenario;
    let fault = if forever { fault.forever() } else { fault };
    let keep = real.then(|| tempfile::tempdir().unwrap());
    let sim = (!real).then(|| SimEnv::new(rng.next()));
    let (env, plan) = match &sim {
        Some(sim) => FaultEnv::over_sim(sim),
        None => FaultEnv::new(OsEnv::shared()),
    };
    plan.set_seed(rng.next());
    let mut session = Session {
        env,
        plan: plan.clone(),
        sim,
        dir: keep.as_ref().map_or(PathBuf::from(DIR), |dir| dir.path().join("db")),
        options: Options {
            log_backend: backend,
            segment_bytes_min: 4 << 10,
            segment_bytes_max: 8 << 10,
            ..common::tiny()
        },
        history: History::default(),
        db: None,
        unknown: false,
        fired: 0,
        opens: Vec::new(),
        n,
        fault_is_forever: forever,
        faults_end: 0,
        claim: 0,
        rng,
        context: format!("{name:?}, {backend:?}, seed {seed}, call {n}, {fault:?}"),
        _keep: keep,
    };
    prepare(&mut session);
    plan.reset();
    session.opens.clear();
    plan.fail_nth(n, fault);
    work(&mut session);
    let fired = plan.fired() > 0;
    session.finish();
    fired
}

fn errors() -> Vec<(i32, &'static str)> {
    vec![
        (libc::EIO, "EIO"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::EMFILE, "EMFILE"),
        (libc::EROFS, "EROFS"),
        (libc::EACCES, "EACCES"),
    ]
}

/// Every call of every scenario fails in every way, on the simulated machine.
fn simulated(backend: LogBackend, seed: u64) {
    let (mut runs, mut fired) = (0u64, 0u64);
    for scenario in &SCENARIOS {
        for (errno, _) in errors() {
            for reach in [Reach::Nothing, Reach::Part, Reach::Whole] {
                for forever in [false, true] {
                    let fault = Fault::new(errno).reaching(reach);
                    let mut n = 1;
                    while run(scenario, seed, backend, n, fault, forever, false) {
                        n += 1;
                    }
                    assert!(n > 5, "{}: only {n} calls", scenario.0);
                    (runs, fired) = (runs + n, fired + n - 1);
                }
            }
        }
    }
    println!("{backend:?}: {runs} runs, {fired} with a fault");
}

#[test]
fn every_call_may_fail_mapped() {
    simulated(LogBackend::Mapped, common::seed(201));
}

#[test]
fn every_call_may_fail_positioned() {
    simulated(LogBackend::Positioned, common::seed(202));
}

/// The same over real files, with a worker that runs.
#[test]
fn every_call_may_fail_on_real_files() {
    let seed = common::seed(203);
    let mut rng = Rng::new(seed);
    let (mut runs, step) = (0, common::scale("KVS_FAULT_STEP", 4));
    for scenario in &SCENARIOS {
        for backend in [LogBackend::Mapped, LogBackend::Positioned] {
            for (fault, forever) in
                [(Fault::eio(), false), (Fault::eio(), true), (Fault::enospc(), false), (Fault::enospc(), true)]
            {
                let mut n = 1 + rng.below(step);
                while run(scenario, seed, backend, n, fault, forever, true) {
                    n += 1 + rng.below(2 * step);
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} runs with a fault");
    assert!(runs > 48);
}
