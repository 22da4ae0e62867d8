//! A task and its turn.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Once, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::seat::Seat;
use super::state::{Place, State, TaskId, Wait, Woken};
use super::{Failure, FailureKind, Options, Report};

thread_local! {
    static CURRENT: OnceCell<Task> = const { OnceCell::new() };
    static LAST_WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Does `work` with the task that the calling thread is, if it is one.
pub(crate) fn in_task<R>(work: impl FnOnce(&Task) -> R) -> Option<R> {
    CURRENT.try_with(|task| task.get().map(work)).ok().flatten()
}

/// Time since this was first asked.
pub(super) fn real_time() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Keeps what a panicking task says, beside letting it be said.
pub(super) fn catch_messages() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            _ = LAST_WORDS.try_with(|words| panic.to_string().clone_into(&mut words.borrow_mut()));
            previous(panic);
        }));
    });
}

pub(super) struct Simulation {
    state: Mutex<State>,
    ended: Condvar,
}

impl Simulation {
    pub(super) fn new(options: Options) -> Self {
        Self { state: Mutex::new(State::new(options)), ended: Condvar::new() }
    }

    /// Waits until all tasks have ended.
    pub(super) fn wait_for_end(&self) -> Result<Report<()>, Failure> {
        let mut state = self.state.lock();
        loop {
            if let Some(outcome) = state.outcome.take() {
                return outcome.map(|()| Report {
                    value: (),
                    steps: state.steps,
                    switches: state.switches,
                    elapsed: state.now,
                    trace: state.trace,
                    tail: state.tail(),
                });
            }
            self.ended.wait(&mut state);
        }
    }

    fn end_with(&self, state: &mut State, outcome: Result<(), Failure>) {
        state.outcome = Some(outcome);
        self.ended.notify_all();
    }

    fn fail(&self, state: &mut State, kind: FailureKind) {
        let failure = state.failure(kind);
        self.end_with(state, Err(failure));
    }
}

/// The task that a thread is.
pub(crate) struct Task {
    simulation: Arc<Simulation>,
    id: TaskId,
    seat: Arc<Seat>,
}

impl Task {
    /// Its number.
    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    /// A step: somebody goes on, and this returns when it is this one's turn again.
    pub(crate) fn switch(&self, at: Place) {
        let mut state = self.begin_step(at);
        if let Err(kind) = state.step(self.id, at) {
            self.fail(state, kind);
        }
        state.nap(self.id, at);
        self.pass_turn(state);
    }

    /// Waits.
    pub(crate) fn block(&self, wait: Wait, at: Place, time_out: Option<Duration>) -> Woken {
        let mut state = self.begin_step(at);
        if let Err(kind) = state.step(self.id, at) {
            self.fail(state, kind);
        }
        let deadline = time_out.map(|time_out| state.now.saturating_add(time_out));
        state.block(self.id, wait, at, deadline);
        self.pass_turn(state);
        self.simulation.state.lock().woken(self.id)
    }

    /// Waits for the end of another task.
    pub(crate) fn join(&self, other: TaskId, at: Place) {
        self.switch(at);
        while !self.simulation.state.lock().has_ended(other) {
            self.block(Wait::End(other), at, None);
        }
    }

    pub(crate) fn unlocked(&self, address: usize) {
        self.simulation.state.lock().unlocked(address);
    }

    pub(crate) fn signal(&self, address: usize, all: bool) {
        self.simulation.state.lock().signal(address, all);
    }

    /// A new task, for which the caller starts a thread.
    pub(crate) fn child(&self, name: &str) -> Child {
        Child::of(&self.simulation, name)
    }

    /// Takes back a child whose thread could not be started.
    pub(crate) fn forget(&self, child: TaskId) {
        self.simulation.state.lock().end(child);
    }

    pub(super) fn now(&self) -> Duration {
        self.simulation.state.lock().now
    }

    pub(super) fn pass(&self, time: Duration) {
        self.simulation.state.lock().pass(time);
    }

    pub(super) fn note(&self, bytes: &[u8]) {
        self.simulation.state.lock().note(self.id, bytes);
    }

    /// A task that panics takes no further step: whatever its destructors would wait for would hide the panic.
    fn begin_step(&self, _at: Place) -> MutexGuard<'_, State> {
        let state = self.simulation.state.lock();
        if std::thread::panicking() {
            self.fail(state, FailureKind::Panic { message: last_words(None) });
        }
        state
    }

    fn pass_turn(&self, mut state: MutexGuard<'_, State>) {
        match state.choose() {
            Ok(Some(next)) if next == self.id => {}
            Ok(Some(next)) => {
                state.seat(next).call();
                drop(state);
                self.seat.wait();
            }
            Ok(None) => unreachable!("this task has not ended"),
            Err(kind) => self.fail(state, kind),
        }
    }

    /// Ends the simulation. The calling thread never goes on.
    fn fail(&self, mut state: MutexGuard<'_, State>, kind: FailureKind) -> ! {
        self.simulation.fail(&mut state, kind);
        drop(state);
        loop {
            std::thread::park();
        }
    }
}

/// A task whose thread is about to begin.
pub(crate) struct Child(Task);

impl Child {
    pub(super) fn of(simulation: &Arc<Simulation>, name: &str) -> Self {
        let seat = Arc::new(Seat::default());
        let id = simulation.state.lock().add_task(name, Arc::clone(&seat));
        Self(Task { simulation: Arc::clone(simulation), id, seat })
    }

    pub(crate) fn id(&self) -> TaskId {
        self.0.id
    }

    pub(crate) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.0.seat)
    }

    /// What the thread does: it waits for its turn, works, and gives the turn away for good.
    pub(crate) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let Task { simulation, id, seat } = self.0;
        CURRENT
            .with(|current| {
                current.set(Task { simulation: Arc::clone(&simulation), id, seat: Arc::clone(&seat) })
            })
            .unwrap_or_else(|_| unreachable!("a new thread"));
        seat.wait();
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let mut state = simulation.state.lock();
        let value = match outcome {
            Ok(value) => value,
            Err(panic) => {
                let message = last_words(Some(&*panic));
                simulation.fail(&mut state, FailureKind::Panic { message });
                drop(state);
                resume_unwind(panic);
            }
        };
        state.end(id);
        match state.choose() {
            Ok(Some(next)) => state.seat(next).call(),
            Ok(None) => simulation.end_with(&mut state, Ok(())),
            Err(kind) => simulation.fail(&mut state, kind),
        }
        value
    }
}

fn last_words(panic: Option<&(dyn Any + Send)>) -> String {
    let heard = LAST_WORDS.with(|words| words.borrow().clone());
    if !heard.is_empty() {
        return heard;
    }
    let said = panic.and_then(|panic| {
        panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|&it| it.into()))
    });
    said.unwrap_or_else(|| "with something that is not text".to_owned())
}
