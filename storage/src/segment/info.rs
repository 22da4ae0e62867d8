//! The manifest's entry for a segment: all that is believed about it.
//!
//! ```text
//! id varint | kind u8 | incarnation [16] | key domain u16 | epoch u32 | salt [24] | length varint | content hash [32]
//! | blocks varint | live bytes varint | stored bytes varint | created i64 | has dictionary u8 | dictionary pointer
//! ```

use lightning_db_crypto::EpochId;

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::pointer::BlockPtr;
use crate::{Incarnation, Salt, SegmentId};

use super::footer::FOOTER_LEN;
use super::{HEADER_LEN, SealContext, SegmentHeader, SegmentKind};

/// What is known about a finished segment of pages or values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentInfo {
    /// Its number.
    pub id: SegmentId,
    /// What it is for; never the log, whose entries are of another type.
    pub kind: SegmentKind,
    /// The history in which it was written.
    pub incarnation: Incarnation,
    /// Which keys it is sealed under; there is one domain so far, 0.
    pub key_domain: u16,
    /// The data key from which its key is derived.
    pub epoch: EpochId,
    /// The salt of that derivation.
    pub salt: Salt,
    /// Bytes of the file.
    pub length: u64,
    /// BLAKE3 of the whole file.
    pub content_hash: [u8; 32],
    /// Where its compression dictionary is, if it has one.
    pub dictionary: Option<BlockPtr>,
    /// How many blocks it has, the dictionary included and the footer not.
    pub blocks: u64,
    /// Bytes of the blocks that something refers to. All of them when the writer finished; the owner of the manifest
    /// counts down.
    pub live_bytes: u64,
    /// Bytes of all blocks.
    pub stored_bytes: u64,
    /// When it was begun, in microseconds since 1970.
    pub created_micros: i64,
}

impl SegmentInfo {
    /// The fewest bytes that an encoded entry takes; for [`ByteReader::count`].
    pub const MIN_ENCODED_LEN: usize = 93;

    /// The header that the segment's file must have in this database.
    #[must_use]
    pub fn header(&self, ctx: &SealContext) -> SegmentHeader {
        SegmentHeader {
            kind: self.kind,
            suite: ctx.suite.id(),
            key_domain: self.key_domain,
            database: ctx.database,
            incarnation: self.incarnation,
            id: self.id,
            epoch: self.epoch,
            salt: self.salt,
        }
    }

    /// Appends the entry.
    pub fn encode(&self, out: &mut ByteWriter) {
        out.varint(self.id.0)
            .u8(self.kind as u8)
            .raw(&self.incarnation.0)
            .raw(&self.key_domain.to_le_bytes())
            .u32(self.epoch.0)
            .raw(&self.salt.0)
            .varint(self.length)
            .raw(&self.content_hash)
            .varint(self.blocks)
            .varint(self.live_bytes)
            .varint(self.stored_bytes)
            .i64(self.created_micros)
            .u8(u8::from(self.dictionary.is_some()));
        if let Some(dictionary) = &self.dictionary {
            dictionary.encode(out);
        }
    }

    /// Reads an entry. Refused when its numbers contradict each other.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn decode(input: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        let mut info = Self {
            id: SegmentId(input.varint("segment id")?),
            kind: SegmentKind::from_u8(input.u8("segment kind")?)
                .ok_or(Malformed { what: "segment kind" })?,
            incarnation: Incarnation(input.array("segment incarnation")?),
            key_domain: u16::from_le_bytes(input.array("segment key domain")?),
            epoch: EpochId(input.u32("segment epoch")?),
            salt: Salt(input.array("segment salt")?),
            length: input.varint("segment length")?,
            content_hash: input.array("segment hash")?,
            blocks: input.varint("segment blocks")?,
            live_bytes: input.varint("segment live bytes")?,
            stored_bytes: input.varint("segment stored bytes")?,
            created_micros: input.i64("segment creation time")?,
            dictionary: None,
        };
        info.dictionary = match input.u8("segment dictionary")? {
            0 => None,
            1 => Some(BlockPtr::decode(input)?),
            _ => return Err(Malformed { what: "segment dictionary" }),
        };
        info.check()?;
        Ok(info)
    }

    fn check(&self) -> Result<(), Malformed> {
        let refuse = |what| Err(Malformed { what });
        let framing = (HEADER_LEN + FOOTER_LEN) as u64;
        if self.kind == SegmentKind::Wal {
            return refuse("segment kind");
        }
        if self.stored_bytes.checked_add(framing) != Some(self.length) || self.blocks > self.stored_bytes {
            return refuse("segment length");
        }
        if self.live_bytes > self.stored_bytes {
            return refuse("segment live bytes");
        }
        if self.dictionary.is_some_and(|ptr| ptr.segment != self.id) {
            return refuse("segment dictionary");
        }
        Ok(())
    }
}
