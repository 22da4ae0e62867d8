//! Redo after a crash, replay to a target, and verification for lightning_db.
//!
//! * [`History`]: the log of one or more histories as one, from a backup's state on, and how far to replay it
//!   ([`locate`]).
//! * [`redo`]: how a log is given to whoever takes its commits.
//! * [`check`]: whether a database's files are all that they should be.

pub mod check;
mod error;
mod history;
mod locate;
pub mod redo;
mod target;
#[cfg(test)]
mod testing;

pub use error::{Interval, RecoveryError, Result};
pub use history::{History, Known, Leg, Moment, Reached};
pub use locate::locate;
pub use target::{Aim, ReplayTarget, Stop};
