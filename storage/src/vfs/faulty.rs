//! A file system in which chosen calls fail.

mod plan;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mem::{BytesMap, MemFile};
use super::{CallKind, DirEntry, FileLock, MemVfs, Metadata, OpenHow, ReadMap, Vfs, VfsFile, WriteMap};
pub use plan::{Call, Calls, Effect, Elsewhere, Fault, FaultPlan, InjectedCrash};

/// Passes calls on to another file system, except for those that its [`FaultPlan`] makes
/// fail.
#[derive(Debug, Clone)]
pub struct FaultyVfs {
    inner: Inner,
    plan: FaultPlan,
}

#[derive(Debug, Clone)]
enum Inner {
    Any(Arc<dyn Vfs>),
    Memory(MemVfs),
}

impl FaultyVfs {
    /// `inner`, with the faults of `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn Vfs>, plan: FaultPlan) -> Self {
        Self { inner: Inner::Any(inner), plan }
    }

    /// `memory`, with the faults of `plan`; [`Effect::LoseWrites`] takes its full effect.
    #[must_use]
    pub fn over_memory(memory: MemVfs, plan: FaultPlan) -> Self {
        Self { inner: Inner::Memory(memory), plan }
    }

    fn inner(&self) -> &dyn Vfs {
        match &self.inner {
            Inner::Any(inner) => inner.as_ref(),
            Inner::Memory(memory) => memory,
        }
    }

    fn decide(&self, kind: CallKind, path: &Path) -> io::Result<()> {
        self.decide_pair(kind, path, None)
    }

    /// No effect but failing fits the calls of the file system itself.
    fn decide_pair(&self, kind: CallKind, path: &Path, to: Option<&Path>) -> io::Result<()> {
        let call = Call { kind, path: path.to_owned(), to: to.map(Path::to_owned), offset: 0, len: 0 };
        self.plan.decide(call).map(|_| ())
    }
}

impl Vfs for FaultyVfs {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn VfsFile>> {
        let creates = how == OpenHow::CreateNew;
        self.decide(if creates { CallKind::Create } else { CallKind::Open }, path)?;
        let (inner, memory): (Arc<dyn VfsFile>, _) = match &self.inner {
            Inner::Any(vfs) => (vfs.open(path, how)?, None),
            Inner::Memory(vfs) => {
                let file = Arc::new(vfs.open_file(path, how)?);
                (file.clone(), Some(file))
            }
        };
        let seam = Seam { path: path.to_owned(), plan: self.plan.clone() };
        Ok(Arc::new(FaultyFile { inner, memory, seam }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.decide(CallKind::CreateDir, path)?;
        self.inner().create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.decide(CallKind::RemoveDir, path)?;
        self.inner().remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.decide(CallKind::List, dir)?;
        self.inner().list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.decide(CallKind::Metadata, path)?;
        self.inner().metadata(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.decide(CallKind::RemoveFile, path)?;
        self.inner().remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.decide_pair(CallKind::Rename, from, Some(to))?;
        self.inner().rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.decide_pair(CallKind::HardLink, from, Some(to))?;
        self.inner().hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.decide(CallKind::SyncDir, dir)?;
        self.inner().sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.decide(CallKind::Lock, path)?;
        self.inner().lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.decide(CallKind::Lock, path)?;
        self.inner().lock_shared(path)
    }

    fn available_space(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.decide(CallKind::Space, dir)?;
        self.inner().available_space(dir)
    }

    fn boot_id(&self, dir: &Path) -> [u8; 16] {
        self.inner().boot_id(dir)
    }

    fn process_id(&self) -> u32 {
        self.inner().process_id()
    }
}

#[derive(Debug, Clone)]
struct FaultyFile {
    inner: Arc<dyn VfsFile>,
    /// The same file, when it is in memory and can be told to lose its writes.
    memory: Option<Arc<MemFile>>,
    seam: Seam,
}

impl FaultyFile {
    fn sync(&self, kind: CallKind, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.seam.decide(kind, 0, 0)? {
            Some(Effect::LoseWrites(error)) => {
                self.memory.as_ref().map_or(Ok(()), |file| file.lose_writes())?;
                Err(self.seam.error(error))
            }
            Some(Effect::DropWrites(error)) => {
                self.memory.as_ref().map_or(Ok(()), |file| file.drop_writes())?;
                Err(self.seam.error(error))
            }
            _ => sync(),
        }
    }

    /// Reads what `effect` gives in place of what is there.
    fn read_struck(&self, effect: Option<Effect>, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match (effect, &self.memory) {
            (Some(Effect::MisdirectRead(Elsewhere::Offset(by))), _) => {
                let at = offset.wrapping_add(by).checked_rem(self.inner.len()?);
                self.inner.read_at(buf, at.unwrap_or(offset))
            }
            (Some(Effect::MisdirectRead(Elsewhere::File(choice))), Some(memory)) => {
                match memory.neighbour(&self.seam.path, choice) {
                    Some(other) => other.read_at(buf, offset),
                    None => memory.read_at(buf, offset),
                }
            }
            (Some(Effect::StaleRead), Some(memory)) => memory.read_stale(buf, offset),
            _ => self.inner.read_at(buf, offset),
        }
    }

    /// Whether `effect` kept the write from its place.
    fn misdirected(&self, effect: Option<Effect>, bytes: &[u8], offset: u64) -> io::Result<bool> {
        match (effect, &self.memory) {
            (Some(Effect::IgnoreWrite), _) => {}
            (Some(Effect::MisdirectWrite(Elsewhere::Offset(by))), Some(memory)) => {
                memory.scribble(bytes, offset.wrapping_add(by))?;
            }
            (Some(Effect::MisdirectWrite(Elsewhere::File(choice))), Some(memory)) => {
                let Some(other) = memory.neighbour(&self.seam.path, choice) else { return Ok(false) };
                other.scribble(bytes, offset)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl VfsFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let effect = self.seam.decide(CallKind::Read, offset, buf.len())?;
        let mut count = self.read_struck(effect, buf, offset)?;
        match effect {
            // Not to zero, which would mean the end of the file.
            Some(Effect::ShortRead) => count = count.div_ceil(2),
            Some(Effect::FlipBit(bit)) => flip(&mut buf[..count], bit),
            _ => {}
        }
        self.seam.plan.count_bytes(count, 0);
        Ok(count)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let effect = self.seam.decide(CallKind::Write, offset, buf.len())?;
        if self.misdirected(effect, buf, offset)? {
            return Ok(());
        }
        self.seam.write(effect, buf, |part| self.inner.write_all_at(part, offset))
    }

    fn len(&self) -> io::Result<u64> {
        self.seam.decide(CallKind::Metadata, 0, 0)?;
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.seam.decide(CallKind::SetLen, len, 0)?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(CallKind::SyncData, || self.inner.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(CallKind::SyncAll, || self.inner.sync_all())
    }

    fn map_write(&self, offset: u64, len: usize) -> io::Result<Box<dyn WriteMap>> {
        self.seam.decide(CallKind::MapWrite, offset, len)?;
        let inner = self.inner.map_write(offset, len)?;
        Ok(Box::new(FaultyWriteMap { inner, start: offset, file: self.clone() }))
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<dyn ReadMap>> {
        let effect = self.seam.decide(CallKind::MapRead, 0, len)?;
        let map = self.inner.map_read(len)?;
        if effect.is_none() {
            return Ok(map);
        }
        let mut bytes: Box<[u8]> = map.bytes().into();
        if let Some(Effect::FlipBit(bit)) = effect {
            flip(&mut bytes, bit);
        } else {
            // What the wrong place has not, the map shows as zeros, like the end of a file's last page.
            bytes.fill(0);
            self.read_struck(effect, &mut bytes, 0)?;
        }
        Ok(Arc::new(BytesMap(bytes)))
    }
}

#[derive(Debug)]
struct FaultyWriteMap {
    inner: Box<dyn WriteMap>,
    /// Where in the file the map begins.
    start: u64,
    file: FaultyFile,
}

impl WriteMap for FaultyWriteMap {
    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let seam = &self.file.seam;
        let effect = seam.decide(CallKind::MapStore, offset as u64, bytes.len())?;
        if self.file.misdirected(effect, bytes, self.start + offset as u64)? {
            return Ok(());
        }
        seam.write(effect, bytes, |part| self.inner.write(offset, part))
    }

    fn publish_u32(&self, offset: usize, word: u32) -> io::Result<()> {
        let effect = self.file.seam.decide(CallKind::MapPublish, offset as u64, 4)?;
        if self.file.misdirected(effect, &word.to_le_bytes(), self.start + offset as u64)? {
            return Ok(());
        }
        self.inner.publish_u32(offset, word)
    }
}

/// An open file's way to the plan.
#[derive(Debug, Clone)]
struct Seam {
    path: PathBuf,
    plan: FaultPlan,
}

impl Seam {
    fn decide(&self, kind: CallKind, offset: u64, len: usize) -> io::Result<Option<Effect>> {
        self.plan.decide(Call { kind, path: self.path.clone(), to: None, offset, len: len as u64 })
    }

    fn write(
        &self,
        effect: Option<Effect>,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let torn = match effect {
            Some(Effect::TearWrite(error)) => Some((bytes.len() / 2, error)),
            Some(Effect::ShortWrite { bytes: kept, error }) => {
                Some(((kept % (bytes.len() as u64 + 1)) as usize, error))
            }
            _ => None,
        };
        if let Some((kept, error)) = torn {
            if bytes.len() > WORD && kept > 0 {
                write(&bytes[..kept])?;
            }
            return Err(self.error(error));
        }
        write(bytes)?;
        self.plan.count_bytes(0, bytes.len());
        Ok(())
    }

    fn error(&self, kind: io::ErrorKind) -> io::Error {
        self.plan.error(kind, &self.path)
    }
}

/// So many bytes are written at once or not at all while the machine runs, in whatever way a process ends.
const WORD: usize = 4;

fn flip(bytes: &mut [u8], bit: u64) {
    if bytes.is_empty() {
        return;
    }
    let bit = bit % (bytes.len() as u64 * 8);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
}

#[cfg(test)]
mod tests;
