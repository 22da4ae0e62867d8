//! A passphrase, stretched with Argon2id.
//!
//! Slot parameters, all little-endian:
//!
//! ```text
//! ┌──────────────────┬─────────────┬────────────┐
//! │ memory, KiB  u32 │ passes  u32 │ lanes  u32 │
//! └──────────────────┴─────────────┴────────────┘
//! ```

use std::{ffi::OsStr, fmt, path::Path};

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::{KeyProvider, SlotContext, WrappedKey, env, file};
use crate::{CryptoError, Entropy, SecretKey};

/// How much work it takes to try one passphrase.
///
/// The bounds are checked before any memory is taken, since the cost of an existing slot is read
/// from a file that nothing has authenticated yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassphraseCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl PassphraseCost {
    /// 64 MiB, three passes, four lanes.
    pub const DEFAULT: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    /// Another cost: memory from 8 MiB to 1 GiB, passes and lanes from 1 to 16.
    ///
    /// # Errors
    /// [`CryptoError::Malformed`] outside of these bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CryptoError> {
        let bounds = [
            ("memory in KiB", memory_kib, 8 * 1024, 1024 * 1024),
            ("passes", passes, 1, 16),
            ("lanes", lanes, 1, 16),
        ];
        for (name, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                return Err(malformed(format!("{name} is {value}, not from {min} to {max}")));
            }
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [self.memory_kib, self.passes, self.lanes].iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        let &[memory_kib, passes, lanes] = bytes.as_chunks::<4>().0 else {
            return Err(malformed(format!("they take {} bytes, not 12", bytes.len())));
        };
        if bytes.len() != 12 {
            return Err(malformed(format!("they take {} bytes, not 12", bytes.len())));
        }
        Self::new(u32::from_le_bytes(memory_kib), u32::from_le_bytes(passes), u32::from_le_bytes(lanes))
    }
}

fn malformed(reason: String) -> CryptoError {
    CryptoError::Malformed { what: "Argon2id parameters", reason }
}

/// Wraps with a key computed from a passphrase by Argon2id, with a salt of its own in each slot.
pub struct PassphraseProvider {
    passphrase: Zeroizing<Vec<u8>>,
    cost: PassphraseCost,
}

impl PassphraseProvider {
    /// Wraps with `passphrase`, taken byte by byte as it is: neither trimmed nor normalized.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is empty or longer than 4096 bytes.
    pub fn new(passphrase: impl Into<String>) -> Result<Self, CryptoError> {
        Self::from_bytes("passphrase", Zeroizing::new(passphrase.into().into_bytes()))
    }

    /// Takes the passphrase from a file, without the line end that closes it.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is empty, longer than 4096 bytes, no regular file, or (on
    /// Unix) can be read by group or others; [`CryptoError::Io`] if it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, CryptoError> {
        let source = format!("passphrase-file:{}", path.display());
        let passphrase = file::read_passphrase(path, &source)?;
        Self::from_bytes(&source, passphrase)
    }

    /// Takes the passphrase from an environment variable.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is not set, is empty, or longer than 4096 bytes.
    pub fn from_env(name: impl AsRef<OsStr>) -> Result<Self, CryptoError> {
        let source = format!("passphrase-env:{}", name.as_ref().to_string_lossy());
        let passphrase = env::read_passphrase(name.as_ref(), &source)?;
        Self::from_bytes(&source, passphrase)
    }

    /// Uses another cost for the slots that it fills. A slot that exists has its own.
    #[must_use]
    pub fn with_cost(mut self, cost: PassphraseCost) -> Self {
        self.cost = cost;
        self
    }

    fn from_bytes(source: &str, passphrase: Zeroizing<Vec<u8>>) -> Result<Self, CryptoError> {
        let refuse =
            |reason: &str| Err(CryptoError::InvalidKey { source_name: source.into(), reason: reason.into() });
        if passphrase.is_empty() {
            return refuse("it is empty: give at least one character");
        }
        if passphrase.len() > file::MAX_PASSPHRASE_LEN {
            return refuse("it is longer than 4096 bytes: use a shorter one, or a key file");
        }
        Ok(Self { passphrase, cost: PassphraseCost::DEFAULT })
    }

    fn stretch(&self, ctx: &SlotContext, cost: PassphraseCost) -> Result<SecretKey, CryptoError> {
        let failed = |error: argon2::Error| CryptoError::Provider {
            name: "passphrase".into(),
            reason: format!("Argon2id with {} KiB of memory: {error}", cost.memory_kib),
        };
        let params =
            Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(SecretKey::LEN)).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        SecretKey::try_fill(|key| argon2.hash_password_into(&self.passphrase, &ctx.salt, key).map_err(failed))
    }
}

impl KeyProvider for PassphraseProvider {
    fn kind(&self) -> &'static str {
        "passphrase"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let wrapping = self.stretch(ctx, self.cost)?;
        WrappedKey::seal(&wrapping, ctx, self.cost.to_bytes(), key, entropy)
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let cost = PassphraseCost::from_bytes(&wrapped.params)?;
        wrapped.open(&self.stretch(ctx, cost)?, ctx)
    }
}

impl fmt::Debug for PassphraseProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassphraseProvider([redacted], {:?})", self.cost)
    }
}

#[cfg(test)]
mod tests {
    use argon2::{AssociatedData, ParamsBuilder};

    use super::*;
    use crate::{DatabaseId, OsEntropy};

    /// RFC 9106, section 5.3.
    #[test]
    fn rfc_9106() {
        let params = ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .data(AssociatedData::new(&[4; 12]).expect("short"))
            .build()
            .expect("within bounds");
        let argon2 =
            Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).expect("short");
        let mut tag = [0; 32];
        argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).expect("hashed");
        assert_eq!(hex::encode(tag), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    }

    #[test]
    fn the_default_cost_is_stored_and_used() {
        let ctx = SlotContext { database: DatabaseId([1; 16]), salt: [2; 32] };
        let key = SecretKey::from_bytes([3; 32]);
        let provider = PassphraseProvider::new("correct horse").expect("not empty");
        let wrapped = provider.wrap(&ctx, &key, &OsEntropy).expect("wrapped");
        let cost = [65536u32, 3, 4].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(wrapped.params, cost);
        assert_eq!(provider.unwrap(&ctx, &wrapped).expect("unwrapped"), key);

        // A cheaper cost in the slot gives another key: it cannot be lowered behind one's back.
        let params = PassphraseCost::new(8 * 1024, 1, 1).expect("within bounds").to_bytes();
        let cheaper = provider.unwrap(&ctx, &WrappedKey { params, ..wrapped.clone() });
        assert!(matches!(cheaper, Err(CryptoError::WrongKey { .. })));
        let elsewhere = SlotContext { salt: [9; 32], ..ctx };
        let moved = provider.unwrap(&elsewhere, &wrapped);
        assert!(matches!(moved, Err(CryptoError::WrongKey { .. })));
    }
}
