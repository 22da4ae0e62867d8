//! What a backup copies: a manifest, and the files that it names, held in place until the backup is done. Reads, commits,
//! flushes and merges go on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lightning_db_storage::FrameNumber;
use lightning_db_storage::manifest::{Manifest, RepositoryCursor};

use super::Engine;
use super::version::Version;
use crate::error::Result;

/// Counts the backups that are being made, for which log segments and flushed runs must stay.
#[derive(Default)]
pub(super) struct LogHolds(Arc<AtomicUsize>);

impl LogHolds {
    /// Whether there are any.
    pub(super) fn are_held(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    fn take(&self) -> LogHold {
        self.0.fetch_add(1, Ordering::AcqRel);
        LogHold(Arc::clone(&self.0))
    }
}

/// While it lives, no log segment is deleted, and every flushed run is kept.
struct LogHold(Arc<AtomicUsize>);

impl Drop for LogHold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The database at one moment, as files.
pub(crate) struct BackupView {
    /// Names the files.
    pub(crate) manifest: Manifest,
    /// The newest frame of the log on stable storage; `None` without a log.
    pub(crate) durable: Option<FrameNumber>,
    /// Every commit made up to this time is in the files, microseconds since 1970.
    pub(crate) as_of_micros: i64,
    segments: Arc<Version>,
    hold: LogHold,
}

impl Engine {
    /// Everything committed so far, in files that stay until the result is dropped.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) fn backup_view(&self) -> Result<BackupView> {
        let hold = self.log_holds.take();
        loop {
            let incarnation = self.catalog.read(|manifest| manifest.incarnation);
            // What is in the trees need not be replayed when it is restored, and a first backup needs no log of it.
            self.flush_all()?;
            if self.catalog.read(|manifest| manifest.repositories.is_empty()) {
                self.rotate_log()?;
            }
            // First the frame, then the manifest: the segment of every durable frame is in it.
            let (durable, as_of_micros) = self.settle()?;
            let (manifest, segments) = self.catalog.read(|manifest| {
                let mut manifest = manifest.clone();
                // With the manifest locked: what it does not name now is forgotten.
                self.note_log(&mut manifest);
                (manifest, self.versions.current())
            });
            // After a rollback in between, the frame would be one of another log.
            if manifest.incarnation == incarnation {
                return Ok(BackupView { manifest, durable, as_of_micros, segments, hold });
            }
        }
    }

    /// Remembers what a repository may have from now on.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) fn announce_backup(&self, cursor: RepositoryCursor) -> Result<()> {
        self.change_manifest(|manifest| set_cursor(manifest, cursor))
    }

    /// Remembers what a repository has from now on, and lets go of what was held for the backup.
    ///
    /// # Errors
    /// Those of writing files. The repository has its backup all the same, and the next one finds that out.
    pub(crate) fn note_backup(&self, view: BackupView, cursor: RepositoryCursor) -> Result<()> {
        let BackupView { segments, hold, .. } = view;
        let noted = self.change_manifest(|manifest| {
            set_cursor(manifest, cursor);
            // In the same step: what the cursor says is no longer needed goes, and nothing that it needs.
            drop(hold);
        });
        drop(segments);
        noted
    }
}

fn set_cursor(manifest: &mut Manifest, cursor: RepositoryCursor) {
    manifest.repositories.retain(|known| known.repository != cursor.repository);
    manifest.repositories.push(cursor);
}
