//! What the answers of a TPM mean to whoever wants a key.

use lightning_db_crypto::CryptoError;
use tss_esapi::constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind as Kind};
use tss_esapi::{Error, WrapperErrorKind};

use super::Place;

/// Whether the TPM says that the PIN, or what else authorizes, is wrong.
pub(super) fn is_wrong_authorization(error: Error) -> bool {
    matches!(kind(error), Some(Kind::AuthFail | Kind::BadAuth))
}

/// Whether the TPM has nothing under a handle.
pub(super) fn is_absent(error: Error) -> bool {
    matches!(kind(error), Some(Kind::Handle | Kind::ReferenceH0))
}

/// Whether it is no answer of the TPM: it was not reached, or it is no TPM.
pub(super) fn is_of_the_way(error: Error) -> bool {
    kind(error).is_none() && matches!(error, Error::Tss2Error(_))
}

/// An answer that is none.
pub(super) fn unexpected() -> Error {
    Error::WrapperError(WrapperErrorKind::InvalidParam)
}

/// Which answer of the TPM it is. What the libraries on the way say has small numbers, which mean something else in a TPM.
fn kind(error: Error) -> Option<Kind> {
    match error {
        Error::Tss2Error(code @ Tss2ResponseCode::FormatOne(_)) => code.kind(),
        Error::Tss2Error(code) => code.kind().filter(|kind| {
            matches!(kind, Kind::Lockout | Kind::PcrChanged | Kind::ReferenceH0 | Kind::AuthUnavailable)
        }),
        Error::WrapperError(_) => None,
    }
}

/// The answer in words, with its number.
pub(super) fn words(error: Error) -> String {
    match error {
        Error::Tss2Error(Tss2ResponseCode::FormatZero(number)) => number.to_string(),
        Error::Tss2Error(Tss2ResponseCode::FormatOne(number)) => format!("{error} ({number})"),
        _ => error.to_string(),
    }
}

impl Place {
    /// What `error` means, while the TPM was asked to do `what`.
    pub(super) fn fault(&self, what: &str, error: Error) -> CryptoError {
        let (name, reason) = (&self.name, format!("{what}: {}", words(error)));
        match kind(error) {
            Some(Kind::Lockout) => name.refused(
                "it is locked after wrong PINs: wait until it forgets them, or reset it with its lockout authorization \
                 (tpm2_dictionarylockout --clear-lockout)",
            ),
            Some(Kind::AuthFail | Kind::BadAuth | Kind::AuthUnavailable) => name.refused(format!(
                "its storage hierarchy or key wants an authorization: make a storage key persistent that wants none, and \
                 name it, as in tpm:0x81000001 ({reason})"
            )),
            Some(Kind::Hierarchy) => name.refused(format!("its storage hierarchy is disabled ({reason})")),
            Some(Kind::Handle | Kind::ReferenceH0) => {
                name.no_such_key(format!("no key is persistent under this handle ({reason})"))
            }
            Some(_) => name.failed(reason),
            None if is_of_the_way(error) => name.unreachable(reason),
            None => name.failed(reason),
        }
    }

    /// What `error` means, while a sealed key was loaded. Whatever the TPM finds wrong with it is somebody's doing, since
    /// the parent is known to be the one.
    pub(super) fn not_loaded(&self, error: Error) -> CryptoError {
        let changed = || self.name.tampered(format!("what was sealed does not load: {}", words(error)));
        match error {
            Error::WrapperError(_) => changed(),
            Error::Tss2Error(Tss2ResponseCode::FormatOne(_)) if !is_wrong_authorization(error) => changed(),
            Error::Tss2Error(_) => self.fault("to load what was sealed", error),
        }
    }

    /// What `error` means, while a key was unsealed.
    pub(super) fn not_unsealed(&self, error: Error) -> CryptoError {
        let pcrs = self.pcrs.as_ref().map(ToString::to_string).unwrap_or_default();
        match kind(error) {
            Some(Kind::PolicyFail | Kind::PcrChanged) => self.name.refused(format!(
                "PCRs {pcrs} are not what they were when this was sealed: the machine was started in another way. Start it \
                 as before, or open with another key slot and wrap this one anew"
            )),
            Some(Kind::AuthFail | Kind::BadAuth) => self.wrong_pin(),
            _ => self.fault("to unseal", error),
        }
    }
}
