//! A file that is read as far as the medium gives it.
//!
//! For whoever looks at a store that may be damaged: what can't be read is as good as what is damaged, so it counts as zeros, in
//! pieces of a page. Nothing is mapped: a medium that can't be read is an error here and no signal. A piece of the file is held, of
//! 256 KiB or as much as was last asked for.

use std::path::{Path, PathBuf};

use crate::env::{Env, ReadFile};
use crate::error::{Error, ErrorKind, Result, zeroed};
use crate::sync::Arc;

/// What is read at a time, if no more is asked for.
const READ_BYTES: u64 = 256 << 10;
/// What is read at a time where a medium gives errors.
const PIECE_BYTES: usize = 4 << 10;

/// A file that is read as far as the medium gives it.
#[derive(Debug)]
pub struct Lenient {
    read: Arc<dyn ReadFile>,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Where that stands.
    at: u64,
}

impl Lenient {
    /// Opens the file at `path`: an error if there is none.
    pub fn open(env: &dyn Env, path: &Path) -> Result<Lenient> {
        let gone = || Error::on(ErrorKind::Corruption, path, "the file is gone");
        let read = env.open_read(path)?.ok_or_else(gone)?;
        Ok(Lenient { read: Arc::from(read), path: path.to_owned(), buffer: Vec::new(), at: 0 })
    }

    /// The same file, to be read elsewhere.
    pub fn again(&self) -> Lenient {
        Lenient { read: Arc::clone(&self.read), path: self.path.clone(), buffer: Vec::new(), at: 0 }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.read.len()
    }

    /// All bytes.
    pub fn all(mut self) -> Result<Vec<u8>> {
        self.get(0, self.read.len())?;
        Ok(self.buffer)
    }

    /// The bytes `from..to`, as far as the file has them.
    pub fn copy(&mut self, from: u64, to: u64) -> Result<Vec<u8>> {
        Ok(self.get(from, to.saturating_sub(from))?.to_vec())
    }

    /// `len` bytes from `at` on, as far as the file has them. What can't be read is zeros.
    pub fn get(&mut self, at: u64, len: u64) -> Result<&[u8]> {
        let len = len.min(self.read.len().saturating_sub(at));
        let held = self.buffer.len() as u64;
        if at < self.at || at + len > self.at + held {
            let wanted = len.max(READ_BYTES).min(self.read.len().saturating_sub(at));
            let mut buffer = zeroed(wanted, &self.path)?;
            if self.read.read_at(at, &mut buffer).is_err() {
                for (piece, from) in buffer.chunks_mut(PIECE_BYTES).zip((at..).step_by(PIECE_BYTES)) {
                    if self.read.read_at(from, piece).is_err() {
                        piece.fill(0);
                    }
                }
            }
            (self.buffer, self.at) = (buffer, at);
        }
        let from = (at - self.at) as usize;
        Ok(self.buffer.get(from..from + len as usize).unwrap_or(&[]))
    }
}
