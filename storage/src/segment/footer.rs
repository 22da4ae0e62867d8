//! The end of a segment: proof that it is whole.
//!
//! ```text
//!  0  sealed: blocks u64 | block bytes u64 | content length u64 | BLAKE3 of the content [32]      56
//! 56  tag                                                                                          16
//! 72  length of the above u32, 72                                                                   4
//! 76  magic "LDBE"                                                                                  4
//! ```
//!
//! The content is all that precedes the footer. Its offset is its nonce, as for a block.

use std::path::Path;

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::pointer::{BlockKind, BlockPtr, Codec};
use crate::{Generation, Result, StorageError};

use super::seal::BlockSealer;

const FIELDS_LEN: usize = 56;
const SEALED_LEN: usize = FIELDS_LEN + 16;
const TRAILER: [u8; 8] = [SEALED_LEN as u8, 0, 0, 0, b'L', b'D', b'B', b'E'];

/// Bytes of a footer.
pub(super) const FOOTER_LEN: usize = SEALED_LEN + TRAILER.len();

/// What the writer counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Footer {
    pub(super) blocks: u64,
    pub(super) stored_bytes: u64,
    pub(super) content_len: u64,
    pub(super) content_hash: [u8; 32],
}

impl Footer {
    /// The footer's bytes, to be written at `content_len`.
    pub(super) fn seal(&self, sealer: &BlockSealer) -> Result<Vec<u8>> {
        let mut fields = ByteWriter::new();
        fields.u64(self.blocks).u64(self.stored_bytes).u64(self.content_len).raw(&self.content_hash);
        let mut out = fields.into_vec();
        let ptr = sealer.seal(BlockKind::Footer, place(sealer, self.content_len, [0; 16]), &mut out)?;
        out.extend_from_slice(&ptr.tag);
        out.extend_from_slice(&TRAILER);
        Ok(out)
    }

    /// Opens the footer that was read at `offset`.
    pub(super) fn open(
        sealer: &BlockSealer,
        file: &Path,
        offset: u64,
        bytes: &[u8; FOOTER_LEN],
    ) -> Result<Self> {
        let corrupt = |what: &str| StorageError::corrupt(file, offset, what);
        let (sealed, trailer) = bytes.split_at(SEALED_LEN);
        if trailer != TRAILER {
            return Err(corrupt("the segment does not end as a finished one does"));
        }
        let (fields, tag) = sealed.split_at(FIELDS_LEN);
        let mut fields = fields.to_vec();
        let tag = tag.try_into().map_err(|_| corrupt("the footer has no tag"))?;
        let opened = sealer.open(BlockKind::Footer, &place(sealer, offset, tag), &mut fields);
        opened.map_err(|_| corrupt("the footer does not open"))?;
        Self::fields(&mut ByteReader::new(&fields)).map_err(|malformed| corrupt(&malformed.to_string()))
    }

    fn fields(input: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            blocks: input.u64("footer blocks")?,
            stored_bytes: input.u64("footer bytes")?,
            content_len: input.u64("footer length")?,
            content_hash: input.array("footer hash")?,
        })
    }
}

fn place(sealer: &BlockSealer, offset: u64, tag: [u8; 16]) -> BlockPtr {
    let len = FIELDS_LEN as u32;
    let segment = sealer.segment();
    BlockPtr {
        segment,
        offset,
        stored_len: len,
        raw_len: len,
        codec: Codec::Stored,
        birth: Generation(0),
        tag,
    }
}
