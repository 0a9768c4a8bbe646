//! A mapped log against written ones: what an append costs, what a sync costs, what both cost in the engine, and what a kill leaves.
//!
//! A segment is a file of 32 MiB, as the engine's largest; a record is 144 bytes, as one of a key of 16 and a value of 100 is in the engine's log. The ways:
//!
//! | way | before the first append | an append |
//! |---|---|---|
//! | mapped, populated | blocks reserved, mapped, every page touched: what the engine's worker does ahead | a copy into memory |
//! | mapped, filled again | a mapped segment that was full is erased (decision 0014) | the same |
//! | mapped, not populated | blocks reserved, mapped | the same, and a fault every 28 records |
//! | pwrite, reserved | blocks reserved | a system call |
//! | pwrite, growing | nothing | the same |
//! | write, growing | nothing | the same, where the file ends |
//! | pwrite of 100 | blocks reserved | a copy, and a system call every 100 records |
//!
//! Every file is read afterwards and its records are counted.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use kvs::{Batch, Db, Durability, LogBackend};
use kvs_versus::Result;
use kvs_versus::random::mix;
use memmap2::{Advice, MmapOptions, MmapRaw};
use serde::{Deserialize, Serialize};

use crate::report::{Metrics, Rounds, Scratch, Spec, median, tell_where};

/// What `log` is asked.
#[derive(Args)]
pub struct Options {
    /// Rounds of every table.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Records that are synced one by one, a way and round.
    #[arg(long, default_value_t = 1000)]
    syncs: u64,
    /// Puts into a store, a backend and round.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Kills of each kind.
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// Where files are made. Default: the directory of temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
}

const SEGMENT_BYTES: usize = 32 << 20;
const RECORD_BYTES: usize = 144;
const RECORDS: u64 = (SEGMENT_BYTES / RECORD_BYTES) as u64;
const BATCH: usize = 100;

type Record = [u8; RECORD_BYTES];

#[inline]
fn record(i: u64) -> Record {
    let mut record = [0x5a; RECORD_BYTES];
    record[..8].copy_from_slice(&(i + 1).to_le_bytes());
    record[RECORD_BYTES - 8..].copy_from_slice(&(!i).to_le_bytes());
    record
}

/// How records reach a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    Populated,
    FilledAgain,
    NotPopulated,
    PwriteReserved,
    PwriteGrowing,
    WriteGrowing,
    PwriteBatches,
}

const WAYS: [Way; 7] = [
    Way::Populated,
    Way::FilledAgain,
    Way::NotPopulated,
    Way::PwriteReserved,
    Way::PwriteGrowing,
    Way::WriteGrowing,
    Way::PwriteBatches,
];

impl Way {
    fn name(self) -> String {
        let name = match self {
            Way::Populated => "mapped, populated",
            Way::FilledAgain => "mapped, filled again",
            Way::NotPopulated => "mapped, not populated",
            Way::PwriteReserved => "pwrite, reserved",
            Way::PwriteGrowing => "pwrite, growing",
            Way::WriteGrowing => "write, growing",
            Way::PwriteBatches => "pwrite of 100, reserved",
        };
        name.to_owned()
    }

    fn is_mapped(self) -> bool {
        matches!(self, Way::Populated | Way::FilledAgain | Way::NotPopulated)
    }
}

/// A file that is mapped whole, for one writer.
struct Mapped(MmapRaw);

impl Mapped {
    fn of(file: &File) -> Result<Mapped> {
        Ok(Mapped(MmapOptions::new().map_raw(file)?))
    }

    #[inline]
    fn store(&mut self, at: usize, bytes: &[u8]) {
        assert!(at <= self.0.len() && bytes.len() <= self.0.len() - at);
        // SAFETY: the assertion keeps the target within the mapping, which is writable and lives as long as `self`, which is borrowed
        // mutably. Nobody forms a reference into the mapping, so `bytes` do not overlap it. The file is as long as the mapping and
        // nobody cuts it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_mut_ptr().add(at), bytes.len()) };
    }

    fn erase(&mut self) {
        // SAFETY: all of a writable mapping that is borrowed mutably, and into which nobody has a reference.
        unsafe { self.0.as_mut_ptr().write_bytes(0, self.0.len()) };
    }
}

/// A log of one segment, by one of the ways.
struct Log {
    way: Way,
    file: File,
    map: Option<Mapped>,
    at: usize,
    pending: Vec<u8>,
}

impl Log {
    /// Makes the file ready for the first append.
    fn prepare(way: Way, path: &Path, bytes: usize) -> Result<Log> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        if !matches!(way, Way::PwriteGrowing | Way::WriteGrowing) {
            reserve(&file, bytes)?;
        }
        let map = if way.is_mapped() { Some(Mapped::of(&file)?) } else { None };
        if let Some(map) = map.as_ref().filter(|_| way != Way::NotPopulated) {
            map.0.advise(Advice::PopulateWrite)?;
        }
        Ok(Log { way, file, map, at: 0, pending: Vec::with_capacity(BATCH * RECORD_BYTES) })
    }

    /// Begins once more, in the same memory and the same blocks.
    fn erase(&mut self) {
        self.map.iter_mut().for_each(Mapped::erase);
        self.at = 0;
    }

    #[inline]
    fn append(&mut self, record: &Record) -> Result<()> {
        match self.way {
            Way::Populated | Way::FilledAgain | Way::NotPopulated => {
                let map = self.map.as_mut().ok_or("not mapped")?;
                map.store(self.at, record);
            }
            Way::PwriteReserved | Way::PwriteGrowing => self.file.write_all_at(record, self.at as u64)?,
            Way::WriteGrowing => self.file.write_all(record)?,
            Way::PwriteBatches => {
                self.pending.extend_from_slice(record);
                if self.pending.len() == BATCH * RECORD_BYTES {
                    self.write_batch()?;
                }
                return Ok(());
            }
        }
        self.at += RECORD_BYTES;
        Ok(())
    }

    fn write_batch(&mut self) -> Result<()> {
        self.file.write_all_at(&self.pending, self.at as u64)?;
        self.at += self.pending.len();
        self.pending.clear();
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }
}

fn reserve(file: &File, bytes: usize) -> Result<()> {
    // SAFETY: a system call on a descriptor that `file` keeps open; it reads and writes no memory of ours.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

/// Records from the first on that are whole and in order.
fn whole(path: &Path) -> Result<u64> {
    let bytes = std::fs::read(path)?;
    let records = bytes.chunks_exact(RECORD_BYTES).enumerate();
    Ok(records.take_while(|(i, found)| *found == record(*i as u64)).count() as u64)
}

/// All tables.
pub fn run(options: &Options) -> Result<()> {
    let scratch = Scratch::new(options.dir.as_ref())?;
    tell_where(&format!(
        "{}; segments of {} MiB, records of {RECORD_BYTES} B; medians of {} rounds, in brackets the ratio to the first row.",
        file_system(&scratch.path(""))?,
        SEGMENT_BYTES >> 20,
        options.rounds
    ));
    appends(options, &scratch)?;
    syncs(options, &scratch)?;
    stores(options, &scratch)?;
    kills(options, &scratch)
}

fn appends(options: &Options, scratch: &Scratch) -> Result<()> {
    let columns = ["append, ns", "made ready ahead, ns a record", "both"];
    let mut rounds = Rounds::new(WAYS.map(Way::name).to_vec(), &columns);
    let path = scratch.path("segment");
    for round in 0..options.rounds {
        for (at, way) in WAYS.into_iter().enumerate() {
            eprintln!("append, round {round}: {}", way.name());
            let fill = |log: &mut Log| -> Result<f64> {
                let start = Instant::now();
                for i in 0..RECORDS {
                    log.append(&record(i))?;
                }
                if !log.pending.is_empty() {
                    log.write_batch()?;
                }
                Ok(start.elapsed().as_nanos() as f64 / RECORDS as f64)
            };
            let start = Instant::now();
            let mut log = Log::prepare(way, &path, SEGMENT_BYTES)?;
            let mut ready = start.elapsed();
            if way == Way::FilledAgain {
                fill(&mut log)?;
                let start = Instant::now();
                log.erase();
                ready = start.elapsed();
            }
            let append = fill(&mut log)?;
            let ready = ready.as_nanos() as f64 / RECORDS as f64;
            rounds.add(at, 0, append);
            rounds.add(at, 1, ready);
            rounds.add(at, 2, append + ready);
            let found = whole(&path)?;
            if found != RECORDS {
                return Err(format!("{}: {found} records in the file of {RECORDS}", way.name()).into());
            }
            std::fs::remove_file(&path)?;
        }
    }
    println!("Appends, no sync:\n");
    rounds.print("", Some(0));
    Ok(())
}

fn syncs(options: &Options, scratch: &Scratch) -> Result<()> {
    let ways: Vec<Way> = WAYS.into_iter().filter(|&way| way != Way::PwriteBatches).collect();
    let columns = ["mean, µs", "p50", "p99", "synced ahead, ms"];
    let mut rounds = Rounds::new(ways.iter().map(|way| way.name()).collect(), &columns);
    let path = scratch.path("segment");
    for round in 0..options.rounds {
        for (at, &way) in ways.iter().enumerate() {
            eprintln!("sync, round {round}: {}", way.name());
            let mut log = Log::prepare(way, &path, SEGMENT_BYTES)?;
            if way == Way::FilledAgain {
                for i in 0..RECORDS {
                    log.append(&record(RECORDS + i))?;
                }
                log.sync()?;
                log.erase();
            }
            // As the engine does once it has synced at all: the worker syncs a prepared segment before it hands it over.
            let start = Instant::now();
            log.sync()?;
            rounds.add(at, 3, start.elapsed().as_secs_f64() * 1e3);
            let mut micros = Vec::with_capacity(options.syncs as usize);
            for i in 0..options.syncs.min(RECORDS) {
                let record = record(i);
                let start = Instant::now();
                log.append(&record)?;
                log.sync()?;
                micros.push(start.elapsed().as_nanos() as f64 / 1e3);
            }
            rounds.add(at, 0, micros.iter().sum::<f64>() / micros.len() as f64);
            rounds.add(at, 1, median(&micros).unwrap_or(f64::NAN));
            micros.sort_by(f64::total_cmp);
            rounds.add(at, 2, micros[micros.len() * 99 / 100]);
            let found = whole(&path)?;
            if found != micros.len() as u64 {
                return Err(format!("{}: {found} records in the file of {}", way.name(), micros.len()).into());
            }
            std::fs::remove_file(&path)?;
        }
    }
    println!("Append and fdatasync, {} records one by one:\n", options.syncs);
    rounds.print("", Some(0));
    Ok(())
}

/// How a store is used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Use {
    backend: Backend,
    keeps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Backend {
    Mapped,
    Positioned,
}

const USES: [Use; 3] = [
    Use { backend: Backend::Mapped, keeps: true },
    Use { backend: Backend::Positioned, keeps: true },
    Use { backend: Backend::Positioned, keeps: false },
];

impl Use {
    fn name(self) -> String {
        let backend = if self.backend == Backend::Mapped { "mapped" } else { "positioned" };
        format!("kvs, log_backend {backend}, durability {}", if self.keeps { "process" } else { "none" })
    }

    fn open(self, path: &Path) -> Result<Db> {
        let log_backend = match self.backend {
            Backend::Mapped => LogBackend::Mapped,
            Backend::Positioned => LogBackend::Positioned,
        };
        let durability = if self.keeps { Durability::Process } else { Durability::None };
        Ok(Db::open(path, kvs::Options { log_backend, durability, ..Default::default() })?)
    }
}

fn key(i: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(i).to_be_bytes());
    key[8..].copy_from_slice(&mix(!i).to_be_bytes());
    key
}

fn value(i: u64) -> [u8; 100] {
    let mut value = [7; 100];
    value[..8].copy_from_slice(&i.to_le_bytes());
    value
}

fn stores(options: &Options, scratch: &Scratch) -> Result<()> {
    let columns = ["put, ns", "put in batches of 100, ns", "synced put, µs"];
    let mut rounds = Rounds::new(USES.map(Use::name).to_vec(), &columns);
    let path = scratch.path("db");
    let nanos = |start: Instant, count: u64| start.elapsed().as_nanos() as f64 / count as f64;
    for round in 0..options.rounds {
        for (at, usage) in USES.into_iter().enumerate() {
            eprintln!("store, round {round}: {}", usage.name());
            let db = usage.open(&path)?;
            let start = Instant::now();
            for i in 0..options.keys {
                db.put(key(i), value(i))?;
            }
            rounds.add(at, 0, nanos(start, options.keys));
            check(&db, options.keys)?;
            drop(db);
            std::fs::remove_dir_all(&path)?;

            let db = usage.open(&path)?;
            let start = Instant::now();
            let mut batch = Batch::new();
            for i in 0..options.keys {
                batch.put(key(i), value(i));
                if (i + 1).is_multiple_of(BATCH as u64) || i + 1 == options.keys {
                    db.write(&batch)?;
                    batch.clear();
                }
            }
            rounds.add(at, 1, nanos(start, options.keys));
            check(&db, options.keys)?;
            drop(db);
            std::fs::remove_dir_all(&path)?;

            let db = usage.open(&path)?;
            let start = Instant::now();
            for i in 0..options.syncs {
                db.put_with(key(i), value(i), Durability::Sync)?;
            }
            rounds.add(at, 2, nanos(start, options.syncs) / 1e3);
            check(&db, options.syncs)?;
            drop(db);
            std::fs::remove_dir_all(&path)?;
        }
    }
    println!("Puts into a store, {} keys of 16 B, values of 100 B; {} of the synced:\n", options.keys, options.syncs);
    rounds.print("", Some(0));
    Ok(())
}

/// Every hundredth is there, and the last.
fn check(db: &Db, keys: u64) -> Result<()> {
    let mut asked = (0..keys).step_by(100).chain(keys.checked_sub(1));
    match asked.find(|&i| !matches!(db.get_owned(key(i)), Ok(Some(found)) if found == value(i))) {
        Some(i) => Err(format!("key {i} is not what was put").into()),
        None => Ok(()),
    }
}

/// A process that appends until it is killed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Victim {
    target: Target,
    /// Where its log or store is, and the file in which it counts what it has acknowledged.
    log: PathBuf,
    count: PathBuf,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Target {
    Log(Way),
    Store(Use),
}

const VICTIM_BYTES: usize = 256 << 20;
/// It is killed somewhere behind so many.
const KILLED_BEHIND: u64 = 20_000;

/// The number of acknowledged records, in a file that is mapped by the victim and by who kills it.
struct Count(MmapRaw);

impl Count {
    fn of(path: &Path) -> Result<Count> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(4096)?;
        Ok(Count(MmapOptions::new().map_raw(&file)?))
    }

    fn get(&self) -> &AtomicU64 {
        // SAFETY: the mapping begins at a page, so it is aligned, is longer than eight bytes, lives as long as the reference, and is used by
        // atomic operations only, in this process and in the other.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast()) }
    }
}

/// In the process that will be killed.
pub fn be_the_victim(victim: &Victim) -> Result<Metrics> {
    let count = Count::of(&victim.count)?;
    // Release pairs with the Acquire of who kills it: what is counted was acknowledged before.
    let acknowledge = |i: u64| count.get().store(i + 1, Ordering::Release);
    match victim.target {
        Target::Log(way) => {
            let mut log = Log::prepare(way, &victim.log, VICTIM_BYTES)?;
            for i in 0..(VICTIM_BYTES / RECORD_BYTES) as u64 {
                log.append(&record(i))?;
                acknowledge(i);
            }
        }
        Target::Store(usage) => {
            let db = usage.open(&victim.log)?;
            for i in 0..u64::MAX {
                db.put(key(i), value(i))?;
                acknowledge(i);
            }
        }
    }
    // It was faster than whoever kills it.
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn kills(options: &Options, scratch: &Scratch) -> Result<()> {
    let logs = [Way::NotPopulated, Way::PwriteReserved, Way::WriteGrowing, Way::PwriteBatches].map(Target::Log);
    let targets: Vec<Target> = logs.into_iter().chain(USES.map(Target::Store)).collect();
    println!("SIGKILL somewhere behind {KILLED_BEHIND} records, {} times:\n", options.kills);
    println!("| | acknowledged, all kills together | of these missing | most in one kill |");
    println!("|---|--:|--:|--:|");
    for target in targets {
        let name = match target {
            Target::Log(Way::NotPopulated) => "mapped".to_owned(),
            Target::Log(way) => way.name(),
            Target::Store(usage) => usage.name(),
        };
        let (mut all, mut missing, mut most) = (0, 0, 0);
        for kill in 0..options.kills {
            eprintln!("kill {kill}: {name}");
            let (acknowledged, found) = kill_once(target, scratch)?;
            let lost = acknowledged.saturating_sub(found);
            (all, missing, most) = (all + acknowledged, missing + lost, most.max(lost));
        }
        println!("| {name} | {all} | {missing} | {most} |");
    }
    println!();
    Ok(())
}

/// What a victim acknowledged, and how many of these, from the first on, are there afterwards.
fn kill_once(target: Target, scratch: &Scratch) -> Result<(u64, u64)> {
    let victim = Victim { target, log: scratch.path("log"), count: scratch.path("count") };
    let count = Count::of(&victim.count)?;
    let mut process = Spec::Victim(victim.clone()).command()?.stdout(Stdio::null()).spawn()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    // Acquire pairs with the Release in `be_the_victim`.
    while count.get().load(Ordering::Acquire) < KILLED_BEHIND {
        if process.try_wait()?.is_some() || Instant::now() > deadline {
            let _ = process.kill();
            return Err(format!("{target:?}: the victim did not come far").into());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    process.kill()?;
    process.wait()?;
    let acknowledged = count.get().load(Ordering::Acquire);
    let found = match target {
        Target::Log(_) => whole(&victim.log)?,
        Target::Store(usage) => {
            let db = usage.open(&victim.log)?;
            let is_there = |i: &u64| matches!(db.get_owned(key(*i)), Ok(Some(found)) if found == value(*i));
            (0..acknowledged).take_while(is_there).count() as u64
        }
    };
    match target {
        Target::Log(_) => std::fs::remove_file(&victim.log)?,
        Target::Store(_) => std::fs::remove_dir_all(&victim.log)?,
    }
    std::fs::remove_file(&victim.count)?;
    Ok((acknowledged, found))
}

/// The kind of the file system that holds `path`, as the kernel names it.
fn file_system(path: &Path) -> Result<String> {
    let path = path.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && path.starts_with(fields[1]));
    Ok(holding.max_by_key(|fields| fields[1].len()).map_or("unknown file system", |fields| fields[2]).to_owned())
}
