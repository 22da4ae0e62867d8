//! What the service's refusals mean to whoever wants a key.

use std::error::Error as _;

use azure_core::Error;
use azure_core::error::ErrorKind;
use lightning_db_crypto::{CryptoError, presentable};
use serde_json::Value;

use super::client::Place;
use crate::causes::with_causes;

/// What the service was asked to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Wrap,
    Unwrap,
}

/// What a refusal says of itself.
struct Said {
    status: u16,
    /// Of the refusal, and of what is within it.
    codes: [String; 2],
    message: String,
}

impl Place {
    /// The error for a request that did not succeed.
    pub(super) fn fault(&self, doing: Doing, error: &Error) -> CryptoError {
        // A refusal of the credentials holds what their service said.
        if matches!(error.kind(), ErrorKind::Credential) {
            return self.no_token(error);
        }
        match error.kind() {
            ErrorKind::HttpResponse { status, raw_response, .. } => {
                let body = raw_response.as_ref().map(|answer| answer.body().to_vec()).unwrap_or_default();
                self.said(doing, &Said::read((*status).into(), &body))
            }
            ErrorKind::Connection | ErrorKind::Io => self.name.unreachable(presentable(&with_causes(error))),
            _ => self.name.failed(presentable(&with_causes(error))),
        }
    }

    /// The error for credentials that are not there, or cannot be used.
    pub(super) fn no_credentials(&self, words: &str) -> CryptoError {
        self.name.refused(format!(
            "there are no usable credentials ({}): see AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, the machine's identity, and credentials=",
            presentable(words)
        ))
    }

    /// Whoever gives out tokens may be away, too.
    fn no_token(&self, error: &Error) -> CryptoError {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(inner) = inner.downcast_ref::<Error>() {
                match inner.kind() {
                    ErrorKind::Connection | ErrorKind::Io => {
                        return self.name.unreachable(presentable(&with_causes(error)));
                    }
                    ErrorKind::HttpResponse { status, .. }
                        if u16::from(*status) == 429 || u16::from(*status) >= 500 =>
                    {
                        return self.name.unreachable(presentable(&with_causes(error)));
                    }
                    _ => {}
                }
            }
            cause = inner.source();
        }
        self.no_credentials(&with_causes(error))
    }

    fn said(&self, doing: Doing, said: &Said) -> CryptoError {
        let name = &self.name;
        let words = format!("{} {}: {}", said.status, said.codes.join(" "), said.message);
        let words = presentable(words.trim_end());
        let is = |code: &str| said.codes.iter().any(|known| known == code);
        match said.status {
            404 => name.no_such_key(format!("{words}; see the key's name, its version and the vault")),
            403 if is("KeyDisabled")
                || is("KeyExpired")
                || is("KeyNotYetValid")
                || is("KeyOperationForbidden") =>
            {
                name.disabled(format!("{words}; it must be enabled, valid, and allow wrapKey and unwrapKey"))
            }
            401 | 403 => name.refused(format!("{words}; keys/wrapKey and keys/unwrapKey must be allowed")),
            400 if doing == Doing::Unwrap => name.tampered(format!(
                "it does not unwrap it: it was changed, or another key wrapped it ({words})"
            )),
            409 => name.disabled(words),
            429 => name.unreachable(format!("it throttled the whole time ({words})")),
            408 | 500.. => name.unreachable(format!("it failed the whole time ({words})")),
            _ => name.failed(words),
        }
    }
}

impl Said {
    fn read(status: u16, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let error = &body["error"];
        let codes = [text(&error["code"]), text(&error["innererror"]["code"])];
        Self { status, codes, message: text(&error["message"]) }
    }
}

#[cfg(test)]
mod tests {
    use crate::AzureKvProvider;

    use super::*;

    #[test]
    fn each_refusal_has_its_meaning() {
        let place = AzureKvProvider::from_uri("azurekv://v/keys/k").expect("a URI").place;
        let body = |code: &str, inner: &str| {
            serde_json::json!({ "error": { "code": code, "message": "words", "innererror": { "code": inner } } })
                .to_string()
        };
        for (status, body, expected) in [
            (404, body("KeyNotFound", ""), "has no such key"),
            (403, body("Forbidden", "KeyDisabled"), "is disabled"),
            (403, body("Forbidden", "ForbiddenByRbac"), "refuses"),
            (401, body("Unauthorized", ""), "refuses"),
            (400, body("BadParameter", ""), "tampered"),
            (429, body("Throttled", ""), "cannot be reached: it throttled"),
            (503, String::new(), "cannot be reached"),
            (418, body("SomethingNew", ""), "failed: 418 SomethingNew : words"),
        ] {
            let said = Said::read(status, body.as_bytes());
            let text = place.said(Doing::Unwrap, &said).to_string();
            assert!(text.contains(expected), "{status}: {text}");
        }
        let text = place.said(Doing::Wrap, &Said::read(400, b"<html>")).to_string();
        assert!(text.contains("failed: 400"), "{text}");
    }
}
