//! Threads that read pages before somebody needs them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use parking_lot::Mutex;

use super::pages::PageStore;

/// Pages that wait to be read ahead. What does not fit is left to whoever needs it.
const QUEUE_LEN: usize = 1024;

/// Reads pages ahead into the cache. Its threads start with the first page.
pub(super) struct Prefetcher {
    pages: Arc<PageStore>,
    workers: usize,
    pool: OnceLock<Pool>,
    stopped: Arc<AtomicBool>,
}

struct Pool {
    jobs: Mutex<Option<Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Job {
    /// Keeps the page's segment, until the page is read.
    blocks: Arc<dyn BlockSource>,
    kind: BlockKind,
    ptr: BlockPtr,
}

impl Prefetcher {
    /// With `workers` threads.
    pub(super) fn new(pages: Arc<PageStore>, workers: usize) -> Self {
        Self { pages, workers, pool: OnceLock::new(), stopped: Arc::default() }
    }

    /// Has these pages read, as far as there is room in the queue.
    pub(super) fn request(&self, blocks: &Arc<dyn BlockSource>, kind: BlockKind, ptrs: &[BlockPtr]) {
        let mut missing = ptrs.iter().filter(|ptr| !self.pages.contains(ptr)).peekable();
        if missing.peek().is_none() || self.stopped.load(Ordering::Acquire) {
            return;
        }
        let Some(jobs) = self.pool.get_or_init(|| self.start()).jobs.lock().clone() else { return };
        for ptr in missing {
            if jobs.try_send(Job { blocks: Arc::clone(blocks), kind, ptr: *ptr }).is_err() {
                return;
            }
        }
    }

    /// Ends the threads, and returns when they have ended.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let Some(pool) = self.pool.get() else { return };
        drop(pool.jobs.lock().take());
        for thread in std::mem::take(&mut *pool.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads ahead panicked");
            }
        }
    }

    fn start(&self) -> Pool {
        let (sender, jobs) = bounded(QUEUE_LEN);
        let mut threads = Vec::new();
        for number in 0..self.workers {
            let (pages, jobs, stopped) = (Arc::clone(&self.pages), jobs.clone(), Arc::clone(&self.stopped));
            let name = format!("lightning-read-{number}");
            match Builder::new().name(name).spawn(move || work(&pages, &jobs, &stopped)) {
                Ok(thread) => threads.push(thread),
                // Reading goes on, just not ahead.
                Err(error) => tracing::warn!(%error, "could not start a thread that reads ahead"),
            }
        }
        let sender = Some(sender).filter(|_| !threads.is_empty());
        Pool { jobs: Mutex::new(sender), threads: Mutex::new(threads) }
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(pages: &PageStore, jobs: &Receiver<Job>, stopped: &AtomicBool) {
    for Job { blocks, kind, ptr } in jobs {
        if !stopped.load(Ordering::Acquire) {
            pages.read_ahead(&*blocks, kind, &ptr);
        }
    }
}
