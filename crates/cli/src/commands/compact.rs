//! `compact DB`

use std::path::PathBuf;

use serde::Serialize;

use crate::failure::Outcome;
use crate::output::progress::Progress;
use crate::session::Session;

/// What to compact.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lightning-cli compact ./mydb")]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
}

#[derive(Serialize)]
struct Compacted<'a> {
    compacted: &'a PathBuf,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let db = session.open(&self.db)?;
        let progress = Progress::new(session.output, "compacting", 0);
        db.compact()?;
        drop(progress);
        db.close()?;
        session
            .output
            .done(format_args!("compacted {}", self.db.display()), &Compacted { compacted: &self.db })
    }
}
