//! `dump`: every pair of a range as a line, in the order of the keys, as of one point in time.

use std::io::{self, Write};
use std::path::Path;

use crate::args::{Encodings, Range};
use crate::commands::bounds;
use crate::exit::{Exit, Failure, Outcome};
use crate::files::{Output, stdout};
use crate::lines::{Format, Lines};
use crate::report;
use crate::store::Place;

/// What to dump and how.
#[derive(Debug)]
pub struct Dump<'a> {
    pub file: &'a Path,
    pub format: Option<Format>,
    pub range: &'a Range,
    pub verbose: bool,
    pub encodings: &'a Encodings,
}

/// Pairs, and the bytes of their keys and values.
type Amount = (u64, u64);

impl Dump<'_> {
    pub fn run(&self, place: &Place<'_>) -> Outcome {
        let began = report::now();
        let to_stdout = self.file == Path::new("-");
        let lines = self.encodings.lines(self.format.unwrap_or_else(|| Format::by_extension(self.file)));
        let (pairs, bytes) = if to_stdout {
            let mut out = stdout();
            let failed = |e: &io::Error| Failure::output("stdout", e);
            let amount = self.pairs(place, lines, &mut out, failed)?;
            out.flush().map_err(|e| failed(&e))?;
            amount
        } else {
            let name = self.file.display().to_string();
            let failed = |e: &io::Error| Failure::output(&name, e);
            let mut out = Output::create(self.file).map_err(|e| Failure::io(format_args!("create {name}"), &e))?;
            let amount = self.pairs(place, lines, &mut out, failed)?;
            out.finish().map_err(|e| failed(&e))?;
            amount
        };
        if self.verbose || !to_stdout {
            report::tell(format_args!("dumped {}", report::pairs(pairs, bytes, began.elapsed())));
        }
        Ok(Exit::Ok)
    }

    fn pairs(
        &self,
        place: &Place<'_>,
        lines: Lines,
        out: &mut impl Write,
        failed: impl Fn(&io::Error) -> Failure,
    ) -> Outcome<Amount> {
        let (mut pairs, mut bytes) = (0, 0);
        let bounds = bounds(self.range, self.encodings.key.encoding)?;
        // Where there is no store, no pairs: a script that backs up need not ask first.
        let Some(db) = place.read()? else {
            return Ok((pairs, bytes));
        };
        let mut iter = db.range(bounds)?;
        while iter.move_next()? {
            let (key, value) = (iter.key(), iter.value());
            lines.write(key, Some(value), out).map_err(|e| failed(&e))?;
            pairs += 1;
            bytes += (key.len() + value.len()) as u64;
        }
        drop(iter);
        db.close()?;
        Ok((pairs, bytes))
    }
}
