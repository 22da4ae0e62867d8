//! `compact DB`

use std::path::PathBuf;

use serde::Serialize;

use crate::failure::Outcome;
use crate::output::human::Size;
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
    bytes_before: u64,
    bytes_after: u64,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let db = session.open(&self.db)?;
        let bytes_before = db.stats()?.size_bytes;
        let progress = Progress::new(session.output, "compacting", 0);
        db.compact()?;
        drop(progress);
        let bytes_after = db.stats()?.size_bytes;
        db.close()?;
        let text = format!(
            "compacted {}: {} before, {} now",
            self.db.display(),
            Size(bytes_before),
            Size(bytes_after)
        );
        session.output.done(text, &Compacted { compacted: &self.db, bytes_before, bytes_after })
    }
}
