//! Picking: which runs to merge next. A pure function of the runs' sizes.
//!
//! A merge takes some of the newest runs, without a gap, or all, and its result takes the place of the oldest of them. The
//! reasons, the first that holds:
//!
//! 1. **Space.** What could be dropped is more than the options allow in proportion to what is live: all runs, since only the
//!    oldest versions and tombstones at the bottom give space back.
//! 2. **Tombstones.** Somewhere more than a quarter of the records are tombstones that could go: a scan steps over them, though
//!    they may take little space. All runs, for they go at the bottom only; what they do not touch is not rewritten. Where they
//!    lie thinly over a large store this never holds: a merge reads at most four records for each of them.
//! 3. **Scans.** Scans have stepped over so many older versions and tombstones since all runs were merged that to merge them
//!    again costs no more than that.
//! 4. **Runs.** There are so many that scans get slow. From the newest on, runs are taken while each is not larger than
//!    all those before it together, and at least so many that the number comes down: runs of similar size are merged together
//!    (size-tiered, as Cassandra and RocksDB's universal compaction do it). With at most 12 runs a store that has
//!    grown to 400 flushes has rewritten each record 1.9 times; with twice as eager a rule 3.3 times.
//! 5. **Rest.** Nobody has written for a while: all runs become one, once.
//!
//! What can't be dropped now is not counted: older versions and tombstones that a snapshot needs, while it lives; nor are tables that go by themselves
//! with the next flush.

use std::ops::Range;

/// What picking needs to know of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of its tables' files.
    pub bytes: u64,
    /// Of these, bytes that a merge could drop: overwritten, deleted and merged-away records, and tombstones.
    pub dead: u64,
    /// The records in them.
    pub records: u64,
    /// Of its parts where tombstones are dense: those of them that a merge of all runs could drop.
    pub tombstones: u64,
    /// The records there, in it and in all older runs.
    pub among: u64,
}

/// When to merge.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many bytes of files for each live byte, in hundredths.
    pub space_percent: u64,
    /// Bytes in logs, which are live, too: what died in tables is mostly there again.
    pub logged: u64,
    /// Less dead space than this is not worth a merge.
    pub dead_bytes_min: u64,
    /// Fewer tombstones than this are not worth one.
    pub tombstones_min: u64,
    /// More runs than this are merged.
    pub runs_max: usize,
    /// Records in tables that scans have stepped over since all runs were merged.
    pub skipped: u64,
    /// Nobody writes.
    pub at_rest: bool,
    /// Something came since everything was one run.
    pub unsettled: bool,
}

/// Why a merge was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// To give space back.
    Space,
    /// So that scans do not step over tombstones.
    Tombstones,
    /// So that scans do not step over what a merge can drop.
    Scans,
    /// To have fewer runs.
    Runs,
    /// Because there is time.
    Rest,
}

/// A merge of the newest `count` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// How many, from the newest on.
    pub count: usize,
    /// Why.
    pub reason: Reason,
}

/// A merge for space begins before the limit is reached, since space grows on while it runs.
const EARLY_PERCENT: u64 = 70;
/// Tombstones are dense if they are more than one of so many records.
pub const TOMBSTONES_DENSE: u64 = 4;
/// To merge a record costs about as much as to step over so many.
const SKIPS_A_RECORD: u64 = 4;
/// Fewer steps than this are left alone: they took some 30 ms.
const SKIPS_MIN: u64 = 1 << 20;
/// A merge for fewer runs takes at least so many.
const WIDTH_MIN: usize = 4;

/// What to merge next, of `runs`, newest first.
pub fn pick(runs: &[Shape], limits: &Limits) -> Option<Pick> {
    let (bytes, dead) = runs.iter().fold((0u64, 0u64), |(b, d), run| (b + run.bytes, d + run.dead.min(run.bytes)));
    let live = bytes - dead + limits.logged;
    let allowed = (limits.space_percent.saturating_sub(100) * EARLY_PERCENT / 100).max(1);
    if limits.unsettled && dead >= limits.dead_bytes_min.max(1) && dead / allowed > live / 100 {
        return Some(Pick { count: runs.len(), reason: Reason::Space });
    }
    let dense = |run: &Shape| {
        let enough = run.tombstones >= limits.tombstones_min.max(1);
        enough && run.tombstones.saturating_mul(TOMBSTONES_DENSE) > run.among
    };
    if limits.unsettled && runs.iter().any(dense) {
        return Some(Pick { count: runs.len(), reason: Reason::Tombstones });
    }
    let records = runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.records));
    if limits.unsettled && limits.skipped >= records.saturating_mul(SKIPS_A_RECORD).max(SKIPS_MIN) {
        return Some(Pick { count: runs.len(), reason: Reason::Scans });
    }
    // Of which all tables are outlived takes no part.
    let there = runs.iter().filter(|run| run.bytes > 0).count();
    if there > limits.runs_max.max(1) {
        let mut count = 1;
        let mut taken = runs[0].bytes;
        let least = WIDTH_MIN.max(runs.len() - limits.runs_max + 1);
        while let Some(next) = runs.get(count)
            && (count < least || next.bytes <= taken)
        {
            taken += next.bytes;
            count += 1;
        }
        return Some(Pick { count, reason: Reason::Runs });
    }
    if limits.at_rest && limits.unsettled && (there > 1 || dead >= limits.dead_bytes_min.max(bytes / 10)) {
        return Some(Pick { count: runs.len(), reason: Reason::Rest });
    }
    None
}

/// So many small tables in a row are worth joining.
const NEIGHBOURS_MIN: usize = 8;

/// Tables of a run, side by side, to be joined; `sizes` in the order of their keys. None is larger than `large`.
///
/// Whoever flushes often, and always at the end of its keys, has one run of very many tables; so has a run of which merges
/// rewrote pieces between tables that stayed. Rows of the smallest tables are joined first, and only where no table is as large
/// as half of its row: so each joining at least doubles what a record lies in, and it is rewritten a few times in all, about once
/// for each factor of eight.
pub fn neighbours(sizes: &[u64], large: u64) -> Option<Range<usize>> {
    let smallest = sizes.iter().copied().min()?;
    let mut limit = smallest.max(1);
    while limit <= large {
        let mut start = 0;
        for end in 0..=sizes.len() {
            if sizes.get(end).is_some_and(|size| *size <= limit) {
                continue;
            }
            let row = &sizes[start..end];
            let (sum, most) = (row.iter().sum::<u64>(), row.iter().copied().max().unwrap_or(0));
            if row.len() >= NEIGHBOURS_MIN && sum / 2 >= most {
                return Some(start..end);
            }
            start = end + 1;
        }
        limit = limit.checked_mul(2)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LIMITS: Limits = Limits {
        space_percent: 150,
        logged: 0,
        dead_bytes_min: MIB,
        tombstones_min: 1000,
        skipped: 0,
        runs_max: 8,
        at_rest: false,
        unsettled: true,
    };

    fn runs(sizes: &[(u64, u64)]) -> Vec<Shape> {
        sizes.iter().map(|&(bytes, dead)| Shape { bytes: bytes * MIB, dead: dead * MIB, ..Shape::default() }).collect()
    }

    /// Runs in MiB (size, dead), limits, and what is picked of them.
    #[test]
    fn the_table() {
        let rest = Limits { at_rest: true, ..LIMITS };
        let settled = Limits { unsettled: false, ..rest };
        let many = vec![(64, 0); 9];
        let grown: Vec<_> = [vec![(64, 0); 8], vec![(500, 0)]].concat();
        let large: Vec<_> = [vec![(64, 0); 8], vec![(2000, 0)]].concat();
        let steps = vec![(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (32, 0), (64, 0), (64, 0), (900, 0)];
        let all = |n| Some((n, Reason::Space));
        let fewer = |n| Some((n, Reason::Runs));
        type Row = (&'static str, Vec<(u64, u64)>, Limits, Option<(usize, Reason)>);
        let rows: Vec<Row> = vec![
            ("nothing there", vec![], rest, None),
            ("one run, clean", vec![(64, 0)], rest, None),
            ("one run, a quarter dead", vec![(64, 16)], LIMITS, None),
            ("one run, a third dead", vec![(64, 22)], LIMITS, all(1)),
            ("the same, just merged", vec![(64, 22)], settled, None),
            ("all of it dead", vec![(64, 64)], LIMITS, all(1)),
            (
                "dead, but too little to matter",
                vec![(1, 1), (1, 0)],
                Limits { dead_bytes_min: 2 * MIB, ..LIMITS },
                None,
            ),
            ("dead spread over runs", vec![(64, 0), (64, 10), (64, 50)], LIMITS, all(3)),
            ("at the limit of runs", many[1..].to_vec(), LIMITS, None),
            ("one too many, all alike", many.clone(), LIMITS, fewer(9)),
            ("an older one that is like the rest together", grown, LIMITS, fewer(9)),
            ("an older one that is much larger", large, LIMITS, fewer(8)),
            ("growing ones", steps, LIMITS, fewer(4)),
            (
                "small newest, larger rest: still enough of them",
                vec![(1, 0), (9, 0), (90, 0), (900, 0)],
                Limits { runs_max: 3, ..LIMITS },
                fewer(4),
            ),
            ("far too many", vec![(64, 0); 30], LIMITS, fewer(30)),
            ("two, at rest", vec![(64, 0), (640, 0)], rest, Some((2, Reason::Rest))),
            ("one, at rest, an eighth dead", vec![(64, 8)], rest, Some((1, Reason::Rest))),
            ("one, at rest, little dead", vec![(640, 8)], rest, None),
            ("two, at rest, but nothing new", vec![(64, 0), (640, 0)], settled, None),
        ];
        for (what, sizes, limits, expected) in rows {
            let picked = pick(&runs(&sizes), &limits).map(|pick| (pick.count, pick.reason));
            assert_eq!(picked, expected, "{what}");
        }
    }

    /// Runs with (tombstones, records among them), and whether they are merged for it.
    #[test]
    fn tombstones() {
        let settled = Limits { unsettled: false, ..LIMITS };
        let rows = [
            ("none", vec![(0, 0), (0, 0)], LIMITS, false),
            ("dense, but few", vec![(999, 1000), (0, 0)], LIMITS, false),
            ("few here and few there", vec![(600, 600), (600, 600)], LIMITS, false),
            ("a quarter", vec![(1000, 4000), (0, 0)], LIMITS, false),
            ("more than a quarter", vec![(1000, 3999), (0, 0)], LIMITS, true),
            ("in an older run", vec![(0, 0), (0, 0), (5000, 9000)], LIMITS, true),
            ("nothing else", vec![(5000, 5000)], LIMITS, true),
            ("many, but thin", vec![(1_000_000, 1_000_000_000)], LIMITS, false),
            ("just merged: they are there for a snapshot", vec![(5000, 5000)], settled, false),
        ];
        for (what, runs, limits, merged) in rows {
            let shape = |&(tombstones, among)| Shape { bytes: 64 * MIB, tombstones, among, ..Shape::default() };
            let runs: Vec<Shape> = runs.iter().map(shape).collect();
            let expected = merged.then_some(Pick { count: runs.len(), reason: Reason::Tombstones });
            assert_eq!(pick(&runs, &limits), expected, "{what}");
        }
    }

    /// Records in tables, steps over some of them, and whether they are merged for it.
    #[test]
    fn scans() {
        let rows = [
            ("none", 100_000, 0, true, false),
            ("as many as is worth it, but few", 1000, 4000, true, false),
            ("as many as is worth it", 1_000_000, 4_000_000, true, true),
            ("not quite", 1_000_000, 3_999_999, true, false),
            ("a small store that is scanned all the time", 1000, SKIPS_MIN, true, true),
            ("just merged: they are there for a snapshot", 1000, SKIPS_MIN, false, false),
        ];
        for (what, records, skipped, unsettled, merged) in rows {
            let runs = [10, 90].map(|share| Shape { bytes: MIB, records: records / 100 * share, ..Shape::default() });
            let expected = merged.then_some(Pick { count: 2, reason: Reason::Scans });
            assert_eq!(pick(&runs, &Limits { skipped, unsettled, ..LIMITS }), expected, "{what}");
        }
    }

    #[test]
    fn small_tables_side_by_side_are_joined() {
        let rows = [
            ("none", vec![], None),
            ("seven", vec![5; 7], None),
            ("eight", vec![5; 8], Some(0..8)),
            ("large ones stay", vec![200; 20], None),
            ("apart", [[5; 7], [200; 7], [5; 7]].concat(), None),
            ("in between", [vec![200; 3], vec![5; 9], vec![200]].concat(), Some(3..12)),
            ("the smallest first", [vec![50; 8], vec![5; 8]].concat(), Some(8..16)),
            ("one that is as large as all others together waits for more", [vec![50], vec![5; 7]].concat(), None),
            ("without it there are enough", [vec![50], vec![5; 8]].concat(), Some(1..9)),
        ];
        for (what, sizes, row) in rows {
            assert_eq!(neighbours(&sizes, 100), row, "{what}");
        }
    }

    /// A store that flushes a little at a time, in order.
    #[test]
    fn joining_is_cheap_and_leaves_few() {
        let (mut sizes, mut written, mut most) = (Vec::new(), 0u64, 0);
        for n in 0..20_000u64 {
            sizes.push(3 + n * n % 5);
            while let Some(row) = neighbours(&sizes, 8192) {
                let joined = sizes[row.clone()].iter().sum();
                written += joined;
                sizes.splice(row, [joined]);
            }
            most = most.max(sizes.len());
        }
        let all: u64 = sizes.iter().sum();
        assert!(written < all * 6 && most < 60, "{written} of {all}, {most} tables");
    }

    /// However the sizes are, merging what is picked leads to a store with nothing to pick, within one merge a run.
    #[test]
    fn picking_ends() {
        let mut seed = 7u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        for _ in 0..2000 {
            let mut shapes: Vec<Shape> = (0..random() % 40)
                .map(|_| {
                    let bytes = random() % (64 * MIB) + 1;
                    let among = random() % 100_000;
                    Shape {
                        bytes,
                        dead: random() % (bytes + 1),
                        records: bytes / 100,
                        tombstones: random() % (among + 1),
                        among,
                    }
                })
                .collect();
            let mut limits = Limits { at_rest: random() % 2 == 0, ..LIMITS };
            let (start, mut merges) = (shapes.len(), 0);
            while let Some(pick) = pick(&shapes, &limits) {
                assert!(pick.count >= 1 && pick.count <= shapes.len());
                let merged: Vec<Shape> = shapes.drain(..pick.count).collect();
                let all = shapes.is_empty();
                // A merge of all runs drops what is dead; another drops nothing in the worst case.
                let dead = if all { 0 } else { merged.iter().map(|run| run.dead).sum() };
                let bytes: u64 = merged.iter().map(|run| run.bytes - run.dead).sum::<u64>() + dead;
                // And tombstones go at the bottom only.
                let tombstones = if all { 0 } else { merged.iter().map(|run| run.tombstones).sum() };
                let among = merged.iter().map(|run| run.among).sum();
                shapes.insert(0, Shape { bytes, dead, records: bytes / 100, tombstones, among });
                limits.unsettled &= !all;
                merges += 1;
                assert!(merges <= start + 1, "it does not end");
            }
        }
    }

    /// A store that only grows rewrites each record once or twice for a hundredfold growth, not once a flush.
    #[test]
    fn growth_is_cheap() {
        let limits = Limits { runs_max: 12, ..LIMITS };
        let (mut shapes, mut written, mut flushed): (Vec<Shape>, u64, u64) = (Vec::new(), 0, 0);
        for _ in 0..400 {
            shapes.insert(0, Shape { bytes: 64 * MIB, ..Shape::default() });
            flushed += 64 * MIB;
            while let Some(pick) = pick(&shapes, &limits) {
                let bytes = shapes.drain(..pick.count).map(|run| run.bytes).sum();
                shapes.insert(0, Shape { bytes, ..Shape::default() });
                written += bytes;
            }
        }
        let times = written as f64 / flushed as f64;
        println!("each record was rewritten {times:.2} times");
        assert!(times < 2.5, "{times}");
    }
}
