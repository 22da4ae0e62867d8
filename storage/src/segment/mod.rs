//! Segments: files that one writer writes once, under a key of their own, and that nobody changes after that.
//!
//! ```text
//! header   128 bytes in the clear, equal to what the manifest says      (header.rs)
//! blocks   ciphertext, one after another, without alignment; what is needed to open one is in its pointer
//! footer   sealed counts and the hash of all that precedes it           (footer.rs)
//! ```
//!
//! Invariants:
//! * A key belongs to one segment: it is derived from the epoch's data key, the database, the segment's id and a salt
//!   that the writer drew. A writer is never cloned, stored, or resumed.
//! * A nonce is the offset of what it seals. Offsets only grow, each block takes at least one byte, and after a failed
//!   write nothing more is appended. So no two blocks share (key, nonce).
//! * Nothing is believed because the file says so: the header must equal the manifest's entry, and what a block is
//!   stands in its parent and is authenticated with it (seal.rs).
//! * A segment without its footer, of whatever kind, was never promised to anybody; it is removed, not continued.
//!
//! The write-ahead log shares the header and the salt, and frames its content in its own way.

mod footer;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod header;
mod info;
mod reader;
mod seal;
mod set;
mod writer;

#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db_crypto::{AeadSuite, DatabaseId, Entropy, Keyring};
use lightning_db_sync::RwLock;

use crate::clock::Clock;
use crate::vfs::Vfs;
use crate::{Incarnation, SegmentId};

pub use header::{FORMAT_VERSION, HEADER_LEN, SegmentHeader};
pub use info::SegmentInfo;
pub use reader::{ReadMode, SegmentReader, hash_file};
pub use set::{SegmentIds, SegmentSetOptions, SegmentSetWriter, Segments};
pub use writer::{SegmentWriter, WriterOptions};

/// What a segment is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum SegmentKind {
    /// Part of the write-ahead log.
    Wal = 0,
    /// A flushed memtable, or several merged.
    Run = 1,
    /// Pages of the base tree.
    Base = 2,
    /// Large values.
    Value = 3,
}

impl SegmentKind {
    const ALL: [Self; 4] = [Self::Wal, Self::Run, Self::Base, Self::Value];

    /// The kind with this number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The end of the names of its files.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Wal => "wal",
            Self::Run => "run",
            Self::Base => "base",
            Self::Value => "value",
        }
    }
}

/// The name of a segment's file: sixteen hex digits, a dot, the kind.
#[must_use]
pub fn segment_file_name(kind: SegmentKind, id: SegmentId) -> String {
    format!("{:016x}.{}", id.0, kind.extension())
}

/// Which segment a file name belongs to; `None` for every name that [`segment_file_name`] does not make.
#[must_use]
pub fn parse_segment_file_name(name: &str) -> Option<(SegmentKind, SegmentId)> {
    let (digits, extension) = name.split_once('.')?;
    let kind = SegmentKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    let canonical =
        digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = u64::from_str_radix(digits, 16).ok().filter(|_| canonical)?;
    Some((kind, SegmentId(id)))
}

/// What sealing and opening segments needs; one for each open database, shared by all its writers and
/// readers.
pub struct SealContext {
    /// All file I/O.
    pub vfs: Arc<dyn Vfs>,
    /// When segments were created, and part of the hedge of their salts.
    pub clock: Arc<dyn Clock>,
    /// Where salts come from.
    pub entropy: Arc<dyn Entropy>,
    /// How blocks are sealed; its id must be that of the keyring.
    pub suite: Arc<dyn AeadSuite>,
    /// The data keys.
    pub keyring: Arc<RwLock<Keyring>>,
    /// The database that the segments belong to.
    pub database: DatabaseId,
    /// The history in which new segments are written. Older ones keep theirs, see [`SegmentInfo::incarnation`].
    pub incarnation: CurrentIncarnation,
    /// Where the files are.
    pub directory: PathBuf,
    /// How many salts were drawn; start it with `SaltCount::default()`.
    pub salts: SaltCount,
}

/// The history that is being written. It changes only when the database goes back to a checkpoint, while nothing else
/// is written.
#[derive(Debug)]
pub struct CurrentIncarnation(RwLock<Incarnation>);

impl CurrentIncarnation {
    /// The history that new segments belong to.
    #[must_use]
    pub fn get(&self) -> Incarnation {
        *self.0.read()
    }

    /// Begins another history.
    pub fn set(&self, next: Incarnation) {
        *self.0.write() = next;
    }
}

impl From<Incarnation> for CurrentIncarnation {
    fn from(incarnation: Incarnation) -> Self {
        Self(RwLock::new(incarnation))
    }
}

impl SealContext {
    /// The path of a segment's file.
    #[must_use]
    pub fn segment_path(&self, kind: SegmentKind, id: SegmentId) -> PathBuf {
        self.directory.join(segment_file_name(kind, id))
    }
}

impl fmt::Debug for SealContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealContext")
            .field("database", &self.database)
            .field("incarnation", &self.incarnation.get())
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Counts the salts that one context drew, so that no two of them are alike even if everything else about them is.
#[derive(Debug, Default)]
pub struct SaltCount(AtomicU64);

impl SaltCount {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
