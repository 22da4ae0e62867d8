//! Threads that read pages before somebody needs them.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_sync::atomic::{AtomicBool, Ordering};
use lightning_db_sync::thread::{self, JoinHandle};
use lightning_db_sync::{Condvar, Mutex};

use super::pages::PageStore;

/// Pages that wait to be read ahead. What does not fit is left to whoever needs it.
const QUEUE_LEN: usize = 1024;

/// Reads pages ahead into the cache. Its threads start with the first page.
pub(super) struct Prefetcher {
    pages: Arc<PageStore>,
    workers: usize,
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    phase: Phase,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Running,
    Ended,
}

struct Job {
    /// Not kept for the page's sake: when the scan that asked is over, the page need not be read, and nothing stands in
    /// the way of giving up the files.
    blocks: Weak<dyn BlockSource>,
    kind: BlockKind,
    ptr: BlockPtr,
}

impl Prefetcher {
    /// With `workers` threads.
    pub(super) fn new(pages: Arc<PageStore>, workers: usize) -> Self {
        let (queue, threads) = (Arc::default(), Mutex::default());
        Self { pages, workers, queue, threads, stopped: AtomicBool::new(false) }
    }

    /// Has these pages read, as far as there is room in the queue.
    pub(super) fn request(&self, blocks: &Arc<dyn BlockSource>, kind: BlockKind, ptrs: &[BlockPtr]) {
        let mut missing = ptrs.iter().filter(|ptr| !self.pages.contains(ptr)).peekable();
        if missing.peek().is_none() || self.stopped.load(Ordering::Acquire) {
            return;
        }
        let mut waiting = self.queue.waiting.lock();
        if waiting.phase == Phase::Idle {
            waiting.phase = self.start();
        }
        if waiting.phase == Phase::Ended {
            return;
        }
        let room = QUEUE_LEN.saturating_sub(waiting.jobs.len());
        for ptr in missing.take(room) {
            waiting.jobs.push_back(Job { blocks: Arc::downgrade(blocks), kind, ptr: *ptr });
            self.queue.changed.notify_one();
        }
    }

    /// Ends the threads, and returns when they have ended.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let unread = {
            let mut waiting = self.queue.waiting.lock();
            waiting.phase = Phase::Ended;
            std::mem::take(&mut waiting.jobs)
        };
        self.queue.changed.notify_all();
        drop(unread);
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread that reads ahead panicked");
            }
        }
    }

    fn start(&self) -> Phase {
        let mut threads = self.threads.lock();
        for number in 0..self.workers {
            let (pages, queue) = (Arc::clone(&self.pages), Arc::clone(&self.queue));
            match thread::spawn(&format!("lightning-read-{number}"), move || work(&pages, &queue)) {
                Ok(thread) => threads.push(thread),
                // Reading goes on, just not ahead.
                Err(error) => tracing::warn!(%error, "could not start a thread that reads ahead"),
            }
        }
        if threads.is_empty() { Phase::Ended } else { Phase::Running }
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(pages: &PageStore, queue: &Queue) {
    while let Some(Job { blocks, kind, ptr }) = queue.next() {
        if let Some(blocks) = blocks.upgrade() {
            pages.read_ahead(&*blocks, kind, &ptr);
        }
    }
}

impl Queue {
    /// The job that waited longest, as soon as there is one. None at the end.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.phase == Phase::Ended {
                return None;
            }
            match waiting.jobs.pop_front() {
                Some(job) => return Some(job),
                None => self.changed.wait(&mut waiting),
            }
        }
    }
}
