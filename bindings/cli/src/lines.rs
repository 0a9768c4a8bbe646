//! One pair a line: the two formats of `load` and `dump`, writer and reader side by side.
//!
//! ```text
//! tsv    = key TAB value LF                 ; each as `encoding` says; a CR before the LF is read over
//! jsonl  = "{" key-field "," value-field "}" LF
//! key-field   = ( "key" / "key_hex" / "key_base64" ) ":" string       ; a JSON string, fields in any order
//! value-field = ( "value" / "value_hex" / "value_base64" ) ":" string
//! ```
//!
//! In JSON lines the field's name says how its string is encoded. `dump` names it by `--encoding`, except that
//! bytes which are no UTF-8, and so no JSON string, go out as base64 under that name.

use std::fmt;
use std::io::{self, Write};

use serde::Serializer as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use serde_json::ser::Formatter;

use crate::encoding::Encoding;

/// How a pair becomes a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// key, tab, value
    #[default]
    Tsv,
    /// {"key": "...", "value": "..."}
    Jsonl,
}

/// The format and the encodings of both halves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines {
    pub format: Format,
    pub key: Encoding,
    pub value: Encoding,
}

impl Format {
    /// What a file's name suggests: JSON lines for .jsonl, .ndjson and .json, else TSV.
    pub fn by_extension(path: &std::path::Path) -> Format {
        match path.extension().and_then(|e| e.to_str()) {
            Some("jsonl" | "ndjson" | "json") => Format::Jsonl,
            _ => Format::Tsv,
        }
    }
}

impl Lines {
    /// The bytes of the longest line, without its end, that a pair of `key` and `value` bytes can need.
    pub fn bytes_max(&self, key: u64, value: u64) -> u64 {
        // The longest spelling of a byte: \xHH, or \u00HH in JSON, whose fields, quotes and blanks get a kilobyte.
        // Beside them a tab and a CR.
        match self.format {
            Format::Tsv => 4 * (key + value) + 2,
            Format::Jsonl => 6 * (key + value) + 1024,
        }
    }

    /// Writes the pair as a line, or the key alone.
    pub fn write(&self, key: &[u8], value: Option<&[u8]>, to: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Tsv => {
                self.key.encode(key, to)?;
                if let Some(value) = value {
                    to.write_all(b"\t")?;
                    self.value.encode(value, to)?;
                }
                to.write_all(b"\n")
            }
            Format::Jsonl => {
                to.write_all(b"{")?;
                field("key", self.key, key, to)?;
                if let Some(value) = value {
                    to.write_all(b", ")?;
                    field("value", self.value, value, to)?;
                }
                to.write_all(b"}\n")
            }
        }
    }

    /// Reads a line, its LF already gone, into two buffers, which it clears. The error says what is wrong with it.
    pub fn read(&self, line: &[u8], key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<(), String> {
        key.clear();
        value.clear();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.format {
            Format::Tsv => {
                let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
                    return Err("no tab between key and value".into());
                };
                if line[tab + 1..].contains(&b'\t') {
                    return Err("more than one tab, write the others as \\t".into());
                }
                self.key.decode(&line[..tab], key).map_err(|e| format!("key: {e}"))?;
                self.value.decode(&line[tab + 1..], value).map_err(|e| format!("value: {e}"))
            }
            Format::Jsonl => {
                let mut json = serde_json::Deserializer::from_slice(line);
                let read = Pair { key, value }.deserialize(&mut json).and_then(|()| json.end());
                read.map_err(|e| {
                    let message = e.to_string();
                    // serde_json counts lines too, and would always say 1.
                    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
                    format!("column {}: {message}", e.column())
                })
            }
        }
    }
}

fn field(name: &str, encoding: Encoding, bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
    match (encoding, std::str::from_utf8(bytes)) {
        (Encoding::Text, Ok(text)) => {
            write!(to, "\"{name}\": ")?;
            Ok(serde_json::Serializer::with_formatter(to, Harmless).serialize_str(text)?)
        }
        (Encoding::Hex, _) => {
            write!(to, "\"{name}_hex\": \"")?;
            Encoding::Hex.encode(bytes, to)?;
            to.write_all(b"\"")
        }
        (Encoding::Base64 | Encoding::Text, _) => {
            write!(to, "\"{name}_base64\": \"")?;
            Encoding::Base64.encode(bytes, to)?;
            to.write_all(b"\"")
        }
    }
}

/// JSON as ever, but for the control characters from U+007F on, which JSON lets stand and terminals may obey.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, control) in fragment.char_indices().filter(|(_, c)| c.is_control()) {
            write!(to, "{}\\u{:04x}", &fragment[plain..at], u32::from(control))?;
            plain = at + control.len_utf8();
        }
        to.write_all(&fragment.as_bytes()[plain..])
    }
}

/// Reads one JSON object into two buffers, with no tree between.
struct Pair<'a> {
    key: &'a mut Vec<u8>,
    value: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Pair<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object such as {\"key\": \"k\", \"value\": \"v\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut keys, mut values) = (0, 0);
        while let Some(field) = map.next_key_seed(FieldName)? {
            let (out, seen) = match field.half {
                Half::Key => (&mut *self.key, &mut keys),
                Half::Value => (&mut *self.value, &mut values),
            };
            *seen += 1;
            if *seen > 1 {
                return Err(A::Error::custom(format_args!("a second {}", field.half.name())));
            }
            map.next_value_seed(Text { encoding: field.encoding, out })?;
        }
        match (keys, values) {
            (1, 1) => Ok(()),
            (0, _) => Err(A::Error::custom("no \"key\", \"key_hex\" or \"key_base64\"")),
            _ => Err(A::Error::custom("no \"value\", \"value_hex\" or \"value_base64\"")),
        }
    }
}

#[derive(Clone, Copy)]
enum Half {
    Key,
    Value,
}

impl Half {
    fn name(self) -> &'static str {
        match self {
            Half::Key => "key",
            Half::Value => "value",
        }
    }
}

struct Field {
    half: Half,
    encoding: Encoding,
}

struct FieldName;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Field;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Field, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Field, E> {
        let (half, encoding) = match name {
            "key" => (Half::Key, Encoding::Text),
            "key_hex" => (Half::Key, Encoding::Hex),
            "key_base64" => (Half::Key, Encoding::Base64),
            "value" => (Half::Value, Encoding::Text),
            "value_hex" => (Half::Value, Encoding::Hex),
            "value_base64" => (Half::Value, Encoding::Base64),
            _ => return Err(E::custom(format_args!("unknown field {name:?}"))),
        };
        Ok(Field { half, encoding })
    }
}

/// A JSON string, decoded into a buffer.
struct Text<'a> {
    encoding: Encoding,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match self.encoding {
            // JSON has undone its own escapes; in it a backslash is a backslash.
            Encoding::Text => self.out.extend_from_slice(text.as_bytes()),
            other => other.decode(text.as_bytes(), self.out).map_err(E::custom)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const FORMATS: [Format; 2] = [Format::Tsv, Format::Jsonl];
    const ENCODINGS: [Encoding; 3] = [Encoding::Text, Encoding::Hex, Encoding::Base64];

    fn written(lines: Lines, key: &[u8], value: &[u8]) -> String {
        let mut out = Vec::new();
        lines.write(key, Some(value), &mut out).unwrap();
        let mut line = String::from_utf8(out).expect("text");
        assert_eq!(line.pop(), Some('\n'));
        line
    }

    fn read(lines: Lines, line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        // What stood in the buffers before must not matter.
        let (mut key, mut value) = (b"old".to_vec(), b"old".to_vec());
        lines.read(line, &mut key, &mut value).map(|()| (key, value))
    }

    /// A dump loads again, whatever the bytes and however it was written, and no line is longer than promised.
    #[test]
    fn random_pairs_come_back() {
        let mut random = Random::printed("random_pairs_come_back");
        for _ in 0..2000 {
            let (key, value) = (random.bytes(30), random.bytes(60));
            for format in FORMATS {
                for encoding in ENCODINGS {
                    let lines = Lines { format, key: encoding, value: ENCODINGS[random.below(3) as usize] };
                    let line = written(lines, &key, &value);
                    assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
                    assert!(line.len() as u64 <= lines.bytes_max(key.len() as u64, value.len() as u64));
                    assert_eq!(read(lines, line.as_bytes()), Ok((key.clone(), value.clone())), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn json_is_written_so() {
        let json = |encoding| Lines { format: Format::Jsonl, key: encoding, value: Encoding::Text };
        assert_eq!(written(json(Encoding::Text), b"a\t\"\\", b""), r#"{"key": "a\t\"\\", "value": ""}"#);
        assert_eq!(
            written(json(Encoding::Text), b"\x01\x7f", "\u{9b}\u{e9}".as_bytes()),
            "{\"key\": \"\\u0001\\u007f\", \"value\": \"\\u009b\u{e9}\"}"
        );
        assert_eq!(written(json(Encoding::Text), b"k", b"\xff"), r#"{"key": "k", "value_base64": "/w=="}"#);
        assert_eq!(written(json(Encoding::Hex), b"k", b"v"), r#"{"key_hex": "6b", "value": "v"}"#);
        assert_eq!(written(json(Encoding::Base64), b"k", b"v"), r#"{"key_base64": "aw==", "value": "v"}"#);
    }

    #[test]
    fn what_is_read_but_never_written() {
        let tsv = Lines::default();
        let json = Lines { format: Format::Jsonl, key: Encoding::Hex, value: Encoding::Hex };
        let ab = Ok((b"a".to_vec(), b"b".to_vec()));
        assert_eq!(read(tsv, b"a\tb\r"), ab, "lines that end as on Windows");
        assert_eq!(read(tsv, b"\t"), Ok((vec![], vec![])), "the empty key is a key");
        assert_eq!(read(json, br#"{"value":"b","key":"a"}"#), ab, "the name decides, not --encoding");
        assert_eq!(read(json, br#" { "key_base64" : "YQ==" , "value_hex" : "62" } "#), ab);
        assert_eq!(read(json, br#"{"key":"\u0061","value":"b"}"#), ab);
    }

    #[test]
    fn malformed_lines_are_refused() {
        let json = Lines { format: Format::Jsonl, ..Lines::default() };
        for (lines, line, why) in [
            (Lines::default(), "", "no tab"),
            (Lines::default(), "key only", "no tab"),
            (Lines::default(), "k\tv\tw", "more than one tab"),
            (Lines::default(), "k\\q\tv", "key: \"\\\\q\""),
            (Lines { value: Encoding::Hex, ..Lines::default() }, "k\tv", "value: not hexadecimal at character 1"),
            (json, "", "EOF"),
            (json, "k\tv", "expected value"),
            (json, "[]", "expected an object"),
            (json, "{}", "no \"key\""),
            (json, r#"{"key":"k"}"#, "no \"value\""),
            (json, r#"{"key":"k","value":1}"#, "expected a string"),
            (json, r#"{"key":"k","value":null}"#, "expected a string"),
            (json, r#"{"key":"k","value":"v","ttl":"1"}"#, "unknown field \"ttl\""),
            (json, r#"{"key":"k","key_hex":"6b","value":"v"}"#, "a second key"),
            (json, r#"{"key_hex":"6","value":"v"}"#, "not hexadecimal"),
            (json, r#"{"key":"\ud800","value":"v"}"#, "column"),
            (json, r#"{"key":"k","value":"v"} x"#, "trailing characters"),
            (json, r#"{"key":"k","value":"v""#, "EOF"),
        ] {
            let error = read(lines, line.as_bytes()).expect_err(line);
            assert!(error.contains(why), "{line:?}: {error}");
            assert!(!error.contains("at line"), "{error}");
        }
        assert!(read(json, b"{\"key\":\"\xff\",\"value\":\"v\"}").is_err(), "not UTF-8");
    }
}
