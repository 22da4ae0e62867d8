//! A key and its newest value, in one piece of memory that is shared without copying and wiped when the last holder lets
//! go.

use lightning_db_storage::SequenceNumber;
use lightning_db_sync::modelled::atomic::AtomicBool;
use triomphe::ThinArc;
use zeroize::Zeroize;

use crate::shared_bytes::heap_bytes;

const WORD_LEN: usize = size_of::<u64>();

/// A record: behind its header the words of the key, and then those of the value.
pub(super) type Record = ThinArc<Header, Word>;

/// What stands before the bytes.
pub(super) struct Header {
    /// The sequence number that it was read at.
    pub(super) read_at: SequenceNumber,
    /// The stamp under which it was filled.
    pub(super) stamp: u64,
    /// [`ABSENT`] when the key has no value.
    value_len: u32,
    key_len: u16,
    /// Whether it was looked up since the hand passed.
    pub(super) used: AtomicBool,
}

const ABSENT: u32 = u32::MAX;

/// Eight bytes of plaintext; zeros after the last.
#[repr(transparent)]
pub(super) struct Word(u64);

impl Drop for Word {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A record of these bytes, a key of at most [`MAX_KEY_LEN`](lightning_db_storage::page::MAX_KEY_LEN) among them; `None`
/// for a value too long for one.
pub(super) fn new_record(
    key: &[u8],
    value: Option<&[u8]>,
    read_at: SequenceNumber,
    stamp: u64,
) -> Option<Record> {
    let value_len = match value {
        Some(value) => u32::try_from(value.len()).ok().filter(|len| *len != ABSENT)?,
        None => ABSENT,
    };
    let key_len = u16::try_from(key.len()).ok()?;
    let header = Header { read_at, stamp, value_len, key_len, used: AtomicBool::new(false) };
    Some(ThinArc::from_header_and_iter(header, Words { key, value: value.unwrap_or_default() }))
}

pub(super) fn key_of(record: &Record) -> &[u8] {
    &bytes_of(&record.slice)[..usize::from(record.header.header.key_len)]
}

/// `None` says that the key has no value.
pub(super) fn value_of(record: &Record) -> Option<&[u8]> {
    let Header { value_len, key_len, .. } = &record.header.header;
    let begin = usize::from(*key_len).next_multiple_of(WORD_LEN);
    (*value_len != ABSENT).then(|| &bytes_of(&record.slice)[begin..begin + *value_len as usize])
}

/// What a record takes from the heap.
pub(super) fn memory_bytes(record: &Record) -> usize {
    memory_bytes_of_words(record.slice.len())
}

/// What a record of such lengths takes from the heap.
pub(super) fn memory_bytes_of(key_len: usize, value_len: usize) -> usize {
    memory_bytes_of_words(key_len.div_ceil(WORD_LEN) + value_len.div_ceil(WORD_LEN))
}

fn memory_bytes_of_words(words: usize) -> usize {
    // Before the words stand their number and that of the holders.
    heap_bytes(2 * size_of::<usize>() + size_of::<Header>() + words * WORD_LEN)
}

#[expect(unsafe_code, reason = "words that are wiped cannot be seen as bytes in another way")]
fn bytes_of(words: &[Word]) -> &[u8] {
    // SAFETY: a `Word` is `repr(transparent)` over `u64`, so each of its bytes is initialized and may be read as one.
    // The slice covers the same memory and has the same lifetime.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// The words of a key and a value that are still to come.
struct Words<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

impl Iterator for Words<'_> {
    type Item = Word;

    #[inline]
    fn next(&mut self) -> Option<Word> {
        let rest = if self.key.is_empty() { &mut self.value } else { &mut self.key };
        if let Some((word, after)) = rest.split_first_chunk() {
            *rest = after;
            return Some(Word(u64::from_ne_bytes(*word)));
        }
        let last = std::mem::take(rest);
        (!last.is_empty()).then(|| {
            let mut word = [0; WORD_LEN];
            word[..last.len()].copy_from_slice(last);
            Word(u64::from_ne_bytes(word))
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.key.len().div_ceil(WORD_LEN) + self.value.len().div_ceil(WORD_LEN);
        (len, Some(len))
    }
}

impl ExactSizeIterator for Words<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_what_it_was_made_of() {
        for key_len in [1, 7, 8, 9, 16, 65_535] {
            let key: Vec<u8> = (0..key_len).map(|i| i as u8 | 1).collect();
            for value_len in [0, 1, 7, 8, 9, 100, 4096] {
                let value: Vec<u8> = (0..value_len).map(|i| i as u8 ^ 0x55).collect();
                let record = new_record(&key, Some(&value), SequenceNumber(3), 4).expect("short enough");
                assert_eq!((key_of(&record), value_of(&record)), (&key[..], Some(&value[..])));
                assert_eq!(memory_bytes(&record), memory_bytes_of(key_len, value_len));
            }
            let record = new_record(&key, None, SequenceNumber(3), 4).expect("short enough");
            assert_eq!((key_of(&record), value_of(&record)), (&key[..], None));
        }
    }
}
