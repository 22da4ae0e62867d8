//! Destroying keys in a repository: what they sealed cannot be read from it any more.
//!
//! A keyring in a repository is an object of its own, so it can be destroyed beside the backups that name it. A data key is
//! in every keyring that was made while the database had it. To destroy one, all of these go, and with them the backups
//! that were made beside them; a newer backup, made after the database destroyed its own copy, is what remains.

use std::collections::BTreeSet;
use std::sync::Arc;

use lightning_db_crypto::{CryptoError, DatabaseId, EpochId, KeyProvider, Keyring, MAX_KEYRING_LEN};

use crate::backup::remove_orphans;
use crate::catalog::Catalog;
use crate::repository::{Repository, read_object};
use crate::store::{ObjectStore, WriterLock};
use crate::{BackupError, Result, layout};

/// What has a key, in a repository; after a destruction, what was destroyed there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHolders {
    /// The keyrings, by the names of their objects.
    pub keyrings: Vec<String>,
    /// The backups that cannot be restored without them.
    pub backups: Vec<u64>,
    /// Keyrings of which it cannot be told, because no key that was given opens them. They are left.
    pub unknown: Vec<String>,
    /// The backups that were made beside those.
    pub unknown_backups: Vec<u64>,
}

/// What tells which data keys a keyring has.
#[derive(Clone, Copy, Debug)]
pub struct KnownKeys<'a> {
    /// The database's own keyring: it opens those of the same master key.
    pub keyring: &'a Keyring,
    /// Keys that open the others.
    pub providers: &'a [&'a dyn KeyProvider],
    /// Keyrings that none of these opens count as holding whatever is looked for.
    pub unknown_too: bool,
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
    Ok(KeyHolders { keyrings, backups, ..KeyHolders::default() })
}

/// The keyrings of a repository that have a data key, and the backups that were made beside them.
///
/// # Errors
/// `OtherDatabase`, what reading gives, and what a key service gives that does not answer; that a keyring is missing is no
/// error, since no key is in it, and one that is damaged is unknown.
pub fn epoch_holders(repository: &Repository, keys: &KnownKeys<'_>, epoch: EpochId) -> Result<KeyHolders> {
    let catalog = repository.catalog()?;
    require_database(repository, &catalog, keys.keyring.database_id())?;
    let (mut holding, mut unknown, mut looked) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (_, backup) in catalog.all_backups() {
        let name = backup.keyring.name();
        if !looked.insert(name.clone()) {
            continue;
        }
        let opened = match read_object(&**repository.store(), &name, MAX_KEYRING_LEN as u64) {
            // A destruction that died overwrote it.
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => continue,
            Ok(bytes) => keys.open(&bytes)?,
            Err(BackupError::Missing { .. }) => continue,
            Err(BackupError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        match opened {
            Some(other) if other.epochs().iter().all(|known| known.id != epoch) => {}
            None if !keys.unknown_too => _ = unknown.insert(name),
            _ => _ = holding.insert(name),
        }
    }
    let beside = |names: &BTreeSet<String>| -> Vec<u64> {
        let of_these = catalog.backups().filter(|(_, _, backup)| names.contains(&backup.keyring.name()));
        of_these.map(|(number, ..)| number).collect()
    };
    Ok(KeyHolders {
        backups: beside(&holding),
        unknown_backups: beside(&unknown),
        keyrings: holding.into_iter().collect(),
        unknown: unknown.into_iter().collect(),
    })
}

impl KnownKeys<'_> {
    /// A keyring that one of the keys opens; none if none does.
    fn open(&self, bytes: &[u8]) -> Result<Option<Keyring>> {
        if let Ok(keyring) = self.keyring.open_relative(bytes) {
            return Ok(Some(keyring));
        }
        for provider in self.providers {
            match Keyring::open(bytes, Some(*provider)) {
                Ok(keyring) => return Ok(Some(keyring)),
                // That it does not open it cannot be said then.
                Err(error @ (CryptoError::Unreachable { .. } | CryptoError::Refused { .. })) => {
                    return Err(error.into());
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

/// A repository in which all keys are to be destroyed. Nobody writes to it meanwhile.
#[derive(Debug)]
pub struct Doomed {
    repository: Repository,
    database: DatabaseId,
    _lock: Box<dyn WriterLock>,
}

impl Doomed {
    /// Takes the writers' lock of a repository of this database.
    ///
    /// # Errors
    /// `Busy`, `OtherDatabase`, and what reading gives. Nothing is destroyed yet.
    pub fn new(store: Arc<dyn ObjectStore>, database: DatabaseId) -> Result<Self> {
        Repository::open(Arc::clone(&store))?;
        let lock = store.lock()?;
        let repository = Repository::open(store)?;
        keyring_holders(&repository, database)?;
        Ok(Self { repository, database, _lock: lock })
    }

    /// Destroys every keyring. Nothing in the repository can be read after that.
    ///
    /// # Errors
    /// What the system reports: some keyrings may be gone then, and another call goes on.
    pub fn destroy(self) -> Result<KeyHolders> {
        let holders = keyring_holders(&self.repository, self.database)?;
        holders.keyrings.iter().try_for_each(|name| self.repository.store().destroy(name))?;
        Ok(holders)
    }
}

/// Destroys a data key in a repository: every keyring that has it, and the backups that were made beside them. The newest
/// backup must have been made after the database destroyed its own copy of the key.
///
/// # Errors
/// `Busy`, `OtherDatabase`; `InvalidOption` if the newest backup still has the key; `Damaged` when some record cannot be
/// read, since it is unknown then what is in use; as [`epoch_holders`]; what the system reports: another call goes on then.
pub fn destroy_epoch(
    store: &Arc<dyn ObjectStore>,
    keys: &KnownKeys<'_>,
    epoch: EpochId,
    now_micros: i64,
) -> Result<KeyHolders> {
    Repository::open(Arc::clone(store))?;
    let _lock = store.lock()?;
    let repository = Repository::open(Arc::clone(store))?;
    let holders = epoch_holders(&repository, keys, epoch)?;
    let catalog = repository.catalog()?;
    let newest = catalog.backups().next_back().map(|(number, ..)| number);
    if newest.is_none_or(|newest| holders.backups.contains(&newest)) && !holders.backups.is_empty() {
        let what = format!("the newest backup of {} has data key {epoch}: back up first", repository.place());
        return Err(BackupError::InvalidOption(what));
    }
    if let Some((number, error)) = catalog.unreadable().next() {
        let what = format!("nothing is destroyed while it cannot be read ({error})");
        return Err(repository.damaged(&layout::manifest(number), &what));
    }
    for number in &holders.backups {
        crate::prune::append(&repository, &repository.catalog()?, *number, Some(keys.keyring), now_micros)?;
    }
    holders.keyrings.iter().try_for_each(|name| store.destroy(name))?;
    remove_orphans(&repository, &repository.catalog()?)?;
    Ok(holders)
}

fn require_database(repository: &Repository, catalog: &Catalog, own: DatabaseId) -> Result<()> {
    match catalog.all_backups().find(|(_, backup)| backup.database != own) {
        Some((_, other)) => {
            Err(BackupError::OtherDatabase { place: repository.place(), held: other.database, own })
        }
        None => Ok(()),
    }
}
