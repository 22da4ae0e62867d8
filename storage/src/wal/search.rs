//! Looking behind the end of the log, for frames that say that more was promised.

use super::WalSegmentInfo;
use super::cursor::{Place, SegmentCursor};
use super::frame::{FRAME_ALIGNMENT, FrameKind, Slot};
use crate::segment::{HEADER_LEN, SealContext};
use crate::{FrameNumber, Result};

/// What lies behind a place in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beyond {
    /// How many frames open there.
    pub(super) frames: u64,
    /// The newest frame that they say was synced.
    pub(super) durable_through: FrameNumber,
    /// Behind the last byte that is not zero.
    pub(super) end: u64,
}

/// Every place of a segment at which a frame is missing that others follow, or that lies before the segment's end if that is
/// known. For reports: [`scan`](super::scan) says what may be believed.
///
/// # Errors
/// `Corrupt` for a missing file and for another header than `info` calls for, and what reading can give.
pub fn damaged_places(ctx: &SealContext, info: &WalSegmentInfo) -> Result<Vec<u64>> {
    let mut cursor = SegmentCursor::open(ctx, info)?;
    let end = info.accepted_through.map(|end| end.offset);
    let mut places = Vec::new();
    let mut offset = HEADER_LEN as u64;
    while end.is_none_or(|end| offset < end) {
        match cursor.read(offset)? {
            Place::Frame(head, _) if head.kind == FrameKind::Close => break,
            Place::Frame(head, _) => offset += head.space(),
            Place::Empty | Place::Damaged(_) => {
                let next = next_frame(&mut cursor, offset + FRAME_ALIGNMENT)?;
                if next.is_some() || end.is_some() {
                    places.push(offset);
                }
                let Some(next) = next else { break };
                offset = next;
            }
        }
    }
    Ok(places)
}

/// The first place from `offset` on at which a frame opens.
fn next_frame(cursor: &mut SegmentCursor, mut offset: u64) -> Result<Option<u64>> {
    loop {
        let bytes = cursor.bytes(offset, STRIDE as usize)?;
        let len = bytes.len() as u64;
        if len == 0 {
            return Ok(None);
        }
        let end = offset + len.next_multiple_of(FRAME_ALIGNMENT);
        if bytes.iter().all(|byte| *byte == 0) {
            offset = end;
            continue;
        }
        while offset < end {
            let may_be = matches!(cursor.peek(offset)?, Slot::Plausible(_));
            if may_be && matches!(cursor.read(offset)?, Place::Frame(..)) {
                return Ok(Some(offset));
            }
            offset += FRAME_ALIGNMENT;
        }
    }
}

/// How much is looked at at a time.
const STRIDE: u64 = 64 << 10;

/// Searches a segment from `offset`, where a frame may begin. Frames are found even when the length of one before them is
/// damaged, because they begin at multiples of 16 and open by themselves.
pub(super) fn search_beyond(cursor: &mut SegmentCursor, mut offset: u64) -> Result<Beyond> {
    let mut found = Beyond { end: offset, ..Beyond::default() };
    loop {
        let bytes = cursor.bytes(offset, STRIDE as usize)?;
        let Some(last) = bytes.len().checked_sub(1) else { return Ok(found) };
        let Some(first) = bytes.iter().position(|byte| *byte != 0) else {
            offset += (last as u64 + 1).next_multiple_of(FRAME_ALIGNMENT);
            continue;
        };
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(last);
        found.end = found.end.max(offset + used as u64 + 1);
        let end = offset + (last as u64 + 1).next_multiple_of(FRAME_ALIGNMENT);
        offset += first as u64 / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
        while offset < end {
            offset += try_frame(cursor, offset, &mut found)?;
        }
    }
}

/// Opens the frame at `offset`, if there is one, and returns how far to go on.
fn try_frame(cursor: &mut SegmentCursor, offset: u64, found: &mut Beyond) -> Result<u64> {
    if !matches!(cursor.peek(offset)?, Slot::Plausible(_)) {
        return Ok(FRAME_ALIGNMENT);
    }
    let Place::Frame(head, _) = cursor.read(offset)? else { return Ok(FRAME_ALIGNMENT) };
    found.frames += 1;
    found.durable_through = found.durable_through.max(head.durable_through);
    found.end = found.end.max(offset + head.space());
    Ok(head.space())
}
