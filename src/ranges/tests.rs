//! Range deletes against a naive model: a list of deletes, of which every question scans all.

use super::*;

/// xorshift64*: the seed makes a run repeatable.
pub(crate) struct Random(u64);

impl Random {
    /// From `KVS_SEED`, or `default`; printed, so that a failure can be repeated.
    pub(crate) fn new(default: u64) -> Random {
        let seed = std::env::var("KVS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default);
        println!("seed {seed} (repeat with KVS_SEED={seed})");
        Random(seed | 1 << 63)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound
    }

    /// A short key of few letters, so that they meet often: empty ones, and such as start alike.
    pub(crate) fn key(&mut self) -> Vec<u8> {
        let len = self.below(5);
        (0..len).map(|_| [0, b'a', b'b', b'c', 0xff][self.below(5) as usize]).collect()
    }

    /// A range of keys: any, of a single key, empty, or inverted; often one that touches or equals a known one.
    pub(crate) fn range(&mut self, known: &[RangeDelete]) -> (Vec<u8>, Vec<u8>) {
        let bound = |random: &mut Random| match random.below(known.len() as u64 + 2) as usize {
            i if i < known.len() && random.below(2) == 0 => known[i].start.clone(),
            i if i < known.len() => known[i].stop.clone(),
            _ => random.key(),
        };
        let (a, b) = (bound(self), bound(self));
        match self.below(8) {
            0 => (a.clone(), [&a[..], &[0]].concat()),
            1 => (a.clone(), a),
            2 => (a, b),
            _ => (a.clone().min(b.clone()), a.max(b)),
        }
    }
}

fn delete(start: &[u8], stop: &[u8], seq: Seq) -> RangeDelete {
    RangeDelete { start: start.to_vec(), stop: stop.to_vec(), seq }
}

fn covers(delete: &RangeDelete, key: &[u8]) -> bool {
    *delete.start <= *key && *key < *delete.stop
}

fn newest(model: &[RangeDelete], key: &[u8], seq: Seq) -> Option<Seq> {
    model.iter().filter(|d| covers(d, key) && d.seq <= seq).map(|d| d.seq).max()
}

/// Every key that could be special to `model`, and some more.
fn keys_of(model: &[RangeDelete], random: &mut Random) -> Vec<Vec<u8>> {
    let bounds = model.iter().flat_map(|d| [d.start.clone(), d.stop.clone()]);
    let after = bounds.clone().map(|mut key| {
        key.push(0);
        key
    });
    let mut keys: Vec<Vec<u8>> = bounds.chain(after).collect();
    keys.extend((0..20).map(|_| random.key()));
    keys.sort();
    keys.dedup();
    keys
}

/// The list holds what the model does, in the one shape that this has.
fn check_shape(list: &RangeDeletes, model: &[RangeDelete]) {
    assert!(list.fragments.windows(2).all(|two| two[0].stop <= two[1].start), "disjoint and ascending");
    for fragment in &list.fragments {
        assert!(fragment.start < fragment.stop && !fragment.seqs.is_empty());
        assert!(fragment.seqs.is_sorted_by(|a, b| a >= b), "newest first");
    }
    assert_eq!(list.fragments, fragments_of(&list.deletes), "the order of insertion shows");
    assert!(list.iter().is_sorted_by_key(|d| d.seq), "oldest first");
    let mut expected = model.to_vec();
    expected.sort_by_key(|d| d.seq);
    let order = |d: &RangeDelete| (d.seq, d.start.clone(), d.stop.clone());
    expected.sort_by_key(order);
    let mut held: Vec<RangeDelete> = list.iter().cloned().collect();
    held.sort_by_key(order);
    assert_eq!(held, expected);
    assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(list.newest, model.iter().map(|d| d.seq).max().unwrap_or(0));
    assert_eq!(list.bytes() == 0, model.is_empty());
}

/// The list answers as the model does.
fn check_answers(list: &RangeDeletes, model: &[RangeDelete], random: &mut Random) {
    let end = model.iter().map(|d| d.seq).max().unwrap_or(0) + 2;
    let keys = keys_of(model, random);
    for key in &keys {
        for seq in [0, random.below(end), random.below(end), end, Seq::MAX] {
            let expected = newest(model, key, seq);
            assert_eq!(list.newest_over(key, seq), expected, "{key:?} at {seq}");
            let record = random.below(end);
            let hidden = model.iter().any(|d| covers(d, key) && d.seq <= seq && record < d.seq);
            assert_eq!(list.hides(key, record, seq), hidden, "{key:?} {record} at {seq}");
            assert_eq!(list.purges(key, record, seq), hidden, "{key:?} {record} at {seq}");
        }
    }
    for _ in 0..10 {
        let low = (random.below(4) > 0).then(|| random.key());
        let high = (random.below(4) > 0).then(|| random.key());
        let touched = |d: &&RangeDelete| {
            // Some key is in both. If any is, then so is the larger of the two starts.
            let start = low.clone().unwrap_or_default().max(d.start.clone());
            covers(d, &start) && high.as_ref().is_none_or(|high| start < *high)
        };
        let found: Vec<&RangeDelete> = list.overlaps(low.as_deref(), high.as_deref()).collect();
        assert_eq!(found, list.iter().filter(touched).collect::<Vec<_>>(), "{low:?} to {high:?}");
    }
    check_walk(list, model, &keys, random);
}

/// A walk answers as the list does: forwards, backwards, and wherever else it is sent.
fn check_walk(list: &RangeDeletes, model: &[RangeDelete], keys: &[Vec<u8>], random: &mut Random) {
    let mut walk = Walk::new(Arc::new(list.clone()));
    let end = model.iter().map(|d| d.seq).max().unwrap_or(0) + 2;
    let jumps: Vec<Vec<u8>> = (0..40).map(|_| keys[random.below(keys.len() as u64) as usize].clone()).collect();
    // With gaps, so that it passes over fragments.
    let some: Vec<Vec<u8>> = keys.iter().filter(|_| random.below(3) == 0).cloned().collect();
    for key in keys.iter().chain(keys.iter().rev()).chain(&jumps).chain(&some).chain(some.iter().rev()) {
        let (record, seq) = (random.below(end), [Seq::MAX, random.below(end)][random.below(2) as usize]);
        assert_eq!(walk.newest_over(key, seq), newest(model, key, seq), "{key:?} at {seq}");
        assert_eq!(walk.hides(key, record, seq), list.hides(key, record, seq), "{key:?} {record} at {seq}");
    }
}

/// Whatever is added and removed in whatever order, a list holds and answers what it should, and never changes.
#[test]
fn a_list_is_what_the_deletes_say() {
    let mut random = Random::new(11);
    for round in 0..120 {
        let (mut list, mut model) = (RangeDeletes::default(), Vec::<RangeDelete>::new());
        let mut kept: Vec<(RangeDeletes, Vec<RangeDelete>)> = Vec::new();
        for step in 1..=30 {
            if random.below(5) == 0 {
                let (a, b) = (random.below(4), random.below(step + 1));
                let gone = |d: &RangeDelete| match a {
                    0 => d.seq < b,
                    1 => d.seq.is_multiple_of(3),
                    2 => d.start.len() == 2,
                    _ => d.seq == b,
                };
                list = list.without(gone);
                model.retain(|d| !gone(d));
            } else {
                let (start, stop) = random.range(&model);
                // In order, as a writer does; in some rounds in any order, and some numbers twice.
                let seq = if round % 3 == 0 { 1 + random.below(30) } else { step };
                let new = RangeDelete { start, stop, seq };
                list = list.with(new.clone());
                if new.start < new.stop && !model.contains(&new) {
                    model.push(new);
                }
            }
            check_shape(&list, &model);
            if step % 6 == 0 {
                check_answers(&list, &model, &mut random);
                kept.push((list.clone(), model.clone()));
            }
        }
        for (list, model) in kept {
            check_shape(&list, &model);
            check_answers(&list, &model, &mut random);
        }
    }
}

/// A range stops before its stop, hides nothing as new as itself, and shows in nobody's past.
#[test]
fn bounds_are_exact() {
    let list = RangeDeletes::default().with(delete(b"b", b"d", 5));
    for (key, hidden) in [(&b""[..], false), (b"a\xff", false), (b"b", true), (b"c\xff\xff", true), (b"d", false)] {
        assert_eq!(list.hides(key, 4, 5), hidden, "{key:?}");
        assert!(!list.hides(key, 5, 9), "a write of the same batch, or a later one");
        assert!(!list.hides(key, 1, 4), "a reader before it");
    }
    let single = list.with(delete(b"x", b"x\0", 6));
    assert_eq!((single.newest_over(b"x", 9), single.newest_over(b"x\0", 9)), (Some(6), None));
    for nothing in [delete(b"d", b"d", 7), delete(b"d", b"b", 7), delete(b"b", b"d", 5)] {
        assert_eq!(list.with(nothing).len(), 1, "of no key, inverted, known");
    }
    let everything = list.without(|_| true);
    assert!(everything.is_empty() && everything.fragments.is_empty() && everything.bytes() == 0);
}

/// A list shares with the one before it all fragments that the change does not touch.
#[test]
fn untouched_fragments_are_shared() {
    let name = |n: u64| format!("{n:06}").into_bytes();
    let mut random = Random::new(12);
    let mut list = RangeDeletes::default();
    for seq in 1..=500 {
        let n = random.below(100_000) * 10;
        list = list.with(delete(&name(n), &name(n + 5), seq));
    }
    let next = list.with(delete(&name(500_000), &name(500_100), 501));
    let old: std::collections::BTreeSet<_> = list.fragments.iter().map(Arc::as_ptr).collect();
    let new = next.fragments.iter().filter(|f| !old.contains(&Arc::as_ptr(f))).count();
    let inside = list.fragments.iter().filter(|f| *f.stop > *name(500_000) && *f.start < *name(500_100)).count();
    assert!(new <= 2 * inside + 3, "{new} new fragments for a range that meets {inside}");
    assert!(next.fragments.len() >= list.fragments.len());
}

/// A delete that is covered can go: no reader who may come sees anything else without it, and one that is not covered is missed
/// by some.
#[test]
fn what_is_covered_is_not_missed() {
    let mut random = Random::new(71);
    let (mut covered, mut needed) = (0, 0);
    for _ in 0..400 {
        let (mut list, mut model) = (RangeDeletes::default(), Vec::new());
        for seq in 1..=12 {
            let (start, stop) = random.range(&model);
            if start < stop {
                list = list.with(delete(&start, &stop, 2 * seq));
                model.push(delete(&start, &stop, 2 * seq));
            }
        }
        let limit = 2 * random.below(14);
        let mut snapshots: Vec<Seq> = (0..random.below(3)).map(|_| random.below(26)).collect();
        snapshots.sort_unstable();
        // Readers of now are beyond everything; those at a snapshot are where they are.
        let readers = snapshots.iter().copied().chain([100]);
        let is_covered = |d: &RangeDelete| list.is_covered(d, limit, &snapshots);
        // One that is not flushed may be lost with the log: what was covered must be so without any of those, too.
        let survives = |d: &RangeDelete| d.seq <= limit;
        let left = list.without(|d| is_covered(d) || !survives(d));
        let all = list.without(|d| !survives(d));
        for key in keys_of(&model, &mut random) {
            for reader in readers.clone() {
                for record in 1..=26 {
                    let (with, without) = (all.hides(&key, record, reader), left.hides(&key, record, reader));
                    assert_eq!(with && record <= reader, without && record <= reader, "{key:?} {record} {reader}");
                }
            }
        }
        let gone = model.iter().filter(|d| is_covered(d)).count();
        assert!(model.iter().filter(|d| is_covered(d)).all(survives));
        covered += gone;
        needed += model.len() - gone;
        // The newest of all is never covered, and identical ones leave one.
        assert!(model.last().is_none_or(|newest| !is_covered(newest)));
    }
    assert!(covered > 300 && needed > 300, "{covered}, {needed}");
    let same: Vec<_> = (1..=50).map(|seq| delete(b"a", b"b", seq)).collect();
    let list = same.iter().cloned().fold(RangeDeletes::default(), |list, d| list.with(d));
    let left = |limit, snapshots: &[Seq]| list.without(|d| list.is_covered(d, limit, snapshots)).len();
    assert_eq!((left(50, &[]), left(20, &[]), left(50, &[7]), left(50, &[7, 30])), (1, 31, 2, 3));
}
