//! Names of things, each its own type so that one cannot be passed for another.

use std::fmt;

use crate::{CryptoError, Entropy};

/// The identity of a database, drawn at random when it is created and kept for ever.
///
/// It takes part in the derivation of each key, so that a file of one database cannot open in
/// another, not even when both are used with the same passphrase.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub [u8; 16]);

impl DatabaseId {
    /// Draws a new identity.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`] when no random bytes can be had.
    pub fn random(entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let mut id = [0; 16];
        entropy.fill(&mut id)?;
        Ok(Self(id))
    }

    /// The sixteen bytes, as they stand in files.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseId({self})")
    }
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

numbered! {
    /// The number of a data key. Numbers start at 1, grow by one and are never used again.
    EpochId
}
numbered! {
    /// The number of a key slot. Numbers start at 1, grow by one and are never used again.
    SlotId
}
