//! Opening a merged cursor over everything that a view shows.

use std::sync::Arc;

use lightning_db_storage::page::EntryValue;
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::tree::{Cursor as TreeCursor, PageSource};
use lightning_db_storage::{Result as StorageResult, ZeroizingBytes};

use super::merge::{MergeCursor, PendingWrites, Source, versions_in_a_tree};
use super::pages::ViewPages;
use super::point::large_value;
use super::{KeyRange, Reader};
use crate::engine::{ReadView, ValueLog};
use crate::error::Result;
use crate::memtable::MemCursor;

/// A view of the database, and a transaction's own writes above it. Opens cursors; cheap to clone.
#[derive(Clone)]
pub(crate) struct ScanView {
    reader: Arc<Reader>,
    view: ReadView,
    pending: Option<Pending>,
}

/// A transaction's own writes.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) writes: PendingWrites,
    /// Where its large values are.
    pub(crate) values: Arc<ValueLog>,
}

impl ScanView {
    /// What `view` shows, below the uncommitted writes in `pending`.
    pub(crate) fn new(reader: &Arc<Reader>, view: &ReadView, pending: Option<Pending>) -> Self {
        Self { reader: Arc::clone(reader), view: view.clone(), pending }
    }

    /// A cursor before the first entry of `range`.
    pub(super) fn cursor(&self, range: KeyRange) -> Result<MergeCursor> {
        self.check_open()?;
        let (version, at) = (&self.view.version, self.view.sequence);
        let mut sources: Vec<Source> =
            self.pending.iter().map(|pending| Source::pending(Arc::clone(&pending.writes))).collect();
        let visible =
            version.layers().filter(|layer| layer.memtable.first_sequence().is_some_and(|first| first <= at));
        sources.extend(visible.map(|layer| Source::Memory(MemCursor::new(Arc::clone(&layer.memtable), at))));
        let blocks: Arc<dyn BlockSource> = Arc::clone(version) as _;
        let pages: Arc<dyn PageSource> = Arc::new(ViewPages { reader: Arc::clone(&self.reader), blocks });
        let runs = version.tree.runs.iter().map(|run| run.info.tree);
        let trees = runs.chain([version.tree.base]).filter(|tree| tree.root.is_some());
        sources.extend(
            trees.map(|tree| {
                Source::Tree(TreeCursor::new(Arc::clone(&pages), tree, self.reader.read_ahead()))
            }),
        );
        Ok(MergeCursor::new(sources, range))
    }

    /// A large value that an entry refers to; `None` for one that has its value itself.
    pub(super) fn load(&self, value: EntryValue<'_>) -> Result<Option<ZeroizingBytes>> {
        match value {
            EntryValue::Put(_) | EntryValue::Delete => Ok(None),
            EntryValue::Extent(encoded) => large_value(self, encoded).map(Some),
            EntryValue::Versions(_) => Err(versions_in_a_tree().into()),
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        self.reader.check_open()
    }
}

/// A transaction's large values, before those of the version. Numbers of segments tell them apart.
impl BlockSource for ScanView {
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> StorageResult<ZeroizingBytes> {
        match self.pending.as_ref().and_then(|pending| pending.values.segment(ptr.segment)) {
            Some(segment) => segment.read(kind, ptr),
            None => self.view.version.read_block(kind, ptr),
        }
    }
}
