//! Backups, and going back to every kind of moment with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use lightning_db::{
    CheckDepth, CheckOptions, Database, Error, Incarnation, NoProgress, RecoveryTarget, RepositoryProblem,
    RestoreOptions, RestoreReport, SequenceNumber, VerifyLevel, VerifyOptions, check_in,
};

use super::client::Client;
use super::model::History;
use super::moments::remove;
use super::past::Past;
use super::run::{Process, Run, Step, bug};
use super::times::Times;
use crate::random::Random;

/// What is known of the repositories.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repositories {
    all: Vec<Known>,
    /// Where somebody is at work.
    busy: BTreeSet<usize>,
    /// Where the present history began: the number of the step back, if there was one.
    began: u64,
    /// The incarnations that backups were begun of since the database last went on as a restored one.
    tried: BTreeSet<[u8; 16]>,
    past: Past,
}

/// One repository.
#[derive(Debug, Clone)]
struct Known {
    place: PathBuf,
    backups: BTreeMap<u64, Made>,
    /// The histories that it ever had a backup of: the log of one that was deleted may still be reached.
    histories: BTreeSet<[u8; 16]>,
    /// Some backup or deletion was cut short.
    is_unsure: bool,
    /// The same, and no backup was made since.
    was_cut_short: bool,
    /// The database goes on as one that was restored from elsewhere, which may have nothing in common with this.
    may_diverge: bool,
    /// Whether the database knows this for a repository that wants its log: it has made a backup here, and since then
    /// none was cut short or deleted.
    is_served: bool,
    /// Backups whose deletion was cut short.
    deleting: BTreeSet<u64>,
    /// Stretches whose log was lost: the last commit before, the last one in it.
    gaps: Vec<(u64, u64)>,
    points: BTreeMap<String, (Incarnation, u64)>,
    /// When commits were made, as restores told.
    times: Times,
    /// Histories that were left by a restored database that went on in their place.
    left: BTreeMap<[u8; 16], Arc<History>>,
}

/// One backup.
#[derive(Debug, Clone, Copy)]
struct Made {
    sequence: u64,
    incarnation: Incarnation,
    /// Where its history began.
    began: u64,
    /// A list showed it, and nobody has written since: its name may not be on stable storage yet.
    is_hearsay: bool,
}

impl Known {
    /// A writer was here, and relies on what it found.
    fn is_settled_by_a_writer(&mut self) {
        self.backups.values_mut().for_each(|made| made.is_hearsay = false);
    }

    /// Whether some backup is followed by all log up to a commit. One that was deleted leads nowhere, and what was behind
    /// a gap may have been reached from it alone.
    fn leads_to(&self, incarnation: Incarnation, sequence: u64) -> bool {
        let is_broken = |from: u64| {
            self.gaps.iter().any(|(after, through)| (from + 1).max(after + 1) <= sequence.min(*through))
        };
        let counts = |made: &&Made| made.incarnation == incarnation && !made.is_hearsay;
        let starts = self.backups.values().filter(counts);
        starts.map(|made| made.sequence).any(|from| from <= sequence && !is_broken(from))
    }
}

impl Repositories {
    /// The database stepped back to the commit `to` of the history `from`: from the number `sequence` on its history is
    /// `now`. Neither may be known.
    pub(crate) fn turned_back(
        &mut self,
        (from, to): (Option<Incarnation>, u64),
        (now, sequence): (Option<Incarnation>, u64),
    ) {
        self.began = sequence;
        if let (Some(from), Some(now)) = (from, now) {
            self.past.turned_back(from, to, now, sequence);
        }
    }

    /// A step back begins, or is over. Returns what was so before.
    pub(crate) fn turns_back(&mut self, is_unsure: bool) -> bool {
        std::mem::replace(&mut self.past.is_unsure, is_unsure)
    }

    /// The place of one in which nothing was cut short, and which has a backup.
    pub(crate) fn any_settled(&self, random: &mut Random) -> Option<PathBuf> {
        let settled: Vec<_> =
            self.all.iter().filter(|known| !known.is_unsure && !known.backups.is_empty()).collect();
        if settled.is_empty() { None } else { Some(random.pick(&settled).place.clone()) }
    }

    /// The newest commit of a history that a backup in a repository is known to hold.
    pub(crate) fn newest_of(&self, place: &Path, incarnation: Incarnation) -> Option<u64> {
        let known = self.all.iter().find(|known| known.place == place)?;
        let counts = |(number, made): &(&u64, &Made)| {
            made.incarnation == incarnation && !made.is_hearsay && !known.deleting.contains(number)
        };
        known.backups.iter().filter(counts).map(|(_, made)| made.sequence).max()
    }

    /// The places of those that hold more of a history than up to `sequence`.
    pub(crate) fn ahead_of(&self, incarnation: Incarnation, sequence: u64) -> Vec<PathBuf> {
        let has_more = |known: &&Known| {
            let of_it = |made: &Made| made.incarnation == incarnation && !made.is_hearsay;
            !known.is_unsure && known.backups.values().any(|made| of_it(made) && made.sequence > sequence)
        };
        self.all.iter().filter(has_more).map(|known| known.place.clone()).collect()
    }

    /// The commits of a history that was left behind.
    pub(crate) fn history_of(&self, incarnation: Incarnation) -> Option<Arc<History>> {
        self.all.iter().find_map(|known| known.left.get(&incarnation.0)).cloned()
    }

    /// The database goes on as one that was restored at `sequence`; until then it had `history`.
    pub(crate) fn adopted(&mut self, from: &Path, history: &History, report: &RestoreReport) {
        let sequence = report.sequence.0;
        self.past.restored(report);
        let history = Arc::new(history.clone());
        let tried = std::mem::take(&mut self.tried);
        for known in &mut self.all {
            known.may_diverge |= known.place != from;
            known.is_served = false;
            // Also what nobody heard the end of may be there.
            for incarnation in &tried {
                known.left.entry(*incarnation).or_insert_with(|| Arc::clone(&history));
            }
        }
        self.began = sequence + 1;
    }
}

/// A repository that one has for oneself for a while.
struct Taken<'a> {
    run: &'a Run,
    index: usize,
    place: PathBuf,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.run.world().repositories.busy.remove(&self.index);
    }
}

impl Taken<'_> {
    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.run.world().repositories.all[self.index])
    }
}

fn take<'a>(run: &'a Run, random: &mut Random, must_have: bool) -> Option<Taken<'a>> {
    let mut world = run.world();
    let repositories = &mut world.repositories;
    if !must_have && repositories.all.len() < 2 && (repositories.all.is_empty() || random.once_in(8)) {
        let place = PathBuf::from(format!("/repository-{}", repositories.all.len()));
        repositories.all.push(Known {
            place,
            backups: BTreeMap::new(),
            histories: BTreeSet::new(),
            is_unsure: false,
            was_cut_short: false,
            may_diverge: false,
            is_served: false,
            deleting: BTreeSet::new(),
            gaps: Vec::new(),
            points: BTreeMap::new(),
            times: Times::default(),
            left: BTreeMap::new(),
        });
    }
    let usable = |index: &usize| {
        !(repositories.busy.contains(index) || must_have && repositories.all[*index].backups.is_empty())
    };
    let free: Vec<usize> = (0..repositories.all.len()).filter(usable).collect();
    if free.is_empty() {
        return None;
    }
    let index = *random.pick(&free);
    repositories.busy.insert(index);
    let place = repositories.all[index].place.clone();
    Some(Taken { run, index, place })
}

impl Client<'_> {
    pub(crate) fn backup(&mut self) -> Step {
        let Some(taken) = take(self.run, &mut self.random, false) else { return Ok(()) };
        let strikes = self.process.strikes();
        let Some(stats) = self.process.expect_since(strikes, "stats", self.db.stats())? else {
            return Ok(());
        };
        self.run.world().repositories.tried.insert(stats.incarnation.0);
        let low = self.now();
        let log_files = self.run.log_files();
        let was_served = taken.with(|known| std::mem::replace(&mut known.is_served, false));
        let was_unsure = taken.with(|known| {
            known.was_cut_short = true;
            std::mem::replace(&mut known.is_unsure, true)
        });
        let may_diverge = taken.with(|known| known.may_diverge);
        let points = self.run.world().points.restore.clone();
        let place = taken.place.clone();
        self.run.note(&format!("  backup into {}", place.display()));
        let outcome = self.process.judge("backup", self.db.backup(&place), |error| {
            may_diverge && matches!(error, Error::Diverged { .. })
        })?;
        let Ok(report) = outcome else { return Ok(()) };
        let sequence = report.sequence.0;
        self.run
            .note(&format!("  backup {} of {sequence}, continued {}", report.backup, report.is_continued));
        // It may hold commits that are in the log and not published yet.
        if sequence < low {
            return bug(format!(
                "backup {} holds commit {sequence}, and {low} was there before",
                report.backup
            ));
        }
        if let Some((after, through)) = report.lost_log.first() {
            self.run.note(&format!("  log lost from {after} to {through}"));
            // As much as it keeps for whoever has not fetched it is kept when some of it is given up.
            let kept = self.run.config.max_retained_log / self.run.config.wal_segment_size;
            if was_served && log_files < kept {
                return bug(format!(
                    "backup {} lacks the log from {after} to {through}, and of {kept} log files that are kept for it \
                     there were {log_files}",
                    report.backup
                ));
            }
        }
        self.run.hit(if report.is_continued { "backup/continued" } else { "backup/rebased" });
        let stats = self.process.expect("stats", self.db.stats())?;
        let Some(incarnation) = stats.map(|stats| stats.incarnation) else { return Ok(()) };
        let mut world = self.run.world();
        world.repositories.tried.insert(incarnation.0);
        world.oracle.promise(sequence);
        let began = world.repositories.began;
        drop(world);
        taken.with(|known| {
            known.is_unsure = was_unsure;
            known.is_served = true;
            known.was_cut_short = false;
            known.is_settled_by_a_writer();
            let made = Made { sequence, incarnation, began, is_hearsay: false };
            known.histories.insert(incarnation.0);
            known.backups.insert(report.backup, made);
            // Behind a gap nothing can be reached before the next backup's own trees.
            let gaps = report.lost_log.iter().map(|(after, _)| (after.0, sequence.saturating_sub(1)));
            known.gaps.extend(gaps);
            for (name, at) in points {
                known.points.entry(name).or_insert((incarnation, at));
            }
        });
        if !report.lost_log.is_empty() {
            self.run.hit("backup/with lost log");
        }
        Ok(())
    }

    pub(crate) fn list_backups(&mut self) -> Step {
        let Some(taken) = take(self.run, &mut self.random, true) else { return Ok(()) };
        check_list(self.process, &taken)
    }

    pub(crate) fn delete_backup(&mut self) -> Step {
        let Some(taken) = take(self.run, &mut self.random, true) else { return Ok(()) };
        let (numbers, unsure) =
            taken.with(|known| (known.backups.keys().copied().collect::<Vec<_>>(), known.is_unsure));
        if numbers.len() < 3 && !self.random.once_in(6) {
            return Ok(());
        }
        let number = *self.random.pick(&numbers);
        taken.with(|known| {
            known.is_unsure = true;
            known.is_served = false;
            known.deleting.insert(number);
        });
        let deleted = Database::delete_backup_in(&self.process.environment, &taken.place, number);
        let deleted = self.process.judge("delete_backup", deleted, |error| match error {
            Error::InvalidArgument { .. } => numbers.len() == 1,
            Error::NotFound { .. } => unsure,
            _ => false,
        })?;
        if deleted.is_ok() || matches!(deleted, Err(Error::InvalidArgument { .. })) {
            taken.with(|known| {
                known.is_unsure = unsure;
                known.deleting.remove(&number);
                if deleted.is_ok() {
                    known.is_settled_by_a_writer();
                    known.backups.remove(&number);
                }
            });
        }
        Ok(())
    }

    pub(crate) fn verify(&mut self) -> Step {
        let Some(taken) = take(self.run, &mut self.random, true) else { return Ok(()) };
        let levels =
            [VerifyLevel::Presence, VerifyLevel::Hashes, VerifyLevel::Contents, VerifyLevel::Restore];
        let level = *self.random.pick(&levels);
        let is_unsure = taken.with(|known| known.was_cut_short);
        verify(self.process, &taken.place, level, is_unsure)
    }

    pub(crate) fn restore(&mut self) -> Step {
        let Some(taken) = take(self.run, &mut self.random, true) else { return Ok(()) };
        restore_somewhere(self.process, &taken, &mut self.random)
    }
}

/// Compares the list of backups with what is known, and learns the outcome of what was cut short.
fn check_list(process: &Process<'_>, taken: &Taken<'_>) -> Step {
    let listed = Database::list_backups_in(&process.environment, &taken.place);
    let (unsure, is_new) = taken.with(|known| (known.is_unsure, known.backups.is_empty()));
    let listed =
        process.judge("list_backups", listed, |error| is_new && matches!(error, Error::NotFound { .. }))?;
    let Ok(listed) = listed else { return Ok(()) };
    let began = process.run.world().repositories.began;
    let known = taken.with(|known| known.backups.clone());
    for summary in &listed {
        match known.get(&summary.number) {
            Some(made) if made.sequence == summary.sequence.0 => {}
            Some(made) => {
                return bug(format!(
                    "backup {} was of commit {} and is of {}",
                    summary.number, made.sequence, summary.sequence
                ));
            }
            None if unsure => {
                let (sequence, incarnation) = (summary.sequence.0, summary.incarnation);
                // Nobody heard what it lost of a log of which few segments are kept: each opening and each new data key
                // begins one.
                let config = &process.run.config;
                let may_have_gap = config.max_retained_log < 64 * config.wal_segment_size;
                let gap = may_have_gap.then_some((0, sequence.saturating_sub(1)));
                taken.with(|known| {
                    known.gaps.extend(gap);
                    let made = Made { sequence, incarnation, began, is_hearsay: true };
                    known.histories.insert(incarnation.0);
                    known.backups.insert(summary.number, made)
                });
            }
            None => return bug(format!("nobody made backup {}", summary.number)),
        }
    }
    for (number, made) in &known {
        if !listed.iter().any(|summary| summary.number == *number) {
            if !made.is_hearsay && !taken.with(|known| known.deleting.contains(number)) {
                return bug(format!("backup {number} is gone"));
            }
            taken.with(|known| known.backups.remove(number));
        }
    }
    taken.with(|known| {
        known.is_unsure = false;
        known.deleting.clear();
    });
    Ok(())
}

/// Only a backup that was cut short may have left no hint where the newest record is.
fn verify(process: &Process<'_>, place: &Path, level: VerifyLevel, is_unsure: bool) -> Step {
    let scratch = Path::new("/scratch");
    use lightning_db::Vfs as _;
    let _ = process.run.machine.disk.create_dir(scratch);
    let options = VerifyOptions {
        level: Some(level),
        encryption_key: process.run.config.encryption_key.clone(),
        scratch: Some(scratch.to_owned()),
        ..VerifyOptions::default()
    };
    process.run.hit(&format!("verify/{level:?}"));
    let report = Database::verify_repository_with(&process.environment, place, options, &NoProgress);
    let Some(report) = process.expect("verify", report)? else { return Ok(()) };
    let problem = |problem: &&RepositoryProblem| !(is_unsure && problem.object == "head");
    if report.problems.iter().find(problem).is_some() && process.strikes() == 0 && !process.crashed() {
        return bug(format!("verify at level {level:?}: {:?}", report.problems));
    }
    Ok(())
}

/// What a restore must come to.
struct Aim {
    target: RecoveryTarget,
    exclusive: bool,
    incarnation: Option<Incarnation>,
    /// The only commit that is right, if it is known.
    sequence: Option<u64>,
    /// Whether it must succeed.
    is_certain: bool,
    kind: &'static str,
}

fn restore_somewhere(process: &Process<'_>, taken: &Taken<'_>, random: &mut Random) -> Step {
    let aim = draw_aim(process.run, taken, random);
    restore_as(process, taken, &aim)
}

fn restore_as(process: &Process<'_>, taken: &Taken<'_>, aim: &Aim) -> Step {
    process.run.hit(&format!("restore/{}", aim.kind));
    let place = PathBuf::from(process.run.world().points.fresh("/restored"));
    let outcome = restore_to(process, taken, &place, aim);
    process.run.audit()?;
    remove(process.run, &place);
    outcome
}

fn restore_to(process: &Process<'_>, taken: &Taken<'_>, place: &Path, aim: &Aim) -> Step {
    let run = process.run;
    let options = RestoreOptions {
        target: aim.target.clone(),
        encryption_key: run.config.encryption_key.clone(),
        exclusive: aim.exclusive,
        incarnation: aim.incarnation,
        public_key: None,
    };
    let what = format!(
        "restore of {:?}{} in {:?} from {}",
        aim.target,
        if aim.exclusive { " exclusive" } else { "" },
        aim.incarnation,
        taken.place.display()
    );
    run.note(&format!("  {what}"));
    let restored = Database::restore_with(&process.environment, &taken.place, place, options, &NoProgress);
    let restored = process.judge(&what, restored, |error| {
        !aim.is_certain && (error.is_not_found() || matches!(error, Error::TargetAmbiguous { .. }))
    })?;
    let report = match restored {
        Ok(report) => report,
        Err(error) => {
            use lightning_db::Vfs as _;
            // What fails for good cannot be cleared up either.
            if process.strikes() == 0 && run.machine.disk.metadata(place).is_ok() {
                return bug(format!("{what} failed with {} and left something", error.kind()));
            }
            return Ok(());
        }
    };
    run.hit("restore/done");
    if aim.sequence.is_some_and(|sequence| sequence != report.sequence.0) {
        return bug(format!("{what} came to commit {}, not {:?}", report.sequence, aim.sequence));
    }
    let newest = run.world().repositories.newest_of(&taken.place, report.restored_from);
    if aim.target == RecoveryTarget::Latest && newest.is_some_and(|newest| report.sequence.0 < newest) {
        return bug(format!("{what} came to commit {}, and a backup holds {newest:?}", report.sequence));
    }
    let clock_went_back = run.world().clock_went_back;
    taken.with(|known| known.times.learn(&report));
    if let RecoveryTarget::Time(wanted) = aim.target {
        let problem = taken.with(|known| known.times.misfit(&report, wanted, aim.exclusive, clock_went_back));
        if let Some(problem) = problem {
            return bug(format!("{what}, {problem}"));
        }
    }
    inspect_restored(process, taken, place, &report, &what)
}

/// A commit of a history that leads to that of the newest backup.
fn restore_past(process: &Process<'_>, taken: &Taken<'_>, random: &mut Random) -> Step {
    let known = taken.with(|known| known.clone());
    let newest = known.backups.values().next_back().copied();
    match newest.and_then(|newest| draw_past(process.run, &known, newest, random)) {
        Some(aim) => restore_as(process, taken, &aim),
        None => Ok(()),
    }
}

/// Opens what was restored and compares it with what the history was at that commit.
fn inspect_restored(
    process: &Process<'_>,
    taken: &Taken<'_>,
    place: &Path,
    report: &RestoreReport,
    what: &str,
) -> Step {
    let run = process.run;
    let sequence = report.sequence.0;
    if sequence.is_multiple_of(4) {
        check_restored(process, place, what)?;
    }
    let opened = Database::open_in(process.environment.clone(), place, run.config.clone());
    let Some(db) = process.expect("open what was restored", opened)? else { return Ok(()) };
    if db.last_sequence() != report.sequence {
        return bug(format!("{what} reported commit {sequence} and holds {}", db.last_sequence()));
    }
    let Some(found) = super::moments::entries(process, &db)? else { return Ok(()) };
    let left = taken.with(|known| known.left.get(&report.restored_from.0).cloned());
    let problem = {
        let world = run.world();
        let history = left.as_deref().unwrap_or(&world.oracle.history);
        if history.applied() < sequence { None } else { history.difference(sequence, &found) }
    };
    if let Some(problem) = problem {
        return bug(format!("{what}, at commit {sequence}: {problem}"));
    }
    let value = run.value(&mut Random::new(sequence), 30);
    let Some(()) = process.expect("put into what was restored", db.put(b"afterwards", &value))? else {
        return Ok(());
    };
    process.expect("close what was restored", db.close()).map(drop)
}

/// What was restored is whole, and says so of itself.
fn check_restored(process: &Process<'_>, place: &Path, what: &str) -> Step {
    let encryption_key = process.run.config.encryption_key.clone();
    let options = CheckOptions { depth: CheckDepth::Deep, encryption_key, progress: None };
    let strikes = process.strikes();
    let report = check_in(&process.environment, place, &options);
    let Some(report) = process.expect_since(strikes, "check what was restored", report)? else {
        return Ok(());
    };
    if report.findings.is_empty() || process.strikes() > 0 || process.crashed() {
        return Ok(());
    }
    bug(format!("{what}, and a check finds: {:?}", report.findings))
}

fn draw_aim(run: &Run, taken: &Taken<'_>, random: &mut Random) -> Aim {
    let known = taken.with(|known| known.clone());
    let made: Vec<(u64, Made)> = known.backups.iter().map(|(number, made)| (*number, *made)).collect();
    let (number, backup) = *random.pick(&made);
    let of_this: Vec<u64> = made
        .iter()
        .filter(|(_, made)| made.incarnation == backup.incarnation)
        .map(|(_, made)| made.sequence)
        .collect();
    let (first, last) = (of_this.iter().min().copied(), of_this.iter().max().copied());
    let (first, last) = (first.unwrap_or(backup.sequence), last.unwrap_or(backup.sequence));
    let is_single = known.histories.len() < 2;
    let incarnation = (!is_single || random.once_in(3)).then_some(backup.incarnation);
    let is_certain = |sequence: u64| {
        let is_logged = run.config.wal_enabled && known.leads_to(backup.incarnation, sequence);
        (first..=last).contains(&sequence) && is_logged && sequence >= backup.began && !known.is_unsure
    };
    if random.once_in(2)
        && let Some(aim) = draw_past(run, &known, backup, random)
    {
        return aim;
    }
    match random.below(8) {
        0 => Aim {
            target: RecoveryTarget::Latest,
            exclusive: false,
            incarnation: None,
            sequence: None,
            is_certain: is_single,
            kind: "latest",
        },
        1 => Aim {
            target: RecoveryTarget::Backup(number),
            exclusive: false,
            incarnation: None,
            sequence: Some(backup.sequence),
            is_certain: !known.is_unsure,
            kind: "backup",
        },
        2 if !known.points.is_empty() => {
            let points: Vec<_> = known.points.iter().collect();
            let (name, (_, at)) = *random.pick(&points);
            let certain = is_single && is_certain(*at);
            let sequence = certain.then_some(*at);
            let target = RecoveryTarget::Name(name.clone());
            Aim { target, exclusive: false, incarnation: None, sequence, is_certain: certain, kind: "name" }
        }
        3 => draw_time(run, &known, (first, last), incarnation, random),
        _ => {
            let low = first.saturating_sub(u64::from(random.once_in(4)) * 3);
            let beyond = u64::from(random.once_in(8));
            let sequence = low + random.below(last.saturating_sub(low) + 1 + beyond);
            let exclusive = random.once_in(4);
            let reached = if exclusive { sequence.saturating_sub(1) } else { sequence };
            let is_before_all = exclusive && sequence == 0;
            Aim {
                target: RecoveryTarget::Sequence(SequenceNumber(sequence)),
                exclusive,
                incarnation,
                sequence: Some(reached),
                is_certain: is_certain(sequence) && is_certain(reached) && !is_before_all,
                kind: if exclusive { "sequence, exclusive" } else { "sequence" },
            }
        }
    }
}

/// A commit of a history that leads to that of this backup, named as a moment of the latter.
fn draw_past(run: &Run, known: &Known, backup: Made, random: &mut Random) -> Option<Aim> {
    if backup.is_hearsay || known.is_unsure || !run.config.wal_enabled {
        return None;
    }
    let past = run.world().repositories.past.of(backup.incarnation);
    let reached = |(incarnation, through): &(Incarnation, u64)| {
        let starts =
            known.backups.values().filter(|made| made.incarnation == *incarnation && !made.is_hearsay);
        let held = starts.clone().map(|made| made.sequence).max()?.min(*through);
        let first = starts.map(|made| made.sequence.max(made.began)).min()?;
        (first <= held).then_some((*incarnation, first, held))
    };
    let reached: Vec<_> = past.iter().filter_map(reached).collect();
    let (incarnation, first, last) = *reached.get(random.below(reached.len().max(1) as u64) as usize)?;
    let sequence = first + random.below(last - first + 1);
    Some(Aim {
        target: RecoveryTarget::Sequence(SequenceNumber(sequence)),
        exclusive: false,
        incarnation: Some(backup.incarnation),
        sequence: Some(sequence),
        is_certain: known.leads_to(incarnation, sequence),
        kind: "past",
    })
}

fn draw_time(
    run: &Run,
    known: &Known,
    (first, last): (u64, u64),
    incarnation: Option<Incarnation>,
    random: &mut Random,
) -> Aim {
    let sequence = first + random.below(last - first + 1);
    let micros = run.world().oracle.history.commit(sequence).map_or(0, |commit| commit.micros.0);
    let micros = u64::try_from(micros).unwrap_or(0) + random.below(3);
    let about = UNIX_EPOCH + Duration::from_micros(micros);
    // The very time of a commit, where it is known: there it matters whether that commit is wanted.
    let target = RecoveryTarget::Time(known.times.pick(random).unwrap_or(about));
    Aim { target, exclusive: random.once_in(4), incarnation, sequence: None, is_certain: false, kind: "time" }
}

/// Every commit between the backups of one history: each is restored and compared.
pub(crate) fn restore_every(process: &Process<'_>, random: &mut Random, at_most: u64) -> Step {
    let Some(taken) = take(process.run, random, true) else { return Ok(()) };
    check_list(process, &taken)?;
    let known = taken.with(|known| known.clone());
    let Some(newest) = known.backups.values().last().copied() else { return Ok(()) };
    let of_this = known.backups.values().filter(|made| made.incarnation == newest.incarnation);
    let Some(first) = of_this.map(|made| made.sequence).min() else { return Ok(()) };
    let first = first.max(newest.began).max((newest.sequence + 1).saturating_sub(at_most));
    for sequence in first..=newest.sequence {
        let aim = Aim {
            target: RecoveryTarget::Sequence(SequenceNumber(sequence)),
            exclusive: false,
            incarnation: Some(newest.incarnation),
            sequence: Some(sequence),
            is_certain: process.run.config.wal_enabled && known.leads_to(newest.incarnation, sequence),
            kind: "every sequence",
        };
        restore_as(process, &taken, &aim)?;
    }
    Ok(())
}

/// At the end everything in the repositories is whole, and the newest of each can be restored.
pub(crate) fn inspect_all(process: &Process<'_>, random: &mut Random) -> Step {
    let count = process.run.world().repositories.all.len();
    for index in 0..count {
        let place = process.run.world().repositories.all[index].place.clone();
        let taken = Taken { run: process.run, index, place };
        check_list(process, &taken)?;
        if taken.with(|known| known.backups.is_empty()) {
            continue;
        }
        let level = if random.once_in(6) { VerifyLevel::Restore } else { VerifyLevel::Contents };
        let is_unsure = taken.with(|known| known.was_cut_short);
        verify(process, &taken.place, level, is_unsure)?;
        restore_somewhere(process, &taken, random)?;
        restore_past(process, &taken, random)?;
    }
    Ok(())
}
