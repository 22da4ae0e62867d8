//! Bits as words of the English list of BIP-39, eleven to a word.

use bip39::{Error, Language, Mnemonic};
use lightning_db_crypto::SecretKey;
use zeroize::Zeroizing;

use crate::WordsError;

/// Words of a key.
pub(crate) const PHRASE_LEN: usize = 24;
const BITS: usize = 11;

/// A key as 24 words, with the checksum of BIP-39.
pub(crate) fn phrase(key: &SecretKey) -> Zeroizing<String> {
    let mnemonic = Zeroizing::new(
        Mnemonic::from_entropy(key.expose().as_slice()).expect("32 bytes are a length that BIP-39 knows"),
    );
    joined(mnemonic.words())
}

/// The key that 24 words are.
pub(crate) fn parse_phrase(text: &str) -> Result<SecretKey, WordsError> {
    let text = Zeroizing::new(text.to_lowercase());
    let parsed = Mnemonic::parse_in_normalized(Language::English, &text).map_err(|error| match error {
        Error::UnknownWord(index) => WordsError::UnknownWord { line: None, place: index + 1 },
        Error::InvalidChecksum => WordsError::Checksum { line: None },
        _ => WordsError::Count { found: text.split_whitespace().count() },
    })?;
    let mnemonic = Zeroizing::new(parsed);
    let (bytes, len) = mnemonic.to_entropy_array();
    let bytes = Zeroizing::new(bytes);
    SecretKey::from_slice(&bytes[..len]).ok_or(WordsError::Count { found: len })
}

/// Bytes as words; the last word is filled up with zero bits.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let list = Language::English.word_list();
    let count = (bytes.len() * 8).div_ceil(BITS);
    joined((0..count).map(|word| {
        let bits = (word * BITS..(word + 1) * BITS).map(|at| usize::from(bit(bytes, at)));
        list[bits.fold(0, |index, bit| index << 1 | bit)]
    }))
}

/// The `len` bytes that these words are; `None` for the place of a word that is none.
pub(crate) fn decode(words: &str, len: usize, line: usize) -> Result<Zeroizing<Vec<u8>>, WordsError> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    let mut rest = 0;
    for (place, word) in words.split_whitespace().enumerate() {
        let word = Zeroizing::new(word.to_lowercase());
        let unknown = WordsError::UnknownWord { line: Some(line), place: place + 1 };
        let index = Language::English.find_word(&word).ok_or(unknown)?;
        for offset in 0..BITS {
            let (at, bit) = (place * BITS + offset, index >> (BITS - 1 - offset) & 1 == 1);
            match bytes.get_mut(at / 8) {
                Some(byte) => *byte |= u8::from(bit) << (7 - at % 8),
                None => rest |= u8::from(bit),
            }
        }
    }
    if rest == 0 { Ok(bytes) } else { Err(WordsError::Checksum { line: Some(line) }) }
}

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
}

/// With room for all of it, so that no copy is left where it grew.
fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}
