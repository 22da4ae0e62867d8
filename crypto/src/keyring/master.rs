//! Another master key: everything that the old one sealed is sealed anew, and whoever is to go on opening the database
//! wraps the new one.

use super::{Keyring, Slot, SlotInfo, slots::fill};
use crate::{CryptoError, Entropy, EpochId, KeyProvider, Purpose, SecretKey, SlotContext, SlotId, derive};

impl Keyring {
    /// Draws a new master key and a new data key, and wraps the master key anew in each slot that one of `providers`
    /// opens. Who had the old master key had all data keys: from now on nothing new is sealed with what he knows.
    ///
    /// A slot that no provider opens must be among `dropped`, and goes. Those that stay keep their numbers, labels and
    /// places. The key that signs and the key of the content digests stay, since backups and digests of before are
    /// compared with them. On an error nothing changes.
    ///
    /// # Errors
    /// [`CryptoError::SlotsLeft`] naming the slots that would be left behind; [`CryptoError::WrongKey`] for a provider that
    /// opens none; [`CryptoError::LastSlot`] if none would stay; [`CryptoError::SlotNotFound`],
    /// [`CryptoError::NotEncrypted`], [`CryptoError::Entropy`]; whatever a provider returns.
    pub fn rotate_master(
        &mut self,
        providers: &[&dyn KeyProvider],
        dropped: &[SlotId],
        entropy: &dyn Entropy,
        now_micros: i64,
    ) -> Result<EpochId, CryptoError> {
        self.require_encrypted()?;
        for id in dropped {
            self.slot_index(*id)?;
        }
        let kept = self.openers(providers, dropped)?;
        if kept.is_empty() {
            return Err(CryptoError::LastSlot);
        }
        let master = SecretKey::random(entropy)?;
        let mut slots = Vec::with_capacity(kept.len());
        for (info, provider) in kept {
            let info = SlotInfo { created_micros: now_micros, ..info };
            slots.push(fill(info, self.database, &master, provider, entropy)?);
        }
        let mut next = self.duplicate();
        let epoch = next.start_epoch(entropy, now_micros)?;
        next.digests = Some(self.digest_key());
        (next.master, next.slots) = (master, slots);
        *self = next;
        Ok(epoch)
    }

    /// Who opens each of the slots that stay.
    fn openers<'a>(
        &self,
        providers: &[&'a dyn KeyProvider],
        dropped: &[SlotId],
    ) -> Result<Vec<(SlotInfo, &'a dyn KeyProvider)>, CryptoError> {
        // One that does not answer is not asked again for each slot.
        let (mut used, mut gone) = (vec![false; providers.len()], vec![false; providers.len()]);
        let (mut kept, mut left, mut failure) = (Vec::new(), Vec::new(), None);
        for slot in self.slots.iter().filter(|slot| !dropped.contains(&slot.info.id)) {
            let mut opener = None;
            for (index, provider) in providers.iter().enumerate() {
                if gone[index] {
                    continue;
                }
                match self.is_opened(slot, *provider) {
                    Ok(false) => {}
                    Ok(true) => {
                        used[index] = true;
                        opener.get_or_insert(*provider);
                    }
                    Err(error) => {
                        gone[index] = matches!(error, CryptoError::Unreachable { .. });
                        failure.get_or_insert(error);
                    }
                }
            }
            match opener {
                Some(provider) => kept.push((slot.info.clone(), provider)),
                None => left.push(slot.info.clone()),
            }
        }
        if !left.is_empty() {
            // A service that is down is the reason, rather than that nobody was named.
            return Err(failure.unwrap_or(CryptoError::SlotsLeft(left)));
        }
        if let Some(index) = used.iter().position(|used| !used) {
            let what = format!("no key slot that is to stay opens with this {} key", providers[index].kind());
            return Err(failure.unwrap_or(CryptoError::WrongKey { what }));
        }
        Ok(kept)
    }

    fn is_opened(&self, slot: &Slot, provider: &dyn KeyProvider) -> Result<bool, CryptoError> {
        if slot.info.kind != provider.kind() {
            return Ok(false);
        }
        let ctx = SlotContext { database: self.database, salt: slot.salt };
        match provider.unwrap(&ctx, &slot.wrapped) {
            Ok(master) => Ok(master == self.master),
            Err(CryptoError::WrongKey { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether these are a keyring of this database, whatever its master key is.
    pub fn is_of_same_database(&self, bytes: &[u8]) -> bool {
        let info = super::peek(bytes);
        info.is_ok_and(|info| (info.database, info.public_key) == (self.database, self.public_key()))
    }

    /// The key of the content digests: what the first master key gave.
    pub(super) fn digest_key(&self) -> SecretKey {
        let of_master = || derive(&self.master, Purpose::ContentDigest, &[self.database.as_bytes()]);
        self.digests.as_ref().map_or_else(of_master, SecretKey::duplicate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatabaseId, KeySource, OsEntropy, PassphraseCost, PassphraseProvider, RawProvider};

    const DATABASE: DatabaseId = DatabaseId([5; 16]);

    fn raw(byte: u8) -> RawProvider {
        RawProvider::new(SecretKey::from_bytes([byte; 32]))
    }

    fn keyring() -> Keyring {
        let mut keyring = Keyring::create(Some(&raw(1)), DATABASE, &OsEntropy, 7).expect("created");
        keyring.add_slot(&raw(2), "second", &OsEntropy, 8).expect("added");
        keyring
    }

    fn open(keyring: &Keyring, byte: u8) -> Result<Keyring, CryptoError> {
        Keyring::open(&keyring.to_bytes(&OsEntropy)?, Some(&raw(byte)))
    }

    #[test]
    fn a_new_master_key_opens_with_the_same_keys_and_reads_what_was() {
        let mut keyring = keyring();
        let before = keyring.to_bytes(&OsEntropy).expect("bytes");
        let old = keyring.master.duplicate();
        let sealed = keyring.seal_small(&OsEntropy, "note", b"", b"", b"old").expect("sealed");
        let digest = keyring.content_hasher().entry(1, b"k", b"v");
        let signed_by = keyring.public_key();
        let epoch = keyring.rotate_master(&[&raw(2), &raw(1)], &[], &OsEntropy, 9).expect("rotated");
        assert!(keyring.master != old);
        for byte in [1, 2] {
            let again = open(&keyring, byte).expect("each key opens it");
            assert_eq!(again.open_small("note", b"", b"", &sealed).expect("read").as_slice(), b"old");
            assert_eq!(again.content_hasher().entry(1, b"k", b"v"), digest);
            assert_eq!((again.public_key(), again.current_epoch()), (signed_by, epoch));
            let labels: Vec<_> = again.slots().into_iter().map(|slot| (slot.id.0, slot.label)).collect();
            assert_eq!(labels, [(1, "default".to_owned()), (2, "second".to_owned())]);
        }
        assert!(matches!(keyring.open_relative(&before), Err(CryptoError::WrongKey { .. })));
        let mut twice = open(&keyring, 1).expect("opened");
        twice.rotate_master(&[&raw(1), &raw(2)], &[], &OsEntropy, 10).expect("rotated again");
        let again = open(&twice, 2).expect("opened");
        assert_eq!(again.content_hasher().entry(1, b"k", b"v"), digest, "the first key of digests stays");
    }

    #[test]
    fn what_the_old_master_key_sealed_opens_nothing_new() {
        let mut keyring = keyring();
        let old = keyring.master.duplicate();
        keyring.rotate_master(&[&raw(1), &raw(2)], &[], &OsEntropy, 9).expect("rotated");
        let bytes = keyring.to_bytes(&OsEntropy).expect("bytes");
        let parsed = super::super::codec::parse(&bytes).expect("parsed");
        assert!(parsed.open_body(&**keyring.suite(), &old).is_err());
    }

    #[test]
    fn no_slot_is_left_behind_unless_it_is_named() {
        let mut keyring = keyring();
        let before = (keyring.generation(), keyring.slots(), keyring.current_epoch());
        let refused = keyring.rotate_master(&[&raw(1)], &[], &OsEntropy, 9);
        let named = |left: &[SlotInfo]| left.iter().map(|slot| slot.id.0).collect::<Vec<_>>() == [2];
        assert!(matches!(&refused, Err(CryptoError::SlotsLeft(left)) if named(left)), "{refused:?}");
        let stranger = keyring.rotate_master(&[&raw(1), &raw(2), &raw(3)], &[], &OsEntropy, 9);
        assert!(matches!(stranger, Err(CryptoError::WrongKey { .. })));
        let unknown = keyring.rotate_master(&[&raw(1), &raw(2)], &[SlotId(9)], &OsEntropy, 9);
        assert!(matches!(unknown, Err(CryptoError::SlotNotFound(SlotId(9)))));
        let none = keyring.rotate_master(&[], &[SlotId(1), SlotId(2)], &OsEntropy, 9);
        assert!(matches!(none, Err(CryptoError::LastSlot)));
        assert_eq!((keyring.generation(), keyring.slots(), keyring.current_epoch()), before);

        keyring.rotate_master(&[&raw(1)], &[SlotId(2)], &OsEntropy, 9).expect("rotated");
        assert!(open(&keyring, 1).is_ok());
        assert!(matches!(open(&keyring, 2), Err(CryptoError::WrongKey { .. })));
    }

    #[test]
    fn keys_of_two_kinds_go_along() {
        let cost = PassphraseCost::new(8 * 1024, 1, 1).expect("within bounds");
        let passphrase = PassphraseProvider::new("correct horse").expect("a passphrase").with_cost(cost);
        let mut keyring = keyring();
        keyring.add_slot(&passphrase, "people", &OsEntropy, 9).expect("added");
        keyring.rotate_master(&[&passphrase, &raw(1), &raw(2)], &[], &OsEntropy, 10).expect("rotated");
        let bytes = keyring.to_bytes(&OsEntropy).expect("bytes");
        assert!(Keyring::open(&bytes, Some(&passphrase)).is_ok());
        let raw = KeySource::raw([2; 32]).resolve().expect("a key");
        assert!(Keyring::open(&bytes, raw.as_deref()).is_ok());
    }
}
