//! Whether a database can do its work.

use std::fmt;

use serde::Serialize;

use crate::error::Error;

/// The outcome of `health_check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthStatus {
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// What is wrong, the worst first.
    pub problems: Vec<HealthProblem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthProblem {
    /// What kind of thing.
    pub kind: HealthProblemKind,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What can be wrong, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthProblemKind {
    /// Damage was found in a file.
    Damage,
    /// A write or sync failed; the database is read-only until it is opened again.
    Poisoned,
    /// Background work (a flush, a merge) failed and is tried again.
    BackgroundFailed,
    /// The disk is full, or nearly.
    LowSpace,
    /// Writers are held back until merges catch up.
    WritersStalled,
    /// A part of the history cannot be restored, because its log was given up or never written.
    LogGap,
}

impl HealthStatus {
    /// Healthy if there are no problems.
    pub(crate) fn new(mut problems: Vec<HealthProblem>) -> Self {
        problems.sort_by_key(|problem| problem.kind);
        Self { healthy: problems.is_empty(), problems }
    }
}

impl HealthProblem {
    /// What an error of the writer or of background work means for the database's health.
    pub(crate) fn of(error: &Error) -> Self {
        let kind = match error {
            Error::Poisoned { .. } => HealthProblemKind::Poisoned,
            Error::DiskFull { .. } => HealthProblemKind::LowSpace,
            error if error.is_integrity() => HealthProblemKind::Damage,
            _ => HealthProblemKind::BackgroundFailed,
        };
        Self { kind, message: error.to_string() }
    }

    pub(crate) fn low_space(available_bytes: u64) -> Self {
        let message = format!("only {available_bytes} bytes are left on the disk: free some space");
        Self { kind: HealthProblemKind::LowSpace, message }
    }

    pub(crate) fn writers_stalled(pending_bytes: u64) -> Self {
        let message = format!(
            "writers wait until {pending_bytes} bytes are merged: write less at once, or raise \
             `parallel_compaction_workers`"
        );
        Self { kind: HealthProblemKind::WritersStalled, message }
    }

    pub(crate) fn log_gaps(gaps: usize) -> Self {
        let message = format!(
            "{gaps} intervals of history cannot be restored, because their log was given up or never written: \
             back up often enough for `max_retained_log`, and keep `wal_enabled`"
        );
        Self { kind: HealthProblemKind::LogGap, message }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.healthy {
            return f.write_str("healthy");
        }
        f.write_str("not healthy")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

impl fmt::Display for HealthProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_problem_is_healthy() {
        let health = HealthStatus::new(Vec::new());
        assert!(health.healthy);
        assert_eq!(health.to_string(), "healthy");
    }

    #[test]
    fn the_worst_problem_comes_first() {
        let poisoned = Error::Poisoned { first: "sync failed".into() };
        let health = HealthStatus::new(vec![
            HealthProblem::log_gaps(2),
            HealthProblem::low_space(17),
            HealthProblem::writers_stalled(1 << 30),
            HealthProblem::of(&poisoned),
            HealthProblem::of(&Error::corrupt("/db/1.run", 7, "a page")),
        ]);
        assert!(!health.healthy);
        let kinds: Vec<_> = health.problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds[..2], [HealthProblemKind::Damage, HealthProblemKind::Poisoned]);
        assert_eq!(kinds.last(), Some(&HealthProblemKind::LogGap));
        assert!(health.to_string().contains("sync failed") && health.to_string().contains("17 bytes"));
    }

    #[test]
    fn a_full_disk_is_low_space_and_not_damage() {
        let full = Error::DiskFull { path: "/db".into() };
        assert_eq!(HealthProblem::of(&full).kind, HealthProblemKind::LowSpace);
        assert_eq!(HealthProblem::of(&Error::Cancelled).kind, HealthProblemKind::BackgroundFailed);
    }
}
