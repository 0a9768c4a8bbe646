//! A binary search among records that may be damaged, which verifies two of them.
//!
//! Damaged keys can lead a search astray. To verify each record before it is compared is dear: its checksum is over all of it, so a search
//! reads every byte of records of which it needs a few of the key. It need not. Let `n` be where the search ends: it found the record
//! before `n` to come before what is sought, and the one at `n` not to. If these two are as they were written then `n` is right, for as they
//! were written the records are in order. So it looks at keys as they are, and verifies these two at the end.
//!
//! If something damaged was misjudged and that mattered, it is one of these two: behind a record that was wrongly found to come before
//! there is none that does, so the search ends right behind it; and ahead of one that was wrongly found not to, all do, so it ends there.

use crate::error::Result;

/// The first number in `from..to` that does not come before, `to` if all do. What is in order comes first before, then not. `verify`
/// is called for those that decide, as far as they are in `from..to`; what lies outside is known.
#[inline]
pub fn first_not_before(
    from: usize,
    to: usize,
    mut is_before: impl FnMut(usize) -> Result<bool>,
    mut verify: impl FnMut(usize) -> Result<()>,
) -> Result<usize> {
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low > from {
        verify(low - 1)?;
    }
    if low < to {
        verify(low)?;
    }
    Ok(low)
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
                        let found = first_not_before(
                            from,
                            to,
                            |i| Ok(now[i] < sought),
                            |i| match now[i] == written[i] {
                                true => Ok(()),
                                false => Err(Error::new(ErrorKind::Corruption, "damaged")),
                            },
                        );
                        match found {
                            Ok(found) => assert_eq!(found, right, "{now:?}: {sought} in {from}..{to}"),
                            Err(_) => reported += 1,
                        }
                    }
                }
            }
            let found = first_not_before(0, 7, |i| Ok(written[i] < 35), |_| Ok(()));
            assert_eq!(found.unwrap(), 3);
        }
        assert!(reported > 1000, "{reported}");
    }
}
