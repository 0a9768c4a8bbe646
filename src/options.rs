//! Options: plain data, validated once, at open.
//!
//! Every option says its default and what a larger and a smaller value do. [`Options::set`] and
//! [`OPTIONS`] offer the same by name, for the shell, C and Python.

use crate::error::{Error, ErrorKind, Result};
use crate::events::LogHook;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 30;
/// The largest batch as it stands in the log, in bytes.
pub const BATCH_BYTES_MAX: u64 = 4 << 30;

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// May stay in the process until convenient: [`flush`](crate::Db::flush), [`close`](crate::Db::close) or any stronger write keeps it.
    /// Spares a system call where segments are written, not mapped; elsewhere the same as `Process`.
    None,
    /// Survives the death of the process (`kill -9` included), not that of the machine.
    #[default]
    Process,
    /// Survives power loss: returns after fdatasync of this write and of all before it.
    Sync,
}

/// How log segments reach their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogBackend {
    /// Mapped on file systems where a mapping is safe (ext4, tmpfs), positioned writes elsewhere.
    #[default]
    Auto,
    /// Shared mapping of a file whose blocks are reserved.
    Mapped,
    /// `pwrite` from anonymous memory: slower by a system call a write, safe on every file system.
    Positioned,
}

/// How tables are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TableIo {
    /// Mapped on file systems where a mapping is safe (ext4, tmpfs), positioned reads elsewhere.
    #[default]
    Auto,
    /// Mapped: the page cache is the only cache. A read error of the medium is a signal (`SIGBUS`).
    Mapped,
    /// `pread` into a cache of [`Options::cache_bytes`]: slower, but every failure is an error, and memory is bounded.
    Positioned,
}

/// How a store is opened. Plain data: fill in what differs from [`Options::default`].
///
/// ```
/// let options = kvs::Options { durability: kvs::Durability::Sync, ..Default::default() };
/// # let dir = tempfile::tempdir().unwrap();
/// let db = kvs::Db::open(dir.path().join("db"), options)?;
/// # Ok::<(), kvs::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Create the store (the directory and its files, not its parents) if there is none. Default: true.
    pub create: bool,
    /// Open without writing a byte: several processes may do so at once, but not beside a writer.
    /// Works on read-only media. Default: false.
    pub read_only: bool,
    /// What a write survives if the call does not say. Default: [`Durability::Process`].
    pub durability: Durability,
    /// How log segments reach their files. Default: [`LogBackend::Auto`].
    pub log_backend: LogBackend,
    /// Bytes of the first log segment; each later one is twice as large, up to `segment_bytes_max`. Default: 1 MiB.
    /// Larger: fewer files for a store that is known to grow. Smaller: less disk for tiny stores. 4 KiB to 1 GiB.
    pub segment_bytes_min: u64,
    /// Bytes of the largest ordinary log segment. Default: 32 MiB. Larger: larger tables, so fewer of them.
    /// Smaller: smaller steps in disk use. `segment_bytes_min` to 4 GiB.
    pub segment_bytes_max: u64,
    /// Bytes of log segments that are not in tables yet; a write that would need more waits for a flush. Default: 96 MiB.
    /// Larger: more room for bursts, but a longer recovery after a crash (64 MiB take about 0.15 s). Smaller: less memory and disk. (On
    /// disk there may be one segment more, which was flushed and waits to be filled again.)
    /// At least twice `segment_bytes_min`.
    pub memtable_bytes_max: u64,
    /// Bytes of a table, about. Default: 32 MiB. Larger: fewer files. Smaller: smaller steps of merges, which need that much
    /// disk for a while. 4 KiB to 4 GiB.
    pub table_bytes_max: u64,
    /// Bytes of a block of a table, about. Default: 4096. Larger: less memory for fences. Smaller: less to search and to
    /// read at a time. 256 to 64 KiB.
    pub block_bytes: u64,
    /// How tables are read. Default: [`TableIo::Auto`].
    pub table_io: TableIo,
    /// Bytes of the block cache, where tables are read by position. Default: 32 MiB. Larger: fewer reads. Smaller: less memory.
    pub cache_bytes: u64,
    /// Memory that the store may use: segments, cache, and, of what is left, the point index. Default: 1 GiB. With less than the index needs (14
    /// bytes a key) the oldest tables are searched by their own hash sections instead: slower by a read or two, and right.
    pub memory_bytes_max: u64,
    /// Bytes of table files for a hundred bytes of live records, logs included, about; more, and tables are merged. Default: 150.
    /// Larger: fewer bytes written by merges. Smaller: less disk. 110 to 1000.
    pub space_percent: u64,
    /// Runs of tables; more, and some are merged. Default: 12. Larger: fewer bytes written by merges. Smaller: faster scans and
    /// seeks while the store is being written. 1 to 100.
    pub runs_max: u64,
    /// What hears of the store's events. Default: nobody. Has no name for [`Options::set`]: it is no text. An open store has taken it:
    /// in [`Db::options`](crate::Db::options) there is none.
    pub log: Option<LogHook>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            create: true,
            read_only: false,
            durability: Durability::Process,
            log_backend: LogBackend::Auto,
            segment_bytes_min: 1 << 20,
            segment_bytes_max: 32 << 20,
            memtable_bytes_max: 96 << 20,
            table_bytes_max: 32 << 20,
            block_bytes: 4096,
            table_io: TableIo::Auto,
            cache_bytes: 32 << 20,
            memory_bytes_max: 1 << 30,
            space_percent: 150,
            runs_max: 12,
            log: None,
        }
    }
}

/// One option by name: what the shell's `--option`, C's `kvs_option_info` and Python's keywords show.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// As [`Options::set`] takes it.
    pub name: &'static str,
    /// Its default, as [`Options::set`] takes it.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

/// Every option that [`Options::set`] knows.
pub const OPTIONS: &[OptionInfo] = &[
    OptionInfo { name: "create", default: "true", doc: "create the store if there is none" },
    OptionInfo { name: "read_only", default: "false", doc: "open without writing a byte; refused beside a writer" },
    OptionInfo {
        name: "durability",
        default: "process",
        doc: "what a write survives: none, process (kill -9), sync (power loss)",
    },
    OptionInfo {
        name: "log_backend",
        default: "auto",
        doc: "how log segments reach their files: auto, mapped, positioned",
    },
    OptionInfo { name: "segment_bytes_min", default: "1048576", doc: "bytes of the first log segment" },
    OptionInfo { name: "segment_bytes_max", default: "33554432", doc: "bytes of the largest ordinary log segment" },
    OptionInfo {
        name: "memtable_bytes_max",
        default: "100663296",
        doc: "bytes of log that are not in tables yet; writes wait beyond",
    },
    OptionInfo { name: "table_bytes_max", default: "33554432", doc: "bytes of a table, about" },
    OptionInfo { name: "block_bytes", default: "4096", doc: "bytes of a block of a table, about" },
    OptionInfo { name: "table_io", default: "auto", doc: "how tables are read: auto, mapped, positioned" },
    OptionInfo { name: "cache_bytes", default: "33554432", doc: "bytes of the block cache for positioned reads" },
    OptionInfo {
        name: "memory_bytes_max",
        default: "1073741824",
        doc: "memory for segments, cache and point index; with less than it needs the index covers the newest tables only",
    },
    OptionInfo {
        name: "space_percent",
        default: "150",
        doc: "bytes of tables for 100 live bytes before they are merged",
    },
    OptionInfo { name: "runs_max", default: "12", doc: "runs of tables before some are merged" },
];

impl Options {
    /// Sets one option by name, both as text. Sizes take a suffix `k`, `m` or `g` (powers of 1024).
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "create" => self.create = flag(name, value)?,
            "read_only" => self.read_only = flag(name, value)?,
            "durability" => {
                self.durability = match value {
                    "none" => Durability::None,
                    "process" => Durability::Process,
                    "sync" => Durability::Sync,
                    _ => return Err(unusable(name, value, "none, process or sync")),
                }
            }
            "log_backend" => {
                self.log_backend = match value {
                    "auto" => LogBackend::Auto,
                    "mapped" => LogBackend::Mapped,
                    "positioned" => LogBackend::Positioned,
                    _ => return Err(unusable(name, value, "auto, mapped or positioned")),
                }
            }
            "segment_bytes_min" => self.segment_bytes_min = size(name, value)?,
            "segment_bytes_max" => self.segment_bytes_max = size(name, value)?,
            "memtable_bytes_max" => self.memtable_bytes_max = size(name, value)?,
            "table_bytes_max" => self.table_bytes_max = size(name, value)?,
            "block_bytes" => self.block_bytes = size(name, value)?,
            "table_io" => {
                self.table_io = match value {
                    "auto" => TableIo::Auto,
                    "mapped" => TableIo::Mapped,
                    "positioned" => TableIo::Positioned,
                    _ => return Err(unusable(name, value, "auto, mapped or positioned")),
                }
            }
            "cache_bytes" => self.cache_bytes = size(name, value)?,
            "memory_bytes_max" => self.memory_bytes_max = size(name, value)?,
            "space_percent" => self.space_percent = number(name, value)?,
            "runs_max" => self.runs_max = number(name, value)?,
            _ => {
                let known: Vec<&str> = OPTIONS.iter().map(|o| o.name).collect();
                let message = format!("unknown option {name:?}; known are {}", known.join(", "));
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        }
        Ok(())
    }

    /// Checks every bound once, at open.
    pub(crate) fn validate(&self) -> Result<()> {
        const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;
        let refuse = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
        if !SEGMENT_BYTES.contains(&self.segment_bytes_min) {
            return refuse(format!("segment_bytes_min is {}, must be 4 KiB to 1 GiB", self.segment_bytes_min));
        }
        if self.segment_bytes_max < self.segment_bytes_min || self.segment_bytes_max > 4 << 30 {
            return refuse(format!(
                "segment_bytes_max is {}, must be segment_bytes_min ({}) to 4 GiB",
                self.segment_bytes_max, self.segment_bytes_min
            ));
        }
        if self.memtable_bytes_max < 2 * self.segment_bytes_min {
            return refuse(format!(
                "memtable_bytes_max is {}, must be at least twice segment_bytes_min ({})",
                self.memtable_bytes_max, self.segment_bytes_min
            ));
        }
        let bounds = [
            ("table_bytes_max", self.table_bytes_max, 4 << 10, 4 << 30),
            ("block_bytes", self.block_bytes, 256, 64 << 10),
            ("space_percent", self.space_percent, 110, 1000),
            ("runs_max", self.runs_max, 1, 100),
        ];
        for (name, value, least, most) in bounds {
            if value < least || value > most {
                return refuse(format!("{name} is {value}, must be {least} to {most}"));
            }
        }
        Ok(())
    }
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(unusable(name, value, "true or false")),
    }
}

fn number(name: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| unusable(name, value, "a whole number"))
}

fn size(name: &str, value: &str) -> Result<u64> {
    let wanted = "a number of bytes such as 1048576, 1024k, 1m or 1g";
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'k' | b'K') => (&value[..value.len() - 1], 10),
        Some(b'm' | b'M') => (&value[..value.len() - 1], 20),
        Some(b'g' | b'G') => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let number: u64 = digits.parse().map_err(|_| unusable(name, value, wanted))?;
    number.checked_mul(1 << shift).ok_or_else(|| unusable(name, value, wanted))
}

fn unusable(name: &str, value: &str, wanted: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("option {name} is {value:?}, must be {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of names is the whole of what `set` takes, and its defaults are the defaults.
    #[test]
    fn the_list_and_set_agree() {
        let mut options = Options::default();
        for option in OPTIONS {
            options.set(option.name, option.default).unwrap();
        }
        assert_eq!(options, Options::default());
        assert_eq!(options.set("colour", "red").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert!(options.set("cache_bytes", "99999999999g").is_err());
        assert!(options.set("cache_bytes", "").is_err());
        options.set("segment_bytes_max", "4k").unwrap();
        assert!(options.validate().is_err(), "largest below smallest");
    }
}
