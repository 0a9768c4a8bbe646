//! The table: sorted records in one immutable file.
//!
//! ```text
//! table      := header (64) | block* | fences | hash pages | hash index | properties | footer (104)
//! header     := magic 8 | version u32 | features u32 | database id u128 | number u64 | zeros to 56 | check u32 | zeros to 64
//! block      := record* | trailer
//! trailer    := (offset of a record from the block's start u16, in units of 8 bytes)* | zeros to a multiple of 8
//!               | (check of all records u64, if bit 0 of flags) | count of records u16 | flags u16 | check u32
//! fences     := (prefix u64)*blocks | (start u32, in units of 8 bytes)*(blocks + 1) | zeros to a multiple of 8
//! hash pages := (hash32 u32 above offset / 8 u32, one u64)*keys | all ones to a multiple of 64 entries
//! hash index := (first hash32 of the page u32 | check of the page u32)*pages
//! properties := encoded by bincode 2 (standard configuration) | zeros to a multiple of 8
//! footer     := blocks u64 | records u64 | keys u64 | offsets of fences, pages, index, properties u64*4
//!               | length of the properties u64 | check of the fences u32 | of the index u32 | of the properties u32
//!               | of the records u32 | zeros to 88 | check u32 | 0 u32 | magic 8
//! ```
//!
//! * Records ascend by key, versions of one key newest first. A record looks as it does in a log, so moving it here costs a
//!   copy and two XORs.
//! * A block ends with the record by which it reaches its size: only its last record can be long, so the offsets fit 16 bits.
//! * Two ways lead to a record. **By order**: the fences, which hold eight bytes of each block's first key behind what all keys
//!   share, tell the block; its trailer tells where its records start. **By hash**: `hash32` is the upper half of a key's hash,
//!   the half that the point index uses. There is one entry for each key, at its newest version here, in the order
//!   of hashes; the index tells the page. So a key that is not found there is not in the table.
//! * All checks are `half(XXH3(bytes, at(number, offset of the first)))`. What decides where a search goes is checked before it is
//!   used. Fences, index and properties are read and checked once, at the first use, and stay in memory (12 bytes a block, 8
//!   bytes for 64 keys); an open looks at header and footer only. A trailer is checked whenever its block is entered, a page
//!   whenever it is searched, and of the records that a search compares the two that decide. A walk checks each record that it stands on, or, when
//!   it has come far, all of a block at once.
//! * A check is no proof of good will: whoever can write the file can compute it. So every offset and count is bounded before it is
//!   used; memory and work are bounded by the file's length.
//! * The manifest remembers of each table its length, the footer's check and the range of its keys ([`Meta`]).

mod block;
pub mod builder;
mod fences;
mod footer;
pub mod hashes;
mod properties;
pub mod reader;
pub mod salvage;
pub mod verify;
pub mod walk;

use std::collections::BTreeMap;
use std::ffi::OsString;

use bincode::{Decode, Encode};

use crate::coding;
use crate::record::{FileSalt, RECORD_ALIGN, Seq};

/// Bytes of the header; the first block follows.
pub const HEADER_BYTES: usize = 64;
/// What a block holds before it is closed, unless told otherwise.
#[cfg(test)]
pub const BLOCK_BYTES: u32 = 4096;
/// More would not fit the trailer's offsets.
const BLOCK_BYTES_MAX: u32 = (RECORD_ALIGN as u32) << 16;
/// An address has 32 bits for the offset, in units of 8 bytes.
const TABLE_BYTES_MAX: u64 = (RECORD_ALIGN as u64) << 32;
/// File numbers stay below, as those of logs do.
const FILE_NUMBER_MAX: u64 = u32::MAX as u64;

/// What the manifest says of a table.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Meta {
    /// The file's number.
    pub number: u64,
    /// Bytes of the file.
    pub len: u64,
    /// The check in its footer, which stands for everything that leads to the records.
    pub footer_check: u32,
    /// The first key.
    pub smallest: Vec<u8>,
    /// The last key.
    pub largest: Vec<u8>,
    /// The smallest sequence number of its records.
    pub first_seq: Seq,
    /// The largest.
    pub last_seq: Seq,
    /// How many records.
    pub records: u64,
    /// How many distinct keys.
    pub keys: u64,
    /// How many of the records are tombstones.
    pub deletes: u64,
    /// Bytes of the blocks.
    pub data_bytes: u64,
    /// Range deletes up to this one have been applied to all of it; 0 if it was not made at the bottom.
    pub purged_seq: Seq,
}

/// How a table's bytes are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Io {
    /// The file is mapped.
    Mapped,
    /// Its blocks are read by position, into the block cache.
    Positioned,
}

/// A table's file name.
pub fn name(number: u64) -> String {
    format!("{number:06}.tbl")
}

/// The file's name when it is no table any more, and is kept to be written over. Nobody looks into it.
pub fn old_name(number: u64) -> String {
    format!("{number:06}.tbl.old")
}

/// Those among `names`: only names exactly as this program writes them.
pub fn old_names(names: &[OsString]) -> impl Iterator<Item = &OsString> {
    names.iter().filter(|name| {
        let number = name.to_str().and_then(|name| name.strip_suffix(".tbl.old")?.parse::<u64>().ok());
        number.is_some_and(|number| (1..FILE_NUMBER_MAX).contains(&number) && **name == *old_name(number))
    })
}

/// The database that the header of table `number` says it is of, if `head` is a good one.
pub fn database_of(head: &[u8], number: u64) -> Option<u128> {
    footer::database_of(head, number)
}

/// The tables among `names`, by number: only names exactly as this program writes them.
pub fn numbers(names: &[OsString]) -> BTreeMap<u64, OsString> {
    let number = |found: &OsString| {
        let number = found.to_str()?.strip_suffix(".tbl")?.parse::<u64>().ok()?;
        ((1..FILE_NUMBER_MAX).contains(&number) && name(number) == found.to_str()?).then_some(number)
    };
    names.iter().filter_map(|name| Some((number(name)?, name.clone()))).collect()
}

/// The check of a part of the file with `salt` whose first byte stands at `offset`.
#[inline]
fn check_of(bytes: &[u8], salt: FileSalt, offset: u64) -> u32 {
    coding::half(coding::hash_seeded(bytes, salt.at(offset)))
}

#[cfg(test)]
mod tests;
