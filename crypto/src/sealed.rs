//! Sealing one small object: a keyring's body, a slot's content, a manifest.
//!
//! ```text
//! ┌────────────┬──────────────────────┬───────────┐
//! │ salt  24 B │ ciphertext           │ tag  16 B │
//! └────────────┴──────────────────────┴───────────┘
//! key   = HKDF(parent, "sealed object", label, context, salt)
//! nonce = 0
//! aad   = label, context, salt, the caller's aad, each after its length as u64 LE
//! ```
//!
//! What the key depends on stands in the associated data too: under the suite without a key it is
//! all that tells one object from another.
//!
//! Each call draws its own salt, so each object has its own key, and nonce 0 is used once under it.
//! The content is mixed into the salt: where a cloned machine draws the same random bytes twice,
//! two different objects still get two keys, and the same object gets the same bytes.

use zeroize::Zeroizing;

use crate::{AeadSuite, CryptoError, Entropy, Purpose, SecretKey, TAG_LEN, aead::Nonce, derive, fresh_salt};

const SALT_LEN: usize = 24;
const NONCE: Nonce = [0; 12];

/// How much longer a sealed object is than its content, in bytes.
pub const SEALED_OVERHEAD: usize = SALT_LEN + TAG_LEN;

/// Seals a small object under a key of its own.
///
/// `label` says what kind of object this is, `context` which one: both are part of the key.
/// `aad` is authenticated with it and not stored.
///
/// # Errors
/// [`CryptoError::Entropy`] when no random bytes can be had.
pub fn seal_object(
    suite: &dyn AeadSuite,
    parent: &SecretKey,
    entropy: &dyn Entropy,
    label: &str,
    context: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mixer = derive(parent, Purpose::ObjectSalt, &[]);
    let salt: [u8; SALT_LEN] =
        fresh_salt(entropy, &[mixer.expose(), label.as_bytes(), context, aad, plaintext])?;
    let key = object_key(suite, parent, label, context, &salt);
    let mut sealed = Vec::with_capacity(plaintext.len() + SEALED_OVERHEAD);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(plaintext);
    let tag = key.seal_detached(&NONCE, &bind(label, context, &salt, aad), &mut sealed[SALT_LEN..])?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens what [`seal_object`] made.
///
/// # Errors
/// [`CryptoError::OpenFailed`] if the key, the label, the context, `aad` or any byte differs.
pub fn open_object(
    suite: &dyn AeadSuite,
    parent: &SecretKey,
    label: &str,
    context: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let (salt, rest) = sealed.split_first_chunk::<SALT_LEN>().ok_or(CryptoError::OpenFailed)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(CryptoError::OpenFailed)?;
    let key = object_key(suite, parent, label, context, salt);
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    key.open_detached(&NONCE, &bind(label, context, salt, aad), &mut plaintext, tag)?;
    Ok(plaintext)
}

fn object_key(
    suite: &dyn AeadSuite,
    parent: &SecretKey,
    label: &str,
    context: &[u8],
    salt: &[u8; SALT_LEN],
) -> Box<dyn crate::AeadKey> {
    suite.key(&derive(parent, Purpose::SealedObject, &[label.as_bytes(), context, salt]))
}

fn bind(label: &str, context: &[u8], salt: &[u8; SALT_LEN], aad: &[u8]) -> Vec<u8> {
    let parts = [label.as_bytes(), context, salt, aad];
    let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
    lengths
        .iter()
        .zip(parts)
        .flat_map(|(length, part)| [length.as_slice(), part])
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{Checksum, PortableAesGcm, RingAesGcm, SeededEntropy};

    #[derive(Debug)]
    struct Stuck;

    impl Entropy for Stuck {
        fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
            buf.fill(4);
            Ok(())
        }
    }

    fn parent() -> SecretKey {
        SecretKey::from_bytes([6; 32])
    }

    #[test]
    fn opens_only_as_what_it_was_sealed_as() {
        let suites: [&dyn AeadSuite; 3] = [&RingAesGcm, &PortableAesGcm, &Checksum];
        for suite in suites {
            let entropy = SeededEntropy::new(1);
            let sealed =
                seal_object(suite, &parent(), &entropy, "kind", b"7", b"aad", b"content").expect("sealed");
            assert_eq!(sealed.len(), 7 + SEALED_OVERHEAD);
            let open = |label, context: &[u8], aad: &[u8], sealed: &[u8]| {
                open_object(suite, &parent(), label, context, aad, sealed)
            };
            let opened = open("kind", b"7", b"aad", &sealed).expect("sealed so");
            assert_eq!(opened.as_slice(), b"content");
            assert!(open("kind", b"7", b"AAD", &sealed).is_err());
            for byte in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[byte] ^= 1;
                assert!(open("kind", b"7", b"aad", &changed).is_err(), "byte {byte}");
                assert!(open("kind", b"7", b"aad", &sealed[..byte]).is_err(), "{byte} bytes");
            }
            assert!(open("kinds", b"7", b"aad", &sealed).is_err());
            assert!(open("kind", b"8", b"aad", &sealed).is_err());
            assert!(open("kind7", b"", b"aad", &sealed).is_err());
        }
    }

    #[test]
    fn no_salt_twice_even_when_the_generator_is_stuck() {
        let mut salts = HashSet::new();
        let mut insert = |entropy: &dyn Entropy, context: &[u8], plain: &[u8]| {
            let sealed =
                seal_object(&RingAesGcm, &parent(), entropy, "kind", context, b"", plain).expect("sealed");
            salts.insert(sealed[..SALT_LEN].to_vec())
        };
        let entropy = SeededEntropy::new(2);
        for _ in 0..1000 {
            assert!(insert(&entropy, b"", b"the same each time"));
        }
        for n in 0..1000u32 {
            assert!(insert(&Stuck, b"", &n.to_le_bytes()));
            assert!(insert(&Stuck, &n.to_le_bytes(), b""));
        }
    }
}
