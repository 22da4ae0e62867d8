//! Verifying a repository: from whether everything is there to whether everything can be restored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_backup::{
    BackupError, Catalog, Level, NoProgress, Repository, VerifyReport, open_keyring, open_segments, verify,
    whole_log,
};
use lightning_db_crypto::{KeySource, PublicKey};
use lightning_db_recovery::check::{self, CheckReport, Depth, Place};
use lightning_db_recovery::{History, Known, Moment};
use lightning_db_storage::Incarnation;
use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::segment::SealContext;
use lightning_db_storage::wal::LogSource;

use crate::backup::{BackupSummary, Progress, store_at};
use crate::database::Database;
use crate::engine::tell_use;
use crate::environment::Environment;
use crate::error::repository::interval_of_backup;
use crate::error::{Error, ReachableInterval, Result};
use crate::restore::{RecoveryTarget, RestoreOptions, legs, repository_context};

/// How deep a verification of a repository goes. Each level does what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifyLevel {
    /// 1: every object that a backup needs is there, and as long as it should be.
    Presence = 1,
    /// 2: the bytes of every object are those that were signed for. No key is needed up to here.
    Hashes = 2,
    /// 3: every page, pointer, value and filter of every backup opens and adds up, and every commit in the log.
    Contents = 3,
    /// 4: every backup is restored to a scratch directory, and the result is checked in full.
    Restore = 4,
}

/// What to verify, and how deep.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// How deep; unless told, [`VerifyLevel::Contents`] with a key, and [`VerifyLevel::Hashes`] without one.
    pub level: Option<VerifyLevel>,
    /// A key that opens the backups; none for those of a database that is not encrypted.
    pub encryption_key: KeySource,
    /// The key that must have signed every record, see [`Database::public_key`]. Unless told, it is the one that signed the
    /// oldest: a repository that was made up from start to end passes then.
    pub public_key: Option<PublicKey>,
    /// The directory in which scratch copies are made at level 4; unless told, the system's directory for temporary
    /// files. A restored database needs as much room as the original.
    pub scratch: Option<PathBuf>,
}

/// What a verification covered, and what it found.
#[derive(Clone, Debug)]
pub struct RepositoryReport {
    /// How deep it went.
    pub level: VerifyLevel,
    /// Who must have signed the records: the key that was asked for, or the one that signed the oldest.
    pub signer: Option<PublicKey>,
    /// The backups that there are.
    pub backups: Vec<BackupSummary>,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Bytes that were read and hashed.
    pub hashed_bytes: u64,
    /// Pages that were opened.
    pub pages: u64,
    /// Entries in them.
    pub entries: u64,
    /// Commits that were read in the log.
    pub log_commits: u64,
    /// Backups that were restored to scratch and checked.
    pub restored: u64,
    /// Bytes of objects that no backup needs; the next backup removes them.
    pub orphan_bytes: u64,
    /// What can be restored, by history.
    pub reachable: Vec<ReachableInterval>,
    /// What is wrong; empty if nothing is.
    pub problems: Vec<RepositoryProblem>,
}

/// Something that is wrong with a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryProblem {
    /// The object or file.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The backups that it affects.
    pub backups: Vec<u64>,
}

impl RepositoryReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, object: impl Into<String>, what: impl Into<String>, backups: Vec<u64>) {
        self.problems.push(RepositoryProblem { object: object.into(), what: what.into(), backups });
    }

    fn absorb(&mut self, report: CheckReport, backup: u64) {
        self.pages += report.covered.pages;
        self.entries += report.covered.entries;
        for finding in
            report.findings.into_iter().filter(|finding| finding.severity == check::Severity::Error)
        {
            self.problem(finding.file.display().to_string(), finding.what, vec![backup]);
        }
    }
}

impl Database {
    /// Verifies a repository. What is wrong does not end it: everything is looked at, and all problems are reported.
    ///
    /// # Errors
    /// `NotFound` when there is no repository; `WrongKey`, `KeyRequired`, `NotEncrypted` when the contents are to be looked
    /// at; errors of reading other than damage. Damage is in the report.
    pub fn verify_repository(
        repository: impl AsRef<Path>,
        options: VerifyOptions,
    ) -> Result<RepositoryReport> {
        Self::verify_repository_with(&Environment::default(), repository, options, &NoProgress)
    }

    /// As [`verify_repository`](Self::verify_repository), in an environment of the caller's choice, telling how far it is.
    ///
    /// # Errors
    /// As [`verify_repository`](Self::verify_repository).
    pub fn verify_repository_with(
        environment: &Environment,
        repository: impl AsRef<Path>,
        options: VerifyOptions,
        progress: &dyn Progress,
    ) -> Result<RepositoryReport> {
        let default =
            if options.encryption_key.is_none() { VerifyLevel::Hashes } else { VerifyLevel::Contents };
        let level = options.level.unwrap_or(default);
        let place = repository.as_ref();
        let _span = tracing::info_span!("verify", repository = %place.display(), ?level).entered();
        let repository = Repository::open(store_at(&environment.vfs, place)?)?;
        let depth = if level == VerifyLevel::Presence { Level::Presence } else { Level::Hashes };
        let mut report = report_of(level, verify(&repository, depth, options.public_key, progress)?);
        if level >= VerifyLevel::Contents {
            let contents = Contents::open(environment, &repository, &options.encryption_key);
            tell_use(place, "verified", &contents);
            contents?.verify(&mut report, progress)?;
        }
        if level >= VerifyLevel::Restore {
            for backup in report.backups.clone() {
                restore_and_check(environment, place, &options, backup.number, &mut report, progress)?;
            }
        }
        Ok(report)
    }
}

fn report_of(level: VerifyLevel, found: VerifyReport) -> RepositoryReport {
    let problem = |problem: lightning_db_backup::Problem| RepositoryProblem {
        object: problem.object,
        what: problem.what,
        backups: problem.backups,
    };
    RepositoryReport {
        level,
        signer: found.signer,
        backups: found.backups,
        objects: found.objects,
        bytes: found.bytes,
        hashed_bytes: found.hashed_bytes,
        pages: 0,
        entries: 0,
        log_commits: 0,
        restored: 0,
        orphan_bytes: found.orphan_bytes,
        reachable: found.reachable.into_iter().map(interval_of_backup).collect(),
        problems: found.problems.into_iter().map(problem).collect(),
    }
}

/// A repository with the key to it.
struct Contents<'a> {
    repository: &'a Repository,
    catalog: Catalog,
    ctx: Arc<SealContext>,
}

impl<'a> Contents<'a> {
    fn open(environment: &Environment, repository: &'a Repository, key: &KeySource) -> Result<Self> {
        let catalog = repository.catalog()?;
        let keyring = open_keyring(repository, &catalog, key.resolve()?.as_deref())?;
        catalog.require_signer(keyring.public_key())?;
        let ctx = Arc::new(repository_context(environment, repository, keyring));
        Ok(Self { repository, catalog, ctx })
    }

    fn verify(&self, report: &mut RepositoryReport, progress: &dyn Progress) -> Result<()> {
        let backups: Vec<u64> = self.catalog.backups().map(|(number, ..)| number).collect();
        for (done, number) in backups.iter().enumerate() {
            progress.advance("backups", done as u64, backups.len() as u64);
            let found = self.version(*number).and_then(|version| self.trees(&version));
            match found {
                Ok(found) => report.absorb(found, *number),
                Err(error) => note(error, vec![*number], report)?,
            }
        }
        for incarnation in self.catalog.incarnations() {
            match self.log(incarnation) {
                Ok(commits) => report.log_commits += commits,
                Err(error) => note(error, Vec::new(), report)?,
            }
        }
        Ok(())
    }

    fn version(&self, number: u64) -> Result<Manifest> {
        let (entry, _) = self.catalog.backup(number)?;
        let place = self.repository.place();
        let version = entry.record.open(&place, &self.ctx.keyring.read())?;
        version.ok_or_else(|| BackupError::BackupNotFound { place, number }.into())
    }

    fn trees(&self, version: &Manifest) -> Result<CheckReport> {
        let Some(segments) = open_segments(self.repository, &self.ctx, version)? else {
            return Ok(CheckReport::default());
        };
        let hasher = self.ctx.keyring.read().content_hasher();
        Ok(check::check_trees(&segments, version, &hasher, Depth::Deep, &|_| true)?)
    }

    /// Reads every commit of a history's log that can be replayed, and returns how many there are.
    fn log(&self, incarnation: Incarnation) -> Result<u64> {
        let Some((number, planned)) = whole_log(&self.catalog, incarnation) else { return Ok(0) };
        let version = self.version(number)?;
        let known = Known {
            start: Moment {
                incarnation: version.incarnation,
                sequence: version.flushed_sequence,
                time_micros: version.flushed_time_micros,
            },
            gaps: version.gaps.clone(),
            restore_points: Vec::new(),
            complete_until_micros: None,
        };
        let mut history = History::new(&known, legs(self.repository, &self.ctx, &planned));
        while history.next_event()?.is_some() {}
        Ok(history.finish()?.commits)
    }
}

/// Damage is reported; everything else ends the verification.
fn note(error: Error, backups: Vec<u64>, report: &mut RepositoryReport) -> Result<()> {
    match error {
        Error::Corrupt { file, what, .. } => report.problem(file.display().to_string(), what, backups),
        Error::NotFound { what } => report.problem(what, "it is missing", backups),
        other => return Err(other),
    }
    Ok(())
}

/// Restores a backup to a scratch directory, checks the result, and removes it.
fn restore_and_check(
    environment: &Environment,
    repository: &Path,
    options: &VerifyOptions,
    number: u64,
    report: &mut RepositoryReport,
    progress: &dyn Progress,
) -> Result<()> {
    let mut random = [0; 8];
    environment.entropy.fill(&mut random)?;
    let folder = options.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = folder.join(format!("lightning-verify-{:016x}", u64::from_le_bytes(random)));
    let restore = RestoreOptions {
        target: RecoveryTarget::Backup(number),
        encryption_key: options.encryption_key.clone(),
        public_key: options.public_key,
        ..Default::default()
    };
    match Database::restore_with(environment, repository, &scratch, restore, progress) {
        Ok(_) => {}
        Err(error) => return note(error, vec![number], report),
    }
    let checked = check_restored(environment, &scratch, &options.encryption_key);
    crate::restore::remove_scratch(&*environment.vfs, &scratch);
    report.absorb(checked?, number);
    report.restored += 1;
    Ok(())
}

fn check_restored(environment: &Environment, directory: &Path, key: &KeySource) -> Result<CheckReport> {
    let provider = key.resolve()?;
    let place = Place {
        vfs: Arc::clone(&environment.vfs),
        directory,
        provider: provider.as_deref(),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
    };
    Ok(check::check_directory(&place, Depth::Deep, &|_| true)?)
}
