//! Appending to the log.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroize;

use super::extents::Extents;
use super::frame::{
    FIRST_OF_LARGE, FRAME_HEADER_LEN, FrameCipher, FrameHead, FrameKind, LAST_OF_LARGE, MAX_PAYLOAD_LEN,
    NO_TAG, frame_space,
};
use super::links::CloseNote;
use super::record::{self, CHUNK_HEADER_LEN, COMMIT_RECORD_LEN, CommitOps, Record};
use super::segment::PreparedSegment;
use super::sync::{Shared, WalSync};
use super::{SegmentSupply, WalPosition, WalSegmentInfo, WalStart};
use crate::bytes::ByteReader;
use crate::segment::{HEADER_LEN, SealContext, SegmentKind};
use crate::{FrameNumber, Result, SequenceNumber, StorageError, ZeroizingBytes};

/// Something to append.
#[derive(Debug)]
pub enum LogEntry<'a, 'v> {
    /// A commit.
    Commit {
        /// Its number: one more than that of the commit before.
        sequence: SequenceNumber,
        /// When it was made, in microseconds since 1970, as the clock said.
        time_micros: i64,
        /// What it does. Streamed values are consumed.
        ops: &'a mut CommitOps<'v>,
    },
    /// A restore point.
    RestorePoint {
        /// Its name, at most [`MAX_RESTORE_POINT_NAME_LEN`](super::MAX_RESTORE_POINT_NAME_LEN) bytes.
        name: &'a str,
        /// The number of the commit before it.
        sequence: SequenceNumber,
        /// When it was made, in microseconds since 1970, as the clock said.
        time_micros: i64,
    },
}

/// What [`WalWriter::append`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// How many entries, from the front.
    pub entries: usize,
    /// Where the last of them ends. It is durable once [`WalSync::sync`] returns this frame or a later one.
    pub position: WalPosition,
}

/// The one writer of a log. After a failed write or sync, and in a forked child, it refuses everything for ever.
pub struct WalWriter {
    ctx: Arc<SealContext>,
    process: u32,
    supply: Box<dyn SegmentSupply>,
    shared: Arc<Shared>,
    segment_size: u64,
    payload_max: usize,
    segment: Segment,
    /// Behind the last frame.
    end: WalPosition,
    /// The newest `durable_through` that a frame says.
    carried: FrameNumber,
    /// The frame that is being made: room for its header, then plaintext until it is sealed. It never moves, so it
    /// leaves no plaintext behind.
    pub(super) frame: ZeroizingBytes,
}

/// The segment that is being written.
struct Segment {
    info: WalSegmentInfo,
    cipher: FrameCipher,
    extents: Arc<Extents>,
    note: CloseNote,
}

/// What is always kept free, so that a segment can be finished.
const CLOSE_SPACE: u64 = frame_space(CloseNote::LEN);

impl WalWriter {
    /// Starts writing to `first`, which is in the manifest, at the end of the log or where `start` says. All up to
    /// `start.after` is synced. The first frame is written and synced.
    ///
    /// # Errors
    /// What writing and syncing can give.
    pub fn start(
        ctx: Arc<SealContext>,
        first: PreparedSegment,
        start: WalStart,
        supply: Box<dyn SegmentSupply>,
    ) -> Result<Self> {
        let PreparedSegment { info, cipher, extents } = first;
        let segment_size = extents.size();
        let extents = Arc::new(extents);
        let (frame, tag) = start.after.map_or((FrameNumber(0), NO_TAG), |after| (after.frame, after.tag));
        let within_commit = start.after.is_some_and(|after| after.newest_begun() > start.last_sequence);
        let end = WalPosition {
            segment: info.id,
            offset: HEADER_LEN as u64,
            frame,
            tag,
            sequence: start.last_sequence,
            within_commit,
        };
        let mut writer = Self {
            process: ctx.vfs.process_id(),
            ctx,
            supply,
            shared: Arc::new(Shared::new(Arc::clone(&extents), frame)),
            segment_size,
            payload_max: payload_max(segment_size),
            segment: Segment { info, cipher, extents, note: CloseNote::default() },
            end,
            carried: FrameNumber(0),
            frame: ZeroizingBytes::new(Vec::with_capacity(FRAME_HEADER_LEN + payload_max(segment_size))),
        };
        writer.write_open(&start)?;
        Ok(writer)
    }

    /// Appends the longest beginning of `entries` that fits one frame, or only the first entry if that is larger than a
    /// frame. When this returns, the entries are with the operating system: a killed process does not lose them.
    ///
    /// All or nothing: after an error none of them is ever replayed, unless the error poisoned the log; then what a
    /// crash would leave is what counts.
    ///
    /// # Errors
    /// `DiskFull`, what the [`SegmentSupply`] gives, a streamed value that fails or ends early, and entries out of order
    /// or beyond the limits: these change nothing. Others poison.
    pub fn append(&mut self, entries: &mut [LogEntry<'_, '_>]) -> Result<Appended> {
        self.check()?;
        self.append_fitting(entries).inspect_err(|_| self.frame.zeroize())
    }

    fn append_fitting(&mut self, entries: &mut [LogEntry<'_, '_>]) -> Result<Appended> {
        let (count, sequence) = self.fitting(entries)?;
        match entries {
            [LogEntry::Commit { sequence, time_micros, ops }, ..] if count == 0 => {
                self.append_large(*sequence, *time_micros, ops)?;
                return Ok(Appended { entries: 1, position: self.end });
            }
            _ => {}
        }
        if count > 0 {
            self.begin_payload();
            for entry in entries.iter_mut().take(count) {
                self.add_entry(entry)?;
            }
            self.append_frame(FrameKind::Commits, 0, sequence)?;
        }
        Ok(Appended { entries: count, position: self.end })
    }

    /// Says in the log what was synced, if the last frames do not say it yet and are synced; whether it wrote anything.
    /// Call it when nothing more is to be appended for now.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn write_marker(&mut self) -> Result<bool> {
        self.check()?;
        let content = self.shared.content();
        if self.shared.durable() < content || self.carried >= content {
            return Ok(false);
        }
        self.begin_payload();
        self.append_frame(FrameKind::Marker, 0, self.end.sequence)?;
        Ok(true)
    }

    /// Goes on in the next segment, so that this one can be archived; false if there is nothing in it yet.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn rotate(&mut self) -> Result<bool> {
        let has_content = self.segment.note.frames > 1;
        if has_content {
            self.go_on()?;
        }
        Ok(has_content)
    }

    /// Goes on in the next segment, also when nothing is in this one: it may be under a key that is to seal nothing more.
    ///
    /// # Errors
    /// What writing and syncing can give.
    pub fn go_on(&mut self) -> Result<()> {
        self.check()?;
        self.next_segment()
    }

    /// Ends the log: finishes and syncs the segment, and returns its entry for the manifest.
    ///
    /// # Errors
    /// What writing and syncing can give.
    pub fn finish(mut self) -> Result<WalSegmentInfo> {
        self.check()?;
        self.close_segment()
    }

    /// Behind the last frame.
    #[must_use]
    pub fn position(&self) -> WalPosition {
        self.end
    }

    /// Bytes left in the current segment.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.segment_size.saturating_sub(self.end.offset)
    }

    /// The entry of the current segment.
    #[must_use]
    pub fn segment(&self) -> &WalSegmentInfo {
        &self.segment.info
    }

    /// A handle that syncs the log beside this writer.
    #[must_use]
    pub fn sync_handle(&self) -> WalSync {
        WalSync { shared: Arc::clone(&self.shared) }
    }

    /// Refuses after a failure, and in a forked child: it has the same key and would use the same nonces.
    fn check(&self) -> Result<()> {
        self.shared.check()?;
        if self.ctx.vfs.process_id() == self.process {
            return Ok(());
        }
        let what = "this process was forked after the database was opened; open it in the child";
        Err(self.shared.poison(self.refuse(what)))
    }

    /// How many entries fit one frame, and the newest commit with them.
    fn fitting(&self, entries: &[LogEntry<'_, '_>]) -> Result<(usize, SequenceNumber)> {
        let mut room = self.payload_max as u64;
        let mut last = self.end.sequence;
        for (count, entry) in entries.iter().enumerate() {
            let (in_order, len) = match entry {
                LogEntry::Commit { sequence, ops, .. } => {
                    if ops.longest_record() + COMMIT_RECORD_LEN > self.payload_max {
                        return Err(self.refuse("a key is too long for the log"));
                    }
                    (*sequence == last.next(), ops.framed_len().saturating_add(COMMIT_RECORD_LEN as u64))
                }
                LogEntry::RestorePoint { name, sequence, .. } => {
                    if name.len() > super::MAX_RESTORE_POINT_NAME_LEN {
                        return Err(self.refuse("the name of a restore point is too long"));
                    }
                    (*sequence == last, name.len() as u64 + record::RESTORE_POINT_OVERHEAD as u64)
                }
            };
            if len > room {
                return Ok((count, last));
            }
            if !in_order {
                return Err(self.refuse("an entry of the log does not follow the one before"));
            }
            room -= len;
            if let LogEntry::Commit { sequence, .. } = entry {
                last = *sequence;
            }
        }
        Ok((entries.len(), last))
    }

    fn begin_payload(&mut self) {
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_LEN, 0);
    }

    /// Adds a whole entry to the frame.
    fn add_entry(&mut self, entry: &mut LogEntry<'_, '_>) -> Result<()> {
        match entry {
            LogEntry::RestorePoint { name, sequence, time_micros } => {
                record::put_restore_point(&mut self.frame, name, *sequence, *time_micros);
            }
            LogEntry::Commit { sequence, time_micros, ops } => {
                record::put_commit(&mut self.frame, *sequence, *time_micros, ops.count());
                let (encoded, pieces) = ops.parts();
                let mut done = 0;
                for piece in pieces {
                    self.frame.extend_from_slice(&encoded[done..piece.records_end]);
                    done = piece.records_end;
                    if piece.value_len > 0 {
                        self.add_chunk(piece.value_len as usize, &mut *piece.value)?;
                    }
                }
                self.frame.extend_from_slice(&encoded[done..]);
            }
        }
        Ok(())
    }

    fn add_chunk(&mut self, len: usize, value: &mut dyn Read) -> Result<()> {
        record::put_chunk_head(&mut self.frame, len);
        let start = self.frame.len();
        self.frame.resize(start + len, 0);
        value
            .read_exact(&mut self.frame[start..])
            .map_err(|e| StorageError::io("read a value for", self.path(), e))
    }

    /// Appends a commit in pieces. The last frame always has at least one record.
    fn append_large(
        &mut self,
        sequence: SequenceNumber,
        time_micros: i64,
        ops: &mut CommitOps<'_>,
    ) -> Result<()> {
        if sequence != self.end.sequence.next() {
            return Err(self.refuse("an entry of the log does not follow the one before"));
        }
        self.begin_payload();
        record::put_commit(&mut self.frame, sequence, time_micros, ops.count());
        let mut first = true;
        let (encoded, pieces) = ops.parts();
        let mut reader = ByteReader::new(encoded);
        for piece in pieces {
            self.add_records(&mut reader, encoded.len() - piece.records_end, &mut first)?;
            let mut left = piece.value_len;
            while left > 0 {
                if self.payload_room() <= CHUNK_HEADER_LEN {
                    self.append_part(&mut first)?;
                }
                let room = self.payload_room() - CHUNK_HEADER_LEN;
                let len = usize::try_from(left).map_or(room, |left| left.min(room));
                self.add_chunk(len, &mut *piece.value)?;
                left -= len as u64;
            }
        }
        self.add_records(&mut reader, 0, &mut first)?;
        // What was thought not to fit one frame, by the most that it could take, may have fitted after all.
        let flags = if first { 0 } else { LAST_OF_LARGE };
        self.append_frame(FrameKind::Commits, flags, sequence)
    }

    /// Adds records until `rest` bytes of them are left.
    fn add_records(&mut self, reader: &mut ByteReader<'_>, rest: usize, first: &mut bool) -> Result<()> {
        while reader.rest().len() > rest {
            let before = reader.rest();
            Record::read(reader).map_err(|malformed| self.refuse(malformed.what))?;
            let record = &before[..before.len() - reader.rest().len()];
            if record.len() > self.payload_room() {
                self.append_part(first)?;
            }
            self.frame.extend_from_slice(record);
        }
        Ok(())
    }

    fn append_part(&mut self, first: &mut bool) -> Result<()> {
        let flags = if std::mem::take(first) { FIRST_OF_LARGE } else { 0 };
        self.append_frame(FrameKind::Part, flags, self.end.sequence)?;
        self.begin_payload();
        Ok(())
    }

    fn payload_room(&self) -> usize {
        (self.payload_max + FRAME_HEADER_LEN).saturating_sub(self.frame.len())
    }

    /// Seals the frame that was made and appends it, in the next segment if this one has no room. `sequence` is the
    /// newest commit that is complete with it.
    fn append_frame(&mut self, kind: FrameKind, flags: u8, sequence: SequenceNumber) -> Result<()> {
        let space = frame_space(self.frame.len() - FRAME_HEADER_LEN);
        if self.end.offset + space + CLOSE_SPACE > self.segment_size {
            let frame = std::mem::take(&mut self.frame);
            let moved_on = self.next_segment();
            self.frame = frame;
            moved_on?;
        }
        self.segment.extents.grow_to(self.end.offset + space + CLOSE_SPACE)?;
        self.publish(kind, flags).map_err(|error| self.shared.poison(error))?;
        self.segment.note.commits += sequence.0 - self.end.sequence.0;
        self.end.sequence = sequence;
        match kind {
            FrameKind::Part => self.end.within_commit = true,
            FrameKind::Commits => self.end.within_commit = false,
            FrameKind::Open | FrameKind::Marker | FrameKind::Close => {}
        }
        Ok(())
    }

    /// Seals the frame in private memory, then copies the ciphertext to the file, the length word last.
    fn publish(&mut self, kind: FrameKind, flags: u8) -> Result<()> {
        let offset = self.end.offset;
        let length = self.frame.len() as u32;
        let head = FrameHead {
            length,
            kind,
            flags,
            number: self.end.frame.next(),
            durable_through: self.shared.durable(),
            previous_tag: self.end.tag,
            tag: NO_TAG,
        };
        self.end.tag = self.segment.cipher.seal(head, offset, &mut self.frame)?;
        self.segment.extents.write(offset + 4, &self.frame[4..])?;
        self.segment.extents.publish(offset, length)?;
        self.end.offset += head.space();
        self.end.frame = head.number;
        self.carried = head.durable_through;
        self.segment.note.frames += 1;
        self.shared.appended(head.number, self.end.offset, kind != FrameKind::Marker);
        Ok(())
    }

    /// Finishes this segment and begins the next: the old one is synced before the new one has a frame, and the new
    /// one's first frame before the next.
    fn next_segment(&mut self) -> Result<()> {
        let PreparedSegment { info, cipher, extents } = self.supply.next()?;
        let current = &self.segment.info;
        if info.incarnation != current.incarnation
            || info.id == current.id
            || extents.size() != self.segment_size
        {
            return Err(self.refuse("the next segment does not continue this one"));
        }
        let finished = self.close_segment()?;
        let extents = Arc::new(extents);
        let start = WalStart { after: Some(self.end), last_sequence: self.end.sequence, fork: None };
        self.shared.rotated(Arc::clone(&extents));
        self.end = WalPosition { segment: info.id, offset: HEADER_LEN as u64, ..self.end };
        self.segment = Segment { info, cipher, extents, note: CloseNote::default() };
        self.write_open(&start)?;
        self.supply.finished(finished);
        Ok(())
    }

    fn write_open(&mut self, start: &WalStart) -> Result<()> {
        self.begin_payload();
        self.frame.extend_from_slice(&start.encode());
        self.publish(FrameKind::Open, 0).map_err(|error| self.shared.poison(error))?;
        self.shared.sync()?;
        Ok(())
    }

    fn close_segment(&mut self) -> Result<WalSegmentInfo> {
        let note = self.segment.note;
        let note = CloseNote { frames: note.frames + 1, last_sequence: self.end.sequence, ..note };
        self.begin_payload();
        self.frame.extend_from_slice(&note.encode());
        self.publish(FrameKind::Close, 0).map_err(|error| self.shared.poison(error))?;
        self.shared.sync()?;
        Ok(WalSegmentInfo { accepted_through: Some(self.end), ..self.segment.info.clone() })
    }

    fn path(&self) -> PathBuf {
        self.ctx.segment_path(SegmentKind::Wal, self.segment.info.id)
    }

    fn refuse(&self, what: &str) -> StorageError {
        StorageError::io("append to", self.path(), io::Error::new(io::ErrorKind::InvalidInput, what))
    }
}

impl fmt::Debug for WalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalWriter").field("end", &self.end).finish_non_exhaustive()
    }
}

/// The most plaintext a frame may have, so that any frame fits an empty segment.
fn payload_max(segment_size: u64) -> usize {
    usize::try_from(segment_size / 4 * 3).map_or(MAX_PAYLOAD_LEN, |len| len.min(MAX_PAYLOAD_LEN))
}
