//! Finding out what the log holds and where it ends, after a crash or a clean end. Reading writes nothing.

use std::path::PathBuf;

use super::cursor::{Place, SegmentCursor};
use super::frame::FrameKind;
use super::record::Record;
use super::replay::{Replay, ReplayPart};
use super::search::search_beyond;
use super::tracker::Tracker;
use super::{RestorePoint, WalPosition, WalSegmentInfo, WalStart};
use crate::segment::{HEADER_LEN, SealContext, SegmentKind};
use crate::vfs::{OpenHow, VfsFile};
use crate::{Result, SegmentId, SequenceNumber, StorageError};

/// What [`scan`] found. All of it was authenticated.
#[derive(Debug)]
pub struct ScanOutcome {
    /// Behind the last accepted frame; `None` if the log never had one.
    pub end: Option<WalPosition>,
    /// The newest commit in the log; `known_through` if that is later.
    pub last_sequence: SequenceNumber,
    /// How many commits it holds.
    pub commits: u64,
    /// The restore points it holds, in order.
    pub restore_points: Vec<RestorePoint>,
    /// What was given up, if there was anything behind the end that was appended and never promised.
    pub cut: Option<CutReport>,
    before: Option<WalPosition>,
    known_through: SequenceNumber,
    used: Vec<WalSegmentInfo>,
    unused: Vec<SegmentId>,
}

/// The end of the log was damaged where nothing was promised: a power cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutReport {
    /// The log segment.
    pub file: PathBuf,
    /// Where the log ends.
    pub offset: u64,
    /// How many bytes behind that were given up.
    pub discarded_bytes: u64,
}

/// What the manifest is to say of the log that was scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledLog {
    /// The segments that hold accepted frames, each with its end.
    pub segments: Vec<WalSegmentInfo>,
    /// Segments that never held any: take them out of the manifest, then delete their files.
    pub unused: Vec<SegmentId>,
    /// Where the next writer starts.
    pub start: WalStart,
}

/// Reads a whole log: `segments` as the manifest lists them. Commits up to `known_through` are in synced files and need
/// not be in the log; `before` is the end of the newest segment that was taken out of the list, if it is known.
///
/// # Errors
/// `Corrupt` with the place of the first damage to anything that was promised: what was synced, and, if the machine has
/// not restarted since, all that was appended. `Corrupt` for a missing segment, too.
pub fn scan(
    ctx: &SealContext,
    segments: &[WalSegmentInfo],
    before: Option<WalPosition>,
    known_through: SequenceNumber,
) -> Result<ScanOutcome> {
    let mut tracker = Tracker::new(known_through);
    if let Some(before) = &before {
        tracker.resume(before);
    }
    let mut scan = Scan { ctx, tracker, end: before, restore_points: Vec::new(), used: Vec::new() };
    let mut cut = None;
    for (index, info) in segments.iter().enumerate() {
        let mut cursor = SegmentCursor::open(ctx, info)?;
        let rest = &segments[index + 1..];
        let bound = scan.bound(info, rest)?;
        if let Walked::Until(offset, damage) = scan.walk(&mut cursor, info, bound.as_ref())? {
            cut = scan.end_at(&mut cursor, info, rest, offset, damage)?;
            break;
        }
    }
    let unused = segments.iter().skip(scan.used.len()).map(|info| info.id).collect();
    Ok(ScanOutcome {
        end: scan.end,
        last_sequence: scan.tracker.last_sequence().unwrap_or_default().max(known_through),
        commits: scan.tracker.commits(),
        restore_points: scan.restore_points,
        cut,
        before,
        known_through,
        used: scan.used,
        unused,
    })
}

impl ScanOutcome {
    /// The accepted commits and restore points, read once more from the files.
    ///
    /// # Errors
    /// What opening the files can give.
    pub fn replay(&self, ctx: &SealContext) -> Result<Replay> {
        let mut parts = Vec::with_capacity(self.used.len());
        for info in &self.used {
            let end = info.accepted_through.map_or(0, |end| end.offset);
            parts.push(ReplayPart::new(SegmentCursor::open(ctx, info)?, info, HEADER_LEN as u64, end));
        }
        Ok(Replay::new(Box::new(parts.into_iter().map(Ok)), self.before, self.known_through))
    }

    /// Makes the accepted frames durable and says what the manifest is to say of them, so that nothing behind them ever
    /// comes back. The segments before the last one were synced when the log went on in the next. Before anything new is
    /// acknowledged, what was replayed belongs in new synced files.
    ///
    /// # Errors
    /// What opening and syncing can give.
    pub fn settle(&self, ctx: &SealContext) -> Result<SettledLog> {
        if let Some(last) = self.used.last() {
            let path = ctx.segment_path(SegmentKind::Wal, last.id);
            let file =
                ctx.vfs.open(&path, OpenHow::ReadWrite).map_err(|e| StorageError::io("open", &path, e))?;
            let end = last.accepted_through.map_or(0, |end| end.offset);
            write_again(ctx, last, &*file, end)?;
            file.sync_data().map_err(|e| StorageError::io("sync", &path, e))?;
        }
        let start = WalStart { after: self.end, last_sequence: self.last_sequence, fork: None };
        Ok(SettledLog { segments: self.used.clone(), unused: self.unused.clone(), start })
    }
}

/// Writes the frames before `end` over themselves. If a sync failed before the process that wrote them ended, the system
/// has them, will never write them, and says of the next sync that it went well. What is written again has to be synced
/// again.
fn write_again(ctx: &SealContext, info: &WalSegmentInfo, file: &dyn VfsFile, end: u64) -> Result<()> {
    let mut cursor = SegmentCursor::open(ctx, info)?;
    let path = cursor.path().to_path_buf();
    let mut offset = HEADER_LEN as u64;
    while offset < end {
        // What reads differently now is not written: it would take the place of what was accepted.
        let Some((frame, space)) = cursor.sealed(offset)? else { break };
        file.write_all_at(&frame, offset).map_err(|e| StorageError::io("write", &path, e))?;
        offset += space;
    }
    Ok(())
}

struct Scan<'a> {
    ctx: &'a SealContext,
    tracker: Tracker,
    end: Option<WalPosition>,
    restore_points: Vec<RestorePoint>,
    /// The segments with accepted frames, each with its end so far.
    used: Vec<WalSegmentInfo>,
}

/// How far a segment could be read.
enum Walked {
    /// To its end.
    Through,
    /// To a place that holds no frame; if something was appended there, what is wrong with it.
    Until(u64, Option<&'static str>),
}

impl Scan<'_> {
    /// Where a segment ends by what is written elsewhere: in the manifest, or in the next segment's first frame.
    fn bound(&self, info: &WalSegmentInfo, rest: &[WalSegmentInfo]) -> Result<Option<WalPosition>> {
        let Some(next) = rest.first() else { return Ok(info.accepted_through) };
        let mut cursor = SegmentCursor::open(self.ctx, next)?;
        let Some(start) = read_open(&mut cursor)? else { return Ok(info.accepted_through) };
        let contradiction = info.accepted_through.is_some() && info.accepted_through != start.after;
        if contradiction || start.after.is_none_or(|after| after.segment != info.id) {
            return Err(cursor
                .corrupt(HEADER_LEN as u64, "this log segment does not follow the one listed before it"));
        }
        Ok(start.after)
    }

    fn walk(
        &mut self,
        cursor: &mut SegmentCursor,
        info: &WalSegmentInfo,
        bound: Option<&WalPosition>,
    ) -> Result<Walked> {
        let mut offset = HEADER_LEN as u64;
        while bound.is_none_or(|bound| offset < bound.offset) {
            let (head, payload) = match (cursor.read(offset)?, bound) {
                (Place::Frame(head, payload), _) => (head, payload),
                (Place::Damaged(what), Some(_)) => return Err(cursor.corrupt(offset, what)),
                (Place::Empty, Some(_)) => {
                    return Err(cursor.corrupt(offset, "a log frame that was accepted is missing"));
                }
                (Place::Damaged(what), None) => return Ok(Walked::Until(offset, Some(what))),
                (Place::Empty, None) => return Ok(Walked::Until(offset, None)),
            };
            let is_first = offset == HEADER_LEN as u64;
            if is_first != (head.kind == FrameKind::Open) {
                return Err(
                    cursor.corrupt(offset, "a log segment that does not begin with its opening frame")
                );
            }
            if is_first {
                self.check_open(cursor, &payload)?;
                self.used.push(WalSegmentInfo { accepted_through: None, ..info.clone() });
            }
            let points = &mut self.restore_points;
            let keep = &mut |record: &Record<'_>| keep_restore_point(points, record);
            self.tracker.frame(&head, &payload, keep).map_err(|what| cursor.corrupt(offset, what))?;
            offset += head.space();
            self.end = self.tracker.position(info.id, offset);
            if let Some(used) = self.used.last_mut() {
                used.accepted_through = self.end;
            }
            if head.kind == FrameKind::Close {
                break;
            }
        }
        match bound {
            Some(_) if self.end.as_ref() != bound => {
                Err(cursor.corrupt(offset, "a log segment that does not end where it was accepted to end"))
            }
            _ => Ok(Walked::Through),
        }
    }

    fn check_open(&self, cursor: &SegmentCursor, payload: &[u8]) -> Result<()> {
        let offset = HEADER_LEN as u64;
        let start = WalStart::decode(payload).map_err(|malformed| cursor.corrupt(offset, malformed.what))?;
        if self.end.is_some() && start.after != self.end {
            return Err(cursor.corrupt(offset, "a log segment before this one is missing"));
        }
        Ok(())
    }

    /// Decides whether the log may end at `offset`.
    fn end_at(
        &self,
        cursor: &mut SegmentCursor,
        info: &WalSegmentInfo,
        rest: &[WalSegmentInfo],
        offset: u64,
        damage: Option<&'static str>,
    ) -> Result<Option<CutReport>> {
        let same_boot = info.boot_id == self.ctx.vfs.boot_id(&self.ctx.directory);
        if let (true, Some(what)) = (same_boot, damage) {
            return Err(cursor.corrupt(offset, what));
        }
        let here = search_beyond(cursor, offset)?;
        let (mut frames, mut durable) =
            (here.frames, self.tracker.durable_through().max(here.durable_through));
        for later in rest {
            let beyond = search_beyond(&mut SegmentCursor::open(self.ctx, later)?, HEADER_LEN as u64)?;
            frames += beyond.frames;
            durable = durable.max(beyond.durable_through);
        }
        if durable > self.tracker.last_frame() {
            return Err(cursor.corrupt(offset, damage.unwrap_or("a log frame that was synced is missing")));
        }
        if same_boot && frames > 0 {
            return Err(cursor.corrupt(offset, "a log frame is missing before others"));
        }
        let is_cut = damage.is_some() || frames > 0;
        let discarded_bytes = here.end - offset;
        Ok(is_cut.then(|| CutReport { file: cursor.path().to_path_buf(), offset, discarded_bytes }))
    }
}

/// The first frame of a segment, if it has one.
fn read_open(cursor: &mut SegmentCursor) -> Result<Option<WalStart>> {
    let offset = HEADER_LEN as u64;
    match cursor.read(offset)? {
        Place::Frame(head, payload) if head.kind == FrameKind::Open => {
            WalStart::decode(&payload).map(Some).map_err(|malformed| cursor.corrupt(offset, malformed.what))
        }
        _ => Ok(None),
    }
}

fn keep_restore_point(points: &mut Vec<RestorePoint>, record: &Record<'_>) {
    if let Record::RestorePoint { name, sequence, time_micros } = *record {
        points.push(RestorePoint { name: name.to_owned(), sequence, time_micros });
    }
}
