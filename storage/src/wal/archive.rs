//! Copying the log out as ciphertext, and replaying such copies.
//!
//! A piece is a run of frames of one segment, as they stand in its file:
//!
//! ```text
//! magic "LDBLOG\r\n" | format version u32
//! the segment's entry, as in the manifest, without its end
//! start offset u64 | first frame u64 | tag before it [16]
//! end position
//! commits: present u8, then first u64, last u64
//! times: present u8, then earliest i64, latest i64 (µs)
//! frames length u64 | frames
//! ```
//!
//! Only the frames are authenticated by the log itself. The rest says where to look, and a lie about it makes the frames
//! not open or not follow; that a piece at the end is not cut short is for the archive's signed manifest to say.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_crypto::Tag;

use super::cursor::{LogBytes, Place, SegmentCursor};
use super::frame::{FrameHead, FrameKind, LAST_OF_LARGE};
use super::links::decode_option;
use super::record::Record;
use super::replay::{Replay, ReplayPart};
use super::tracker::Tracker;
use super::{RestorePoint, WalPosition, WalSegmentInfo};
use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::segment::{FORMAT_VERSION, HEADER_LEN, SealContext};
use crate::{FrameNumber, Result, SequenceNumber, StorageError};

/// A piece ends with the first frame that makes it this long.
const PIECE_LEN: u64 = 16 << 20;
const MAGIC: [u8; 8] = *b"LDBLOG\r\n";

/// A run of frames of one segment.
#[derive(Clone, PartialEq, Eq)]
pub struct ArchivePiece {
    /// The segment, with all that is needed to open its frames.
    pub info: WalSegmentInfo,
    /// Where the first frame lies in the segment.
    pub start: u64,
    /// The number of the first frame.
    pub first_frame: FrameNumber,
    /// The tag of the frame before the first: that of the last frame of the piece before.
    pub previous_tag: Tag,
    /// Behind the last frame.
    pub end: WalPosition,
    /// The first and last commit that is completed here.
    pub sequences: Option<(SequenceNumber, SequenceNumber)>,
    /// The earliest and latest time of the commits that begin here.
    pub times: Option<(i64, i64)>,
    /// Whether the first commit that is completed here, or the only one that is not, began before the first frame. Not part
    /// of the encoded piece: the one before tells, if there is one.
    pub lacks_beginning: bool,
    /// The restore points that are here. Not part of the encoded piece: names are not for everyone.
    pub restore_points: Vec<RestorePoint>,
    /// The frames.
    pub frames: Vec<u8>,
}

/// Copies frames of one segment: those behind `from` (all, if it is not given), through the frame `through` or the end
/// of the segment or of a piece, whichever comes first; `None` if there are none. Call it with frames that are durable
/// only. Each frame is authenticated on the way, so that no damage is archived.
///
/// `from` may lie in the segment before; then this one must follow it.
///
/// # Errors
/// `Corrupt` when a frame in the range is damaged or does not follow `from`.
pub fn export_range(
    ctx: &SealContext,
    info: &WalSegmentInfo,
    from: Option<&WalPosition>,
    through: FrameNumber,
) -> Result<Option<ArchivePiece>> {
    let mut cursor = SegmentCursor::open(ctx, info)?;
    let mut tracker = Tracker::new(SequenceNumber(u64::MAX));
    if let Some(from) = from {
        tracker.resume(from);
    }
    let start = from.filter(|from| from.segment == info.id).map_or(HEADER_LEN as u64, |from| from.offset);
    let limit = info.accepted_through.map_or(u64::MAX, |end| end.offset);
    let mut export = Export { offset: start, ..Export::default() };
    while export.offset < limit && export.offset - start < PIECE_LEN && tracker.last_frame() < through {
        let (head, payload) = match cursor.read(export.offset)? {
            Place::Frame(head, payload) if head.number <= through => (head, payload),
            Place::Frame(..) => break,
            // Without `from`, the segment may be one that was prepared and not used yet.
            Place::Empty if from.is_none() && export.first.is_none() => break,
            Place::Empty => return Err(cursor.corrupt(export.offset, "a log frame is missing")),
            Place::Damaged(what) => return Err(cursor.corrupt(export.offset, what)),
        };
        export.take(&mut tracker, &head, &payload).map_err(|what| cursor.corrupt(export.offset, what))?;
        export.copy(&mut cursor, &head)?;
        if head.kind == FrameKind::Close {
            break;
        }
    }
    let (Some(first), Some(end)) = (export.first, tracker.position(info.id, export.offset)) else {
        return Ok(None);
    };
    Ok(Some(ArchivePiece {
        info: WalSegmentInfo { accepted_through: None, ..info.clone() },
        start,
        first_frame: first.number,
        previous_tag: first.previous_tag,
        end,
        sequences: export.sequences,
        times: export.times,
        lacks_beginning: export.lacks_beginning || export.sequences.is_none() && tracker.lacks_beginning(),
        restore_points: export.restore_points,
        frames: export.frames,
    }))
}

#[derive(Default)]
struct Export {
    offset: u64,
    first: Option<FrameHead>,
    sequences: Option<(SequenceNumber, SequenceNumber)>,
    times: Option<(i64, i64)>,
    lacks_beginning: bool,
    restore_points: Vec<RestorePoint>,
    frames: Vec<u8>,
}

impl Export {
    fn take(&mut self, tracker: &mut Tracker, head: &FrameHead, payload: &[u8]) -> Result<(), &'static str> {
        let before = tracker.last_sequence();
        self.lacks_beginning |= tracker.lacks_beginning() && head.flags & LAST_OF_LARGE != 0;
        let (times, points) = (&mut self.times, &mut self.restore_points);
        tracker.frame(head, payload, &mut |record| match *record {
            Record::Commit { time_micros: at, .. } => {
                *times = Some(times.map_or((at, at), |(min, max)| (min.min(at), max.max(at))));
            }
            Record::RestorePoint { name, sequence, time_micros } => {
                points.push(RestorePoint { name: name.to_owned(), sequence, time_micros });
            }
            _ => {}
        })?;
        if let (Some(last), true) = (tracker.last_sequence(), head.kind == FrameKind::Commits)
            && before != Some(last)
        {
            let first = before.map_or(last, SequenceNumber::next);
            self.sequences = Some((self.sequences.map_or(first, |(first, _)| first), last));
        }
        self.first.get_or_insert(*head);
        Ok(())
    }

    fn copy(&mut self, cursor: &mut SegmentCursor, head: &FrameHead) -> Result<()> {
        let len = usize::try_from(head.space()).unwrap_or(usize::MAX);
        let padded = self.frames.len() + len;
        self.frames.extend_from_slice(cursor.bytes(self.offset, len)?);
        self.frames.resize(padded, 0);
        self.offset += head.space();
        Ok(())
    }
}

impl ArchivePiece {
    /// The piece as an object of an archive.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::new();
        out.raw(&MAGIC).u32(FORMAT_VERSION);
        WalSegmentInfo { accepted_through: None, ..self.info.clone() }.encode(&mut out);
        out.u64(self.start).u64(self.first_frame.0).raw(&self.previous_tag);
        self.end.encode(&mut out);
        out.u8(u8::from(self.sequences.is_some()));
        if let Some((first, last)) = self.sequences {
            out.u64(first.0).u64(last.0);
        }
        out.u8(u8::from(self.times.is_some()));
        if let Some((earliest, latest)) = self.times {
            out.i64(earliest).i64(latest);
        }
        out.u64(self.frames.len() as u64).raw(&self.frames);
        out.into_vec()
    }

    /// Reads what [`encode`](Self::encode) wrote; `name` is how errors call it. The restore points are not in it.
    ///
    /// # Errors
    /// `Corrupt` when it is no such object, `UnsupportedFormat` when it is one of a later version.
    pub fn decode(name: &Path, bytes: &[u8]) -> Result<Self> {
        let mut reader = ByteReader::new(bytes);
        let corrupt = |malformed: Malformed| StorageError::corrupt(name, 0, malformed.to_string());
        if reader.array("archive magic").map_err(corrupt)? != MAGIC {
            return Err(StorageError::corrupt(name, 0, "it does not begin like an archived piece of log"));
        }
        let version = reader.u32("archive version").map_err(corrupt)?;
        if version != FORMAT_VERSION {
            let what = format!("its format is {version}, and {FORMAT_VERSION} is the newest known");
            return Err(StorageError::UnsupportedFormat { file: name.to_path_buf(), what });
        }
        Self::decode_fields(reader).map_err(corrupt)
    }

    fn decode_fields(mut reader: ByteReader<'_>) -> Result<Self, Malformed> {
        let info = WalSegmentInfo::decode(&mut reader)?;
        let start = reader.u64("archive start")?;
        let first_frame = FrameNumber(reader.u64("archive first frame")?);
        let previous_tag = reader.array("archive previous tag")?;
        let end = WalPosition::decode(&mut reader)?;
        let sequences = decode_option(&mut reader, |reader| {
            let first = SequenceNumber(reader.u64("archive first commit")?);
            Ok((first, SequenceNumber(reader.u64("archive last commit")?)))
        })?;
        let times = decode_option(&mut reader, |reader| {
            Ok((reader.i64("archive earliest time")?, reader.i64("archive latest time")?))
        })?;
        let len = usize::try_from(reader.u64("archive frames")?)
            .map_err(|_| Malformed { what: "archive frames" })?;
        let frames = reader.raw(len, "archive frames")?.to_vec();
        reader.finish("archive frames")?;
        if end.segment != info.id || end.offset.checked_sub(start) != Some(frames.len() as u64) {
            return Err(Malformed { what: "archive range" });
        }
        let (restore_points, lacks_beginning) = (Vec::new(), false);
        let piece = Self {
            info,
            start,
            first_frame,
            previous_tag,
            end,
            sequences,
            times,
            lacks_beginning,
            restore_points,
            frames,
        };
        Ok(piece)
    }

    /// Says no longer that the first commit is completed here: nobody has its beginning.
    pub fn give_up_first_commit(&mut self) {
        let rest = self.sequences.map(|(first, last)| (first.next(), last));
        self.sequences = rest.filter(|(first, last)| first <= last);
    }

    /// The piece, ready to be replayed; `name` is how errors call it.
    #[must_use]
    pub fn into_part(self, name: PathBuf) -> ArchivePart {
        let Self { info, start, end, frames, .. } = self;
        ArchivePart { name, info, start, end: end.offset, bytes: Arc::new(PieceBytes { start, frames }) }
    }
}

impl fmt::Debug for ArchivePiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivePiece")
            .field("segment", &self.info.id)
            .field("first_frame", &self.first_frame)
            .field("end", &self.end)
            .field("sequences", &self.sequences)
            .finish_non_exhaustive()
    }
}

struct PieceBytes {
    start: u64,
    frames: Vec<u8>,
}

impl LogBytes for PieceBytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let skipped = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let rest = skipped.and_then(|at| self.frames.get(at..)).unwrap_or_default();
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// A run of frames to be replayed, wherever its bytes are. A large commit makes the replay look ahead over all its
/// parts before it takes the first: give `bytes` that are fetched when they are read, if memory matters.
pub struct ArchivePart {
    /// How errors call it.
    pub name: PathBuf,
    /// The segment that the frames are of.
    pub info: WalSegmentInfo,
    /// Where they begin in it.
    pub start: u64,
    /// Where they end.
    pub end: u64,
    /// The frames.
    pub bytes: Arc<dyn LogBytes>,
}

/// Replays archived pieces of one incarnation, in order, with no commit missing between them. Commits up to
/// `known_through` may be missing at the beginning.
pub fn replay_archive(
    ctx: Arc<SealContext>,
    parts: impl Iterator<Item = Result<ArchivePart>> + Send + 'static,
    known_through: SequenceNumber,
) -> Replay {
    let parts = parts.map(move |part| {
        let part = part?;
        let cursor = SegmentCursor::over(&ctx, &part.info, part.name, part.bytes)?;
        Ok(ReplayPart::new(cursor, &part.info, part.start, part.end))
    });
    Replay::of_archive(Box::new(parts), known_through)
}
