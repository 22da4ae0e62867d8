//! What can be read of audit logs that are damaged, those that were set aside among them.

use std::path::Path;

use lightning_db_crypto::Keyring;

use super::parts::{self, Start};
use super::{AuditRecord, MAX_FILE_LEN, open, split_entry};
use crate::Result;
use crate::directory::{self, FileRole};
use crate::vfs::Vfs;

/// A file of an audit log, and what it says by itself. Each entry opened with the database's key and follows the one before,
/// from the file's beginning; whether something is missing behind the last one it cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFile {
    /// The file's name in the database's directory.
    pub name: String,
    /// Entries by number; `None` where the data key was destroyed that sealed it.
    pub entries: Vec<(u64, Option<AuditRecord>)>,
    /// Where it breaks; `None` if it is whole up to its end.
    pub breaks: Option<AuditBreak>,
}

/// Where a file of an audit log breaks. Nothing behind that can be told from what somebody made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditBreak {
    /// The place in the file, in bytes.
    pub offset: u64,
    /// What is there.
    pub reason: String,
}

/// Reads every file of audit logs in `directory`, as far as each can be believed.
///
/// # Errors
/// What the system reports; damage is in the result.
pub fn salvage(vfs: &dyn Vfs, directory: &Path, keyring: &Keyring) -> Result<Vec<AuditFile>> {
    let files = directory::list(vfs, directory)?;
    let names = files.into_iter().filter(|file| file.role == FileRole::Audit).map(|file| file.name);
    names
        .map(|name| {
            let bytes = parts::first_bytes(vfs, &directory.join(&name), MAX_FILE_LEN)?;
            Ok(read(name, &bytes, keyring))
        })
        .collect()
}

fn read(name: String, bytes: &[u8], keyring: &Keyring) -> AuditFile {
    let mut file = AuditFile { name, entries: Vec::new(), breaks: None };
    let breaks = |offset: usize, reason: String| Some(AuditBreak { offset: offset as u64, reason });
    let Some(start) = Start::read_any(bytes, keyring.database_id()) else {
        file.breaks = breaks(0, "no header of an audit log of this database".to_owned());
        return file;
    };
    let (mut head, mut rest) = (start.head(), &bytes[start.len..]);
    // An entry that cannot be opened any more is believed for the sake of one behind it, which names it by its hash.
    let (mut believed, mut believed_to) = (0, start.len);
    let end = loop {
        let number = head.entries + 1;
        if rest.is_empty() {
            break None;
        }
        let Some((entry, after)) = split_entry(rest) else {
            break Some(format!("entry {number} is cut, or its length was changed"));
        };
        let Ok(record) = open(entry, number, &head.hash, keyring) else {
            break Some(format!("entry {number}, or something before it, was changed"));
        };
        (head, rest) = (head.with(entry), after);
        let is_readable = record.is_some();
        file.entries.push((number, record));
        if is_readable {
            (believed, believed_to) = (file.entries.len(), bytes.len() - rest.len());
        }
    };
    let unproven = file.entries.len() - believed;
    file.entries.truncate(believed);
    file.breaks = match (end, unproven) {
        (None, 0) => None,
        (Some(reason), 0) => breaks(believed_to, reason),
        (end, _) => {
            let reason = format!(
                "{unproven} entries are under data keys that are not there, and nothing behind proves them"
            );
            breaks(believed_to, end.map_or(reason.clone(), |end| format!("{reason}: {end}")))
        }
    };
    file
}
