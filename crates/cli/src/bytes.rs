//! Keys and values between bytes and text.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;

use crate::failure::{Failure, Outcome};

/// How keys and values are written on the command line and in output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Text,
    /// As hex digits.
    Hex,
}

impl Form {
    /// What `--hex` says.
    pub(crate) fn of(hex: bool) -> Self {
        if hex { Self::Hex } else { Self::Text }
    }

    /// The bytes that an argument stands for.
    ///
    /// # Errors
    /// `Usage` if it should be hex and is not.
    pub(crate) fn parse(self, what: &str, argument: OsString) -> Outcome<Vec<u8>> {
        let bytes = argument.into_encoded_bytes();
        match self {
            Self::Text => Ok(bytes),
            Self::Hex => hex::decode(&bytes).map_err(|error| {
                Failure::Usage(format!(
                    "{what} is not hex ({error}): with --hex, give two hex digits for each byte"
                ))
            }),
        }
    }

    /// The bytes as text that fits on a line. Text stays as it is; in what holds other bytes or control characters,
    /// those are written as `\xNN`, `\n`, `\r` or `\t`, and a backslash as `\\`.
    pub(crate) fn show(self, bytes: &[u8]) -> Cow<'_, str> {
        match (self, std::str::from_utf8(bytes)) {
            (Self::Hex, _) => hex::encode(bytes).into(),
            (Self::Text, Ok(text)) if !text.contains(char::is_control) => text.into(),
            (Self::Text, _) => escape(bytes).into(),
        }
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\\' => text.push_str("\\\\"),
                character if character.is_control() => {
                    let mut buffer = [0; 4];
                    escape_bytes(&mut text, character.encode_utf8(&mut buffer).as_bytes());
                }
                character => text.push(character),
            }
        }
        escape_bytes(&mut text, chunk.invalid());
    }
    text
}

fn escape_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("a string takes what is appended to it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_other_bytes_are_escaped() {
        for (bytes, shown) in [
            (&b"plain"[..], "plain"),
            ("größe \\ ☃".as_bytes(), "größe \\ ☃"),
            (b"two\nlines\t\\", "two\\nlines\\t\\\\"),
            (b"\xff\x00a", "\\xff\\x00a"),
            ("\u{85}".as_bytes(), "\\xc2\\x85"),
            (b"", ""),
        ] {
            assert_eq!(Form::Text.show(bytes), shown);
        }
        assert_eq!(Form::Hex.show(b"\x00\xab"), "00ab");
    }

    #[test]
    fn hex_is_checked() {
        assert_eq!(Form::Hex.parse("KEY", "00Ff".into()).expect("hex"), [0, 255]);
        for wrong in ["0", "zz", "0x10"] {
            assert!(matches!(Form::Hex.parse("KEY", wrong.into()), Err(Failure::Usage(_))), "{wrong}");
        }
        assert_eq!(Form::Text.parse("KEY", "0x".into()).expect("text"), b"0x");
    }
}
