//! Destroying keys: what they sealed cannot be read any more, in the database, in its repositories, and in every copy that
//! is named.
//!
//! The places are gone through from the outside in, the database's own keyring last: it tells where the repositories are,
//! so after a crash another call goes on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_backup::{
    DestroyedKeys, KeyHolders, ObjectStore, Repository, destroy_epoch, destroy_keyrings, epoch_holders,
    keyring_holders,
};
use lightning_db_crypto::{DatabaseId, EpochId, KeySource, Keyring, SlotInfo};
use lightning_db_storage::StorageError;
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::ManifestStore;
use lightning_db_storage::vfs::Vfs;

use crate::backup::{Progress, store_at};
use crate::database::Database;
use crate::engine::{DataKeyInfo, lock_for_writing};
use crate::environment::Environment;
use crate::error::{Error, Result};

/// Whose keys to destroy, beside the database's own.
#[derive(Clone, Debug, Default)]
pub struct DestroyOptions {
    /// A key that opens the database. Without it the keys can be destroyed, too, but it is not known which repositories
    /// are registered.
    pub encryption_key: KeySource,
    /// Repositories beside those that are registered.
    pub repositories: Vec<PathBuf>,
    /// Directories of copies of the database.
    pub copies: Vec<PathBuf>,
}

/// One place where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// Where it is.
    pub place: PathBuf,
    /// How many keyrings there are.
    pub keyrings: usize,
    /// The backups that cannot be restored without them.
    pub backups: Vec<u64>,
    /// Why it could not be reached, or what is in it that could not be told: what is sealed there can still be read by who
    /// has a slot that opens.
    pub problem: Option<String>,
}

/// What destroying a database's keys takes along, or took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDestruction {
    /// The database's identity, as hex digits.
    pub database: String,
    /// Who could open it.
    pub slots: Vec<SlotInfo>,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Whether it is known which repositories are registered: only with a key that opens the database.
    pub repositories_known: bool,
    /// The repositories and copies.
    pub places: Vec<KeyPlace>,
}

/// What destroying one data key takes along, or took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKeyDestruction {
    /// The data key.
    pub epoch: EpochId,
    /// What needed it in the database; `None` if the database has no such key, or no longer.
    pub key: Option<DataKeyInfo>,
    /// The repositories.
    pub places: Vec<KeyPlace>,
}

impl Database {
    /// What [`destroy`](Self::destroy) would destroy. Nothing is changed.
    ///
    /// # Errors
    /// As [`destroy`](Self::destroy).
    pub fn plan_destruction(path: impl AsRef<Path>, options: &DestroyOptions) -> Result<KeyDestruction> {
        Self::plan_destruction_in(&Environment::default(), path, options)
    }

    /// As [`plan_destruction`](Self::plan_destruction), in an environment of the caller's choice.
    ///
    /// # Errors
    /// As [`destroy`](Self::destroy).
    pub fn plan_destruction_in(
        environment: &Environment,
        path: impl AsRef<Path>,
        options: &DestroyOptions,
    ) -> Result<KeyDestruction> {
        Target::look(environment, path.as_ref(), options)?.work(false)
    }

    /// Destroys all keys of a database: in its registered repositories, in those and in the copies that `options` names,
    /// and in its own directory. Keyrings are overwritten and removed. Nobody can read the data after that, but from a copy
    /// that was not reached, with a key that still opens its keyring; the report says which places were not.
    ///
    /// # Errors
    /// `NotFound`, `Locked`, `WrongKey`; `InvalidArgument` for a copy of another database, `Diverged` for a repository of
    /// another one: nothing is destroyed then. Errors of overwriting and removing: some keys may be destroyed then, and
    /// another call goes on.
    pub fn destroy(path: impl AsRef<Path>, options: &DestroyOptions) -> Result<KeyDestruction> {
        Self::destroy_in(&Environment::default(), path, options)
    }

    /// As [`destroy`](Self::destroy), in an environment of the caller's choice.
    ///
    /// # Errors
    /// As [`destroy`](Self::destroy).
    pub fn destroy_in(
        environment: &Environment,
        path: impl AsRef<Path>,
        options: &DestroyOptions,
    ) -> Result<KeyDestruction> {
        let path = path.as_ref();
        let target = Target::look(environment, path, options)?;
        let _lock = lock_for_writing(&*environment.vfs, path)?;
        // All of it is looked at before any of it is destroyed.
        target.work(false)?;
        let report = target.work(true)?;
        KeyringStore::new(Arc::clone(&environment.vfs), path).destroy()?;
        tracing::info!(directory = %path.display(), "all keys of the database were destroyed");
        Ok(report)
    }

    /// What [`destroy_data_key`](Self::destroy_data_key) would destroy. Nothing is changed.
    ///
    /// # Errors
    /// As [`destroy_data_key`](Self::destroy_data_key).
    pub fn plan_data_key_destruction(
        &self,
        epoch: EpochId,
        repositories: &[PathBuf],
    ) -> Result<DataKeyDestruction> {
        let own = self.own_key()?;
        let key = self.data_keys().into_iter().find(|key| key.epoch == epoch);
        let keyring = self.engine.ctx.keyring.read().duplicate();
        let find = |repository: &Repository| epoch_holders(repository, &keyring, Some(&*own), epoch);
        let places = self.repositories(repositories)?.into_iter();
        let places = places.map(|place| self.look_at(place, &find)).collect::<Result<Vec<_>>>()?;
        if key.is_none() && places.iter().all(|place| place.keyrings == 0) {
            return Err(Error::NotFound { what: format!("data key {epoch}") });
        }
        Ok(DataKeyDestruction { epoch, key, places })
    }

    /// Destroys a data key that is not the current one: what it sealed cannot be read any more, here and in the registered
    /// repositories and those named. Each of these gets a backup of the database as it is now; the backups that were made
    /// while the database had the key are deleted, since it is in their keyrings.
    ///
    /// Live data is never destroyed by this: [`reseal`](Self::reseal) moves it first. With `force`, named checkpoints under
    /// the key go, and log that waits for a backup that cannot be made.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for the current key, and for one that something needs; `WrongKey` if the key that the
    /// database was opened with was removed since; `Diverged`; those of backing up, and of writing files. The key is
    /// destroyed in the database before it is destroyed in repositories: another call goes on there.
    pub fn destroy_data_key(
        &self,
        epoch: EpochId,
        repositories: &[PathBuf],
        force: bool,
        progress: &dyn Progress,
    ) -> Result<DataKeyDestruction> {
        self.require_writable()?;
        let own = self.own_key()?;
        let mut plan = self.plan_data_key_destruction(epoch, repositories)?;
        let reached: Vec<bool> = plan.places.iter().map(|place| place.problem.is_none()).collect();
        if let Some(key) = &plan.key {
            refuse_live(key, force)?;
            if key.log_segments > 0 || key.waits_for_backup {
                // What waits for these is fetched, and then no longer kept.
                for (place, _) in plan.places.iter().zip(&reached).filter(|(_, reached)| **reached) {
                    self.backup_with(&place.place, progress)?;
                }
            }
            if force {
                self.engine.give_up_data_key(epoch)?;
            }
            self.engine.destroy_data_key(&*own, epoch)?;
        }
        for (place, _) in plan.places.iter_mut().zip(&reached).filter(|(_, reached)| **reached) {
            self.backup_with(&place.place, progress)?;
            let store = store_at(&self.engine.ctx.vfs, &place.place)?;
            let keyring = self.engine.ctx.keyring.read().duplicate();
            let now = self.engine.ctx.clock.now_micros();
            let DestroyedKeys { keyrings, backups, unknown } =
                destroy_epoch(&store, &keyring, Some(&*own), epoch, now)?;
            *place = KeyPlace::new(&place.place, KeyHolders { keyrings, backups, unknown });
        }
        Ok(plan)
    }

    /// The registered repositories, and those that are named.
    fn repositories(&self, named: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let registered: Vec<PathBuf> = self.engine.catalog.read(|manifest| {
            manifest.repositories.iter().map(|cursor| PathBuf::from(&cursor.url_hint)).collect()
        });
        Ok(joined(&*self.engine.ctx.vfs, registered, named))
    }

    fn look_at(
        &self,
        place: PathBuf,
        find: &dyn Fn(&Repository) -> lightning_db_backup::Result<KeyHolders>,
    ) -> Result<KeyPlace> {
        reach(&self.engine.ctx.vfs, place, |store| find(&Repository::open(store)?))
    }
}

fn refuse_live(key: &DataKeyInfo, force: bool) -> Result<()> {
    let refused = |what: String| Err(Error::InvalidArgument { argument: "epoch", reason: what });
    if key.is_current {
        return refused("it is the current data key: rotate first".into());
    }
    if key.live_bytes > 0 {
        return refused(format!(
            "it is still needed ({key}): move the live data to the current key first (`reseal`)"
        ));
    }
    if !key.checkpoints.is_empty() && !force {
        return refused(format!("it is still needed ({key}): drop these, or force it"));
    }
    Ok(())
}

impl KeyPlace {
    fn new(place: &Path, holders: KeyHolders) -> Self {
        let KeyHolders { keyrings, backups, unknown } = holders;
        let problem = (!unknown.is_empty())
            .then(|| format!("no key that was given opens {}, so these were left", unknown.join(", ")));
        Self { place: place.to_path_buf(), keyrings: keyrings.len(), backups, problem }
    }
}

/// Works on a repository; one that is not there is told in the result.
fn reach(
    vfs: &Arc<dyn Vfs>,
    place: PathBuf,
    work: impl FnOnce(Arc<dyn ObjectStore>) -> lightning_db_backup::Result<KeyHolders>,
) -> Result<KeyPlace> {
    let outcome = store_at(vfs, &place).and_then(|store| Ok(work(store)?));
    match outcome {
        Ok(holders) => Ok(KeyPlace::new(&place, holders)),
        Err(error @ (Error::NotFound { .. } | Error::Io { .. })) => {
            let problem = Some(format!("it was not reached: {error}"));
            Ok(KeyPlace { place, keyrings: 0, backups: Vec::new(), problem })
        }
        Err(error) => Err(error),
    }
}

/// All of them, each once.
fn joined(vfs: &dyn Vfs, mut places: Vec<PathBuf>, named: &[PathBuf]) -> Vec<PathBuf> {
    let absolute = |path: &Path| {
        let bare = path.to_str().and_then(|text| text.strip_prefix("file://")).map_or(path, Path::new);
        std::path::absolute(bare).unwrap_or_else(|_| bare.to_path_buf())
    };
    for place in named {
        if places.iter().all(|known| absolute(known) != absolute(place)) {
            places.push(place.clone());
        }
    }
    // One that moved is registered under its old name, too; the new one was named.
    let is_there = |place: &PathBuf| vfs.metadata(&absolute(place)).is_ok();
    places.sort_by_key(|place| !is_there(place));
    places
}

/// A database whose keys are to be destroyed.
struct Target<'a> {
    environment: &'a Environment,
    path: &'a Path,
    database: DatabaseId,
    slots: Vec<SlotInfo>,
    repositories: Vec<PathBuf>,
    repositories_known: bool,
    copies: Vec<PathBuf>,
}

impl<'a> Target<'a> {
    fn look(environment: &'a Environment, path: &'a Path, options: &DestroyOptions) -> Result<Self> {
        let vfs = &environment.vfs;
        let store = KeyringStore::new(Arc::clone(vfs), path);
        let (info, bytes) = store.peek().map_err(|error| no_database(error, path))?.value;
        let registered = match options.encryption_key.resolve()? {
            None if info.encrypted() => None,
            provider => {
                let keyring = Keyring::open(&bytes, provider.as_deref());
                let keyring = keyring.map_err(|error| Error::from_crypto(error, path))?;
                ManifestStore::load(vfs, path, &keyring).ok().map(|loaded| loaded.value.repositories)
            }
        };
        let repositories_known = registered.is_some();
        let places = registered.into_iter().flatten().map(|cursor| PathBuf::from(cursor.url_hint));
        let repositories = joined(&**vfs, places.collect(), &options.repositories);
        let mut copies = options.copies.clone();
        copies.extend(leftovers(&**vfs, path));
        let target = Self {
            environment,
            path,
            database: info.database,
            slots: info.slots,
            repositories,
            repositories_known,
            copies,
        };
        target.require_copies()?;
        Ok(target)
    }

    /// A copy that is named must be one.
    fn require_copies(&self) -> Result<()> {
        for copy in &self.copies {
            let (info, _) = self.keyring(copy).peek().map_err(|error| no_database(error, copy))?.value;
            if info.database != self.database {
                let reason = format!("{} is of another database, {}", copy.display(), info.database);
                return Err(Error::InvalidArgument { argument: "copies", reason });
            }
        }
        Ok(())
    }

    fn keyring(&self, directory: &Path) -> KeyringStore {
        KeyringStore::new(Arc::clone(&self.environment.vfs), directory)
    }

    /// Tells what is there, and destroys it, if it is to be done. The database's own keyring stays.
    fn work(&self, is_to_be_done: bool) -> Result<KeyDestruction> {
        let vfs = &self.environment.vfs;
        let mut places = Vec::new();
        for repository in &self.repositories {
            places.push(reach(vfs, repository.clone(), |store| {
                if is_to_be_done {
                    let DestroyedKeys { keyrings, backups, unknown } =
                        destroy_keyrings(&store, self.database)?;
                    return Ok(KeyHolders { keyrings, backups, unknown });
                }
                keyring_holders(&Repository::open(store)?, self.database)
            })?);
        }
        for copy in &self.copies {
            if is_to_be_done {
                let _lock = lock_for_writing(&**vfs, copy)?;
                self.keyring(copy).destroy()?;
            }
            places.push(KeyPlace { place: copy.clone(), keyrings: 1, backups: Vec::new(), problem: None });
        }
        let entries = vfs.list(self.path).map_err(|error| StorageError::io("list", self.path, error))?;
        Ok(KeyDestruction {
            database: self.database.to_string(),
            slots: self.slots.clone(),
            file_bytes: entries.iter().map(|entry| entry.len).sum(),
            repositories_known: self.repositories_known,
            places,
        })
    }
}

/// What a copy or a restore that died left beside the database: it has the keyring, too.
fn leftovers(vfs: &dyn Vfs, path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_left = |entry: &str| {
        let rest = entry.strip_prefix(&name);
        rest.is_some_and(|rest| rest.starts_with(".creating-") || rest.starts_with(".restoring-"))
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    let entries = vfs.list(parent).unwrap_or_default().into_iter();
    let found =
        entries.filter(|entry| entry.is_dir && is_left(&entry.name)).map(|entry| parent.join(entry.name));
    let has_keyring = |place: &PathBuf| match vfs.metadata(&place.join("KEYRING")) {
        Err(error) => error.kind() != ErrorKind::NotFound,
        Ok(_) => true,
    };
    found.filter(has_keyring).collect()
}

fn no_database(error: StorageError, path: &Path) -> Error {
    match error {
        StorageError::NotFound { .. } => Error::NotFound { what: format!("a keyring in {}", path.display()) },
        StorageError::Crypto(error) => Error::from_crypto(error, path),
        error => error.into(),
    }
}
