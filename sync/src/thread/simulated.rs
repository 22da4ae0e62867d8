//! Threads that are tasks when a task starts them.

use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::simulation::{TaskId, Wait, in_task};

/// A thread, to wait for its end.
pub struct JoinHandle<T> {
    task: Option<TaskId>,
    thread: std::thread::JoinHandle<T>,
}

/// Starts a thread. It goes on when its handle is dropped.
///
/// # Errors
/// When the system gives no thread.
#[track_caller]
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    let Some(child) = in_task(|task| task.child(name)) else {
        return Ok(JoinHandle { task: None, thread: builder.spawn(work)? });
    };
    let (id, seat) = (child.id(), child.seat());
    let spawned = builder.spawn(move || child.run(work));
    let at = Location::caller();
    in_task(|task| match &spawned {
        Ok(thread) => {
            seat.belongs_to(thread.thread().clone());
            task.switch(at);
        }
        Err(_) => task.forget(id),
    });
    Ok(JoinHandle { task: Some(id), thread: spawned? })
}

impl<T> JoinHandle<T> {
    /// Waits until the thread ended, and returns what it returned.
    ///
    /// # Errors
    /// What the thread panicked with.
    #[track_caller]
    pub fn join(self) -> std::thread::Result<T> {
        wait_for(self.task, Location::caller());
        self.thread.join()
    }
}

/// Whether the caller is the thread behind `handle`.
#[must_use]
pub fn is_current<T>(handle: &JoinHandle<T>) -> bool {
    handle.thread.thread().id() == std::thread::current().id()
}

/// Does nothing for as long as `time`.
#[track_caller]
pub fn sleep(time: Duration) {
    let at = Location::caller();
    if in_task(|task| task.block(Wait::Time, at, Some(time))).is_none() {
        std::thread::sleep(time);
    }
}

/// Where threads are started that end before it does.
pub struct Scope<'scope, 'env> {
    threads: &'scope std::thread::Scope<'scope, 'env>,
    tasks: Arc<Mutex<Vec<TaskId>>>,
}

/// A thread of a [`Scope`], to wait for its end.
pub struct ScopedJoinHandle<'scope, T> {
    task: Option<TaskId>,
    thread: std::thread::ScopedJoinHandle<'scope, T>,
}

/// Lets `work` start threads that borrow, and waits until all of them ended.
#[track_caller]
pub fn scope<'env, T>(work: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> T) -> T {
    let at = Location::caller();
    std::thread::scope(|threads| {
        let tasks = Arc::new(Mutex::new(Vec::new()));
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&Scope { threads, tasks: Arc::clone(&tasks) })));
        // Waiting for a thread must not keep the turn from it.
        let tasks = std::mem::take(&mut *tasks.lock());
        tasks.into_iter().for_each(|task| wait_for(Some(task), at));
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a thread.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[track_caller]
    pub fn spawn<T: Send + 'scope>(
        &self,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        let Some(child) = in_task(|task| task.child("scoped")) else {
            return ScopedJoinHandle { task: None, thread: self.threads.spawn(work) };
        };
        let (id, seat) = (child.id(), child.seat());
        let thread = self.threads.spawn(move || child.run(work));
        seat.belongs_to(thread.thread().clone());
        self.tasks.lock().push(id);
        let at = Location::caller();
        in_task(|task| task.switch(at));
        ScopedJoinHandle { task: Some(id), thread }
    }
}

/// Starts a thread that may borrow what lives longer than `scope`.
///
/// # Errors
/// None here: a simulation has threads for all.
#[track_caller]
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Ok(scope.spawn(work))
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits until the thread ended, and returns what it returned.
    ///
    /// # Errors
    /// What the thread panicked with.
    #[track_caller]
    pub fn join(self) -> std::thread::Result<T> {
        wait_for(self.task, Location::caller());
        self.thread.join()
    }
}

fn wait_for(other: Option<TaskId>, at: &'static Location<'static>) {
    if let Some(other) = other {
        in_task(|task| task.join(other, at));
    }
}
