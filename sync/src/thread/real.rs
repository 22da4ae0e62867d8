use std::io;

pub use std::thread::{JoinHandle, Scope, ScopedJoinHandle, scope, sleep};

/// Starts a thread. It goes on when its handle is dropped.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Whether the caller is the thread behind `handle`.
#[must_use]
pub fn is_current<T>(handle: &JoinHandle<T>) -> bool {
    handle.thread().id() == std::thread::current().id()
}
