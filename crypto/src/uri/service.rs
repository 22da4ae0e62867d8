//! URIs of key services: `SCHEME:PATH?NAME=VALUE&NAME=VALUE`, and PKCS#11's, whose path is a list
//! of attributes too.
//!
//! An error says at which character the URI is wrong, and repeats no part of it: what is in the
//! wrong place may be a secret.

use std::{str::FromStr, time::Duration};

use crate::CryptoError;

const TIMEOUT: Duration = Duration::from_secs(20);
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;
/// Longer ones are no URIs that somebody wrote.
const MAX_URI_LEN: usize = 8192;
/// How many letters of a name may be wrong for another one to be proposed.
const TYPO_LETTERS: usize = 2;

/// What a scheme's URIs may say.
#[derive(Clone, Copy, Debug)]
pub struct UriGrammar {
    /// What stands before the first colon.
    pub scheme: &'static str,
    /// The names in the path, if it is a list `NAME=VALUE;NAME=VALUE`.
    pub attributes: &'static [&'static str],
    /// The names behind the question mark; `timeout` is known to all.
    pub parameters: &'static [&'static str],
    /// Names that are refused, and why.
    pub refused: &'static [(&'static str, &'static str)],
    /// A URI to follow.
    pub example: &'static str,
}

/// A URI of a key service, taken apart. Its values are decoded.
#[derive(Debug)]
pub struct ServiceUri {
    grammar: &'static UriGrammar,
    path: String,
    path_at: usize,
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    name: &'static str,
    value: String,
    at: usize,
}

impl ServiceUri {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it does not follow the grammar; it tells where.
    pub fn parse(grammar: &'static UriGrammar, uri: &str) -> Result<Self, CryptoError> {
        let mut parsed =
            Self { grammar, path: String::new(), path_at: grammar.scheme.len() + 1, pairs: vec![] };
        let rest = uri.strip_prefix(grammar.scheme).and_then(|rest| rest.strip_prefix(':'));
        let rest = rest.ok_or_else(|| parsed.wrong(0, "it does not begin with its scheme"))?;
        if uri.len() > MAX_URI_LEN {
            return Err(parsed.wrong(MAX_URI_LEN, "it is too long"));
        }
        if let Some(at) = uri.find(char::is_control) {
            return Err(parsed.wrong(uri[..at].chars().count(), "there is a control character"));
        }
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let start = uri.len() - rest.len();
        if grammar.attributes.is_empty() {
            parsed.path = parsed.decode(uri, start, path)?;
        } else {
            parsed.take_list(uri, start, path, ';', grammar.attributes)?;
        }
        if let Some(query) = query {
            parsed.take_list(uri, start + path.len() + 1, query, '&', grammar.parameters)?;
        }
        Ok(parsed)
    }

    /// What stands between the colon and the question mark.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of a name, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str())
    }

    /// The value of a name that must be there.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is missing or empty.
    pub fn require(&self, name: &str) -> Result<&str, CryptoError> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| self.invalid(&format!("{name}= is missing or empty")))
    }

    /// How long an operation may take: `timeout=SECONDS`, from 1 to 300; 20 unless it is given.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is no such number.
    pub fn timeout(&self) -> Result<Duration, CryptoError> {
        let Some(text) = self.get("timeout") else { return Ok(TIMEOUT) };
        let seconds = u64::from_str(text).ok().filter(|seconds| TIMEOUT_SECONDS.contains(seconds));
        let seconds =
            seconds.ok_or_else(|| self.bad("timeout", "it is a number of seconds from 1 to 300"))?;
        Ok(Duration::from_secs(seconds))
    }

    /// The error for a value that is wrong; it points at the value, or at the path for no name that is there.
    pub fn bad(&self, name: &str, reason: &str) -> CryptoError {
        let at = self.pairs.iter().find(|pair| pair.name == name).map_or(self.path_at, |pair| pair.at);
        self.wrong(at, reason)
    }

    /// The error for a path that is wrong behind its first `chars` characters.
    pub fn bad_at(&self, chars: usize, reason: &str) -> CryptoError {
        self.wrong(self.path_at + chars, reason)
    }

    /// The error for something that is missing.
    pub fn invalid(&self, reason: &str) -> CryptoError {
        CryptoError::InvalidKey {
            source_name: format!("the {}: URI", self.grammar.scheme),
            reason: format!("{reason}; the form is {}", self.grammar.example),
        }
    }

    fn wrong(&self, before: usize, reason: &str) -> CryptoError {
        self.invalid(&format!("at character {}: {reason}", before + 1))
    }

    fn take_list(
        &mut self,
        uri: &str,
        start: usize,
        list: &str,
        separator: char,
        names: &'static [&'static str],
    ) -> Result<(), CryptoError> {
        let mut at = start;
        for item in list.split(separator) {
            let place = uri[..at].chars().count();
            let Some((name, value)) = item.split_once('=') else {
                return Err(self.wrong(place, "NAME=VALUE is expected here"));
            };
            let name = self.known(place, name, separator == '&', names)?;
            if self.get(name).is_some() {
                return Err(self.wrong(place, &format!("{name}= is there already")));
            }
            let value_at = at + item.len() - value.len();
            let value = self.decode(uri, value_at, value)?;
            self.pairs.push(Pair { name, value, at: uri[..value_at].chars().count() });
            at += item.len() + separator.len_utf8();
        }
        Ok(())
    }

    fn known(
        &self,
        place: usize,
        name: &str,
        in_query: bool,
        names: &'static [&'static str],
    ) -> Result<&'static str, CryptoError> {
        if let Some((name, reason)) = self.grammar.refused.iter().find(|(refused, _)| *refused == name) {
            return Err(self.wrong(place, &format!("{name}= is refused: {reason}")));
        }
        let all = || names.iter().copied().chain(in_query.then_some("timeout"));
        if let Some(known) = all().find(|known| *known == name) {
            return Ok(known);
        }
        let near = all().map(|known| (distance(name, known), known)).min();
        let hint = near.filter(|(letters, _)| *letters <= TYPO_LETTERS);
        let hint = hint.map(|(_, known)| format!(" (is it {known}=?)")).unwrap_or_default();
        let list: Vec<String> = all().map(|known| format!("{known}=")).collect();
        Err(self.wrong(place, &format!("there is no such name{hint}; known are {}", list.join(", "))))
    }

    /// Resolves `%XX`; `start` is where `text` begins in `uri`.
    fn decode(&self, uri: &str, start: usize, text: &str) -> Result<String, CryptoError> {
        let bytes = text.as_bytes();
        let place = |at: usize| uri[..start + at].chars().count();
        let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
        while at < bytes.len() {
            if bytes[at] != b'%' {
                decoded.push(bytes[at]);
                at += 1;
                continue;
            }
            let mut byte = [0];
            let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
            if hex::decode_to_slice(digits, &mut byte).is_err() || byte[0] == 0 {
                return Err(self.wrong(place(at), "a per cent sign is followed by two hex digits, not 00"));
            }
            decoded.push(byte[0]);
            at += 3;
        }
        String::from_utf8(decoded).map_err(|_| self.wrong(place(0), "what is escaped here is not UTF-8"))
    }
}

/// How many letters must be put in, left out or changed to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // A longer word is near to none of the names that are known.
    for (i, letter) in a.chars().take(b.len() + TYPO_LETTERS + 1).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let change = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: UriGrammar = UriGrammar {
        scheme: "pkcs11",
        attributes: &["token", "object"],
        parameters: &["module-path", "pin-source"],
        refused: &[("pin-value", "others may see it")],
        example: "pkcs11:token=T;object=O?module-path=M",
    };

    fn refusal(uri: &str) -> String {
        ServiceUri::parse(&GRAMMAR, uri).expect_err(uri).to_string()
    }

    #[test]
    fn values_are_decoded_and_found_by_name() {
        let uri = "pkcs11:token=my%20token;object=k%3b1?module-path=/usr/lib/x.so&timeout=7";
        let uri = ServiceUri::parse(&GRAMMAR, uri).expect("a URI");
        assert_eq!(uri.get("token"), Some("my token"));
        assert_eq!(uri.require("object").expect("there"), "k;1");
        assert_eq!(uri.timeout().expect("a number"), Duration::from_secs(7));
        assert!(uri.get("pin-source").is_none());
        assert!(uri.require("pin-source").is_err());
    }

    #[test]
    fn an_error_points_at_the_place() {
        for (uri, at, hint) in [
            ("pkcs11:tokn=T;object=O", 8, "is it token=?"),
            ("pkcs11:token=T;hunter2=O", 16, "token=, object="),
            ("pkcs11:token=T?modul-path=x", 16, "is it module-path=?"),
            ("pkcs11:token=T?pin-value=hunter2", 16, "others may see it"),
            ("pkcs11:token=T;hunter2", 16, "NAME=VALUE"),
            ("pkcs11:token=T;token=hunter2", 16, "there already"),
            ("pkcs11:token=T%2", 15, "two hex digits"),
            ("pkcs11:token=ä%zz", 15, "two hex digits"),
            ("pkcs11:token=%00", 14, "not 00"),
            ("pkcs11:token=%ff", 14, "not UTF-8"),
            ("pkcs11:token=T\nhunter2", 15, "control character"),
            ("pkcs11:", 8, "NAME=VALUE"),
        ] {
            let text = refusal(uri);
            assert!(text.contains(&format!("at character {at}: ")), "{uri}: {text}");
            assert!(text.contains(hint) && text.contains(GRAMMAR.example), "{uri}: {text}");
            assert!(!text.contains("hunter2"), "{uri}: {text}");
        }
    }

    #[test]
    fn a_time_out_is_bounded() {
        for text in ["0", "301", "-1", "x", ""] {
            let uri = format!("pkcs11:token=T?timeout={text}");
            let error = ServiceUri::parse(&GRAMMAR, &uri).expect("parsed").timeout().expect_err(text);
            assert!(error.to_string().contains("at character 24: "), "{error}");
        }
    }

    #[test]
    fn typing_errors_are_counted() {
        assert_eq!(distance("token", "token"), 0);
        assert_eq!(distance("tokn", "token"), 1);
        assert_eq!(distance("tonek", "token"), 2);
        assert_eq!(distance("", "token"), 5);
        assert!(distance(&"x".repeat(10_000), "token") > TYPO_LETTERS);
    }
}
