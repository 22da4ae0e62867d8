//! Restoring: files and log out of a repository become a database.
//!
//! ```text
//! plan | DIR.restoring-… made | segments, keyring, manifest | log replayed | new incarnation | synced | renamed to DIR
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use lightning_db_backup::{
    Goal, Phase, Phases, PlannedLeg, Repository, RestorePlan, Target, Wanted, materialise, plan, replay_leg,
};
use lightning_db_crypto::{KeySource, Keyring, PublicKey};
use lightning_db_recovery::{Aim, History, Known, Leg, Moment, Reached, ReplayTarget, Stop, locate};
use lightning_db_storage::directory;
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{
    ArchivedThrough, Fork, Lineage, Manifest, ManifestStore, RepositoryCursor, RestorePoint,
};
use lightning_db_storage::segment::{SaltCount, SealContext};
use lightning_db_storage::vfs::Vfs;
use lightning_db_storage::{FrameNumber, Incarnation, SequenceNumber, StorageError};
use lightning_db_sync::RwLock;

use crate::backup::{NoProgress, Progress, store_at};
use crate::config::LightningDbConfig;
use crate::database::Database;
use crate::engine::{Engine, tell_use};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::time::{system_time, unix_micros};

/// The moment to restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RecoveryTarget {
    /// The newest commit that the repository has.
    #[default]
    Latest,
    /// The state that this backup took.
    Backup(u64),
    /// The state after this commit.
    Sequence(SequenceNumber),
    /// The longest run of commits of which none is later.
    Time(SystemTime),
    /// The restore point of this name.
    Name(String),
}

/// What to restore, and with which key.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// The moment.
    pub target: RecoveryTarget,
    /// A key that opened the database when it was backed up; none for a database that is not encrypted.
    pub encryption_key: KeySource,
    /// Stop before the target: before that commit, before that time, before the commit that precedes the named point.
    pub exclusive: bool,
    /// The history that is meant, where several have the target.
    pub incarnation: Option<Incarnation>,
    /// The key that must have signed every record, see [`Database::public_key`]. A keyring that `encryption_key` opens
    /// vouches for it too: it is a database that is not encrypted for which only this tells a repository that somebody
    /// else made up.
    pub public_key: Option<PublicKey>,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// The newest commit of the restored database.
    pub sequence: SequenceNumber,
    /// The time of that commit.
    pub time: SystemTime,
    /// The history that the commit is in. The restored database begins a new one there.
    pub restored_from: Incarnation,
    /// The history that the restored database begins.
    pub incarnation: Incarnation,
    /// The backup that it was restored from.
    pub backup: u64,
    /// How many commits were replayed on top of it.
    pub commits: u64,
    /// Bytes that were copied from the repository.
    pub bytes: u64,
    /// How long each phase took.
    pub phases: Vec<Phase>,
}

impl Database {
    /// Restores a database from a repository into the directory `target`, which must not exist or be empty. The result is
    /// exactly the commits up to the target, and the beginning of a new history. It is built beside the target and put in
    /// its place when it is complete and synced.
    ///
    /// # Errors
    /// `AlreadyExists` when something is in the target; `NotFound` for a repository or a backup that is not there;
    /// `WrongKey`, `KeyRequired`, `NotEncrypted`; `TargetNotReachable`, `TargetAmbiguous`: another moment is never taken
    /// instead; `Corrupt` when something in the repository is damaged; `DiskFull` and other I/O errors. After any of them
    /// nothing is left behind.
    pub fn restore(
        repository: impl AsRef<Path>,
        target: impl AsRef<Path>,
        options: RestoreOptions,
    ) -> Result<RestoreReport> {
        Self::restore_with(&Environment::default(), repository, target, options, &NoProgress)
    }

    /// As [`restore`](Self::restore), in an environment of the caller's choice, telling how far it is.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn restore_with(
        environment: &Environment,
        repository: impl AsRef<Path>,
        target: impl AsRef<Path>,
        options: RestoreOptions,
        progress: &dyn Progress,
    ) -> Result<RestoreReport> {
        let mut phases = Phases::start(&*environment.clock);
        let target = target.as_ref();
        let _span = tracing::info_span!("restore", directory = %target.display()).entered();
        require_free(&*environment.vfs, target)?;
        let repository = Repository::open(store_at(&environment.vfs, repository.as_ref())?)?;
        let provider = options.encryption_key.resolve()?;
        let plan = plan(&repository, &options.wanted(), provider.as_deref()).map_err(Error::from);
        tell_use(target, "restored", &plan);
        let plan = plan?;
        phases.end("plan");
        let scratch = make_scratch(environment, target)?;
        let restore = Restore { environment, repository: &repository, options: &options, plan: &plan };
        let restored = restore
            .build(&scratch, progress, &mut phases)
            .and_then(|done| put_in_place(&*environment.vfs, &scratch, target).map(|()| done));
        let Built { reached, incarnation, bytes } =
            restored.inspect_err(|_| remove_scratch(&*environment.vfs, &scratch))?;
        phases.end("finish");
        Ok(RestoreReport {
            sequence: reached.moment.sequence,
            time: system_time(reached.moment.time_micros),
            restored_from: reached.moment.incarnation,
            incarnation,
            backup: plan.backup,
            commits: reached.commits,
            bytes,
            phases: phases.finish(),
        })
    }
}

impl RestoreOptions {
    fn wanted(&self) -> Wanted {
        let target = match &self.target {
            RecoveryTarget::Latest => Target::Latest,
            RecoveryTarget::Backup(number) => Target::Backup(*number),
            RecoveryTarget::Sequence(sequence) => Target::Sequence(*sequence),
            RecoveryTarget::Time(time) => Target::Time(unix_micros(*time)),
            RecoveryTarget::Name(name) => Target::Name(name.clone()),
        };
        let Self { exclusive, incarnation, public_key: signer, .. } = *self;
        Wanted { target, exclusive, incarnation, signer }
    }
}

struct Restore<'a> {
    environment: &'a Environment,
    repository: &'a Repository,
    options: &'a RestoreOptions,
    plan: &'a RestorePlan,
}

struct Built {
    reached: Reached,
    incarnation: Incarnation,
    bytes: u64,
}

impl Restore<'_> {
    /// Makes a whole database in the empty directory `scratch`.
    fn build(&self, scratch: &Path, progress: &dyn Progress, phases: &mut Phases<'_>) -> Result<Built> {
        let Environment { vfs, entropy, .. } = self.environment;
        let segment_bytes = materialise(self.repository, self.plan, vfs, scratch, progress)?;
        let mut incarnation = [0; 16];
        entropy.fill(&mut incarnation)?;
        let incarnation = Incarnation(incarnation);
        let version = Manifest {
            generation: self.plan.version.generation.next(),
            incarnation,
            ..self.plan.version.clone()
        };
        // A data key that nothing here is sealed with may be one that was destroyed since.
        let keyring = self.plan.keyring.narrowed(&version.segments.iter().map(|info| info.epoch).collect());
        KeyringStore::new(Arc::clone(vfs), scratch).commit(&keyring, &**entropy)?;
        ManifestStore::new(Arc::clone(vfs), scratch).commit(&version, &keyring, &**entropy)?;
        phases.end("copy");
        let reached = Engine::replay_restored(
            scratch,
            self.config(),
            self.environment,
            || self.history(),
            |manifest, reached| self.enter_history(manifest, &reached.moment),
        )?;
        phases.end("replay");
        let pieces = self.plan.legs.iter().flat_map(|leg| &leg.pieces);
        let bytes = segment_bytes + pieces.map(|piece| piece.length).sum::<u64>();
        Ok(Built { reached, incarnation, bytes })
    }

    fn config(&self) -> LightningDbConfig {
        let default = LightningDbConfig::default();
        let page_size = usize::try_from(self.plan.version.page_size).unwrap_or(default.page_size);
        LightningDbConfig {
            encryption_enabled: !self.options.encryption_key.is_none(),
            encryption_key: self.options.encryption_key.clone(),
            page_size,
            background_compaction: false,
            ..default
        }
    }

    /// The log from the backup to the goal.
    fn history(&self) -> Result<History> {
        let keyring = self.plan.keyring.duplicate();
        let ctx = Arc::new(repository_context(self.environment, self.repository, keyring));
        let version = &self.plan.version;
        let known = Known {
            start: Moment {
                incarnation: version.incarnation,
                sequence: version.flushed_sequence,
                time_micros: version.flushed_time_micros,
            },
            gaps: version.gaps.clone(),
            restore_points: Vec::new(),
            complete_until_micros: Some(self.plan.complete_until_micros),
        };
        let stop = match self.plan.goal {
            Goal::Sequence(sequence) => Stop { moment: Moment { sequence, ..known.start }, last_point: None },
            Goal::Time { micros, exclusive } => {
                let aim = Aim { target: ReplayTarget::Time(micros), exclusive };
                locate(&mut History::new(&known, self.legs(&ctx)), &known, &aim)?
            }
        };
        Ok(History::new(&known, self.legs(&ctx)).until(stop))
    }

    /// The restored database is a new history, which left the one that it was restored from at `end`. From there on its
    /// log is kept for the repository, so that no commit is out of reach between `end` and its first backup.
    fn enter_history(&self, manifest: &mut Manifest, end: &Moment) {
        let plan = self.plan;
        let of_ancestors = plan.ancestry.iter().take_while(|fork| fork.incarnation != end.incarnation);
        manifest.ancestry = of_ancestors.copied().collect();
        manifest.ancestry.push(Fork {
            incarnation: end.incarnation,
            sequence: end.sequence,
            time_micros: end.time_micros,
            next: end.sequence,
        });
        // Everything is in the trees; the last step may have been one that changes nothing.
        manifest.flushed_sequence = end.sequence;
        let is_past = |point: &&RestorePoint| {
            manifest
                .ancestry
                .iter()
                .any(|fork| fork.incarnation == point.incarnation && point.sequence <= fork.sequence)
        };
        manifest.restore_points = plan.restore_points.iter().filter(is_past).cloned().collect();
        manifest.repositories = vec![RepositoryCursor {
            repository: self.repository.id().0,
            url_hint: self.repository.store().address(),
            last_backup: plan.backup,
            archived: Some(ArchivedThrough {
                incarnation: end.incarnation,
                // Of the log of that history this database has nothing to compare.
                frame: FrameNumber(0),
                tag: [0; 16],
                sequence: end.sequence,
                time_micros: end.time_micros,
            }),
            announced: None,
            announced_trees: None,
            lineage: Lineage::Rebase,
        }];
    }

    fn legs(&self, ctx: &Arc<SealContext>) -> Vec<Leg> {
        legs(self.repository, ctx, &self.plan.legs)
    }
}

/// Planned legs with the log that they are made of.
pub(crate) fn legs(repository: &Repository, ctx: &Arc<SealContext>, planned: &[PlannedLeg]) -> Vec<Leg> {
    let leg = |leg: &PlannedLeg| Leg {
        incarnation: leg.incarnation,
        after: leg.after,
        through: leg.through,
        source: Box::new(replay_leg(repository, Arc::clone(ctx), leg)),
    };
    planned.iter().map(leg).collect()
}

/// What the objects of a repository are opened with.
pub(crate) fn repository_context(
    environment: &Environment,
    repository: &Repository,
    keyring: Keyring,
) -> SealContext {
    SealContext {
        vfs: Arc::clone(&environment.vfs),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        suite: Arc::clone(keyring.suite()),
        database: keyring.database_id(),
        keyring: Arc::new(RwLock::new(keyring)),
        incarnation: Incarnation::default().into(),
        directory: PathBuf::from(repository.place()),
        salts: SaltCount::default(),
    }
}

/// Refuses a target that has anything in it.
fn require_free(vfs: &dyn Vfs, target: &Path) -> Result<()> {
    if target.file_name().is_none() {
        let reason = format!("{} is no name for a new directory", target.display());
        return Err(Error::InvalidArgument { argument: "target", reason });
    }
    let is_free = match vfs.metadata(target) {
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(StorageError::io("look at", target, error).into()),
        Ok(metadata) if !metadata.is_dir => false,
        Ok(_) => vfs.list(target).map_err(|error| StorageError::io("list", target, error))?.is_empty(),
    };
    if is_free { Ok(()) } else { Err(Error::AlreadyExists { what: target.display().to_string() }) }
}

/// An empty directory beside the target, under a name that nothing else has.
fn make_scratch(environment: &Environment, target: &Path) -> Result<PathBuf> {
    let mut random = [0; 8];
    environment.entropy.fill(&mut random)?;
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".restoring-{:016x}", u64::from_le_bytes(random)));
    let scratch = target.with_file_name(name);
    environment.vfs.create_dir(&scratch).map_err(|error| StorageError::io("create", &scratch, error))?;
    Ok(scratch)
}

fn put_in_place(vfs: &dyn Vfs, scratch: &Path, target: &Path) -> Result<()> {
    vfs.sync_dir(scratch).map_err(|error| StorageError::io("sync", scratch, error))?;
    // An empty directory may be there, and a directory is not renamed onto another.
    match vfs.remove_dir(target) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(StorageError::io("replace", target, error).into()),
    }
    vfs.rename(scratch, target).map_err(|error| StorageError::io("create", target, error))?;
    let parent = target.parent().unwrap_or(Path::new(""));
    vfs.sync_dir(parent).map_err(|error| StorageError::io("sync", parent, error).into())
}

/// Removes what a failed restore made.
pub(crate) fn remove_scratch(vfs: &dyn Vfs, scratch: &Path) {
    for entry in vfs.list(scratch).unwrap_or_default() {
        let path = scratch.join(&entry.name);
        if let Err(error) = directory::remove(vfs, &path) {
            tracing::warn!(file = %path.display(), %error, "could not remove a file of a failed restore");
        }
    }
    if let Err(error) = vfs.remove_dir(scratch)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(directory = %scratch.display(), %error, "could not remove what a failed restore made");
    }
}
