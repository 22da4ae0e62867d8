//! Threads that work beside the callers: one flushes, some merge, one keeps time.

use std::sync::Arc;
use std::time::Duration;

use lightning_db_sync::thread::{self, JoinHandle};
use lightning_db_sync::{Condvar, Instant, Mutex};

use super::{Engine, reserve};
use crate::config::WalSyncMode;
use crate::error::{Error, Result};

/// After a failure the same work is tried again this much later.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A log that is synced with every commit says within this time that its last commit was: damage to it is then told
/// from a write that a power cut interrupted.
const QUIET: Duration = Duration::from_secs(1);

/// How threads wake each other.
#[derive(Default)]
pub(super) struct Signals {
    state: Mutex<State>,
    flush: Condvar,
    merge: Condvar,
    time: Condvar,
    room: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    flush_due: bool,
    merges_due: usize,
    log_moved_on: bool,
    stopping: bool,
}

impl Signals {
    /// Something is frozen.
    pub(super) fn wake_flush(&self) {
        self.state.lock().flush_due = true;
        self.flush.notify_one();
    }

    /// A merge may be due.
    pub(super) fn wake_merge(&self) {
        let mut state = self.state.lock();
        state.merges_due = state.merges_due.max(1);
        self.merge.notify_one();
    }

    /// A flush ended: writers may have room, and merges work.
    pub(super) fn flushed(&self) {
        self.state.lock().merges_due += 1;
        self.merge.notify_one();
        self.room.notify_all();
    }

    /// A merge ended: there may be another, and writers may have room.
    pub(super) fn room(&self) {
        self.state.lock().merges_due += 1;
        self.merge.notify_one();
        self.room.notify_all();
    }

    /// The log took its next segment.
    pub(super) fn log_moved_on(&self) {
        self.state.lock().log_moved_on = true;
        self.time.notify_one();
    }

    /// Waits until a flush or a merge ended, at most `timeout`.
    pub(super) fn wait_for_room(&self, timeout: Duration) {
        self.room.wait_for(&mut self.state.lock(), timeout);
    }

    /// Ends all threads, and returns when they have ended.
    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        for signal in [&self.flush, &self.merge, &self.time, &self.room] {
            signal.notify_all();
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if !thread::is_current(&thread) && thread.join().is_err() {
                tracing::error!("a background thread ended by a panic");
            }
        }
    }
}

/// Starts the threads that a writable database needs.
///
/// # Errors
/// When the system gives no thread; those that started are stopped.
pub(super) fn start(engine: &Arc<Engine>) -> Result<()> {
    let started = start_all(engine);
    if started.is_err() {
        engine.signals.stop();
    }
    started
}

fn start_all(engine: &Arc<Engine>) -> Result<()> {
    spawn(engine, "lightning-flush", Engine::flush_loop)?;
    spawn(engine, "lightning-time", Engine::time_loop)?;
    if engine.config.background_compaction {
        for _ in 0..engine.config.parallel_compaction_workers {
            spawn(engine, "lightning-merge", Engine::merge_loop)?;
        }
        // There may be work from before: writers would wait for it.
        engine.signals.wake_merge();
    }
    Ok(())
}

fn spawn(engine: &Arc<Engine>, name: &str, work: fn(&Engine)) -> Result<()> {
    let shared = Arc::clone(engine);
    let spawned = thread::spawn(name, move || work(&shared));
    let handle = spawned.map_err(|error| Error::Io {
        action: "start a thread for",
        path: engine.ctx.directory.clone(),
        source: Arc::new(error),
    })?;
    engine.signals.threads.lock().push(handle);
    Ok(())
}

impl Engine {
    fn flush_loop(&self) {
        loop {
            {
                let mut state = self.signals.state.lock();
                while !state.flush_due && !state.stopping {
                    self.signals.flush.wait(&mut state);
                }
                if state.stopping {
                    return;
                }
                state.flush_due = false;
            }
            if let Err(error) = self.flush_frozen(false) {
                tracing::error!(%error, "a flush failed and will be tried again");
                if self.health.is_poisoned() || self.rest(AFTER_FAILURE) {
                    return;
                }
                self.signals.wake_flush();
            }
            self.report("make room in memory", self.balance_memory());
        }
    }

    fn merge_loop(&self) {
        let interval = self.config.compaction_interval;
        loop {
            {
                let mut state = self.signals.state.lock();
                if state.merges_due == 0 && !state.stopping {
                    self.signals.merge.wait_for(&mut state, interval);
                }
                if state.stopping {
                    return;
                }
                state.merges_due = state.merges_due.saturating_sub(1);
            }
            match self.merge_once() {
                Ok(_) | Err(Error::Cancelled | Error::Closed) => {}
                Err(error) => {
                    tracing::error!(%error, "a merge failed and will be tried again");
                    if self.health.is_poisoned() || self.rest(AFTER_FAILURE) {
                        return;
                    }
                }
            }
        }
    }

    /// Syncs the log in time, keeps its next segment ready, sets the reserve aside again, and publishes metrics.
    fn time_loop(&self) {
        let idle = self.config.compaction_interval;
        let period = match self.config.wal_sync_mode {
            WalSyncMode::Periodic(period) => Some(period),
            WalSyncMode::Sync => Some(QUIET.min(idle)),
            WalSyncMode::Async => None,
        };
        let mut next_idle = Instant::now() + idle;
        loop {
            {
                let mut state = self.signals.state.lock();
                if !state.log_moved_on && !state.stopping {
                    let wait =
                        period.unwrap_or(idle).min(next_idle.saturating_duration_since(Instant::now()));
                    self.signals.time.wait_for(&mut state, wait);
                }
                if state.stopping {
                    return;
                }
                state.log_moved_on = false;
            }
            if period.is_some() {
                self.report("sync the log", self.sync_if_behind());
            } else {
                self.report("mark the log", self.mark_synced());
            }
            self.report("make room in memory", self.balance_memory());
            self.report("prepare the next log segment", self.prepare_ahead().map_err(Error::from));
            if Instant::now() >= next_idle {
                next_idle = Instant::now() + idle;
                self.report("set the reserve aside", reserve::restore(&self.ctx).map_err(Error::from));
                if self.config.metrics_enabled {
                    self.publish_metrics();
                }
            }
        }
    }

    fn sync_if_behind(&self) -> Result<()> {
        match self.commits.log_sync() {
            Some(sync) if sync.is_behind() => self.sync_log(),
            _ => self.mark_synced(),
        }
    }

    fn report(&self, what: &str, outcome: Result<()>) {
        if let Err(error) = outcome
            && !self.health.is_closed()
        {
            tracing::warn!(%error, "could not {what}");
        }
    }

    /// Waits; true when the threads are to end.
    fn rest(&self, how_long: Duration) -> bool {
        let mut state = self.signals.state.lock();
        if !state.stopping {
            self.signals.room.wait_for(&mut state, how_long);
        }
        state.stopping
    }
}
