//! Another process: this test binary once more, told by variables what to do.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// What the child is told to do.
pub const ROLE: &str = "KVS_CHILD_ROLE";
/// On which store.
pub const STORE: &str = "KVS_CHILD_STORE";

/// In the child: role and store. In any other run of the test that children enter: `None`.
pub fn role() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(STORE)?.into()))
}

/// The command that makes a child enter the test `entry`.
pub fn command(entry: &str, role: &str, store: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", entry, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(STORE, store);
    command
}

/// A child that does as it was told and waits for the sign to end.
pub struct Running {
    pub process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Starts a child and waits until it says `ready`.
pub fn start(entry: &str, role: &str, store: &Path) -> Running {
    let mut process = command(entry, role, store).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    // The harness may have begun the line.
    let ready = lines.by_ref().map(Result::unwrap).any(|line| line.ends_with("ready"));
    assert!(ready, "the child ended before it was ready: {:?}", process.wait());
    Running { process, lines }
}

impl Running {
    /// Ends it: closing its standard input is the sign.
    pub fn end(mut self) {
        drop(self.process.stdin.take());
        let rest: Vec<_> = self.lines.by_ref().map(Result::unwrap).collect();
        assert!(self.process.wait().unwrap().success(), "{rest:?}");
    }
}

/// In the child: says `ready` and waits for the sign to end.
pub fn ready_and_wait() {
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Can this process make mounts of its own that no one else sees?
pub fn can_mount() -> bool {
    let try_it = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    try_it.is_ok_and(|status| status.success())
}

/// Runs `command` where `dir` is mounted read-only, for it alone.
pub fn on_read_only_mount(dir: &Path, command: &Command) -> Command {
    let mut unshared = Command::new("unshare");
    let script = r#"mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@""#;
    unshared.args(["-m", "sh", "-e", "-c", script, "sh"]).arg(dir).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        unshared.env(name, value.unwrap_or(OsStr::new("")));
    }
    unshared
}
