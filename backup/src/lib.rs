//! Backup repository, manifests, retention and restore for lightning_db.

mod archive;
mod backup;
mod candidate;
mod catalog;
mod destroy;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod history;
mod layout;
mod manifest;
mod plan;
mod prune;
mod repository;
mod restore;
mod store;
mod tar;
mod transfer;
mod verify;

pub use archive::LostLog;
pub use backup::{BackupInput, BackupReport, Phase, Phases, run_backup};
pub use candidate::VersionKind;
pub use catalog::{BackupSummary, Catalog, Entry};
pub use destroy::{Doomed, KeyHolders, KnownKeys, destroy_epoch, epoch_holders, keyring_holders};
pub use error::{BackupError, ReachableInterval, Result, TargetCandidate};
pub use manifest::{
    BackupManifest, KeyringObject, LogPiece, MAX_RECORD_LEN, PreviousRecord, Record, RecordBody,
    RepositoryId, SegmentObject,
};
pub use plan::{Goal, PlannedLeg, RestorePlan, Target, Wanted, open_keyring, plan, whole_log};
pub use prune::delete_backup;
pub use repository::Repository;
pub use restore::{materialise, open_segments, replay_leg};
pub use store::{
    Content, DirectoryStore, ObjectEntry, ObjectReader, ObjectSink, ObjectStore, Put, WriterLock,
};
pub use tar::{export_tar, import_tar};
pub use transfer::{NoProgress, Progress};
pub use verify::{Level, Problem, VerifyReport, verify};
