//! What recovery can fail with.

use std::fmt;

use lightning_db_storage::{Incarnation, SequenceNumber, StorageError};

use crate::Moment;

/// The result of recovery.
pub type Result<T, E = RecoveryError> = std::result::Result<T, E>;

/// Why a history was not replayed. Nothing is ever replayed to another moment than the one asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// No log that was kept leads to the moment asked for.
    #[error("{target} cannot be reached: {reason}; {}", Intervals(intervals))]
    TargetNotReachable {
        /// The target, in words.
        target: String,
        /// Why it cannot be reached.
        reason: String,
        /// What can be reached, in order.
        intervals: Vec<Interval>,
    },
    /// Several moments fit the target.
    #[error("{target} is ambiguous: choose one of {}", Moments(candidates))]
    TargetAmbiguous {
        /// The target, in words.
        target: String,
        /// The moments that fit, in order of their commits. There may be more than these.
        candidates: Vec<Moment>,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A stretch of one history whose every commit can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The history.
    pub incarnation: Incarnation,
    /// The first commit; 0 stands for the empty database.
    pub first: SequenceNumber,
    /// The last commit.
    pub last: SequenceNumber,
    /// The first commit's time, in microseconds since 1970.
    pub first_micros: i64,
    /// The last commit's time, in microseconds since 1970.
    pub last_micros: i64,
}

struct Intervals<'a>(&'a [Interval]);

impl fmt::Display for Intervals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing can be reached");
        }
        f.write_str("what can be reached: ")?;
        for (index, interval) in self.0.iter().enumerate() {
            let Interval { incarnation, first, last, .. } = interval;
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}sequence {first} to {last} of incarnation {incarnation}")?;
        }
        Ok(())
    }
}

struct Moments<'a>(&'a [Moment]);

impl fmt::Display for Moments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, moment) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}sequence {} of incarnation {}", moment.sequence, moment.incarnation)?;
        }
        Ok(())
    }
}
