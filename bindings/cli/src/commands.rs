//! The commands that are a few lines each.

use std::ffi::OsStr;
use std::io::Write;
use std::ops::Bound;
use std::path::Path;

use crate::args::{self, Encodings, KeyEncoding, Range};
use crate::encoding::Encoding;
use crate::exit::{Exit, Failure, Outcome};
use crate::files::stdout;
use crate::lines::Format;
use crate::store::Place;

/// What `get` and `rm` print, word for word, of a key that is not there.
const KEY_NOT_FOUND: &[u8] = b"Key not found\n";

pub fn get(place: &Place<'_>, key: &OsStr, encodings: &Encodings) -> Outcome {
    let key = args::bytes("key", key, encodings.key.encoding)?;
    let Some(db) = place.read()? else {
        return say(KEY_NOT_FOUND, Exit::Ok);
    };
    let Some(value) = db.get(&key)? else {
        return say(KEY_NOT_FOUND, Exit::Ok);
    };
    let mut out = stdout();
    let written = match encodings.value() {
        Encoding::Text => out.write_all(&value),
        other => other.encode(&value, &mut out),
    };
    written
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(|e| Failure::output("stdout", &e))?;
    db.close()?;
    Ok(Exit::Ok)
}

pub fn set(place: &Place<'_>, key: &OsStr, value: &OsStr, encodings: &Encodings) -> Outcome {
    // Before the store is made: a slip of the pen should not leave one behind.
    let key = args::bytes("key", key, encodings.key.encoding)?;
    let value = args::bytes("value", value, encodings.value())?;
    let db = place.create()?;
    db.put(&key, &value)?;
    db.close()?;
    Ok(Exit::Ok)
}

pub fn rm(place: &Place<'_>, key: &OsStr, encoding: KeyEncoding) -> Outcome {
    let key = args::bytes("key", key, encoding.encoding)?;
    let Some(db) = place.existing()? else {
        return say(KEY_NOT_FOUND, Exit::Missing);
    };
    // No other process can come between: this one holds the store's lock.
    let found = db.contains(&key)?;
    if found {
        db.delete(&key)?;
    }
    db.close()?;
    if found { Ok(Exit::Ok) } else { say(KEY_NOT_FOUND, Exit::Missing) }
}

pub fn rm_range(place: &Place<'_>, range: &Range, encoding: KeyEncoding) -> Outcome {
    let bounds = bounds(range, encoding.encoding)?;
    let Some(db) = place.existing()? else {
        return say(KEY_NOT_FOUND, Exit::Missing);
    };
    let found = db.range(bounds.clone())?.move_next()?;
    if found {
        db.delete_range(bounds)?;
    }
    db.close()?;
    if found { Ok(Exit::Ok) } else { say(KEY_NOT_FOUND, Exit::Missing) }
}

pub fn scan(
    place: &Place<'_>,
    range: &Range,
    reverse: bool,
    limit: Option<u64>,
    keys_only: bool,
    encodings: &Encodings,
) -> Outcome {
    let bounds = bounds(range, encodings.key.encoding)?;
    let Some(db) = place.read()? else {
        return Ok(Exit::Ok);
    };
    let mut pairs = db.range(bounds)?;
    let lines = encodings.lines(Format::Tsv);
    let mut out = stdout();
    let mut left = limit.unwrap_or(u64::MAX);
    while left > 0 && if reverse { pairs.move_prev()? } else { pairs.move_next()? } {
        let value = (!keys_only).then(|| pairs.value());
        lines.write(pairs.key(), value, &mut out).map_err(|e| Failure::output("stdout", &e))?;
        left -= 1;
    }
    out.flush().map_err(|e| Failure::output("stdout", &e))?;
    drop(pairs);
    db.close()?;
    Ok(Exit::Ok)
}

pub fn stats(place: &Place<'_>, json: bool) -> Outcome {
    let db = place.read_required()?;
    let stats = db.stats();
    let mut text = if json { stats.to_json() } else { stats.to_string() };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    say(text.as_bytes(), Exit::Ok)?;
    db.close()?;
    Ok(Exit::Ok)
}

pub fn compact(place: &Place<'_>, start: Option<&OsStr>, stop: Option<&OsStr>, encoding: KeyEncoding) -> Outcome {
    let key = |name, key: Option<&OsStr>| key.map(|key| args::bytes(name, key, encoding.encoding)).transpose();
    let start = key("START", start)?.map_or(Bound::Unbounded, Bound::Included);
    let stop = key("STOP", stop)?.map_or(Bound::Unbounded, Bound::Excluded);
    let db = place.existing_required()?;
    db.compact((start, stop))?;
    db.close()?;
    Ok(Exit::Ok)
}

pub fn verify(place: &Place<'_>) -> Outcome {
    let db = place.read_required()?;
    let sound = db.verify()?;
    let text = format!("sound: {} files, {} records, {} bytes\n", sound.files, sound.records, sound.bytes);
    say(text.as_bytes(), Exit::Ok)?;
    db.close()?;
    Ok(Exit::Ok)
}

pub fn repair(store: &Path, out: &Path, options: &kvs::Options) -> Outcome {
    let repaired = kvs::repair(store, out, options)?;
    let exit = if repaired.is_complete() { Exit::Ok } else { Exit::Corrupt };
    say(repaired.to_string().as_bytes(), exit)
}

/// From where to where.
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The keys of a [`Range`], as the engine takes them.
pub fn bounds(range: &Range, encoding: Encoding) -> Outcome<Bounds> {
    let read =
        |name, key: &Option<std::ffi::OsString>| key.as_ref().map(|key| args::bytes(name, key, encoding)).transpose();
    let prefix = read("--prefix", &range.prefix)?;
    let start = read("--start", &range.start)?;
    let stop = read("--stop", &range.stop)?;
    let after_prefix = prefix.as_deref().and_then(successor);
    // None orders below every key: right for the lower end, skipped for the upper one.
    let lower = prefix.max(start).map_or(Bound::Unbounded, Bound::Included);
    let upper = [after_prefix, stop].into_iter().flatten().min().map_or(Bound::Unbounded, Bound::Excluded);
    Ok((lower, upper))
}

/// The least key that is greater than all keys that begin with `prefix`; none if there is no such key.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut key = prefix[..=last].to_vec();
    key[last] += 1;
    Some(key)
}

pub fn say(text: &[u8], exit: Exit) -> Outcome {
    let mut out = stdout();
    out.write_all(text).and_then(|()| out.flush()).map_err(|e| Failure::output("stdout", &e))?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_of_a_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff\xff"), None);
        assert_eq!(successor(b""), None);
    }

    #[test]
    fn prefix_start_and_stop_all_hold() {
        let bounds = |prefix: Option<&str>, start: Option<&str>, stop: Option<&str>| {
            let range =
                Range { prefix: prefix.map(Into::into), start: start.map(Into::into), stop: stop.map(Into::into) };
            super::bounds(&range, Encoding::Text).unwrap()
        };
        let from = |key: &str| Bound::Included(key.as_bytes().to_vec());
        let before = |key: &str| Bound::Excluded(key.as_bytes().to_vec());
        assert_eq!(bounds(None, None, None), (Bound::Unbounded, Bound::Unbounded));
        assert_eq!(bounds(Some("b"), None, None), (from("b"), before("c")));
        assert_eq!(bounds(Some("b"), Some("a"), Some("z")), (from("b"), before("c")));
        assert_eq!(bounds(Some("b"), Some("b5"), Some("b7")), (from("b5"), before("b7")));
        assert_eq!(bounds(None, Some("x"), Some("a")), (from("x"), before("a")), "nothing, and the engine says so");
    }
}
