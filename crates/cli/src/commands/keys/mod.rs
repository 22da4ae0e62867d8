//! `keys list|add|escrow|remove|rewrap|rotate|epochs|audit|destroy DB`

mod audit;
mod destroy;
mod escrow;
mod rotate;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use lightning_db::{KeySource, SlotId, SlotInfo};
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::key::{self, Ask};
use crate::output::human::wall_time;
use crate::output::table::Table;
use crate::session::Session;

/// What to do with the keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "Each key opens the same data. --key names one that opens the database now.

Examples:
  lightning-cli keys list ./mydb
  lightning-cli keys add ./mydb file:./recovery.key --label recovery
  lightning-cli keys escrow ./mydb --shares 5 --threshold 3
  lightning-cli keys remove ./mydb 1
  lightning-cli keys rewrap ./mydb 1 file:./next.key
  lightning-cli keys rotate ./mydb --now
  lightning-cli keys rotate ./mydb --master --slot-key file:./recovery.key --now
  lightning-cli keys epochs ./mydb
  lightning-cli keys audit ./mydb
  lightning-cli keys destroy ./mydb --dry-run")]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the keys that open the database
    List {
        /// The database's directory
        db: PathBuf,
    },
    /// Let another key open the database, too
    Add {
        /// The database's directory
        db: PathBuf,
        /// Where the new key comes from, written as for --key
        uri: String,
        /// The new key's name, unique in the database (default: its kind)
        #[arg(long)]
        label: Option<String>,
    },
    /// Add a recovery key, and print it once: as words, or as shares of which some are enough
    Escrow(escrow::Escrow),
    /// Take a key away; copies and backups made before still open with it
    Remove {
        /// The database's directory
        db: PathBuf,
        /// The key's number, as `keys list` shows it
        slot: u32,
    },
    /// Wrap the master key anew in one slot: with another key, or with the new version of the same one
    Rewrap {
        /// The database's directory
        db: PathBuf,
        /// The slot's number, as `keys list` shows it
        slot: u32,
        /// Where its new key comes from, written as for --key (default: the key of --key, for a key service whose key has a
        /// new version)
        uri: Option<String>,
    },
    /// Seal new data with a new data key; merges move the old data to it, --now does so at once
    Rotate(rotate::Rotate),
    /// List what was done with the keys, and whether anything of that was taken away or changed
    Audit {
        /// The database's directory
        db: PathBuf,
        /// List what can be read of logs that are damaged, those that were set aside among them, and where each breaks
        #[arg(long)]
        damaged: bool,
    },
    /// Destroy one data key, or all keys: what they sealed can never be read again
    Destroy(destroy::Destroy),
    /// List the data keys, and what still needs each of them
    Epochs {
        /// The database's directory
        db: PathBuf,
    },
}

#[derive(Serialize)]
struct Slot {
    slot: u32,
    kind: String,
    label: String,
    created: String,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.action {
            Action::List { db } => list(session, &db),
            Action::Add { db, uri, label } => add(session, &db, &uri, label),
            Action::Escrow(escrow) => escrow.run(session),
            Action::Remove { db, slot } => remove(session, &db, slot),
            Action::Rewrap { db, slot, uri } => rewrap(session, &db, slot, uri.as_deref()),
            Action::Rotate(rotate) => rotate.run(session),
            Action::Audit { db, damaged: false } => audit::run(session, &db),
            Action::Audit { db, damaged: true } => audit::run_damaged(session, &db),
            Action::Destroy(destroy) => destroy.run(session),
            Action::Epochs { db } => rotate::epochs(session, &db),
        }
    }
}

fn list(session: &Session, path: &Path) -> Outcome {
    #[derive(Serialize)]
    struct Listed {
        keys: Vec<Slot>,
    }
    let keys: Vec<Slot> = session.open_read_only(path)?.key_slots().into_iter().map(Slot::from).collect();
    if keys.is_empty() {
        let text = format!("{} is not encrypted: it has no keys", path.display());
        return session.output.report(text, &Listed { keys });
    }
    let mut table = Table::new(&["#slot", "kind", "label", "created"]);
    for key in &keys {
        table.row([key.slot.to_string(), key.kind.clone(), key.label.clone(), key.created.clone()]);
    }
    session.output.report(table, &Listed { keys })
}

fn add(session: &Session, path: &Path, uri: &str, label: Option<String>) -> Outcome {
    #[derive(Serialize)]
    struct Added<'a> {
        added: u32,
        label: &'a str,
    }
    let new: KeySource = key::from_uri("URI", uri, Ask::ToSet)?;
    let db = session.open(path)?;
    let label = label.unwrap_or_else(|| free_label(uri, &db.key_slots()));
    let slot = db.add_key(new, &label)?;
    db.close()?;
    let text = format!("added key {slot} ({label}) to {}", path.display());
    session.output.done(text, &Added { added: slot.0, label: &label })
}

fn remove(session: &Session, path: &Path, slot: u32) -> Outcome {
    #[derive(Serialize)]
    struct Removed {
        removed: u32,
    }
    let db = session.open(path)?;
    db.remove_key(SlotId(slot))?;
    db.close()?;
    let text = format!(
        "removed key {slot} from {}; copies and backups made before still open with it",
        path.display()
    );
    session.output.done(text, &Removed { removed: slot })
}

fn rewrap(session: &Session, path: &Path, slot: u32, uri: Option<&str>) -> Outcome {
    #[derive(Serialize)]
    struct Rewrapped {
        rewrapped: u32,
        kind: String,
    }
    let new = match uri {
        Some(uri) => key::from_uri("URI", uri, Ask::ToSet)?,
        None => session.key(Ask::ToOpen)?,
    };
    if new.is_none() {
        let text = "name the slot's new key, or give --key for one that stays the same".to_owned();
        return Err(Failure::Usage(text));
    }
    let db = session.open(path)?;
    db.rewrap_key(SlotId(slot), new)?;
    let kind = db.key_slots().into_iter().find(|info| info.id.0 == slot).map(|info| info.kind);
    db.close()?;
    let kind = kind.unwrap_or_default();
    let text = format!(
        "key {slot} of {} is now a {kind} key, which was tried; copies and backups made before still open with the old one",
        path.display()
    );
    session.output.done(text, &Rewrapped { rewrapped: slot, kind })
}

/// The kind of the key, with a number where that is taken: labels stand in the file in the clear, so nothing of the
/// path goes into them.
fn free_label(uri: &str, taken: &[SlotInfo]) -> String {
    let kind = uri.split(':').next().unwrap_or_default();
    let numbered = (2..).map(|number| format!("{kind}-{number}"));
    std::iter::once(kind.to_owned())
        .chain(numbered)
        .find(|label| taken.iter().all(|slot| slot.label != *label))
        .expect("there are more numbers than slots")
}

impl From<SlotInfo> for Slot {
    fn from(slot: SlotInfo) -> Self {
        Self { slot: slot.id.0, kind: slot.kind, label: slot.label, created: wall_time(slot.created_micros) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_the_kind_and_unique() {
        let slot = |label: &str| SlotInfo {
            id: SlotId(1),
            kind: "raw".into(),
            label: label.into(),
            created_micros: 0,
        };
        assert_eq!(free_label("file:/secret/place", &[slot("default")]), "file");
        assert_eq!(free_label("file:/x", &[slot("file"), slot("file-2")]), "file-3");
    }
}
