//! Options: plain data, validated once, at open.
//!
//! Every option says its default and what a larger and a smaller value do. [`Options::set`] and
//! [`OPTIONS`] offer the same by name, for the shell, C and Python.

use crate::error::{Error, ErrorKind, Result};

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
    /// Bytes of the largest ordinary log segment. Default: 64 MiB. Larger: fewer files and fewer sorted runs to merge
    /// in a scan. Smaller: smaller steps in disk use. `segment_bytes_min` to 4 GiB.
    pub segment_bytes_max: u64,
    /// Bytes of log that the store may hold; a write beyond gets [`ErrorKind::NoSpace`]. Default: 16 GiB.
    /// Larger: room for more data, but a longer recovery after a crash. Smaller: a tighter bound on disk and recovery time.
    pub log_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            create: true,
            read_only: false,
            durability: Durability::Process,
            log_backend: LogBackend::Auto,
            segment_bytes_min: 1 << 20,
            segment_bytes_max: 64 << 20,
            log_bytes_max: 16 << 30,
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
    OptionInfo { name: "segment_bytes_max", default: "67108864", doc: "bytes of the largest ordinary log segment" },
    OptionInfo { name: "log_bytes_max", default: "17179869184", doc: "bytes of log that the store may hold" },
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
            "log_bytes_max" => self.log_bytes_max = size(name, value)?,
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
        if self.log_bytes_max < self.segment_bytes_min {
            return refuse(format!(
                "log_bytes_max is {}, must be at least segment_bytes_min ({})",
                self.log_bytes_max, self.segment_bytes_min
            ));
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
        assert!(options.set("log_bytes_max", "99999999999g").is_err());
        assert!(options.set("log_bytes_max", "").is_err());
        options.set("segment_bytes_max", "4k").unwrap();
        assert!(options.validate().is_err(), "largest below smallest");
    }
}
