//! A repository in a directory.
//!
//! ```text
//! put:   write segments/.lightning-tmp-…, sync it, link it to its name (fails if that is taken), remove the other name,
//!        sync segments/
//! ```
//!
//! What has such a name only is nothing yet; the next writer removes it. Directories are made 0700, files 0600.
//! Where the file system has no hard links, a rename takes their place, under the lock that all writers hold.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db_storage::StorageError;
use lightning_db_storage::twin_file::{destroy_file, wipe_file};
use lightning_db_storage::vfs::{FileLock, OpenHow, Vfs, VfsFile};
use lightning_db_sync::Mutex;

use super::{Content, ObjectEntry, ObjectReader, ObjectSink, ObjectStore, Put, WriterLock};
use crate::{BackupError, Result, layout};

const LOCK_NAME: &str = "LOCK.writer";
const TEMPORARY_PREFIX: &str = ".lightning-tmp-";
const BUFFER_LEN: usize = 1 << 20;
/// Folders are no deeper than the names in `layout` make them.
const MAX_DEPTH: usize = 3;

/// Objects as files of one directory and its folders.
#[derive(Debug)]
pub struct DirectoryStore {
    vfs: Arc<dyn Vfs>,
    root: PathBuf,
    next_temporary: AtomicU64,
    /// Folders whose names are known to be durable.
    durable_folders: Mutex<BTreeSet<PathBuf>>,
}

impl DirectoryStore {
    /// The store in the directory `root`, which need not exist yet.
    #[must_use]
    pub fn new(vfs: Arc<dyn Vfs>, root: &Path) -> Self {
        Self {
            vfs,
            root: root.to_path_buf(),
            next_temporary: AtomicU64::new(0),
            durable_folders: Mutex::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the folders that `name` is in, each durable before the next.
    fn make_folders(&self, name: &str) -> Result<()> {
        let Some(folder) = Path::new(name).parent() else { return Ok(()) };
        let mut path = self.root.clone();
        for part in folder {
            path.push(part);
            self.make_folder(&path)?;
        }
        Ok(())
    }

    /// Whether a folder has nothing in it but empty folders, which a deletion leaves, and what is no object yet.
    fn holds_nothing(&self, folder: &Path, depth: usize) -> Result<bool> {
        let entries = match self.vfs.list(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(failed("list", folder)(error)),
        };
        for entry in entries {
            let is_nothing = if entry.is_dir {
                depth < MAX_DEPTH && self.holds_nothing(&folder.join(&entry.name), depth + 1)?
            } else {
                entry.name == LOCK_NAME || entry.name.starts_with(TEMPORARY_PREFIX)
            };
            if !is_nothing {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A folder that is there already was made by somebody who may have died before its name was durable.
    fn make_folder(&self, path: &Path) -> Result<()> {
        if self.durable_folders.lock().contains(path) {
            return Ok(());
        }
        match self.vfs.create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(failed("create", path)(error));
            }
            _ => self.sync(path.parent().unwrap_or(Path::new("")))?,
        }
        self.durable_folders.lock().insert(path.to_path_buf());
        Ok(())
    }

    fn sync(&self, dir: &Path) -> Result<()> {
        self.vfs.sync_dir(dir).map_err(failed("sync", dir))
    }

    /// Writes and syncs a file that is no object yet.
    fn write_temporary(&self, folder: &Path, content: Content<'_>) -> Result<PathBuf> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{TEMPORARY_PREFIX}{}-{number}", self.vfs.process_id()));
        let file = self.vfs.open(&path, OpenHow::CreateNew).map_err(failed("create", &path))?;
        let mut sink =
            FileSink { file: &*file, path: &path, written: 0, buffer: Vec::with_capacity(BUFFER_LEN) };
        let done = content(&mut sink)
            .and_then(|()| sink.flush())
            .and_then(|()| file.sync_all().map_err(failed("sync", &path)));
        match done {
            Ok(()) => Ok(path),
            Err(error) => {
                self.remove_quietly(&path);
                Err(error)
            }
        }
    }

    /// Gives a synced temporary file its name, unless that is taken. The temporary name is gone after this.
    fn give_name(&self, temporary: &Path, path: &Path) -> Result<Put> {
        match self.vfs.hard_link(temporary, path) {
            Ok(()) => {
                self.remove_quietly(temporary);
                Ok(Put::Created)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.remove_quietly(temporary);
                Ok(Put::Exists)
            }
            Err(error) if refuses_links(&error) => self.rename_to_free(temporary, path),
            Err(error) => {
                self.remove_quietly(temporary);
                Err(failed("create", path)(error))
            }
        }
    }

    fn rename_to_free(&self, temporary: &Path, path: &Path) -> Result<Put> {
        let taken = match self.vfs.metadata(path) {
            Ok(_) => Ok(Put::Exists),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.vfs.rename(temporary, path).map(|()| Put::Created).map_err(failed("create", path))
            }
            Err(error) => Err(failed("look at", path)(error)),
        };
        if !matches!(taken, Ok(Put::Created)) {
            self.remove_quietly(temporary);
        }
        taken
    }

    /// Removes a file; a keyring is overwritten first.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let is_keyring = path.starts_with(self.path(layout::KEYRINGS));
        if is_keyring { wipe_file(&*self.vfs, path) } else { self.vfs.remove_file(path) }
    }

    /// What stays behind is removed by the next writer.
    fn remove_quietly(&self, path: &Path) {
        if let Err(error) = self.remove(path) {
            tracing::warn!(file = %path.display(), %error, "could not remove a temporary file");
        }
    }

    /// Removes what is no object, and makes durable which objects there are: whoever died before this writer may have
    /// given one its name and not synced the folder, and this writer relies on what it finds.
    fn clear_up(&self, folder: &Path, depth: usize) -> Result<()> {
        for entry in self.vfs.list(folder).map_err(failed("list", folder))? {
            let path = folder.join(&entry.name);
            if entry.is_dir && depth < MAX_DEPTH {
                self.clear_up(&path, depth + 1)?;
            } else if !entry.is_dir && entry.name.starts_with(TEMPORARY_PREFIX) {
                self.remove(&path).map_err(failed("remove", &path))?;
            }
        }
        self.sync(folder)
    }

    fn list_folder(&self, name: &str, depth: usize, found: &mut Vec<ObjectEntry>) -> Result<()> {
        let folder = self.path(name);
        let entries = match self.vfs.list(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed("list", &folder))?,
        };
        for entry in entries {
            let name = format!("{name}/{}", entry.name);
            if entry.is_dir && depth < MAX_DEPTH {
                self.list_folder(&name, depth + 1, found)?;
            } else if !entry.is_dir && !entry.name.starts_with(TEMPORARY_PREFIX) {
                found.push(ObjectEntry { name, len: entry.len });
            }
        }
        Ok(())
    }
}

impl ObjectStore for DirectoryStore {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn address(&self) -> String {
        let whole = std::path::absolute(&self.root);
        whole.map_or_else(|_| self.place(), |path| path.display().to_string())
    }

    fn put_if_absent(&self, name: &str, content: Content<'_>) -> Result<Put> {
        self.make_folders(name)?;
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.root);
        let temporary = self.write_temporary(folder, content)?;
        let put = self.give_name(&temporary, &path)?;
        self.sync(folder)?;
        Ok(put)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.make_folders(name)?;
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.root);
        let temporary = self.write_temporary(folder, &mut |sink| sink.write(bytes))?;
        self.vfs.rename(&temporary, &path).map_err(|error| {
            self.remove_quietly(&temporary);
            failed("replace", &path)(error)
        })?;
        self.sync(folder)
    }

    fn get(&self, name: &str) -> Result<Option<Box<dyn ObjectReader>>> {
        let path = self.path(name);
        match self.vfs.open(&path, OpenHow::Read) {
            Ok(file) => {
                let len = file.len().map_err(failed("measure", &path))?;
                Ok(Some(Box::new(FileReader { file, path, len })))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let mut found = Vec::new();
        self.list_folder(prefix, 1, &mut found)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match self.remove(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("remove", &path)(error)),
            Ok(()) => self.sync(path.parent().unwrap_or(&self.root)),
        }
    }

    fn destroy(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        destroy_file(&*self.vfs, &path)?;
        // Also when nothing was there: it may have been removed by somebody who died before that was durable.
        match self.vfs.sync_dir(path.parent().unwrap_or(&self.root)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("sync", &path)(error)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> Result<Box<dyn WriterLock>> {
        if !self.is_empty()? && self.get(layout::REPOSITORY)?.is_none() {
            return Err(BackupError::NotEmpty { place: self.place() });
        }
        self.make_folder(&self.root)?;
        let path = self.path(LOCK_NAME);
        let lock = self.vfs.lock(&path).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => BackupError::Busy { place: self.place() },
            _ => failed("lock", &path)(error),
        })?;
        self.clear_up(&self.root, 0)?;
        Ok(Box::new(DirectoryLock { _lock: lock }))
    }

    fn file(&self, name: &str) -> Option<(Arc<dyn Vfs>, PathBuf)> {
        Some((Arc::clone(&self.vfs), self.path(name)))
    }

    fn is_empty(&self) -> Result<bool> {
        self.holds_nothing(&self.root, 0)
    }
}

#[derive(Debug)]
struct DirectoryLock {
    _lock: Box<dyn FileLock>,
}

impl WriterLock for DirectoryLock {}

#[derive(Debug)]
struct FileReader {
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    len: u64,
}

impl ObjectReader for FileReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buf, offset).map_err(failed("read", &self.path))
    }
}

struct FileSink<'a> {
    file: &'a dyn VfsFile,
    path: &'a Path,
    written: u64,
    buffer: Vec<u8>,
}

impl FileSink<'_> {
    fn flush(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write_through(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write_through(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.written).map_err(failed("write", self.path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl ObjectSink for FileSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_LEN {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_LEN {
            return self.write_through(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }
}

fn refuses_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::TooManyLinks)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_path_buf();
    move |error| StorageError::io(action, path, error).into()
}

#[cfg(test)]
mod tests {
    use lightning_db_storage::vfs::{CallKind, Calls, Effect, Fault, FaultPlan, FaultyVfs, Keep, MemVfs};

    use super::*;
    use crate::repository::read_object;

    fn store(vfs: &MemVfs) -> DirectoryStore {
        DirectoryStore::new(Arc::new(vfs.clone()), Path::new("/repo"))
    }

    fn put(store: &DirectoryStore, name: &str, bytes: &[u8]) -> Result<Put> {
        store.put_if_absent(name, &mut |sink| sink.write(bytes))
    }

    #[test]
    fn an_object_is_created_once_and_listed_by_name() {
        let store = store(&MemVfs::new());
        assert!(store.is_empty().expect("no directory"));
        let lock = store.lock().expect("nobody else");
        put(&store, layout::REPOSITORY, b"an identity").expect("put");
        assert!(matches!(store.lock(), Err(BackupError::Busy { .. })));
        assert_eq!(put(&store, "wal/b/2", b"two").expect("put"), Put::Created);
        assert_eq!(put(&store, "wal/a/1", b"one").expect("put"), Put::Created);
        assert_eq!(put(&store, "wal/a/1", b"other").expect("put"), Put::Exists);
        assert_eq!(read_object(&store, "wal/a/1", 10).expect("an object"), b"one");
        let names: Vec<_> = store.list("wal").expect("list").into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["wal/a/1", "wal/b/2"]);
        store.delete("wal/a/1").expect("deleted");
        store.delete("wal/a/1").expect("nothing to delete");
        assert!(store.get("wal/a/1").expect("readable").is_none());
        assert!(store.list("nothing").expect("an empty list").is_empty());
        drop(lock);
        store.lock().expect("the lock is free again");
    }

    #[test]
    fn a_directory_that_holds_something_else_is_left_alone() {
        let vfs = MemVfs::new();
        vfs.create_dir(Path::new("/repo")).expect("a directory");
        vfs.open(Path::new("/repo/thesis.txt"), OpenHow::CreateNew).expect("a file");
        assert!(matches!(store(&vfs).lock(), Err(BackupError::NotEmpty { .. })));
        assert_eq!(vfs.files(), [PathBuf::from("/repo/thesis.txt")]);
    }

    #[test]
    fn what_fails_half_way_leaves_nothing() {
        let vfs = MemVfs::new();
        let store = store(&vfs);
        let _lock = store.lock().expect("lock");
        let failing = store.put_if_absent("segments/x", &mut |sink| {
            sink.write(&[1; 3 << 20])?;
            Err(BackupError::InvalidOption("stop".into()))
        });
        assert!(matches!(failing, Err(BackupError::InvalidOption(_))));
        assert_eq!(vfs.files(), [PathBuf::from("/repo/LOCK.writer")]);
    }

    #[test]
    fn what_a_killed_writer_made_is_durable_before_the_next_one_relies_on_it() {
        let vfs = MemVfs::new();
        let make = |folder| vfs.create_dir(Path::new(folder)).expect("a directory");
        make("/repo");
        vfs.kill_process();
        let lock = store(&vfs).lock().expect("lock");
        put(&store(&vfs), layout::REPOSITORY, b"1").expect("put");
        drop(lock);
        ["/repo/a", "/repo/a/b"].into_iter().for_each(make);
        vfs.kill_process();
        let _lock = store(&vfs).lock().expect("lock");
        put(&store(&vfs), "a/b/c", b"1").expect("put");
        vfs.crash(&mut || 0, Keep::Nothing);
        assert_eq!(read_object(&store(&vfs), "a/b/c", 10).expect("an object"), b"1");
    }

    #[test]
    fn what_a_killed_writer_named_is_durable_before_the_next_one_relies_on_it() {
        let memory = MemVfs::new();
        let plan = FaultPlan::new();
        let dies = DirectoryStore::new(
            Arc::new(FaultyVfs::over_memory(memory.clone(), plan.clone())),
            Path::new("/repo"),
        );
        let lock = dies.lock().expect("lock");
        put(&dies, layout::REPOSITORY, b"1").expect("put");
        put(&dies, "manifests/1", b"1").expect("put");
        plan.add(Fault::new(Calls::Only(CallKind::SyncDir), Effect::Fail(ErrorKind::Other)).lasting());
        put(&dies, "manifests/2", b"2").expect_err("its folder cannot be synced");
        drop(lock);
        memory.kill_process();
        let next = store(&memory);
        let _lock = next.lock().expect("lock");
        assert_eq!(read_object(&next, "manifests/2", 10).expect("an object"), b"2");
        memory.crash(&mut || 0, Keep::Nothing);
        assert_eq!(read_object(&store(&memory), "manifests/2", 10).expect("an object"), b"2");
    }

    #[test]
    fn without_hard_links_a_rename_does_and_still_replaces_nothing() {
        let memory = MemVfs::new();
        let plan = FaultPlan::new();
        plan.add(Fault::new(Calls::Only(CallKind::HardLink), Effect::Fail(ErrorKind::Unsupported)).lasting());
        let vfs = FaultyVfs::over_memory(memory.clone(), plan);
        let store = DirectoryStore::new(Arc::new(vfs), Path::new("/repo"));
        let _lock = store.lock().expect("lock");
        assert_eq!(put(&store, "a/b", b"1").expect("put"), Put::Created);
        assert_eq!(put(&store, "a/b", b"2").expect("put"), Put::Exists);
        assert_eq!(read_object(&store, "a/b", 10).expect("an object"), b"1");
        assert_eq!(memory.files().len(), 2, "no temporary file is left");
    }

    #[test]
    fn after_a_power_cut_an_object_is_whole_or_absent_and_the_next_writer_clears_up() {
        for seed in 0..200u64 {
            let memory = MemVfs::new();
            let plan = FaultPlan::new();
            let faulty = FaultyVfs::over_memory(memory.clone(), plan.clone());
            plan.crash_at(seed / 8);
            let store_before = DirectoryStore::new(Arc::new(faulty), Path::new("/repo"));
            let acknowledged = store_before.lock().and_then(|_lock| {
                put(&store_before, layout::REPOSITORY, b"an identity")?;
                put(&store_before, "segments/x", &[7; 5000])
            });
            let mut state = seed;
            let mut choice = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 33
            };
            memory.crash(&mut choice, Keep::Random);
            let store = store(&memory);
            let _lock = store.lock().expect("lock");
            match store.get("segments/x").expect("readable") {
                Some(_) => assert_eq!(read_object(&store, "segments/x", 5000).expect("whole"), [7; 5000]),
                None => assert!(acknowledged.is_err(), "seed {seed}: what was acknowledged is gone"),
            }
            assert!(memory.files().iter().all(|path| !path.to_string_lossy().contains("lightning-tmp")));
        }
    }
}
