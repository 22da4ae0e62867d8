//! Making the log durable, beside its writer and without waiting for it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use lightning_db_sync::Mutex;
use lightning_db_sync::atomic::{AtomicU64, Ordering};

use super::extents::Extents;
use crate::{FrameNumber, Result, StorageError};

/// What a writer shares with those who sync for it.
pub(super) struct Shared {
    appended: AtomicU64,
    /// The newest frame that is more than a marker.
    content: AtomicU64,
    durable: AtomicU64,
    /// Where the newest frame ends in the current segment.
    used: AtomicU64,
    current: Mutex<Arc<Extents>>,
    /// One sync at a time: the system reports a failure once, and no other sync may pass for a success meanwhile.
    syncing: Mutex<()>,
    poison: OnceLock<String>,
}

impl Shared {
    /// Everything up to `durable` is synced already.
    pub(super) fn new(current: Arc<Extents>, durable: FrameNumber) -> Self {
        Self {
            appended: AtomicU64::new(durable.0),
            content: AtomicU64::new(durable.0),
            durable: AtomicU64::new(durable.0),
            used: AtomicU64::new(0),
            current: Mutex::new(current),
            syncing: Mutex::new(()),
            poison: OnceLock::new(),
        }
    }

    /// A frame that ends at `used` was published.
    pub(super) fn appended(&self, frame: FrameNumber, used: u64, is_content: bool) {
        self.used.store(used, Ordering::Relaxed);
        if is_content {
            self.content.store(frame.0, Ordering::Release);
        }
        self.appended.store(frame.0, Ordering::Release);
    }

    /// Moves on to the next segment; the one before is synced up to its last frame.
    pub(super) fn rotated(&self, next: Arc<Extents>) {
        *self.current.lock() = next;
    }

    /// The newest frame that was synced.
    pub(super) fn durable(&self) -> FrameNumber {
        FrameNumber(self.durable.load(Ordering::Acquire))
    }

    /// The newest frame that is more than a marker.
    pub(super) fn content(&self) -> FrameNumber {
        FrameNumber(self.content.load(Ordering::Acquire))
    }

    /// Refuses if anything failed before.
    pub(super) fn check(&self) -> Result<()> {
        match self.poison.get() {
            Some(first) => Err(StorageError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    /// Makes this failure the end of writing; the first one is kept. A disk that was full at a moment when writing cannot
    /// go on is no `DiskFull`, after which the same could be tried again: what failed may be in the log.
    pub(super) fn poison(&self, error: StorageError) -> StorageError {
        let first = self.poison.get_or_init(|| match &error {
            StorageError::DiskFull { path } => {
                format!("the disk was full while {} was written", path.display())
            }
            error => error.to_string(),
        });
        match error {
            StorageError::DiskFull { .. } => StorageError::Poisoned { first: first.clone() },
            error => error,
        }
    }

    /// Syncs all that was appended before the call.
    pub(super) fn sync(&self) -> Result<FrameNumber> {
        let _one_at_a_time = self.syncing.lock();
        self.check()?;
        // In this order: if the writer moves on between the two, the segment that `frame` is in was synced by it.
        let frame = self.appended.load(Ordering::Acquire);
        let current = self.current.lock().clone();
        if frame > self.durable.load(Ordering::Acquire) {
            current.sync().map_err(|error| self.poison(error))?;
            self.durable.store(frame, Ordering::Release);
        }
        Ok(self.durable())
    }
}

/// Syncs a log beside its [`WalWriter`](super::WalWriter). Clones are handles to the same log.
#[derive(Clone)]
pub struct WalSync {
    pub(super) shared: Arc<Shared>,
}

impl WalSync {
    /// Makes everything durable that was appended before the call, and returns the newest frame that is. Appending goes
    /// on meanwhile; the frames that follow say what was synced.
    ///
    /// # Errors
    /// A failed sync ends all writing: then, and ever after, the writer and this return an error.
    pub fn sync(&self) -> Result<FrameNumber> {
        self.shared.sync()
    }

    /// The newest frame that is durable.
    #[must_use]
    pub fn durable(&self) -> FrameNumber {
        self.shared.durable()
    }

    /// Whether anything but markers was appended since the last sync.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.shared.content() > self.shared.durable()
    }

    /// Makes space in the current segment if little is left, so that the writer need not.
    ///
    /// # Errors
    /// `DiskFull` and other failures to extend the file; they spoil nothing.
    pub fn grow_ahead(&self) -> Result<()> {
        self.shared.check()?;
        let current = self.shared.current.lock().clone();
        current.grow_ahead(self.shared.used.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for WalSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalSync").field("durable", &self.durable()).finish_non_exhaustive()
    }
}
