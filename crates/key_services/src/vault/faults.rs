//! What a server's refusals mean to whoever wants a key.

use lightning_db_crypto::{CryptoError, presentable};
use serde_json::Value;

use super::client::{Answer, Client};

impl Answer {
    /// Whether the same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.status, 412 | 429 | 500 | 502 | 504)
    }

    /// The server's own words, short and without what could rewrite a terminal.
    fn words(&self) -> String {
        let parsed: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let errors = parsed["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let words = errors.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
        presentable(if words.is_empty() { "it gave no reason" } else { &words })
    }
}

impl Client {
    /// The error for an answer that is no success.
    pub(super) fn refusal(&self, answer: &Answer) -> CryptoError {
        let (status, words) = (answer.status, answer.words());
        let name = &self.name;
        match status {
            300..=399 => name.unreachable(format!(
                "it redirects to another server ({status}), which is not followed: see address="
            )),
            403 => name.refused(format!(
                "{words}: see that {} holds a token that lives, and that its policy allows reading MOUNT/keys/KEY and \
                 updating MOUNT/encrypt/KEY and MOUNT/decrypt/KEY",
                self.token
            )),
            404 => name.no_such_key(format!("{words}: see MOUNT/KEY and namespace=, or make the key")),
            400 if words.contains("encryption key not found") => {
                name.no_such_key(format!("{words}: it was deleted, or see MOUNT/KEY"))
            }
            400 if words.contains("disallowed by policy") || words.contains("deleted") => {
                name.disabled(format!("{words}: see min_decryption_version of the key"))
            }
            400 if [
                "authentication failed",
                "invalid ciphertext",
                "version is too new",
                "unable to decrypt",
            ]
            .iter()
            .any(|known| words.contains(known)) =>
            {
                name.tampered(format!("it does not open it ({words})"))
            }
            429 => name.unreachable("it asked to come again later, the whole time"),
            503 => name.unreachable(format!("{words}: unseal it, or wait until it is ready")),
            412 | 500 | 502 | 504 => {
                name.unreachable(format!("it failed the whole time ({status}): {words}"))
            }
            _ => name.failed(format!("it answered {status}: {words}")),
        }
    }
}
