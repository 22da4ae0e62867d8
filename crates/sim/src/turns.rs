//! A file system and a clock that take part in a simulation of threads. Outside of one they add nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lightning_db_storage::clock::{Clock, ManualClock};
use lightning_db_storage::vfs::{
    CallKind, DirEntry, FileLock, Metadata, OpenHow, ReadMap, Vfs, VfsFile, WriteMap,
};
use lightning_db_sync::simulation;

/// Passes every call on, and lets the scheduler decide before it who goes on. What is called for is in the trace.
#[derive(Debug)]
pub struct TurnVfs<V>(V);

impl<V: Vfs> TurnVfs<V> {
    /// Calls of `inner`, in turns.
    pub fn new(inner: V) -> Self {
        Self(inner)
    }
}

/// A clock whose time passes also as the simulation's does.
#[derive(Debug, Clone)]
pub struct TurnClock(ManualClock);

impl TurnClock {
    /// What `moved` shows, and the simulation's time on top.
    #[must_use]
    pub fn new(moved: ManualClock) -> Self {
        Self(moved)
    }
}

impl Clock for TurnClock {
    fn now_micros(&self) -> i64 {
        let passed = i64::try_from(virtual_time().as_micros()).unwrap_or(i64::MAX);
        self.0.now_micros().saturating_add(passed)
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic().saturating_add(virtual_time())
    }
}

fn virtual_time() -> Duration {
    if simulation::is_task() { simulation::now() } else { Duration::ZERO }
}

/// A call is about to be made.
#[track_caller]
fn step(kind: CallKind, path: &Path, range: impl FnOnce() -> String) {
    if simulation::is_task() {
        simulation::switch_point();
        simulation::note(format!("{kind:?} {} {}", path.display(), range()).as_bytes());
    }
}

fn whole() -> String {
    String::new()
}

/// Tells bytes from others, for the trace.
fn digest(bytes: &[u8]) -> u64 {
    let mut digest = 0_u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        digest = (digest.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    digest
}

impl<V: Vfs> Vfs for TurnVfs<V> {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn VfsFile>> {
        let kind = if how == OpenHow::CreateNew { CallKind::Create } else { CallKind::Open };
        step(kind, path, whole);
        Ok(Arc::new(TurnFile { path: path.to_owned(), inner: self.0.open(path, how)? }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        step(CallKind::CreateDir, path, whole);
        self.0.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        step(CallKind::RemoveDir, path, whole);
        self.0.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        step(CallKind::List, dir, whole);
        self.0.list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        step(CallKind::Metadata, path, whole);
        self.0.metadata(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        step(CallKind::RemoveFile, path, whole);
        self.0.remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        step(CallKind::Rename, from, || to.display().to_string());
        self.0.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        step(CallKind::HardLink, from, || to.display().to_string());
        self.0.hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        step(CallKind::SyncDir, dir, whole);
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        step(CallKind::Lock, path, || "alone".to_owned());
        self.0.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        step(CallKind::Lock, path, || "shared".to_owned());
        self.0.lock_shared(path)
    }

    fn available_space(&self, dir: &Path) -> io::Result<Option<u64>> {
        step(CallKind::Space, dir, whole);
        self.0.available_space(dir)
    }

    fn boot_id(&self, dir: &Path) -> [u8; 16] {
        self.0.boot_id(dir)
    }

    fn process_id(&self) -> u32 {
        self.0.process_id()
    }
}

#[derive(Debug)]
struct TurnFile {
    path: PathBuf,
    inner: Arc<dyn VfsFile>,
}

impl VfsFile for TurnFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        step(CallKind::Read, &self.path, || format!("{offset}+{}", buf.len()));
        self.inner.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        step(CallKind::Write, &self.path, || format!("{offset}+{} {:016x}", buf.len(), digest(buf)));
        self.inner.write_all_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        step(CallKind::Metadata, &self.path, whole);
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        step(CallKind::SetLen, &self.path, || len.to_string());
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        step(CallKind::SyncData, &self.path, whole);
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        step(CallKind::SyncAll, &self.path, whole);
        self.inner.sync_all()
    }

    fn map_write(&self, offset: u64, len: usize) -> io::Result<Box<dyn WriteMap>> {
        step(CallKind::MapWrite, &self.path, || format!("{offset}+{len}"));
        let inner = self.inner.map_write(offset, len)?;
        Ok(Box::new(TurnMap { path: self.path.clone(), inner }))
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<dyn ReadMap>> {
        step(CallKind::MapRead, &self.path, || format!("0+{len}"));
        self.inner.map_read(len)
    }
}

#[derive(Debug)]
struct TurnMap {
    path: PathBuf,
    inner: Box<dyn WriteMap>,
}

impl WriteMap for TurnMap {
    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        step(CallKind::MapStore, &self.path, || format!("{offset}+{} {:016x}", bytes.len(), digest(bytes)));
        self.inner.write(offset, bytes)
    }

    fn publish_u32(&self, offset: usize, word: u32) -> io::Result<()> {
        step(CallKind::MapPublish, &self.path, || format!("{offset} {word:08x}"));
        self.inner.publish_u32(offset, word)
    }
}

#[cfg(test)]
mod tests;
