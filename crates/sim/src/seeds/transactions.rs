//! Transactions: at each isolation level, several at once, by number and by scope.

use std::collections::BTreeSet;
use std::time::Duration;

use lightning_db::{Error, TransactionId, TransactionOptions};

use super::client::Client;
use super::model::{Change, Value, show};
use super::oracle::{Overlay, Seen, Sight};
use super::run::{Step, bug};
use super::writes::Way;

/// What a transaction may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    ReadCommitted,
    Snapshot,
    Serializable,
}

/// A transaction that is open.
pub(crate) struct Open {
    id: TransactionId,
    level: Level,
    is_read_only: bool,
    /// The newest commits before and after it began.
    began: (u64, u64),
    /// When, by the clock that never steps back.
    since: Duration,
    /// What it may have locked.
    locked: BTreeSet<Vec<u8>>,
    writes: Overlay,
    sights: Vec<Sight>,
}

impl Open {
    /// Whether it may hold the lock of one of these keys.
    pub(crate) fn may_lock(&self, keys: &BTreeSet<&[u8]>) -> bool {
        keys.iter().any(|key| self.locked.contains(*key))
    }
}

impl Client<'_> {
    pub(crate) fn begin_transaction(&mut self) -> Step {
        if self.open.len() >= 4 {
            return self.in_transaction();
        }
        let level = *self.random.pick(&[Level::ReadCommitted, Level::Snapshot, Level::Serializable]);
        let is_read_only = level != Level::Serializable && self.random.once_in(6);
        let (low, since) = (self.now(), self.run.monotonic());
        let ended_before = self.process.transactions.begin();
        let begun = match level {
            Level::Serializable => self.db.begin_serializable_transaction(),
            level => {
                let options =
                    TransactionOptions { read_only: is_read_only, snapshot: level == Level::Snapshot };
                self.db.begin_transaction_with_options(options)
            }
        };
        let is_full =
            self.process.transactions.most(ended_before) >= self.run.config.max_active_transactions as u64;
        let begun = self
            .process
            .judge("begin", begun, |error| is_full && matches!(error, Error::TooManyTransactions));
        let Ok(id) = begun? else {
            self.process.transactions.end();
            return Ok(());
        };
        self.run.hit(&format!("transaction/{level:?}"));
        let began = (low, self.now());
        let (locked, writes, sights) = (BTreeSet::new(), Overlay::new(), Vec::new());
        self.open.push(Open { id, level, is_read_only, began, since, locked, writes, sights });
        Ok(())
    }

    /// Reads or writes in an open transaction.
    pub(crate) fn in_transaction(&mut self) -> Step {
        if self.open.is_empty() {
            return self.begin_transaction();
        }
        let at = self.random.below(self.open.len() as u64) as usize;
        match self.random.below(8) {
            0..4 => self.write_in(at),
            4..7 => self.get_in(at),
            _ => self.scan_in(at),
        }
    }

    fn write_in(&mut self, at: usize) -> Step {
        let key = self.key();
        let value = if self.random.once_in(4) { None } else { Some(self.value()) };
        let id = self.open[at].id;
        self.open[at].locked.insert(key.clone());
        let written = match &value {
            Some(value) => self.db.put_tx(id, &key, value),
            None => self.db.delete_tx(id, &key),
        };
        let is_locking = !self.run.config.use_optimized_transactions;
        let (is_read_only, is_overdue) = (self.open[at].is_read_only, self.is_overdue(self.open[at].since));
        let written = self.process.judge("a write in a transaction", written, |error| match error {
            Error::TransactionReadOnly => is_read_only,
            Error::TransactionTimedOut => is_overdue,
            error => is_locking && error.is_conflict(),
        })?;
        match written {
            Ok(()) if is_read_only => bug("a read-only transaction wrote"),
            Ok(()) => {
                self.open[at].writes.insert(key, value);
                Ok(())
            }
            // After these it goes on.
            Err(Error::LockTimeout | Error::TransactionReadOnly) => Ok(()),
            Err(_) => self.forget(at),
        }
    }

    fn forget(&mut self, at: usize) -> Step {
        let open = self.open.swap_remove(at);
        let _ = self.db.abort_transaction(open.id);
        self.process.transactions.end();
        Ok(())
    }

    /// Whether a transaction that began then may have timed out.
    fn is_overdue(&self, since: Duration) -> bool {
        self.run.monotonic().saturating_sub(since) >= self.run.config.transaction_timeout
    }

    fn get_in(&mut self, at: usize) -> Step {
        let key = match self.open[at].writes.keys().next() {
            Some(own) if self.random.once_in(4) => own.clone(),
            _ => self.key(),
        };
        let (low, strikes) = (self.now(), self.process.strikes());
        let found = self.db.get_tx(self.open[at].id, &key);
        let Some(found) = self.still_open(at, strikes, found)? else { return Ok(()) };
        if let Some(own) = self.open[at].writes.get(&key) {
            if own.as_deref() != found.as_deref() {
                return bug(format!("a transaction does not see what it wrote to {}", show(&key)));
            }
            return Ok(());
        }
        self.saw_in(at, low, Sight::Key(key, found))
    }

    fn scan_in(&mut self, at: usize) -> Step {
        let wanted = self.wanted().plain();
        let (low, strikes) = (self.now(), self.process.strikes());
        let (start, end) = wanted.plain_bounds().unwrap_or_default();
        let found = self.db.scan_tx(self.open[at].id, start, end);
        let found = found.and_then(|entries| wanted.collect(entries));
        let Some(found) = self.still_open(at, strikes, found)? else { return Ok(()) };
        let sight = Sight::Range(wanted.sight(found, self.open[at].writes.clone()));
        self.saw_in(at, low, sight)
    }

    fn still_open<T>(
        &mut self,
        at: usize,
        strikes_before: u64,
        outcome: lightning_db::Result<T>,
    ) -> Step<Option<T>> {
        let is_overdue = self.is_overdue(self.open[at].since);
        let over = |error: &Error| is_overdue && matches!(error, Error::TransactionTimedOut);
        match self.process.judge_since(strikes_before, "a read in a transaction", outcome, over)? {
            Ok(value) => Ok(Some(value)),
            Err(_) => self.forget(at).map(|()| None),
        }
    }

    fn saw_in(&mut self, at: usize, low: u64, sight: Sight) -> Step {
        let open = &mut self.open[at];
        if open.level == Level::ReadCommitted {
            return self.saw("a read committed", low, vec![sight]);
        }
        open.sights.push(sight);
        let (what, (low, high), sights) =
            (format!("a {:?} transaction", open.level), open.began, open.sights.clone());
        let seen = Seen { what, low, high, sights, unchanged: None };
        Ok(self.run.world().oracle.saw(seen)?)
    }

    /// Commits or aborts.
    pub(crate) fn end_transaction(&mut self) -> Step {
        if self.open.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.open.len() as u64) as usize;
        if self.random.once_in(5) {
            let open = self.open.swap_remove(at);
            self.run.hit("transaction/abort");
            let aborted = self.db.abort_transaction(open.id);
            self.process.transactions.end();
            return self.process.expect("abort", aborted).map(drop);
        }
        if self.open[at].level == Level::Serializable && self.random.once_in(8) {
            self.take_from_under(at)?;
        }
        let open = self.open.swap_remove(at);
        let ended = self.commit_or_end(open);
        self.process.transactions.end();
        ended
    }

    fn commit_or_end(&mut self, open: Open) -> Step {
        let writes: Vec<_> = open.writes.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        if writes.is_empty() {
            let ended = self.db.commit_transaction(open.id);
            let is_overdue = self.is_overdue(open.since);
            let over = |error: &Error| is_overdue && matches!(error, Error::TransactionTimedOut);
            self.process.judge("commit of nothing", ended, over)?.ok();
            return Ok(());
        }
        let by_number = !self.process.is_alone || self.random.once_in(2);
        let id = open.id;
        let way = Way::Transaction { since: open.since };
        let outcome = self.commit("commit_transaction", way, Change::Write(writes), |client| {
            if by_number {
                client.db.commit_transaction_numbered(id).map(|done| done.map(|sequence| sequence.0))
            } else {
                client.db.commit_transaction(id).map(|()| None)
            }
        })?;
        match outcome {
            Ok(sequence) => {
                self.run.hit(&format!("transaction/committed {:?}", open.level));
                self.judge_committed(open, sequence)
            }
            Err(error) => {
                self.run.hit(&format!("transaction/failed {}", error.kind()));
                Ok(())
            }
        }
    }

    /// Deletes, outside of a transaction, something that it saw in a range.
    fn take_from_under(&mut self, at: usize) -> Step {
        let in_range = |sight: &Sight| match sight {
            Sight::Range(range) => range.found.iter().map(|(key, _)| key.clone()).collect(),
            Sight::Key(..) => Vec::new(),
        };
        let seen: Vec<_> = self.open[at].sights.iter().flat_map(in_range).collect();
        if seen.is_empty() {
            return Ok(());
        }
        let writes = vec![(self.random.pick(&seen).clone(), None)];
        self.run.hit("transaction/deleted from under");
        self.write_all("delete from under a transaction", writes).map(drop)
    }

    /// What must have been so for the transaction to commit as `sequence`.
    fn judge_committed(&self, open: Open, sequence: u64) -> Step {
        let Open { level, began: (low, high), writes, sights, .. } = open;
        if level == Level::ReadCommitted {
            return Ok(());
        }
        let what = format!("a {level:?} transaction that committed as {sequence}");
        let mut world = self.run.world();
        if level == Level::Serializable {
            // Nothing that it read has changed since: it could as well have run at the moment of its commit.
            let at = sequence - 1;
            world.oracle.saw(Seen {
                what: what.clone(),
                low: at,
                high: at,
                sights: sights.clone(),
                unchanged: None,
            })?;
        }
        let unchanged = Some((writes.into_keys().collect(), sequence));
        // It began before its commit.
        let high = high.min(sequence - 1);
        Ok(world.oracle.saw(Seen { what, low, high, sights, unchanged })?)
    }

    /// A transaction that is begun again after a conflict.
    pub(crate) fn execute(&mut self) -> Step {
        let keys = [self.key(), self.key()];
        let values: [Value; 2] = [self.value(), self.value()];
        let writes =
            keys.iter().zip(&values).map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        let way = Way::Transaction { since: self.run.monotonic() };
        let is_full = self.open.len() >= self.run.config.max_active_transactions;
        self.commit("execute_transaction", way, Change::Write(writes), |client| {
            let body = |tx: &lightning_db::Transaction<'_>| {
                tx.get(&keys[0])?;
                keys.iter().zip(&values).try_for_each(|(key, value)| tx.put(key, value))
            };
            match client.db.execute_transaction(body) {
                // Too many are open: that it does not wait for.
                Err(Error::TooManyTransactions) if is_full => Err(Error::TransactionConflict),
                outcome => outcome.map(|()| None),
            }
        })
        .map(drop)
    }
}
