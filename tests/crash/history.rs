//! What a store was told, what it may hold after a power cut, and the random work that a run does.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use kvs::env::sim::SimEnv;
use kvs::{Batch, Db, Durability, LogBackend, Options, Result, TableIo};

use crate::common::Rng;

/// Keys and values.
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What survives together.
#[derive(Clone, Debug)]
struct Commit {
    /// Sequence numbers that it took.
    writes: u64,
    /// Keys, and their values or that they are gone, in order.
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Where every simulated store lies.
pub const DIR: &str = "/db";

/// Keys are few, so that most writes replace something.
const KEYS: u64 = 48;

/// A key of the small universe that all runs share, of several lengths.
pub fn key(n: u64) -> Vec<u8> {
    let n = n % KEYS;
    [n.to_string().as_bytes(), &vec![b'.'; (n % 5 * 7) as usize]].concat()
}

/// The commits of a run, in order, and how many of them are known to survive.
#[derive(Clone, Debug, Default)]
pub struct History {
    commits: Vec<Commit>,
    /// So many first commits survive a power cut.
    pub durable: usize,
    /// So many first commits survive the death of the process.
    pub kept: usize,
    written: u64,
}

impl History {
    /// How many commits were begun.
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// The store's contents after the first `n` commits.
    pub fn state(&self, n: usize) -> Map {
        let mut map = Map::new();
        for (key, value) in self.commits[..n].iter().flat_map(|commit| &commit.changes) {
            match value {
                Some(value) => drop(map.insert(key.clone(), value.clone())),
                None => drop(map.remove(key)),
            }
        }
        map
    }

    /// How many first commits have together `seq` writes. `None`: that number falls within a commit, or beyond the last.
    pub fn commits_at(&self, seq: u64) -> Option<usize> {
        let mut sum = 0;
        for (n, commit) in self.commits.iter().enumerate() {
            if sum >= seq {
                return (sum == seq).then_some(n);
            }
            sum += commit.writes;
        }
        (sum == seq).then_some(self.commits.len())
    }

    /// Those after the first `n` never happened, and those are durable.
    pub fn settle(&mut self, n: usize) {
        self.commits.truncate(n);
        (self.durable, self.kept) = (n, n);
    }

    /// The last commit did not happen.
    pub fn undo(&mut self) {
        self.commits.pop();
    }

    /// The values that follow are those of a new history; they repeat earlier ones.
    pub fn restart_values(&mut self) {
        self.written = 0;
    }

    /// A value that no other write of this history has.
    fn value(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.written += 1;
        let len = match rng.below(40) {
            0 => rng.below(9000),
            1..4 => rng.below(2500),
            4 => 0,
            _ => rng.below(300),
        };
        let mut value = format!("{}:", self.written).into_bytes();
        let fill = rng.next() as u8;
        value.extend((0..len).map(|i| fill.wrapping_add((i * 7) as u8)));
        value
    }

    /// One random commit, noted and made.
    pub fn write(&mut self, db: &Db, rng: &mut Rng, durability: Durability, mapped: bool) -> Result<()> {
        let writes = match rng.below(5) {
            0 => 2 + rng.below(9),
            _ => 1,
        };
        if rng.one_in(25) {
            return self.delete_range(db, rng, durability, mapped);
        }
        let commit: Vec<_> = (0..writes)
            .map(|_| {
                let value = if rng.one_in(5) { None } else { Some(self.value(rng)) };
                (key(rng.next()), value)
            })
            .collect();
        self.commits.push(Commit { writes: commit.len() as u64, changes: commit });
        match &self.commits[self.commits.len() - 1].changes[..] {
            [(key, Some(value))] => db.put_with(key, value, durability)?,
            [(key, None)] => db.delete_with(key, durability)?,
            several => {
                let mut batch = Batch::new();
                for (key, value) in several {
                    match value {
                        Some(value) => drop(batch.put(key, value)),
                        None => drop(batch.delete(key)),
                    }
                }
                db.write_with(&batch, durability)?;
            }
        }
        self.acknowledged(durability, mapped);
        Ok(())
    }

    fn acknowledged(&mut self, durability: Durability, mapped: bool) {
        if durability != Durability::None || mapped {
            self.kept = self.len();
        }
        if durability == Durability::Sync {
            self.durable = self.len();
        }
    }

    /// One random range delete, noted and made: one write, however many keys it takes.
    fn delete_range(&mut self, db: &Db, rng: &mut Rng, durability: Durability, mapped: bool) -> Result<()> {
        let (a, b) = (key(rng.next()), key(rng.next()));
        let (start, stop) = if a < b { (a, b) } else { (b, a) };
        let within = |key: &Vec<u8>| start <= *key && *key < stop;
        let changes = (0..KEYS).map(key).filter(within).map(|key| (key, None)).collect();
        self.commits.push(Commit { writes: 1, changes });
        let mut batch = Batch::new();
        batch.delete_range(start.as_slice()..stop.as_slice());
        db.write_with(&batch, durability)?;
        self.acknowledged(durability, mapped);
        Ok(())
    }

    /// Checks that `db` holds exactly what some first commits left, at least `least` of them, and says how many.
    /// Every key is read by a scan and by itself.
    pub fn check(&self, db: &Db, least: usize, context: &dyn Fn() -> String) -> usize {
        let seq = db.stats().visible_seq;
        let found: Map = db
            .iter()
            .unwrap_or_else(|e| panic!("{}: scan: {e:?}", context()))
            .map(|pair| pair.unwrap_or_else(|e| panic!("{}: scan: {e:?}", context())))
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect();
        // The number of writes says which commits these should be; if it lies, tell what the contents say.
        let n = self.commits_at(seq).filter(|n| self.state(*n) == found).unwrap_or_else(|| {
            let same: Vec<_> = (0..=self.len()).filter(|n| self.state(*n) == found).collect();
            panic!(
                "{}: the store has {seq} writes and {} keys: no whole number of the {} commits; its contents are those after {same:?}",
                context(),
                found.len(),
                self.len()
            )
        });
        assert!(n >= least, "{}: {n} commits survived of {}, and {least} were acknowledged", context(), self.len());
        for n in 0..KEYS {
            let key = key(n);
            let read = db.get_owned(&key).unwrap_or_else(|e| panic!("{}: get: {e:?}", context()));
            assert_eq!(read.as_ref(), found.get(&key), "{}: a scan and a get differ", context());
        }
        n
    }
}

/// Opens the store of `sim`.
pub fn open(sim: &SimEnv, options: &Options) -> Result<Db> {
    Db::open_with(sim.shared(), DIR, options.clone())
}

/// Options with segments of a few KiB, so that a few dozen writes rotate.
pub fn tiny(log_backend: LogBackend, rng: &mut Rng) -> Options {
    let segment_bytes_min = 4096 << rng.below(2);
    let segment_bytes_max = segment_bytes_min << rng.below(4);
    let table_io = if rng.one_in(2) { TableIo::Mapped } else { TableIo::Positioned };
    Options {
        log_backend,
        segment_bytes_min,
        segment_bytes_max,
        memtable_bytes_max: 16 << 10 << rng.below(3),
        table_bytes_max: 4 << 10 << rng.below(3),
        block_bytes: 256 << rng.below(4),
        table_io,
        cache_bytes: 8 << 10,
        runs_max: 1 + rng.below(4),
        ..Options::default()
    }
}

/// A run of random work, complete or cut off.
pub struct Run {
    pub sim: SimEnv,
    pub options: Options,
    pub history: History,
    /// So many writes the store called durable at its end.
    pub claimed: u64,
    /// Effect counts at which the store went on to another segment, flushed, merged, or was closed, killed or opened.
    pub edges: Vec<u64>,
    /// Flushes and steps of merges, of the sessions that were not killed.
    pub flushes: u64,
    pub merge_steps: u64,
    /// Segments made of the files of earlier ones, of those sessions.
    pub refills: u64,
    /// Tables written over the files of earlier ones, of those sessions.
    pub written_over: u64,
}

/// Random work on a new machine, the same for the same seed, with the power cut after so many effects.
pub fn run(seed: u64, backend: LogBackend, cut: Option<u64>) -> Run {
    let mut rng = Rng::new(seed);
    let sim = SimEnv::new(rng.next());
    sim.set_written_back_once_in([0, 3, 32][rng.below(3) as usize]);
    let mapped = backend == LogBackend::Mapped;
    let options = tiny(backend, &mut rng);
    let steps = 20 + rng.below(120);
    // How often is synced differs from run to run.
    let syncs = [0, 1, 6, 40][rng.below(4) as usize];
    let (mut history, mut edges, mut rotations) = (History::default(), Vec::new(), 0);
    let cut = cut.unwrap_or(u64::MAX);
    sim.cut_after(cut);
    let mut last: Option<Db> = None;
    let (flushes, merge_steps, refills, written_over) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let note = |db: &Db| {
        let stats = db.stats();
        flushes.set(flushes.get() + stats.flushes);
        merge_steps.set(merge_steps.get() + stats.merge_steps);
        refills.set(refills.get() + stats.segments_refilled);
        written_over.set(written_over.get() + stats.tables_written_over);
    };
    let _ = (|| -> Result<()> {
        let fail = |e: kvs::Error| {
            assert!(sim.power_is_off(), "seed {seed} {backend:?}: an error with the power on: {e:?}");
            e
        };
        let mut db = open(&sim, &options).map_err(fail)?;
        last = Some(db.clone());
        for _ in 0..steps {
            match rng.below(100) {
                0..4 => db.step_worker(),
                4..7 => {
                    let before = sim.ops();
                    match rng.below(6) {
                        0 => db.compact::<&[u8]>(..).map_err(fail)?,
                        1 => db.compact(key(rng.next())..key(rng.next())).map_err(fail)?,
                        2 | 3 => db.flush().map_err(fail)?,
                        _ => db.sync().map_err(fail)?,
                    }
                    edges.extend([before, before + 8, sim.ops()]);
                    history.durable = history.len();
                    history.kept = history.len();
                }
                7..9 => {
                    edges.push(sim.ops());
                    note(&db);
                    db.close().map_err(fail)?;
                    history.settle(history.len());
                    db = open(&sim, &options).map_err(fail)?;
                    last = Some(db.clone());
                    let n = history.check(&db, history.len(), &|| format!("seed {seed} {backend:?}: closed"));
                    history.settle(n);
                }
                9..11 => {
                    // kill -9: the process is gone, the machine goes on with all it has in its memory.
                    edges.push(sim.ops());
                    sim.cut_after(sim.ops());
                    (last, _) = (None, drop(db));
                    sim.cut_after(cut);
                    db = open(&sim, &options).map_err(fail)?;
                    last = Some(db.clone());
                    let n = history.check(&db, history.kept, &|| format!("seed {seed} {backend:?}: killed"));
                    history.settle(n);
                    edges.push(sim.ops());
                }
                _ => {
                    let durability = match rng.below(100) {
                        n if n < syncs => Durability::Sync,
                        90.. => Durability::None,
                        _ => Durability::Process,
                    };
                    let before = sim.ops();
                    history.write(&db, &mut rng, durability, mapped).map_err(fail)?;
                    let stats = db.stats();
                    let turns = stats.rotations + stats.flushes + stats.merge_steps;
                    if turns > rotations {
                        edges.extend([before, (before + sim.ops()) / 2, sim.ops()]);
                    }
                    rotations = turns;
                    // Under load the worker is late or early.
                    if rng.one_in(4) {
                        db.step_worker();
                    }
                }
            }
            if sim.power_is_off() {
                break;
            }
        }
        // Whatever a last drop would make durable must not count: the images are of this moment.
        sim.cut_after(sim.ops());
        Ok(())
    })();
    let claimed = last.map_or(0, |db| {
        note(&db);
        db.stats().durable_seq
    });
    let (flushes, merge_steps) = (flushes.get(), merge_steps.get());
    let (refills, written_over) = (refills.get(), written_over.get());
    Run { sim, options, history, claimed, edges, flushes, merge_steps, refills, written_over }
}

/// Log files of the store in `sim`, with their contents.
pub fn logs(sim: &SimEnv) -> Vec<(PathBuf, Vec<u8>)> {
    let is_log = |path: &PathBuf| path.starts_with(DIR) && path.extension() == Some("log".as_ref());
    let read = |path: PathBuf| (path.clone(), sim.read_file(&path).unwrap_or_default());
    sim.list().into_iter().filter(is_log).map(read).collect()
}

/// The frames of a log, as they say themselves: offset, length, first sequence number, number of records.
pub fn frames(log: &[u8]) -> Vec<(usize, usize, u64, u64)> {
    let mut frames = Vec::new();
    let mut at = 80;
    while let Some(head) = log.get(at..at + 24) {
        let len = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize * 8;
        let count = u64::from(u32::from_le_bytes(head[4..8].try_into().unwrap()));
        let first = u64::from_le_bytes(head[8..16].try_into().unwrap());
        if len < 24 || at + len > log.len() {
            break;
        }
        frames.push((at, len, first, count));
        at += len;
    }
    frames
}
