//! Checking a database: every file, every page and pointer, every commit in the log. It reads only, and does not stop at
//! the first damage.
//!
//! ```text
//! files.rs    the directory, both copies of keyring and manifest, headers, lengths and hashes of segments
//! trees.rs    pages, pointers, entries, digests, large values, filters, and what the manifest says about them
//! log.rs      frames, their chain, and that it goes on from what the trees hold
//! ```

mod files;
mod log;
mod report;
#[cfg(test)]
mod tests;
mod trees;

use std::path::Path;
use std::sync::Arc;

use lightning_db_crypto::{Entropy, KeyProvider};
use lightning_db_storage::clock::Clock;
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{Manifest, ManifestStore};
use lightning_db_storage::segment::{SaltCount, SealContext};
use lightning_db_storage::vfs::Vfs;
use lightning_db_storage::{Result, StorageError};
use lightning_db_sync::RwLock;

pub use report::{CheckReport, Covered, Finding, Severity};
pub use trees::check_trees;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Whether everything is there: files, headers, lengths, the root and the filter of each tree, the log.
    Quick,
    /// Every byte that counts.
    Deep,
}

/// Whether somebody works with the database meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nobody does: every file must have its place in the manifest.
    Closed,
    /// Somebody does: files come and go.
    Open,
}

/// What a check is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Reading files as a whole.
    #[default]
    Files,
    /// Walking trees. Large values are not part of the total.
    Trees,
    /// Reading the log.
    Log,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The present phase; each comes once, in order.
    pub phase: Phase,
    /// Bytes of it that are done.
    pub done: u64,
    /// Bytes of it in all, about.
    pub total: u64,
}

/// Told how far a check is; false stops it.
pub type Watch<'a> = &'a (dyn Fn(Progress) -> bool + Sync);

/// Where a database is that nobody has open, and what reading it takes.
#[derive(Debug)]
pub struct Place<'a> {
    /// All file I/O. Nothing is written.
    pub vfs: Arc<dyn Vfs>,
    /// The directory.
    pub directory: &'a Path,
    /// The key, or none for a database that is not encrypted.
    pub provider: Option<&'a dyn KeyProvider>,
    /// The time, for what is told of progress only.
    pub clock: Arc<dyn Clock>,
    /// Random bytes; none are used.
    pub entropy: Arc<dyn Entropy>,
}

/// Checks a database that is not open.
///
/// # Errors
/// `NotFound` when there is no database, `WrongKey`, `KeyRequired`, `NotEncrypted`, `UnsupportedFormat`; `Cancelled`.
/// Damage is in the report.
pub fn check_directory(place: &Place<'_>, depth: Depth, watch: Watch<'_>) -> Result<CheckReport> {
    let Place { vfs, directory, provider, .. } = place;
    files::require_database(&**vfs, directory)?;
    let keyring = match KeyringStore::new(Arc::clone(vfs), directory).load(*provider) {
        Ok(loaded) => loaded.value,
        Err(error) => return unreadable(error),
    };
    let manifest = match ManifestStore::load(vfs, directory, &keyring) {
        Ok(loaded) => loaded.value,
        Err(error) => return unreadable(error),
    };
    let ctx = SealContext {
        vfs: Arc::clone(vfs),
        clock: Arc::clone(&place.clock),
        entropy: Arc::clone(&place.entropy),
        suite: Arc::clone(keyring.suite()),
        database: keyring.database_id(),
        keyring: Arc::new(RwLock::new(keyring)),
        incarnation: manifest.incarnation.into(),
        directory: directory.to_path_buf(),
        salts: SaltCount::default(),
    };
    check_database(&ctx, &manifest, Use::Closed, depth, watch)
}

/// Checks the files that `manifest` describes. Of a database that is open, give the manifest with the end of each log
/// segment as far as it is written, and keep the segments from being deleted meanwhile.
///
/// # Errors
/// `Cancelled` when `watch` said so. Damage is in the report.
pub fn check_database(
    ctx: &SealContext,
    manifest: &Manifest,
    usage: Use,
    depth: Depth,
    watch: Watch<'_>,
) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    files::check_directory_entries(ctx, manifest, usage, &mut report);
    files::check_twins(ctx, &mut report);
    files::check_audit(ctx, manifest, usage, &mut report);
    let segments = files::check_segments(ctx, manifest, depth, watch, &mut report)?;
    let hasher = ctx.keyring.read().content_hasher();
    let mut walked = trees::walk_trees(&segments, manifest, &hasher, depth, watch)?;
    walked.check_live_bytes(manifest);
    report.phase = Phase::Trees;
    report.absorb(walked.report);
    report.phase = Phase::Log;
    log::check_log(ctx, manifest, watch, &mut report)?;
    Ok(report)
}

/// Without keyring or manifest nothing else can be told; damage to them is all that the report has.
fn unreadable(error: StorageError) -> Result<CheckReport> {
    match error {
        StorageError::Corrupt { .. } | StorageError::NotFound { .. } => {
            let mut report = CheckReport::default();
            report.error(error);
            Ok(report)
        }
        other => Err(other),
    }
}

/// Tells `watch` how far it is.
fn step(watch: Watch<'_>, phase: Phase, done: u64, total: u64) -> Result<()> {
    if watch(Progress { phase, done, total }) { Ok(()) } else { Err(StorageError::Cancelled) }
}
