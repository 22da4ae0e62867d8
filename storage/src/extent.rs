//! Extents: large values, kept outside the trees in chunks, so that merges do not copy them.
//!
//! ```text
//! reference: len varint | digest [32] | chunk count varint | chunk pointer, as often
//! ```

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::pointer::BlockPtr;

/// Refers to a value outside the tree. It stands in a leaf in the value's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentRef {
    /// Bytes of the value.
    pub len: u64,
    /// The keyed digest of the value.
    pub digest: [u8; 32],
    /// The blocks that hold the value, in order.
    pub chunks: Vec<BlockPtr>,
}

impl ExtentRef {
    /// Appends the reference.
    pub fn encode(&self, out: &mut ByteWriter) {
        out.varint(self.len).raw(&self.digest).varint(self.chunks.len() as u64);
        self.chunks.iter().for_each(|chunk| chunk.encode(out));
    }

    /// Reads a reference. The lengths of its chunks add up to the value's.
    ///
    /// # Errors
    /// `Malformed` names the field that cannot be right.
    pub fn decode(input: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        let len = input.varint("extent length")?;
        let digest = input.array("extent digest")?;
        let count = input.count(BlockPtr::MIN_ENCODED_LEN, "extent chunk count")?;
        let chunks = (0..count).map(|_| BlockPtr::decode(input)).collect::<Result<Vec<_>, _>>()?;
        let sum = chunks.iter().try_fold(0u64, |sum, chunk| sum.checked_add(u64::from(chunk.raw_len)));
        if sum != Some(len) {
            return Err(Malformed { what: "extent length" });
        }
        Ok(Self { len, digest, chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pointer::Codec;
    use crate::{Generation, SegmentId};

    fn chunk(raw_len: u32) -> BlockPtr {
        let (segment, birth) = (SegmentId(9), Generation(2));
        BlockPtr { segment, offset: 128, stored_len: 10, raw_len, codec: Codec::Zstd, birth, tag: [4; 16] }
    }

    #[test]
    fn references_come_back_and_false_lengths_are_refused() {
        let good = ExtentRef { len: 300, digest: [1; 32], chunks: vec![chunk(200), chunk(100)] };
        for (len, accepted) in [(300, true), (299, false), (301, false), (0, false)] {
            let reference = ExtentRef { len, ..good.clone() };
            let mut out = ByteWriter::new();
            reference.encode(&mut out);
            assert_eq!(
                ExtentRef::decode(&mut ByteReader::new(out.as_slice())).ok(),
                accepted.then_some(reference)
            );
            for cut in 0..out.len() {
                assert!(
                    ExtentRef::decode(&mut ByteReader::new(&out.as_slice()[..cut])).is_err(),
                    "cut at {cut}"
                );
            }
        }
    }
}
