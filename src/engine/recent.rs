//! Which keys were written lately, so that a transaction finds conflicting commits after they were flushed too.
//!
//! Entries on disk carry no sequence number. The memtables do; so those that were flushed are kept here while a
//! transaction is open that began before their last commit. The memory is bounded: when too much is kept, the oldest
//! goes, and a transaction that began before its last commit can no longer prove that it does not conflict, so it
//! conflicts.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use lightning_db_storage::{Result, SequenceNumber};
use lightning_db_sync::Mutex;

use super::Engine;
use super::version::Version;
use crate::memtable::Memtable;

/// The flushed memtables that open transactions still need, and the transactions that need them.
#[derive(Default)]
pub(crate) struct RecentWrites {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    flushed: VecDeque<Arc<Memtable>>,
    /// Where open transactions began, and how many began there.
    open: BTreeMap<SequenceNumber, usize>,
    /// What was written up to here is no longer known.
    floor: SequenceNumber,
}

/// Keeps what was written after a moment from being forgotten, until it is dropped.
pub(crate) struct WriterPin {
    recent: Arc<RecentWrites>,
    since: SequenceNumber,
}

impl RecentWrites {
    /// Nothing is known of what was written up to `floor`.
    pub(super) fn new(floor: SequenceNumber) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { floor, ..State::default() }) })
    }

    /// Remembers writes after `since` from now on. Take the pin first and the snapshot that it is for afterwards, with
    /// `since` published before both.
    pub(crate) fn pin(self: &Arc<Self>, since: SequenceNumber) -> WriterPin {
        *self.state.lock().open.entry(since).or_insert(0) += 1;
        WriterPin { recent: Arc::clone(self), since }
    }

    /// Takes over a memtable that is being flushed, before it leaves the version. No more than `limit_bytes` are kept.
    pub(super) fn keep(&self, memtable: &Arc<Memtable>, limit_bytes: usize) {
        let mut state = self.state.lock();
        state.flushed.push_back(Arc::clone(memtable));
        state.trim();
        let mut bytes: usize = state.flushed.iter().map(|memtable| memtable.memory_bytes()).sum();
        while bytes > limit_bytes
            && let Some(oldest) = state.flushed.front()
        {
            bytes -= oldest.memory_bytes();
            state.forget_oldest();
        }
    }

    /// Every transaction that began before `floor` conflicts from now on, whatever it wrote.
    pub(super) fn forget(&self, floor: SequenceNumber) {
        let mut state = self.state.lock();
        state.flushed.clear();
        state.floor = floor;
    }

    /// Bytes of memory held for open transactions.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.state.lock().flushed.iter().map(|memtable| memtable.memory_bytes()).sum()
    }

    fn flushed_since(&self, since: SequenceNumber) -> Option<Vec<Arc<Memtable>>> {
        let state = self.state.lock();
        (since >= state.floor).then(|| state.flushed.iter().rev().cloned().collect())
    }
}

impl State {
    /// Forgets what no open transaction asks for.
    fn trim(&mut self) {
        let oldest_open = self.open.keys().next().copied();
        while let Some(oldest) = self.flushed.front() {
            let last = oldest.last_sequence().unwrap_or_default();
            if oldest_open.is_some_and(|open| last > open) {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(last) = self.flushed.pop_front().and_then(|memtable| memtable.last_sequence()) {
            self.floor = self.floor.max(last);
        }
    }
}

impl Drop for WriterPin {
    fn drop(&mut self) {
        let mut state = self.recent.state.lock();
        if let Some(count) = state.open.get_mut(&self.since) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.since);
            }
        }
        state.trim();
    }
}

impl Engine {
    /// Whether a commit after `since` wrote `key`, or that is no longer known. Only commits that are done count.
    pub(crate) fn changed_since(&self, key: &[u8], since: SequenceNumber) -> Result<bool> {
        let version = self.versions.current();
        let view = CommitView { version: &version, recent: &self.recent, pending: &BTreeMap::new() };
        view.changed_since(key, since)
    }
}

/// What a transaction is validated against: every commit up to the one before it.
pub(crate) struct CommitView<'a> {
    pub(super) version: &'a Version,
    pub(super) recent: &'a RecentWrites,
    /// Keys written by commits of the same group, which are in no memtable yet.
    pub(super) pending: &'a BTreeMap<Vec<u8>, SequenceNumber>,
}

impl CommitView<'_> {
    /// Whether a commit after `since` wrote `key`, or that is no longer known.
    pub(crate) fn changed_since(&self, key: &[u8], since: SequenceNumber) -> Result<bool> {
        if self.pending.contains_key(key) {
            return Ok(true);
        }
        self.any_memtable(since, |memtable| {
            Ok(memtable.newest_sequence(key)?.is_some_and(|newest| newest > since))
        })
    }

    /// Whether a commit after `since` wrote any key between `start` and `end`, or that is no longer known.
    pub(crate) fn range_changed_since(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        since: SequenceNumber,
    ) -> Result<bool> {
        if is_range(start, end) && self.pending.range::<[u8], _>((start, end)).next().is_some() {
            return Ok(true);
        }
        self.any_memtable(since, |memtable| memtable.any_newer_in_range(start, end, since))
    }

    fn any_memtable(&self, since: SequenceNumber, check: impl Fn(&Memtable) -> Result<bool>) -> Result<bool> {
        for layer in self.version.layers() {
            if check(&layer.memtable)? {
                return Ok(true);
            }
        }
        // The rest is asked only for transactions that began before the last flush.
        if since >= self.version.tree.flushed {
            return Ok(false);
        }
        let Some(flushed) = self.recent.flushed_since(since) else { return Ok(true) };
        for memtable in flushed {
            if check(&memtable)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether the bounds are in order; `BTreeMap::range` panics when they are not.
fn is_range(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
        (Bound::Excluded(start), Bound::Excluded(end)) => start < end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start <= end
        }
    }
}
