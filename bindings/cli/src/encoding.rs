//! Keys and values as text: the three encodings, both directions.
//!
//! ```text
//! text    = *( plain / escape )                  ; what TSV lines hold, any bytes without loss
//! escape  = "\t" / "\n" / "\r" / "\\" / "\x" 2HEXDIG
//! plain   = any byte but TAB, LF and "\"         ; when read
//! hex     = *( 2HEXDIG )                         ; written in lower case
//! base64  = RFC 4648, section 4, with padding
//! ```
//!
//! Written, `plain` is narrower: whole UTF-8 characters that are no control characters, so that a terminal
//! shows a dump and obeys nothing in it.

use std::io::{self, Write};

use data_encoding::{BASE64, Encoding as Alphabet, HEXLOWER, HEXLOWER_PERMISSIVE};

/// How bytes become text and text becomes bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// UTF-8 as it stands; in lines of TSV with the escapes \t \n \r \\ \xHH
    #[default]
    Text,
    /// Two hexadecimal digits a byte
    Hex,
    /// RFC 4648 base64 with padding
    Base64,
}

impl Encoding {
    /// An argument of the command line: in `text` every byte means itself, a backslash too.
    pub fn argument(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match self {
            Encoding::Text => out.extend_from_slice(bytes),
            _ => self.decode(bytes, &mut out)?,
        }
        Ok(out)
    }

    /// Appends to `out` the bytes that `text` stands for. The error says what is wrong with it.
    pub fn decode(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Encoding::Text => unescape(text, out),
            Encoding::Hex => from_alphabet(&HEXLOWER_PERMISSIVE, "hexadecimal", text, out),
            Encoding::Base64 => from_alphabet(&BASE64, "base64", text, out),
        }
    }

    /// Writes `bytes` as text: never a tab, a line end or a control character.
    pub fn encode(self, bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
        match self {
            Encoding::Text => escape(bytes, to),
            Encoding::Hex => to_alphabet(&HEXLOWER, bytes, to),
            Encoding::Base64 => to_alphabet(&BASE64, bytes, to),
        }
    }
}

fn to_alphabet(alphabet: &Alphabet, bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
    let mut text = [0; 1024];
    // A multiple of three: no padding but at the end.
    for chunk in bytes.chunks(384) {
        let text = &mut text[..alphabet.encode_len(chunk.len())];
        alphabet.encode_mut(chunk, text);
        to.write_all(text)?;
    }
    Ok(())
}

fn from_alphabet(alphabet: &Alphabet, name: &str, text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let wrong = |position: usize| format!("not {name} at character {}", position + 1);
    let from = out.len();
    let len = alphabet.decode_len(text.len()).map_err(|e| wrong(e.position))?;
    out.resize(from + len, 0);
    let len = alphabet.decode_mut(text, &mut out[from..]).map_err(|e| wrong(e.error.position))?;
    out.truncate(from + len);
    Ok(())
}

fn escape(bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        let mut plain = 0;
        for (at, special) in text.char_indices().filter(|(_, c)| c.is_control() || *c == '\\') {
            to.write_all(&text.as_bytes()[plain..at])?;
            plain = at + special.len_utf8();
            match special {
                '\t' => to.write_all(b"\\t")?,
                '\n' => to.write_all(b"\\n")?,
                '\r' => to.write_all(b"\\r")?,
                '\\' => to.write_all(b"\\\\")?,
                _ => by_number(&text.as_bytes()[at..plain], to)?,
            }
        }
        to.write_all(&text.as_bytes()[plain..])?;
        by_number(chunk.invalid(), to)?;
    }
    Ok(())
}

fn by_number(bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
    bytes.iter().try_for_each(|byte| write!(to, "\\x{byte:02x}"))
}

fn unescape(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let (byte, len) = match rest[at + 1..] {
            [b't', ..] => (b'\t', 2),
            [b'n', ..] => (b'\n', 2),
            [b'r', ..] => (b'\r', 2),
            [b'\\', ..] => (b'\\', 2),
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (digit(high) << 4 | digit(low), 4)
            }
            _ => {
                let seen = String::from_utf8_lossy(&rest[at..rest.len().min(at + 4)]).into_owned();
                return Err(format!("{seen:?} begins none of the escapes \\t \\n \\r \\\\ \\xHH"));
            }
        };
        out.push(byte);
        rest = &rest[at + len..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// The value of an ASCII hexadecimal digit.
fn digit(ascii: u8) -> u8 {
    match ascii {
        b'0'..=b'9' => ascii - b'0',
        _ => (ascii | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const ALL: [Encoding; 3] = [Encoding::Text, Encoding::Hex, Encoding::Base64];

    fn encoded(encoding: Encoding, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        encoding.encode(bytes, &mut out).unwrap();
        String::from_utf8(out).expect("text")
    }

    fn decoded(encoding: Encoding, text: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        encoding.decode(text.as_bytes(), &mut out).map(|()| out)
    }

    /// Whatever the bytes, they come back, and the text holds nothing that ends a field or moves a cursor.
    #[test]
    fn random_bytes_come_back() {
        let mut random = Random::printed("random_bytes_come_back");
        for round in 0..4000 {
            let bytes = random.bytes(if round % 100 == 0 { 3000 } else { 40 });
            for encoding in ALL {
                let text = encoded(encoding, &bytes);
                assert!(!text.contains(|c: char| c.is_control()), "{encoding:?} {bytes:?} {text:?}");
                assert_eq!(decoded(encoding, &text).as_ref(), Ok(&bytes), "{encoding:?} {text:?}");
            }
        }
    }

    #[test]
    fn text_is_written_so() {
        let cases: [(&[u8], &str); 7] = [
            (b"", ""),
            ("na\u{ef}ve \u{1f980} \"q\"".as_bytes(), "na\u{ef}ve \u{1f980} \"q\""),
            (b"a\tb\nc\rd\\e", r"a\tb\nc\rd\\e"),
            (b"\0\x1b[31m\x7f", r"\x00\x1b[31m\x7f"),
            (b"\xff\xfe", r"\xff\xfe"),
            (b"ok\xe2\x82", r"ok\xe2\x82"),
            // A terminal may take U+009B for ESC [.
            ("\u{9b}".as_bytes(), r"\xc2\x9b"),
        ];
        for (bytes, text) in cases {
            assert_eq!(encoded(Encoding::Text, bytes), text);
            assert_eq!(decoded(Encoding::Text, text).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_read_but_never_written() {
        assert_eq!(decoded(Encoding::Text, r"\x41\xAb").unwrap(), b"A\xab");
        assert_eq!(decoded(Encoding::Hex, "00FFaB").unwrap(), b"\x00\xff\xab");
        let mut out = b"before ".to_vec();
        Encoding::Text.decode(b"\xff raw", &mut out).unwrap();
        assert_eq!(out, b"before \xff raw");
    }

    #[test]
    fn malformed_text_is_refused() {
        for (encoding, text) in [
            (Encoding::Text, r"\q"),
            (Encoding::Text, "end\\"),
            (Encoding::Text, r"\x"),
            (Encoding::Text, r"\x4"),
            (Encoding::Text, r"\x4g"),
            (Encoding::Text, r"\x+4"),
            (Encoding::Text, "\\\u{e9}"),
            (Encoding::Hex, "abc"),
            (Encoding::Hex, "zz"),
            (Encoding::Hex, "ab cd"),
            (Encoding::Base64, "YQ"),
            (Encoding::Base64, "YR=="),
            (Encoding::Base64, "Y-_="),
        ] {
            assert!(decoded(encoding, text).is_err(), "{encoding:?} {text:?}");
        }
    }

    #[test]
    fn arguments_are_taken_as_they_stand() {
        assert_eq!(Encoding::Text.argument(br"a\tb").unwrap(), br"a\tb");
        assert_eq!(Encoding::Hex.argument(b"6162").unwrap(), b"ab");
        assert!(Encoding::Base64.argument(b"?").is_err());
    }
}
