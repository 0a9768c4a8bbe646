//! What a store has done and what it holds, as numbers.

use std::fmt;
use std::fmt::Write as _;

/// A store's numbers at one moment; see [`Db::stats`](crate::Db::stats).
///
/// `Display` prints a line `name value` for each, [`Stats::to_json`] one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records written since open: puts and deletes, alone or in batches.
    pub writes: u64,
    /// Commits since open: single writes and batches.
    pub commits: u64,
    /// Bytes of keys and values written since open.
    pub user_bytes_written: u64,
    /// Bytes of frames written to the log since open.
    pub log_bytes_written: u64,
    /// fdatasyncs of log segments since open.
    pub syncs: u64,
    /// Segments taken into use since open.
    pub rotations: u64,
    /// Iterators made since open.
    pub iterators: u64,
    /// The newest write that readers see.
    pub visible_seq: u64,
    /// The newest write known to survive power loss.
    pub durable_seq: u64,
    /// Distinct keys in the point index, deleted ones included.
    pub index_keys: u64,
    /// Live snapshots.
    pub snapshots: u64,
    /// The sequence number of the oldest live snapshot; 0 if there is none.
    pub oldest_snapshot_seq: u64,
    /// Log segments.
    pub segments: u64,
    /// Bytes of the log: published bytes of all segments.
    pub log_bytes: u64,
    /// Bytes that the segments' files occupy.
    pub log_bytes_allocated: u64,
    /// Anonymous memory of the point index, in bytes.
    pub index_bytes: u64,
    /// Anonymous memory of the sorted order, in bytes.
    pub order_bytes: u64,
    /// 1 if writes are refused because of an earlier failure.
    pub poisoned: u64,
}

impl Stats {
    /// Name and value of each number, in the order of the fields.
    pub fn fields(&self) -> [(&'static str, u64); 18] {
        [
            ("writes", self.writes),
            ("commits", self.commits),
            ("user_bytes_written", self.user_bytes_written),
            ("log_bytes_written", self.log_bytes_written),
            ("syncs", self.syncs),
            ("rotations", self.rotations),
            ("iterators", self.iterators),
            ("visible_seq", self.visible_seq),
            ("durable_seq", self.durable_seq),
            ("index_keys", self.index_keys),
            ("snapshots", self.snapshots),
            ("oldest_snapshot_seq", self.oldest_snapshot_seq),
            ("segments", self.segments),
            ("log_bytes", self.log_bytes),
            ("log_bytes_allocated", self.log_bytes_allocated),
            ("index_bytes", self.index_bytes),
            ("order_bytes", self.order_bytes),
            ("poisoned", self.poisoned),
        ]
    }

    /// One JSON object of numbers.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (i, (name, value)) in self.fields().iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            // Writing to a string can't fail.
            let _ = write!(out, "{comma}\"{name}\": {value}");
        }
        out.push('}');
        out
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().iter().try_for_each(|(name, value)| writeln!(f, "{name} {value}"))
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
