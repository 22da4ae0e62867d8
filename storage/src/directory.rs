//! The names of a database's files, all in one flat directory.
//!
//! | name | what |
//! |---|---|
//! | `MANIFEST`, `MANIFEST.2` | the current version, two copies |
//! | `KEYRING`, `KEYRING.2` | key slots and sealed data keys, two copies |
//! | `LOCK` | held by the process that has the database open |
//! | `RESERVE` | room set aside so that a full disk can still be cleared up |
//! | `0123456789abcdef.wal` (`.run`, `.base`, `.value`) | a segment, named by its id |
//! | `*.tmp` of the first four | the next content of that file, not yet in its place |

use std::path::Path;

use crate::segment::{SegmentKind, parse_segment_file_name};
use crate::twin_file::{temporary_name, wipe_file};
use crate::vfs::Vfs;
use crate::{Result, SegmentId, StorageError};

/// The two copies of the manifest.
pub const MANIFEST_FILES: [&str; 2] = ["MANIFEST", "MANIFEST.2"];
/// The two copies of the keyring.
pub const KEYRING_FILES: [&str; 2] = ["KEYRING", "KEYRING.2"];
/// Locked by the process that has the database open.
pub const LOCK_FILE: &str = "LOCK";
/// Room set aside for clearing up on a full disk.
pub const RESERVE_FILE: &str = "RESERVE";

/// The audit log.
pub const AUDIT_FILE: &str = "AUDIT";
/// An audit log that was found damaged, set aside; later ones have a number behind that.
pub const DAMAGED_AUDIT_FILE: &str = "AUDIT.damaged";

/// What a name in the directory stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// A segment.
    Segment {
        /// What it holds.
        kind: SegmentKind,
        /// Its number.
        id: SegmentId,
    },
    /// A copy of the manifest.
    Manifest,
    /// A copy of the keyring.
    Keyring,
    /// The lock.
    Lock,
    /// The reserve.
    Reserve,
    /// The audit log, or one that was set aside.
    Audit,
    /// A manifest or keyring that was being written.
    Temporary,
    /// Nothing of ours: it is left alone.
    Foreign,
}

/// One name in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub role: FileRole,
    /// Length in bytes.
    pub len: u64,
}

/// Everything in `directory`, in order of names.
///
/// # Errors
/// `NotFound`, and what the operating system reports.
pub fn list(vfs: &dyn Vfs, directory: &Path) -> Result<Vec<FileEntry>> {
    let entries = vfs.list(directory).map_err(|error| StorageError::io("list", directory, error))?;
    let entry = |entry: crate::vfs::DirEntry| {
        let role = if entry.is_dir { FileRole::Foreign } else { classify(&entry.name) };
        FileEntry { role, len: entry.len, name: entry.name }
    };
    Ok(entries.into_iter().map(entry).collect())
}

/// What a file called `name` stands for.
#[must_use]
pub fn classify(name: &str) -> FileRole {
    if let Some((kind, id)) = parse_segment_file_name(name) {
        return FileRole::Segment { kind, id };
    }
    if MANIFEST_FILES.contains(&name) {
        FileRole::Manifest
    } else if KEYRING_FILES.contains(&name) {
        FileRole::Keyring
    } else if name == LOCK_FILE {
        FileRole::Lock
    } else if name == RESERVE_FILE {
        FileRole::Reserve
    } else if is_audit(name) {
        FileRole::Audit
    } else if MANIFEST_FILES.iter().chain(&KEYRING_FILES).any(|file| temporary_name(file) == name) {
        FileRole::Temporary
    } else {
        FileRole::Foreign
    }
}

/// Removes a file of the database's; what holds keys is overwritten first.
///
/// # Errors
/// `NotFound`, and what the operating system reports.
pub fn remove(vfs: &dyn Vfs, path: &Path) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let holds_keys = KEYRING_FILES.iter().any(|file| name == *file || name == temporary_name(file));
    if holds_keys { wipe_file(vfs, path) } else { vfs.remove_file(path) }
}

/// A part of the audit log, or one that was set aside.
fn is_audit(name: &str) -> bool {
    match name.strip_prefix(AUDIT_FILE) {
        Some("") => true,
        Some(rest) => {
            name.starts_with(DAMAGED_AUDIT_FILE)
                || rest.strip_prefix('.').is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::segment_file_name;

    #[test]
    fn names_are_told_apart() {
        let name = segment_file_name(SegmentKind::Base, SegmentId(0xab));
        assert_eq!(classify(&name), FileRole::Segment { kind: SegmentKind::Base, id: SegmentId(0xab) });
        assert_eq!(classify("MANIFEST.2"), FileRole::Manifest);
        assert_eq!(classify("KEYRING.2.tmp"), FileRole::Temporary);
        assert_eq!(classify("RESERVE"), FileRole::Reserve);
        for audit in ["AUDIT", "AUDIT.2", "AUDIT.damaged", "AUDIT.damaged.2"] {
            assert_eq!(classify(audit), FileRole::Audit);
        }
        for foreign in ["notes.tmp", "MANIFEST.3", "manifest", "lock", "00ab.base", ""] {
            assert_eq!(classify(foreign), FileRole::Foreign, "{foreign}");
        }
    }
}
