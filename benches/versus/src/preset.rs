//! Sets of options: what a run does where its command line does not say.

use crate::store::Contestant;
use crate::workload::{Needs, Workload};

/// A set of options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// A million keys, every store of the build, every workload; other sizes of keys and values in the main rows, once.
    #[default]
    Default,
    /// Ten million keys; kvs, RocksDB, LMDB, LevelDB and fjall, where the build has them; the main rows.
    Large,
    /// Ten million keys, each cell in a group that may use memory of a quarter of their pairs; the stores of `large`, and kvs with positioned
    /// reads and with a half and a tenth of its index.
    Beyond,
    /// What a put, a get and a seek cost at 1, 3, 10 and 30 million keys, in kvs.
    Growth,
    /// A minute of overwrites of a million keys, second by second, beside a spinner that does nothing.
    OverTime,
}

/// What the large preset leaves out: these measure the same at any number of keys, or are not asked for there.
const SMALL_ONLY: [&str; 9] =
    ["prefix", "scan_beside_write", "put_64k", "get_64k", "put_1m", "get_1m", "synced_1", "synced_8", "bytes_written"];
/// Stores of the large preset.
const LARGE: [&str; 7] = ["kvs", "kvs_pinned", "rocksdb", "lmdb", "lmdb_writemap", "leveldb", "fjall"];
const BEYOND: [&str; 8] = ["kvs", "kvs_pread", "kvs_index50", "kvs_index10", "rocksdb", "lmdb", "leveldb", "fjall"];
const BEYOND_ROWS: [&str; 7] =
    ["fill_random", "overwrite", "read_random", "read_zipf", "read_miss", "scan_full", "seek_100"];
const GROWTH_ROWS: [&str; 3] = ["fill_random", "read_random", "seek_10"];
const OVER_TIME: [&str; 7] = ["kvs", "rocksdb", "lmdb", "lmdb_writemap", "leveldb", "fjall", "spinner"];

/// The numbers of a preset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    /// Numbers of keys, one after the other.
    pub sizes: &'static [u64],
    /// How many of the shapes.
    pub shapes: usize,
    /// Repetitions.
    pub repetitions: u32,
    /// Seconds of a cell that measures a steady rate.
    pub seconds: f64,
    /// Seconds after which a cell that works off N operations is cut.
    pub fill_seconds: f64,
    /// Seconds after which a cell is killed.
    pub limit: f64,
    /// Minutes after which no further cell begins.
    pub minutes: f64,
    /// The pairs are so many times the memory of a cell's group. None: no group.
    pub pairs_of_memory: Option<u64>,
}

impl Preset {
    /// Its numbers.
    pub fn numbers(self) -> Numbers {
        let default = Numbers {
            sizes: &[1_000_000],
            shapes: usize::MAX,
            repetitions: 3,
            seconds: 2.0,
            fill_seconds: 10.0,
            limit: 120.0,
            minutes: 85.0,
            pairs_of_memory: None,
        };
        let large =
            Numbers { sizes: &[10_000_000], shapes: 1, repetitions: 2, limit: 600.0, minutes: 240.0, ..default };
        match self {
            Preset::Default => default,
            Preset::Large => large,
            // Reads wait for the disk, and a B+tree that is filled at random does little else.
            Preset::Beyond => Numbers {
                repetitions: 1,
                seconds: 10.0,
                fill_seconds: 60.0,
                limit: 900.0,
                pairs_of_memory: Some(4),
                ..large
            },
            // Fills are to come to their end: a rate of the beginning would say nothing of the size.
            Preset::Growth => Numbers {
                sizes: &[1_000_000, 3_000_000, 10_000_000, 30_000_000],
                repetitions: 1,
                seconds: 5.0,
                fill_seconds: 240.0,
                limit: 900.0,
                ..large
            },
            Preset::OverTime => {
                Numbers { shapes: 1, repetitions: 1, seconds: 60.0, limit: 300.0, minutes: 60.0, ..default }
            }
        }
    }

    /// Is this one of its stores?
    pub fn has_store(self, contestant: &Contestant) -> bool {
        match self {
            Preset::Default => !contestant.only_named,
            Preset::Large => LARGE.contains(&contestant.name),
            Preset::Beyond => BEYOND.contains(&contestant.name),
            Preset::Growth => contestant.name == "kvs",
            Preset::OverTime => OVER_TIME.contains(&contestant.name),
        }
    }

    /// Is this one of its rows?
    pub fn has_workload(self, workload: &Workload) -> bool {
        let is_long = workload.needs == Needs::Lasting;
        match self {
            Preset::Default => !is_long,
            Preset::Large => !is_long && !SMALL_ONLY.contains(&workload.name),
            Preset::Beyond => BEYOND_ROWS.contains(&workload.name),
            Preset::Growth => GROWTH_ROWS.contains(&workload.name),
            Preset::OverTime => is_long,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{stores, workload};

    fn rows(preset: Preset) -> Vec<&'static str> {
        workload::WORKLOADS.iter().filter(|w| preset.has_workload(w)).map(|w| w.name).collect()
    }

    fn names(preset: Preset) -> Vec<&'static str> {
        stores::all().iter().filter(|c| preset.has_store(c)).map(|c| c.name).collect()
    }

    /// Each name in a list is one that there is, so no row is missing for a slip.
    #[test]
    fn lists_name_what_there_is() {
        assert_eq!(rows(Preset::Beyond), BEYOND_ROWS);
        assert_eq!(rows(Preset::Growth), GROWTH_ROWS);
        assert_eq!(rows(Preset::OverTime), ["over_time"]);
        assert!(SMALL_ONLY.iter().all(|name| workload::by_name(name).is_ok()));
        let known = [
            "kvs",
            "kvs_pinned",
            "kvs_pread",
            "kvs_index50",
            "kvs_index10",
            "rocksdb",
            "lmdb",
            "lmdb_writemap",
            "leveldb",
            "fjall",
            "spinner",
        ];
        assert!(LARGE.iter().chain(&BEYOND).chain(&OVER_TIME).all(|name| known.contains(name)));
    }

    /// Variants of kvs and the spinner are where they are named and nowhere else; no row of the others lasts a minute.
    #[test]
    fn special_stores_and_rows_keep_to_their_presets() {
        for preset in [Preset::Default, Preset::Large] {
            assert!(!rows(preset).contains(&"over_time"));
            assert!(stores::all().iter().filter(|c| c.only_named).all(|c| !preset.has_store(c)));
        }
        assert_eq!(names(Preset::Growth), ["kvs"]);
        assert!(names(Preset::Beyond).starts_with(&["kvs", "kvs_pread", "kvs_index50", "kvs_index10"]));
        assert!(!names(Preset::Beyond).contains(&"spinner") && names(Preset::OverTime).contains(&"spinner"));
        let spinner = stores::by_name("spinner").unwrap();
        let its: Vec<_> = workload::WORKLOADS.iter().filter(|w| w.suits(&spinner)).map(|w| w.name).collect();
        assert_eq!(its, ["over_time"]);
        assert!(!workload::by_name("over_time").unwrap().suits(&stores::by_name("append").unwrap()));
    }

    #[test]
    fn numbers_are_those_of_the_contract() {
        assert_eq!(Preset::Growth.numbers().sizes, [1_000_000, 3_000_000, 10_000_000, 30_000_000]);
        assert_eq!((Preset::OverTime.numbers().seconds, Preset::OverTime.numbers().sizes), (60.0, &[1_000_000][..]));
        assert_eq!(Preset::Beyond.numbers().pairs_of_memory, Some(4));
    }
}
