//! Clients that are asynchronous, for callers that wait.

use std::future::Future;
use std::time::Duration;

use lightning_db_crypto::{CryptoError, ProviderName};
use tokio::runtime::Builder;

/// What the runtime has to tell how the last try ended, before it is given up.
const LAST_WORD: Duration = Duration::from_secs(1);

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
