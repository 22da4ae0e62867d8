//! A key of 32 bytes that the caller, a file or the environment holds.

use std::{ffi::OsStr, path::Path};

use super::{KeyProvider, SlotContext, WrappedKey, env, file};
use crate::{CryptoError, Entropy, SecretKey};

/// Wraps with a key of 32 random bytes.
///
/// All ways to give such a key fill the same kind of slot, so a key may move from a file into the
/// environment without a change to the database.
#[derive(Debug)]
pub struct RawProvider(SecretKey);

impl RawProvider {
    /// Wraps with `key`, which must be random: no stretching makes a guessable one safe.
    pub fn new(key: SecretKey) -> Self {
        Self(key)
    }

    /// Takes the key from a file of 32 raw bytes or 64 hex digits.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it holds anything else, is no regular file, or (on Unix) can
    /// be read by group or others; [`CryptoError::Io`] if it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, CryptoError> {
        file::read_key(path).map(Self)
    }

    /// Takes the key from an environment variable of 64 hex digits.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is not set, or holds anything else.
    pub fn from_env(name: impl AsRef<OsStr>) -> Result<Self, CryptoError> {
        env::read_key(name.as_ref()).map(Self)
    }
}

impl KeyProvider for RawProvider {
    fn kind(&self) -> &'static str {
        "raw"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        WrappedKey::seal(&self.0, ctx, Vec::new(), key, entropy)
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        wrapped.open(&self.0, ctx)
    }
}
