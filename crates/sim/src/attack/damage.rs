//! What is done to files.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db::Vfs;
use lightning_db_storage::vfs::{MemVfs, OpenHow};

/// One change of one file. The path is below the root.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// These bits of a byte are the other way round.
    Flip { file: Arc<Path>, offset: u64, mask: u8 },
    /// The file ends here.
    Cut { file: Arc<Path>, len: u64 },
    /// Other bytes stand here; the file grows if they reach beyond its end.
    Write { file: Arc<Path>, offset: u64, bytes: Arc<[u8]> },
    /// The file is not there.
    Remove { file: Arc<Path> },
    /// The file is another one.
    Put { file: Arc<Path>, bytes: Arc<[u8]> },
}

/// What is done before one look.
#[derive(Debug, Clone)]
pub(super) struct Damage {
    /// What kind it is of, for the counts.
    pub(super) kind: &'static str,
    /// What tells it from others of its kind that edit the same places.
    pub(super) note: String,
    pub(super) edits: Vec<Edit>,
}

impl Damage {
    pub(super) fn flip(file: &Arc<Path>, offset: u64, mask: u8) -> Self {
        Self::one("flip", Edit::Flip { file: Arc::clone(file), offset, mask })
    }

    pub(super) fn cut(file: &Arc<Path>, len: u64) -> Self {
        Self::one("cut", Edit::Cut { file: Arc::clone(file), len })
    }

    pub(super) fn zero(file: &Arc<Path>, range: Range<u64>) -> Self {
        let bytes = vec![0; (range.end - range.start) as usize].into();
        Self::one("zeros", Edit::Write { file: Arc::clone(file), offset: range.start, bytes })
    }

    pub(super) fn extend(file: &Arc<Path>, len: u64, bytes: Vec<u8>) -> Self {
        Self::one("extension", Edit::Write { file: Arc::clone(file), offset: len, bytes: bytes.into() })
    }

    pub(super) fn remove(file: &Arc<Path>) -> Self {
        Self::one("removal", Edit::Remove { file: Arc::clone(file) })
    }

    fn one(kind: &'static str, edit: Edit) -> Self {
        Self { kind, note: String::new(), edits: vec![edit] }
    }

    /// Does it, below `root`.
    pub(super) fn apply(&self, disk: &MemVfs, root: &Path) {
        for edit in &self.edits {
            edit.apply(disk, root).expect("a disk in memory takes every edit of a file that it has");
        }
    }

    /// Whether a file goes missing.
    pub(super) fn removes(&self) -> bool {
        self.edits.iter().any(|edit| matches!(edit, Edit::Remove { .. }))
    }

    /// Whether whole files of another time or place come in.
    pub(super) fn is_exchange(&self) -> bool {
        self.edits.iter().any(|edit| matches!(edit, Edit::Put { .. }))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.edits.iter().map(Edit::file)
    }
}

impl Edit {
    pub(super) fn file(&self) -> &Path {
        match self {
            Self::Flip { file, .. }
            | Self::Cut { file, .. }
            | Self::Write { file, .. }
            | Self::Remove { file }
            | Self::Put { file, .. } => file,
        }
    }

    /// The bytes that are others afterwards, of a file that has `bytes`.
    pub(super) fn touched(&self, bytes: &[u8]) -> Range<u64> {
        let all = 0..bytes.len() as u64;
        match self {
            Self::Flip { offset, .. } => *offset..offset + 1,
            Self::Cut { len, .. } => *len..all.end,
            Self::Write { offset, bytes, .. } => *offset..offset + bytes.len() as u64,
            Self::Remove { .. } | Self::Put { .. } => all,
        }
    }

    /// Whether a file that has `bytes` is another one afterwards.
    pub(super) fn changes(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Write { offset, bytes: written, .. } => {
                bytes.get(*offset as usize..*offset as usize + written.len()) != Some(written)
            }
            Self::Put { bytes: put, .. } => **put != *bytes,
            Self::Flip { .. } | Self::Cut { .. } | Self::Remove { .. } => true,
        }
    }

    fn apply(&self, disk: &MemVfs, root: &Path) -> std::io::Result<()> {
        let path = root.join(self.file());
        match self {
            Self::Flip { offset, mask, .. } => disk.corrupt(&path, *offset, *mask),
            Self::Cut { len, .. } => disk.open(&path, OpenHow::ReadWrite)?.set_len(*len),
            Self::Write { offset, bytes, .. } => {
                disk.open(&path, OpenHow::ReadWrite)?.write_all_at(bytes, *offset)
            }
            Self::Remove { .. } => disk.remove_file(&path),
            Self::Put { bytes, .. } => put(disk, &path, bytes),
        }
    }
}

/// Puts a file in its place, with the directories above it.
pub(super) fn put(disk: &MemVfs, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut folders: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_path_buf).collect();
    while let Some(folder) = folders.pop() {
        if disk.metadata(&folder).is_err() {
            disk.create_dir(&folder)?;
        }
    }
    if disk.metadata(path).is_ok() {
        disk.remove_file(path)?;
    }
    disk.open(path, OpenHow::CreateNew)?.write_all_at(bytes, 0)
}

/// Names the damage so that it can be done again.
impl Display for Damage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.note.is_empty() {
            return write!(f, ":{}", self.note);
        }
        for edit in &self.edits {
            write!(f, ":{edit}")?;
        }
        Ok(())
    }
}

impl Display for Edit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file().display())?;
        match self {
            Self::Flip { offset, mask, .. } => write!(f, "@{offset}^{mask:02x}"),
            Self::Cut { len, .. } => write!(f, "@{len}"),
            Self::Write { offset, bytes, .. } => {
                let hash = bytes.iter().fold(0_u32, |hash, byte| hash.wrapping_mul(31) + u32::from(*byte));
                write!(f, "@{offset}+{}={hash:08x}", bytes.len())
            }
            Self::Remove { .. } | Self::Put { .. } => Ok(()),
        }
    }
}
