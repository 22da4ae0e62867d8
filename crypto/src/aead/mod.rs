//! Sealing bytes under a key: one trait, its implementations by AES-256-GCM, and a checksum for databases without a key.

mod aes_gcm;
#[cfg(feature = "fips")]
mod aws_lc;
mod checksum;
mod ring;

use std::{fmt, sync::Arc};

use crate::{CryptoError, SecretKey};

#[cfg(feature = "fips")]
pub use self::aws_lc::FipsAesGcm;
pub use self::{aes_gcm::PortableAesGcm, checksum::Checksum, ring::RingAesGcm};

/// Length of a tag in bytes.
pub const TAG_LEN: usize = 16;
/// Length of a nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// Proves that a message was sealed under its key, nonce and associated data.
pub type Tag = [u8; TAG_LEN];
/// Must never be used twice with one key.
pub type Nonce = [u8; NONCE_LEN];

/// The longest message that AES-GCM may seal: 2^36 - 32 bytes, by its counter of 32 bits.
const MAX_MESSAGE_LEN: u64 = (1 << 36) - 32;

/// How the files of a database are sealed, as stored in them. Several implementations may share
/// one id: they open each other's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SuiteId {
    /// Not encrypted: tags are keyless checksums, which find accidents and no forgery.
    Checksum = 0,
    /// AES-256-GCM with 96-bit nonces and 128-bit tags.
    Aes256Gcm = 1,
}

impl SuiteId {
    /// The stored form.
    pub fn to_u8(self) -> u8 {
        self as u8
    }

    /// Reads the stored form; `None` if this program does not know it.
    pub fn from_u8(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Checksum),
            1 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// The implementation that this program uses for the suite.
    pub fn suite(self) -> Arc<dyn AeadSuite> {
        match self {
            Self::Checksum => Arc::new(Checksum),
            Self::Aes256Gcm => default_suite(),
        }
    }
}

/// An implementation of a suite.
pub trait AeadSuite: Send + Sync + fmt::Debug {
    /// What is stored about it.
    fn id(&self) -> SuiteId;

    /// A name for people.
    fn name(&self) -> &'static str;

    /// Prepares a key for use. The result holds its own copy, which is wiped when dropped.
    fn key(&self, key: &SecretKey) -> Box<dyn AeadKey>;
}

/// A key ready for use.
pub trait AeadKey: Send + Sync {
    /// Seals `in_out` in place and returns the tag. The caller sees to it that `nonce` is never
    /// used again with this key.
    ///
    /// # Errors
    /// [`CryptoError::TooLarge`] beyond 64 GiB; `in_out` is then unchanged.
    fn seal_detached(&self, nonce: &Nonce, aad: &[u8], in_out: &mut [u8]) -> Result<Tag, CryptoError>;

    /// Opens `in_out` in place.
    ///
    /// # Errors
    /// [`CryptoError::OpenFailed`] if anything differs from when it was sealed; `in_out` is then
    /// filled with zeros, so that nothing unauthenticated can be used by mistake.
    fn open_detached(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        in_out: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError>;
}

impl fmt::Debug for dyn AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey([redacted])")
    }
}

/// The suite of new encrypted databases: by the FIPS module with the feature `fips`, else in its fastest implementation.
pub fn default_suite() -> Arc<dyn AeadSuite> {
    #[cfg(feature = "fips")]
    return Arc::new(FipsAesGcm);
    #[cfg(not(feature = "fips"))]
    Arc::new(RingAesGcm)
}

fn check_len(len: usize) -> Result<(), CryptoError> {
    if len as u64 > MAX_MESSAGE_LEN {
        return Err(CryptoError::TooLarge { what: "a sealed message in bytes", max: MAX_MESSAGE_LEN });
    }
    Ok(())
}
