//! The files that are not the store's: input and output of `load` and `dump`, and what a directory holds.
#![expect(clippy::disallowed_methods, reason = "the ban guards the engine's files; these are the user's")]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::{Failure, Outcome};

const BUFFER_BYTES: usize = 64 << 10;

/// Where pairs come from.
pub struct Input {
    pub reader: Box<dyn BufRead>,
    /// For messages.
    pub name: String,
    /// Its length in bytes, where it has one.
    pub len: Option<u64>,
}

impl Input {
    /// The file, or stdin for `-`.
    pub fn open(path: &Path) -> Outcome<Input> {
        if path == Path::new("-") {
            return Ok(Input { reader: Box::new(io::stdin().lock()), name: "stdin".into(), len: None });
        }
        let name = path.display().to_string();
        let open = || {
            let file = File::open(path)?;
            let about = file.metadata()?;
            if about.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok((file, about))
        };
        let (file, about) = open().map_err(|e| Failure::io(format_args!("open {name}"), &e))?;
        let len = about.is_file().then_some(about.len());
        Ok(Input { reader: Box::new(BufReader::with_capacity(BUFFER_BYTES, file)), name, len })
    }
}

/// Buffered, locked, and not flushed before someone does.
pub fn stdout() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock())
}

/// Does a person watch stderr?
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// A file that replaces the one of its name when it is complete, and not before: a dump that fails
/// leaves the last good one.
pub struct Output {
    writer: BufWriter<File>,
    /// The temporary file and the name it is to get; none for devices and pipes, which are written directly.
    rename: Option<(NamedTempFile, PathBuf)>,
}

impl Output {
    pub fn create(path: &Path) -> io::Result<Output> {
        // Through a symbolic link, so that the link stays one.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (file, rename) = match fs::metadata(&path) {
            Ok(about) if !about.is_file() => (File::options().write(true).open(&path)?, None),
            _ => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let temporary = tempfile::Builder::new().prefix(".kvs-dump-").tempfile_in(dir)?;
                (temporary.reopen()?, Some((temporary, path)))
            }
        };
        Ok(Output { writer: BufWriter::with_capacity(BUFFER_BYTES, file), rename })
    }

    /// Everything is written: give the file its name. On an error the file that had the name before has it still.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer.flush()?;
        if let Some((temporary, path)) = self.rename {
            self.writer.get_ref().sync_all()?;
            temporary.persist(path).map_err(|e| e.error)?;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What a directory holds, as far as names tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It is not there, or there is nothing in it but what an interrupted creation leaves.
    Nothing,
    /// Files, none of which has the name of a store's data.
    OtherFiles,
    /// Perhaps a store; whether it is one, the engine says.
    Perhaps,
}

/// Looks at the names in `dir`. Whatever cannot be listed is left for the engine to complain about.
pub fn holds(dir: &Path) -> Holds {
    let names = match fs::read_dir(dir) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Holds::Nothing,
        Err(_) => return Holds::Perhaps,
    };
    let mut holds = Holds::Nothing;
    for name in names {
        let Ok(name) = name.map(|name| name.file_name()) else { return Holds::Perhaps };
        let path = Path::new(&name);
        let numbered = path.file_stem().is_some_and(|s| s.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        match (path.to_str(), path.extension().and_then(|e| e.to_str())) {
            (Some("MANIFEST"), _) => return Holds::Perhaps,
            (_, Some("log" | "tbl")) if numbered => return Holds::Perhaps,
            (Some("LOCK" | "MANIFEST.tmp" | "RESERVE"), _) => {}
            _ => holds = Holds::OtherFiles,
        }
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_directory_holds() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        assert_eq!(holds(&at.join("nowhere")), Holds::Nothing);
        assert_eq!(holds(at), Holds::Nothing);
        fs::write(at.join("LOCK"), "").unwrap();
        assert_eq!(holds(at), Holds::Nothing);
        fs::write(at.join("build.log"), "").unwrap();
        assert_eq!(holds(at), Holds::OtherFiles);
        fs::write(at.join("000001.log"), "").unwrap();
        assert_eq!(holds(at), Holds::Perhaps);
        assert_eq!(holds(&at.join("LOCK")), Holds::Perhaps, "not a directory: the engine's to refuse");
    }

    /// Until the end the old file stands; after it there is nothing but the new one.
    #[test]
    fn an_output_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.tsv");
        fs::write(&path, "old").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"new").unwrap();
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }
}
