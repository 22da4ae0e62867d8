//! Files, segments, pages, the write-ahead log and the manifest of lightning_db.

pub mod audit;
pub mod bytes;
pub mod clock;
pub mod compress;
pub mod directory;
mod error;
pub mod extent;
pub mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod ids;
pub mod keyring_store;
pub mod manifest;
pub mod page;
pub mod pointer;
pub mod segment;
pub mod tree;
pub mod twin_file;
pub mod vfs;
pub mod wal;
mod zeroizing_bytes;

pub use error::{Result, StorageError};
pub use ids::{FrameNumber, Generation, Incarnation, Salt, SegmentId, SequenceNumber};
pub use zeroizing_bytes::ZeroizingBytes;
