//! Recovery: from a directory to an open store.
//!
//! ```text
//!  1 lock; remove the reserve that a kill has left; renew every file if a sync failed since the machine came up (see `doubt`); remove copies that were not finished
//!  2 read MANIFEST (create it, and the store, if there is none)
//!  3 open every table that the manifest names: there, of the recorded length, with the recorded footer; anything else is Corruption
//!    next_file = max(manifest, directory) + 1
//!  4 logs that are not void and not in tables, ascending; the chain goes on where the flushed ones ended:
//!  5   all zeros (prepared, never used) -> to be removed
//!  6   a header of this store and file, whose predecessor, its end and first_seq are where the chain stands: the log follows,
//!      and whatever stood after its predecessor's end was never part of it
//!  7   anything else: the chain ends before this log
//!  8   replay it, up to its recorded end if it has one, which it must reach
//!  9 if the chain ended early: a later valid frame, in any log, that claims durability at or beyond the missing
//!    number means rot -> Corruption; otherwise the rest was never promised and is void
//! 10 fdatasync every log replayed for the first time      a replayed tail must not be lost after a later sync (`recovery/syncing.rs`)
//! 11 replace the manifest by one that says `recovered`   an ambiguous chain must not appear after a second crash
//! 12 remove void, flushed and unused logs, and tables that the manifest does not name; start the worker
//! ```
//!
//! Tables are not read here, only their footers: an open costs the manifest and the log's tail. The index gets the logs' keys now and
//! the tables' from the worker ([`coverage`](super::coverage)).
//!
//! Every step can be cut off and done again: nothing is removed or written before the manifest says so. A read-only open does 1
//! to 9 in memory, under a shared lock, and writes nothing.

mod syncing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use self::syncing::Syncing;
use crate::cache::Cache;
use crate::engine::commit::address;
use crate::engine::doubt::{self, UNSYNCED};
use crate::engine::reserve::{self, RESERVE};
use crate::engine::{Core, Parts};
use crate::env::{Env, LockMode, SegmentKind};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{File, Files};
use crate::index::{Address, Index};
use crate::log;
use crate::log::FILE_NUMBER_MAX;
use crate::log::frame::{Bad, Entry};
use crate::log::replay::{self, all_zero};
use crate::log::segment::{HeaderRead, Opened, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::manifest::{self, Edit, MANIFEST, MANIFEST_TMP, State};
use crate::memtable::Memtable;
use crate::options::{LogBackend, Options, TableIo};
use crate::ranges::{RangeDelete, RangeDeletes};
use crate::record::{Header, Kind, Seq};
use crate::sync::Arc;
use crate::sync::epoch;
use crate::table::reader::Table;
use crate::table::{self, Io};
use crate::version::{Run, Slice, Version};

/// The lock's file name.
pub(crate) const LOCK: &str = "LOCK";
/// Stands in the directory of a store that a repair has not finished: what is there is whole, and not everything.
pub(crate) const REPAIRING: &str = "REPAIRING";
/// So many records go to the index at once, so that their buckets are fetched together.
const INDEX_BATCH: usize = 64;

/// Opens the store in `dir`.
pub(crate) fn open(env: Arc<dyn Env>, dir: &Path, options: Options) -> Result<Core> {
    options.validate()?;
    // From here on forks are noted: one while this store is being opened leaves the child with nothing of what is half done here.
    env.fork_generation();
    look(&*env, dir, &options)?;
    let mode = if options.read_only { LockMode::Shared } else { LockMode::Exclusive };
    let lock = env.lock(&dir.join(LOCK), mode)?;
    // Again, now that nobody else can change it.
    let names = env.list_dir(dir)?;
    if !options.read_only {
        reserve::sweep(&*env, dir, &names);
        doubt::resolve(&*env, dir, &names)?;
    }
    let state = match manifest::read(&*env, dir)? {
        Some(state) => state,
        None if options.read_only => return Err(no_store(dir, &options)),
        None => {
            let database = u128::from(env.random()) << 64 | u128::from(env.random());
            let state = State::new(database, manifest::hash_seed_of(database));
            manifest::replace(&*env, dir, &state).inspect_err(|failure| doubt::mark_names(&*env, dir, failure))?;
            state
        }
    };
    let kind = match options.log_backend {
        LogBackend::Auto => env.preferred_segment(dir)?,
        LogBackend::Mapped => SegmentKind::Mapped,
        LogBackend::Positioned => SegmentKind::Positioned,
    };

    let table_io = match options.table_io {
        TableIo::Mapped => Io::Mapped,
        TableIo::Positioned => Io::Positioned,
        TableIo::Auto => match env.preferred_segment(dir)? {
            SegmentKind::Mapped => Io::Mapped,
            SegmentKind::Positioned => Io::Positioned,
        },
    };
    let cache = Arc::new(Cache::new(options.cache_bytes));

    let mut recovery = Recovery::new(&*env, dir, &state, kind);
    recovery.open_tables(table_io, &cache)?;
    let syncing = if options.read_only { Syncing::default() } else { start_syncing(&env, dir, &state, &names)? };
    recovery.run(&names)?;
    let settled = if options.read_only { state.clone() } else { recovery.settle(syncing)? };
    let Recovery { files, index, version, expect, last, next_file, .. } = recovery;
    // The tables that the index grew out of: a store that is only read has no worker to free them.
    index.collect();
    Ok(Core::new(Parts {
        env,
        dir: dir.to_owned(),
        options,
        segment_kind: kind,
        table_io,
        cache,
        files,
        index,
        version,
        next_seq: expect,
        next_file,
        last,
        lock,
        state: settled,
    }))
}

/// Begins to sync the logs that are to be replayed for the first time.
fn start_syncing(env: &Arc<dyn Env>, dir: &Path, state: &State, names: &[OsString]) -> Result<Syncing> {
    let (mut paths, mut bytes) = (Vec::new(), 0);
    for (number, name) in log::numbers(names) {
        if number <= state.flushed_log.0 || state.void.contains(&number) || state.ends.contains_key(&number) {
            continue;
        }
        let path = dir.join(name);
        bytes += env.open_read(&path)?.map_or(0, |file| file.len());
        paths.push(path);
    }
    Ok(Syncing::start(env, dir, paths, bytes))
}

/// What is in the directory, made if it may be; refuses one that is not ours before anything is written to it.
fn look(env: &dyn Env, dir: &Path, options: &Options) -> Result<()> {
    let may_create = options.create && !options.read_only;
    let names = match env.list_dir(dir) {
        Ok(names) => names,
        Err(missing) if missing.os_code() == Some(rustix::io::Errno::NOENT.raw_os_error()) => {
            if !may_create {
                return Err(no_store(dir, options));
            }
            return env.create_dir(dir);
        }
        Err(file) if file.os_code() == Some(rustix::io::Errno::NOTDIR.raw_os_error()) => {
            let message = "it, or a part of its path, is a file: a store is a directory of its own, name another path";
            return Err(Error::on(ErrorKind::NotADatabase, dir, message));
        }
        Err(other) => return Err(other),
    };
    let has_manifest = names.iter().any(|name| name == MANIFEST);
    if names.iter().any(|name| name == REPAIRING) && (has_manifest || begins(env, dir, REPAIRING.as_ref(), 0).is_some())
    {
        return Err(half_repaired(dir));
    }
    if has_manifest {
        return Ok(());
    }
    for name in &names {
        if is_anothers(env, dir, name) {
            // Another process may have made it while the directory was listed.
            if matches!(env.open_read(&dir.join(MANIFEST)), Ok(Some(_))) {
                return Ok(());
            }
            let message = "the directory has no MANIFEST but this file: it is another program's, or a store that lost its manifest; give an empty directory, restore the manifest, or write what is good to a new store with `kvs repair DIR OUT`";
            return Err(Error::on(ErrorKind::NotADatabase, &dir.join(name), message));
        }
    }
    if !may_create {
        return Err(no_store(dir, options));
    }
    // It is there, but whoever made it may have died before its name was durable.
    env.create_dir(dir)
}

/// In a directory without a manifest: does this file speak against a store of ours being made there? A store takes its own names as its own,
/// writes over what has them or removes it, so none may be somebody else's. Files of other names are nobody's concern.
///
/// An open that died before it had made a manifest has left no more than a lock with its pid, or with zeros or nothing, an empty mark of doubt,
/// and a part of the first manifest. A machine that died may have put anything into that, so only its length can be judged: who has
/// a file of that name which is as short loses it.
fn is_anothers(env: &dyn Env, dir: &Path, name: &OsString) -> bool {
    let numbered = |text: &str, end| {
        text.strip_suffix(end)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let has = |most, good: fn(&[u8]) -> bool| begins(env, dir, name, most).is_some_and(|bytes| good(&bytes));
    match &*name.to_string_lossy() {
        LOCK => !has(PID_BYTES_MAX, |bytes| bytes.iter().all(|byte| byte.is_ascii_digit() || b"\n\0".contains(byte))),
        MANIFEST_TMP => !has(manifest::first_len(), |_| true),
        UNSYNCED | REPAIRING => !has(0, <[u8]>::is_empty),
        RESERVE | "CURRENT" | "data.mdb" => true,
        other => {
            other.starts_with("MANIFEST-")
                || [".log", ".log.tmp", ".tbl", ".tbl.old"].iter().any(|end| numbered(other, *end))
        }
    }
}

/// A lock file that has more than the pid of its holder is not one.
const PID_BYTES_MAX: u64 = 16;

/// The first bytes of a file; `None` if it has more than `most`. What is gone meanwhile, or can't be looked at, says nothing: whoever opens it
/// for good tells why.
fn begins(env: &dyn Env, dir: &Path, name: &OsStr, most: u64) -> Option<Vec<u8>> {
    let Ok(Some(file)) = env.open_read(&dir.join(name)) else { return Some(Vec::new()) };
    if file.len() > most {
        return None;
    }
    let mut bytes = vec![0; file.len().min(PID_BYTES_MAX) as usize];
    file.read_at(0, &mut bytes).ok()?;
    Some(bytes)
}

/// What whoever comes to a store that is not whole is told.
pub(crate) fn half_repaired(dir: &Path) -> Error {
    let message = "a repair is under way here, or was cut off: wait for it, or remove this directory and repair again";
    Error::on(ErrorKind::Corruption, &dir.join(REPAIRING), message)
}

fn no_store(dir: &Path, options: &Options) -> Error {
    let why = if options.read_only { "and a read-only open makes none" } else { "and the option `create` is off" };
    Error::on(ErrorKind::NotADatabase, dir, format!("there is no store here, {why}"))
}

/// Where the chain of logs ended early.
#[derive(Debug)]
struct Broken {
    path: PathBuf,
    at: Bad,
}

struct Recovery<'a> {
    env: &'a dyn Env,
    dir: &'a Path,
    state: &'a State,
    kind: SegmentKind,
    files: Files,
    index: Index,
    version: Version,
    /// The number that the next record must have.
    expect: Seq,
    /// Number and end of the last log of the chain.
    last: (u64, u64),
    next_file: u64,
    /// What stands after `last`'s end, if it looks like more than nothing: fine if the next log says that it follows there.
    tail: Option<(Opened, Bad)>,
    broken: Option<Broken>,
    /// Logs replayed without a recorded end.
    fresh: Vec<(Opened, u64)>,
    /// Logs that are not part of the store.
    void: Vec<u64>,
    /// Logs never used, or flushed, and void ones that the manifest knows already.
    remove: Vec<u64>,
    /// Tables that the manifest does not name.
    orphans: Vec<u64>,
    /// Files that were tables, kept to be written over.
    old: Vec<OsString>,
}

impl<'a> Recovery<'a> {
    fn new(env: &'a dyn Env, dir: &'a Path, state: &'a State, kind: SegmentKind) -> Recovery<'a> {
        Recovery {
            env,
            dir,
            state,
            kind,
            files: Files::new(),
            index: Index::new(),
            version: Version::default(),
            expect: state.flushed_seq + 1,
            last: state.flushed_log,
            next_file: state.next_file,
            tail: None,
            broken: None,
            fresh: Vec::new(),
            void: Vec::new(),
            remove: Vec::new(),
            orphans: Vec::new(),
            old: Vec::new(),
        }
    }

    /// Step 3.
    fn open_tables(&mut self, io: Io, cache: &Arc<Cache>) -> Result<()> {
        let mut tables = BTreeMap::new();
        for (number, meta) in &self.state.tables {
            let (database, hash_seed) = (self.state.database, self.state.hash_seed);
            let table = Table::open(self.env, self.dir, database, hash_seed, meta.clone(), io, cache)?;
            let slot = self.files.register(Arc::clone(table.file()))?;
            tables.insert(*number, (Arc::new(table), slot));
        }
        let bound = |bound: &Option<Vec<u8>>| bound.as_deref().map(Arc::from);
        let mut runs = Vec::new();
        for run in &self.state.runs {
            // The manifest was checked: it names no table that it does not describe.
            let slices = run.slices.iter().filter_map(|slice| {
                let (table, slot) = tables.get(&slice.table)?;
                let (low, high) = (bound(&slice.low), bound(&slice.high));
                Some(Slice { table: Arc::clone(table), slot: *slot, low, high, covered: false, strays: false })
            });
            runs.push(Arc::new(Run { number: run.number, slices: slices.collect() }));
        }
        let ranges = self.state.ranges.iter().fold(RangeDeletes::default(), |ranges, range| {
            ranges.with(RangeDelete { start: range.start.clone(), stop: range.stop.clone(), seq: range.seq })
        });
        self.version = self.version.with_runs(runs);
        self.count_merged_away();
        self.version.ranges = Arc::new(ranges);
        Ok(())
    }

    /// What has been merged out of tables, of which only slices are left, is dead. Damage in their fences is for those who read them.
    fn count_merged_away(&self) {
        let mut left: BTreeMap<u64, (&Slice, u64)> = BTreeMap::new();
        for slice in self.version.slices().filter(|slice| slice.low.is_some() || slice.high.is_some()) {
            let bytes = slice.table.bytes_between(slice.low.as_deref(), slice.high.as_deref()).unwrap_or(0);
            left.entry(slice.table.meta().number).or_insert((slice, 0)).1 += bytes;
        }
        for (slice, bytes) in left.values() {
            slice.table.file().add_dead(slice.table.meta().data_bytes.saturating_sub(*bytes));
        }
    }

    /// Steps 4 to 9.
    fn run(&mut self, names: &[OsString]) -> Result<()> {
        let mut logs = log::numbers(names);
        let tables = table::numbers(names);
        let last = logs.keys().chain(tables.keys()).max();
        if let Some(last) = last {
            self.next_file = self.next_file.max(last + 1);
        }
        self.orphans = tables.into_keys().filter(|number| !self.state.tables.contains_key(number)).collect();
        self.old = table::old_names(names).cloned().collect();
        let flushed = |number: &u64| *number <= self.state.flushed_log.0;
        self.remove.extend(logs.keys().filter(|number| flushed(number)));
        logs.retain(|number, _| !flushed(number));
        if self.next_file > FILE_NUMBER_MAX {
            let message = format!("the manifest counts files up to {}, which no store has", self.next_file);
            return Err(Error::on(ErrorKind::Corruption, &self.dir.join(MANIFEST), message));
        }
        if let Some(missing) = self.state.ends.keys().find(|number| !logs.contains_key(number)) {
            let message = "the manifest names this log and it is missing: restore it, or write what is good to a new store with `kvs repair DIR OUT`";
            return Err(Error::on(ErrorKind::Corruption, &self.dir.join(log::name(*missing)), message));
        }
        for (number, name) in logs {
            if self.state.void.contains(&number) {
                self.remove.push(number);
            } else {
                self.log(number, self.dir.join(name))?;
            }
        }
        self.end_tail()
    }

    /// Steps 5 to 8 for one log.
    fn log(&mut self, number: u64, path: PathBuf) -> Result<()> {
        match self.env.open_read(&path)? {
            Some(file) if !file.is_empty() => {}
            _ => {
                // Created and not yet grown when the power went.
                if self.state.ends.contains_key(&number) {
                    return Err(Error::corruption(&path, 0, "the log is empty and the manifest says that it is not"));
                }
                self.remove.push(number);
                return Ok(());
            }
        }
        let source = self.env.open_segment(&path, self.kind)?;
        let (database, hash_seed) = (self.state.database, self.state.hash_seed);
        let opened = Opened::new(File::new(database, hash_seed, number, path.clone(), source));
        let bad = |what| Bad { offset: 0, what };
        let header = match SegmentHeader::read(opened.bytes(), self.state.database, number) {
            HeaderRead::Prepared if all_zero(opened.bytes()) && !self.state.ends.contains_key(&number) => {
                self.remove.push(number);
                return Ok(());
            }
            HeaderRead::Prepared => Err(bad("the segment's header is zeros and its body is not")),
            HeaderRead::Bad(what) => Err(bad(what)),
            HeaderRead::Newer(message) => return Err(Error::on(ErrorKind::NewerFormat, &path, message)),
            HeaderRead::Good(header) => self.follows(&header).map_err(bad),
        };
        match header {
            Ok(()) if self.broken.is_none() => self.replay(number, &opened),
            refused => {
                let at = refused.err().unwrap_or(bad("the log follows one that is void"));
                if self.state.ends.contains_key(&number) {
                    return Err(Error::corruption(
                        &path,
                        at.offset,
                        format!("the log was replayed before and now {}", at.what),
                    ));
                }
                // What this log could not follow: the tail of the last one, if that was bad.
                self.end_tail()?;
                self.end_chain(path, at, &opened, 0)?;
                self.void.push(number);
                Ok(())
            }
        }
    }

    /// Does a log with this header continue the chain?
    fn follows(&self, header: &SegmentHeader) -> Result<(), &'static str> {
        if (header.predecessor, header.predecessor_end) != self.last {
            return Err("the log before it ended elsewhere than its header says");
        }
        if header.first_seq != self.expect {
            return Err("its first sequence number does not follow the log before it");
        }
        Ok(())
    }

    /// The chain ends at the bad tail of its last log, if it has one.
    fn end_tail(&mut self) -> Result<()> {
        match self.tail.take() {
            Some((opened, bad)) => self.end_chain(opened.file().path.clone(), bad, &opened, bad.offset),
            None => Ok(()),
        }
    }

    /// Notes that the chain ends here, and looks in `opened`, from `from` on, for a proof that it should not.
    fn end_chain(&mut self, path: PathBuf, at: Bad, opened: &Opened, from: u64) -> Result<()> {
        let broken = self.broken.get_or_insert(Broken { path, at });
        let file = opened.file();
        let witness = replay::find_witness(opened.bytes(), from, file.salt, self.expect)
            .map_err(|bad| Error::corruption(&file.path, bad.offset, bad.what))?;
        match witness {
            None => Ok(()),
            Some(offset) => {
                let message = format!(
                    "{}, yet {} has a valid frame at offset {offset} that says that write {} was durable: synced data is damaged; restore from a copy, or write what is good to a new store with `kvs repair DIR OUT`",
                    broken.at.what,
                    file.path.display(),
                    self.expect,
                );
                Err(Error::corruption(&broken.path, broken.at.offset, message))
            }
        }
    }

    /// Step 8.
    fn replay(&mut self, number: u64, opened: &Opened) -> Result<()> {
        // The log says where its predecessor ended; what stood after that was never part of the store.
        self.tail = None;
        let file = opened.file();
        let slot = self.files.register(Arc::clone(file))?;
        let recorded = self.state.ends.get(&number).copied();
        let bytes = match recorded {
            None => opened.bytes(),
            Some(end) => opened.bytes().get(..end as usize).ok_or_else(|| {
                file.corrupt(opened.bytes().len() as u64, &format!("the log ends before the recorded end {end}"))
            })?,
        };
        let from = SEGMENT_HEADER_BYTES as u64;
        opened.accept(from);
        let guard = epoch::pin();
        let mut ranges = Vec::new();
        let mut indexing = Indexing { files: &self.files, index: &self.index, file, pending: Vec::new() };
        let seed = self.state.hash_seed;
        let replayed = replay::replay(bytes, from, file.salt, seed, self.expect, |entries, hashes| {
            if let Some(entry) = entries.last() {
                opened.accept(entry.offset + entry.header.len() as u64);
            }
            for (entry, hash) in entries.iter().zip(hashes) {
                if entry.header.kind == Kind::DeleteRange {
                    ranges.push(range_delete(bytes, entry));
                } else {
                    indexing.pending.push((*hash, address(slot, entry.offset)?));
                }
            }
            if indexing.pending.len() >= INDEX_BATCH { indexing.install(&guard) } else { Ok(()) }
        })?;
        indexing.install(&guard)?;
        drop(guard);
        if !ranges.is_empty() {
            let all = ranges.into_iter().fold(RangeDeletes::clone(&self.version.ranges), |all, range| all.with(range));
            self.version.ranges = Arc::new(all);
        }

        if let Some(end) = recorded.filter(|end| *end != replayed.end) {
            let what = replayed.stop.map_or("zeros where frames were", |bad| bad.what);
            let message = format!("{what}; the log was replayed up to {end} before");
            return Err(Error::corruption(&file.path, replayed.end, message));
        }
        let first_seq = std::mem::replace(&mut self.expect, replayed.next_seq);
        self.last = (number, replayed.end);
        self.tail = match recorded {
            Some(_) => None,
            None => replayed.stop.map(|bad| (opened.clone(), bad)),
        };
        if recorded.is_none() {
            self.fresh.push((opened.clone(), replayed.end));
        }
        self.version.memtables.push(Arc::new(Memtable::new(Arc::clone(file), slot, first_seq)));
        Ok(())
    }

    /// Steps 10 to 12; returns what the manifest says now.
    fn settle(&self, mut syncing: Syncing) -> Result<State> {
        for (opened, _) in &self.fresh {
            let synced = syncing.sync(self.env, &opened.file().path);
            synced.inspect_err(|_| doubt::leave_mark(self.env, self.dir))?;
        }
        if !self.fresh.is_empty() {
            // Their names, too: a log that is recorded and then lost with its directory entry would be damage.
            self.env.sync_dir(self.dir).inspect_err(|_| doubt::leave_mark(self.env, self.dir))?;
        }
        let mut state = self.state.clone();
        if !self.fresh.is_empty() || !self.void.is_empty() {
            let ends = self.fresh.iter().map(|(opened, end)| (opened.file().number, *end)).collect();
            state.apply(&Edit::Recovered { ends, void: self.void.clone(), next_file: self.next_file });
            let replaced = manifest::replace(self.env, self.dir, &state);
            replaced.inspect_err(|failure| doubt::mark_names(self.env, self.dir, failure))?;
        }
        if !(self.void.is_empty() && self.remove.is_empty() && self.orphans.is_empty()) {
            // Whoever wrote the manifest may have died before its name was durable: what it does not name must not go first.
            self.env.sync_dir(self.dir).inspect_err(|_| doubt::leave_mark(self.env, self.dir))?;
        }
        for number in self.void.iter().chain(&self.remove) {
            self.env.unlink(&self.dir.join(log::name(*number)))?;
        }
        for number in &self.orphans {
            self.env.unlink(&self.dir.join(table::name(*number)))?;
        }
        // The manifest that names them no more was durable before they got these names.
        for name in &self.old {
            self.env.unlink(&self.dir.join(name))?;
        }
        Ok(state)
    }
}

/// A range delete of the log whose bytes are `bytes`. One that hides nothing is ignored by `RangeDeletes`.
fn range_delete(bytes: &[u8], entry: &Entry) -> RangeDelete {
    let record = bytes.get(entry.offset as usize..).unwrap_or(&[]);
    let (start, stop) = (entry.header.key(record).to_vec(), entry.header.value(record).to_vec());
    RangeDelete { start, stop, seq: entry.header.seq() }
}

/// Records on their way to the index.
struct Indexing<'a> {
    files: &'a Files,
    index: &'a Index,
    file: &'a File,
    pending: Vec<(u64, Address)>,
}

impl Indexing<'_> {
    fn install(&mut self, guard: &epoch::Guard) -> Result<()> {
        self.pending.iter().for_each(|(hash, _)| self.index.prefetch(*hash, guard));
        for (hash, address) in self.pending.drain(..) {
            let key = key_at(self.file, address.offset())?;
            let mut partition = self.index.lock(hash);
            let place = partition.find(hash, guard, |candidate| match self.files.get(candidate.slot(), guard) {
                Some(file) => Ok(key_at(file, candidate.offset())? == key),
                None => Err(Error::new(ErrorKind::Internal, "the index names a slot without a file")),
            })?;
            partition.set(place, hash, address, guard);
        }
        Ok(())
    }
}

/// The key of a record that was accepted.
fn key_at(file: &File, offset: u64) -> Result<&[u8]> {
    let bytes = file.tail(offset);
    let header = Header::decode(bytes).ok_or_else(|| file.corrupt(offset, "no record where one was accepted"))?;
    Ok(header.key(bytes))
}
