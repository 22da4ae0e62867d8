//! Keys of the database: new data keys and master keys, and a second key that opens it.

use lightning_db::{Error, KeySource, LightningDbConfig, NoProgress, SlotInfo};

use super::client::Client;
use super::config::{KEY, OTHER_KEY, THIRD_KEY};
use super::run::{Run, Step, bug};
use crate::random::Random;

/// The label of the second key.
const LABEL: &str = "second";

/// What the second slot is known to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Second {
    /// There is no such slot.
    #[default]
    Absent,
    /// This key opens it.
    Holds([u8; 32]),
    /// Some change was cut short, or several were at work.
    Unsure,
}

impl Run {
    /// One of the keys that open the database.
    pub(crate) fn any_key(&self, random: &mut Random) -> [u8; 32] {
        match self.world().second {
            Second::Holds(key) if random.once_in(3) => key,
            _ => KEY,
        }
    }

    /// The configuration that opens the database with this key.
    pub(crate) fn config_with(&self, key: [u8; 32]) -> LightningDbConfig {
        let mut config = self.config.clone();
        if config.encryption_enabled {
            config.encryption_key = KeySource::raw(key);
        }
        config
    }

    /// A key that opens nothing, if one is known.
    pub(crate) fn no_key(&self) -> Option<[u8; 32]> {
        let second = self.world().second;
        let is_none = |key: &&[u8; 32]| match second {
            Second::Absent => true,
            Second::Holds(holds) => holds != **key,
            Second::Unsure => false,
        };
        let key = [OTHER_KEY, THIRD_KEY].iter().find(is_none).copied();
        key.filter(|_| self.config.encryption_enabled)
    }

    /// Learns from an open database which slots it has.
    pub(crate) fn learn_slots(&self, slots: &[SlotInfo]) -> Step {
        let is_there = slots.iter().any(|slot| slot.label == LABEL);
        let second = &mut self.world().second;
        match (*second, is_there) {
            (Second::Absent, true) => bug("a key slot is there that was removed, or never added"),
            (Second::Holds(_), false) => bug("a key slot is gone"),
            (Second::Unsure, false) => {
                *second = Second::Absent;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Client<'_> {
    /// Only whoever is alone knows what comes of a change.
    fn note_second(&self, second: Second) {
        self.run.world().second = if self.process.is_alone { second } else { Second::Unsure };
    }

    /// Whether the key may be gone by now that the database goes by.
    fn may_have_lost_its_key(&self) -> bool {
        let own = self.process.own_key();
        own != KEY && self.run.world().second != Second::Holds(own)
    }

    fn judge_change<T>(&self, what: &str, changed: lightning_db::Result<T>) -> Step<Option<T>> {
        let (is_plain, may_be_lost) = (!self.run.config.encryption_enabled, self.may_have_lost_its_key());
        let outcome = self.process.judge(what, changed, |error| match error {
            Error::NotEncrypted { .. } => is_plain,
            Error::WrongKey { .. } => may_be_lost,
            _ => false,
        })?;
        if outcome.is_ok() && is_plain {
            return bug(format!("{what}: a database without encryption has keys"));
        }
        Ok(outcome.ok())
    }

    pub(crate) fn rotate_data_key(&mut self) -> Step {
        let rotated = self.db.rotate_data_key();
        self.judge_change("rotate_data_key", rotated).map(drop)
    }

    fn second_slot(&self) -> Option<SlotInfo> {
        self.db.key_slots().into_iter().find(|slot| slot.label == LABEL)
    }

    /// Adds the second key, or takes it away.
    pub(crate) fn change_keys(&mut self) -> Step {
        if !self.run.config.encryption_enabled {
            return Ok(());
        }
        let slot = self.second_slot();
        let gone = !self.process.is_alone;
        let before = self.run.world().second;
        self.note_second(Second::Unsure);
        let (changed, second) = match slot {
            Some(slot) => (self.db.remove_key(slot.id), Second::Absent),
            None => (self.db.add_key(KeySource::raw(OTHER_KEY), LABEL).map(drop), Second::Holds(OTHER_KEY)),
        };
        let strikes = self.process.strikes();
        let changed = self.process.judge("change keys", changed, |error| {
            gone && matches!(error, Error::NotFound { .. } | Error::AlreadyExists { .. })
        })?;
        if changed.is_ok() {
            self.note_second(second);
        } else if strikes == 0 {
            self.note_second(before);
        }
        Ok(())
    }

    /// Gives the second slot to another key.
    pub(crate) fn rewrap_key(&mut self) -> Step {
        let (Some(slot), Second::Holds(holds)) = (self.second_slot(), self.run.world().second) else {
            return Ok(());
        };
        let key = if holds == OTHER_KEY { THIRD_KEY } else { OTHER_KEY };
        self.note_second(Second::Unsure);
        let rewrapped = self.db.rewrap_key(slot.id, KeySource::raw(key));
        if self.process.expect("rewrap_key", rewrapped)?.is_some() {
            self.note_second(Second::Holds(key));
            let mut own = self.process.own_key.lock();
            if *own == holds {
                *own = key;
            }
        }
        Ok(())
    }

    /// Draws a new master key, with all keys that are to open it.
    pub(crate) fn rotate_master_key(&mut self) -> Step {
        let second = self.run.world().second;
        let own = self.process.own_key();
        let others: Vec<[u8; 32]> = match second {
            Second::Unsure => return Ok(()),
            Second::Absent => vec![KEY],
            Second::Holds(key) => vec![KEY, key],
        };
        let others = others.into_iter().filter(|key| *key != own).map(KeySource::raw);
        let rotated = self.db.rotate_master_key(&others.collect::<Vec<_>>(), &[]);
        self.judge_change("rotate_master_key", rotated).map(drop)
    }

    /// Moves everything to the newest data key; nothing that is live is under another then.
    pub(crate) fn reseal(&mut self) -> Step {
        let resealed = self.db.reseal(&NoProgress);
        if self.judge_change("reseal", resealed)?.is_none() {
            return Ok(());
        }
        let left = self.db.data_keys().into_iter().find(|key| !key.is_current && key.live_bytes > 0);
        match left {
            Some(key) if !self.process.crashed() => {
                bug(format!("resealed, and data key {} has {key}", key.epoch))
            }
            _ => Ok(()),
        }
    }
}
