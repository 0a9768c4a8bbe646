//! A binary search among records that may be damaged, which verifies two of them.
//!
//! Damaged keys can lead a search astray. To verify each record before it is compared is dear: its checksum is over all of it, so a search
//! reads every byte of records of which it needs a few of the key. It need not. Let `n` be where the search ends: it found the record
//! before `n` to come before what is sought, and the one at `n` not to. If these two are as they were written then `n` is right, for as they
//! were written the records are in order. So it looks at keys as they are, and verifies these two at the end.
//!
//! If something damaged was misjudged and that mattered, it is one of these two: behind a record that was wrongly found to come before
//! there is none that does, so the search ends right behind it; and ahead of one that was wrongly found not to, all do, so it ends there.
//!
//! Where what is sought probably is, is looked at first. Of keys that are spread evenly, the place of one between the first of its block
//! and the first of the next tells, within some records, where it is: those are asked from memory at once, where a search from the middle
//! waits for one after the other.

use std::cmp::Ordering;

use crate::error::Result;
use crate::merging::prefix_after;
use crate::record::{self, Header, Seq};

/// Where a search ended: the first that does not come before what is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its number.
    pub at: usize,
    /// It was verified.
    pub is_verified: bool,
    /// The one before it was.
    pub is_verified_before: bool,
}

/// Which part of what is searched is probably before what is sought.
#[derive(Clone, Copy, Debug)]
pub struct Share(u32);

impl Share {
    const ALL: u32 = 1 << 16;

    /// `part` of `whole`, which is not 0.
    #[inline]
    pub fn new(part: u64, whole: u64) -> Share {
        Share((part as f64 / whole as f64 * f64::from(Share::ALL)) as u32)
    }

    /// That part of `whole`.
    #[inline]
    pub fn of(self, whole: u64) -> u64 {
        whole.wrapping_mul(u64::from(self.0)) / u64::from(Share::ALL)
    }

    /// Of `count` in order, which are random: two between which the first that does not come before probably is. Those before are as
    /// many as this share, but for `sqrt(count) / 2` (at most, one sigma).
    #[inline]
    pub fn among(self, count: usize) -> (usize, usize) {
        let (middle, apart) = (self.of(count as u64) as usize, count.isqrt() / 2 + 1);
        (middle.saturating_sub(apart), (middle + apart).min(count.wrapping_sub(1)))
    }
}

/// The place among sorted records that is looked for: before a larger key, and before this one at this number or older.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// Which.
    pub key: &'a [u8],
    seq: Seq,
    /// How many first bytes all keys share, this one included.
    shared: usize,
    /// The eight bytes behind, which mostly decide.
    pub prefix: u64,
}

impl<'a> Sought<'a> {
    /// `key` at `seq`, of which all keys that it is compared with have the first `shared` bytes.
    #[inline]
    pub fn new(key: &'a [u8], seq: Seq, shared: usize) -> Sought<'a> {
        Sought { key, seq, shared, prefix: prefix_after(key, shared) }
    }

    /// Is it behind the record at the start of `bytes`? None, if none is there.
    #[inline(always)]
    pub fn is_behind(&self, bytes: &[u8]) -> Option<bool> {
        let key = record::key(bytes)?;
        let prefix = prefix_after(key, self.shared);
        if prefix != self.prefix {
            return Some(prefix < self.prefix);
        }
        Some(match key.cmp(self.key) {
            Ordering::Less => true,
            Ordering::Equal => Header::decode(bytes)?.seq() > self.seq,
            Ordering::Greater => false,
        })
    }
}

/// The first number in `from..to` that does not come before, `to` if all do. What is in order comes first before, then not. `verify`
/// is called for those that decide, as far as they are in `from..to`; what lies outside is known. `likely`: it probably lies between
/// these two, so they are looked at first.
#[inline]
pub fn first_not_before(
    from: usize,
    to: usize,
    likely: Option<(usize, usize)>,
    mut is_before: impl FnMut(usize) -> Result<bool>,
    mut verify: impl FnMut(usize) -> Result<()>,
) -> Result<Bound> {
    let (mut low, mut high) = (from, to);
    // Two numbers that are not looked at are none.
    let (mut next, mut after) = likely.unwrap_or((usize::MAX, usize::MAX));
    while low < high {
        let middle = low + (high - low) / 2;
        let at = if (low..high).contains(&next) { next } else { middle };
        (next, after) = (after, usize::MAX);
        if is_before(at)? {
            low = at + 1;
        } else {
            high = at;
        }
    }
    let (is_verified, is_verified_before) = (low < to, low > from);
    if is_verified_before {
        verify(low - 1)?;
    }
    if is_verified {
        verify(low)?;
    }
    Ok(Bound { at: low, is_verified, is_verified_before })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    /// Whatever one or two records look like instead, the answer is right or the damage is reported; and without damage it is right.
    #[test]
    fn it_is_right_or_reports_the_damage() {
        let written = [10, 20, 30, 40, 50, 60, 70];
        let mut reported = 0;
        for (first, second) in (0..7).flat_map(|a| (a..7).map(move |b| (a, b))) {
            for looks_like in [0, 15, 35, 55, 99] {
                let mut now = written;
                now[first] = looks_like;
                now[second] = looks_like;
                for (from, to) in [(0, 7), (2, 6), (3, 3)] {
                    for sought in 0..=80 {
                        // What lies outside is known.
                        let right = written.partition_point(|key| *key < sought).clamp(from, to);
                        for likely in [None, Some((0, 9)), Some((1, 2)), Some((3, 3)), Some((5, 6)), Some((6, 1))] {
                            let mut verified = Vec::new();
                            let found = first_not_before(
                                from,
                                to,
                                likely,
                                |i| Ok(now[i] < sought),
                                |i| match now[i] == written[i] {
                                    true => {
                                        verified.push(i);
                                        Ok(())
                                    }
                                    false => Err(Error::new(ErrorKind::Corruption, "damaged")),
                                },
                            );
                            match found {
                                Ok(Bound { at, is_verified, is_verified_before }) => {
                                    assert_eq!(at, right, "{now:?}: {sought} in {from}..{to}");
                                    assert_eq!(is_verified, verified.contains(&at));
                                    assert_eq!(is_verified_before, at > 0 && verified.contains(&(at - 1)));
                                }
                                Err(_) => reported += 1,
                            }
                        }
                    }
                }
            }
            let found = first_not_before(0, 7, None, |i| Ok(written[i] < 35), |_| Ok(()));
            assert_eq!(found.unwrap(), Bound { at: 3, is_verified: true, is_verified_before: true });
        }
        assert!(reported > 1000, "{reported}");
    }
}
