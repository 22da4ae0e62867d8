//! The manifest: which trees, segments and log make up the database now. It is the root of everything that is
//! believed about any other file, and it is replaced as a whole; see [`TwinFile`](crate::twin_file::TwinFile).

mod check;
mod codec;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use codec::{FORMAT_VERSION, MAX_NAME_LEN};
pub use store::ManifestStore;
pub use types::{
    ArchivedThrough, Features, Fork, Gap, GapReason, HeldSegment, Keyspace, Lineage, Manifest,
    NamedCheckpoint, RepositoryCursor, RestorePoint, RunInfo,
};
