//! A region: bytes of the store that stay where they are for as long as somebody holds on to them.
//!
//! A scan looks at the same file, or block, for every record many times. Through a [`File`] each look loads where the bytes begin
//! and how many are published, and a block is another indirection; a region has both at hand, and costs its two counts once, when it is made.

#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;

use crate::cache::Block;
use crate::files::File;
use crate::sync::Arc;

/// Bytes, and what keeps them.
#[derive(Clone)]
pub struct Region {
    start: NonNull<u8>,
    len: usize,
    holder: Holder,
}

/// What keeps the bytes of a region.
#[derive(Clone, Debug)]
pub enum Holder {
    /// Nothing: there are none.
    Nobody,
    /// A file whose bytes are in memory.
    File(Arc<File>),
    /// A block that was read.
    Block(Arc<Block>),
}

// SAFETY: a region is a shared slice and a count of its owner. The bytes are never written (see `bytes`), so threads may read them
// together; `Arc<File>` and `Arc<Block>` are Send and Sync.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// No bytes.
    pub fn empty() -> Region {
        Region { start: NonNull::dangling(), len: 0, holder: Holder::Nobody }
    }

    /// What a file has published by now.
    pub fn of_file(file: &Arc<File>) -> Region {
        let bytes = NonNull::from(file.published());
        Region { start: bytes.cast(), len: bytes.len(), holder: Holder::File(Arc::clone(file)) }
    }

    /// A block.
    pub fn of_block(block: Arc<Block>) -> Region {
        let bytes = NonNull::from(block.bytes());
        Region { start: bytes.cast(), len: bytes.len(), holder: Holder::Block(block) }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and `len` are those of a shared slice that the holder lent when the region was made, or of an empty one. That of a
        // file is published: it is never written again, never moves, and is mapped or allocated for as long as the file lives, which
        // is at least as long as `self.holder`, a count of it. That of a block lies in a buffer that nobody can change or free
        // while the block is shared, and `self.holder` shares it. `Block::into_bytes` needs the block by value, so the last count.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// What keeps them.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// What kept them.
    pub fn into_holder(self) -> Holder {
        self.holder
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes of {:?})", self.len, self.holder)
    }
}
