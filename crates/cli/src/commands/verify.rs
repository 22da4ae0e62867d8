//! `verify REPO`

use std::fmt;
use std::path::PathBuf;

use lightning_db::{
    Database, Environment, PublicKey, ReachableInterval, RepositoryReport, VerifyLevel, VerifyOptions,
};
use serde_json::{Value, json};

use super::backups;
use crate::failure::{Failure, Outcome};
use crate::output::human::{Count, Size, counted, wall_time};
use crate::output::progress::Progress;
use crate::session::Session;

/// Which repository to verify, and how deep.
#[derive(Debug, clap::Args)]
#[command(after_help = "Each level does what those before it do:
  1  every object is there, and as long as it should be
  2  the bytes of every object are those that were signed for; up to here no key is needed
  3  every page, value and commit of every backup opens and adds up
  4  every backup is restored to a scratch directory and checked in full
Without --level it is 3 with a key and 2 without one. Damage is exit status 3.

Examples:
  lightning-cli verify ./repo
  lightning-cli verify ./repo --level 4 --key file:./mydb.key
  lightning-cli verify ./repo --public-key 3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")]
pub(crate) struct Command {
    /// The repository's directory
    repo: PathBuf,
    /// How deep to look
    #[arg(long, value_name = "1-4", value_parser = clap::value_parser!(u8).range(1..=4))]
    level: Option<u8>,
    /// The key that must have signed every backup, as an earlier verification printed it; unless told, the one that signed
    /// the oldest
    #[arg(long, value_name = "HEX")]
    public_key: Option<PublicKey>,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let level = self.level.map(level_of);
        let verify = |key| {
            let progress = Progress::new(session.output, "verifying", 1);
            let public_key = self.public_key;
            let options =
                VerifyOptions { level, encryption_key: key, public_key, ..VerifyOptions::default() };
            Ok(Database::verify_repository_with(&Environment::default(), &self.repo, options, &progress)?)
        };
        // Up to level 2 no key is used, so a key that cannot be had is no obstacle.
        let needs_no_key = level.is_some_and(|level| level <= VerifyLevel::Hashes);
        let report =
            if needs_no_key { verify(lightning_db::KeySource::none())? } else { session.with_key(verify)? };
        session.output.report(Verified(&report), &object(&report))?;
        if report.is_sound() {
            return Ok(());
        }
        let found = counted(report.problems.len() as u64, "problem", "problems");
        Err(Failure::Damaged(format!("{found} found in {}", self.repo.display())))
    }
}

fn level_of(number: u8) -> VerifyLevel {
    match number {
        1 => VerifyLevel::Presence,
        2 => VerifyLevel::Hashes,
        3 => VerifyLevel::Contents,
        _ => VerifyLevel::Restore,
    }
}

fn object(report: &RepositoryReport) -> Value {
    let problem = |problem: &lightning_db::RepositoryProblem| json!({"object": problem.object, "what": problem.what, "backups": problem.backups});
    json!({
        "sound": report.is_sound(),
        "level": report.level as u8,
        "signer": report.signer.filter(|_| report.is_sound()).map(|signer| signer.to_string()),
        "backups": report.backups.iter().map(backups::object).collect::<Vec<_>>(),
        "covered": {
            "objects": report.objects,
            "bytes": report.bytes,
            "hashed_bytes": report.hashed_bytes,
            "pages": report.pages,
            "entries": report.entries,
            "log_commits": report.log_commits,
            "restored": report.restored,
        },
        "orphan_bytes": report.orphan_bytes,
        "reachable": report.reachable.iter().map(reachable).collect::<Vec<_>>(),
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn reachable(interval: &ReachableInterval) -> Value {
    json!({
        "incarnation": interval.incarnation.to_string(),
        "first_sequence": interval.first.0,
        "last_sequence": interval.last.0,
        "first_time": wall_time(interval.first_micros),
        "last_time": wall_time(interval.last_micros),
    })
}

struct Verified<'a>(&'a RepositoryReport);

impl fmt::Display for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let mark = if report.is_sound() { '✓' } else { '✗' };
        let level = report.level as u8;
        let backups = counted(report.backups.len() as u64, "backup", "backups");
        writeln!(f, "{mark} {backups} verified at level {level}")?;
        writeln!(
            f,
            "  {} objects, {}, of which {} hashed",
            Count(report.objects),
            Size(report.bytes),
            Size(report.hashed_bytes)
        )?;
        if let Some(signer) = report.signer.filter(|_| report.is_sound()) {
            writeln!(f, "  signed by {signer}")?;
        }
        if report.level >= VerifyLevel::Contents {
            let (pages, entries) = (Count(report.pages), Count(report.entries));
            let commits = counted(report.log_commits, "commit", "commits");
            writeln!(f, "  {pages} pages with {entries} entries, {commits} of log")?;
        }
        if report.level >= VerifyLevel::Restore {
            writeln!(f, "  {} restored and checked", counted(report.restored, "backup", "backups"))?;
        }
        if report.orphan_bytes > 0 {
            writeln!(
                f,
                "  {} that no backup needs; the next backup removes them",
                Size(report.orphan_bytes)
            )?;
        }
        for interval in &report.reachable {
            writeln!(
                f,
                "  restorable: sequence number {} to {}, {} to {} (history {})",
                interval.first,
                interval.last,
                wall_time(interval.first_micros),
                wall_time(interval.last_micros),
                interval.incarnation
            )?;
        }
        for problem in &report.problems {
            write!(f, "  error: {}: {}", problem.object, problem.what)?;
            let backups: Vec<String> = problem.backups.iter().map(u64::to_string).collect();
            if backups.is_empty() { writeln!(f)? } else { writeln!(f, " (backups {})", backups.join(", "))? }
        }
        let verdict =
            if report.is_sound() { "everything can be restored" } else { "not everything can be restored" };
        write!(f, "{mark} {verdict}")
    }
}
