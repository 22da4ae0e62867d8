//! Key providers: whoever can wrap a database's master key, and unwrap it again.

mod bound;
mod env;
mod exec;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod name;
mod passphrase;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod place;
mod raw;

use std::fmt;

use subtle::ConstantTimeEq;

use crate::{
    CryptoError, DatabaseId, Entropy, Purpose, SecretKey, default_suite, derive, open_object, seal_object,
};

#[cfg(feature = "pkcs11")]
pub use self::pkcs11::Pkcs11Provider;
pub use self::{
    bound::WrappedBy,
    exec::ExecProvider,
    file::parse_key,
    name::{ProviderName, presentable},
    passphrase::{PassphraseCost, PassphraseProvider},
    place::{RefusedSecret, SecretPlace},
    raw::RawProvider,
};

/// Wraps the master key of a database for one key slot, and unwraps it.
///
/// Implement it to keep the wrapping key in a place of your own, such as a key service. A provider
/// that holds the wrapping key itself can leave the work to [`WrappedKey::seal`] and
/// [`WrappedKey::open`]; one that does not takes its commitment from
/// [`SlotContext::commitment_to`] the master key.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// The kind of slot that it fills and opens, at most 32 bytes. It is stored in the clear.
    fn kind(&self) -> &'static str;

    /// Wraps `key`.
    ///
    /// # Errors
    /// [`CryptoError::Unreachable`], [`CryptoError::Refused`], [`CryptoError::NoSuchKey`],
    /// [`CryptoError::KeyDisabled`] and [`CryptoError::Provider`] when a key service, an HSM or a
    /// command does not do it, [`CryptoError::Entropy`] when no random bytes can be had.
    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError>;

    /// Unwraps what a provider of this kind has wrapped. It is given every slot of its kind, and
    /// `wrapped` comes from a file that nothing has authenticated yet.
    ///
    /// # Errors
    /// [`CryptoError::WrongKey`] when another key wrapped it; [`CryptoError::Malformed`] when it
    /// was this key's, and is damaged, or when parameters are out of bounds;
    /// [`CryptoError::Tampered`] and [`CryptoError::WrongDatabase`] when a service gives back
    /// something else; those of [`wrap`](Self::wrap) when it fails.
    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError>;
}

/// The place of a wrapped key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotContext {
    /// The database whose key it is.
    pub database: DatabaseId,
    /// Drawn anew whenever a key is wrapped.
    pub salt: [u8; 32],
}

impl SlotContext {
    /// A value that only this key gives in this slot, and from which the key cannot be computed.
    pub fn commitment_to(&self, key: &SecretKey) -> [u8; 32] {
        *derive(key, Purpose::SlotCommitment, &[self.database.as_bytes(), &self.salt]).expose()
    }

    /// Compares a commitment in constant time.
    ///
    /// # Errors
    /// [`CryptoError::WrongKey`] if it is that of another key.
    pub fn check_commitment(&self, key: &SecretKey, commitment: &[u8; 32]) -> Result<(), CryptoError> {
        if bool::from(self.commitment_to(key).ct_eq(commitment)) {
            return Ok(());
        }
        Err(CryptoError::WrongKey { what: NOT_THIS_SLOT.into() })
    }
}

/// What a slot stores. Public: it stands in the clear in the keyring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedKey {
    /// What the provider needs to find or compute its wrapping key, at most 4 KiB.
    pub params: Vec<u8>,
    /// The wrapped key, at most 16 KiB.
    pub bytes: Vec<u8>,
    /// Tells whether a key is the one that wrapped this, before anything is opened with it.
    pub commitment: [u8; 32],
}

const LABEL: &str = "key slot";
/// Why a key is wrong of which nothing else is known.
pub(crate) const NOT_THIS_SLOT: &str = "it does not open this key slot";

impl WrappedKey {
    /// Wraps `key` under a wrapping key, with AES-256-GCM. `params` are authenticated.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`] when no random bytes can be had.
    pub fn seal(
        wrapping: &SecretKey,
        ctx: &SlotContext,
        params: Vec<u8>,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<Self, CryptoError> {
        let suite = default_suite();
        let parent = slot_key(wrapping, ctx);
        let bytes = seal_object(&*suite, &parent, entropy, LABEL, b"", &params, key.expose().as_slice())?;
        Ok(Self { params, bytes, commitment: ctx.commitment_to(wrapping) })
    }

    /// Unwraps what [`seal`](Self::seal) wrapped.
    ///
    /// # Errors
    /// [`CryptoError::WrongKey`] if another key wrapped it, [`CryptoError::Malformed`] if this key
    /// did and the rest is damaged.
    pub fn open(&self, wrapping: &SecretKey, ctx: &SlotContext) -> Result<SecretKey, CryptoError> {
        ctx.check_commitment(wrapping, &self.commitment)?;
        let parent = slot_key(wrapping, ctx);
        open_object(&*default_suite(), &parent, LABEL, b"", &self.params, &self.bytes)
            .ok()
            .and_then(|key| SecretKey::from_slice(&key))
            .ok_or_else(|| CryptoError::Malformed {
                what: "key slot",
                reason: "the key is right, but what it wrapped does not open".into(),
            })
    }
}

fn slot_key(wrapping: &SecretKey, ctx: &SlotContext) -> SecretKey {
    derive(wrapping, Purpose::SlotWrap, &[ctx.database.as_bytes(), &ctx.salt])
}
