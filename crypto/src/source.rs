//! Where a database's key comes from, as users write it in a configuration.

use std::{ffi::OsString, fmt, path::PathBuf, sync::Arc};

use zeroize::Zeroizing;

use crate::{CryptoError, ExecProvider, KeyProvider, PassphraseProvider, RawProvider, SecretKey};

/// Where the key of a database comes from.
///
/// Cheap to clone, and prints without any secret. The key is fetched when it is needed, by
/// [`resolve`](Self::resolve), and not before.
///
/// ```
/// use lightning_db_crypto::KeySource;
/// let source = KeySource::passphrase("correct horse");
/// assert_eq!(format!("{source:?}"), "KeySource(passphrase [redacted])");
/// assert!(KeySource::default().is_none());
/// ```
#[derive(Clone, Default)]
pub struct KeySource(Origin);

#[derive(Clone, Default)]
enum Origin {
    #[default]
    None,
    Passphrase(Arc<Zeroizing<String>>),
    Raw(Arc<SecretKey>),
    File(PathBuf),
    Env(OsString),
    PassphraseFile(PathBuf),
    PassphraseEnv(OsString),
    Exec(OsString),
    Provider(Arc<dyn KeyProvider>),
}

impl KeySource {
    /// No key: the database is not encrypted.
    pub fn none() -> Self {
        Self(Origin::None)
    }

    /// A passphrase, stretched with Argon2id.
    pub fn passphrase(passphrase: impl Into<String>) -> Self {
        Self(Origin::Passphrase(Arc::new(Zeroizing::new(passphrase.into()))))
    }

    /// A random key of 32 bytes.
    pub fn raw(key: [u8; 32]) -> Self {
        Self(Origin::Raw(Arc::new(SecretKey::from_bytes(key))))
    }

    /// A file of 32 raw bytes or 64 hex digits that only its owner can read.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Origin::File(path.into()))
    }

    /// An environment variable of 64 hex digits.
    pub fn env(name: impl Into<OsString>) -> Self {
        Self(Origin::Env(name.into()))
    }

    /// A passphrase in a file that only its owner can read.
    pub fn passphrase_file(path: impl Into<PathBuf>) -> Self {
        Self(Origin::PassphraseFile(path.into()))
    }

    /// A passphrase in an environment variable.
    pub fn passphrase_env(name: impl Into<OsString>) -> Self {
        Self(Origin::PassphraseEnv(name.into()))
    }

    /// An external command, see [`ExecProvider`] for what it is asked.
    pub fn exec(program: impl Into<OsString>) -> Self {
        Self(Origin::Exec(program.into()))
    }

    /// A provider of your own.
    pub fn provider(provider: Arc<dyn KeyProvider>) -> Self {
        Self(Origin::Provider(provider))
    }

    /// Whether there is no key.
    pub fn is_none(&self) -> bool {
        matches!(self.0, Origin::None)
    }

    /// Fetches the key; `None` if there is none.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if what is found is no key, [`CryptoError::Io`] if a file
    /// cannot be read.
    pub fn resolve(&self) -> Result<Option<Arc<dyn KeyProvider>>, CryptoError> {
        Ok(Some(match &self.0 {
            Origin::None => return Ok(None),
            Origin::Passphrase(passphrase) => Arc::new(PassphraseProvider::new(passphrase.as_str())?),
            Origin::Raw(key) => Arc::new(RawProvider::new(key.duplicate())),
            Origin::File(path) => Arc::new(RawProvider::from_file(path)?),
            Origin::Env(name) => Arc::new(RawProvider::from_env(name)?),
            Origin::PassphraseFile(path) => Arc::new(PassphraseProvider::from_file(path)?),
            Origin::PassphraseEnv(name) => Arc::new(PassphraseProvider::from_env(name)?),
            Origin::Exec(program) => Arc::new(ExecProvider::new(program)),
            Origin::Provider(provider) => provider.clone(),
        }))
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::None => f.write_str("KeySource(none)"),
            Origin::Passphrase(_) => f.write_str("KeySource(passphrase [redacted])"),
            Origin::Raw(_) => f.write_str("KeySource(raw [redacted])"),
            Origin::File(path) => write!(f, "KeySource(file:{})", path.display()),
            Origin::Env(name) => write!(f, "KeySource(env:{})", name.to_string_lossy()),
            Origin::PassphraseFile(path) => {
                write!(f, "KeySource(passphrase-file:{})", path.display())
            }
            Origin::PassphraseEnv(name) => {
                write!(f, "KeySource(passphrase-env:{})", name.to_string_lossy())
            }
            Origin::Exec(program) => write!(f, "KeySource(exec:{})", program.to_string_lossy()),
            Origin::Provider(provider) => write!(f, "KeySource({provider:?})"),
        }
    }
}
