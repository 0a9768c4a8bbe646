//! What may stand on the command line, and its help.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::encoding::Encoding;
use crate::exit::{Failure, Outcome};
use crate::lines::{Format, Lines};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; also `get` of a missing key, which prints Key not found
  1  missing: `rm` of a key that is not there, or no store in the directory
  2  usage: arguments, option or input not usable, key or value too large
  3  I/O: the operating system refused, disk full, read-only, anything else
  4  corrupt: a file of the store is damaged, or a newer kvs wrote it; `repair` left something out
  5  locked: another process has the store open

Results go to stdout, everything else to stderr. A key that begins with a dash stands after --.";

/// Reads and writes a kvs store: ordered keys and values, kept in a directory.
#[derive(Debug, Parser)]
#[command(name = "kvs", bin_name = "kvs", version = kvs::version(), after_help = EXIT_CODES, max_term_width = 100)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    /// The directory that is the store
    #[arg(short, long, global = true, value_name = "DIR", default_value = ".", help_heading = STORE)]
    pub dir: PathBuf,

    /// How to open it, may be given several times; kvs --help lists the names
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = option, help_heading = STORE)]
    #[arg(long_help = option_help())]
    pub options: Vec<OptionArg>,

    #[command(subcommand)]
    pub command: Command,
}

const STORE: &str = "Store";

impl Cli {
    /// Parses the command line.
    ///
    /// `--option` may stand before and after the command, and all of them count. As one global argument of clap's, those
    /// before would be forgotten without a word where there are some after; so the commands have one of their own.
    pub fn parse_all(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        const AFTER: &str = "option_after";
        let matches = Cli::command()
            .mut_subcommands(|command| {
                let again = Arg::new(AFTER).long("option").value_name("NAME=VALUE").value_parser(option);
                let again = again.help("How to open it, may be given several times; kvs --help lists the names");
                command.arg(again.action(ArgAction::Append).help_heading(STORE))
            })
            .try_get_matches_from(args)?;
        let mut cli = Cli::from_arg_matches(&matches)?;
        let has_dir = matches.value_source("dir") == Some(ValueSource::CommandLine);
        if matches!(cli.command, Command::Repair { .. }) && has_dir {
            let message = "repair takes the store as its first argument, not by --dir: kvs repair DIR OUT";
            return Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
        }
        if let Some((_, command)) = matches.subcommand() {
            cli.options.extend(command.get_many(AFTER).into_iter().flatten().cloned());
        }
        Ok(cli)
    }
}

/// An engine option by name.
#[derive(Clone, Debug)]
pub struct OptionArg {
    pub name: String,
    pub value: String,
}

fn option(text: &str) -> Result<OptionArg, String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    // Refused here, the message comes with the usage.
    kvs::Options::default().set(name, value).map_err(|e| e.to_string())?;
    Ok(OptionArg { name: name.into(), value: value.into() })
}

fn option_help() -> String {
    let mut help = String::from("How to open the store; may be given several times. Names and defaults:\n");
    for option in kvs::OPTIONS {
        help.push_str(&format!("\n{}={}\n    {}", option.name, option.default, option.doc));
    }
    help
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the value of a key
    ///
    /// Prints the value and a line end; the value's bytes as they are unless --value-encoding says otherwise. If the
    /// key is not there, prints Key not found and exits with 0, also where there is no store.
    #[command(after_long_help = "\
Examples:
  kvs get name
  kvs -d /var/lib/app get --value-encoding base64 picture
  kvs get --encoding hex 00ff
  kvs get -- -dash")]
    Get {
        /// The key
        key: OsString,
        #[command(flatten)]
        encodings: Encodings,
    },

    /// Set a key to a value
    ///
    /// Makes the store if there is none. Prints nothing.
    #[command(after_long_help = "\
Examples:
  kvs set name Ada
  kvs set --option durability=sync name Ada
  kvs set --encoding hex 00ff 6869
  kvs set -- -dash -5")]
    Set {
        /// The key
        key: OsString,
        /// The value
        value: OsString,
        #[command(flatten)]
        encodings: Encodings,
    },

    /// Remove a key, or all keys of a range
    ///
    /// A range is removed by one write, however many keys those are. Prints nothing. If there is no such key, prints
    /// Key not found and exits with 1.
    #[command(after_long_help = "\
Examples:
  kvs rm name
  kvs rm --encoding base64 AP8=
  kvs rm --prefix user/
  kvs rm --start 2023 --stop 2024")]
    Rm {
        /// The key
        #[arg(required_unless_present_any = RANGE, conflicts_with_all = RANGE)]
        key: Option<OsString>,
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        encoding: KeyEncoding,
    },

    /// Print pairs in the order of their keys
    ///
    /// One pair a line: key, tab, value. Keys are ordered by their bytes. In text, bytes that are no printable
    /// UTF-8 are written as the escapes \t \n \r \\ \xHH.
    #[command(after_long_help = "\
Examples:
  kvs scan
  kvs scan --prefix user/ --keys-only
  kvs scan --start 2024 --stop 2025 --reverse --limit 10")]
    Scan {
        #[command(flatten)]
        range: Range,
        /// From the last key to the first
        #[arg(long)]
        reverse: bool,
        /// At most so many pairs
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Leave out the values
        #[arg(long)]
        keys_only: bool,
        #[command(flatten)]
        encodings: Encodings,
    },

    /// Set many pairs from a file
    ///
    /// Reads one pair a line, TSV or JSON lines as dump writes them, and sets them in batches, each of them atomic.
    /// Makes the store if there is none. A malformed line ends it with exit code 2: the message says which line, and
    /// how many pairs were written before; nothing of that line's batch is. Loading the same file again does no harm.
    #[command(after_long_help = "\
Examples:
  kvs load pairs.tsv
  kvs load --format jsonl < pairs.jsonl
  kvs -d old dump | kvs -d new load")]
    Load {
        /// The file, - for stdin
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Of the lines; by default jsonl for .jsonl, .ndjson and .json, else tsv
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// Pairs in a batch; one of 8 MiB is written at once
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        batch: u32,
        /// Bytes of the longest line to be read; by default what the largest pair can need
        #[arg(long, value_name = "BYTES")]
        line_bytes_max: Option<u64>,
        /// Make everything durable against power loss at the end
        #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true")]
        #[arg(action = ArgAction::Set, value_name = "BOOL")]
        sync: bool,
        /// Print figures about the store at the end, as stats does; their counts begin with this load
        #[arg(long)]
        stats: bool,
        #[command(flatten)]
        encodings: Encodings,
    },

    /// Write all pairs, or a range, to a file
    ///
    /// One pair a line, in the order of the keys, as of one point in time. Any bytes survive dump and load. A file
    /// gets its name when it is complete, and not before.
    #[command(after_long_help = "\
Examples:
  kvs dump backup.tsv
  kvs dump --format jsonl --prefix user/ | jq .key
  kvs dump --encoding base64 -v > backup.tsv")]
    Dump {
        /// The file, - for stdout
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Of the lines; by default jsonl for .jsonl, .ndjson and .json, else tsv
        #[arg(long, value_enum)]
        format: Option<Format>,
        #[command(flatten)]
        range: Range,
        /// Say on stderr how much it was, also when writing to stdout
        #[arg(short, long)]
        verbose: bool,
        #[command(flatten)]
        encodings: Encodings,
    },

    /// Print figures about the store
    ///
    /// One a line, name and value, or one JSON object. Exits with 1 where there is no store.
    #[command(after_long_help = "\
Examples:
  kvs stats
  kvs stats --json | jq .")]
    Stats {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },

    /// Merge tables, and give back the space of what was overwritten or deleted
    ///
    /// The store does this by itself when there is need; this does all of it at once: everything, or the keys from
    /// START on, or those from START up to but without STOP. Prints nothing. Exits with 1 where there is no store.
    #[command(after_long_help = "\
Examples:
  kvs compact
  kvs compact 2023 2024
  kvs compact '' user/")]
    Compact {
        /// The first key
        start: Option<OsString>,
        /// The key after the last one
        stop: Option<OsString>,
        #[command(flatten)]
        encoding: KeyEncoding,
    },

    /// Check every byte of the store
    ///
    /// Reads all files and prints what was found to be sound. Exits with 4 and the file and offset of the first
    /// damage, with 1 where there is no store. kvs repair DIR OUT then writes what is good to a new store.
    #[command(after_long_help = "\
Examples:
  kvs verify
  kvs -d /var/lib/app verify && echo sound")]
    Verify,

    /// Write what is good of a damaged store to a new one
    ///
    /// Reads the store in DIR, changes nothing there, and writes every record that proves itself to a new store in OUT,
    /// a directory that is made, or empty, and not inside of DIR. Needs the store closed by its writer, no manifest, and
    /// no right to write to DIR. Prints what was kept, what was left out and why, and which keys or writes that
    /// concerns. A value is left out where a newer one of that very key may be lost. When this returns, the new store
    /// was checked and is durable; it can't be opened before.
    ///
    /// Exits with 0 if the new store is what the old one was, with 4 if something was left out or nothing could be
    /// kept, with 1 where there is no store. --option is for the new store; --dir has no meaning here.
    #[command(after_long_help = "\
Examples:
  kvs repair broken mended
  kvs repair broken mended > report.txt || less report.txt")]
    Repair {
        /// The directory of the damaged store
        #[arg(value_name = "DIR")]
        store: PathBuf,
        /// The directory of the new store
        out: PathBuf,
    },

    /// Measure this machine
    ///
    /// Fills a new store in a temporary directory inside --dir, reads it at random, asks for missing keys, scans,
    /// overwrites, reads and overwrites in turn, and deletes. Checks what it reads, prints a table, how often the store
    /// flushed and merged and what that cost, and removes what it made.
    #[command(after_long_help = "\
Examples:
  kvs bench
  kvs -d /mnt/disk bench --num 1000000 --threads 4
  kvs bench --num 2000 --option durability=sync")]
    Bench(Bench),
}

#[derive(Clone, Copy, Debug, Args)]
pub struct KeyEncoding {
    /// How keys are written, here and in what is printed
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Encodings {
    #[command(flatten)]
    pub key: KeyEncoding,
    /// How values are written; by default as keys are
    #[arg(long, value_enum)]
    value_encoding: Option<Encoding>,
}

impl Encodings {
    pub fn value(&self) -> Encoding {
        self.value_encoding.unwrap_or(self.key.encoding)
    }

    pub fn lines(&self, format: Format) -> Lines {
        Lines { format, key: self.key.encoding, value: self.value() }
    }
}

/// The arguments of [`Range`].
const RANGE: [&str; 3] = ["prefix", "start", "stop"];

/// Which keys. All that is given must hold.
#[derive(Debug, Args)]
pub struct Range {
    /// Only keys that begin so
    #[arg(long, value_name = "KEY")]
    pub prefix: Option<OsString>,
    /// Only keys from this one on
    #[arg(long, value_name = "KEY")]
    pub start: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    pub stop: Option<OsString>,
}

#[derive(Debug, Args)]
pub struct Bench {
    /// Pairs
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub num: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub value_size: usize,
    /// Bytes of a key
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub key_size: usize,
    /// Threads that share the work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub threads: u64,
    /// Use --dir itself, which must be empty or not there, leave out the deletes and keep the store
    #[arg(long)]
    pub keep: bool,
}

/// The bytes of an argument that is a key or a value.
pub fn bytes(name: &str, argument: &OsStr, encoding: Encoding) -> Outcome<Vec<u8>> {
    #[cfg(unix)]
    let given = Some(std::os::unix::ffi::OsStrExt::as_bytes(argument));
    #[cfg(not(unix))]
    let given = argument.to_str().map(str::as_bytes);
    let wrong =
        |why: &str| Failure::usage(format!("{name} {argument:?}: {why}; correct it or choose another --encoding"));
    let given = given.ok_or_else(|| wrong("not Unicode"))?;
    encoding.argument(given).map_err(|why| wrong(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// clap's own checks of what is declared above, which it makes only when a command is used.
    #[test]
    fn the_declarations_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_readme_has_the_exit_codes() {
        let codes: Vec<&str> = EXIT_CODES.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(codes.len(), 6);
        assert!(include_str!("../README.md").contains(&codes.join("\n")));
    }
}
