//! Destroying one data key.

use std::path::PathBuf;
use std::sync::Arc;

use lightning_db_backup::{KnownKeys, Repository, destroy_epoch, epoch_holders};
use lightning_db_crypto::{EpochId, KeyProvider, KeySource};
use lightning_db_storage::audit::AuditEvent;
use lightning_db_storage::directory::KEYRING_FILES;
use lightning_db_storage::twin_file::has_other_names;

use super::place::{KeyPlace, joined, reach};
use crate::backup::{Progress, store_at};
use crate::database::Database;
use crate::engine::DataKeyInfo;
use crate::error::{Error, Result};

/// Which traces of a data key go, beside that in the database.
#[derive(Clone, Debug, Default)]
pub struct DestroyDataKeyOptions {
    /// Repositories beside those that are registered.
    pub repositories: Vec<PathBuf>,
    /// Keys that opened the database once. They tell what is in keyrings that were copied before the master key was
    /// rotated, or before a slot got another key.
    pub keys: Vec<KeySource>,
    /// Destroy keyrings that no key opens, too, with the backups that were made beside them.
    pub unknown_keyrings: bool,
    /// Give up named checkpoints under the key, and log that waits for a backup that cannot be made.
    pub force: bool,
}

/// What destroying one data key takes along, or took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKeyDestruction {
    /// The data key.
    pub epoch: EpochId,
    /// What needed it in the database; `None` if the database has no such key, or no longer.
    pub key: Option<DataKeyInfo>,
    /// Whether the database's keyring has another name, as in a copy that was made with links: that has the key, too, and
    /// keeps it.
    pub is_keyring_linked: bool,
    /// The repositories.
    pub places: Vec<KeyPlace>,
}

impl Database {
    /// What [`destroy_data_key`](Self::destroy_data_key) would destroy. Nothing is changed.
    ///
    /// # Errors
    /// As [`destroy_data_key`](Self::destroy_data_key).
    pub fn plan_data_key_destruction(
        &self,
        epoch: EpochId,
        options: &DestroyDataKeyOptions,
    ) -> Result<DataKeyDestruction> {
        Search::new(self, epoch, options)?.plan()
    }

    /// Destroys a data key that is not the current one: what it sealed cannot be read any more, here and in the registered
    /// repositories and those named. Each of these gets a backup of the database as it is now; the backups that were made
    /// while the database had the key are deleted, since it is in their keyrings. Keyrings of before the master key was
    /// rotated need a key that opened the database then, see [`DestroyDataKeyOptions::keys`]; those that none opens are
    /// left, unless told otherwise, and the report names them.
    ///
    /// Live data is never destroyed by this: [`reseal`](Self::reseal) moves it first. With `force`, named checkpoints under
    /// the key go, and log that waits for a backup that cannot be made.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for the current key, and for one that something needs; `WrongKey` if the key that the
    /// database was opened with was removed since; `Diverged`; those of key services that are asked what is in a keyring, of
    /// backing up, and of writing files. Nothing is given up by force unless the key can be destroyed then. The key is destroyed in the database before it is destroyed in repositories:
    /// another call goes on there.
    pub fn destroy_data_key(
        &self,
        epoch: EpochId,
        options: &DestroyDataKeyOptions,
        progress: &dyn Progress,
    ) -> Result<DataKeyDestruction> {
        self.require_writable()?;
        let search = Search::new(self, epoch, options)?;
        let mut plan = search.plan()?;
        let reached: Vec<bool> = plan.places.iter().map(|place| place.unreached.is_none()).collect();
        if let Some(key) = &plan.key {
            self.allowed(AuditEvent::DataKeyDestroyed, refuse_live(key, options.force))?;
            if key.log_segments > 0 || key.waits_for_backup {
                // What waits for these is fetched, and then no longer kept.
                for (place, _) in plan.places.iter().zip(&reached).filter(|(_, reached)| **reached) {
                    self.backup_with(&place.place, progress)?;
                }
            }
            self.engine.destroy_data_key(&*search.providers[0], epoch, options.force)?;
        }
        for (place, _) in plan.places.iter_mut().zip(&reached).filter(|(_, reached)| **reached) {
            self.backup_with(&place.place, progress)?;
            *place = search.destroy_at(std::mem::take(&mut place.place))?;
        }
        Ok(plan)
    }
}

/// The traces of a data key.
struct Search<'a> {
    db: &'a Database,
    epoch: EpochId,
    options: &'a DestroyDataKeyOptions,
    /// What opens keyrings; the first is the key that the database was opened with.
    providers: Vec<Arc<dyn KeyProvider>>,
}

impl<'a> Search<'a> {
    fn new(db: &'a Database, epoch: EpochId, options: &'a DestroyDataKeyOptions) -> Result<Self> {
        let mut providers = vec![db.own_key()?];
        for key in &options.keys {
            let reason = || "one of them names no key".to_owned();
            let named = key.resolve()?;
            providers
                .push(named.ok_or_else(|| Error::InvalidArgument { argument: "keys", reason: reason() })?);
        }
        Ok(Self { db, epoch, options, providers })
    }

    fn plan(&self) -> Result<DataKeyDestruction> {
        let epoch = self.epoch;
        let engine = &self.db.engine;
        let registered = engine.catalog.read(|manifest| {
            manifest.repositories.iter().map(|cursor| cursor.url_hint.clone()).collect::<Vec<_>>()
        });
        let candidates = joined(&*engine.ctx.vfs, registered.into_iter(), &self.options.repositories);
        let look = |candidate| {
            reach(&engine.ctx.vfs, candidate, |store| {
                let repository = Repository::open(store)?;
                self.with_keys(|keys| epoch_holders(&repository, keys, epoch))
            })
        };
        let places = candidates.iter().map(look).collect::<Result<Vec<_>>>()?;
        let key = self.db.data_keys().into_iter().find(|key| key.epoch == epoch);
        let is_nothing = |place: &KeyPlace| place.keyrings == 0 && place.unknown.is_empty();
        if key.is_none() && places.iter().all(is_nothing) {
            return Err(Error::NotFound { what: format!("data key {epoch}") });
        }
        let linked = |name| has_other_names(&*engine.ctx.vfs, &engine.ctx.directory.join(name));
        let is_keyring_linked = KEYRING_FILES.into_iter().any(linked);
        Ok(DataKeyDestruction { epoch, key, is_keyring_linked, places })
    }

    fn destroy_at(&self, place: PathBuf) -> Result<KeyPlace> {
        let ctx = &self.db.engine.ctx;
        let store = store_at(&ctx.vfs, &place)?;
        let now = ctx.clock.now_micros();
        let gone = self.with_keys(|keys| destroy_epoch(&store, keys, self.epoch, now))?;
        Ok(KeyPlace::of(place, gone))
    }

    fn with_keys<R>(&self, work: impl FnOnce(&KnownKeys<'_>) -> R) -> R {
        let keyring = self.db.engine.ctx.keyring.read().duplicate();
        let providers: Vec<&dyn KeyProvider> = self.providers.iter().map(|provider| &**provider).collect();
        work(&KnownKeys {
            keyring: &keyring,
            providers: &providers,
            unknown_too: self.options.unknown_keyrings,
        })
    }
}

fn refuse_live(key: &DataKeyInfo, force: bool) -> Result<()> {
    let refused = |what: String| Err(Error::InvalidArgument { argument: "epoch", reason: what });
    if key.is_current {
        return refused("it is the current data key: rotate first".into());
    }
    if key.live_bytes > 0 {
        return refused(format!(
            "it is still needed ({key}): move the live data to the current key first (`reseal`)"
        ));
    }
    if !key.checkpoints.is_empty() && !force {
        return refused(format!("it is still needed ({key}): drop these, or force it"));
    }
    Ok(())
}
