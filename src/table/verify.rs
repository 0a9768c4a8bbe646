//! Verify: every live byte of a table, read by position, against everything else in it.
//!
//! ```text
//! 1 length, header, footer; properties against the manifest
//! 2 block by block: the trailer; records without a gap, each verified, padded with zeros; keys ascend and versions descend; the
//!   fence is the first key's
//! 3 what was counted is what the manifest says
//! 4 the hash pages have the newest version of every key, and nothing else
//! ```

use crate::coding::round_up_8;
use crate::env::ReadFile;
use crate::error::{Error, Result, zeroed};
use crate::files::File;
use crate::merging::{prefix_after, shared_prefix};
use crate::record::{Header, Kind, SEQ_MAX, Seq};
use crate::table::block::Layout;
use crate::table::fences::Fences;
use crate::table::footer::{FOOTER_BYTES, Footer};
use crate::table::hashes::{self, HashIndex, PAGE_BYTES, PAGE_ENTRIES};
use crate::table::reader::{Table, read_ends};
use crate::table::{HEADER_BYTES, Meta, check_of, properties};

/// What is read at a time, or one block if that is longer.
const READ_BYTES: u64 = 1 << 20;

impl Table {
    /// Reads all of the table by `read`, past mapping and cache, and checks it; the first damage is the error. Returns how many
    /// records and bytes there are.
    pub fn verify(&self, read: &dyn ReadFile) -> Result<(u64, u64)> {
        let (file, meta) = (&**self.file(), self.meta());
        if read.len() != meta.len {
            return Err(file.corrupt(meta.len.min(read.len()), "the table has not the length that it was written with"));
        }
        let footer = read_ends(read, &file.path, self.database(), meta)?;
        let verifying = Verifying { file, meta, footer, read, last_key: Vec::new(), entries: Vec::new() };
        verifying.all()?;
        Ok((meta.records, meta.len))
    }
}

struct Verifying<'a> {
    file: &'a File,
    meta: &'a Meta,
    footer: Footer,
    read: &'a dyn ReadFile,
    last_key: Vec<u8>,
    /// What the hash pages should hold.
    entries: Vec<u64>,
}

/// What the records add up to.
struct Counts {
    records: u64,
    deletes: u64,
    first_seq: Seq,
    last_seq: Seq,
    /// Of the record before.
    seq: Seq,
}

impl Verifying<'_> {
    fn all(mut self) -> Result<()> {
        let footer = self.footer;
        let end = self.meta.len - FOOTER_BYTES as u64;
        let section = self.section(footer.properties_at, end, footer.properties_check)?;
        let (content, padding) = section.split_at_checked(footer.properties_len as usize).unwrap_or((&section, &[]));
        properties::agree(content, self.meta)
            .map_err(|what| Error::corruption(&self.file.path, footer.properties_at, what))?;
        self.zeros(padding, footer.properties_at)?;

        let section = self.section(footer.fences_at, footer.pages_at, footer.fences_check)?;
        let shared = shared_prefix(&self.meta.smallest, &self.meta.largest);
        let fences = Fences::parse(&section, footer.blocks as usize, footer.fences_at, shared)
            .map_err(|what| self.file.corrupt(footer.fences_at, what))?;
        self.zeros(section.get(12 * footer.blocks as usize + 4..).unwrap_or(&[]), footer.fences_at)?;

        self.blocks(&fences, shared)?;
        self.hashes()
    }

    /// The bytes `from..to`.
    fn bytes(&self, from: u64, to: u64) -> Result<Vec<u8>> {
        let mut bytes = zeroed(to - from, &self.file.path)?;
        self.read.read_at(from, &mut bytes)?;
        Ok(bytes)
    }

    /// The section `from..to`, checked.
    fn section(&self, from: u64, to: u64, check: u32) -> Result<Vec<u8>> {
        let bytes = self.bytes(from, to)?;
        if check_of(&bytes, self.file.salt, from) == check {
            return Ok(bytes);
        }
        Err(self.file.corrupt(from, "the check of the table's section does not match"))
    }

    fn zeros(&self, padding: &[u8], offset: u64) -> Result<()> {
        if padding.iter().all(|&b| b == 0) {
            return Ok(());
        }
        Err(self.file.corrupt(offset, "what is here is not padded with zeros"))
    }

    fn blocks(&mut self, fences: &Fences, shared: usize) -> Result<()> {
        let mut counts = Counts { records: 0, deletes: 0, first_seq: SEQ_MAX, last_seq: 0, seq: 0 };
        let mut block = 0;
        while block < fences.blocks() {
            let (from, one) = fences.bounds(block);
            let to = fences.boundary_before(from.saturating_add(READ_BYTES)).max(one);
            let bytes = self.bytes(from, to)?;
            while block < fences.blocks() && fences.bounds(block).1 <= to {
                let (start, end) = fences.bounds(block);
                let bytes = bytes.get((start - from) as usize..(end - from) as usize).unwrap_or(&[]);
                let first = self.block(bytes, start, &mut counts)?;
                if fences.prefix(block) != Some(prefix_after(first.key(bytes), shared)) {
                    return Err(self.file.corrupt(self.footer.fences_at, "a fence is not its block's first key"));
                }
                block += 1;
            }
        }
        let meta = self.meta;
        let told = (meta.records, meta.deletes, meta.keys, meta.first_seq, meta.last_seq);
        let keys = self.entries.len() as u64;
        if told != (counts.records, counts.deletes, keys, counts.first_seq, counts.last_seq) {
            return Err(self
                .file
                .corrupt(HEADER_BYTES as u64, "the table's records are not those that it was written with"));
        }
        if meta.largest != self.last_key {
            return Err(self
                .file
                .corrupt(HEADER_BYTES as u64, "the table's last key is another one than it should be"));
        }
        Ok(())
    }

    /// The block with all these bytes; returns its first record's header.
    fn block(&mut self, block: &[u8], start: u64, counts: &mut Counts) -> Result<Header> {
        let file = self.file;
        let corrupt = |at: usize, what: &str| file.corrupt(start + at as u64, what);
        let layout =
            Layout::read(block, file.salt, start).ok_or_else(|| corrupt(0, "the block's trailer is damaged"))?;
        let (mut at, mut first) = (0, None);
        for i in 0..layout.count {
            let Some((found, record, header)) = layout.record(block, i).filter(|record| record.0 == at) else {
                return Err(corrupt(at, "no record where the one before ends"));
            };
            file.check(record, &header, start + found as u64)?;
            self.zeros(record.get(header.unpadded_len()..header.len()).unwrap_or(&[1]), start + at as u64)?;
            self.record(record, &header, start + at as u64, counts)?;
            at += header.len();
            first.get_or_insert(header);
        }
        let offsets_end = layout.records_end + 2 * layout.count as usize;
        let trailer_end = layout.records_end + round_up_8(2 * layout.count as usize);
        self.zeros(block.get(offsets_end..trailer_end).unwrap_or(&[1]), start)?;
        match first {
            Some(first) if at == layout.records_end => Ok(first),
            _ => Err(corrupt(at, "the block is longer than its records")),
        }
    }

    fn record(&mut self, record: &[u8], header: &Header, offset: u64, counts: &mut Counts) -> Result<()> {
        let (key, seq) = (header.key(record), header.seq());
        let is_first = counts.records == 0;
        if is_first && key != self.meta.smallest.as_slice() {
            return Err(self.file.corrupt(offset, "the table's first key is another one than it should be"));
        }
        if is_first || key > self.last_key.as_slice() {
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
            let hash = crate::coding::hash_seeded(key, self.file.hash_seed);
            self.entries.push(hashes::entry(hashes::hash32(hash), offset));
        } else if key < self.last_key.as_slice() || seq >= counts.seq {
            return Err(self.file.corrupt(offset, "the table's records are not in order"));
        }
        counts.records += 1;
        counts.deletes += u64::from(header.kind == Kind::Delete);
        counts.first_seq = counts.first_seq.min(seq);
        counts.last_seq = counts.last_seq.max(seq);
        counts.seq = seq;
        Ok(())
    }

    fn hashes(mut self) -> Result<()> {
        let Footer { pages_at, index_at, properties_at, index_check, .. } = self.footer;
        hashes::sort(&mut self.entries);
        let section = self.section(index_at, properties_at, index_check)?;
        let index = HashIndex::parse(&section).map_err(|what| self.file.corrupt(index_at, what))?;
        let (mut at, mut number) = (pages_at, 0);
        while at < index_at {
            let to = index_at.min(at + READ_BYTES);
            for page in self.bytes(at, to)?.chunks(PAGE_BYTES) {
                let offset = pages_at + (number * PAGE_BYTES) as u64;
                let expected = self.entries.chunks(PAGE_ENTRIES).nth(number).unwrap_or(&[]);
                let filled = expected.iter().copied().chain(std::iter::repeat(hashes::FILLER));
                let same = page.chunks_exact(8).zip(filled).all(|(word, entry)| word == entry.to_le_bytes());
                if !same || !index.accepts(number, page, self.file.salt, offset) {
                    return Err(self.file.corrupt(offset, "the table's hash page is damaged"));
                }
                number += 1;
            }
            at = to;
        }
        Ok(())
    }
}
