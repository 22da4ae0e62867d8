//! Key slots: who can open the keyring.

use super::{
    Keyring, Slot, SlotInfo,
    codec::{self, Clear, MAX_LABEL_LEN, MAX_SLOTS, malformed},
};
use crate::{
    CryptoError, DatabaseId, Entropy, KeyProvider, SecretKey, SlotContext, SlotId, SuiteId, presentable,
    provider::NOT_THIS_SLOT,
};

impl Keyring {
    /// Lets another provider open the database. The slot counts only after the provider has
    /// opened it again.
    ///
    /// # Errors
    /// [`CryptoError::NotEncrypted`]; [`CryptoError::DuplicateLabel`];
    /// [`CryptoError::InvalidLabel`] if it is empty, longer than 128 bytes or has control
    /// characters; [`CryptoError::TooLarge`] beyond 32 slots; whatever the provider returns.
    pub fn add_slot(
        &mut self,
        provider: &dyn KeyProvider,
        label: &str,
        entropy: &dyn Entropy,
        now_micros: i64,
    ) -> Result<SlotId, CryptoError> {
        self.require_encrypted()?;
        if self.slots.iter().any(|slot| slot.info.label == label) {
            return Err(CryptoError::DuplicateLabel(label.into()));
        }
        if self.slots.len() >= MAX_SLOTS {
            return Err(CryptoError::TooLarge { what: "the number of key slots", max: MAX_SLOTS as u64 });
        }
        let id = SlotId(self.next_slot);
        let next_slot = self.next_slot.checked_add(1).ok_or(NUMBERS_USED_UP)?;
        let info =
            SlotInfo { id, kind: provider.kind().into(), label: label.into(), created_micros: now_micros };
        let slot = fill(info, self.database, &self.master, provider, entropy)?;
        self.slots.push(slot);
        self.next_slot = next_slot;
        self.generation += 1;
        Ok(id)
    }

    /// Takes a slot away. Copies of the keyring that were made before still have it.
    ///
    /// # Errors
    /// [`CryptoError::SlotNotFound`]; [`CryptoError::LastSlot`]; [`CryptoError::NotEncrypted`].
    pub fn remove_slot(&mut self, id: SlotId) -> Result<(), CryptoError> {
        self.require_encrypted()?;
        let index = self.slot_index(id)?;
        if self.slots.len() == 1 {
            return Err(CryptoError::LastSlot);
        }
        self.slots.remove(index);
        self.generation += 1;
        Ok(())
    }

    /// Gives a slot to another key, under the same number and label. On an error nothing changes.
    ///
    /// # Errors
    /// [`CryptoError::SlotNotFound`]; [`CryptoError::NotEncrypted`]; whatever the provider returns.
    pub fn rotate_slot(
        &mut self,
        id: SlotId,
        provider: &dyn KeyProvider,
        entropy: &dyn Entropy,
        now_micros: i64,
    ) -> Result<(), CryptoError> {
        self.require_encrypted()?;
        let index = self.slot_index(id)?;
        let label = self.slots[index].info.label.clone();
        let info = SlotInfo { id, kind: provider.kind().into(), label, created_micros: now_micros };
        self.slots[index] = fill(info, self.database, &self.master, provider, entropy)?;
        self.generation += 1;
        Ok(())
    }

    pub(super) fn slot_index(&self, id: SlotId) -> Result<usize, CryptoError> {
        self.slots.iter().position(|slot| slot.info.id == id).ok_or(CryptoError::SlotNotFound(id))
    }

    pub(super) fn require_encrypted(&self) -> Result<(), CryptoError> {
        if self.suite_id() == SuiteId::Checksum { Err(CryptoError::NotEncrypted) } else { Ok(()) }
    }
}

const NUMBERS_USED_UP: CryptoError =
    CryptoError::TooLarge { what: "the number of a key slot", max: u32::MAX as u64 };

/// Wraps the master key under a fresh salt, and proves that it can be unwrapped.
pub(super) fn fill(
    info: SlotInfo,
    database: DatabaseId,
    master: &SecretKey,
    provider: &dyn KeyProvider,
    entropy: &dyn Entropy,
) -> Result<Slot, CryptoError> {
    let label = &info.label;
    if label.is_empty() || label.len() > MAX_LABEL_LEN || label.contains(char::is_control) {
        return Err(CryptoError::InvalidLabel { max: MAX_LABEL_LEN });
    }
    let mut salt = [0; 32];
    entropy.fill(&mut salt)?;
    let ctx = SlotContext { database, salt };
    let wrapped = provider.wrap(&ctx, master, entropy)?;
    codec::check_wrapped(&wrapped, &info.kind)?;
    if provider.unwrap(&ctx, &wrapped)? != *master {
        return Err(CryptoError::Provider {
            name: info.kind,
            reason: "it does not give back the key that it wrapped".into(),
        });
    }
    Ok(Slot { info, salt, wrapped })
}

/// Finds the slot that the provider opens, and the master key in it.
pub(super) fn unlock(clear: &Clear, provider: &dyn KeyProvider) -> Result<(SecretKey, SlotId), CryptoError> {
    // A slot that fails does not hide one behind it that opens; the body's seal covers all slots.
    let (mut failure, mut reasons) = (None, Vec::new());
    for slot in clear.slots.iter().filter(|slot| slot.info.kind == provider.kind()) {
        let ctx = SlotContext { database: clear.database, salt: slot.salt };
        match provider.unwrap(&ctx, &slot.wrapped) {
            Ok(master) if super::commits_to(&master, clear) => return Ok((master, slot.info.id)),
            Ok(_) => {
                let reason = format!("slot {} holds another key than the master key", slot.info.id);
                failure.get_or_insert(malformed(reason));
            }
            Err(CryptoError::WrongKey { what }) => reasons.extend((what != NOT_THIS_SLOT).then_some(what)),
            // It is one service for all slots: asking it again would only take as long again.
            Err(error @ CryptoError::Unreachable { .. }) => return Err(error),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    Err(failure.unwrap_or_else(|| wrong_key(clear, provider, &reasons)))
}

fn wrong_key(clear: &Clear, provider: &dyn KeyProvider, reasons: &[String]) -> CryptoError {
    let kinds: Vec<_> = clear.slots.iter().map(|slot| slot.info.kind.as_str()).collect();
    let what = if kinds.contains(&provider.kind()) {
        let why = if reasons.is_empty() {
            String::new()
        } else {
            format!(": {}", presentable(&reasons.join("; ")))
        };
        format!("no key slot of database {} opens with this {} key{why}", clear.database, provider.kind())
    } else {
        format!(
            "database {} has no key slot of kind {}, only {}: configure one of these",
            clear.database,
            provider.kind(),
            kinds.join(", ")
        )
    };
    CryptoError::WrongKey { what }
}
