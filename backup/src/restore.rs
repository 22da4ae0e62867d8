//! Bringing a backup's files back, and its log to be replayed. What is done with them is for the engine.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db_storage::StorageError;
use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::segment::{
    ReadMode, SealContext, SegmentInfo, SegmentReader, Segments, segment_file_name,
};
use lightning_db_storage::vfs::{OpenHow, Vfs};
use lightning_db_storage::wal::{ArchivePart, LogBytes, Replay, replay_archive};

use crate::manifest::{LogPiece, SegmentObject};
use crate::plan::{PlannedLeg, RestorePlan};
use crate::repository::Repository;
use crate::store::{ObjectReader, ObjectStore};
use crate::transfer::{Progress, copy, for_each_parallel};
use crate::{BackupError, Result};

/// Copies the segments of the plan's version into `directory`, which exists and has none of them, and syncs the files.
/// Returns how many bytes that were. The directory itself is for the caller to sync, and to remove after an error.
///
/// # Errors
/// `Missing` and `Damaged` for objects that are not what the record says; a full disk, and what writing gives.
pub fn materialise(
    repository: &Repository,
    plan: &RestorePlan,
    vfs: &Arc<dyn Vfs>,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<u64> {
    let total = plan.version.segments.iter().map(|info| info.length).sum();
    let done = AtomicU64::new(0);
    progress.advance("segments", 0, total);
    for_each_parallel(&plan.version.segments, &|info| {
        copy_out(repository, info, &**vfs, directory, &|bytes| {
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            progress.advance("segments", done, total);
        })
    })?;
    Ok(total)
}

fn copy_out(
    repository: &Repository,
    info: &SegmentInfo,
    vfs: &dyn Vfs,
    directory: &Path,
    copied: &dyn Fn(u64),
) -> Result<()> {
    let name = SegmentObject::of(info).name();
    let reader = open_object(&**repository.store(), &name, info.length)?;
    let path = directory.join(segment_file_name(info.kind, info.id));
    let failed = |action| {
        let path = path.clone();
        move |error| BackupError::from(StorageError::io(action, path, error))
    };
    let file = vfs.open(&path, OpenHow::CreateNew).map_err(failed("create"))?;
    let mut at = 0;
    let (hash, _) = copy(info.length, &|buf, at| reader.read_at(buf, at), &mut |bytes| {
        file.write_all_at(bytes, at).map_err(failed("write"))?;
        at += bytes.len() as u64;
        copied(bytes.len() as u64);
        Ok(())
    })?;
    if hash != info.content_hash {
        return Err(repository.damaged(&name, "its bytes are not those that were backed up"));
    }
    file.sync_all().map_err(failed("sync"))
}

/// The segments of a backup's version, opened where they are in the repository; `None` when it does not keep files.
///
/// # Errors
/// `Storage` with `NotFound` and `Corrupt` for a segment that is missing, or has another length or header.
pub fn open_segments(
    repository: &Repository,
    ctx: &SealContext,
    version: &Manifest,
) -> Result<Option<Segments>> {
    let segments = Segments::new();
    for info in &version.segments {
        let Some((_, path)) = repository.store().file(&SegmentObject::of(info).name()) else {
            return Ok(None);
        };
        segments.insert(info.id, Arc::new(SegmentReader::open_at(ctx, info, &path, ReadMode::default())?));
    }
    Ok(Some(segments))
}

/// An object of exactly this length.
pub(crate) fn open_object(store: &dyn ObjectStore, name: &str, length: u64) -> Result<Box<dyn ObjectReader>> {
    let (place, object) = (store.place(), name.to_owned());
    match store.get(name)? {
        None => Err(BackupError::Missing { place, object }),
        Some(reader) if reader.len() != length => {
            let what = format!("it has {} bytes, and should have {length}", reader.len());
            Err(BackupError::Damaged { place, object, what })
        }
        Some(reader) => Ok(reader),
    }
}

/// The log of one leg of a plan, to be replayed. Each piece is fetched when it is reached, and its hash checked before
/// anything in it is read; frames are then read as they are needed.
#[must_use]
pub fn replay_leg(repository: &Repository, ctx: Arc<SealContext>, leg: &PlannedLeg) -> Replay {
    let store = Arc::clone(repository.store());
    let pieces = leg.pieces.clone().into_iter();
    replay_archive(ctx, pieces.map(move |piece| part(&*store, &piece).map_err(as_storage_error)), leg.after)
}

fn part(store: &dyn ObjectStore, piece: &LogPiece) -> Result<ArchivePart> {
    let name = piece.name();
    let reader = open_object(store, &name, piece.length)?;
    let (hash, _) = copy(piece.length, &|buf, at| reader.read_at(buf, at), &mut |_| Ok(()))?;
    if hash != piece.hash {
        let what = "its bytes are not those that were archived".into();
        return Err(BackupError::Damaged { place: store.place(), object: name, what });
    }
    // The frames are the end of the object.
    let frames = piece.end.offset.saturating_sub(piece.start);
    let bytes = FrameBytes { reader, start: piece.start, skipped: piece.length.saturating_sub(frames) };
    Ok(ArchivePart {
        name: Path::new(&store.place()).join(name),
        info: piece.segment.clone(),
        start: piece.start,
        end: piece.end.offset,
        bytes: Arc::new(bytes),
    })
}

/// The frames of an object, under their offsets in the log segment that they are from.
struct FrameBytes {
    reader: Box<dyn ObjectReader>,
    start: u64,
    skipped: u64,
}

impl LogBytes for FrameBytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let at = offset.checked_sub(self.start).and_then(|at| at.checked_add(self.skipped));
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        self.reader.read_at(buf, at).map_err(io::Error::other)
    }
}

/// For a place where only errors of storage go.
fn as_storage_error(error: BackupError) -> StorageError {
    match error {
        BackupError::Storage(error) => error,
        BackupError::Missing { place, object } => {
            StorageError::corrupt(Path::new(&place).join(object), 0, "it is missing from the repository")
        }
        BackupError::Damaged { place, object, what } => {
            StorageError::corrupt(Path::new(&place).join(object), 0, what)
        }
        other => StorageError::Io {
            action: "read",
            path: PathBuf::from("the repository"),
            source: io::Error::other(other.to_string()),
        },
    }
}
