//! Compression of blocks before they are sealed: Zstd (with a trained dictionary), LZ4, Snappy, or none, fixed or chosen
//! block by block.
//!
//! A block that compression does not make smaller by at least a twentieth is stored as it is, so that opening it costs
//! nothing more. Decompression is bounded by the length that the pointer names, and happens only after the block
//! was authenticated.

mod adaptive;
mod codec;
mod dictionary;

use std::sync::Arc;

use crate::pointer::{BlockKind, Codec};

use adaptive::AdaptiveChoice;
use codec::Encoders;

use crate::ZeroizingBytes;

pub use codec::decompress;
pub use dictionary::{Dictionary, DictionaryTrainer, MAX_DICTIONARY_LEN, train_dictionary};

/// A compression setting that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCompression {
    /// No such kind.
    #[error("compression kind {0} is unknown: use 0 (adaptive), 1 (zstd), 2 (lz4) or 3 (snappy)")]
    Kind(u32),
    /// Zstd has no such level.
    #[error("compression level {0} is out of range: use -7 (fastest) to 22 (smallest); 3 is usual")]
    Level(i32),
}

/// What a writer does with each block, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionSettings {
    plan: Plan,
    level: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Stored,
    Always(Codec),
    Adaptive,
}

impl CompressionSettings {
    /// `kind` is 0 for adaptive, 1 for Zstd, 2 for LZ4, 3 for Snappy. `level`, -7 to 22, is that of Zstd, alone or
    /// within the adaptive choice; the other two have none. With `enabled` false nothing is compressed.
    ///
    /// # Errors
    /// A kind or level that does not exist, whether enabled or not.
    pub const fn new(enabled: bool, kind: u32, level: i32) -> Result<Self, InvalidCompression> {
        let plan = match kind {
            0 => Plan::Adaptive,
            1 => Plan::Always(Codec::Zstd),
            2 => Plan::Always(Codec::Lz4),
            3 => Plan::Always(Codec::Snappy),
            unknown => return Err(InvalidCompression::Kind(unknown)),
        };
        if level < -7 || level > 22 {
            return Err(InvalidCompression::Level(level));
        }
        Ok(Self { plan: if enabled { plan } else { Plan::Stored }, level })
    }

    /// Blocks are stored as they are.
    #[must_use]
    pub const fn none() -> Self {
        Self { plan: Plan::Stored, level: 3 }
    }

    /// Whether a dictionary can make a difference under these settings.
    #[must_use]
    pub const fn uses_dictionary(&self) -> bool {
        matches!(self.plan, Plan::Adaptive | Plan::Always(Codec::Zstd))
    }
}

impl Default for CompressionSettings {
    /// Adaptive, Zstd at level 3.
    fn default() -> Self {
        Self { plan: Plan::Adaptive, level: 3 }
    }
}

/// Compresses the blocks of one writer. It remembers which codec won for each kind of block.
pub struct Compressor {
    plan: Plan,
    encoders: Encoders,
    adaptive: AdaptiveChoice,
}

impl Compressor {
    /// A compressor; the dictionary, if any, is used for leaf pages under Zstd.
    #[must_use]
    pub fn new(settings: &CompressionSettings, dictionary: Option<&Arc<Dictionary>>) -> Self {
        Self {
            plan: settings.plan,
            encoders: Encoders::new(settings.level, dictionary.map(|dictionary| dictionary.bytes())),
            adaptive: AdaptiveChoice::default(),
        }
    }

    /// Replaces the content of `out` with `raw` as it is to be sealed, and says how it was compressed.
    pub fn compress(&mut self, kind: BlockKind, raw: &[u8], out: &mut ZeroizingBytes) -> Codec {
        let codec = match self.plan {
            Plan::Stored => Codec::Stored,
            Plan::Always(Codec::Zstd) if self.encoders.has_dictionary_for(kind) => Codec::ZstdDict,
            Plan::Always(codec) => codec,
            Plan::Adaptive => self.adaptive.choose(kind, raw, &mut self.encoders, out),
        };
        if codec != Codec::Stored
            && self.encoders.encode(codec, raw, out)
            && is_worth_it(out.len(), raw.len())
        {
            return codec;
        }
        out.clear();
        out.extend_from_slice(raw);
        Codec::Stored
    }
}

/// Whether compression saved a twentieth.
const fn is_worth_it(stored_len: usize, raw_len: usize) -> bool {
    stored_len < raw_len && raw_len - stored_len >= raw_len / 20
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLANS: [u32; 4] = [0, 1, 2, 3];

    /// A page of rows that share their form and differ in content.
    pub(super) fn page_of_rows(seed: u64) -> Vec<u8> {
        (0..40u64)
            .flat_map(|row| {
                let number = (seed * 40 + row).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                format!(
                    "{{\"carrier\":\"UA\",\"flight\":{},\"origin\":\"EWR\",\"tail\":\"N{:05x}\"}}\n",
                    row + seed,
                    number >> 44
                )
                .into_bytes()
            })
            .collect()
    }

    /// Bytes that do not compress.
    pub(super) fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut out);
        out
    }

    fn there_and_back(
        compressor: &mut Compressor,
        dictionary: Option<&Dictionary>,
        kind: BlockKind,
        raw: &[u8],
    ) -> Codec {
        let mut out = ZeroizingBytes::new(Vec::new());
        let codec = compressor.compress(kind, raw, &mut out);
        assert!(out.len() <= raw.len(), "{codec:?} grew {} to {}", raw.len(), out.len());
        assert_eq!(*decompress(codec, &out, raw.len(), dictionary).expect("round trip"), raw);
        codec
    }

    #[test]
    fn each_kind_compresses_with_its_codec() {
        for (kind, codec) in [(1, Codec::Zstd), (2, Codec::Lz4), (3, Codec::Snappy)] {
            let settings = CompressionSettings::new(true, kind, 3).expect("valid");
            let mut compressor = Compressor::new(&settings, None);
            assert_eq!(there_and_back(&mut compressor, None, BlockKind::Leaf, &page_of_rows(1)), codec);
        }
        let off = CompressionSettings::new(false, 1, 3).expect("valid");
        let mut compressor = Compressor::new(&off, None);
        assert_eq!(there_and_back(&mut compressor, None, BlockKind::Leaf, &page_of_rows(1)), Codec::Stored);
    }

    #[test]
    fn noise_is_stored_under_every_kind() {
        for kind in PLANS {
            let settings = CompressionSettings::new(true, kind, 3).expect("valid");
            let mut compressor = Compressor::new(&settings, None);
            for len in [1, 100, 4096, 100_000] {
                assert_eq!(
                    there_and_back(&mut compressor, None, BlockKind::Extent, &noise(len)),
                    Codec::Stored
                );
            }
        }
    }

    #[test]
    fn the_level_changes_what_zstd_makes() {
        let stored_len = |level| {
            let settings = CompressionSettings::new(true, 1, level).expect("valid");
            let mut out = ZeroizingBytes::new(Vec::new());
            let raw: Vec<u8> = (0..16).flat_map(page_of_rows).collect();
            Compressor::new(&settings, None).compress(BlockKind::Leaf, &raw, &mut out);
            out.len()
        };
        assert!(stored_len(19) < stored_len(-7));
    }

    #[test]
    fn settings_beyond_the_range_are_refused_even_when_off() {
        assert_eq!(CompressionSettings::new(true, 4, 3), Err(InvalidCompression::Kind(4)));
        assert_eq!(CompressionSettings::new(false, 1, 23), Err(InvalidCompression::Level(23)));
        assert_eq!(CompressionSettings::new(true, 0, -8), Err(InvalidCompression::Level(-8)));
    }

    #[test]
    fn damaged_or_mislabelled_blocks_are_errors_not_panics() {
        let raw = page_of_rows(3);
        let wrong_lengths = [0, 1, raw.len() - 1, raw.len() + 1];
        for (kind, codec) in [(1, Codec::Zstd), (2, Codec::Lz4), (3, Codec::Snappy)] {
            let settings = CompressionSettings::new(true, kind, 3).expect("valid");
            let mut out = ZeroizingBytes::new(Vec::new());
            Compressor::new(&settings, None).compress(BlockKind::Leaf, &raw, &mut out);
            for len in wrong_lengths {
                assert!(decompress(codec, &out, len, None).is_err(), "{codec:?} as {len} bytes");
            }
            assert!(decompress(codec, &out[..out.len() / 2], raw.len(), None).is_err());
        }
        assert!(decompress(Codec::ZstdDict, &raw, raw.len(), None).is_err());
        assert!(decompress(Codec::Stored, &raw, raw.len() - 1, None).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_survive_every_kind(raw in proptest::collection::vec(0u8..8, 1..3000), kind in 0u32..4, level in -7i32..10) {
            let settings = CompressionSettings::new(true, kind, level).expect("valid");
            let mut compressor = Compressor::new(&settings, None);
            for _ in 0..3 {
                there_and_back(&mut compressor, None, BlockKind::Leaf, &raw);
            }
        }

        #[test]
        fn any_bytes_can_be_decompressed_without_panic(stored in proptest::collection::vec(any::<u8>(), 0..300), codec in 0u8..5, len in 0usize..5000) {
            let codec = Codec::from_u8(codec).expect("known");
            if let Ok(raw) = decompress(codec, &stored, len, None) {
                prop_assert_eq!(raw.len(), len);
            }
        }
    }
}
