//! Which codec to use for the next block, found by trying them on one block in sixteen.
//!
//! The score weighs bytes on disk against the time to open. It counts, it does not measure time, so that the same
//! blocks give the same file on every machine and in every simulation.

use crate::pointer::{BlockKind, Codec};

use super::codec::Encoders;

use crate::ZeroizingBytes;

/// One block in this many is tried with every codec; those between follow the winner.
const TRIAL_EVERY: u8 = 16;

/// A block longer than this is always tried, on its first bytes: it costs little beside its length, and neighbouring
/// large values have little in common.
const SAMPLE_LEN: usize = 16 << 10;

/// The last winner for each kind of block.
#[derive(Default)]
pub(super) struct AdaptiveChoice {
    kinds: [KindChoice; 8],
}

#[derive(Clone, Copy)]
struct KindChoice {
    winner: Codec,
    until_trial: u8,
}

impl Default for KindChoice {
    fn default() -> Self {
        Self { winner: Codec::Stored, until_trial: 0 }
    }
}

impl AdaptiveChoice {
    /// The codec for this block; `scratch` is overwritten.
    pub(super) fn choose(
        &mut self,
        kind: BlockKind,
        raw: &[u8],
        encoders: &mut Encoders,
        scratch: &mut ZeroizingBytes,
    ) -> Codec {
        let choice = &mut self.kinds[kind as usize % 8];
        if choice.until_trial == 0 || raw.len() > SAMPLE_LEN {
            choice.winner = try_all(kind, &raw[..raw.len().min(SAMPLE_LEN)], encoders, scratch);
            choice.until_trial = TRIAL_EVERY;
        }
        choice.until_trial -= 1;
        choice.winner
    }
}

fn try_all(kind: BlockKind, sample: &[u8], encoders: &mut Encoders, scratch: &mut ZeroizingBytes) -> Codec {
    let mut best = (score(Codec::Stored, sample.len(), sample.len()), Codec::Stored);
    let mut consider = |codec: Codec| {
        if encoders.encode(codec, sample, scratch) {
            let score = score(codec, scratch.len(), sample.len());
            if score < best.0 {
                best = (score, codec);
            }
        }
    };
    consider(Codec::Lz4);
    consider(Codec::Snappy);
    consider(Codec::Zstd);
    if matches!(kind, BlockKind::Leaf) {
        consider(Codec::ZstdDict);
    }
    best.1
}

/// Stored bytes, and the time to open expressed in stored bytes. Smaller is better.
const fn score(codec: Codec, stored_len: usize, raw_len: usize) -> u64 {
    stored_len as u64 * 1024 + raw_len as u64 * open_cost(codec)
}

/// What decompressing 1024 raw bytes costs, in stored bytes. The proportions are those measured on pages of rows (LZ4
/// and Snappy 0.2 ns a byte over copying, Zstd 0.8, with a dictionary 0.4); the scale says that Zstd must make a page a
/// thirteenth smaller to pay for its time.
const fn open_cost(codec: Codec) -> u64 {
    match codec {
        Codec::Stored => 0,
        Codec::Lz4 | Codec::Snappy => 20,
        Codec::ZstdDict => 40,
        Codec::Zstd => 80,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{noise, page_of_rows};
    use super::*;

    fn chosen(kind: BlockKind, raw: &[u8]) -> Codec {
        let mut scratch = ZeroizingBytes::new(Vec::new());
        AdaptiveChoice::default().choose(kind, raw, &mut Encoders::new(3, None), &mut scratch)
    }

    #[test]
    fn each_kind_of_data_gets_the_codec_that_suits_it() {
        assert_eq!(chosen(BlockKind::Leaf, &noise(4096)), Codec::Stored);
        assert_eq!(chosen(BlockKind::Leaf, &page_of_rows(1)), Codec::Zstd);
        // A repeated byte shrinks to almost nothing in all of them: the fastest wins.
        assert_eq!(chosen(BlockKind::Leaf, &[7; 4096]), Codec::Lz4);
    }

    #[test]
    fn a_winner_stays_for_the_next_blocks_of_its_kind_only() {
        let mut choice = AdaptiveChoice::default();
        let mut encoders = Encoders::new(3, None);
        let mut scratch = ZeroizingBytes::new(Vec::new());
        let mut choose = |kind, raw: &[u8]| choice.choose(kind, raw, &mut encoders, &mut scratch);
        assert_eq!(choose(BlockKind::Leaf, &page_of_rows(1)), Codec::Zstd);
        assert_eq!(choose(BlockKind::Inner, &noise(4096)), Codec::Stored);
        for _ in 1..TRIAL_EVERY {
            assert_eq!(choose(BlockKind::Leaf, &noise(4096)), Codec::Zstd);
        }
        assert_eq!(choose(BlockKind::Leaf, &noise(4096)), Codec::Stored);
    }

    #[test]
    fn large_blocks_are_judged_one_by_one() {
        let mut choice = AdaptiveChoice::default();
        let mut encoders = Encoders::new(3, None);
        let mut scratch = ZeroizingBytes::new(Vec::new());
        let text: Vec<u8> = (0..60).flat_map(page_of_rows).collect();
        let mut choose = |raw: &[u8]| choice.choose(BlockKind::Extent, raw, &mut encoders, &mut scratch);
        assert_eq!(choose(&text), Codec::Zstd);
        assert_eq!(choose(&noise(100_000)), Codec::Stored);
        assert_eq!(choose(&text), Codec::Zstd);
    }
}
