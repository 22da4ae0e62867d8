//! Lives of processes: they open the database, work, and end, mostly badly; and what the next one must find.

use std::path::PathBuf;
use std::sync::Arc;

use lightning_db::{
    CheckDepth, CheckFinding, CheckOptions, Database, Error, RecoveryTarget, RestoreOptions, check_in,
};
use lightning_db_storage::vfs::Keep;
use lightning_db_sync::thread;

use super::client::Client;
use super::keys::Second;
use super::moments::{clone_directory, entries, remove};
use super::reads::Entries;
use super::repositories::{inspect_all, restore_every};
use super::run::{Process, Run, Stale, Step, Stop, bug};
use crate::random::Random;

/// What a recovery that came first has found: every later one must find the same, unless a power cut takes what a killed
/// process has left unsynced.
pub(crate) type Found = Option<(u64, Entries)>;

/// Makes the database, through crashes in the middle of it.
pub(crate) fn create(run: &Run, random: &mut Random) -> Step {
    loop {
        let process = Process::start(run);
        if random.once_in(3) {
            process.plan.crash_at(random.below(60));
        }
        let created = Database::create_in(process.environment.clone(), run.path(), run.config.clone());
        let created = process.judge("create", created, |error| matches!(error, Error::AlreadyExists { .. }));
        match created {
            Ok(Ok(db)) => {
                process.plan.crash_at(0);
                drop(db);
                end(run, random, "a new database", None);
                return Ok(());
            }
            // The creation before got to its end, but for what a power cut may still take.
            Ok(Err(_)) => {
                let opened = Database::open_in(process.environment.clone(), run.path(), run.config.clone());
                match process.expect("open what was created", opened) {
                    Ok(_) => {
                        process.plan.crash_at(0);
                        end(run, random, "a new database", None);
                        return Ok(());
                    }
                    Err(Stop::Crashed) => end(run, random, "create", None),
                    Err(stop) => return Err(stop),
                }
            }
            Err(Stop::Crashed) => end(run, random, "create", None),
            Err(stop) => return Err(stop),
        }
    }
}

/// One life. Leaves what a recovery beside it has found.
pub(crate) fn live(run: &Run, random: &mut Random, found: &mut Found) -> Step {
    let mut process = Process::start(run);
    process.is_alone = random.once_in(2);
    *process.own_key.lock() = run.any_key(random);
    run.hit(if process.is_alone { "clients/one" } else { "clients/several" });
    let will_crash = !random.once_in(6);
    if will_crash {
        let scale = *random.pick(&[12, 60, 200, 800]);
        process.plan.crash_at(random.below(scale));
        process.may_crash = true;
    } else if random.once_in(2) {
        process.has_no_plan = true;
    } else {
        process.is_faulty = true;
        super::faults::plan(&process, random);
    }
    let place = match inhabit(&process, random, found) {
        Ok(place) => place,
        Err(Stop::Crashed) => "work",
        Err(stop) => return Err(stop),
    };
    // Once before the crash, which may take something along.
    run.audit()?;
    if random.once_in(4) {
        run.look_for_secrets()?;
    }
    if place != "closed" {
        end(run, random, place, None);
        run.audit()?;
    }
    run.world().has_died = place != "closed";
    if random.once_in(5) {
        look_beside(run, random, found)?;
    }
    if place == "closed" && random.once_in(2) {
        adopt(run, random, found)?;
    }
    Ok(())
}

/// Opens the database and works with it. Returns where it ended, if the machine did not die meanwhile.
fn inhabit(process: &Process<'_>, random: &mut Random, found: &mut Found) -> Step<&'static str> {
    let run = process.run;
    let config = run.config_with(process.own_key());
    let opened = Database::open_in(process.environment.clone(), run.path(), config);
    let opened = process.judge("open", opened, |_| false);
    if matches!(opened, Err(Stop::Crashed)) {
        run.hit("crash/during recovery");
    }
    let Ok(db) = opened? else { return Ok("open") };
    let dying = Dying { process, db: Some(Arc::clone(&db)) };
    settle(process, &db, found)?;
    let count = *random.pick(&[4, 20, 60]);
    if run.churns && process.has_no_plan {
        Client::new(process, &db, random.fork(), 0).churn()?;
    }
    work(process, &db, count, random)?;
    if random.once_in(3) {
        let closed = close(process, &db, random);
        if matches!(closed, Err(Stop::Crashed)) {
            run.hit("crash/during close");
        }
        if closed?.is_none() {
            return Ok("close");
        }
        // Whatever went wrong before: it said that all is well.
        let newest = db.last_sequence().0;
        run.world().oracle.promise(newest);
        if process.strikes() == 0 {
            drop(dying.live());
            drop(db);
            look_at_closed(process)?;
            return Ok("closed");
        }
    }
    Ok("idle")
}

/// Closes the database, sometimes while somebody else wants to have it.
fn close(process: &Process<'_>, db: &Database, random: &mut Random) -> Step<Option<()>> {
    if process.is_faulty || !random.once_in(3) {
        return process.expect("close", db.close());
    }
    let run = process.run;
    run.hit("close/while another waits");
    let (path, config) = (run.path(), run.config.clone());
    let (closed, opened) = thread::scope(|scope| {
        let environment = process.environment.clone();
        let waits = scope.spawn(move || Database::open_in(environment, path, config));
        (db.close(), waits.join())
    });
    let closed = process.expect("close", closed)?;
    let Ok(opened) = opened else { return bug("who waited for the database panicked") };
    let opened =
        process.judge("open beside a close", opened, |error| matches!(error, Error::Locked { .. }))?;
    let (Some(()), Ok(other)) = (closed, opened) else { return Ok(closed) };
    let (before, after) = (db.last_sequence(), other.last_sequence());
    if before != after {
        return bug(format!("closed at commit {before}, and who waited found {after}"));
    }
    let Some(found) = entries(process, &other)? else { return Ok(None) };
    let problem = run.world().oracle.history.difference(after.0, &found);
    if let Some(problem) = problem.filter(|_| run.world().oracle.history.applied() >= after.0) {
        return bug(format!("who waited for the close found at commit {after}: {problem}"));
    }
    process.expect("close again", other.close())
}

/// What is closed is whole, and has nothing left over.
fn look_at_closed(process: &Process<'_>) -> Step {
    let run = process.run;
    let encryption_key = run.config.encryption_key.clone();
    let options = CheckOptions { depth: CheckDepth::Quick, encryption_key, progress: None };
    let report = check_in(&process.environment, run.path(), &options);
    let Some(report) = process.expect("check what is closed", report)? else { return Ok(()) };
    if report.findings.is_empty() || process.strikes() > 0 {
        return Ok(());
    }
    bug(format!("check of what is closed: {:?}", report.findings))
}

/// One client, or several at once.
fn work(process: &Process<'_>, db: &Database, count: u64, random: &mut Random) -> Step {
    if process.is_alone {
        return Client::new(process, db, random.fork(), 0).work(count);
    }
    let clients = 2 + random.below(3) as usize;
    let outcomes: Vec<Step> = thread::scope(|scope| {
        let begun: Vec<_> = (0..clients)
            .map(|number| {
                let random = random.fork();
                scope.spawn(move || Client::new(process, db, random, number).work(count / 2 + 1))
            })
            .collect();
        begun.into_iter().map(|client| client.join().unwrap_or_else(|_| bug("a client panicked"))).collect()
    });
    let is_bug = |outcome: &Step| matches!(outcome, Err(Stop::Bug(_)));
    let (bugs, rest): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(is_bug);
    bugs.into_iter().chain(rest).collect()
}

/// Ends the process before the database is dropped, so that nothing is closed in order.
struct Dying<'a> {
    process: &'a Process<'a>,
    db: Option<Arc<Database>>,
}

impl Dying<'_> {
    fn live(mut self) -> Option<Arc<Database>> {
        self.db.take()
    }
}

impl Drop for Dying<'_> {
    fn drop(&mut self) {
        if self.db.take().is_some() {
            self.process.plan.crash_at(0);
        }
    }
}

/// Finds which prefix of the commits is there, and that it is whole.
pub(crate) fn settle(process: &Process<'_>, db: &Database, found: &mut Found) -> Step {
    let run = process.run;
    let Some(now) = entries(process, db)? else { return Err(Stop::Crashed) };
    let sequence = db.last_sequence().0;
    if let Some((before, entries)) = found.take()
        && (before != sequence || entries != now)
    {
        return bug(format!(
            "a first recovery found commit {before} with {} entries, this one {sequence} with {}",
            entries.len(),
            now.len()
        ));
    }
    run.note(&format!("opened at {sequence} with {} entries", now.len()));
    run.count_recovery();
    run.learn_slots(&db.key_slots())?;
    let strikes = process.strikes();
    let log = process.expect_since(strikes, "audit log", db.audit_log())?;
    if let Some(problem) = log.and_then(|log| log.problem) {
        return bug(format!("the audit log: {problem}"));
    }
    let named = db.named_checkpoints();
    let mut world = run.world();
    let floor = world.oracle.promised.kill;
    world.oracle.settle(sequence, &now, floor)?;
    for info in &named {
        let points = &mut world.points;
        match points.named.get(&info.name) {
            Some(known) if *known == info.sequence.0 => {}
            None if points.unsure.contains_key(&info.name) => {
                points.named.insert(info.name.clone(), info.sequence.0);
            }
            known => return bug(format!("checkpoint {} is of {}, not {known:?}", info.name, info.sequence)),
        }
    }
    let points = &mut world.points;
    let lost = points
        .named
        .keys()
        .find(|name| !points.unsure.contains_key(*name) && !named.iter().any(|info| info.name == **name));
    if let Some(name) = lost {
        return bug(format!("checkpoint {name} is gone"));
    }
    points.named.retain(|name, _| named.iter().any(|info| info.name == *name));
    points.unsure.clear();
    Ok(())
}

/// The process ends without a word, by a signal or with the machine's power.
pub(crate) fn end(run: &Run, random: &mut Random, place: &str, keep: Option<Keep>) {
    let is_kill = keep.is_none() && random.once_in(3);
    if is_kill {
        run.note("killed");
        run.world().ended_by_cut = false;
        run.hit(&format!("crash/kill in {place}"));
        run.machine.kill();
    } else {
        let keep = keep.unwrap_or_else(|| random.keep());
        run.note(&format!("power cut, {keep:?}"));
        run.world().ended_by_cut = true;
        run.hit(&format!("crash/power cut in {place}, {keep:?}"));
        run.machine.power_cut(random, keep);
        let promised = &mut run.world().oracle.promised;
        promised.kill = promised.power;
    }
}

/// Recovers beside the database: in a clone of its directory, or without writing.
fn look_beside(run: &Run, random: &mut Random, found: &mut Found) -> Step {
    if let Some(key) = run.no_key().filter(|_| random.once_in(2)) {
        refuse_key(run, key)?;
    }
    let process = Process::start(run);
    let is_after_cut = run.world().ended_by_cut;
    let is_clone = random.once_in(2);
    let place = if is_clone { clone_directory(run)? } else { run.path() };
    let opened = if is_clone {
        run.hit("recovery/in a clone");
        Database::open_in(process.environment.clone(), &place, run.config.clone())
    } else {
        run.hit("recovery/read-only");
        Database::open_read_only_in(process.environment.clone(), &place, run.config.clone())
    };
    let Some(db) = process.expect("open beside", opened)? else { return Ok(()) };
    let Some(now) = entries(&process, &db)? else { return Ok(()) };
    let sequence = db.last_sequence().0;
    run.count_recovery();
    let floor = run.world().oracle.promised.kill;
    // A copy of what is known is asked: the database itself is still to be recovered.
    let mut oracle = run.world().oracle.clone();
    oracle
        .settle(sequence, &now, floor)
        .map_err(|problem| format!("beside, in {}: {problem}", place.display()))?;
    if let Some((before, entries)) = found
        && (*before != sequence || *entries != now)
    {
        return bug(format!("a recovery found commit {before}, and one beside it {sequence}"));
    }
    // What a kill has left can still be lost.
    *found = is_after_cut.then_some((sequence, now));
    let strikes = process.strikes();
    let Some(stats) = process.expect_since(strikes, "stats", db.stats())? else { return Ok(()) };
    let (incarnation, wants_stale) = (stats.incarnation, random.once_in(3));
    if is_clone {
        let value = run.value(random, 100);
        db.put(b"in the clone", &value).map_err(|error| Stop::Bug(format!("put into a clone: {error}")))?;
        run.audit()?;
    }
    process.expect("close beside", db.close())?;
    drop(db);
    if is_clone {
        let stale = &mut run.world().stale;
        if wants_stale && stale.is_none() {
            *stale = Some(Stale { place, sequence, incarnation });
        } else {
            remove(run, &place);
        }
    } else if process.plan.mutating_calls() > 0 {
        return bug("an open for reading has changed something");
    }
    run.machine.kill();
    Ok(())
}

/// An old clone of the directory goes on for itself. A repository that has more of the history that both began refuses it.
fn back_up_stale(run: &Run) -> Step {
    let Some(stale) = run.world().stale.take() else { return Ok(()) };
    let refusing = run.world().repositories.ahead_of(stale.incarnation, stale.sequence);
    for repository in refusing.into_iter().filter(|_| run.config.wal_enabled) {
        let process = Process::start(run);
        let opened = Database::open_in(process.environment.clone(), &stale.place, run.config.clone());
        let Some(db) = process.expect("open an old clone", opened)? else { return Ok(()) };
        process.expect("put into an old clone", db.put(b"in the clone", b"more"))?;
        run.hit("backup/of an old clone");
        let backed_up = db.backup(&repository);
        let refused = process
            .judge("backup of an old clone", backed_up, |error| matches!(error, Error::Diverged { .. }))?;
        if refused.is_ok() {
            return bug(format!("{} took a backup of a clone that went another way", repository.display()));
        }
        process.expect("close an old clone", db.close())?;
    }
    remove(run, &stale.place);
    Ok(())
}

/// A key that was taken away, or never added, opens nothing.
fn refuse_key(run: &Run, key: [u8; 32]) -> Step {
    let process = Process::start(run);
    let opened = Database::open_read_only_in(process.environment.clone(), run.path(), run.config_with(key));
    let refused =
        process.judge("open with another key", opened, |error| matches!(error, Error::WrongKey { .. }))?;
    run.hit("recovery/refused to another key");
    if refused.is_ok() { bug("a key opens the database that was taken away, or never added") } else { Ok(()) }
}

/// Goes on with a restored database in the place of this one.
fn adopt(run: &Run, random: &mut Random, found: &mut Found) -> Step {
    let process = Process::start(run);
    let Some(repository) = run.world().repositories.any_settled(random) else { return Ok(()) };
    let place = PathBuf::from(run.world().points.fresh("/db"));
    let options = RestoreOptions {
        target: RecoveryTarget::Latest,
        encryption_key: run.config.encryption_key.clone(),
        ..RestoreOptions::default()
    };
    let progress = &lightning_db::NoProgress;
    let restored = Database::restore_with(&process.environment, &repository, &place, options, progress);
    let restored = process.judge("restore to go on", restored, Error::is_not_found)?;
    let Ok(report) = restored else { return Ok(()) };
    let sequence = report.sequence.0;
    let opened = Database::open_in(process.environment.clone(), &place, run.config.clone());
    let Some(db) = process.expect("open what was restored", opened)? else { return Ok(()) };
    let Some(now) = entries(&process, &db)? else { return Ok(()) };
    let Some(()) = process.expect("close", db.close())? else { return Ok(()) };
    drop(db);
    run.machine.kill();
    let mut world = run.world();
    if world.repositories.newest_of(&repository, report.restored_from).is_some_and(|newest| sequence < newest)
    {
        return bug(format!(
            "the latest of {} is commit {sequence}, and a backup has more",
            repository.display()
        ));
    }
    let history = world.repositories.history_of(report.restored_from).unwrap_or_else(|| {
        let history: &super::model::History = &world.oracle.history;
        Arc::new(history.clone())
    });
    // Nothing that comes could be compared with what is unknown.
    if history.is_unclear(sequence) {
        return Ok(());
    }
    if let Some(problem) = history.difference(sequence, &now) {
        return bug(format!("restored at {sequence} to go on: {problem}"));
    }
    let left = std::mem::take(&mut world.oracle.history);
    world.repositories.adopted(&repository, &left, &report);
    world.second = if world.second == Second::Absent && !run.config.encryption_enabled {
        Second::Absent
    } else {
        Second::Unsure
    };
    world.oracle = super::oracle::Oracle::copy_of(&history, sequence);
    let points = &mut world.points;
    points.unsure = points.named.keys().map(|name| (name.clone(), ())).collect();
    points.restore.clear();
    drop(world);
    run.hit("restore/went on in its place");
    run.note(&format!("goes on as restored at {sequence} from {}", repository.display()));
    remove(run, &run.path());
    run.set_path(place);
    *found = None;
    Ok(())
}

/// At the end everything is whole, and nothing is left over.
pub(crate) fn finish(run: &Run, random: &mut Random, found: &mut Found) -> Step {
    let process = Process::start(run);
    let opened = Database::open_in(process.environment.clone(), run.path(), run.config.clone());
    let Some(db) = process.expect("open at the end", opened)? else { return Ok(()) };
    settle(&process, &db, found)?;
    let mut client = Client::new(&process, &db, random.fork(), 0);
    client.work(4)?;
    client.backup()?;
    client.compare()?;
    drop(client);
    process.expect("close at the end", db.close())?;
    drop(db);
    let options = CheckOptions {
        depth: CheckDepth::Deep,
        encryption_key: run.config.encryption_key.clone(),
        progress: None,
    };
    let report = check_in(&process.environment, run.path(), &options);
    let Some(report) = process.expect("check at the end", report)? else { return Ok(()) };
    let bad = |finding: &CheckFinding| !finding.what.contains("one generation behind its twin");
    if report.findings.iter().any(bad) {
        return bug(format!("check at the end: {:?}", report.findings));
    }
    back_up_stale(run)?;
    inspect_all(&process, random)?;
    if random.once_in(8) {
        restore_every(&process, random, 60)?;
    }
    if report.covered.dictionaries > 0 {
        run.hit("check/dictionaries");
    }
    run.look_for_secrets()?;
    run.audit()
}
