//! Many segments as one place to read from, and a series of segments as one place to write to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use lightning_db_sync::RwLock;

use crate::compress::DictionaryTrainer;
use crate::pointer::{BlockKind, BlockPtr, BlockSink, BlockSource};
use crate::{Result, SegmentId, StorageError, ZeroizingBytes};

use super::writer::remove_quietly;
use super::{ReadMode, SealContext, SegmentInfo, SegmentReader, SegmentWriter, WriterOptions};

/// The open segments of a database.
#[derive(Debug, Default)]
pub struct Segments {
    readers: RwLock<BTreeMap<SegmentId, Arc<SegmentReader>>>,
}

impl Segments {
    /// No segments.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a segment, unless it is open.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub fn open(&self, ctx: &SealContext, info: &SegmentInfo, mode: ReadMode) -> Result<()> {
        if self.get(info.id).is_none() {
            self.insert(info.id, Arc::new(SegmentReader::open(ctx, info, mode)?));
        }
        Ok(())
    }

    /// Adds a reader, such as that of a segment that is still being written, in place of the one before.
    pub fn insert(&self, id: SegmentId, reader: Arc<SegmentReader>) {
        self.readers.write().insert(id, reader);
    }

    /// The reader of a segment.
    #[must_use]
    pub fn get(&self, id: SegmentId) -> Option<Arc<SegmentReader>> {
        self.readers.read().get(&id).cloned()
    }

    /// Forgets a segment. Reads that are under way end well.
    pub fn remove(&self, id: SegmentId) {
        self.readers.write().remove(&id);
    }
}

impl BlockSource for Segments {
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes> {
        let reader = self.get(ptr.segment).ok_or_else(|| {
            let name = PathBuf::from(format!("{:016x}.*", ptr.segment.0));
            StorageError::corrupt(
                name,
                ptr.offset,
                "something points into a segment that the manifest does not have",
            )
        })?;
        reader.read(kind, ptr)
    }
}

/// Gives each new segment its number; never the same one twice.
pub type SegmentIds = Arc<dyn Fn() -> SegmentId + Send + Sync>;

/// What a series of segments is to be.
#[derive(Clone, Debug)]
pub struct SegmentSetOptions {
    /// What each of them is. With a trainer, the dictionary is the trainer's newest.
    pub writer: WriterOptions,
    /// A segment that reached this many bytes is finished, and the next begun.
    pub segment_size: u64,
    /// Learns from the leaf pages of these segments for the next. Worth its place from about one MiB of leaves.
    pub trainer: Option<Arc<DictionaryTrainer>>,
}

/// Writes blocks to a series of segments of one kind.
///
/// Dropped before [`finish`](Self::finish), it removes all of them.
pub struct SegmentSetWriter {
    ctx: Arc<SealContext>,
    options: SegmentSetOptions,
    ids: SegmentIds,
    current: Option<SegmentWriter>,
    finished: Vec<SegmentInfo>,
    /// The text of the first failure. A series with a gap must not be finished.
    failed: Option<String>,
    process_id: u32,
}

impl SegmentSetWriter {
    /// A series without segments: the first is created for the first block.
    #[must_use]
    pub fn new(ctx: &Arc<SealContext>, options: SegmentSetOptions, ids: SegmentIds) -> Self {
        let process_id = ctx.vfs.process_id();
        Self {
            ctx: Arc::clone(ctx),
            options,
            ids,
            current: None,
            finished: Vec::new(),
            failed: None,
            process_id,
        }
    }

    /// Bytes of all files so far, with what is still buffered.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, SegmentWriter::position);
        self.finished.iter().map(|info| info.length).sum::<u64>() + current
    }

    /// A reader of the segment that is being written, for blocks that must be read before the series is finished, and
    /// the segment's number. `None` when there is none just now.
    ///
    /// # Errors
    /// As [`SegmentWriter::flush`].
    pub fn reader(&mut self) -> Result<Option<(SegmentId, SegmentReader)>> {
        let read = |writer: &mut SegmentWriter| Ok((writer.id(), writer.reader()?));
        let reader = self.current.as_mut().map(read).transpose();
        self.remember(reader)
    }

    /// The segments that are finished so far.
    #[must_use]
    pub fn finished(&self) -> &[SegmentInfo] {
        &self.finished
    }

    /// Finishes the last segment and hands over all, each synced. The directory is not synced.
    ///
    /// # Errors
    /// `DiskFull` and other I/O errors, `Poisoned` after an earlier one; all files are removed then.
    pub fn finish(mut self) -> Result<Vec<SegmentInfo>> {
        self.check_usable()?;
        self.finish_current()?;
        Ok(std::mem::take(&mut self.finished))
    }

    fn check_usable(&self) -> Result<()> {
        if self.is_forked() {
            return Err(StorageError::Forked { file: self.ctx.directory.clone() });
        }
        self.failed.as_ref().map_or(Ok(()), |first| Err(StorageError::Poisoned { first: first.clone() }))
    }

    fn is_forked(&self) -> bool {
        self.ctx.vfs.process_id() != self.process_id
    }

    fn remember<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            self.failed.get_or_insert_with(|| error.to_string());
        }
        outcome
    }

    fn finish_current(&mut self) -> Result<()> {
        if let Some(writer) = self.current.take() {
            let finished = writer.finish();
            let info = self.remember(finished)?;
            self.finished.push(info);
        }
        Ok(())
    }

    fn begin(&self) -> Result<SegmentWriter> {
        let mut options = self.options.writer.clone();
        if let Some(trainer) = &self.options.trainer {
            options.dictionary = trainer.current();
        }
        SegmentWriter::create(&self.ctx, (self.ids)(), &options)
    }

    fn append_to_current(&mut self, kind: BlockKind, raw: &[u8]) -> Result<BlockPtr> {
        let writer = match &mut self.current {
            Some(writer) => writer,
            None => {
                let begun = self.begin()?;
                self.current.insert(begun)
            }
        };
        writer.append(kind, raw)
    }
}

impl BlockSink for SegmentSetWriter {
    fn append(&mut self, kind: BlockKind, raw: &[u8]) -> Result<BlockPtr> {
        self.check_usable()?;
        if self.current.as_ref().is_some_and(|writer| writer.position() >= self.options.segment_size) {
            self.finish_current()?;
        }
        if let Some(trainer) = self.options.trainer.as_ref().filter(|_| kind == BlockKind::Leaf) {
            trainer.observe(raw);
        }
        let appended = self.append_to_current(kind, raw);
        self.remember(appended)
    }
}

impl Drop for SegmentSetWriter {
    fn drop(&mut self) {
        // In the child of a fork the files are the parent's.
        if !self.is_forked() {
            for info in &self.finished {
                remove_quietly(&self.ctx, &self.ctx.segment_path(info.kind, info.id));
            }
        }
    }
}

impl fmt::Debug for SegmentSetWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentSetWriter")
            .field("finished", &self.finished.len())
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::segment::SegmentKind;
    use crate::segment::testing::{context, ids_from, options};

    use super::*;

    #[test]
    fn the_child_of_a_fork_leaves_the_series_to_its_parent() {
        let (vfs, ctx) = context();
        let set = SegmentSetOptions { writer: options(SegmentKind::Run), segment_size: 1000, trainer: None };
        let mut writer = SegmentSetWriter::new(&ctx, set, ids_from(1));
        for _ in 0..2 {
            writer.append(BlockKind::Leaf, &[1; 2000]).expect("appended");
        }
        writer.finish_current().expect("finished");
        // What a fork leaves in the child: the same memory under another process id.
        writer.process_id += 1;
        assert!(matches!(writer.append(BlockKind::Leaf, b"x"), Err(StorageError::Forked { .. })));
        assert!(matches!(writer.finish(), Err(StorageError::Forked { .. })));
        assert_eq!(vfs.files().len(), 2);
    }
}
