//! What a database keeps for ever because a backup somewhere may need it, told from what must not grow: a data key for each
//! rotation, an entry for each step back to a checkpoint, the restore points.

use std::path::Path;
use std::sync::Arc;

use lightning_db::KeySource;
use lightning_db_crypto::Keyring;
use lightning_db_storage::StorageError;
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{Manifest, ManifestStore};
use lightning_db_storage::vfs::{OsVfs, Vfs};

use super::{Outcome, Soak};

/// What a data key takes in a keyring, in bytes.
const EPOCH_LEN: u64 = 80;

/// How often the files are read again when they are replaced meanwhile.
const TRIES: usize = 20;

/// What a manifest and a keyring hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Data keys.
    pub(super) epochs: u64,
    /// Steps from one history to the next that led here.
    pub(super) forks: u64,
    pub(super) restore_points: u64,
    /// Intervals of history without log.
    pub(super) gaps: u64,
    /// Bytes of the manifest without these three lists, before it is sealed.
    pub(super) manifest: u64,
    /// Bytes of the keyring without its data keys.
    pub(super) keyring: u64,
}

impl Soak {
    pub(super) fn kept(&self) -> Outcome<Kept> {
        read(&self.path("db"), &self.config.encryption_key)
    }
}

/// Reads the files beside whoever replaces them. The manifest may have been written beside a keyring that was not there yet
/// when that was read.
fn read(directory: &Path, key: &KeySource) -> Outcome<Kept> {
    let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
    let key = key.resolve().map_err(|error| format!("the key: {error}"))?;
    let once = || -> Result<Kept, StorageError> {
        let store = KeyringStore::new(Arc::clone(&vfs), directory);
        let (_, bytes) = store.peek()?.value;
        let keyring = Keyring::open(&bytes, key.as_deref())?;
        let manifest = ManifestStore::load(&vfs, directory, &keyring)?.value;
        let epochs = keyring.epochs().len() as u64;
        Ok(Kept::of(manifest, epochs, bytes.len() as u64 - epochs * EPOCH_LEN))
    };
    let mut found = once();
    for _ in 1..TRIES {
        if found.is_ok() {
            break;
        }
        found = once();
    }
    found.map_err(|error| format!("manifest and keyring: {error}"))
}

impl Kept {
    fn of(mut manifest: Manifest, epochs: u64, keyring: u64) -> Self {
        let count = |len: usize| len as u64;
        let (forks, gaps) = (count(manifest.ancestry.len()), count(manifest.gaps.len()));
        let restore_points = count(manifest.restore_points.len());
        manifest.ancestry.clear();
        manifest.checkpoints.iter_mut().for_each(|checkpoint| checkpoint.ancestry.clear());
        manifest.gaps.clear();
        manifest.restore_points.clear();
        Self { epochs, forks, restore_points, gaps, manifest: count(manifest.to_plain().len()), keyring }
    }
}
