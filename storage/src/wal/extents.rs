//! The space of a log segment that is being written: filled with zeros before it is used, so that a full disk is noticed
//! before a frame is begun, and mapped where maps are wanted.
//!
//! Space grows in steps that double from 256 KiB to 4 MiB. It can grow ahead of need from another thread; the writer
//! waits for that only when it has used up what there is.

use std::path::PathBuf;
use std::sync::Arc;

use lightning_db_sync::{Mutex, RwLock};

use super::WalMode;
use crate::vfs::{VfsFile, WriteMap};
use crate::{Result, StorageError};

/// Segment sizes and extents are multiples of this, so that maps begin where every system allows it.
pub(super) const EXTENT_UNIT: u64 = 64 << 10;

const FIRST_EXTENT: u64 = 256 << 10;
const LARGEST_EXTENT: u64 = 4 << 20;
static ZEROS: [u8; EXTENT_UNIT as usize] = [0; EXTENT_UNIT as usize];

/// A file with its zeroed space.
pub(super) struct Extents {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    mode: WalMode,
    size: u64,
    extents: RwLock<Vec<Extent>>,
    growing: Mutex<()>,
}

struct Extent {
    start: u64,
    end: u64,
    map: Option<Box<dyn WriteMap>>,
}

impl Extents {
    /// Fills the first extent of a new file of at most `size` bytes with zeros.
    pub(super) fn create(path: PathBuf, file: Arc<dyn VfsFile>, mode: WalMode, size: u64) -> Result<Self> {
        let extents = Self { path, file, mode, size, extents: RwLock::default(), growing: Mutex::new(()) };
        extents.grow_to(1)?;
        Ok(extents)
    }

    /// The length that the file may reach.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Makes sure that the file has space up to `end`. A full disk leaves everything as it was.
    pub(super) fn grow_to(&self, end: u64) -> Result<()> {
        while self.zeroed() < end {
            let _one_at_a_time = self.growing.lock();
            if self.zeroed() < end {
                self.grow()?;
            }
        }
        Ok(())
    }

    /// Grows by one step if less than half of the newest extent is left behind `used`.
    pub(super) fn grow_ahead(&self, used: u64) -> Result<()> {
        let _one_at_a_time = self.growing.lock();
        let low = self.extents.read().last().is_some_and(|last| used > last.start.midpoint(last.end));
        if low && self.zeroed() < self.size { self.grow() } else { Ok(()) }
    }

    /// Writes to space that there is.
    pub(super) fn write(&self, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        let extents = self.extents.read();
        let first = extents.partition_point(|extent| extent.end <= offset);
        for extent in extents.iter().skip(first) {
            if bytes.is_empty() {
                break;
            }
            let room = usize::try_from(extent.end - offset).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            match &extent.map {
                Some(map) => map.write((offset - extent.start) as usize, now),
                None => self.file.write_all_at(now, offset),
            }
            .map_err(|error| self.error("write to", error))?;
            offset += now.len() as u64;
            bytes = later;
        }
        debug_assert!(bytes.is_empty(), "space is made before it is written to");
        Ok(())
    }

    /// Writes the length word of a frame, after everything else of it.
    pub(super) fn publish(&self, offset: u64, word: u32) -> Result<()> {
        let extents = self.extents.read();
        let extent = extents.partition_point(|extent| extent.end <= offset);
        match extents.get(extent).and_then(|extent| Some((extent.start, extent.map.as_ref()?))) {
            Some((start, map)) => map.publish_u32((offset - start) as usize, word),
            None => self.file.write_all_at(&word.to_le_bytes(), offset),
        }
        .map_err(|error| self.error("write to", error))
    }

    /// Syncs the file, its maps included.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| self.error("sync", error))
    }

    fn zeroed(&self) -> u64 {
        self.extents.read().last().map_or(0, |last| last.end)
    }

    fn grow(&self) -> Result<()> {
        let (start, step) = match self.extents.read().last() {
            None => (0, FIRST_EXTENT),
            Some(last) => (last.end, ((last.end - last.start) * 2).min(LARGEST_EXTENT)),
        };
        let end = start.saturating_add(step).min(self.size);
        if end <= start {
            return Err(self.error("extend", std::io::ErrorKind::FileTooLarge.into()));
        }
        for offset in (start..end).step_by(ZEROS.len()) {
            let len = (end - offset).min(EXTENT_UNIT) as usize;
            self.file.write_all_at(&ZEROS[..len], offset).map_err(|error| self.error("extend", error))?;
        }
        let map = match self.mode {
            WalMode::Mapped => self.file.map_write(start, (end - start) as usize).ok(),
            WalMode::Pwrite => None,
        };
        self.extents.write().push(Extent { start, end, map });
        Ok(())
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> StorageError {
        StorageError::io(action, &self.path, source)
    }
}
