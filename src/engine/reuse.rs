//! Tables' files, written over: what a merge has left behind is where the next table goes.
//!
//! ```text
//!  N.tbl      part of the store; then it leaves it, and is read by whoever still holds it     leaving.rs
//!  N.tbl.old  nobody holds it any more: kept, for its pages in memory and its blocks on the disk
//!  M.tbl      renamed once more and written over from its beginning, then cut to its length
//! ```
//!
//! 1. Only who owns a [`File`] alone lets it go, and it is kept only if it was made since this open: then there is no mapping of it anywhere,
//!    no cursor and no value. One that was there at the open may still be mapped by a value that outlived an earlier open, in this process
//!    or in one that had the store open to read.
//! 2. A table leaves the store when a manifest without it is durable. So whatever a kill or a power cut leaves of the old and the new
//!    content, under whichever of the three names, no manifest names it: the next open removes it.
//! 3. Nothing that was in the file is taken for a part of the new table: its checks depend on its number, and the manifest, which is
//!    written after the table was synced, knows its length and its footer's check.
//! 4. A file with a second name is somebody's copy, and is left alone.
//! 5. What is kept is bounded by what lives, and is given back when the store has come to rest, at a close, and on a full disk.
//!
//! A fresh page of a file costs twice as much to fill as one that is there, and ten times as much where the machine gives what is free
//! back to its host. See `docs/decisions/0016-tables-written-over.md`.

use std::path::{Path, PathBuf};

use crate::engine::Core;
use crate::env::{AppendFile, SegmentKind};
use crate::error::Result;
use crate::files::File;
use crate::sync::Ordering;
use crate::sync::epoch;
use crate::table;

/// Of all tables' bytes, as much as one in so many is kept.
const KEPT_ONE_IN: u64 = 4;

/// A file that was a table.
#[derive(Debug)]
pub(crate) struct Old {
    path: PathBuf,
    len: u64,
}

impl Core {
    /// Nobody holds this table any more: its file is kept to be written over, or removed. A failure leaves an orphan.
    pub(crate) fn let_table_go(&self, file: File) {
        // Of a table that is not mapped nothing is published: it is read by those who have no memory for it.
        let (path, number, len) = (file.path.clone(), file.number, file.end());
        // Its mapping, or its descriptor, goes.
        drop(file);
        let is_own = number >= self.first_own_file;
        let has_room = len > 0 && (self.old_table_bytes() + len) * KEPT_ONE_IN <= self.live_table_bytes();
        let old = self.dir.join(table::old_name(number));
        if is_own && has_room && self.keeps_tables() && self.env.rename(&path, &old).is_ok() {
            self.old_tables.lock().push(Old { path: old, len });
        } else {
            let _ = self.env.unlink(&path);
        }
    }

    /// Are blocks that a file has as good as others, and is there no lack of them?
    fn keeps_tables(&self) -> bool {
        self.segment_kind == SegmentKind::Mapped && self.failure().is_none() && !self.is_reserve_out()
    }

    fn live_table_bytes(&self) -> u64 {
        let guard = epoch::pin();
        self.version.load(&guard).slices().map(|slice| slice.table.meta().len).sum()
    }

    /// The file of a new table.
    pub(crate) fn create_table(&self, path: &Path) -> Result<Box<dyn AppendFile>> {
        // The last one let go is the one most likely to be in memory.
        while let Some(Old { path: old, .. }) = self.take_old_table() {
            match self.env.create_over(&old, path) {
                Ok(Some(file)) => {
                    // Relaxed: a statistic.
                    self.counters.tables_written_over.fetch_add(1, Ordering::Relaxed);
                    return Ok(file);
                }
                Ok(None) => {
                    let _ = self.env.unlink(&old);
                }
                Err(_) => {
                    // It may have either name. A fresh one will do.
                    let _ = self.env.unlink(&old);
                    let _ = self.env.unlink(path);
                }
            }
        }
        self.env.create(path)
    }

    fn take_old_table(&self) -> Option<Old> {
        self.old_tables.lock().pop()
    }

    /// Gives back the files that were kept. Were there any?
    pub(crate) fn give_back_tables(&self) -> bool {
        let kept = std::mem::take(&mut *self.old_tables.lock());
        kept.iter().for_each(|old| _ = self.env.unlink(&old.path));
        !kept.is_empty()
    }

    /// Bytes of the files that are kept.
    pub(crate) fn old_table_bytes(&self) -> u64 {
        self.old_tables.lock().iter().map(|old| old.len).sum()
    }
}
