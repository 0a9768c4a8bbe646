//! The reserve: room on a full disk for what makes room.
//!
//! To give space back costs space first: a delete is a record, a flush and a merge write a table before old files go, and each changes
//! the manifest. So on a disk that is full to the last byte nothing could ever be given back. The store therefore keeps a
//! file `RESERVE` that holds blocks and means nothing.
//!
//! ```text
//!          a flush, a merge or a delete meets a full disk
//!   held ------------------------------------------------> out
//!     ^      remove RESERVE and the prepared segment, try again
//!     |                                                     |
//!     +-----------------------------------------------------+
//!        after the work, and before a put gets a new segment: make it again, if there is room
//! ```
//!
//! 1. *Size.* A flush of one segment must fit, and a manifest: the largest segment that is not in tables, and a quarter more.
//!    Then as much again for a merge, which holds on to what it has written until it has read through a table. And two segments
//!    of `segment_bytes_min` for deletes. So it grows as segments do, with the store.
//! 2. *When.* The worker makes it before it prepares the next segment, when half of the active one is used: a store that holds
//!    less has none. A close removes it, so that the next open has room; an open removes what a kill left.
//! 3. *Whose.* Merges take their share, deletes also that of merges, but two segments at a time, and a flush takes all: what is
//!    kept from one stays in the file. So deletes are refused until a `compact`, for which there is still room, and a merge that
//!    gets stuck half-way leaves room for the flush of the deletes that will free it. A flush that is done puts back what is kept
//!    from merges. A put that needs a new segment gets `NoSpace` unless the reserve can be made again first; so does one where
//!    there never was room for it. The active segment goes on taking puts.
//! 4. *Small steps.* While it is out a flush takes one segment, and a step of a merge makes a table of a quarter of its share, so
//!    that what it has read through can go before much is written.
//!
//! 5. *Only what helps.* While it is out no merge runs that nobody asked for, and a `compact` leaves tables alone of which
//!    nothing was deleted.
//!
//! What needs more than that on a full disk is still refused: nothing is promised to a merge that gives little back.
//!
//! Its blocks are reserved, or where the file system can't do that, written. It is never synced, and nobody reads it. Whether it
//! could be made or removed decides how much room there is and nothing else: errors are not told.

use std::ffi::OsString;
use std::path::Path;

use crate::covering;
use crate::engine::Core;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::epoch;

/// The reserve's file name.
pub(crate) const RESERVE: &str = "RESERVE";

/// A step of a merge writes one of so many parts of its share.
const STEPS: u64 = 4;
/// So many segments are for deletes, between two merges.
const DELETE_SEGMENTS: u64 = 2;
/// But not less than this: a table has a few KiB beside its records.
const STEP_BYTES_MIN: u64 = 16 << 10;

/// So many grace periods, and every file that nobody holds is gone: one may have begun already, and a file goes through two.
const ROUNDS: usize = 4;

/// What there is of it.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    /// Bytes of the file; 0: there is none.
    held: u64,
    /// Bytes that the file had when it was last whole.
    had: u64,
    /// Bytes that it should have; 0: the store is too small for one.
    wanted: u64,
    /// The shares of flushes and of merges in that; the rest is for deletes.
    for_flushes: u64,
    for_merges: u64,
    /// Segments that deletes got while it was out, since the last merge came to its end.
    delete_segments: u64,
    /// A full disk has taken it, or a part of it, or has never had room for it.
    out: bool,
}

/// Who takes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taker {
    /// Takes all of it: without a flush there is no way to go on.
    Flush,
    Merge,
    /// A segment for deletes: see [`Core::admit_deletes`].
    Delete,
    /// A delete in a segment whose blocks the file system could not reserve: nobody counts what such take.
    DeleteInPlace,
}

impl Reserve {
    /// What others need more than this one.
    fn kept_from(&self, taker: Taker) -> u64 {
        match taker {
            Taker::Flush => 0,
            Taker::Merge => self.wanted - self.for_merges,
            Taker::Delete => self.for_flushes,
            Taker::DeleteInPlace => self.for_flushes + self.for_merges,
        }
    }
}

/// Removes what a kill has left.
pub(crate) fn sweep(env: &dyn Env, dir: &Path, names: &[OsString]) {
    if names.iter().any(|name| name == RESERVE) {
        let _ = env.unlink(&dir.join(RESERVE));
    }
}

impl Core {
    /// Makes the reserve as large as the store now needs. False if a full disk has no room for one: then nothing else should be
    /// put there ahead of time.
    pub(crate) fn prepare_reserve(&self) -> bool {
        if self.env.is_volatile() {
            return true;
        }
        let version = self.version.pin(&epoch::pin());
        let sizes = version.memtables.iter().map(|memtable| (memtable.file.end(), memtable.file.memory().len() as u64));
        let largest = sizes.filter(|(used, len)| used > &(len / 2)).map(|(_, len)| len).max();
        let mut reserve = self.reserve.lock();
        if let Some(largest) = largest {
            let segment = largest.min(self.options.segment_bytes_max);
            reserve.for_flushes = reserve.for_flushes.max(segment + segment / 4);
            reserve.for_merges = reserve.for_merges.max(segment);
            reserve.wanted =
                reserve.for_flushes + reserve.for_merges + DELETE_SEGMENTS * self.options.segment_bytes_min;
        }
        if reserve.held < reserve.wanted {
            self.make_reserve(&mut reserve);
        }
        !reserve.out
    }

    /// Makes the reserve again if it is out. An error if there is no room for it.
    pub(crate) fn restore_reserve(&self) -> Result<()> {
        let mut reserve = self.reserve.lock();
        if reserve.out {
            self.make_reserve(&mut reserve);
        }
        if !reserve.out {
            return Ok(());
        }
        let message = format!(
            "the disk is full but for what is kept for deletes, flushes and merges: delete and compact, or make room for {} bytes",
            reserve.wanted
        );
        Err(Error::on(ErrorKind::NoSpace, &self.dir.join(RESERVE), message))
    }

    /// Makes it with the bytes that are wanted, or, where that is too much, with as many as it had when it was last whole.
    fn make_reserve(&self, reserve: &mut Reserve) {
        // A full disk is asked again and again: not at the price of what there is. Where the answer is wrong, making it will tell.
        let free = self.env.free_space(&self.dir).unwrap_or(u64::MAX).saturating_add(reserve.held);
        let least = if reserve.out && reserve.had > 0 { reserve.had } else { reserve.wanted };
        if free < least {
            reserve.out |= reserve.held == 0;
            return;
        }
        let path = self.dir.join(RESERVE);
        let (before, was_out) = (std::mem::take(&mut reserve.held), reserve.out);
        if before > 0 || reserve.out {
            // It may also be there because an earlier try to remove it failed.
            let _ = self.env.unlink(&path);
        }
        for len in [reserve.wanted, reserve.had] {
            if len == 0 || len > free {
                continue;
            }
            match self.env.reserve(&path, len) {
                Ok(()) => {
                    (reserve.held, reserve.had, reserve.out) = (len, len, false);
                    return;
                }
                Err(failure) => reserve.out = was_out || failure.kind() == ErrorKind::NoSpace,
            }
        }
        self.hold(reserve, before);
    }

    /// Gives the reserve's room to whoever makes room, but for what is kept from it. False if there was none to give.
    pub(crate) fn release_reserve(&self, to: Taker) -> bool {
        let mut reserve = self.reserve.lock();
        let kept = reserve.kept_from(to);
        if reserve.held <= kept || self.env.unlink(&self.dir.join(RESERVE)).is_err() {
            return false;
        }
        (reserve.held, reserve.out) = (0, true);
        self.hold(&mut reserve, kept);
        true
    }

    /// While it is out: makes sure that there is still what is kept from `taker`. False if there is not.
    pub(crate) fn keep_from(&self, taker: Taker) -> bool {
        let mut reserve = self.reserve.lock();
        let kept = reserve.kept_from(taker);
        self.keep(&mut reserve, kept)
    }

    /// While it is out: may deletes have the small segment that was made for them? A few in any case, and more if flushes and
    /// merges have what they need.
    pub(crate) fn admit_deletes(&self) -> bool {
        let mut reserve = self.reserve.lock();
        let mut kept = reserve.for_flushes;
        if reserve.delete_segments >= DELETE_SEGMENTS {
            kept += reserve.for_merges;
        }
        let kept = self.keep(&mut reserve, kept);
        reserve.delete_segments += u64::from(kept);
        kept
    }

    /// What was deleted has been merged.
    pub(crate) fn admit_deletes_again(&self) {
        self.reserve.lock().delete_segments = 0;
    }

    fn keep(&self, reserve: &mut Reserve, kept: u64) -> bool {
        if !reserve.out || reserve.held >= kept {
            return true;
        }
        if reserve.held > 0 && self.env.unlink(&self.dir.join(RESERVE)).is_err() {
            return false;
        }
        let before = std::mem::take(&mut reserve.held);
        self.hold(reserve, kept) || {
            self.hold(reserve, before);
            false
        }
    }

    /// Makes the file, of which there is none.
    fn hold(&self, reserve: &mut Reserve, len: u64) -> bool {
        if len > 0 && self.env.reserve(&self.dir.join(RESERVE), len).is_ok() {
            reserve.held = len;
        }
        reserve.held == len
    }

    /// What a merge is told that would take what is kept from it.
    pub(crate) fn no_room_to_merge(&self) -> Error {
        let message = "the disk is full but for what is kept for flushes and deletes: delete more, or make room";
        Error::on(ErrorKind::NoSpace, &self.dir.join(RESERVE), message)
    }

    /// What deletes are told when they have had their share.
    pub(crate) fn too_many_deletes(&self) -> Error {
        let message = "the disk is full but for what is kept for flushes and merges: compact, and go on deleting";
        Error::on(ErrorKind::NoSpace, &self.dir.join(RESERVE), message)
    }

    /// Has a full disk taken it?
    pub(crate) fn is_reserve_out(&self) -> bool {
        self.reserve.lock().out
    }

    /// Bytes that it holds now.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve.lock().held
    }

    /// Removes it: at close.
    pub(crate) fn remove_reserve(&self) {
        self.release_reserve(Taker::Flush);
    }

    /// Removes files that nobody holds any more. Waits for gets that are at work, and not for iterators.
    pub(crate) fn free_leaving(&self) {
        for _ in 0..ROUNDS {
            if !self.leaving.is_any() {
                return;
            }
            covering::wait_for_readers();
            self.free_retired();
        }
    }

    /// Gives a full disk whatever room can be given: files that nobody reads any more or that are kept to be used again,
    /// the prepared segment, the reserve. Was it any?
    #[cold]
    pub(crate) fn make_space(&self, taker: Taker) -> bool {
        // Relaxed: a look at whether it became less.
        let leaving = self.leaving.count();
        self.free_leaving();
        let left = self.leaving.count() < leaving;
        let gave_segment = self.give_back_segment();
        let gave_tables = self.give_back_tables();
        // All of them, whatever the others gave.
        self.release_reserve(taker) || gave_segment || gave_tables || left
    }

    /// Bytes of the tables that a step of a merge makes.
    pub(crate) fn step_bytes(&self) -> u64 {
        let reserve = self.reserve.lock();
        let small = (reserve.for_merges / STEPS).max(STEP_BYTES_MIN);
        if reserve.out { self.options.table_bytes_max.min(small) } else { self.options.table_bytes_max }
    }
}
