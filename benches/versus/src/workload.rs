//! The list of workloads.

use crate::Result;
use crate::cells::{Cell, fill, large, mixed, open, read, scan, space};
use crate::record::Metrics;
use crate::store::{Class, Contestant};

/// What a cell measured.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The numbers.
    pub metrics: Metrics,
    /// Operations in each whole second, where the workload counts them.
    pub series: Vec<f64>,
    /// A limit of time came first.
    pub cut: bool,
}

impl Outcome {
    /// With one more number.
    pub fn with(mut self, name: &str, value: f64) -> Outcome {
        self.metrics.insert(name.to_owned(), value);
        self
    }
}

/// What a workload begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// An empty store.
    Empty,
    /// A store with all `n` keys, compacted, closed and opened again.
    Loaded,
}

/// What a store must be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Writes.
    Writes,
    /// Gets; these rows are also those of pinned reads.
    PureReads,
    /// Gets and writes.
    Reads,
    /// Scans.
    Order,
    /// Puts that survive power loss.
    Synced,
    /// That it is there after it was closed.
    Durable,
    /// Gets and writes, for long. The idle spinner takes part too, and in nothing else.
    Lasting,
}

/// One workload.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name in options and reports.
    pub name: &'static str,
    /// What it begins with.
    pub begins: Begins,
    /// What it needs.
    pub needs: Needs,
    /// Is it one of the rows that are also run with other sizes of keys and values?
    pub main: bool,
    /// Runs it.
    pub run: fn(&Cell) -> Result<Outcome>,
}

impl Workload {
    /// Does this store take part?
    pub fn suits(&self, contestant: &Contestant) -> bool {
        if contestant.looks {
            return self.needs == Needs::PureReads;
        }
        if contestant.idles {
            return self.needs == Needs::Lasting;
        }
        match self.needs {
            Needs::Writes => self.begins == Begins::Empty || contestant.reads,
            Needs::PureReads | Needs::Reads | Needs::Lasting => contestant.reads,
            Needs::Order => contestant.ordered,
            Needs::Synced => contestant.syncs,
            Needs::Durable => contestant.is_durable() && contestant.reads,
        }
    }

    /// What a put of this cell survives.
    pub fn class(&self, contestant: &Contestant) -> Class {
        if self.needs == Needs::Synced { Class::Synced } else { contestant.class }
    }
}

/// The workload that leaves the store that others begin with.
pub const LOAD: Workload =
    Workload { name: "load", begins: Begins::Empty, needs: Needs::Durable, main: true, run: fill::load };

macro_rules! workloads {
    ($($name:literal $begins:ident $needs:ident $main:literal $run:expr;)*) => {
        &[$(Workload { name: $name, begins: Begins::$begins, needs: Needs::$needs, main: $main, run: $run }),*]
    };
}

/// All of them, in the order in which they run.
pub const WORKLOADS: &[Workload] = workloads! {
    "fill_seq" Empty Writes false fill::sequential;
    "fill_random" Empty Writes true fill::random;
    "fill_batch100" Empty Writes true fill::batches;
    "overwrite" Loaded Writes true fill::overwrite;
    "delete_random" Loaded Writes true fill::delete;
    "read_random" Loaded PureReads true |cell| read::random(cell);
    "read_zipf" Loaded PureReads false |cell| read::zipf(cell);
    "read_miss" Loaded PureReads true |cell| read::missing(cell);
    "read_2threads" Loaded PureReads false |cell| read::two_threads(cell);
    "scan_full" Loaded Order true |cell| scan::full(cell, false);
    "scan_reverse" Loaded Order false |cell| scan::full(cell, true);
    "seek_10" Loaded Order false |cell| scan::seeks(cell, 10);
    "seek_100" Loaded Order true |cell| scan::seeks(cell, 100);
    "prefix" Loaded Order false scan::prefixes;
    "read_beside_write" Loaded Reads false mixed::reader_beside_writer;
    "scan_beside_write" Loaded Order false mixed::scan_beside_writer;
    "ycsb_a" Loaded Reads false |cell| mixed::ycsb(cell, mixed::A);
    "ycsb_b" Loaded Reads false |cell| mixed::ycsb(cell, mixed::B);
    "ycsb_e" Loaded Order false |cell| mixed::ycsb(cell, mixed::E);
    "ycsb_f" Loaded Reads false |cell| mixed::ycsb(cell, mixed::F);
    "put_64k" Empty Reads false |cell| large::puts(cell, 64 << 10);
    "get_64k" Empty PureReads false |cell| large::gets(cell, 64 << 10);
    "put_1m" Empty Reads false |cell| large::puts(cell, 1 << 20);
    "get_1m" Empty PureReads false |cell| large::gets(cell, 1 << 20);
    "synced_1" Empty Synced false |cell| fill::synced(cell, 1);
    "synced_8" Empty Synced false |cell| fill::synced(cell, 8);
    "open_clean" Loaded Durable false open::after_close;
    "open_killed" Empty Durable false open::after_kill;
    "disk_load" Empty Durable true space::after_load;
    "disk_overwrite" Loaded Durable false space::after_overwrites;
    "bytes_written" Empty Durable false space::bytes_written;
    "memory" Loaded Durable false space::memory;
    "over_time" Loaded Lasting false fill::over_time;
};

/// The workload of this name.
pub fn by_name(name: &str) -> Result<Workload> {
    let found = WORKLOADS.iter().chain([&LOAD]).find(|workload| workload.name == name).copied();
    let known = || WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("there is no workload {name:?}; there are {}", known()).into())
}
