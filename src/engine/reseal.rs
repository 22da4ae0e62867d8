//! Moving everything to the current data key at once, and what is still sealed with which.

use std::collections::BTreeSet;
use std::fmt;

use lightning_db_backup::Progress;
use lightning_db_crypto::{EpochId, EpochInfo, KeyProvider};
use lightning_db_storage::SegmentId;
use lightning_db_storage::manifest::{Lineage, Manifest, NamedCheckpoint};
use lightning_db_storage::segment::SegmentKind;

use super::log::{remove_log_files, retire};
use super::{Engine, policy};
use crate::error::{Error, Result};

/// So many steps in a row may leave as much to move as there was.
const STALLS: u32 = 3;

/// A data key, and what it is needed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKeyInfo {
    /// Its number.
    pub epoch: EpochId,
    /// When it was drawn, in microseconds since 1970.
    pub created_micros: i64,
    /// Whether new files are sealed with it.
    pub is_current: bool,
    /// Bytes of the database as it is now that it opens.
    pub live_bytes: u64,
    /// Bytes of all files of pages and values under it: what is live, what is not any more, and what something else holds.
    pub file_bytes: u64,
    /// The named checkpoints that need it.
    pub checkpoints: Vec<String>,
    /// Files of the log under it: they hold what is not flushed yet, or wait for a backup.
    pub log_segments: u64,
    /// Whether files under it wait for the next backup to a repository.
    pub waits_for_backup: bool,
}

impl DataKeyInfo {
    /// Whether nothing in the database needs it.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        !self.is_current && self.file_bytes == 0 && self.log_segments == 0
    }
}

/// What needs it, in words.
impl fmt::Display for DataKeyInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut needs = Vec::new();
        if self.is_current {
            needs.push("new data".to_owned());
        }
        if self.live_bytes > 0 {
            needs.push(format!("{} bytes of live data", self.live_bytes));
        }
        if !self.checkpoints.is_empty() {
            needs.push(format!("named checkpoints: {}", self.checkpoints.join(", ")));
        }
        if self.log_segments > 0 {
            needs.push("log that is not flushed or waits for a backup".to_owned());
        }
        if self.waits_for_backup {
            needs.push("files that wait for a backup".to_owned());
        }
        if needs.is_empty() {
            needs.push(if self.is_unused() { "nothing" } else { "files that are about to go" }.to_owned());
        }
        f.write_str(&needs.join("; "))
    }
}

impl Engine {
    /// Moves everything that is live, and the log, to the current data key. Reads and writes go on meanwhile. What is done
    /// stays done: after a failure or a crash another call goes on where this one was.
    ///
    /// # Errors
    /// Those of reading and writing files; nothing is lost then.
    pub(crate) fn reseal(&self, progress: &dyn Progress) -> Result<()> {
        self.check_writable()?;
        let _span = tracing::info_span!("reseal").entered();
        self.renew_log().map_err(|error| self.write_failed(error))?;
        // Memtables whose large values went to files of the old key end here; later ones begin new files.
        self.flush_all()?;
        let left = || {
            let epoch = self.ctx.keyring.read().current_epoch();
            self.catalog.read(|manifest| policy::outdated_bytes(manifest, epoch))
        };
        let total = left();
        let (mut least, mut stalled) = (u64::MAX, 0);
        loop {
            let now = left();
            progress.advance("sealing anew", total.saturating_sub(now), total);
            // A merge that began under the old key may end in between, and somebody may draw another key meanwhile.
            stalled = if now < least { 0 } else { stalled + 1 };
            if stalled > STALLS {
                let what = format!("{now} bytes do not move away from an older data key");
                return Err(Error::corrupt(self.ctx.directory.join("MANIFEST"), 0, what));
            }
            least = now;
            self.check_writable()?;
            if !self.reseal_step()? {
                break;
            }
        }
        self.change_manifest(|manifest| {
            let epoch = self.ctx.keyring.read().current_epoch();
            if !self.log_holds.are_held() {
                give_up_waiting_runs(manifest, epoch);
            }
        })
    }

    /// Forgets a data key that nothing needs any more.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for the current key, for one that something needs, and while a backup is made; those
    /// of writing files. Nothing has changed then.
    pub(crate) fn destroy_data_key(&self, proof: &dyn KeyProvider, epoch: EpochId) -> Result<()> {
        self.renew_log().map_err(|error| self.write_failed(error))?;
        self.flush_all()?;
        // Nobody writes a file under an older key then that no manifest names yet.
        let _alone = self.merge_alone();
        let _flushes = self.flushing.lock();
        let key = self.data_keys().into_iter().find(|key| key.epoch == epoch);
        let key = key.ok_or_else(|| Error::NotFound { what: format!("data key {epoch}") })?;
        if self.log_holds.are_held() {
            return Err(refused("a backup is being made: try again when it is done"));
        }
        if !key.is_unused() {
            return Err(refused(&format!("it is still needed ({key})")));
        }
        self.forget_data_key(proof, epoch)
    }

    /// Gives up what only a data key of before opens, but nothing that is live: named checkpoints, and what waits for
    /// backups.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) fn give_up_data_key(&self, epoch: EpochId) -> Result<()> {
        let key = self.data_keys().into_iter().find(|key| key.epoch == epoch);
        for name in key.iter().flat_map(|key| &key.checkpoints) {
            self.drop_named_checkpoint(name)?;
        }
        self.flush_all()?;
        let mut retired = Vec::new();
        self.change_manifest(|manifest| {
            if !self.log_holds.are_held() {
                let current = self.ctx.keyring.read().current_epoch();
                give_up_waiting_runs(manifest, current);
                if manifest.wal.iter().any(|info| info.epoch == epoch) {
                    retired = retire(manifest, 0, self.config.wal_segment_size);
                }
            }
        })?;
        remove_log_files(&self.ctx, &retired);
        Ok(())
    }

    /// Every data key, oldest first, and what it is needed for.
    pub(crate) fn data_keys(&self) -> Vec<DataKeyInfo> {
        let (epochs, current) = {
            let keyring = self.ctx.keyring.read();
            (keyring.epochs(), keyring.current_epoch())
        };
        self.catalog.read(|manifest| {
            let key = |epoch: &EpochInfo| data_key(manifest, epoch, epoch.id == current);
            epochs.iter().map(key).collect()
        })
    }
}

fn refused(reason: &str) -> Error {
    Error::InvalidArgument { argument: "epoch", reason: reason.to_owned() }
}

/// Runs that only wait for a backup, under another key than the current one: the next backup starts from the live trees.
fn give_up_waiting_runs(manifest: &mut Manifest, epoch: EpochId) {
    let outdated: BTreeSet<SegmentId> =
        manifest.segments.iter().filter(|info| info.epoch != epoch).map(|info| info.id).collect();
    let mut waiting =
        manifest.retained_runs.iter().flat_map(|run| run.segments.iter().chain(&run.value_segments));
    if waiting.any(|id| outdated.contains(id)) {
        manifest.retained_runs.clear();
        manifest.repositories.iter_mut().for_each(|cursor| cursor.lineage = Lineage::Rebase);
    }
}

fn data_key(manifest: &Manifest, key: &EpochInfo, is_current: bool) -> DataKeyInfo {
    let sealed: BTreeSet<SegmentId> =
        manifest.segments.iter().filter(|info| info.epoch == key.id).map(|info| info.id).collect();
    let of_runs = manifest.run_segments();
    let files = || manifest.segments.iter().filter(|info| sealed.contains(&info.id));
    let live = files().map(|info| match info.kind {
        SegmentKind::Run if of_runs.contains(&info.id) => info.stored_bytes,
        // Held by something else: a run counts as a whole, or not at all.
        SegmentKind::Run => 0,
        _ => info.live_bytes,
    });
    let needs =
        |checkpoint: &&NamedCheckpoint| checkpoint.segments.iter().any(|held| sealed.contains(&held.id));
    let mut waiting =
        manifest.retained_runs.iter().flat_map(|run| run.segments.iter().chain(&run.value_segments));
    DataKeyInfo {
        epoch: key.id,
        created_micros: key.created_micros,
        is_current,
        live_bytes: live.sum(),
        file_bytes: files().map(|info| info.length).sum(),
        checkpoints: manifest.checkpoints.iter().filter(needs).map(|one| one.name.clone()).collect(),
        log_segments: manifest.wal.iter().filter(|info| info.epoch == key.id).count() as u64,
        waits_for_backup: waiting.any(|id| sealed.contains(id)),
    }
}
