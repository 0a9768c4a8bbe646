//! A pinned value: bytes of a file, without a copy.

use std::fmt;
use std::ops::Deref;

use crate::cache::Block;
use crate::files::region::{Holder, Region};
use crate::files::{Bytes, File};
use crate::sync::Arc;

/// Bytes of the store, borrowed from where they lie: no copy, no allocation.
///
/// Derefs to `[u8]`. Cheap to clone; `Send`, `Sync` and without a lifetime. It pins the file that the bytes lie in, even
/// after the key is overwritten and the store closed, so copy (`to_vec`) what is kept for long. In the child of a `fork` it must not be looked at:
/// files that a parent has mapped are not inherited.
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
    pinned: Pinned,
    at: usize,
    len: usize,
}

/// What a value holds on to.
#[derive(Clone)]
enum Pinned {
    /// A file whose bytes are in memory. `None`: while it is dropped, or no bytes at all.
    File(Option<Arc<File>>),
    /// A block that was read.
    Block(Arc<Block>),
}

impl Value {
    /// The published bytes `at..at + len` of `file`.
    pub(crate) fn new(file: Arc<File>, at: usize, len: usize) -> Value {
        Value { pinned: Pinned::File(Some(file)), at, len }
    }

    /// The bytes `at..at + len` of a block.
    pub(crate) fn in_block(block: Arc<Block>, at: usize, len: usize) -> Value {
        Value { pinned: Pinned::Block(block), at, len }
    }

    /// The bytes `at..at + len` of a region.
    pub(crate) fn in_region(region: &Region, at: usize, len: usize) -> Value {
        let pinned = match region.holder() {
            Holder::Nobody => Pinned::File(None),
            Holder::File(file) => Pinned::File(Some(Arc::clone(file))),
            Holder::Block(block) => Pinned::Block(Arc::clone(block)),
        };
        Value { pinned, at, len }
    }

    /// `len` bytes at `at` of `bytes`, which stand at `offset` of `file`.
    pub(crate) fn pin(file: &Arc<File>, bytes: &Bytes<'_>, offset: u64, at: usize, len: usize) -> Value {
        match bytes {
            Bytes::Mapped(_) => Value::new(Arc::clone(file), offset as usize + at, len),
            Bytes::Cached { block, from, .. } => Value::in_block(Arc::clone(block), from + at, len),
        }
    }
}

impl Drop for Value {
    #[inline]
    fn drop(&mut self) {
        if let Pinned::File(pinned) = &mut self.pinned
            && let Some(wake) = pinned.as_ref().and_then(|file| file.left())
        {
            // The worker waits for whoever holds a file that has left the store.
            let wake = Arc::clone(wake);
            drop(pinned.take());
            wake.wake();
        }
    }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let bytes = match &self.pinned {
            Pinned::File(file) => file.as_ref().map_or(&[][..], |file| file.published()),
            Pinned::Block(block) => block.bytes(),
        };
        // In range: made from a verified record, the published end never falls, and a block never changes.
        bytes.get(self.at..self.at + self.len).unwrap_or(&[])
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
