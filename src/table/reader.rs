//! The reader: a table as readers see it.
//!
//! ```text
//! search(key, seq), by order
//!  1 a key outside of [smallest, largest] is not here
//!  2 the fences give the blocks that may start with `key`: mostly none, and the block before them is the one
//!  3 among those that may, by binary search over their first records, the last that starts before (key, seq)
//!  4 in that block, by binary search from where the fences let it expect, the first record that is not before (key, seq)
//!  5 or, behind its end, the first one of the next block
//!
//! find(key, hash), by hash
//!  1 the index gives the pages that may hold the hash: mostly one
//!  2 each of their entries with this hash leads to a record; the one that has the key is the newest
//! ```

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::bracket::{Bound, Share, Sought};
use crate::cache::{Block, Cache};
use crate::env::{Env, ReadFile};
use crate::error::{Error, ErrorKind, Result, zeroed};
use crate::files::{Bytes, File, Pager};
use crate::merging::shared_prefix;
use crate::record::{FileSalt, Header, SEQ_MAX, Seq};
use crate::sync::{Arc, OnceLock};
use crate::table::block::{self, Layout};
use crate::table::fences::Fences;
use crate::table::footer::{self, FOOTER_BYTES, Footer, HeaderRead};
use crate::table::hashes::{self, HashIndex, PAGE_BYTES};
use crate::table::{HEADER_BYTES, Io, Meta, check_of, properties};

/// Hash pages that are read, and cached, together.
const PAGES_READ: usize = 8;
/// A trailer is mostly shorter: two bytes a record.
pub(super) const TRAILER_BYTES_USUAL: u64 = 128;
/// How many bytes of a block are asked for at once where a key is expected.
const EXPECTED_BYTES: u64 = 896;
/// How much of the hash pages is read at a time by whoever wants all of them.
const PAGES_READ_BYTES: usize = 256 << 10;

/// A table, open.
#[derive(Debug)]
pub struct Table {
    file: Arc<File>,
    parts: Arc<Parts>,
}

/// What both the table and, if its bytes are not in memory, its file's pager need.
#[derive(Debug)]
struct Parts {
    meta: Meta,
    footer: Footer,
    database: u128,
    salt: FileSalt,
    path: PathBuf,
    /// Unless the file is mapped.
    positioned: Option<Positioned>,
    fences: OnceLock<Fences>,
    index: OnceLock<HashIndex>,
}

#[derive(Debug)]
struct Positioned {
    read: Box<dyn ReadFile>,
    cache: Arc<Cache>,
}

/// A record that was looked for and verified.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// In the table.
    pub offset: u64,
    /// The bytes from there on.
    pub bytes: Bytes<'a>,
    /// Decoded.
    pub header: Header,
}

impl Found<'_> {
    /// The key.
    #[cfg(test)]
    pub fn key(&self) -> &[u8] {
        self.header.key(&self.bytes)
    }

    /// The value.
    #[cfg(test)]
    pub fn value(&self) -> &[u8] {
        self.header.value(&self.bytes)
    }
}

/// A place between records: before the record with this number of this block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub block: u32,
    pub index: u32,
}

/// Where a place is, as far as the fences tell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Near {
    /// There.
    At(Position),
    /// Before one of the records of this block, but not before the first, or right behind them.
    Within(u32),
}

impl Table {
    /// Opens the table of which the manifest says `meta`: looks at its length, header and footer, and at nothing else.
    pub fn open(
        env: &dyn Env,
        dir: &Path,
        database: u128,
        hash_seed: u64,
        meta: Meta,
        io: Io,
        cache: &Arc<Cache>,
    ) -> Result<Table> {
        let path = dir.join(super::name(meta.number));
        let gone = || Error::on(ErrorKind::Corruption, &path, "the table is gone");
        let read = env.open_read(&path)?.ok_or_else(gone)?;
        if read.len() != meta.len {
            let what = format!("the table has {} bytes and was written with {}", read.len(), meta.len);
            return Err(Error::corruption(&path, meta.len.min(read.len()), what));
        }
        let salt = FileSalt::new(database, meta.number);
        let footer = read_ends(&*read, &path, database, &meta)?;
        let number = meta.number;
        let parts = |positioned| {
            let (path, fences, index) = (path.clone(), OnceLock::new(), OnceLock::new());
            Arc::new(Parts { meta, footer, database, salt, path, positioned, fences, index })
        };
        let (file, parts) = match io {
            Io::Mapped => {
                let memory = read.map()?;
                memory.expect_random_reads();
                (File::mapped(database, hash_seed, number, path.clone(), memory), parts(None))
            }
            Io::Positioned => {
                let parts = parts(Some(Positioned { read, cache: Arc::clone(cache) }));
                let pager = Box::new(Paged(Arc::clone(&parts)));
                (File::paged(database, hash_seed, number, path.clone(), pager)?, parts)
            }
        };
        Ok(Table { file: Arc::new(file), parts })
    }

    /// The file, as addresses lead to it.
    #[inline]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// What the manifest says of it.
    #[inline]
    pub fn meta(&self) -> &Meta {
        &self.parts.meta
    }

    /// Whose it is.
    pub(super) fn database(&self) -> u128 {
        self.parts.database
    }

    /// Anonymous memory that it takes, in bytes.
    pub fn memory(&self) -> u64 {
        let loaded = self.parts.fences.get().map_or(0, Fences::memory);
        let loaded = loaded + self.parts.index.get().map_or(0, HashIndex::memory);
        let own = size_of::<Table>() + size_of::<Parts>() + size_of::<File>();
        (loaded + own + self.parts.meta.smallest.len() + self.parts.meta.largest.len()) as u64
    }

    /// The record at an address: the bytes from there on, and its header; not verified.
    #[inline]
    pub fn record_at(&self, offset: u64) -> Result<(Bytes<'_>, Header)> {
        self.file.record_at(offset)
    }

    /// The newest version of `key` that is at most `seq`, found by order; verified.
    pub fn search(&self, key: &[u8], seq: Seq) -> Result<Option<Found<'_>>> {
        let meta = &self.parts.meta;
        if key < meta.smallest.as_slice() || key > meta.largest.as_slice() {
            return Ok(None);
        }
        let fences = self.fences()?;
        let sought = fences.sought(key, seq);
        let Some(block) = self.block_before(fences, &sought, None)? else {
            return self.first_of(fences, 0, &sought);
        };
        let share = self.expect(fences, block, &sought);
        let (bytes, layout, start) = self.enter(fences, block, None)?;
        let Bound { at, is_verified, .. } = layout.lower_bound(&self.file, &bytes, start, &sought, share)?;
        if !is_verified {
            return self.first_of(fences, block + 1, &sought);
        }
        let (at, record, header) =
            layout.record(&bytes, at as u32).ok_or_else(|| block::no_record(&self.file, start))?;
        let found = || Found { offset: start + at as u64, bytes: bytes.part(at, layout.records_end), header };
        Ok((header.key(record) == key).then(found))
    }

    /// The first record of `block`, if there is such a block and its key is the one sought.
    #[cold]
    fn first_of(&self, fences: &Fences, block: u32, sought: &Sought<'_>) -> Result<Option<Found<'_>>> {
        if !fences.may_start_with(block, sought) {
            return Ok(None);
        }
        let (bytes, layout, start) = self.enter(fences, block, None)?;
        let (at, record, header) = layout.record(&bytes, 0).ok_or_else(|| block::no_record(&self.file, start))?;
        let offset = start + at as u64;
        self.file.check(record, &header, offset)?;
        let found = || Found { offset, bytes: bytes.part(at, layout.records_end), header };
        Ok((header.key(record) == sought.key).then(found))
    }

    /// The newest version of `key`, whose hash is given, found by hash; verified. None means that the table does not have the key.
    pub fn find(&self, key: &[u8], key_hash: u64) -> Result<Option<Found<'_>>> {
        let index = self.hash_index()?;
        let hash32 = hashes::hash32(key_hash);
        for number in index.candidates(hash32) {
            let page = self.page(index, number)?;
            for offset in hashes::offsets_of(&page, hash32) {
                let (bytes, header) = self.record_at(offset)?;
                self.file.will_need(&header, offset);
                if header.key(&bytes) == key {
                    self.file.check_hashed(&bytes, &header, key_hash, offset)?;
                    return Ok(Some(Found { offset, bytes, header }));
                }
                // By chance, or because the key is damaged.
                self.file.check(&bytes, &header, offset)?;
            }
        }
        Ok(None)
    }

    /// Calls `each` with upper half of the hash, and offset of the newest record, of every key, in the order of hashes. Reads past
    /// the cache.
    pub fn hashes(&self, mut each: impl FnMut(u32, u64) -> Result<()>) -> Result<()> {
        self.hashes_from(0, |hash32, offset| each(hash32, offset).map(|()| true))
    }

    /// The same from the page with this number on, until `each` says no.
    pub fn hashes_from(&self, page: usize, mut each: impl FnMut(u32, u64) -> Result<bool>) -> Result<()> {
        let index = self.hash_index()?;
        let (footer, salt) = (&self.parts.footer, self.parts.salt);
        let (mut at, mut number) = (footer.pages_at + (page * PAGE_BYTES) as u64, page);
        while at < footer.index_at {
            let len = (footer.index_at - at).min(PAGES_READ_BYTES as u64);
            for page in self.parts.section(Some(&self.file), at, len)?.chunks(PAGE_BYTES) {
                let offset = footer.pages_at + (number * PAGE_BYTES) as u64;
                if !index.accepts(number, page, salt, offset) {
                    return Err(self.file.corrupt(offset, "the table's hash page is damaged"));
                }
                for (hash32, record) in hashes::entries(page).map(hashes::parts) {
                    if !(HEADER_BYTES as u64..footer.fences_at).contains(&record) {
                        return Err(self.file.corrupt(offset, "the table's hash page leads out of its blocks"));
                    }
                    if !each(hash32, record)? {
                        return Ok(());
                    }
                }
                number += 1;
            }
            at += len;
        }
        Ok(())
    }

    /// How many bytes the blocks take that hold the keys from `low` up to but without `high`, as far as given: exact to a block at
    /// each end.
    pub fn bytes_between(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<u64> {
        let fences = self.fences()?;
        let start = |key: Option<&[u8]>, none| {
            let block = key.map_or(Ok(none), |key| Ok(self.lower_bound(key, SEQ_MAX, None)?.block));
            block.map(|block| fences.bounds(block).0)
        };
        Ok(start(high, fences.blocks())?.saturating_sub(start(low, 0)?))
    }

    /// A key to part the table at: the first one of the first block that starts `bytes` or more behind the block of `low`, or
    /// behind the first block. Always larger than `low`. None if the table ends before.
    #[cfg(test)]
    pub fn split_key(&self, low: Option<&[u8]>, bytes: u64) -> Result<Option<Vec<u8>>> {
        let fences = self.fences()?;
        let from = match low {
            Some(low) => self.lower_bound(low, SEQ_MAX, None)?.block,
            None => 0,
        };
        let wanted = fences.bounds(from).0.saturating_add(bytes);
        let mut block = fences.first_from(wanted);
        if let Some(low) = low {
            // Versions of one key may fill blocks: behind them all.
            let behind = self.lower_bound(low, 0, None)?;
            block = block.max(behind.block + u32::from(behind.index > 0));
        }
        if block >= fences.blocks() {
            return Ok(None);
        }
        let (bytes, layout, start) = self.enter(fences, block, None)?;
        let (at, bytes, header) = layout.record(&bytes, 0).ok_or_else(|| block::no_record(&self.file, start))?;
        self.file.check(bytes, &header, start + at as u64)?;
        Ok(Some(header.key(bytes).to_vec()))
    }

    /// The place of the first record that is not before (`key`, `seq`): a larger key, or this key at `seq` or older.
    pub(super) fn lower_bound(&self, key: &[u8], seq: Seq, past: Option<&dyn ReadFile>) -> Result<Position> {
        let fences = self.fences()?;
        let sought = fences.sought(key, seq);
        let block = match self.near(fences, &sought, past)? {
            Near::At(position) => return Ok(position),
            Near::Within(block) => block,
        };
        let share = self.expect(fences, block, &sought);
        let (bytes, layout, start) = self.enter(fences, block, past)?;
        let Bound { at, is_verified, .. } = layout.lower_bound(&self.file, &bytes, start, &sought, share)?;
        let behind = Position { block: block + 1, index: 0 };
        Ok(if is_verified { Position { block, index: at as u32 } } else { behind })
    }

    /// Where that is, as far as the fences tell.
    #[inline]
    pub(super) fn near(&self, fences: &Fences, sought: &Sought<'_>, past: Option<&dyn ReadFile>) -> Result<Near> {
        let (meta, key) = (&self.parts.meta, sought.key);
        if key > meta.largest.as_slice() {
            return Ok(Near::At(Position { block: fences.blocks(), index: 0 }));
        }
        if key < meta.smallest.as_slice() {
            return Ok(Near::At(Position { block: 0, index: 0 }));
        }
        let block = self.block_before(fences, sought, past)?;
        Ok(block.map_or(Near::At(Position { block: 0, index: 0 }), Near::Within))
    }

    /// Which part of a block's keys is probably smaller than the one sought; the records there are wanted soon.
    #[inline]
    pub(super) fn expect(&self, fences: &Fences, block: u32, sought: &Sought<'_>) -> Option<Share> {
        let share = fences.share_below(block, sought)?;
        if self.is_mapped() {
            // They and the trailer, without which none of them can be found, come from memory together.
            let (start, end) = fences.bounds(block);
            self.file.prefetch(end.saturating_sub(TRAILER_BYTES_USUAL), TRAILER_BYTES_USUAL as usize);
            let middle = start + share.of(end - start);
            let from = middle.saturating_sub(EXPECTED_BYTES / 2).max(start);
            self.file.prefetch(from, end.min(from + EXPECTED_BYTES).saturating_sub(from) as usize);
        }
        Some(share)
    }

    /// The last block that starts before what is sought.
    #[inline]
    fn block_before(&self, fences: &Fences, sought: &Sought<'_>, past: Option<&dyn ReadFile>) -> Result<Option<u32>> {
        let (mut low, mut high) = fences.candidates(sought);
        while low < high {
            let middle = low + (high - low) / 2;
            let (bytes, layout, start) = self.enter(fences, middle, past)?;
            if layout.is_before(&self.file, &bytes, start, 0, sought)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1))
    }

    /// A block, with its trailer checked, and where it starts. `past` the mapping and the cache, if that is given.
    #[inline]
    pub(super) fn enter(
        &self,
        fences: &Fences,
        block: u32,
        past: Option<&dyn ReadFile>,
    ) -> Result<(Bytes<'_>, Layout, u64)> {
        let (start, end) = fences.bounds(block);
        let bytes = match (past, &self.parts.positioned) {
            (Some(read), _) => {
                let mut buffer = zeroed(end - start, &self.parts.path)?;
                read.read_at(start, &mut buffer)?;
                whole(Arc::new(Block::new(buffer)))
            }
            (None, Some(positioned)) => whole(self.parts.cached(positioned, start, end)?),
            (None, None) => Bytes::Mapped(self.file.tail(start).get(..(end - start) as usize).unwrap_or(&[])),
        };
        let layout = self.layout(&bytes, start)?;
        Ok((bytes, layout, start))
    }

    /// The layout of a block, all whose bytes these are.
    #[inline]
    pub(super) fn layout(&self, bytes: &[u8], start: u64) -> Result<Layout> {
        let damaged = || self.file.corrupt(start, "the block's trailer is damaged");
        Layout::read(bytes, self.parts.salt, start).ok_or_else(damaged)
    }

    /// A block of a table that is not mapped, through the cache.
    pub(super) fn cached_block(&self, start: u64, end: u64) -> Result<Arc<Block>> {
        match &self.parts.positioned {
            Some(positioned) => self.parts.cached(positioned, start, end),
            None => Err(Error::on(ErrorKind::Internal, &self.parts.path, "a mapped table was asked for a block")),
        }
    }

    /// Is the file mapped?
    #[inline]
    pub(super) fn is_mapped(&self) -> bool {
        self.parts.positioned.is_none()
    }

    /// The fences, read and checked at the first use.
    #[inline]
    pub(super) fn fences(&self) -> Result<&Fences> {
        self.parts.fences(Some(&self.file))
    }

    #[inline]
    fn hash_index(&self) -> Result<&HashIndex> {
        match self.parts.index.get() {
            Some(index) => Ok(index),
            None => self.load_hash_index(),
        }
    }

    #[cold]
    fn load_hash_index(&self) -> Result<&HashIndex> {
        let Footer { index_at, properties_at, index_check, .. } = self.parts.footer;
        let section = self.parts.checked(Some(&self.file), index_at, properties_at, index_check, "hash index")?;
        let index = HashIndex::parse(&section).map_err(|what| self.file.corrupt(index_at, what))?;
        Ok(self.parts.index.get_or_init(|| index))
    }

    /// A hash page, checked.
    #[inline]
    fn page(&self, index: &HashIndex, number: usize) -> Result<Bytes<'_>> {
        let Footer { pages_at, index_at, .. } = self.parts.footer;
        let offset = pages_at + (number * PAGE_BYTES) as u64;
        let page = match &self.parts.positioned {
            None => Bytes::Mapped(self.file.tail(offset)).part(0, PAGE_BYTES),
            Some(positioned) => {
                let at = pages_at + (number / PAGES_READ * PAGES_READ * PAGE_BYTES) as u64;
                let end = index_at.min(at + (PAGES_READ * PAGE_BYTES) as u64);
                let from = (offset - at) as usize;
                whole(self.parts.cached(positioned, at, end)?).part(from, from + PAGE_BYTES)
            }
        };
        if index.accepts(number, &page, self.parts.salt, offset) {
            return Ok(page);
        }
        Err(self.file.corrupt(offset, "the table's hash page is damaged"))
    }
}

/// All of a block.
fn whole(block: Arc<Block>) -> Bytes<'static> {
    let to = block.bytes().len();
    Bytes::Cached { block, from: 0, to }
}

/// Reads header and footer of the table at `path`, which has the length that `meta` says.
pub(super) fn read_ends(read: &dyn ReadFile, path: &Path, database: u128, meta: &Meta) -> Result<Footer> {
    let salt = FileSalt::new(database, meta.number);
    let Some(footer_at) = meta.len.checked_sub(FOOTER_BYTES as u64).filter(|&at| at > HEADER_BYTES as u64) else {
        return Err(Error::corruption(path, 0, "the table is shorter than its header and footer"));
    };
    let mut header = [0; HEADER_BYTES];
    read.read_at(0, &mut header)?;
    match footer::read_header(&header, database, meta.number) {
        HeaderRead::Good => {}
        HeaderRead::Bad(what) => return Err(Error::corruption(path, 0, what)),
        HeaderRead::Newer(message) => return Err(Error::on(ErrorKind::NewerFormat, path, message)),
    }
    let mut bytes = [0; FOOTER_BYTES];
    read.read_at(footer_at, &mut bytes)?;
    Footer::read(&bytes, salt, meta).map_err(|what| Error::corruption(path, footer_at, what))
}

impl Parts {
    /// The bytes `start..end` through the cache.
    fn cached(&self, positioned: &Positioned, start: u64, end: u64) -> Result<Arc<Block>> {
        positioned.cache.get_or_read(self.meta.number, start, || {
            let mut buffer = zeroed(end - start, &self.path)?;
            positioned.read.read_at(start, &mut buffer)?;
            Ok(buffer)
        })
    }

    /// `len` bytes at `at`, past the cache. `mapped` is the file if its bytes are in memory.
    fn section<'a>(&self, mapped: Option<&'a File>, at: u64, len: u64) -> Result<Cow<'a, [u8]>> {
        match (&self.positioned, mapped) {
            (Some(positioned), _) => {
                let mut buffer = zeroed(len, &self.path)?;
                positioned.read.read_at(at, &mut buffer)?;
                Ok(Cow::Owned(buffer))
            }
            (None, Some(file)) => {
                // All of it is read now, and its pages may be missing.
                file.memory().will_need(at, len);
                Ok(Cow::Borrowed(file.tail(at).get(..len as usize).unwrap_or(&[])))
            }
            (None, None) => Ok(Cow::Borrowed(&[])),
        }
    }

    /// The section `at..end`, checked.
    fn checked<'a>(
        &self,
        mapped: Option<&'a File>,
        at: u64,
        end: u64,
        check: u32,
        what: &str,
    ) -> Result<Cow<'a, [u8]>> {
        let section = self.section(mapped, at, end - at)?;
        if check_of(&section, self.salt, at) == check {
            return Ok(section);
        }
        Err(Error::corruption(&self.path, at, format!("the check of the table's {what} does not match")))
    }

    #[inline]
    fn fences(&self, mapped: Option<&File>) -> Result<&Fences> {
        match self.fences.get() {
            Some(fences) => Ok(fences),
            None => self.load_fences(mapped),
        }
    }

    /// Reads the fences, and compares the properties on the way: the manifest must mean this table.
    #[cold]
    fn load_fences(&self, mapped: Option<&File>) -> Result<&Fences> {
        let (meta, footer) = (&self.meta, &self.footer);
        let corrupt = |at, what: String| Error::corruption(&self.path, at, what);
        let (at, end) = (footer.properties_at, meta.len - FOOTER_BYTES as u64);
        let section = self.checked(mapped, at, end, footer.properties_check, "properties")?;
        let content = section.get(..footer.properties_len as usize).unwrap_or(&[]);
        properties::agree(content, meta).map_err(|what| corrupt(at, what))?;

        let at = footer.fences_at;
        let section = self.checked(mapped, at, footer.pages_at, footer.fences_check, "fences")?;
        let shared = shared_prefix(&meta.smallest, &meta.largest);
        let fences = Fences::parse(&section, footer.blocks as usize, at, shared);
        let fences = fences.map_err(|what| corrupt(at, what.to_owned()))?;
        Ok(self.fences.get_or_init(|| fences))
    }
}

/// Reads a table whose bytes are not in memory.
#[derive(Debug)]
struct Paged(Arc<Parts>);

impl Pager for Paged {
    fn bytes_at(&self, offset: u64) -> Result<Bytes<'static>> {
        let Paged(parts) = self;
        let fences = parts.fences(None)?;
        let (Some(block), Some(positioned)) = (fences.block_of(offset), &parts.positioned) else {
            return Err(Error::corruption(&parts.path, offset, "no block of the table is there"));
        };
        let (start, end) = fences.bounds(block);
        let block = parts.cached(positioned, start, end)?;
        Ok(whole(block).part((offset - start) as usize, (end - start) as usize))
    }

    fn size(&self) -> u64 {
        self.0.meta.len
    }
}
