//! A 32-byte key that is wiped when dropped, stays out of swap and core dumps, and prints as
//! `[redacted]`.

mod arena;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{CryptoError, Entropy};
use arena::Cell;

/// A secret of 32 bytes.
///
/// It lives in memory that is locked against swapping (where the system allows it) and left out of
/// core dumps, and is overwritten with zeros when dropped. It is neither `Copy` nor `Clone`; `==`
/// takes the same time whatever the contents.
///
/// ```
/// use lightning_db_crypto::SecretKey;
/// let key = SecretKey::from_bytes([7; 32]);
/// assert_eq!(format!("{key:?}"), "SecretKey([redacted])");
/// ```
pub struct SecretKey(Cell);

impl SecretKey {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Lets `fill` write the key straight into its final place.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn try_fill<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut cell = Cell::new();
        fill(cell.get_mut())?;
        Ok(Self(cell))
    }

    /// Takes over a key; the argument's own copy is wiped, those that the caller made are not.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let mut cell = Cell::new();
        cell.get_mut().copy_from_slice(&bytes);
        bytes.zeroize();
        Self(cell)
    }

    /// Copies a key out of a slice; `None` unless it is 32 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let mut cell = Cell::new();
        cell.get_mut().copy_from_slice(bytes);
        Some(Self(cell))
    }

    /// Draws a new key.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`] when no random bytes can be had.
    pub fn random(entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        Self::try_fill(|key| entropy.fill(key))
    }

    /// A second holder of the same secret, spelled out so that each place that makes one is seen.
    pub fn duplicate(&self) -> Self {
        let mut cell = Cell::new();
        cell.get_mut().copy_from_slice(self.expose());
        Self(cell)
    }

    /// The key itself, for as long as a computation needs it.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.get()
    }

    /// Whether the system agreed to keep this key out of swap.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_nothing_of_the_key() {
        let key = SecretKey::from_bytes([0xab; 32]);
        for text in [format!("{key:?}"), format!("{key:#?}"), format!("{:?}", Some(&key))] {
            assert!(text.contains("[redacted]"));
            assert!(!text.contains("171") && !text.contains("ab, ab"), "{text}");
        }
    }

    #[test]
    fn equal_only_when_every_byte_is() {
        let key = SecretKey::from_bytes([1; 32]);
        assert_eq!(key, key.duplicate());
        for byte in 0..32 {
            let mut other = [1; 32];
            other[byte] ^= 0x80;
            assert_ne!(key, SecretKey::from_bytes(other));
        }
        assert!(SecretKey::from_slice(&[1; 31]).is_none());
        assert!(SecretKey::from_slice(&[1; 33]).is_none());
        assert_eq!(SecretKey::from_slice(&[1; 32]), Some(key));
    }

    #[test]
    fn a_failed_fill_gives_no_key() {
        let result = SecretKey::try_fill(|key| {
            key.fill(9);
            Err("no")
        });
        assert_eq!(result.expect_err("fill failed"), "no");
    }
}
