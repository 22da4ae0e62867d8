//! What all providers share whose keys are elsewhere: how an error comes to its kind, whose key wrapped a
//! slot, and that nobody waits longer than the URI says.

use std::{fmt, sync::mpsc, thread, time::Duration};

use super::{SlotContext, WrappedBy, WrappedKey};
use crate::CryptoError;

/// How much of what somebody else says is repeated in an error.
const MAX_WORDS_CHARS: usize = 300;

/// What errors call a provider: its key URI without what is secret or only says how to get there. It is also
/// where the provider's errors are made.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderName(String);

impl ProviderName {
    /// Names a provider. The text goes into errors and logs.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// It does not answer, or not in time.
    pub fn unreachable(&self, reason: impl Into<String>) -> CryptoError {
        CryptoError::Unreachable { provider: self.0.clone(), reason: reason.into() }
    }

    /// It did not answer in time.
    pub fn late(&self, timeout: Duration) -> CryptoError {
        self.unreachable(format!("it did not answer within {} seconds", timeout.as_secs()))
    }

    /// It answers, and will not serve.
    pub fn refused(&self, reason: impl Into<String>) -> CryptoError {
        CryptoError::Refused { provider: self.0.clone(), reason: reason.into() }
    }

    /// It answers, and has no such key.
    pub fn no_such_key(&self, reason: impl Into<String>) -> CryptoError {
        CryptoError::NoSuchKey { provider: self.0.clone(), reason: reason.into() }
    }

    /// The key is there and cannot be used now.
    pub fn disabled(&self, reason: impl Into<String>) -> CryptoError {
        CryptoError::KeyDisabled { provider: self.0.clone(), reason: reason.into() }
    }

    /// What it should unwrap is not what it wrapped.
    pub fn tampered(&self, reason: impl Into<String>) -> CryptoError {
        CryptoError::Tampered { provider: self.0.clone(), reason: reason.into() }
    }

    /// What it holds is no key that can wrap, or its URI names several.
    pub fn unusable(&self, reason: impl Into<String>) -> CryptoError {
        CryptoError::InvalidKey { source_name: self.0.clone(), reason: reason.into() }
    }

    /// Anything else.
    pub fn failed(&self, reason: impl Into<String>) -> CryptoError {
        CryptoError::Provider { name: self.0.clone(), reason: reason.into() }
    }

    /// Another key wrapped a slot than `own`, the one that the URI names.
    pub fn wrong_key(&self, by: &WrappedBy, own: &str) -> CryptoError {
        CryptoError::WrongKey {
            what: format!("{} wrapped this, and {own} of {self} does not open it", by.key),
        }
    }

    /// Which key wrapped a slot, as its parameters say.
    ///
    /// # Errors
    /// Those of [`WrappedBy::from_params`].
    pub fn wrapped_by(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<WrappedBy, CryptoError> {
        WrappedBy::from_params(&self.0, ctx, &wrapped.params)
    }

    /// The error for what the key named `own` does not unwrap. That a key does not open what another one wrapped
    /// is nobody's doing, so it is no tampering then.
    pub fn not_unwrapped(&self, by: &WrappedBy, own: &str, error: CryptoError) -> CryptoError {
        match error {
            CryptoError::Tampered { .. } if by.key != own => self.wrong_key(by, own),
            CryptoError::Malformed { reason, .. } => self.tampered(reason),
            other => other,
        }
    }

    /// Runs `work` in a thread of its own: a client that hangs, or blocks within somebody's runtime, must not
    /// take the database along.
    ///
    /// # Errors
    /// Those of `work`; [`CryptoError::Unreachable`] if it is not done within `timeout`, or no thread can be
    /// started; [`CryptoError::Provider`] if it panics.
    pub fn within<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce() -> Result<T, CryptoError> + Send + 'static,
    ) -> Result<T, CryptoError> {
        let (sender, receiver) = mpsc::channel();
        let started = thread::Builder::new().name("lightning-key".into()).spawn(move || {
            // Nobody listens any more if it took too long.
            sender.send(work()).ok();
        });
        started.map_err(|error| self.unreachable(format!("no thread could be started: {error}")))?;
        match receiver.recv_timeout(timeout) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(self.late(timeout)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.failed("its client panicked")),
        }
    }
}

impl AsRef<str> for ProviderName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody else said, short and without what could rewrite a terminal.
pub fn presentable(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_is_named_as_the_cause() {
        let name = ProviderName::new("vault:t/k");
        let by = WrappedBy { key: "t/other".into(), method: 1 };
        let error = name.not_unwrapped(&by, "t/k", name.tampered("it does not open"));
        assert!(matches!(&error, CryptoError::WrongKey { what } if what.contains("t/other")), "{error}");
        let error = name.not_unwrapped(&by, "t/other", name.tampered("it does not open"));
        assert!(matches!(error, CryptoError::Tampered { .. }), "{error}");
        let error = name.not_unwrapped(&by, "t/k", name.refused("no"));
        assert!(matches!(error, CryptoError::Refused { .. }), "{error}");
    }

    #[test]
    fn nobody_waits_longer_than_that() {
        let name = ProviderName::new("slow");
        let (_open, never) = mpsc::channel::<()>();
        let error = name.within(Duration::from_millis(10), move || {
            never.recv().ok();
            Ok(())
        });
        assert!(matches!(error, Err(CryptoError::Unreachable { .. })), "{error:?}");
        assert_eq!(name.within(Duration::from_secs(60), || Ok(7)).expect("in time"), 7);
        let error = name.within(Duration::from_secs(60), || -> Result<(), _> { panic!("on purpose") });
        assert!(matches!(error, Err(CryptoError::Provider { .. })), "{error:?}");
    }

    #[test]
    fn words_are_short_and_of_one_line() {
        assert_eq!(presentable("a\x1b[2Jb\nc"), "a [2Jb c");
        assert_eq!(presentable(&"x".repeat(1000)).len(), MAX_WORDS_CHARS);
    }
}
