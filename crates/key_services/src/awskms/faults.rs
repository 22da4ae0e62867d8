//! What the service's refusals mean to whoever wants a key.

use std::error::Error;

use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use lightning_db_crypto::CryptoError;

use super::client::{Misdirected, Place};

/// How much of what the service says is repeated.
const MAX_REPORT_CHARS: usize = 300;

impl Place {
    pub(super) fn unreachable(&self, reason: &str) -> CryptoError {
        CryptoError::Unreachable { provider: self.name.clone(), reason: reason.into() }
    }

    pub(super) fn failed(&self, reason: &str) -> CryptoError {
        CryptoError::Provider { name: self.name.clone(), reason: reason.into() }
    }

    fn refused(&self, reason: String) -> CryptoError {
        CryptoError::Refused { provider: self.name.clone(), reason }
    }

    /// The error for a request that did not succeed, in the end.
    pub(super) fn fault<E, R>(&self, error: &SdkError<E, R>) -> CryptoError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let words = presentable(&DisplayErrorContext(error).to_string());
        if let Some(Misdirected { endpoint, reason }) = misdirected(error) {
            let reason = format!(
                "nothing was sent to {}: {reason}; see endpoint=, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS and the profile's endpoint_url",
                presentable(endpoint)
            );
            return CryptoError::InvalidKey { source_name: self.name.clone(), reason };
        }
        match error {
            SdkError::ServiceError(service) => {
                let message = presentable(service.err().message().unwrap_or("it gave no reason"));
                self.said(service.err().code().unwrap_or_default(), &message)
            }
            _ if words.contains("credential") => self.refused(format!(
                "there are no usable credentials ({words}): see AWS_ACCESS_KEY_ID, the profile, or the instance's role"
            )),
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => self.unreachable(&words),
            SdkError::ConstructionFailure(_) => self.failed(&format!("{words}: see region=")),
            _ => self.failed(&words),
        }
    }

    /// The error for what the service calls `code`.
    fn said(&self, code: &str, message: &str) -> CryptoError {
        let provider = self.name.clone();
        let words = format!("{code}: {message}");
        match code {
            "NotFoundException" => CryptoError::NoSuchKey {
                provider,
                reason: format!("{words}; see the key's name, region= and the account"),
            },
            "DisabledException" | "KMSInvalidStateException" => CryptoError::KeyDisabled {
                provider,
                reason: format!("{words}; enable it, or cancel its deletion"),
            },
            "InvalidKeyUsageException" => CryptoError::KeyDisabled {
                provider,
                reason: format!("{words}; make a symmetric key for encryption"),
            },
            "InvalidCiphertextException" => CryptoError::Tampered {
                provider,
                reason: "it does not open it for this database: it was changed, or moved here from elsewhere"
                    .into(),
            },
            "IncorrectKeyException" => {
                CryptoError::WrongKey { what: format!("another key than {provider} wrapped this") }
            }
            "InvalidSignatureException" | "RequestExpired" | "RequestTimeTooSkewed" => self.refused(format!(
                "{words}; see that this machine's clock is right, and the secret access key"
            )),
            "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => {
                self.refused(format!("{words}; the key's policy must allow kms:Encrypt and kms:Decrypt"))
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "MissingAuthenticationToken"
            | "IncompleteSignature"
            | "SignatureDoesNotMatch" => self.refused(format!("{words}; see the credentials")),
            "ThrottlingException" | "Throttling" | "LimitExceededException" | "RequestLimitExceeded" => {
                self.unreachable(&format!("it throttled the whole time ({words})"))
            }
            "DependencyTimeoutException"
            | "KMSInternalException"
            | "KeyUnavailableException"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => {
                self.unreachable(&format!("it failed the whole time ({words})"))
            }
            _ => self.failed(&words),
        }
    }
}

fn misdirected<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Misdirected> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
        .find_map(|error| error.downcast_ref())
}

/// Short, and without what could rewrite a terminal.
fn presentable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REPORT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_meaning() {
        let place = Place {
            key: "alias/k".into(),
            region: None,
            endpoint: None,
            profile: None,
            name: "awskms:alias/k".into(),
        };
        for (code, expected) in [
            ("NotFoundException", "has no such key"),
            ("DisabledException", "is disabled"),
            ("KMSInvalidStateException", "is disabled"),
            ("InvalidCiphertextException", "tampered"),
            ("IncorrectKeyException", "wrong key"),
            ("AccessDeniedException", "refuses"),
            ("ExpiredTokenException", "see the credentials"),
            ("InvalidSignatureException", "clock"),
            ("ThrottlingException", "cannot be reached: it throttled"),
            ("KMSInternalException", "cannot be reached"),
            ("SomethingNew", "failed: SomethingNew"),
        ] {
            let text = place.said(code, "words").to_string();
            assert!(text.contains(expected), "{code}: {text}");
        }
        assert_eq!(presentable("a\x1b[2Jb"), "a [2Jb");
    }
}
