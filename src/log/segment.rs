//! The segment: its header, and the one appender that fills it.
//!
//! An [`Appender`] is made once for a file and never cloned, so whoever holds it mutably is the only one that writes the
//! file's memory. It writes at and beyond the published end only, and publishes by raising that end: bytes that
//! readers can see are never written again (invariant 1 of [`files`](crate::files)).
//!
//! A frame is stored in pieces. A process that dies between two of them leaves a frame whose check fails; a
//! machine that does leaves any subset of its 512-byte sectors. Recovery refuses both.

#![allow(unsafe_code)]

use std::fmt;

use crate::coding::{self, get_u32, get_u64};
use crate::env::{Memory, SegmentFile, SegmentKind};
use crate::error::Result;
use crate::files::File;
use crate::log::frame::FRAME_HEADER_BYTES;
use crate::record::{FileSalt, Seq};
use crate::sync::Arc;

/// Bytes of a segment's header; the first frame follows.
pub const SEGMENT_HEADER_BYTES: usize = 80;

const MAGIC: [u8; 8] = *b"kvs log\n";
/// Raised when a change can't be told by a feature bit.
pub const FORMAT_VERSION: u32 = 1;
/// Records may delete ranges (kind 3). Set in every segment that this version makes.
const FEATURE_RANGE_DELETES: u32 = 1;
/// Features that a file may use and this version knows.
pub const FEATURES_KNOWN: u32 = FEATURE_RANGE_DELETES;
/// What the header's check covers.
const CHECKED_BYTES: usize = 64;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The database that it belongs to.
    pub database: u128,
    /// The file's number, as in its name.
    pub number: u64,
    /// The sequence number of its first record.
    pub first_seq: Seq,
    /// The number of the segment before it; 0 if there was none.
    pub predecessor: u64,
    /// Where that one ended.
    pub predecessor_end: u64,
}

/// What stands where a header should be.
#[derive(Debug)]
pub enum HeaderRead {
    /// Nothing but zeros: prepared, never used.
    Prepared,
    /// A header of this database and file.
    Good(SegmentHeader),
    /// Something else.
    Bad(&'static str),
    /// A newer version wrote it.
    Newer(String),
}

impl SegmentHeader {
    /// As it stands in a file.
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&FEATURE_RANGE_DELETES.to_le_bytes());
        out[16..32].copy_from_slice(&self.database.to_le_bytes());
        out[32..40].copy_from_slice(&self.number.to_le_bytes());
        out[40..48].copy_from_slice(&self.first_seq.to_le_bytes());
        out[48..56].copy_from_slice(&self.predecessor.to_le_bytes());
        out[56..64].copy_from_slice(&self.predecessor_end.to_le_bytes());
        let check = header_check(&out[..CHECKED_BYTES], FileSalt::new(self.database, self.number));
        out[64..68].copy_from_slice(&check.to_le_bytes());
        out
    }

    /// The database that a header says it is of, if it is a good header of the file `number`.
    pub fn database_of(head: &[u8], number: u64) -> Option<u128> {
        let id = u128::from_le_bytes(head.get(16..32)?.try_into().ok()?);
        let check = header_check(head.get(..CHECKED_BYTES)?, FileSalt::new(id, number));
        (head[..8] == MAGIC && get_u32(head, 64) == Some(check)).then_some(id)
    }

    /// Reads the header of the file `number` of `database`.
    pub fn read(bytes: &[u8], database: u128, number: u64) -> HeaderRead {
        let Some(head) = bytes.get(..SEGMENT_HEADER_BYTES) else {
            return if bytes.iter().all(|&b| b == 0) {
                HeaderRead::Prepared
            } else {
                HeaderRead::Bad("the segment's header is cut short")
            };
        };
        if head.iter().all(|&b| b == 0) {
            return HeaderRead::Prepared;
        }
        if head[..8] != MAGIC {
            return HeaderRead::Bad("the segment has no magic number");
        }
        let word = |at| get_u64(head, at).unwrap_or(0);
        let check = header_check(&head[..CHECKED_BYTES], FileSalt::new(database, number));
        if get_u32(head, 64) != Some(check) || head[68..].iter().any(|&b| b != 0) {
            return HeaderRead::Bad("the segment's header is damaged, or of another store or file");
        }
        let (version, features) = (get_u32(head, 8).unwrap_or(0), get_u32(head, 12).unwrap_or(0));
        if version > FORMAT_VERSION || features & !FEATURES_KNOWN != 0 {
            return HeaderRead::Newer(format!(
                "the log segment has format {version}, features {features:#x}; this version reads format {FORMAT_VERSION}, features {FEATURES_KNOWN:#x}"
            ));
        }
        HeaderRead::Good(SegmentHeader {
            database,
            number,
            first_seq: word(40),
            predecessor: word(48),
            predecessor_end: word(56),
        })
    }
}

fn header_check(head: &[u8], salt: FileSalt) -> u32 {
    coding::half(coding::hash_seeded(head, salt.at(0)))
}

/// The only writer of a segment's memory.
pub struct Appender {
    file: Arc<File>,
    /// Published so far; the next frame goes here.
    position: u64,
    /// Written through to the file so far. Behind `position` only for writes of [`Durability::None`](crate::Durability::None).
    through: u64,
}

impl Appender {
    /// Takes over a fresh segment: writes its header and publishes it. Returns the appender and the file, which readers share.
    ///
    /// # Panics
    ///
    /// If something of it is published: then readers may be looking at it.
    pub fn activate(file: File, header: &SegmentHeader) -> Result<Appender> {
        assert_eq!((file.end(), file.number), (0, header.number));
        let mut appender = Appender { file: Arc::new(file), position: 0, through: 0 };
        appender.store(0, &header.encode());
        appender.write_through(SEGMENT_HEADER_BYTES as u64)?;
        appender.publish(SEGMENT_HEADER_BYTES as u64);
        Ok(appender)
    }

    /// The file that it fills.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where the next frame goes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Published bytes that are in the file.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Bytes of the segment.
    pub fn capacity(&self) -> u64 {
        self.file.memory().len() as u64
    }

    /// Stores `bytes` at `offset`, which lies in the part that is not published.
    ///
    /// # Panics
    ///
    /// If it does not, or if the bytes reach beyond the segment: the caller has made room before.
    #[inline]
    pub fn store(&mut self, offset: u64, bytes: &[u8]) {
        let memory: &Memory = self.file.memory();
        let (from, len) = (offset as usize, bytes.len());
        assert!(offset >= self.position && from <= memory.len() && len <= memory.len() - from);
        // SAFETY: the assertion keeps the target within the memory, which lives as long as `self.file`. No one else writes it,
        // since this is the file's only appender and it is borrowed mutably. No shared slice covers it, since such are
        // formed below the published end only, and `offset` is at or beyond it. `bytes` can't overlap it: it is a
        // shared slice, and those over this memory lie below the published end.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.as_mut_ptr().add(from), len) };
        if let Some(observer) = memory.observer() {
            observer.stored(from, bytes);
        }
    }

    /// Writes what was stored below `end`, and not yet written, to the file. Nothing to do if the file is mapped.
    #[inline(always)]
    pub fn write_through(&mut self, end: u64) -> Result<()> {
        if self.through < end && self.file.source().kind() == SegmentKind::Positioned {
            self.write_out(end)?;
        }
        self.through = self.through.max(end);
        Ok(())
    }

    fn write_out(&self, end: u64) -> Result<()> {
        let memory = self.file.memory();
        assert!(end as usize <= memory.len());
        // SAFETY: within the memory by the assertion; initialised, since it began as zeros; only this appender writes it, and
        // its caller, `write_through`, has it mutably for as long as the slice lives.
        let bytes = unsafe {
            std::slice::from_raw_parts(memory.as_mut_ptr().add(self.through as usize), (end - self.through) as usize)
        };
        self.file.source().write(self.through, bytes)
    }

    /// Publishes everything stored below `end`.
    #[inline(always)]
    pub fn publish(&mut self, end: u64) {
        assert!(end >= self.position && end <= self.capacity());
        // SAFETY: within the memory and not below the old end by the assertion; the caller stored everything below (and the memory
        // began as zeros, so it is initialised in any case); from now on `store` refuses offsets below `end`.
        unsafe { self.file.publish(end) };
        self.position = end;
    }

    /// Takes back a frame up to `end` that could not be written through: its bytes in memory, and its header in the file. A part of a frame
    /// may be all of it, if it ends in zeros, and would be replayed. Where the failure was a full disk this needs no
    /// room: either the block is there, or nothing was written. Another error than a full disk means that the write may be there after
    /// all.
    pub fn take_back(&mut self, end: u64) -> Result<()> {
        self.erase(end);
        match self.file.source().kind() {
            SegmentKind::Mapped => Ok(()),
            SegmentKind::Positioned => self.file.source().write(self.position, &[0; FRAME_HEADER_BYTES]),
        }
    }

    /// Zeroes what was stored from the published end up to `end` and will not be published.
    pub fn erase(&mut self, end: u64) {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut at = self.position;
        while at < end {
            let n = (end - at).min(ZEROS.len() as u64);
            self.store(at, &ZEROS[..n as usize]);
            at += n;
        }
    }
}

/// Makes the memory of a segment that nobody has any more all zeros, as that of a fresh one is: to be filled again under another name.
/// `None` if it can't be.
pub fn erased(file: File) -> Option<Box<dyn SegmentFile>> {
    const PIECE: usize = 64 << 10;
    static ZEROS: [u8; PIECE] = [0; PIECE];
    let source = file.into_source();
    if !source.can_be_refilled() {
        return None;
    }
    let memory = source.memory();
    for from in (0..memory.len()).step_by(PIECE) {
        let piece = &ZEROS[..PIECE.min(memory.len() - from)];
        // SAFETY: within the memory, by the length of the piece; it may be written, as it can be refilled. Nobody reads or writes it: the file came
        // by value, so every `Arc` of it is gone, and with them whatever could form a slice over its bytes: each such slice
        // borrows the file, or its `Arc`, or is in a `Region` that holds one; and an `Appender` holds one, too.
        unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), memory.as_mut_ptr().add(from), piece.len()) };
        if let Some(observer) = memory.observer() {
            observer.stored(from, piece);
        }
    }
    Some(source)
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Appender({} of {} bytes)", self.position, self.capacity())
    }
}

/// A segment that was opened, not created: nobody appends to it any more.
#[derive(Clone, Debug)]
pub struct Opened(Arc<File>);

impl Opened {
    /// Takes over a file of which nothing is published.
    ///
    /// # Panics
    ///
    /// If something is: then somebody may be appending to it.
    pub fn new(file: File) -> Opened {
        assert_eq!(file.end(), 0);
        Opened(Arc::new(file))
    }

    /// The file, of which readers see what was accepted.
    pub fn file(&self) -> &Arc<File> {
        &self.0
    }

    /// Every byte, accepted or not.
    pub fn bytes(&self) -> &[u8] {
        let memory = self.0.memory();
        // SAFETY: the memory is valid for its length as long as the file lives, which is as long as `self`, and holds a file's
        // bytes, so it is initialised. The file was fresh when it came to `new`, so no `Appender`, the only writer
        // of such memory, was ever made of it, and none can be: `Appender::activate` takes a `File`, not an `Arc`.
        unsafe { std::slice::from_raw_parts(memory.as_mut_ptr(), memory.len()) }
    }

    /// Lets readers see everything below `end`.
    pub fn accept(&self, end: u64) {
        assert!(end <= self.0.memory().len() as u64 && end >= self.0.end());
        // SAFETY: within the memory and not below the old end by the assertion; nothing writes this memory, as in `bytes`.
        unsafe { self.0.publish(end) };
    }
}
