//! Running the tool in a directory of its own.
#![expect(clippy::disallowed_methods, reason = "the ban guards the engine's files; these are the test's")]
#![expect(clippy::unwrap_used, reason = "a test that cannot run has failed")]

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A directory, in which the tool runs.
pub struct Tool {
    dir: TempDir,
}

/// What a run left.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Tool {
    pub fn new() -> Tool {
        Tool { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The tool with `args`, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvs"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    pub fn run_with<S: AsRef<OsStr>>(&self, args: &[S], stdin: &[u8]) -> Run {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // A tool that stops reading early is no failure of the test.
            scope.spawn(move || drop(pipe.write_all(stdin)));
            Run::of(child.wait_with_output().unwrap())
        })
    }

    /// Runs and expects code 0 and nothing on stderr; returns stdout as text.
    #[track_caller]
    pub fn text<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let run = self.run(args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
        String::from_utf8(run.out).unwrap()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names in the directory, in order.
    pub fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = names.map(|n| n.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Run {
    pub fn of(output: std::process::Output) -> Run {
        let code = output.status.code().expect("not killed");
        Run { code, out: output.stdout, err: String::from_utf8(output.stderr).unwrap() }
    }

    /// Expects exactly this.
    #[track_caller]
    pub fn is(&self, code: i32, out: &str) {
        let seen = (self.code, String::from_utf8_lossy(&self.out).into_owned(), self.err.as_str());
        assert_eq!(seen, (code, out.to_owned(), ""));
    }

    /// Expects a failure: one line on stderr that holds all of `parts`, and nothing on stdout.
    #[track_caller]
    pub fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.out.len()), (code, 0), "{self:?}");
        assert!(self.err.starts_with("kvs: ") && self.err.lines().count() == 1, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in {}", self.err);
        }
    }

    /// Expects the complaint of the argument parser.
    #[track_caller]
    pub fn is_usage(&self) {
        assert_eq!((self.code, self.out.len()), (2, 0), "{self:?}");
        assert!(self.err.contains("Usage: kvs") || self.err.contains("try '--help'"), "{self:?}");
    }
}

/// Opens a device to write to.
#[cfg(target_os = "linux")]
pub fn open_write(path: &str) -> std::fs::File {
    std::fs::File::options().write(true).open(path).unwrap()
}
