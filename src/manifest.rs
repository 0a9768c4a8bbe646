//! The manifest: what a store consists of, as a log of edits.
//!
//! ```text
//! MANIFEST := header | frame*
//! header   := magic 8 | version u32 | features u32 | database id u128 | len of the file u64 | check u32 | zeros to 56
//! frame    := len u32 | check u32 | edit, encoded by bincode 2 (standard configuration) | zeros to a multiple of 8
//! ```
//!
//! * The file is changed in one way only, [`replace`]: write `MANIFEST.tmp`, sync it, rename it, sync the directory. So
//!   nothing is ever read back that stands in the page cache alone because an earlier sync failed.
//! * So every byte of it was synced before it had its name, and anything in it that is not a whole frame is rot.
//! * The edits of one file add up to a [`State`]; a new file holds the fewest that do.
//! * A store without tables is written so that versions from before tables can read it; with tables a feature bit says so.
//! * Variants are only ever added to [`Edit`], at its end, and old ones stay decodable for ever.
//!
//! bincode's functions are named here and in `table/properties.rs` only, so that each can be replaced by one of its own.

use std::collections::BTreeMap;
use std::path::Path;

use bincode::{Decode, Encode};

use crate::coding::{self, get_u32, get_u64, round_up_8};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result, zeroed};
use crate::record::{FileSalt, SEQ_MAX, Seq};
use crate::table::Meta;

/// The manifest's name.
pub const MANIFEST: &str = "MANIFEST";
/// What a new one is called until it is complete.
pub const MANIFEST_TMP: &str = "MANIFEST.tmp";

/// What a file that is there already is refused with.
const EXISTS: i32 = rustix::io::Errno::EXIST.raw_os_error();
const MAGIC: [u8; 8] = *b"kvs man\n";
const FORMAT_VERSION: u32 = 1;
/// The edits speak of tables.
const FEATURE_TABLES: u32 = 1;
const FEATURES_KNOWN: u32 = FEATURE_TABLES;
const HEADER_BYTES: usize = 56;
const CHECKED_BYTES: usize = 40;
const FRAME_HEADER_BYTES: usize = 8;
/// No manifest is larger: a limit for what is read into memory.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// What bincode may claim while it decodes one edit.
const EDIT_BYTES_MAX: usize = 64 << 20;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Edit {
    /// The first edit of every manifest.
    Create {
        /// The seed under which keys are hashed.
        hash_seed: u64,
    },
    /// What a recovery found, synced before the first new write; and what a close left, synced after the last.
    Recovered {
        /// Number and end of logs that were replayed, or closed: later replays stop there and must get there.
        ends: Vec<(u64, u64)>,
        /// Logs that are not part of the store; unlinked after this edit is durable.
        void: Vec<u64>,
        /// No file has this number or a higher one.
        next_file: u64,
    },
    /// A table of the store.
    Table(Meta),
    /// A run of slices, after those that are newer.
    Run {
        /// Its number.
        number: u64,
        /// Ascending.
        slices: Vec<SliceState>,
    },
    /// What is in tables, and so in no log that counts any more.
    Flushed {
        /// Every write up to this one.
        seq: Seq,
        /// Number and end of the last log that the tables hold: the next one follows it.
        log: (u64, u64),
    },
    /// A range delete that may still hide something.
    RangeDelete {
        /// The first key that it hides.
        start: Vec<u8>,
        /// The first key that it does not hide.
        stop: Vec<u8>,
        /// It hides what is older.
        seq: Seq,
    },
}

/// A part of a table: see [`version`](crate::version).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SliceState {
    /// The table's number.
    pub table: u64,
    /// No key is smaller.
    pub low: Option<Vec<u8>>,
    /// All keys are smaller.
    pub high: Option<Vec<u8>>,
}

/// A run: its number and slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// Its number.
    pub number: u64,
    /// Ascending.
    pub slices: Vec<SliceState>,
}

/// A range delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeState {
    /// The first key that it hides.
    pub start: Vec<u8>,
    /// The first key that it does not hide.
    pub stop: Vec<u8>,
    /// It hides what is older.
    pub seq: Seq,
}

/// What all edits together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The database's identity, random at creation.
    pub database: u128,
    /// The seed under which keys are hashed.
    pub hash_seed: u64,
    /// Number to recorded end of each replayed log.
    pub ends: BTreeMap<u64, u64>,
    /// Logs to ignore and unlink.
    pub void: Vec<u64>,
    /// No file has this number or a higher one, unless it was made since.
    pub next_file: u64,
    /// Every write up to this one is in tables.
    pub flushed_seq: Seq,
    /// Number and end of the last log that the tables hold; zeros if there was none.
    pub flushed_log: (u64, u64),
    /// The live tables, by number.
    pub tables: BTreeMap<u64, Meta>,
    /// Newest first.
    pub runs: Vec<RunState>,
    /// Range deletes up to `flushed_seq` that may still hide something, oldest first.
    pub ranges: Vec<RangeState>,
}

/// The seed of a new database. It follows from the identity, which stands in every file: so whoever has lost the manifest can still
/// check records. Readers take the seed that the manifest says.
pub fn hash_seed_of(database: u128) -> u64 {
    // Digits of the fractional parts of sqrt 7 and of sqrt 11.
    coding::fold(database as u64 ^ 0xa54f_f53a_5f1d_36f1, (database >> 64) as u64 ^ 0x510e_527f_ade6_82d1)
}

impl State {
    /// Of a new database.
    pub fn new(database: u128, hash_seed: u64) -> State {
        State {
            database,
            hash_seed,
            ends: BTreeMap::new(),
            void: Vec::new(),
            next_file: 1,
            flushed_seq: 0,
            flushed_log: (0, 0),
            tables: BTreeMap::new(),
            runs: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Notes that every write up to `seq` is in tables, and with it all logs up to `log`, a number and an end.
    pub fn flushed(&mut self, seq: Seq, log: (u64, u64)) {
        self.flushed_seq = seq;
        self.flushed_log = log;
        self.ends.retain(|number, _| *number > log.0);
        self.void.retain(|number| *number > log.0);
    }

    /// What holds after `edit`.
    pub fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Create { hash_seed } => self.hash_seed = *hash_seed,
            Edit::Recovered { ends, void, next_file } => {
                self.ends.extend(ends.iter().copied());
                self.void.extend(void);
                self.next_file = self.next_file.max(*next_file);
            }
            Edit::Table(meta) => drop(self.tables.insert(meta.number, meta.clone())),
            Edit::Run { number, slices } => self.runs.push(RunState { number: *number, slices: slices.clone() }),
            Edit::Flushed { seq, log } => (self.flushed_seq, self.flushed_log) = (*seq, *log),
            Edit::RangeDelete { start, stop, seq } => {
                self.ranges.push(RangeState { start: start.clone(), stop: stop.clone(), seq: *seq });
            }
        }
    }

    /// The fewest edits that lead here.
    fn edits(&self) -> Vec<Edit> {
        let mut edits = vec![Edit::Create { hash_seed: self.hash_seed }];
        if self.next_file > 1 {
            let ends = self.ends.iter().map(|(n, e)| (*n, *e)).collect();
            edits.push(Edit::Recovered { ends, void: self.void.clone(), next_file: self.next_file });
        }
        // A log without a write has an end, too, and the next one names it.
        if self.flushed_log != (0, 0) {
            edits.push(Edit::Flushed { seq: self.flushed_seq, log: self.flushed_log });
        }
        edits.extend(self.tables.values().cloned().map(Edit::Table));
        edits.extend(self.runs.iter().map(|run| Edit::Run { number: run.number, slices: run.slices.clone() }));
        edits.extend(self.ranges.iter().map(|range| Edit::RangeDelete {
            start: range.start.clone(),
            stop: range.stop.clone(),
            seq: range.seq,
        }));
        edits
    }

    /// Is it one that a store can be in? The checks of what a reader of files relies on.
    fn validate(&self) -> Result<(), String> {
        let seqs = self.ranges.iter().map(|range| range.seq).chain([self.flushed_seq]);
        if seqs.max().is_some_and(|seq| seq > SEQ_MAX) || self.flushed_log.0 >= self.next_file.max(1) {
            return Err("it counts writes or files that were never made".to_owned());
        }
        let mut named = std::collections::BTreeSet::new();
        for run in &self.runs {
            let mut last: Option<(&[u8], bool)> = None;
            for slice in &run.slices {
                let Some(meta) = self.tables.get(&slice.table) else {
                    return Err(format!("run {} names table {}, which is not there", run.number, slice.table));
                };
                named.insert(slice.table);
                let first = slice.low.as_deref().map_or(&*meta.smallest, |low| low.max(&meta.smallest));
                let (end, inclusive) = match slice.high.as_deref() {
                    Some(high) if high <= &*meta.largest => (high, false),
                    _ => (&*meta.largest, true),
                };
                let backwards = first > end || (first == end && !inclusive);
                let overlaps = last.is_some_and(|(end, inclusive)| end > first || (end == first && inclusive));
                if backwards || overlaps {
                    return Err(format!("the slices of run {} are not in order", run.number));
                }
                last = Some((end, inclusive));
            }
        }
        match self.tables.iter().find(|(number, _)| !named.contains(number)) {
            Some((number, _)) => Err(format!("table {number} is in no run")),
            None if self.tables.keys().any(|number| *number >= self.next_file) => {
                Err("a table has a number that was not given out".to_owned())
            }
            None => Ok(()),
        }
    }
}

/// Reads the manifest of `dir`. `None` if there is none.
pub fn read(env: &dyn Env, dir: &Path) -> Result<Option<State>> {
    let path = dir.join(MANIFEST);
    let Some(file) = env.open_read(&path)? else { return Ok(None) };
    if file.len() > MANIFEST_BYTES_MAX {
        let message = format!("the manifest has {} bytes, more than any store writes", file.len());
        return Err(Error::on(ErrorKind::Corruption, &path, message));
    }
    let mut bytes = zeroed(file.len(), &path)?;
    file.read_at(0, &mut bytes)?;
    parse(&bytes, &path).map(Some)
}

/// Writes a manifest that says `state` and puts it in the place of the old one, if any. On return it is durable.
pub fn replace(env: &dyn Env, dir: &Path, state: &State) -> Result<()> {
    let (path, tmp) = (dir.join(MANIFEST), dir.join(MANIFEST_TMP));
    debug_assert_eq!(state.validate(), Ok(()));
    let bytes = encode(state.database, &state.edits())?;
    // One that a full disk or a failed call has left behind is in the way, and says nothing.
    let made = env.create(&tmp).or_else(|failure| match failure.os_code() == Some(EXISTS) {
        true => env.unlink(&tmp).and_then(|()| env.create(&tmp)),
        false => Err(failure),
    });
    let written = made.and_then(|file| {
        file.append(&bytes)?;
        // A full disk that shows as late as this is not one that heals: what was synced is not known.
        file.sync().map_err(|failure| failure.lasting())
    });
    if let Err(failure) = written {
        // It must not take room from whoever makes some.
        let _ = env.unlink(&tmp);
        return Err(failure);
    }
    // From here on nobody knows which of the two a later open will find.
    env.rename(&tmp, &path).map_err(|failure| failure.lasting())?;
    env.sync_dir(dir).map_err(|failure| failure.lasting())
}

/// Bytes of a new store's manifest, at most.
pub fn first_len() -> u64 {
    // Numbers take fewer bytes if they are small.
    encode(u128::MAX, &State::new(u128::MAX, u64::MAX).edits()).map_or(0, |bytes| bytes.len() as u64)
}

fn encode(database: u128, edits: &[Edit]) -> Result<Vec<u8>> {
    let salt = FileSalt::new(database, 0);
    let mut bytes = vec![0; HEADER_BYTES];
    for edit in edits {
        let frame = encode_frame(edit, salt, bytes.len() as u64)?;
        bytes.extend_from_slice(&frame);
    }
    let len = bytes.len() as u64;
    let plain = |edit: &Edit| matches!(edit, Edit::Create { .. } | Edit::Recovered { .. });
    let features = if edits.iter().all(plain) { 0 } else { FEATURE_TABLES };
    bytes[..HEADER_BYTES].copy_from_slice(&encode_header(database, len, features, salt));
    Ok(bytes)
}

fn encode_header(database: u128, len: u64, features: u32, salt: FileSalt) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&features.to_le_bytes());
    out[16..32].copy_from_slice(&database.to_le_bytes());
    out[32..40].copy_from_slice(&len.to_le_bytes());
    let check = coding::half(coding::hash_seeded(&out[..CHECKED_BYTES], salt.at(0)));
    out[40..44].copy_from_slice(&check.to_le_bytes());
    out
}

fn encode_frame(edit: &Edit, salt: FileSalt, offset: u64) -> Result<Vec<u8>> {
    let edit = bincode::encode_to_vec(edit, bincode::config::standard())
        .map_err(|e| Error::new(ErrorKind::Internal, format!("encode a manifest edit: {e}")))?;
    let len =
        u32::try_from(edit.len()).map_err(|_| Error::new(ErrorKind::TooLarge, "a manifest edit of more than 4 GiB"))?;
    let mut frame = Vec::with_capacity(round_up_8(FRAME_HEADER_BYTES + edit.len()));
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&frame_check(&edit, salt, offset).to_le_bytes());
    frame.extend_from_slice(&edit);
    frame.resize(round_up_8(frame.len()), 0);
    Ok(frame)
}

fn frame_check(edit: &[u8], salt: FileSalt, offset: u64) -> u32 {
    // Seeded with the length too: an edit of zero bytes, or the same bytes under another length, has another check.
    coding::half(coding::hash_seeded(edit, salt.at(offset) ^ (edit.len() as u64) << 32))
}

/// The frame at the start of `rest`: its payload and its length with padding.
fn frame(rest: &[u8], salt: FileSalt, offset: u64) -> Option<(&[u8], usize)> {
    let len = get_u32(rest, 0)? as usize;
    let check = get_u32(rest, 4)?;
    let end = FRAME_HEADER_BYTES.checked_add(len)?;
    let padded = round_up_8(end);
    let edit = rest.get(FRAME_HEADER_BYTES..end)?;
    let padding = rest.get(end..padded)?;
    let good = len > 0 && check == frame_check(edit, salt, offset) && padding.iter().all(|&b| b == 0);
    good.then_some((edit, padded))
}

fn parse(bytes: &[u8], path: &Path) -> Result<State> {
    let (database, len) = parse_header(bytes, path)?;
    let salt = FileSalt::new(database, 0);
    let mut state = State::new(database, 0);
    let mut at = HEADER_BYTES;
    if bytes.len() as u64 != len {
        let what = format!("the manifest has {} bytes and was written with {len}", bytes.len());
        return Err(Error::corruption(path, len.min(bytes.len() as u64), what));
    }
    let config = bincode::config::standard().with_limit::<EDIT_BYTES_MAX>();
    while at < bytes.len() {
        let corrupt = |what: &str| Error::corruption(path, at as u64, what);
        let (payload, len) = frame(&bytes[at..], salt, at as u64).ok_or_else(|| corrupt("the manifest is damaged"))?;
        let (edit, used): (Edit, usize) = bincode::decode_from_slice(payload, config)
            .map_err(|e| corrupt(&format!("the manifest holds an edit that this version can't read: {e}")))?;
        if used != payload.len() || (at == HEADER_BYTES) != matches!(edit, Edit::Create { .. }) {
            return Err(corrupt("the manifest holds an edit where it can't stand"));
        }
        state.apply(&edit);
        at += len;
    }
    state.validate().map_err(|what| Error::corruption(path, HEADER_BYTES as u64, what))?;
    Ok(state)
}

/// The database's identity and the length that the file must have.
fn parse_header(bytes: &[u8], path: &Path) -> Result<(u128, u64)> {
    let foreign = |message: &str| Err(Error::on(ErrorKind::NotADatabase, path, message));
    let Some(head) = bytes.get(..HEADER_BYTES) else {
        return foreign("not a manifest of kvs: too short; give the directory of a store, or an empty one");
    };
    if head[..8] != MAGIC {
        return foreign("not a manifest of kvs; give the directory of a store, or an empty one");
    }
    let mut id = [0; 16];
    id.copy_from_slice(&head[16..32]);
    let database = u128::from_le_bytes(id);
    let check = coding::half(coding::hash_seeded(&head[..CHECKED_BYTES], FileSalt::new(database, 0).at(0)));
    if get_u32(head, 40) != Some(check) || head[44..].iter().any(|&b| b != 0) {
        return Err(Error::corruption(path, 0, "the manifest's header is damaged"));
    }
    let (version, features) = (get_u32(head, 8).unwrap_or(0), get_u32(head, 12).unwrap_or(0));
    if version > FORMAT_VERSION || features & !FEATURES_KNOWN != 0 {
        let message = format!(
            "the store has format {version}, features {features:#x}; this version reads format {FORMAT_VERSION}, features {FEATURES_KNOWN:#x}: use a newer one"
        );
        return Err(Error::on(ErrorKind::NewerFormat, path, message));
    }
    Ok((database, get_u64(head, 32).unwrap_or(0)))
}

/// What can be had of a manifest that is damaged: nothing of it says what a store consists of.
#[derive(Debug, Default)]
pub struct Remains {
    /// The identity, if the header is good.
    pub database: Option<u128>,
    /// The hash seed, if its edit is good.
    pub hash_seed: Option<u64>,
    /// What stands where a hash seed does, if its edit is damaged.
    pub damaged_seed: Option<u64>,
    /// Range deletes whose edits are good.
    pub ranges: Vec<Edit>,
    bytes: Vec<u8>,
}

impl Remains {
    /// Of the manifest of `dir`, if it can be read.
    pub fn read(env: &dyn Env, dir: &Path) -> Remains {
        let path = dir.join(MANIFEST);
        let read = || -> Result<Vec<u8>> {
            let Some(file) = env.open_read(&path)? else { return Ok(Vec::new()) };
            let mut bytes = zeroed(file.len().min(MANIFEST_BYTES_MAX), &path)?;
            file.read_at(0, &mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        Remains { database: parse_header(&bytes, &path).ok().map(|(id, _)| id), bytes, ..Remains::default() }
    }

    /// What its edits say if it is that of `database`.
    pub fn of(self, database: u128) -> Remains {
        /// Behind the frame's header, the variant and the mark of a number of eight bytes.
        const SEED_AT: usize = HEADER_BYTES + FRAME_HEADER_BYTES + 2;
        let salt = FileSalt::new(database, 0);
        let config = bincode::config::standard().with_limit::<EDIT_BYTES_MAX>();
        let mut remains = Remains { damaged_seed: get_u64(&self.bytes, SEED_AT), ..self };
        let (mut at, mut budget) = (HEADER_BYTES, 64 * remains.bytes.len());
        while let Some(rest) = remains.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some((payload, len)) = frame(rest, salt, at as u64) else {
                // What was hashed in vain: made, and not damaged, if it is much.
                let looked_at = get_u32(rest, 0).map_or(0, |len| len as usize).min(rest.len());
                let Some(left) = budget.checked_sub(looked_at) else { break };
                (at, budget) = (at + 8, left);
                continue;
            };
            match bincode::decode_from_slice::<Edit, _>(payload, config) {
                Ok((Edit::Create { hash_seed }, _)) => remains.hash_seed = Some(hash_seed),
                Ok((range @ Edit::RangeDelete { .. }, _)) => remains.ranges.push(range),
                _ => {}
            }
            at += len;
        }
        remains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<u8> {
        let recovered = Edit::Recovered { ends: vec![(1, 4096), (2, 80)], void: vec![3], next_file: 4 };
        encode(42, &[Edit::Create { hash_seed: 7 }, recovered]).unwrap()
    }

    /// Every flipped bit and every cut is an error.
    #[test]
    fn damage_is_found() {
        let path = Path::new("M");
        let bytes = example();
        let whole = parse(&bytes, path).unwrap();
        assert_eq!((whole.hash_seed, whole.next_file, whole.ends.len()), (7, 4, 2));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad, path).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut], path).is_err(), "cut {cut}");
        }
        assert!(parse(&[bytes.as_slice(), &[0; 8]].concat(), path).is_err(), "something after it");
    }

    #[test]
    fn a_first_edit_stands_first_and_nowhere_else() {
        let create = || Edit::Create { hash_seed: 7 };
        let later = || Edit::Recovered { ends: vec![], void: vec![], next_file: 9 };
        for edits in [vec![later(), create()], vec![create(), create()], vec![later()]] {
            let bytes = encode(42, &edits).unwrap();
            assert_eq!(parse(&bytes, Path::new("M")).unwrap_err().kind(), ErrorKind::Corruption);
        }
    }

    #[test]
    fn a_newer_or_foreign_file_is_refused() {
        let mut bytes = example();
        bytes[8] = 9;
        let check = coding::half(coding::hash_seeded(&bytes[..CHECKED_BYTES], FileSalt::new(42, 0).at(0)));
        bytes[40..44].copy_from_slice(&check.to_le_bytes());
        assert_eq!(parse(&bytes, Path::new("M")).unwrap_err().kind(), ErrorKind::NewerFormat);
        assert_eq!(parse(b"leveldb.BytewiseComparator", Path::new("M")).unwrap_err().kind(), ErrorKind::NotADatabase);
    }
}
