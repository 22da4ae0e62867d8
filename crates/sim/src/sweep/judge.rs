//! What was left of a machine is started again, and everything that it was promised is asked for.

use std::path::Path;
use std::sync::Arc;

use lightning_db::{
    CheckDepth, CheckOptions, CheckSeverity, Database, Environment, Error, LightningDbConfig, NoProgress,
    RecoveryTarget, RestoreOptions, SequenceNumber, VerifyLevel, VerifyOptions, check_in,
};
use lightning_db_storage::vfs::{Keep, MemVfs, Vfs};

use super::ledger::{Backups, Ledger, Model, Surety, difference};
use super::script::{Script, key_source};
use super::stage::{PATH, contents, contents_of};
use crate::machine::Machine;
use crate::random::Random;

/// How an examination goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// The commit that at least must be there.
    pub(super) floor: usize,
    /// Whether the disk lied, so that damage is an answer. A wrong answer is none.
    pub(super) lied: bool,
    /// Draws what is left open.
    pub(super) seed: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is as it must be.
    Sound,
    /// There is damage, and it was told.
    Refused,
}

/// Why an examination ended before its end.
enum Stop {
    Damage,
    Wrong(String),
}

type Outcome<T = ()> = Result<T, Stop>;

struct Judge<'a> {
    script: &'a Script,
    ledger: Ledger,
    machine: Machine,
    manner: Manner,
    random: Random,
}

/// Starts again on `disk`, after an end that left what it left.
///
/// # Errors
/// What the database did that it must not do.
pub(super) fn judge(
    script: &Script,
    ledger: &Ledger,
    disk: MemVfs,
    manner: Manner,
) -> Result<Verdict, String> {
    let mut machine = Machine::new(manner.seed ^ 0xdead);
    machine.disk = disk;
    machine.clock.advance(std::time::Duration::from_secs(100_000));
    let mut judge =
        Judge { script, ledger: ledger.clone(), machine, manner, random: Random::new(manner.seed) };
    match judge.examine() {
        Ok(()) => Ok(Verdict::Sound),
        Err(Stop::Damage) => Ok(Verdict::Refused),
        Err(Stop::Wrong(what)) => Err(what),
    }
}

impl Judge<'_> {
    fn examine(&mut self) -> Outcome {
        let db = self.open_first()?;
        self.settle(&db, self.manner.floor, "opened")?;
        self.points_in(&db)?;
        let db = self.again(db)?;
        self.examine_repositories()?;
        self.examine_copies()?;
        self.go_on(&db)?;
        for (place, backups) in self.ledger.repositories.clone() {
            self.back_up_again(&db, place, &backups)?;
        }
        self.note("close", db.close())?;
        drop(db);
        self.machine.disk.crash(&mut || 0, Keep::Nothing);
        self.examine_files(PATH)?;
        self.examine_keys()?;
        for place in self.ledger.repositories.keys() {
            let latest = self.restored(&self.machine.environment(), place, RecoveryTarget::Latest)?;
            self.same("restored at the end", &latest, self.ledger.current())?;
        }
        Ok(())
    }

    /// What an operation gave that must succeed, or may tell of damage if there was any.
    fn note<T>(&self, what: &str, result: lightning_db::Result<T>) -> Outcome<T> {
        result.map_err(|error| match error {
            Error::Corrupt { .. } if self.manner.lied => Stop::Damage,
            error => Stop::Wrong(format!("{what}: {error}")),
        })
    }

    fn same(&self, what: &str, found: &Model, expected: &Model) -> Outcome {
        if found == expected {
            return Ok(());
        }
        Err(Stop::Wrong(format!("{what}: {}", difference(expected, found))))
    }

    /// The configuration with a key that must fit.
    fn config(&self) -> LightningDbConfig {
        let sure = self.ledger.keys.iter().find(|(_, surety)| **surety == Surety::Yes);
        self.script.config(sure.map_or(1, |(key, _)| *key))
    }

    fn open(&self, path: &str, config: LightningDbConfig) -> lightning_db::Result<Arc<Database>> {
        Database::open_in(self.machine.environment(), path, config)
    }

    fn open_first(&mut self) -> Outcome<Arc<Database>> {
        match self.open(PATH, self.config()) {
            Err(Error::NotFound { .. }) if self.ledger.created != Surety::Yes => {
                self.ledger = Ledger::new(self.ledger.is_logged);
                self.manner.floor = 0;
                let created = Database::create_in(self.machine.environment(), PATH, self.config());
                let created = self.note("create after a creation that was interrupted", created)?;
                self.ledger.created = Surety::Yes;
                Ok(created)
            }
            opened => self.note("open", opened),
        }
    }

    fn settle(&mut self, db: &Database, floor: usize, what: &str) -> Outcome {
        let found = self.note(what, contents(db))?;
        let settled = self.ledger.settle(db.last_sequence().0, &found, floor);
        settled.map_err(|problem| Stop::Wrong(format!("{what}: {problem}")))
    }

    /// The database again, after another end: what it said to have is on stable storage.
    fn again(&mut self, db: Arc<Database>) -> Outcome<Arc<Database>> {
        match self.random.below(3) {
            0 => self.note("close", db.close())?,
            1 => {
                self.machine.plan().crash_at(0);
                drop(db);
                self.machine.disk.kill_process();
            }
            _ => {
                self.machine.plan().crash_at(0);
                drop(db);
                self.machine.disk.crash(&mut || 0, Keep::Nothing);
            }
        }
        let db = self.note("open again", self.open(PATH, self.config()))?;
        self.settle(&db, self.ledger.acknowledged(), "opened again")?;
        Ok(db)
    }

    fn points_in(&mut self, db: &Database) -> Outcome {
        let present: Vec<String> = db.named_checkpoints().into_iter().map(|info| info.name).collect();
        if let Some(unknown) = present.iter().find(|name| !self.ledger.named.contains_key(name.as_str())) {
            return Err(Stop::Wrong(format!(
                "a checkpoint {unknown:?} that nobody made, or that was dropped"
            )));
        }
        for (name, kept) in self.ledger.named.clone() {
            if !present.iter().any(|present| present == name) {
                if kept.surety == Surety::Yes {
                    return Err(Stop::Wrong(format!("the checkpoint {name:?} is missing")));
                }
                self.ledger.named.remove(name);
                continue;
            }
            let found = db.open_named_checkpoint(name).and_then(|snapshot| contents_of(&snapshot));
            self.same(name, &self.note(name, found)?, &kept.model)?;
        }
        Ok(())
    }

    /// Copies and restored databases: whole, or not there under their name.
    fn examine_copies(&self) -> Outcome {
        for (path, kept) in &self.ledger.copies {
            let is_there = match self.machine.disk.list(Path::new(path)) {
                Ok(entries) => !entries.is_empty(),
                Err(_) => false,
            };
            if !is_there && kept.surety != Surety::Yes {
                continue;
            }
            let copy = self.note(path, self.open(path, self.script.config(1)))?;
            self.same(path, &self.note(path, contents(&copy))?, &kept.model)?;
            self.note(path, copy.put(b"key-of-the-copy", b"its own"))?;
            self.note(path, copy.close())?;
            drop(copy);
            self.examine_files(path)?;
        }
        Ok(())
    }

    fn examine_repositories(&mut self) -> Outcome {
        let environment = self.machine.environment();
        for (place, mut backups) in self.ledger.repositories.clone() {
            let listed = match Database::list_backups_in(&environment, place) {
                Err(Error::NotFound { .. }) if backups.made.is_empty() => continue,
                listed => self.note(place, listed)?,
            };
            for number in backups.made.keys() {
                let is_listed = listed.iter().any(|backup| backup.number == *number);
                if !is_listed && !backups.going.contains(number) {
                    // Unless verification tells, this is wrong.
                    self.verify(&environment, place)?;
                    return Err(Stop::Wrong(format!("backup {number} is missing in {place}")));
                }
            }
            for (index, backup) in listed.iter().enumerate() {
                let number = backup.number;
                // The newest is the one that something was going on with.
                let is_newest = index + 1 == listed.len();
                if !is_newest && backups.made.contains_key(&number) && !self.random.once_in(3) {
                    continue;
                }
                let restored = self.restored(&environment, place, RecoveryTarget::Backup(number))?;
                let is_it = match backups.made.get(&number) {
                    Some(model) => **model == restored,
                    None => backups.maybe.iter().any(|model| **model == restored),
                };
                if !is_it {
                    return Err(Stop::Wrong(format!("backup {number} in {place} holds something else")));
                }
                backups.made.insert(number, Arc::new(restored));
            }
            backups.made.retain(|number, _| listed.iter().any(|backup| backup.number == *number));
            if !listed.is_empty() && self.random.once_in(2) {
                self.verify(&environment, place)?;
            }
            self.ledger.repositories.insert(place, backups);
        }
        Ok(())
    }

    fn verify(&self, environment: &Environment, place: &str) -> Outcome {
        let options = VerifyOptions {
            level: Some(VerifyLevel::Contents),
            encryption_key: self.script.config(1).encryption_key,
            ..VerifyOptions::default()
        };
        let report =
            self.note(place, Database::verify_repository_with(environment, place, options, &NoProgress))?;
        match report.problems.first() {
            None => Ok(()),
            Some(_) if self.manner.lied => Err(Stop::Damage),
            Some(problem) => Err(Stop::Wrong(format!("{place}: {}: {}", problem.object, problem.what))),
        }
    }

    fn restored(&self, environment: &Environment, place: &str, target: RecoveryTarget) -> Outcome<Model> {
        let what = format!("{place} to {target:?}");
        let options = RestoreOptions {
            target,
            encryption_key: self.script.config(1).encryption_key,
            ..RestoreOptions::default()
        };
        let to = format!("/restored-{:016x}", self.random.clone().draw() ^ what.len() as u64);
        self.note(&what, Database::restore_with(environment, place, &to, options, &NoProgress))?;
        let db = self.note(&what, self.open(&to, self.script.config(1)))?;
        let found = self.note(&what, contents(&db))?;
        self.note(&what, db.close())?;
        drop(db);
        for entry in self.machine.disk.list(Path::new(&to)).unwrap_or_default() {
            let _ = self.machine.disk.remove_file(&Path::new(&to).join(entry.name));
        }
        let _ = self.machine.disk.remove_dir(Path::new(&to));
        Ok(found)
    }

    /// Some work as any other day.
    fn go_on(&mut self, db: &Database) -> Outcome {
        let work = self.random.below(4);
        for number in 0..4_u8 {
            let mut next = Model::clone(self.ledger.current());
            let key = format!("key-{:02}", self.random.below(40)).into_bytes();
            let outcome = if number == 2 {
                next.remove(&key);
                db.delete(&key)
            } else {
                let value = self.random.noise(if work == 1 { 70_000 } else { 100 });
                next.insert(key.clone(), Arc::from(value.as_slice()));
                db.put(&key, &value)
            };
            self.ledger.attempt(Arc::new(next));
            self.note("a commit later", outcome)?;
            self.ledger.acknowledge();
        }
        match work {
            2 => self.note("a checkpoint later", db.checkpoint())?,
            3 => self.note("a merge later", db.compact())?,
            _ => {}
        }
        let found = self.note("a scan later", contents(db))?;
        self.same("later", &found, self.ledger.current())?;
        if db.last_sequence().0 != self.ledger.acknowledged() as u64 {
            return Err(Stop::Wrong(format!(
                "commit {} is {}",
                self.ledger.acknowledged(),
                db.last_sequence().0
            )));
        }
        self.points_in(db)
    }

    /// The next backup takes what an interrupted one left in its stride, and what was in reach stays so.
    fn back_up_again(&mut self, db: &Database, place: &str, backups: &Backups) -> Outcome {
        self.note("the next backup", db.backup(place))?;
        let environment = self.machine.environment();
        let latest = self.restored(&environment, place, RecoveryTarget::Latest)?;
        self.same("restored to the latest", &latest, self.ledger.current())?;
        if self.random.once_in(3) {
            self.verify(&environment, place)?;
        }
        let points = self.ledger.points.iter().filter(|(_, (_, surety))| *surety == Surety::Yes);

        for (name, (at, _)) in points {
            if let (Some(state), false) = (self.ledger.state(*at), backups.made.is_empty()) {
                let found = self.restored(&environment, place, RecoveryTarget::Name((*name).to_owned()))?;
                self.same(name, &found, state)?;
            }
        }
        let listed = self.note(place, Database::list_backups_in(&environment, place))?;
        let Some(first) = listed.first().map(|backup| backup.sequence.0).filter(|_| !self.ledger.forked)
        else {
            return Ok(());
        };
        let at = first + self.random.below(self.ledger.acknowledged() as u64 + 1 - first);
        let found = self.restored(&environment, place, RecoveryTarget::Sequence(SequenceNumber(at)))?;
        let state = self.ledger.state(at as usize).map(Arc::clone).unwrap_or_default();
        self.same(&format!("restored to commit {at}"), &found, &state)
    }

    /// The files of a closed database are all that they should be.
    fn examine_files(&self, path: &str) -> Outcome {
        let encryption_key = if path == PATH { self.config() } else { self.script.config(1) }.encryption_key;
        let options = CheckOptions { depth: CheckDepth::Deep, encryption_key, progress: None };
        let report = self.note("check", check_in(&self.machine.environment(), path, &options))?;
        // A power cut brings back names of files that were deleted: a warning, and no more.
        match report.findings.iter().find(|finding| finding.severity == CheckSeverity::Error) {
            Some(_) if self.manner.lied => Err(Stop::Damage),
            Some(finding) => {
                Err(Stop::Wrong(format!("check of {path}: {}: {}", finding.file.display(), finding.what)))
            }
            None if report.is_sound() => Ok(()),
            None => Err(Stop::Wrong(format!("check of {path} finds errors and names none"))),
        }
    }

    /// Every key that must open the database does, and no other one.
    fn examine_keys(&self) -> Outcome {
        if !self.config().encryption_enabled {
            return Ok(());
        }
        for key in 1..9_u8 {
            let surety = self.ledger.keys.get(&key).copied().unwrap_or(Surety::No);
            let config = LightningDbConfig { encryption_key: key_source(key), ..self.config() };
            let opened = Database::open_read_only_in(self.machine.environment(), PATH, config);
            match (surety, opened) {
                (Surety::Yes | Surety::Maybe, Ok(db)) => {
                    self.same("read only", &self.note("read only", contents(&db))?, self.ledger.current())?;
                }
                (Surety::No | Surety::Maybe, Err(Error::WrongKey { .. })) => {}
                (_, Err(error)) => self.note(&format!("key {key}"), Err(error))?,
                (Surety::No, Ok(_)) => return Err(Stop::Wrong(format!("key {key} opens the database"))),
            }
        }
        Ok(())
    }
}
