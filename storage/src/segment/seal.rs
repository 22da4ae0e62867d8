//! Sealing and opening the blocks of one segment.
//!
//! The nonce is the block's offset, eight bytes, and four zeros. The associated data says all that is known about
//! the block before it is opened:
//!
//! ```text
//!  0  format version     4      32  incarnation       16
//!  4  suite              1      48  segment id         8
//!  5  segment kind       1      56  offset             8
//!  6  block kind         1      64  birth generation   8
//!  7  codec              1      72  stored length      4
//!  8  key domain         2      76  raw length         4
//! 10  zeros              2
//! 12  key epoch          4
//! 16  database id       16
//! ```

use lightning_db_crypto::{AeadKey, CryptoError, Nonce};

use crate::pointer::{BlockKind, BlockPtr};
use crate::{Result, SegmentId};

use super::{FORMAT_VERSION, SealContext, SegmentHeader};

const ASSOCIATED_LEN: usize = 80;

/// The key of one segment, and what each of its blocks has in common.
pub(super) struct BlockSealer {
    key: Box<dyn AeadKey>,
    segment: SegmentId,
    common: [u8; ASSOCIATED_LEN],
}

impl BlockSealer {
    pub(super) fn new(ctx: &SealContext, header: &SegmentHeader) -> Result<Self> {
        Ok(Self { key: header.key(ctx)?, segment: header.id, common: common(header) })
    }

    pub(super) const fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Seals `in_out` in place, to lie where `place` says, and completes the pointer with its tag. The caller never
    /// uses an offset twice.
    pub(super) fn seal(
        &self,
        kind: BlockKind,
        place: BlockPtr,
        in_out: &mut [u8],
    ) -> Result<BlockPtr, CryptoError> {
        let tag = self.key.seal_detached(&nonce(place.offset), &self.associated(kind, &place), in_out)?;
        Ok(BlockPtr { tag, ..place })
    }

    /// Opens `in_out` in place; on failure it is filled with zeros.
    pub(super) fn open(&self, kind: BlockKind, ptr: &BlockPtr, in_out: &mut [u8]) -> Result<(), CryptoError> {
        self.key.open_detached(&nonce(ptr.offset), &self.associated(kind, ptr), in_out, &ptr.tag)
    }

    fn associated(&self, kind: BlockKind, ptr: &BlockPtr) -> [u8; ASSOCIATED_LEN] {
        let mut out = self.common;
        out[6] = kind as u8;
        out[7] = ptr.codec as u8;
        out[48..56].copy_from_slice(&ptr.segment.0.to_le_bytes());
        out[56..64].copy_from_slice(&ptr.offset.to_le_bytes());
        out[64..72].copy_from_slice(&ptr.birth.0.to_le_bytes());
        out[72..76].copy_from_slice(&ptr.stored_len.to_le_bytes());
        out[76..80].copy_from_slice(&ptr.raw_len.to_le_bytes());
        out
    }
}

fn nonce(offset: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..8].copy_from_slice(&offset.to_le_bytes());
    nonce
}

fn common(header: &SegmentHeader) -> [u8; ASSOCIATED_LEN] {
    let mut out = [0; ASSOCIATED_LEN];
    out[..4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[4] = header.suite.to_u8();
    out[5] = header.kind as u8;
    out[8..10].copy_from_slice(&header.key_domain.to_le_bytes());
    out[12..16].copy_from_slice(&header.epoch.0.to_le_bytes());
    out[16..32].copy_from_slice(header.database.as_bytes());
    out[32..48].copy_from_slice(&header.incarnation.0);
    out
}
