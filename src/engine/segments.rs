//! Open segment files, and when they are deleted.
//!
//! A segment that the manifest dropped is doomed; its file goes when the last version, snapshot or backup that refers
//! to it lets go. A crash in between leaves an orphan, which the next open removes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::segment::{ReadMode, SealContext, SegmentInfo, SegmentReader};
use lightning_db_storage::vfs::Vfs;
use lightning_db_storage::{Result, SegmentId, StorageError, ZeroizingBytes};
use lightning_db_sync::atomic::{AtomicBool, Ordering};

/// A finished segment, open for reading.
pub(crate) struct OpenSegment {
    id: SegmentId,
    reader: SegmentReader,
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    doomed: AtomicBool,
    maps: Arc<MapBudget>,
    mapped_bytes: u64,
}

/// How many bytes of files are mapped, and how many may be.
pub(crate) struct MapBudget {
    limit: u64,
    used: AtomicU64,
}

impl MapBudget {
    /// As `mmap_size` says. Unasked nothing is mapped: a map turns an error of the disk into the end of the process.
    pub(super) fn new(mmap_size: Option<usize>) -> Arc<Self> {
        Arc::new(Self { limit: mmap_size.unwrap_or(0) as u64, used: AtomicU64::new(0) })
    }

    /// Takes room for a file of `len` bytes; 0 when there is none.
    fn take(&self, len: u64) -> u64 {
        let fits = |used: u64| used.checked_add(len).filter(|used| *used <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        if taken.is_ok() { len } else { 0 }
    }
}

impl OpenSegment {
    /// Opens the segment that `info` describes and checks its header and length.
    pub(super) fn open(ctx: &SealContext, info: &SegmentInfo, maps: &Arc<MapBudget>) -> Result<Arc<Self>> {
        let mapped_bytes = maps.take(info.length);
        let opened = SegmentReader::open(ctx, info, ReadMode { map: mapped_bytes > 0 });
        let reader = opened.inspect_err(|_| {
            maps.used.fetch_sub(mapped_bytes, Ordering::Relaxed);
        })?;
        let path = ctx.segment_path(info.kind, info.id);
        let (vfs, maps) = (Arc::clone(&ctx.vfs), Arc::clone(maps));
        Ok(Arc::new(Self {
            id: info.id,
            reader,
            vfs,
            path,
            doomed: AtomicBool::new(false),
            maps,
            mapped_bytes,
        }))
    }

    /// Its number.
    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// The reader.
    pub(crate) fn reader(&self) -> &SegmentReader {
        &self.reader
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Has the file deleted as soon as nobody holds the segment.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl Drop for OpenSegment {
    fn drop(&mut self) {
        self.maps.used.fetch_sub(self.mapped_bytes, Ordering::Relaxed);
        if self.doomed.load(Ordering::Acquire)
            && let Err(error) = self.vfs.remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.path.display(), %error, "could not delete a segment; the next open will");
        }
    }
}

/// The segments of one version.
#[derive(Clone, Default)]
pub(crate) struct SegmentTable {
    by_id: BTreeMap<SegmentId, Arc<OpenSegment>>,
}

impl SegmentTable {
    /// The segment with this number.
    pub(crate) fn get(&self, id: SegmentId) -> Option<&Arc<OpenSegment>> {
        self.by_id.get(&id)
    }

    /// Adds one.
    pub(super) fn insert(&mut self, segment: Arc<OpenSegment>) {
        self.by_id.insert(segment.id, segment);
    }

    /// Takes out all that `keep` refuses.
    pub(super) fn remove_unless(&mut self, keep: impl Fn(SegmentId) -> bool) -> Vec<Arc<OpenSegment>> {
        self.by_id.extract_if(.., |id, _| !keep(*id)).map(|(_, segment)| segment).collect()
    }
}

impl BlockSource for SegmentTable {
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes> {
        self.get(ptr.segment).ok_or_else(|| unknown_segment(ptr))?.reader.read(kind, ptr)
    }
}

/// A pointer into a segment that is not there.
pub(super) fn unknown_segment(ptr: &BlockPtr) -> StorageError {
    let file = PathBuf::from(format!("{:016x}.*", ptr.segment.0));
    StorageError::corrupt(file, ptr.offset, "something points into a segment that the manifest does not have")
}
