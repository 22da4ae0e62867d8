//! `get DB KEY`

use std::ffi::OsString;
use std::path::PathBuf;

use crate::bytes::Form;
use crate::failure::{Failure, Outcome};
use crate::output::json::Entry;
use crate::session::Session;

/// What to get.
#[derive(Debug, clap::Args)]
#[command(after_help = "The value is written byte by byte, followed by a newline.

Examples:
  lightning-cli get ./mydb greeting
  lightning-cli get ./mydb --hex 00ff")]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// The key
    #[arg(allow_hyphen_values = true)]
    entry: OsString,
    /// Key and value are written as hex digits
    #[arg(long)]
    hex: bool,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let form = Form::of(self.hex);
        let key = form.parse("KEY", self.entry)?;
        let db = session.open_read_only(&self.db)?;
        let value = db.get(&key)?.ok_or_else(|| {
            Failure::NotFound(format!("{} has no key {}", self.db.display(), form.show(&key)))
        })?;
        let mut out = session.output.stream();
        match form {
            _ if session.output.is_json() => out.object(&Entry { form, key: &key, value: &value })?,
            Form::Text => out.raw(&value)?,
            Form::Hex => out.line(form.show(&value))?,
        }
        out.finish()
    }
}
