//! The engine: one store's state, and what is done to it.
//!
//! Locks, in the order in which they may be taken together:
//!
//! | lock | guards | held for |
//! |---|---|---|
//! | `closing` | that a store is closed once | a whole close |
//! | `background` | that one thread flushes, merges and covers at a time; runs change under it only | a piece of the worker's work |
//! | `compacting` | what callers of `compact` wait for | a few instructions |
//! | `catalog` | what the manifest says | a replacement of the manifest |
//! | `commit` | the one order of all writes: sequence numbers, the active segment, the version | about 150 ns a write; a rotation |
//! | `spare` | the prepared segment, files to be refilled, and file numbers | making a segment |
//! | `reserve` | the file that keeps room on the disk | making or removing it |
//! | `entries` | that the directory is not synced again after a failure | a sync of the directory |
//! | a partition of `index` | that part of the index | one change |
//! | `unsynced`, `snapshots`, `files`, `graveyard`, `leaving`, `room` | a small collection each | a few instructions |
//!
//! Readers take none of them, except that a snapshot registers. What they follow: `version` and `files` under an epoch guard,
//! `index` by its own protocol, `visible` as below.
//!
//! Publication (invariants of `visible`):
//!
//! 1. `visible = s` means that every write up to `s` is complete in its segment, below that segment's published end, and in
//!    the index, and that its memtable and its range deletes are in the version. One Release store after all of these; readers
//!    load it with Acquire first.
//! 2. It moves from one batch's last number to the next batch's last: nobody sees half a batch.
//! 3. It never falls, and `durable <= visible`.

pub mod close;
pub mod commit;
pub mod compaction;
pub mod coverage;
pub mod doubt;
pub mod durable;
pub mod flush;
pub mod handle;
pub mod moved;
pub mod outlived;
pub mod output;
pub mod picking;
pub mod pressure;
pub mod read;
pub mod recovery;
pub mod reserve;
pub mod reuse;
pub mod scans;
pub mod segments;
pub mod signal;
pub mod statistics;
pub mod tables;
pub mod verify;
pub mod worker;

use std::path::PathBuf;

use crate::cache::Cache;
use crate::engine::compaction::{Asked, Background};
use crate::engine::flush::{Backlog, Room};
use crate::env::{DirLock, Env, SegmentKind};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EventLevel, Events};
use crate::files::{Bytes, File, Files};
use crate::index::{Address, Index};
use crate::leaving::Leaving;
use crate::manifest::State;
use crate::options::Options;
use crate::record::{Header, Seq};
use crate::slots::{EpochCell, Graveyard};
use crate::snapshot::Registry;
use crate::sync::epoch::Guard;
use crate::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, CachePadded, Mutex, OnceLock, Ordering};
use crate::table::Io;
use crate::together::Together;
use crate::version::Version;
use commit::Commit;
use reserve::Reserve;
use scans::Scans;
use segments::Spare;
use signal::Signal;

/// More sealed segments than this are flushed, however small.
pub(crate) const LOGS_MAX: usize = 8;
/// Set in `Core::state` when the store is closed.
const CLOSED: u8 = 1;
/// Set in `Core::state` when writes are refused.
const POISONED: u8 = 2;

/// One store. Shared by handles, iterators, snapshots and the worker; the handles' guard closes it.
#[derive(Debug)]
pub struct Core {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) database: u128,
    pub(crate) hash_seed: u64,
    pub(crate) segment_kind: SegmentKind,
    pub(crate) table_io: Io,
    pub(crate) cache: Arc<Cache>,

    pub(crate) files: Files,
    pub(crate) index: Index,
    pub(crate) version: EpochCell<Version>,
    pub(crate) graveyard: Arc<Graveyard>,
    pub(crate) snapshots: Registry,

    /// The newest write that readers see. Stored with Release under `commit`, loaded with Acquire.
    pub(crate) visible: CachePadded<AtomicU64>,
    /// Every write up to here survives power loss.
    pub(crate) durable: Together<durable::Syncing>,

    pub(crate) commit: CachePadded<Mutex<Commit>>,
    /// Held by whoever flushes, merges or covers.
    pub(crate) background: Mutex<Background>,
    /// What the manifest says.
    pub(crate) catalog: Mutex<State>,
    /// Files that are not part of the store any more and that somebody may still read.
    pub(crate) leaving: Leaving<File>,
    /// Files that were tables, to be written over.
    pub(crate) old_tables: Mutex<Vec<reuse::Old>>,
    /// Files from this number on were made since this open.
    pub(crate) first_own_file: u64,
    /// Bytes of records that merges have read since the last flush. Only the holder of `background` writes it: Relaxed.
    pub(crate) merged_since_flush: AtomicU64,
    /// Bytes of records in the last flush. As above.
    pub(crate) last_flush_bytes: AtomicU64,
    /// A snapshot keeps a table of which nothing else is wanted.
    pub(crate) outlived_held: AtomicBool,
    /// How much waits for a flush, so that whoever asks takes no lock.
    pub(crate) backlog: Backlog,
    pub(crate) room: Room,
    pub(crate) scans: Scans,
    pub(crate) compacting: Mutex<Vec<Arc<Asked>>>,
    pub(crate) spare: Mutex<Spare>,
    pub(crate) reserve: Mutex<Reserve>,
    /// Held while the directory is synced: see [`Core::sync_entries`].
    pub(crate) entries: Mutex<()>,
    /// Segments that may hold bytes not yet synced, oldest first; the last one is the active segment.
    pub(crate) unsynced: Mutex<Vec<Arc<File>>>,

    /// CLOSED and POISONED. Set under `commit`, so that a writer that holds it can rely on what it reads. Readers
    /// of the store only need to see it soon: Relaxed.
    state: AtomicU8,
    /// The first failure; set before POISONED.
    failure: OnceLock<Error>,
    /// What stopped merges: damage.
    pub(crate) merge_failure: OnceLock<Error>,
    pub(crate) closing: Mutex<close::Closing>,
    pub(crate) signal: Arc<Signal>,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    /// How often running calls were interrupted: see [`Core::interrupt`].
    interrupts: AtomicU64,
    /// The worker runs in a thread of its own.
    pub(crate) threaded: AtomicBool,
    /// Fork generation at open; another one now means that this is a child process.
    fork_generation: u64,
}

/// How often there had been an interrupt when a call began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calm(u64);

/// Running totals outside the commit mutex. Relaxed: nothing is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub syncs: AtomicU64,
    pub iterators: AtomicU64,
    pub records_skipped: AtomicU64,
    pub stalls: AtomicU64,
    pub stall_nanos: AtomicU64,
    pub delays: AtomicU64,
    pub delay_nanos: AtomicU64,
    pub flushes: AtomicU64,
    pub flush_bytes_written: AtomicU64,
    pub merges: AtomicU64,
    pub merge_steps: AtomicU64,
    pub refills: AtomicU64,
    pub tables_written_over: AtomicU64,
    pub merge_bytes_read: AtomicU64,
    pub merge_bytes_written: AtomicU64,
}

/// What recovery hands to a new core.
pub(crate) struct Parts {
    pub env: Arc<dyn Env>,
    pub dir: PathBuf,
    pub options: Options,
    /// What the manifest says.
    pub state: State,
    pub segment_kind: SegmentKind,
    pub table_io: Io,
    pub cache: Arc<Cache>,
    pub files: Files,
    pub index: Index,
    pub version: Version,
    pub next_seq: Seq,
    pub next_file: u64,
    /// Number and end of the last segment that was replayed.
    pub last: (u64, u64),
    pub lock: Box<dyn DirLock>,
}

impl Core {
    pub(crate) fn new(mut parts: Parts) -> Core {
        let graveyard = Arc::new(Graveyard::default());
        let log_bytes_max = parts.options.memtable_bytes_max;
        let log_bytes = parts.version.memtables.iter().map(|m| m.file.memory().len() as u64).sum();
        let segment_bytes_min = parts.options.segment_bytes_min;
        let seen = parts.next_seq - 1;
        // What was replayed is sealed.
        let backlog = Backlog::default();
        parts.version.memtables.iter().for_each(|memtable| backlog.sealed(memtable.file.end()));
        // Taken, so that the close can let go of it.
        let events = Events::new(parts.options.log.take());
        Core {
            events,
            threaded: AtomicBool::new(false),
            fork_generation: parts.env.fork_generation(),
            env: parts.env,
            dir: parts.dir,
            options: parts.options,
            database: parts.state.database,
            hash_seed: parts.state.hash_seed,
            segment_kind: parts.segment_kind,
            table_io: parts.table_io,
            cache: parts.cache,
            files: parts.files,
            index: parts.index,
            version: EpochCell::new(Arc::new(parts.version), Arc::clone(&graveyard)),
            graveyard,
            snapshots: Registry::default(),
            visible: CachePadded::new(AtomicU64::new(seen)),
            durable: Together::new(seen, durable::Syncing::default()),
            commit: CachePadded::new(Mutex::new(Commit::new(parts.next_seq, parts.last, log_bytes, log_bytes_max))),
            background: Mutex::default(),
            catalog: Mutex::new(parts.state),
            leaving: Leaving::default(),
            merged_since_flush: AtomicU64::new(0),
            old_tables: Mutex::default(),
            first_own_file: parts.next_file,
            last_flush_bytes: AtomicU64::new(0),
            outlived_held: AtomicBool::new(false),
            backlog,
            room: Room::default(),
            scans: Scans::default(),
            compacting: Mutex::default(),
            spare: Mutex::new(Spare::new(parts.next_file, segment_bytes_min)),
            reserve: Mutex::default(),
            entries: Mutex::default(),
            unsynced: Mutex::default(),
            state: AtomicU8::new(0),
            failure: OnceLock::new(),
            merge_failure: OnceLock::new(),
            closing: Mutex::new(close::Closing::new(parts.lock, parts.next_file)),
            signal: Arc::default(),
            counters: Counters::default(),
            interrupts: AtomicU64::new(0),
        }
    }

    /// Interrupts whatever runs now and takes long. Nothing that begins later is concerned, so there is nothing to take back: a call
    /// remembers how often there had been an interrupt when it began, and looks now and then whether that is still so.
    pub(crate) fn interrupt(&self) {
        if self.is_forked() {
            return;
        }
        // Relaxed: who waits in `room` looks under its lock, which is taken after this; everybody else only needs to see it soon.
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        self.room.look_again();
    }

    /// Where a call begins that can be interrupted.
    pub(crate) fn calm(&self) -> Calm {
        Calm(self.interrupts.load(Ordering::Relaxed))
    }

    /// Refuses to go on if there was an interrupt since.
    #[inline]
    pub(crate) fn check_calm(&self, calm: Calm) -> Result<()> {
        if self.calm() == calm { Ok(()) } else { Err(interrupted()) }
    }

    /// May the store be read?
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.env.fork_generation() != self.fork_generation {
            return Err(forked());
        }
        self.check_open_here()
    }

    /// May the store be read, known that this process has opened it?
    #[inline]
    pub(crate) fn check_open_here(&self) -> Result<()> {
        if self.state.load(Ordering::Relaxed) & CLOSED != 0 {
            return Err(closed());
        }
        Ok(())
    }

    /// May the store be written? Only final while `commit` is held.
    #[inline]
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.env.fork_generation() != self.fork_generation {
            return Err(forked());
        }
        self.check_writable_here()
    }

    /// May the store be written, known that this process has opened it?
    #[inline]
    pub(crate) fn check_writable_here(&self) -> Result<()> {
        self.check_open_here()?;
        if self.options.read_only {
            return Err(Error::new(ErrorKind::ReadOnly, "the store was opened read-only"));
        }
        if self.state.load(Ordering::Relaxed) & POISONED != 0 {
            return Err(self.poisoned());
        }
        Ok(())
    }

    /// Does another process use this memory now?
    pub(crate) fn is_forked(&self) -> bool {
        self.env.fork_generation() != self.fork_generation
    }

    /// Marks the store closed; `commit` is held. False if it was.
    pub(crate) fn set_closed(&self, _commit: &Commit) -> bool {
        // Relaxed: ordered by the commit mutex.
        self.state.fetch_or(CLOSED, Ordering::Relaxed) & CLOSED == 0
    }

    /// Refuses all writes from now on. The first failure is the one that is told.
    #[cold]
    pub(crate) fn poison(&self, failure: &Error) {
        // Fails if an earlier failure is there already: that one stands.
        if self.failure.set(failure.clone()).is_ok() {
            self.note(EventLevel::Error, || format!("writes are refused until the store is opened again: {failure}"));
        }
        // Release pairs with the Acquire that `OnceLock::get` makes on its own; Relaxed would do.
        self.state.fetch_or(POISONED, Ordering::Release);
        self.room.tell(Some(&self.poisoned()));
    }

    /// The error of a write that an earlier failure forbids.
    #[cold]
    pub(crate) fn poisoned(&self) -> Error {
        match self.failure.get() {
            Some(failure) => failure.poisoned_by(),
            None => Error::new(ErrorKind::Poisoned, "an earlier failure made the log unreliable"),
        }
    }

    /// The first failure, if there was one.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// Is the record at `address` one of `key`? A damaged one is an error: it might be.
    #[inline]
    pub(crate) fn is_key(&self, address: Address, key: &[u8], guard: &Guard) -> Result<bool> {
        let (file, bytes, header) = self.record(address, guard)?;
        if header.key(&bytes) == key {
            return Ok(true);
        }
        file.check(&bytes, &header, address.offset())?;
        Ok(false)
    }

    /// The record at `address`, not verified.
    #[inline(always)]
    pub(crate) fn record<'g>(&'g self, address: Address, guard: &'g Guard) -> Result<(&'g File, Bytes<'g>, Header)> {
        let Some(file) = self.files.get(address.slot(), guard) else {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("the index names slot {} without a file", address.slot()),
            ));
        };
        let (bytes, header) = file.record_at(address.offset())?;
        Ok((file, bytes, header))
    }

    /// Tells the log hook, soon: the worker does, or whoever does its work.
    #[inline]
    pub(crate) fn note(&self, level: EventLevel, text: impl FnOnce() -> String) {
        if self.events.note(level, text) {
            self.signal.tell_garbage();
        }
    }

    /// Is there a thread that does what the worker should?
    pub(crate) fn has_worker(&self) -> bool {
        // Relaxed: set once, before anybody else has the core.
        self.threaded.load(Ordering::Relaxed)
    }

    /// Lets the worker look whether a file that left the store can go now.
    pub(crate) fn tell_if_leaving(&self) {
        if self.leaving.is_any() {
            self.signal.tell_garbage();
        }
    }

    /// Damage that stops merges, for `stats` and the next `compact`.
    pub(crate) fn note_background_failure(&self, failure: &Error) {
        // The first one stands.
        if self.merge_failure.set(failure.clone()).is_ok() {
            self.note(EventLevel::Error, || format!("merges have stopped: {failure}"));
        }
    }
}

#[cold]
fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "the call was interrupted on request")
}

#[cold]
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed; open it again")
}

#[cold]
fn forked() -> Error {
    Error::new(ErrorKind::Forked, "the store was opened before a fork: open it in the child process instead")
}
