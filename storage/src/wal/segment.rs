//! A log segment that is ready to be written.

use std::fmt;

use lightning_db_crypto::EpochId;

use super::extents::{EXTENT_UNIT, Extents};
use super::frame::FrameCipher;
use super::{MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, WalOptions, WalSegmentInfo};
use crate::segment::{SealContext, SegmentHeader, SegmentKind};
use crate::vfs::OpenHow;
use crate::{Result, SegmentId, StorageError};

/// A log segment that has its file and its header, and no frame yet. Dropping it leaves the file: whoever put it into
/// the manifest takes it out first.
pub struct PreparedSegment {
    pub(super) info: WalSegmentInfo,
    pub(super) cipher: FrameCipher,
    pub(super) extents: Extents,
}

impl PreparedSegment {
    /// The entry for the manifest.
    #[must_use]
    pub fn info(&self) -> &WalSegmentInfo {
        &self.info
    }
}

impl fmt::Debug for PreparedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedSegment").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Creates the file of a log segment: space filled with zeros, the header written and synced. Before a writer uses it,
/// the caller syncs the directory and puts the entry at the end of the manifest's list of log segments.
///
/// # Errors
/// `AlreadyExists` for an id that is in use, `DiskFull` (the file is removed again), and what writing can give.
pub fn prepare_segment(
    ctx: &SealContext,
    options: &WalOptions,
    id: SegmentId,
    epoch: EpochId,
) -> Result<PreparedSegment> {
    let header = SegmentHeader::draw(ctx, SegmentKind::Wal, id, epoch)?;
    let info = WalSegmentInfo {
        id,
        incarnation: header.incarnation,
        key_domain: header.key_domain,
        epoch,
        salt: header.salt,
        boot_id: ctx.vfs.boot_id(&ctx.directory),
        accepted_through: None,
        created_micros: ctx.clock.now_micros(),
    };
    let cipher = FrameCipher::new(ctx, &info)?;
    let path = ctx.segment_path(SegmentKind::Wal, id);
    let file = ctx.vfs.open(&path, OpenHow::CreateNew).map_err(|e| StorageError::io("create", &path, e))?;
    let size = options.segment_size.clamp(MIN_SEGMENT_SIZE, MAX_SEGMENT_SIZE).next_multiple_of(EXTENT_UNIT);
    let filled = Extents::create(path.clone(), file, options.mode, size).and_then(|extents| {
        extents.write(0, &header.encode())?;
        extents.sync()?;
        Ok(extents)
    });
    match filled {
        Ok(extents) => Ok(PreparedSegment { info, cipher, extents }),
        Err(error) => {
            // Best effort: a file that stays behind is in no manifest, and is removed at the next start.
            let _ = ctx.vfs.remove_file(&path);
            Err(error)
        }
    }
}
