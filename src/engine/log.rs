//! The write-ahead log as the engine keeps it: segments made ready ahead of their use, and retired when nothing needs
//! them.

use std::sync::Weak;

use lightning_db_storage::manifest::{Gap, GapReason, Lineage, Manifest, RepositoryCursor};
use lightning_db_storage::segment::{SealContext, SegmentKind};
use lightning_db_storage::wal::{
    PreparedSegment, SegmentSupply, WalMode, WalOptions, WalSegmentInfo, prepare_segment,
};
use lightning_db_storage::{Incarnation, Result, SegmentId, SequenceNumber, StorageError};

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

    /// Goes on in a segment of the log under the current data key, if the present one, or the one made ready to follow it,
    /// is under another. What is in the log already stays as it is, until a flush makes it obsolete.
    pub(super) fn renew_log(&self) -> Result<()> {
        let mut writer = self.commits.queue.writer();
        let epoch = self.ctx.keyring.read().current_epoch();
        let Some(log) = &mut writer.log else { return Ok(()) };
        let current = log.position().segment;
        let is_outdated = |id: SegmentId| {
            self.catalog.read(|manifest| manifest.wal.iter().any(|info| info.id == id && info.epoch != epoch))
        };
        let mut ready = self.commits.ready_segment.lock();
        let unused = ready.as_ref().map(PreparedSegment::info).filter(|info| info.epoch != epoch);
        if let Some(id) = unused.map(|info| info.id) {
            let dropped = |manifest: &mut Manifest| manifest.wal.retain(|info| info.id != id);
            // It stays ready as long as the manifest lists it: a listed segment that the log passed over would end it.
            self.catalog.commit(&self.ctx, dropped, |_| {})?;
            drop(ready.take());
            remove_log_file(&self.ctx, id);
        }
        drop(ready);
        if is_outdated(current) { log.go_on() } else { Ok(()) }
    }

    /// As [`renew_log`](Self::renew_log), when a new data key counts already: that the log goes on under the old one for a
    /// while can be made up for.
    pub(crate) fn leave_old_log(&self) {
        if let Err(error) = self.renew_log().map_err(|error| self.write_failed(error)) {
            tracing::warn!(%error, "the log goes on under the old data key until its next file");
        }
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
    let archived =
        |info: &WalSegmentInfo| manifest.repositories.iter().all(|cursor| has_log(manifest, cursor, info));
    let obsolete: Vec<&WalSegmentInfo> =
        manifest.wal.iter().take_while(|info| info.is_obsolete(flushed)).collect();
    let fetched = obsolete.iter().take_while(|info| archived(info)).count();
    let kept_bytes = |from: usize| (obsolete.len() - from) as u64 * segment_size;
    let mut gone = fetched;
    while kept_bytes(gone) > max_retained {
        gone += 1;
    }
    let end = |info: &&WalSegmentInfo| (info.incarnation, info.accepted_through.map(|end| end.sequence));
    let ends: Vec<_> = obsolete.iter().map(end).take(gone).collect();
    for index in fetched..gone {
        let (incarnation, Some(through)) = ends[index] else { continue };
        let before = index.checked_sub(1).map(|before| ends[before]);
        let before = before.filter(|(history, _)| *history == incarnation).and_then(|(_, end)| end);
        let after = before.unwrap_or_else(|| lost_after(manifest, incarnation));
        add_gap(manifest, Gap { incarnation, after, through, reason: GapReason::LogDropped });
        tracing::warn!(%through, "log was given up before a repository fetched it: back up now");
    }
    let dropped: Vec<WalSegmentInfo> = manifest.wal.drain(..gone).collect();
    let current = dropped.iter().rev().find(|info| info.incarnation == manifest.incarnation);
    manifest.log_end = current.and_then(|info| info.accepted_through).or(manifest.log_end);
    dropped.into_iter().map(|info| info.id).collect()
}

/// Whether a repository has a segment's log, or has no use for it. Its latest backup archived all there was: what is of
/// an earlier history than that backup was left behind. What is of a later one, or of one beside it, it never saw.
fn has_log(manifest: &Manifest, cursor: &RepositoryCursor, info: &WalSegmentInfo) -> bool {
    let Some(end) = info.accepted_through else { return false };
    let first = |incarnation| manifest.wal.iter().position(|info| info.incarnation == incarnation);
    let is_passed_by = |later: Incarnation| {
        let is_earlier = || first(later).is_some_and(|at| first(info.incarnation) < Some(at));
        later != info.incarnation && (later == manifest.incarnation || is_earlier())
    };
    match (&cursor.archived, &cursor.lineage) {
        (Some(have), _) if have.incarnation == info.incarnation => have.frame >= end.frame,
        (Some(have), _) => is_passed_by(have.incarnation),
        // Its trees are those of a backup that brings log, and may never have counted: that log is still to come.
        (None, _) if cursor.announced.is_some() => false,
        // A first backup has everything in its trees, and the log behind that is still to come.
        (None, Lineage::Version { sequence, .. }) => {
            is_passed_by(manifest.incarnation) || info.is_obsolete(*sequence)
        }
        (None, Lineage::Rebase) => false,
    }
}

/// The last commit of a history that no repository misses.
fn lost_after(manifest: &Manifest, incarnation: Incarnation) -> SequenceNumber {
    let own = manifest.ancestry.iter().position(|fork| fork.incarnation == incarnation);
    let parent = own.unwrap_or(manifest.ancestry.len()).checked_sub(1);
    let begin = parent.map_or(SequenceNumber(0), |at| manifest.ancestry[at].next);
    let held = manifest.repositories.iter().map(|cursor| match (&cursor.archived, &cursor.lineage) {
        (Some(end), _) if end.incarnation == incarnation => end.sequence,
        (_, Lineage::Version { sequence, .. })
            if incarnation == manifest.incarnation && cursor.announced.is_none() =>
        {
            *sequence
        }
        _ => begin,
    });
    held.min().unwrap_or(begin)
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
