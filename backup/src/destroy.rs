//! Destroying keys in a repository: what they sealed cannot be read from it any more.
//!
//! A keyring in a repository is an object of its own, so it can be destroyed beside the backups that name it. A data key is
//! in every keyring that was made while the database had it. To destroy one, all of these go, and with them the backups
//! that were made beside them; a newer backup, made after the database destroyed its own copy, is what remains.

use std::collections::BTreeSet;
use std::sync::Arc;

use lightning_db_crypto::{CryptoError, DatabaseId, EpochId, KeyProvider, Keyring};

use crate::backup::remove_orphans;
use crate::catalog::Catalog;
use crate::plan::read_keyring;
use crate::repository::Repository;
use crate::store::ObjectStore;
use crate::{BackupError, Result, layout};

/// What has a key, in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHolders {
    /// The keyrings, by the names of their objects.
    pub keyrings: Vec<String>,
    /// The backups that cannot be restored without them.
    pub backups: Vec<u64>,
    /// Keyrings of which it cannot be told, because no key that was given opens them.
    pub unknown: Vec<String>,
}

/// What was destroyed in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestroyedKeys {
    /// Keyrings that were overwritten and removed.
    pub keyrings: Vec<String>,
    /// Backups that can no longer be restored; of a whole database they stay as ciphertext that nobody can read.
    pub backups: Vec<u64>,
    /// Keyrings that were left, because no key that was given tells what is in them.
    pub unknown: Vec<String>,
}

/// All keyrings of a repository, and its backups.
///
/// # Errors
/// `OtherDatabase`, and what reading gives.
pub fn keyring_holders(repository: &Repository, database: DatabaseId) -> Result<KeyHolders> {
    let catalog = repository.catalog()?;
    require_database(repository, &catalog, database)?;
    let keyrings = repository.store().list(layout::KEYRINGS)?.into_iter().map(|object| object.name).collect();
    let backups = catalog.backups().map(|(number, ..)| number).collect();
    Ok(KeyHolders { keyrings, backups, unknown: Vec::new() })
}

/// The keyrings of a repository that have a data key, and the backups that were made beside them. `keyring` is the
/// database's own; one that it does not open is opened by `provider`.
///
/// # Errors
/// `OtherDatabase`, and what reading gives; that a keyring is damaged or missing is none, since no key is in it.
pub fn epoch_holders(
    repository: &Repository,
    keyring: &Keyring,
    provider: Option<&dyn KeyProvider>,
    epoch: EpochId,
) -> Result<KeyHolders> {
    let catalog = repository.catalog()?;
    require_database(repository, &catalog, keyring.database_id())?;
    let mut found = KeyHolders::default();
    let (mut holding, mut looked) = (BTreeSet::new(), BTreeSet::new());
    for (_, backup) in catalog.all_backups() {
        let name = backup.keyring.name();
        if !looked.insert(name.clone()) {
            continue;
        }
        let bytes = match read_keyring(repository, &backup.keyring) {
            Ok(bytes) => bytes,
            Err(BackupError::Missing { .. } | BackupError::Damaged { .. }) => continue,
            Err(error) => return Err(error),
        };
        match opened(keyring, &bytes, provider) {
            Some(other) if other.epochs().iter().any(|known| known.id == epoch) => {
                holding.insert(name);
            }
            Some(_) => {}
            None => found.unknown.push(name),
        }
    }
    let of_these = catalog.backups().filter(|(_, _, backup)| holding.contains(&backup.keyring.name()));
    found.backups = of_these.map(|(number, ..)| number).collect();
    found.keyrings = holding.into_iter().collect();
    Ok(found)
}

fn opened(keyring: &Keyring, bytes: &[u8], provider: Option<&dyn KeyProvider>) -> Option<Keyring> {
    match keyring.open_relative(bytes) {
        Err(CryptoError::WrongKey { .. }) => Keyring::open(bytes, provider).ok(),
        other => other.ok(),
    }
}

/// Destroys every keyring of a repository. Nothing in it can be read after that.
///
/// # Errors
/// `Busy`, `OtherDatabase`, and what the system reports: some keyrings may be gone then, and another call goes on.
pub fn destroy_keyrings(store: &Arc<dyn ObjectStore>, database: DatabaseId) -> Result<DestroyedKeys> {
    Repository::open(Arc::clone(store))?;
    let _lock = store.lock()?;
    let repository = Repository::open(Arc::clone(store))?;
    let KeyHolders { keyrings, backups, unknown } = keyring_holders(&repository, database)?;
    keyrings.iter().try_for_each(|name| store.destroy(name))?;
    Ok(DestroyedKeys { keyrings, backups, unknown })
}

/// Destroys a data key in a repository: every keyring that has it, and the backups that were made beside them. The newest
/// backup must have been made after the database destroyed its own copy of the key.
///
/// # Errors
/// `Busy`, `OtherDatabase`; `InvalidOption` if the newest backup still has the key; `Damaged` when some record cannot be
/// read, since it is unknown then what is in use; what the system reports: another call goes on then.
pub fn destroy_epoch(
    store: &Arc<dyn ObjectStore>,
    keyring: &Keyring,
    provider: Option<&dyn KeyProvider>,
    epoch: EpochId,
    now_micros: i64,
) -> Result<DestroyedKeys> {
    Repository::open(Arc::clone(store))?;
    let _lock = store.lock()?;
    let repository = Repository::open(Arc::clone(store))?;
    let KeyHolders { keyrings, backups, unknown } = epoch_holders(&repository, keyring, provider, epoch)?;
    let catalog = repository.catalog()?;
    let newest = catalog.backups().next_back().map(|(number, ..)| number);
    if newest.is_none_or(|newest| backups.contains(&newest)) && !backups.is_empty() {
        let what = format!("the newest backup of {} has data key {epoch}: back up first", repository.place());
        return Err(BackupError::InvalidOption(what));
    }
    if let Some((number, error)) = catalog.unreadable().next() {
        let what = format!("nothing is destroyed while it cannot be read ({error})");
        return Err(repository.damaged(&layout::manifest(number), &what));
    }
    for number in &backups {
        crate::prune::append(&repository, &repository.catalog()?, *number, Some(keyring), now_micros)?;
    }
    keyrings.iter().try_for_each(|name| store.destroy(name))?;
    remove_orphans(&repository, &repository.catalog()?)?;
    Ok(DestroyedKeys { keyrings, backups, unknown })
}

fn require_database(repository: &Repository, catalog: &Catalog, own: DatabaseId) -> Result<()> {
    match catalog.all_backups().find(|(_, backup)| backup.database != own) {
        Some((_, other)) => {
            Err(BackupError::OtherDatabase { place: repository.place(), held: other.database, own })
        }
        None => Ok(()),
    }
}
