//! `restore-point DB NAME`

use std::path::PathBuf;

use serde::Serialize;

use crate::failure::Outcome;
use crate::session::Session;

/// Which moment to name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lightning-cli restore-point ./mydb before-import
  lightning-cli backup ./mydb ./repo
  lightning-cli restore ./repo ./again --to name:before-import")]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// The name, which must be new
    name: String,
}

#[derive(Serialize)]
struct Named<'a> {
    restore_point: &'a str,
    sequence: u64,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let db = session.open(&self.db)?;
        let sequence = db.create_restore_point(&self.name)?.into();
        db.close()?;
        let text = format!("named sequence number {sequence} {:?}; a backup makes it restorable", self.name);
        session.output.done(text, &Named { restore_point: &self.name, sequence })
    }
}
