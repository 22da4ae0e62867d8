//! The key as one that opens a database.

use std::fmt;
use std::path::PathBuf;

use lightning_db_crypto::{
    CryptoError, Entropy, KeyProvider, SecretKey, SecretPlace, SlotContext, WrappedKey,
};

use crate::RecoveryKey;

const SCHEME: &str = "recovery-file";
/// Sixteen shares, and as much text again between them.
const MAX_FILE_LEN: usize = 64 << 10;

/// Wraps the master key with a recovery key.
pub struct RecoveryProvider(Origin);

enum Origin {
    Key(RecoveryKey),
    File(PathBuf),
}

impl RecoveryProvider {
    /// With a key that is at hand.
    #[must_use]
    pub fn new(key: RecoveryKey) -> Self {
        Self(Origin::Key(key))
    }

    /// With the words in a file, which only its owner may be able to read. It is read when it is needed.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self(Origin::File(path.into()))
    }

    /// Reads `recovery-file:PATH`. Nothing is read from the file yet.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let path = uri.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(':'));
        let path = path.filter(|path| !path.is_empty() && !path.contains('\0'));
        path.map(Self::from_file).ok_or_else(|| CryptoError::InvalidKey {
            source_name: "the key URI".into(),
            reason: format!("nothing usable follows the colon: it is {SCHEME}:PATH"),
        })
    }

    fn with_key<T>(&self, work: impl FnOnce(&SecretKey) -> Result<T, CryptoError>) -> Result<T, CryptoError> {
        match &self.0 {
            Origin::Key(key) => work(key.secret()),
            Origin::File(path) => {
                let text = SecretPlace::File(path.clone()).read_up_to(MAX_FILE_LEN)?;
                let key = RecoveryKey::read(&text).map_err(|error| CryptoError::InvalidKey {
                    source_name: format!("{SCHEME}:{}", path.display()),
                    reason: error.to_string(),
                })?;
                work(key.secret())
            }
        }
    }
}

impl KeyProvider for RecoveryProvider {
    fn kind(&self) -> &'static str {
        "recovery"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        self.with_key(|own| WrappedKey::seal(own, ctx, Vec::new(), key, entropy))
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        self.with_key(|own| wrapped.open(own, ctx))
    }
}

impl fmt::Debug for RecoveryProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Key(_) => f.write_str("recovery [redacted]"),
            Origin::File(path) => write!(f, "{SCHEME}:{}", path.display()),
        }
    }
}
