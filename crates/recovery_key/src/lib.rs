//! A key on paper: 24 words for one person, or shares for several, of which some are enough.
//!
//! The words are those of BIP-39 in English, with its checksum, so a slip of the pen is noticed. A share is 30 words of the
//! same list; a share says of which set it is and how many are needed, and has a checksum of its own. Fewer shares than that
//! tell nothing about the key (Shamir's scheme over GF(256)).
//!
//! ```
//! use lightning_db_crypto::OsEntropy;
//! use lightning_db_recovery_key::RecoveryKey;
//!
//! # fn main() -> Result<(), lightning_db_recovery_key::WordsError> {
//! let key = RecoveryKey::generate(&OsEntropy)?;
//! let words = key.words();
//! assert_eq!(words.split(' ').count(), 24);
//! assert_eq!(RecoveryKey::read(&words)?.words(), words);
//!
//! let shares = key.split(5, 3, &OsEntropy)?;
//! let three = [4, 0, 2].map(|index| shares[index].as_str()).join("\n");
//! assert_eq!(RecoveryKey::read(&three)?.words(), words);
//! assert!(RecoveryKey::read(&shares[0]).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! As a key of a database it is a provider, named by a URI: `recovery-file:PATH`, a file with the words.

mod error;
mod provider;
mod share;
mod words;

use std::fmt;

use lightning_db_crypto::{CryptoError, Entropy, SecretKey};
use zeroize::Zeroizing;

pub use error::WordsError;
pub use lightning_db_crypto::OsEntropy;
pub use provider::RecoveryProvider;

/// The most shares that a key is split into.
pub const MAX_SHARES: u8 = 16;

/// A random key of 256 bits that is written down as words.
pub struct RecoveryKey(SecretKey);

impl RecoveryKey {
    /// Draws a new one.
    ///
    /// # Errors
    /// [`WordsError::Entropy`] when no random bytes can be had.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, WordsError> {
        Ok(Self(SecretKey::random(entropy)?))
    }

    /// Reads what was written down: the 24 words of a key, or shares, one to a line. Lines that are empty or begin with
    /// `#` do not count, and neither does whether letters are large.
    ///
    /// # Errors
    /// Which word is none, or in which line the checksum does not fit; how many shares are missing; a share of another
    /// set, or one that is there twice. No word is ever repeated in an error.
    pub fn read(text: &str) -> Result<Self, WordsError> {
        let lines: Vec<Line<'_>> = text.lines().enumerate().filter_map(Line::of).collect();
        let Some(first) = lines.first() else { return Err(WordsError::Nothing) };
        let count: usize = lines.iter().map(|line| line.words().count()).sum();
        // Twenty-four words may stand in several lines.
        if count == words::PHRASE_LEN {
            let all = Zeroizing::new(lines.iter().map(|line| line.text).collect::<Vec<_>>().join(" "));
            return words::parse_phrase(&all).map(Self);
        }
        if first.words().count() != share::LEN {
            return Err(WordsError::Count { found: count });
        }
        let shares = lines.iter().map(|line| share::Share::parse(line.number, line.text));
        share::join(shares.collect::<Result<Vec<_>, _>>()?).map(Self)
    }

    /// The 24 words, one space between them.
    #[must_use]
    pub fn words(&self) -> Zeroizing<String> {
        words::phrase(&self.0)
    }

    /// Splits the key into `count` shares of which any `needed` give it back. The shares of one call belong together, and
    /// to no others.
    ///
    /// # Errors
    /// [`WordsError::Shares`] unless 2 <= `needed` <= `count` <= 16; [`WordsError::Entropy`].
    pub fn split(
        &self,
        count: u8,
        needed: u8,
        entropy: &dyn Entropy,
    ) -> Result<Vec<Zeroizing<String>>, WordsError> {
        share::split(&self.0, count, needed, entropy)
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        &self.0
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey([redacted])")
    }
}

impl From<CryptoError> for WordsError {
    fn from(error: CryptoError) -> Self {
        Self::Entropy(error.to_string())
    }
}

/// A line that counts.
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn of((index, text): (usize, &'a str)) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && !text.starts_with('#')).then_some(Self { number: index + 1, text })
    }

    fn words(&self) -> impl Iterator<Item = &'a str> {
        self.text.split_whitespace()
    }
}

#[cfg(test)]
mod tests;
