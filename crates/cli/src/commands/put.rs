//! `put DB KEY VALUE`

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

use crate::bytes::Form;
use crate::failure::Outcome;
use crate::output::human::counted;
use crate::output::json::Key;
use crate::session::Session;

/// What to put where.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lightning-cli put ./mydb greeting hello
  lightning-cli put ./mydb --hex 00ff cafe")]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// The key
    #[arg(allow_hyphen_values = true)]
    entry: OsString,
    /// Its new value
    #[arg(allow_hyphen_values = true)]
    value: OsString,
    /// Key and value are given as hex digits
    #[arg(long)]
    hex: bool,
}

#[derive(Serialize)]
struct Put<'a> {
    put: Key<'a>,
    bytes: usize,
    sequence: u64,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let form = Form::of(self.hex);
        let (key, value) = (form.parse("KEY", self.entry)?, form.parse("VALUE", self.value)?);
        let db = session.open(&self.db)?;
        db.put(&key, &value)?;
        let sequence = db.last_sequence().into();
        db.close()?;
        let text = format!(
            "put {} ({}, sequence number {sequence})",
            form.show(&key),
            counted(value.len() as u64, "byte", "bytes")
        );
        let put = Put { put: Key { form, key: &key }, bytes: value.len(), sequence };
        session.output.done(text, &put)
    }
}
