//! Deleting a backup: a record says that it is gone, and then go the objects that no other backup needs.
//!
//! The record comes first, so a deletion that dies is finished by the next backup or deletion. No key is needed.

use std::sync::Arc;

use lightning_db_crypto::Keyring;

use crate::backup::remove_orphans;
use crate::catalog::Catalog;
use crate::manifest::{Record, RecordBody};
use crate::repository::Repository;
use crate::store::ObjectStore;
use crate::{BackupError, Result};

/// Deletes backup `number`, and returns how many bytes that freed. All other backups, and every commit between the oldest
/// and the newest of them, stay within reach. With a keyring, the deletion is signed; `now_micros` is when it is made.
///
/// # Errors
/// `Busy`, `BackupNotFound`, `LastBackup`; `Damaged` when some record cannot be read, since it is unknown then what is
/// in use.
pub fn delete_backup(
    store: &Arc<dyn ObjectStore>,
    number: u64,
    keyring: Option<&Keyring>,
    now_micros: i64,
) -> Result<u64> {
    Repository::open(Arc::clone(store))?;
    let _lock = store.lock()?;
    let repository = Repository::open(Arc::clone(store))?;
    let catalog = repository.catalog()?;
    catalog.backup(number)?;
    if let Some((number, error)) = catalog.unreadable().next() {
        let object = crate::layout::manifest(number);
        return Err(
            repository.damaged(&object, &format!("nothing is deleted while it cannot be read ({error})"))
        );
    }
    if catalog.backups().count() == 1 {
        return Err(BackupError::LastBackup { place: repository.place(), number });
    }
    append(&repository, &catalog, number, keyring, now_micros)?;
    // Not two of them in memory.
    drop(catalog);
    remove_orphans(&repository, &repository.catalog()?)
}

/// Records that backup `number` is gone, behind the records of `catalog`: all that there are.
pub(crate) fn append(
    repository: &Repository,
    catalog: &Catalog,
    number: u64,
    keyring: Option<&Keyring>,
    now_micros: i64,
) -> Result<()> {
    let record = Record {
        repository: repository.id(),
        number: catalog.next_number()?,
        previous: catalog.newest(),
        created_micros: now_micros,
        body: RecordBody::Deletion { backup: number },
        signer: None,
    };
    repository.append(record.number, &record.encode_deletion(keyring))
}
