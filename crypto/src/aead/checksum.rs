//! The suite of databases without a key.
//!
//! ```text
//! tag = XXH3-128( aad length, u64 LE ‖ data length, u64 LE ‖ aad ‖ nonce ‖ data ), little-endian
//! ```
//!
//! Faster than a cryptographic hash, which would cost more than encryption does. The price: whoever
//! can write the file can also compute its tags.

use subtle::ConstantTimeEq;
use xxhash_rust::xxh3::Xxh3;

use super::{AeadKey, AeadSuite, Nonce, SuiteId, Tag, check_len};
use crate::{CryptoError, SecretKey};

/// No encryption: the data stays as it is, and the tag is a checksum that needs no key. It finds
/// accidents; it hides nothing and stops nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum;

impl AeadSuite for Checksum {
    fn id(&self) -> SuiteId {
        SuiteId::Checksum
    }

    fn name(&self) -> &'static str {
        "none (XXH3-128 checksums)"
    }

    fn key(&self, _key: &SecretKey) -> Box<dyn AeadKey> {
        Box::new(Keyless)
    }
}

struct Keyless;

impl AeadKey for Keyless {
    fn seal_detached(&self, nonce: &Nonce, aad: &[u8], in_out: &mut [u8]) -> Result<Tag, CryptoError> {
        check_len(in_out.len())?;
        Ok(checksum(nonce, aad, in_out))
    }

    fn open_detached(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        in_out: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        if bool::from(checksum(nonce, aad, in_out).ct_eq(tag)) {
            return Ok(());
        }
        in_out.fill(0);
        Err(CryptoError::OpenFailed)
    }
}

fn checksum(nonce: &Nonce, aad: &[u8], data: &[u8]) -> Tag {
    let mut hasher = Xxh3::new();
    hasher.update(&(aad.len() as u64).to_le_bytes());
    hasher.update(&(data.len() as u64).to_le_bytes());
    hasher.update(aad);
    hasher.update(nonce);
    hasher.update(data);
    hasher.digest128().to_le_bytes()
}
