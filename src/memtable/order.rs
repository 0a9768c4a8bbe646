//! Order on demand: a memtable's records, sorted when somebody asks.
//!
//! A [`Run`] is an immutable sorted array of record offsets over one segment: keys ascending, versions of one key newest
//! first. It holds no keys, only fences, eight bytes of key each:
//!
//! * a long run has one for every eighth record, so that it costs five bytes a record. A search probes the fences and then some eight
//!   records;
//! * a short one, of at most [`DENSE_MAX`] records, has one for each: it is **dense**. Mostly the fences alone say where a search ends, and
//!   dense runs are merged without a look at any record, so that a store that is scanned while it grows keeps few runs.
//!
//! Fences, and the first and the last key, are made of records that were verified, and lie in memory that is ours alone; records lie in a mapped
//! file. So what the fences say is not verified again, and what a record says is: of a merge of dense runs, by those records that tie.
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
use crate::interpolation;
use crate::log::frame;
use crate::merging::{prefix_after, shared_prefix};
use crate::record::{Header, Kind, Seq};
use crate::scratch;
use crate::sorting;
use crate::sync::Arc;

/// In a long run, one fence for so many records.
const FENCE_EVERY: usize = 8;
/// A run of at most so many has a fence for each: 256 KiB, which the second level of cache holds.
const DENSE_MAX: usize = 1 << 15;
/// How many records ahead a walk prefetches: about the latency of memory over the cost of a record. With 8 a record took 92 ns, with this
/// 76, with 32 as long.
const PREFETCH_AHEAD: usize = 16;
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
    /// The first eight bytes after the shared prefix, big-endian, of every `fence_every`-th record.
    fences: Vec<u64>,
    fence_every: usize,
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
        if runs.iter().all(|run| run.is_dense()) {
            return Run::merge_dense(file, runs);
        }
        // Sorting by eight bytes of key beats merging by whole keys unless the runs are of very different size.
        let mut units: Vec<u32> = runs.iter().flat_map(|run| run.offsets.iter().copied()).collect();
        units.sort_unstable();
        Run::sort_some(file, units.into_iter().map(|unit| u64::from(unit) * 8))
    }

    /// The same, by their fences alone, but for records that tie.
    fn merge_dense(file: &Arc<File>, runs: &[Arc<Run>]) -> Result<Run> {
        let mut sorting = Sorting::new(file);
        let mut filled = runs.iter().filter(|run| run.len() > 0);
        if let Some(first) = filled.next() {
            let common = first.common();
            sorting.shared = filled.fold(common.len(), |shared, run| shared_prefix(&common[..shared], run.common()));
        }
        sorting.pairs = scratch::list(runs.iter().map(|run| run.len() as u64).sum());
        for run in runs {
            sorting.bytes += (run.len() * run.fetch) as u64;
            let fences = run.fences.iter().map(|&fence| run.prefix_after(sorting.shared, fence));
            sorting.pairs.extend(fences.zip(&run.offsets).map(|(prefix, unit)| Pair(prefix, !unit)));
        }
        // The standard library's stable sort finds the runs and merges them.
        sorting.pairs.sort_by_key(|pair| pair.0);
        let filled = || runs.iter().filter(|run| run.len() > 0);
        let smallest = filled().map(|run| &run.smallest).min().cloned().unwrap_or_default();
        let largest = filled().map(|run| &run.largest).max().cloned().unwrap_or_default();
        // What ties may have rotted since it was sorted, and the order of versions must not follow it.
        refine(&mut sorting.pairs, sorting.shared, |unit| {
            let (bytes, header) = record_at(file, u64::from(!unit) * 8)?;
            file.check(bytes, &header, u64::from(!unit) * 8)?;
            Ok(header.key(bytes))
        })?;
        Ok(sorting.run(smallest, largest))
    }

    /// Has it a fence for each record?
    pub fn is_dense(&self) -> bool {
        self.fence_every == 1
    }

    /// What all keys start with.
    fn common(&self) -> &[u8] {
        self.smallest.get(..self.shared).unwrap_or(&[])
    }

    /// The eight bytes of key from `skip` on, which is at most what all keys share, of a record with this fence: what is shared, and what
    /// the fence has.
    fn prefix_after(&self, skip: usize, fence: u64) -> u64 {
        match self.shared.saturating_sub(skip) {
            0 => fence,
            more @ 1..8 => prefix_after(self.common(), skip) | fence >> (8 * more),
            _ => prefix_after(self.common(), skip),
        }
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
        self.prefetch(if forward { i.wrapping_add(PREFETCH_AHEAD) } else { i.wrapping_sub(PREFETCH_AHEAD) });
    }

    /// Hints that the `i`-th record will be wanted, if there is one.
    #[inline]
    pub fn prefetch(&self, i: usize) {
        if let Some(&unit) = self.offsets.get(i) {
            self.file.prefetch(u64::from(unit) * 8, self.fetch);
        }
    }

    /// The first record that is not before (`key`, `seq`): a larger key, or this key at `seq` or older.
    pub fn lower_bound(&self, key: &[u8], seq: Seq) -> Result<Bound> {
        let sought = Sought::new(key, seq, self.shared);
        let (low, high) = self.fenced(&sought);
        if low == high {
            return Ok(Bound { at: low, is_verified: false, is_verified_before: false });
        }
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

    /// Narrows the search by the fences to a range that holds its lower bound, or ends at it.
    fn fenced(&self, sought: &Sought<'_>) -> (usize, usize) {
        let (key, whole) = (sought.key, (0, self.offsets.len()));
        if self.offsets.is_empty() {
            return whole;
        }
        if self.shared > 0 {
            // All keys start with the same bytes: if this one does not, it is before or after all of them.
            match key.get(..self.shared.min(key.len())).unwrap_or(key).cmp(self.common()) {
                std::cmp::Ordering::Less => return (0, 0),
                std::cmp::Ordering::Greater => return (whole.1, whole.1),
                std::cmp::Ordering::Equal => {}
            }
        }
        let wanted = sought.prefix;
        let first = interpolation::count_below(&self.fences, wanted);
        let mut last = first;
        if self.fences.get(first) == Some(&wanted) {
            last += self.fences[first..].partition_point(|&fence| fence == wanted);
        }
        if self.is_dense() {
            return (first, last);
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

    /// The run of records that were verified just now.
    fn finish(mut self) -> Result<Run> {
        sorting::sort(&mut self.pairs, |pair| pair.0);
        let file = self.file;
        let key = |unit: u32| record_at(file, u64::from(!unit) * 8).map(|(bytes, header)| header.key(bytes));
        refine(&mut self.pairs, self.shared, key)?;
        let end = |pair: Option<&Pair>| pair.map_or(Ok(Box::default()), |pair| key(pair.1).map(Box::from));
        let (smallest, largest) = (end(self.pairs.first())?, end(self.pairs.last())?);
        Ok(self.run(smallest, largest))
    }

    /// The run, when the pairs are in order.
    fn run(self, smallest: Box<[u8]>, largest: Box<[u8]>) -> Run {
        let Sorting { file, shared, pairs, bytes, .. } = self;
        let average = bytes.checked_div(pairs.len() as u64).unwrap_or(0);
        let fence_every = if pairs.len() <= DENSE_MAX { 1 } else { FENCE_EVERY };
        Run {
            file: Arc::clone(file),
            offsets: scratch::collected(pairs.iter().map(|pair| !pair.1)),
            fences: scratch::collected(pairs.iter().step_by(fence_every).map(|pair| pair.0)),
            fence_every,
            shared,
            smallest,
            largest,
            fetch: average.min(FETCH_BYTES_MAX) as usize,
        }
    }
}

/// Orders each range of pairs whose eight bytes from `skip` on are equal. `key`: the key of the record at a unit, as pairs have it.
fn refine<'a>(pairs: &mut [Pair], skip: usize, key: impl Fn(u32) -> Result<&'a [u8]>) -> Result<()> {
    // Ranges that tie up to a depth; a list instead of recursion, since keys may be 64 KiB of the same byte.
    let mut ties: Vec<(usize, usize, usize)> = Vec::new();
    let mut keyed: Vec<(usize, u64, u32)> = Vec::new();
    for (start, end) in equal_ranges(pairs, |a, b| a.0 == b.0, 0) {
        ties.push((start, end, skip + 8));
    }
    while let Some((start, end, skip)) = ties.pop() {
        if end - start <= SMALL_TIE {
            sort_small_tie(&mut pairs[start..end], &key)?;
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
