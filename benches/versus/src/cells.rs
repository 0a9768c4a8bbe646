//! One cell: a store and a workload, in this process.
//!
//! 1. The store is opened. If the workload begins with a loaded store, the directory holds one (stores in memory load it now).
//! 2. Then it is brought to rest: compacted, and every entry is looked at, byte for byte, and counted. That also warms caches.
//! 3. `sync`; then the timed part. It checks what it reads by length and tag, and scans by count and sum.
//! 4. After writes some keys are read back.

pub mod fill;
pub mod large;
pub mod mixed;
pub mod open;
pub mod read;
pub mod scan;
pub mod space;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::random::Rng;
use crate::record::Metrics;
use crate::shape::{self, Shape, tag};
use crate::store::{Budget, Contestant, Pairs, Scan, Store, Tally};
use crate::workload::{Begins, Outcome, Workload};
use crate::{Result, measure, stores, workload};

/// What the process of a cell is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The store.
    pub store: String,
    /// The workload.
    pub workload: String,
    /// Sizes of keys and values.
    pub shape: String,
    /// Keys.
    pub n: u64,
    /// Seconds of a cell that measures a steady rate.
    pub seconds: f64,
    /// Seconds after which a cell that works off `n` operations is cut.
    pub fill_seconds: f64,
    /// Write buffers.
    pub memtable_bytes: u64,
    /// Caches.
    pub cache_bytes: u64,
    /// Bytes that the group of this process may use, if it is in one.
    pub memory_limit_bytes: Option<u64>,
    /// The `cgroup.procs` of that group, which the process joins first.
    pub group: Option<PathBuf>,
    /// Where the store lies.
    pub dir: PathBuf,
    /// This program: a cell that kills a process starts it.
    pub program: PathBuf,
    /// Makes the random choices differ between repetitions.
    pub seed: u64,
}

/// One cell, ready to run.
#[derive(Debug)]
pub struct Cell {
    /// The store.
    pub contestant: Contestant,
    /// The workload.
    pub workload: Workload,
    /// Keys and values.
    pub shape: Shape,
    /// Sizes for the store.
    pub budget: Budget,
    /// What it was made of.
    pub spec: Spec,
    /// What the store's last opening used: where memory is limited.
    seen: Arc<Mutex<Metrics>>,
}

impl Cell {
    /// Looks up the names.
    pub fn new(spec: Spec) -> Result<Cell> {
        Ok(Cell {
            contestant: stores::by_name(&spec.store)?,
            workload: workload::by_name(&spec.workload)?,
            shape: shape::by_name(&spec.shape).ok_or_else(|| format!("there is no shape {:?}", spec.shape))?,
            budget: Budget {
                memtable_bytes: spec.memtable_bytes,
                cache_bytes: spec.cache_bytes,
                keys: spec.n,
                limited: spec.memory_limit_bytes.is_some(),
            },
            spec,
            seen: Arc::default(),
        })
    }

    /// Runs it.
    pub fn run(&self) -> Result<Outcome> {
        let mut outcome = (self.workload.run)(self)?;
        let mut seen = self.seen.lock().map_err(|_| "a thread panicked")?;
        outcome.metrics.append(&mut seen);
        Ok(outcome)
    }

    /// Keys.
    pub fn n(&self) -> u64 {
        self.spec.n
    }

    /// For choices number `stream`; the same in each run.
    pub fn rng(&self, stream: u64) -> Rng {
        Rng::new(self.spec.seed.wrapping_mul(1000).wrapping_add(stream))
    }

    /// Opens the store as it lies there.
    pub fn open(&self) -> Result<Box<dyn Store>> {
        let store =
            (self.contestant.open)(&self.spec.dir, &self.budget, self.workload.needs == workload::Needs::Synced)?;
        Ok(if self.budget.limited { Box::new(Watched { store: Some(store), seen: self.seen.clone() }) } else { store })
    }

    /// Opens it as the workload begins: at rest, looked at, caches warm.
    pub fn begin(&self) -> Result<Box<dyn Store>> {
        let store = self.open()?;
        if self.workload.begins == Begins::Loaded && self.contestant.reads {
            if !self.contestant.is_durable() {
                self.load_into(&*store)?;
            }
            store.compact()?;
            self.check_all(&*store, self.n())?;
        }
        measure::sync();
        Ok(store)
    }

    /// Puts all `n` pairs, in batches of a thousand, in random order.
    pub fn load_into(&self, store: &dyn Store) -> Result<()> {
        const BATCH: u64 = 1000;
        let (mut key, mut value, mut pairs) = (Vec::new(), Vec::new(), Pairs::default());
        for from in (0..self.n()).step_by(BATCH as usize) {
            pairs.clear();
            for i in from..(from + BATCH).min(self.n()) {
                self.shape.key(i, self.n(), &mut key);
                self.shape.value(i, 0, &mut value);
                pairs.push(&key, &value);
            }
            store.write(&pairs)?;
        }
        Ok(())
    }

    /// Fails unless the store holds the pairs of `0..count` and no others: each byte where there is order; else by asking for each.
    pub fn check_all(&self, store: &dyn Store, count: u64) -> Result<()> {
        if self.contestant.ordered {
            let scan = Scan::all(false);
            let mut tally = Tally::checking(self.shape, &scan);
            store.scan(&scan, &mut tally)?;
            if let Some(complaint) = tally.complaint() {
                return Err(complaint.into());
            }
            return self.check_count(&tally, count);
        }
        let (mut key, mut value, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..count {
            self.shape.key(i, self.n(), &mut key);
            if !store.get(&key, &mut value)? || !self.shape.is_exactly_of(i, &value, &mut scratch) {
                return Err(format!("key {i} has a wrong value or none").into());
            }
        }
        Ok(())
    }

    /// Fails unless a scan saw the pairs of `0..count`.
    pub fn check_count(&self, tally: &Tally, count: u64) -> Result<()> {
        if tally.count != count || tally.sum != sum_of_tags(count) {
            return Err(format!(
                "a scan saw {} entries of {count}, sum {:x} of {:x}",
                tally.count,
                tally.sum,
                sum_of_tags(count)
            )
            .into());
        }
        Ok(())
    }

    /// Reads a thousand of the keys below `count` back, with every byte.
    pub fn check_some(&self, store: &dyn Store, count: u64) -> Result<()> {
        if !self.contestant.reads || count == 0 {
            return Ok(());
        }
        let (mut key, mut value, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        let mut rng = self.rng(99);
        for _ in 0..count.min(1000) {
            let i = rng.below(count);
            self.shape.key(i, self.n(), &mut key);
            if !store.get(&key, &mut value)? || !self.shape.is_exactly_of(i, &value, &mut scratch) {
                return Err(format!("key {i} was written and has a wrong value or none").into());
            }
        }
        Ok(())
    }
}

/// Hands everything on to a store, and notes what memory it used when it is let go of.
struct Watched {
    /// There until it is closed.
    store: Option<Box<dyn Store>>,
    seen: Arc<Mutex<Metrics>>,
}

impl Watched {
    fn store(&self) -> Result<&dyn Store> {
        Ok(self.store.as_deref().ok_or("it is closed")?)
    }

    fn note(&self) -> Result<()> {
        let mut seen = self.store()?.numbers();
        let resident = measure::Resident::now()?;
        seen.insert("anonymous_bytes".to_owned(), resident.anonymous as f64);
        seen.insert("mapped_bytes".to_owned(), resident.mapped as f64);
        *self.seen.lock().map_err(|_| "a thread panicked")? = seen;
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.store.is_some()
            && let Err(error) = self.note()
        {
            eprintln!("what the store used could not be noted: {error}");
        }
    }
}

impl Store for Watched {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.store()?.put(key, value)
    }

    fn put_synced(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.store()?.put_synced(key, value)
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        self.store()?.write(pairs)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.store()?.delete(key)
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        self.store()?.get(key, value)
    }

    fn look(&self, key: &[u8]) -> Result<Option<(usize, u64)>> {
        self.store()?.look(key)
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        self.store()?.scan(scan, tally)
    }

    fn settle(&self) -> Result<()> {
        self.store()?.settle()
    }

    fn compact(&self) -> Result<()> {
        self.store()?.compact()
    }

    fn numbers(&self) -> Metrics {
        self.store.as_ref().map(|store| store.numbers()).unwrap_or_default()
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.note()?;
        self.store.take().ok_or("it is closed")?.close()
    }
}

/// The sum of the tags of `0..count`, as a scan adds them up.
fn sum_of_tags(count: u64) -> u64 {
    (0..count).fold(0, |sum, i| sum.wrapping_add(tag(i, 0)))
}
