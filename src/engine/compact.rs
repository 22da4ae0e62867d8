//! Merging: runs become fewer runs, and in the end the base.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lightning_db_storage::extent::{ExtentRef, move_extent};
use lightning_db_storage::filter::FilterBuilder;
use lightning_db_storage::manifest::{Manifest, RunInfo};
use lightning_db_storage::page::EntryValue;
use lightning_db_storage::pointer::BlockPtr;
use lightning_db_storage::segment::{SegmentInfo, SegmentKind, SegmentSetWriter};
use lightning_db_storage::tree::{
    BuildOptions, Cursor, DirectPages, EntryStream, MergeConfig, MergeObserver, MergedStream, ReadAhead,
    TreeRef, TreeStream, build, merge_into_base,
};
use lightning_db_storage::{Result as StorageResult, SegmentId, StorageError};
use lightning_db_sync::{Condvar, Mutex};

use super::flush::extent_bytes;
use super::install::{Change, write_filter};
use super::policy::{self, Work};
use super::version::{Run, TreeState};
use super::{Engine, reserve};
use crate::error::{Error, Result};

/// Which merges are under way.
#[derive(Default)]
pub(super) struct Merges {
    state: Mutex<Busy>,
    done: Condvar,
}

#[derive(Default)]
struct Busy {
    runs: BTreeSet<u64>,
    base: bool,
    /// Somebody waits to merge everything; nothing else begins.
    exclusive: bool,
}

/// Until it is dropped, no other merge begins.
pub(super) struct MergeAlone<'a> {
    engine: &'a Engine,
}

impl Drop for MergeAlone<'_> {
    fn drop(&mut self) {
        self.engine.merges.state.lock().exclusive = false;
        self.engine.merges.done.notify_all();
        self.engine.signals.room();
    }
}

/// What a merge took away, by segment.
#[derive(Default)]
struct Dropped {
    bytes: BTreeMap<SegmentId, u64>,
    failed: Option<StorageError>,
}

impl Engine {
    /// Does one merge that is due. Says whether there was one.
    ///
    /// # Errors
    /// Those of reading and writing files; nothing has changed then.
    pub(crate) fn merge_once(&self) -> Result<bool> {
        let Some(work) = self.claim() else { return Ok(false) };
        let outcome = self.merge_with_reserve(&work);
        self.release(&work);
        self.health.set_merge(&outcome);
        outcome.map(|()| true)
    }

    /// Merges everything into the base, and empties segments that hold dead space.
    ///
    /// # Errors
    /// Those of reading and writing files; nothing is lost then.
    pub(crate) fn compact(&self) -> Result<()> {
        self.flush_all()?;
        let _alone = self.merge_alone();
        let epoch = self.ctx.keyring.read().current_epoch();
        let work = self.catalog.read(|manifest| policy::compact_all(manifest, epoch));
        self.merge_with_reserve(&work)?;
        match self.catalog.read(policy::compact_rest) {
            Some(rest) => self.merge_with_reserve(&rest),
            None => Ok(()),
        }
    }

    /// Moves a part of what another data key than the current one sealed, with no other merge under way. Says whether
    /// there was any.
    ///
    /// # Errors
    /// Those of reading and writing files; nothing is lost then.
    pub(super) fn reseal_step(&self) -> Result<bool> {
        let _alone = self.merge_alone();
        let epoch = self.ctx.keyring.read().current_epoch();
        let Some(work) = self.catalog.read(|manifest| policy::reseal_step(manifest, epoch)) else {
            return Ok(false);
        };
        self.merge_with_reserve(&work)?;
        Ok(true)
    }

    /// Waits until no merge is under way, and lets none begin.
    pub(super) fn merge_alone(&self) -> MergeAlone<'_> {
        let mut busy = self.merges.state.lock();
        while busy.exclusive {
            self.merges.done.wait(&mut busy);
        }
        busy.exclusive = true;
        while busy.base || !busy.runs.is_empty() {
            self.merges.done.wait(&mut busy);
        }
        MergeAlone { engine: self }
    }

    fn claim(&self) -> Option<Work> {
        let mut busy = self.merges.state.lock();
        if busy.exclusive {
            return None;
        }
        let epoch = self.ctx.keyring.read().current_epoch();
        let work = self.catalog.read(|manifest| policy::choose(manifest, epoch, &busy.runs, busy.base))?;
        match &work {
            Work::Runs(runs) => busy.runs.extend(runs),
            Work::Base { runs, .. } => {
                busy.runs.extend(runs);
                busy.base = true;
            }
        }
        Some(work)
    }

    fn release(&self, work: &Work) {
        let mut busy = self.merges.state.lock();
        let (Work::Runs(runs) | Work::Base { runs, .. }) = work;
        runs.iter().for_each(|run| {
            busy.runs.remove(run);
        });
        busy.base &= matches!(work, Work::Runs(_));
        drop(busy);
        self.merges.done.notify_all();
        self.signals.room();
    }

    fn merge_with_reserve(&self, work: &Work) -> Result<()> {
        self.health.check()?;
        match self.merge(work) {
            Err(Error::DiskFull { .. }) if reserve::release(&self.ctx) => self.merge(work),
            outcome => outcome,
        }
    }

    fn merge(&self, work: &Work) -> Result<()> {
        let tree = Arc::clone(&self.versions.current().tree);
        match work {
            Work::Runs(runs) => self.merge_runs(&tree, runs),
            Work::Base { runs, victims } if runs.is_empty() && victims.is_empty() => return Ok(()),
            Work::Base { runs, victims } => self.merge_base(&tree, runs, victims),
        }?;
        self.metrics.merges.add(1);
        Ok(())
    }

    fn merge_runs(&self, tree: &TreeState, ids: &[u64]) -> Result<()> {
        let _span = tracing::info_span!("merge runs", runs = ids.len()).entered();
        let runs = chosen(tree, ids);
        let (Some(newest), Some(oldest)) = (runs.first(), runs.last()) else { return Ok(()) };
        let mut dropped = Dropped::default();
        let mut sink = self.segment_writer(SegmentKind::Run);
        let keys = runs.iter().map(|run| run.info.tree.entries).sum();
        let mut filter = FilterBuilder::new(keys);
        let options = BuildOptions {
            page_size: self.config.page_size,
            hasher: &self.hasher,
            drop_tombstones: false,
            filter: Some(&mut filter),
        };
        let pages = DirectPages(&tree.segments);
        let merged = merged(&runs, &pages, &mut dropped);
        let built = build(&mut Cancellable { stream: merged, engine: self }, &mut sink, options)?;
        let filter = filter.finish();
        let pieces = write_filter(&mut sink, &filter)?;
        let segments = sink.finish()?;
        let mut value_segments: Vec<SegmentId> =
            runs.iter().flat_map(|run| &run.info.value_segments).copied().collect();
        value_segments.sort_unstable();
        value_segments.dedup();
        let info = RunInfo {
            id: self.catalog.new_run_id(),
            tree: built,
            filter: pieces,
            first_sequence: oldest.info.first_sequence,
            last_sequence: newest.info.last_sequence,
            last_time_micros: newest.info.last_time_micros,
            tier: oldest.info.tier.saturating_add(1),
            segments: segments.iter().map(|info| info.id).collect(),
            value_segments,
        };
        let dropped = dropped.finish()?;
        let run = Arc::new(Run { info: info.clone(), filter: Some(filter) });
        self.install(Change { segments, runs: vec![run], ..Change::default() }, |manifest| {
            subtract(manifest, &dropped);
            let runs = &mut manifest.keyspaces[0].runs;
            let place = runs.iter().position(|run| ids.contains(&run.id)).unwrap_or_default();
            runs.retain(|run| !ids.contains(&run.id));
            runs.insert(place, info);
        })
    }

    fn merge_base(&self, tree: &TreeState, ids: &[u64], victims: &BTreeSet<SegmentId>) -> Result<()> {
        let span =
            tracing::info_span!("merge into the base", runs = ids.len(), emptied_segments = victims.len());
        let _span = span.entered();
        let runs = chosen(tree, ids);
        let mut superseded = Dropped::default();
        let mut dropped = Dropped::default();
        let mut pages = self.segment_writer(SegmentKind::Base);
        let mut values = self.segment_writer(SegmentKind::Value);
        let mut moved: BTreeMap<SegmentId, u64> = BTreeMap::new();
        let source = DirectPages(&tree.segments);
        let base = {
            let mut changes = merged(&runs, &source, &mut superseded);
            let mut to_new_segment = |extent: &ExtentRef| {
                let copy = move_extent(&tree.segments, &mut values, extent)?;
                for chunk in &copy.chunks {
                    *moved.entry(chunk.segment).or_insert(0) += u64::from(chunk.stored_len);
                }
                Ok(copy)
            };
            let config = MergeConfig {
                page_size: self.config.page_size,
                victims,
                hasher: &self.hasher,
                move_extent: &mut to_new_segment,
                observer: &mut dropped,
                cancelled: &|| self.health.is_closed(),
            };
            merge_into_base(&tree.base, &source, &mut changes, &mut pages, config)?
        };
        let mut segments = finish_base(pages)?;
        let mut values = values.finish()?;
        values.iter_mut().for_each(|info| info.live_bytes = moved.get(&info.id).copied().unwrap_or_default());
        segments.extend(values);
        let mut gone = dropped.finish()?;
        for (segment, bytes) in superseded.finish()? {
            *gone.entry(segment).or_insert(0) += bytes;
        }
        self.install(Change { segments, ..Change::default() }, |manifest| {
            subtract(manifest, &gone);
            set_base(manifest, base, ids);
        })
    }
}

/// Finishes base segments. Only pages count as live: nothing else in them is ever given up one by one.
fn finish_base(sink: SegmentSetWriter) -> StorageResult<Vec<SegmentInfo>> {
    let mut segments = sink.finish()?;
    for info in &mut segments {
        let dictionary = info.dictionary.map_or(0, |ptr| u64::from(ptr.stored_len));
        info.live_bytes = info.live_bytes.saturating_sub(dictionary);
    }
    Ok(segments)
}

fn set_base(manifest: &mut Manifest, base: TreeRef, merged: &[u64]) {
    let keyspace = &mut manifest.keyspaces[0];
    keyspace.base = base;
    keyspace.runs.retain(|run| !merged.contains(&run.id));
}

/// Takes what a merge dropped off the live bytes.
fn subtract(manifest: &mut Manifest, dropped: &BTreeMap<SegmentId, u64>) {
    for info in &mut manifest.segments {
        if let Some(bytes) = dropped.get(&info.id) {
            debug_assert!(*bytes <= info.live_bytes, "no more is dropped than was live");
            info.live_bytes = info.live_bytes.saturating_sub(*bytes);
        }
    }
}

/// The runs with these ids, newest first.
fn chosen<'a>(tree: &'a TreeState, ids: &[u64]) -> Vec<&'a Arc<Run>> {
    tree.runs.iter().filter(|run| ids.contains(&run.info.id)).collect()
}

fn merged<'a>(
    runs: &[&'a Arc<Run>],
    pages: &'a DirectPages<'a>,
    dropped: &'a mut Dropped,
) -> MergedStream<'a> {
    let stream = |run: &&'a Arc<Run>| {
        let cursor = Cursor::new(pages, run.info.tree, ReadAhead { distance: 0 });
        Box::new(TreeStream::new(cursor)) as Box<dyn EntryStream + 'a>
    };
    let superseded = |_: &[u8], value: EntryValue<'_>| {
        if let EntryValue::Extent(encoded) = value {
            dropped.extent(encoded);
        }
    };
    MergedStream::new(runs.iter().map(stream).collect(), Box::new(superseded))
}

impl Dropped {
    fn extent(&mut self, encoded: &[u8]) {
        match extent_bytes(encoded) {
            Ok(parts) => parts.into_iter().for_each(|(segment, bytes)| self.add(segment, bytes)),
            Err(error) => self.failed = Some(error),
        }
    }

    fn add(&mut self, segment: SegmentId, bytes: u64) {
        *self.bytes.entry(segment).or_insert(0) += bytes;
    }

    fn finish(self) -> StorageResult<BTreeMap<SegmentId, u64>> {
        self.failed.map_or(Ok(self.bytes), Err)
    }
}

impl MergeObserver for Dropped {
    fn page_dropped(&mut self, ptr: &BlockPtr) {
        self.add(ptr.segment, u64::from(ptr.stored_len));
    }

    fn extent_dropped(&mut self, encoded: &[u8]) {
        self.extent(encoded);
    }

    fn progress(&mut self, _entries: u64) {}

    fn pace(&mut self) {}
}

/// A stream that ends with an error when the database is closed.
struct Cancellable<'a, S> {
    stream: S,
    engine: &'a Engine,
}

impl<S: EntryStream> EntryStream for Cancellable<'_, S> {
    fn advance(&mut self) -> StorageResult<bool> {
        if self.engine.health.is_closed() { Err(StorageError::Cancelled) } else { self.stream.advance() }
    }

    fn key(&self) -> &[u8] {
        self.stream.key()
    }

    fn value(&self) -> EntryValue<'_> {
        self.stream.value()
    }
}
