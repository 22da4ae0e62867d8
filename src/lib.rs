//! An embedded key-value database that keeps data secret, whole and recoverable.

mod backup;
mod batch;
mod cache;
mod check;
mod config;
mod database;
mod destroy;
mod engine;
mod environment;
mod error;
mod freshness;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key_bytes;
pub mod logging;
mod memtable;
mod observe;
mod read;
mod restore;
mod shared_bytes;
mod time;
mod transaction;
mod verify;

pub use backup::{BackupReport, BackupSummary, NoProgress, Phase, Progress};
pub use batch::WriteBatch;
pub use check::{
    CheckCovered, CheckDepth, CheckFinding, CheckOptions, CheckPhase, CheckProgress, CheckReport,
    CheckSeverity, CheckWatch, check, check_in,
};
pub use config::{ConfigBuilder, LightningDbConfig, TransactionOptions, WalSyncMode};
pub use database::Database;
pub use database::checkpoints::CheckpointInfo;
pub use destroy::{DataKeyDestruction, DestroyDataKeyOptions, DestroyOptions, KeyDestruction, KeyPlace};
pub use engine::{DataKeyInfo, MAX_KEY_SIZE, MAX_VALUE_SIZE};
pub use environment::Environment;
pub use error::{Error, ReachableInterval, Result, TargetCandidate};
pub use freshness::{AnchorSource, FreshnessAnchor, FreshnessMark, FreshnessPolicy};
pub use lightning_db_crypto::{Entropy, EpochId, KeyProvider, KeySource, PublicKey, SlotId, SlotInfo};
pub use lightning_db_storage::audit::{AuditBreak, AuditEvent, AuditFile, AuditHead, AuditLog, AuditRecord};
pub use lightning_db_storage::{Incarnation, SequenceNumber, clock::Clock, vfs::Vfs};
pub use observe::{
    DatabaseStats, HealthProblem, HealthProblemKind, HealthStatus, LatencyHistogram, MetricsSnapshot,
};
pub use read::{Cursor, DatabaseIterator, PinnedValue, Snapshot};
pub use restore::{RecoveryTarget, RestoreOptions, RestoreReport};
pub use transaction::{Transaction, TransactionId, TransactionIterator};
pub use verify::{RepositoryProblem, RepositoryReport, VerifyLevel, VerifyOptions};
