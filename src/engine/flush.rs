//! Flushing: a frozen memtable becomes a run.
//!
//! The newest version of each key goes to the run, deletions too. When the manifest has the run, the log up to the
//! memtable's last commit is no longer needed here, and the memtable leaves the version.

use std::collections::BTreeMap;
use std::sync::Arc;

use lightning_db_storage::bytes::ByteReader;
use lightning_db_storage::extent::ExtentRef;
use lightning_db_storage::filter::FilterBuilder;
use lightning_db_storage::manifest::{Gap, GapReason, Manifest, RunInfo};
use lightning_db_storage::page::EntryValue;
use lightning_db_storage::segment::{SegmentInfo, SegmentKind};
use lightning_db_storage::tree::{BuildOptions, EntryStream, TreeRef, build};
use lightning_db_storage::{Result as StorageResult, SegmentId, StorageError};

use super::install::{Change, Layers, write_filter};
use super::log::add_gap;
use super::version::{Layer, Run, Version};
use super::{Engine, reserve};
use crate::error::{Error, Result};

/// Memtables that wait for their flush, beside the active one.
pub(super) const MAX_FROZEN: usize = 2;

impl Engine {
    /// Freezes `layer` if it is the active one, is full, and there is room among the frozen. The caller holds the
    /// writer.
    pub(super) fn freeze_if_full(&self, layer: &Layer) {
        if layer.memtable.memory_bytes() >= self.config.write_buffer_size
            && self.versions.current().frozen.len() < MAX_FROZEN
        {
            self.freeze();
        }
    }

    /// Puts a new memtable in the place of the active one, if that has anything in it. The caller holds the writer.
    pub(super) fn freeze(&self) {
        if self.versions.current().active.memtable.is_empty() {
            return;
        }
        self.versions.change(|version| {
            // As logged as the one before: what a replay brings back, while no log is open yet, is in the old one.
            let fresh = Layer::new(self.hash_seed, version.active.is_logged);
            let mut frozen = vec![Arc::clone(&version.active)];
            frozen.extend(version.frozen.iter().cloned());
            Version { active: fresh, frozen, tree: Arc::clone(&version.tree) }
        });
        self.signals.wake_flush();
    }

    /// Everything committed before the call is in synced files when this returns.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) fn flush_all(&self) -> Result<()> {
        self.freeze_active();
        self.flush_frozen(true)
    }

    /// Flushes what is frozen, oldest first; on a full disk, if allowed, with the room that was set aside.
    pub(super) fn flush_frozen(&self, may_use_reserve: bool) -> Result<()> {
        let _one_at_a_time = self.flushing.lock();
        while let Some(layer) = self.versions.current().frozen.last().cloned() {
            self.check_not_poisoned()?;
            let outcome = match self.flush(&layer) {
                Err(Error::DiskFull { .. })
                    if may_use_reserve && !self.health.is_poisoned() && reserve::release(&self.ctx) =>
                {
                    self.flush(&layer)
                }
                outcome => outcome,
            };
            self.health.set_flush(&outcome);
            self.signals.flushed();
            outcome?;
        }
        Ok(())
    }

    fn flush(&self, layer: &Arc<Layer>) -> Result<()> {
        let _span = tracing::info_span!("flush", entries = layer.memtable.len()).entered();
        if layer.is_logged {
            // What is durable in a run is durable in the log too: a restore can stop only at commits that are in a log.
            self.sync_log()?;
        }
        let mut values = self.finish_values(layer)?;
        let mut live = BTreeMap::new();
        let mut stream = CountExtents { stream: layer.memtable.stream(), live: &mut live };
        let (run, segments) = self.write_run(&mut stream, layer)?;
        for info in &mut values {
            info.live_bytes = live.get(&info.id).copied().unwrap_or_default();
        }
        let mut info = run.info.clone();
        info.value_segments = values.iter().map(|info| info.id).collect();
        let run = Arc::new(Run { info: info.clone(), filter: run.filter });
        let segments = segments.into_iter().chain(values).collect();
        let change = Change { segments, runs: vec![run], layers: Layers::Flushed(Arc::clone(layer)) };
        let is_logged = layer.is_logged;
        self.install(change, |manifest| {
            let is_retained = !manifest.repositories.is_empty() || self.log_holds.are_held();
            add_run(manifest, info, is_logged, is_retained);
        })?;
        self.metrics.flushes.add(1);
        self.pinned.add(layer);
        Ok(())
    }

    /// The value segments of a memtable, finished. They cannot be written again: if that fails, the values are only in
    /// the log.
    fn finish_values(&self, layer: &Layer) -> Result<Vec<SegmentInfo>> {
        layer.values.finish().map_err(|error| {
            let error = Error::from(error);
            self.health.poison(&error);
            error
        })
    }

    fn write_run(&self, stream: &mut dyn EntryStream, layer: &Layer) -> Result<(Run, Vec<SegmentInfo>)> {
        let memtable = &layer.memtable;
        let mut sink = self.segment_writer(SegmentKind::Run);
        let mut filter = FilterBuilder::new(memtable.len() as u64);
        let options = BuildOptions {
            page_size: self.config.page_size,
            hasher: &self.hasher,
            drop_tombstones: false,
            filter: Some(&mut filter),
        };
        let tree: TreeRef = build(stream, &mut sink, options)?;
        let filter = filter.finish();
        let pieces = write_filter(&mut sink, &filter)?;
        let segments = sink.finish()?;
        let info = RunInfo {
            id: self.catalog.new_run_id(),
            tree,
            filter: pieces,
            first_sequence: memtable.first_sequence().unwrap_or_default(),
            last_sequence: memtable.last_sequence().unwrap_or_default(),
            last_time_micros: layer.last_time_micros(),
            tier: 0,
            segments: segments.iter().map(|info| info.id).collect(),
            value_segments: Vec::new(),
        };
        Ok((Run { info, filter: Some(filter) }, segments))
    }

    fn check_not_poisoned(&self) -> Result<()> {
        self.health.poisoned().map_or(Ok(()), Err)
    }
}

/// What a flush does to the manifest.
fn add_run(manifest: &mut Manifest, run: RunInfo, is_logged: bool, is_retained: bool) {
    if !is_logged {
        let (incarnation, after) = (manifest.incarnation, manifest.flushed_sequence);
        let gap = Gap { incarnation, after, through: run.last_sequence, reason: GapReason::LogDisabled };
        add_gap(manifest, gap);
    }
    manifest.flushed_sequence = run.last_sequence;
    manifest.flushed_time_micros = run.last_time_micros;
    if is_retained {
        manifest.retained_runs.push(run.clone());
    }
    manifest.keyspaces[0].runs.push(run);
}

/// Counts the bytes of the large values that pass, by segment.
struct CountExtents<'a, S> {
    stream: S,
    live: &'a mut BTreeMap<SegmentId, u64>,
}

impl<S: EntryStream> EntryStream for CountExtents<'_, S> {
    fn advance(&mut self) -> StorageResult<bool> {
        let found = self.stream.advance()?;
        if found && let EntryValue::Extent(encoded) = self.stream.value() {
            for (segment, bytes) in extent_bytes(encoded)? {
                *self.live.entry(segment).or_insert(0) += bytes;
            }
        }
        Ok(found)
    }

    fn key(&self) -> &[u8] {
        self.stream.key()
    }

    fn value(&self) -> EntryValue<'_> {
        self.stream.value()
    }
}

/// How many bytes of which segments an encoded extent takes.
pub(super) fn extent_bytes(encoded: &[u8]) -> StorageResult<Vec<(SegmentId, u64)>> {
    let extent = ExtentRef::decode(&mut ByteReader::new(encoded))
        .map_err(|error| StorageError::corrupt("a reference to a large value", 0, error.to_string()))?;
    Ok(extent.chunks.iter().map(|chunk| (chunk.segment, u64::from(chunk.stored_len))).collect())
}
