//! Large values, on their way from a commit to a flush.
//!
//! A value of [`LARGE_VALUE_LEN`] bytes or more goes to a value segment when it is committed, and the memtable holds a
//! reference to it. The segments that a memtable's commits write are its own: they are finished and enter the manifest
//! with the run that the memtable becomes. Until then the log has the value too, and a crash replays it from there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Read;
use std::sync::Arc;

use lightning_db_crypto::ContentHasher;
use lightning_db_storage::extent::{ExtentRef, ExtentWriter};
use lightning_db_storage::segment::{
    ReadMode, SealContext, SegmentIds, SegmentInfo, SegmentReader, SegmentSetOptions, SegmentSetWriter,
};
use lightning_db_storage::{Result, SegmentId, StorageError, ZeroizingBytes};
use lightning_db_sync::atomic::{AtomicBool, Ordering};
use lightning_db_sync::{Mutex, RwLock};

/// A value this long, in bytes, is kept apart from the pages, and is not copied by merges.
pub(crate) const LARGE_VALUE_LEN: usize = 64 << 10;

/// Room that must be left on the disk beside a large value, for what is written after it.
const SPACE_MARGIN: u64 = 512 << 10;

/// The value segments of one memtable.
#[derive(Default)]
pub(crate) struct ValueLog {
    state: Mutex<State>,
    readers: RwLock<BTreeMap<SegmentId, Arc<SegmentReader>>>,
    used: AtomicBool,
}

#[derive(Default)]
struct State {
    writer: Option<SegmentSetWriter>,
    finished: Vec<SegmentInfo>,
    /// The text of the failure after which the segments are not complete, and never will be.
    failed: Option<String>,
}

impl ValueLog {
    /// Writes the `len` bytes that `value` gives, and makes them readable.
    ///
    /// # Errors
    /// `DiskFull` when there is no room, before anything was written; any other error, after which the values that
    /// this log took before cannot be finished any more: the caller stops writing, and replays the log at the next
    /// open.
    pub(super) fn write(
        &self,
        ctx: &Arc<SealContext>,
        open: impl FnOnce() -> (SegmentSetOptions, SegmentIds),
        hasher: &ContentHasher,
        len: u64,
        value: &mut dyn Read,
    ) -> Result<ExtentRef> {
        let mut state = self.state.lock();
        let writer = state.writer.get_or_insert_with(|| {
            let (options, ids) = open();
            SegmentSetWriter::new(ctx, options, ids)
        });
        let extent = write_extent(ctx, writer, hasher, len, value)?;
        self.add_readers(ctx, writer)?;
        Ok(extent)
    }

    fn add_readers(&self, ctx: &SealContext, writer: &mut SegmentSetWriter) -> Result<()> {
        let current = writer.reader()?;
        let mut readers = self.readers.write();
        for info in writer.finished() {
            if let Entry::Vacant(vacant) = readers.entry(info.id) {
                vacant.insert(Arc::new(SegmentReader::open(ctx, info, ReadMode::default())?));
            }
        }
        if let Some((id, reader)) = current {
            readers.entry(id).or_insert_with(|| Arc::new(reader));
        }
        self.used.store(true, Ordering::Release);
        Ok(())
    }

    /// The reader of one of the segments.
    pub(crate) fn segment(&self, id: SegmentId) -> Option<Arc<SegmentReader>> {
        self.used.load(Ordering::Acquire).then(|| self.readers.read().get(&id).cloned()).flatten()
    }

    /// Whether there is room on the disk for a value of `len` bytes. A full disk is found before the value is begun,
    /// because a segment that failed half-way cannot be finished.
    pub(super) fn check_space(ctx: &SealContext, len: u64) -> Result<()> {
        let space = ctx.vfs.available_space(&ctx.directory);
        match space.map_err(|error| StorageError::io("ask for the space of", &ctx.directory, error))? {
            Some(space) if space < len.saturating_add(SPACE_MARGIN) => {
                Err(StorageError::DiskFull { path: ctx.directory.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Finishes the segments: they are complete and synced. Called again, it returns the same, a failure too: values
    /// that are in no segment must not be referred to.
    pub(super) fn finish(&self) -> Result<Vec<SegmentInfo>> {
        let mut state = self.state.lock();
        if let Some(first) = &state.failed {
            return Err(StorageError::Poisoned { first: first.clone() });
        }
        if let Some(writer) = state.writer.take() {
            state.finished = writer.finish().inspect_err(|error| state.failed = Some(error.to_string()))?;
        }
        Ok(state.finished.clone())
    }
}

fn write_extent(
    ctx: &SealContext,
    writer: &mut SegmentSetWriter,
    hasher: &ContentHasher,
    len: u64,
    value: &mut dyn Read,
) -> Result<ExtentRef> {
    let mut extent = ExtentWriter::new(writer, hasher);
    let mut piece = ZeroizingBytes::new(vec![0; LARGE_VALUE_LEN]);
    let mut left = len;
    while left > 0 {
        let want = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = |error| StorageError::io("read a value for", &ctx.directory, error);
        value.read_exact(&mut piece[..want]).map_err(read)?;
        extent.write(&piece[..want])?;
        left -= want as u64;
    }
    extent.finish()
}
