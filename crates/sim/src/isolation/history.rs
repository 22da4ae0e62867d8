//! What clients did and saw: concurrent transactions on lists that only grow, in the order in which it was noted.

use lightning_db_sync::simulation;
use parking_lot::Mutex;

/// A list.
pub type Key = u64;
/// What is appended to lists. No element is appended twice.
pub type Element = u64;

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Appends an element to a list.
    Append(Key, Element),
    /// Reads a list; `None` where it is not known what came back.
    Read(Key, Option<Vec<Element>>),
}

/// What a line of a history tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A transaction begins, with the steps that it means to take.
    Invoke,
    /// It was committed, and this is what it read.
    Ok,
    /// It was not committed, and never will be.
    Fail,
    /// Nobody knows whether it was committed.
    Info,
}

/// A line of a history. Its place in the history is its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Since the beginning, in nanoseconds.
    pub time_ns: u64,
    /// Who did it; a process does one transaction at a time, and none after one that ended in [`Kind::Info`].
    pub process: u64,
    /// What this tells.
    pub kind: Kind,
    /// The transaction.
    pub steps: Vec<Step>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was committed.
    Committed,
    /// It was not.
    Aborted,
    /// One or the other.
    Unknown,
}

/// A transaction, from the beginning to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Who did it.
    pub process: u64,
    /// The index of its first event.
    pub began: u64,
    /// The index of its last event; `u64::MAX` when it may have been at work to the end.
    pub ended: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// What it did, and saw if it was committed.
    pub steps: Vec<Step>,
}

/// Events in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The events.
    pub events: Vec<Event>,
}

impl History {
    /// The transactions, in the order in which they began.
    ///
    /// # Errors
    /// When a process begins a transaction before its last one ended, or ends one that never began.
    pub fn transactions(&self) -> Result<Vec<Transaction>, String> {
        let mut open = std::collections::HashMap::new();
        let mut transactions: Vec<Transaction> = Vec::new();
        for (index, event) in self.events.iter().enumerate() {
            let index = index as u64;
            if event.kind == Kind::Invoke {
                if open.insert(event.process, transactions.len()).is_some() {
                    return Err(format!("event {index}: process {} is still at work", event.process));
                }
                transactions.push(Transaction {
                    process: event.process,
                    began: index,
                    ended: u64::MAX,
                    outcome: Outcome::Unknown,
                    steps: event.steps.clone(),
                });
                continue;
            }
            let Some(place) = open.get(&event.process).copied() else {
                return Err(format!("event {index}: process {} began nothing", event.process));
            };
            if event.kind == Kind::Info {
                // The process stays at work for ever.
                continue;
            }
            open.remove(&event.process);
            let transaction = &mut transactions[place];
            transaction.ended = index;
            if event.kind == Kind::Ok {
                transaction.outcome = Outcome::Committed;
                transaction.steps.clone_from(&event.steps);
            } else {
                transaction.outcome = Outcome::Aborted;
            }
        }
        Ok(transactions)
    }
}

/// Takes down what concurrent processes do. A beginning is noted before it, an end after it: so what seems to come one
/// after the other did.
#[derive(Debug, Default)]
pub struct Recorder {
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    /// Notes an event of now.
    pub fn note(&self, process: u64, kind: Kind, steps: Vec<Step>) {
        let mut events = self.events.lock();
        let time_ns = u64::try_from(simulation::now().as_nanos()).unwrap_or(u64::MAX);
        events.push(Event { time_ns, process, kind, steps });
    }

    /// What was noted.
    #[must_use]
    pub fn into_history(self) -> History {
        History { events: self.events.into_inner() }
    }
}
