//! Keys and values, each computed from a number.
//!
//! - Key `i` starts with, or contains, [`mix`]`(i)`, a bijection: keys are distinct, in random order, and lead back to `i`.
//!   Keys from `n` on are the missing ones; they lie between those that are there.
//! - A value is a tag, then random bytes up to its half, then one byte repeated: half of it can be compressed away. The tag, its first 8 bytes, holds
//!   56 bits of the key's number and 8 of a version, so a read can tell a wrong value at the cost of one comparison.
//! - Random bytes of values above 1 KiB are taken from a pool of 2 MiB at an offset that depends on the number, since making them
//!   would take longer than many a store. The pool is longer than any compressor's window here.

use std::sync::OnceLock;

use crate::random::{mix, unmix};

/// Sizes of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keys of this many bytes.
    Binary(usize),
    /// URLs of 40 to 120 bytes that share long prefixes: host and path of some fifty each.
    Urls,
}

/// Keys and values of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How it is called: `16/100`, `urls`.
    pub name: &'static str,
    /// The keys.
    pub keys: Kind,
    /// Bytes of a value.
    pub value_bytes: usize,
}

/// Every shape, the default first.
pub const SHAPES: [Shape; 4] = [
    Shape { name: "16/100", keys: Kind::Binary(16), value_bytes: 100 },
    Shape { name: "8/8", keys: Kind::Binary(8), value_bytes: 8 },
    Shape { name: "24/400", keys: Kind::Binary(24), value_bytes: 400 },
    Shape { name: "urls", keys: Kind::Urls, value_bytes: 100 },
];

const URL_BYTES: std::ops::RangeInclusive<usize> = 40..=120;
/// What every URL starts with.
const URL_START: &[u8] = b"https://";
/// Bytes of the number in a URL, in hexadecimal digits, which come before the filler.
const URL_DIGITS: usize = 16;

/// The shape of this name.
pub fn by_name(name: &str) -> Option<Shape> {
    SHAPES.into_iter().find(|shape| shape.name == name)
}

impl Shape {
    /// The same keys with values of another size.
    pub fn with_values_of(self, value_bytes: usize) -> Shape {
        Shape { value_bytes, ..self }
    }

    /// Key `i` of `n` in random order; from `n` on, a key that is missing.
    #[inline]
    pub fn key(&self, i: u64, n: u64, key: &mut Vec<u8>) {
        key.clear();
        match self.keys {
            Kind::Binary(bytes) => binary(mix(i), bytes, key),
            Kind::Urls => url(i, n, key),
        }
    }

    /// Key `i` of a sequence that ascends.
    #[inline]
    pub fn sequential_key(&self, i: u64, key: &mut Vec<u8>) {
        key.clear();
        match self.keys {
            Kind::Binary(bytes) => binary(i, bytes, key),
            Kind::Urls => {
                key.extend_from_slice(b"https://www.example.org/archive/by-number/");
                push_hex(i, key);
                let wanted = URL_BYTES.start() + (mix(i) % 81) as usize;
                key.resize(wanted.max(key.len()), b'-');
            }
        }
    }

    /// The number of a key that [`key`](Shape::key) made.
    pub fn number_of(&self, key: &[u8]) -> Option<u64> {
        match self.keys {
            Kind::Binary(_) => Some(unmix(u64::from_be_bytes(key.get(..8)?.try_into().ok()?))),
            Kind::Urls => {
                let digits = key.iter().rposition(|&byte| byte == b'/')? + 1;
                let text = std::str::from_utf8(key.get(digits..digits + URL_DIGITS)?).ok()?;
                Some(unmix(u64::from_str_radix(text, 16).ok()?))
            }
        }
    }

    /// Bytes of the keys and values of the first `count` of `n` pairs.
    pub fn raw_bytes(&self, count: u64, n: u64) -> u64 {
        let values = count * self.value_bytes as u64;
        match self.keys {
            Kind::Binary(bytes) => values + count * bytes as u64,
            Kind::Urls => {
                let mut key = Vec::new();
                let lengths = (0..count).map(|i| {
                    self.key(i, n, &mut key);
                    key.len() as u64
                });
                values + lengths.sum::<u64>()
            }
        }
    }

    /// Value of key `i`, written for the `version`-th time.
    #[inline]
    pub fn value(&self, i: u64, version: u8, value: &mut Vec<u8>) {
        value.clear();
        value.extend_from_slice(&tag(i, version).to_le_bytes());
        let random = (self.value_bytes / 2).max(8);
        if self.value_bytes <= 1024 {
            let mut seed = mix(i ^ 0x5bd1_e995).wrapping_add(u64::from(version));
            while value.len() < random {
                seed = mix(seed);
                value.extend_from_slice(&seed.to_le_bytes());
            }
            value.truncate(random);
        } else {
            let pool = pool();
            let from = (mix(i ^ u64::from(version)) as usize) % (pool.len() - random);
            value.extend_from_slice(&pool[from..from + random - 8]);
        }
        value.resize(self.value_bytes, b'.');
    }

    /// Is this a value of key `i`, in its length and its tag?
    #[inline]
    pub fn is_value_of(&self, i: u64, value: &[u8]) -> bool {
        value.len() == self.value_bytes && tag_of(value) >> 8 == tag(i, 0) >> 8
    }

    /// Is this a value of key `i`, byte for byte? Its version may be any.
    pub fn is_exactly_of(&self, i: u64, value: &[u8], scratch: &mut Vec<u8>) -> bool {
        if !self.is_value_of(i, value) {
            return false;
        }
        self.value(i, tag_of(value) as u8, scratch);
        scratch == value
    }

    /// How many bytes of a key a prefix scan asks for, and the prefixes there are. With a million binary keys some 15 share a prefix of
    /// two bytes; some 50 URLs share host and path.
    pub fn prefixes(&self, n: u64) -> Prefixes {
        match self.keys {
            Kind::Binary(_) => {
                let bytes = if n >= 500_000 { 2 } else { 1 };
                let mut counts = vec![0u32; 1 << (8 * bytes)];
                (0..n).for_each(|i| counts[(mix(i) >> (64 - 8 * bytes)) as usize] += 1);
                Prefixes::Binary { bytes, counts }
            }
            Kind::Urls => Prefixes::Urls { n },
        }
    }
}

#[inline]
fn binary(first: u64, bytes: usize, key: &mut Vec<u8>) {
    key.extend_from_slice(&first.to_be_bytes());
    let mut rest = first;
    while key.len() < bytes {
        rest = mix(rest);
        key.extend_from_slice(&rest.to_be_bytes());
    }
    key.truncate(bytes);
}

/// How many directories `n` URLs lie in.
fn directories(n: u64) -> u64 {
    (n / 50).max(1)
}

/// `https://www.site-HOST.example/SECTION/DIRECTORY/` of the directory `d`.
fn url_prefix(d: u64, key: &mut Vec<u8>) {
    const SECTIONS: [&str; 8] =
        ["news", "people", "articles/long-reads", "shop/catalogue", "wiki", "docs/reference", "q", "photos"];
    key.extend_from_slice(URL_START);
    let scrambled = mix(d);
    // Forty directories a host.
    push_text(b"www.site-", d / 40, b".example/", key);
    key.extend_from_slice(SECTIONS[(scrambled % 8) as usize].as_bytes());
    push_text(b"/", d, b"/", key);
}

fn url(i: u64, n: u64, key: &mut Vec<u8>) {
    url_prefix(i % directories(n), key);
    let mixed = mix(i);
    push_hex(mixed, key);
    let wanted = URL_BYTES.start() + ((mixed >> 40) % 81) as usize;
    // A slug, so that lengths are spread. The number comes first: lengths never decide the order.
    let slug = b"-a-title-that-says-what-the-page-is-about-in-some-words.html";
    let missing = wanted.saturating_sub(key.len()).min(slug.len()).min(URL_BYTES.end().saturating_sub(key.len()));
    key.extend_from_slice(&slug[..missing]);
}

fn push_text(before: &[u8], number: u64, after: &[u8], key: &mut Vec<u8>) {
    key.extend_from_slice(before);
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    key.extend_from_slice(&digits[at..]);
    key.extend_from_slice(after);
}

fn push_hex(number: u64, key: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    key.extend((0..URL_DIGITS).rev().map(|place| DIGITS[((number >> (4 * place)) & 15) as usize]));
}

/// Which prefixes there are, and how many keys have each.
#[derive(Debug)]
pub enum Prefixes {
    /// The first bytes of binary keys.
    Binary {
        /// How many.
        bytes: usize,
        /// Keys of each.
        counts: Vec<u32>,
    },
    /// Directories of URLs.
    Urls {
        /// Keys.
        n: u64,
    },
}

impl Prefixes {
    /// How many there are.
    pub fn len(&self) -> u64 {
        match self {
            Prefixes::Binary { counts, .. } => counts.len() as u64,
            Prefixes::Urls { n } => directories(*n),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes prefix `number` to `prefix` and says how many keys have it.
    pub fn get(&self, number: u64, prefix: &mut Vec<u8>) -> u64 {
        prefix.clear();
        match self {
            Prefixes::Binary { bytes, counts } => {
                prefix.extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
                u64::from(counts[number as usize])
            }
            Prefixes::Urls { n } => {
                url_prefix(number, prefix);
                (n - number).div_ceil(directories(*n))
            }
        }
    }
}

/// What the values of key `i` start with.
#[inline]
pub fn tag(i: u64, version: u8) -> u64 {
    (mix(i ^ 0xa076_1d64_78bd_642f) & !0xff) | u64::from(version)
}

/// The tag of a value; of a shorter one, nothing that any key has.
#[inline]
pub fn tag_of(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| (0..(2u64 << 20) / 8).flat_map(|i| mix(i ^ (1 << 63)).to_le_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Keys are distinct, lead back to their numbers, and have the lengths that were promised; missing ones are not among them.
    #[test]
    fn keys_are_distinct_and_lead_back() {
        const N: u64 = 5000;
        for shape in SHAPES {
            let mut keys = BTreeMap::new();
            let mut key = Vec::new();
            for i in 0..2 * N {
                shape.key(i, N, &mut key);
                assert_eq!(shape.number_of(&key), Some(i), "{}: {}", shape.name, key.escape_ascii());
                match shape.keys {
                    Kind::Binary(bytes) => assert_eq!(key.len(), bytes),
                    Kind::Urls => assert!(URL_BYTES.contains(&key.len()), "{}", key.escape_ascii()),
                }
                assert_eq!(keys.insert(key.clone(), i), None);
            }
        }
    }

    #[test]
    fn raw_bytes_are_those_of_the_pairs() {
        for shape in SHAPES {
            let (mut key, mut value, mut bytes) = (Vec::new(), Vec::new(), 0);
            for i in 0..700 {
                shape.key(i, 1000, &mut key);
                shape.value(i, 0, &mut value);
                bytes += (key.len() + value.len()) as u64;
            }
            assert_eq!(shape.raw_bytes(700, 1000), bytes, "{}", shape.name);
        }
    }

    #[test]
    fn sequential_keys_ascend() {
        for shape in SHAPES {
            let (mut before, mut key) = (Vec::new(), Vec::new());
            for i in (0..3000).chain([1 << 20, 1 << 33]) {
                shape.sequential_key(i, &mut key);
                assert!(key > before, "{} {i}", shape.name);
                before.clone_from(&key);
            }
        }
    }

    /// The count of each prefix is what a search finds, and all keys have one.
    #[test]
    fn prefixes_are_counted() {
        const N: u64 = 3017;
        for shape in SHAPES {
            let mut keys = std::collections::BTreeSet::new();
            for i in 0..N {
                let mut key = Vec::new();
                shape.key(i, N, &mut key);
                keys.insert(key);
            }
            let prefixes = shape.prefixes(N);
            let (mut total, mut prefix) = (0, Vec::new());
            for number in 0..prefixes.len() {
                let count = prefixes.get(number, &mut prefix);
                assert_eq!(
                    keys.iter().filter(|key| key.starts_with(&prefix)).count() as u64,
                    count,
                    "{}",
                    prefix.escape_ascii()
                );
                total += count;
            }
            assert_eq!(total, N);
        }
    }

    /// A value is that of its key and of no other, in every version; one wrong byte is seen.
    #[test]
    fn values_are_told_apart() {
        let mut scratch = Vec::new();
        for value_bytes in [8, 100, 400, 64 << 10, 1 << 20] {
            let shape = SHAPES[0].with_values_of(value_bytes);
            let mut value = Vec::new();
            for version in [0, 1, 255] {
                shape.value(17, version, &mut value);
                assert_eq!(value.len(), value_bytes);
                assert!(shape.is_exactly_of(17, &value, &mut scratch));
                assert!(!shape.is_value_of(18, &value));
                if value_bytes > 8 {
                    value[value_bytes / 3] ^= 1;
                    assert!(!shape.is_exactly_of(17, &value, &mut scratch));
                }
            }
        }
    }

    /// About half of a value compresses away: the second half is one byte, the first is all kinds.
    #[test]
    fn values_are_half_compressible() {
        let mut value = Vec::new();
        for value_bytes in [100, 400, 64 << 10] {
            SHAPES[0].with_values_of(value_bytes).value(3, 0, &mut value);
            assert!(value[value_bytes / 2..].iter().all(|&byte| byte == b'.'));
            let kinds: std::collections::BTreeSet<u8> = value[..value_bytes / 2].iter().copied().collect();
            assert!(kinds.len() > (value_bytes / 4).min(250), "{} kinds of {value_bytes}", kinds.len());
        }
    }
}
