//! The end of a restore: archived log is replayed into files that were copied from a repository.

use std::path::Path;

use lightning_db_recovery::redo::replay;
use lightning_db_recovery::{History, Reached};
use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::wal::WalStart;

use super::Engine;
use super::open::lock;
use super::redo::Redo;
use crate::config::LightningDbConfig;
use crate::environment::Environment;
use crate::error::{Error, Result};

impl Engine {
    /// Replays the history that `log` gives into the database in `path`, whose own log is empty, lets `finish` enter into
    /// its manifest where that ended, and closes it: everything is in synced files then.
    ///
    /// # Errors
    /// Those of opening a database, of `log`, and of writing files. What is in `path` then is of no use.
    pub(crate) fn replay_restored(
        path: &Path,
        config: LightningDbConfig,
        environment: &Environment,
        log: impl FnOnce() -> Result<History>,
        finish: impl FnOnce(&mut Manifest, &Reached),
    ) -> Result<Reached> {
        let held = lock(&*environment.vfs, path)?;
        let engine = Self::load(path, config, environment, Some(held))?;
        let mut history = log()?;
        let flushed = engine.catalog.read(|manifest| manifest.flushed_sequence);
        replay(&mut history, flushed, &mut Redo::into_files(&engine))?;
        let reached = history.finish().map_err(Error::from)?;
        engine.flush_all()?;
        engine.change_manifest(|manifest| finish(manifest, &reached))?;
        engine.begin_log(WalStart { last_sequence: reached.moment.sequence, ..WalStart::default() })?;
        engine.close()?;
        Ok(reached)
    }
}
