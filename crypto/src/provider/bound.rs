//! How a key travels to whoever wraps it elsewhere: together with the place that it belongs to.
//!
//! What a service is given to wrap, 80 bytes:
//!
//! ```text
//! ┌───────────────────┬───────────────────┬────────────────┐
//! │ database id  [16] │ slot's salt  [32] │ the key   [32] │
//! └───────────────────┴───────────────────┴────────────────┘
//! ```
//!
//! So even a wrapping that takes no associated data (AES key wrap) says, once it is opened, which
//! database and slot it was made for. A multiple of eight bytes suits AES key wrap.
//!
//! The slot's parameters, little-endian, in the clear:
//!
//! ```text
//! ┌─────────────┬───────────────────┬────────────┬──────────────┬──────────────────┐
//! │ version  u8 │ database id  [16] │ method  u8 │ length   u16 │ key's name UTF-8 │
//! └─────────────┴───────────────────┴────────────┴──────────────┴──────────────────┘
//! ```
//!
//! They are not authenticated. They choose between errors and say which key to ask for; what is
//! believed is what the opened payload says.

use zeroize::Zeroizing;

use super::{SlotContext, WrappedKey};
use crate::{CryptoError, DatabaseId, SecretKey};

const VERSION: u8 = 1;
const HEAD_LEN: usize = 1 + 16 + 1 + 2;
const MAX_NAME_LEN: usize = 2048;
const PAYLOAD_LEN: usize = 16 + 32 + SecretKey::LEN;

/// Which key wrapped a slot, as its parameters tell. Nothing of it is authenticated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedBy {
    /// The key's name at its provider. No secret.
    pub key: String,
    /// How it wrapped, in the numbers of the provider.
    pub method: u8,
}

impl WrappedBy {
    /// The parameters of a slot that this key fills.
    ///
    /// # Errors
    /// [`CryptoError::TooLarge`] for a name of more than 2048 bytes.
    pub fn to_params(&self, ctx: &SlotContext) -> Result<Vec<u8>, CryptoError> {
        let too_long = CryptoError::TooLarge { what: "the length of a key's name", max: MAX_NAME_LEN as u64 };
        let len = u16::try_from(self.key.len()).ok().filter(|len| usize::from(*len) <= MAX_NAME_LEN);
        let len = len.ok_or(too_long)?.to_le_bytes();
        Ok([&[VERSION], ctx.database.as_bytes().as_slice(), &[self.method], &len, self.key.as_bytes()]
            .concat())
    }

    /// Reads a slot's parameters.
    ///
    /// # Errors
    /// [`CryptoError::WrongDatabase`] if the slot was filled for another database,
    /// [`CryptoError::Malformed`] if they are damaged.
    pub fn from_params(provider: &str, ctx: &SlotContext, params: &[u8]) -> Result<Self, CryptoError> {
        let malformed =
            |reason: &str| CryptoError::Malformed { what: "key slot's parameters", reason: reason.into() };
        let (head, name) =
            params.split_first_chunk::<HEAD_LEN>().ok_or_else(|| malformed("they are too short"))?;
        let (database, rest) = head[1..].split_first_chunk::<16>().expect("the head holds an id");
        if head[0] != VERSION {
            return Err(malformed("they are of another version"));
        }
        if usize::from(u16::from_le_bytes([rest[1], rest[2]])) != name.len() || name.len() > MAX_NAME_LEN {
            return Err(malformed("the key's name has another length"));
        }
        let key = std::str::from_utf8(name).map_err(|_| malformed("the key's name is not UTF-8"))?;
        if key.contains(char::is_control) {
            return Err(malformed("the key's name has control characters"));
        }
        check_database(provider, ctx, DatabaseId(*database))?;
        Ok(Self { key: key.into(), method: rest[0] })
    }
}

impl SlotContext {
    /// What to give to a service that is to wrap `key` for this slot: 80 bytes that also say which
    /// database and slot it is for.
    pub fn payload(&self, key: &SecretKey) -> Zeroizing<Vec<u8>> {
        let mut payload = Zeroizing::new(Vec::with_capacity(PAYLOAD_LEN));
        payload.extend_from_slice(self.database.as_bytes());
        payload.extend_from_slice(&self.salt);
        payload.extend_from_slice(key.expose());
        payload
    }

    /// Takes the key out of what a service has unwrapped, if it is the one that this slot holds.
    ///
    /// # Errors
    /// [`CryptoError::WrongDatabase`] if it was wrapped for another database;
    /// [`CryptoError::Tampered`] if it is anything else but what was wrapped for this slot.
    pub fn accept(
        &self,
        provider: &str,
        payload: &[u8],
        wrapped: &WrappedKey,
    ) -> Result<SecretKey, CryptoError> {
        let tampered =
            |reason: &str| CryptoError::Tampered { provider: provider.into(), reason: reason.into() };
        let key = payload.get(48..).and_then(SecretKey::from_slice);
        let key = key.ok_or_else(|| {
            tampered(&format!("what it unwrapped has {} bytes, not {PAYLOAD_LEN}", payload.len()))
        })?;
        let database = payload.first_chunk::<16>().expect("the payload has its whole length");
        check_database(provider, self, DatabaseId(*database))?;
        if payload[16..48] != self.salt {
            return Err(tampered("what it unwrapped was wrapped for another key slot"));
        }
        match self.check_commitment(&key, &wrapped.commitment) {
            Ok(()) => Ok(key),
            Err(_) => Err(tampered("the key that it unwrapped is not the one of this slot")),
        }
    }
}

fn check_database(provider: &str, ctx: &SlotContext, found: DatabaseId) -> Result<(), CryptoError> {
    if found == ctx.database {
        return Ok(());
    }
    Err(CryptoError::WrongDatabase { provider: provider.into(), wrapped_for: found, database: ctx.database })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> SlotContext {
        SlotContext { database: DatabaseId([1; 16]), salt: [2; 32] }
    }

    #[test]
    fn parameters_come_back_and_damaged_ones_do_not() {
        let by = WrappedBy { key: "transit/ldb".into(), method: 3 };
        let params = by.to_params(&context()).expect("short");
        assert_eq!(WrappedBy::from_params("p", &context(), &params).expect("read"), by);
        for len in 0..params.len() {
            let error = WrappedBy::from_params("p", &context(), &params[..len]).expect_err("cut");
            assert!(matches!(error, CryptoError::Malformed { .. }), "{len}: {error}");
        }
        let longer = [&params[..], b"x"].concat();
        assert!(WrappedBy::from_params("p", &context(), &longer).is_err());
        let other = SlotContext { database: DatabaseId([9; 16]), ..context() };
        let error = WrappedBy::from_params("p", &other, &params).expect_err("another database");
        assert!(matches!(error, CryptoError::WrongDatabase { .. }), "{error}");
        let long = WrappedBy { key: "x".repeat(2049), method: 0 };
        assert!(matches!(long.to_params(&context()), Err(CryptoError::TooLarge { .. })));
    }

    #[test]
    fn only_the_payload_of_this_slot_is_accepted() {
        let (ctx, key) = (context(), SecretKey::from_bytes([3; 32]));
        let wrapped = WrappedKey { params: vec![], bytes: vec![], commitment: ctx.commitment_to(&key) };
        let payload = ctx.payload(&key);
        assert_eq!(payload.len(), PAYLOAD_LEN);
        assert_eq!(ctx.accept("p", &payload, &wrapped).expect("accepted"), key);
        for at in 0..PAYLOAD_LEN {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            let error = ctx.accept("p", &changed, &wrapped).expect_err("changed");
            let expected = if at < 16 {
                matches!(error, CryptoError::WrongDatabase { .. })
            } else {
                matches!(error, CryptoError::Tampered { .. })
            };
            assert!(expected, "{at}: {error}");
        }
        for len in 0..PAYLOAD_LEN {
            assert!(matches!(ctx.accept("p", &payload[..len], &wrapped), Err(CryptoError::Tampered { .. })));
        }
    }
}
