//! `keys escrow DB`

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use lightning_db::KeySource;
use lightning_db_recovery_key::{OsEntropy, RecoveryKey, RecoveryProvider, WordsError};
use serde::Serialize;
use zeroize::Zeroizing;

use super::free_label;
use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// How to write the key down.
///
/// The slot is there before the words are shown. If nobody saw them, because the command was killed in between, remove the slot
/// (`keys list`, `keys remove`); a rotation of the master key would ask for its key, or to drop it.
#[derive(Debug, clap::Args)]
pub(super) struct Escrow {
    /// The database's directory
    db: PathBuf,
    /// Split the key into so many shares, 2 to 16
    #[arg(long, value_name = "N", requires = "threshold")]
    shares: Option<u8>,
    /// So many of them give it back
    #[arg(long, value_name = "M", requires = "shares")]
    threshold: Option<u8>,
    /// The key's name, unique in the database (default: recovery)
    #[arg(long)]
    label: Option<String>,
}

#[derive(Serialize)]
struct Escrowed<'a> {
    added: u32,
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shares: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<u8>,
}

impl Escrow {
    pub(super) fn run(self, session: &Session) -> Outcome {
        let key = RecoveryKey::generate(&OsEntropy).map_err(refused)?;
        let parts = match self.shares.zip(self.threshold) {
            Some((count, needed)) => key.split(count, needed, &OsEntropy).map_err(refused)?,
            None => vec![key.words()],
        };
        let db = session.open(&self.db)?;
        let label = self.label.clone().unwrap_or_else(|| free_label("recovery", &db.key_slots()));
        let slot = db.add_key(KeySource::provider(Arc::new(RecoveryProvider::new(key))), &label)?;
        let text = self.told(slot.0, &label, &parts);
        let object = Escrowed {
            added: slot.0,
            label: &label,
            words: self.shares.is_none().then(|| parts[0].as_str()),
            shares: if self.shares.is_some() {
                parts.iter().map(|part| part.as_str()).collect()
            } else {
                Vec::new()
            },
            threshold: self.threshold,
        };
        if let Err(failure) = session.output.report(text.as_str(), &object) {
            // Nobody has seen the words, and they cannot be had again.
            db.remove_key(slot)?;
            return Err(failure);
        }
        Ok(db.close()?)
    }

    fn told(&self, slot: u32, label: &str, parts: &[Zeroizing<String>]) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(8192));
        let place = self.db.display();
        let rule = match self.threshold {
            None => "Write the words down; they are not shown again".to_owned(),
            Some(needed) => format!(
                "Write each share down, and give each to somebody else; any {needed} of the {} open the database, and they are \
                 not shown again",
                parts.len()
            ),
        };
        let open =
            "To open it with them: --key recovery:prompt, or recovery-file:PATH with one share on a line";
        let written = parts.iter().try_for_each(|part| write!(text, "\n{}\n", part.as_str()));
        written.expect("a string takes all that is written to it");
        Zeroizing::new(format!("added key {slot} ({label}) to {place}. {rule}.\n{}\n{open}", text.as_str()))
    }
}

fn refused(error: WordsError) -> Failure {
    match error {
        WordsError::Shares => Failure::Usage(error.to_string()),
        other => Failure::Database(lightning_db::Error::Crypto { reason: other.to_string() }),
    }
}
