//! Plays the scripts of `tests/scripts` over the Rust interface: `tests/scripts/README.md` has their form, and what each operation
//! means.
//!
//! Each script is played several times: as it stands; with a flush, and with a compaction, after every write that succeeded; and
//! with tiny segments, tables and blocks where the script names no options. What a script promises does not depend on where the
//! bytes lie. Scripts that count (`stat`) are only played as they stand.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]
#![expect(clippy::disallowed_methods, reason = "tests look at files from outside")]

mod common;

use std::collections::HashMap;
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use kvs::{Batch, Db, Durability, ErrorKind, Iter, Options, Snapshot};

/// Less than this is a mistake of the test.
const SCRIPTS_MIN: usize = 200;

#[derive(Clone, PartialEq)]
enum Word {
    Name(String),
    Bytes(Vec<u8>),
    Entry(Vec<u8>, Vec<u8>),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| match bytes.len() {
            0..200 => write!(f, "\"{}\"", bytes.escape_ascii()),
            len => write!(f, "\"{}...\" ({len} bytes)", bytes[..60].escape_ascii()),
        };
        match self {
            Word::Name(name) => f.write_str(name),
            Word::Bytes(all) => bytes(f, all),
            Word::Entry(key, value) => {
                bytes(f, key)?;
                f.write_str("=")?;
                bytes(f, value)
            }
        }
    }
}

fn shown(words: &[Word]) -> String {
    words.iter().map(Word::to_string).collect::<Vec<_>>().join(" ")
}

fn name(text: impl ToString) -> Word {
    Word::Name(text.to_string())
}

/// What ends a script: an operation that came to something else, or a script that is not of the form.
#[derive(Debug)]
enum Failure {
    Engine(kvs::Error),
    BadScript(String),
    Mismatch(String),
}

impl From<kvs::Error> for Failure {
    fn from(error: kvs::Error) -> Failure {
        Failure::Engine(error)
    }
}

type Result<T> = std::result::Result<T, Failure>;

fn bad<T>(why: impl Into<String>) -> Result<T> {
    Err(Failure::BadScript(why.into()))
}

/// As the C interface names it.
fn status(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "KVS_E_INVALID",
        ErrorKind::TooLarge => "KVS_E_TOO_LARGE",
        ErrorKind::Closed => "KVS_E_CLOSED",
        ErrorKind::Io => "KVS_E_IO",
        ErrorKind::Corruption => "KVS_E_CORRUPTION",
        ErrorKind::Locked => "KVS_E_LOCKED",
        ErrorKind::ReadOnly => "KVS_E_READ_ONLY",
        ErrorKind::NoSpace => "KVS_E_NO_SPACE",
        ErrorKind::NoMemory => "KVS_E_NO_MEMORY",
        ErrorKind::NewerFormat => "KVS_E_VERSION",
        ErrorKind::NotADatabase => "KVS_E_NOT_A_DATABASE",
        ErrorKind::Poisoned => "KVS_E_POISONED",
        ErrorKind::Forked => "KVS_E_FORKED",
        ErrorKind::WouldBlock => "KVS_E_WOULD_BLOCK",
        ErrorKind::Interrupted => "KVS_E_INTERRUPTED",
        other => panic!("no script expects {other:?}"),
    }
}

// --- Reading a script ---

/// Reads quoted text at the beginning of `text`: its bytes, and what is behind it.
fn quoted(text: &str) -> Result<(Vec<u8>, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else { return bad(format!("no bytes at {text:.40}")) };
    let mut made = Vec::new();
    loop {
        let at = match rest.find(['"', '\\']) {
            Some(at) => at,
            None => return bad("a text has no end"),
        };
        made.extend(rest[..at].bytes());
        if let Some(behind) = rest[at..].strip_prefix('"') {
            return Ok((made, behind));
        }
        let escape = &rest[at + 1..];
        match escape.as_bytes() {
            [byte @ (b'"' | b'\\'), ..] => {
                made.push(*byte);
                rest = &escape[1..];
            }
            [b'x', ..] => {
                let digits =
                    escape.get(1..3).filter(|d| d.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
                let Some(digits) = digits else { return bad(format!("no such escape: {escape:.4}")) };
                made.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &escape[3..];
            }
            _ => return bad(format!("no such escape: {escape:.4}")),
        }
    }
}

/// Pieces with `+` between them, each perhaps repeated.
fn bytes(text: &str) -> Result<(Vec<u8>, &str)> {
    let (mut made, mut rest) = (Vec::new(), text);
    loop {
        let (piece, behind) = quoted(rest)?;
        rest = behind;
        let mut times = 1;
        if let Some(number) = rest.strip_prefix('*') {
            let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            times = match number[..end].parse() {
                Ok(times) => times,
                Err(_) => return bad(format!("how many times? {rest:.40}")),
            };
            rest = &number[end..];
        }
        if made.is_empty() && piece == [0] {
            // Perhaps a gigabyte: zeros that nobody writes do not have to be there.
            made = vec![0; times];
        } else {
            made.extend(piece.repeat(times));
        }
        match rest.strip_prefix('+') {
            Some(next) => rest = next,
            None => return Ok((made, rest)),
        }
    }
}

fn words(mut text: &str) -> Result<Vec<Word>> {
    let mut made = Vec::new();
    loop {
        text = text.trim_start_matches(' ');
        if text.is_empty() {
            return Ok(made);
        }
        if text.starts_with('"') {
            let (first, rest) = bytes(text)?;
            text = rest;
            if let Some(rest) = text.strip_prefix('=') {
                let (value, rest) = bytes(rest)?;
                text = rest;
                made.push(Word::Entry(first, value));
            } else {
                made.push(Word::Bytes(first));
            }
            if !text.is_empty() && !text.starts_with(' ') {
                return bad(format!("no space at {text:.40}"));
            }
        } else {
            let end = text.find(' ').unwrap_or(text.len());
            made.push(name(&text[..end]));
            text = &text[end..];
        }
    }
}

struct Operation {
    line: usize,
    words: Vec<Word>,
    expected: Option<Vec<Word>>,
}

fn parse(text: &str) -> Result<Vec<Operation>> {
    if !text.starts_with("# ") || text.starts_with("# \n") || !text.ends_with('\n') {
        return bad("the first line says what the script promises, and the last one ends");
    }
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start_matches(' ').is_empty() || line.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if line.starts_with(' ') => last.push_str(line),
            None if line.starts_with(' ') => return bad(format!("line {number} belongs to no operation")),
            _ => lines.push((number, line.to_owned())),
        }
    }
    let mut operations = Vec::new();
    for (line, text) in lines {
        let mut words = words(&text)?;
        let expected = words.iter().position(|word| *word == name("->")).map(|at| {
            let expected = words.split_off(at + 1);
            words.pop();
            expected
        });
        if expected.as_ref().is_some_and(Vec::is_empty) {
            return bad(format!("line {line}: nothing behind ->"));
        }
        operations.push(Operation { line, words, expected });
    }
    if operations.iter().all(|operation| operation.expected.is_none()) {
        return bad("no expectation");
    }
    Ok(operations)
}

// --- Taking an operation's words ---

struct Taking<'a>(&'a [Word]);

impl<'a> Taking<'a> {
    fn name(&mut self) -> Result<&'a str> {
        match self.0.split_first() {
            Some((Word::Name(found), rest)) => {
                self.0 = rest;
                Ok(found)
            }
            _ => bad(format!("a name is wanted, not {}", shown(self.0))),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        match self.0.split_first() {
            Some((Word::Bytes(found), rest)) => {
                self.0 = rest;
                Ok(found)
            }
            _ => bad(format!("bytes are wanted, not {}", shown(self.0))),
        }
    }

    fn number(&mut self) -> Result<usize> {
        let text = self.name()?;
        text.parse().or_else(|_| bad(format!("{text} is no number")))
    }

    fn flag(&mut self, wanted: &str) -> bool {
        match self.0 {
            [Word::Name(found), rest @ ..] if found == wanted => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn optional(&mut self, flag: &str) -> Result<Option<&'a [u8]>> {
        if self.flag(flag) { self.bytes().map(Some) } else { Ok(None) }
    }

    fn bounds(&mut self) -> Result<Bounds<'a>> {
        Ok(bounds(self.optional("from")?, self.optional("to")?))
    }

    fn range(&mut self) -> Result<Range<'a>> {
        match self.optional("prefix")? {
            Some(prefix) => Ok(Range::Prefix(prefix)),
            None => self.bounds().map(Range::Between),
        }
    }

    /// `sync`, or what the options say; the end.
    fn durability(&mut self) -> Result<Option<Durability>> {
        let durability = self.flag("sync").then_some(Durability::Sync);
        self.end()?;
        Ok(durability)
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { bad(format!("{} is not understood", shown(self.0))) }
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

fn bounds<'a>(low: Option<&'a [u8]>, high: Option<&'a [u8]>) -> Bounds<'a> {
    (low.map_or(Bound::Unbounded, Bound::Included), high.map_or(Bound::Unbounded, Bound::Excluded))
}

enum Range<'a> {
    Between(Bounds<'a>),
    Prefix(&'a [u8]),
}

// --- Playing ---

/// What is done beside what the script says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    AsItStands,
    FlushAfterWrites,
    CompactAfterWrites,
    Tiny,
}

struct Store {
    name: String,
    /// None in memory.
    path: Option<PathBuf>,
    db: Db,
}

struct Player<'a> {
    directory: &'a Path,
    mode: Mode,
    stores: Vec<Store>,
    current: usize,
    snapshots: HashMap<String, Snapshot>,
    cursors: HashMap<String, Iter>,
}

/// Reads from a snapshot or from the store, which have the same calls.
macro_rules! read {
    ($player:expr, $take:expr, |$of:ident| $read:expr) => {
        if $take.flag("at") {
            let Some($of) = $player.snapshots.get($take.name()?) else { return bad("there is no such snapshot") };
            $take.end()?;
            $read
        } else {
            $take.end()?;
            let $of = $player.db()?;
            $read
        }
    };
}

impl Player<'_> {
    fn db(&self) -> Result<&Db> {
        self.stores.get(self.current).map_or_else(|| bad("no store is open"), |store| Ok(&store.db))
    }

    fn play(&mut self, operation: &str, mut take: Taking<'_>) -> Result<Vec<Word>> {
        let done = || Ok(vec![name("KVS_OK")]);
        match operation {
            "open" => {
                let own = take.name()?;
                let path = self.directory.join(if take.flag("in") { take.name()? } else { own });
                let path = (!take.flag("in-memory")).then_some(path);
                self.open(own, path, take)?;
            }
            "use" => {
                let own = take.name()?;
                take.end()?;
                match self.stores.iter().rposition(|store| store.name == own) {
                    Some(at) => self.current = at,
                    None => return bad(format!("there is no store {own}")),
                }
            }
            "close" => {
                take.end()?;
                self.db()?.close()?;
            }
            "reopen" => {
                self.db()?.close()?;
                let Store { name, path, .. } = &self.stores[self.current];
                let (own, path) = (name.clone(), path.clone());
                self.open(&own, path, take)?;
            }
            "put" => {
                let (key, value) = (take.bytes()?, take.bytes()?);
                match take.durability()? {
                    Some(durability) => self.db()?.put_with(key, value, durability)?,
                    None => self.db()?.put(key, value)?,
                }
                self.wrote()?;
            }
            "delete" => {
                let key = take.bytes()?;
                match take.durability()? {
                    Some(durability) => self.db()?.delete_with(key, durability)?,
                    None => self.db()?.delete(key)?,
                }
                self.wrote()?;
            }
            "delete-range" => {
                let range = take.bounds()?;
                match take.durability()? {
                    Some(durability) => {
                        let mut batch = Batch::new();
                        batch.delete_range::<&[u8]>(range);
                        self.db()?.write_with(&batch, durability)?;
                    }
                    None => self.db()?.delete_range::<&[u8]>(range)?,
                }
                self.wrote()?;
            }
            "batch" => {
                let mut batch = Batch::new();
                loop {
                    if take.flag("put") {
                        let key = take.bytes()?;
                        batch.put(key, take.bytes()?);
                    } else if take.flag("delete") {
                        batch.delete(take.bytes()?);
                    } else if take.flag("delete-range") {
                        batch.delete_range::<&[u8]>(take.bounds()?);
                    } else {
                        break;
                    }
                }
                match take.durability()? {
                    Some(durability) => self.db()?.write_with(&batch, durability)?,
                    None => self.db()?.write(&batch)?,
                }
                self.wrote()?;
            }
            "fill" => {
                let (prefix, count, value) = (take.bytes()?, take.number()?, take.bytes()?);
                take.end()?;
                let numbers: Vec<usize> = (0..count).collect();
                for hundred in numbers.chunks(100) {
                    let mut batch = Batch::new();
                    for number in hundred {
                        batch.put([prefix, format!("{number:06}").as_bytes()].concat(), value);
                    }
                    self.db()?.write(&batch)?;
                }
                self.wrote()?;
            }
            "get" => {
                let key = take.bytes()?;
                let value = read!(self, take, |of| {
                    let mut buffer = b"whatever was there".to_vec();
                    let copied = of.get_into(key, &mut buffer)?.then_some(buffer);
                    let pinned = of.get(key)?;
                    assert_eq!(copied.as_deref(), pinned.as_deref(), "get_into and get differ");
                    pinned
                });
                return Ok(vec![value.map_or(name("KVS_NOT_FOUND"), |value| Word::Bytes(value.to_vec()))]);
            }
            "contains" => {
                let key = take.bytes()?;
                let is_there = read!(self, take, |of| of.contains(key)?);
                return Ok(vec![name(if is_there { "KVS_OK" } else { "KVS_NOT_FOUND" })]);
            }
            "get-many" => {
                let mut keys = vec![take.bytes()?];
                while matches!(take.0, [Word::Bytes(_), ..]) {
                    keys.push(take.bytes()?);
                }
                let values = read!(self, take, |of| of.get_many(&keys)?);
                let word = |value: Option<kvs::Value>| {
                    value.map_or(name("KVS_NOT_FOUND"), |value| Word::Bytes(value.to_vec()))
                };
                return Ok(values.into_iter().map(word).collect());
            }
            "scan" => {
                let (range, reverse) = (take.range()?, take.flag("reverse"));
                let limit = if take.flag("limit") { take.number()? } else { usize::MAX };
                let mut entries = self.iter(range, take)?;
                let mut found = Vec::new();
                while found.len() < limit {
                    let Some(pair) = (if reverse { entries.next_back() } else { entries.next() }) else { break };
                    let (key, value) = pair?;
                    found.push(Word::Entry(key.to_vec(), value.to_vec()));
                }
                return Ok(if found.is_empty() { vec![name("KVS_END")] } else { found });
            }
            "count" => {
                let range = take.range()?;
                let mut count = 0;
                for pair in self.iter(range, take)? {
                    pair?;
                    count += 1;
                }
                return Ok(vec![name(count)]);
            }
            "snapshot" => {
                let own = take.name()?;
                take.end()?;
                let made = self.db()?.snapshot()?;
                self.snapshots.insert(own.to_owned(), made);
            }
            "release" => {
                let own = take.name()?;
                take.end()?;
                if self.snapshots.remove(own).is_none() {
                    return bad(format!("there is no snapshot {own}"));
                }
            }
            "cursor" => {
                let (own, range) = (take.name()?, take.range()?);
                let made = self.iter(range, take)?;
                self.cursors.insert(own.to_owned(), made);
            }
            "first" | "last" | "next" | "prev" | "seek" | "seek-for-prev" | "item" => {
                let own = take.name()?;
                let key = if operation.starts_with("seek") { Some(take.bytes()?) } else { None };
                take.end()?;
                let Some(cursor) = self.cursors.get_mut(own) else { return bad(format!("there is no cursor {own}")) };
                let is_on = match (operation, key) {
                    ("first", _) => cursor.seek_to_first()?,
                    ("last", _) => cursor.seek_to_last()?,
                    ("next", _) => cursor.move_next()?,
                    ("prev", _) => cursor.move_prev()?,
                    ("seek", Some(key)) => cursor.seek(key)?,
                    ("seek-for-prev", Some(key)) => cursor.seek_for_prev(key)?,
                    _ => cursor.valid(),
                };
                assert_eq!(is_on, cursor.valid(), "what a move says, and valid");
                let entry = || Word::Entry(cursor.key().to_vec(), cursor.value().to_vec());
                return Ok(vec![if is_on { entry() } else { name("KVS_END") }]);
            }
            "drop" => {
                let own = take.name()?;
                take.end()?;
                if self.cursors.remove(own).is_none() {
                    return bad(format!("there is no cursor {own}"));
                }
            }
            "flush" => {
                take.end()?;
                self.db()?.flush()?;
            }
            "sync" => {
                take.end()?;
                self.db()?.sync()?;
            }
            "verify" => {
                take.end()?;
                self.db()?.verify()?;
            }
            "compact" => {
                let range = take.bounds()?;
                take.end()?;
                self.db()?.compact::<&[u8]>(range)?;
            }
            "stat" => {
                let own = take.name()?;
                take.end()?;
                let fields = self.db()?.stats().fields();
                match fields.iter().find(|(field, _)| *field == own) {
                    Some((_, number)) => return Ok(vec![name(number)]),
                    None => return bad(format!("there is no number {own}")),
                }
            }
            "write-file" => {
                let (path, data) = (self.directory.join(take.name()?), take.bytes()?);
                take.end()?;
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, data).unwrap();
            }
            "repair" => {
                let (path, new) = (self.directory.join(take.name()?), self.directory.join(take.name()?));
                take.end()?;
                kvs::repair(path, new, &Options::default())?;
            }
            _ => return bad(format!("no such operation: {operation}")),
        }
        done()
    }

    fn open(&mut self, own: &str, path: Option<PathBuf>, mut take: Taking<'_>) -> Result<()> {
        let mut options =
            if self.mode == Mode::Tiny && take.0.is_empty() { common::tiny() } else { Options::default() };
        while !take.0.is_empty() {
            let word = take.name()?;
            let Some((option, value)) = word.split_once('=') else { return bad(format!("{word} is no option")) };
            options.set(option, value)?;
        }
        let db = match &path {
            Some(path) => Db::open(path, options)?,
            None => Db::in_memory(options)?,
        };
        self.stores.push(Store { name: own.to_owned(), path, db });
        self.current = self.stores.len() - 1;
        Ok(())
    }

    /// What the mode wants after a write.
    fn wrote(&self) -> Result<()> {
        match self.mode {
            Mode::AsItStands | Mode::Tiny => {}
            Mode::FlushAfterWrites => self.db()?.flush()?,
            Mode::CompactAfterWrites => self.db()?.compact::<&[u8]>(..)?,
        }
        Ok(())
    }

    fn iter(&self, range: Range<'_>, mut take: Taking<'_>) -> Result<Iter> {
        Ok(read!(self, take, |of| match range {
            Range::Prefix(prefix) => of.prefix(prefix)?,
            Range::Between((Bound::Unbounded, Bound::Unbounded)) => of.iter()?,
            Range::Between(bounds) => of.range::<&[u8]>(bounds)?,
        }))
    }
}

/// Operations that must say what they read.
const READS: [&str; 13] = [
    "get",
    "contains",
    "get-many",
    "scan",
    "count",
    "first",
    "last",
    "next",
    "prev",
    "seek",
    "seek-for-prev",
    "item",
    "stat",
];

fn replay(text: &str, mode: Mode, directory: &Path) -> Result<()> {
    let operations = parse(text)?;
    let counts = |operation: &Operation| operation.words.first() == Some(&name("stat"));
    if mode != Mode::AsItStands && operations.iter().any(counts) {
        return Ok(());
    }
    let (stores, snapshots, cursors) = (Vec::new(), HashMap::new(), HashMap::new());
    let mut player = Player { directory, mode, stores, current: 0, snapshots, cursors };
    for Operation { line, words, expected } in &operations {
        let mut take = Taking(words);
        let operation = take.name()?;
        if expected.is_none() && READS.contains(&operation) {
            return bad(format!("line {line}: {operation} without ->"));
        }
        let got = match player.play(operation, take) {
            Ok(got) => got,
            Err(Failure::Engine(error)) => {
                assert!(error.to_string().len() > 5, "no message");
                vec![name(status(error.kind()))]
            }
            Err(Failure::BadScript(why)) => return bad(format!("line {line}: {why}")),
            Err(mismatch) => return Err(mismatch),
        };
        let expected = expected.clone().unwrap_or_else(|| vec![name("KVS_OK")]);
        if got != expected {
            let (words, got, expected) = (shown(words), shown(&got), shown(&expected));
            let message = format!("line {line}: {words} comes to\n  {got}\ninstead of\n  {expected}");
            return Err(Failure::Mismatch(message));
        }
    }
    Ok(())
}

fn replay_all(mode: Mode) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut count = 0;
    let mut failed = String::new();
    for entry in std::fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let own = path.file_name().unwrap().display().to_string();
        match replay(&std::fs::read_to_string(&path).unwrap(), mode, directory.path()) {
            Ok(()) => count += 1,
            Err(Failure::Engine(error)) => failed += &format!("{own}: {error}\n"),
            Err(Failure::BadScript(why) | Failure::Mismatch(why)) => failed += &format!("{own}, {why}\n"),
        }
    }
    assert!(failed.is_empty(), "{mode:?}:\n{failed}");
    assert!(count >= SCRIPTS_MIN, "only {count} scripts");
}

#[test]
fn scripts() {
    replay_all(Mode::AsItStands);
}

#[test]
fn scripts_with_a_flush_after_every_write() {
    replay_all(Mode::FlushAfterWrites);
}

#[test]
fn scripts_with_a_compaction_after_every_write() {
    replay_all(Mode::CompactAfterWrites);
}

#[test]
fn scripts_in_tiny_pieces() {
    replay_all(Mode::Tiny);
}

/// What this test could overlook, it does not.
#[test]
fn bad_scripts_fail() {
    let good = "# A good one.\nopen db\nput \"k\" \"v\"\n";
    let played = |behind: &str| {
        let directory = tempfile::tempdir().unwrap();
        replay(&format!("{good}{behind}"), Mode::AsItStands, directory.path())
    };
    played("get \"k\"\n  -> \"v\"\n").unwrap();
    for wrong in [
        "get \"k\" -> \"w\"",
        "put \"k\" \"v\" -> KVS_E_CLOSED",
        "scan -> \"k\"=\"v\" \"l\"=\"v\"",
        "get \"k\" -> KVS_NOT_FOUND",
    ] {
        assert!(matches!(played(&format!("{wrong}\n")), Err(Failure::Mismatch(_))), "{wrong}");
    }
    for unknown in [
        "frobnicate -> KVS_OK",
        "put \"k\" \"v\" quickly -> KVS_OK",
        "get \"k\"\nflush -> KVS_OK",
        "",
        "get \"\\y\" -> \"\"",
    ] {
        assert!(matches!(played(&format!("{unknown}\n")), Err(Failure::BadScript(_))), "{unknown}");
    }
}
