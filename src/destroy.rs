//! Destroying keys: what they sealed cannot be read any more, in the database, in its repositories, and in every copy that
//! is named.
//!
//! The places are gone through from the outside in, the database's own keyring last: it tells where the repositories are,
//! so after a crash another call goes on.

mod data_key;
mod place;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_backup::{Doomed, Repository, keyring_holders};
use lightning_db_crypto::{DatabaseId, KeySource, Keyring, SlotInfo};
use lightning_db_storage::StorageError;
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::ManifestStore;
use lightning_db_storage::vfs::FileLock;

pub use data_key::{DataKeyDestruction, DestroyDataKeyOptions};
pub use place::KeyPlace;
use place::{Candidate, joined, reach};

use crate::backup::store_at;
use crate::database::Database;
use crate::engine::{lock_for_writing, tell_use};
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
    /// Directories of copies of the database. What a copy or a restore that died left beside the database goes without being
    /// named.
    pub copies: Vec<PathBuf>,
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
        Target::look(environment, path.as_ref(), options)?.plan()
    }

    /// Destroys all keys of a database: in its registered repositories, in those and in the copies that `options` names,
    /// and in its own directory. Keyrings are overwritten and removed. Nobody can read the data after that, but from a copy
    /// that was not reached, with a key that still opens its keyring; the report says which places were not.
    ///
    /// # Errors
    /// `NotFound`; `Locked` while the database or a copy is in use, or a backup is made; `WrongKey`; `InvalidArgument` for a
    /// copy of another database, `Diverged` for a repository of another one: nothing is destroyed then. Errors of overwriting and removing: some keys may be destroyed then, and
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
        let destroyed = Target::look(environment, path, options).and_then(|target| {
            // All of it is looked at and locked before any of it is destroyed.
            let plan = target.plan()?;
            let locked = target.lock(&plan)?;
            target.destroy(plan, locked)
        });
        tell_use(path, "all_keys_destroyed", &destroyed);
        destroyed
    }
}

/// A database whose keys are to be destroyed.
struct Target<'a> {
    environment: &'a Environment,
    path: &'a Path,
    database: DatabaseId,
    slots: Vec<SlotInfo>,
    repositories: Vec<Candidate>,
    repositories_known: bool,
    copies: Vec<PathBuf>,
}

/// What nobody else may use meanwhile: the database and the copies, and the repositories that were reached, in their order.
struct Locked {
    _directories: Vec<Box<dyn FileLock>>,
    repositories: Vec<Doomed>,
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
        let places = registered.into_iter().flatten().map(|cursor| cursor.url_hint);
        let repositories = joined(&**vfs, places, &options.repositories);
        let mut target = Self {
            environment,
            path,
            database: info.database,
            slots: info.slots,
            repositories,
            repositories_known,
            copies: options.copies.clone(),
        };
        target.require_copies()?;
        target.copies.extend(target.leftovers()?);
        Ok(target)
    }

    /// A copy that is named must be one, or a directory from which the keyring is gone: an earlier call may have died.
    fn require_copies(&self) -> Result<()> {
        for copy in &self.copies {
            let is_directory = self.environment.vfs.metadata(copy).is_ok_and(|found| found.is_dir);
            if !is_directory {
                return Err(Error::NotFound { what: format!("the copy {}", copy.display()) });
            }
            let found = self.keyring(copy).databases()?;
            if let Some(other) = found.into_iter().find(|database| *database != self.database) {
                let reason = format!("{} is of another database, {other}", copy.display());
                return Err(Error::InvalidArgument { argument: "copies", reason });
            }
        }
        Ok(())
    }

    /// What a copy or a restore of this database that died left beside it, whatever its name was to be: there is a keyring
    /// in it, too.
    fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let is_left = |name: &str| name.contains(".creating-") || name.contains(".restoring-");
        let parent = self.path.parent().unwrap_or(Path::new(""));
        let entries = self.environment.vfs.list(parent).unwrap_or_default().into_iter();
        let mut found = Vec::new();
        for entry in entries.filter(|entry| entry.is_dir && is_left(&entry.name)) {
            let place = parent.join(entry.name);
            if !self.copies.contains(&place) && self.keyring(&place).databases()?.contains(&self.database) {
                found.push(place);
            }
        }
        Ok(found)
    }

    fn keyring(&self, directory: &Path) -> KeyringStore {
        KeyringStore::new(Arc::clone(&self.environment.vfs), directory)
    }

    /// Tells what is there.
    fn plan(&self) -> Result<KeyDestruction> {
        let vfs = &self.environment.vfs;
        let mut places = Vec::new();
        for repository in &self.repositories {
            places.push(reach(vfs, repository, |store| {
                keyring_holders(&Repository::open(store)?, self.database)
            })?);
        }
        for copy in &self.copies {
            let keyrings = usize::from(!self.keyring(copy).databases()?.is_empty());
            places.push(KeyPlace { place: copy.clone(), keyrings, ..KeyPlace::default() });
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

    fn lock(&self, plan: &KeyDestruction) -> Result<Locked> {
        let vfs = &self.environment.vfs;
        let directories = std::iter::once(self.path).chain(self.copies.iter().map(PathBuf::as_path));
        let directories = directories.map(|path| lock_for_writing(&**vfs, path)).collect::<Result<_>>()?;
        let mut repositories = Vec::new();
        for place in
            plan.places.iter().take(self.repositories.len()).filter(|place| place.unreached.is_none())
        {
            repositories.push(Doomed::new(store_at(vfs, &place.place)?, self.database)?);
        }
        Ok(Locked { _directories: directories, repositories })
    }

    /// Does what was planned.
    fn destroy(&self, mut plan: KeyDestruction, locked: Locked) -> Result<KeyDestruction> {
        let reached =
            plan.places.iter_mut().take(self.repositories.len()).filter(|place| place.unreached.is_none());
        for (place, repository) in reached.zip(locked.repositories) {
            *place = KeyPlace::of(std::mem::take(&mut place.place), repository.destroy()?);
        }
        for copy in &self.copies {
            self.keyring(copy).destroy()?;
        }
        self.keyring(self.path).destroy()?;
        Ok(plan)
    }
}

fn no_database(error: StorageError, path: &Path) -> Error {
    match error {
        StorageError::NotFound { .. } => Error::NotFound { what: format!("a keyring in {}", path.display()) },
        StorageError::Crypto(error) => Error::from_crypto(error, path),
        error => error.into(),
    }
}
