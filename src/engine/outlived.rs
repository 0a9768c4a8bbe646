//! Outlived tables: those of which nobody will ever want a record again go without a merge.
//!
//! Whoever overwrites everything in turn, or deletes the oldest and adds at the end, leaves tables of which every record has a newer version. A merge would
//! read them to find that out, and with them what is live around them, and write that again. But the point index knows it:
//!
//! ```text
//!  1 look     all slices of the table are covered, and for none of its keys the index leads to it: each has a newer version
//!  2 mark     `since` = the number of the last write: those newer versions have numbers up to this one
//!  3 wait     until everything up to `since` is in tables, and no snapshot sees the table and not those
//!  4 drop     a version, and a manifest, without the table
//! ```
//!
//! *Look and mark.* Entries are changed under the commit mutex, and `since` is taken under it after the last look. What an entry led to was written before. A
//! covered slice's key has an entry, or was removed with its tombstone by a merge at the bottom, which took this table's record of it, too; and keys of parts
//! that were merged elsewhere are in no slice. A key that was overwritten stays so: whether the index goes on to speak for the table, or moves its entry
//! to wherever a merge puts the newer version, does not matter after the look. So the table is looked through once, some pages at a time: the
//! first key whose record is live is remembered, and from it the next look goes on.
//!
//! *Wait.* A newer version may be in a log that was not synced. Were the table dropped then, a power cut could take both: what is left would not be
//! a prefix of the writes. Of what is flushed the newest version of each key is in a table that is durable. A snapshot with number `since` or
//! later sees that one, or a newer one; one from before the table's first record sees nothing of the table.
//!
//! *Drop.* The same as the end of a merge: readers that have an older version keep the file by that.
//!
//! Where the table's dead bytes, which are counted, are few, nobody looks. Picking and merges leave marked tables out that wait for a flush. One that a
//! snapshot holds is like any other: a merge may give back what the snapshot does not need.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use crate::engine::Core;
use crate::engine::commit::address;
use crate::engine::tables::whole_hash;
use crate::error::Result;
use crate::events::EventLevel;
use crate::record::Seq;
use crate::sync::epoch::{self, Guard};
use crate::sync::{Arc, Ordering};
use crate::table::hashes::PAGE_ENTRIES;
use crate::version::{Run, Slice};

/// Tables of which less is dead are not looked at. Trailers, in which nothing is, take a tenth of a table of the smallest records.
const DEAD_PERCENT: u64 = 85;
/// So many keys are looked for while one epoch is pinned.
const BATCH: usize = 64;
/// So many pages of hashes are looked through in one piece: some 5 ms.
const PAGES_A_PIECE: usize = if cfg!(test) { 1 } else { 1024 };

/// What is known of a table.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// The entries of this many pages of hashes lead elsewhere; nobody has looked at the others.
    Begun { pages: usize },
    /// An entry of the page behind these leads here: its hash, and where its record is.
    Live { pages: usize, hash: u32, offset: u64 },
    /// All lead elsewhere, and all newer versions have numbers up to this one.
    Outlived { since: Seq },
    /// Its hashes can't be read. Whoever needs them tells of it.
    Damaged,
}

/// What the holder of `background` remembers.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Tables that were looked at, by number.
    tables: BTreeMap<u64, Look>,
    /// A drop failed when so much was flushed: not again before more is.
    failed_at: Option<Seq>,
}

/// What a piece of this work was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Tables were dropped.
    pub dropped: bool,
    /// There is more to look at.
    pub more: bool,
}

impl Core {
    /// Looks at tables that are mostly dead, a number of pages, and drops those that are outlived.
    pub(crate) fn drop_outlived(&self, looks: &mut Looks) -> Result<Piece> {
        let version = self.version.pin(&epoch::pin());
        let is_dead = |slice: &Slice| {
            let data_bytes = slice.table.meta().data_bytes;
            slice.table.file().dead() >= data_bytes / 100 * DEAD_PERCENT
        };
        let candidates: BTreeMap<u64, &Slice> =
            version.slices().filter(|slice| is_dead(slice)).map(|slice| (slice.table.meta().number, slice)).collect();
        looks.tables.retain(|number, _| candidates.contains_key(number));
        if candidates.is_empty() {
            return Ok(Piece::default());
        }
        let mut piece = Piece::default();
        let uncovered: HashSet<u16> = version.slices().filter(|slice| !slice.covered).map(|slice| slice.slot).collect();
        let mut pages = PAGES_A_PIECE;
        for (number, slice) in candidates.iter().filter(|(_, slice)| !uncovered.contains(&slice.slot)) {
            let before = looks.tables.get(number).copied().unwrap_or(Look::Begun { pages: 0 });
            let look = self.look_at(slice, before, &mut pages);
            if look.is_err() {
                self.check_open()?;
            }
            let look = look.unwrap_or(Look::Damaged);
            piece.more |= matches!(look, Look::Begun { .. });
            looks.tables.insert(*number, look);
        }

        let flushed_seq = self.catalog.lock().flushed_seq;
        let snapshots = self.snapshots.live();
        let (mut going, mut is_held) = (HashSet::new(), false);
        for (number, look) in &looks.tables {
            let (Look::Outlived { since }, Some(slice)) = (look, candidates.get(number)) else { continue };
            let seen = slice.table.meta().first_seq..*since;
            let held = snapshots.iter().any(|seq| seen.contains(seq));
            slice.table.file().set_outlived(!held);
            is_held |= held;
            if !held && *since <= flushed_seq {
                going.insert(*number);
            }
        }
        // Relaxed: whoever releases a snapshot wakes the worker if this is set, and a wake too many or too late is all that can come of it.
        self.outlived_held.store(is_held, Ordering::Relaxed);
        if going.is_empty() || looks.failed_at == Some(flushed_seq) {
            return Ok(piece);
        }
        let without = |run: &Arc<Run>| {
            let stays = |slice: &&Slice| !going.contains(&slice.table.meta().number);
            let slices: Vec<Slice> = run.slices.iter().filter(stays).cloned().collect();
            match slices.len() == run.slices.len() {
                true => Arc::clone(run),
                false => Arc::new(Run { number: run.number, slices }),
            }
        };
        let installed = self.install(version.runs.iter().map(without).collect(), None);
        looks.failed_at = installed.is_err().then_some(flushed_seq);
        installed?;
        self.retire_gone(&version);
        looks.tables.retain(|number, _| !going.contains(number));
        self.note(EventLevel::Info, || format!("dropped {} tables in which nothing was live", going.len()));
        piece.dropped = true;
        Ok(piece)
    }

    /// Looks whether every key of the table with this slice, which is covered as a whole, has a newer version: at so many pages of hashes at most.
    fn look_at(&self, slice: &Slice, before: Look, pages_left: &mut usize) -> Result<Look> {
        let table = &slice.table;
        let from = match before {
            Look::Outlived { .. } | Look::Damaged => return Ok(before),
            Look::Live { hash, offset, .. } if self.is_led_to(slice.slot, hash, offset, &epoch::pin())? => {
                return Ok(before);
            }
            Look::Live { pages, .. } | Look::Begun { pages } => pages,
        };
        let (mut count, mut ended) = (0, None);
        let mut guard = None;
        table.hashes_from(from, |hash, offset| {
            if count % PAGE_ENTRIES == 0 {
                let pages = from + count / PAGE_ENTRIES;
                if *pages_left == 0 {
                    ended = Some(Look::Begun { pages });
                    return Ok(false);
                }
                *pages_left -= 1;
            }
            if self.is_led_to(slice.slot, hash, offset, guard.get_or_insert_with(epoch::pin))? {
                ended = Some(Look::Live { pages: from + count / PAGE_ENTRIES, hash, offset });
                return Ok(false);
            }
            count += 1;
            if count.is_multiple_of(BATCH) {
                guard = None;
                self.check_open()?;
                if self.signal.wants_segment() {
                    self.prepare_segment();
                }
            }
            Ok(true)
        })?;
        drop(guard);
        if let Some(ended) = ended {
            return Ok(ended);
        }
        // Whatever was found in the index was set there under this lock, and has a number below the next: unless its write failed, and then no
        // other follows.
        let commit = self.commit.lock();
        self.check_writable()?;
        Ok(Look::Outlived { since: commit.next_seq - 1 })
    }

    /// Does the index lead to the record at `offset` of the file in `slot`?
    fn is_led_to(&self, slot: u16, hash: u32, offset: u64, guard: &Guard) -> Result<bool> {
        let address = address(slot, offset)?;
        let found = self.index.find(whole_hash(hash), guard, |candidate| Ok(candidate == address))?;
        Ok(found.is_some())
    }
}
