//! The write-ahead log: a chain of segments, each written once.
//!
//! ```text
//! segment   header (as every segment) | Open frame | frames … | Close frame | zeros, as far as the file was extended
//! ```
//!
//! How a frame looks is drawn in `frame.rs`, what it holds in `record.rs`. The `Open` and `Close` payloads are in
//! `links.rs`.
//!
//! What holds, and what reading relies on:
//!
//! * A frame is sealed in private memory; its ciphertext reaches the file before its length word, so a frame whose
//!   length word is not zero was appended whole, unless a power cut tore it. Plaintext never reaches the file.
//! * No place of a segment is sealed twice: after any failed write, and after a fork, the writer refuses to go on.
//! * Frames are numbered without gaps within an incarnation, and each carries the tag of the one before.
//! * Each frame carries the newest frame known to be synced when it was sealed.
//! * When a segment's `Open` frame can be read, all before it is synced; when any frame behind the `Open` frame can be
//!   read, the `Open` frame is synced.
//! * A segment is in the manifest, and its name synced, before its first frame; the list in the manifest is in order.
//!
//! Where the log ends: at the first place without a frame that opens and follows. That is damage, and reported as such,
//! if the missing frame was synced (a frame anywhere behind says so, or the segment has an end that lies further), or
//! if the machine has not restarted since (then nothing can have torn it). Otherwise it was never promised, and the
//! frames behind it, if any, are given up for good: the entry in the manifest then has its end
//! ([`WalSegmentInfo::accepted_through`]), and the next segment's `Open` frame names it.

mod archive;
mod cursor;
mod extents;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod links;
mod record;
mod replay;
mod scan;
mod search;
mod segment;
mod sync;
mod tracker;
mod writer;

#[cfg(test)]
mod tests;

use lightning_db_crypto::{EpochId, Tag};

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::segment::{SealContext, SegmentHeader, SegmentKind};
use crate::{FrameNumber, Incarnation, Result, Salt, SegmentId, SequenceNumber};

pub use archive::{ArchivePart, ArchivePiece, export_range, replay_archive};
pub use cursor::LogBytes;
pub use record::{CommitOps, MAX_INLINE_VALUE_LEN};
pub use replay::Replay;
pub use scan::{CutReport, ScanOutcome, SettledLog, scan};
pub use search::damaged_places;
pub use segment::{PreparedSegment, prepare_segment};
pub use sync::WalSync;
pub use writer::{Appended, LogEntry, WalWriter};

/// The smallest log segment: smaller sizes are raised to it. A frame with the longest key fits.
pub const MIN_SEGMENT_SIZE: u64 = 128 << 10;
/// The largest log segment: larger sizes are lowered to it.
pub const MAX_SEGMENT_SIZE: u64 = 16 << 30;
/// The longest name of a restore point, in bytes.
pub const MAX_RESTORE_POINT_NAME_LEN: usize = 1024;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// Length of a segment in bytes, between [`MIN_SEGMENT_SIZE`] and [`MAX_SEGMENT_SIZE`], in steps of 64 KiB.
    pub segment_size: u64,
    /// How bytes reach the file.
    pub mode: WalMode,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_size: 64 << 20, mode: WalMode::Mapped }
    }
}

/// How bytes reach the log file. Both write the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalMode {
    /// Through a memory map; falls back to [`WalMode::Pwrite`] where the system refuses one.
    Mapped,
    /// By system calls.
    Pwrite,
}

/// A place in the log: just behind a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPosition {
    /// The segment that holds the frame.
    pub segment: SegmentId,
    /// The first byte behind the frame.
    pub offset: u64,
    /// The frame's number.
    pub frame: FrameNumber,
    /// The frame's tag, which the next frame repeats.
    pub tag: Tag,
    /// The newest commit that is complete here.
    pub sequence: SequenceNumber,
    /// Whether a large commit, the one after `sequence`, has begun and not ended here.
    pub within_commit: bool,
}

impl WalPosition {
    /// Appends the position to a structure on disk.
    pub fn encode(&self, out: &mut ByteWriter) {
        out.u64(self.segment.0).u64(self.offset).u64(self.frame.0).raw(&self.tag).u64(self.sequence.0);
        out.u8(u8::from(self.within_commit));
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes end early, or a flag is neither 0 nor 1.
    pub fn decode(reader: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            segment: SegmentId(reader.u64("log position segment")?),
            offset: reader.u64("log position offset")?,
            frame: FrameNumber(reader.u64("log position frame")?),
            tag: reader.array("log position tag")?,
            sequence: SequenceNumber(reader.u64("log position sequence number")?),
            within_commit: match reader.u8("log position within commit")? {
                flag @ (0 | 1) => flag == 1,
                _ => return Err(Malformed { what: "log position within commit" }),
            },
        })
    }

    /// The newest commit of which anything lies before this position.
    #[must_use]
    pub fn newest_begun(&self) -> SequenceNumber {
        if self.within_commit { self.sequence.next() } else { self.sequence }
    }
}

/// Where one history left another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The history that was left.
    pub parent: Incarnation,
    /// Its newest commit that both share.
    pub at: SequenceNumber,
}

/// Where a writer starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStart {
    /// The last accepted frame before, if this incarnation has a log already.
    pub after: Option<WalPosition>,
    /// The newest commit of this history. It is later than `after` has it only when the commits between were never
    /// logged; they must be in synced files then.
    pub last_sequence: SequenceNumber,
    /// What this incarnation is a continuation of, if of any.
    pub fork: Option<Fork>,
}

/// The manifest's entry for a log segment: all that is believed about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalSegmentInfo {
    /// The segment's number; also its file's name.
    pub id: SegmentId,
    /// The history it belongs to.
    pub incarnation: Incarnation,
    /// Which keys it is sealed under; there is one domain so far, 0.
    pub key_domain: u16,
    /// The data key its own key is derived from.
    pub epoch: EpochId,
    /// Its own part of that derivation.
    pub salt: Salt,
    /// The start of the machine during which it is written.
    pub boot_id: [u8; 16],
    /// Where it ends: set when it was closed, or cut by recovery. What lies behind does not exist, and what lies before
    /// must be there.
    pub accepted_through: Option<WalPosition>,
    /// When it was created, in microseconds since 1970.
    pub created_micros: i64,
}

impl WalSegmentInfo {
    /// The fewest bytes that an encoded entry takes; for [`ByteReader::count`].
    pub const MIN_ENCODED_LEN: usize = 79;

    /// Whether nothing in the segment is needed for replay once all commits up to `flushed` are in synced files.
    /// Never true of a segment that is not finished.
    #[must_use]
    pub fn is_obsolete(&self, flushed: SequenceNumber) -> bool {
        self.accepted_through.is_some_and(|end| end.newest_begun() <= flushed)
    }

    /// The header that the segment's file must have in this database.
    #[must_use]
    pub fn header(&self, ctx: &SealContext) -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Wal,
            suite: ctx.suite.id(),
            key_domain: self.key_domain,
            database: ctx.database,
            incarnation: self.incarnation,
            id: self.id,
            epoch: self.epoch,
            salt: self.salt,
        }
    }

    /// Appends the entry to a structure on disk.
    pub fn encode(&self, out: &mut ByteWriter) {
        out.u64(self.id.0).raw(&self.incarnation.0).raw(&self.key_domain.to_le_bytes()).u32(self.epoch.0);
        out.raw(&self.salt.0).raw(&self.boot_id);
        out.i64(self.created_micros).u8(u8::from(self.accepted_through.is_some()));
        if let Some(position) = &self.accepted_through {
            position.encode(out);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are not such an entry.
    pub fn decode(reader: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        let id = SegmentId(reader.u64("log segment id")?);
        let incarnation = Incarnation(reader.array("log segment incarnation")?);
        let key_domain = u16::from_le_bytes(reader.array("log segment key domain")?);
        let epoch = EpochId(reader.u32("log segment epoch")?);
        let salt = Salt(reader.array("log segment salt")?);
        let boot_id = reader.array("log segment boot id")?;
        let created_micros = reader.i64("log segment creation time")?;
        let accepted_through = links::decode_option(reader, WalPosition::decode)?;
        Ok(Self { id, incarnation, key_domain, epoch, salt, boot_id, accepted_through, created_micros })
    }
}

/// Gives the writer its next segment, and takes the finished one.
pub trait SegmentSupply: Send {
    /// A new segment of this incarnation, made by [`prepare_segment`], whose name is synced and which is in the manifest
    /// behind all others. Called while the writer appends: have one ready.
    ///
    /// # Errors
    /// Any; the append that needed it fails with the same, and nothing is poisoned.
    fn next(&mut self) -> Result<PreparedSegment>;

    /// The segment before is finished and synced. The next manifest should have this entry for it, because of its
    /// `accepted_through`; nothing is lost if it does not.
    fn finished(&mut self, segment: WalSegmentInfo);
}

/// A name given to a place between two commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePoint {
    /// The name.
    pub name: String,
    /// The newest commit before it.
    pub sequence: SequenceNumber,
    /// When it was made, in microseconds since 1970, as the clock said.
    pub time_micros: i64,
}

/// Commits in their order, wherever they come from: the database's own log, or an archive.
///
/// ```text
/// while let Some(event) = source.next_event()? {
///     while let Some(op) = source.next_op()? {        // the operations of a commit
///         while source.read_value(&mut chunk)? { }    // the bytes of a LogOp::PutStreamed
///     }
/// }
/// ```
pub trait LogSource: Send {
    /// Moves to the next event. What was not read of the commit before is passed over. A commit is announced only when
    /// all of it is known to be there.
    ///
    /// # Errors
    /// `Corrupt` when the next frame is damaged or does not follow, and what reading can give.
    fn next_event(&mut self) -> Result<Option<LogEvent>>;

    /// The next operation of the current commit; `None` behind the last.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    fn next_op(&mut self) -> Result<Option<LogOp<'_>>>;

    /// Replaces `chunk` by the next bytes of the current [`LogOp::PutStreamed`], at most 1 MiB; false behind the last.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    fn read_value(&mut self, chunk: &mut Vec<u8>) -> Result<bool>;
}

/// What a [`LogSource`] tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// A commit; its operations come from [`LogSource::next_op`].
    Commit(CommitHead),
    /// A restore point.
    RestorePoint(RestorePoint),
}

/// A commit without its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHead {
    /// Its place among all commits.
    pub sequence: SequenceNumber,
    /// When it was made, in microseconds since 1970, as the clock said; clocks step back.
    pub time_micros: i64,
    /// The history it was made in.
    pub incarnation: Incarnation,
    /// How many operations it has.
    pub ops: u64,
}

/// One operation of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LogOp<'a> {
    /// Set a key to a value.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Set a key to a long value, whose bytes come from [`LogSource::read_value`].
    PutStreamed {
        /// The key.
        key: &'a [u8],
        /// The value's length in bytes.
        len: u64,
    },
    /// Remove a key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}
