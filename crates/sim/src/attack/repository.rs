//! What a damaged repository does: a verification tells, and a restore gives right data or an error.

use std::path::Path;

use lightning_db::{Database, Error, NoProgress, RecoveryTarget, RestoreOptions, VerifyLevel, VerifyOptions};
use lightning_db_storage::vfs::MemVfs;

use super::case::{Case, Depth, Expect, Outcome};
use super::database::{environment, refused};
use super::specimen::Model;

type Verdict<T = ()> = Result<T, String>;

const RESTORED: &str = "/restored";

/// Damages a copy of the repository and looks at it.
///
/// # Errors
/// What is wrong with what came of it.
pub(super) fn examine(case: &Case) -> Verdict<Outcome> {
    let disk = case.target.disk.fork();
    case.damage.apply(&disk, &case.target.root);
    let noticed = verify(case, &disk, VerifyLevel::Hashes)?;
    if case.noticed && !noticed {
        return Err("a verification of level 2 finds nothing".into());
    }
    if case.depth == Depth::Reading {
        return Ok(if noticed { Outcome::RefusedAtRead } else { Outcome::ServedUnnoticed });
    }
    if !verify(case, &disk, VerifyLevel::Contents)? && noticed {
        return Err("level 3 finds nothing where level 2 does".into());
    }
    verify(case, &disk, VerifyLevel::Restore)?;
    let newest = restore(case, &disk, RecoveryTarget::Latest)?;
    for target in [RecoveryTarget::Backup(1), RecoveryTarget::Name("before the change".into())] {
        restore(case, &disk, target)?;
    }
    Ok(match (newest, case.expect) {
        (None, _) => Outcome::RefusedAtOpen,
        (Some(sequence), Expect::Earlier(which, _)) if sequence < case.target.newest => {
            Outcome::Earlier(which)
        }
        (Some(_), _) if noticed => Outcome::ServedAndNoticed,
        (Some(_), _) => Outcome::ServedUnnoticed,
    })
}

/// Says whether anything was found.
fn verify(case: &Case, disk: &MemVfs, level: VerifyLevel) -> Verdict<bool> {
    let options = VerifyOptions {
        level: Some(level),
        encryption_key: case.target.config.encryption_key.clone(),
        scratch: Some("/scratch".into()),
        ..VerifyOptions::default()
    };
    let report =
        Database::verify_repository_with(&environment(disk), &case.target.root, options, &NoProgress);
    match report {
        Ok(report) => Ok(!report.problems.is_empty()),
        Err(error) => refused(case, &error, &format!("verifying ({level:?})")).map(|()| true),
    }
}

/// Restores and reads all of it. Returns the newest commit, or nothing if it was refused.
fn restore(case: &Case, disk: &MemVfs, target: RecoveryTarget) -> Verdict<Option<u64>> {
    let disk = disk.fork();
    let is_latest = target == RecoveryTarget::Latest;
    let what = format!("restoring {target:?}");
    let key = case.target.config.encryption_key.clone();
    let options = RestoreOptions { target, encryption_key: key, ..RestoreOptions::default() };
    let done = Database::restore_with(&environment(&disk), &case.target.root, RESTORED, options, &NoProgress);
    let report = match done {
        Ok(report) => report,
        Err(error) => {
            refused(case, &error, &what)?;
            return if lightning_db::Vfs::metadata(&disk, Path::new(RESTORED)).is_err() {
                Ok(None)
            } else {
                Err(format!("{what} failed and left something"))
            };
        }
    };
    let sequence = report.sequence.0;
    let earliest = match case.expect {
        Expect::Earlier(_, earliest) => earliest,
        _ => case.target.newest,
    };
    if is_latest && !(earliest..=case.target.newest).contains(&sequence) {
        return Err(format!(
            "{what} gives commit {sequence} for the newest, which is {}",
            case.target.newest
        ));
    }
    let state =
        case.target.story.state(sequence).ok_or_else(|| format!("{what}: commit {sequence} never was"))?;
    compare(case, &disk, state).map_err(|wrong| format!("{what}: {wrong}"))?;
    Ok(Some(sequence))
}

fn compare(case: &Case, disk: &MemVfs, state: &Model) -> Verdict {
    let text = |error: Error| error.to_string();
    let db =
        Database::open_read_only_in(environment(disk), RESTORED, case.target.config.clone()).map_err(text)?;
    let found = db.scan(None, None).map_err(text)?.collect::<Result<Model, _>>().map_err(text)?;
    if found == *state { Ok(()) } else { Err("other rows than those that were backed up".into()) }
}
