//! Going back to a named checkpoint.
//!
//! The trees become those of the checkpoint, and a new history begins, with a log of its own. Sequence numbers never go
//! back: the step takes the next one, so that nobody who reads the version before, or began a transaction under it, is
//! mistaken about what is newer. The step changes nothing, so a replay that comes to the checkpoint in the history that was
//! left goes on in the new one.

use std::sync::Arc;

use lightning_db_storage::manifest::{Fork, Lineage, Manifest, NamedCheckpoint};
use lightning_db_storage::wal::{self, PreparedSegment, WalSegmentInfo, WalStart, prepare_segment};
use lightning_db_storage::{Incarnation, SegmentId, SequenceNumber};

use super::Engine;
use super::checkpoint::open_runs;
use super::commit::Writer;
use super::install::{Change, Layers};
use super::log::{options, remove_log_files};
use super::version::{Layer, Run};
use crate::error::{Error, Result};

/// The step from one history to the next.
struct Turn {
    checkpoint: NamedCheckpoint,
    /// The checkpoint's, newest first.
    runs: Vec<Arc<Run>>,
    incarnation: Incarnation,
    /// The number under which the checkpoint's state becomes the present one.
    sequence: SequenceNumber,
    time_micros: i64,
    /// A log segment that was made ready for the old history.
    unused: Option<SegmentId>,
}

impl Engine {
    /// Makes the state of a named checkpoint the present one, as a new history. Returns the number of the step.
    ///
    /// # Errors
    /// `NotFound`, and those of reading and writing files. A failure half-way ends writing.
    pub(crate) fn rollback_to(self: &Arc<Self>, name: &str) -> Result<SequenceNumber> {
        let _merges = self.merge_alone();
        let _flushes = self.flushing.lock();
        let mut writer = self.commits.queue.writer();
        let mut ready = self.commits.ready_segment.lock();
        self.check_writable()?;
        let checkpoint = self
            .catalog
            .read(|manifest| manifest.checkpoints.iter().find(|known| known.name == name).cloned());
        let checkpoint =
            checkpoint.ok_or_else(|| Error::NotFound { what: format!("the checkpoint {name:?}") })?;
        let keyspace = checkpoint.keyspaces.first();
        let runs = keyspace.map(|keyspace| open_runs(keyspace, &self.versions.current().tree.segments));
        let mut incarnation = [0; 16];
        self.ctx.entropy.fill(&mut incarnation)?;
        let turn = Turn {
            runs: runs.transpose()?.unwrap_or_default(),
            incarnation: Incarnation(incarnation),
            sequence: writer.last.next(),
            time_micros: self.ctx.clock.now_micros(),
            unused: ready.take().map(|segment| segment.info().id),
            checkpoint,
        };
        self.turn(&mut writer, &turn).inspect_err(|error| self.health.poison(error))?;
        Ok(turn.sequence)
    }

    /// Ends this history and begins the next. Between the two there is no log to write to.
    fn turn(self: &Arc<Self>, writer: &mut Writer, turn: &Turn) -> Result<()> {
        if let Some(log) = writer.log.take() {
            self.commits.finished_segments.lock().push(log.finish()?);
        }
        self.ctx.incarnation.set(turn.incarnation);
        let next_log = self.config.wal_enabled.then(|| self.prepare_first_log()).transpose()?;
        let info = next_log.as_ref().map(PreparedSegment::info).cloned();
        let left = self.versions.current();
        let layer = Layer::new(self.hash_seed, next_log.is_some());
        let change = Change { runs: turn.runs.clone(), layers: Layers::Replaced(layer), ..Change::default() };
        self.while_all_changes(|| {
            self.install(change, |manifest| turn.edit(manifest, info))?;
            // Before hot records are filled in again: the number before belongs to the history that is left.
            self.recent.forget(turn.sequence);
            self.versions.publish(turn.sequence);
            Ok::<_, Error>(())
        })?;
        left.layers().for_each(|layer| self.pinned.add(layer));
        remove_log_files(&self.ctx, turn.unused.as_slice());
        writer.last = turn.sequence;
        if let Some(first) = next_log {
            let Fork { incarnation: parent, sequence: at, .. } = turn.fork();
            let fork = Some(wal::Fork { parent, at });
            let start = WalStart { after: None, last_sequence: turn.sequence, fork };
            self.commits.attach_log(writer, self.start_log(first, start)?);
        }
        Ok(())
    }

    fn prepare_first_log(&self) -> Result<PreparedSegment> {
        let epoch = self.ctx.keyring.read().current_epoch();
        let id = self.catalog.new_segment_id();
        Ok(prepare_segment(&self.ctx, &options(&self.config), id, epoch)?)
    }

    /// Every key may get another value while `change` runs: no hot record counts, and none is filled in.
    fn while_all_changes<R>(&self, change: impl FnOnce() -> R) -> R {
        let hot = self.caches.hot_records.as_ref();
        hot.inspect(|hot| hot.all_pending());
        let result = change();
        hot.inspect(|hot| hot.all_settled());
        result
    }
}

impl Turn {
    fn fork(&self) -> Fork {
        let NamedCheckpoint { incarnation, sequence, time_micros, .. } = self.checkpoint;
        Fork { incarnation, sequence, time_micros, next: self.sequence }
    }

    fn edit(&self, manifest: &mut Manifest, log: Option<WalSegmentInfo>) {
        manifest.incarnation = self.incarnation;
        manifest.ancestry.clone_from(&self.checkpoint.ancestry);
        manifest.ancestry.push(self.fork());
        manifest.keyspaces.clone_from(&self.checkpoint.keyspaces);
        for info in &mut manifest.segments {
            let held = self.checkpoint.segments.iter().find(|held| held.id == info.id);
            info.live_bytes = held.map_or(0, |held| held.live_bytes);
        }
        manifest.flushed_sequence = self.sequence;
        manifest.flushed_time_micros = self.time_micros;
        manifest.wal.retain(|info| Some(info.id) != self.unused);
        manifest.wal.extend(log);
        manifest.log_end = None;
        manifest.retained_runs.clear();
        manifest.repositories.iter_mut().for_each(|cursor| cursor.lineage = Lineage::Rebase);
    }
}
