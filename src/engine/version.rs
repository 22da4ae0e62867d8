//! What the database is at one moment, in memory.
//!
//! A [`Version`] never changes. Commits go into the active memtable of the current one; a frozen memtable, a flushed
//! run and a merge each make a new version that takes the place of the current one. A snapshot is a version and a
//! sequence number, and it stays readable as long as somebody holds it: what it refers to is counted by reference,
//! down to the files.
//!
//! Invariant: the trees of a version hold only commits that were published before the version became current. So a
//! sequence number that was read while a version was current is never older than that version's trees.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Weak};

use lightning_db_storage::filter::Filter;
use lightning_db_storage::manifest::RunInfo;
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::tree::TreeRef;
use lightning_db_storage::{Result, SequenceNumber, ZeroizingBytes};
use lightning_db_sync::modelled::atomic::{AtomicU64, Ordering};
use lightning_db_sync::modelled::{Mutex, Swap};

use super::segments::{SegmentTable, unknown_segment};
use super::values::ValueLog;
use crate::memtable::Memtable;

/// The whole database at one moment.
pub(crate) struct Version {
    /// Takes the commits.
    pub(crate) active: Arc<Layer>,
    /// Full, and waiting to be flushed; newest first.
    pub(crate) frozen: Vec<Arc<Layer>>,
    /// What is in files.
    pub(crate) tree: Arc<TreeState>,
}

/// A memtable and the large values that its commits wrote.
pub(crate) struct Layer {
    pub(crate) memtable: Arc<Memtable>,
    pub(crate) values: ValueLog,
    /// Whether the log has its commits.
    pub(super) is_logged: bool,
    last_time_micros: AtomicI64,
}

impl Layer {
    /// An empty one; see [`Memtable::new`].
    pub(super) fn new(hash_seed: u64, is_logged: bool) -> Arc<Self> {
        let memtable = Arc::new(Memtable::new(hash_seed));
        Arc::new(Self {
            memtable,
            values: ValueLog::default(),
            is_logged,
            last_time_micros: AtomicI64::new(0),
        })
    }

    /// Remembers the time of the newest commit, microseconds since 1970.
    pub(super) fn note_time(&self, time_micros: i64) {
        self.last_time_micros.store(time_micros, Ordering::Release);
    }

    /// The time of the newest commit, microseconds since 1970; 0 when there is none.
    pub(crate) fn last_time_micros(&self) -> i64 {
        self.last_time_micros.load(Ordering::Acquire)
    }
}

/// The trees of the default keyspace and the segments that they need.
pub(crate) struct TreeState {
    pub(crate) base: TreeRef,
    /// Newest first.
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) segments: SegmentTable,
    /// Every commit up to here is in the trees.
    pub(crate) flushed: SequenceNumber,
}

/// A sorted run.
pub(crate) struct Run {
    pub(crate) info: RunInfo,
    pub(crate) filter: Option<Filter>,
}

impl Version {
    /// The memtables, newest first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Arc<Layer>> {
        std::iter::once(&self.active).chain(&self.frozen)
    }
}

/// Pages and large values of the trees, and the large values that only memtables refer to so far.
impl BlockSource for Version {
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes> {
        if let Some(segment) = self.tree.segments.get(ptr.segment) {
            return segment.reader().read(kind, ptr);
        }
        match self.layers().find_map(|layer| layer.values.segment(ptr.segment)) {
            Some(segment) => segment.read(kind, ptr),
            None => Err(unknown_segment(ptr)),
        }
    }
}

/// A version and the newest commit that a reader of it sees.
#[derive(Clone)]
pub(crate) struct ReadView {
    pub(crate) version: Arc<Version>,
    pub(crate) sequence: SequenceNumber,
}

/// The current version and the newest published commit.
pub(crate) struct Versions {
    current: Swap<Version>,
    published: AtomicU64,
    /// Versions that were replaced and that somebody may still hold. Locked while a new version is made.
    replaced: Mutex<Vec<Weak<Version>>>,
}

impl Versions {
    pub(crate) fn new(version: Version, published: SequenceNumber) -> Self {
        Self {
            current: Swap::from_pointee(version),
            published: AtomicU64::new(published.0),
            replaced: Mutex::default(),
        }
    }

    /// A view of everything that was published when it was taken.
    pub(crate) fn view(&self) -> ReadView {
        let mut version = self.current.load_full();
        loop {
            let sequence = self.published();
            let again = self.current.load();
            if Arc::ptr_eq(&version, &again) {
                return ReadView { version, sequence };
            }
            version = Arc::clone(&again);
        }
    }

    /// As [`view`](Self::view), without counting a reference: for reads that are over before this returns.
    pub(crate) fn with_view<R>(&self, read: impl FnOnce(&Version, SequenceNumber) -> R) -> R {
        loop {
            let version = self.current.load();
            let sequence = self.published();
            if Arc::ptr_eq(&version, &self.current.load()) {
                return read(&version, sequence);
            }
        }
    }

    /// The current version, whatever is published in it.
    pub(crate) fn current(&self) -> Arc<Version> {
        self.current.load_full()
    }

    /// The newest commit that readers see.
    pub(crate) fn published(&self) -> SequenceNumber {
        SequenceNumber(self.published.load(Ordering::Acquire))
    }

    /// Shows the commits up to `sequence` to readers. Called in order, by who holds the writer.
    pub(crate) fn publish(&self, sequence: SequenceNumber) {
        debug_assert!(sequence >= self.published());
        self.published.store(sequence.0, Ordering::Release);
    }

    /// Replaces the current version by what `next` makes of it.
    pub(crate) fn change(&self, next: impl FnOnce(&Version) -> Version) {
        let mut replaced = self.replaced.lock();
        let version = next(&self.current.load());
        let before = self.current.swap(Arc::new(version));
        replaced.retain(|version| version.strong_count() > 0);
        replaced.push(Arc::downgrade(&before));
    }

    /// How many holders older versions have: snapshots, transactions, reads under way.
    pub(crate) fn holders_of_old(&self) -> usize {
        self.replaced.lock().iter().map(Weak::strong_count).sum()
    }
}
