//! Key services for lightning_db: where its keys come from when they are kept elsewhere.
//!
//! [`key_source`] reads all key URIs: those of this crate's services and those that the library
//! itself reads. Each service is a feature; all are on by default.
//!
//! ```
//! use lightning_db_key_services::key_source;
//!
//! let uri = "pkcs11:token=safe;object=lightning?module-path=/usr/lib/hsm.so&pin-source=/etc/pin";
//! # #[cfg(feature = "pkcs11")]
//! assert_eq!(format!("{:?}", key_source(uri)?), "KeySource(pkcs11:token=safe;object=lightning)");
//! assert!(key_source("pkcs11:token=safe;objekt=lightning?module-path=/x").is_err());
//! # Ok::<(), lightning_db_crypto::CryptoError>(())
//! ```

#[cfg(any(feature = "awskms", feature = "vault"))]
mod address;
#[cfg(feature = "awskms")]
mod awskms;
#[cfg(feature = "kmip")]
mod kmip;
#[cfg(feature = "vault")]
mod vault;

use lightning_db_crypto::{CryptoError, KeySource};

#[cfg(feature = "awskms")]
pub use awskms::AwsKmsProvider;
#[cfg(feature = "kmip")]
pub use kmip::KmipProvider;
#[cfg(feature = "vault")]
pub use vault::VaultProvider;

/// Reads a key URI: those of [`KeySource::from_uri`], and of the services that this crate is built with. Nothing is
/// connected to before the key is needed.
///
/// # Errors
/// [`CryptoError::InvalidKey`] if it is none; it says where the mistake is, and repeats nothing of the URI.
pub fn key_source(uri: &str) -> Result<KeySource, CryptoError> {
    match uri.split_once(':') {
        #[cfg(feature = "awskms")]
        Some(("awskms", _)) => Ok(KeySource::provider(std::sync::Arc::new(AwsKmsProvider::from_uri(uri)?))),
        #[cfg(feature = "kmip")]
        Some(("kmip", _)) => Ok(KeySource::provider(std::sync::Arc::new(KmipProvider::from_uri(uri)?))),
        #[cfg(feature = "vault")]
        Some(("vault", _)) => Ok(KeySource::provider(std::sync::Arc::new(VaultProvider::from_uri(uri)?))),
        _ => KeySource::from_uri(uri),
    }
}
