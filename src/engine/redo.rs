//! Replaying the log when the database is opened.
//!
//! What the log promised and the trees do not have yet goes into memtables, and from there into synced files before
//! anything new is acknowledged: nothing is appended to the old log.

use std::io::Read;
use std::sync::Arc;

use lightning_db_recovery::redo::{ReplaySink, replay};
use lightning_db_storage::SequenceNumber;
use lightning_db_storage::manifest::{Manifest, RestorePoint};
use lightning_db_storage::segment::SealContext;
use lightning_db_storage::wal::{
    CommitHead, Replay, RestorePoint as LoggedPoint, ScanOutcome, WalStart, scan,
};

use super::Engine;
use super::version::Layer;
use crate::error::{Error, Result};
use crate::memtable::MemValue;
use crate::shared_bytes::SharedBytes;

impl Engine {
    /// Brings everything that the log promised into synced files, and says where the next log begins.
    ///
    /// # Errors
    /// `Corrupt` when something that was promised is missing, and what reading and writing files can give.
    pub(super) fn redo(&self) -> Result<WalStart> {
        let outcome = self.scan_log()?;
        report(&outcome);
        let settled = outcome.settle(&self.ctx)?;
        // Opened now: a segment that holds no commit that is needed leaves the manifest, and its file goes, just below.
        let mut log = outcome.replay(&self.ctx)?;
        let points = self.restore_points(&outcome);
        if settled.segments.iter().any(|info| info.accepted_through.is_some()) || !settled.unused.is_empty() {
            self.change_manifest(|manifest| {
                for info in &settled.segments {
                    if let Some(entry) = manifest.wal.iter_mut().find(|entry| entry.id == info.id) {
                        *entry = info.clone();
                    }
                }
                manifest.wal.retain(|info| !settled.unused.contains(&info.id));
                add_points(manifest, points);
            })?;
            super::log::remove_log_files(&self.ctx, &settled.unused);
        }
        let mut redo = Redo::into_files(self);
        replay(&mut log, self.flushed(), &mut redo)?;
        self.flush_all()?;
        Ok(settled.start)
    }

    /// Opens the part of the log that is not in the trees: what it promised is in files then that nobody changes.
    ///
    /// # Errors
    /// As [`redo`](Self::redo).
    pub(super) fn open_log(&self) -> Result<Replay> {
        let outcome = self.scan_log()?;
        report(&outcome);
        Ok(outcome.replay(&self.ctx)?)
    }

    /// Brings what the log promised into memory only.
    ///
    /// # Errors
    /// As [`redo`](Self::redo).
    pub(super) fn replay_in_memory(&self, mut log: Replay) -> Result<()> {
        let mut redo = Redo { engine: self, ops: Vec::new(), writes_files: false };
        replay(&mut log, self.flushed(), &mut redo)?;
        Ok(())
    }

    fn flushed(&self) -> SequenceNumber {
        self.catalog.read(|manifest| manifest.flushed_sequence)
    }

    /// Reads the part of the log that is not in the trees.
    fn scan_log(&self) -> Result<ScanOutcome> {
        let (segments, before, flushed) = self.catalog.read(|manifest| {
            let flushed = manifest.flushed_sequence;
            let obsolete = manifest.wal.iter().take_while(|info| info.is_obsolete(flushed)).count();
            let mut of_this_history = manifest.wal[..obsolete].iter().rev();
            let before = of_this_history.next().filter(|info| info.incarnation == manifest.incarnation);
            let before = before.and_then(|info| info.accepted_through);
            (manifest.wal[obsolete..].to_vec(), before.or(manifest.log_end), flushed)
        });
        Ok(scan(&self.ctx, &segments, before, flushed)?)
    }

    fn restore_points(&self, outcome: &ScanOutcome) -> Vec<RestorePoint> {
        let incarnation = self.ctx.incarnation.get();
        let point = |point: &LoggedPoint| RestorePoint {
            name: point.name.clone(),
            sequence: point.sequence,
            time_micros: point.time_micros,
            incarnation,
        };
        outcome.restore_points.iter().map(point).collect()
    }
}

fn add_points(manifest: &mut Manifest, points: Vec<RestorePoint>) {
    for point in points {
        let is_known =
            |known: &RestorePoint| (&known.name, known.incarnation) == (&point.name, point.incarnation);
        if !manifest.restore_points.iter().any(is_known) {
            manifest.restore_points.push(point);
        }
    }
}

fn report(outcome: &ScanOutcome) {
    if let Some(cut) = &outcome.cut {
        tracing::warn!(
            file = %cut.file.display(),
            offset = cut.offset,
            discarded_bytes = cut.discarded_bytes,
            "the log ended in the middle of a write that was never promised"
        );
    }
}

/// Takes replayed commits into the engine.
pub(super) struct Redo<'a> {
    engine: &'a Engine,
    /// What the commit that is being read does.
    ops: Vec<(Vec<u8>, MemValue)>,
    writes_files: bool,
}

impl<'a> Redo<'a> {
    /// Replays into memtables and, when they are full, into files.
    pub(super) fn into_files(engine: &'a Engine) -> Self {
        Self { engine, ops: Vec::new(), writes_files: true }
    }

    fn layer(&self) -> Arc<Layer> {
        Arc::clone(&self.engine.versions.current().active)
    }
}

impl ReplaySink for Redo<'_> {
    type Error = Error;

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.ops.push((key.to_vec(), MemValue::Put(SharedBytes::from(value))));
        Ok(())
    }

    fn put_large(&mut self, key: &[u8], len: u64, value: &mut dyn Read) -> Result<()> {
        let value = if self.writes_files && len >= super::LARGE_VALUE_LEN as u64 {
            self.engine.large_value(&self.layer(), len, value)?
        } else {
            MemValue::Put(in_memory(&self.engine.ctx, len, value)?)
        };
        self.ops.push((key.to_vec(), value));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.ops.push((key.to_vec(), MemValue::Delete));
        Ok(())
    }

    fn commit(&mut self, head: &CommitHead) -> Result<()> {
        let layer = self.layer();
        for (key, value) in self.ops.drain(..) {
            layer.memtable.insert(&key, head.sequence, value);
        }
        layer.note_time(head.time_micros);
        self.engine.replayed(head.sequence);
        if self.writes_files && layer.memtable.memory_bytes() >= self.engine.config.write_buffer_size {
            self.engine.flush_all()?;
        }
        Ok(())
    }
}

fn in_memory(ctx: &SealContext, len: u64, value: &mut dyn Read) -> Result<SharedBytes> {
    let mut bytes = lightning_db_storage::ZeroizingBytes::new(Vec::new());
    let limit = len.min(super::op::MAX_VALUE_SIZE as u64);
    let read = value.take(limit).read_to_end(&mut bytes);
    read.map_err(|error| lightning_db_storage::StorageError::io("read the log of", &ctx.directory, error))?;
    Ok(SharedBytes::from(bytes.as_slice()))
}
