//! Changing the keyring of an open database: slots and epochs.

use lightning_db_crypto::{Entropy, EpochId, KeyProvider, Keyring};
use lightning_db_storage::audit::AuditEvent;
use lightning_db_sync::RwLockUpgradableReadGuard;

use super::{About, Engine};
use crate::error::{Error, Result};

impl Engine {
    /// Lets `edit` change a copy of the keyring, stores it, and only then works with it: nobody takes a key from it
    /// before it is durable, and if storing fails, what is sealed next uses keys that both the old and the new file
    /// have. Before it is stored, `proof` (if there is one) has to open it.
    ///
    /// # Errors
    /// What `edit` returns, `WrongKey` if `proof` does not open the result, those of writing the keyring. The open
    /// database goes on with the keyring that it had.
    pub(crate) fn change_keyring<R>(
        &self,
        event: AuditEvent,
        proof: Option<&dyn KeyProvider>,
        about: impl FnOnce(&R) -> About,
        edit: impl FnOnce(&mut Keyring, &dyn Entropy, i64) -> Result<R>,
    ) -> Result<R> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let ctx = &self.ctx;
        let mut store = self.keyring_store.lock();
        // With the store in hand: closing waits for it before others may open the database.
        self.health.check()?;
        let current = ctx.keyring.upgradable_read();
        let mut next = current.duplicate();
        let edited = edit(&mut next, &*ctx.entropy, ctx.clock.now_micros()).and_then(|result| {
            if let Some(provider) = proof {
                Keyring::open(&next.to_bytes(&*ctx.entropy)?, Some(provider))?;
            }
            Ok(result)
        });
        let result = match edited {
            Ok(result) => result,
            Err(error) => {
                drop(current);
                self.note_refused(event, &error);
                return Err(error);
            }
        };
        if let Err(error) = store.commit(&next, &*ctx.entropy) {
            drop(current);
            let error = Error::from(error);
            self.note_refused(event, &error);
            return Err(error);
        }
        *RwLockUpgradableReadGuard::upgrade(current) = next;
        self.note(event, about(&result));
        // The manifest names the keyring, so that an older one is not taken in its place. The change is done without it.
        if let Err(error) = self.change_manifest(|_| {}) {
            tracing::warn!(%error, "an older keyring would still be accepted until the manifest is written again");
        }
        Ok(result)
    }

    /// Forgets a data key that nothing needs.
    ///
    /// # Errors
    /// As [`change_keyring`](Self::change_keyring).
    pub(crate) fn forget_data_key(&self, proof: &dyn KeyProvider, epoch: EpochId) -> Result<()> {
        let about = |(): &()| About { epoch: Some(epoch), ..About::default() };
        self.change_keyring(AuditEvent::DataKeyDestroyed, Some(proof), about, |keyring, _, _| {
            Ok(keyring.destroy_epoch(epoch)?)
        })
    }
}
