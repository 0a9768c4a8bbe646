//! What a database has done and what it holds: as numbers for programs, as text for people and other programs.

use std::ffi::c_char;
use std::fmt::Write;

use engine::{Error, ErrorKind, Stats};

use crate::boundary::{ErrorOut, Out, OutStruct, Outcome, call, string};
use crate::db::{copy, kvs_db};
use crate::error::kvs_error;
use crate::objects::{Core, core};
use crate::options::text;
use crate::status::*;

/// A database's numbers at one moment. Counters begin at each open; the rest is what is there now. Later versions add fields at the
/// end and change none: see kvs_get_stats.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct kvs_stats {
    /// Records written: puts and deletes, alone or in batches.
    pub writes: u64,
    /// Commits: single writes and batches.
    pub commits: u64,
    /// Bytes of keys and values written.
    pub user_bytes_written: u64,
    /// Bytes of frames written to the log.
    pub log_bytes_written: u64,
    /// Bytes of tables written by flushes.
    pub flush_bytes_written: u64,
    /// Bytes of tables written by merges.
    pub merge_bytes_written: u64,
    /// Bytes of records read by merges.
    pub merge_bytes_read: u64,
    /// fdatasyncs of log segments.
    pub syncs: u64,
    /// Segments taken into use.
    pub rotations: u64,
    /// Segments that were made of the file of an earlier one.
    pub segments_refilled: u64,
    /// Flushes.
    pub flushes: u64,
    /// Merges that came to their end.
    pub merges: u64,
    /// Steps of merges: one table each.
    pub merge_steps: u64,
    /// Tables that were written over the file of an earlier one.
    pub tables_written_over: u64,
    /// Writes that had to wait for a flush.
    pub stalls: u64,
    /// How long they waited, in nanoseconds.
    pub stall_nanos: u64,
    /// Writes that were slowed down because the log filled faster than it was flushed.
    pub delays: u64,
    /// How long they were, in nanoseconds.
    pub delay_nanos: u64,
    /// Iterators made.
    pub iterators: u64,
    /// Records that iterators stepped over: older versions, tombstones, and what range deletes hide. Told by an iterator now and
    /// then, and when it ends.
    pub records_skipped: u64,
    /// The newest write that readers see.
    pub visible_seq: u64,
    /// The newest write known to survive power loss.
    pub durable_seq: u64,
    /// The newest write that is in tables.
    pub flushed_seq: u64,
    /// Distinct keys in the point index, deleted ones included.
    pub index_keys: u64,
    /// Tables of which the point index has every key.
    pub covered_tables: u64,
    /// Live snapshots.
    pub snapshots: u64,
    /// The sequence number of the oldest live snapshot; 0 if there is none.
    pub oldest_snapshot_seq: u64,
    /// How long ago the oldest live snapshot was made, in milliseconds; 0 if there is none.
    pub oldest_snapshot_age_millis: u64,
    /// Bytes of records that merges kept only for snapshots.
    pub snapshot_held_bytes: u64,
    /// Range deletes that may still hide something.
    pub range_deletes: u64,
    /// Log segments that are not in tables.
    pub segments: u64,
    /// Bytes of the log: published bytes of those segments.
    pub log_bytes: u64,
    /// Bytes that those segments' files occupy.
    pub log_bytes_allocated: u64,
    /// Runs of tables.
    pub runs: u64,
    /// Tables.
    pub tables: u64,
    /// Bytes of the tables' files.
    pub table_bytes: u64,
    /// Bytes in tables that a merge could give back: overwritten, deleted and merged-away records, and tombstones.
    pub dead_bytes: u64,
    /// Files that left the store and that a reader still holds.
    pub leaving_files: u64,
    /// Bytes of those.
    pub leaving_bytes: u64,
    /// Bytes of files that were tables and are kept to be written over.
    pub old_table_bytes: u64,
    /// Bytes of the file that keeps room for deletes, flushes and merges on a full disk.
    pub reserve_bytes: u64,
    /// Anonymous memory of the point index, in bytes.
    pub index_bytes: u64,
    /// Anonymous memory of the sorted order of segments, in bytes.
    pub order_bytes: u64,
    /// Anonymous memory of the tables' fences, in bytes.
    pub fence_bytes: u64,
    /// Memory of the block cache, in bytes.
    pub cache_bytes: u64,
    /// Blocks that were in the cache.
    pub cache_hits: u64,
    /// Blocks that were not.
    pub cache_misses: u64,
    /// 1 if writes are refused because of an earlier failure.
    pub poisoned: u64,
    /// 1 if merges have stopped because of damage.
    pub merges_stopped: u64,
}

/// Copies the numbers by name, so that none can be taken for another, and lists the names.
macro_rules! numbers {
    ($($name:ident)*) => {
        impl From<Stats> for kvs_stats {
            fn from(stats: Stats) -> kvs_stats {
                kvs_stats { $($name: stats.$name,)* }
            }
        }

        const NUMBERS: &[&str] = &[$(stringify!($name),)*];
    };
}

numbers! {
    writes commits user_bytes_written log_bytes_written flush_bytes_written merge_bytes_written merge_bytes_read syncs
    rotations segments_refilled flushes merges merge_steps tables_written_over stalls stall_nanos delays delay_nanos iterators
    records_skipped visible_seq durable_seq flushed_seq index_keys covered_tables snapshots oldest_snapshot_seq
    oldest_snapshot_age_millis snapshot_held_bytes range_deletes segments log_bytes log_bytes_allocated runs tables
    table_bytes dead_bytes leaving_files leaving_bytes old_table_bytes reserve_bytes index_bytes order_bytes fence_bytes cache_bytes
    cache_hits cache_misses poisoned merges_stopped
}

// No padding: it is copied as bytes.
const _: () = assert!(size_of::<kvs_stats>() == 8 * NUMBERS.len());

/// Sets the caller's struct: as much of it as the caller was compiled with. out_size is sizeof(kvs_stats): a program that was compiled with
/// an older header passes a smaller one and gets the fields that it knows; of a newer header, fields that the library does
/// not know become 0. KVS_E_INVALID if out_size is below 8. On failure nothing is set. Any thread. Not for every call in a hot loop: it
/// takes the lock of writers for a moment.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_get_stats(
    db: *const kvs_db,
    out: *mut kvs_stats,
    out_size: usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_get_stats", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2, for `out_size` bytes.
        let out = unsafe { OutStruct::new("out", out, out_size) }?;
        let core = core(db)?;
        core.check_open()?;
        out.set(core.db.stats().into());
        Ok(KVS_OK)
    })
}

/// Something about the database as text, by name:
///
/// "properties": these names, a line each; "stats": a line "name value" for each number of kvs_stats, and the three
/// amplifications; "stats.json": the same as one JSON object; "stats." and a name, such as "stats.tables": that number alone;
/// "path": the directory, empty in memory; "version": the library's version.
///
/// *out is a new buffer, which the caller frees with kvs_free; a NUL byte stands behind its *out_len bytes. On failure *out is
/// NULL. KVS_E_INVALID: there is no such property, the message lists what there is. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_property(
    db: *const kvs_db,
    name: *const c_char,
    out: *mut *mut u8,
    out_len: *mut usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_property", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2, for both.
        let (out, out_len) = unsafe { (Out::null("out", out)?, Out::new("out_len", out_len)?) };
        // SAFETY: C3.
        let name = text("name", unsafe { string("name", name) }?)?;
        let core = core(db)?;
        core.check_open()?;
        let mut value = property(&core, name)?;
        let len = value.len();
        value.push(0);
        out.set(copy(&value)?);
        out_len.set(len);
        Ok(KVS_OK)
    })
}

const PROPERTIES: [&str; 5] = ["properties", "stats", "stats.json", "path", "version"];

fn property(core: &Core, name: &str) -> Outcome<Vec<u8>> {
    let value = match name {
        "properties" => {
            let mut lines: String = PROPERTIES.iter().map(|name| format!("{name}\n")).collect();
            for number in NUMBERS {
                // Writing to a string can't fail.
                let _ = writeln!(lines, "stats.{number}");
            }
            lines.into_bytes()
        }
        "stats" => core.db.stats().to_string().into_bytes(),
        "stats.json" => core.db.stats().to_json().into_bytes(),
        "path" => core.db.path().map_or(Vec::new(), |path| path.as_os_str().as_encoded_bytes().to_vec()),
        "version" => engine::version().into(),
        _ => {
            let fields = core.db.stats().fields();
            let number = name.strip_prefix("stats.").and_then(|wanted| fields.iter().find(|(name, _)| *name == wanted));
            let Some((_, number)) = number else {
                let known = PROPERTIES.join(", ");
                let message =
                    format!("unknown property {name:?}; known are {known}, and stats.NAME for each number of stats");
                return Err(Error::new(ErrorKind::InvalidArgument, message).into());
            };
            number.to_string().into_bytes()
        }
    };
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of the engine is in the struct. (At the end: whoever adds one must not move another.)
    #[test]
    fn the_struct_has_every_number() {
        let names: Vec<&str> = Stats::default().fields().iter().map(|(name, _)| *name).collect();
        let missing: Vec<_> = names.iter().filter(|name| !NUMBERS.contains(name)).collect();
        assert!(missing.is_empty(), "add to the end of kvs_stats and of numbers!: {missing:?}");
        let source = include_str!("stats.rs");
        let fields =
            source.split_once("pub struct kvs_stats {").and_then(|(_, rest)| rest.split_once("\n}")).unwrap().0;
        let fields: Vec<&str> = fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")).collect();
        let fields: Vec<&str> = fields.iter().filter_map(|field| field.strip_suffix(": u64,")).collect();
        assert_eq!(fields, NUMBERS, "the order in the struct (left) and in numbers! (right)");
    }
}
