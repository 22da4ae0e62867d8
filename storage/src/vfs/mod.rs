//! All file I/O of the database goes through the [`Vfs`] trait.
//!
//! What the database assumes of a file system, and no more:
//!
//! * what [`VfsFile::sync_data`] covered survives a power cut; what was written after it
//!   may survive in part, in any order, torn at any byte;
//! * a name survives a power cut once [`Vfs::sync_dir`] on its directory has returned;
//!   syncing the file does not make its name durable;
//! * a rename within a file system is atomic: after a power cut either the old or the new
//!   state is there;
//! * what a process wrote outlives that process, also through a [`WriteMap`]; a write of
//!   four bytes that was under way when the process ended, at an offset that is a multiple
//!   of four, happened wholly or not at all.
//!
//! [`OsVfs`] is the operating system. [`MemVfs`] keeps everything in memory and can lose
//! what was not synced, as a power cut would. [`FaultyVfs`] makes chosen calls of another
//! `Vfs` fail.

mod calls;
mod faulty;
mod mem;
mod os;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use calls::{CallCounts, CallKind};
pub use faulty::{Call, Calls, Effect, Elsewhere, Fault, FaultPlan, FaultyVfs, InjectedCrash};
pub use mem::{Keep, MemFile, MemVfs};
pub use os::OsVfs;

/// A file system.
///
/// An empty path means the current directory, so that `Path::parent` of a bare file name
/// can be passed on. Errors are those of the operating system, with their
/// [`io::ErrorKind`]; a full disk is always [`io::ErrorKind::StorageFull`].
pub trait Vfs: Send + Sync + Debug {
    /// Opens a regular file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` (for [`OpenHow::CreateNew`]), `IsADirectory`,
    /// `PermissionDenied`; `InvalidInput` for what is neither file nor directory.
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn VfsFile>>;

    /// Creates one directory, accessible to its owner only (0700).
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` when the parent is missing.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `DirectoryNotEmpty`, `NotFound`, `NotADirectory`.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, in order of their names.
    ///
    /// # Errors
    /// `InvalidData` when a name is not UTF-8: the message has the name, escaped.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// What is known about the file or directory at `path`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Removes the name of a file. Open handles keep working.
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing the file at `to` if there is one, or a directory onto a
    /// name that does not exist. Atomic; durable after [`sync_dir`](Vfs::sync_dir) on the
    /// directories of both names. Renaming between two names of one file does nothing.
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory` (a file onto a directory), `AlreadyExists` (a directory
    /// onto anything), `CrossesDevices`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives the file at `from` a second name.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound`, `CrossesDevices`; `PermissionDenied` for a directory.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable: all that was created, renamed or removed in it.
    ///
    /// # Errors
    /// As the system reports them; after one, what is durable is unknown.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes an exclusive lock, held until the result is dropped or the process ends. The
    /// file is created (0600) when missing, and stays behind.
    ///
    /// # Errors
    /// `WouldBlock` at once when another process, or another lock in this one, holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;

    /// Takes a lock on an existing file that keeps exclusive ones out, and that any number share, held until the result
    /// is dropped or the process ends. Nothing is written.
    ///
    /// # Errors
    /// `WouldBlock` at once when the file is locked exclusively, in this process or in another; `NotFound`,
    /// `PermissionDenied`.
    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;

    /// Bytes that can still be written below `dir`, or `None` where that is not known.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    fn available_space(&self, dir: &Path) -> io::Result<Option<u64>>;

    /// Differs after each start of the machine, and after each mount of the file system that holds
    /// `dir` where the system tells them apart; it is the same for all processes in between. So what
    /// a process wrote below `dir` is all there while it stays the same. Where the system tells
    /// nothing, it is different for each process: then nothing may be concluded from it, and nothing is.
    fn boot_id(&self, dir: &Path) -> [u8; 16];

    /// The id of this process; a change within one handle's life means a fork.
    fn process_id(&self) -> u32;
}

/// An open file. Reads and writes say where; there is no current position.
pub trait VfsFile: Send + Sync + Debug {
    /// Reads at `offset` and returns how many bytes, which may be fewer than asked;
    /// zero means that the file ends at or before `offset`.
    ///
    /// # Errors
    /// `InvalidInput` for a range that ends beyond 2^63; else as the system reports them.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; what `buf` then holds is unspecified.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.checked_add(done as u64).ok_or(io::ErrorKind::InvalidInput)?;
            match self.read_at(rest, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `buf` at `offset`, extending the file when needed (a gap reads as
    /// zeros). After an error any part of it may have been written.
    ///
    /// # Errors
    /// `StorageFull`; `PermissionDenied` when opened for reading.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the system reports them.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`len`](VfsFile::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or extends it with zeros (which may not have space reserved).
    ///
    /// # Errors
    /// `PermissionDenied` when opened for reading; `FileTooLarge`, `InvalidInput`.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes content and length durable, what came through maps included.
    ///
    /// # Errors
    /// After an error everything not synced before is lost, whatever a later sync says.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`sync_data`](VfsFile::sync_data), and the other attributes with it.
    ///
    /// # Errors
    /// As [`sync_data`](VfsFile::sync_data).
    fn sync_all(&self) -> io::Result<()>;

    /// Maps `len` bytes from `offset` (a multiple of 4096) for writing. The file must be
    /// that long and its space written before: touching an unwritten page on a full disk
    /// kills the process. Nobody may shorten the file while the map lives.
    ///
    /// # Errors
    /// `Unsupported` where the system refuses: use
    /// [`write_all_at`](VfsFile::write_all_at) instead; `InvalidInput` for a bad range.
    fn map_write(&self, offset: u64, len: usize) -> io::Result<Box<dyn WriteMap>>;

    /// Maps the first `len` bytes for reading. Only for a finished file: nobody may write
    /// to it or shorten it while the map lives.
    ///
    /// # Errors
    /// `Unsupported` where the system refuses; `InvalidInput` beyond the end of the file.
    fn map_read(&self, len: usize) -> io::Result<Arc<dyn ReadMap>>;
}

/// A part of a file mapped for writing. What is written is in the file at once, and
/// outlives the process; only the file's `sync_data` protects it from a power cut.
pub trait WriteMap: Send + Sync + Debug {
    /// Copies `bytes` to `offset` within the map.
    ///
    /// # Errors
    /// `InvalidInput` when that is not wholly inside the map; nothing is written then.
    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()>;

    /// Stores `word`, little-endian, at `offset`, a multiple of 4, as one indivisible
    /// store that comes after all earlier writes to this map: who sees it sees them.
    ///
    /// # Errors
    /// `InvalidInput` when unaligned or outside the map.
    fn publish_u32(&self, offset: usize, word: u32) -> io::Result<()>;
}

/// The beginning of a file mapped for reading.
pub trait ReadMap: Send + Sync + Debug {
    /// The mapped bytes. Reading them can kill the process when the disk fails, or when
    /// another process shortens the file.
    fn bytes(&self) -> &[u8];
}

/// A lock, released when dropped.
pub trait FileLock: Send + Sync + Debug {}

/// Held by several owners together, and released by the last of them.
impl FileLock for Arc<dyn FileLock> {}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenHow {
    /// An existing file, for reading.
    Read,
    /// A file that must not exist yet, for reading and writing, accessible to its owner
    /// only (0600).
    CreateNew,
    /// An existing file, for reading and writing.
    ReadWrite,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without its directory.
    pub name: String,
    /// Whether it is a directory. Links are not followed.
    pub is_dir: bool,
    /// Length in bytes of a file; meaningless for a directory.
    pub len: u64,
}

/// What is known about a file or directory. Links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes of a file; meaningless for a directory.
    pub len: u64,
    /// Unix permission bits, where the system has them.
    pub mode: Option<u32>,
    /// How many names a file has, where the system tells; `None` for a directory.
    pub links: Option<u64>,
}

/// Granularity of the start of a [`WriteMap`], in bytes.
const MAP_ALIGNMENT: u64 = 4096;

/// Checks that a range of a file is one the system can name: below 2^63.
fn check_range(offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no file has {len} bytes at {offset}"))),
    }
}

/// Checks the range of a map against the file's length.
fn check_map(file_len: u64, offset: u64, len: usize) -> io::Result<()> {
    let end = offset.checked_add(len as u64);
    if offset.is_multiple_of(MAP_ALIGNMENT) && len > 0 && end.is_some_and(|end| end <= file_len) {
        return Ok(());
    }
    let message = format!("cannot map {len} bytes at {offset} of a file of {file_len}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Checks a write of `len` bytes at `offset` into a map of `map_len` bytes.
fn check_map_store(map_len: usize, offset: usize, len: usize) -> io::Result<()> {
    if offset.checked_add(len).is_some_and(|end| end <= map_len) {
        return Ok(());
    }
    let message = format!("{len} bytes at {offset} are outside a map of {map_len}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Checks the place of a published word in a map of `map_len` bytes.
fn check_map_word(map_len: usize, offset: usize) -> io::Result<()> {
    if !offset.is_multiple_of(4) {
        let message = format!("the word at {offset} is not aligned to 4 bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    check_map_store(map_len, offset, 4)
}

#[cfg(test)]
mod tests;
