//! The write-ahead log as the engine keeps it: segments made ready ahead of their use, and retired when nothing needs
//! them.

use std::sync::Weak;

use lightning_db_storage::manifest::{Gap, GapReason, Manifest};
use lightning_db_storage::segment::{SealContext, SegmentKind};
use lightning_db_storage::wal::{
    PreparedSegment, SegmentSupply, WalMode, WalOptions, WalSegmentInfo, prepare_segment,
};
use lightning_db_storage::{Result, SegmentId, SequenceNumber, StorageError};

use super::Engine;
use crate::config::LightningDbConfig;

/// How the configuration wants the log written.
pub(super) fn options(config: &LightningDbConfig) -> WalOptions {
    let mode = if config.improved_wal { WalMode::Mapped } else { WalMode::Pwrite };
    WalOptions { segment_size: config.wal_segment_size, mode }
}

/// Gives the log its next segments.
pub(super) struct Supply {
    engine: Weak<Engine>,
}

impl Supply {
    pub(super) fn new(engine: Weak<Engine>) -> Self {
        Self { engine }
    }
}

impl SegmentSupply for Supply {
    fn next(&mut self) -> Result<PreparedSegment> {
        let engine = self.engine.upgrade().ok_or(StorageError::Cancelled)?;
        engine.next_log_segment()
    }

    fn finished(&mut self, segment: WalSegmentInfo) {
        if let Some(engine) = self.engine.upgrade() {
            engine.commits.finished_segments.lock().push(segment);
            engine.signals.log_moved_on();
        }
    }
}

impl Engine {
    /// A log segment that is in the manifest: one made ready before, or a new one.
    fn next_log_segment(&self) -> Result<PreparedSegment> {
        let mut ready = self.commits.ready_segment.lock();
        match ready.take() {
            Some(segment) => Ok(segment),
            None => self.prepare_log_segment(),
        }
    }

    /// Makes a log segment and puts it into the manifest, with the ends of those that were finished meanwhile.
    fn prepare_log_segment(&self) -> Result<PreparedSegment> {
        let epoch = self.ctx.keyring.read().current_epoch();
        let id = self.catalog.new_segment_id();
        let prepared = prepare_segment(&self.ctx, &options(&self.config), id, epoch)?;
        let info = prepared.info().clone();
        let committed = self.catalog.commit(
            &self.ctx,
            |manifest| {
                self.note_log(manifest);
                manifest.wal.push(info);
            },
            |_| {},
        );
        if let Err(error) = committed {
            if !self.catalog.is_unsure() {
                remove_log_file(&self.ctx, id);
            }
            return Err(error);
        }
        Ok(prepared)
    }

    /// Has the next log segment ready, so that no commit waits for one. Called in the background.
    pub(super) fn prepare_ahead(&self) -> Result<()> {
        let mut ready = self.commits.ready_segment.lock();
        if ready.is_none() && self.commits.has_log() {
            *ready = Some(self.prepare_log_segment()?);
        }
        Ok(())
    }

    /// Enters what the log tells into a manifest that is about to be committed: ends of segments, restore points.
    /// Forgets what the manifest has already.
    pub(super) fn note_log(&self, manifest: &mut Manifest) {
        self.commits.finished_segments.lock().retain(|info| {
            let entry = manifest.wal.iter_mut().find(|entry| entry.id == info.id);
            let Some(entry) = entry.filter(|entry| entry.accepted_through.is_none()) else { return false };
            entry.accepted_through = info.accepted_through;
            true
        });
        self.commits.restore_points.lock().retain(|point| {
            let is_new = !manifest.restore_points.contains(point);
            if is_new {
                manifest.restore_points.push(point.clone());
            }
            is_new
        });
    }
}

/// Takes the log segments out of the manifest that nobody needs: all of their commits are in the trees, and every
/// repository has them, or they exceed what is kept for repositories. Returns them; their files go once the manifest
/// is durable.
pub(super) fn retire(manifest: &mut Manifest, max_retained: u64, segment_size: u64) -> Vec<SegmentId> {
    let flushed = manifest.flushed_sequence;
    let archived = |info: &WalSegmentInfo| {
        manifest.repositories.iter().all(|cursor| match (&cursor.archived, &info.accepted_through) {
            (Some(have), Some(end)) if have.incarnation == info.incarnation => have.frame >= end.frame,
            // The repository has gone on to a later history, or has nothing of this one yet.
            (Some(_), _) => info.incarnation != manifest.incarnation,
            _ => false,
        })
    };
    let obsolete: Vec<&WalSegmentInfo> =
        manifest.wal.iter().take_while(|info| info.is_obsolete(flushed)).collect();
    let fetched = obsolete.iter().take_while(|info| archived(info)).count();
    let kept_bytes = |from: usize| (obsolete.len() - from) as u64 * segment_size;
    let mut gone = fetched;
    while kept_bytes(gone) > max_retained {
        gone += 1;
    }
    let end = |index: usize| {
        obsolete[index].accepted_through.map(|end| (obsolete[index].incarnation, end.sequence))
    };
    let lost = (gone > fetched).then(|| (fetched.checked_sub(1).and_then(end), end(gone - 1)));
    if let Some((before, Some((incarnation, through)))) = lost {
        let after = before.map_or_else(|| lost_after(manifest), |(_, sequence)| sequence);
        add_gap(manifest, Gap { incarnation, after, through, reason: GapReason::LogDropped });
        tracing::warn!(%through, "log was given up before a repository fetched it: back up now");
    }
    let dropped: Vec<WalSegmentInfo> = manifest.wal.drain(..gone).collect();
    let current = dropped.iter().rev().find(|info| info.incarnation == manifest.incarnation);
    manifest.log_end = current.and_then(|info| info.accepted_through).or(manifest.log_end);
    dropped.into_iter().map(|info| info.id).collect()
}

/// The last commit that no repository misses.
fn lost_after(manifest: &Manifest) -> SequenceNumber {
    let archived = manifest
        .repositories
        .iter()
        .map(|cursor| cursor.archived.map_or(SequenceNumber(0), |end| end.sequence));
    archived.min().unwrap_or_default()
}

/// Adds an interval without log, joined to the one before when they touch.
pub(super) fn add_gap(manifest: &mut Manifest, gap: Gap) {
    if gap.after >= gap.through {
        return;
    }
    match manifest.gaps.last_mut() {
        Some(last)
            if (last.incarnation, last.reason) == (gap.incarnation, gap.reason)
                && last.through >= gap.after =>
        {
            last.through = last.through.max(gap.through);
        }
        _ => manifest.gaps.push(gap),
    }
}

/// Deletes log segments that the manifest no longer names. What cannot be deleted is an orphan that the next open
/// removes.
pub(super) fn remove_log_files(ctx: &SealContext, ids: &[SegmentId]) {
    ids.iter().for_each(|id| remove_log_file(ctx, *id));
}

fn remove_log_file(ctx: &SealContext, id: SegmentId) {
    let path = ctx.segment_path(SegmentKind::Wal, id);
    if let Err(error) = ctx.vfs.remove_file(&path) {
        tracing::warn!(file = %path.display(), %error, "could not delete a log segment; the next open will");
    }
}
