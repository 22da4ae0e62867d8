//! Keys of the database: new data keys, and a second key that opens it.

use lightning_db::{Error, KeySource};

use super::client::Client;
use super::config::OTHER_KEY;
use super::run::{Step, bug};

/// The label of the second key.
const LABEL: &str = "second";

impl Client<'_> {
    pub(crate) fn rotate_data_key(&mut self) -> Step {
        let rotated = self.db.rotate_data_key();
        let outcome = self.process.judge("rotate_data_key", rotated, |error| {
            matches!(error, Error::NotEncrypted { .. }) && !self.run.config.encryption_enabled
        })?;
        if outcome.is_ok() && !self.run.config.encryption_enabled {
            return bug("a database without encryption has a new data key");
        }
        Ok(())
    }

    /// Adds the second key, or takes it away.
    pub(crate) fn change_keys(&mut self) -> Step {
        if !self.run.config.encryption_enabled {
            return Ok(());
        }
        let slot = self.db.key_slots().into_iter().find(|slot| slot.label == LABEL);
        let gone = !self.process.is_alone;
        let changed = match slot {
            Some(slot) => self.db.remove_key(slot.id),
            None => self.db.add_key(KeySource::raw(OTHER_KEY), LABEL).map(drop),
        };
        self.process
            .judge("change keys", changed, |error| {
                gone && matches!(error, Error::NotFound { .. } | Error::AlreadyExists { .. })
            })?
            .ok();
        Ok(())
    }
}
