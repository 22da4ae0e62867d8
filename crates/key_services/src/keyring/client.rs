//! Asking the Secret Service for an entry.

use std::collections::HashMap;

use lightning_db_crypto::{CryptoError, ProviderName, SecretKey, Zeroizing, parse_key, presentable};
use secret_service::{EncryptionType, Error, SecretService};

/// What an entry is found by.
const APPLICATION: (&str, &str) = ("application", "lightning_db");
const KEY: &str = "key";

/// The key in the one entry of this name.
pub(super) async fn fetch(name: &ProviderName, entry: &str) -> Result<SecretKey, CryptoError> {
    let fault = |error: Error| fault(name, &error);
    let service = SecretService::connect(EncryptionType::Dh).await.map_err(fault)?;
    let found = service.search_items(HashMap::from([APPLICATION, (KEY, entry)])).await.map_err(fault)?;
    let item = match (&found.unlocked[..], found.locked.len()) {
        ([item], 0) => item,
        ([], 0) => {
            return Err(name.no_such_key(
                "make an entry with the attributes application = lightning_db and key = NAME, as the README shows",
            ));
        }
        ([], 1) => return Err(fault(Error::Locked)),
        (unlocked, locked) => {
            let count = unlocked.len() + locked;
            return Err(name.unusable(format!("{count} entries have this name: leave one of them")));
        }
    };
    let secret = Zeroizing::new(item.get_secret().await.map_err(fault)?);
    parse_key(&secret)
        .ok_or_else(|| name.unusable("the entry holds something else than 64 hex digits or 32 bytes"))
}

fn fault(name: &ProviderName, error: &Error) -> CryptoError {
    let words = presentable(&error.to_string());
    match error {
        Error::Locked | Error::Prompt | Error::PromptDisconnected => {
            name.refused("the keyring is locked: log in, or unlock it, as whoever runs this program")
        }
        _ if words.contains("Secret.Error.IsLocked") => fault(name, &Error::Locked),
        // An entry that was there a moment ago.
        Error::NoResult => name.no_such_key(words),
        Error::Crypto(_) | Error::Zvariant(_) => name.failed(words),
        _ => name.unreachable(format!(
            "{words}; a keyring needs a session bus (DBUS_SESSION_BUS_ADDRESS) and a Secret Service on it"
        )),
    }
}
