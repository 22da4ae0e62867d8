//! Moving everything to the current data key at once, and what is still sealed with which.

use std::collections::BTreeSet;
use std::fmt;

use lightning_db_backup::Progress;
use lightning_db_crypto::{EpochId, EpochInfo, KeyProvider, Keyring};
use lightning_db_storage::SegmentId;
use lightning_db_storage::manifest::{Lineage, Manifest, NamedCheckpoint};
use lightning_db_storage::segment::SegmentKind;

use super::log::{remove_log_files, retire};
use super::{Engine, catalog, policy};
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
    /// Those of reading and writing files; `Stalled` when nothing moves any more; nothing is lost then.
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
                return Err(Error::Stalled {
                    what: format!("{now} bytes did not move away from an older data key"),
                });
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

    /// Forgets a data key that nothing needs any more; with `force`, named checkpoints under it are dropped first, and what
    /// waits for backups is given up, but nothing that is live. Whether all of that can be done is looked at before any of it
    /// is.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for the current key, for one that something needs, and while a backup is made;
    /// `WrongKey` if `proof` does not open the keyring, and what its key service gives: nothing has changed then. Those of
    /// writing files: the key is still there then, though what needed it by force may be gone.
    pub(crate) fn destroy_data_key(
        &self,
        proof: &dyn KeyProvider,
        epoch: EpochId,
        force: bool,
    ) -> Result<()> {
        self.renew_log().map_err(|error| self.write_failed(error))?;
        self.flush_all()?;
        // Nobody writes a file under an older key then that no manifest names yet, or goes back to a checkpoint.
        let _alone = self.merge_alone();
        let _flushes = self.flushing.lock();
        Keyring::open(&self.ctx.keyring.read().to_bytes(&*self.ctx.entropy)?, Some(proof))?;
        let mut after = self.catalog.read(Manifest::clone);
        if force {
            self.give_up(&mut after, epoch);
            catalog::sweep(&mut after);
        }
        let key = self.keys_of(&after).into_iter().find(|key| key.epoch == epoch);
        let key = key.ok_or_else(|| Error::NotFound { what: format!("data key {epoch}") })?;
        if self.log_holds.are_held() {
            return Err(refused(BEING_BACKED_UP));
        }
        if !key.is_unused() {
            return Err(refused(&format!("it is still needed ({key})")));
        }
        if force {
            self.give_up_data_key(epoch)?;
        }
        self.forget_data_key(proof, epoch)
    }

    fn give_up_data_key(&self, epoch: EpochId) -> Result<()> {
        let mut retired = None;
        self.change_manifest(|manifest| {
            if !self.log_holds.are_held() {
                retired = Some(self.give_up(manifest, epoch));
            }
        })?;
        let retired = retired.ok_or_else(|| refused(BEING_BACKED_UP))?;
        remove_log_files(&self.ctx, &retired);
        Ok(())
    }

    /// Takes out of a manifest what only a data key of before opens: named checkpoints, and what waits for backups. Returns
    /// the files of the log that go.
    fn give_up(&self, manifest: &mut Manifest, epoch: EpochId) -> Vec<SegmentId> {
        let sealed = sealed_with(manifest, epoch);
        manifest.checkpoints.retain(|checkpoint| !needs(checkpoint, &sealed));
        give_up_waiting_runs(manifest, self.ctx.keyring.read().current_epoch());
        if manifest.wal.iter().any(|info| info.epoch == epoch) {
            retire(manifest, 0, self.config.wal_segment_size)
        } else {
            Vec::new()
        }
    }

    /// Every data key, oldest first, and what it is needed for.
    pub(crate) fn data_keys(&self) -> Vec<DataKeyInfo> {
        let manifest = self.catalog.read(Manifest::clone);
        self.keys_of(&manifest)
    }

    fn keys_of(&self, manifest: &Manifest) -> Vec<DataKeyInfo> {
        let keyring = self.ctx.keyring.read();
        let current = keyring.current_epoch();
        keyring.epochs().iter().map(|epoch| data_key(manifest, epoch, epoch.id == current)).collect()
    }
}

const BEING_BACKED_UP: &str = "a backup is being made: try again when it is done";

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

/// The files of pages and values under a data key.
fn sealed_with(manifest: &Manifest, epoch: EpochId) -> BTreeSet<SegmentId> {
    manifest.segments.iter().filter(|info| info.epoch == epoch).map(|info| info.id).collect()
}

fn needs(checkpoint: &NamedCheckpoint, segments: &BTreeSet<SegmentId>) -> bool {
    checkpoint.segments.iter().any(|held| segments.contains(&held.id))
}

fn data_key(manifest: &Manifest, key: &EpochInfo, is_current: bool) -> DataKeyInfo {
    let sealed = sealed_with(manifest, key.id);
    let of_runs = manifest.run_segments();
    let files = || manifest.segments.iter().filter(|info| sealed.contains(&info.id));
    let live = files().map(|info| match info.kind {
        SegmentKind::Run if of_runs.contains(&info.id) => info.stored_bytes,
        // Held by something else: a run counts as a whole, or not at all.
        SegmentKind::Run => 0,
        _ => info.live_bytes,
    });
    let mut waiting =
        manifest.retained_runs.iter().flat_map(|run| run.segments.iter().chain(&run.value_segments));
    DataKeyInfo {
        epoch: key.id,
        created_micros: key.created_micros,
        is_current,
        live_bytes: live.sum(),
        file_bytes: files().map(|info| info.length).sum(),
        checkpoints: {
            let needing = manifest.checkpoints.iter().filter(|one| needs(one, &sealed));
            needing.map(|one| one.name.clone()).collect()
        },
        log_segments: manifest.wal.iter().filter(|info| info.epoch == key.id).count() as u64,
        waits_for_backup: waiting.any(|id| sealed.contains(id)),
    }
}
