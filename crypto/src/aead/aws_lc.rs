//! AES-256-GCM by AWS-LC's FIPS module.

use aws_lc_rs::aead;

use super::{AeadKey, AeadSuite, Nonce, SuiteId, Tag, check_len};
use crate::stack::wiped;
use crate::{CryptoError, SecretKey};

/// AES-256-GCM by the FIPS module of AWS-LC: the default with the feature `fips`, and then the only one that is chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct FipsAesGcm;

impl AeadSuite for FipsAesGcm {
    fn id(&self) -> SuiteId {
        SuiteId::Aes256Gcm
    }

    fn name(&self) -> &'static str {
        "AES-256-GCM (AWS-LC FIPS)"
    }

    fn key(&self, key: &SecretKey) -> Box<dyn AeadKey> {
        wiped(|| {
            let unbound = aead::UnboundKey::new(&aead::AES_256_GCM, key.expose())
                .expect("32 bytes are what AES-256 takes");
            Box::new(FipsKey(aead::LessSafeKey::new(unbound)))
        })
    }
}

/// AWS-LC wipes its memory when it is given back.
struct FipsKey(aead::LessSafeKey);

impl AeadKey for FipsKey {
    fn seal_detached(&self, nonce: &Nonce, aad: &[u8], in_out: &mut [u8]) -> Result<Tag, CryptoError> {
        check_len(in_out.len())?;
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
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
        let opened = self.0.open_in_place_separate_tag(nonce, aead::Aad::from(aad), tag, in_out);
        if opened.is_err() {
            in_out.fill(0);
            return Err(CryptoError::OpenFailed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{AeadSuite, SuiteId, default_suite};

    #[test]
    fn what_seals_by_default_is_the_fips_module() {
        aws_lc_rs::try_fips_mode().expect("the module is the validated one, and its self-tests passed");
        assert_eq!(default_suite().name(), super::FipsAesGcm.name());
        assert_eq!(SuiteId::Aes256Gcm.suite().name(), super::FipsAesGcm.name());
    }
}
