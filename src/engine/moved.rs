//! Where the keys of a new table were before, in four bytes a key.
//!
//! A flush or a merge holds a note for each key of a table until the index leads to it. An address has six bytes. But a table is made of few
//! files: in the order in which their first keys came they lie end to end, and a note is a place in that row, in units of eight bytes.
//!
//! ```text
//! note := first of the source | + offset / 8       0: nothing moved, for no record stands at the start of a file
//! ```
//!
//! A row has room for 32 GiB of sources, any one file; where a further one does not fit, the table ends.

use crate::index::Address;

/// The files of one table's keys.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    slots: Vec<u16>,
    /// Where each starts, in the order of notes; and where the next will.
    firsts: Vec<u64>,
    next: u64,
    /// What moved from each.
    moved: Vec<Total>,
}

/// Keys, and the bytes of their newest records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    keys: u64,
    bytes: u64,
}

impl Total {
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// Of one record, in the mean.
    pub fn mean(self) -> u64 {
        self.bytes / self.keys.max(1)
    }
}

impl Sources {
    /// Notes that a key's newest record, of `len` bytes, moved from there, out of a file of `size` bytes. None if there is no room for one more
    /// file, or if this one has outgrown its room: never for the first note of all.
    #[inline]
    pub fn note(&mut self, from: Address, size: u64, len: u64) -> Option<u32> {
        let at = match self.slots.iter().position(|&slot| slot == from.slot()) {
            Some(at) => at,
            None => self.add(from, size)?,
        };
        let place = self.firsts[at] + from.offset() / 8;
        if place >= self.firsts.get(at + 1).copied().unwrap_or(self.next) {
            return None;
        }
        self.moved[at].keys += 1;
        self.moved[at].bytes += len;
        u32::try_from(place).ok()
    }

    #[cold]
    fn add(&mut self, from: Address, size: u64) -> Option<usize> {
        // What addresses reach is 2^32 such units, and what notes reach.
        let next = self.next + size.div_ceil(8).max(from.offset() / 8 + 1).min(1 << u32::BITS);
        if next > 1 << u32::BITS {
            return None;
        }
        self.slots.push(from.slot());
        self.firsts.push(self.next);
        self.moved.push(Total::default());
        self.next = next;
        Some(self.slots.len() - 1)
    }

    /// Where it was, and the number of its source; `None` if it did not move.
    #[inline]
    pub fn of_note(&self, note: u32) -> Option<(Address, usize)> {
        let place = u64::from(note);
        if place == 0 {
            return None;
        }
        let at = self.firsts.partition_point(|&first| first <= place).checked_sub(1)?;
        Some((Address::new(self.slots[at], (place - self.firsts[at]) * 8)?, at))
    }

    /// The slot of each source, and what moved from there.
    pub fn totals(&self) -> impl Iterator<Item = (u16, Total)> {
        self.slots.iter().copied().zip(self.moved.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(slot: u16, offset: u64) -> Address {
        Address::new(slot, offset).unwrap()
    }

    /// Every note leads back, to the last place of each file; what moved is counted by file.
    #[test]
    fn notes_lead_back() {
        let mut sources = Sources::default();
        let places = [(7, 64), (9, 64), (7, 4096 - 16), (0, 8), (9, 8), (0, 1 << 30), (u16::MAX, 800)];
        let notes: Vec<u32> = places
            .iter()
            .enumerate()
            .map(|(i, &(slot, offset))| {
                sources.note(address(slot, offset), if slot == 0 { 1 << 31 } else { 4096 }, 100 + i as u64).unwrap()
            })
            .collect();
        for (note, (slot, offset)) in notes.iter().zip(places) {
            let (from, source) = sources.of_note(*note).unwrap();
            assert_eq!(from, address(slot, offset));
            assert_eq!(sources.totals().nth(source).unwrap().0, slot);
        }
        assert!(sources.of_note(0).is_none());
        let totals: Vec<_> = sources.totals().map(|(slot, total)| (slot, total.bytes(), total.mean())).collect();
        assert_eq!(totals, [(7, 202, 101), (9, 205, 102), (0, 208, 104), (u16::MAX, 106, 106)]);
    }

    /// One file always has room, whatever its size, and others as long as 32 GiB are not exceeded.
    #[test]
    fn a_row_is_full_at_32_gib() {
        let last = (1 << 35) - 8;
        let mut sources = Sources::default();
        let note = sources.note(address(3, last), 1 << 35, 8).unwrap();
        assert_eq!((note, sources.of_note(note).unwrap().0), (u32::MAX, address(3, last)));
        assert!(sources.note(address(4, 64), 4096, 8).is_none());
        assert!(sources.note(address(3, 64), 1 << 35, 8).is_some());

        // Whatever is said of a size: no two places have one note.
        let mut sources = Sources::default();
        assert!(sources.note(address(3, 64), 0, 8).is_some());
        assert!(sources.note(address(4, 64), 0, 8).is_some());
        assert!(sources.note(address(3, 72), 0, 8).is_none());
        assert!(sources.note(address(4, 72), 0, 8).is_none());
        assert!(sources.note(address(4, 64), 0, 8).is_some());
        assert!(Sources::default().note(address(3, last), u64::MAX, 8).is_some());

        let mut sources = Sources::default();
        for slot in 0..32 {
            assert!(sources.note(address(slot, 64), 1 << 30, 8).is_some());
        }
        assert!(sources.note(address(32, 64), 65, 8).is_none());
        let note = sources.note(address(31, (1 << 30) - 8), 1 << 30, 8).unwrap();
        assert_eq!(sources.of_note(note).unwrap().0, address(31, (1 << 30) - 8));
    }
}
