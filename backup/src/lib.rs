//! Backup repository, manifests, retention and restore for lightning_db.

mod archive;
mod backup;
mod candidate;
mod catalog;
mod error;
mod history;
mod layout;
mod manifest;
mod prune;
mod repository;
mod store;
mod transfer;

pub use archive::LostLog;
pub use backup::{BackupInput, BackupReport, Phase, Phases, run_backup};
pub use candidate::VersionKind;
pub use catalog::{BackupSummary, Catalog, Entry};
pub use error::{BackupError, ReachableInterval, Result, TargetCandidate};
pub use manifest::{
    BackupManifest, KeyringObject, LogPiece, MAX_RECORD_LEN, PreviousRecord, Record, RecordBody,
    RepositoryId, SegmentObject,
};
pub use prune::delete_backup;
pub use repository::Repository;
pub use store::{
    Content, DirectoryStore, ObjectEntry, ObjectReader, ObjectSink, ObjectStore, Put, WriterLock,
};

pub(crate) use repository::read_object;
pub use transfer::{NoProgress, Progress};
