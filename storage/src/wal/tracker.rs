//! The order of the log: whether a frame follows the one before, and a record the one before.
//!
//! Everything that reads the log goes through one [`Tracker`], so that recovery, archive and replay agree on what a
//! well-formed log is. It sees only what was authenticated; what it refuses was not written by this log's writer in
//! this order.

use lightning_db_crypto::Tag;

use super::frame::{FIRST_OF_LARGE, FrameHead, FrameKind, LAST_OF_LARGE};
use super::links::CloseNote;
use super::record::Record;
use super::{WalPosition, WalStart};
use crate::bytes::ByteReader;
use crate::{FrameNumber, SegmentId, SequenceNumber};

/// What about a frame or record is out of order.
pub(super) type Disorder = &'static str;

/// A commit that is being read.
#[derive(Clone, Copy, Debug)]
struct Current {
    sequence: SequenceNumber,
    ops_left: u64,
    value_left: u64,
}

/// Whether a large commit is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Large {
    No,
    /// It is, and it was seen from its beginning.
    Begun,
    /// It is, and it began before the first frame that was read.
    Unseen,
}

/// Follows the frames and records of a log.
#[derive(Debug)]
pub(super) struct Tracker {
    /// Commits up to here need not be in the log.
    known_through: SequenceNumber,
    frame: Option<(FrameNumber, Tag)>,
    sequence: Option<SequenceNumber>,
    current: Option<Current>,
    large: Large,
    commits: u64,
    durable_through: FrameNumber,
    /// Whether segments without commits may be missing.
    may_skip: bool,
    /// First frame of the current segment, and the commits before it.
    segment_start: Option<(FrameNumber, u64)>,
}

impl Tracker {
    /// Begins anywhere. Commits up to `known_through` are not needed; any gap behind them is disorder.
    pub(super) fn new(known_through: SequenceNumber) -> Self {
        Self {
            known_through,
            frame: None,
            sequence: None,
            current: None,
            large: Large::No,
            commits: 0,
            durable_through: FrameNumber(0),
            may_skip: false,
            segment_start: None,
        }
    }

    /// For an archive: between two of its pieces there may be frames that it never got, as long as the segment that goes
    /// on says that no commit was among them.
    pub(super) fn may_skip(mut self) -> Self {
        self.may_skip = true;
        self
    }

    /// Goes on behind `position`.
    pub(super) fn resume(&mut self, position: &WalPosition) {
        self.frame = Some((position.frame, position.tag));
        self.sequence = Some(position.sequence);
        self.large = if position.within_commit { Large::Unseen } else { Large::No };
    }

    /// The last frame, if there was one, as a position that ends at `offset` of `segment`.
    pub(super) fn position(&self, segment: SegmentId, offset: u64) -> Option<WalPosition> {
        let (frame, tag) = self.frame?;
        let sequence = self.sequence.unwrap_or_default();
        Some(WalPosition { segment, offset, frame, tag, sequence, within_commit: self.large != Large::No })
    }

    /// The number of the last frame; 0 before the first.
    pub(super) fn last_frame(&self) -> FrameNumber {
        self.frame.map_or(FrameNumber(0), |(number, _)| number)
    }

    /// The newest commit that is complete.
    pub(super) fn last_sequence(&self) -> Option<SequenceNumber> {
        self.sequence
    }

    /// Whether a large commit is under way that began before the first frame.
    pub(super) fn lacks_beginning(&self) -> bool {
        self.large == Large::Unseen
    }

    /// How many commits were completed.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// The newest frame that any frame says was synced.
    pub(super) fn durable_through(&self) -> FrameNumber {
        self.durable_through
    }

    /// Whether the records of the current commit go on.
    pub(super) fn within_commit(&self) -> bool {
        self.current.is_some()
    }

    /// Bytes of the current streamed value that are still to come.
    pub(super) fn value_left(&self) -> u64 {
        self.current.map_or(0, |current| current.value_left)
    }

    /// Takes a whole frame; tells `seen` of each record.
    pub(super) fn frame(
        &mut self,
        head: &FrameHead,
        payload: &[u8],
        seen: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), Disorder> {
        if !self.begin_frame(head, payload)? {
            return Ok(());
        }
        let mut reader = ByteReader::new(payload);
        while !reader.rest().is_empty() {
            let record = Record::read(&mut reader).map_err(|malformed| malformed.what)?;
            self.record(&record)?;
            seen(&record);
        }
        self.end_frame(head)
    }

    /// Takes a frame without its records; whether it has any that are to be taken by [`record`](Self::record).
    pub(super) fn begin_frame(&mut self, head: &FrameHead, payload: &[u8]) -> Result<bool, Disorder> {
        if self.skips(head, payload)? {
            self.frame = None;
        }
        let is_first = self.frame.is_none();
        self.follow(head)?;
        match head.kind {
            FrameKind::Open => self.open(head, payload, is_first).map(|()| false),
            FrameKind::Close => self.close(head, payload).map(|()| false),
            FrameKind::Marker if payload.is_empty() => Ok(false),
            FrameKind::Marker => Err("a marker frame with content"),
            FrameKind::Part => self.begin_part(head.flags & FIRST_OF_LARGE != 0),
            FrameKind::Commits => self.begin_commits(head.flags & LAST_OF_LARGE != 0),
        }
    }

    /// Takes the next record of a frame.
    pub(super) fn record(&mut self, record: &Record<'_>) -> Result<(), Disorder> {
        match (record, &mut self.current) {
            (Record::Commit { sequence, ops, .. }, None) => self.begin_commit(*sequence, *ops),
            (Record::RestorePoint { sequence, .. }, None) => match self.sequence {
                Some(last) if last != *sequence => Err("a restore point that is not where it says"),
                _ => Ok(()),
            },
            (Record::Chunk(bytes), Some(current)) => {
                let left = current.value_left.checked_sub(bytes.len() as u64);
                current.value_left = left.ok_or("a streamed value that is longer than it says")?;
                self.finish_commit();
                Ok(())
            }
            (Record::Put { .. } | Record::Delete { .. } | Record::PutStreamed { .. }, Some(current)) => {
                if current.value_left > 0 || current.ops_left == 0 {
                    return Err("an operation that belongs to no commit");
                }
                current.ops_left -= 1;
                current.value_left = if let Record::PutStreamed { len, .. } = record { *len } else { 0 };
                self.finish_commit();
                Ok(())
            }
            _ => Err("a log record out of order"),
        }
    }

    /// The frame's records end here.
    pub(super) fn end_frame(&self, head: &FrameHead) -> Result<(), Disorder> {
        match (head.kind, self.current) {
            (FrameKind::Part, None) => Err("a piece of a large commit that completes it"),
            (FrameKind::Commits, Some(_)) => Err("a commit that ends within its operations"),
            _ => Ok(()),
        }
    }

    /// Whether a segment begins here behind frames that are missing, and says that none of them had a commit.
    fn skips(&self, head: &FrameHead, payload: &[u8]) -> Result<bool, Disorder> {
        let is_behind = self.frame.is_some_and(|(number, _)| head.number > number.next());
        if !self.may_skip || !is_behind || head.kind != FrameKind::Open {
            return Ok(false);
        }
        let start = WalStart::decode(payload).map_err(|malformed| malformed.what)?;
        Ok(self.large == Large::No && self.sequence.is_none_or(|last| last == start.last_sequence))
    }

    fn follow(&mut self, head: &FrameHead) -> Result<(), Disorder> {
        if let Some((number, tag)) = self.frame
            && (head.number != number.next() || head.previous_tag != tag)
        {
            return Err("a log frame that does not follow the one before");
        }
        if head.durable_through >= head.number || head.durable_through < self.durable_through {
            return Err("a log frame that contradicts an earlier one about what is durable");
        }
        self.frame = Some((head.number, head.tag));
        self.durable_through = head.durable_through;
        Ok(())
    }

    fn open(&mut self, head: &FrameHead, payload: &[u8], is_first: bool) -> Result<(), Disorder> {
        let start = WalStart::decode(payload).map_err(|malformed| malformed.what)?;
        if self.sequence.is_some_and(|last| start.last_sequence < last) {
            return Err("a log segment that begins before the end of the one before");
        }
        let gapless = self.sequence == Some(start.last_sequence);
        if !gapless && start.last_sequence > self.known_through {
            return Err("commits before this log segment are missing");
        }
        // Frames of the segment before were read from its middle on, and completed no commit: one of them began the commit
        // that goes on here.
        let goes_on = !is_first && self.sequence.is_none() && self.large == Large::Begun;
        if !gapless && !goes_on {
            let within_commit =
                start.after.is_some_and(|a| a.within_commit && a.sequence == start.last_sequence);
            self.large = if within_commit { Large::Unseen } else { Large::No };
            self.current = None;
        }
        self.sequence = Some(start.last_sequence);
        self.segment_start = Some((head.number, self.commits));
        Ok(())
    }

    fn close(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), Disorder> {
        let note = CloseNote::decode(payload).map_err(|malformed| malformed.what)?;
        let Some((first, commits)) = self.segment_start.take() else { return Ok(()) };
        let seen = CloseNote {
            frames: (head.number.0 - first.0).saturating_add(1),
            commits: self.commits - commits,
            last_sequence: self.sequence.unwrap_or_default(),
        };
        if note == seen { Ok(()) } else { Err("a finished log segment that has not what it says") }
    }

    fn begin_part(&mut self, first: bool) -> Result<bool, Disorder> {
        if first {
            self.current = None;
            self.large = Large::Begun;
            return Ok(true);
        }
        match self.large {
            Large::Begun => Ok(true),
            Large::Unseen => Ok(false),
            Large::No if self.sequence.is_none() => {
                self.large = Large::Unseen;
                Ok(false)
            }
            Large::No => Err("a piece of a commit that never began"),
        }
    }

    fn begin_commits(&mut self, last_of_large: bool) -> Result<bool, Disorder> {
        let large = std::mem::replace(&mut self.large, Large::No);
        if !last_of_large {
            self.current = None;
            return Ok(true);
        }
        match large {
            Large::Begun => Ok(true),
            Large::No if self.sequence.is_some() => Err("the end of a commit that never began"),
            Large::No | Large::Unseen => {
                self.sequence = self.sequence.map(SequenceNumber::next);
                self.commits += 1;
                let needed = self.sequence.is_some_and(|sequence| sequence > self.known_through);
                if needed { Err("the beginning of a commit is missing") } else { Ok(false) }
            }
        }
    }

    fn begin_commit(&mut self, sequence: SequenceNumber, ops: u64) -> Result<(), Disorder> {
        let follows = match self.sequence {
            Some(last) => sequence == last.next(),
            None => sequence <= self.known_through.next(),
        };
        if !follows || sequence.0 == 0 {
            return Err("a commit that does not follow the one before");
        }
        self.current = Some(Current { sequence, ops_left: ops, value_left: 0 });
        self.finish_commit();
        Ok(())
    }

    fn finish_commit(&mut self) {
        if let Some(current) = self.current
            && current.ops_left == 0
            && current.value_left == 0
        {
            self.sequence = Some(current.sequence);
            self.commits += 1;
            self.current = None;
        }
    }
}
