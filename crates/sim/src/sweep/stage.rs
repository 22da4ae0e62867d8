//! A machine on which a workload runs, with the ledger of what the database was told.

use std::sync::Arc;
use std::time::Duration;

use lightning_db::{
    Database, Environment, Error, NoProgress, RecoveryTarget, RestoreOptions, SequenceNumber, Snapshot,
    WalSyncMode,
};
use lightning_db_storage::vfs::{FaultPlan, MemVfs};

use super::ledger::{End, Kept, Ledger, Model, Surety, difference};
use super::script::{Script, Step, Target, key_source};
use crate::machine::Machine;
use crate::random::Random;

/// Where the database is.
pub(super) const PATH: &str = "/db";

/// Why a step did not end well.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The database refused.
    Refused(Error),
    /// The database did what it must not do.
    Wrong(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

type Outcome<T = ()> = Result<T, Trouble>;

/// A machine, a workload, and what is known of the database.
pub(super) struct Stage<'a> {
    pub(super) machine: Machine,
    pub(super) plan: FaultPlan,
    pub(super) ledger: Ledger,
    pub(super) db: Option<Arc<Database>>,
    /// What the next open must find: all that survives this.
    pub(super) survives: End,
    /// So many of the newest commits may be missing at the next open.
    pub(super) leeway: usize,
    /// A step back failed half-way: until the next open nothing is said of what reads show.
    pub(super) is_unsure: bool,
    script: &'a Script,
    environment: Environment,
    random: Random,
}

impl<'a> Stage<'a> {
    /// An empty machine, or one with `disk`, on which happened what `ledger` says.
    pub(super) fn new(script: &'a Script, seed: u64, from: Option<(&MemVfs, &Ledger)>) -> Self {
        let mut machine = Machine::new(seed);
        if let Some((disk, _)) = from {
            machine.disk = disk.fork();
        }
        // Later than whatever happened on this disk.
        machine.clock.advance(Duration::from_secs(seed % 1000 * 1000));
        let is_logged = script.config(1).wal_enabled;
        let ledger = from.map_or_else(|| Ledger::new(is_logged), |(_, ledger)| ledger.clone());
        let environment = machine.environment();
        let plan = machine.plan();
        Self {
            machine,
            plan,
            ledger,
            db: None,
            survives: End::Kill,
            leeway: 0,
            is_unsure: false,
            script,
            environment,
            random: Random::new(seed ^ 0x5eed),
        }
    }

    /// A machine with the workload's past behind it.
    pub(super) fn prepared(script: &'a Script) -> Result<(MemVfs, Ledger), String> {
        let mut stage = Stage::new(script, 1, None);
        for step in &script.before {
            stage
                .perform(*step)
                .map_err(|trouble| format!("{}: {step:?} before: {trouble:?}", script.name))?;
        }
        if script.killed {
            stage.end_process();
            stage.machine.disk.kill_process();
        } else if stage.db.is_some() {
            stage.perform(Step::Close).map_err(|trouble| format!("{}: {trouble:?}", script.name))?;
        }
        Ok((stage.machine.disk.clone(), stage.ledger.clone()))
    }

    /// Ends whatever runs, so that it changes nothing more. What becomes of the disk is the caller's to say.
    pub(super) fn end_process(&mut self) {
        self.plan.crash_at(0);
        self.db = None;
    }

    pub(super) fn perform(&mut self, step: Step) -> Outcome {
        self.machine.clock.advance(Duration::from_secs(1));
        match step {
            Step::Create => self.create(),
            Step::Open => self.open(),
            Step::Close => self.close(),
            Step::Put(commits, len) => (0..commits).try_for_each(|_| self.put(len)),
            Step::Large(len) => self.large(len),
            Step::Delete(keys) => self.delete(keys),
            Step::Transactions => self.transactions(),
            Step::Checkpoint => self.durably(Database::checkpoint),
            Step::Compact => self.durably(Database::compact),
            Step::RestorePoint(name) => self.restore_point(name),
            Step::Named(name) => self.named(name),
            Step::Rollback(name) => self.rollback(name),
            Step::Drop(name) => self.drop_named(name),
            Step::Copy(to) => self.copy(to),
            Step::UseCopy(path) => self.use_copy(path),
            Step::Backup(to) => self.backup(to),
            Step::DeleteBackup(from) => self.delete_backup(from),
            Step::Restore(from, to, target) => self.restore(from, to, target),
            Step::Rotate => self.db()?.rotate_data_key().map(drop).map_err(Trouble::from),
            Step::Reseal => self.db()?.reseal(&NoProgress).map_err(Trouble::from),
            Step::RotateMaster => self.rotate_master(),
            Step::AddKey(key) => self.add_key(key),
            Step::RemoveKey(key) => self.remove_key(key),
            Step::Read => self.read(),
        }
    }

    fn db(&self) -> Outcome<Arc<Database>> {
        self.db.clone().ok_or(Trouble::Refused(Error::Closed))
    }

    fn create(&mut self) -> Outcome {
        self.ledger.created = Surety::Maybe;
        let config = self.script.config(1);
        self.db = Some(Database::create_in(self.environment.clone(), PATH, config)?);
        self.ledger.created = Surety::Yes;
        Ok(())
    }

    fn open(&mut self) -> Outcome {
        let key =
            self.ledger.keys.iter().find(|(_, surety)| **surety == Surety::Yes).map_or(1, |(key, _)| *key);
        let config = self.script.config(key);
        let db = Database::open_in(self.environment.clone(), PATH, config)?;
        let floor = self.ledger.floor(self.survives).saturating_sub(self.leeway);
        self.db = Some(Arc::clone(&db));
        self.is_unsure = true;
        let found = contents(&db)?;
        self.is_unsure = false;
        self.ledger.settle(db.last_sequence().0, &found, floor).map_err(Trouble::Wrong)
    }

    fn close(&mut self) -> Outcome {
        let Some(db) = self.db.take() else { return Ok(()) };
        db.close()?;
        self.ledger.promise();
        Ok(())
    }

    /// A commit that leads to `next`.
    fn commit(&mut self, next: Model, commit: impl FnOnce(&Database) -> lightning_db::Result<()>) -> Outcome {
        let db = self.db()?;
        self.ledger.attempt(Arc::new(next));
        // Where a step back failed half-way, the database may be beyond it already.
        let before = if self.is_unsure { db.last_sequence().0 } else { self.ledger.acknowledged() as u64 };
        let outcome = commit(&db);
        let after = db.last_sequence().0;
        if after != before + u64::from(outcome.is_ok()) {
            return Err(Trouble::Wrong(format!("{outcome:?} took commit {before} to {after}")));
        }
        outcome?;
        self.ledger.acknowledge();
        if self.script.config(1).wal_sync_mode == WalSyncMode::Sync && self.ledger.is_logged {
            self.ledger.promise();
        }
        Ok(())
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key-{:02}", self.random.below(40)).into_bytes()
    }

    fn put(&mut self, len: usize) -> Outcome {
        let items: Vec<(Vec<u8>, Vec<u8>)> = (0..1 + self.random.below(3))
            .map(|_| {
                let len = len / 2 + self.random.below(len as u64) as usize;
                (self.key(), self.random.noise(len))
            })
            .collect();
        self.put_all(&items)
    }

    fn large(&mut self, len: usize) -> Outcome {
        let items = [(self.key(), self.random.noise(len)), (self.key(), Vec::new())];
        self.put_all(&items)
    }

    fn put_all(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Outcome {
        let mut next = Model::clone(self.ledger.current());
        next.extend(items.iter().map(|(key, value)| (key.clone(), Arc::from(value.as_slice()))));
        self.commit(next, |db| db.put_batch(items))
    }

    pub(super) fn delete(&mut self, count: usize) -> Outcome {
        let mut keys: Vec<Vec<u8>> = self.ledger.current().keys().cloned().collect();
        while keys.len() > count {
            let at = self.random.below(keys.len() as u64) as usize;
            keys.remove(at);
        }
        if keys.is_empty() {
            keys.push(b"key-that-is-not-there".to_vec());
        }
        let mut next = Model::clone(self.ledger.current());
        next.retain(|key, _| !keys.contains(key));
        self.commit(next, |db| db.delete_batch(&keys))
    }

    fn transactions(&mut self) -> Outcome {
        let (written, value) = (self.key(), self.random.noise(300));
        let deleted = self.ledger.current().keys().next().cloned().unwrap_or_else(|| b"key".to_vec());
        let mut next = Model::clone(self.ledger.current());
        let expected = next.get(&deleted).cloned();
        next.insert(written.clone(), Arc::from(value.as_slice()));
        next.remove(&deleted);
        let mut wrong = None;
        self.commit(next, |db| {
            let transaction = db.serializable_transaction()?;
            transaction.put(&written, &value)?;
            if deleted != written && transaction.get(&deleted)?.as_deref() != expected.as_deref() {
                wrong = Some("a transaction reads what was never committed".to_owned());
            }
            transaction.delete(&deleted)?;
            transaction.commit()
        })?;
        if let Some(wrong) = wrong {
            return Err(Trouble::Wrong(wrong));
        }
        let aborted = self.db()?;
        let transaction = aborted.transaction()?;
        transaction.put(b"key-aborted", b"must not be seen")?;
        transaction.abort()?;
        Ok(())
    }

    /// What promises that everything committed before survives a power cut.
    fn durably(&mut self, call: impl FnOnce(&Database) -> lightning_db::Result<()>) -> Outcome {
        call(&*self.db()?)?;
        self.ledger.promise();
        Ok(())
    }

    fn restore_point(&mut self, name: &'static str) -> Outcome {
        let at = self.ledger.acknowledged();
        self.ledger.points.insert(name, (at, Surety::Maybe));
        self.durably(|db| db.create_restore_point(name).map(drop))?;
        self.ledger.points.insert(name, (at, Surety::Yes));
        Ok(())
    }

    fn named(&mut self, name: &'static str) -> Outcome {
        self.ledger.named.insert(name, Kept::maybe(self.ledger.current()));
        self.durably(|db| db.create_named_checkpoint(name).map(drop))?;
        sure(self.ledger.named.get_mut(name));
        Ok(())
    }

    fn rollback(&mut self, name: &'static str) -> Outcome {
        let Some(kept) = self.ledger.named.get(name).filter(|kept| kept.surety == Surety::Yes) else {
            return Err(Trouble::Refused(Error::NotFound { what: name.to_owned() }));
        };
        let db = self.db()?;
        self.ledger.attempt(Arc::clone(&kept.model));
        self.ledger.forked = true;
        self.is_unsure = true;
        db.rollback_to(name)?;
        self.is_unsure = false;
        self.ledger.acknowledge();
        self.ledger.promise();
        Ok(())
    }

    fn drop_named(&mut self, name: &'static str) -> Outcome {
        let Some(kept) = self.ledger.named.get_mut(name) else { return Ok(()) };
        kept.surety = Surety::Maybe;
        self.db()?.drop_named_checkpoint(name)?;
        self.ledger.named.remove(name);
        Ok(())
    }

    fn copy(&mut self, to: &'static str) -> Outcome {
        let db = self.db()?;
        self.ledger.copies.insert(to, Kept::maybe(self.ledger.current()));
        db.create_checkpoint(to)?;
        self.ledger.promise();
        sure(self.ledger.copies.get_mut(to));
        Ok(())
    }

    fn use_copy(&mut self, path: &'static str) -> Outcome {
        let Some(kept) = self.ledger.copies.get(path).filter(|kept| kept.surety == Surety::Yes) else {
            return Ok(());
        };
        let copy = Database::open_in(self.environment.clone(), path, self.script.config(1))?;
        check(&contents(&copy)?, &kept.model, path)?;
        copy.close()?;
        Ok(())
    }

    fn backup(&mut self, to: &'static str) -> Outcome {
        let current = Arc::clone(self.ledger.current());
        let db = self.db()?;
        let newest = self.ledger.acknowledged();
        let backups = self.ledger.repositories.entry(to).or_default();
        backups.maybe.push(Arc::clone(&current));
        let report = db.backup(to)?;
        if report.sequence.0 != newest as u64 || !report.lost_log.is_empty() {
            return Err(Trouble::Wrong(format!("a backup of commit {newest}: {report:?}")));
        }
        backups.made.insert(report.backup, current);
        self.ledger.promise();
        Ok(())
    }

    fn delete_backup(&mut self, from: &'static str) -> Outcome {
        let Some(backups) = self.ledger.repositories.get_mut(from) else { return Ok(()) };
        let Some(oldest) = backups.made.keys().next().copied().filter(|_| backups.made.len() > 1) else {
            return Ok(());
        };
        backups.going.insert(oldest);
        Database::delete_backup_in(&self.environment, from, oldest)?;
        backups.made.remove(&oldest);
        backups.going.remove(&oldest);
        Ok(())
    }

    fn restore(&mut self, from: &'static str, to: &'static str, target: Target) -> Outcome {
        let backups = self.ledger.repositories.get(from).cloned().unwrap_or_default();
        let newest = self.ledger.acknowledged();
        let (model, target) = match target {
            Target::Latest => (Arc::clone(self.ledger.current()), RecoveryTarget::Latest),
            Target::Oldest => {
                let Some((number, model)) = backups.made.first_key_value() else { return Ok(()) };
                (Arc::clone(model), RecoveryTarget::Backup(*number))
            }
            Target::Back(commits) => {
                let at = newest.saturating_sub(commits);
                let Some(state) = self.ledger.state(at) else { return Ok(()) };
                (Arc::clone(state), RecoveryTarget::Sequence(SequenceNumber(at as u64)))
            }
            Target::Point(name) => {
                let Some(state) = self.ledger.points.get(name).and_then(|(at, _)| self.ledger.state(*at))
                else {
                    return Ok(());
                };
                (Arc::clone(state), RecoveryTarget::Name(name.to_owned()))
            }
        };
        self.ledger.copies.insert(to, Kept::maybe(&model));
        let options = RestoreOptions {
            target,
            encryption_key: self.script.config(1).encryption_key,
            ..RestoreOptions::default()
        };
        Database::restore_with(&self.environment, from, to, options, &NoProgress)?;
        sure(self.ledger.copies.get_mut(to));
        Ok(())
    }

    fn add_key(&mut self, key: u8) -> Outcome {
        let db = self.db()?;
        self.ledger.keys.insert(key, Surety::Maybe);
        db.add_key(key_source(key), &label(key))?;
        self.ledger.keys.insert(key, Surety::Yes);
        Ok(())
    }

    fn rotate_master(&mut self) -> Outcome {
        let db = self.db()?;
        let is_key = |slot: &str, key: u8| slot == label(key);
        let number = |slot: &str| (2..9).find(|key| is_key(slot, *key)).unwrap_or(1);
        let keys: Vec<_> = db.key_slots().iter().map(|slot| key_source(number(&slot.label))).collect();
        db.rotate_master_key(&keys, &[]).map(drop).map_err(Trouble::from)
    }

    /// The first key has the label that the engine gives it.
    fn remove_key(&mut self, key: u8) -> Outcome {
        let db = self.db()?;
        let others: Vec<String> = (2..9).map(label).collect();
        let is_it = |slot: &str| {
            if key == 1 { !others.iter().any(|other| other == slot) } else { slot == label(key) }
        };
        let Some(slot) = db.key_slots().into_iter().find(|slot| is_it(&slot.label)) else { return Ok(()) };
        self.ledger.keys.insert(key, Surety::Maybe);
        db.remove_key(slot.id)?;
        self.ledger.keys.insert(key, Surety::No);
        Ok(())
    }

    /// Compares all that can be read now with what was committed.
    pub(super) fn read(&mut self) -> Outcome {
        let db = self.db()?;
        db.evict_cache(1.0)?;
        let expected = self.ledger.current();
        check(&contents(&db)?, expected, "a scan")?;
        check(&contents_of(&db.snapshot())?, expected, "a snapshot")?;
        let backwards =
            db.scan_reverse(None, None)?.map(|entry| entry.map(|(key, value)| (key, Arc::from(value))));
        check(&backwards.collect::<Result<Model, Error>>()?, expected, "a scan backwards")?;
        for number in 0..40 {
            let key = format!("key-{number:02}").into_bytes();
            if db.get(&key)?.as_deref() != expected.get(&key).map(|value| &**value) {
                return Err(Trouble::Wrong(format!("key-{number:02} reads differently alone")));
            }
        }
        Ok(())
    }
}

fn label(key: u8) -> String {
    format!("key {key}")
}

fn sure(kept: Option<&mut Kept>) {
    if let Some(kept) = kept {
        kept.surety = Surety::Yes;
    }
}

/// Fails with what differs.
pub(super) fn check(found: &Model, expected: &Model, what: &str) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(Trouble::Wrong(format!("{what}: {}", difference(expected, found))))
}

/// All entries of a database.
pub(super) fn contents(db: &Database) -> lightning_db::Result<Model> {
    db.scan(None, None)?.map(|entry| entry.map(|(key, value)| (key, Arc::from(value)))).collect()
}

/// All entries that a snapshot sees.
pub(super) fn contents_of(snapshot: &Snapshot) -> lightning_db::Result<Model> {
    snapshot.scan(None, None)?.map(|entry| entry.map(|(key, value)| (key, Arc::from(value)))).collect()
}
