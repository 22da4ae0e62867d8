//! The places where keys of a database are, beside its own directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_backup::{KeyHolders, ObjectStore};
use lightning_db_storage::vfs::Vfs;

use crate::backup::store_at;
use crate::error::{Error, Result};

/// One place where keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlace {
    /// Where it is.
    pub place: PathBuf,
    /// How many keyrings there are.
    pub keyrings: usize,
    /// The backups that cannot be restored without them.
    pub backups: Vec<u64>,
    /// Keyrings that were left, since no key that was given tells what is in them: who has a slot's key of then opens them.
    pub unknown: Vec<String>,
    /// The backups that were made beside those.
    pub unknown_backups: Vec<u64>,
    /// Why it could not be reached: what is sealed there can still be read by who has a slot that opens.
    pub unreached: Option<String>,
}

impl KeyPlace {
    /// What was left here, in words; `None` if nothing was.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let unknown = || {
            let beside = match &self.unknown_backups[..] {
                [] => String::new(),
                backups => {
                    let numbers: Vec<String> = backups.iter().map(u64::to_string).collect();
                    format!(" (of backups {})", numbers.join(", "))
                }
            };
            format!("no key that was given opens {}{beside}, so these are left", self.unknown.join(", "))
        };
        match &self.unreached {
            Some(reason) => Some(format!("it was not reached: {reason}")),
            None => (!self.unknown.is_empty()).then(unknown),
        }
    }

    pub(super) fn of(place: PathBuf, holders: KeyHolders) -> Self {
        let KeyHolders { keyrings, backups, unknown, unknown_backups } = holders;
        Self { place, keyrings: keyrings.len(), backups, unknown, unknown_backups, unreached: None }
    }
}

/// Where a repository should be.
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// It was named now, and not only registered once.
    is_named: bool,
}

/// Works on a repository; one that is not there is told in the result. Where one is only registered, another database's may
/// have come in its place.
pub(super) fn reach(
    vfs: &Arc<dyn Vfs>,
    candidate: &Candidate,
    work: impl FnOnce(Arc<dyn ObjectStore>) -> lightning_db_backup::Result<KeyHolders>,
) -> Result<KeyPlace> {
    let place = candidate.path.clone();
    let outcome = store_at(vfs, &place).and_then(|store| Ok(work(store)?));
    match outcome {
        Ok(holders) => Ok(KeyPlace::of(place, holders)),
        Err(Error::Diverged { .. }) if !candidate.is_named => {
            let reason = "another database's repository is there now".to_owned();
            Ok(KeyPlace { place, unreached: Some(reason), ..KeyPlace::default() })
        }
        Err(error @ (Error::NotFound { .. } | Error::Io { .. })) => {
            Ok(KeyPlace { place, unreached: Some(error.to_string()), ..KeyPlace::default() })
        }
        Err(error) => Err(error),
    }
}

/// All of them, each once.
pub(super) fn joined(
    vfs: &dyn Vfs,
    registered: impl Iterator<Item = String>,
    named: &[PathBuf],
) -> Vec<Candidate> {
    let absolute = |path: &Path| {
        let bare = path.to_str().and_then(|text| text.strip_prefix("file://")).map_or(path, Path::new);
        std::path::absolute(bare).unwrap_or_else(|_| bare.to_path_buf())
    };
    let mut found: Vec<Candidate> =
        registered.map(|place| Candidate { path: place.into(), is_named: false }).collect();
    for place in named {
        match found.iter_mut().find(|known| absolute(&known.path) == absolute(place)) {
            Some(known) => known.is_named = true,
            None => found.push(Candidate { path: place.clone(), is_named: true }),
        }
    }
    // One that moved is registered under its old name, too; the new one was named.
    found.sort_by_key(|candidate| vfs.metadata(&absolute(&candidate.path)).is_err());
    found
}
