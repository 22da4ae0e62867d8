//! Remembering, outside of a database's directory, how far the database had got: a directory that was put back to an older
//! state is noticed when it is opened.
//!
//! The mark is written after the manifest that it tells of is durable. So it is never ahead of the database, and a crash
//! between the two leaves a mark that is one manifest behind, with which every later state is accepted. A manifest that was
//! written after a mark says so: then it is not for the first time that there is none.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_crypto::DatabaseId;
use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::vfs::{OpenHow, Vfs};
use lightning_db_storage::{Generation, SequenceNumber};
use lightning_db_sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// How far a database had got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshnessMark {
    /// The database.
    pub database: [u8; 16],
    /// Its history: a copy that was opened for writing, or a restored database, has another. `None` in a mark of an earlier
    /// version, which did not know.
    pub incarnation: Option<[u8; 16]>,
    /// The number of the state that its manifest described. It only grows.
    pub generation: u64,
    /// The newest commit that was in sorted files then; 0 where an anchor cannot keep it. It is only told.
    pub sequence: SequenceNumber,
}

/// Remembers a mark in a place that whoever can put back the database's directory cannot put back too: a file on another
/// machine, a counter in a TPM, an object in a store that keeps versions.
///
/// It is called with locks held: it must not use the database, and each call delays flushes.
pub trait FreshnessAnchor: Send + Sync + fmt::Debug {
    /// The mark that was stored last; `None` if there never was one.
    ///
    /// # Errors
    /// When it cannot be told, as when the place where it would be is not there.
    fn load(&self) -> io::Result<Option<FreshnessMark>>;

    /// Remembers a mark, durably. Each is of a later state than the one before, but after a database was put back on purpose.
    ///
    /// # Errors
    /// When it is not remembered; the database goes on, and the next mark stands for this one, too.
    fn store(&self, mark: &FreshnessMark) -> io::Result<()>;
}

/// Where marks are remembered.
#[derive(Clone, Default)]
pub struct AnchorSource(Origin);

#[derive(Clone, Default)]
enum Origin {
    #[default]
    None,
    File(PathBuf),
    Anchor(Arc<dyn FreshnessAnchor>),
}

impl AnchorSource {
    /// Nowhere: an older state of the directory is not told from the newest.
    #[must_use]
    pub fn none() -> Self {
        Self(Origin::None)
    }

    /// A small file, which belongs to this database alone and is of use only on another disk or machine than the database.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Origin::File(path.into()))
    }

    /// An anchor of your own.
    #[must_use]
    pub fn anchor(anchor: Arc<dyn FreshnessAnchor>) -> Self {
        Self(Origin::Anchor(anchor))
    }

    fn resolve(&self, vfs: &Arc<dyn Vfs>) -> Option<Arc<dyn FreshnessAnchor>> {
        match &self.0 {
            Origin::None => None,
            Origin::File(path) => Some(Arc::new(FileAnchor { vfs: Arc::clone(vfs), path: path.clone() })),
            Origin::Anchor(anchor) => Some(Arc::clone(anchor)),
        }
    }
}

impl fmt::Debug for AnchorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::None => f.write_str("AnchorSource(none)"),
            Origin::File(path) => write!(f, "AnchorSource(file:{})", path.display()),
            Origin::Anchor(anchor) => write!(f, "AnchorSource({anchor:?})"),
        }
    }
}

/// What to do about a database that is older than its mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreshnessPolicy {
    /// Nothing: the mark is only written. For one open after a database was put back on purpose.
    Ignore,
    /// It is logged.
    Warn,
    /// It is not opened: [`Error::RolledBack`].
    #[default]
    Refuse,
}

/// An anchor in use.
pub(crate) struct Freshness {
    anchor: Option<Arc<dyn FreshnessAnchor>>,
    policy: FreshnessPolicy,
    has_begun: AtomicBool,
    has_mark: AtomicBool,
}

impl Freshness {
    pub(crate) fn new(source: &AnchorSource, policy: FreshnessPolicy, vfs: &Arc<dyn Vfs>) -> Self {
        let anchor = source.resolve(vfs);
        Self { anchor, policy, has_begun: AtomicBool::new(false), has_mark: AtomicBool::new(false) }
    }

    /// Compares a database that is about to be opened with the mark.
    ///
    /// # Errors
    /// `RolledBack` if it is older, another one or another copy, or if there is no mark any more, and that is to be
    /// refused; `Io` if it cannot be told.
    pub(crate) fn check(&self, directory: &Path, manifest: &Manifest) -> Result<()> {
        let is_anchored = manifest.features.is_anchored();
        self.judge(directory, |mark| match mark {
            None => is_anchored.then(|| {
                "its anchor remembers nothing, and did before: is that the place, and is its disk mounted?".to_owned()
            }),
            Some(mark) if mark.database != *manifest.database.as_bytes() => {
                Some(format!("the mark is of database {}", DatabaseId(mark.database)))
            }
            // A directory goes on under another history when it goes back to a checkpoint; it has marks then.
            Some(mark) if !is_anchored && mark.incarnation.is_some_and(|of| of != manifest.incarnation.0) => {
                Some("the mark is of another copy of this database: give each copy an anchor of its own".to_owned())
            }
            Some(mark) => {
                let (now, marked) = (manifest.generation, Generation(mark.generation));
                (now < marked).then(|| {
                    let commit = match mark.sequence.0 {
                        0 => String::new(),
                        newest => format!(" (commit {newest})"),
                    };
                    format!("it is at state {}, and was at {}{commit} before", now.0, marked.0)
                })
            }
        })
    }

    /// Compares the place for a new database with the mark: there is to be none.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn check_new(&self, directory: &Path) -> Result<()> {
        self.judge(directory, |mark| {
            mark.map(|mark| format!("there is a mark of database {} already", DatabaseId(mark.database)))
        })
    }

    /// From now on manifests are remembered.
    pub(crate) fn begin(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    /// Whether the anchor has a mark of this database, durably.
    pub(crate) fn has_mark(&self) -> bool {
        self.has_mark.load(Ordering::Relaxed)
    }

    fn judge(
        &self,
        directory: &Path,
        wrong: impl FnOnce(Option<&FreshnessMark>) -> Option<String>,
    ) -> Result<()> {
        let Some(anchor) = self.anchor.as_ref().filter(|_| self.policy != FreshnessPolicy::Ignore) else {
            return Ok(());
        };
        let error = match anchor.load() {
            Ok(mark) => match wrong(mark.as_ref()) {
                None => return Ok(()),
                Some(what) => Error::RolledBack { directory: directory.to_path_buf(), what },
            },
            Err(error) => Error::Io {
                action: "ask the freshness anchor about",
                path: directory.to_path_buf(),
                source: Arc::new(error),
            },
        };
        if self.policy == FreshnessPolicy::Refuse {
            return Err(error);
        }
        tracing::warn!(%error, "the database is opened all the same");
        Ok(())
    }

    /// Remembers a manifest that is durable. Called for each, one at a time.
    pub(crate) fn remember(&self, manifest: &Manifest) {
        let Some(anchor) = self.anchor.as_ref().filter(|_| self.has_begun.load(Ordering::Relaxed)) else {
            return;
        };
        let mark = FreshnessMark {
            database: *manifest.database.as_bytes(),
            incarnation: Some(manifest.incarnation.0),
            generation: manifest.generation.0,
            sequence: manifest.flushed_sequence,
        };
        match anchor.store(&mark) {
            Ok(()) => self.has_mark.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the freshness anchor does not know the newest state"),
        }
    }
}

/// ```text
/// 0   magic "LDBMARK2"
/// 8   database id [16]
/// 24  incarnation [16]        not in "LDBMARK1"
/// 40  generation u64
/// 48  sequence u64
/// 56  BLAKE3 of all before [32]
/// ```
#[derive(Debug)]
struct FileAnchor {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
}

const MAGIC: &[u8; 8] = b"LDBMARK2";
const CONTENT_LEN: usize = 56;
const LEN: usize = CONTENT_LEN + 32;
const FIRST_MAGIC: &[u8; 8] = b"LDBMARK1";
const FIRST_LEN: usize = LEN - 16;

impl FreshnessAnchor for FileAnchor {
    fn load(&self) -> io::Result<Option<FreshnessMark>> {
        let file = match self.vfs.open(&self.path, OpenHow::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.none_yet(),
            other => other?,
        };
        let len = usize::try_from(file.len()?).ok().filter(|len| *len <= LEN);
        let mut bytes = vec![0; len.unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        decode(&bytes).map(Some).ok_or_else(|| {
            let text = format!("{} holds no mark: it is damaged, or another file", self.path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    fn store(&self, mark: &FreshnessMark) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = self.path.with_file_name(name);
        match self.vfs.remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.vfs.open(&temporary, OpenHow::CreateNew)?;
        file.write_all_at(&encode(mark), 0)?;
        file.sync_all()?;
        self.vfs.rename(&temporary, &self.path)?;
        self.vfs.sync_dir(self.path.parent().unwrap_or(Path::new("")))
    }
}

impl FileAnchor {
    /// There is no mark; but a place for one there must be, or a disk that is not mounted would look like the first use.
    fn none_yet(&self) -> io::Result<Option<FreshnessMark>> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        self.vfs.metadata(folder).map(|_| None).map_err(|error| {
            let text =
                format!("{}, where the mark should be: {error}; is its disk mounted?", folder.display());
            io::Error::new(error.kind(), text)
        })
    }
}

fn encode(mark: &FreshnessMark) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(if mark.incarnation.is_some() { MAGIC } else { FIRST_MAGIC });
    bytes.extend_from_slice(&mark.database);
    bytes.extend(mark.incarnation.iter().flatten());
    bytes.extend_from_slice(&mark.generation.to_le_bytes());
    bytes.extend_from_slice(&mark.sequence.0.to_le_bytes());
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<FreshnessMark> {
    let (content, checksum) = bytes.split_last_chunk::<32>()?;
    let (magic, rest) = content.split_first_chunk::<8>()?;
    let knows_history = match (magic, bytes.len()) {
        (MAGIC, LEN) => true,
        (FIRST_MAGIC, FIRST_LEN) => false,
        _ => return None,
    };
    if blake3::hash(content).as_bytes() != checksum {
        return None;
    }
    let (database, rest) = rest.split_first_chunk::<16>()?;
    let (incarnation, rest) = match knows_history {
        true => rest.split_first_chunk::<16>().map(|(incarnation, rest)| (Some(*incarnation), rest))?,
        false => (None, rest),
    };
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (sequence, _) = rest.split_first_chunk::<8>()?;
    Some(FreshnessMark {
        database: *database,
        incarnation,
        generation: u64::from_le_bytes(*generation),
        sequence: SequenceNumber(u64::from_le_bytes(*sequence)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_before_are_read() {
        let mut mark = FreshnessMark {
            database: [1; 16],
            incarnation: Some([2; 16]),
            generation: 3,
            sequence: SequenceNumber(4),
        };
        assert_eq!(decode(&encode(&mark)), Some(mark));
        mark.incarnation = None;
        // As earlier versions wrote it.
        let mut bytes = b"LDBMARK1".to_vec();
        bytes.extend([1; 16]);
        bytes.extend([3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(*blake3::hash(&bytes).as_bytes());
        assert_eq!((decode(&bytes), encode(&mark)), (Some(mark), bytes));
    }
}
