//! What can go wrong, and what to do about it.
//!
//! A caller decides by [`ErrorKind`]: a short list, each naming the next step. A person reads the
//! message: what failed, on which file, at which offset, who holds the lock. A missing key is no
//! error and builds none.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or an option is not usable; the message says which. Correct the call.
    InvalidArgument,
    /// A key, a value or a batch is larger than the format allows. Nothing was written.
    TooLarge,
    /// The store was closed. Open it again.
    Closed,
    /// The operating system refused an operation. See [`Error::os_code`].
    Io,
    /// A file is damaged: its name and the offset are in the error. Other keys stay readable; `kvs::repair`, or the tool's
    /// `kvs repair DIR OUT`, writes what is good to a new store.
    Corruption,
    /// Another process, or another handle of this one, has the store open.
    Locked,
    /// The store was opened read-only, or its files cannot be written.
    ReadOnly,
    /// The disk, the quota or the configured log limit is full. Nothing was written;
    /// the store works again as soon as there is space.
    NoSpace,
    /// There is not enough memory. Nothing was changed.
    NoMemory,
    /// The files were written by a newer version. Use that version.
    NewerFormat,
    /// The directory holds something that is not a kvs store.
    NotADatabase,
    /// An earlier write or sync failed: writes are refused until the store is opened again, reads go on.
    /// Whether the failed write is durable is unknown.
    Poisoned,
    /// The handle came through a `fork`: open the store in the child instead.
    Forked,
    /// The operation would have had to wait and was asked not to.
    WouldBlock,
    /// Somebody called [`Db::interrupt`](crate::Db::interrupt) while this was running. A write that is told so was not done.
    Interrupted,
    /// A bug in kvs: please report it with the message.
    Internal,
}

/// What failed, on which file, at which offset, and why.
///
/// One pointer wide, so that a `Result` stays in registers; cheap to clone, since a poisoned store
/// answers every write with the first error.
#[derive(Clone)]
pub struct Error(Arc<Detail>);

struct Detail {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    offset: Option<u64>,
    os: Option<i32>,
}

impl Error {
    /// An error with nothing but a kind and a message.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::build(kind, message.into(), None, None, None)
    }

    /// `operation` failed on `path` with `source`. A full disk or quota becomes [`ErrorKind::NoSpace`].
    #[cold]
    pub fn io(operation: &str, path: &Path, source: std::io::Error) -> Error {
        let kind = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            _ => ErrorKind::Io,
        };
        let os = source.raw_os_error();
        Error::build(kind, format!("{operation}: {source}"), Some(path.to_owned()), None, os)
    }

    /// The bytes of `path` at `offset` are not what was written there.
    #[cold]
    pub fn corruption(path: &Path, offset: u64, what: impl Into<String>) -> Error {
        Error::build(ErrorKind::Corruption, what.into(), Some(path.to_owned()), Some(offset), None)
    }

    /// An error about a file or a directory as a whole.
    #[cold]
    pub fn on(kind: ErrorKind, path: &Path, message: impl Into<String>) -> Error {
        Error::build(kind, message.into(), Some(path.to_owned()), None, None)
    }

    /// What later writes get once this error has poisoned the store.
    #[cold]
    pub fn poisoned_by(&self) -> Error {
        let message = format!(
            "an earlier failure made the log unreliable, writes are refused until the store is opened again: {}",
            self.0.message
        );
        Error::build(ErrorKind::Poisoned, message, self.0.path.clone(), self.0.offset, self.0.os)
    }

    /// The same failure, not as a full disk that heals: for calls after which nobody knows what was done.
    #[cold]
    pub(crate) fn lasting(self) -> Error {
        match self.0.kind {
            ErrorKind::NoSpace => {
                let Detail { message, path, offset, os, .. } = &*self.0;
                Error::build(ErrorKind::Io, message.clone(), path.clone(), *offset, *os)
            }
            _ => self,
        }
    }

    fn build(kind: ErrorKind, message: String, path: Option<PathBuf>, offset: Option<u64>, os: Option<i32>) -> Error {
        Error(Arc::new(Detail { kind, message, path, offset, os }))
    }

    /// What to do next.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or directory concerned.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The byte offset in that file, where one is known.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The operating system's error number, where it gave one.
    pub fn os_code(&self) -> Option<i32> {
        self.0.os
    }
}

/// A buffer of `len` zeros for bytes of `path`: an error, and no abort, if there is no memory for it.
pub(crate) fn zeroed(len: u64, path: &Path) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    let fits = usize::try_from(len).is_ok_and(|len| buffer.try_reserve_exact(len).is_ok());
    if !fits {
        return Err(Error::on(ErrorKind::NoMemory, path, format!("no memory for {len} bytes of this file")));
    }
    buffer.resize(len as usize, 0);
    Ok(buffer)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.0.path {
            write!(f, "{}: ", path.display())?;
            if let Some(offset) = self.0.offset {
                write!(f, "offset {offset}: ")?;
            }
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}
