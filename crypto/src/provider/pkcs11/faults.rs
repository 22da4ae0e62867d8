//! What the return values of a module mean to whoever wants a key.

use cryptoki::error::{Error, RvError};

use super::Place;
use crate::CryptoError;

/// Whether the module, the token or the session went away, so that a second try with new ones is worth it.
pub(super) fn is_loss(error: &Error) -> bool {
    matches!(
        code(error),
        Some(
            RvError::CryptokiNotInitialized
                | RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::SlotIdInvalid
                | RvError::UserNotLoggedIn
        )
    )
}

/// Whether the token may mean that something is wrong with it, rather than with what it was given.
pub(super) fn is_vague(error: &Error) -> bool {
    matches!(code(error), Some(RvError::GeneralError | RvError::FunctionFailed))
}

/// Whether the token says that what it was to unwrap is none of its wrappings. SoftHSM says so by its
/// general error, see [`is_vague`].
pub(super) fn is_not_its_own(error: &Error) -> bool {
    matches!(
        code(error),
        Some(
            RvError::WrappedKeyInvalid
                | RvError::WrappedKeyLenRange
                | RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::GeneralError
                | RvError::FunctionFailed
        )
    )
}

/// Whether the PIN that was given is wrong.
pub(super) fn is_wrong_pin(error: &Error) -> bool {
    matches!(code(error), Some(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange))
}

/// Whether somebody in this process is logged in already.
pub(super) fn is_logged_in(error: &Error) -> bool {
    matches!(code(error), Some(RvError::UserAlreadyLoggedIn))
}

fn code(error: &Error) -> Option<&RvError> {
    match error {
        Error::Pkcs11(code, _) => Some(code),
        _ => None,
    }
}

impl Place {
    /// What `error` means, while the token was asked to do `what`.
    pub(super) fn fault(&self, what: &str, error: &Error) -> CryptoError {
        let reason = format!("{what}: {error}");
        let name = &self.name;
        let disabled = |how: &str| name.disabled(format!("{how} ({reason})"));
        match code(error) {
            None => name.unreachable(reason),
            Some(
                RvError::CryptokiNotInitialized
                | RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::DeviceMemory
                | RvError::HostMemory
                | RvError::SessionCount
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::SlotIdInvalid,
            ) => name.unreachable(reason),
            Some(RvError::PinLocked) => name.refused(
                "the token has locked its PIN after wrong ones: its security officer can set a new one",
            ),
            Some(RvError::PinExpired) => name.refused("the PIN has expired: set a new one"),
            Some(RvError::UserPinNotInitialized) => name.refused("the token has no user PIN yet: set one"),
            Some(RvError::UserNotLoggedIn) => {
                name.refused(format!("it wants a PIN: give pin-source=file:PATH ({reason})"))
            }
            Some(
                RvError::KeyFunctionNotPermitted | RvError::ActionProhibited | RvError::KeyUnextractable,
            ) => disabled("it may not wrap and unwrap: set CKA_WRAP and CKA_UNWRAP"),
            Some(
                RvError::WrappingKeyTypeInconsistent
                | RvError::UnwrappingKeyTypeInconsistent
                | RvError::WrappingKeySizeRange
                | RvError::UnwrappingKeySizeRange
                | RvError::KeyTypeInconsistent,
            ) => disabled("it is not an AES key"),
            Some(_) => name.failed(reason),
        }
    }
}
