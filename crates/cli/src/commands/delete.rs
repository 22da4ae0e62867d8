//! `delete DB KEY`

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

use crate::bytes::Form;
use crate::failure::{Failure, Outcome};
use crate::output::json::Key;
use crate::session::Session;

/// What to delete.
#[derive(Debug, clap::Args)]
#[command(after_help = "A key that is not there is told by exit status 4.

Examples:
  lightning-cli delete ./mydb greeting
  lightning-cli delete ./mydb --hex 00ff")]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// The key
    #[arg(allow_hyphen_values = true)]
    entry: OsString,
    /// The key is given as hex digits
    #[arg(long)]
    hex: bool,
}

#[derive(Serialize)]
struct Deleted<'a> {
    deleted: Key<'a>,
    sequence: u64,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let form = Form::of(self.hex);
        let key = form.parse("KEY", self.entry)?;
        let db = session.open(&self.db)?;
        if db.get(&key)?.is_none() {
            db.close()?;
            return Err(Failure::NotFound(format!("{} has no key {}", self.db.display(), form.show(&key))));
        }
        db.delete(&key)?;
        let sequence = db.last_sequence().into();
        db.close()?;
        let text = format!("deleted {} (sequence number {sequence})", form.show(&key));
        session.output.done(text, &Deleted { deleted: Key { form, key: &key }, sequence })
    }
}
