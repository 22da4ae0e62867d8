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

/// Starts a thread that may borrow what lives longer than `scope`.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    std::thread::Builder::new().spawn_scoped(scope, work)
}

/// Whether the caller is the thread behind `handle`.
#[must_use]
pub fn is_current<T>(handle: &JoinHandle<T>) -> bool {
    handle.thread().id() == std::thread::current().id()
}
