//! Backing up: the engine's files and log into a repository.

use std::path::{Component, Path};
use std::sync::Arc;
use std::time::SystemTime;

use lightning_db_backup::{BackupInput, DirectoryStore, ObjectStore, Repository, VersionKind, run_backup};
use lightning_db_storage::SequenceNumber;
use lightning_db_storage::audit::AuditEvent;
use lightning_db_storage::vfs::Vfs;

pub use lightning_db_backup::{BackupSummary, NoProgress, Phase, Progress};

use crate::database::Database;
use crate::engine::About;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::time::system_time;

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The backup's number, by which it is restored or deleted.
    pub backup: u64,
    /// The repository's identity, as hex digits.
    pub repository: String,
    /// The newest commit that it holds.
    pub sequence: SequenceNumber,
    /// The time up to which there was no later commit.
    pub time: SystemTime,
    /// Bytes of segments that were copied: what changed since the backup before.
    pub segment_bytes: u64,
    /// Bytes of log that were copied, by which every commit up to now can be reached.
    pub log_bytes: u64,
    /// Bytes of all segments of this backup, with those that were in the repository already.
    pub total_bytes: u64,
    /// Whether it took over the trees of the backup before it, with what was flushed since; otherwise it holds the
    /// present trees.
    pub is_continued: bool,
    /// Commits that no restore can stop at, as intervals (the last commit before, the last commit of it): their log was
    /// given up before this backup came to fetch it.
    pub lost_log: Vec<(SequenceNumber, SequenceNumber)>,
    /// The number of the newest backup that this database knew of, if the repository had only older ones: somebody set it
    /// back, or deleted from it behind its back. What is missing cannot be restored; this backup is whole.
    pub set_back_from: Option<u64>,
    /// How long each phase took.
    pub phases: Vec<Phase>,
}

impl Database {
    /// Backs the database up into the repository at this path, which is made if nothing is there. The first backup is
    /// full; later ones copy only what the repository lacks. Reads and writes go on meanwhile. Everything committed
    /// before the call is in the backup.
    ///
    /// From its first backup on, a repository is registered: log that it has not fetched is kept, up to
    /// `max_retained_log`.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let (path, repo) = (directory.path().join("mydb"), directory.path().join("repo"));
    /// # let restored = directory.path().join("restored");
    /// use lightning_db::{Database, LightningDbConfig, RestoreOptions};
    ///
    /// let db = Database::create(&path, LightningDbConfig::default())?;
    /// db.put(b"key", b"value")?;
    /// db.backup(&repo)?;
    /// Database::restore(&repo, &restored, RestoreOptions::default())?;
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Diverged` when the repository belongs to another database, or to another copy of this one that went its own way;
    /// `AlreadyExists` when something else is there; `Locked` while another backup writes to it; `Corrupt` for damage found
    /// in the database, which is not backed up; `ReadOnly`, `Closed`, `DiskFull` and other I/O errors. After any of them
    /// the repository has the backups that it had.
    pub fn backup(&self, repository: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(repository, &NoProgress)
    }

    /// As [`backup`](Self::backup), telling how far it is.
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    pub fn backup_with(&self, repository: impl AsRef<Path>, progress: &dyn Progress) -> Result<BackupReport> {
        self.require_writable()?;
        refuse_own_directory(&self.engine.ctx.directory, repository.as_ref())?;
        if repository.as_ref().to_str().is_none() {
            let reason = "its path is remembered as text: choose one that is UTF-8".to_owned();
            return Err(Error::InvalidArgument { argument: "repository", reason });
        }
        let store = store_at(&self.engine.ctx.vfs, repository.as_ref())?;
        back_up_into(self, &store, progress)
    }

    /// The backups in a repository, oldest first. No key is needed.
    ///
    /// # Errors
    /// `NotFound` when there is no repository; `Corrupt` when its records cannot be read.
    pub fn list_backups(repository: impl AsRef<Path>) -> Result<Vec<BackupSummary>> {
        Self::list_backups_in(&Environment::default(), repository)
    }

    /// As [`list_backups`](Self::list_backups), in an environment of the caller's choice.
    ///
    /// # Errors
    /// As [`list_backups`](Self::list_backups).
    pub fn list_backups_in(
        environment: &Environment,
        repository: impl AsRef<Path>,
    ) -> Result<Vec<BackupSummary>> {
        let store = store_at(&environment.vfs, repository.as_ref())?;
        Ok(Repository::open(store)?.catalog()?.summaries())
    }

    /// Deletes a backup, and returns how many bytes that freed. The others, and every commit between the oldest and the
    /// newest of them, stay within reach. No key is needed.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for the only backup of a repository; `Locked` while a backup is made; `Corrupt` when
    /// some record cannot be read, since it is not known then what is in use.
    pub fn delete_backup(repository: impl AsRef<Path>, backup: u64) -> Result<u64> {
        Self::delete_backup_in(&Environment::default(), repository, backup)
    }

    /// As [`delete_backup`](Self::delete_backup), in an environment of the caller's choice.
    ///
    /// # Errors
    /// As [`delete_backup`](Self::delete_backup).
    pub fn delete_backup_in(
        environment: &Environment,
        repository: impl AsRef<Path>,
        backup: u64,
    ) -> Result<u64> {
        let store = store_at(&environment.vfs, repository.as_ref())?;
        let now = environment.clock.now_micros();
        Ok(lightning_db_backup::delete_backup(&store, backup, None, now)?)
    }
}

fn back_up_into(
    db: &Database,
    store: &Arc<dyn ObjectStore>,
    progress: &dyn Progress,
) -> Result<BackupReport> {
    let _span = tracing::info_span!("backup", sequence = db.last_sequence().0).entered();
    let view = db.engine.backup_view()?;
    let input = BackupInput {
        ctx: &db.engine.ctx,
        manifest: &view.manifest,
        durable: view.durable,
        as_of_micros: view.as_of_micros,
    };
    let announce = |cursor| {
        // The keyring is there, the backup does not count yet; the manifest that follows names the entry.
        let detail = format!("into the repository {}", store.place());
        db.engine.note(AuditEvent::Exported, About { detail, ..About::default() });
        db.engine.announce_backup(cursor)
    };
    let done = run_backup(&input, store, progress, announce)?;
    db.engine.note_backup(view, done.cursor)?;
    let lost = |lost: lightning_db_backup::LostLog| (lost.after, lost.through);
    Ok(BackupReport {
        backup: done.backup,
        repository: done.repository.to_string(),
        sequence: done.sequence,
        time: system_time(done.as_of_micros),
        segment_bytes: done.segment_bytes,
        log_bytes: done.log_bytes,
        total_bytes: done.total_bytes,
        is_continued: done.version == VersionKind::Continued,
        lost_log: done.lost_log.into_iter().map(lost).collect(),
        set_back_from: done.set_back_from,
        phases: done.phases,
    })
}

/// Refuses a repository inside the database's directory: whatever destroys the one would destroy the other.
fn refuse_own_directory(directory: &Path, place: &Path) -> Result<()> {
    let place = place.to_str().and_then(|text| text.strip_prefix("file://")).map_or(place, Path::new);
    let (Ok(directory), Ok(whole)) = (std::path::absolute(directory), std::path::absolute(place)) else {
        return Ok(());
    };
    let Ok(inside) = whole.strip_prefix(&directory) else { return Ok(()) };
    let is_below = inside.components().all(|part| matches!(part, Component::Normal(_)));
    if !is_below || inside.as_os_str().is_empty() {
        return Ok(());
    }
    let reason = format!(
        "{} is inside the database's directory and would be lost with it: choose a place elsewhere",
        place.display()
    );
    Err(Error::InvalidArgument { argument: "repository", reason })
}

/// The objects of the repository at `place`: a path, or a URL that begins with `file://`.
///
/// # Errors
/// `InvalidArgument` for a URL of another kind.
pub(crate) fn store_at(vfs: &Arc<dyn Vfs>, place: &Path) -> Result<Arc<dyn ObjectStore>> {
    let path = match place.to_str().and_then(|text| text.split_once("://")) {
        Some(("file", path)) => Path::new(path),
        Some((scheme, _)) => {
            let reason =
                format!("{scheme}:// is no place for a repository in this version: give a directory");
            return Err(Error::InvalidArgument { argument: "repository", reason });
        }
        None => place,
    };
    Ok(Arc::new(DirectoryStore::new(Arc::clone(vfs), path)))
}

#[cfg(test)]
mod tests;
