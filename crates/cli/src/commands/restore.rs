//! `restore REPO DIR`

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use lightning_db::{Database, Environment, Incarnation, PublicKey, RecoveryTarget, RestoreOptions};
use serde_json::json;

use crate::failure::Outcome;
use crate::output::human::{Size, counted, phases_text};
use crate::output::json::phases;
use crate::output::progress::Progress;
use crate::session::Session;

/// What to restore, and where.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The restored database holds exactly the commits up to the target, or nothing is made: exit status 4 and \
what can be reached. It begins a history of its own, and can be backed up into the same repository.

Examples:
  lightning-cli restore ./repo ./again --key file:./mydb.key
  lightning-cli restore ./repo ./again --to time:2026-05-01T12:00:00Z
  lightning-cli restore ./repo ./again --to name:before-import
  lightning-cli restore ./repo ./again --to seq:4711 --exclusive"
)]
pub(crate) struct Command {
    /// The repository's directory
    repo: PathBuf,
    /// The new database's directory, which must not exist or be empty
    dir: PathBuf,
    /// The moment: latest, backup:ID, seq:N, time:RFC3339 or name:NAME
    #[arg(long, value_name = "TARGET", default_value = "latest", value_parser = target)]
    to: RecoveryTarget,
    /// Stop before the target
    #[arg(long)]
    exclusive: bool,
    /// The history that is meant, where several have the target
    #[arg(long, value_name = "ID", value_parser = incarnation)]
    incarnation: Option<Incarnation>,
    /// The key that must have signed every backup, as `verify` or `backup --json` told it
    #[arg(long, value_name = "HEX")]
    public_key: Option<PublicKey>,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let report = session.with_key(|key| {
            let progress = Progress::new(session.output, "restoring", 1);
            let options = RestoreOptions {
                target: self.to.clone(),
                encryption_key: key,
                exclusive: self.exclusive,
                incarnation: self.incarnation,
                public_key: self.public_key,
            };
            let world = Environment::default();
            Ok(Database::restore_with(&world, &self.repo, &self.dir, options, &progress)?)
        })?;
        let time = rfc3339(report.time);
        let object = json!({
            "restored": self.dir,
            "backup": report.backup,
            "last_sequence": report.sequence.0,
            "time": time,
            "restored_from": report.restored_from.to_string(),
            "incarnation": report.incarnation.to_string(),
            "replayed_commits": report.commits,
            "bytes": report.bytes,
            "phases": phases(&report.phases),
        });
        let text = format!(
            "restored {} up to sequence number {} of {time}, from backup {} and {} of log: {} ({})",
            self.dir.display(),
            report.sequence,
            report.backup,
            counted(report.commits, "commit", "commits"),
            Size(report.bytes),
            phases_text(&report.phases),
        );
        session.output.done(text, &object)
    }
}

pub(crate) fn target(text: &str) -> Result<RecoveryTarget, String> {
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a whole number"));
    match text.split_once(':') {
        None if text == "latest" => Ok(RecoveryTarget::Latest),
        Some(("backup", id)) => number(id).map(RecoveryTarget::Backup),
        Some(("seq", n)) => number(n).map(|n| RecoveryTarget::Sequence(n.into())),
        Some(("time", time)) => moment(time).map(RecoveryTarget::Time),
        Some(("name", name)) if !name.is_empty() => Ok(RecoveryTarget::Name(name.to_owned())),
        _ => Err("use latest, backup:ID, seq:N, time:RFC3339 or name:NAME".to_owned()),
    }
}

/// A moment, which must say its distance from UTC: without one it would be a guess.
fn moment(text: &str) -> Result<SystemTime, String> {
    Timestamp::from_str(text).map(SystemTime::from).map_err(|error| {
        format!("{text:?} is not a time such as 2026-05-01T12:00:00Z or 2026-05-01T14:00:00+02:00 ({error})")
    })
}

pub(crate) fn incarnation(text: &str) -> Result<Incarnation, String> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|_| "a history is named by 32 hex digits".to_owned())?;
    Ok(Incarnation(id))
}

fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| format!("{:?} after 1970", time.duration_since(UNIX_EPOCH).unwrap_or_default()),
        |time| time.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn targets_are_parsed() {
        let time = UNIX_EPOCH + Duration::from_micros(1_777_636_800_500_000);
        for (text, parsed) in [
            ("latest", RecoveryTarget::Latest),
            ("backup:7", RecoveryTarget::Backup(7)),
            ("seq:0", RecoveryTarget::Sequence(0.into())),
            ("time:2026-05-01T12:00:00.5Z", RecoveryTarget::Time(time)),
            ("time:2026-05-01T14:00:00.500+02:00", RecoveryTarget::Time(time)),
            ("name:a:b", RecoveryTarget::Name("a:b".into())),
        ] {
            assert_eq!(target(text), Ok(parsed), "{text}");
        }
        for wrong in [
            "",
            "Latest",
            "seq:",
            "seq:-1",
            "seq:x",
            "backup:",
            "name:",
            "time:2026-05-01T12:00:00",
            "time:now",
            "7",
        ] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        assert!(incarnation(&"ab".repeat(16)).is_ok() && incarnation("ab").is_err());
        assert_eq!(rfc3339(time), "2026-05-01T12:00:00.5Z");
    }
}
