//! Memory that snapshots hold.
//!
//! A snapshot keeps its memtables after they were flushed. They count in `cache_size`; what does not fit there is
//! written to temporary sealed files, the oldest first, and read from there. Such a file is in no manifest: it goes with
//! the last snapshot that needs it, or as an orphan at the next open.

use std::sync::{Arc, Weak};

use lightning_db_storage::Result as StorageResult;
use lightning_db_storage::page::Page;
use lightning_db_storage::pointer::{BlockKind, BlockPtr};
use lightning_db_storage::segment::SegmentKind;
use lightning_db_storage::tree::{BuildOptions, EntryStream, PageSource, build, read_page};
use lightning_db_sync::Mutex;

use super::Engine;
use super::segments::{OpenSegment, SegmentTable};
use super::version::Layer;
use crate::error::Result;
use crate::memtable::SpilledRun;

/// Flushed memtables that somebody may still hold, oldest first.
#[derive(Default)]
pub(super) struct Pinned {
    layers: Mutex<Vec<Weak<Layer>>>,
}

impl Pinned {
    /// A memtable was flushed and has left the version.
    pub(super) fn add(&self, layer: &Arc<Layer>) {
        self.layers.lock().push(Arc::downgrade(layer));
    }

    /// Those that somebody holds.
    fn held(&self) -> Vec<Arc<Layer>> {
        let mut layers = self.layers.lock();
        layers.retain(|layer| layer.strong_count() > 0);
        layers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Bytes of memory that snapshots hold.
    pub(super) fn memory_bytes(&self) -> usize {
        self.held().iter().map(|layer| layer.memtable.memory_bytes()).sum()
    }
}

impl Engine {
    /// Charges what filters and snapshots hold to the cache, and spills memtables when that is too much.
    ///
    /// # Errors
    /// Those of writing files; the memory stays taken then.
    pub(super) fn balance_memory(&self) -> Result<()> {
        let filters: usize = {
            let version = self.versions.current();
            version
                .tree
                .runs
                .iter()
                .filter_map(|run| run.filter.as_ref())
                .map(|filter| filter.memory_bytes())
                .sum()
        };
        let room = self.caches.chargeable();
        let held = self.pinned.held();
        let mut taken = filters + held.iter().map(|layer| layer.memtable.memory_bytes()).sum::<usize>();
        for layer in held.iter().filter(|layer| !layer.memtable.is_spilled()) {
            if taken <= room {
                break;
            }
            taken = taken.saturating_sub(self.spill(layer)?);
        }
        self.caches.charge(taken.min(room));
        Ok(())
    }

    fn spill(&self, layer: &Layer) -> Result<usize> {
        let freed = layer.memtable.spill(|stream| self.write_spill(stream))?;
        tracing::debug!(freed, "a memtable that a snapshot holds was written to a temporary file");
        Ok(freed)
    }

    fn write_spill(&self, stream: &mut dyn EntryStream) -> StorageResult<SpilledRun> {
        let mut sink = self.segment_writer(SegmentKind::Run);
        let options = BuildOptions {
            page_size: self.config.page_size,
            hasher: &self.hasher,
            drop_tombstones: false,
            filter: None,
        };
        let tree = build(stream, &mut sink, options)?;
        let mut segments = SegmentTable::default();
        let mut file = self.ctx.directory.clone();
        for info in sink.finish()? {
            let segment = OpenSegment::open(&self.ctx, &info, &self.maps).inspect_err(|_| {
                let _ = self.ctx.vfs.remove_file(&self.ctx.segment_path(info.kind, info.id));
            })?;
            segment.doom();
            file = segment.path().to_path_buf();
            segments.insert(segment);
        }
        Ok(SpilledRun { tree, pages: Arc::new(SpillPages { segments }), file })
    }
}

/// The pages of a spilled memtable, read anew each time: they are rarely asked for.
struct SpillPages {
    segments: SegmentTable,
}

impl PageSource for SpillPages {
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> StorageResult<Arc<Page>> {
        read_page(&self.segments, kind, ptr).map(Arc::new)
    }
}
