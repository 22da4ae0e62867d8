//! Extents: large values, kept outside the trees in chunks, so that merges do not copy them.
//!
//! ```text
//! reference: len varint | digest [32] | chunk count varint | chunk pointer, as often
//! ```
//!
//! The digest is a keyed BLAKE3 of the value, so it stays the same when the chunks move.

use lightning_db_crypto::{ContentHasher, StreamDigest};

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::pointer::{BlockKind, BlockPtr, BlockSink, BlockSource};
use crate::segment::{SegmentKind, segment_file_name};
use crate::{Result, SegmentId, StorageError, ZeroizingBytes};

/// Every chunk but the last has this many bytes.
pub const CHUNK_LEN: usize = 1 << 20;

/// Refers to a value outside the tree. It stands in a leaf in the value's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentRef {
    /// Bytes of the value.
    pub len: u64,
    /// The keyed digest of the value.
    pub digest: [u8; 32],
    /// The blocks that hold the value, in order; none for an empty one.
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

    /// Bytes of the chunks on disk.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.stored_len)).sum()
    }
}

/// Takes a value in pieces and writes it in chunks.
pub struct ExtentWriter<'a> {
    sink: &'a mut dyn BlockSink,
    digest: StreamDigest,
    chunk: ZeroizingBytes,
    len: u64,
    chunks: Vec<BlockPtr>,
}

impl<'a> ExtentWriter<'a> {
    /// A writer of one value.
    #[must_use]
    pub fn new(sink: &'a mut dyn BlockSink, hasher: &ContentHasher) -> Self {
        Self {
            sink,
            digest: hasher.value(),
            chunk: ZeroizingBytes::new(Vec::new()),
            len: 0,
            chunks: Vec::new(),
        }
    }

    /// Takes the next piece, of any length.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&mut self, mut piece: &[u8]) -> Result<()> {
        self.digest.update(piece);
        self.len += piece.len() as u64;
        while !piece.is_empty() {
            if self.chunk.is_empty() && piece.len() >= CHUNK_LEN {
                let (whole, rest) = piece.split_at(CHUNK_LEN);
                self.chunks.push(self.sink.append(BlockKind::Extent, whole)?);
                piece = rest;
                continue;
            }
            if self.chunk.capacity() == 0 {
                // All at once: a buffer that grows leaves unwiped copies behind.
                self.chunk.reserve_exact(CHUNK_LEN);
            }
            let (head, rest) = piece.split_at(piece.len().min(CHUNK_LEN - self.chunk.len()));
            self.chunk.extend_from_slice(head);
            piece = rest;
            if self.chunk.len() == CHUNK_LEN {
                self.write_chunk()?;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> Result<ExtentRef> {
        if !self.chunk.is_empty() {
            self.write_chunk()?;
        }
        Ok(ExtentRef { len: self.len, digest: self.digest.finish(), chunks: self.chunks })
    }

    fn write_chunk(&mut self) -> Result<()> {
        self.chunks.push(self.sink.append(BlockKind::Extent, &self.chunk)?);
        self.chunk.clear();
        Ok(())
    }
}

/// Writes a value that is in memory.
///
/// # Errors
/// Those of the sink.
pub fn write_extent(sink: &mut dyn BlockSink, hasher: &ContentHasher, value: &[u8]) -> Result<ExtentRef> {
    let mut writer = ExtentWriter::new(sink, hasher);
    writer.write(value)?;
    writer.finish()
}

/// Reads a value chunk by chunk.
pub struct ExtentReader<'a> {
    source: &'a dyn BlockSource,
    chunks: std::slice::Iter<'a, BlockPtr>,
}

impl<'a> ExtentReader<'a> {
    /// A reader of one value.
    #[must_use]
    pub fn new(source: &'a dyn BlockSource, extent: &'a ExtentRef) -> Self {
        Self { source, chunks: extent.chunks.iter() }
    }
}

impl Iterator for ExtentReader<'_> {
    type Item = Result<ZeroizingBytes>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.source.read_block(BlockKind::Extent, self.chunks.next()?))
    }
}

/// Reads a whole value. Each chunk is authenticated by its pointer; the digest is left to [`verify_extent`].
///
/// # Errors
/// Those of the source; `Corrupt` when the chunks do not add up to the length.
pub fn read_extent(source: &dyn BlockSource, extent: &ExtentRef) -> Result<ZeroizingBytes> {
    let total: u64 = extent.chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum();
    let len = usize::try_from(extent.len).ok().filter(|_| total == extent.len);
    let len =
        len.ok_or_else(|| damaged(extent, "the chunks of a large value do not add up to its length"))?;
    let mut value = ZeroizingBytes::new(Vec::with_capacity(len));
    for chunk in ExtentReader::new(source, extent) {
        value.extend_from_slice(&chunk?);
    }
    Ok(value)
}

/// Copies the chunks to `sink`, for a cleaner that empties their segments. The value stays the same.
///
/// # Errors
/// Those of the source and of the sink.
pub fn move_extent(
    source: &dyn BlockSource,
    sink: &mut dyn BlockSink,
    extent: &ExtentRef,
) -> Result<ExtentRef> {
    let mut moved = ExtentRef { chunks: Vec::with_capacity(extent.chunks.len()), ..*extent };
    for chunk in ExtentReader::new(source, extent) {
        moved.chunks.push(sink.append(BlockKind::Extent, &chunk?)?);
    }
    Ok(moved)
}

/// Reads a whole value, a chunk at a time, and compares it with its length and digest.
///
/// # Errors
/// Those of the source; `Corrupt` for a difference.
pub fn verify_extent(source: &dyn BlockSource, hasher: &ContentHasher, extent: &ExtentRef) -> Result<()> {
    let mut digest = hasher.value();
    let mut len = 0u64;
    for chunk in ExtentReader::new(source, extent) {
        let chunk = chunk?;
        digest.update(&chunk);
        len += chunk.len() as u64;
    }
    if len == extent.len && digest.finish() == extent.digest {
        return Ok(());
    }
    Err(damaged(extent, "the chunks of a large value are not those of its digest"))
}

fn damaged(extent: &ExtentRef, what: &str) -> StorageError {
    let (segment, offset) =
        extent.chunks.first().map_or((SegmentId(0), 0), |chunk| (chunk.segment, chunk.offset));
    StorageError::corrupt(segment_file_name(SegmentKind::Value, segment), offset, what)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Generation;
    use crate::pointer::Codec;
    use crate::segment::testing::{context, ids_from, options};
    use crate::segment::{ReadMode, SealContext, SegmentSetOptions, SegmentSetWriter, Segments};

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

    /// A value of `len` bytes in which no chunk is like another.
    fn value(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 1000 + at % 7) as u8).collect()
    }

    fn values_of(ctx: &Arc<SealContext>) -> SegmentSetWriter {
        let writer = options(SegmentKind::Value);
        let set = SegmentSetOptions { writer, segment_size: 3 << 20, trainer: None };
        SegmentSetWriter::new(ctx, set, ids_from(1))
    }

    fn opened(ctx: &SealContext, writer: SegmentSetWriter) -> Segments {
        let segments = Segments::new();
        for info in writer.finish().expect("finished") {
            segments.open(ctx, &info, ReadMode::default()).expect("opens");
        }
        segments
    }

    #[test]
    fn values_of_all_lengths_come_back_from_several_segments() {
        let (_, ctx) = context();
        let hasher = ctx.keyring.read().content_hasher();
        let lengths = [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 5 * CHUNK_LEN + 77];
        let mut writer = values_of(&ctx);
        let write = |len: &usize| write_extent(&mut writer, &hasher, &value(*len)).expect("written");
        let extents: Vec<ExtentRef> = lengths.iter().map(write).collect();
        let segments = opened(&ctx, writer);
        for (extent, len) in extents.iter().zip(lengths) {
            assert_eq!(extent.len, len as u64);
            assert_eq!(extent.chunks.len(), len.div_ceil(CHUNK_LEN));
            assert_eq!(extent.stored_bytes(), len as u64, "stored without compression");
            assert_eq!(*read_extent(&segments, extent).expect("reads"), value(len));
            verify_extent(&segments, &hasher, extent).expect("whole");
        }
        let last = &extents[5].chunks;
        assert_ne!(last.first().map(|chunk| chunk.segment), last.last().map(|chunk| chunk.segment));
    }

    #[test]
    fn how_a_value_is_cut_into_pieces_makes_no_difference() {
        let (_, ctx) = context();
        let hasher = ctx.keyring.read().content_hasher();
        let value = value(2 * CHUNK_LEN + 500);
        let mut sink = values_of(&ctx);
        let whole = write_extent(&mut sink, &hasher, &value).expect("written");
        let mut extents = Vec::new();
        for piece_len in [999, CHUNK_LEN - 1, CHUNK_LEN + 1] {
            let mut writer = ExtentWriter::new(&mut sink, &hasher);
            value.chunks(piece_len).for_each(|piece| writer.write(piece).expect("taken"));
            extents.push(writer.finish().expect("written"));
        }
        let segments = opened(&ctx, sink);
        for extent in extents {
            assert_eq!((extent.len, extent.digest), (whole.len, whole.digest));
            let raw_lens =
                |extent: &ExtentRef| extent.chunks.iter().map(|chunk| chunk.raw_len).collect::<Vec<_>>();
            assert_eq!(raw_lens(&extent), raw_lens(&whole));
            assert_eq!(*read_extent(&segments, &extent).expect("reads"), value);
        }
    }

    #[test]
    fn a_value_stays_the_same_when_its_chunks_move() {
        let (_, ctx) = context();
        let hasher = ctx.keyring.read().content_hasher();
        let value = value(CHUNK_LEN + 5);
        let mut first = values_of(&ctx);
        let extent = write_extent(&mut first, &hasher, &value).expect("written");
        let old = opened(&ctx, first);
        let set = SegmentSetOptions { writer: options(SegmentKind::Value), segment_size: 1, trainer: None };
        let mut second = SegmentSetWriter::new(&ctx, set, ids_from(50));
        let moved = move_extent(&old, &mut second, &extent).expect("moved");
        let new = opened(&ctx, second);
        assert!(moved.chunks.iter().all(|chunk| chunk.segment.0 >= 50));
        assert_eq!((moved.len, moved.digest), (extent.len, extent.digest));
        verify_extent(&new, &hasher, &moved).expect("whole");
        assert_eq!(*read_extent(&new, &moved).expect("reads"), value);
    }

    #[test]
    fn chunks_of_another_value_or_in_another_order_are_found() {
        let (_, ctx) = context();
        let hasher = ctx.keyring.read().content_hasher();
        let mut writer = values_of(&ctx);
        let good = write_extent(&mut writer, &hasher, &value(2 * CHUNK_LEN)).expect("written");
        let other = write_extent(&mut writer, &hasher, &vec![1; CHUNK_LEN]).expect("written");
        let segments = opened(&ctx, writer);
        let corrupt = |extent: &ExtentRef| {
            let found = verify_extent(&segments, &hasher, extent);
            assert!(matches!(found, Err(StorageError::Corrupt { .. })), "{found:?}");
        };
        corrupt(&ExtentRef { chunks: good.chunks.iter().rev().copied().collect(), ..good.clone() });
        corrupt(&ExtentRef { chunks: vec![good.chunks[0], other.chunks[0]], ..good.clone() });
        let missing = ExtentRef { chunks: vec![good.chunks[0]], ..good };
        corrupt(&missing);
        assert!(matches!(read_extent(&segments, &missing), Err(StorageError::Corrupt { .. })));
    }
}
