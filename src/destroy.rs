//! Destroying keys: what they sealed cannot be read any more, in the database, in its repositories, and in every copy that
//! is named.
//!
//! The places are gone through from the outside in, the database's own keyring last: it tells where the repositories are,
//! so after a crash another call goes on.

mod data_key;
mod place;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_backup::{Repository, destroy_keyrings, keyring_holders};
use lightning_db_crypto::{DatabaseId, KeySource, Keyring, SlotInfo};
use lightning_db_storage::StorageError;
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::ManifestStore;
use lightning_db_storage::vfs::Vfs;

pub use data_key::{DataKeyDestruction, DestroyDataKeyOptions};
pub use place::KeyPlace;
use place::{joined, reach};

use crate::database::Database;
use crate::engine::lock_for_writing;
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
                    return destroy_keyrings(&store, self.database);
                }
                keyring_holders(&Repository::open(store)?, self.database)
            })?);
        }
        for copy in &self.copies {
            if is_to_be_done {
                let _lock = lock_for_writing(&**vfs, copy)?;
                self.keyring(copy).destroy()?;
            }
            places.push(KeyPlace { place: copy.clone(), keyrings: 1, ..KeyPlace::default() });
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
