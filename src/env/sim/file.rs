//! One file: what the process sees, and what the disk may hold.
//!
//! `current` is the page cache. The synced state is kept as a difference to it: a sector that differs, or may differ,
//! from what was last synced has its synced bytes in `saved`, taken when it was first written after the sync. So a
//! store into a sector that is dirty already copies its own bytes and nothing else, and a sync forgets a list.
//!
//! ```text
//! a sector is   clean     on disk as in `current`
//!               dirty     on disk: as saved, as in `written` (if it was written back meanwhile), or as in `current`
//!               lost      on disk as saved, yet the next sync will not write it: an fsync failed and
//!                         marked the page clean. Writing it again makes it dirty.
//! ```
//!
//! The length has a history of its own: `sizes` are the turning points since the last sync, each of which, and every
//! whole sector in between while the file grew, may be the length that survives.

use std::collections::{BTreeMap, BTreeSet};

use super::CutModel;
use super::fate::{Fate, Rng};

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;
/// What a processor stores whole or not at all, if it is aligned.
const WORD: usize = 8;

type Sector = [u8; SECTOR];

/// `before` of a clean sector.
const CLEAN: u32 = 0;
/// `before` of a sector that did not exist when the file was synced. Any other value: one more than an index into `saved`.
const ZEROS: u32 = u32::MAX;

/// A file's contents, apart from its names.
#[derive(Default)]
pub(super) struct SimFile {
    current: Vec<u8>,
    synced_len: usize,
    sizes: Vec<usize>,
    /// By sector: where its synced bytes are.
    before: Vec<u32>,
    saved: Vec<Sector>,
    dirty: Vec<u32>,
    lost: BTreeSet<u32>,
    /// By dirty sector: a version between the synced one and the current one that reached the disk on its own.
    written: BTreeMap<u32, Box<Sector>>,
    /// Names in directories as the process sees them.
    pub(super) links: u32,
    /// Open handles.
    pub(super) open: u32,
    /// Bytes that it takes of the disk's capacity.
    pub(super) charged: u64,
}

impl SimFile {
    /// A file all of which is on the disk.
    pub(super) fn durable(current: Vec<u8>) -> SimFile {
        let (synced_len, before) = (current.len(), vec![CLEAN; current.len().div_ceil(SECTOR)]);
        SimFile { current, synced_len, before, ..SimFile::default() }
    }

    /// What the process sees.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.current
    }

    /// How many decisions a power cut has to make here.
    pub(super) fn unsynced(&self) -> usize {
        self.dirty.len() + self.sizes.len()
    }

    /// Writes `bytes` at `offset`, growing the file if need be. Once in `one_in` times a sector of the file reaches
    /// the disk just now: half of the time some dirty one as it stands, half of the time one that is being
    /// written, with only the first words of its new bytes. (0: never.)
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], one_in: usize, rng: &mut Rng) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let (first, last) = (offset / SECTOR, (end - 1) / SECTOR);
        if self.before.len() <= last {
            self.before.resize(last + 1, CLEAN);
        }
        for sector in first..=last {
            self.touch(sector);
        }
        if end > self.current.len() {
            self.resize(end);
        }
        if one_in != 0 && rng.below(one_in) == 0 {
            if rng.below(2) == 0 {
                let sector = self.dirty[rng.below(self.dirty.len())];
                let version = self.sector(sector as usize);
                self.written.insert(sector, Box::new(version));
            } else {
                let sector = first + rng.below(last - first + 1);
                let (start, stop) = (offset.max(sector * SECTOR), end.min((sector + 1) * SECTOR));
                let torn = ((start + rng.below(stop - start + 1)) / WORD * WORD).max(start);
                let mut version = self.sector(sector);
                version[start - sector * SECTOR..torn - sector * SECTOR]
                    .copy_from_slice(&bytes[start - offset..torn - offset]);
                self.written.insert(sector as u32, Box::new(version));
            }
        }
        self.current[offset..end].copy_from_slice(bytes);
    }

    /// Sets the length; what is new is zeros.
    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.current.len() {
            for sector in len / SECTOR..self.current.len().div_ceil(SECTOR) {
                self.touch(sector);
            }
        }
        self.resize(len);
        if self.before.len() < len.div_ceil(SECTOR) {
            self.before.resize(len.div_ceil(SECTOR), CLEAN);
        }
    }

    /// Everything that the process sees is on the disk now, but for what an earlier failure lost.
    pub(super) fn sync(&mut self) {
        for sector in self.dirty.drain(..) {
            self.before[sector as usize] = CLEAN;
            self.written.remove(&sector);
        }
        if !self.sizes.is_empty() {
            self.synced_len = self.current.len();
            self.sizes.clear();
        }
        if self.lost.is_empty() {
            self.saved.clear();
            self.before.truncate(self.current.len().div_ceil(SECTOR));
        }
    }

    /// A sync failed: nothing reached the disk, and no later sync will bring it there.
    pub(super) fn lose(&mut self) {
        self.lost.extend(self.dirty.drain(..));
        self.written.clear();
        self.sizes.clear();
    }

    /// Flips a bit wherever the byte stands. False beyond the end.
    pub(super) fn flip(&mut self, offset: usize, bit: u32) -> bool {
        let Some(byte) = self.current.get_mut(offset) else { return false };
        *byte ^= 1 << (bit % 8);
        let place = self.before[offset / SECTOR];
        if place != CLEAN && place != ZEROS {
            self.saved[place as usize - 1][offset % SECTOR] ^= 1 << (bit % 8);
        }
        if let Some(version) = self.written.get_mut(&((offset / SECTOR) as u32)) {
            version[offset % SECTOR] ^= 1 << (bit % 8);
        }
        true
    }

    /// What the disk holds after a power cut right now.
    pub(super) fn survive(&self, model: CutModel, fate: &mut dyn Fate) -> Vec<u8> {
        fate.next_object();
        let strict = model == CutModel::Strict;
        let len = if strict { self.synced_len } else { self.surviving_len(fate) };
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&self.current[..len.min(self.current.len())]);
        bytes.resize(len, 0);
        for &sector in &self.lost {
            self.put_before(&mut bytes, sector);
        }
        for &sector in &self.dirty {
            let start = sector as usize * SECTOR;
            if start >= len {
                continue;
            }
            // What a shrinking cut off is gone with it, or all there without it.
            if strict || start >= self.current.len() {
                self.put_before(&mut bytes, sector);
                continue;
            }
            match self.written.get(&sector) {
                Some(version) => match fate.pick(3) {
                    0 => self.put_before(&mut bytes, sector),
                    1 => put(&mut bytes, sector, version),
                    _ => {}
                },
                None if fate.survives() => {}
                None => self.put_before(&mut bytes, sector),
            }
        }
        bytes
    }

    fn surviving_len(&self, fate: &mut dyn Fate) -> usize {
        if self.sizes.is_empty() {
            return self.synced_len;
        }
        let point = |index: usize| if index == 0 { self.synced_len } else { self.sizes[index - 1] };
        let choice = fate.pick(self.sizes.len() + 2);
        if choice <= self.sizes.len() {
            return point(choice);
        }
        // On the way: some whole sectors of one growth.
        let step = if self.sizes.len() == 1 { 0 } else { fate.pick(self.sizes.len()) };
        let (from, to) = (point(step), point(step + 1));
        let between = if to > from { (to - 1) / SECTOR - from / SECTOR } else { 0 };
        match between {
            0 => to,
            1 => (from / SECTOR + 1) * SECTOR,
            _ => (from / SECTOR + 1 + fate.pick(between)) * SECTOR,
        }
    }

    /// This sector is about to change.
    fn touch(&mut self, sector: usize) {
        if self.before[sector] == CLEAN {
            self.before[sector] = if sector * SECTOR >= self.synced_len {
                ZEROS
            } else {
                self.saved.push(self.sector(sector));
                self.saved.len() as u32
            };
            self.dirty.push(sector as u32);
        } else if !self.lost.is_empty() && self.lost.remove(&(sector as u32)) {
            self.dirty.push(sector as u32);
        }
    }

    fn resize(&mut self, len: usize) {
        if len == self.current.len() {
            return;
        }
        self.current.resize(len, 0);
        let last = self.sizes.last().copied().unwrap_or(self.synced_len);
        let previous = match self.sizes.len() {
            0 => None,
            1 => Some(self.synced_len),
            n => Some(self.sizes[n - 2]),
        };
        // Going on in the same direction is one step: the points on its way are reached anyhow.
        if previous.is_some_and(|previous| previous.cmp(&last) == last.cmp(&len)) {
            self.sizes.pop();
        }
        self.sizes.push(len);
    }

    /// A sector as the process sees it, zeros after the end.
    fn sector(&self, sector: usize) -> Sector {
        let start = sector * SECTOR;
        let mut copy = [0; SECTOR];
        if let Some(rest) = self.current.get(start..) {
            let len = rest.len().min(SECTOR);
            copy[..len].copy_from_slice(&rest[..len]);
        }
        copy
    }

    fn put_before(&self, bytes: &mut [u8], sector: u32) {
        match self.before[sector as usize] {
            CLEAN => {}
            ZEROS => put(bytes, sector, &[0; SECTOR]),
            place => put(bytes, sector, &self.saved[place as usize - 1]),
        }
    }
}

fn put(bytes: &mut [u8], sector: u32, version: &Sector) {
    let start = sector as usize * SECTOR;
    if let Some(target) = bytes.get_mut(start..) {
        let len = target.len().min(SECTOR);
        target[..len].copy_from_slice(&version[..len]);
    }
}
