//! AES-256-GCM in portable Rust: slower, and an independent witness for the default.

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};

use super::{AeadKey, AeadSuite, Nonce, SuiteId, Tag, check_len};
use crate::stack::wiped;
use crate::{CryptoError, SecretKey};

/// AES-256-GCM by the aes-gcm crate, for processors that ring does not know, and for comparison.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortableAesGcm;

impl AeadSuite for PortableAesGcm {
    fn id(&self) -> SuiteId {
        SuiteId::Aes256Gcm
    }

    fn name(&self) -> &'static str {
        "AES-256-GCM (portable)"
    }

    fn key(&self, key: &SecretKey) -> Box<dyn AeadKey> {
        wiped(|| Box::new(PortableKey(Aes256Gcm::new(key.expose().into()))))
    }
}

/// Wiped by the cipher itself when dropped (its `zeroize` feature is on).
struct PortableKey(Aes256Gcm);

impl AeadKey for PortableKey {
    fn seal_detached(&self, nonce: &Nonce, aad: &[u8], in_out: &mut [u8]) -> Result<Tag, CryptoError> {
        check_len(in_out.len())?;
        // Working, too, it leaves round keys on the stack.
        let tag = wiped(|| self.0.encrypt_inout_detached(nonce.into(), aad, in_out.into()))
            .expect("the length was checked, and nothing else can fail");
        Ok(tag.into())
    }

    fn open_detached(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        in_out: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        let opened =
            wiped(|| self.0.decrypt_inout_detached(nonce.into(), aad, (&mut *in_out).into(), tag.into()));
        if opened.is_err() {
            in_out.fill(0);
            return Err(CryptoError::OpenFailed);
        }
        Ok(())
    }
}
