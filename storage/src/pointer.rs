//! Pointers to sealed blocks, and the two seams through which trees write and read them.
//!
//! A pointer stands in the parent of what it points to, up to the manifest. Whatever is needed to open a block is in
//! it, the tag included, so that nothing about a block is believed because the block says so.
//!
//! ```text
//! segment varint | offset varint | stored_len varint | raw_len varint | codec u8 | birth varint | tag [16]
//! ```

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::{Generation, Result, SegmentId, ZeroizingBytes};

/// The most bytes that one block holds before compression. A pointer that claims more is malformed, so that nothing
/// is allocated for it.
pub const MAX_BLOCK_LEN: u32 = 64 << 20;

/// How the bytes of a block were compressed before they were sealed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Stored = 0,
    /// Zstd without a dictionary.
    Zstd = 1,
    /// Zstd with the dictionary that the block's own segment carries.
    ZstdDict = 2,
    /// LZ4, block format.
    Lz4 = 3,
    /// Snappy, raw format.
    Snappy = 4,
}

impl Codec {
    /// The codec with this number on disk.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Stored),
            1 => Some(Self::Zstd),
            2 => Some(Self::ZstdDict),
            3 => Some(Self::Lz4),
            4 => Some(Self::Snappy),
            _ => None,
        }
    }
}

/// What a block holds. It is part of what the block's tag authenticates: a leaf never opens as an inner page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum BlockKind {
    /// A leaf page of a tree.
    Leaf = 1,
    /// An inner page of a tree.
    Inner = 2,
    /// A piece of a large value.
    Extent = 3,
    /// A piece of a filter over keys.
    Filter = 4,
    /// The compression dictionary of a segment.
    Dictionary = 5,
    /// The end of a segment.
    Footer = 6,
}

/// Where a block is and all that is needed to open it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockPtr {
    /// The segment that holds the block.
    pub segment: SegmentId,
    /// The first byte of the block in the segment's file; also its nonce.
    pub offset: u64,
    /// Bytes in the file.
    pub stored_len: u32,
    /// Bytes once decompressed.
    pub raw_len: u32,
    /// How it is compressed.
    pub codec: Codec,
    /// The generation under which it was written.
    pub birth: Generation,
    /// The tag that authenticates it.
    pub tag: [u8; 16],
}

impl BlockPtr {
    /// The fewest bytes that an encoded pointer takes; for [`ByteReader::count`].
    pub const MIN_ENCODED_LEN: usize = 6 + 16;

    /// Appends the pointer.
    pub fn encode(&self, out: &mut ByteWriter) {
        out.varint(self.segment.0)
            .varint(self.offset)
            .varint(u64::from(self.stored_len))
            .varint(u64::from(self.raw_len))
            .u8(self.codec as u8)
            .varint(self.birth.0)
            .raw(&self.tag);
    }

    /// Reads a pointer. Refused when no writer can have made it: an empty block, one that grew by compression, one
    /// beyond [`MAX_BLOCK_LEN`].
    pub fn decode(input: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        let segment = SegmentId(input.varint("block segment")?);
        let offset = input.varint("block offset")?;
        let stored_len = input.varint_u32("block stored length")?;
        let raw_len = input.varint_u32("block raw length")?;
        let codec = Codec::from_u8(input.u8("block codec")?).ok_or(Malformed { what: "block codec" })?;
        let birth = Generation(input.varint("block birth")?);
        let tag = input.array("block tag")?;
        let ptr = Self { segment, offset, stored_len, raw_len, codec, birth, tag };
        if ptr.is_plausible() { Ok(ptr) } else { Err(Malformed { what: "block length" }) }
    }

    /// The first byte after the block, if the file offsets allow it.
    #[must_use]
    pub const fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.stored_len as u64)
    }

    /// Whether lengths and codec can be those of a written block. A block takes at least one byte, because its offset
    /// is its nonce and two blocks must not share one.
    pub(crate) const fn is_plausible(&self) -> bool {
        let sizes = self.stored_len >= 1 && self.stored_len <= self.raw_len && self.raw_len <= MAX_BLOCK_LEN;
        let stored = !matches!(self.codec, Codec::Stored) || self.stored_len == self.raw_len;
        sizes && stored && self.end().is_some()
    }
}

/// Reads sealed blocks.
pub trait BlockSource: Send + Sync {
    /// The bytes of the block at `ptr`, authenticated and decompressed: exactly `ptr.raw_len` of them.
    ///
    /// # Errors
    /// `Corrupt` when the block is not the one that was written, an I/O error when it cannot be read.
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes>;
}

/// Takes blocks in the order in which they should lie on disk.
pub trait BlockSink {
    /// Compresses, seals and appends one block of 1 to [`MAX_BLOCK_LEN`] bytes.
    ///
    /// # Errors
    /// An I/O error, after which every further call fails as well.
    fn append(&mut self, kind: BlockKind, raw: &[u8]) -> Result<BlockPtr>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BlockPtr {
        BlockPtr {
            segment: SegmentId(300),
            offset: 1 << 40,
            stored_len: 1000,
            raw_len: 4096,
            codec: Codec::Lz4,
            birth: Generation(7),
            tag: [9; 16],
        }
    }

    fn decoded(ptr: &BlockPtr) -> Result<BlockPtr, Malformed> {
        let mut out = ByteWriter::new();
        ptr.encode(&mut out);
        BlockPtr::decode(&mut ByteReader::new(out.as_slice()))
    }

    #[test]
    fn pointers_come_back_and_every_truncation_is_refused() {
        let mut out = ByteWriter::new();
        sample().encode(&mut out);
        assert!(out.len() >= BlockPtr::MIN_ENCODED_LEN);
        let mut reader = ByteReader::new(out.as_slice());
        assert_eq!(BlockPtr::decode(&mut reader), Ok(sample()));
        assert_eq!(reader.finish("end"), Ok(()));
        for len in 0..out.len() {
            assert!(BlockPtr::decode(&mut ByteReader::new(&out.as_slice()[..len])).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn pointers_that_no_writer_makes_are_refused() {
        let good = sample();
        for bad in [
            BlockPtr { stored_len: 0, ..good },
            BlockPtr { stored_len: 4097, ..good },
            BlockPtr { codec: Codec::Stored, ..good },
            BlockPtr { raw_len: MAX_BLOCK_LEN + 1, ..good },
            BlockPtr { offset: u64::MAX, ..good },
        ] {
            assert!(decoded(&bad).is_err(), "{bad:?}");
        }
    }
}
