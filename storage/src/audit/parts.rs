//! The files of the audit log: its parts.
//!
//! ```text
//! part 1, file AUDIT      magic "LDBAUDIT" | version u32 = 1 | zeros u32 | database id [16]
//! part N, file AUDIT.N    magic "LDBAUDIT" | version u32 = 2 | part u32 | database id [16] | entries before u64 |
//!                         chain's hash before [32] | oldest part that is kept u32 | zeros u32
//! ```
//!
//! A part but the first is begun together with its first entry, so one without is what a crash left.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use lightning_db_crypto::DatabaseId;

use super::{AuditHead, MAX_FILE_LEN};
use crate::bytes::{ByteReader, ByteWriter};
use crate::directory::AUDIT_FILE;
use crate::vfs::{OpenHow, Vfs, VfsFile};
use crate::{Result, StorageError};

const MAGIC: &[u8; 8] = b"LDBAUDIT";
const FIRST: u32 = 1;
const SUCCESSOR: u32 = 2;
const FIRST_LEN: usize = 32;
const SUCCESSOR_LEN: usize = 80;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A part is not made longer.
    pub(super) part_len: u64,
    /// So many parts are kept, the newest.
    pub(super) parts: u32,
}

impl Default for Limits {
    /// About two million entries, in 256 MiB.
    fn default() -> Self {
        Self { part_len: 1 << 20, parts: 256 }
    }
}

/// The name of a part's file.
#[must_use]
pub fn file_name(part: u32) -> String {
    if part == 1 { AUDIT_FILE.to_owned() } else { format!("{AUDIT_FILE}.{part}") }
}

/// Where a part begins in the chain, as its header says.
pub(super) struct Start {
    pub(super) part: u32,
    /// The header, and how long it is.
    pub(super) bytes: Vec<u8>,
    pub(super) len: usize,
    /// Entries, and the chain's hash, before it.
    pub(super) entries: u64,
    pub(super) before: [u8; 32],
    /// The oldest part that was kept when it began.
    pub(super) oldest: u32,
    /// The chain's hash behind the header.
    pub(super) hash: [u8; 32],
}

impl Start {
    pub(super) fn of_first(database: DatabaseId) -> Self {
        let mut out = ByteWriter::with_capacity(FIRST_LEN);
        out.raw(MAGIC).u32(FIRST).u32(0).raw(database.as_bytes());
        Self::with(1, out.into_vec(), 0, [0; 32], 1)
    }

    /// That of the part that follows `part`, which ends with `head`.
    pub(super) fn after(database: DatabaseId, part: u32, head: &AuditHead, oldest: u32) -> Self {
        let part = part + 1;
        let mut out = ByteWriter::with_capacity(SUCCESSOR_LEN);
        out.raw(MAGIC).u32(SUCCESSOR).u32(part).raw(database.as_bytes());
        out.u64(head.entries).raw(&head.hash).u32(oldest).u32(0);
        Self::with(part, out.into_vec(), head.entries, head.hash, oldest)
    }

    fn with(part: u32, bytes: Vec<u8>, entries: u64, before: [u8; 32], oldest: u32) -> Self {
        let hash = *blake3::hash(&bytes).as_bytes();
        Self { part, len: bytes.len(), bytes, entries, before, oldest, hash }
    }

    /// Reads the header of the part of this number; `None` if it is none of this database.
    pub(super) fn read(bytes: &[u8], database: DatabaseId, part: u32) -> Option<Self> {
        let start = Self::read_any(bytes, database)?;
        (start.part == part).then_some(start)
    }

    /// As [`read`](Self::read), of whatever part it is.
    pub(super) fn read_any(bytes: &[u8], database: DatabaseId) -> Option<Self> {
        let first = Self::of_first(database);
        if bytes.starts_with(&first.bytes) {
            return Some(first);
        }
        let header = bytes.get(..SUCCESSOR_LEN)?;
        let mut input = ByteReader::new(&header[12..]);
        let part = input.u32("part").ok()?;
        let id: [u8; 16] = input.array("database").ok()?;
        let entries = input.u64("entries").ok()?;
        let hash: [u8; 32] = input.array("hash").ok()?;
        let oldest = input.u32("oldest part").ok()?;
        let head = AuditHead { entries, length: 0, hash };
        let is_ours = id == *database.as_bytes() && part >= 2 && (1..=part).contains(&oldest);
        let start = is_ours.then(|| Self::after(database, part - 1, &head, oldest))?;
        (start.bytes == header).then_some(start)
    }

    pub(super) fn head(&self) -> AuditHead {
        AuditHead { entries: self.entries, length: self.len as u64, hash: self.hash }
    }
}

/// The parts that are there, oldest first.
pub(super) fn list(vfs: &dyn Vfs, directory: &Path) -> Result<Vec<u32>> {
    let entries = vfs.list(directory).map_err(|error| StorageError::io("list", directory, error))?;
    let number = |name: &str| match name.strip_prefix(AUDIT_FILE)? {
        "" => Some(1),
        rest => rest.strip_prefix('.')?.parse().ok().filter(|part| *part > 1 && file_name(*part) == name),
    };
    let mut parts: Vec<u32> = entries.iter().filter_map(|entry| number(&entry.name)).collect();
    parts.sort_unstable();
    Ok(parts)
}

/// The whole file of a part.
pub(super) fn content(vfs: &dyn Vfs, directory: &Path, part: u32) -> Result<Vec<u8>> {
    first_bytes(vfs, &directory.join(file_name(part)), MAX_FILE_LEN)
}

/// The header of a part, and so much behind it, as far as it is there.
pub(super) fn beginning(vfs: &dyn Vfs, directory: &Path, part: u32, more: usize) -> Result<Vec<u8>> {
    first_bytes(vfs, &directory.join(file_name(part)), (SUCCESSOR_LEN + more) as u64)
}

pub(super) fn first_bytes(vfs: &dyn Vfs, path: &Path, max: u64) -> Result<Vec<u8>> {
    let failed = |error| StorageError::io("read", path, error);
    let file = vfs.open(path, OpenHow::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?.min(max);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

/// Begins a part with what is in it then; a file of its name is none of the log's. It is durable.
pub(super) fn begin(vfs: &dyn Vfs, directory: &Path, part: u32, bytes: &[u8]) -> Result<Arc<dyn VfsFile>> {
    remove(vfs, directory, part)?;
    let path = directory.join(file_name(part));
    let failed = |error| StorageError::io("write", &path, error);
    let file = vfs.open(&path, OpenHow::CreateNew).map_err(failed)?;
    file.write_all_at(bytes, 0).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    vfs.sync_dir(directory).map_err(failed)?;
    Ok(file)
}

/// Removes a part, if it is there.
pub(super) fn remove(vfs: &dyn Vfs, directory: &Path, part: u32) -> Result<()> {
    let path = directory.join(file_name(part));
    match vfs.remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("remove", &path, error)),
        _ => Ok(()),
    }
}
