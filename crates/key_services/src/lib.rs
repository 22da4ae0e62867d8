//! Key services for lightning_db: where its keys come from when they are kept elsewhere.
//!
//! [`key_source`] reads all key URIs: those of this crate's services and those that the library
//! itself reads. Each service is a feature; all are on by default but `tpm`, which is linked with a library of the system, and
//! `azurekv` and `gcpkms`, which bring many crates and were never tried with the real service.
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

#[cfg(any(feature = "awskms", feature = "gcpkms", feature = "vault"))]
mod address;
#[cfg(feature = "awskms")]
mod awskms;
#[cfg(feature = "azurekv")]
mod azurekv;
#[cfg(any(feature = "azurekv", feature = "gcpkms"))]
mod causes;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(feature = "gcpkms")]
mod gcpkms;
#[cfg(feature = "keyring")]
mod keyring;
#[cfg(feature = "kmip")]
mod kmip;
#[cfg(any(feature = "awskms", feature = "azurekv", feature = "gcpkms", feature = "keyring"))]
mod runtime;
#[cfg(feature = "tpm")]
mod tpm;
#[cfg(feature = "vault")]
mod vault;

use std::sync::Arc;

use lightning_db_crypto::{CryptoError, KeyProvider, KeySource};

#[cfg(feature = "awskms")]
pub use awskms::AwsKmsProvider;
#[cfg(feature = "azurekv")]
pub use azurekv::AzureKvProvider;
#[cfg(feature = "gcpkms")]
pub use gcpkms::GcpKmsProvider;
#[cfg(feature = "keyring")]
pub use keyring::KeyringProvider;
#[cfg(feature = "kmip")]
pub use kmip::KmipProvider;
#[cfg(feature = "recovery")]
pub use lightning_db_recovery_key::RecoveryProvider;
#[cfg(feature = "tpm")]
pub use tpm::{TpmCounter, TpmProvider};
#[cfg(feature = "vault")]
pub use vault::VaultProvider;

/// Reads a key URI: those of [`KeySource::from_uri`], and of the services that this crate is built with. Nothing is
/// connected to before the key is needed.
///
/// It is also what reads the keys of a configuration:
///
/// ```
/// # fn configure() -> lightning_db::Result<()> {
/// use lightning_db::{Database, LightningDbConfig};
/// use lightning_db_key_services::key_source;
///
/// let config = LightningDbConfig::load_with_keys("lightning_db.toml", key_source)?;
/// let db = Database::open("./mydb", config)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`CryptoError::InvalidKey`] if it is none; it says where the mistake is, and repeats nothing of the URI.
pub fn key_source(uri: &str) -> Result<KeySource, CryptoError> {
    let provider: Arc<dyn KeyProvider> = match uri.split_once(':').map(|(scheme, _)| scheme) {
        #[cfg(feature = "awskms")]
        Some("awskms") => Arc::new(AwsKmsProvider::from_uri(uri)?),
        #[cfg(feature = "azurekv")]
        Some("azurekv") => Arc::new(AzureKvProvider::from_uri(uri)?),
        #[cfg(feature = "gcpkms")]
        Some("gcpkms") => Arc::new(GcpKmsProvider::from_uri(uri)?),
        #[cfg(feature = "keyring")]
        Some("keyring") => Arc::new(KeyringProvider::from_uri(uri)?),
        #[cfg(feature = "kmip")]
        Some("kmip") => Arc::new(KmipProvider::from_uri(uri)?),
        #[cfg(feature = "recovery")]
        Some("recovery-file") => Arc::new(RecoveryProvider::from_uri(uri)?),
        #[cfg(feature = "tpm")]
        Some("tpm") => Arc::new(TpmProvider::from_uri(uri)?),
        #[cfg(feature = "vault")]
        Some("vault") => Arc::new(VaultProvider::from_uri(uri)?),
        _ => return KeySource::from_uri(uri),
    };
    Ok(KeySource::provider(provider))
}
