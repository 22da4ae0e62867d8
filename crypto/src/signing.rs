//! Ed25519 signatures: a database signs the manifests of its backups, and whoever pinned its
//! public key can tell that nobody else did.

use std::fmt;
use std::str::FromStr;

use ring::signature::{self, Ed25519KeyPair, KeyPair};

use crate::{CryptoError, SecretKey};

/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// Signs. Only the seed is kept, in protected memory; the rest is computed when it is needed.
pub struct SigningKey {
    seed: SecretKey,
    public: PublicKey,
}

impl SigningKey {
    /// The key of a seed of 32 random bytes.
    pub fn from_seed(seed: SecretKey) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("a seed has 32 bytes");
        let public = PublicKey(pair.public_key().as_ref().try_into().expect("a public key has 32 bytes"));
        Self { seed, public }
    }

    /// The half that others verify with.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let pair = Ed25519KeyPair::from_seed_and_public_key(self.seed.expose(), &self.public.0)
            .expect("the public key was computed from this seed");
        pair.sign(message).as_ref().try_into().expect("a signature has 64 bytes")
    }

    pub(crate) fn seed(&self) -> &SecretKey {
        &self.seed
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey([redacted], {:?})", self.public)
    }
}

/// Verifies signatures. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Checks that the holder of the signing key signed exactly this message.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`] otherwise.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), CryptoError> {
        signature::UnparsedPublicKey::new(&signature::ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| CryptoError::BadSignature)
    }
}

impl FromStr for PublicKey {
    type Err = CryptoError;

    /// Reads what `Display` writes: 64 hex digits.
    fn from_str(text: &str) -> Result<Self, CryptoError> {
        let mut bytes = [0; 32];
        let malformed = |_| {
            let reason = "it is not 64 hex digits".to_owned();
            CryptoError::Malformed { what: "the public key", reason }
        };
        hex::decode_to_slice(text, &mut bytes).map_err(malformed).map(|()| Self(bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_as_it_is_written() {
        let key = PublicKey([0xa7; 32]);
        assert_eq!(key.to_string().parse::<PublicKey>().expect("64 digits"), key);
        for wrong in ["", "a7", &"zz".repeat(32), &"a7".repeat(33)] {
            assert!(matches!(wrong.parse::<PublicKey>(), Err(CryptoError::Malformed { .. })), "{wrong:?}");
        }
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn rfc_8032() {
        let mut seed = [0; 32];
        hex::decode_to_slice("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", &mut seed)
            .expect("hex");
        let key = SigningKey::from_seed(SecretKey::from_bytes(seed));
        assert_eq!(
            key.public_key().to_string(),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        let signature = key.sign(&[0x72]);
        assert_eq!(
            hex::encode(signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        key.public_key().verify(&[0x72], &signature).expect("valid");
    }

    #[test]
    fn any_change_is_refused() {
        let key = SigningKey::from_seed(SecretKey::from_bytes([8; 32]));
        let signature = key.sign(b"manifest 7");
        assert!(matches!(key.public_key().verify(b"manifest 8", &signature), Err(CryptoError::BadSignature)));
        for bit in 0..512 {
            let mut forged = signature;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(key.public_key().verify(b"manifest 7", &forged).is_err());
        }
        let other = SigningKey::from_seed(SecretKey::from_bytes([9; 32]));
        assert!(other.public_key().verify(b"manifest 7", &signature).is_err());
        assert!(!format!("{key:?}").contains("080808"));
    }
}
