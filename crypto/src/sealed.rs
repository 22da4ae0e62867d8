//! Sealing one small object: a keyring's body, a slot's content, a manifest.
//!
//! ```text
//! ┌────────────┬──────────────────────┬───────────┐
//! │ salt  24 B │ ciphertext           │ tag  16 B │
//! └────────────┴──────────────────────┴───────────┘
//! key   = HKDF(parent, "sealed object", label, context, salt)
//! nonce = 0
//! ```
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
    let tag = key.seal_detached(&NONCE, aad, &mut sealed[SALT_LEN..])?;
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
    key.open_detached(&NONCE, aad, &mut plaintext, tag)?;
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
