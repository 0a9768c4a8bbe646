//! An embedded, ordered, durable, multi-version key-value engine.
//!
//! A [`Db`] is a directory. Writes append to a log that is also the memtable; a point index finds any key in one probe; order is
//! made when a scan asks for it. Reads wait for nobody, every record is checked on every read, and what was
//! acknowledged survives `kill -9` (by default) or power loss ([`Durability::Sync`]).
//!
//! ```
//! # fn main() -> Result<(), kvs::Error> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("db");
//! let db = kvs::Db::open(&path, kvs::Options::default())?;
//! db.put("user:1", "ada")?;
//!
//! let mut batch = kvs::Batch::new();
//! batch.put("user:2", "grace").delete("user:1");
//! db.write(&batch)?;
//!
//! for pair in db.prefix("user:")? {
//!     let (key, value) = pair?;
//!     assert_eq!((&*key, &*value), (&b"user:2"[..], &b"grace"[..]));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! How it works is told in `docs/architecture.md`, the bytes in `docs/format.md`, the promises in `docs/durability.md`.

#![deny(unsafe_code)]

#[cfg(target_pointer_width = "32")]
compile_error!("kvs maps segments of up to 4 GiB: it needs 64-bit addresses");

// Under the model checker only what it checks is compiled: its atomics cannot stand in statics, and it knows no files.
#[cfg(not(kvs_loom))]
mod batch;
#[cfg(not(kvs_loom))]
mod bracket;
#[cfg(not(kvs_loom))]
mod cache;
#[cfg(not(kvs_loom))]
mod coding;
#[cfg_attr(kvs_loom, allow(dead_code, reason = "models use a part of it"))]
mod covering;
#[cfg(not(kvs_loom))]
mod cursor;
#[cfg(not(kvs_loom))]
mod db;
#[cfg(not(kvs_loom))]
mod engine;
#[cfg(not(kvs_loom))]
pub mod env;
#[cfg_attr(kvs_loom, allow(dead_code, reason = "models use a part of it"))]
mod error;
#[cfg(not(kvs_loom))]
mod events;
#[cfg(not(kvs_loom))]
mod files;
#[cfg(not(kvs_loom))]
#[doc(hidden)]
pub mod handles;
#[cfg_attr(kvs_loom, allow(dead_code, reason = "models use a part of it"))]
mod index;
#[cfg(not(kvs_loom))]
mod interpolation;
#[cfg(not(kvs_loom))]
mod iterator;
#[cfg_attr(kvs_loom, allow(dead_code, reason = "models use a part of it"))]
mod leaving;
#[cfg(not(kvs_loom))]
mod lenient;
#[cfg(not(kvs_loom))]
mod log;
#[cfg(not(kvs_loom))]
mod manifest;
#[cfg(not(kvs_loom))]
mod memtable;
#[cfg(not(kvs_loom))]
mod merging;
#[cfg(not(kvs_loom))]
mod metrics;
#[cfg(not(kvs_loom))]
mod options;
#[cfg(not(kvs_loom))]
mod ranges;
#[cfg(not(kvs_loom))]
mod record;
#[cfg(not(kvs_loom))]
mod repair;
mod scratch;
#[cfg_attr(kvs_loom, allow(dead_code, reason = "models use a part of it"))]
mod slots;
#[cfg(not(kvs_loom))]
mod snapshot;
#[cfg(not(kvs_loom))]
mod sorting;
mod sync;
#[cfg(not(kvs_loom))]
mod table;
#[cfg_attr(kvs_loom, allow(dead_code, reason = "models use a part of it"))]
mod together;
#[cfg(not(kvs_loom))]
mod value;
#[cfg(not(kvs_loom))]
mod version;
#[cfg(not(kvs_loom))]
mod visibility;
#[cfg(not(kvs_loom))]
mod walk;

#[cfg(not(kvs_loom))]
pub use batch::Batch;
#[cfg(not(kvs_loom))]
pub use db::{Db, Snapshot};
#[cfg(not(kvs_loom))]
#[doc(hidden)]
pub use engine::commit::{Left, Rest};
pub use error::{Error, ErrorKind, Result};
#[cfg(not(kvs_loom))]
pub use events::{EventLevel, LogHook};
#[cfg(not(kvs_loom))]
pub use iterator::Iter;
#[cfg(not(kvs_loom))]
pub use metrics::{Stats, Verified};
#[cfg(not(kvs_loom))]
pub use options::{
    BATCH_BYTES_MAX, Durability, KEY_BYTES_MAX, LogBackend, OPTIONS, OptionInfo, Options, TableIo, VALUE_BYTES_MAX,
};
#[cfg(not(kvs_loom))]
pub use repair::{Keys, LeftOut, Repaired, repair, repair_with};
#[cfg(not(kvs_loom))]
pub use value::Value;

/// The library's version, such as `0.1.0`.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
