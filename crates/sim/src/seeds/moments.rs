//! Moments that are kept: named checkpoints, copies, restore points; and going back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lightning_db::{Database, Error, Snapshot};
use lightning_db_sync::thread::{self, ScopedJoinHandle};

use super::client::Client;
use super::model::Change;
use super::run::{Process, Run, Step, Stop, bug};
use super::writes::Way;
use crate::random::Random;

/// What is kept by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Points {
    /// Named checkpoints and the commit that each is of.
    pub(crate) named: BTreeMap<String, u64>,
    /// Names that may be there or not: their creation or removal was cut short.
    pub(crate) unsure: BTreeMap<String, ()>,
    /// Restore points and the commit that each is of.
    pub(crate) restore: BTreeMap<String, u64>,
    drawn: u64,
}

impl Points {
    /// A name that was never used.
    pub(crate) fn fresh(&mut self, kind: &str) -> String {
        self.drawn += 1;
        format!("{kind}-{}", self.drawn)
    }
}

/// What goes on beside a step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Drop,
    Checkpoint,
    Compact,
    Scan,
}

impl Beside {
    const ALL: [Self; 5] = [Self::Drop, Self::Drop, Self::Checkpoint, Self::Compact, Self::Scan];

    fn act(self, db: &Database, name: &str) -> lightning_db::Result<()> {
        match self {
            Self::Drop => db.drop_named_checkpoint(name),
            Self::Checkpoint => db.checkpoint(),
            Self::Compact => db.compact(),
            Self::Scan => db.scan(None, None)?.try_for_each(|entry| entry.map(drop)),
        }
    }
}

impl Client<'_> {
    pub(crate) fn create_named(&mut self) -> Step {
        if self.run.world().points.named.len() >= 4 {
            return self.drop_named();
        }
        let name = self.run.world().points.fresh("moment");
        self.run.world().points.unsure.insert(name.clone(), ());
        let low = self.now();
        let created =
            self.durably("create_named_checkpoint", |client| client.db.create_named_checkpoint(&name))?;
        let Some(info) = created else { return Ok(()) };
        let (sequence, high) = (info.sequence.0, self.now());
        if !(low..=high).contains(&sequence) {
            return bug(format!("a checkpoint is of commit {sequence}, not {low} to {high}"));
        }
        let mut world = self.run.world();
        world.oracle.promise(sequence);
        world.points.unsure.remove(&name);
        world.points.named.insert(name, sequence);
        Ok(())
    }

    fn draw_named(&mut self) -> Option<(String, u64)> {
        let named = self.run.world().points.named.clone();
        let all: Vec<_> = named.into_iter().collect();
        (!all.is_empty()).then(|| self.random.pick(&all).clone())
    }

    pub(crate) fn open_named(&mut self) -> Step {
        let Some((name, sequence)) = self.draw_named() else { return self.create_named() };
        let gone = !self.process.is_alone;
        let strikes = self.process.strikes();
        let opened = self.db.open_named_checkpoint(&name);
        let opened = self.process.judge_since(strikes, "open_named_checkpoint", opened, |error| {
            gone && matches!(error, Error::NotFound { .. })
        })?;
        let Ok(snapshot) = opened else { return Ok(()) };
        compare_kept(self.process, &snapshot, sequence, &name)?;
        // Sometimes it is kept, and read again after the name is gone.
        if self.random.once_in(3) {
            let dropped = self.db.drop_named_checkpoint(&name);
            self.note_dropped(&name, dropped)?;
            compare_kept(self.process, &snapshot, sequence, &name)?;
        }
        Ok(())
    }

    pub(crate) fn drop_named(&mut self) -> Step {
        let Some((name, _)) = self.draw_named() else { return Ok(()) };
        let dropped = self.db.drop_named_checkpoint(&name);
        self.note_dropped(&name, dropped)
    }

    fn note_dropped(&mut self, name: &str, dropped: lightning_db::Result<()>) -> Step {
        let gone = !self.process.is_alone;
        self.run.world().points.unsure.insert(name.to_owned(), ());
        let dropped = self.process.judge("drop_named_checkpoint", dropped, |error| {
            gone && matches!(error, Error::NotFound { .. })
        })?;
        if dropped.is_ok() || matches!(dropped, Err(Error::NotFound { .. })) {
            let mut world = self.run.world();
            world.points.unsure.remove(name);
            world.points.named.remove(name);
        }
        Ok(())
    }

    /// Goes back to a checkpoint, while somebody else may be at something that the step has to wait for, or to outrun.
    pub(crate) fn roll_back(&mut self) -> Step {
        let Some((name, to)) = self.draw_named() else { return self.create_named() };
        let beside = self.random.once_in(2).then(|| *self.random.pick(&Beside::ALL));
        if let Some(Beside::Drop) = beside {
            self.run.world().points.unsure.insert(name.clone(), ());
        }
        let mut other = Ok(());
        let strikes = self.process.strikes();
        let before = self.process.expect_since(strikes, "stats", self.db.stats())?;
        let was_unsure = self.run.world().repositories.turns_back(true);
        let done = self.commit("rollback_to", Way::Back, Change::Back(to), |client| {
            let (db, name) = (client.db, &name);
            let done = thread::scope(|scope| {
                let running = beside.map(|beside| scope.spawn(move || beside.act(db, name)));
                let done = db.rollback_to(name);
                other = running.map_or(Ok(Ok(())), ScopedJoinHandle::join).unwrap_or(Err(Error::Closed));
                done
            });
            match done {
                // Who drops it may come first: there was no step then.
                Err(Error::NotFound { .. }) if beside == Some(Beside::Drop) => {
                    Err(Error::TransactionConflict)
                }
                done => done.map(|sequence| Some(sequence.0)),
            }
        })?;
        if let Err(Error::TransactionConflict) = done {
            self.run.world().repositories.turns_back(was_unsure);
        }
        match beside {
            Some(Beside::Drop) => self.note_dropped(&name, other)?,
            Some(beside) => {
                self.run.hit(&format!("rollback/beside {beside:?}"));
                self.process.expect("beside a step back", other)?;
            }
            None => {}
        }
        if let Ok(sequence) = done {
            let strikes = self.process.strikes();
            let after = self.process.expect_since(strikes, "stats", self.db.stats())?;
            let [from, now] = [before, after].map(|stats| stats.map(|stats| stats.incarnation));
            let mut world = self.run.world();
            world.oracle.promise(sequence);
            if from.is_some() && now.is_some() {
                world.repositories.turns_back(was_unsure);
            }
            world.repositories.turned_back((from, to), (now, sequence));
            drop(world);
            self.compare()?;
        }
        Ok(())
    }

    pub(crate) fn create_restore_point(&mut self) -> Step {
        let name = self.run.world().points.fresh("point");
        let (low, micros) = (self.now(), self.run.micros());
        let _ = micros;
        let Some(sequence) =
            self.durably("create_restore_point", |client| client.db.create_restore_point(&name))?
        else {
            return Ok(());
        };
        if !(low..=self.now()).contains(&sequence.0) {
            return bug(format!("restore point {name} is of commit {sequence}, and {low} was there before"));
        }
        let mut world = self.run.world();
        world.oracle.promise(sequence.0);
        world.points.restore.insert(name, sequence.0);
        Ok(())
    }

    /// An openable copy, which is opened, compared, written to, and opened again.
    pub(crate) fn create_copy(&mut self) -> Step {
        let place = PathBuf::from(self.run.world().points.fresh("/copy"));
        let low = self.now();
        let done = self.process.expect("create_checkpoint", self.db.create_checkpoint(&place))?;
        if done.is_some() {
            let high = self.now();
            inspect_copy(self.process, &place, (low, high), &mut self.random)?;
        }
        remove(self.run, &place);
        Ok(())
    }
}

/// A checkpoint shows what it was made of.
pub(crate) fn compare_kept(process: &Process<'_>, shown: &Snapshot, sequence: u64, what: &str) -> Step {
    let strikes = process.strikes();
    let entries = shown.scan(None, None).and_then(Iterator::collect::<lightning_db::Result<Vec<_>>>);
    let Some(found) = process.expect_since(strikes, what, entries)? else { return Ok(()) };
    let world = process.run.world();
    if world.oracle.history.applied() < sequence {
        return Ok(());
    }
    match world.oracle.history.difference(sequence, &found) {
        None => Ok(()),
        Some(problem) => bug(format!("{what} of commit {sequence}: {problem}")),
    }
}

/// Opens a copy of the database that must hold some commit of `between`, works with it and opens it again.
pub(crate) fn inspect_copy(
    process: &Process<'_>,
    place: &Path,
    between: (u64, u64),
    random: &mut Random,
) -> Step {
    let run = process.run;
    let open = || Database::open_in(process.environment.clone(), place, run.config.clone());
    let Some(db) = process.expect("open a copy", open())? else { return Ok(()) };
    let sequence = db.last_sequence().0;
    if sequence < between.0 || sequence > between.1 {
        return bug(format!("a copy holds commit {sequence}, not {} to {}", between.0, between.1));
    }
    let Some(found) = entries(process, &db)? else { return Ok(()) };
    {
        let world = run.world();
        if world.oracle.history.applied() >= sequence
            && let Some(problem) = world.oracle.history.difference(sequence, &found)
        {
            return bug(format!("a copy at commit {sequence}: {problem}"));
        }
    }
    let mut expected = found;
    for _ in 0..random.below(4) {
        let value = run.value(random, 40);
        let key = format!("only in the copy {}", random.below(4)).into_bytes();
        let Some(()) = process.expect("put into a copy", db.put(&key, &value))? else { return Ok(()) };
        expected.retain(|(known, _)| *known != key);
        expected.push((key, value.to_vec()));
    }
    expected.sort();
    let Some(()) = process.expect("close a copy", db.close())? else { return Ok(()) };
    drop(db);
    let Some(db) = process.expect("open a copy again", open())? else { return Ok(()) };
    let Some(found) = entries(process, &db)? else { return Ok(()) };
    if found != expected {
        return bug("a copy does not hold what was written to it");
    }
    process.expect("close a copy again", db.close()).map(drop)
}

/// All entries of a database.
pub(crate) fn entries(process: &Process<'_>, db: &Database) -> Step<Option<super::reads::Entries>> {
    let strikes = process.strikes();
    let entries = db.scan(None, None).and_then(Iterator::collect::<lightning_db::Result<Vec<_>>>);
    process.expect_since(strikes, "scan everything", entries)
}

/// Deletes a directory and all in it, as somebody would with `rm -r`.
pub(crate) fn remove(run: &Run, place: &Path) {
    use lightning_db::Vfs as _;
    let disk = &run.machine.disk;
    for entry in disk.list(place).into_iter().flatten() {
        let path = place.join(&entry.name);
        if entry.is_dir {
            remove(run, &path);
        } else {
            let _ = disk.remove_file(&path);
        }
    }
    let _ = disk.remove_dir(place);
}

/// A clone of the database's directory at this moment, as by `cp -r`, is a database of its own. It holds all that the
/// files say.
pub(crate) fn clone_directory(run: &Run) -> Step<PathBuf> {
    let place = PathBuf::from(run.world().points.fresh("/clone"));
    let copied = run.machine.disk.copy_tree(&run.path(), &place);
    copied.map_err(|error| Stop::Bug(format!("cp -r: {error}")))?;
    Ok(place)
}
