//! Clients that are asynchronous, for callers that wait.

use std::future::Future;
use std::time::Duration;

use lightning_db_crypto::{CryptoError, ProviderName};
use tokio::runtime::Builder;
#[cfg(any(feature = "azurekv", feature = "gcpkms"))]
use tokio::time::Instant;

/// What the runtime has to tell how the last try ended, before it is given up.
const LAST_WORD: Duration = Duration::from_secs(1);
#[cfg(any(feature = "azurekv", feature = "gcpkms"))]
const FIRST_PAUSE: Duration = Duration::from_millis(100);
#[cfg(any(feature = "azurekv", feature = "gcpkms"))]
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Runs `work` to its end, or until `timeout`, on a thread and runtime of its own, so that it does not matter whether the
/// caller is within another runtime.
///
/// # Errors
/// Those of `work` and of [`ProviderName::within`].
pub(crate) fn wait<T: Send + 'static>(
    name: &ProviderName,
    timeout: Duration,
    work: impl Future<Output = Result<T, CryptoError>> + Send + 'static,
) -> Result<T, CryptoError> {
    let own = name.clone();
    name.within(timeout + LAST_WORD, move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| own.failed(error.to_string()))?;
        let outcome = runtime.block_on(async { tokio::time::timeout(timeout, work).await });
        // Not waiting for a name that is still being resolved.
        runtime.shutdown_background();
        outcome.unwrap_or_else(|_| Err(own.late(timeout)))
    })
}

/// Tries again what cannot be reached, after pauses that double, until `timeout`: then the last try's error is it. One try
/// takes at most half of the time, so that it leaves some for another.
///
/// # Errors
/// Those of `attempt`.
#[cfg(any(feature = "azurekv", feature = "gcpkms"))]
pub(crate) async fn persist<T, F: Future<Output = Result<T, CryptoError>>>(
    name: &ProviderName,
    timeout: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, CryptoError> {
    // The whole has `timeout`, of which something must be left to say how it ended.
    let end = Instant::now() + timeout - timeout / 20;
    let mut pause = FIRST_PAUSE;
    loop {
        let until = end.min(Instant::now() + timeout / 2);
        let outcome = tokio::time::timeout_at(until, attempt()).await;
        let error = match outcome.unwrap_or_else(|_| Err(name.late(timeout))) {
            Err(error @ CryptoError::Unreachable { .. }) => error,
            outcome => return outcome,
        };
        if Instant::now() + pause >= end {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Sees to it that the clients of Google's and Azure's SDKs find an implementation of TLS: the one that the process has
/// chosen, or else ring's, which becomes the process's. Without one they panic.
#[cfg(any(feature = "azurekv", feature = "gcpkms"))]
pub(crate) fn choose_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster, which is as well.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
}

#[cfg(all(test, any(feature = "azurekv", feature = "gcpkms")))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// How often it is tried what ends like this.
    fn tries(
        timeout: u64,
        outcome: fn(&ProviderName, u32) -> Result<(), CryptoError>,
    ) -> (u32, Option<CryptoError>) {
        let (name, asked) = (ProviderName::new("p"), Arc::new(AtomicU32::new(0)));
        let (own, count) = (name.clone(), Arc::clone(&asked));
        let timeout = Duration::from_secs(timeout);
        let ended = wait(&name, timeout, async move {
            persist(&own, timeout, || {
                let tried = count.fetch_add(1, Ordering::Relaxed);
                std::future::ready(outcome(&own, tried))
            })
            .await
        });
        (asked.load(Ordering::Relaxed), ended.err())
    }

    #[test]
    fn only_what_cannot_be_reached_is_tried_again() {
        let (asked, error) =
            tries(60, |name, tried| if tried < 3 { Err(name.unreachable("")) } else { Ok(()) });
        assert!(asked == 4 && error.is_none(), "{asked}: {error:?}");
        let (asked, error) = tries(60, |name, _| Err(name.refused("no")));
        assert!(asked == 1 && matches!(error, Some(CryptoError::Refused { .. })), "{asked}: {error:?}");
        let (asked, error) = tries(1, |name, _| Err(name.unreachable("busy")));
        let text = error.expect("unreachable").to_string();
        assert!((2..6).contains(&asked) && text.contains("busy"), "{asked}: {text}");
    }
}
