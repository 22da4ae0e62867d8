//! `backups REPO`

use std::path::PathBuf;

use lightning_db::{BackupSummary, Database};
use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::output::human::{Size, wall_time};
use crate::output::table::Table;
use crate::session::Session;

/// Which repository to list.
#[derive(Debug, clap::Args)]
#[command(after_help = "No key is needed.

Examples:
  lightning-cli backups ./repo
  lightning-cli backups ./repo --json")]
pub(crate) struct Command {
    /// The repository's directory
    repo: PathBuf,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let backups = Database::list_backups(&self.repo)?;
        let object = json!({"backups": backups.iter().map(object).collect::<Vec<_>>()});
        if backups.is_empty() {
            return session.output.report(format_args!("{} has no backups", self.repo.display()), &object);
        }
        let mut table =
            Table::new(&["#backup", "made", "#last sequence", "as of", "#new", "#log", "#in all"]);
        for backup in &backups {
            table.row([
                backup.number.to_string(),
                wall_time(backup.created_micros),
                backup.sequence.to_string(),
                wall_time(backup.as_of_micros),
                Size(backup.new_segment_bytes).to_string(),
                Size(backup.new_log_bytes).to_string(),
                Size(backup.total_bytes).to_string(),
            ]);
        }
        session.output.report(table, &object)
    }
}

/// A backup as JSON.
pub(super) fn object(backup: &BackupSummary) -> Value {
    json!({
        "backup": backup.number,
        "created": wall_time(backup.created_micros),
        "as_of": wall_time(backup.as_of_micros),
        "incarnation": backup.incarnation.to_string(),
        "last_sequence": backup.sequence.0,
        "new_segment_bytes": backup.new_segment_bytes,
        "new_log_bytes": backup.new_log_bytes,
        "total_bytes": backup.total_bytes,
    })
}
