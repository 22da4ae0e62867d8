//! Backup repository, manifests, retention and restore for lightning_db.

mod catalog;
mod error;
mod history;
mod layout;
mod manifest;
mod repository;
mod store;

pub use catalog::{BackupSummary, Catalog, Entry};
pub use error::{BackupError, ReachableInterval, Result, TargetCandidate};
pub use manifest::{
    BackupManifest, KeyringObject, LogPiece, MAX_RECORD_LEN, PreviousRecord, Record, RecordBody,
    RepositoryId, SegmentObject,
};
pub use repository::Repository;
pub use store::{
    Content, DirectoryStore, ObjectEntry, ObjectReader, ObjectSink, ObjectStore, Put, WriterLock,
};

pub(crate) use repository::read_object;
