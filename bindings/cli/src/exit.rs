//! How a command ends: its exit code and, where something failed, the one line that says what to do next.

use std::fmt;
use std::io;

use kvs::{Error, ErrorKind};

/// The exit codes, as `--help` and the README list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The key, or the whole store, is not there.
    Missing = 1,
    /// The arguments, an option or the input are not usable.
    Usage = 2,
    /// The operating system refused, or whatever has no code of its own.
    Io = 3,
    /// A file of the store is damaged, or of a newer format; a repair left something out.
    Corrupt = 4,
    /// Another process has the store open.
    Locked = 5,
}

/// A command that did not get to its end.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub exit: Exit,
    /// For stderr, after `kvs: `. Empty: say nothing.
    pub message: String,
}

/// What every command returns.
pub type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: message.into() }
    }

    /// `what` (an operation and a file) failed.
    pub fn io(what: impl fmt::Display, source: &io::Error) -> Failure {
        Failure { exit: Exit::Io, message: format!("{what}: {source}") }
    }

    /// Writing the results failed. A reader that went away (`kvs scan | head`) has what it wanted: no failure.
    pub fn output(what: impl fmt::Display, source: &io::Error) -> Failure {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Failure { exit: Exit::Ok, message: String::new() };
        }
        Failure::io(format_args!("write {what}"), source)
    }

    /// The same failure with `what` after the message, if it has one.
    pub fn and(mut self, what: impl fmt::Display) -> Failure {
        if !self.message.is_empty() {
            self.message = format!("{} ({what})", self.message);
        }
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (exit, next) = meaning(error.kind());
        Failure { exit, message: format!("{error}; {next}") }
    }
}

/// The exit code of each kind and the next step. The one place that decides it.
fn meaning(kind: ErrorKind) -> (Exit, &'static str) {
    use ErrorKind::*;
    match kind {
        InvalidArgument => (Exit::Usage, "correct the argument, see kvs --help"),
        TooLarge => (Exit::Usage, "nothing was written, store something smaller"),
        NotADatabase => {
            (Exit::Missing, "name a store with --dir, or an empty or new directory for kvs set to make one")
        }
        Io => (Exit::Io, "check that the path exists and that you may use it"),
        ReadOnly => (Exit::Io, "nothing was written, open it without read_only where you may write"),
        NoSpace => (Exit::Io, "nothing was written, make room and try again"),
        Poisoned => (Exit::Io, "check the disk, then run the command again"),
        Corruption => (
            Exit::Corrupt,
            "restore that file from a backup, or write what is good to a new store with kvs repair DIR OUT",
        ),
        NewerFormat => (Exit::Corrupt, "use the newer kvs that wrote it"),
        Locked => (Exit::Locked, "or try again later"),
        WouldBlock => (Exit::Locked, "try again later"),
        Interrupted => (Exit::Io, "run the command again"),
        NoMemory => (Exit::Io, "give the process more memory"),
        Closed | Forked | Internal => (Exit::Io, "this is a bug in kvs, please report it"),
        _ => (Exit::Io, "see the message"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the README, kind by kind: a script that relies on it must not be surprised.
    #[test]
    fn every_kind_has_its_code() {
        use ErrorKind::*;
        let table = [
            (Exit::Missing, &[NotADatabase][..]),
            (Exit::Usage, &[InvalidArgument, TooLarge]),
            (Exit::Io, &[Io, ReadOnly, NoSpace, Poisoned, Closed, Forked, Interrupted, Internal]),
            (Exit::Corrupt, &[Corruption, NewerFormat]),
            (Exit::Locked, &[Locked, WouldBlock]),
        ];
        for (exit, kinds) in table {
            for kind in kinds {
                let failure = Failure::from(Error::new(*kind, "it failed"));
                assert_eq!(failure.exit, exit, "{kind:?}");
                assert!(failure.message.starts_with("it failed; "), "{}", failure.message);
            }
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = Failure::output("stdout", &io::ErrorKind::BrokenPipe.into()).and("after 3 pairs");
        assert_eq!((gone.exit, gone.message.as_str()), (Exit::Ok, ""));
        let full = Failure::output("stdout", &io::ErrorKind::StorageFull.into()).and("after 3 pairs");
        assert_eq!(full.exit, Exit::Io);
        assert!(full.message.ends_with("(after 3 pairs)"));
    }
}
