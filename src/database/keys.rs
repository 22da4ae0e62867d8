//! Who can open a database, and the key that its data is sealed with.

use std::sync::Arc;

use lightning_db_backup::Progress;
use lightning_db_crypto::{CryptoError, EpochId, KeyProvider, KeySource, PublicKey, SlotId, SlotInfo};
use lightning_db_storage::audit::{AuditEvent, AuditFile, AuditLog};

use super::Database;
use crate::engine::{About, DataKeyInfo};
use crate::error::{Error, Result};

impl Database {
    /// The key that signs this database's backups. Keep it where nobody who can write to the repository can change it:
    /// [`VerifyOptions::public_key`](crate::VerifyOptions::public_key) then tells a repository that somebody else made up.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.engine.ctx.keyring.read().public_key()
    }

    /// The keys that open the database, by number; none if it is not encrypted.
    #[must_use]
    pub fn key_slots(&self) -> Vec<SlotInfo> {
        self.engine.ctx.keyring.read().slots()
    }

    /// Lets another key open the database, under a label that no other key has. It is durable when this returns. The
    /// data is not sealed anew: each key opens the same master key.
    ///
    /// # Errors
    /// `NotEncrypted`; `AlreadyExists` for a label in use; `InvalidArgument` for one that is empty, longer than 128 bytes
    /// or has control characters, and for a source that names no key; errors of the key source and of writing files;
    /// `ReadOnly`, `Closed`. Nothing has changed then.
    pub fn add_key(&self, key: KeySource, label: &str) -> Result<SlotId> {
        let provider = self.allowed(AuditEvent::KeyAdded, named(&key))?;
        let about = |slot: &SlotId| of_slot(*slot);
        self.engine.change_keyring(AuditEvent::KeyAdded, Some(&*provider), about, |keyring, entropy, now| {
            keyring.add_slot(&*provider, label, entropy, now).map_err(label_refused)
        })
    }

    /// Takes the key with this number away. Copies of the database and backups that were made before still open with
    /// it: what it should no longer open, [`rotate_data_key`](Self::rotate_data_key) and new backups have to replace.
    ///
    /// # Errors
    /// `NotFound` if there is no such slot; `LastKeySlot`; `NotEncrypted`; errors of writing files; `ReadOnly`, `Closed`.
    /// Nothing has changed then.
    pub fn remove_key(&self, slot: SlotId) -> Result<()> {
        self.engine.change_keyring(
            AuditEvent::KeyRemoved,
            None,
            |()| of_slot(slot),
            |keyring, _, _| Ok(keyring.remove_slot(slot)?),
        )
    }

    /// Wraps the master key anew in one slot: with the key in `key`, or, after a key service has got a new version of its
    /// key, with that. It is one change: the slot has the new key, which has been tried, or still the old one. Its number
    /// and label stay. The data is not sealed anew.
    ///
    /// # Errors
    /// `NotFound` if there is no such slot; `InvalidArgument` for a source that names no key; `NotEncrypted`; errors of the
    /// key source and of writing files; `ReadOnly`, `Closed`. Nothing has changed then.
    pub fn rewrap_key(&self, slot: SlotId, key: KeySource) -> Result<()> {
        let event = AuditEvent::KeyRewrapped;
        let provider = self.allowed(event, named(&key))?;
        let about = |(): &()| of_slot(slot);
        self.engine.change_keyring(event, Some(&*provider), about, |keyring, entropy, now| {
            Ok(keyring.rotate_slot(slot, &*provider, entropy, now)?)
        })?;
        // Who created the database has its first slot.
        let own = self.engine.ctx.keyring.read().opened_by().unwrap_or(FIRST_SLOT);
        if slot == own {
            *self.engine.own_key.lock() = Some(provider);
        }
        Ok(())
    }

    /// Draws a new data key, which seals every file that is begun from now on, those of the log too. Merges move what
    /// older keys sealed, [`reseal`](Self::reseal) all that is left. Older keys stay in the keyring, since backups and
    /// checkpoints may need them.
    ///
    /// # Errors
    /// `NotEncrypted`; `WrongKey` if the key that the database was opened with was removed since; errors of writing
    /// files; `ReadOnly`, `Closed`. Nothing has changed then.
    pub fn rotate_data_key(&self) -> Result<EpochId> {
        let event = AuditEvent::DataKeyRotated;
        let own = self.allowed(event, self.own_key())?;
        let epoch = self.engine.change_keyring(event, Some(&*own), of_epoch, |keyring, entropy, now| {
            Ok(keyring.start_epoch(entropy, now)?)
        })?;
        self.engine.leave_old_log();
        Ok(epoch)
    }

    /// Draws a new master key, and a new data key with it, since who had the old master key had all data keys. Everything
    /// that the old one sealed is sealed anew, as one change. Each slot that is to stay needs its key: that with which the
    /// database was opened, or one in `keys`; slots in `dropped` go.
    ///
    /// What the data keys of before sealed is moved by merges, or by [`reseal`](Self::reseal). The key that signs backups
    /// stays.
    ///
    /// # Errors
    /// `InvalidArgument` naming the slots that would be left behind; `WrongKey` for a key that opens none of those that
    /// stay; `LastKeySlot`, `NotFound`, `NotEncrypted`; errors of key sources and of writing files; `ReadOnly`, `Closed`.
    /// Nothing has changed then.
    pub fn rotate_master_key(&self, keys: &[KeySource], dropped: &[SlotId]) -> Result<EpochId> {
        let event = AuditEvent::MasterKeyRotated;
        let own = self.allowed(event, self.own_key())?;
        let others = self.allowed(event, keys.iter().map(named).collect::<Result<Vec<_>>>())?;
        let providers: Vec<&dyn KeyProvider> =
            std::iter::once(&*own).chain(others.iter().map(|other| &**other)).collect();
        let epoch = self.engine.change_keyring(event, Some(&*own), of_epoch, |keyring, entropy, now| {
            Ok(keyring.rotate_master(&providers, dropped, entropy, now)?)
        })?;
        self.engine.leave_old_log();
        Ok(epoch)
    }

    /// Moves everything that older data keys sealed to the current one: pages, values and the log. Reads and writes go on
    /// meanwhile. What is done stays done: after a failure or a crash another call goes on where this one was. Named
    /// checkpoints, and log that waits for a backup, stay under the old keys; [`data_keys`](Self::data_keys) tells.
    ///
    /// # Errors
    /// `NotEncrypted`; `Stalled` when nothing moves, for a while; `DiskFull` and other errors of reading and writing files;
    /// `ReadOnly`, `Closed`. Nothing is lost then.
    pub fn reseal(&self, progress: &dyn Progress) -> Result<()> {
        self.require_writable()?;
        if self.key_slots().is_empty() {
            return Err(CryptoError::NotEncrypted.into());
        }
        self.engine.reseal(progress)
    }

    /// What was done with this database's keys, oldest first, and whether anything of that was taken away or changed. A
    /// database that is not encrypted has no keys, and no entries.
    ///
    /// # Errors
    /// Those of reading the file. Damage is in the result.
    pub fn audit_log(&self) -> Result<AuditLog> {
        self.engine.read_audit()
    }

    /// What can be read of damaged audit logs: of each that was set aside, and of the log itself if it is damaged. Each file
    /// stands for itself, and says where it breaks.
    ///
    /// # Errors
    /// Those of reading the files. Damage is in the result.
    pub fn damaged_audit_logs(&self) -> Result<Vec<AuditFile>> {
        self.engine.salvage_audit()
    }

    /// The data keys, oldest first, and what needs each of them.
    #[must_use]
    pub fn data_keys(&self) -> Vec<DataKeyInfo> {
        self.engine.data_keys()
    }

    /// Notes what is refused before the keyring is touched.
    pub(crate) fn allowed<T>(&self, event: AuditEvent, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| self.engine.note_refused(event, error))
    }

    /// The key of the slot that the database was opened by: that which the configuration names, or that which the slot got
    /// since.
    pub(crate) fn own_key(&self) -> Result<Arc<dyn KeyProvider>> {
        if let Some(own) = &*self.engine.own_key.lock() {
            return Ok(Arc::clone(own));
        }
        let own = self.engine.config.encryption_key.resolve()?;
        own.ok_or_else(|| CryptoError::NotEncrypted.into())
    }
}

const FIRST_SLOT: SlotId = SlotId(1);

fn of_slot(slot: SlotId) -> About {
    About { slot: Some(slot), ..About::default() }
}

fn of_epoch(epoch: &EpochId) -> About {
    About { epoch: Some(*epoch), ..About::default() }
}

/// What `key` gives.
fn named(key: &KeySource) -> Result<Arc<dyn KeyProvider>> {
    let reason = || "it names no key".to_owned();
    key.resolve()?.ok_or_else(|| Error::InvalidArgument { argument: "key", reason: reason() })
}

/// A label that cannot be one is the caller's mistake, and none of the keyring's.
fn label_refused(error: CryptoError) -> Error {
    match error {
        CryptoError::InvalidLabel { .. } => {
            Error::InvalidArgument { argument: "label", reason: error.to_string() }
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Arc;

    use lightning_db_crypto::{EpochId, SeededEntropy, SlotId};
    use lightning_db_storage::vfs::MemVfs;

    use super::*;
    use crate::{Environment, LightningDbConfig};

    fn with(byte: u8) -> LightningDbConfig {
        let encryption_key = KeySource::raw([byte; 32]);
        LightningDbConfig { encryption_enabled: true, encryption_key, ..Default::default() }
    }

    fn world() -> Environment {
        Environment {
            vfs: Arc::new(MemVfs::new()),
            entropy: Arc::new(SeededEntropy::new(7)),
            ..Environment::default()
        }
    }

    fn open(world: &Environment, key: u8) -> Result<Arc<Database>> {
        Database::open_in(world.clone(), Path::new("/db"), with(key))
    }

    #[test]
    fn a_second_key_opens_until_it_is_removed() -> Result<()> {
        let world = world();
        let db = Database::create_in(world.clone(), "/db", with(1))?;
        db.put(b"k", b"v")?;
        let slot = db.add_key(KeySource::raw([2; 32]), "second")?;
        assert_eq!(db.key_slots().len(), 2);
        assert!(matches!(db.add_key(KeySource::raw([3; 32]), "second"), Err(Error::AlreadyExists { .. })));
        assert!(matches!(db.add_key(KeySource::raw([3; 32]), ""), Err(Error::InvalidArgument { .. })));
        assert!(matches!(db.add_key(KeySource::none(), "x"), Err(Error::InvalidArgument { .. })));
        db.close()?;
        drop(db);

        let db = open(&world, 2)?;
        assert_eq!(db.get(b"k")?.as_deref(), Some(&b"v"[..]));
        db.remove_key(SlotId(1))?;
        assert!(matches!(db.remove_key(slot), Err(Error::LastKeySlot)));
        assert!(matches!(db.remove_key(SlotId(9)), Err(Error::NotFound { .. })));
        db.close()?;
        drop(db);
        assert!(matches!(open(&world, 1), Err(Error::WrongKey { .. })));
        assert_eq!(open(&world, 2)?.key_slots()[0].label, "second");
        Ok(())
    }

    /// As a server does that is told of a leak, without being opened anew in between.
    #[test]
    fn keys_go_on_being_changed_after_the_own_slot_got_another_key() -> Result<()> {
        let world = world();
        for created in [true, false] {
            let db =
                if created { Database::create_in(world.clone(), "/db", with(1))? } else { open(&world, 2)? };
            let slot = db.key_slots()[0].id;
            db.rewrap_key(slot, KeySource::raw([if created { 2 } else { 3 }; 32]))?;
            let old = db.data_keys()[0].epoch;
            db.rotate_data_key()?;
            db.rotate_master_key(&[], &[])?;
            db.reseal(&crate::NoProgress)?;
            db.destroy_data_key(old, &crate::DestroyDataKeyOptions::default(), &crate::NoProgress)?;
            db.close()?;
        }
        assert!(open(&world, 3).is_ok());
        Ok(())
    }

    #[test]
    fn a_new_data_key_seals_what_comes_and_the_old_one_still_opens_what_was() -> Result<()> {
        let world = world();
        let db = Database::create_in(world.clone(), "/db", with(1))?;
        let many: Vec<_> = (0..2000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![0; 100])).collect();
        db.put_batch(&many)?;
        db.put(b"old", b"1")?;
        db.compact()?;
        let epoch = db.rotate_data_key()?;
        let epochs = || -> BTreeSet<EpochId> {
            db.engine.catalog.read(|manifest| manifest.segments.iter().map(|info| info.epoch).collect())
        };
        let old = epochs();
        assert!(!old.is_empty() && !old.contains(&epoch));
        db.put(b"new", b"2")?;
        db.checkpoint()?;
        assert!(epochs().contains(&epoch));
        db.compact()?;
        assert_eq!(epochs(), [epoch].into(), "compacting leaves nothing under the old key, changed or not");
        db.close()?;
        drop(db);

        let db = open(&world, 1)?;
        assert_eq!(db.get(b"old")?.as_deref(), Some(&b"1"[..]));
        assert_eq!(db.get(b"new")?.as_deref(), Some(&b"2"[..]));
        Ok(())
    }

    #[test]
    fn a_keyring_that_cannot_be_stored_is_not_used() -> Result<()> {
        let world = world();
        let db = Database::create_in(world.clone(), "/db", with(1))?;
        let read_only = Database::open_read_only_in(world.clone(), "/db", with(1));
        assert!(matches!(read_only, Err(Error::Locked { .. })));
        db.close()?;
        assert!(matches!(db.rotate_data_key(), Err(Error::Closed)));
        drop(db);
        let db = Database::open_read_only_in(world, "/db", with(1))?;
        assert!(matches!(db.add_key(KeySource::raw([2; 32]), "x"), Err(Error::ReadOnly)));
        assert!(matches!(db.remove_key(SlotId(1)), Err(Error::ReadOnly)));
        assert_eq!(db.key_slots().len(), 1);
        Ok(())
    }

    #[test]
    fn a_database_without_encryption_has_no_keys() -> Result<()> {
        let db = Database::create_in(world(), "/db", LightningDbConfig::default())?;
        assert!(db.key_slots().is_empty());
        assert!(matches!(db.add_key(KeySource::raw([2; 32]), "x"), Err(Error::NotEncrypted { .. })));
        assert!(matches!(db.rotate_data_key(), Err(Error::NotEncrypted { .. })));
        Ok(())
    }

    #[test]
    fn an_older_keyring_that_is_put_back_is_refused() -> Result<()> {
        let world = world();
        let db = Database::create_in(world.clone(), "/db", with(1))?;
        db.add_key(KeySource::raw([2; 32]), "second")?;
        let names = [("/db/KEYRING", "/db/old"), ("/db/KEYRING.2", "/db/old.2")];
        for (name, kept) in names {
            world.vfs.hard_link(Path::new(name), Path::new(kept)).expect("link");
        }
        db.remove_key(SlotId(1))?;
        db.close()?;
        drop(db);
        for (name, kept) in names {
            world.vfs.rename(Path::new(kept), Path::new(name)).expect("rename");
        }
        for key in [1, 2] {
            let refused = open(&world, key).map(drop);
            let is_named = |file: &Path| file == Path::new("/db/KEYRING");
            assert!(matches!(&refused, Err(Error::Corrupt { file, .. }) if is_named(file)), "{refused:?}");
        }
        Ok(())
    }
}
