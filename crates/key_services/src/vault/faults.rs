//! What a server's refusals mean to whoever wants a key.

use lightning_db_crypto::CryptoError;
use serde_json::Value;

use super::client::{Answer, Client};

/// How much of what a server says is repeated.
const MAX_REPORT_CHARS: usize = 200;

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
        let words = if words.is_empty() { "it gave no reason".to_owned() } else { words };
        words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REPORT_CHARS).collect()
    }
}

impl Client {
    pub(super) fn unreachable(&self, reason: &str) -> CryptoError {
        CryptoError::Unreachable { provider: self.name.clone(), reason: reason.into() }
    }

    pub(super) fn tampered(&self, reason: &str) -> CryptoError {
        CryptoError::Tampered { provider: self.name.clone(), reason: reason.into() }
    }

    pub(super) fn failed(&self, reason: &str) -> CryptoError {
        CryptoError::Provider { name: self.name.clone(), reason: reason.into() }
    }

    fn no_such_key(&self, reason: String) -> CryptoError {
        CryptoError::NoSuchKey { provider: self.name.clone(), reason }
    }

    /// The error for an answer that is no success.
    pub(super) fn refusal(&self, answer: &Answer) -> CryptoError {
        let (status, words) = (answer.status, answer.words());
        let provider = self.name.clone();
        match status {
            300..=399 => self.unreachable(&format!(
                "it redirects to another server ({status}), which is not followed: see address="
            )),
            403 => CryptoError::Refused {
                provider,
                reason: format!(
                    "{words}: see that {} holds a token that lives, and that its policy allows reading MOUNT/keys/KEY and \
                     updating MOUNT/encrypt/KEY and MOUNT/decrypt/KEY",
                    self.token
                ),
            },
            404 => self.no_such_key(format!("{words}: see MOUNT/KEY and namespace=, or make the key")),
            400 if words.contains("encryption key not found") => {
                self.no_such_key(format!("{words}: it was deleted, or see MOUNT/KEY"))
            }
            400 if words.contains("disallowed by policy") || words.contains("deleted") => {
                let reason = format!("{words}: see min_decryption_version of the key");
                CryptoError::KeyDisabled { provider, reason }
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
                self.tampered(&format!("it does not open it ({words})"))
            }
            429 => self.unreachable("it asked to come again later, the whole time"),
            503 => self.unreachable(&format!("{words}: unseal it, or wait until it is ready")),
            412 | 500 | 502 | 504 => {
                self.unreachable(&format!("it failed the whole time ({status}): {words}"))
            }
            _ => self.failed(&format!("it answered {status}: {words}")),
        }
    }
}
