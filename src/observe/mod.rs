//! What a database tells about itself: counters and durations, statistics, health.

mod counter;
mod health;
mod histogram;
mod metrics;
mod publish;
mod stats;

pub use health::{HealthProblem, HealthProblemKind, HealthStatus};
pub use histogram::LatencyHistogram;
pub use metrics::MetricsSnapshot;
pub(crate) use metrics::{Metrics, Operation};
pub use stats::DatabaseStats;
