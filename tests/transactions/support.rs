//! Databases in memory, and transactions that run each in a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lightning_db::{
    Database, Environment, Error, LightningDbConfig, Result, TransactionId, TransactionOptions,
};
use lightning_db_storage::vfs::MemVfs;

pub(crate) fn config(optimistic: bool) -> LightningDbConfig {
    LightningDbConfig { use_optimized_transactions: optimistic, ..Default::default() }
}

pub(crate) fn create(config: LightningDbConfig) -> Arc<Database> {
    let environment = Environment { vfs: Arc::new(MemVfs::new()), ..Default::default() };
    Database::create_in(environment, "/db", config).expect("created")
}

pub(crate) fn database(optimistic: bool) -> Arc<Database> {
    create(config(optimistic))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    ReadCommitted,
    Snapshot,
    Serializable,
}

pub(crate) const LEVELS: [Level; 3] = [Level::ReadCommitted, Level::Snapshot, Level::Serializable];

pub(crate) fn begin(db: &Database, level: Level) -> TransactionId {
    let begun = match level {
        Level::ReadCommitted => {
            db.begin_transaction_with_options(TransactionOptions { read_only: false, snapshot: false })
        }
        Level::Snapshot => db.begin_transaction(),
        Level::Serializable => db.begin_serializable_transaction(),
    };
    begun.expect("begun")
}

/// A number as a value.
pub(crate) fn text(value: u64) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A value as a number.
pub(crate) fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).expect("text").parse().expect("a number")
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Committed,
    Conflict,
    Deadlock,
}

type Job = Box<dyn FnOnce(&Database, TransactionId) + Send>;
type Rows = Vec<(u64, u64)>;

/// A transaction in a thread of its own, because a write can wait for another one's lock. Its steps run in order.
pub(crate) struct Actor {
    jobs: Option<Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The outcome of a step, once there is one.
pub(crate) struct Pending<T>(Receiver<Result<T>>);

impl<T> Pending<T> {
    /// Waits for the outcome.
    pub(crate) fn wait(self) -> Result<T> {
        self.0.recv_timeout(Duration::from_secs(20)).expect("the step ends")
    }

    /// Whether the step is still at work after a while.
    pub(crate) fn is_blocked(&self) -> bool {
        std::thread::sleep(Duration::from_millis(50));
        matches!(self.0.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty))
    }
}

impl Actor {
    /// Begins the transaction before it returns.
    pub(crate) fn begin(db: &Arc<Database>, level: Level) -> Self {
        let (jobs, inbox) = channel::<Job>();
        let (db, tx) = (Arc::clone(db), begin(db, level));
        let thread = std::thread::spawn(move || inbox.iter().for_each(|job| job(&db, tx)));
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    pub(crate) fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database, TransactionId) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (outcome, pending) = channel();
        let job: Job = Box::new(move |db, tx| _ = outcome.send(work(db, tx)));
        self.jobs.as_ref().expect("open").send(job).expect("the thread runs");
        Pending(pending)
    }

    pub(crate) fn put(&self, key: u64, value: u64) -> Pending<()> {
        self.step(move |db, tx| db.put_tx(tx, &text(key), &text(value)))
    }

    pub(crate) fn delete(&self, key: u64) -> Pending<()> {
        self.step(move |db, tx| db.delete_tx(tx, &text(key)))
    }

    pub(crate) fn get(&self, key: u64) -> Option<u64> {
        let value = self.step(move |db, tx| db.get_tx(tx, &text(key))).wait().expect("read");
        value.map(|value| number(&value))
    }

    /// The entries that fit a condition on the value, which only a scan of all finds.
    pub(crate) fn select(&self, fits: fn(u64) -> bool) -> Rows {
        let rows = self.step(move |db, tx| {
            let mut rows = Rows::new();
            for entry in db.scan_tx(tx, None, None)? {
                let (key, value) = entry?;
                rows.push((number(&key), number(&value)));
            }
            Ok(rows)
        });
        rows.wait().expect("scanned").into_iter().filter(|(_, value)| fits(*value)).collect()
    }

    pub(crate) fn abort(self) {
        self.step(|db, tx| db.abort_transaction(tx)).wait().expect("aborted");
    }

    /// Commits after the steps so far, whose outcomes come with it: the first error is that of the transaction.
    pub(crate) fn commit(self, steps: impl IntoIterator<Item = Pending<()>>) -> End {
        let commit = self.step(|db, tx| db.commit_transaction(tx));
        let failed = steps.into_iter().find_map(|step| step.wait().err());
        let outcome = commit.wait();
        match failed.map_or(outcome, Err) {
            Ok(()) => End::Committed,
            Err(Error::TransactionConflict) => End::Conflict,
            Err(Error::Deadlock) => End::Deadlock,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("a step panicked");
        }
    }
}

/// All that is committed.
pub(crate) fn rows(db: &Database) -> Rows {
    let entries = db.scan(None, None).expect("scanned");
    entries.map(|entry| entry.expect("read")).map(|(key, value)| (number(&key), number(&value))).collect()
}
