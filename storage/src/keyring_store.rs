//! The keyring on disk: sealed by the crypto crate, kept here as two copies.

use std::path::Path;
use std::sync::Arc;

use lightning_db_crypto::{
    CryptoError, DatabaseId, Entropy, KeyProvider, Keyring, KeyringInfo, MAX_KEYRING_LEN, peek,
};

use crate::directory::KEYRING_FILES;
use crate::twin_file::{Loaded, TwinFile};
use crate::vfs::Vfs;
use crate::{Generation, Result, StorageError};

/// Reads and replaces the keyring of one directory.
#[derive(Debug)]
pub struct KeyringStore {
    file: TwinFile,
}

impl KeyringStore {
    /// The keyring in `directory`, which need not exist yet.
    #[must_use]
    pub fn new(vfs: Arc<dyn Vfs>, directory: &Path) -> Self {
        Self { file: TwinFile::secret(vfs, directory, KEYRING_FILES, MAX_KEYRING_LEN as u64) }
    }

    /// What the keyring says without a key, and its bytes.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Corrupt` when both copies are damaged.
    pub fn peek(&self) -> Result<Loaded<(KeyringInfo, Vec<u8>)>> {
        self.file.load(|path, bytes| {
            let info = peek(bytes).map_err(|error| damage(path, error))?;
            Ok((Generation(info.generation), (info, bytes.to_vec())))
        })
    }

    /// Of which databases there are keyrings here: under their names, or on the way there when somebody died.
    ///
    /// # Errors
    /// What the system reports; that one is missing or damaged is none.
    pub fn databases(&self) -> Result<Vec<DatabaseId>> {
        let whole = self.file.everything()?;
        Ok(whole.iter().filter_map(|bytes| peek(bytes).ok()).map(|info| info.database).collect())
    }

    /// Opens the keyring with `provider`, or without a key when the database is not encrypted.
    ///
    /// # Errors
    /// As [`peek`](Self::peek); `WrongKey`, `KeyRequired`, `NotEncrypted`.
    pub fn load(&self, provider: Option<&dyn KeyProvider>) -> Result<Loaded<Keyring>> {
        // The newest copy whose checksum holds is chosen first, so that the (slow) key derivation runs once.
        let Loaded { value: (path, bytes), generation, twin_problem } = self.file.load(|path, bytes| {
            let info = peek(bytes).map_err(|error| damage(path, error))?;
            Ok((Generation(info.generation), (path.to_path_buf(), bytes.to_vec())))
        })?;
        let value = Keyring::open(&bytes, provider).map_err(|error| damage(&path, error))?;
        Ok(Loaded { value, generation, twin_problem })
    }

    /// Makes `keyring` the current one; durable when this returns. What it replaces is overwritten: a key or a slot that is
    /// not in it any more is to be nowhere.
    ///
    /// # Errors
    /// See [`TwinFile::commit`].
    pub fn commit(&mut self, keyring: &Keyring, entropy: &dyn Entropy) -> Result<()> {
        self.file.commit(&keyring.to_bytes(entropy)?)
    }

    /// Destroys the keyring: nobody can open the database after that. Returns the names of the files that were there.
    ///
    /// # Errors
    /// See [`TwinFile::destroy`].
    pub fn destroy(&self) -> Result<Vec<String>> {
        self.file.destroy()
    }
}

/// Damage to a keyring's bytes is damage to that file; all else is about the key.
fn damage(path: &Path, error: CryptoError) -> StorageError {
    match error {
        CryptoError::Malformed { .. } => StorageError::corrupt(path, 0, error.to_string()),
        other => StorageError::Crypto(other),
    }
}

#[cfg(test)]
mod tests {
    use lightning_db_crypto::{KeySource, SeededEntropy};

    use super::*;
    use crate::vfs::{MemVfs, OpenHow};

    #[test]
    fn a_wrong_key_is_told_from_damage_and_from_no_keyring() {
        let memory = MemVfs::new();
        let directory = Path::new("/db");
        memory.create_dir(directory).expect("new directory");
        let mut store = KeyringStore::new(Arc::new(memory.clone()), directory);
        let entropy = SeededEntropy::new(1);
        let provider = |byte| KeySource::raw([byte; 32]).resolve().expect("a raw key");
        let load = |byte: u8| store.load(provider(byte).as_deref());
        assert!(matches!(load(1), Err(StorageError::NotFound { .. })));

        let keyring =
            Keyring::create(provider(1).as_deref(), DatabaseId([2; 16]), &entropy, 0).expect("keyring");
        store.commit(&keyring, &entropy).expect("commit");
        let load = |byte: u8| store.load(provider(byte).as_deref());
        assert_eq!(load(1).expect("the right key").value.database_id(), DatabaseId([2; 16]));
        assert!(matches!(load(2), Err(StorageError::Crypto(CryptoError::WrongKey { .. }))));
        assert!(matches!(store.load(None), Err(StorageError::Crypto(CryptoError::KeyRequired))));

        memory.corrupt(&directory.join("KEYRING"), 40, 1).expect("inside the file");
        let healed = load(1).expect("the twin is intact");
        assert!(healed.twin_problem.is_some());
        memory.corrupt(&directory.join("KEYRING.2"), 41, 1).expect("inside the file");
        for byte in [1, 2] {
            assert!(matches!(load(byte), Err(StorageError::Corrupt { .. })), "damage, whatever the key");
        }
    }

    #[test]
    fn damage_behind_the_checksum_is_named_after_the_copy_that_was_taken() {
        let memory = MemVfs::new();
        let directory = Path::new("/db");
        memory.create_dir(directory).expect("new directory");
        let mut store = KeyringStore::new(Arc::new(memory.clone()), directory);
        let entropy = SeededEntropy::new(1);
        let provider = KeySource::raw([1; 32]).resolve().expect("a raw key");
        let keyring =
            Keyring::create(provider.as_deref(), DatabaseId([2; 16]), &entropy, 0).expect("keyring");
        store.commit(&keyring, &entropy).expect("commit");
        memory.corrupt(&directory.join("KEYRING"), 40, 1).expect("inside the file");
        let second = directory.join("KEYRING.2");
        let file = memory.open(&second, OpenHow::ReadWrite).expect("open");
        let mut bytes = vec![0; file.len().expect("length") as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        let content = bytes.len() - 32;
        bytes[content - 1] ^= 1;
        let checksum = *blake3::hash(&bytes[..content]).as_bytes();
        bytes[content..].copy_from_slice(&checksum);
        file.write_all_at(&bytes, 0).expect("write");
        let loaded = store.load(provider.as_deref());
        assert!(matches!(&loaded, Err(StorageError::Corrupt { file, .. }) if *file == second), "{loaded:?}");
    }
}
