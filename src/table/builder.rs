//! The builder: writes a table, record by record, in the order of the keys.
//!
//! ```text
//! add(record)
//!  1 it must come after the last one
//!  2 exchange the mask in its checksum, the old place's for the new one's, and append it
//!  3 the first record of a key gets an entry among the hashes, the first of a block a fence
//!  4 a block that has reached its size gets its trailer, and a check of its records together
//! finish: fences, hash pages (entries sorted), their index, properties, footer; then fdatasync
//! ```
//!
//! Records are not verified here: whoever hands one over stood on it and has just done so. What were damaged in between would still be
//! after it: a checksum moves with its record, and is never made anew.
//!
//! The file is appended to in pieces of about 1 MiB. It is nothing until the caller has synced the directory and recorded the
//! table; one that is not finished is the caller's to remove.

use std::path::{Path, PathBuf};

use crate::coding;
use crate::env::AppendFile;
#[cfg(test)]
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::files::File;
use crate::merging::shared_prefix;
use crate::record::{self, FileSalt, Header, Kind, SEQ_MAX, Seq};
use crate::scratch;
use crate::sorting;
use crate::table::fences::{self, Fence};
use crate::table::footer::{self, FOOTER_BYTES, Footer, RecordsCheck};
use crate::table::hashes::Keyed;
use crate::table::{BLOCK_BYTES_MAX, HEADER_BYTES, Meta, TABLE_BYTES_MAX, block, check_of, hashes, properties};

/// What is gathered before it is appended to the file. Four times as much made no table faster.
const PIECE_BYTES: usize = 256 << 10;
/// Fewer bytes than most records take.
const RECORD_BYTES_USUAL: u64 = 64;
/// A longer record is appended from where it stands.
const COPIED_BYTES_MAX: usize = 256 << 10;

/// A table in the making.
#[derive(Debug)]
pub struct Builder {
    file: Box<dyn AppendFile>,
    path: PathBuf,
    salt: FileSalt,
    hash_seed: u64,
    block_bytes: u64,
    /// Bytes that are not in the file yet.
    piece: Vec<u8>,
    /// Where `piece` goes.
    piece_at: u64,
    /// Where the open block starts; its records so far.
    block_at: u64,
    starts: Vec<u16>,
    /// One for each block.
    fences: Vec<Fence>,
    /// In order.
    keys: Vec<Keyed>,
    last_key: Vec<u8>,
    last_seq: Seq,
    records_check: RecordsCheck,
    /// What is known so far.
    meta: Meta,
}

impl Builder {
    /// For table `number` of `database`, in the new file `path`.
    #[cfg(test)]
    pub fn create(
        env: &dyn Env,
        path: &Path,
        database: u128,
        hash_seed: u64,
        number: u64,
        block_bytes: u32,
    ) -> Result<Builder> {
        Ok(Builder::over(env.create(path)?, path, database, hash_seed, number, block_bytes))
    }

    /// For table `number` of `database`, in a file that was created, or is to be written over, and to which nothing was appended yet.
    pub fn over(
        file: Box<dyn AppendFile>,
        path: &Path,
        database: u128,
        hash_seed: u64,
        number: u64,
        block_bytes: u32,
    ) -> Builder {
        let mut piece = scratch::list((PIECE_BYTES + COPIED_BYTES_MAX + 2 * BLOCK_BYTES_MAX as usize) as u64);
        piece.extend_from_slice(&footer::encode_header(database, number));
        Builder {
            file,
            path: path.to_owned(),
            salt: FileSalt::new(database, number),
            hash_seed,
            block_bytes: u64::from(block_bytes.min(BLOCK_BYTES_MAX)),
            piece,
            piece_at: 0,
            block_at: HEADER_BYTES as u64,
            starts: Vec::new(),
            fences: Vec::new(),
            keys: Vec::new(),
            last_key: Vec::new(),
            last_seq: 0,
            records_check: RecordsCheck::NONE,
            meta: Meta {
                number,
                len: 0,
                footer_check: 0,
                smallest: Vec::new(),
                largest: Vec::new(),
                first_seq: SEQ_MAX,
                last_seq: 0,
                records: 0,
                keys: 0,
                deletes: 0,
                data_bytes: 0,
                purged_seq: 0,
            },
        }
    }

    /// Tells that it will hold about so many bytes.
    pub fn expect(&mut self, bytes: u64) {
        self.keys = scratch::list(bytes / RECORD_BYTES_USUAL);
    }

    /// Where the next byte goes.
    #[inline]
    fn position(&self) -> u64 {
        self.piece_at + self.piece.len() as u64
    }

    /// Bytes that the table will have if it is finished now, or a few more.
    pub fn len(&self) -> u64 {
        let keys = 8 * (self.keys.len() + hashes::PAGE_ENTRIES + self.keys.len() / hashes::PAGE_ENTRIES);
        let ends = self.meta.smallest.len() + self.last_key.len();
        let rest = keys + 12 * self.fences.len() + 2 * self.starts.len() + ends + 256;
        self.position() + rest as u64
    }

    /// Is there no record in it yet?
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.meta.records == 0
    }

    /// Adds the record that `header` opens at the start of `bytes` and that stands at `offset` of `source`: a larger key than the
    /// last one's, or an older version of the same. `note` is kept for the first record of a key, and given back by `finish`. After an
    /// error of the file the table is to be given up; a record that is refused leaves it as it was.
    pub fn add(&mut self, source: &File, bytes: &[u8], header: &Header, offset: u64, note: u32) -> Result<()> {
        if bytes.len() < header.unpadded_len() {
            return Err(self.misused("a record that is cut short"));
        }
        let key = header.key(bytes);
        let is_new = self.meta.records == 0 || key != self.last_key.as_slice();
        if is_new {
            if self.meta.records > 0 && key < self.last_key.as_slice() {
                return Err(self.misused("keys that do not ascend"));
            }
        } else if header.seq() >= self.last_seq {
            return Err(self.misused("versions of a key that are not newest first"));
        }
        let at = self.position();
        if at + header.len() as u64 > TABLE_BYTES_MAX {
            return Err(self.too_large());
        }
        if is_new {
            if self.meta.records == 0 {
                self.meta.smallest = key.to_vec();
            }
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
            let hash = coding::hash_seeded(key, self.hash_seed);
            self.keys.push(Keyed::new(hashes::hash32(hash), at, note));
        }
        if self.starts.is_empty() {
            let shared = shared_prefix(&self.meta.smallest, key);
            self.fences.push(Fence::new((at / 8) as u32, key, shared));
        }
        self.starts.push(((at - self.block_at) / 8) as u16);
        self.count(header);
        self.append_record(source.salt, bytes, header, offset, at)?;
        if self.position() - self.block_at >= self.block_bytes {
            self.close_block()?;
        }
        Ok(())
    }

    #[inline]
    fn count(&mut self, header: &Header) {
        let seq = header.seq();
        self.last_seq = seq;
        self.meta.first_seq = self.meta.first_seq.min(seq);
        self.meta.last_seq = self.meta.last_seq.max(seq);
        self.meta.records += 1;
        self.meta.deletes += u64::from(header.kind == Kind::Delete);
    }

    /// Appends the record as it reads at `at`. Its padding is not covered by its checksum, so it is written anew.
    #[inline]
    fn append_record(&mut self, from: FileSalt, bytes: &[u8], header: &Header, offset: u64, at: u64) -> Result<()> {
        let checksum = record::moved(header.checksum, (from, offset), (self.salt, at));
        let (content, padding) = (header.unpadded_len(), header.len() - header.unpadded_len());
        self.records_check.add(checksum);
        self.piece.extend_from_slice(&checksum.to_le_bytes());
        if content <= COPIED_BYTES_MAX {
            self.piece.extend_from_slice(&bytes[4..content]);
        } else {
            self.append_piece()?;
            self.file.append(&bytes[4..content])?;
            self.piece_at += content as u64 - 4;
        }
        self.piece.extend_from_slice(&[0; 8][..padding]);
        Ok(())
    }

    fn close_block(&mut self) -> Result<()> {
        let len = (self.position() - self.block_at) as usize;
        // What is no longer than that has not been appended yet.
        let records = self.piece.len().checked_sub(len).filter(|_| len <= block::WHOLE_RECORDS_MAX);
        let whole = records.map(|from| block::whole_check(&self.piece[from..]));
        block::put_trailer(&mut self.piece, &self.starts, whole, self.salt, self.block_at);
        self.starts.clear();
        self.block_at = self.position();
        self.flow()
    }

    /// Appends a piece that has grown large enough to the file.
    #[inline]
    fn flow(&mut self) -> Result<()> {
        if self.piece.len() >= PIECE_BYTES { self.append_piece() } else { Ok(()) }
    }

    fn append_piece(&mut self) -> Result<()> {
        self.file.append(&self.piece)?;
        self.piece_at += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }

    /// Writes what leads to the records and makes the file durable. `purged_seq` is recorded as it is. A table without a record
    /// is refused. Returns its keys, too, in the order of their entries.
    pub fn finish(mut self, purged_seq: Seq) -> Result<(Meta, Vec<Keyed>)> {
        if self.meta.records == 0 {
            return Err(self.misused("no record at all"));
        }
        if !self.starts.is_empty() {
            self.close_block()?;
        }
        let fences_at = self.block_at;
        let end = u32::try_from(fences_at / 8).map_err(|_| self.too_large())?;
        self.meta.keys = self.keys.len() as u64;
        self.meta.data_bytes = fences_at - HEADER_BYTES as u64;
        self.meta.purged_seq = purged_seq;
        self.meta.largest = std::mem::take(&mut self.last_key);

        let shared = shared_prefix(&self.meta.smallest, &self.meta.largest);
        let section = fences::encode(&self.fences, end, &self.meta.smallest, shared);
        let fences_check = self.put_section(&section)?;

        let pages_at = self.position();
        let mut keys = std::mem::take(&mut self.keys);
        sorting::sort(&mut keys, |key| key.entry());
        let mut index = Vec::with_capacity(8 * keys.len().div_ceil(hashes::PAGE_ENTRIES));
        for page in keys.chunks(hashes::PAGE_ENTRIES) {
            let offset = self.position();
            hashes::put_page(&mut self.piece, &mut index, page, self.salt, offset);
            self.flow()?;
        }
        let index_at = self.position();
        let index_check = self.put_section(&index)?;

        let properties_at = self.position();
        let mut section = properties::encode(&self.meta)?;
        let properties_len = section.len() as u64;
        section.resize(coding::round_up_8(section.len()), 0);
        let properties_check = self.put_section(&section)?;

        let footer = Footer {
            blocks: self.fences.len() as u64,
            records: self.meta.records,
            keys: self.meta.keys,
            fences_at,
            pages_at,
            index_at,
            properties_at,
            properties_len,
            fences_check,
            index_check,
            properties_check,
            records_check: self.records_check.get(),
        };
        let (bytes, check) = footer.encode(self.salt, self.position());
        self.piece.extend_from_slice(&bytes);
        self.meta.footer_check = check;
        self.meta.len = self.position();
        if self.meta.len > TABLE_BYTES_MAX + FOOTER_BYTES as u64 {
            return Err(self.too_large());
        }
        self.append_piece()?;
        self.file.end()?;
        self.file.sync()?;
        Ok((self.meta, keys))
    }

    /// Appends a section, padding included, and returns its check.
    fn put_section(&mut self, section: &[u8]) -> Result<u32> {
        let check = check_of(section, self.salt, self.position());
        self.piece.extend_from_slice(section);
        self.flow()?;
        Ok(check)
    }

    #[cold]
    fn misused(&self, what: &str) -> Error {
        Error::on(ErrorKind::Internal, &self.path, format!("a table was given {what}: please report this bug"))
    }

    #[cold]
    fn too_large(&self) -> Error {
        let message = format!("the table would exceed {TABLE_BYTES_MAX} bytes, the most that addresses reach");
        Error::on(ErrorKind::TooLarge, &self.path, message)
    }
}
