//! Keys, authenticated encryption, key derivation and key providers of lightning_db.
//!
//! This crate knows no file of a database: it turns bytes into bytes.
//!
//! - [`Keyring`]: all secrets of a database behind one master key, which each of its key slots
//!   wraps for one [`KeyProvider`]. [`KeySource`] is how users name a provider.
//! - [`AeadSuite`]: how bytes are sealed. [`derive()`]: one key for one purpose.
//!   [`seal_object`]: a small object under a key of its own.
//! - [`ContentHasher`], [`SigningKey`]: comparing and signing content.
//! - [`SecretKey`], [`Entropy`]: where secrets live, and where they come from.
//!
//! Keys are wiped when dropped, and their 32 bytes are kept out of swap and core dumps where the
//! system allows it. A cipher's expanded form of a key is wiped but not locked, and copies that a
//! computation leaves on the stack or in registers are beyond reach.
//!
//! ```
//! use lightning_db_crypto::{CryptoError, DatabaseId, Keyring, KeySource, OsEntropy};
//!
//! # fn main() -> Result<(), CryptoError> {
//! let entropy = OsEntropy;
//! let provider = KeySource::raw([7; 32]).resolve()?;
//! let keyring = Keyring::create(provider.as_deref(), DatabaseId::random(&entropy)?, &entropy, 0)?;
//! let sealed = keyring.seal_small(&entropy, "note", b"1", b"", b"attack at dawn")?;
//! let stored = keyring.to_bytes(&entropy)?;
//!
//! let again = Keyring::open(&stored, provider.as_deref())?;
//! assert_eq!(&**again.open_small("note", b"1", b"", &sealed)?, b"attack at dawn");
//!
//! let wrong = KeySource::raw([8; 32]).resolve()?;
//! assert!(matches!(Keyring::open(&stored, wrong.as_deref()), Err(CryptoError::WrongKey { .. })));
//! # Ok(())
//! # }
//! ```

mod aead;
mod digest;
mod entropy;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod ids;
mod kdf;
mod keyring;
mod provider;
mod sealed;
mod secret;
mod signing;
mod source;
mod stack;
mod uri;

#[cfg(feature = "fips")]
pub use aead::FipsAesGcm;
pub use aead::{
    AeadKey, AeadSuite, Checksum, NONCE_LEN, Nonce, PortableAesGcm, RingAesGcm, SuiteId, TAG_LEN, Tag,
    default_suite,
};
pub use digest::{ContentHasher, SetDigest, StreamDigest};
pub use entropy::{Entropy, OsEntropy, SeededEntropy, fresh_salt};
pub use error::CryptoError;
pub use ids::{DatabaseId, EpochId, SlotId};
pub use kdf::{Purpose, derive};
pub use keyring::{EpochInfo, Keyring, KeyringInfo, MAX_KEYRING_LEN, SlotInfo, peek};
#[cfg(feature = "pkcs11")]
pub use provider::Pkcs11Provider;
pub use provider::{
    ExecProvider, KeyProvider, PassphraseCost, PassphraseProvider, ProviderName, RawProvider, RefusedSecret,
    SecretPlace, SlotContext, WrappedBy, WrappedKey, parse_key, presentable,
};
pub use sealed::{SEALED_OVERHEAD, open_object, seal_object};
pub use secret::SecretKey;
pub use signing::{PublicKey, Signature, SigningKey};
pub use source::KeySource;
pub use uri::{ServiceUri, UriGrammar};
pub use zeroize::Zeroizing;
