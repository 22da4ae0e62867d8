//! `backup DB REPO`

use std::path::PathBuf;

use serde_json::json;

use crate::failure::Outcome;
use crate::output::human::{Size, counted, phases_text};
use crate::output::json::phases;
use crate::output::progress::Progress;
use crate::session::Session;

/// What to back up, and where.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The first backup is full; later ones copy what the repository lacks. The log goes along, so that every \
moment between two backups can be restored. What is encrypted in the database stays encrypted in the repository.

Examples:
  lightning-cli backup ./mydb ./repo --key file:./mydb.key
  lightning-cli backup ./mydb ./repo --json"
)]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// The repository's directory; it is created if it does not exist
    repo: PathBuf,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let db = session.open(&self.db)?;
        let progress = Progress::new(session.output, "backing up", 1);
        let report = db.backup_with(&self.repo, &progress)?;
        let public_key = db.public_key().to_string();
        db.close()?;
        drop(progress);
        let gaps: Vec<_> = report
            .lost_log
            .iter()
            .map(|(after, through)| json!({"after": after.0, "through": through.0}))
            .collect();
        let object = json!({
            "backup": report.backup,
            "repository": report.repository,
            "last_sequence": report.sequence.0,
            "new_segment_bytes": report.segment_bytes,
            "new_log_bytes": report.log_bytes,
            "total_bytes": report.total_bytes,
            "unreachable": gaps,
            "set_back_from": report.set_back_from,
            "public_key": public_key,
            "phases": phases(&report.phases),
        });
        let mut text = format!(
            "backup {} of {} in {}: {} new, {} of log, {} in all, up to sequence number {} ({})",
            report.backup,
            self.db.display(),
            self.repo.display(),
            Size(report.segment_bytes),
            Size(report.log_bytes),
            Size(report.total_bytes),
            report.sequence,
            phases_text(&report.phases),
        );
        if !report.lost_log.is_empty() {
            let intervals = counted(report.lost_log.len() as u64, "stretch", "stretches");
            text.push_str(&format!(
                "\n{intervals} of history cannot be restored to: its log was given up before this backup; back up more \
                 often, or raise LIGHTNING_DB_MAX_RETAINED_LOG"
            ));
        }
        if let Some(backup) = report.set_back_from {
            text.push_str(&format!(
                "\nthe repository had been set back: backup {backup}, which was made, was not there any more"
            ));
        }
        session.output.done(text, &object)
    }
}
