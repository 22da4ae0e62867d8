//! The operating system's files.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the seam through which the operating system's files are reached"
)]

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use memmap2::{Mmap, MmapMut, MmapOptions, MmapRaw};
use parking_lot::Mutex;

use super::{
    DirEntry, FileLock, Metadata, OpenHow, ReadMap, Vfs, VfsFile, WriteMap, check_map, check_map_store,
    check_map_word, check_range,
};

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsVfs;

impl OsVfs {
    /// The operating system's file system.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Vfs for OsVfs {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn VfsFile>> {
        let mut options = private_options();
        options.read(true).write(how != OpenHow::Read).create_new(how == OpenHow::CreateNew);
        let file = options.open(path)?;
        refuse_irregular(&file)?;
        Ok(Arc::new(OsFile { file, writable: how != OpenHow::Read }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(or_current(dir))? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|name| {
                io::Error::new(io::ErrorKind::InvalidData, format!("the file name {name:?} is not UTF-8"))
            })?;
            match entry.metadata() {
                Ok(found) => entries.push(DirEntry { name, is_dir: found.is_dir(), len: found.len() }),
                // Removed between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = fs::metadata(or_current(path))?;
        let links = links_of(&found).filter(|_| !found.is_dir());
        Ok(Metadata { is_dir: found.is_dir(), len: found.len(), mode: mode_of(&found), links })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // The system would replace an empty directory; here a directory replaces nothing. A
        // target that appears in between is either empty or makes the system refuse.
        if fs::symlink_metadata(from)?.is_dir() && fs::symlink_metadata(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir(or_current(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file = open_lock_file(path)?;
        let locked = file.try_lock();
        OsLock::taken(file, locked)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file = private_options().read(true).open(path)?;
        let locked = file.try_lock_shared();
        OsLock::taken(file, locked)
    }

    fn available_space(&self, dir: &Path) -> io::Result<Option<u64>> {
        available_space(or_current(dir))
    }

    fn boot_id(&self, dir: &Path) -> [u8; 16] {
        static BOOT_ID: OnceLock<[u8; 16]> = OnceLock::new();
        let start = BOOT_ID.get_or_init(read_boot_id);
        let mount = mount_id(or_current(dir)).unwrap_or_default().to_le_bytes();
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::Hasher::new().update(start).update(&mount).finalize().as_bytes()[..16]);
        id
    }

    fn process_id(&self) -> u32 {
        static HERE: OnceLock<Option<KnownProcess>> = OnceLock::new();
        let known = HERE.get_or_init(KnownProcess::new).as_ref();
        known.and_then(KnownProcess::id).unwrap_or_else(std::process::id)
    }
}

/// At least a page, of whatever size.
#[cfg(target_os = "linux")]
const MARK_LEN: usize = 4096;

/// The number of this process, known without asking the kernel: it is asked for at each append to the log. A page that the
/// kernel empties in a forked child tells when it is no longer the right one.
struct KnownProcess {
    id: u32,
    /// Its first byte is not zero.
    mark: Mmap,
}

impl KnownProcess {
    /// `None` where the kernel cannot do it.
    fn new() -> Option<Self> {
        let id = std::process::id();
        #[cfg(target_os = "linux")]
        {
            let mut mark = MmapMut::map_anon(MARK_LEN).ok()?;
            let advice = rustix::mm::Advice::LinuxWipeOnFork;
            #[expect(unsafe_code, reason = "there is no safe way to name memory to the kernel")]
            // SAFETY: this is a mapping of our own. A child finds zeros in it, which are bytes like others.
            unsafe { rustix::mm::madvise(mark.as_mut_ptr().cast(), MARK_LEN, advice) }.ok()?;
            mark[0] = 1;
            Some(Self { id, mark: mark.make_read_only().ok()? })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    fn id(&self) -> Option<u32> {
        // It changes behind the back of the language.
        (*std::hint::black_box(&self.mark[0]) != 0).then_some(self.id)
    }
}

#[derive(Debug)]
struct OsFile {
    file: File,
    writable: bool,
}

impl OsFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl VfsFile for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        check_range(offset, buf.len())?;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match read_once(&self.file, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        check_range(offset, buf.len())?;
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            match write_once(&self.file, rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(full_disk(error)),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.file.set_len(len).map_err(full_disk)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(full_disk)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all().map_err(full_disk)
    }

    fn map_write(&self, offset: u64, len: usize) -> io::Result<Box<dyn WriteMap>> {
        self.check_writable()?;
        check_map(self.len()?, offset, len)?;
        let map = MmapOptions::new().offset(offset).len(len).map_raw(&self.file).map_err(refused_map)?;
        Ok(Box::new(OsWriteMap { map, writing: Mutex::new(()) }))
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<dyn ReadMap>> {
        check_map(self.len()?, 0, len)?;
        #[expect(unsafe_code, reason = "mapping a file is unsafe because another process may change it")]
        // SAFETY: the caller maps finished files only, which nothing writes or shortens: each
        // file is written once by one writer, and the database's directory is locked.
        let map = unsafe { MmapOptions::new().len(len).map(&self.file) }.map_err(refused_map)?;
        Ok(Arc::new(OsReadMap { map }))
    }
}

/// Writes are serialized by `writing`: two overlapping plain stores from two threads would
/// be a data race.
#[derive(Debug)]
struct OsWriteMap {
    map: MmapRaw,
    writing: Mutex<()>,
}

impl WriteMap for OsWriteMap {
    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        check_map_store(self.map.len(), offset, bytes.len())?;
        let _alone = self.writing.lock();
        #[expect(unsafe_code, reason = "a file mapped for writing is reached through a raw pointer")]
        // SAFETY: the range was just found to be inside the map, which lives as long as
        // `self`; no reference into the map exists, so `bytes` does not overlap it; and the
        // lock keeps other writers of this map out.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(offset), bytes.len());
        }
        Ok(())
    }

    fn publish_u32(&self, offset: usize, word: u32) -> io::Result<()> {
        check_map_word(self.map.len(), offset)?;
        let _alone = self.writing.lock();
        #[expect(unsafe_code, reason = "a file mapped for writing is reached through a raw pointer")]
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "the map starts on a page and the offset is a multiple of 4"
        )]
        // SAFETY: the four bytes were just found to be inside the map, which lives as long as
        // `self`, and aligned; plain stores to them are kept out by the lock.
        let place = unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(offset).cast::<u32>()) };
        place.store(word.to_le(), Ordering::Release);
        Ok(())
    }
}

#[derive(Debug)]
struct OsReadMap {
    map: Mmap,
}

impl ReadMap for OsReadMap {
    fn bytes(&self) -> &[u8] {
        &self.map
    }
}

#[derive(Debug)]
struct OsLock {
    file: File,
}

impl OsLock {
    /// The lock on `file`, if taking it went well.
    fn taken(file: File, locked: Result<(), TryLockError>) -> io::Result<Box<dyn FileLock>> {
        match locked {
            Ok(()) => Ok(Box::new(Self { file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl FileLock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing alone would not do: a child that was forked meanwhile, and has not yet
        // executed its program, shares the open file and would keep the lock. Should
        // unlocking fail, closing still releases it.
        let _ = self.file.unlock();
    }
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Without O_NONBLOCK, opening a pipe that stands in a file's place would wait for ever.
        options.mode(0o600).custom_flags(libc::O_NONBLOCK);
    }
    options
}

fn open_lock_file(path: &Path) -> io::Result<File> {
    let opened = private_options().read(true).write(true).create(true).truncate(false).open(path);
    match opened {
        // On a read-only disk an existing file can still be locked.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            private_options().read(true).open(path).map_err(|_| error)
        }
        opened => opened,
    }
}

fn refuse_irregular(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(())
}

fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// A quota that is used up is a full disk to the database.
fn full_disk(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::QuotaExceeded {
        return io::Error::new(io::ErrorKind::StorageFull, error);
    }
    error
}

/// Whatever the reason for which the system does not map (no support in the file system,
/// too many maps, no address space), reading and writing without a map still works.
fn refused_map(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, error)
}

fn read_boot_id() -> [u8; 16] {
    let known = fs::read("/proc/sys/kernel/random/boot_id").ok().filter(|text| !text.is_empty());
    let text = known.unwrap_or_else(|| {
        let random = RandomState::new();
        let halves = [random.build_hasher().finish(), random.hash_one(std::process::id())];
        halves.iter().flat_map(|half| half.to_le_bytes()).collect()
    });
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(&text).as_bytes()[..16]);
    id
}

/// A number that no other mount has had since the machine started. A file system that stopped, because its device went
/// away or failed, and was mounted again has another one. Linux tells it since 6.8.
#[cfg(target_os = "linux")]
fn mount_id(dir: &Path) -> Option<u64> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

    /// `STATX_MNT_ID_UNIQUE`; the older `STATX_MNT_ID` is a number that is used again.
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let found = statx(CWD, dir, AtFlags::empty(), UNIQUE).ok()?;
    StatxFlags::from_bits_retain(found.stx_mask).contains(UNIQUE).then_some(found.stx_mnt_id)
}

#[cfg(not(target_os = "linux"))]
fn mount_id(_dir: &Path) -> Option<u64> {
    None
}

#[cfg(unix)]
fn read_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

#[cfg(unix)]
fn write_once(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, buf, offset)
}

#[cfg(windows)]
fn write_once(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, buf, offset)
}

#[cfg(unix)]
fn mode_of(found: &fs::Metadata) -> Option<u32> {
    Some(std::os::unix::fs::MetadataExt::mode(found) & 0o7777)
}

#[cfg(windows)]
fn mode_of(_found: &fs::Metadata) -> Option<u32> {
    None
}

#[cfg(unix)]
fn links_of(found: &fs::Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::nlink(found))
}

#[cfg(windows)]
fn links_of(_found: &fs::Metadata) -> Option<u64> {
    None
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = File::open(dir)?;
    if !dir.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    dir.sync_all().map_err(full_disk)
}

/// Windows has no way to sync a directory; its journal keeps names in order.
#[cfg(windows)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    if fs::metadata(dir)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

#[cfg(unix)]
fn available_space(dir: &Path) -> io::Result<Option<u64>> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
}

#[cfg(windows)]
fn available_space(_dir: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(test)]
mod tests;
