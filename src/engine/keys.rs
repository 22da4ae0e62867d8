//! Changing the keyring of an open database: slots and epochs.

use lightning_db_crypto::{CryptoError, Entropy, Keyring};

use super::Engine;
use crate::error::{Error, Result};

impl Engine {
    /// Lets `edit` change the keyring, and makes the result durable before anything is sealed with what is new in it.
    ///
    /// # Errors
    /// What `edit` returns: nothing has changed then. Those of writing the keyring: writing ends, because what memory
    /// and the files say may differ.
    pub(crate) fn change_keyring<R>(
        &self,
        edit: impl FnOnce(&mut Keyring, &dyn Entropy, i64) -> std::result::Result<R, CryptoError>,
    ) -> Result<R> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.health.check()?;
        let mut store = self.keyring_store.lock();
        // Held until the keyring is durable: nobody takes a key from it before.
        let mut keyring = self.ctx.keyring.write();
        let result = edit(&mut keyring, &*self.ctx.entropy, self.ctx.clock.now_micros())?;
        store.commit(&keyring, &*self.ctx.entropy).map_err(|error| {
            let error = Error::from(error);
            self.health.poison(&error);
            error
        })?;
        Ok(result)
    }
}
