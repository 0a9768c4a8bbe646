//! What a store has done and what it holds, as numbers.

use std::fmt;
use std::fmt::Write as _;

/// Makes [`Stats`] and the list of its fields from one list.
macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A store's numbers at one moment; see [`Db::stats`](crate::Db::stats). Counters begin at each open; the rest is what is
        /// there now.
        ///
        /// `Display` prints a line `name value` for each, [`Stats::to_json`] one object; both add the three amplifications.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Name and value of each number, in the order of the fields.
            pub fn fields(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

stats! {
    /// Records written: puts and deletes, alone or in batches.
    writes,
    /// Commits: single writes and batches.
    commits,
    /// Bytes of keys and values written.
    user_bytes_written,
    /// Bytes of frames written to the log.
    log_bytes_written,
    /// Bytes of tables written by flushes.
    flush_bytes_written,
    /// Bytes of tables written by merges.
    merge_bytes_written,
    /// Bytes of records read by merges.
    merge_bytes_read,
    /// fdatasyncs of log segments.
    syncs,
    /// Segments taken into use.
    rotations,
    /// Segments that were made of the file of an earlier one.
    segments_refilled,
    /// Flushes.
    flushes,
    /// Merges that came to their end.
    merges,
    /// Steps of merges: one table each.
    merge_steps,
    /// Tables that were written over the file of an earlier one.
    tables_written_over,
    /// Writes that had to wait for a flush.
    stalls,
    /// How long they waited, in nanoseconds.
    stall_nanos,
    /// Writes that were slowed down because the log filled faster than it was flushed.
    delays,
    /// How long they were, in nanoseconds.
    delay_nanos,
    /// Iterators made.
    iterators,
    /// Records that iterators stepped over: older versions, tombstones, and what range deletes hide. Told by an iterator now and
    /// then, and when it ends.
    records_skipped,
    /// The newest write that readers see.
    visible_seq,
    /// The newest write known to survive power loss.
    durable_seq,
    /// The newest write that is in tables.
    flushed_seq,
    /// Distinct keys in the point index, deleted ones included.
    index_keys,
    /// Tables of which the point index has every key.
    covered_tables,
    /// Live snapshots.
    snapshots,
    /// The sequence number of the oldest live snapshot; 0 if there is none.
    oldest_snapshot_seq,
    /// How long ago the oldest live snapshot was made, in milliseconds; 0 if there is none.
    oldest_snapshot_age_millis,
    /// Bytes of records that merges kept only for snapshots.
    snapshot_held_bytes,
    /// Range deletes that may still hide something.
    range_deletes,
    /// Log segments that are not in tables.
    segments,
    /// Bytes of the log: published bytes of those segments.
    log_bytes,
    /// Bytes that those segments' files occupy.
    log_bytes_allocated,
    /// Runs of tables.
    runs,
    /// Tables.
    tables,
    /// Bytes of the tables' files.
    table_bytes,
    /// Bytes in tables that a merge could give back: overwritten, deleted and merged-away records, and tombstones.
    dead_bytes,
    /// Files that left the store and that a reader still holds.
    leaving_files,
    /// Bytes of those.
    leaving_bytes,
    /// Bytes of files that were tables and are kept to be written over.
    old_table_bytes,
    /// Bytes of the file that keeps room for deletes, flushes and merges on a full disk.
    reserve_bytes,
    /// Anonymous memory of the point index, in bytes.
    index_bytes,
    /// Anonymous memory of the sorted order of segments, in bytes.
    order_bytes,
    /// Anonymous memory of the tables' fences, in bytes.
    fence_bytes,
    /// Memory of the block cache, in bytes.
    cache_bytes,
    /// Blocks that were in the cache.
    cache_hits,
    /// Blocks that were not.
    cache_misses,
    /// 1 if writes are refused because of an earlier failure.
    poisoned,
    /// 1 if merges have stopped because of damage.
    merges_stopped,
}

impl Stats {
    /// Bytes written to files for each byte of keys and values written; 0 if nothing was written.
    pub fn write_amplification(&self) -> f64 {
        ratio(self.log_bytes_written + self.flush_bytes_written + self.merge_bytes_written, self.user_bytes_written)
    }

    /// Bytes of table files for each byte of them that is live; 0 if there is none.
    pub fn space_amplification(&self) -> f64 {
        ratio(self.table_bytes, self.table_bytes.saturating_sub(self.dead_bytes))
    }

    /// Sorted sources that a seek looks into: runs, and segments that are not in tables.
    pub fn read_amplification(&self) -> f64 {
        (self.runs + self.segments) as f64
    }

    fn ratios(&self) -> [(&'static str, f64); 3] {
        [
            ("write_amplification", self.write_amplification()),
            ("space_amplification", self.space_amplification()),
            ("read_amplification", self.read_amplification()),
        ]
    }

    /// One JSON object of numbers.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (name, value) in self.fields() {
            // Writing to a string can't fail.
            let _ = write!(out, "\"{name}\": {value}, ");
        }
        for (name, value) in self.ratios() {
            let _ = write!(out, "\"{name}\": {value:.3}, ");
        }
        out.truncate(out.len() - 2);
        out.push('}');
        out
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().iter().try_for_each(|(name, value)| writeln!(f, "{name} {value}"))?;
        self.ratios().iter().try_for_each(|(name, value)| writeln!(f, "{name} {value:.3}"))
    }
}

/// What [`Db::verify`](crate::Db::verify) looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Files read.
    pub files: u64,
    /// Records whose every byte was checked.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
}
