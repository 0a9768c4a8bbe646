//! Order on demand: a memtable's records, sorted when somebody asks.
//!
//! A [`Run`] is an immutable sorted array of record offsets over one segment: keys ascending, versions of one key newest
//! first. It holds no keys, only a fence (eight bytes of key) for every eighth record, so that it costs five bytes a record;
//! a search probes the fences and then at most a few records.
//!
//! Sorting
//! 1. Find the longest prefix that all keys share: zero-padded numbers and URLs would otherwise tie on their first eight
//!    bytes, and each comparison would cost two cache misses.
//! 2. Sort (the eight bytes after it, offset) pairs by the eight bytes ([`sorting`]).
//! 3. Refine each range of equal eight bytes: by whole keys if it is small, else by the eight bytes after what the range
//!    shares, and so on until keys end or differ. A higher offset in one segment is a newer version: equal keys are put in the order of
//!    their offsets, which count downwards.

use crate::bracket::{self, Bound, Sought};
use crate::error::{Error, Result};
use crate::files::File;
use crate::log::frame;
use crate::merging::{prefix_after, shared_prefix};
use crate::record::{Header, Kind, Seq};
use crate::scratch;
use crate::sorting;
use crate::sync::Arc;

/// One fence for so many records.
const FENCE_EVERY: usize = 8;
/// How many records ahead a walk prefetches: about the latency of memory over the cost of a record.
const PREFETCH_AHEAD: usize = 8;
/// How much of one record is prefetched at most; of a longer one the CPU fetches the rest in sequence by itself.
const FETCH_BYTES_MAX: u64 = 512;
/// Fewer bytes than most records take in a log.
const RECORD_BYTES_USUAL: u64 = 64;
/// Some of a segment's records, in order.
#[derive(Debug)]
pub struct Run {
    file: Arc<File>,
    /// Offsets in units of eight bytes.
    offsets: Vec<u32>,
    /// The first eight bytes after the shared prefix, big-endian, of every eighth record.
    fences: Vec<u64>,
    /// Bytes that all keys share.
    shared: usize,
    /// The first and the last key: every iterator asks for them, and each is two misses of the cache away.
    smallest: Box<[u8]>,
    largest: Box<[u8]>,
    /// How many bytes to prefetch of a record: as long as they are on average, within reason.
    fetch: usize,
}

/// The record at `offset`, as the bytes from there on and its header.
#[inline]
pub fn record_at(file: &File, offset: u64) -> Result<(&[u8], Header)> {
    let bytes = file.tail(offset);
    match Header::decode(bytes) {
        Some(header) => Ok((bytes, header)),
        None => Err(no_record(file, offset)),
    }
}

#[cold]
pub fn no_record(file: &File, offset: u64) -> Error {
    file.corrupt(offset, "the log is damaged in memory: no record where one was written")
}

impl Run {
    /// Sorts all records in the frames of `from..to`, range deletes left out: they are no versions of a key.
    pub fn sort(file: &Arc<File>, from: u64, to: u64) -> Result<Run> {
        let mut sorting = Sorting::new(file);
        sorting.pairs = scratch::list(to.saturating_sub(from) / RECORD_BYTES_USUAL);
        let mut failed = None;
        frame::walk(file, from, to, |offset, bytes, header| {
            failed = sorting.add(offset, bytes, header).err();
            failed.is_none()
        })?;
        failed.map_or_else(|| sorting.finish(), Err)
    }

    /// Sorts some records, given in log order.
    pub fn sort_some(file: &Arc<File>, offsets: impl Iterator<Item = u64>) -> Result<Run> {
        let mut sorting = Sorting::new(file);
        for offset in offsets {
            let (bytes, header) = record_at(file, offset)?;
            sorting.add(offset, bytes, &header)?;
        }
        sorting.finish()
    }

    /// Merges runs of one segment to one.
    pub fn merge(file: &Arc<File>, runs: &[Arc<Run>]) -> Result<Run> {
        // Sorting by eight bytes of key beats merging by whole keys unless the runs are of very different size.
        let mut units: Vec<u32> = runs.iter().flat_map(|run| run.offsets.iter().copied()).collect();
        units.sort_unstable();
        Run::sort_some(file, units.into_iter().map(|unit| u64::from(unit) * 8))
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Anonymous memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.offsets.len() * 4 + self.fences.len() * 8 + self.smallest.len() + self.largest.len()
    }

    /// The segment that it orders.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where the `i`-th record stands.
    #[inline]
    pub fn offset(&self, i: usize) -> u64 {
        u64::from(self.offsets[i]) * 8
    }

    /// Hints that a walk forward, or backward, stands at `i`.
    #[inline]
    pub fn prefetch_around(&self, i: usize, forward: bool) {
        let ahead = if forward { i.wrapping_add(PREFETCH_AHEAD) } else { i.wrapping_sub(PREFETCH_AHEAD) };
        if let Some(&unit) = self.offsets.get(ahead) {
            self.file.prefetch(u64::from(unit) * 8, self.fetch);
        }
    }

    /// The first record that is not before (`key`, `seq`): a larger key, or this key at `seq` or older.
    pub fn lower_bound(&self, key: &[u8], seq: Seq) -> Result<Bound> {
        let sought = Sought::new(key, seq, self.shared);
        let (low, high) = self.fenced(&sought);
        // They wait for memory together, if they are few.
        for &unit in self.offsets.get(low..high).unwrap_or(&[]).iter().take(2 * FENCE_EVERY) {
            self.file.prefetch(u64::from(unit) * 8, 1);
        }
        // Keys may have rotted since they were sorted.
        bracket::first_not_before(
            low,
            high,
            None,
            |i| {
                let offset = self.offset(i);
                sought.is_behind(self.file.tail(offset)).ok_or_else(|| no_record(&self.file, offset))
            },
            |i| {
                let (bytes, header) = record_at(&self.file, self.offset(i))?;
                self.file.check(bytes, &header, self.offset(i))
            },
        )
    }

    /// The first and the last key, if there is a record.
    pub fn ends(&self) -> Option<(&[u8], &[u8])> {
        (!self.offsets.is_empty()).then_some((&self.smallest, &self.largest))
    }

    /// Narrows the search by the fences to a range that holds its lower bound.
    fn fenced(&self, sought: &Sought<'_>) -> (usize, usize) {
        let (key, whole) = (sought.key, (0, self.offsets.len()));
        if self.offsets.is_empty() {
            return whole;
        }
        if self.shared > 0 {
            // All keys start with the same bytes: if this one does not, it is before or after all of them.
            let common = self.smallest.get(..self.shared).unwrap_or(&[]);
            match key.get(..self.shared.min(key.len())).unwrap_or(key).cmp(common) {
                std::cmp::Ordering::Less => return (0, 0),
                std::cmp::Ordering::Greater => return (whole.1, whole.1),
                std::cmp::Ordering::Equal => {}
            }
        }
        let wanted = sought.prefix;
        let first = self.fences.partition_point(|&fence| fence < wanted);
        let mut last = first;
        if self.fences.get(first) == Some(&wanted) {
            last += self.fences[first..].partition_point(|&fence| fence == wanted);
        }
        (first.saturating_sub(1) * FENCE_EVERY, whole.1.min(last * FENCE_EVERY))
    }
}

/// Eight bytes of a record's key, and its offset in units of eight, inverted. In twelve bytes: a pair that is padded to sixteen is a third more
/// memory while a segment is sorted.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Pair(u64, u32);

/// Records on their way into a run.
struct Sorting<'a> {
    file: &'a Arc<File>,
    /// What all keys so far share is the start of the first one.
    first: &'a [u8],
    shared: usize,
    /// By the eight bytes after what is shared.
    pairs: Vec<Pair>,
    bytes: u64,
}

impl<'a> Sorting<'a> {
    fn new(file: &'a Arc<File>) -> Sorting<'a> {
        Sorting { file, first: &[], shared: 0, pairs: Vec::new(), bytes: 0 }
    }

    /// Adds the next record, if it is a version of a key. A record that shares less than all before it changes what
    /// stands for those, which happens early or hardly ever.
    #[inline]
    fn add(&mut self, offset: u64, bytes: &'a [u8], header: &Header) -> Result<()> {
        // A damaged key would be sorted to where no scan looks for it.
        self.file.check(bytes, header, offset)?;
        if header.kind == Kind::DeleteRange {
            // Checked all the same: it may be a put whose kind is damaged.
            return Ok(());
        }
        let key = header.key(bytes);
        if self.pairs.is_empty() {
            self.first = key;
            self.shared = key.len();
        } else if self.shared > 0 && !key.starts_with(&self.first[..self.shared]) {
            self.shared = shared_prefix(&self.first[..self.shared], key);
            for pair in &mut self.pairs {
                let (bytes, header) = record_at(self.file, u64::from(!pair.1) * 8)?;
                pair.0 = prefix_after(header.key(bytes), self.shared);
            }
        }
        self.bytes += header.len() as u64;
        self.pairs.push(Pair(prefix_after(key, self.shared), !((offset / 8) as u32)));
        Ok(())
    }

    fn finish(self) -> Result<Run> {
        let Sorting { file, shared, mut pairs, bytes, .. } = self;
        // Whoever ties is put in order by `refine`, all of it.
        sorting::sort(&mut pairs, |pair| pair.0);
        refine(file, &mut pairs, shared)?;
        let key = |pair: Option<&Pair>| -> Result<Box<[u8]>> {
            let Some(pair) = pair else { return Ok(Box::default()) };
            record_at(file, u64::from(!pair.1) * 8).map(|(bytes, header)| header.key(bytes).into())
        };
        let (smallest, largest) = (key(pairs.first())?, key(pairs.last())?);
        let average = bytes.checked_div(pairs.len() as u64).unwrap_or(0);
        Ok(Run {
            file: Arc::clone(file),
            offsets: scratch::collected(pairs.iter().map(|pair| !pair.1)),
            fences: scratch::collected(pairs.iter().step_by(FENCE_EVERY).map(|pair| pair.0)),
            shared,
            smallest,
            largest,
            fetch: average.min(FETCH_BYTES_MAX) as usize,
        })
    }
}

/// Orders each range of pairs whose eight bytes from `skip` on are equal.
fn refine(file: &File, pairs: &mut [Pair], skip: usize) -> Result<()> {
    // Ranges that tie up to a depth; a list instead of recursion, since keys may be 64 KiB of the same byte.
    let mut ties: Vec<(usize, usize, usize)> = Vec::new();
    let mut keyed: Vec<(usize, u64, u32)> = Vec::new();
    for (start, end) in equal_ranges(pairs, |a, b| a.0 == b.0, 0) {
        ties.push((start, end, skip + 8));
    }
    let key = |unit: u32| record_at(file, u64::from(!unit) * 8).map(|(bytes, header)| header.key(bytes));
    while let Some((start, end, skip)) = ties.pop() {
        if end - start <= SMALL_TIE {
            sort_small_tie(&mut pairs[start..end], key)?;
            continue;
        }
        let first = key(pairs[start].1)?;
        // They are known to share what lies before the last eight bytes, but for zeros that stand for missing ones.
        let known = skip.saturating_sub(8).min(first.len());
        let mut common = first.len();
        for pair in &pairs[start + 1..end] {
            let other = key(pair.1)?;
            let known = known.min(other.len());
            common = common.min(known + shared_prefix(&first[known..], &other[known..]));
        }
        let skip = skip.max(common);
        // A key that ends before `skip` equals the others only by the zeros that stand for its missing bytes: the shorter
        // is the smaller.
        keyed.clear();
        for pair in &pairs[start..end] {
            let key = key(pair.1)?;
            keyed.push((key.len().min(skip), prefix_after(key, skip), pair.1));
        }
        keyed.sort_unstable();
        for (pair, sorted) in pairs[start..end].iter_mut().zip(&keyed) {
            pair.1 = sorted.2;
        }
        for (from, to) in equal_ranges(&keyed, |a, b| (a.0, a.1) == (b.0, b.1), start) {
            if keyed[from - start].0 == skip {
                ties.push((from, to, skip + 8));
            }
        }
    }
    Ok(())
}

/// Ties of up to this many are sorted by whole keys.
const SMALL_TIE: usize = 8;

/// Insertion sort by key, then newest first (the stored unit is inverted, so the smaller is the newer).
fn sort_small_tie<'a>(pairs: &mut [Pair], key: impl Fn(u32) -> Result<&'a [u8]>) -> Result<()> {
    for i in 1..pairs.len() {
        let moving = pairs[i];
        let moving_key = key(moving.1)?;
        let mut at = i;
        while at > 0 && (key(pairs[at - 1].1)?, pairs[at - 1].1) > (moving_key, moving.1) {
            pairs[at] = pairs[at - 1];
            at -= 1;
        }
        pairs[at] = moving;
    }
    Ok(())
}

/// Ranges of two or more neighbours that are equal, counted from `base`.
fn equal_ranges<T>(items: &[T], equal: impl Fn(&T, &T) -> bool, base: usize) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for i in 1..=items.len() {
        if i == items.len() || !equal(&items[start], &items[i]) {
            if i - start > 1 {
                ranges.push((base + start, base + i));
            }
            start = i;
        }
    }
    ranges
}
