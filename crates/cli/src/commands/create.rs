//! `create DB`

use std::path::PathBuf;

use serde::Serialize;

use crate::failure::Outcome;
use crate::session::Session;

/// What to create.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lightning-cli create ./mydb --key passphrase:prompt
  lightning-cli create ./mydb --key file:./mydb.key
  lightning-cli create ./public --no-encryption")]
pub(crate) struct Command {
    /// The database's directory, which must not exist or be empty
    db: PathBuf,
    /// Let everybody who has the files read them
    #[arg(long)]
    no_encryption: bool,
}

#[derive(Serialize)]
struct Created<'a> {
    created: &'a PathBuf,
    encrypted: bool,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let db = session.create(&self.db, self.no_encryption)?;
        db.close()?;
        let encrypted = !self.no_encryption;
        let how = if encrypted { "encrypted" } else { "not encrypted" };
        let text = format!("created {} ({how})", self.db.display());
        session.output.done(text, &Created { created: &self.db, encrypted })
    }
}
