//! The manifest on disk.

use std::path::Path;
use std::sync::Arc;

use lightning_db_crypto::{Entropy, Keyring};

use super::codec;
use super::types::Manifest;
use crate::directory::{self, FileRole, KEYRING_FILES, MANIFEST_FILES};
use crate::twin_file::{Loaded, TwinFile};
use crate::vfs::Vfs;
use crate::{Result, StorageError};

/// Reads and replaces the manifest of one directory.
#[derive(Debug)]
pub struct ManifestStore {
    file: TwinFile,
}

impl ManifestStore {
    /// The manifest in `directory`, which need not exist yet.
    #[must_use]
    pub fn new(vfs: Arc<dyn Vfs>, directory: &Path) -> Self {
        Self { file: TwinFile::new(vfs, directory, MANIFEST_FILES, codec::MAX_LEN) }
    }

    /// The current manifest: the newest intact of the two copies.
    ///
    /// # Errors
    /// `Corrupt` when neither copy is intact, when both are missing beside segments, and when `keyring` is older than the
    /// one beside which the manifest was written; `NotFound` when nothing is there; `UnsupportedFormat` for a newer
    /// format or an unknown feature.
    pub fn load(vfs: &Arc<dyn Vfs>, directory: &Path, keyring: &Keyring) -> Result<Loaded<Manifest>> {
        let file = TwinFile::new(Arc::clone(vfs), directory, MANIFEST_FILES, codec::MAX_LEN);
        let loaded = file.load(|path, bytes| {
            codec::from_bytes(path, bytes, keyring).map(|found| (found.0.generation, found))
        });
        match loaded {
            Ok(Loaded { value: (_, written_beside), .. }) if keyring.generation() < written_beside => {
                Err(older_keyring(directory, keyring, written_beside))
            }
            Ok(Loaded { value: (manifest, _), generation, twin_problem }) => {
                Ok(Loaded { value: manifest, generation, twin_problem })
            }
            Err(StorageError::NotFound { path }) if holds_segments(vfs, directory)? => {
                Err(StorageError::corrupt(
                    path,
                    0,
                    "both copies of the manifest are missing while segments are there",
                ))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes `manifest` the current one; durable when this returns.
    ///
    /// # Errors
    /// See [`TwinFile::commit`]: unless [`is_unsure`](Self::is_unsure), the manifest before is still the current one.
    /// `Corrupt` for a manifest that no open would accept: it is not written.
    pub fn commit(&mut self, manifest: &Manifest, keyring: &Keyring, entropy: &dyn Entropy) -> Result<()> {
        let checked = super::check::check(manifest);
        debug_assert_eq!(checked, Ok(()));
        checked.map_err(|what| StorageError::corrupt("the manifest to be written", 0, what))?;
        self.file.commit(&codec::to_bytes(manifest, keyring, entropy)?)
    }

    /// Whether a commit failed half-way: only loading again tells which manifest is current.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.file.is_unsure()
    }
}

impl Manifest {
    /// Whether this version may write to a database with these features, and not only read it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        codec::is_writable(self.features)
    }
}

/// Not a matter of one copy of the manifest, which an older copy would then stand in for.
fn older_keyring(directory: &Path, keyring: &Keyring, written_beside: u64) -> StorageError {
    let what = format!(
        "it is of generation {}, and the manifest was written beside generation {written_beside}: an older copy was put \
         in its place",
        keyring.generation()
    );
    StorageError::corrupt(directory.join(KEYRING_FILES[0]), 0, what)
}

fn holds_segments(vfs: &Arc<dyn Vfs>, directory: &Path) -> Result<bool> {
    match directory::list(&**vfs, directory) {
        Ok(entries) => Ok(entries.iter().any(|entry| matches!(entry.role, FileRole::Segment { .. }))),
        Err(StorageError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
