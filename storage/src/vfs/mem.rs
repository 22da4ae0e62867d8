//! Files in memory, with the power cuts that memory does not have.

mod content;
mod crash;
mod tree;

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{
    CallCounts, CallKind, DirEntry, FileLock, Metadata, OpenHow, ReadMap, Vfs, VfsFile, WriteMap, check_map,
    check_map_store, check_map_word, check_range,
};
use content::Content;
use crash::Chance;
pub use crash::Keep;
use tree::{Entry, Inode, Tree};

/// A file longer than this, in bytes, is refused: it would really be allocated.
const LONGEST_FILE: u64 = 4 << 30;

/// A file system in memory. Clones share it. It starts with an empty root directory, and
/// takes no paths with `..` in them.
///
/// It knows what was synced and what was not, so that [`crash`](MemVfs::crash) can leave
/// what a power cut would. The same calls with the same random numbers leave the same.
#[derive(Clone)]
pub struct MemVfs {
    state: Arc<Mutex<State>>,
}

struct State {
    tree: Tree,
    counts: CallCounts,
    /// How each locked file is locked.
    locked: BTreeMap<Inode, Locked>,
    capacity: Option<u64>,
    refuse_maps: bool,
    boots: u64,
    /// Also tells handles of an earlier process from those of this one.
    process: u32,
}

impl MemVfs {
    /// An empty file system of unlimited capacity.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            tree: Tree::new(),
            counts: CallCounts::default(),
            locked: BTreeMap::new(),
            capacity: None,
            refuse_maps: false,
            boots: 1,
            process: 1,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A power cut and a restart: what was synced stays, and of the rest what `keep` says,
    /// by decisions drawn from `choice`. Handles and maps from before fail from now on,
    /// locks are free, boot and process have new ids.
    pub fn crash(&self, choice: &mut dyn FnMut() -> u64, keep: Keep) {
        let mut state = self.state.lock();
        if keep == Keep::Everything {
            state.tree.sync_everything();
        }
        let chance = (keep == Keep::Random).then(|| Chance::new(choice));
        state.tree.crash(chance);
        state.boots += 1;
        state.end_process();
    }

    /// The end of the process, as by `kill -9`: all that was written stays, synced or not.
    /// Handles and maps from before fail from now on, locks are free, the process has a new
    /// id.
    pub fn kill_process(&self) {
        let mut state = self.state.lock();
        state.tree.close_all();
        state.end_process();
    }

    /// Calls and bytes since the beginning.
    #[must_use]
    pub fn op_counts(&self) -> CallCounts {
        self.state.lock().counts.clone()
    }

    /// Limits the bytes in all files; `None` takes the limit away. Growing beyond fails
    /// with `StorageFull`; what is there already stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Whether `map_write` and `map_read` fail with `Unsupported` from now on.
    pub fn refuse_maps(&self, refuse: bool) {
        self.state.lock().refuse_maps = refuse;
    }

    /// All files, sorted by path; paths start at the root (`/`).
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state.lock();
        let (mut found, mut dirs) = (Vec::new(), vec![PathBuf::from("/")]);
        while let Some(dir) = dirs.pop() {
            for (name, entry) in state.tree.entries(&dir).into_iter().flatten() {
                let into = if matches!(entry, Entry::Dir(_)) { &mut dirs } else { &mut found };
                into.push(dir.join(name));
            }
        }
        found.sort();
        found
    }

    /// Shows the bytes of every file, written and not synced ones too, in the order of [`files`](Self::files). `show` must
    /// not use the file system.
    pub fn show_files(&self, show: &mut dyn FnMut(&Path, &[u8])) {
        for path in self.files() {
            let state = self.state.lock();
            if let Ok(content) = state.tree.find_file(&path).and_then(|file| state.tree.content(file)) {
                show(&path, content.bytes());
            }
        }
    }

    /// Copies a directory and all below it, like `cp -r`, to a name that does not exist.
    /// The copy is durable at once, and so is everything else that was not synced yet in
    /// the directory that holds it.
    ///
    /// # Errors
    /// As those of [`Vfs::list`] on `from` and [`Vfs::create_dir`] on `to`.
    pub fn copy_tree(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        copy_tree(&mut state.tree, from, to)?;
        state.tree.sync_dir(to.parent().unwrap_or(to))
    }

    /// The same disk on a second machine: files and names as they are, what is not synced among them; nothing is open
    /// or locked. The bytes are shared until one of the two changes them, so this is cheap.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state.lock();
        let mut tree = state.tree.clone();
        tree.close_all();
        let state = State {
            tree,
            counts: CallCounts::default(),
            locked: BTreeMap::new(),
            capacity: state.capacity,
            refuse_maps: state.refuse_maps,
            boots: state.boots,
            process: state.process + 1,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Flips the bits of `xor` in one byte of a file, where it is stored.
    ///
    /// # Errors
    /// `NotFound`; `UnexpectedEof` when the file is shorter.
    pub fn corrupt(&self, path: &Path, offset: u64, xor: u8) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.tree.find_file(path)?;
        let offset = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
        let flipped = state.tree.content_mut(file)?.corrupt(offset, xor);
        if flipped { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// As [`Vfs::open`], for those who want [`MemFile::lose_writes`].
    ///
    /// # Errors
    /// As [`Vfs::open`].
    pub fn open_file(&self, path: &Path, how: OpenHow) -> io::Result<MemFile> {
        let mut state = self.state.lock();
        let file = if how == OpenHow::CreateNew {
            state.counts.add(CallKind::Create);
            state.tree.create_file(path, Content::default())?
        } else {
            state.counts.add(CallKind::Open);
            state.tree.find_file(path)?
        };
        let handle = self.handle(&mut state, file)?;
        Ok(MemFile { handle, writable: how != OpenHow::Read })
    }

    fn handle(&self, state: &mut State, file: Inode) -> io::Result<Handle> {
        state.tree.content_mut(file)?.opens += 1;
        Ok(Handle { vfs: self.clone(), file, process: state.process })
    }

    fn counted(&self, kind: CallKind) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.counts.add(kind);
        state
    }
}

/// Without the files: they would fill the log.
impl Debug for MemVfs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemVfs").finish_non_exhaustive()
    }
}

impl Default for MemVfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Vfs for MemVfs {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(self.open_file(path, how)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.counted(CallKind::CreateDir).tree.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.counted(CallKind::RemoveDir).tree.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.counted(CallKind::List);
        let entries = state.tree.entries(dir)?.into_iter();
        let described = entries.map(|(name, entry)| {
            let found = state.describe(entry)?;
            Ok(DirEntry { name, is_dir: found.is_dir, len: found.len })
        });
        described.collect()
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.counted(CallKind::Metadata);
        state.describe(state.tree.find(path)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.counted(CallKind::RemoveFile).tree.remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.counted(CallKind::Rename).tree.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.counted(CallKind::HardLink).tree.hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.counted(CallKind::SyncDir).tree.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let mut state = self.counted(CallKind::Lock);
        let file = match state.tree.find_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                state.tree.create_file(path, Content::default())?
            }
            found => found?,
        };
        if state.locked.contains_key(&file) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let handle = self.handle(&mut state, file)?;
        state.locked.insert(file, Locked::Exclusively);
        Ok(Box::new(MemLock { handle }))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let mut state = self.counted(CallKind::Lock);
        let file = state.tree.find_file(path)?;
        let holders = match state.locked.get(&file) {
            Some(Locked::Exclusively) => return Err(ErrorKind::WouldBlock.into()),
            Some(Locked::By(holders)) => *holders,
            None => 0,
        };
        let handle = self.handle(&mut state, file)?;
        state.locked.insert(file, Locked::By(holders + 1));
        Ok(Box::new(MemLock { handle }))
    }

    fn available_space(&self, dir: &Path) -> io::Result<Option<u64>> {
        let state = self.counted(CallKind::Space);
        state.tree.find(dir)?;
        Ok(state.capacity.map(|capacity| capacity.saturating_sub(state.tree.used())))
    }

    fn boot_id(&self, _dir: &Path) -> [u8; 16] {
        u128::from(self.state.lock().boots).to_le_bytes()
    }

    fn process_id(&self) -> u32 {
        self.state.lock().process
    }
}

/// An open file of a [`MemVfs`].
#[derive(Debug)]
pub struct MemFile {
    handle: Handle,
    writable: bool,
}

impl MemFile {
    /// What a failed sync leaves on real systems: writes since the last sync will never
    /// reach the disk, whatever later syncs say, though reads still see them.
    ///
    /// # Errors
    /// `StaleNetworkFileHandle` after a simulated crash.
    pub fn lose_writes(&self) -> io::Result<()> {
        let mut state = self.handle.state()?;
        state.tree.content_mut(self.handle.file)?.lose_writes();
        Ok(())
    }

    /// As [`lose_writes`](Self::lose_writes) on systems that drop the pages too: reads see what is on the disk.
    ///
    /// # Errors
    /// `StaleNetworkFileHandle` after a simulated crash.
    pub fn drop_writes(&self) -> io::Result<()> {
        let mut state = self.handle.state()?;
        state.tree.content_mut(self.handle.file)?.drop_writes();
        Ok(())
    }

    /// As [`VfsFile::read_at`], of the file as it was before the newest write in this range; where that is not known, of
    /// the file whose name this one took.
    ///
    /// # Errors
    /// As [`VfsFile::read_at`].
    pub fn read_stale(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        check_range(offset, buf.len())?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let state = self.call(CallKind::Read)?;
        Ok(copy_out(&state.tree.content(self.handle.file)?.stale(start, buf.len()), buf, start))
    }

    /// Another file for what goes to the wrong place: the `choice`th, counted round, of those with this one's ending
    /// (`.wal`); of all others if there is none.
    pub(super) fn neighbour(&self, path: &Path, choice: u64) -> Option<Self> {
        let mut others = self.handle.vfs.files();
        others.retain(|other| *other != Path::new("/").join(path));
        let alike: Vec<_> =
            others.iter().filter(|other| other.extension() == path.extension()).cloned().collect();
        let others = if alike.is_empty() { others } else { alike };
        let chosen = others.get(choice.checked_rem(others.len() as u64)? as usize)?;
        self.handle.vfs.open_file(chosen, OpenHow::ReadWrite).ok()
    }

    /// Overwrites what is there already, from `offset` on counted round the file; never makes it longer.
    pub(super) fn scribble(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.handle.state()?;
        let content = state.tree.content_mut(self.handle.file)?;
        let len = content.bytes().len();
        if let Some(start) = offset.checked_rem(len as u64) {
            let start = start as usize;
            content.write(start, &bytes[..bytes.len().min(len - start)]);
        }
        Ok(())
    }

    fn call(&self, kind: CallKind) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.handle.state()?;
        state.counts.add(kind);
        Ok(state)
    }

    fn writing_call(&self, kind: CallKind) -> io::Result<MutexGuard<'_, State>> {
        let state = self.call(kind)?;
        if self.writable { Ok(state) } else { Err(ErrorKind::PermissionDenied.into()) }
    }

    fn sync(&self, kind: CallKind) -> io::Result<()> {
        self.call(kind)?.tree.content_mut(self.handle.file)?.sync();
        Ok(())
    }

    fn check_mappable(&self, state: &State, offset: u64, len: usize) -> io::Result<()> {
        check_map(state.tree.content(self.handle.file)?.bytes().len() as u64, offset, len)?;
        if state.refuse_maps { Err(ErrorKind::Unsupported.into()) } else { Ok(()) }
    }
}

impl VfsFile for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.call(CallKind::Read)?;
        check_range(offset, buf.len())?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let count = copy_out(state.tree.content(self.handle.file)?.bytes(), buf, start);
        state.counts.bytes_read += count as u64;
        Ok(count)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.writing_call(CallKind::Write)?;
        check_range(offset, buf.len())?;
        if buf.is_empty() {
            return Ok(());
        }
        state.check_growth(self.handle.file, offset + buf.len() as u64)?;
        let start = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        state.tree.content_mut(self.handle.file)?.write(start, buf);
        state.counts.bytes_written += buf.len() as u64;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.call(CallKind::Metadata)?.tree.content(self.handle.file)?.bytes().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.writing_call(CallKind::SetLen)?;
        state.check_growth(self.handle.file, len)?;
        let len = usize::try_from(len).map_err(|_| ErrorKind::FileTooLarge)?;
        state.tree.content_mut(self.handle.file)?.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(CallKind::SyncData)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(CallKind::SyncAll)
    }

    fn map_write(&self, offset: u64, len: usize) -> io::Result<Box<dyn WriteMap>> {
        let mut state = self.writing_call(CallKind::MapWrite)?;
        self.check_mappable(&state, offset, len)?;
        let offset = usize::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
        let handle = self.handle.vfs.handle(&mut state, self.handle.file)?;
        Ok(Box::new(MemWriteMap { handle, offset, len }))
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<dyn ReadMap>> {
        let state = self.call(CallKind::MapRead)?;
        self.check_mappable(&state, 0, len)?;
        Ok(Arc::new(BytesMap(state.tree.content(self.handle.file)?.bytes()[..len].into())))
    }
}

#[derive(Debug)]
struct MemWriteMap {
    handle: Handle,
    offset: usize,
    len: usize,
}

impl MemWriteMap {
    fn store(&self, kind: CallKind, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.handle.state()?;
        state.counts.add(kind);
        let content = state.tree.content_mut(self.handle.file)?;
        // Where the file was cut below the map, a real process would be killed.
        check_map_store(content.bytes().len(), self.offset + offset, bytes.len())?;
        content.write(self.offset + offset, bytes);
        state.counts.bytes_written += bytes.len() as u64;
        Ok(())
    }
}

impl WriteMap for MemWriteMap {
    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        check_map_store(self.len, offset, bytes.len())?;
        self.store(CallKind::MapStore, offset, bytes)
    }

    fn publish_u32(&self, offset: usize, word: u32) -> io::Result<()> {
        check_map_word(self.len, offset)?;
        self.store(CallKind::MapPublish, offset, &word.to_le_bytes())
    }
}

/// A read map that holds a copy: a finished file does not change.
#[derive(Debug)]
pub(super) struct BytesMap(pub(super) Box<[u8]>);

impl ReadMap for BytesMap {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

enum Locked {
    Exclusively,
    /// By so many together.
    By(u32),
}

#[derive(Debug)]
struct MemLock {
    handle: Handle,
}

impl FileLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        if let Ok(mut state) = self.handle.state() {
            match state.locked.get_mut(&self.handle.file) {
                Some(Locked::By(holders)) if *holders > 1 => *holders -= 1,
                _ => {
                    state.locked.remove(&self.handle.file);
                }
            }
        }
    }
}

/// Keeps a file alive, as long as the process lives that opened it.
#[derive(Debug)]
struct Handle {
    vfs: MemVfs,
    file: Inode,
    process: u32,
}

impl Handle {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.vfs.state.lock();
        if state.process == self.process { Ok(state) } else { Err(ErrorKind::StaleNetworkFileHandle.into()) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state()
            && let Ok(content) = state.tree.content_mut(self.file)
        {
            content.opens -= 1;
        }
    }
}

impl State {
    fn end_process(&mut self) {
        self.locked.clear();
        self.process += 1;
    }

    fn describe(&self, entry: Entry) -> io::Result<Metadata> {
        Ok(match entry {
            Entry::File(file) => {
                let len = self.tree.content(file)?.bytes().len() as u64;
                Metadata { is_dir: false, len, mode: Some(0o600), links: Some(self.tree.names(file)) }
            }
            Entry::Dir(_) => Metadata { is_dir: true, len: 0, mode: Some(0o700), links: None },
        })
    }

    fn check_growth(&self, file: Inode, len: u64) -> io::Result<()> {
        if len > LONGEST_FILE {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let growth = len.saturating_sub(self.tree.content(file)?.bytes().len() as u64);
        match self.capacity {
            Some(capacity) if growth > 0 && self.tree.used() + growth > capacity => {
                Err(ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

fn copy_out(bytes: &[u8], buf: &mut [u8], start: usize) -> usize {
    let start = start.min(bytes.len());
    let count = buf.len().min(bytes.len() - start);
    buf[..count].copy_from_slice(&bytes[start..start + count]);
    count
}

fn copy_tree(tree: &mut Tree, from: &Path, to: &Path) -> io::Result<()> {
    let entries = tree.entries(from)?;
    tree.create_dir(to)?;
    for (name, entry) in entries {
        let (from, to) = (from.join(&name), to.join(&name));
        match entry {
            Entry::Dir(_) => copy_tree(tree, &from, &to)?,
            Entry::File(file) => {
                let content = Content::synced_copy(tree.content(file)?);
                tree.create_file(&to, content)?;
            }
        }
    }
    tree.sync_dir(to)
}

#[cfg(test)]
mod tests;
