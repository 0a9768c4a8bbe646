//! Which cells run, in which order, and each in a process of its own.
//!
//! 1. Numbers of keys are the outermost loop, then repetitions, shapes, workloads, stores: what is compared is measured close together.
//! 2. A workload that begins with a loaded store gets a copy of one, in a fresh directory. The store that is copied was made once a run and shape, by
//!    a process of its own (the workload `load`), compacted and closed. Copies keep holes. Those of a number of keys go before the next one's come.
//! 3. Before a cell everything is synced and the load average noted. A cell that takes longer than the limit is killed, and the report says so.
//! 4. Where memory is limited each cell, loads too, has a [`Group`] of its own, and a copied store is taken out of the page cache first: what others
//!    have read is not counted.
//! 5. When the time of the run is over no further cell begins. The first repetition is the whole matrix, so later ones are cut short, not rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cells::Spec;
use crate::group::Group;
use crate::measure;
use crate::preset::Preset;
use crate::record::{self, Metrics, Record};
use crate::shape::{self, Shape};
use crate::store::{Budget, Contestant};
use crate::workload::{Begins, LOAD, Workload};
use crate::{Result, stores, workload};

/// How a run is made. What is not given comes from the preset.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the rest comes from.
    #[arg(long, value_enum, default_value_t)]
    pub preset: Preset,
    /// Keys. Several numbers, with commas between, are measured one after the other.
    #[arg(long, value_delimiter = ',')]
    pub n: Vec<u64>,
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
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Seconds after which a cell that works off N operations is cut, and marked.
    #[arg(long)]
    pub fill_seconds: Option<f64>,
    /// Seconds after which a cell is killed, and marked.
    #[arg(long)]
    pub limit: Option<f64>,
    /// Minutes after which no further cell begins.
    #[arg(long)]
    pub minutes: Option<f64>,
    /// MiB that the process of a cell may use, page cache included. Needs root and cgroups.
    #[arg(long)]
    pub memory_mib: Option<u64>,
    /// MiB of write buffers. Default: those of kvs, or an eighth of the limit of memory.
    #[arg(long)]
    pub memtable_mib: Option<u64>,
    /// MiB of caches. Default: the memory of kvs, or an eighth of the limit of memory.
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
    /// The numbers, those of each second, and whether a limit of time cut them.
    Measured(Metrics, Vec<f64>, bool),
    /// Why there are none.
    Failed(String),
}

/// How the memory of a cell is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Unlimited,
    Bytes(u64),
    /// The pairs are so many times as large.
    Share(u64),
}

/// With less there is no room for a process and its smallest buffers.
const MEMORY_BYTES_MIN: u64 = 24 << 20;

/// What is the same for a row of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting {
    n: u64,
    shape: Shape,
    repetition: u32,
}

/// A cell that will run.
#[derive(Clone, Copy, Debug)]
struct Planned {
    at: Setting,
    workload: Workload,
    contestant: Contestant,
}

/// A run with nothing left open.
#[derive(Debug)]
struct Run {
    sizes: Vec<u64>,
    stores: Vec<Contestant>,
    workloads: Vec<Workload>,
    shapes: Vec<Shape>,
    repetitions: u32,
    seconds: f64,
    fill_seconds: f64,
    limit: Duration,
    end: Instant,
    memtable_bytes: Option<u64>,
    cache_bytes: Option<u64>,
    memory: Memory,
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
        let (preset, numbers) = (options.preset, options.preset.numbers());
        let names = |given: &[String], preset: Vec<&'static str>| {
            if given.is_empty() { preset.into_iter().map(str::to_owned).collect() } else { given.to_vec() }
        };
        let preset_stores = stores::all().iter().filter(|c| preset.has_store(c)).map(|c| c.name).collect();
        let preset_workloads = workload::WORKLOADS.iter().filter(|w| preset.has_workload(w)).map(|w| w.name).collect();
        let preset_shapes = shape::SHAPES.iter().map(|s| s.name).take(numbers.shapes).collect();
        let shape = |name: &String| shape::by_name(name).ok_or_else(|| format!("there is no shape {name:?}").into());
        let sizes = if options.n.is_empty() { numbers.sizes.to_vec() } else { options.n.clone() };
        if sizes.iter().any(|&n| n < 100) {
            return Err("fewer than 100 keys measure nothing".into());
        }
        let seconds =
            |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|error| format!("{seconds} seconds: {error}"));
        let run = Run {
            sizes,
            stores: names(&options.stores, preset_stores)
                .iter()
                .map(|name| stores::by_name(name))
                .collect::<Result<_>>()?,
            workloads: names(&options.workloads, preset_workloads)
                .iter()
                .map(|name| workload::by_name(name))
                .collect::<Result<_>>()?,
            shapes: names(&options.shapes, preset_shapes).iter().map(shape).collect::<Result<_>>()?,
            repetitions: options.repetitions.unwrap_or(numbers.repetitions),
            seconds: options.seconds.unwrap_or(numbers.seconds),
            fill_seconds: options.fill_seconds.unwrap_or(numbers.fill_seconds),
            limit: seconds(options.limit.unwrap_or(numbers.limit))?,
            end: Instant::now() + seconds(options.minutes.unwrap_or(numbers.minutes) * 60.0)?,
            memtable_bytes: options.memtable_mib.map(|mib| mib << 20),
            cache_bytes: options.cache_mib.map(|mib| mib << 20),
            memory: match (options.memory_mib, numbers.pairs_of_memory) {
                (Some(mib), _) => Memory::Bytes(mib << 20),
                (None, Some(times)) => Memory::Share(times),
                (None, None) => Memory::Unlimited,
            },
            dir: options.dir.clone(),
            out: options.out.clone(),
            program: std::env::current_exe()?,
            commit: commit(),
            command: command(),
        };
        for at in run.settings() {
            if let Some(bytes) = run.memory_limit_bytes(at).filter(|&bytes| bytes < MEMORY_BYTES_MIN) {
                return Err(format!(
                    "a group of {bytes} bytes for {} keys, {}, holds no process with its smallest buffers: more keys, or --memory-mib {} and more",
                    at.n,
                    at.shape.name,
                    MEMORY_BYTES_MIN >> 20
                )
                .into());
            }
        }
        Ok(run)
    }

    /// What the group of a cell may use.
    fn memory_limit_bytes(&self, at: Setting) -> Option<u64> {
        match self.memory {
            Memory::Unlimited => None,
            Memory::Bytes(bytes) => Some(bytes),
            // Whole pages.
            Memory::Share(times) => Some((at.shape.raw_bytes(at.n, at.n) / times) & !4095),
        }
    }

    /// Where memory is limited, write buffers and caches get an eighth of it each. Several write buffers of one kind or another are alive at a time, and what is left
    /// holds filters, indexes, the process, and the page cache.
    fn budget(&self, at: Setting) -> Budget {
        let default = Budget::default();
        let limit = self.memory_limit_bytes(at);
        let or = |given: Option<u64>, default: u64| given.unwrap_or(limit.map_or(default, |bytes| bytes / 8));
        Budget {
            memtable_bytes: or(self.memtable_bytes, default.memtable_bytes),
            cache_bytes: or(self.cache_bytes, default.cache_bytes),
            keys: at.n,
            limited: limit.is_some(),
        }
    }

    /// Number of keys, repetition, shape: the outer loops.
    fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for &n in &self.sizes {
            for repetition in 1..=self.repetitions {
                let shapes = self.shapes.iter().take(if repetition > 1 { 1 } else { usize::MAX });
                settings.extend(shapes.map(|&shape| Setting { n, shape, repetition }));
            }
        }
        settings
    }

    /// Every cell, in order: number of keys, repetition, shape, workload, store.
    fn plan(&self) -> Vec<Planned> {
        let mut plan = Vec::new();
        for at in self.settings() {
            let is_first = self.shapes.first() == Some(&at.shape);
            for &workload in self.workloads.iter().filter(|workload| is_first || workload.main) {
                let suits = self.stores.iter().filter(|contestant| workload.suits(contestant));
                // Limits in memory are of interest at one size.
                let suits = suits.filter(|contestant| is_first || contestant.is_durable());
                plan.extend(suits.map(|&contestant| Planned { at, workload, contestant }));
            }
        }
        plan
    }

    fn spec(&self, contestant: &Contestant, workload: &Workload, at: Setting, dir: PathBuf) -> Spec {
        let budget = self.budget(at);
        Spec {
            store: contestant.name.to_owned(),
            workload: workload.name.to_owned(),
            shape: at.shape.name.to_owned(),
            n: at.n,
            seconds: self.seconds,
            fill_seconds: self.fill_seconds,
            memtable_bytes: budget.memtable_bytes,
            cache_bytes: budget.cache_bytes,
            memory_limit_bytes: self.memory_limit_bytes(at),
            group: None,
            dir,
            program: self.program.clone(),
            seed: u64::from(at.repetition),
        }
    }

    /// Runs one cell in a process of its own and writes its line.
    fn run_cell(
        &self,
        contestant: &Contestant,
        workload: &Workload,
        at: Setting,
        dir: &Path,
        limit: Duration,
    ) -> Result<bool> {
        measure::sync();
        let load_average = measure::load_average();
        let mut spec = self.spec(contestant, workload, at, dir.to_owned());
        let group = spec.memory_limit_bytes.map(Group::create).transpose()?;
        spec.group = group.as_ref().map(Group::procs);
        let answer = ask(&spec, limit).unwrap_or_else(|error| Answer::Failed(error.to_string()));
        let used = group.as_ref().map(Group::used).transpose()?;
        let (mut metrics, series, cut, error) = match answer {
            Answer::Measured(metrics, series, cut) => (metrics, series, cut, None),
            Answer::Failed(error) => {
                let error = error.replace(&*dir.to_string_lossy(), "DIR");
                let killed = used.is_some_and(|used| used.kills > 0);
                let why = if killed { "; its group ran out of memory and the kernel killed it" } else { "" };
                (Metrics::new(), Vec::new(), false, Some(error + why))
            }
        };
        if let Some(used) = used.filter(|_| error.is_none()) {
            metrics.insert("group_peak_bytes".to_owned(), used.peak_bytes as f64);
            metrics.insert("group_major_faults".to_owned(), used.major_faults as f64);
            metrics.extend(measure::read_ahead_kib(&self.dir).map(|kib| ("read_ahead_kib".to_owned(), kib as f64)));
            metrics.extend(used.limited.map(|times| ("group_limited".to_owned(), times as f64)));
        }
        let record = Record {
            store: contestant.name.to_owned(),
            class: workload.class(contestant),
            workload: workload.name.to_owned(),
            shape: at.shape.name.to_owned(),
            n: at.n,
            repetition: at.repetition,
            metrics,
            series,
            memory_limit_bytes: spec.memory_limit_bytes,
            cut,
            error,
            load_average,
            settings: (contestant.settings)(&self.budget(at)),
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
    // Where groups cannot be made nothing begins.
    run.settings().first().and_then(|&at| run.memory_limit_bytes(at)).map(Group::create).transpose()?;
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
    let mut templates = Templates { run: &run, dir: work.join("loaded"), at: None, ready: BTreeMap::new() };
    for (place, Planned { at, workload, contestant }) in plan.iter().enumerate() {
        if Instant::now() > run.end {
            summary.left_out = plan.len() - place;
            summary.incomplete = plan[place..].iter().any(|planned| planned.at.repetition == 1);
            let complete = at.repetition - 1;
            eprintln!(
                "the time is over: {} cells left out, {complete} repetitions of {} keys are complete",
                summary.left_out, at.n
            );
            break;
        }
        let dir = work.join("cell");
        clear(&dir)?;
        clear(&dir.with_extension("acknowledged"))?;
        if workload.begins == Begins::Loaded
            && contestant.is_durable()
            && !templates.copy(contestant, *at, &dir, &mut summary)?
        {
            // Its load failed and has a line that says so.
            continue;
        }
        summary.cells += 1;
        let fine = run.run_cell(contestant, workload, *at, &dir, run.limit)?;
        summary.failed += usize::from(!fine);
    }
    clear(&work)?;
    Ok(summary)
}

/// Loaded stores to copy, of the number of keys that is being measured, and of the shape that is and of the first one.
struct Templates<'a> {
    run: &'a Run,
    dir: PathBuf,
    at: Option<(u64, Shape)>,
    /// By directory name: did the load succeed?
    ready: BTreeMap<String, bool>,
}

impl Templates<'_> {
    fn copy(&mut self, contestant: &Contestant, at: Setting, to: &Path, summary: &mut Summary) -> Result<bool> {
        if self.at != Some((at.n, at.shape)) {
            self.forget_others(at.n, at.shape)?;
            self.at = Some((at.n, at.shape));
        }
        // kvs with pinned reads is the same store.
        let store = if contestant.looks { "kvs" } else { contestant.name };
        let name = format!("{store}-{}-{}", at.n, at.shape.name.replace('/', "-"));
        let from = self.dir.join(&name);
        let ready = match self.ready.get(&name) {
            Some(&ready) => ready,
            None => {
                clear(&from)?;
                std::fs::create_dir_all(&self.dir)?;
                summary.cells += 1;
                let loader = stores::by_name(store)?;
                let ready =
                    self.run.run_cell(&loader, &LOAD, Setting { repetition: 1, ..at }, &from, self.run.limit * 5)?;
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
            if self.run.memory_limit_bytes(at).is_some() {
                measure::drop_cached(to)?;
                measure::drop_cached(&from)?;
            }
        }
        Ok(ready)
    }

    /// Gives disk back: only the first shape comes again, and no other number of keys.
    fn forget_others(&mut self, n: u64, shape: Shape) -> Result<()> {
        let first = self.run.shapes.first().copied();
        let keep: BTreeSet<String> = [Some(shape), first]
            .into_iter()
            .flatten()
            .map(|shape| format!("-{n}-{}", shape.name.replace('/', "-")))
            .collect();
        let gone: Vec<String> =
            self.ready.keys().filter(|name| !keep.iter().any(|end| name.ends_with(end))).cloned().collect();
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
    format!("{} {} {} {} {}{cut}: {told}", record.n, record.repetition, record.shape, record.workload, record.store)
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

    /// The default has every workload but those that last a minute; each further shape only main rows, once, and of durable stores.
    #[test]
    fn the_default_plan_is_whole() {
        let run = run_of(&[]);
        let plan = run.plan();
        for workload in workload::WORKLOADS {
            let planned = plan.iter().any(|planned| planned.workload.name == workload.name);
            assert_eq!(planned, workload.name != "over_time", "{}", workload.name);
        }
        assert!(
            plan.iter()
                .filter(|p| p.at.shape.name != "16/100")
                .all(|p| p.at.repetition == 1 && p.workload.main && p.contestant.is_durable())
        );
        assert!(plan.iter().any(|p| p.at.shape.name == "urls") && plan.iter().any(|p| p.at.repetition == 3));
        assert_eq!(run.sizes, [1_000_000]);
        assert!(plan.iter().all(|p| run.memory_limit_bytes(p.at).is_none()));
    }

    /// Pinned reads are in rows of reads only; a floor reads nothing; maps are not opened or killed.
    #[test]
    fn stores_take_part_where_they_can() {
        let run = run_of(&["--repetitions", "1"]);
        let plan = run.plan();
        let rows = |store: &str| {
            plan.iter().filter(|p| p.contestant.name == store).map(|p| p.workload.name).collect::<BTreeSet<_>>()
        };
        assert!(rows("kvs_pinned").iter().all(|row| row.starts_with("read_") || row.starts_with("get_")));
        assert!(
            rows("append").iter().all(|row| row.starts_with("fill_") || row.starts_with("synced_")),
            "{:?}",
            rows("append")
        );
        assert!(rows("append").contains("synced_8"));
        assert_eq!(rows("kvs").len(), workload::WORKLOADS.len() - 1, "all but the one that lasts a minute");
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
        assert_eq!((&run.sizes[..], run.shapes.len()), (&[10_000_000][..], 1));
        assert!(run.plan().iter().all(|p| Preset::Large.has_store(&p.contestant) && p.workload.name != "prefix"));
        assert_eq!(run_of(&["--preset", "large", "--n", "200", "--stores", "append"]).stores.len(), 1);
    }

    /// Sizes come one after the other, each with all its cells, so that what was loaded for one can go.
    #[test]
    fn the_growth_plan_goes_from_size_to_size() {
        let of = |arguments: &[&str]| {
            let run = run_of(&[&["--preset", "growth"], arguments].concat());
            run.plan().iter().map(|p| (p.at.n, p.at.repetition, p.workload.name, p.contestant.name)).collect::<Vec<_>>()
        };
        let plan = of(&[]);
        assert_eq!(plan.len(), 12);
        assert_eq!(plan[0], (1_000_000, 1, "fill_random", "kvs"));
        assert_eq!(plan[11], (30_000_000, 1, "seek_10", "kvs"));
        assert!(plan.is_sorted_by_key(|&(n, ..)| n));
        let plan = of(&["--n", "1000,2000", "--repetitions", "2", "--workloads", "read_random"]);
        let expected = [(1000, 1), (1000, 2), (2000, 1), (2000, 2)];
        assert_eq!(plan.iter().map(|&(n, repetition, ..)| (n, repetition)).collect::<Vec<_>>(), expected);
    }

    /// A quarter of the pairs, of which write buffers and caches get an eighth; each can be said on the command line.
    #[test]
    fn the_plan_beyond_memory_is_limited() {
        let run = run_of(&["--preset", "beyond"]);
        let plan = run.plan();
        assert!(plan.iter().any(|p| p.contestant.name == "kvs_index10" && p.workload.name == "seek_100"));
        assert!(plan.iter().all(|p| p.at.repetition == 1 && p.at.shape.name == "16/100"));
        let at = plan[0].at;
        assert_eq!(run.memory_limit_bytes(at), Some(290_000_000 & !4095));
        let budget = run.budget(at);
        assert_eq!((budget.keys, budget.limited), (10_000_000, true));
        assert_eq!((budget.memtable_bytes, budget.cache_bytes), (36_249_600, 36_249_600));
        let run = run_of(&["--preset", "beyond", "--memory-mib", "64", "--cache-mib", "5"]);
        let budget = run.budget(at);
        assert_eq!((run.memory_limit_bytes(at), budget.memtable_bytes), (Some(64 << 20), 8 << 20));
        assert_eq!(budget.cache_bytes, 5 << 20);
        let spec = run.spec(&plan[0].contestant, &plan[0].workload, at, "d".into());
        assert_eq!(spec.memory_limit_bytes, Some(64 << 20));
    }

    /// A group that holds nothing is refused before it kills every cell.
    #[test]
    fn too_little_memory_is_refused() {
        let arguments = Arguments::parse_from(["x", "--out", "o", "--preset", "beyond", "--n", "100000"]);
        assert!(Run::new(&arguments.options).unwrap_err().to_string().contains("--memory-mib"));
    }

    #[test]
    fn the_plan_over_time_is_a_minute_each() {
        let run = run_of(&["--preset", "over-time"]);
        assert_eq!((run.seconds, &run.sizes[..]), (60.0, &[1_000_000][..]));
        let plan = run.plan();
        assert!(plan.iter().all(|p| p.workload.name == "over_time" && p.at.repetition == 1));
        assert!(plan.iter().any(|p| p.contestant.name == "spinner") && plan.iter().any(|p| p.contestant.name == "kvs"));
    }
}
