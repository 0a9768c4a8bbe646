//! Files: from an address to the bytes that stand there.
//!
//! An address names a file by a 16-bit slot. [`Files`] are the [`Slots`] of files; [`File`] hands out the bytes that
//! have been published in it.
//!
//! A file's bytes are in memory, mapped or copied, or they are not: then it has published nothing, and [`File::at`] asks its
//! [`Pager`] for them, which reads them from the disk or finds them in the cache. A reader who asks [`File::at`] need not know;
//! it costs one predictable branch.
//!
//! Invariants
//!
//! 1. Bytes below a file's `end` are never written again while the [`File`] lives, and `end` never falls. So a shared slice over them is sound
//!    for as long as the file is held. (Its memory may be filled again, as another file, by whoever had the last of it.)
//! 2. A value that outlives its guard holds an `Arc` of its file, taken under the guard.
//!
//! Not defended against: another process that truncates or rewrites a mapped file (documented in `docs/durability.md`).

#![allow(unsafe_code)]

pub mod region;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cache::Block as CachedBlock;
use crate::coding;
use crate::env::{Memory, SegmentFile, SegmentKind};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{self, FileSalt, Header};
use crate::slots::{SLOTS, Slots};
use crate::sync::{Arc, AtomicBool, AtomicPtr, AtomicU64, CachePadded, OnceLock, Ordering};

/// A value that is so long has pages enough to ask for them with a system call.
const LONG_BYTES: usize = 32 << 10;
/// What a prefetch fetches, in bytes.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

/// Bytes of a file from some position on, where they lie: in mapped memory, or in a cached block, which they hold on to.
#[derive(Clone, Debug)]
pub enum Bytes<'a> {
    /// In the memory of the file.
    Mapped(&'a [u8]),
    /// A part of a block that was read.
    Cached {
        /// The block.
        block: Arc<CachedBlock>,
        /// The first byte in it.
        from: usize,
        /// Behind the last.
        to: usize,
    },
}

impl<'a> Bytes<'a> {
    /// The bytes `from..to` of these: as many as there are.
    pub fn part(&self, from: usize, to: usize) -> Bytes<'a> {
        match self {
            Bytes::Mapped(bytes) => {
                let to = to.min(bytes.len());
                Bytes::Mapped(&bytes[from.min(to)..to])
            }
            Bytes::Cached { block, from: start, to: end } => {
                let to = start.saturating_add(to).min(*end);
                Bytes::Cached { block: Arc::clone(block), from: start.saturating_add(from).min(to), to }
            }
        }
    }
}

impl std::ops::Deref for Bytes<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(bytes) => bytes,
            Bytes::Cached { block, from, to } => block.bytes().get(*from..*to).unwrap_or(&[]),
        }
    }
}

/// Who reads a file whose bytes are not in memory.
pub trait Pager: fmt::Debug + Send + Sync {
    /// The bytes from `offset` on, at least to the end of the record that starts there.
    fn bytes_at(&self, offset: u64) -> Result<Bytes<'static>>;

    /// The file's bytes.
    fn size(&self) -> u64;
}

/// One log segment or one table as readers see it.
pub struct File {
    /// Never reused in the life of a database.
    pub number: u64,
    /// What ties records to this file.
    pub salt: FileSalt,
    /// The seed under which the database hashes keys.
    pub hash_seed: u64,
    /// Where it lies.
    pub path: PathBuf,
    source: Box<dyn SegmentFile>,
    /// Of a file whose bytes are not in memory; its `end` stays 0.
    pager: Option<Box<dyn Pager>>,
    is_table: bool,
    /// Whom to wake when it is let go of; set when the file leaves the store.
    left: OnceLock<Arc<dyn Wake>>,
    /// The first byte of `source.memory()`, which never moves. Set once, in `new`: Relaxed.
    base: AtomicPtr<u8>,
    /// Bytes below are published: complete, and never written again. Raised by Release stores in [`File::publish`], read
    /// with Acquire in [`File::published`]. On a line of its own: the writer changes it with every write.
    end: CachePadded<AtomicU64>,
    /// Of a table: bytes of records that a merge could drop or has taken over. Statistics, which picking goes by: Relaxed. On a
    /// line of their own: writers of other files change them.
    waste: CachePadded<Waste>,
}

#[derive(Debug, Default)]
struct Waste {
    dead: AtomicU64,
    held: AtomicU64,
    /// Whether nothing of it is wanted any more, and it only waits for a flush. Who picks merges leaves it out.
    outlived: AtomicBool,
    /// Of `dead`, what was estimated.
    estimated: AtomicU64,
    overwritten_counted: AtomicBool,
}

/// Somebody who waits until a file is let go of.
pub trait Wake: fmt::Debug + Send + Sync {
    /// It may be now.
    fn wake(&self);
}

impl File {
    /// A file of which nothing is published yet.
    pub fn new(database: u128, hash_seed: u64, number: u64, path: PathBuf, source: Box<dyn SegmentFile>) -> File {
        let salt = FileSalt::new(database, number);
        let base = AtomicPtr::new(source.memory().as_mut_ptr());
        let end = CachePadded::new(AtomicU64::new(0));
        File {
            number,
            salt,
            hash_seed,
            path,
            source,
            pager: None,
            is_table: false,
            left: OnceLock::new(),
            base,
            end,
            waste: CachePadded::default(),
        }
    }

    /// A finished file, mapped: all of it is published, and nobody writes it any more.
    pub fn mapped(database: u128, hash_seed: u64, number: u64, path: PathBuf, memory: Memory) -> File {
        let end = memory.len() as u64;
        let source = Box::new(ReadOnly(memory));
        let file = File { is_table: true, ..File::new(database, hash_seed, number, path, source) };
        // SAFETY: `end` is the memory's length; the memory holds a file's bytes, so it is initialised. It came by value, so
        // whoever mapped it has no more access to it, and the only one who writes such memory, `log::segment::Appender`,
        // refuses a file of which something is published.
        unsafe { file.publish(end) };
        file
    }

    /// A finished file whose bytes are not in memory: `pager` reads them.
    pub fn paged(database: u128, hash_seed: u64, number: u64, path: PathBuf, pager: Box<dyn Pager>) -> Result<File> {
        let nothing = ReadOnly(Memory::anonymous(0)?);
        Ok(File {
            pager: Some(pager),
            is_table: true,
            ..File::new(database, hash_seed, number, path, Box::new(nothing))
        })
    }

    /// Is it a table, and no log segment?
    #[inline]
    pub fn is_table(&self) -> bool {
        self.is_table
    }

    /// `bytes` of its records are not live any more: overwritten, deleted, or merged into another table.
    #[inline]
    pub fn add_dead(&self, bytes: u64) {
        self.waste.dead.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of its records that are not live.
    pub fn dead(&self) -> u64 {
        self.waste.dead.load(Ordering::Relaxed)
    }

    /// Is nothing of it wanted any more, so that it will go as soon as what is newer is flushed?
    pub fn set_outlived(&self, is_outlived: bool) {
        self.waste.outlived.store(is_outlived, Ordering::Relaxed);
    }

    /// Was that said?
    pub fn is_outlived(&self) -> bool {
        self.waste.outlived.load(Ordering::Relaxed)
    }

    /// About so many bytes of its records were overwritten, where nobody could count.
    pub fn add_estimated(&self, bytes: u64) {
        self.add_dead(bytes);
        self.waste.estimated.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All that was overwritten before the index spoke for this table is `bytes`: what was not counted or estimated yet is dead,
    /// too. Once only, for the table may be filled in again after it was emptied.
    pub fn count_overwritten(&self, bytes: u64) {
        if !self.waste.overwritten_counted.swap(true, Ordering::Relaxed) {
            self.add_dead(bytes.saturating_sub(self.waste.estimated.load(Ordering::Relaxed)));
        }
    }

    /// `bytes` of its records are older versions that were kept for a snapshot. They are counted as dead, too.
    pub fn add_held(&self, bytes: u64) {
        self.waste.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of older versions that were kept for a snapshot.
    pub fn held(&self) -> u64 {
        self.waste.held.load(Ordering::Relaxed)
    }

    /// The file is no part of the store any more: whoever lets go of it wakes `wake`.
    pub fn leave(&self, wake: Arc<dyn Wake>) {
        // Set once: a file leaves once.
        let _ = self.left.set(wake);
    }

    /// Whom to wake after letting go of the file, if it has left the store.
    #[inline]
    pub fn left(&self) -> Option<&Arc<dyn Wake>> {
        self.left.get()
    }

    /// The file's memory, for the one appender.
    pub fn memory(&self) -> &Memory {
        self.source.memory()
    }

    /// The file itself: to write through, to sync, to trim.
    pub fn source(&self) -> &dyn SegmentFile {
        &*self.source
    }

    /// The file itself, of which nothing is published any more: nobody else has it.
    pub fn into_source(self) -> Box<dyn SegmentFile> {
        self.source
    }

    /// Bytes that are published.
    pub fn end(&self) -> u64 {
        // Acquire pairs with the Release in `publish`: the bytes below are visible.
        self.end.load(Ordering::Acquire)
    }

    /// Bytes that are published; of a table, all of them, in memory or not.
    pub fn size(&self) -> u64 {
        self.pager.as_ref().map_or_else(|| self.end(), |pager| pager.size())
    }

    /// Publishes all bytes below `end`.
    ///
    /// # Safety
    ///
    /// `end` is at most the memory's length and at least the old one, all bytes below it are written, and no one
    /// writes any of them ever again.
    pub unsafe fn publish(&self, end: u64) {
        // Release pairs with the Acquire in `end`.
        self.end.store(end, Ordering::Release);
    }

    /// All published bytes.
    #[inline]
    pub fn published(&self) -> &[u8] {
        let end = self.end() as usize;
        // SAFETY: `base` points to `Memory`, which is valid for its length as long as `self.source` lives, which is as long as
        // `self`; by the contract of `publish` `end` is at most that length and the bytes below it are initialised
        // and not written while this shared slice lives.
        unsafe { std::slice::from_raw_parts(self.base.load(Ordering::Relaxed), end) }
    }

    /// The published bytes from `offset` on: none if it lies beyond.
    #[inline]
    pub fn tail(&self, offset: u64) -> &[u8] {
        self.published().get(offset as usize..).unwrap_or(&[])
    }

    /// The bytes from `offset` on, wherever they are: at least to the end of the record that starts there.
    #[inline(always)]
    pub fn at(&self, offset: u64) -> Result<Bytes<'_>> {
        match &self.pager {
            None => Ok(Bytes::Mapped(self.tail(offset))),
            Some(pager) => pager.bytes_at(offset),
        }
    }

    /// The record at `offset`, as the bytes from there on and its header; not verified.
    #[inline(always)]
    pub fn record_at(&self, offset: u64) -> Result<(Bytes<'_>, Header)> {
        if self.pager.is_some() {
            return self.paged_record_at(offset);
        }
        // Inlined without fail, and apart from the other form: handed on in memory, header and bytes cost more than the decoding.
        let bytes = self.tail(offset);
        match Header::decode(bytes) {
            Some(header) => Ok((Bytes::Mapped(bytes), header)),
            None => Err(self.no_record(offset)),
        }
    }

    #[cold]
    fn paged_record_at(&self, offset: u64) -> Result<(Bytes<'_>, Header)> {
        let bytes = self.at(offset)?;
        match Header::decode(&bytes) {
            Some(header) => Ok((bytes, header)),
            None => Err(self.no_record(offset)),
        }
    }

    #[cold]
    fn no_record(&self, offset: u64) -> Error {
        self.corrupt(offset, "the file is damaged: no record where one was written")
    }

    /// Hints to the CPU that `len` bytes at `offset` will be read soon.
    #[inline]
    pub fn prefetch(&self, offset: u64, len: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let base = self.base.load(Ordering::Relaxed).cast_const().cast::<i8>();
            let from = offset as usize & !(CACHE_LINE - 1);
            let lines = ((offset as usize - from).wrapping_add(len)).div_ceil(CACHE_LINE);
            for at in (0..lines).map(|line| from.wrapping_add(line * CACHE_LINE)) {
                // SAFETY: a prefetch reads nothing architecturally and never faults, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(base.wrapping_add(at)) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (offset, len);
    }

    /// The same for the cache line at `offset`.
    #[inline]
    pub fn prefetch_line(&self, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let base = self.base.load(Ordering::Relaxed).cast_const().cast::<i8>();
            // SAFETY: a prefetch reads nothing architecturally and never faults, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(base.wrapping_add(offset as usize)) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// All of a record will be read: the pages of a long one in a mapped table are asked for together, if they are not there.
    #[inline]
    pub fn will_need(&self, header: &Header, offset: u64) {
        if header.value_len as usize >= LONG_BYTES && self.is_table && self.pager.is_none() {
            self.source.memory().will_need(offset, header.len() as u64);
        }
    }

    /// Checks every byte of the record that `header` opens at the start of `bytes`, at `offset`.
    #[inline]
    pub fn check(&self, bytes: &[u8], header: &Header, offset: u64) -> Result<()> {
        self.check_hashed(bytes, header, coding::hash_seeded(header.key(bytes), self.hash_seed), offset)
    }

    /// As `check`, for a key whose hash is known.
    #[inline]
    pub fn check_hashed(&self, bytes: &[u8], header: &Header, key_hash: u64, offset: u64) -> Result<()> {
        if record::verify(bytes, header, key_hash, self.salt, offset) {
            return Ok(());
        }
        Err(self.corrupt(offset, "the record's checksum does not match"))
    }

    /// Damage at `offset`.
    #[cold]
    pub fn corrupt(&self, offset: u64, what: &str) -> Error {
        Error::corruption(&self.path, offset, what)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({}, {} bytes published)", self.path.display(), self.end())
    }
}

/// Memory, or none, that nobody writes.
#[derive(Debug)]
struct ReadOnly(Memory);

impl ReadOnly {
    #[cold]
    fn refuse(&self, what: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, format!("{what} of a finished file: please report this bug")))
    }
}

impl SegmentFile for ReadOnly {
    fn memory(&self) -> &Memory {
        &self.0
    }
    fn kind(&self) -> SegmentKind {
        SegmentKind::Mapped
    }
    fn write(&self, _offset: u64, _bytes: &[u8]) -> Result<()> {
        self.refuse("a write")
    }
    fn sync(&self) -> Result<()> {
        self.refuse("a sync")
    }
    fn can_be_refilled(&self) -> bool {
        false
    }
    fn renamed(&mut self, _path: &Path) {}
    fn trim(&self, _len: u64) -> Result<()> {
        self.refuse("a trim")
    }
}

/// What each slot stands for.
pub type Files = Slots<File>;

impl Slots<File> {
    /// Gives `file` a slot.
    pub fn register(&self, file: Arc<File>) -> Result<u16> {
        self.give(Arc::clone(&file)).ok_or_else(|| {
            let message = format!("the store has {SLOTS} live files, the most that addresses can tell apart");
            Error::on(ErrorKind::NoSpace, &file.path, message)
        })
    }
}
