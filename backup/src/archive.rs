//! Bringing the log into the repository.
//!
//! The repository accepts only what goes on where its log of a history ends: the frame it has last must be in this
//! database's log too, with the same tag. Otherwise another copy of the database was here, and the two histories must
//! not be mixed.

use lightning_db_storage::manifest::{ArchivedThrough, Manifest, RepositoryCursor, RestorePoint};
use lightning_db_storage::segment::SealContext;
use lightning_db_storage::wal::{ArchivePiece, WalPosition, WalSegmentInfo, export_range};
use lightning_db_storage::{FrameNumber, Incarnation, SequenceNumber, StorageError};

use crate::catalog::Catalog;
use crate::manifest::{LogPiece, trees_digest};
use crate::{BackupError, Result};

/// Log that the database no longer has and the repository never got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostLog {
    /// The history.
    pub incarnation: Incarnation,
    /// The last commit before it.
    pub after: SequenceNumber,
    /// The last commit in it.
    pub through: SequenceNumber,
}

/// The log that a backup adds.
#[derive(Debug, Default)]
pub(crate) struct Archived {
    pub(crate) pieces: Vec<LogPiece>,
    pub(crate) restore_points: Vec<RestorePoint>,
    pub(crate) lost: Vec<LostLog>,
}

/// Where the log comes from.
pub(crate) struct LogInput<'a> {
    pub(crate) ctx: &'a SealContext,
    pub(crate) manifest: &'a Manifest,
    /// The newest frame of the present history that is on stable storage.
    pub(crate) durable: Option<FrameNumber>,
    pub(crate) cursor: Option<&'a RepositoryCursor>,
}

/// Refuses a database whose history is not the one that the repository holds.
pub(crate) fn check_history(input: &LogInput<'_>, catalog: &Catalog) -> Result<()> {
    let manifest = input.manifest;
    let held = catalog.incarnations();
    let known = |incarnation: &Incarnation| held.contains(incarnation);
    // A database that stepped back to before its first backup there is in none of the histories, and still its own.
    if !held.is_empty()
        && input.cursor.is_none()
        && !known(&manifest.incarnation)
        && !manifest.ancestry.iter().any(|fork| known(&fork.incarnation))
    {
        let what = format!("none of the histories in it leads to incarnation {}", manifest.incarnation);
        return Err(diverged(catalog, what));
    }
    match catalog.chain(manifest.incarnation).end() {
        Some(end) => check_end(input, catalog, end),
        None => check_unlogged(input, catalog),
    }
}

/// Whether this database's log has the last frame that the repository has.
fn check_end(input: &LogInput<'_>, catalog: &Catalog, end: &LogPiece) -> Result<()> {
    let of_this = |ours: &ArchivedThrough| ours.incarnation == input.manifest.incarnation;
    let ours = input.cursor.and_then(|cursor| cursor.archived).filter(of_this);
    let announced = input.cursor.and_then(|cursor| cursor.announced).filter(of_this);
    let is_ours = |ours: &ArchivedThrough| (ours.frame, ours.tag) == (end.end.frame, end.end.tag);
    if ours.as_ref().is_some_and(is_ours) || announced.as_ref().is_some_and(is_ours) {
        return Ok(());
    }
    if input.durable.is_none_or(|durable| durable < end.end.frame) {
        let what = format!(
            "it has log up to frame {} (commit {}), and the log of this database does not go that far",
            end.end.frame, end.end.sequence
        );
        return Err(diverged(catalog, what));
    }
    if let Some(info) = input.manifest.wal.iter().find(|info| info.id == end.end.segment) {
        return match tag_of(input.ctx, info, end.end.frame)? {
            Some(tag) if tag == end.end.tag => Ok(()),
            _ => Err(diverged(catalog, format!("frame {} of the log is another one there", end.end.frame))),
        };
    }
    // The log that would tell is gone. If this database sent as much and more, the repository was set back.
    if ours.is_some_and(|ours| ours.frame > end.end.frame) {
        return Ok(());
    }
    let what = format!("frame {} of its log is not known to this database", end.end.frame);
    Err(diverged(catalog, what))
}

/// Without any log, the segments tell: the newest backup must be one of ours.
fn check_unlogged(input: &LogInput<'_>, catalog: &Catalog) -> Result<()> {
    let own = |(_, backup): &(u64, &crate::BackupManifest)| backup.incarnation == input.manifest.incarnation;
    let Some((number, backup)) = catalog.all_backups().rev().find(own) else { return Ok(()) };
    if input.cursor.is_some_and(|cursor| cursor.last_backup >= number) {
        return Ok(());
    }
    // A backup that this database made, and did not hear the end of, has the trees that were announced.
    let trees = || trees_digest(backup.segments.iter().map(|object| (object.id, object.hash)));
    if input.cursor.and_then(|cursor| cursor.announced_trees).is_some_and(|announced| announced == trees()) {
        return Ok(());
    }
    let segments = &input.manifest.segments;
    let has = |object: &crate::SegmentObject| {
        segments.iter().any(|info| info.id == object.id && info.content_hash == object.hash)
    };
    if backup.flushed_sequence <= input.manifest.flushed_sequence && backup.segments.iter().all(has) {
        return Ok(());
    }
    Err(diverged(catalog, format!("backup {number} was not made from this database")))
}

/// The tag of a frame of a segment, if the segment has it.
fn tag_of(ctx: &SealContext, info: &WalSegmentInfo, frame: FrameNumber) -> Result<Option<[u8; 16]>> {
    let mut at: Option<WalPosition> = None;
    while let Some(piece) = export_range(ctx, info, at.as_ref(), frame)? {
        if piece.end.frame >= frame {
            return Ok((piece.end.frame == frame).then_some(piece.end.tag));
        }
        at = Some(piece.end);
    }
    Ok(None)
}

/// Reads all log that the repository lacks, and gives each piece to `store` with the entry for it.
pub(crate) fn archive(
    input: &LogInput<'_>,
    catalog: &Catalog,
    store: &mut dyn FnMut(&LogPiece, &[u8]) -> Result<()>,
) -> Result<Archived> {
    let mut archived = Archived::default();
    let manifest = input.manifest;
    let mut incarnations: Vec<Incarnation> = manifest.wal.iter().map(|info| info.incarnation).collect();
    incarnations.dedup();
    for incarnation in incarnations {
        let through =
            if incarnation == manifest.incarnation { input.durable } else { Some(FrameNumber(u64::MAX)) };
        let Some(through) = through else { continue };
        let end = catalog.chain(incarnation).end().map(|piece| piece.end);
        let mut export = Export {
            input,
            catalog,
            incarnation,
            through,
            needed_after: needed_after(manifest, catalog, incarnation),
            at: end,
            lost_after: None,
            idle: Vec::new(),
            archived: &mut archived,
        };
        for info in manifest.wal.iter().filter(|info| info.incarnation == incarnation) {
            export.segment(info, store)?;
        }
        export.give_up();
    }
    Ok(archived)
}

/// The last commit of a history whose log nothing can be done with: the oldest backup that leads into the history, or
/// the one that is being made, has it in its trees, or it was before the history began.
fn needed_after(manifest: &Manifest, catalog: &Catalog, incarnation: Incarnation) -> SequenceNumber {
    let own = manifest.ancestry.iter().position(|fork| fork.incarnation == incarnation);
    let known = || &manifest.ancestry[..own.unwrap_or(manifest.ancestry.len())];
    let ancestry = catalog.ancestry(incarnation).unwrap_or_else(known);
    let leads_there = catalog.backups().filter(|(_, _, backup)| backup.is_past_of(incarnation, ancestry));
    let held = leads_there.map(|(_, _, backup)| backup.flushed_sequence).min();
    let begin = ancestry.last().map_or(SequenceNumber(0), |fork| fork.next);
    held.unwrap_or(manifest.flushed_sequence).max(begin)
}

struct Export<'a> {
    input: &'a LogInput<'a>,
    catalog: &'a Catalog,
    incarnation: Incarnation,
    through: FrameNumber,
    /// Commits up to here need no log.
    needed_after: SequenceNumber,
    at: Option<WalPosition>,
    /// The last commit before a break, while nothing behind that is archived.
    lost_after: Option<SequenceNumber>,
    /// Pieces with nothing to replay at the end of a segment that goes on. They are archived with what comes behind
    /// them, so that a backup of a database in which nothing has changed adds nothing.
    idle: Vec<(ArchivePiece, LogPiece, Vec<u8>)>,
    archived: &'a mut Archived,
}

impl Export<'_> {
    fn segment(
        &mut self,
        info: &WalSegmentInfo,
        store: &mut dyn FnMut(&LogPiece, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let is_behind = match &self.at {
            Some(at) => {
                info.id < at.segment || info.accepted_through.is_some_and(|end| end.frame <= at.frame)
            }
            None => info.is_obsolete(self.needed_after),
        };
        if is_behind {
            return Ok(());
        }
        while self.at.is_none_or(|at| at.frame < self.through) {
            if self.at.is_none() {
                // What comes before the first of this history is in a backup, or was given up.
                self.lost_after.get_or_insert(self.needed_after);
            }
            let Some(mut piece) = self.next_piece(info)? else { break };
            self.at = Some(piece.end);
            if self.lost_after.is_some() && piece.lacks_beginning {
                if piece.sequences.is_none() {
                    continue;
                }
                piece.give_up_first_commit();
            }
            let object = piece.encode();
            let entry = LogPiece::of(&piece, &object);
            if let Some(after) = self.lost_after.take() {
                self.lost(after, entry.before());
            }
            let is_idle =
                piece.sequences.is_none() && piece.restore_points.is_empty() && !piece.end.within_commit;
            self.idle.push((piece, entry, object));
            if !is_idle || info.accepted_through.is_some() {
                self.add(store)?;
            }
        }
        Ok(())
    }

    /// Behind the last break there was nothing but a commit whose beginning is gone.
    fn give_up(&mut self) {
        if let (Some(after), Some(end)) = (self.lost_after.take(), self.at) {
            let begun = if end.within_commit { end.sequence.next() } else { end.sequence };
            self.lost(after, begun);
        }
    }

    /// Archives what was exported and is not archived yet.
    fn add(&mut self, store: &mut dyn FnMut(&LogPiece, &[u8]) -> Result<()>) -> Result<()> {
        for (piece, entry, object) in self.idle.drain(..) {
            store(&entry, &object)?;
            let points = piece.restore_points.iter().map(|point| RestorePoint {
                name: point.name.clone(),
                sequence: point.sequence,
                time_micros: point.time_micros,
                incarnation: self.incarnation,
            });
            self.archived.restore_points.extend(points);
            self.archived.pieces.push(entry);
        }
        Ok(())
    }

    fn next_piece(&mut self, info: &WalSegmentInfo) -> Result<Option<ArchivePiece>> {
        let ctx = self.input.ctx;
        let Some(at) = self.at else { return Ok(export_range(ctx, info, None, self.through)?) };
        match export_range(ctx, info, Some(&at), self.through) {
            Err(error @ StorageError::Corrupt { .. }) => self.after_a_break(info, at, error),
            other => Ok(other?),
        }
    }

    /// The log does not go on at `at`. Either what is between is gone, or nothing is behind the end of this segment, or
    /// this is damage.
    fn after_a_break(
        &mut self,
        info: &WalSegmentInfo,
        at: WalPosition,
        error: StorageError,
    ) -> Result<Option<ArchivePiece>> {
        if info.id == at.segment {
            // A finished segment whose end is not in the manifest yet: the next one goes on.
            let goes_on = self
                .input
                .manifest
                .wal
                .iter()
                .find(|next| next.id > info.id && next.incarnation == info.incarnation);
            return match goes_on.map(|next| export_range(self.input.ctx, next, Some(&at), at.frame.next())) {
                Some(Ok(Some(_))) => Ok(None),
                _ => Err(error.into()),
            };
        }
        let Ok(Some(piece)) = export_range(self.input.ctx, info, None, self.through) else {
            return Err(error.into());
        };
        if piece.first_frame == at.frame.next() && piece.previous_tag != at.tag {
            return Err(diverged(
                self.catalog,
                format!("the log goes on differently after frame {}", at.frame),
            ));
        }
        if piece.first_frame <= at.frame.next() {
            return Err(error.into());
        }
        self.lost_after.get_or_insert(at.sequence);
        Ok(Some(piece))
    }

    /// Nobody has the log between two commits any more.
    fn lost(&mut self, after: SequenceNumber, through: SequenceNumber) {
        if after < through {
            tracing::warn!(%after, %through, "log was lost before it was archived");
            self.archived.lost.push(LostLog { incarnation: self.incarnation, after, through });
        }
    }
}

fn diverged(catalog: &Catalog, what: String) -> BackupError {
    BackupError::Diverged { place: catalog.place().into(), what }
}
