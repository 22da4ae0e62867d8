//! What the service's refusals mean to whoever wants a key.

use google_cloud_gax::client_builder;
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;
use lightning_db_crypto::{CryptoError, presentable};

use super::client::Place;
use crate::causes::with_causes;

const NO_CREDENTIALS: &str = "see GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the machine's service account";

/// What the service was asked to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Encrypt,
    Decrypt,
}

impl Place {
    /// The error for a request that did not succeed.
    pub(super) fn fault(&self, doing: Doing, error: &Error) -> CryptoError {
        let name = &self.name;
        if let Some(status) = error.status() {
            return self.said(doing, status.code, &presentable(&status.message));
        }
        let words = presentable(&with_causes(error));
        if error.is_authentication() {
            return name.refused(format!("there are no usable credentials ({words}): {NO_CREDENTIALS}"));
        }
        match error.http_status_code() {
            // Something before the service, which does not speak as it does.
            Some(429 | 500..) => name.unreachable(words),
            Some(_) => name.failed(words),
            None if error.is_deserialization() || error.is_serialization() || error.is_binding() => {
                name.failed(words)
            }
            None => name.unreachable(words),
        }
    }

    /// The error for a client that could not be made.
    pub(super) fn no_client(&self, error: &client_builder::Error) -> CryptoError {
        let words = presentable(&with_causes(error));
        if error.is_default_credentials() {
            self.name.refused(format!("there are no usable credentials ({words}): {NO_CREDENTIALS}"))
        } else {
            self.name.failed(words)
        }
    }

    /// The error for what the service calls `code`.
    fn said(&self, doing: Doing, code: Code, message: &str) -> CryptoError {
        let name = &self.name;
        let words = format!("{}: {message}", code.name());
        match code {
            Code::NotFound => {
                name.no_such_key(format!("{words}; see the key's name, its location and the project"))
            }
            Code::FailedPrecondition => {
                name.disabled(format!("{words}; enable its primary version, or restore it"))
            }
            Code::PermissionDenied => name.refused(format!(
                "{words}; the account needs cloudkms.cryptoKeyVersions.useToEncrypt and useToDecrypt"
            )),
            Code::Unauthenticated => name.refused(format!("{words}; {NO_CREDENTIALS}")),
            // A checksum that does not fit: the request was damaged on the way.
            Code::InvalidArgument if message.contains("crc32c") => name.unreachable(words),
            Code::InvalidArgument if doing == Doing::Decrypt => name.tampered(
                "it does not open it for this database: it was changed, or moved here from elsewhere",
            ),
            Code::ResourceExhausted => name.unreachable(format!("it throttled the whole time ({words})")),
            Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Aborted | Code::Cancelled => {
                name.unreachable(format!("it failed the whole time ({words})"))
            }
            _ => name.failed(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use lightning_db_crypto::ProviderName;

    use super::*;

    #[test]
    fn each_code_has_its_meaning() {
        let place = Place { key: "k".into(), endpoint: None, name: ProviderName::new("gcpkms://k") };
        for (code, expected) in [
            (Code::NotFound, "has no such key"),
            (Code::FailedPrecondition, "is disabled"),
            (Code::PermissionDenied, "refuses"),
            (Code::Unauthenticated, "GOOGLE_APPLICATION_CREDENTIALS"),
            (Code::InvalidArgument, "tampered"),
            (Code::ResourceExhausted, "cannot be reached: it throttled"),
            (Code::Unavailable, "cannot be reached"),
            (Code::OutOfRange, "failed: OUT_OF_RANGE"),
        ] {
            let text = place.said(Doing::Decrypt, code, "words").to_string();
            assert!(text.contains(expected), "{code:?}: {text}");
        }
        let text = place.said(Doing::Encrypt, Code::InvalidArgument, "words").to_string();
        assert!(text.contains("failed: INVALID_ARGUMENT: words"), "{text}");
        let text = place.said(Doing::Decrypt, Code::InvalidArgument, "ciphertext_crc32c").to_string();
        assert!(text.contains("cannot be reached"), "{text}");
    }
}
