//! The command line tool `kvs`, as a library: [`run`] is the whole of it, for the binary and for `python -m kvs`.
//!
//! A command parses its arguments (`args.rs`), opens the store as it needs it (`store.rs`), prints its results to
//! stdout and returns an exit code (`exit.rs`). README.md has the commands, the exit codes and the formats.

mod args;
mod bench;
mod commands;
mod dump;
mod encoding;
mod exit;
mod files;
mod lines;
mod load;
#[cfg(test)]
mod random;
mod report;
mod store;

use std::ffi::OsString;

use args::{Cli, Command};
use exit::Outcome;
use store::Place;

/// Runs the tool with the arguments `args`, of which the first is the program's name, and returns the exit code.
///
/// Uses this process's stdin, stdout and stderr. Results are flushed before it returns; it never exits the
/// process. A closed stdout ends it quietly as long as SIGPIPE is ignored, as Rust's and Python's start-up see to.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let kvs = |command: &[&str]| {
///     let args = ["kvs", "-d", dir.path().to_str().unwrap()];
///     kvs_cli::run(args.iter().chain(command).map(Into::into))
/// };
/// assert_eq!(kvs(&["set", "name", "Ada"]), 0);
/// assert_eq!(kvs(&["rm", "name"]), 0);
/// assert_eq!(kvs(&["rm", "name"]), 1);
/// assert_eq!(kvs(&["frobnicate"]), 2);
/// ```
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let cli = match Cli::parse_all(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version to stdout with code 0, complaints to stderr with 2. A closed stream is no news to anyone.
            let _ = e.print();
            return e.exit_code();
        }
    };
    match command(&cli) {
        Ok(exit) => exit as i32,
        Err(failure) => {
            if !failure.message.is_empty() {
                report::tell(format_args!("kvs: {}", failure.message));
            }
            failure.exit as i32
        }
    }
}

fn command(cli: &Cli) -> Outcome {
    let place = Place::of(cli)?;
    match &cli.command {
        Command::Get { key, encodings } => commands::get(&place, key, encodings),
        Command::Set { key, value, encodings } => commands::set(&place, key, value, encodings),
        Command::Rm { key: Some(key), encoding, .. } => commands::rm(&place, key, *encoding),
        Command::Rm { key: None, range, encoding } => commands::rm_range(&place, range, *encoding),
        Command::Scan { range, reverse, limit, keys_only, encodings } => {
            commands::scan(&place, range, *reverse, *limit, *keys_only, encodings)
        }
        Command::Load { file, format, batch, line_bytes_max, sync, stats, encodings } => load::Load {
            file,
            format: *format,
            batch: *batch,
            line_bytes_max: *line_bytes_max,
            sync: *sync,
            stats: *stats,
            encodings,
        }
        .run(&place),
        Command::Dump { file, format, range, verbose, encodings } => {
            dump::Dump { file, format: *format, range, verbose: *verbose, encodings }.run(&place)
        }
        Command::Stats { json } => commands::stats(&place, *json),
        Command::Compact { start, stop, encoding } => {
            commands::compact(&place, start.as_deref(), stop.as_deref(), *encoding)
        }
        Command::Verify => commands::verify(&place),
        Command::Repair { store, out } => commands::repair(store, out, place.options()),
        Command::Bench(bench) => bench::run(&place, bench),
    }
}
