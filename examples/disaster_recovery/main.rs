//! A disaster, and the way back: an encrypted database of real flights is backed up, changed, lost, and restored to
//! four moments of its life. Each restored database is compared row by row with what this program knows it held.
//!
//! `cargo run --release --example disaster_recovery [-- --spoil-restored-row]`
//!
//! With `--spoil-restored-row` one row of the first restored database is changed before the comparison, which then
//! must fail: a comparison that cannot fail proves nothing.

mod flights;
mod history;
mod report;
mod tamper;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use lightning_db::{Database, KeySource, LightningDbConfig, RecoveryTarget, RestoreOptions};

use crate::history::{Difference, History, Moment};
use crate::report::{Backup, Report, Restore};

/// The outcome of a step; the example ends at the first error.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let spoil = std::env::args().any(|argument| argument == "--spoil-restored-row");
    match flights::read().and_then(|rows| run(rows, spoil)) {
        Ok(report) => {
            report.print();
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("disaster_recovery: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(rows: Vec<flights::Flight>, spoil: bool) -> Outcome<Report> {
    let folder = tempfile::tempdir()?;
    let place =
        Place { database: folder.path().join("flights"), repository: folder.path().join("repository") };
    let mut report = Report::new(rows.len());

    let history = live(&place, rows, &mut report)?;
    step("losing it: the database's directory is deleted");
    std::fs::remove_dir_all(&place.database)?;

    for (number, moment) in history.moments().iter().enumerate() {
        step(&format!("restoring {}", moment.name));
        let restored = restore(&place, folder.path(), number, moment, &history, spoil && number == 0)?;
        report.restores.push(restored);
    }
    step("flipping one byte in a copy, and looking whether it is noticed");
    report.tampering =
        Some(tamper::try_one_byte(folder.path(), &folder.path().join("restored-0"), &config())?);
    Ok(report)
}

/// Where the database lives, and where its backups go.
struct Place {
    database: std::path::PathBuf,
    repository: std::path::PathBuf,
}

fn key() -> KeySource {
    KeySource::passphrase("correct horse battery staple")
}

fn config() -> LightningDbConfig {
    LightningDbConfig { encryption_enabled: true, encryption_key: key(), ..Default::default() }
}

/// The life of the database, up to the disaster: what was done to it is written down in the history that is returned.
fn live(place: &Place, rows: Vec<flights::Flight>, report: &mut Report) -> Outcome<History> {
    step(&format!("creating an encrypted database, and importing {} flights", rows.len()));
    let started = Instant::now();
    let db = Database::create(&place.database, config())?;
    let mut history = History::import(&db, rows)?;
    report.import = started.elapsed();

    backup(&db, place, "full", report)?;

    step("changing a part: delays of one carrier, cancelled flights, a week of new ones");
    history.change(&db, history::first_changes)?;
    history.mark("a sequence number", RecoveryTarget::Sequence(db.last_sequence()));
    backup(&db, place, "after the first changes", report)?;

    step("setting a restore point, and changing more");
    db.create_restore_point("before-spring")?;
    history.mark("a named point", RecoveryTarget::Name("before-spring".to_owned()));
    history.change(&db, history::second_changes)?;
    std::thread::sleep(Duration::from_millis(20));
    history.mark("a time", RecoveryTarget::Time(SystemTime::now()));
    std::thread::sleep(Duration::from_millis(20));
    history.change(&db, history::third_changes)?;
    history.mark("the latest state", RecoveryTarget::Latest);
    backup(&db, place, "just before the disaster", report)?;

    report.database_bytes = report::bytes_below(&place.database)?;
    report.last_sequence = db.last_sequence().into();
    db.close()?;
    Ok(history)
}

fn backup(db: &Database, place: &Place, name: &'static str, report: &mut Report) -> Outcome<()> {
    step(&format!("backing up: {name}"));
    let started = Instant::now();
    let made = db.backup(&place.repository)?;
    report.backups.push(Backup {
        name,
        segment_bytes: made.segment_bytes,
        log_bytes: made.log_bytes,
        duration: started.elapsed(),
    });
    Ok(())
}

fn restore(
    place: &Place,
    folder: &Path,
    number: usize,
    moment: &Moment,
    history: &History,
    spoil: bool,
) -> Outcome<Restore> {
    let target = folder.join(format!("restored-{number}"));
    let options =
        RestoreOptions { target: moment.target.clone(), encryption_key: key(), ..Default::default() };
    let made = Database::restore(&place.repository, &target, options)?;
    let db = Database::open(&target, config())?;
    if spoil {
        let first = history.first_key(moment).ok_or("there is no row to spoil")?;
        db.put(first.as_bytes(), b"spoiled")?;
    }
    let differences = history.compare(moment, &db)?;
    db.close()?;
    for difference in differences.iter().take(3) {
        eprintln!("  {difference}");
    }
    Ok(Restore {
        name: moment.name,
        sequence: made.sequence.into(),
        rows: history.rows_at(moment),
        differences: differences.len(),
        lost: differences.iter().filter(|difference| matches!(difference, Difference::Missing(_))).count(),
        phases: made.phases.iter().map(|phase| (phase.name, phase.duration)).collect(),
    })
}

/// Says what is done now.
fn step(text: &str) {
    println!("• {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_flights() -> Outcome<Vec<flights::Flight>> {
        Ok(flights::read()?.into_iter().step_by(20).collect())
    }

    #[test]
    fn everything_comes_back() -> Outcome<()> {
        let report = run(some_flights()?, false)?;
        assert!(report.passed());
        assert_eq!(report.restores.len(), 4);
        assert!(report.restores.iter().all(|restore| restore.differences == 0));
        Ok(())
    }

    #[test]
    fn a_spoiled_row_makes_it_fail() -> Outcome<()> {
        let report = run(some_flights()?, true)?;
        assert!(!report.passed());
        assert_eq!(report.restores.iter().map(|restore| restore.differences).sum::<usize>(), 1);
        Ok(())
    }
}
