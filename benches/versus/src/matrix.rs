//! Which cells run, in which order, and each in a process of its own.
//!
//! 1. Repetitions are the outer loop, then shapes, workloads, stores: what is compared is measured close together.
//! 2. A workload that begins with a loaded store gets a copy of one, in a fresh directory. The store that is copied was made once a run and shape, by
//!    a process of its own (the workload `load`), compacted and closed. Copies keep holes.
//! 3. Before a cell everything is synced and the load average noted. A cell that takes longer than the limit is killed, and the report says so.
//! 4. When the time of the run is over no further cell begins. The first repetition is the whole matrix, so later ones are cut short, not rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cells::Spec;
use crate::measure;
use crate::record::{self, Metrics, Record};
use crate::shape::{self, Shape};
use crate::store::{Budget, Contestant};
use crate::workload::{Begins, LOAD, Workload};
use crate::{Result, stores, workload};

/// What the large preset leaves out: these measure the same at any number of keys, or are not asked for there.
const SMALL_ONLY: [&str; 9] =
    ["prefix", "scan_beside_write", "put_64k", "get_64k", "put_1m", "get_1m", "synced_1", "synced_8", "bytes_written"];
/// Stores of the large preset.
const LARGE: [&str; 7] = ["kvs", "kvs_pinned", "rocksdb", "lmdb", "lmdb_writemap", "leveldb", "fjall"];

/// A set of options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// A million keys, every store of the build, every workload; other sizes of keys and values in the main rows, once.
    #[default]
    Default,
    /// Ten million keys; kvs, RocksDB, LMDB, LevelDB and fjall, where the build has them; the main rows.
    Large,
}

/// How a run is made. What is not given comes from the preset.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the rest comes from.
    #[arg(long, value_enum, default_value_t)]
    pub preset: Preset,
    /// Keys.
    #[arg(long)]
    pub n: Option<u64>,
    /// Stores, with commas between.
    #[arg(long, value_delimiter = ',')]
    pub stores: Vec<String>,
    /// Workloads, with commas between.
    #[arg(long, value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Sizes of keys and values: 16/100, 8/8, 24/400, urls. The first has every workload and repetition, the others the main rows, once.
    #[arg(long, value_delimiter = ',')]
    pub shapes: Vec<String>,
    /// Repetitions.
    #[arg(long)]
    pub repetitions: Option<u32>,
    /// Seconds of a cell that measures a steady rate.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Seconds after which a cell that works off N operations is cut, and marked.
    #[arg(long, default_value_t = 10.0)]
    pub fill_seconds: f64,
    /// Seconds after which a cell is killed, and marked.
    #[arg(long)]
    pub limit: Option<f64>,
    /// Minutes after which no further cell begins.
    #[arg(long)]
    pub minutes: Option<f64>,
    /// MiB of write buffers. Default: those of kvs.
    #[arg(long)]
    pub memtable_mib: Option<u64>,
    /// MiB of caches. Default: the memory of kvs.
    #[arg(long)]
    pub cache_mib: Option<u64>,
    /// Where stores lie while they are measured; must be on the disk that is to be measured.
    #[arg(long, default_value = "target/run")]
    pub dir: PathBuf,
    /// The file that lines are added to.
    #[arg(long)]
    pub out: PathBuf,
    /// Begin the file anew.
    #[arg(long)]
    pub fresh: bool,
}

/// What the process of a cell prints.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The numbers, and whether a limit of time cut them.
    Measured(Metrics, bool),
    /// Why there are none.
    Failed(String),
}

/// A run with nothing left open.
#[derive(Debug)]
struct Run {
    n: u64,
    stores: Vec<Contestant>,
    workloads: Vec<Workload>,
    shapes: Vec<Shape>,
    repetitions: u32,
    seconds: f64,
    fill_seconds: f64,
    limit: Duration,
    end: Instant,
    budget: Budget,
    dir: PathBuf,
    out: PathBuf,
    program: PathBuf,
    commit: String,
    command: String,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cells that ran.
    pub cells: usize,
    /// Cells without numbers.
    pub failed: usize,
    /// Cells that did not begin since the time was over.
    pub left_out: usize,
    /// Some of those were of the first repetition: rows are missing from the report.
    pub incomplete: bool,
}

impl Run {
    fn new(options: &Options) -> Result<Run> {
        let large = options.preset == Preset::Large;
        let preset_stores: Vec<String> = stores::all()
            .iter()
            .map(|c| c.name)
            .filter(|name| !large || LARGE.contains(name))
            .map(str::to_owned)
            .collect();
        let preset_workloads: Vec<String> = workload::WORKLOADS
            .iter()
            .map(|w| w.name)
            .filter(|name| !large || !SMALL_ONLY.contains(name))
            .map(str::to_owned)
            .collect();
        let preset_shapes: Vec<String> =
            shape::SHAPES.iter().map(|s| s.name.to_owned()).take(if large { 1 } else { usize::MAX }).collect();
        let chosen = |given: &[String], preset: Vec<String>| if given.is_empty() { preset } else { given.to_vec() };
        let shape = |name: &String| shape::by_name(name).ok_or_else(|| format!("there is no shape {name:?}").into());
        let default = Budget::default();
        let n = options.n.unwrap_or(if large { 10_000_000 } else { 1_000_000 });
        if n < 100 {
            return Err("fewer than 100 keys measure nothing".into());
        }
        let minutes = options.minutes.unwrap_or(if large { 240.0 } else { 85.0 });
        let limit = options.limit.unwrap_or(if large { 600.0 } else { 120.0 });
        let seconds =
            |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|error| format!("{seconds} seconds: {error}"));
        Ok(Run {
            n,
            stores: chosen(&options.stores, preset_stores)
                .iter()
                .map(|name| stores::by_name(name))
                .collect::<Result<_>>()?,
            workloads: chosen(&options.workloads, preset_workloads)
                .iter()
                .map(|name| workload::by_name(name))
                .collect::<Result<_>>()?,
            shapes: chosen(&options.shapes, preset_shapes).iter().map(shape).collect::<Result<_>>()?,
            repetitions: options.repetitions.unwrap_or(if large { 2 } else { 3 }),
            seconds: options.seconds,
            fill_seconds: options.fill_seconds,
            limit: seconds(limit)?,
            end: Instant::now() + seconds(minutes * 60.0)?,
            budget: Budget {
                memtable_bytes: options.memtable_mib.map_or(default.memtable_bytes, |mib| mib << 20),
                cache_bytes: options.cache_mib.map_or(default.cache_bytes, |mib| mib << 20),
            },
            dir: options.dir.clone(),
            out: options.out.clone(),
            program: std::env::current_exe()?,
            commit: commit(),
            command: command(),
        })
    }

    /// Every cell, in order: repetition, shape, workload, store.
    fn plan(&self) -> Vec<(u32, Shape, Workload, Contestant)> {
        let mut plan = Vec::new();
        for repetition in 1..=self.repetitions {
            for (place, &shape) in self.shapes.iter().enumerate() {
                if place > 0 && repetition > 1 {
                    continue;
                }
                for &workload in self.workloads.iter().filter(|workload| place == 0 || workload.main) {
                    let suits = self.stores.iter().filter(|contestant| workload.suits(contestant));
                    // Limits in memory are of interest at one size.
                    let suits = suits.filter(|contestant| place == 0 || contestant.is_durable());
                    plan.extend(suits.map(|&contestant| (repetition, shape, workload, contestant)));
                }
            }
        }
        plan
    }

    fn spec(&self, contestant: &Contestant, workload: &Workload, shape: Shape, repetition: u32, dir: PathBuf) -> Spec {
        Spec {
            store: contestant.name.to_owned(),
            workload: workload.name.to_owned(),
            shape: shape.name.to_owned(),
            n: self.n,
            seconds: self.seconds,
            fill_seconds: self.fill_seconds,
            memtable_bytes: self.budget.memtable_bytes,
            cache_bytes: self.budget.cache_bytes,
            dir,
            program: self.program.clone(),
            seed: u64::from(repetition),
        }
    }

    /// Runs one cell in a process of its own and writes its line.
    fn run_cell(
        &self,
        contestant: &Contestant,
        workload: &Workload,
        shape: Shape,
        repetition: u32,
        dir: &Path,
        limit: Duration,
    ) -> Result<bool> {
        measure::sync();
        let load_average = measure::load_average();
        let spec = self.spec(contestant, workload, shape, repetition, dir.to_owned());
        let answer = ask(&spec, limit).unwrap_or_else(|error| Answer::Failed(error.to_string()));
        let (metrics, cut, error) = match answer {
            Answer::Measured(metrics, cut) => (metrics, cut, None),
            Answer::Failed(error) => (Metrics::new(), false, Some(error.replace(&*dir.to_string_lossy(), "DIR"))),
        };
        let record = Record {
            store: contestant.name.to_owned(),
            class: workload.class(contestant),
            workload: workload.name.to_owned(),
            shape: shape.name.to_owned(),
            n: self.n,
            repetition,
            metrics,
            cut,
            error,
            load_average,
            settings: (contestant.settings)(&self.budget),
            version: contestant.version.to_owned(),
            date: measure::today(),
            commit: self.commit.clone(),
            machine: measure::machine(),
            command: self.command.clone(),
        };
        record::append(&self.out, &record)?;
        eprintln!("{}", progress(&record));
        Ok(record.error.is_none())
    }
}

/// Runs the matrix.
pub fn run(options: &Options) -> Result<Summary> {
    let run = Run::new(options)?;
    if options.fresh && run.out.exists() {
        std::fs::remove_file(&run.out)?;
    }
    if let Some(parent) = run.out.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::create_dir_all(&run.dir)?;
    let work = run.dir.canonicalize()?.join("cells");
    clear(&work)?;
    std::fs::create_dir_all(&work)?;
    let plan = run.plan();
    let mut summary = Summary::default();
    let mut templates = Templates { run: &run, dir: work.join("loaded"), shape: None, ready: BTreeMap::new() };
    for (place, (repetition, shape, workload, contestant)) in plan.iter().enumerate() {
        if Instant::now() > run.end {
            summary.left_out = plan.len() - place;
            summary.incomplete = *repetition == 1;
            let complete = repetition - 1;
            eprintln!("the time is over: {} cells left out, {complete} repetitions are complete", summary.left_out);
            break;
        }
        let dir = work.join("cell");
        clear(&dir)?;
        clear(&dir.with_extension("acknowledged"))?;
        if workload.begins == Begins::Loaded
            && contestant.is_durable()
            && !templates.copy(contestant, *shape, &dir, &mut summary)?
        {
            // Its load failed and has a line that says so.
            continue;
        }
        summary.cells += 1;
        let fine = run.run_cell(contestant, workload, *shape, *repetition, &dir, run.limit)?;
        summary.failed += usize::from(!fine);
    }
    clear(&work)?;
    Ok(summary)
}

/// Loaded stores to copy, of the shape that is being measured and of the first one.
struct Templates<'a> {
    run: &'a Run,
    dir: PathBuf,
    shape: Option<Shape>,
    /// By directory name: did the load succeed?
    ready: BTreeMap<String, bool>,
}

impl Templates<'_> {
    fn copy(&mut self, contestant: &Contestant, shape: Shape, to: &Path, summary: &mut Summary) -> Result<bool> {
        if self.shape != Some(shape) {
            self.forget_others(shape)?;
            self.shape = Some(shape);
        }
        // kvs with pinned reads is the same store.
        let store = if contestant.looks { "kvs" } else { contestant.name };
        let name = format!("{store}-{}", shape.name.replace('/', "-"));
        let from = self.dir.join(&name);
        let ready = match self.ready.get(&name) {
            Some(&ready) => ready,
            None => {
                clear(&from)?;
                std::fs::create_dir_all(&self.dir)?;
                summary.cells += 1;
                let loader = stores::by_name(store)?;
                let ready = self.run.run_cell(&loader, &LOAD, shape, 1, &from, self.run.limit * 5)?;
                summary.failed += usize::from(!ready);
                self.ready.insert(name, ready);
                ready
            }
        };
        if ready {
            let mut copy = Command::new("cp");
            let status = copy.args(["-a", "--sparse=auto"]).arg(&from).arg(to).status()?;
            if !status.success() {
                return Err(format!("cp ended with {status}").into());
            }
        }
        Ok(ready)
    }

    /// Gives disk back: only the first shape comes again.
    fn forget_others(&mut self, shape: Shape) -> Result<()> {
        let first = self.run.shapes.first().copied();
        let keep: BTreeSet<String> =
            [Some(shape), first].into_iter().flatten().map(|shape| shape.name.replace('/', "-")).collect();
        let gone: Vec<String> = self
            .ready
            .keys()
            .filter(|name| !keep.iter().any(|shape| name.ends_with(&format!("-{shape}"))))
            .cloned()
            .collect();
        for name in gone {
            clear(&self.dir.join(&name))?;
            self.ready.remove(&name);
        }
        Ok(())
    }
}

/// Starts this program for one cell, and waits for its answer or for the limit.
fn ask(spec: &Spec, limit: Duration) -> Result<Answer> {
    let mut child = Command::new(&spec.program)
        .arg("cell")
        .arg(serde_json::to_string(spec)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(format!("killed after {:.0} s", limit.as_secs_f64()).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    // The answer is one short line: the pipe holds it, so it can be read after the end.
    let mut out = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut out)?;
    }
    let line = out.lines().last().ok_or_else(|| format!("its process ended with {status} and no answer"))?;
    serde_json::from_str(line)
        .map_err(|error| format!("its process ended with {status} and answered {line:?}: {error}").into())
}

/// Removes a file or a directory with all that is in it, if it is there.
fn clear(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(std::fs::remove_dir_all(path)?),
        Ok(_) => Ok(std::fs::remove_file(path)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn progress(record: &Record) -> String {
    let metrics: Vec<String> =
        record.metrics.iter().map(|(name, value)| format!("{name} {}", crate::table::number(name, *value))).collect();
    let told = record.error.clone().unwrap_or_else(|| metrics.join(", "));
    let cut = if record.cut { " (cut)" } else { "" };
    format!("{} {} {} {}{cut}: {told}", record.repetition, record.shape, record.workload, record.store)
}

/// The commit of the source, with a mark if it was changed.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    if changed { commit + "+changes" } else { commit }
}

/// The command line, without paths: they are of no interest elsewhere.
fn command() -> String {
    let mut words = vec!["kvs-versus".to_owned()];
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--dir" || argument == "--out" {
            arguments.next();
        } else if !argument.starts_with("--dir=") && !argument.starts_with("--out=") && argument != "--fresh" {
            words.push(argument);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn run_of(arguments: &[&str]) -> Run {
        let arguments = Arguments::parse_from(["x", "--out", "o"].iter().chain(arguments));
        Run::new(&arguments.options).unwrap()
    }

    /// The default has every workload; each further shape only main rows, once, and of durable stores.
    #[test]
    fn the_default_plan_is_whole() {
        let run = run_of(&[]);
        let plan = run.plan();
        for workload in workload::WORKLOADS {
            assert!(plan.iter().any(|(.., planned, _)| planned.name == workload.name), "{}", workload.name);
        }
        assert!(
            plan.iter()
                .filter(|(_, shape, ..)| shape.name != "16/100")
                .all(|(r, _, w, c)| *r == 1 && w.main && c.is_durable())
        );
        assert!(plan.iter().any(|(r, ..)| *r == 3));
        assert_eq!(run.n, 1_000_000);
    }

    /// Pinned reads are in rows of reads only; a floor reads nothing; maps are not opened or killed.
    #[test]
    fn stores_take_part_where_they_can() {
        let plan = run_of(&["--repetitions", "1"]).plan();
        let rows = |store: &str| {
            plan.iter().filter(|(.., c)| c.name == store).map(|(.., w, _)| w.name).collect::<BTreeSet<_>>()
        };
        assert!(rows("kvs_pinned").iter().all(|row| row.starts_with("read_") || row.starts_with("get_")));
        assert!(
            rows("append").iter().all(|row| row.starts_with("fill_") || row.starts_with("synced_")),
            "{:?}",
            rows("append")
        );
        assert!(rows("append").contains("synced_8"));
        assert_eq!(rows("kvs").len(), workload::WORKLOADS.len());
        #[cfg(feature = "memory")]
        {
            assert!(!rows("dashmap").contains("scan_full") && rows("btreemap").contains("scan_full"));
            assert!(!rows("dashmap").contains("open_killed") && !rows("dashmap").contains("synced_1"));
        }
        #[cfg(feature = "sled")]
        assert!(!rows("sled").contains("synced_1") && rows("sled").contains("open_killed"));
    }

    #[test]
    fn the_large_preset_is_large() {
        let run = run_of(&["--preset", "large"]);
        assert_eq!((run.n, run.shapes.len()), (10_000_000, 1));
        assert!(run.plan().iter().all(|(.., w, c)| LARGE.contains(&c.name) && !SMALL_ONLY.contains(&w.name)));
        assert_eq!(run_of(&["--preset", "large", "--n", "200", "--stores", "append"]).stores.len(), 1);
    }
}
