//! A pinned value: bytes of a file, without a copy.

use std::fmt;
use std::ops::Deref;

use crate::files::File;
use crate::sync::Arc;

/// Bytes of the store, borrowed from where they lie: no copy, no allocation.
///
/// Derefs to `[u8]`. Cheap to clone; `Send`, `Sync` and without a lifetime. It pins the file that the bytes lie in, even
/// after the key is overwritten and the store closed, so copy (`to_vec`) what is kept for long.
///
/// ```
/// # let db = kvs::Db::in_memory(Default::default())?;
/// db.put("k", "v")?;
/// let value = db.get("k")?.unwrap();
/// db.delete("k")?;
/// assert_eq!(&*value, b"v");
/// # Ok::<(), kvs::Error>(())
/// ```
#[derive(Clone)]
pub struct Value {
    file: Arc<File>,
    at: usize,
    len: usize,
}

impl Value {
    /// The published bytes `at..at + len` of `file`.
    pub(crate) fn new(file: Arc<File>, at: usize, len: usize) -> Value {
        Value { file, at, len }
    }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // In range: made from a verified record, and the published end never falls.
        self.file.published().get(self.at..self.at + self.len).unwrap_or(&[])
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        **self == **other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Value {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == other[..]
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Value {
    fn eq(&self, other: &&[u8; N]) -> bool {
        **self == other[..]
    }
}
