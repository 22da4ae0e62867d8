//! Zstd dictionaries: what small pages have in common, learnt from samples of them.
//!
//! A dictionary is made of the data it was trained on, so it is as secret: it is wiped from memory, and on disk it is
//! sealed like a page. (The copies that libzstd keeps for its own use are freed without being wiped; so is its working
//! memory.)

use std::fmt;
use std::sync::Arc;

use lightning_db_sync::Mutex;
use zstd::zstd_safe::DDict;

use crate::{ZeroizingBytes, bytes::Malformed};

/// The longest dictionary, in bytes.
pub const MAX_DICTIONARY_LEN: usize = 16 << 10;

/// Training on fewer samples than this gives nothing.
const MIN_SAMPLES: usize = 16;

/// A dictionary is trained when this many bytes of samples were collected.
const TRAINING_LEN: usize = 512 << 10;

/// One page in this many is a sample until there is a dictionary; after that, pages change slowly.
const FIRST_STRIDE: u64 = 4;
const LATER_STRIDE: u64 = 512;

/// What the pages of a segment have in common.
pub struct Dictionary {
    bytes: ZeroizingBytes,
    decoder: DDict<'static>,
}

impl Dictionary {
    /// A dictionary from bytes that [`bytes`](Self::bytes) gave.
    ///
    /// # Errors
    /// [`Malformed`] when it is empty, too long, or not a dictionary.
    pub fn from_bytes(bytes: ZeroizingBytes) -> Result<Self, Malformed> {
        let malformed = Malformed { what: "compression dictionary" };
        if bytes.is_empty() || bytes.len() > MAX_DICTIONARY_LEN {
            return Err(malformed);
        }
        let decoder = DDict::try_create(&bytes).ok_or(malformed)?;
        Ok(Self { bytes, decoder })
    }

    /// What to store. Secret.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn decoder(&self) -> &DDict<'static> {
        &self.decoder
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dictionary({} bytes)", self.bytes.len())
    }
}

/// Trains a dictionary of at most `max_len` bytes (up to [`MAX_DICTIONARY_LEN`]). `None` when the samples are too few
/// or have nothing in common.
#[must_use]
pub fn train_dictionary(samples: &[&[u8]], max_len: usize) -> Option<Dictionary> {
    let mut joined = ZeroizingBytes::new(Vec::with_capacity(samples.iter().map(|sample| sample.len()).sum()));
    samples.iter().for_each(|sample| joined.extend_from_slice(sample));
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.len()).collect();
    train(&joined, &lengths, max_len)
}

fn train(samples: &[u8], lengths: &[usize], max_len: usize) -> Option<Dictionary> {
    if lengths.len() < MIN_SAMPLES {
        return None;
    }
    let bytes = zstd::dict::from_continuous(samples, lengths, max_len.min(MAX_DICTIONARY_LEN)).ok()?;
    Dictionary::from_bytes(ZeroizingBytes::new(bytes)).ok()
}

/// Learns from the leaf pages that writers pass by, and has the newest dictionary for the next segment.
///
/// One trainer is shared by all writers of a database. It holds at most 1 MiB of samples. Now
/// and then a call trains, which takes some tens of milliseconds.
#[derive(Default)]
pub struct DictionaryTrainer {
    state: Mutex<Training>,
}

#[derive(Default)]
struct Training {
    seen: u64,
    samples: ZeroizingBytes,
    lengths: Vec<usize>,
    current: Option<Arc<Dictionary>>,
}

impl DictionaryTrainer {
    /// A trainer that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest dictionary, if there was enough to learn from.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Dictionary>> {
        self.state.lock().current.clone()
    }

    /// Shows the trainer a leaf page.
    pub fn observe(&self, raw: &[u8]) {
        let mut state = self.state.lock();
        state.seen += 1;
        let stride = if state.current.is_some() { LATER_STRIDE } else { FIRST_STRIDE };
        if !state.seen.is_multiple_of(stride) || raw.is_empty() || raw.len() > TRAINING_LEN {
            return;
        }
        if state.samples.capacity() == 0 {
            // All at once: a buffer that grows leaves unwiped copies behind.
            state.samples.reserve_exact(2 * TRAINING_LEN);
        }
        state.samples.extend_from_slice(raw);
        state.lengths.push(raw.len());
        if state.samples.len() < TRAINING_LEN {
            return;
        }
        let samples = std::mem::take(&mut state.samples);
        let lengths = std::mem::take(&mut state.lengths);
        drop(state);
        if let Some(dictionary) = train(&samples, &lengths, MAX_DICTIONARY_LEN) {
            self.state.lock().current = Some(Arc::new(dictionary));
        }
    }
}

impl fmt::Debug for DictionaryTrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DictionaryTrainer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::compress::{CompressionSettings, Compressor, decompress};
    use crate::pointer::{BlockKind, Codec};

    use super::super::tests::page_of_rows;
    use super::*;

    fn trained() -> Arc<Dictionary> {
        let pages: Vec<Vec<u8>> = (0..200).map(page_of_rows).collect();
        let samples: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
        Arc::new(train_dictionary(&samples, MAX_DICTIONARY_LEN).expect("pages of rows have much in common"))
    }

    fn compressed(
        dictionary: Option<&Arc<Dictionary>>,
        kind: BlockKind,
        raw: &[u8],
    ) -> (Codec, ZeroizingBytes) {
        let settings = CompressionSettings::new(true, 1, 3).expect("valid");
        let mut out = ZeroizingBytes::new(Vec::new());
        let codec = Compressor::new(&settings, dictionary).compress(kind, raw, &mut out);
        (codec, out)
    }

    #[test]
    fn a_dictionary_makes_leaves_smaller_and_is_needed_to_read_them() {
        let dictionary = trained();
        let page = &page_of_rows(1000)[..1500];
        let (plain_codec, plain) = compressed(None, BlockKind::Leaf, page);
        let (codec, small) = compressed(Some(&dictionary), BlockKind::Leaf, page);
        assert_eq!((plain_codec, codec), (Codec::Zstd, Codec::ZstdDict));
        assert!(small.len() < plain.len(), "{} with, {} without", small.len(), plain.len());
        assert_eq!(*decompress(codec, &small, page.len(), Some(&dictionary)).expect("with it"), page);
        assert!(decompress(codec, &small, page.len(), None).is_err());
    }

    #[test]
    fn only_leaves_use_the_dictionary() {
        let (codec, _) = compressed(Some(&trained()), BlockKind::Extent, &page_of_rows(5));
        assert_eq!(codec, Codec::Zstd);
    }

    #[test]
    fn a_dictionary_comes_back_from_its_bytes_and_shows_nothing() {
        let dictionary = trained();
        let again = Dictionary::from_bytes(ZeroizingBytes::new(dictionary.bytes().to_vec())).expect("valid");
        let page = page_of_rows(7);
        let (codec, small) = compressed(Some(&dictionary), BlockKind::Leaf, &page);
        assert_eq!(*decompress(codec, &small, page.len(), Some(&again)).expect("same"), page);
        assert_eq!(format!("{again:?}"), format!("Dictionary({} bytes)", again.bytes().len()));
        assert!(Dictionary::from_bytes(ZeroizingBytes::new(vec![])).is_err());
        assert!(Dictionary::from_bytes(ZeroizingBytes::new(vec![0; MAX_DICTIONARY_LEN + 1])).is_err());
    }

    #[test]
    fn too_few_samples_train_nothing() {
        let page = page_of_rows(1);
        assert!(train_dictionary(&[&page[..]; 3], MAX_DICTIONARY_LEN).is_none());
        assert!(train_dictionary(&[], MAX_DICTIONARY_LEN).is_none());
    }

    #[test]
    fn a_trainer_has_a_dictionary_after_enough_pages() {
        let trainer = DictionaryTrainer::new();
        trainer.observe(&page_of_rows(0));
        assert!(trainer.current().is_none());
        (1..1500).for_each(|seed| trainer.observe(&page_of_rows(seed)));
        let dictionary = trainer.current().expect("more than enough pages");
        let (codec, _) = compressed(Some(&dictionary), BlockKind::Leaf, &page_of_rows(9));
        assert_eq!(codec, Codec::ZstdDict);
    }
}
