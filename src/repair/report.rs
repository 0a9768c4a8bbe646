//! The report: what was kept, what was left out and why.

use std::fmt;
use std::path::PathBuf;

/// Which keys something is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// This one.
    One(Vec<u8>),
    /// Some, or none, of those from `from` up to but without `to`, as far as they are known.
    Between {
        /// The first that it may be.
        from: Option<Vec<u8>>,
        /// The first behind that it can't be.
        to: Option<Vec<u8>>,
    },
    /// Nobody can tell: any key may show a value from before, or be missing.
    Unknown,
}

impl Keys {
    /// May it be about `key`?
    pub fn covers(&self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        match self {
            Keys::One(one) => one == key,
            Keys::Between { from, to } => {
                from.as_deref().is_none_or(|from| from <= key) && to.as_deref().is_none_or(|to| key < to)
            }
            Keys::Unknown => true,
        }
    }
}

impl Keys {
    /// Is it known where they begin and where they end?
    pub(super) fn is_bounded(&self) -> bool {
        match self {
            Keys::One(_) => true,
            Keys::Between { from, to } => from.is_some() && to.is_some(),
            Keys::Unknown => false,
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keys::One(key) => write!(f, "key \"{}\"", key.escape_ascii()),
            Keys::Between { from: None, to: None } => f.write_str("keys anywhere"),
            Keys::Between { from: Some(from), to: None } => write!(f, "keys from \"{}\" on", from.escape_ascii()),
            Keys::Between { from: None, to: Some(to) } => write!(f, "keys before \"{}\"", to.escape_ascii()),
            Keys::Between { from: Some(from), to: Some(to) } => {
                write!(f, "keys from \"{}\" on, before \"{}\"", from.escape_ascii(), to.escape_ascii())
            }
            Keys::Unknown => f.write_str("keys unknown"),
        }
    }
}

/// Something that is not in the new store although it may have been in the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// The file that it was in.
    pub file: PathBuf,
    /// Its first byte there.
    pub from: u64,
    /// Behind its last byte.
    pub to: u64,
    /// Why.
    pub why: String,
    /// Which keys it may have changed.
    pub keys: Keys,
    /// How many records it has, where that is known.
    pub records: Option<u64>,
    /// The sequence numbers of its first and its last write, where they are known.
    pub seqs: Option<(u64, u64)>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}..{}: {}; {}", self.file.display(), self.from, self.to, self.why, self.keys)?;
        if let Some(records) = self.records {
            write!(f, "; records {records}")?;
        }
        if let Some((first, last)) = self.seqs {
            write!(f, "; writes {first} to {last}")?;
        }
        Ok(())
    }
}

/// What [`repair`](crate::repair()) has done. `Display` prints all of it, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// Keys in the new store.
    pub keys: u64,
    /// Bytes of these keys and their values.
    pub bytes: u64,
    /// Files that were read.
    pub files: u64,
    /// What is not in the new store. If this is empty the new store holds exactly what the old one held.
    pub left_out: Vec<LeftOut>,
    /// Damage by which nothing was lost, and what else one should know.
    pub warnings: Vec<String>,
}

impl Repaired {
    /// Does the new store hold exactly what the old one held?
    pub fn is_complete(&self) -> bool {
        self.left_out.is_empty()
    }
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kept: {} keys, {} bytes, from {} files", self.keys, self.bytes, self.files)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        self.left_out.iter().try_for_each(|left_out| writeln!(f, "left out: {left_out}"))
    }
}
