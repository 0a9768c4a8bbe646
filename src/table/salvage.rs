//! Salvage: the records of a table that may be damaged anywhere.
//!
//! ```text
//! open     1 the footer tells where the sections lie. One that is damaged is made again from what the manifest says, from the
//!            sections and from the records: the manifest remembers its check, so it is the old one or none. One that is whole and
//!            not what the manifest remembers is another table's, say of a copy of the store that went its own way: nothing counts
//!          2 the fences tell where blocks start. Without them the records are followed one by one
//! records  3 ... 5 those that are whole, and the gaps between them: see [`records`]
//! keys     6 the hash pages tell which keys have their newest version in a gap: the hash of each, and so also which keys have not
//! ```
//!
//! Work is bounded by the file's length, whatever the bytes say; memory by a block, the longest record, or the longest section.

pub(super) mod records;

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::coding::{self, get_u32, get_varint32};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::lenient::Lenient;
use crate::merging::shared_prefix;
use crate::options::KEY_BYTES_MAX;
use crate::record::{self, FileSalt};
use crate::table::fences::Fences;
use crate::table::footer::{self, FOOTER_BYTES, Footer, HeaderRead, RecordsCheck};
use crate::table::hashes::{self, HashIndex, PAGE_BYTES};
use crate::table::{HEADER_BYTES, Meta, check_of, properties};

pub use records::{Piece, Records};

/// A table that may be damaged.
#[derive(Debug)]
pub struct Wreck {
    /// Where it lies.
    pub path: PathBuf,
    /// What the manifest says of it or, if nobody asked that, what it says of itself.
    pub meta: Option<Meta>,
    /// Damage outside of records: where, and what.
    pub notes: Vec<(u64, String)>,
    /// Where its records end, or should.
    pub end: u64,
    salt: FileSalt,
    hash_seed: u64,
    footer: Option<Footer>,
    /// The fences are good. They are read when they are used: a store has more of them than memory may hold.
    is_fenced: bool,
}

impl Wreck {
    /// Opens table `number` of `database`. `meta` is what the manifest says of it, if there is one.
    pub fn open(
        env: &dyn Env,
        dir: &Path,
        database: u128,
        hash_seed: u64,
        number: u64,
        meta: Option<&Meta>,
    ) -> Result<Wreck> {
        let path = dir.join(super::name(number));
        let mut file = Lenient::open(env, &path)?;
        let salt = FileSalt::new(database, number);
        let mut notes = Vec::new();
        match footer::read_header(&file.copy(0, HEADER_BYTES as u64)?, database, number) {
            HeaderRead::Good => {}
            HeaderRead::Bad(what) => notes.push((0, what.to_owned())),
            HeaderRead::Newer(message) => return Err(Error::on(ErrorKind::NewerFormat, &path, message)),
        }
        let (footer, meta) = match meta {
            Some(meta) => (known_footer(&mut file, salt, hash_seed, meta, &mut notes)?, Some(meta.clone())),
            None => match own_footer(&mut file, salt, number, &mut notes)? {
                Some((footer, meta)) => (Some(footer), meta),
                None => (None, None),
            },
        };
        let end = match (&footer, &meta) {
            (Some(footer), _) => footer.fences_at,
            (None, Some(meta)) => meta.data_bytes.saturating_add(HEADER_BYTES as u64),
            (None, None) => file.len(),
        };
        let mut wreck = Wreck { path, meta, notes, end, salt, hash_seed, footer, is_fenced: false };
        match wreck.fences(&mut file)? {
            Some(Ok(_)) => wreck.is_fenced = true,
            Some(Err(what)) => wreck.notes.push((end, what.to_owned())),
            None => {}
        }
        Ok(wreck)
    }

    /// Its fences, or why they are none.
    fn fences(&self, file: &mut Lenient) -> Result<Option<Result<Fences, &'static str>>> {
        let Some(footer) = &self.footer else { return Ok(None) };
        let section = file.copy(footer.fences_at, footer.pages_at)?;
        let shared = self.meta.as_ref().map_or(0, |meta| shared_prefix(&meta.smallest, &meta.largest));
        Ok(Some(match check_of(&section, self.salt, footer.fences_at) == footer.fences_check {
            true => Fences::parse(&section, footer.blocks as usize, footer.fences_at, shared),
            false => Err("the check of the table's fences does not match"),
        }))
    }

    /// Its records and gaps, in order.
    pub fn records(&self, env: &dyn Env) -> Result<Records> {
        let mut file = Lenient::open(env, &self.path)?;
        let fences = if self.is_fenced { self.fences(&mut file)?.and_then(Result::ok) } else { None };
        Ok(Records::new(file, self.salt, self.hash_seed, fences, self.end, self.meta.clone()))
    }

    /// The keys whose newest version here lies in a gap: the half of each one's hash, and where its record is, by place. None if the
    /// hash pages are not all good. `gaps` ascend; `file` is the table's.
    pub fn keys_in(&self, file: &mut Lenient, gaps: &[Range<u64>]) -> Result<Option<Vec<(u32, u64)>>> {
        let Some(Footer { pages_at, index_at, properties_at, index_check, .. }) = self.footer else { return Ok(None) };
        let section = file.copy(index_at, properties_at)?;
        if check_of(&section, self.salt, index_at) != index_check {
            return Ok(None);
        }
        let Ok(index) = HashIndex::parse(&section) else { return Ok(None) };
        let mut keys = Vec::new();
        for (number, at) in (pages_at..index_at).step_by(PAGE_BYTES).enumerate() {
            let page = file.get(at, PAGE_BYTES as u64)?;
            if !index.accepts(number, page, self.salt, at) {
                return Ok(None);
            }
            for (hash32, offset) in hashes::entries(page).map(hashes::parts) {
                let gap = gaps.partition_point(|gap| gap.end <= offset);
                if gaps.get(gap).is_some_and(|gap| gap.contains(&offset)) {
                    keys.push((hash32, offset));
                }
            }
        }
        keys.sort_unstable_by_key(|key| key.1);
        Ok(Some(keys))
    }

    /// The key that the damaged record at `offset` has, if what stands there has this hash.
    pub fn key_at(&self, file: &mut Lenient, offset: u64, hash32: u32) -> Result<Option<Vec<u8>>> {
        let head = file.copy(offset, offset.saturating_add(record::HEADER_BYTES_MAX as u64))?;
        let lengths = get_varint32(&head, records::LENGTHS_AT).and_then(|(key_len, at)| {
            let (_, at) = get_varint32(&head, at)?;
            (key_len as usize <= KEY_BYTES_MAX).then_some((u64::from(key_len), at as u64))
        });
        let Some((key_len, key_at)) = lengths else { return Ok(None) };
        let key = file.copy(offset + key_at, offset + key_at + key_len)?;
        let good = key.len() as u64 == key_len && hashes::hash32(coding::hash_seeded(&key, self.hash_seed)) == hash32;
        Ok(good.then_some(key))
    }
}

/// The half of a key's hash that hash pages hold.
pub fn hash32(key: &[u8], hash_seed: u64) -> u32 {
    hashes::hash32(coding::hash_seeded(key, hash_seed))
}

/// Step 1 for a table that the manifest describes.
fn known_footer(
    file: &mut Lenient,
    salt: FileSalt,
    hash_seed: u64,
    meta: &Meta,
    notes: &mut Vec<(u64, String)>,
) -> Result<Option<Footer>> {
    let at = meta.len.saturating_sub(FOOTER_BYTES as u64);
    if file.len() != meta.len {
        let what = format!("the table has {} bytes and was written with {}", file.len(), meta.len);
        notes.push((meta.len.min(file.len()), what));
    }
    match Footer::read(&file.copy(at, meta.len)?, salt, meta) {
        Ok(footer) => return Ok(Some(footer)),
        Err(what) => notes.push((at, what.to_owned())),
    }
    // Whole, and not the one that the manifest remembers.
    let own_at = file.len().saturating_sub(FOOTER_BYTES as u64);
    let own = file.copy(own_at, file.len())?;
    if Footer::parse(&own, salt, own_at).is_ok() {
        let message = "it is another table: its footer is whole, and not the one that the manifest remembers";
        return Err(Error::on(ErrorKind::Corruption, file.path(), message));
    }
    let properties_len = properties::encode(meta)?.len() as u64;
    let Some(footer) = Footer::from_meta(meta, properties_len).filter(|_| file.len() >= at) else {
        return Ok(None);
    };
    remade(file, salt, hash_seed, meta, footer)
}

/// The footer that the manifest remembers, of which `footer` has all but the checks. Each of them is what is computed now, or what
/// the damaged footer says: it was either the footer that was hit, or what the check is of.
fn remade(file: &mut Lenient, salt: FileSalt, hash_seed: u64, meta: &Meta, footer: Footer) -> Result<Option<Footer>> {
    let at = meta.len - FOOTER_BYTES as u64;
    let said = file.copy(at, meta.len)?;
    let mut either = |field: usize, from: u64, to: u64| {
        let computed = check_of(&file.copy(from, to)?, salt, from);
        Ok::<_, Error>([computed, get_u32(&said, field).unwrap_or(computed)])
    };
    let fences = either(64, footer.fences_at, footer.pages_at)?;
    let index = either(68, footer.index_at, footer.properties_at)?;
    let properties = either(72, footer.properties_at, at)?;
    let with = |records_check: u32| {
        (0..8).find_map(|n| {
            let (fences_check, index_check) = (fences[n & 1], index[n >> 1 & 1]);
            let properties_check = properties[n >> 2];
            let footer = Footer { fences_check, index_check, properties_check, records_check, ..footer };
            (footer.encode(salt, at).1 == meta.footer_check).then_some(footer)
        })
    };
    if let Some(footer) = get_u32(&said, 76).and_then(with) {
        return Ok(Some(footer));
    }
    let mut records = Records::new(file.again(), salt, hash_seed, None, footer.fences_at, Some(meta.clone()));
    let mut check = RecordsCheck::NONE;
    while let Some(piece) = records.next()? {
        let Piece::Record(record) = piece else { return Ok(None) };
        check.add(record.checksum);
    }
    Ok(with(check.get()))
}

/// Step 1 for a table of which nobody knows anything.
fn own_footer(
    file: &mut Lenient,
    salt: FileSalt,
    number: u64,
    notes: &mut Vec<(u64, String)>,
) -> Result<Option<(Footer, Option<Meta>)>> {
    let len = file.len();
    let at = len.saturating_sub(FOOTER_BYTES as u64);
    let (footer, check) = match Footer::parse(&file.copy(at, len)?, salt, at) {
        Ok(found) => found,
        Err(what) => {
            notes.push((at, what.to_owned()));
            return Ok(None);
        }
    };
    let section = file.copy(footer.properties_at, at)?;
    let content = section.get(..footer.properties_len as usize).unwrap_or(&[]);
    let meta = if check_of(&section, salt, footer.properties_at) == footer.properties_check {
        properties::decode(content, number, len, check)
    } else {
        Err("the check of the table's properties does not match".to_owned())
    };
    let meta = meta.map_err(|what| notes.push((footer.properties_at, what))).ok();
    Ok(Some((footer, meta)))
}
