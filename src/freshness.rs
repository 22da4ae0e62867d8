//! Remembering, outside of a database's directory, how far the database had got: a directory that was put back to an older
//! state is noticed when it is opened.
//!
//! The mark is written after the manifest that it tells of is durable. So it is never ahead of the database, and a crash
//! between the two leaves a mark that is one manifest behind, with which every later state is accepted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_crypto::DatabaseId;
use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::vfs::{OpenHow, Vfs};
use lightning_db_storage::{Generation, SequenceNumber};

use crate::error::{Error, Result};

/// How far a database had got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshnessMark {
    /// The database.
    pub database: [u8; 16],
    /// The number of the state that its manifest described. It only grows.
    pub generation: u64,
    /// The newest commit that was in sorted files then.
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
    /// When it cannot be told.
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
}

impl Freshness {
    pub(crate) fn new(source: &AnchorSource, policy: FreshnessPolicy, vfs: &Arc<dyn Vfs>) -> Self {
        Self { anchor: source.resolve(vfs), policy }
    }

    /// Compares a database that is about to be opened with the mark.
    ///
    /// # Errors
    /// `RolledBack` if it is older, or another one, and that is to be refused; `Io` if it cannot be told.
    pub(crate) fn check(&self, directory: &Path, manifest: &Manifest) -> Result<()> {
        self.judge(directory, |mark| {
            if mark.database != *manifest.database.as_bytes() {
                return Some(format!("the mark is of database {}", DatabaseId(mark.database)));
            }
            let (now, marked) = (manifest.generation, Generation(mark.generation));
            (now < marked).then(|| {
                format!("it is at state {}, and was at {} (commit {}) before", now.0, marked.0, mark.sequence)
            })
        })
    }

    /// Compares the place for a new database with the mark: there is to be none.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn check_new(&self, directory: &Path) -> Result<()> {
        self.judge(directory, |mark| {
            Some(format!("there is a mark of database {} already", DatabaseId(mark.database)))
        })
    }

    fn judge(&self, directory: &Path, older: impl FnOnce(&FreshnessMark) -> Option<String>) -> Result<()> {
        let Some(anchor) = self.anchor.as_ref().filter(|_| self.policy != FreshnessPolicy::Ignore) else {
            return Ok(());
        };
        let error = match anchor.load() {
            Ok(mark) => match mark.as_ref().and_then(older) {
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
        let Some(anchor) = &self.anchor else { return };
        let mark = FreshnessMark {
            database: *manifest.database.as_bytes(),
            generation: manifest.generation.0,
            sequence: manifest.flushed_sequence,
        };
        if let Err(error) = anchor.store(&mark) {
            tracing::warn!(%error, "the freshness anchor does not know the newest state");
        }
    }
}

/// ```text
/// 0   magic "LDBMARK1"
/// 8   database id [16]
/// 24  generation u64
/// 32  sequence u64
/// 40  BLAKE3 of all before [32]
/// ```
#[derive(Debug)]
struct FileAnchor {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
}

const MAGIC: &[u8; 8] = b"LDBMARK1";
const CONTENT_LEN: usize = 40;
const LEN: usize = CONTENT_LEN + 32;

impl FreshnessAnchor for FileAnchor {
    fn load(&self) -> io::Result<Option<FreshnessMark>> {
        let file = match self.vfs.open(&self.path, OpenHow::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = [0; LEN];
        if file.len()? == LEN as u64 {
            file.read_exact_at(&mut bytes, 0)?;
        }
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

fn encode(mark: &FreshnessMark) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&mark.database);
    bytes.extend_from_slice(&mark.generation.to_le_bytes());
    bytes.extend_from_slice(&mark.sequence.0.to_le_bytes());
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

fn decode(bytes: &[u8; LEN]) -> Option<FreshnessMark> {
    let (content, checksum) = bytes.split_at(CONTENT_LEN);
    let whole = content.starts_with(MAGIC) && blake3::hash(content).as_bytes() == checksum;
    let (_, rest) = content.split_first_chunk::<8>().filter(|_| whole)?;
    let (database, rest) = rest.split_first_chunk::<16>()?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (sequence, _) = rest.split_first_chunk::<8>()?;
    Some(FreshnessMark {
        database: *database,
        generation: u64::from_le_bytes(*generation),
        sequence: SequenceNumber(u64::from_le_bytes(*sequence)),
    })
}
