//! One key and its versions.

use std::fmt;
use std::mem::size_of;
use std::sync::Arc;

use lightning_db_storage::SequenceNumber;
use lightning_db_storage::page::EntryKind;
use lightning_db_sync::RwLock;

use crate::key_bytes::KeyBytes;
use crate::shared_bytes::{SharedBytes, heap_bytes};

/// What a commit did to a key.
#[derive(Clone, Debug)]
pub(crate) enum MemValue {
    /// Wrote this value.
    Put(SharedBytes),
    /// Deleted the key. Older versions, wherever they are, no longer count.
    Delete,
    /// Wrote a large value: the encoded reference to its extents.
    Extent(SharedBytes),
}

impl MemValue {
    /// What an entry of a page says in the same case.
    pub(super) fn kind(&self) -> EntryKind {
        match self {
            Self::Put(_) => EntryKind::Put,
            Self::Delete => EntryKind::Delete,
            Self::Extent(_) => EntryKind::Extent,
        }
    }

    /// The bytes that were written; none for a deletion.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Put(bytes) | Self::Extent(bytes) => bytes,
            Self::Delete => &[],
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Put(bytes) | Self::Extent(bytes) => bytes.memory_bytes(),
            Self::Delete => 0,
        }
    }
}

/// A version of a key.
#[derive(Clone, Debug)]
pub(crate) struct MemHit {
    /// The commit that wrote it.
    pub(crate) seq: SequenceNumber,
    /// What it wrote.
    pub(crate) value: MemValue,
}

/// A key and its versions.
pub(super) struct KeyEntry {
    key: KeyBytes,
    versions: RwLock<Versions>,
}

/// Most keys have one version in a memtable: it takes no allocation of its own.
struct Versions {
    newest: MemHit,
    /// Ascending, all older than `newest`.
    older: Vec<MemHit>,
}

impl KeyEntry {
    /// A key with its versions: `older` ascending and older than `newest`.
    pub(super) fn new(key: &[u8], newest: MemHit, older: Vec<MemHit>) -> Arc<Self> {
        Arc::new(Self { key: KeyBytes::from(key), versions: RwLock::new(Versions { newest, older }) })
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Adds a version; a second one of the same commit takes the place of the first. Returns how many bytes of memory
    /// came in and how many went.
    pub(super) fn push(&self, hit: MemHit) -> (usize, usize) {
        let mut versions = self.versions.write();
        let came = hit.value.memory_bytes();
        if hit.seq == versions.newest.seq {
            let gone = std::mem::replace(&mut versions.newest, hit);
            return (came, gone.value.memory_bytes());
        }
        debug_assert!(hit.seq > versions.newest.seq, "commits are applied in their order");
        let before = versions.older.capacity();
        let previous = std::mem::replace(&mut versions.newest, hit);
        versions.older.push(previous);
        let grown = versions.older.capacity() - before;
        (came + grown * size_of::<MemHit>(), 0)
    }

    /// The newest version that is not newer than `at`.
    pub(super) fn visible(&self, at: SequenceNumber) -> Option<MemHit> {
        let versions = self.versions.read();
        if versions.newest.seq <= at {
            return Some(versions.newest.clone());
        }
        let visible = versions.older.partition_point(|hit| hit.seq <= at);
        versions.older[..visible].last().cloned()
    }

    /// The newest version's commit.
    pub(super) fn newest_sequence(&self) -> SequenceNumber {
        self.versions.read().newest.seq
    }

    /// Shows all versions, newest first.
    pub(super) fn each_version(&self, mut show: impl FnMut(&MemHit)) {
        let versions = self.versions.read();
        show(&versions.newest);
        versions.older.iter().rev().for_each(show);
    }

    /// Bytes of all values.
    pub(super) fn value_bytes(&self) -> usize {
        let mut bytes = 0;
        self.each_version(|hit| bytes += hit.value.bytes().len());
        bytes
    }

    /// How many versions there are.
    pub(super) fn version_count(&self) -> usize {
        1 + self.versions.read().older.len()
    }

    /// What a new key takes: itself, its key and its first value.
    pub(super) fn memory_bytes_at_first(key: &[u8], value: &MemValue) -> usize {
        heap_bytes(2 * size_of::<usize>() + size_of::<Self>())
            + KeyBytes::heap_bytes_of(key.len())
            + value.memory_bytes()
    }
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyEntry({} bytes)", self.key.len())
    }
}
