//! What a store must offer to take part.

use std::path::Path;

use crate::Result;
use crate::record::Metrics;
use crate::shape::{Shape, tag_of};

/// What is left of an acknowledged write after what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Class {
    /// With the disk when put returns: survives power loss. Rows of synced puts.
    #[serde(rename = "s")]
    Synced,
    /// With the system when put returns: survives `kill -9`.
    #[serde(rename = "a")]
    Acknowledged,
    /// May be lost by `kill -9`.
    #[serde(rename = "w")]
    Weaker,
    /// Lives in memory only.
    #[serde(rename = "m")]
    Memory,
}

impl Class {
    /// Its letter in tables.
    pub fn letter(self) -> &'static str {
        match self {
            Class::Synced => "s",
            Class::Acknowledged => "a",
            Class::Weaker => "w",
            Class::Memory => "m",
        }
    }
}

/// Sizes that every store gets alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of writes that may wait in memory: kvs's `memtable_bytes_max`, the write buffer of the others.
    pub memtable_bytes: u64,
    /// Bytes of the block or page cache: kvs's `memory_bytes_max`, the cache of the others.
    pub cache_bytes: u64,
    /// The keys that there will be, for sizes that depend on them.
    pub keys: u64,
    /// A group limits the memory to less than the pairs take. Stores then get what their manuals say for that.
    pub limited: bool,
}

impl Default for Budget {
    /// The defaults of kvs, and a million keys.
    fn default() -> Budget {
        let options = kvs::Options::default();
        Budget {
            memtable_bytes: options.memtable_bytes_max,
            cache_bytes: options.memory_bytes_max,
            keys: 1_000_000,
            limited: false,
        }
    }
}

/// What a scan visits.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// Where it starts: the first key at or behind it. `None`: at the end.
    pub from: Option<&'a [u8]>,
    /// Only keys that start with it; a scan with a prefix starts there.
    pub prefix: Option<&'a [u8]>,
    /// Descending, from the last key. Not with `from` or `prefix`.
    pub reverse: bool,
    /// At most so many entries.
    pub limit: u64,
}

impl Scan<'static> {
    /// Everything, in this direction.
    pub fn all(reverse: bool) -> Scan<'static> {
        Scan { from: None, prefix: None, reverse, limit: u64::MAX }
    }
}

impl<'a> Scan<'a> {
    /// `limit` entries from `key` on.
    pub fn from(key: &'a [u8], limit: u64) -> Scan<'a> {
        Scan { from: Some(key), prefix: None, reverse: false, limit }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: &'a [u8]) -> Scan<'a> {
        Scan { from: None, prefix: Some(prefix), reverse: false, limit: u64::MAX }
    }

    /// Where a forward scan seeks to.
    pub fn start(&self) -> Option<&'a [u8]> {
        self.from.or(self.prefix)
    }
}

/// What a scan leaves behind: a count and a sum of what it saw.
///
/// In a timed scan it reads the length and the tag of each value; with a `witness` it checks every byte and the order too.
#[derive(Debug, Default)]
pub struct Tally {
    /// Entries seen.
    pub count: u64,
    /// The sum of the tags, without versions.
    pub sum: u64,
    /// The sum of the lengths of keys and values.
    pub bytes: u64,
    /// The tag of the first entry, without its version.
    pub first: u64,
    limit: u64,
    witness: Option<Witness>,
}

/// Looks at everything that a scan passes.
#[derive(Debug)]
struct Witness {
    shape: Shape,
    reverse: bool,
    before: Option<Vec<u8>>,
    scratch: Vec<u8>,
    complaint: Option<String>,
}

impl Tally {
    /// For a timed scan.
    pub fn new(limit: u64) -> Tally {
        Tally { limit, ..Tally::default() }
    }

    /// For a scan that checks every byte.
    pub fn checking(shape: Shape, scan: &Scan<'_>) -> Tally {
        let witness = Witness { shape, reverse: scan.reverse, before: None, scratch: Vec::new(), complaint: None };
        Tally { limit: scan.limit, witness: Some(witness), ..Tally::default() }
    }

    /// One entry. False: enough.
    #[inline]
    pub fn see(&mut self, key: &[u8], value: &[u8]) -> bool {
        let tag = tag_of(value) & !0xff;
        if self.count == 0 {
            self.first = tag;
        }
        self.count += 1;
        self.sum = self.sum.wrapping_add(tag);
        self.bytes += (key.len() + value.len()) as u64;
        if self.witness.is_some() {
            self.check(key, value);
        }
        self.count < self.limit
    }

    #[cold]
    fn check(&mut self, key: &[u8], value: &[u8]) {
        let Some(witness) = &mut self.witness else { return };
        if witness.complaint.is_some() {
            return;
        }
        let in_order = match &witness.before {
            None => true,
            Some(before) if witness.reverse => key < before.as_slice(),
            Some(before) => key > before.as_slice(),
        };
        let number = witness.shape.number_of(key);
        if !in_order {
            witness.complaint = Some(format!("key {} is out of order", key.escape_ascii()));
        } else if !number.is_some_and(|i| witness.shape.is_exactly_of(i, value, &mut witness.scratch)) {
            witness.complaint = Some(format!("key {} has a value that was never written", key.escape_ascii()));
        }
        let before = witness.before.get_or_insert_with(Vec::new);
        before.clear();
        before.extend_from_slice(key);
    }

    /// What was wrong with the entries, if anything.
    pub fn complaint(&self) -> Option<&str> {
        self.witness.as_ref()?.complaint.as_deref()
    }
}

/// Pairs that are written together.
#[derive(Debug, Default)]
pub struct Pairs {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl Pairs {
    /// Takes them all out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// One more.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&(_, end)| end));
        starts.zip(&self.ends).map(|(start, &(key_end, end))| (&self.bytes[start..key_end], &self.bytes[key_end..end]))
    }
}

/// An open store. Every method may be called from several threads at once.
///
/// Each call is a whole operation: who needs a transaction for it opens and ends it inside.
pub trait Store: Send + Sync {
    /// Sets `key` to `value`, with the durability of the store's class.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// As [`put`](Store::put); returns when it survives power loss.
    fn put_synced(&self, _key: &[u8], _value: &[u8]) -> Result<()> {
        Err("it cannot sync".into())
    }

    /// Sets all of them, at once where the store can.
    fn write(&self, pairs: &Pairs) -> Result<()> {
        pairs.iter().try_for_each(|(key, value)| self.put(key, value))
    }

    /// Removes `key`.
    fn delete(&self, key: &[u8]) -> Result<()>;

    /// Copies the value of `key` to `value`, replacing what was there. False: there is none.
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// Looks at the value of `key` where it lies, if the store can: its length and tag. `None`: there is no such key.
    fn look(&self, _key: &[u8]) -> Result<Option<(usize, u64)>> {
        Err("it hands out copies only".into())
    }

    /// Visits entries in order.
    fn scan(&self, _scan: &Scan<'_>, _tally: &mut Tally) -> Result<()> {
        Err("it has no order".into())
    }

    /// Returns when nothing is left to do in the background.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// Brings the store into its best shape for reads: everything merged that can be merged.
    fn compact(&self) -> Result<()> {
        self.settle()
    }

    /// Numbers that it knows of itself, for the report where memory is limited: `index_bytes` and the like.
    fn numbers(&self) -> Metrics {
        Metrics::new()
    }

    /// Ends it; what was written is with the system then.
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// One kind of store.
#[derive(Clone, Copy)]
pub struct Contestant {
    /// Its name in options and reports.
    pub name: &'static str,
    /// What an acknowledged put survives.
    pub class: Class,
    /// Does a synced put survive power loss? Then it takes part in those rows.
    pub syncs: bool,
    /// Does it scan in order?
    pub ordered: bool,
    /// Does it find what it wrote? A floor does not.
    pub reads: bool,
    /// Can it read values in place, in the rows that do so?
    pub looks: bool,
    /// Is a key missing, for a moment, while another thread overwrites it? Then rows of readers beside a writer count that as `vanished`, and do not
    /// fail.
    pub vanishes: bool,
    /// Is it one of the peers that the bar compares with? Ourselves and floors are not.
    pub peer: bool,
    /// Does it take part only in presets that name it, and where it is asked for by name?
    pub only_named: bool,
    /// Is it the spinner, which does nothing? Its latencies are those of the machine, in the rows that last long.
    pub idles: bool,
    /// Its version.
    pub version: &'static str,
    /// Its settings, as a sentence.
    pub settings: fn(&Budget) -> String,
    /// Opens or makes one in this directory. `synced`: for puts that are synced.
    pub open: fn(&Path, &Budget, bool) -> Result<Box<dyn Store>>,
}

impl std::fmt::Debug for Contestant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contestant").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Contestant {
    /// Does it keep what it is told when it is closed?
    pub fn is_durable(&self) -> bool {
        self.class != Class::Memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back() {
        let mut pairs = Pairs::default();
        pairs.push(b"a", b"1");
        pairs.push(b"", b"");
        pairs.push(b"bb", b"22");
        let all: Vec<_> = pairs.iter().collect();
        assert_eq!(all, [(&b"a"[..], &b"1"[..]), (b"", b""), (b"bb", b"22")]);
    }

    /// The checking tally sees disorder, a wrong byte, and a value of another key.
    #[test]
    fn a_checking_tally_complains() {
        let shape = crate::shape::SHAPES[0];
        let pair = |i| {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            shape.key(i, 10, &mut key);
            shape.value(i, 3, &mut value);
            (key, value)
        };
        let (mut first, mut second) = (pair(1), pair(2));
        if first.0 > second.0 {
            std::mem::swap(&mut first, &mut second);
        }
        let complaint = |entries: [(&[u8], &[u8]); 2], reverse| {
            let mut tally = Tally::checking(shape, &Scan::all(reverse));
            entries.iter().for_each(|(key, value)| assert!(tally.see(key, value)));
            tally.complaint().map(str::to_owned)
        };
        assert_eq!(complaint([(&first.0, &first.1), (&second.0, &second.1)], false), None);
        assert_eq!(complaint([(&second.0, &second.1), (&first.0, &first.1)], true), None);
        assert!(complaint([(&second.0, &second.1), (&first.0, &first.1)], false).unwrap().contains("order"));
        assert!(complaint([(&first.0, &second.1), (&second.0, &second.1)], false).unwrap().contains("never written"));
        let mut spoilt = first.1.clone();
        spoilt[60] ^= 1;
        assert!(complaint([(&first.0, &spoilt), (&second.0, &second.1)], false).unwrap().contains("never written"));
    }
}
