//! What the first and the last frame of a segment say.
//!
//! ```text
//! Open    last accepted frame before: present u8, then position (segment u64, offset u64, frame u64, tag [16],
//!         sequence u64, within a commit u8)
//!         newest commit u64
//!         fork: present u8, then parent incarnation [16], newest shared commit u64
//! Close   frames u64 (this one included), commits u64, newest commit u64
//! ```

use super::{Fork, WalPosition, WalStart};
use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::{Incarnation, SequenceNumber};

impl WalStart {
    /// The payload of an `Open` frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::new();
        out.u8(u8::from(self.after.is_some()));
        if let Some(position) = &self.after {
            position.encode(&mut out);
        }
        out.u64(self.last_sequence.0).u8(u8::from(self.fork.is_some()));
        if let Some(fork) = &self.fork {
            out.raw(&fork.parent.0).u64(fork.at.0);
        }
        out.into_vec()
    }

    /// Reads the payload of an `Open` frame.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = ByteReader::new(payload);
        let after = decode_option(&mut reader, WalPosition::decode)?;
        let last_sequence = SequenceNumber(reader.u64("log open sequence number")?);
        let fork = decode_option(&mut reader, |reader| {
            let parent = Incarnation(reader.array("log open parent")?);
            Ok(Fork { parent, at: SequenceNumber(reader.u64("log open fork")?) })
        })?;
        reader.finish("log open frame")?;
        Ok(Self { after, last_sequence, fork })
    }
}

/// The payload of a `Close` frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CloseNote {
    pub(super) frames: u64,
    pub(super) commits: u64,
    pub(super) last_sequence: SequenceNumber,
}

impl CloseNote {
    /// Length of the payload.
    pub(super) const LEN: usize = 24;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::new();
        out.u64(self.frames).u64(self.commits).u64(self.last_sequence.0);
        out.into_vec()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = ByteReader::new(payload);
        let frames = reader.u64("log close frames")?;
        let commits = reader.u64("log close commits")?;
        let last_sequence = SequenceNumber(reader.u64("log close sequence number")?);
        reader.finish("log close frame")?;
        Ok(Self { frames, commits, last_sequence })
    }
}

/// Reads a presence byte, then what it announces.
pub(super) fn decode_option<T>(
    reader: &mut ByteReader<'_>,
    decode: impl FnOnce(&mut ByteReader<'_>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match reader.u8("presence")? {
        0 => Ok(None),
        1 => decode(reader).map(Some),
        _ => Err(Malformed { what: "presence" }),
    }
}
