//! Writing outside of transactions.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lightning_db::{Error, WalSyncMode, WriteBatch};

use super::client::Client;
use super::model::{Change, Writes};
use super::run::{Step, Stop, bug};

/// Who commits, and so what may be in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nobody but locks: a write outside of any transaction conflicts with nothing.
    Lone,
    /// A transaction that began then, by the clock that never steps back.
    Transaction { since: Duration },
    /// A step back, of which the checkpoint may be dropped first.
    Back,
}

impl Client<'_> {
    /// Commits what `act` writes, which is `writes`. `act` returns the commit's number, or `None` if it does not tell:
    /// then nobody else commits meanwhile. Returns the number, or the error that was permitted.
    pub(crate) fn commit(
        &mut self,
        what: &str,
        way: Way,
        change: Change,
        act: impl FnOnce(&Self) -> lightning_db::Result<Option<u64>>,
    ) -> Step<Result<u64, Error>> {
        let before = self.now();
        let was_poisoned = self.process.is_poisoned.load(Ordering::Relaxed);
        let may_be_locked = self.may_be_locked(&change);
        let id = self.run.begin(change);
        let outcome = act(self);
        // Where this fails, whether it happened is not known.
        let outcome = self.process.judge(what, outcome, |error| match (way, error) {
            (Way::Back | Way::Transaction { .. }, Error::TransactionConflict) => true,
            (Way::Lone | Way::Transaction { .. }, Error::LockTimeout | Error::Deadlock) => may_be_locked,
            (Way::Transaction { since }, Error::TransactionTimedOut) => {
                self.run.monotonic().saturating_sub(since) >= self.run.config.transaction_timeout
            }
            _ => false,
        })?;
        match outcome {
            Ok(told) => {
                if was_poisoned {
                    return bug(format!("{what} was acknowledged after writing had ended"));
                }
                let sequence = told.unwrap_or_else(|| self.now());
                if sequence <= before {
                    return bug(format!("{what} has number {sequence}, and {before} was published before"));
                }
                self.acknowledge(id, sequence)?;
                Ok(Ok(sequence))
            }
            Err(error) => {
                if matches!(error, Error::Poisoned { .. }) {
                    self.process.is_poisoned.store(true, Ordering::Relaxed);
                }
                if !matches!(error, Error::Io { .. } | Error::Poisoned { .. } | Error::Corrupt { .. }) {
                    self.run.world().oracle.failed(id);
                }
                Ok(Err(error))
            }
        }
    }

    /// Whether somebody may hold the lock of a key that is to be written.
    fn may_be_locked(&self, change: &Change) -> bool {
        let Change::Write(writes) = change else { return false };
        let keys: BTreeSet<&[u8]> = writes.iter().map(|(key, _)| key.as_slice()).collect();
        let is_locking = !self.run.config.use_optimized_transactions;
        is_locking && (!self.process.is_alone || self.open.iter().any(|open| open.may_lock(&keys)))
    }

    fn acknowledge(&self, id: u64, sequence: u64) -> Step {
        let micros = self.run.micros();
        let config = &self.run.config;
        let mut world = self.run.world();
        world.oracle.acknowledged(id, sequence, micros)?;
        if config.wal_enabled {
            let promised = &mut world.oracle.promised;
            promised.kill = promised.kill.max(sequence);
            if config.wal_sync_mode == WalSyncMode::Sync {
                promised.power = promised.power.max(sequence);
            }
        }
        drop(world);
        self.run.note(&format!("  -> {sequence}"));
        Ok(())
    }

    /// Everything that was acknowledged when `action` began is durable when it has succeeded.
    pub(crate) fn durably<T>(
        &mut self,
        what: &str,
        action: impl FnOnce(&Self) -> lightning_db::Result<T>,
    ) -> Step<Option<T>> {
        let newest = self.now();
        let Some(done) = self.process.expect(what, action(self))? else { return Ok(None) };
        self.run.world().oracle.promise(newest);
        Ok(Some(done))
    }

    pub(crate) fn put(&mut self) -> Step {
        let (key, value) = (self.key(), self.value());
        let change = Change::Write(vec![(key.clone(), Some(value.clone()))]);
        self.commit("put", Way::Lone, change, |client| client.db.put(&key, &value).map(|()| None)).map(drop)
    }

    pub(crate) fn delete(&mut self) -> Step {
        let key = self.key();
        let change = Change::Write(vec![(key.clone(), None)]);
        self.commit("delete", Way::Lone, change, |client| client.db.delete(&key).map(|()| None)).map(drop)
    }

    pub(crate) fn put_batch(&mut self) -> Step {
        let count = 1 + self.random.below(12);
        let items: Vec<_> = (0..count).map(|_| (self.key(), self.value())).collect();
        let batch: Vec<_> = items.iter().map(|(key, value)| (key.clone(), value.to_vec())).collect();
        let writes = items.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let put = |client: &Self| client.db.put_batch(&batch).map(|()| None);
        self.commit("put_batch", Way::Lone, Change::Write(writes), put).map(drop)
    }

    pub(crate) fn delete_batch(&mut self) -> Step {
        let keys: Vec<_> = (0..1 + self.random.below(12)).map(|_| self.key()).collect();
        let writes = keys.iter().map(|key| (key.clone(), None)).collect();
        self.commit("delete_batch", Way::Lone, Change::Write(writes), |client| {
            client.db.delete_batch(&keys).map(|()| None)
        })
        .map(drop)
    }

    /// Puts and deletes as one.
    pub(crate) fn write(&mut self) -> Step {
        let count = if self.random.once_in(3) { 1 } else { 1 + self.random.below(10) };
        let writes: Writes = (0..count)
            .map(|_| (self.key(), (!self.random.once_in(3)).then_some(())))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(key, value)| (key, value.map(|()| self.value())))
            .collect();
        self.write_all("write", writes).map(drop)
    }

    /// Enough to fill a write buffer before long.
    pub(crate) fn fill(&mut self) -> Step {
        let len = 2000 + self.random.below(6000) as usize;
        for _ in 0..1 + self.random.below(4) {
            let values: Vec<_> = (0..3).map(|_| self.run.value(&mut self.random, len)).collect();
            let writes = values.into_iter().map(|value| (self.key(), Some(value))).collect();
            if self.write_all("fill", writes)?.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Everything anew, several times, and merged: so much that the engine makes dictionaries for what is alike in pages.
    pub(crate) fn churn(&mut self) -> Step {
        const ROUNDS: u64 = 10;
        self.run.hit("life/churned");
        for _ in 0..ROUNDS {
            for first in (0..60).step_by(10) {
                let key = |n: u64| format!("shared/beginning/of/many/keys/{n:03}").into_bytes();
                let value = |client: &mut Self| Some(client.run.value(&mut client.random, 4500));
                let writes = (first..first + 10).map(|n| (key(n), value(self))).collect();
                self.write_all("churn", writes)?.ok();
            }
            self.compact()?;
        }
        Ok(())
    }

    pub(crate) fn write_all(&mut self, what: &str, writes: Writes) -> Step<Result<u64, Error>> {
        let mut batch = WriteBatch::new();
        for (key, value) in &writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
        }
        let write = |client: &Self| client.db.write(&batch).map(|done| Some(done.0));
        self.commit(what, Way::Lone, Change::Write(writes), write)
    }

    pub(crate) fn checkpoint(&mut self) -> Step {
        self.durably("checkpoint", |client| client.db.checkpoint()).map(drop)
    }

    pub(crate) fn compact(&mut self) -> Step {
        self.durably("compact", |client| client.db.compact()).map(drop)
    }

    pub(crate) fn evict_cache(&mut self) -> Step {
        let share = self.random.below(11) as f64 / 10.0;
        self.process.expect("evict_cache", self.db.evict_cache(share)).map(drop)
    }

    /// The wall clock steps, forwards or back, or time passes.
    pub(crate) fn step_clock(&mut self) -> Step {
        let clock = &self.run.machine.clock;
        match self.random.below(6) {
            0 => {
                self.run.world().clock_went_back = true;
                clock.set(self.run.micros() - self.random.below(5_000_000) as i64);
            }
            1 => clock.set(self.run.micros() + self.random.below(5_000_000) as i64),
            _ => clock.advance(std::time::Duration::from_millis(self.random.below(2000))),
        }
        if self.process.crashed() { Err(Stop::Crashed) } else { Ok(()) }
    }
}
