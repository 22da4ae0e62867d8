//! What all reads of one open database share.

use std::sync::Arc;

use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::tree::ReadAhead;
use lightning_db_sync::atomic::{AtomicBool, Ordering};

use super::pages::PageStore;
use super::prefetch::Prefetcher;
use crate::cache::Caches;
use crate::config::LightningDbConfig;
use crate::error::{Error, Result};

/// Caches, pages and read-ahead. Snapshots and iterators hold it, and it outlives them all; after
/// [`close`](Self::close) it refuses to read.
pub(crate) struct Reader {
    pub(super) pages: Arc<PageStore>,
    prefetcher: Option<Prefetcher>,
    read_ahead: ReadAhead,
    closed: AtomicBool,
}

impl Reader {
    /// Reads through `caches`, as the configuration says.
    pub(crate) fn new(config: &LightningDbConfig, caches: Arc<Caches>) -> Arc<Self> {
        let pages = Arc::new(PageStore::new(caches));
        let prefetcher =
            config.prefetch_enabled.then(|| Prefetcher::new(Arc::clone(&pages), config.prefetch_workers));
        let distance = if config.prefetch_enabled { config.prefetch_distance } else { 0 };
        Arc::new(Self {
            pages,
            prefetcher,
            read_ahead: ReadAhead { distance },
            closed: AtomicBool::new(false),
        })
    }

    /// The caches.
    pub(crate) fn caches(&self) -> &Caches {
        &self.pages.caches
    }

    /// Refuses all reads from now on, ends the threads, and wipes what is cached.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(prefetcher) = &self.prefetcher {
            prefetcher.stop();
        }
        self.caches().evict_fraction(1.0);
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// How far cursors read ahead.
    pub(super) const fn read_ahead(&self) -> ReadAhead {
        self.read_ahead
    }

    pub(super) fn prefetch(&self, blocks: &Arc<dyn BlockSource>, kind: BlockKind, ptrs: &[BlockPtr]) {
        if let Some(prefetcher) = &self.prefetcher {
            prefetcher.request(blocks, kind, ptrs);
        }
    }
}
