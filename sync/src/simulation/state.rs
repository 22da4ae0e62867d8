//! What a simulation knows of its tasks, and whose turn is next.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::random::Random;
use super::seat::Seat;
use super::{Failure, FailureKind, Options, Policy};

/// Where in the source a task is.
pub(crate) type Place = &'static Location<'static>;

/// A task's number, in the order of beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(super) u32);

impl TaskId {
    pub(crate) const fn from_index(index: u32) -> Self {
        Self(index)
    }

    pub(crate) const fn index(self) -> u32 {
        self.0
    }
}

/// What a task waits for. Addresses are only compared: they differ from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Lock { address: usize, holder: Option<TaskId> },
    Signal { address: usize },
    End(TaskId),
    Time,
}

/// Why a task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Called,
    TimeOut,
}

/// A task goes on without a pause for at most so many steps while others could, whatever the policy says: it may be
/// waiting in a loop for one of them.
const LONGEST_STRETCH: u64 = 10_000;

pub(super) struct State {
    options: Options,
    random: Random,
    tasks: Vec<Task>,
    runnable: Vec<TaskId>,
    blocked: Vec<TaskId>,
    /// Tasks that could go on, and at which step they will.
    napping: BTreeSet<(u64, TaskId)>,
    deadlines: BTreeSet<(Duration, TaskId)>,
    running: TaskId,
    /// Steps since the turn moved.
    stretch: u64,
    lowest_priority: i64,
    pub(super) now: Duration,
    pub(super) steps: u64,
    pub(super) switches: u64,
    pub(super) trace: u64,
    tail: VecDeque<Event>,
    /// How it ended.
    pub(super) outcome: Option<Result<(), Failure>>,
}

struct Task {
    name: String,
    seat: Arc<Seat>,
    status: Status,
    woken: Woken,
    priority: i64,
}

#[derive(Clone, Copy, PartialEq)]
enum Status {
    Runnable,
    Napping,
    Blocked { wait: Wait, at: Place, deadline: Option<Duration> },
    Ended,
}

/// Something that happened, for the report of a failure.
struct Event {
    step: u64,
    now: Duration,
    task: TaskId,
    what: What,
}

enum What {
    Goes(Place),
    Waits(Wait, Place),
    Notes(Vec<u8>),
}

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self {
            random: Random::new(options.seed),
            options,
            tasks: Vec::new(),
            runnable: Vec::new(),
            blocked: Vec::new(),
            napping: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            running: TaskId(0),
            stretch: 0,
            lowest_priority: 0,
            now: Duration::ZERO,
            steps: 0,
            switches: 0,
            trace: 0,
            tail: VecDeque::new(),
            outcome: None,
        }
    }

    pub(super) fn add_task(&mut self, name: &str, seat: Arc<Seat>) -> TaskId {
        let id = TaskId(u32::try_from(self.tasks.len()).expect("fewer tasks than memory holds"));
        let priority = i64::from(self.random.draw() as u32);
        let task =
            Task { name: name.to_owned(), seat, status: Status::Runnable, woken: Woken::Called, priority };
        self.tasks.push(task);
        self.runnable.push(id);
        id
    }

    /// One step of `task`: time passes, and who waited for this moment can go on.
    pub(super) fn step(&mut self, task: TaskId, at: Place) -> Result<(), FailureKind> {
        self.steps += 1;
        self.stretch += 1;
        self.fold(u64::from(task.0) << 32 | u64::from(at.line()) << 8 | u64::from(at.column()) & 0xff);
        self.remember(task, || What::Goes(at));
        self.pass(self.options.tick);
        if self.steps > self.options.steps_max { Err(FailureKind::TooManySteps) } else { Ok(()) }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        while let Some(&(deadline, task)) = self.deadlines.first()
            && deadline <= self.now
        {
            self.wake(task, Woken::TimeOut);
        }
    }

    /// After a step: the task may be slow at this place.
    pub(super) fn nap(&mut self, task: TaskId, at: Place) {
        let Some(naps) = self.options.naps else { return };
        let place = u64::from(at.line()) << 32 | u64::from(at.column());
        let is_slow = Random::new(place ^ self.options.seed).below(naps.places.max(1) as usize) == 0;
        if is_slow && self.random.below(naps.odds.max(1) as usize) == 0 {
            let steps = self.random.below(naps.steps_max.max(1) as usize) as u64;
            self.runnable.retain(|other| *other != task);
            self.napping.insert((self.steps.saturating_add(steps), task));
            self.tasks[task.0 as usize].status = Status::Napping;
        }
    }

    pub(super) fn block(&mut self, task: TaskId, wait: Wait, at: Place, deadline: Option<Duration>) {
        self.remember(task, || What::Waits(wait, at));
        self.runnable.retain(|other| *other != task);
        self.blocked.push(task);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, task));
        }
        self.tasks[task.0 as usize].status = Status::Blocked { wait, at, deadline };
    }

    /// Lets all go on that wait for the lock at `address`.
    pub(super) fn unlocked(&mut self, address: usize) {
        let waits = |wait: Wait| matches!(wait, Wait::Lock { address: its, .. } if its == address);
        for task in self.waiting(waits) {
            self.wake(task, Woken::Called);
        }
    }

    /// Lets one, drawn by lot, or all go on that wait for a signal at `address`.
    pub(super) fn signal(&mut self, address: usize, all: bool) {
        let waiting = self.waiting(|wait| wait == Wait::Signal { address });
        if waiting.is_empty() {
            return;
        }
        let drawn = self.random.below(waiting.len());
        for (index, task) in waiting.into_iter().enumerate() {
            if all || index == drawn {
                self.wake(task, Woken::Called);
            }
        }
    }

    pub(super) fn end(&mut self, task: TaskId) {
        self.runnable.retain(|other| *other != task);
        self.tasks[task.0 as usize].status = Status::Ended;
        for task in self.waiting(|wait| wait == Wait::End(task)) {
            self.wake(task, Woken::Called);
        }
    }

    pub(super) fn has_ended(&self, task: TaskId) -> bool {
        self.tasks[task.0 as usize].status == Status::Ended
    }

    pub(super) fn woken(&self, task: TaskId) -> Woken {
        self.tasks[task.0 as usize].woken
    }

    /// Who goes on now. None when all tasks have ended.
    pub(super) fn choose(&mut self) -> Result<Option<TaskId>, FailureKind> {
        while let Some(&(until, task)) = self.napping.first()
            && (until <= self.steps || self.runnable.is_empty())
        {
            self.napping.pop_first();
            self.tasks[task.0 as usize].status = Status::Runnable;
            self.runnable.push(task);
        }
        if self.runnable.is_empty() {
            match self.deadlines.first() {
                Some(&(deadline, _)) => self.pass(deadline.saturating_sub(self.now)),
                None if self.blocked.is_empty() => return Ok(None),
                None => return Err(FailureKind::Deadlock { waiting: self.waits() }),
            }
        }
        let next = self.drawn();
        if next != self.running {
            self.switches += 1;
            self.stretch = 0;
            self.fold(u64::from(next.0) | 1 << 63);
            self.running = next;
        }
        Ok(Some(next))
    }

    /// One of those that can go on: there is one.
    fn drawn(&mut self) -> TaskId {
        let running = self.running;
        let can_stay = self.tasks[running.0 as usize].status == Status::Runnable;
        let is_too_long = self.stretch > LONGEST_STRETCH;
        match self.options.policy {
            Policy::Random { stay } => {
                let stays = can_stay && !is_too_long && self.random.below(stay.max(1) as usize) != 0;
                if stays { running } else { self.runnable[self.random.below(self.runnable.len())] }
            }
            Policy::Priorities { change } => {
                if is_too_long || self.random.below(change.max(1) as usize) == 0 {
                    self.lowest_priority -= 1;
                    self.stretch = 0;
                    self.tasks[running.0 as usize].priority = self.lowest_priority;
                }
                let priority = |task: &&TaskId| (self.tasks[task.0 as usize].priority, task.0);
                *self.runnable.iter().max_by_key(priority).expect("somebody can go on")
            }
        }
    }

    pub(super) fn seat(&self, task: TaskId) -> &Seat {
        &self.tasks[task.0 as usize].seat
    }

    /// Folds `bytes` into the trace.
    pub(super) fn note(&mut self, task: TaskId, bytes: &[u8]) {
        self.fold(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
        self.remember(task, || What::Notes(bytes.to_vec()));
    }

    /// What failed, in full.
    pub(super) fn failure(&self, kind: FailureKind) -> Failure {
        Failure {
            kind,
            task: self.tasks.get(self.running.0 as usize).map_or_else(String::new, |task| task.name.clone()),
            seed: self.options.seed,
            steps: self.steps,
            elapsed: self.now,
            trace: self.trace,
            tail: self.tail.iter().map(|event| self.describe(event)).collect(),
        }
    }

    pub(super) fn tail(&self) -> Vec<String> {
        self.tail.iter().map(|event| self.describe(event)).collect()
    }

    fn waiting(&self, accept: impl Fn(Wait) -> bool) -> Vec<TaskId> {
        let waits = |task: &&TaskId| match self.tasks[task.0 as usize].status {
            Status::Blocked { wait, .. } => accept(wait),
            Status::Runnable | Status::Napping | Status::Ended => false,
        };
        self.blocked.iter().filter(waits).copied().collect()
    }

    fn wake(&mut self, task: TaskId, woken: Woken) {
        let entry = &mut self.tasks[task.0 as usize];
        if let Status::Blocked { deadline: Some(deadline), .. } = entry.status {
            self.deadlines.remove(&(deadline, task));
        }
        entry.status = Status::Runnable;
        entry.woken = woken;
        self.blocked.retain(|other| *other != task);
        self.runnable.push(task);
    }

    fn fold(&mut self, word: u64) {
        let mixed = (self.trace ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace = mixed ^ (mixed >> 29);
    }

    fn remember(&mut self, task: TaskId, what: impl FnOnce() -> What) {
        if self.options.tail == 0 {
            return;
        }
        if self.tail.len() == self.options.tail {
            self.tail.pop_front();
        }
        self.tail.push_back(Event { step: self.steps, now: self.now, task, what: what() });
    }

    fn waits(&self) -> Vec<String> {
        let mut all = Vec::new();
        for id in &self.blocked {
            if let Status::Blocked { wait, at, .. } = self.tasks[id.0 as usize].status {
                all.push(format!("{} waits for {} at {at}", self.name(*id), self.describe_wait(wait)));
            }
        }
        all
    }

    fn name(&self, task: TaskId) -> String {
        format!("{} ({})", self.tasks[task.0 as usize].name, task.0)
    }

    fn describe_wait(&self, wait: Wait) -> String {
        match wait {
            Wait::Lock { holder: Some(holder), .. } => format!("a lock that {} holds", self.name(holder)),
            Wait::Lock { holder: None, .. } => "a lock that readers hold".to_owned(),
            Wait::Signal { .. } => "a signal".to_owned(),
            Wait::End(task) => format!("the end of {}", self.name(task)),
            Wait::Time => "time to pass".to_owned(),
        }
    }

    fn describe(&self, event: &Event) -> String {
        let mut line =
            format!("{:>9} {:>14.6}s {:<20} ", event.step, event.now.as_secs_f64(), self.name(event.task));
        match &event.what {
            What::Goes(at) => _ = write!(line, "at {at}"),
            What::Waits(wait, at) => _ = write!(line, "waits for {} at {at}", self.describe_wait(*wait)),
            What::Notes(bytes) => _ = write!(line, "{}", String::from_utf8_lossy(bytes)),
        }
        line
    }
}
