//! Verify: every live byte of a table, read by position, against everything else in it.
//!
//! ```text
//! 1 length, header, footer; properties against the manifest
//! 2 block by block: the trailer; records without a gap, each verified, and all together, padded with zeros; keys ascend and versions
//!   descend; the fence is the first key's
//! 3 what was counted is what the manifest says
//! 4 the hash pages have the newest version of every key, and nothing else
//! ```

use crate::env::ReadFile;
use crate::error::{Error, Result, zeroed};
use crate::files::File;
use crate::merging::{prefix_after, shared_prefix};
use crate::record::{Header, Kind, SEQ_MAX, Seq};
use crate::table::block::Layout;
use crate::table::fences::Fences;
use crate::table::footer::{FOOTER_BYTES, Footer, RecordsCheck};
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
    check: RecordsCheck,
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
        let mut counts =
            Counts { records: 0, deletes: 0, first_seq: SEQ_MAX, last_seq: 0, seq: 0, check: RecordsCheck::NONE };
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
        let found = (counts.records, counts.deletes, keys, counts.first_seq, counts.last_seq);
        if told != found || counts.check.get() != self.footer.records_check {
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
        if layout.is_whole(block) == Some(false) {
            return Err(corrupt(0, "the check of the block's records together does not match"));
        }
        let offsets_end = layout.records_end + 2 * layout.count as usize;
        self.zeros(block.get(offsets_end..layout.starts_end()).unwrap_or(&[1]), start)?;
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
        counts.check.add(header.checksum);
        counts.deletes += u64::from(header.kind == Kind::Delete);
        counts.first_seq = counts.first_seq.min(seq);
        counts.last_seq = counts.last_seq.max(seq);
        counts.seq = seq;
        Ok(())
    }

    fn hashes(mut self) -> Result<()> {
        let Footer { pages_at, index_at, properties_at, index_check, .. } = self.footer;
        self.entries.sort_unstable();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::round_up_8;
    use crate::error::ErrorKind;
    use crate::merging::Source;
    use crate::record::FileSalt;
    use crate::sync::Arc;
    use crate::table::Io;
    use crate::table::tests::{DATABASE, HASH_SEED, Item, NUMBER, Place, Random, current, newest, put, sorted};
    use crate::table::walk::Reading;

    /// A small table of several blocks with everything in it: long prefixes, versions over blocks, tombstones, paddings.
    fn small() -> Vec<Item> {
        let mut items: Vec<Item> = (0..9).map(|i| put(format!("key:{i}"), 10 + i, vec![i as u8; i as usize])).collect();
        items.extend((1..8).map(|seq| put("key:4", seq, "old")));
        items.push(Item { key: b"key:44".to_vec(), seq: 30, value: None });
        items.push(put("key:45", 31, vec![9; 100]));
        sorted(items)
    }

    fn probes() -> Vec<Vec<u8>> {
        let mut probes: Vec<Vec<u8>> = small().into_iter().map(|item| item.key).collect();
        probes.dedup();
        probes.extend([&b""[..], b"key:", b"key:40", b"key:9", b"z"].map(<[u8]>::to_vec));
        probes
    }

    /// Asks the table everything. Each answer is the right one, or an error; returns how many were errors. `truth` is
    /// none if the table may say anything.
    fn ask(place: &Place, table: &Arc<Table>, truth: Option<&[Item]>) -> usize {
        let mut errors = 0;
        let mut see = |what: &str, right: Result<bool>| match right {
            Ok(right) => assert!(right || truth.is_none(), "{what}: a wrong answer"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error}");
                assert!(error.path().is_some() && error.offset().is_some());
                errors += 1;
            }
        };
        let items = truth.unwrap_or(&[]);
        for key in probes() {
            let hash = crate::coding::hash_seeded(&key, HASH_SEED);
            let expected = newest(items, &key, SEQ_MAX).map(|item| item.seq);
            see("find", table.find(&key, hash).map(|found| found.map(|f| f.header.seq()) == expected));
            for seq in [0, 3, 12, 100] {
                let expected = newest(items, &key, seq).map(|item| item.seq);
                see("search", table.search(&key, seq).map(|found| found.map(|f| f.header.seq()) == expected));
            }
            see("split", table.split_key(Some(&key), 100).map(|split| split.is_none_or(|split| split > key)));
            see("measure", table.bytes_between(Some(&key), None).map(|bytes| bytes <= table.meta().data_bytes));
        }
        let mut keys = 0;
        let count = |_, _| {
            keys += 1;
            Ok(())
        };
        see("hashes", table.hashes(count).map(|()| keys == table.meta().keys));
        for streaming in [false, true] {
            for forward in [true, false] {
                see("cursor", walk(place, table, streaming, forward, truth));
            }
        }
        errors
    }

    /// Walks over all, and a part; each record must be the next one.
    fn walk(place: &Place, table: &Arc<Table>, streaming: bool, forward: bool, truth: Option<&[Item]>) -> Result<bool> {
        for (low, high) in [(None, None), (Some(&b"key:3"[..]), Some(&b"key:45"[..]))] {
            let reading = if streaming { Reading::Streaming(place.read()) } else { Reading::Shared };
            let mut cursor = table.cursor(reading, low, high)?;
            cursor.walk().ends()?;
            let inside = |item: &&Item| {
                low.is_none_or(|k| item.key.as_slice() >= k) && high.is_none_or(|k| item.key.as_slice() < k)
            };
            let mut expected: Vec<&Item> = truth.unwrap_or(&[]).iter().filter(inside).collect();
            if !forward {
                expected.reverse();
            }
            let mut steps = 0;
            cursor.seek_to_end_of(forward)?;
            while let Some(item) = current(&cursor) {
                if truth.is_some() && expected.get(steps) != Some(&&item) {
                    return Ok(false);
                }
                steps += 1;
                assert!(steps as u64 <= table.meta().len, "more records than bytes");
                cursor.step(forward)?;
                cursor.release();
            }
            if truth.is_some() && steps != expected.len() {
                return Ok(false);
            }
            for key in probes() {
                cursor.seek(&key, forward, steps.is_multiple_of(2))?;
            }
        }
        Ok(true)
    }

    /// Whichever bit is flipped: no answer is wrong, and an open or verify finds it.
    #[test]
    fn every_flipped_bit_is_found_and_misleads_nobody() {
        let (place, items) = (Place::simulated(), small());
        let meta = place.build(&items, 150);
        let bytes = place.bytes();
        for io in [Io::Mapped, Io::Positioned] {
            let table = place.open(&meta, io).unwrap();
            assert_eq!((ask(&place, &table, Some(&items)), table.verify(&*place.read()).unwrap().0), (0, 18));
        }
        let (mut refused, mut erred) = (0, 0);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            place.replace(&bad);
            match place.open(&meta, if bit % 2 == 0 { Io::Mapped } else { Io::Positioned }) {
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::Corruption | ErrorKind::NewerFormat),
                        "bit {bit}: {error}"
                    );
                    refused += 1;
                }
                Ok(table) => {
                    assert_eq!(table.verify(&*place.read()).unwrap_err().kind(), ErrorKind::Corruption, "bit {bit}");
                    erred += usize::from(ask(&place, &table, Some(&items)) > 0);
                }
            }
        }
        assert_eq!(refused, (HEADER_BYTES + FOOTER_BYTES) * 8);
        assert!(erred > bytes.len() * 4, "{erred} of {} bits", bytes.len() * 8);
    }

    /// A file that is not as long as it was written, is gone, is another store's or another table's, is refused; a block at
    /// another's place is noticed.
    #[test]
    fn another_file_or_block_is_refused() {
        let (place, items) = (Place::simulated(), small());
        let meta = place.build(&items, 150);
        let bytes = place.bytes();
        let refused = |meta: &crate::table::Meta| {
            for io in [Io::Mapped, Io::Positioned] {
                assert_eq!(place.open(meta, io).unwrap_err().kind(), ErrorKind::Corruption);
            }
        };
        for len in (0..bytes.len()).step_by(7) {
            place.replace(&bytes[..len]);
            refused(&meta);
            refused(&crate::table::Meta { len: len as u64, ..meta.clone() });
        }
        place.replace(&[&bytes[..], &[0; 8]].concat());
        refused(&meta);
        place.replace(&bytes);
        place.open(&meta, Io::Mapped).unwrap();
        refused(&crate::table::Meta { footer_check: !meta.footer_check, ..meta.clone() });
        refused(&crate::table::Meta { records: 17, ..meta.clone() });
        place.env.rename(&place.dir.join("000012.tbl"), &place.dir.join("000013.tbl")).unwrap();
        refused(&meta);
        refused(&crate::table::Meta { number: 13, ..meta.clone() });
        place.env.rename(&place.dir.join("000013.tbl"), &place.dir.join("000012.tbl")).unwrap();
        let cache = Arc::new(crate::cache::Cache::new(0));
        let open = |database, meta| Table::open(&*place.env, &place.dir, database, HASH_SEED, meta, Io::Mapped, &cache);
        assert_eq!(open(DATABASE + 1, meta.clone()).unwrap_err().kind(), ErrorKind::Corruption);
        // What the manifest says of the keys is compared at the first use.
        let other = open(DATABASE, crate::table::Meta { largest: b"key:9".to_vec(), ..meta.clone() }).unwrap();
        assert_eq!(other.search(b"key:1", SEQ_MAX).unwrap_err().kind(), ErrorKind::Corruption);

        let even: Vec<Item> = (0..40).map(|i| put(format!("key:{i:02}"), 1, "same")).collect();
        place.env.unlink(&place.dir.join("000012.tbl")).unwrap();
        let meta = place.build(&even, 150);
        let bytes = place.bytes();
        let table = place.open(&meta, Io::Mapped).unwrap();
        let bounds = |block| table.fences().unwrap().bounds(block);
        let ((a, a_end), (b, b_end)) = (bounds(1), bounds(3));
        assert_eq!(a_end - a, b_end - b);
        let mut bad = bytes.clone();
        bad[a as usize..a_end as usize].copy_from_slice(&bytes[b as usize..b_end as usize]);
        place.replace(&bad);
        for io in [Io::Mapped, Io::Positioned] {
            let table = place.open(&meta, io).unwrap();
            assert_eq!(table.verify(&*place.read()).unwrap_err().offset(), Some(a));
            let mut cursor = table.cursor(Reading::Shared, None, None).unwrap();
            cursor.seek_to_end_of(true).unwrap();
            while cursor.step(true).is_ok() {
                assert!(cursor.entry().is_some(), "the moved block was passed over");
            }
            assert!(cursor.entry().is_none());
        }
    }

    /// Computes every check of a table anew, as somebody could who knows the store's identity: of sections where the footer says that they
    /// are, of pages, and of the trailers and records at the places that `layout` knows.
    fn seal(bytes: &mut [u8], meta: &mut Meta, blocks: &[(usize, usize)], offsets: &[usize]) {
        let salt = FileSalt::new(DATABASE, NUMBER);
        let put = |bytes: &mut [u8], at: usize, check: u32| {
            if let Some(to) = bytes.get_mut(at..at.saturating_add(4)) {
                to.copy_from_slice(&check.to_le_bytes());
            }
        };
        for &at in offsets {
            let Some(header) = bytes.get(at..).and_then(Header::decode) else { continue };
            let (key, value) = (header.key(&bytes[at..]), header.value(&bytes[at..]));
            let hash = crate::coding::hash_seeded(key, HASH_SEED);
            let sum = crate::record::checksum(hash, crate::coding::hash(value), header.seq_kind, salt, at as u64);
            put(bytes, at, sum);
        }
        for &(start, end) in blocks {
            let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) as usize;
            let (count, flags) = (word(end - 8), word(end - 6));
            let whole_at = end - 8 - if flags == 1 { 8 } else { 0 };
            if let Some(from) = whole_at.checked_sub(round_up_8(2 * count)).filter(|&from| from >= start) {
                if flags == 1 {
                    let whole = crate::table::block::whole_check(&bytes[start..from]);
                    bytes[whole_at..end - 8].copy_from_slice(&whole.to_le_bytes());
                }
                put(bytes, end - 4, check_of(&bytes[from..end - 4], salt, start as u64));
            }
        }
        let footer_at = bytes.len() - FOOTER_BYTES;
        let word = |bytes: &[u8], i: usize| crate::coding::get_u64(bytes, footer_at + 8 * i).unwrap_or(0) as usize;
        let [fences, pages, index, properties] = [3, 4, 5, 6].map(|i| word(bytes, i));
        for (i, at) in (pages..index.min(footer_at)).step_by(PAGE_BYTES).enumerate() {
            if let Some(check) = bytes.get(at..at + PAGE_BYTES).map(|page| check_of(page, salt, at as u64)) {
                put(bytes, index.saturating_add(8 * i + 4), check);
            }
        }
        for (at, from, to) in [(64, fences, pages), (68, index, properties), (72, properties, footer_at)] {
            if let Some(section) = bytes.get(from..to) {
                put(bytes, footer_at + at, check_of(section, salt, from as u64));
            }
        }
        let check = check_of(&bytes[footer_at..footer_at + 88], salt, footer_at as u64);
        put(bytes, footer_at + 88, check);
        meta.footer_check = check;
        (meta.records, meta.keys) = (word(bytes, 1) as u64, word(bytes, 2) as u64);
        meta.data_bytes = (fences as u64).wrapping_sub(HEADER_BYTES as u64);
    }

    /// Bytes that were changed and then given their right checks: nothing panics, work stays bounded, and what is refused is refused as
    /// corruption.
    #[test]
    fn checks_that_are_right_are_not_trusted() {
        let (place, items) = (Place::simulated(), small());
        let meta = place.build(&items, 150);
        let bytes = place.bytes();
        let table = place.open(&meta, Io::Mapped).unwrap();
        let fences = table.fences().unwrap();
        let bounds = |block| (fences.bounds(block).0 as usize, fences.bounds(block).1 as usize);
        let blocks: Vec<(usize, usize)> = (0..fences.blocks()).map(bounds).collect();
        let mut offsets = Vec::new();
        for &(start, end) in &blocks {
            let layout = table.layout(&bytes[start..end], start as u64).unwrap();
            offsets.extend((0..layout.count).map(|i| start + layout.start(&bytes[start..end], i).unwrap()));
        }
        let footer_at = bytes.len() - FOOTER_BYTES;
        let mut same = (bytes.clone(), meta.clone());
        seal(&mut same.0, &mut same.1, &blocks, &offsets);
        assert!(same == (bytes.clone(), meta.clone()), "the seal is as the builder's");

        // In how many ways it could be opened, and in how many nothing was found wrong with it.
        let try_it = |mut bad: Vec<u8>, what: &str| {
            let mut meta = meta.clone();
            seal(&mut bad, &mut meta, &blocks, &offsets);
            place.replace(&bad);
            let (mut opened, mut sound) = (0, 0);
            for io in [Io::Mapped, Io::Positioned] {
                match place.open(&meta, io) {
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error}"),
                    Ok(table) => {
                        opened += 1;
                        ask(&place, &table, None);
                        match table.verify(&*place.read()) {
                            Ok(_) => sound += 1,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error}"),
                        }
                    }
                }
            }
            (opened, sound)
        };
        for field in 0..8 {
            let at = footer_at + 8 * field;
            let old = crate::coding::get_u64(&bytes, at).unwrap();
            let near = [old - 1, old + 1, old + 8, old.saturating_sub(8), old * 2];
            for new in [0, 1, 7, 8, 1 << 32, 1 << 61, u64::MAX - 7, u64::MAX].into_iter().chain(near) {
                let mut bad = bytes.clone();
                bad[at..at + 8].copy_from_slice(&new.to_le_bytes());
                let (opened, sound) = try_it(bad, "footer");
                // Counts of records and keys, and the properties' length, need not show in the layout.
                assert!(sound == 0 || new == old, "field {field}: {new}");
                assert!(opened == 0 || new == old || [1, 2, 7].contains(&field), "field {field}: {new}");
            }
        }
        let mut random = Random::new(11);
        let mut opened = 0;
        for round in 0..700 {
            let mut bad = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = match round % 4 {
                    0 => offsets[random.below(offsets.len() as u64) as usize] + random.below(20) as usize,
                    1 => blocks[random.below(blocks.len() as u64) as usize].1 - 1 - random.below(24) as usize,
                    _ => HEADER_BYTES + random.below((footer_at - HEADER_BYTES) as u64) as usize,
                };
                bad[at] = match random.below(3) {
                    0 => random.below(256) as u8,
                    1 => 0xff,
                    _ => bad[at] ^ 1 << random.below(8),
                };
            }
            opened += try_it(bad, "random").0;
        }
        assert!(opened > 700, "{opened}");
    }
}
