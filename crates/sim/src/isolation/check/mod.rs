//! Which anomalies a history shows, and which of them a level of isolation permits.
//!
//! Lists tell what registers hide. An element is appended once, so whoever reads it saw the transaction that appended
//! it; and the order of the elements of a list is the order of its versions. From this follow the edges between
//! transactions, and from cycles of edges the anomalies of Adya (*Weak Consistency*, 1999), as Kingsbury and Alvaro
//! describe it (*Elle*, 2020).
//!
//! ```text
//! versions.rs  who appended what, the order of versions, and what a transaction alone gives away
//! graph.rs     edges between transactions, and cycles of them
//! ```

mod graph;
mod versions;

use std::fmt::{self, Display, Formatter};

use clap::ValueEnum;

use super::history::Transaction;
use versions::Versions;

/// A level of isolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Nobody reads what is not committed.
    ReadCommitted,
    /// Everybody reads one moment, and the first committer wins.
    Snapshot,
    /// As if transactions ran one after another.
    Serializable,
}

/// What a history can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// A list has an element that nobody appended.
    Garbage,
    /// A list has an element twice.
    Duplicate,
    /// A transaction does not see what it wrote or read itself.
    Internal,
    /// G1a: a read of what an aborted transaction wrote.
    AbortedRead,
    /// G1b: a read of what a transaction wrote, and wrote over before it committed.
    IntermediateRead,
    /// A part of what a transaction appended to one list is there without the rest, or apart from it.
    Torn,
    /// Two reads of one list of which neither continues the other.
    IncompatibleOrder,
    /// A transaction that began after a commit was acknowledged does not see it.
    Missing,
    /// G0: a cycle of writes over writes.
    WriteCycle,
    /// G1c: a cycle of writes over writes and reads of writes.
    CircularFlow,
    /// Two transactions read one version, and both wrote the next.
    LostUpdate,
    /// A cycle with one write over what was read.
    ReadSkew,
    /// A cycle with several writes over what was read, no two of them one after another.
    NonadjacentSkew,
    /// G2: a cycle with two writes over what was read, one after another. Write skew is the shortest.
    WriteSkew,
}

/// An anomaly of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub anomaly: Anomaly,
    /// Who showed it, and how.
    pub how: String,
}

/// What a history is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// How transactions were begun.
    pub level: Level,
    /// Whether no two transactions can append to one version: locks, or the level itself, prevent it. Otherwise the
    /// versions of a list are a tree.
    pub appends_exclude_each_other: bool,
}

impl Promise {
    /// Whether `anomaly` breaks the promise.
    #[must_use]
    pub fn forbids(self, anomaly: Anomaly) -> bool {
        match anomaly {
            Anomaly::Garbage
            | Anomaly::Duplicate
            | Anomaly::Internal
            | Anomaly::AbortedRead
            | Anomaly::IntermediateRead
            | Anomaly::Torn
            | Anomaly::WriteCycle
            | Anomaly::CircularFlow => true,
            Anomaly::IncompatibleOrder | Anomaly::Missing => self.appends_exclude_each_other,
            Anomaly::LostUpdate | Anomaly::ReadSkew | Anomaly::NonadjacentSkew => {
                self.level >= Level::Snapshot
            }
            Anomaly::WriteSkew => self.level == Level::Serializable,
        }
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.anomaly, self.how)
    }
}

/// All that `transactions` show, permitted or not. Of cycles the worst kind that there is.
#[must_use]
pub fn anomalies(transactions: &[Transaction], promise: Promise) -> Vec<Found> {
    let mut found = Vec::new();
    let versions = Versions::of(transactions, promise, &mut found);
    versions.check_reads(&mut found);
    found.extend(graph::worst_cycle(&versions));
    found
}

#[cfg(test)]
mod tests;
