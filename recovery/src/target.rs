//! What to replay to.

use std::fmt;

use lightning_db_storage::SequenceNumber;

use crate::Moment;

/// A moment of a history, as a user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayTarget {
    /// The newest commit.
    Latest,
    /// This commit.
    Sequence(SequenceNumber),
    /// The longest run of commits from the start on of which none is later, in microseconds since 1970.
    Time(i64),
    /// The restore point of this name: the state after its sequence number.
    Name(String),
}

/// A target, and which side of it to stop on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The moment.
    pub target: ReplayTarget,
    /// Stop before the commit that the target ends with; for a time, take only commits that are earlier.
    pub exclusive: bool,
}

impl Aim {
    /// Up to the target, with it.
    #[must_use]
    pub fn at(target: ReplayTarget) -> Self {
        Self { target, exclusive: false }
    }

    /// Up to the target, without it.
    #[must_use]
    pub fn before(target: ReplayTarget) -> Self {
        Self { target, exclusive: true }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exclusive {
            f.write_str("the moment before ")?;
        }
        match &self.target {
            ReplayTarget::Latest => f.write_str("the newest commit"),
            ReplayTarget::Sequence(sequence) => write!(f, "sequence number {sequence}"),
            ReplayTarget::Time(micros) => write!(f, "the time {micros} µs since 1970"),
            ReplayTarget::Name(name) => write!(f, "the restore point {name:?}"),
        }
    }
}

/// Where a replay ends. Made by [`locate`](crate::locate).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The last commit to replay; the start, if nothing is to be replayed.
    pub moment: Moment,
    /// The last restore point after that commit that belongs to the target; none if none does.
    pub last_point: Option<String>,
}
