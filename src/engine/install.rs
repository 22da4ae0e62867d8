//! Making what a flush or a merge wrote the current version: durably in the manifest first, then in memory, and only
//! then are files deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use lightning_db_storage::SegmentId;
use lightning_db_storage::bytes::Malformed;
use lightning_db_storage::filter::Filter;
use lightning_db_storage::manifest::{Manifest, RunInfo};
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSink, BlockSource};
use lightning_db_storage::segment::SegmentInfo;
use lightning_db_storage::{Result as StorageResult, StorageError};

use super::log::{remove_log_files, retire};
use super::segments::OpenSegment;
use super::version::{Layer, Run, TreeState, Version};
use super::{Engine, retained};
use crate::error::{Error, Result};

/// A filter is stored in pieces of this many bytes.
const FILTER_PIECE_LEN: usize = 1 << 20;

/// What is new beside the manifest.
#[derive(Default)]
pub(super) struct Change {
    /// Finished segments; they are not in the manifest's table yet.
    pub(super) segments: Vec<SegmentInfo>,
    /// Runs with their filters that the version does not have yet.
    pub(super) runs: Vec<Arc<Run>>,
    /// What becomes of the memtables.
    pub(super) layers: Layers,
}

/// What becomes of the memtables when a version changes.
#[derive(Default)]
pub(super) enum Layers {
    /// They stay.
    #[default]
    Keep,
    /// This one was flushed, and goes.
    Flushed(Arc<Layer>),
    /// All go: what was in them no longer counts. This empty one takes their place.
    Replaced(Arc<Layer>),
}

impl Engine {
    /// Changes the manifest and nothing else.
    ///
    /// # Errors
    /// See [`install`](Self::install).
    pub(crate) fn change_manifest(&self, edit: impl FnOnce(&mut Manifest)) -> Result<()> {
        self.install(Change::default(), edit)
    }

    /// Adds the segments of `change` to the manifest, lets `edit` do the rest, and makes the result current.
    ///
    /// # Errors
    /// Nothing has changed then, and the new segments are deleted; a failure half-way poisons.
    pub(super) fn install(&self, change: Change, edit: impl FnOnce(&mut Manifest)) -> Result<()> {
        let mut opened = Vec::with_capacity(change.segments.len());
        for info in &change.segments {
            opened.push(OpenSegment::open(&self.ctx, info, &self.maps)?);
        }
        let mut retired = Vec::new();
        let committed = self.catalog.commit(
            &self.ctx,
            |manifest| {
                manifest.segments.extend(change.segments.iter().cloned());
                manifest.segments.sort_by_key(|info| info.id);
                self.note_log(manifest);
                edit(manifest);
                if !self.log_holds.are_held() {
                    retained::trim(manifest, 4 * self.config.write_buffer_size as u64);
                    retired = retire(manifest, self.config.max_retained_log, self.config.wal_segment_size);
                }
            },
            |manifest| self.publish(manifest, &change, &opened),
        );
        if let Err(error) = committed {
            let is_unsure = self.catalog.is_unsure();
            if !is_unsure {
                // The values of a memtable were not written for this attempt alone: the next one needs them.
                let values = |segment: &&Arc<OpenSegment>| {
                    change.layers.flushed().is_some_and(|layer| layer.values.segment(segment.id()).is_some())
                };
                opened.iter().filter(|segment| !values(segment)).for_each(|segment| segment.doom());
            }
            let error = match Error::from(error) {
                Error::Cancelled => Error::Closed,
                error => error,
            };
            if is_unsure {
                self.health.poison(&error);
            }
            return Err(error);
        }
        remove_log_files(&self.ctx, &retired);
        Ok(())
    }

    /// Makes the version that a durable manifest describes the current one.
    fn publish(&self, manifest: &Manifest, change: &Change, opened: &[Arc<OpenSegment>]) {
        if let Some(layer) = change.layers.flushed() {
            // Twice, so that the newest one is always known: a memtable is flushed when it has outgrown the buffer.
            self.recent.keep(&layer.memtable, 2 * self.config.write_buffer_size);
        }
        let table: BTreeSet<SegmentId> = manifest.segments.iter().map(|info| info.id).collect();
        self.versions.change(|version| {
            let mut segments = version.tree.segments.clone();
            opened.iter().for_each(|segment| segments.insert(Arc::clone(segment)));
            for gone in segments.remove_unless(|id| table.contains(&id)) {
                self.caches.pages.remove_segment(gone.id());
                gone.doom();
            }
            let keyspace = &manifest.keyspaces[0];
            let known = |info: &RunInfo| {
                let mut all = version.tree.runs.iter().chain(&change.runs);
                all.find(|run| run.info.id == info.id).cloned()
            };
            let tree = TreeState {
                base: keyspace.base,
                runs: keyspace.runs.iter().rev().filter_map(known).collect(),
                segments,
                flushed: manifest.flushed_sequence,
            };
            debug_assert_eq!(tree.runs.len(), keyspace.runs.len(), "every run is known");
            let (active, frozen) = change.layers.apply(version);
            Version { active, frozen, tree: Arc::new(tree) }
        });
    }
}

impl Layers {
    fn flushed(&self) -> Option<&Arc<Layer>> {
        if let Self::Flushed(layer) = self { Some(layer) } else { None }
    }

    /// The active and the frozen memtables from now on.
    fn apply(&self, version: &Version) -> (Arc<Layer>, Vec<Arc<Layer>>) {
        let active = Arc::clone(&version.active);
        match self {
            Self::Keep => (active, version.frozen.clone()),
            Self::Flushed(gone) => {
                let left = version.frozen.iter().filter(|layer| !Arc::ptr_eq(gone, layer));
                (active, left.cloned().collect())
            }
            Self::Replaced(fresh) => (Arc::clone(fresh), Vec::new()),
        }
    }
}

/// Stores a filter beside the run that it is for.
pub(super) fn write_filter(sink: &mut dyn BlockSink, filter: &Filter) -> StorageResult<Vec<BlockPtr>> {
    filter.encode().chunks(FILTER_PIECE_LEN).map(|piece| sink.append(BlockKind::Filter, piece)).collect()
}

/// Reads a run's filter, if it has one.
pub(super) fn read_filter(source: &dyn BlockSource, info: &RunInfo) -> StorageResult<Option<Filter>> {
    let Some(first) = info.filter.first() else { return Ok(None) };
    let mut bytes = Vec::new();
    for ptr in &info.filter {
        bytes.extend_from_slice(&source.read_block(BlockKind::Filter, ptr)?);
    }
    let damaged = |error: Malformed| {
        StorageError::corrupt(format!("{:016x}.run", first.segment.0), first.offset, error.to_string())
    };
    Filter::decode(&bytes).map(Some).map_err(damaged)
}
