//! `load`: lines into pairs, pairs into batches, batches into the store.
//!
//! 1. A line is read up to the bytes that the largest legal pair can need, or `--line-bytes-max`; a TSV line whose
//!    tab does not come within the largest key is given up there, so that a file of another kind costs no memory.
//! 2. Its pair goes into the batch. A batch of `--batch` pairs or 8 MiB is written, atomically.
//! 3. A malformed line ends the load: its batch is dropped, and the message counts the pairs written before it.
//! 4. At the end the last batch is written and, unless `--sync=false`, everything is made durable.
//!
//! Memory: one line, one pair, one batch.

use std::io::{self, BufRead, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kvs::{Batch, Db, KEY_BYTES_MAX, VALUE_BYTES_MAX};

use crate::args::Encodings;
use crate::commands;
use crate::exit::{Exit, Failure, Outcome};
use crate::files::{Input, stderr_is_terminal};
use crate::lines::{Format, Lines};
use crate::report;
use crate::store::Place;

/// A batch of so many bytes is written even if `--batch` allows more pairs.
const BATCH_BYTES: usize = 8 << 20;

/// What to load and how.
#[derive(Debug)]
pub struct Load<'a> {
    pub file: &'a Path,
    pub format: Option<Format>,
    pub batch: u32,
    pub line_bytes_max: Option<u64>,
    pub sync: bool,
    pub stats: bool,
    pub encodings: &'a Encodings,
}

/// What has reached the store.
#[derive(Debug, Default)]
struct Written {
    pairs: u64,
    bytes: u64,
}

impl Load<'_> {
    pub fn run(&self, place: &Place<'_>) -> Outcome {
        let began = report::now();
        // First the input: a name mistyped should not leave an empty store behind.
        let mut input = Input::open(self.file)?;
        let db = place.create()?;
        let progress = Progress::new(input.len);
        let mut written = Written::default();
        let loaded = self.pairs(&mut input, &db, &progress, &mut written);
        progress.clear();
        loaded.map_err(|failure| failure.and(format_args!("{} pairs were written before", written.pairs)))?;
        if self.sync {
            db.sync()?;
        }
        let stats = db.stats();
        db.close()?;
        report::tell(format_args!("loaded {}", report::pairs(written.pairs, written.bytes, began.elapsed())));
        if self.stats { commands::say(stats.to_string().as_bytes(), Exit::Ok) } else { Ok(Exit::Ok) }
    }

    fn pairs(&self, input: &mut Input, db: &Db, progress: &Progress, written: &mut Written) -> Outcome<()> {
        let format = self.format.unwrap_or_else(|| Format::by_extension(self.file));
        let lines = self.encodings.lines(format);
        let limit = LineLimit::new(&lines, self.line_bytes_max);
        let (mut line, mut key, mut value) = (Vec::new(), Vec::new(), Vec::new());
        let mut batch = Batch::new();
        let mut number = 0_u64;
        let mut consumed = 0_u64;
        loop {
            number += 1;
            let malformed = |why: String| {
                Failure::usage(format!("{}: line {number}: {why}; correct the line and load again", input.name))
            };
            match next_line(&mut input.reader, &limit, &mut line) {
                Ok(Next::Line(bytes)) => consumed += bytes,
                Ok(Next::End) => break,
                Ok(Next::TooLong(why)) => return Err(malformed(why)),
                Err(e) => return Err(Failure::io(format_args!("read {}: line {number}", input.name), &e)),
            }
            lines.read(&line, &mut key, &mut value).map_err(malformed)?;
            for (what, len, max) in [("key", key.len(), KEY_BYTES_MAX), ("value", value.len(), VALUE_BYTES_MAX)] {
                if len > max {
                    return Err(malformed(format!("a {what} of {len} bytes, the largest has {max}")));
                }
            }
            batch.put(&key, &value);
            if batch.len() >= self.batch as usize || batch.byte_len() >= BATCH_BYTES {
                write(db, &mut batch, written)?;
                progress.at(consumed, written.pairs);
            }
        }
        write(db, &mut batch, written)
    }
}

fn write(db: &Db, batch: &mut Batch, written: &mut Written) -> Outcome<()> {
    if !batch.is_empty() {
        db.write(batch)?;
        written.pairs += batch.len() as u64;
        written.bytes += batch.byte_len() as u64;
        batch.clear();
    }
    Ok(())
}

/// When to give up on a line.
#[derive(Debug)]
struct LineLimit {
    /// Bytes without the line end.
    bytes_max: u64,
    /// In TSV, the bytes by which the tab must have come.
    tab_by: Option<u64>,
}

impl LineLimit {
    fn new(lines: &Lines, bytes_max: Option<u64>) -> LineLimit {
        let largest = lines.bytes_max(KEY_BYTES_MAX as u64, VALUE_BYTES_MAX as u64);
        let tab_by = match lines.format {
            Format::Tsv => Some(lines.bytes_max(KEY_BYTES_MAX as u64, 0)),
            Format::Jsonl => None,
        };
        LineLimit { bytes_max: bytes_max.unwrap_or(largest), tab_by }
    }
}

#[derive(Debug, PartialEq)]
enum Next {
    /// A line is in the buffer, without its LF; so many bytes of input were used up.
    Line(u64),
    End,
    /// It is longer than it may be; why.
    TooLong(String),
}

/// Reads the next line into `line`. The last one needs no line end.
fn next_line(input: &mut impl BufRead, limit: &LineLimit, line: &mut Vec<u8>) -> io::Result<Next> {
    line.clear();
    // One byte more than allowed, and the LF, tell a full line from one that goes on.
    if let Some(tab_by) = limit.tab_by.filter(|tab_by| *tab_by < limit.bytes_max) {
        input.by_ref().take(tab_by + 1).read_until(b'\n', line)?;
        if line.len() as u64 > tab_by && !line.contains(&b'\t') && line.last() != Some(&b'\n') {
            return Ok(Next::TooLong(format!("no tab in its first {tab_by} bytes, more than the largest key needs")));
        }
    }
    if line.last() != Some(&b'\n') {
        let left = limit.bytes_max.saturating_add(2).saturating_sub(line.len() as u64);
        input.by_ref().take(left).read_until(b'\n', line)?;
    }
    let used = line.len() as u64;
    if used == 0 {
        return Ok(Next::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.len() as u64 > limit.bytes_max {
        return Ok(Next::TooLong(format!("longer than {} bytes, see --line-bytes-max", limit.bytes_max)));
    }
    Ok(Next::Line(used))
}

/// A bar on a terminal, nothing elsewhere.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(len: Option<u64>) -> Progress {
        if !stderr_is_terminal() {
            return Progress(None);
        }
        let (bar, template) = match len {
            Some(len) => (ProgressBar::new(len), "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}, {eta} left"),
            None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec} {msg}"),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        // The template is checked by a test; a bar with the default style is no reason to fail a load.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(Some(bar))
    }

    fn at(&self, bytes: u64, pairs: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(format!("{pairs} pairs"));
            bar.set_position(bytes);
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &str, limit: &LineLimit) -> Vec<Next> {
        let mut reader = io::BufReader::with_capacity(3, input.as_bytes());
        let mut line = Vec::new();
        let mut seen = Vec::new();
        loop {
            let next = next_line(&mut reader, limit, &mut line).unwrap();
            let last = !matches!(next, Next::Line(_));
            seen.push(next);
            if last {
                return seen;
            }
        }
    }

    #[test]
    fn lines_end_where_they_should() {
        let limit = LineLimit { bytes_max: 5, tab_by: None };
        assert_eq!(all("", &limit), [Next::End]);
        assert_eq!(all("\n\n", &limit), [Next::Line(1), Next::Line(1), Next::End]);
        assert_eq!(all("12345\n123", &limit), [Next::Line(6), Next::Line(3), Next::End]);
        assert_eq!(all("12345", &limit), [Next::Line(5), Next::End]);
        for long in ["123456\n", "123456", "123456789\n"] {
            assert!(matches!(all(long, &limit)[..], [Next::TooLong(_)]), "{long}");
        }
    }

    #[test]
    fn a_line_without_a_tab_is_given_up_early() {
        let limit = LineLimit { bytes_max: 100, tab_by: Some(4) };
        assert_eq!(all("1234\t6789\n", &limit), [Next::Line(10), Next::End]);
        assert_eq!(all("1234\n", &limit), [Next::Line(5), Next::End], "short: the format complains");
        let seen = all("12345\t789\n", &limit);
        assert!(matches!(&seen[..], [Next::TooLong(why)] if why.contains("no tab")), "{seen:?}");
    }

    #[test]
    fn the_largest_pair_fits_by_default() {
        let limit = LineLimit::new(&Lines::default(), None);
        assert!(limit.bytes_max >= 4 * (KEY_BYTES_MAX as u64 + VALUE_BYTES_MAX as u64));
        assert_eq!(LineLimit::new(&Lines::default(), Some(7)).bytes_max, 7);
    }

    #[test]
    fn the_templates_are_templates() {
        for template in ["{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}, {eta} left", "{spinner} {bytes} {msg}"]
        {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
