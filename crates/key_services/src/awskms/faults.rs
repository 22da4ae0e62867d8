//! What the service's refusals mean to whoever wants a key.

use std::error::Error;

use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use lightning_db_crypto::{CryptoError, presentable};

use super::client::{Misdirected, Place};

impl Place {
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
            return self.name.unusable(reason);
        }
        match error {
            SdkError::ServiceError(service) => {
                let message = presentable(service.err().message().unwrap_or("it gave no reason"));
                self.said(service.err().code().unwrap_or_default(), &message)
            }
            _ if words.contains("credential") => self.name.refused(format!(
                "there are no usable credentials ({words}): see AWS_ACCESS_KEY_ID, the profile, or the instance's role"
            )),
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => self.name.unreachable(words),
            SdkError::ConstructionFailure(_) => self.name.failed(format!("{words}: see region=")),
            _ => self.name.failed(words),
        }
    }

    /// The error for what the service calls `code`.
    fn said(&self, code: &str, message: &str) -> CryptoError {
        let name = &self.name;
        let words = format!("{code}: {message}");
        match code {
            "NotFoundException" => {
                name.no_such_key(format!("{words}; see the key's name, region= and the account"))
            }
            "DisabledException" | "KMSInvalidStateException" => {
                name.disabled(format!("{words}; enable it, or cancel its deletion"))
            }
            "InvalidKeyUsageException" => {
                name.disabled(format!("{words}; make a symmetric key for encryption"))
            }
            "InvalidCiphertextException" => name.tampered(
                "it does not open it for this database: it was changed, or moved here from elsewhere",
            ),
            "IncorrectKeyException" => {
                CryptoError::WrongKey { what: format!("another key than {name} wrapped this") }
            }
            "InvalidSignatureException" | "RequestExpired" | "RequestTimeTooSkewed" => name.refused(format!(
                "{words}; see that this machine's clock is right, and the secret access key"
            )),
            "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => {
                name.refused(format!("{words}; the key's policy must allow kms:Encrypt and kms:Decrypt"))
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "MissingAuthenticationToken"
            | "IncompleteSignature"
            | "SignatureDoesNotMatch" => name.refused(format!("{words}; see the credentials")),
            "ThrottlingException" | "Throttling" | "LimitExceededException" | "RequestLimitExceeded" => {
                name.unreachable(format!("it throttled the whole time ({words})"))
            }
            "DependencyTimeoutException"
            | "KMSInternalException"
            | "KeyUnavailableException"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => {
                name.unreachable(format!("it failed the whole time ({words})"))
            }
            _ => name.failed(words),
        }
    }
}

fn misdirected<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Misdirected> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
        .find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use lightning_db_crypto::ProviderName;

    use super::*;

    #[test]
    fn each_code_has_its_meaning() {
        let place = Place {
            key: "alias/k".into(),
            region: None,
            endpoint: None,
            profile: None,
            name: ProviderName::new("awskms:alias/k"),
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
    }
}
