//! What a damaged database does: right data or an error that says what is damaged, and nothing else.

use std::sync::Arc;

use lightning_db::{CheckDepth, CheckOptions, Database, Environment, Error, Snapshot, check_in};
use lightning_db_crypto::SeededEntropy;
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::vfs::MemVfs;

use super::case::{Case, Depth, Expect, Outcome};
use super::damage::put;
use super::specimen::{Model, files, read};

type Verdict<T = ()> = Result<T, String>;

/// Damages a copy of the database and looks at it.
///
/// # Errors
/// What is wrong with what came of it.
pub(super) fn examine(case: &Case) -> Verdict<Outcome> {
    let disk = case.target.disk.fork();
    case.damage.apply(&disk, &case.target.root);
    let seen = look(case, &disk)?;
    let noticed = check(case, &disk, &seen)?;
    if case.depth == Depth::Writing {
        write(case, &disk)?;
    }
    Ok(match (seen, case.expect) {
        (Seen::RefusedAtOpen, _) => Outcome::RefusedAtOpen,
        (Seen::RefusedAtRead, _) => Outcome::RefusedAtRead,
        (Seen::State(sequence), Expect::Earlier(which, _)) if sequence < case.target.newest => {
            Outcome::Earlier(which)
        }
        (Seen::State(sequence), Expect::Other(which)) if sequence != case.target.newest => {
            Outcome::Earlier(which)
        }
        (Seen::State(_), _) if noticed => Outcome::ServedAndNoticed,
        (Seen::State(_), _) => Outcome::ServedUnnoticed,
    })
}

/// A process on this disk.
pub(super) fn environment(disk: &MemVfs) -> Environment {
    Environment {
        vfs: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(1_800_000_000_000_000)),
        entropy: Arc::new(SeededEntropy::new(99)),
    }
}

enum Seen {
    RefusedAtOpen,
    RefusedAtRead,
    /// All of the database as it was after this commit.
    State(u64),
}

/// Opens the database without writing, and reads everything.
fn look(case: &Case, disk: &MemVfs) -> Verdict<Seen> {
    let target = &case.target;
    match Database::open_read_only_in(environment(disk), &target.root, target.config.clone()) {
        Err(error) => refused(case, &error, "opening").map(|()| Seen::RefusedAtOpen),
        Ok(db) => look_into(case, &db),
    }
}

fn look_into(case: &Case, db: &Database) -> Verdict<Seen> {
    let sequence = db.last_sequence().0;
    let state = state(case, sequence)?;
    let mut refusals = Vec::new();
    for (name, snapshot, state) in moments(case, db, state, &mut refusals)? {
        read_all(&snapshot, state, &name, &mut refusals)?;
    }
    for error in &refusals {
        refused(case, error, "reading")?;
    }
    Ok(if refusals.is_empty() { Seen::State(sequence) } else { Seen::RefusedAtRead })
}

/// The state that the database may have at `sequence`.
fn state(case: &Case, sequence: u64) -> Verdict<&Model> {
    let (newest, story) = (case.target.newest, &case.target.story);
    if matches!(case.expect, Expect::Other(_)) && sequence == story.elsewhere.newest {
        return Ok(&story.elsewhere_state);
    }
    let earliest = if let Expect::Earlier(_, earliest) = case.expect { earliest } else { newest };
    if !(earliest..=newest).contains(&sequence) {
        return Err(format!(
            "the newest commit is {sequence}, not {earliest} to {newest}, and nothing was said"
        ));
    }
    story.state(sequence).ok_or_else(|| format!("there never was a state {sequence}"))
}

/// The present and every named checkpoint, each with what it must hold.
fn moments<'a>(
    case: &'a Case,
    db: &Database,
    present: &'a Model,
    refusals: &mut Vec<Error>,
) -> Verdict<Vec<(String, Snapshot, &'a Model)>> {
    let mut moments = vec![("the present".to_owned(), db.snapshot(), present)];
    for info in db.named_checkpoints() {
        let state = case.target.story.state(info.sequence.0);
        let state = state.ok_or_else(|| format!("checkpoint {} never was", info.name))?;
        match db.open_named_checkpoint(&info.name) {
            Ok(snapshot) => moments.push((format!("checkpoint {}", info.name), snapshot, state)),
            Err(error) => refusals.push(error),
        }
    }
    Ok(moments)
}

/// Reads everything in every way. What is read must be right; what cannot be read is added to `refusals`.
fn read_all(snapshot: &Snapshot, state: &Model, name: &str, refusals: &mut Vec<Error>) -> Verdict {
    scan(snapshot.scan(None, None), state.iter(), name, refusals)?;
    scan(snapshot.scan_reverse(None, None), state.iter().rev(), name, refusals)?;
    let step = state.len() / 64 + 1;
    for (key, value) in state.iter().step_by(step) {
        match snapshot.get(key) {
            Ok(found) if found.as_ref() == Some(value) => {}
            Ok(found) => return Err(format!("{name}: {} reads {}", show(key), show_value(found.as_deref()))),
            Err(error) => refusals.push(error),
        }
    }
    for key in [&b"a"[..], b"key-00000-", b"key-99999", b"zzz"] {
        match snapshot.get(key) {
            Ok(None) => {}
            Ok(found) => {
                return Err(format!(
                    "{name}: {} is absent and reads {}",
                    show(key),
                    show_value(found.as_deref())
                ));
            }
            Err(error) => refusals.push(error),
        }
    }
    Ok(())
}

fn scan<'a>(
    entries: lightning_db::Result<impl Iterator<Item = lightning_db::Result<(Vec<u8>, Vec<u8>)>>>,
    mut expected: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
    name: &str,
    refusals: &mut Vec<Error>,
) -> Verdict {
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            refusals.push(error);
            return Ok(());
        }
    };
    for entry in entries {
        match entry {
            Err(error) => {
                refusals.push(error);
                return Ok(());
            }
            Ok((key, value)) if expected.next() == Some((&key, &value)) => {}
            Ok((key, value)) => {
                return Err(format!("{name}: a scan gives {} = {}", show(&key), show_value(Some(&value))));
            }
        }
    }
    match expected.next() {
        None => Ok(()),
        Some((key, _)) => Err(format!("{name}: a scan ends before {}, without an error", show(key))),
    }
}

/// Checks deeply. Says whether anything was found.
fn check(case: &Case, disk: &MemVfs, seen: &Seen) -> Verdict<bool> {
    let target = &case.target;
    let options = CheckOptions {
        depth: CheckDepth::Deep,
        encryption_key: target.config.encryption_key.clone(),
        progress: None,
    };
    let (errors, noticed, found) = match check_in(&environment(disk), &target.root, &options) {
        Err(error) => {
            refused(case, &error, "checking")?;
            (true, true, error.to_string())
        }
        Ok(report) => (report.errors > 0, !report.findings.is_empty(), format!("{:?}", report.findings)),
    };
    if errors && case.expect == Expect::Served {
        return Err(format!("the check finds errors where another copy serves: {found}"));
    }
    if !errors && !matches!(seen, Seen::State(_)) {
        return Err(format!("the database cannot be read, and the check finds no error: {found}"));
    }
    if case.noticed && !noticed {
        return Err("the check finds nothing".into());
    }
    Ok(noticed)
}

/// Opens the damaged database for writing, and goes on with it if that is possible.
fn write(case: &Case, disk: &MemVfs) -> Verdict {
    let target = &case.target;
    let db = match Database::open_in(environment(disk), &target.root, target.config.clone()) {
        Ok(db) => db,
        Err(error) => {
            refused(case, &error, "opening for writing")?;
            return heal(case, disk);
        }
    };
    let sequence = match look_into(case, &db).map_err(|what| format!("opened for writing: {what}"))? {
        Seen::State(sequence) => sequence,
        _ => return Ok(()),
    };
    let go_on = || {
        db.put(b"new", b"row")?;
        db.checkpoint()?;
        db.close()
    };
    match go_on() {
        Ok(()) => {}
        // What a merge or a flush met that a read does not meet.
        Err(error) => return refused(case, &error, "going on"),
    }
    drop(db);
    let mut state = state(case, sequence)?.clone();
    state.insert(b"new".to_vec(), b"row".to_vec());
    reread(case, disk, &state)
}

/// After what was damaged is put right again, everything must be there: refusing to open must have destroyed nothing.
fn heal(case: &Case, disk: &MemVfs) -> Verdict {
    let target = &case.target;
    for file in case.damage.files() {
        let path = target.root.join(file);
        let was_there = target.disk.files().contains(&path);
        let healed = if was_there {
            put(disk, &path, &read(&target.disk, &path))
        } else {
            lightning_db::Vfs::remove_file(disk, &path)
        };
        // A refused open may remove nothing, so what was put there is there.
        healed.map_err(|error| format!("a refused open changed {}: {error}", path.display()))?;
    }
    let whole = Case { expect: Expect::Served, noticed: false, ..case.clone() };
    look(&whole, disk).map(|_| ()).map_err(|what| {
        let left: Vec<_> = files(disk, "/db").into_keys().collect();
        format!("a refused open for writing lost something: {what} (left: {left:?})")
    })
}

/// Reads once more what was written behind the damage.
fn reread(case: &Case, disk: &MemVfs, state: &Model) -> Verdict {
    let target = &case.target;
    let again = Database::open_read_only_in(environment(disk), &target.root, target.config.clone());
    let db = match again {
        Ok(db) => db,
        Err(error) => return refused(case, &error, "opening again"),
    };
    let mut refusals = Vec::new();
    read_all(&db.snapshot(), state, "written behind the damage", &mut refusals)?;
    refusals.iter().try_for_each(|error| refused(case, error, "reading again"))?;
    drop(db);
    if case.expect != Expect::Served {
        return Ok(());
    }
    let options =
        CheckOptions { encryption_key: target.config.encryption_key.clone(), ..CheckOptions::default() };
    let report = check_in(&environment(disk), &target.root, &options).map_err(|error| error.to_string())?;
    let left: Vec<_> = report.findings.iter().filter(|finding| is_of_a_twin(&finding.file)).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("a copy was not repaired: {left:?}")) }
}

fn is_of_a_twin(path: &std::path::Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("MANIFEST") || name.starts_with("KEYRING")
}

/// Fails unless this damage may give this error.
pub(super) fn refused(case: &Case, error: &Error, doing: &str) -> Verdict {
    if case.permits(error) {
        Ok(())
    } else {
        Err(format!("{doing} gives an error that it may not give ({}): {error}", error.kind()))
    }
}

fn show(key: &[u8]) -> String {
    String::from_utf8_lossy(&key[..key.len().min(40)]).into_owned()
}

fn show_value(value: Option<&[u8]>) -> String {
    value.map_or("nothing".into(), show)
}
