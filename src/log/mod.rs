//! The log: segments of frames of records.
//!
//! ```text
//! segment := header | frame* | zeros
//! header  := magic 8 | version u32 | features u32 | database id u128 | number u64 | first_seq u64
//!            | predecessor u64 | predecessor_end u64 | check u32 | zeros to 80
//! frame   := len u32 (in units of 8 bytes) | count u32 | first_seq u64 | lag u32 | check u32 | (prev u64 | record)*count
//! prev    := file number << 32 | offset / 8 of the version that this record replaced | NONE | UNKNOWN
//! ```
//!
//! * A batch is one frame: accepted whole or not at all. A frame never spans segments.
//! * `lag` is `first_seq - 1 - durable_seq`, the number of writes before this frame that were not yet known to be synced
//!   when it was written; all ones if that is not told. It is how recovery tells a torn tail from
//!   rot: a bad frame followed by a valid one that claims durability beyond it was durable once.
//! * A frame's check covers its header, the prevs and the records' checksums, under a seed that is its place in its
//!   file. No byte is hashed twice: the records' checksums cover the rest.
//! * A segment's header names its predecessor and where that one ended, so that a segment which lost its tail is noticed
//!   even if the next one is whole. A header of zeros is a segment that was prepared and never used.
//! * A `prev` is a hint for readers of old versions. A batch that writes a key twice gives both writes the version from
//!   before the batch: no reader's sequence number falls inside a batch.

pub mod frame;
pub mod replay;
pub mod salvage;
pub mod segment;

use std::collections::BTreeMap;
use std::ffi::OsString;

/// File numbers stay below, so that a `prev` can name any file.
pub const FILE_NUMBER_MAX: u64 = u32::MAX as u64;

/// A segment's file name.
pub fn name(number: u64) -> String {
    format!("{number:06}.log")
}

/// The segments among `names`, by number: only names exactly as this program writes them.
pub fn numbers(names: &[OsString]) -> BTreeMap<u64, OsString> {
    let number = |found: &OsString| {
        let number = found.to_str()?.strip_suffix(".log")?.parse::<u64>().ok()?;
        ((1..FILE_NUMBER_MAX).contains(&number) && name(number) == found.to_str()?).then_some(number)
    };
    names.iter().filter_map(|name| Some((number(name)?, name.clone()))).collect()
}
