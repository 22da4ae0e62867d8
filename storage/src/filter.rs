//! Filters over the keys of a run: whether a key may be in it, answered from memory.
//!
//! A Bloom filter in blocks of 64 bytes: each key sets and tests bits of one block only, so a test costs one cache
//! line. Ten bits a key and six probes let about one key in a hundred through that is not there.
//!
//! ```text
//! version u8 = 1 | probes u8 | block count u32 | blocks, each 8 × u64
//! ```

use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::pointer::MAX_BLOCK_LEN;

/// Bits in the filter for each key that is expected.
pub const BITS_PER_KEY: u64 = 10;

const VERSION: u8 = 1;
const PROBES: u8 = 6;
const MAX_PROBES: u8 = 16;
const WORDS: usize = 8;
const BLOCK_BITS: u64 = 512;
const BLOCK_LEN: usize = 64;
const HEADER_LEN: usize = 6;
/// As many as fit one block on disk.
const MAX_BLOCKS: u64 = (MAX_BLOCK_LEN as usize - HEADER_LEN) as u64 / BLOCK_LEN as u64;

type Block = [u64; WORDS];

/// The hash by which filters know a key.
#[inline]
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Collects keys into a filter.
#[derive(Debug)]
pub struct FilterBuilder {
    blocks: Vec<Block>,
}

impl FilterBuilder {
    /// A filter with room for `keys` keys. More are taken, at the price of more false answers. Memory:
    /// [`BITS_PER_KEY`] bits a key, at most what one block on disk holds: enough for 50 million keys.
    #[must_use]
    pub fn new(keys: u64) -> Self {
        let blocks = keys.saturating_mul(BITS_PER_KEY).div_ceil(BLOCK_BITS).clamp(1, MAX_BLOCKS);
        Self { blocks: vec![[0; WORDS]; blocks as usize] }
    }

    /// Adds the key with this [`key_hash`].
    #[inline]
    pub fn insert(&mut self, hash: u64) {
        let index = block_of(hash, self.blocks.len());
        let block = &mut self.blocks[index];
        for bit in probes(hash, PROBES) {
            block[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// The filter over the keys added.
    #[must_use]
    pub fn finish(self) -> Filter {
        Filter { blocks: self.blocks.into_boxed_slice(), probes: PROBES }
    }
}

/// A filter over keys. It may say "maybe" of a key that is not there, and never "no" of one that is.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter {
    blocks: Box<[Block]>,
    probes: u8,
}

impl Filter {
    /// Whether the key with this [`key_hash`] may be among the keys.
    #[inline]
    #[must_use]
    pub fn may_contain(&self, hash: u64) -> bool {
        let block = &self.blocks[block_of(hash, self.blocks.len())];
        probes(hash, self.probes).all(|bit| block[bit / 64] >> (bit % 64) & 1 == 1)
    }

    /// The memory that the filter takes, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.blocks)
    }

    /// The filter as bytes, which the caller stores as one block of kind
    /// [`Filter`](crate::pointer::BlockKind::Filter).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::with_capacity(HEADER_LEN + self.blocks.len() * BLOCK_LEN);
        out.u8(VERSION).u8(self.probes).u32(self.blocks.len() as u32);
        for word in self.blocks.as_flattened() {
            out.u64(*word);
        }
        out.into_vec()
    }

    /// Reads a filter.
    ///
    /// # Errors
    /// `Malformed` names the field that cannot be right.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = ByteReader::new(bytes);
        if input.u8("filter version")? != VERSION {
            return Err(Malformed { what: "filter version" });
        }
        let probes = input.u8("filter probes")?;
        let count = input.u32("filter block count")? as usize;
        let (words, rest) = input.rest().as_chunks::<8>();
        let whole =
            rest.is_empty() && words.len().checked_div(WORDS) == Some(count) && words.len() % WORDS == 0;
        if !(1..=MAX_PROBES).contains(&probes) || count == 0 || !whole {
            return Err(Malformed { what: "filter length" });
        }
        let (blocks, _) = words.as_chunks::<WORDS>();
        let blocks = blocks.iter().map(|block| block.map(u64::from_le_bytes)).collect();
        Ok(Self { blocks, probes })
    }
}

/// Shows the size; the bits tell of the keys.
impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} blocks)", self.blocks.len())
    }
}

/// The block of a key: its hash's upper half, scaled to the number of blocks.
#[inline]
const fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// The bits of a key within its block: steps of an odd width from a start, mixed anew from the whole hash so that
/// keys of one block do not share them.
#[inline]
fn probes(hash: u64, count: u8) -> impl Iterator<Item = usize> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (start, step) = (mixed >> 40, mixed >> 13 | 1);
    (0..u64::from(count)).map(move |n| (start.wrapping_add(step.wrapping_mul(n)) % BLOCK_BITS) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(keys: std::ops::Range<u64>) -> Filter {
        let mut builder = FilterBuilder::new(keys.end - keys.start);
        keys.for_each(|key| builder.insert(key_hash(&key.to_be_bytes())));
        builder.finish()
    }

    fn may_contain(filter: &Filter, key: u64) -> bool {
        filter.may_contain(key_hash(&key.to_be_bytes()))
    }

    #[test]
    fn no_key_is_denied_and_few_strangers_pass() {
        let filter = filter(0..50_000);
        assert!((0..50_000).all(|key| may_contain(&filter, key)));
        let passed = (1_000_000..1_100_000).filter(|&key| may_contain(&filter, key)).count();
        assert!(passed < 1_500, "{passed} of 100,000 strangers pass");
        assert!(filter.memory_bytes() < 50_000 * 10 / 8 + 200);
    }

    #[test]
    fn an_empty_filter_denies_everything_and_an_overfull_one_nothing_it_holds() {
        let empty = FilterBuilder::new(0).finish();
        assert!((0..1000).all(|key| !may_contain(&empty, key)));
        let mut builder = FilterBuilder::new(1);
        (0..1000u64).for_each(|key| builder.insert(key_hash(&key.to_be_bytes())));
        let overfull = builder.finish();
        assert!((0..1000).all(|key| may_contain(&overfull, key)));
    }

    #[test]
    fn the_largest_filter_fits_one_block() {
        let filter = FilterBuilder::new(u64::MAX).finish();
        assert!(filter.encode().len() <= MAX_BLOCK_LEN as usize);
    }

    #[test]
    fn bytes_come_back_and_false_lengths_are_refused() {
        let filter = filter(0..500);
        let bytes = filter.encode();
        assert_eq!(Filter::decode(&bytes).as_ref(), Ok(&filter));
        for len in 0..bytes.len() {
            assert!(Filter::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(Filter::decode(&[&bytes[..], &[0]].concat()).is_err());
        for (at, value) in [(0, 2), (1, 0), (1, 17), (2, 0), (5, 1)] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert!(Filter::decode(&wrong).is_err(), "byte {at} = {value}");
        }
    }
}
