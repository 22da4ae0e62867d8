//! The keyring of the operating system: a key that the Secret Service (GNOME Keyring, KWallet, KeePassXC) keeps for whoever is
//! logged in, and hands out over D-Bus.
//!
//! The key is fetched, wraps here (AES-256-GCM, bound to the database and the slot), and is forgotten. What crosses the bus is
//! encrypted for the session. Nothing is ever asked of a person: a keyring that is locked stays so.

mod client;

use std::fmt;
use std::time::Duration;

use lightning_db_crypto::{
    CryptoError, Entropy, KeyProvider, ProviderName, SecretKey, ServiceUri, SlotContext, UriGrammar,
    WrappedBy, WrappedKey,
};

use crate::runtime;

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "keyring",
    attributes: &[],
    parameters: &[],
    refused: &[("password", "others can see it in a URI; the keyring is unlocked when its owner logs in")],
    example: "keyring:NAME",
};

/// The only way in which it wraps.
const METHOD: u8 = 1;
const MAX_NAME_LEN: usize = 256;

/// Wraps with a key in the operating system's keyring.
pub struct KeyringProvider {
    entry: String,
    name: ProviderName,
    timeout: Duration,
}

impl KeyringProvider {
    /// Reads a URI `keyring:NAME`. Nothing is connected to yet.
    ///
    /// The entry has the attributes `application` = `lightning_db` and `key` = NAME, and holds 64 hex digits or 32 bytes;
    /// `secret-tool store --label NAME application lightning_db key NAME` makes it. Behind a question mark: `timeout` in
    /// seconds.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let entry = uri.path();
        if entry.is_empty() || entry.len() > MAX_NAME_LEN {
            return Err(uri.bad("", "the name of an entry is expected here, of at most 256 bytes"));
        }
        let name = ProviderName::new(format!("keyring:{entry}"));
        Ok(Self { entry: entry.to_owned(), name, timeout: uri.timeout()? })
    }

    fn fetch(&self) -> Result<SecretKey, CryptoError> {
        let (name, entry) = (self.name.clone(), self.entry.clone());
        runtime::wait(&self.name, self.timeout, async move { client::fetch(&name, &entry).await })
    }
}

impl KeyProvider for KeyringProvider {
    fn kind(&self) -> &'static str {
        "keyring"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let params = WrappedBy { key: self.entry.clone(), method: METHOD }.to_params(ctx)?;
        WrappedKey::seal(&self.fetch()?, ctx, params, key, entropy)
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let by = self.name.wrapped_by(ctx, wrapped)?;
        let opened = wrapped.open(&self.fetch()?, ctx);
        opened.map_err(|error| self.name.not_unwrapped(&by, &self.entry, error))
    }
}

impl fmt::Debug for KeyringProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_an_entry() {
        let provider = KeyringProvider::from_uri("keyring:my%20db?timeout=3").expect("a URI");
        assert_eq!(format!("{provider:?}"), "keyring:my db");
        for (uri, reason) in [
            ("keyring:", "at character 9: the name"),
            ("keyring:db?password=hunter2", "at character 12: password= is refused"),
            ("keyring:db?tiemout=hunter2", "is it timeout=?"),
        ] {
            let text = KeyringProvider::from_uri(uri).expect_err(uri).to_string();
            assert!(text.contains(reason) && !text.contains("hunter2"), "{uri}: {text}");
        }
    }
}
