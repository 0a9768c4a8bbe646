//! Header and footer: whose table it is, and where its sections lie. The grammar stands in [`table`](super).
//!
//! The sections follow each other without a gap, and the footer's counts say how long each must be. So a footer
//! that is accepted describes the whole file, and nothing in it needs to be bounded again.

use crate::coding::{self, get_u32, get_u64};
use crate::record::{CONTENT, FileSalt, PLACE};
use crate::table::block::BLOCK_BYTES_LEAST;
use crate::table::{HEADER_BYTES, Meta, TABLE_BYTES_MAX, check_of, fences, hashes};

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 104;

const MAGIC: [u8; 8] = *b"kvs tbl\n";
const END_MAGIC: [u8; 8] = *b"kvs end\n";
/// Raised when a change can't be told by a feature bit.
const FORMAT_VERSION: u32 = 1;
/// Trailers may have a check of all records of their block together.
const WHOLE_CHECKS: u32 = 1;
/// Features that a file may use and this version knows.
const FEATURES_KNOWN: u32 = WHOLE_CHECKS;
/// Those that a new file uses.
const FEATURES: u32 = WHOLE_CHECKS;
/// What the header's check covers.
const HEADER_CHECKED: usize = 56;
/// What the footer's check covers.
const FOOTER_CHECKED: usize = 88;
const RECORD_BYTES_LEAST: u64 = 16;

/// What stands where a header should be.
#[derive(Debug, PartialEq, Eq)]
pub enum HeaderRead {
    /// A header of this database and file.
    Good,
    /// Something else.
    Bad(&'static str),
    /// A newer version wrote it.
    Newer(String),
}

/// The header of a new table `number` of `database`.
pub fn encode_header(database: u128, number: u64) -> [u8; HEADER_BYTES] {
    header_with(FEATURES, database, number)
}

fn header_with(features: u32, database: u128, number: u64) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&features.to_le_bytes());
    out[16..32].copy_from_slice(&database.to_le_bytes());
    out[32..40].copy_from_slice(&number.to_le_bytes());
    let check = check_of(&out[..HEADER_CHECKED], FileSalt::new(database, number), 0);
    out[56..60].copy_from_slice(&check.to_le_bytes());
    out
}

/// Reads the header of table `number` of `database`.
pub fn read_header(head: &[u8], database: u128, number: u64) -> HeaderRead {
    if head.len() < HEADER_BYTES || head[..8] != MAGIC {
        return HeaderRead::Bad("the table has no magic number");
    }
    let check = check_of(&head[..HEADER_CHECKED], FileSalt::new(database, number), 0);
    if get_u32(head, 56) != Some(check) || head[60..HEADER_BYTES].iter().any(|&b| b != 0) {
        return HeaderRead::Bad("the table's header is damaged, or of another store or file");
    }
    let (version, features) = (get_u32(head, 8).unwrap_or(0), get_u32(head, 12).unwrap_or(0));
    if version > FORMAT_VERSION || features & !FEATURES_KNOWN != 0 {
        return HeaderRead::Newer(format!(
            "the table has format {version}, features {features:#x}; this version reads format {FORMAT_VERSION}, features {FEATURES_KNOWN:#x}"
        ));
    }
    if head[..HEADER_CHECKED] != header_with(features, database, number)[..HEADER_CHECKED] {
        return HeaderRead::Bad("the table's header is not as any version writes it");
    }
    HeaderRead::Good
}

/// The database that a header says it is of, if it is a good header of table `number`.
pub fn database_of(head: &[u8], number: u64) -> Option<u128> {
    let id = u128::from_le_bytes(head.get(16..32)?.try_into().ok()?);
    let check = check_of(head.get(..HEADER_CHECKED)?, FileSalt::new(id, number), 0);
    (head[..8] == MAGIC && get_u32(head, 56) == Some(check)).then_some(id)
}

/// The footer, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// How many blocks.
    pub blocks: u64,
    /// How many records.
    pub records: u64,
    /// How many distinct keys.
    pub keys: u64,
    /// Where the blocks end and the fences start.
    pub fences_at: u64,
    /// Where the hash pages start.
    pub pages_at: u64,
    /// Where the hash index starts.
    pub index_at: u64,
    /// Where the properties start.
    pub properties_at: u64,
    /// Bytes of the properties, without padding.
    pub properties_len: u64,
    /// Checks of the sections that are read as a whole.
    pub fences_check: u32,
    pub index_check: u32,
    pub properties_check: u32,
    /// Of all records: see [`RecordsCheck`].
    pub records_check: u32,
}

/// The check of a table's records: over their checksums, in order.
///
/// Nothing else in the footer depends on what stands in values. The manifest remembers the footer's check, so with this a table of
/// another life of the store is refused, even if its keys, numbers and lengths are the same.
#[derive(Clone, Copy, Debug)]
pub struct RecordsCheck(u64);

impl RecordsCheck {
    /// Of no record.
    pub const NONE: RecordsCheck = RecordsCheck(CONTENT);

    /// With one more record.
    #[inline]
    pub fn add(&mut self, checksum: u32) {
        self.0 = coding::fold(self.0 ^ u64::from(checksum), PLACE);
    }

    /// As it stands in the footer.
    pub fn get(self) -> u32 {
        coding::half(self.0)
    }
}

impl Footer {
    /// As it stands at `offset`, and its check.
    pub fn encode(&self, salt: FileSalt, offset: u64) -> ([u8; FOOTER_BYTES], u32) {
        let mut out = [0; FOOTER_BYTES];
        let words = [
            self.blocks,
            self.records,
            self.keys,
            self.fences_at,
            self.pages_at,
            self.index_at,
            self.properties_at,
            self.properties_len,
        ];
        for (to, word) in out.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out[64..68].copy_from_slice(&self.fences_check.to_le_bytes());
        out[68..72].copy_from_slice(&self.index_check.to_le_bytes());
        out[72..76].copy_from_slice(&self.properties_check.to_le_bytes());
        out[76..80].copy_from_slice(&self.records_check.to_le_bytes());
        let check = check_of(&out[..FOOTER_CHECKED], salt, offset);
        out[88..92].copy_from_slice(&check.to_le_bytes());
        out[96..].copy_from_slice(&END_MAGIC);
        (out, check)
    }

    /// The footer of a table of which the manifest says `meta`, or why it is none.
    pub fn read(bytes: &[u8], salt: FileSalt, meta: &Meta) -> Result<Footer, &'static str> {
        let offset = meta.len.saturating_sub(FOOTER_BYTES as u64);
        let (footer, check) = Footer::parse(bytes, salt, offset)?;
        let told = (meta.footer_check, meta.records, meta.keys, meta.data_bytes);
        if told != (check, footer.records, footer.keys, footer.data_bytes()) {
            return Err("the table is not the one that the manifest names");
        }
        Ok(footer)
    }

    /// The footer that stands at `offset`, whatever table it is of, and its check; or why it is none.
    pub fn parse(bytes: &[u8], salt: FileSalt, offset: u64) -> Result<(Footer, u32), &'static str> {
        if bytes.len() != FOOTER_BYTES || bytes[96..] != END_MAGIC {
            return Err("the table has no magic number at its end");
        }
        let check = check_of(&bytes[..FOOTER_CHECKED], salt, offset);
        let zeros = |from: usize, to: usize| bytes[from..to].iter().all(|&b| b == 0);
        if get_u32(bytes, 88) != Some(check) || !zeros(80, 88) || !zeros(92, 96) {
            return Err("the table's footer is damaged");
        }
        let word = |at| get_u64(bytes, at).unwrap_or(0);
        let half = |at| get_u32(bytes, at).unwrap_or(0);
        let footer = Footer {
            blocks: word(0),
            records: word(8),
            keys: word(16),
            fences_at: word(24),
            pages_at: word(32),
            index_at: word(40),
            properties_at: word(48),
            properties_len: word(56),
            fences_check: half(64),
            index_check: half(68),
            properties_check: half(72),
            records_check: half(76),
        };
        if footer.tiles(offset) { Ok((footer, check)) } else { Err("the table's footer describes another file") }
    }

    /// The footer of the table that `meta` describes, as far as that says it: all but the checks of the sections and the records.
    /// None if the description is of no table.
    pub fn from_meta(meta: &Meta, properties_len: u64) -> Option<Footer> {
        let end = meta.len.checked_sub(FOOTER_BYTES as u64)?;
        let pages = hashes::pages(meta.keys);
        let fences_at = meta.data_bytes.checked_add(HEADER_BYTES as u64)?;
        let properties_at = end.checked_sub(properties_len.checked_next_multiple_of(8)?)?;
        let index_at = properties_at.checked_sub(pages.checked_mul(8)?)?;
        let pages_at = index_at.checked_sub(pages.checked_mul(hashes::PAGE_BYTES as u64)?)?;
        // Twelve bytes a block and four more, then padding: less than twelve.
        let blocks = pages_at.checked_sub(fences_at)?.checked_sub(4)? / 12;
        let footer = Footer {
            blocks,
            records: meta.records,
            keys: meta.keys,
            fences_at,
            pages_at,
            index_at,
            properties_at,
            properties_len,
            fences_check: 0,
            index_check: 0,
            properties_check: 0,
            records_check: 0,
        };
        footer.tiles(end).then_some(footer)
    }

    /// Do the sections, as long as the counts say, reach from the header to `end`?
    fn tiles(&self, end: u64) -> bool {
        let header = HEADER_BYTES as u64;
        let section = |at: u64, len: Option<u64>, next: u64| len.and_then(|len| at.checked_add(len)) == Some(next);
        let pages = hashes::pages(self.keys);
        end <= TABLE_BYTES_MAX
            && (1..=self.records).contains(&self.keys)
            && (1..=self.records).contains(&self.blocks)
            && self.fences_at.is_multiple_of(8)
            && self.fences_at.checked_sub(header).is_some_and(|data| {
                self.blocks <= data / u64::from(BLOCK_BYTES_LEAST) && self.records <= data / RECORD_BYTES_LEAST
            })
            && section(self.fences_at, fences::section_len(self.blocks), self.pages_at)
            && section(self.pages_at, pages.checked_mul(hashes::PAGE_BYTES as u64), self.index_at)
            && section(self.index_at, pages.checked_mul(8), self.properties_at)
            && self.properties_len > 0
            && section(self.properties_at, self.properties_len.checked_next_multiple_of(8), end)
    }

    /// Bytes of the blocks.
    pub fn data_bytes(&self) -> u64 {
        self.fences_at - HEADER_BYTES as u64
    }
}
