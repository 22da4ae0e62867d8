//! Giving the commits of a log to whoever replays them, one at a time and in order.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;

use super::cursor::{Place, SegmentCursor};
use super::frame::{FIRST_OF_LARGE, FrameHead, FrameKind, LAST_OF_LARGE, Slot};
use super::record::Record;
use super::tracker::Tracker;
use super::{CommitHead, LogEvent, LogOp, LogSource, RestorePoint, WalPosition, WalSegmentInfo};
use crate::bytes::ByteReader;
use crate::{Incarnation, Result, SequenceNumber, StorageError, ZeroizingBytes};

/// Frames of one segment, one after another.
pub(super) struct ReplayPart {
    cursor: SegmentCursor,
    incarnation: Incarnation,
    offset: u64,
    end: u64,
}

impl ReplayPart {
    /// The frames from `start` to `end`.
    pub(super) fn new(cursor: SegmentCursor, info: &WalSegmentInfo, start: u64, end: u64) -> Self {
        Self { cursor, incarnation: info.incarnation, offset: start, end }
    }
}

/// Where the parts of a log come from, in order.
pub(super) type Parts = Box<dyn Iterator<Item = Result<ReplayPart>> + Send>;

/// Replays a log whose end is known. Each frame is authenticated, and must follow the one before.
pub struct Replay {
    parts: Parts,
    /// The part that is being read, and those that were looked at for the end of a large commit.
    queue: VecDeque<ReplayPart>,
    tracker: Tracker,
    frame: ZeroizingBytes,
    head: Option<FrameHead>,
    /// How much of the frame was taken.
    taken: usize,
    /// The file and the place of the frame.
    place: (PathBuf, u64),
    incarnation: Incarnation,
    /// Whether the commit that the tracker is in was announced.
    announced: bool,
}

impl Replay {
    pub(super) fn new(parts: Parts, before: Option<WalPosition>, known_through: SequenceNumber) -> Self {
        let mut tracker = Tracker::new(known_through);
        if let Some(before) = &before {
            tracker.resume(before);
        }
        Self::with(parts, tracker)
    }

    /// Pieces that were archived, of which some without commits may be missing.
    pub(super) fn of_archive(parts: Parts, known_through: SequenceNumber) -> Self {
        Self::with(parts, Tracker::new(known_through).may_skip())
    }

    fn with(parts: Parts, tracker: Tracker) -> Self {
        Self {
            parts,
            queue: VecDeque::new(),
            tracker,
            frame: ZeroizingBytes::default(),
            head: None,
            taken: 0,
            place: (PathBuf::new(), 0),
            incarnation: Incarnation::default(),
            announced: false,
        }
    }

    fn within_commit(&self) -> bool {
        self.announced && self.tracker.within_commit()
    }

    fn corrupt(&self, what: &'static str) -> StorageError {
        StorageError::corrupt(&self.place.0, self.place.1, what)
    }

    /// The next record, from the next frame if this one is done.
    fn next_record(&mut self) -> Result<Option<Record<'_>>> {
        while self.taken == self.frame.len() {
            if !self.next_frame()? {
                return if self.within_commit() {
                    Err(self.corrupt("the log ends within a commit"))
                } else {
                    Ok(None)
                };
            }
        }
        let (file, offset) = &self.place;
        let corrupt = |what| StorageError::corrupt(file, *offset, what);
        let mut reader = ByteReader::new(&self.frame[self.taken..]);
        let record = Record::read(&mut reader).map_err(|malformed| corrupt(malformed.what))?;
        self.tracker.record(&record).map_err(corrupt)?;
        self.taken = self.frame.len() - reader.rest().len();
        Ok(Some(record))
    }

    /// Moves to the next frame; one without records, or of a commit that was never completed, leaves nothing to take.
    fn next_frame(&mut self) -> Result<bool> {
        if let Some(head) = self.head.take() {
            self.tracker.end_frame(&head).map_err(|what| self.corrupt(what))?;
        }
        self.frame = ZeroizingBytes::default();
        self.taken = 0;
        let Some((head, payload)) = self.read_frame()? else { return Ok(false) };
        let begins_large = head.kind == FrameKind::Part && head.flags & FIRST_OF_LARGE != 0;
        let void = match head.kind {
            FrameKind::Part if begins_large => !self.completes()?,
            FrameKind::Part => !self.announced,
            _ => false,
        };
        if void {
            self.announced = false;
            self.tracker.frame(&head, &payload, &mut |_| {}).map_err(|what| self.corrupt(what))?;
        } else if self.tracker.begin_frame(&head, &payload).map_err(|what| self.corrupt(what))? {
            self.head = Some(head);
            self.frame = payload;
        }
        Ok(true)
    }

    fn read_frame(&mut self) -> Result<Option<(FrameHead, ZeroizingBytes)>> {
        loop {
            if self.queue.is_empty() && !self.fetch_part()? {
                return Ok(None);
            }
            let Some(part) = self.queue.front_mut().filter(|part| part.offset < part.end) else {
                self.queue.pop_front();
                continue;
            };
            self.place = (part.cursor.path().to_path_buf(), part.offset);
            self.incarnation = part.incarnation;
            let (head, payload) = match part.cursor.read(part.offset)? {
                Place::Frame(head, payload) => (head, payload),
                Place::Damaged(what) => return Err(self.corrupt(what)),
                Place::Empty => return Err(self.corrupt("a log frame is missing")),
            };
            part.offset += head.space();
            return Ok(Some((head, payload)));
        }
    }

    fn fetch_part(&mut self) -> Result<bool> {
        let part = self.parts.next().transpose()?;
        let is_there = part.is_some();
        self.queue.extend(part);
        Ok(is_there)
    }

    /// Whether the large commit whose first frame was just read has its last. Goes by clear headers; all of them are
    /// authenticated when their frames are taken, and an error then ends the replay.
    fn completes(&mut self) -> Result<bool> {
        for index in 0.. {
            if index == self.queue.len() && !self.fetch_part()? {
                break;
            }
            let Some(part) = self.queue.get_mut(index) else { break };
            let mut offset = part.offset;
            while offset < part.end {
                let head = match part.cursor.peek(offset)? {
                    Slot::Plausible(head) => head,
                    // One whose length is zero may be there all the same.
                    Slot::Empty | Slot::Damaged(_) => match part.cursor.read(offset)? {
                        Place::Frame(head, _) => head,
                        Place::Empty => return Err(part.cursor.corrupt(offset, "a log frame is missing")),
                        Place::Damaged(what) => return Err(part.cursor.corrupt(offset, what)),
                    },
                };
                match (head.kind, head.flags) {
                    (FrameKind::Commits, flags) => return Ok(flags & LAST_OF_LARGE != 0),
                    (FrameKind::Part, flags) if flags & FIRST_OF_LARGE != 0 => return Ok(false),
                    _ => offset += head.space(),
                }
            }
        }
        Ok(false)
    }
}

impl LogSource for Replay {
    fn next_event(&mut self) -> Result<Option<LogEvent>> {
        while self.within_commit() {
            self.next_record()?;
        }
        self.announced = false;
        let event = match self.next_record()? {
            None => return Ok(None),
            Some(Record::Commit { sequence, time_micros, ops }) => {
                let incarnation = self.incarnation;
                self.announced = true;
                LogEvent::Commit(CommitHead { sequence, time_micros, incarnation, ops })
            }
            Some(Record::RestorePoint { name, sequence, time_micros }) => {
                LogEvent::RestorePoint(RestorePoint { name: name.to_owned(), sequence, time_micros })
            }
            Some(_) => return Err(self.corrupt("a log record that belongs to no commit")),
        };
        Ok(Some(event))
    }

    fn next_op(&mut self) -> Result<Option<LogOp<'_>>> {
        while self.announced && self.tracker.value_left() > 0 {
            self.next_record()?;
        }
        if !self.within_commit() {
            return Ok(None);
        }
        Ok(match self.next_record()? {
            Some(Record::Put { key, value }) => Some(LogOp::Put { key, value }),
            Some(Record::PutStreamed { key, len }) => Some(LogOp::PutStreamed { key, len }),
            Some(Record::Delete { key }) => Some(LogOp::Delete { key }),
            // The tracker lets nothing else pass here.
            _ => None,
        })
    }

    fn read_value(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        chunk.clear();
        if !self.within_commit() || self.tracker.value_left() == 0 {
            return Ok(false);
        }
        if let Some(Record::Chunk(bytes)) = self.next_record()? {
            chunk.extend_from_slice(bytes);
        }
        Ok(true)
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("place", &self.place).finish_non_exhaustive()
    }
}
