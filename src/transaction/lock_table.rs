//! Locks on keys, for transactions that lock what they write.
//!
//! A lock has one owner, and those that wait for it stand in a queue. Each owner waits for at most one lock at a time,
//! and only for the one just ahead in that queue: the graph of who waits for whom is a set of chains. A request that
//! would make a chain meet its own end is a deadlock, and is refused. An owner that leaves a queue only shortens
//! chains, so no other moment can make one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lightning_db_storage::clock::Clock;
use lightning_db_sync::{Condvar, Mutex};

use super::key::Key;
use crate::error::{Error, Result};

/// The clock may be one that does not run by itself: who waits looks at it this often.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who holds locks: a transaction, or a write outside of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Owner(pub(super) u64);

/// Exclusive locks on keys.
pub(super) struct LockTable {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The owner of each lock, followed by those that wait for it. Never empty.
    queues: BTreeMap<Key, VecDeque<Owner>>,
    waiting: BTreeMap<Owner, Waiter>,
    held: BTreeMap<Owner, Vec<Key>>,
}

struct Waiter {
    key: Key,
    granted: Arc<Condvar>,
}

impl LockTable {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Locks `key` for `owner`, who may have it already, and waits for those that asked before, until the clock shows
    /// `deadline`. Says whether the lock is new. An owner asks from one thread at a time.
    ///
    /// # Errors
    /// `Deadlock` when those ahead wait, directly or through others, for `owner`; `LockTimeout`. The owner keeps what
    /// it had.
    pub(super) fn lock(&self, owner: Owner, key: &[u8], deadline: Duration) -> Result<bool> {
        let mut state = self.state.lock();
        let Some(queue) = state.queues.get(key) else {
            state.grant_free(owner, Key::from(key));
            return Ok(true);
        };
        if queue.front() == Some(&owner) {
            return Ok(false);
        }
        if state.ends_with(queue.back().copied(), owner) {
            return Err(Error::Deadlock);
        }
        let granted = state.enqueue(owner, key);
        loop {
            let left = deadline.saturating_sub(self.clock.monotonic());
            if !left.is_zero() {
                granted.wait_for(&mut state, left.min(LOOK_AGAIN));
            }
            if !state.waiting.contains_key(&owner) {
                return Ok(true);
            }
            if left.is_zero() {
                state.give_up(owner);
                return Err(Error::LockTimeout);
            }
        }
    }

    /// Releases everything that `owner` has. It must not be waiting.
    pub(super) fn release(&self, owner: Owner) {
        let mut state = self.state.lock();
        for key in state.held.remove(&owner).unwrap_or_default() {
            state.pass_on(&key);
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.queues.is_empty() && state.waiting.is_empty() && state.held.is_empty()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

impl State {
    fn grant_free(&mut self, owner: Owner, key: Key) {
        self.queues.insert(key.clone(), VecDeque::from([owner]));
        self.held.entry(owner).or_default().push(key);
    }

    fn enqueue(&mut self, owner: Owner, key: &[u8]) -> Arc<Condvar> {
        let granted = Arc::new(Condvar::new());
        let key = Key::from(key);
        self.waiting.insert(owner, Waiter { key: key.clone(), granted: Arc::clone(&granted) });
        self.queues.entry(key).or_default().push_back(owner);
        granted
    }

    /// Whether the chain of waiting that begins at `first` comes to `owner`.
    fn ends_with(&self, first: Option<Owner>, owner: Owner) -> bool {
        let mut next = first;
        while let Some(one) = next {
            if one == owner {
                return true;
            }
            next = self.is_behind(one);
        }
        false
    }

    /// Whom `waiter` waits for.
    fn is_behind(&self, waiter: Owner) -> Option<Owner> {
        let queue = self.queues.get(&self.waiting.get(&waiter)?.key)?;
        let place = queue.iter().position(|other| *other == waiter)?;
        queue.get(place.checked_sub(1)?).copied()
    }

    /// Takes the lock from its owner and gives it to who waited longest.
    fn pass_on(&mut self, key: &Key) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.pop_front();
        let Some(&next) = queue.front() else {
            self.queues.remove(key);
            return;
        };
        if let Some(waiter) = self.waiting.remove(&next) {
            self.held.entry(next).or_default().push(waiter.key);
            waiter.granted.notify_one();
        }
    }

    /// Takes a waiting owner out of its queue, in which it is not the first.
    fn give_up(&mut self, owner: Owner) {
        if let Some(waiter) = self.waiting.remove(&owner)
            && let Some(queue) = self.queues.get_mut(&waiter.key)
        {
            queue.retain(|other| *other != owner);
        }
    }
}

#[cfg(test)]
mod tests;
