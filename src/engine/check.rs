//! Checking the files of a database while it is in use.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lightning_db_recovery::check::{CheckReport, Depth, Use, Watch, check_database};
use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::segment::SegmentKind;
use lightning_db_storage::wal::WalPosition;

use super::Engine;
use crate::error::{Error, Result};

impl Engine {
    /// Checks all files of the database as it is now. Reading and writing go on meanwhile.
    ///
    /// # Errors
    /// `Closed`; `Cancelled` when `watch` said so. Damage is in the report.
    pub(crate) fn check_files(&self, depth: Depth, watch: Watch<'_>) -> Result<CheckReport> {
        if self.health.is_closed() {
            return Err(Error::Closed);
        }
        // The version keeps the segments of its manifest from being deleted.
        let (manifest, _version) = self.commits.at_log_end(|end| {
            self.catalog.read(|manifest| (ended_at(manifest.clone(), end), self.versions.current()))
        });
        let mut report = check_database(&self.ctx, &manifest, Use::Open, depth, watch)?;
        // Nothing keeps log segments: those that were retired meanwhile are not missed.
        let (before, now) =
            (self.log_paths(&manifest), self.catalog.read(|manifest| self.log_paths(manifest)));
        report.retract(|finding| before.contains(&finding.file) && !now.contains(&finding.file));
        Ok(report)
    }

    fn log_paths(&self, manifest: &Manifest) -> BTreeSet<PathBuf> {
        manifest.wal.iter().map(|info| self.ctx.segment_path(SegmentKind::Wal, info.id)).collect()
    }
}

/// The manifest with a log that ends where it has been written to.
fn ended_at(mut manifest: Manifest, end: Option<WalPosition>) -> Manifest {
    let active = end.and_then(|end| manifest.wal.iter().position(|info| info.id == end.segment));
    if let Some(active) = active {
        manifest.wal.truncate(active + 1);
        manifest.wal[active].accepted_through = end;
    }
    manifest
}
