//! The frame: the unit in which the log is written, sealed and found again.
//!
//! ```text
//!  0  length u32            header + ciphertext, without padding; 0 = nothing here. Written last.
//!  4  magic u32
//!  8  kind u8
//!  9  flags u8
//! 10  key domain u16
//! 12  reserved u32          0
//! 16  number u64
//! 24  durable through u64   the newest frame that was synced when this one was sealed
//! 32  tag of the frame before [16]
//! 48  tag [16]
//! 64  ciphertext            then zeros up to a multiple of 16
//! ```
//!
//! Nonce: the frame's place in its segment, u64, then four zero bytes. Associated data: bytes 0..48 of the header, then
//! the segment's identity:
//!
//! ```text
//! 48  format version u32
//! 52  segment kind u8, suite u8, key domain u16
//! 56  database id [16]
//! 72  incarnation [16]
//! 88  segment id u64
//! 96  key epoch u32
//! ```
//!
//! The tag of the frame before is part of the header, so a frame opens by itself even when its neighbours are damaged,
//! and still proves which frame it follows.

use std::sync::Arc;

use lightning_db_crypto::{AeadKey, CryptoError, Nonce, TAG_LEN, Tag};

use super::WalSegmentInfo;
use crate::bytes::ByteReader;
use crate::segment::{FORMAT_VERSION, SealContext};
use crate::{FrameNumber, Result, ZeroizingBytes};

/// Frames begin at multiples of this many bytes.
pub(super) const FRAME_ALIGNMENT: u64 = 16;
/// Length of the clear header.
pub(super) const FRAME_HEADER_LEN: usize = 64;
/// The most plaintext that one frame holds.
pub(super) const MAX_PAYLOAD_LEN: usize = 1 << 20;

const MAGIC: u32 = u32::from_le_bytes(*b"LDBF");
const AUTHENTICATED_HEADER_LEN: usize = 48;
const IDENTITY_LEN: usize = 52;
const AAD_LEN: usize = AUTHENTICATED_HEADER_LEN + IDENTITY_LEN;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameKind {
    /// The first frame of a segment: what it follows.
    Open = 1,
    /// Whole commits and restore points, or the end of a large commit.
    Commits = 2,
    /// A piece of a large commit.
    Part = 3,
    /// Nothing but a newer `durable_through`.
    Marker = 4,
    /// The last frame of a finished segment.
    Close = 5,
}

impl FrameKind {
    fn from_u8(kind: u8) -> Option<Self> {
        [Self::Open, Self::Commits, Self::Part, Self::Marker, Self::Close]
            .into_iter()
            .find(|k| *k as u8 == kind)
    }
}

/// On a `Part`: a large commit begins here, and one that was not finished before is void.
pub(super) const FIRST_OF_LARGE: u8 = 1;
/// On a `Commits`: this ends the large commit whose parts came before.
pub(super) const LAST_OF_LARGE: u8 = 2;

/// The clear header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: u32,
    pub(super) kind: FrameKind,
    pub(super) flags: u8,
    pub(super) number: FrameNumber,
    pub(super) durable_through: FrameNumber,
    pub(super) previous_tag: Tag,
    pub(super) tag: Tag,
}

/// What the place of a frame holds, going by its clear header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The length word is zero: nothing was appended here.
    Empty,
    /// Something was appended here, and it is not a frame.
    Damaged(&'static str),
    /// It may be a frame; only its tag can tell.
    Plausible(FrameHead),
}

impl FrameHead {
    /// Reads a clear header. Nothing in it may be believed before the frame is opened.
    pub(super) fn parse(bytes: &[u8; FRAME_HEADER_LEN]) -> Slot {
        let mut reader = ByteReader::new(bytes);
        if reader.u32("length") == Ok(0) {
            return Slot::Empty;
        }
        Self::parse_fields(bytes).map_or_else(Slot::Damaged, Slot::Plausible)
    }

    fn parse_fields(bytes: &[u8; FRAME_HEADER_LEN]) -> Result<Self, &'static str> {
        const SHORT: &str = "a short frame header";
        let mut reader = ByteReader::new(bytes);
        let length = reader.u32("length").map_err(|_| SHORT)?;
        if reader.u32("magic") != Ok(MAGIC) {
            return Err("no log frame where one was written");
        }
        let kind =
            reader.u8("kind").ok().and_then(FrameKind::from_u8).ok_or("a log frame of no known kind")?;
        let flags = reader.u8("flags").map_err(|_| SHORT)?;
        let clear_zeros = reader.array::<6>("key domain and reserved").map_err(|_| SHORT)?;
        let fits = (FRAME_HEADER_LEN..=FRAME_HEADER_LEN + MAX_PAYLOAD_LEN).contains(&(length as usize));
        if !fits || clear_zeros != [0; 6] {
            return Err("a log frame with an impossible header");
        }
        Ok(Self {
            length,
            kind,
            flags,
            number: FrameNumber(reader.u64("number").map_err(|_| SHORT)?),
            durable_through: FrameNumber(reader.u64("durable through").map_err(|_| SHORT)?),
            previous_tag: reader.array("previous tag").map_err(|_| SHORT)?,
            tag: reader.array("tag").map_err(|_| SHORT)?,
        })
    }

    pub(super) fn clear_bytes(&self) -> [u8; FRAME_HEADER_LEN] {
        let mut out = [0; FRAME_HEADER_LEN];
        out[..4].copy_from_slice(&self.length.to_le_bytes());
        out[4..8].copy_from_slice(&MAGIC.to_le_bytes());
        out[8] = self.kind as u8;
        out[9] = self.flags;
        out[16..24].copy_from_slice(&self.number.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable_through.0.to_le_bytes());
        out[32..48].copy_from_slice(&self.previous_tag);
        out[48..64].copy_from_slice(&self.tag);
        out
    }

    /// The space the frame takes, padding included.
    pub(super) fn space(&self) -> u64 {
        frame_space(self.length as usize - FRAME_HEADER_LEN)
    }

    /// The length of the ciphertext.
    pub(super) fn payload_len(&self) -> usize {
        self.length as usize - FRAME_HEADER_LEN
    }
}

/// The space a frame with this much plaintext takes in a segment, padding included.
pub(super) const fn frame_space(payload_len: usize) -> u64 {
    ((FRAME_HEADER_LEN + payload_len) as u64).next_multiple_of(FRAME_ALIGNMENT)
}

/// The key and the identity of one segment: seals and opens its frames.
#[derive(Clone)]
pub(super) struct FrameCipher {
    key: Arc<dyn AeadKey>,
    identity: [u8; IDENTITY_LEN],
}

impl FrameCipher {
    /// Derives the segment's key. Everything comes from the manifest's entry, nothing from the file.
    pub(super) fn new(ctx: &SealContext, info: &WalSegmentInfo) -> Result<Self> {
        let header = info.header(ctx);
        let mut identity = [0; IDENTITY_LEN];
        identity[..4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        identity[4] = header.kind as u8;
        identity[5] = header.suite.to_u8();
        identity[6..8].copy_from_slice(&header.key_domain.to_le_bytes());
        identity[8..24].copy_from_slice(header.database.as_bytes());
        identity[24..40].copy_from_slice(&header.incarnation.0);
        identity[40..48].copy_from_slice(&header.id.0.to_le_bytes());
        identity[48..52].copy_from_slice(&header.epoch.0.to_le_bytes());
        Ok(Self { key: Arc::from(header.key(ctx)?), identity })
    }

    /// Seals a frame in place: `frame` holds [`FRAME_HEADER_LEN`] bytes of room, then the plaintext. Returns the tag.
    pub(super) fn seal(&self, head: FrameHead, offset: u64, frame: &mut [u8]) -> Result<Tag, CryptoError> {
        let (header, payload) = frame.split_at_mut(FRAME_HEADER_LEN);
        let tag = self.key.seal_detached(&nonce(offset), &self.aad(&head), payload)?;
        header.copy_from_slice(&FrameHead { tag, ..head }.clear_bytes());
        Ok(tag)
    }

    /// Opens a frame's ciphertext; `None` when it is not the frame that was sealed here.
    pub(super) fn open(
        &self,
        head: &FrameHead,
        offset: u64,
        payload: &[u8],
    ) -> Result<Option<ZeroizingBytes>> {
        let mut plain = ZeroizingBytes::new(payload.to_vec());
        match self.key.open_detached(&nonce(offset), &self.aad(head), &mut plain, &head.tag) {
            Ok(()) => Ok(Some(plain)),
            Err(CryptoError::OpenFailed) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn aad(&self, head: &FrameHead) -> [u8; AAD_LEN] {
        let mut aad = [0; AAD_LEN];
        aad[..AUTHENTICATED_HEADER_LEN].copy_from_slice(&head.clear_bytes()[..AUTHENTICATED_HEADER_LEN]);
        aad[AUTHENTICATED_HEADER_LEN..].copy_from_slice(&self.identity);
        aad
    }
}

fn nonce(offset: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..8].copy_from_slice(&offset.to_le_bytes());
    nonce
}

/// The previous tag of a frame that follows nothing.
pub(super) const NO_TAG: Tag = [0; TAG_LEN];
