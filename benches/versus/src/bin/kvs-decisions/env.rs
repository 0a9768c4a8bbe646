//! What the index wants of the engine's `env`: zeroed pages, by the same two calls.

use kvs_versus::Result;
use memmap2::{Advice, MmapOptions, MmapRaw};

/// As `kvs::env::Memory` is for anonymous memory.
pub struct Memory(MmapRaw);

impl Memory {
    /// Zeroed memory that no file backs.
    pub fn anonymous(len: usize) -> Result<Memory> {
        Ok(Memory(MmapRaw::from(MmapOptions::new().len(len).map_anon()?)))
    }

    /// The first byte.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Asks for huge pages; a kernel that has none goes on with small ones.
    pub fn prefer_huge_pages(&self) {
        let _ = self.0.advise(Advice::HugePage);
    }
}
