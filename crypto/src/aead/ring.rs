//! AES-256-GCM by ring, which uses the processor's instructions for it.

use std::mem::MaybeUninit;

use ring::aead;
use zeroize::Zeroize;

use super::{AeadKey, AeadSuite, Nonce, SuiteId, Tag, check_len};
use crate::stack::wiped;
use crate::{CryptoError, SecretKey};

/// AES-256-GCM by ring, the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingAesGcm;

impl AeadSuite for RingAesGcm {
    fn id(&self) -> SuiteId {
        SuiteId::Aes256Gcm
    }

    fn name(&self) -> &'static str {
        "AES-256-GCM (ring)"
    }

    fn key(&self, key: &SecretKey) -> Box<dyn AeadKey> {
        wiped(|| {
            let unbound = aead::UnboundKey::new(&aead::AES_256_GCM, key.expose())
                .expect("32 bytes are what AES-256 takes");
            Box::new(RingKey(MaybeUninit::new(aead::LessSafeKey::new(unbound))))
        })
    }
}

/// ring does not wipe its keys, so this does. Invariant: initialised until dropped.
struct RingKey(MaybeUninit<aead::LessSafeKey>);

impl RingKey {
    fn get(&self) -> &aead::LessSafeKey {
        #[expect(unsafe_code, reason = "the wrapper exists so that the bytes can be wiped on drop")]
        // SAFETY: it is initialised when made, and until it is dropped.
        unsafe {
            self.0.assume_init_ref()
        }
    }
}

impl Drop for RingKey {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the wrapper exists so that the bytes can be wiped on drop")]
        // SAFETY: it is initialised, and nothing uses it after this.
        unsafe {
            self.0.assume_init_drop();
        }
        self.0.zeroize();
    }
}

impl AeadKey for RingKey {
    fn seal_detached(&self, nonce: &Nonce, aad: &[u8], in_out: &mut [u8]) -> Result<Tag, CryptoError> {
        check_len(in_out.len())?;
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .get()
            .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), in_out)
            .expect("the length was checked, and nothing else can fail");
        Ok(tag.as_ref().try_into().expect("a tag has 16 bytes"))
    }

    fn open_detached(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        in_out: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let opened = self.get().open_in_place_separate_tag(
            nonce,
            aead::Aad::from(aad),
            aead::Tag::from(*tag),
            in_out,
            0..,
        );
        if opened.is_err() {
            in_out.fill(0);
            return Err(CryptoError::OpenFailed);
        }
        Ok(())
    }
}
