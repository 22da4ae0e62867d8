//! The keyring: everything secret that a database has, behind one master key.
//!
//! ```text
//! provider ──wraps──► master key ──seals──► data keys, one an epoch ──HKDF──► segment keys
//! (a slot each)            │                                        └──HKDF──► small sealed objects
//!                          ├──seals──► seed of the signing key
//!                          └──HKDF──► key of the content digests (sealed, too, once the master key is another one)
//! ```

mod codec;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod master;
mod reader;
mod slots;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Arc};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    AeadSuite, ContentHasher, CryptoError, DatabaseId, Entropy, EpochId, KeyProvider, PublicKey, Purpose,
    SecretKey, SigningKey, SlotId, SuiteId, WrappedKey, derive, open_object, seal_object,
};
use codec::{Body, Clear, MAX_EPOCHS, Parsed};

/// The longest keyring in bytes: a longer file is none, and need not be read.
pub const MAX_KEYRING_LEN: usize = 2 * 1024 * 1024;

/// Master key of a database without encryption. Not a secret: it is here so that a database
/// without a key takes the same path through the code as one with a key.
const NO_SECRET: [u8; 32] = *b"lightning_db without encryption.";
const FIRST_LABEL: &str = "default";
const FIRST_EPOCH: EpochId = EpochId(1);
const EPOCH_PREFIX_LEN: usize = 4;

/// The decrypted keyring of an open database.
pub struct Keyring {
    database: DatabaseId,
    generation: u64,
    suite: Arc<dyn AeadSuite>,
    master: SecretKey,
    /// The key of the content digests, where it is no longer the one that the master key gives.
    digests: Option<SecretKey>,
    signing: SigningKey,
    opened_by: Option<SlotId>,
    next_slot: u32,
    slots: Vec<Slot>,
    /// Oldest first; the last is the current one.
    epochs: Vec<Epoch>,
}

/// What is known of a key slot without its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotInfo {
    /// Its number.
    pub id: SlotId,
    /// The kind of provider that opens it.
    pub kind: String,
    /// Its name for people, unique in the keyring.
    pub label: String,
    /// When it was filled, in microseconds since 1970.
    pub created_micros: i64,
}

/// What is known of a data key without the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochInfo {
    /// Its number.
    pub id: EpochId,
    /// When it was started, in microseconds since 1970.
    pub created_micros: i64,
    /// A value that only this data key gives. Stored beside data, it tells data of another key
    /// from damaged data.
    pub commitment: [u8; 32],
}

/// What a keyring tells without any key. Only its checksum has been verified, which finds
/// accidents and no forgery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyringInfo {
    /// The database it belongs to.
    pub database: DatabaseId,
    /// Grows by one with each change.
    pub generation: u64,
    /// How the database's files are sealed.
    pub suite: SuiteId,
    /// Who can open it; empty if it is not encrypted.
    pub slots: Vec<SlotInfo>,
    /// Verifies what the database has signed.
    pub public_key: PublicKey,
}

impl KeyringInfo {
    /// Whether a key is needed.
    pub fn encrypted(&self) -> bool {
        self.suite != SuiteId::Checksum
    }
}

#[derive(Clone)]
struct Slot {
    info: SlotInfo,
    salt: [u8; 32],
    wrapped: WrappedKey,
}

struct Epoch {
    info: EpochInfo,
    key: SecretKey,
}

/// Reads what a keyring tells without any key.
///
/// # Errors
/// [`CryptoError::Malformed`] if it is damaged, [`CryptoError::UnsupportedVersion`] or
/// [`CryptoError::UnsupportedFeatures`] if a later program wrote it.
pub fn peek(bytes: &[u8]) -> Result<KeyringInfo, CryptoError> {
    let clear = codec::parse(bytes)?.clear;
    Ok(KeyringInfo {
        database: clear.database,
        generation: clear.generation,
        suite: clear.suite,
        slots: clear.slots.into_iter().map(|slot| slot.info).collect(),
        public_key: clear.public_key,
    })
}

impl Keyring {
    /// Draws the keys of a new database, with one slot, labelled "default", and one epoch.
    ///
    /// Without a provider the database is not encrypted: [`SuiteId::Checksum`].
    ///
    /// # Errors
    /// [`CryptoError::Entropy`]; whatever the provider returns.
    pub fn create(
        encryption: Option<&dyn KeyProvider>,
        database: DatabaseId,
        entropy: &dyn Entropy,
        now_micros: i64,
    ) -> Result<Self, CryptoError> {
        let (suite, master) = match encryption {
            Some(_) => (SuiteId::Aes256Gcm, SecretKey::random(entropy)?),
            None => (SuiteId::Checksum, SecretKey::from_bytes(NO_SECRET)),
        };
        let mut keyring = Self {
            database,
            generation: 1,
            suite: suite.suite(),
            master,
            digests: None,
            signing: SigningKey::from_seed(SecretKey::random(entropy)?),
            opened_by: None,
            next_slot: 1,
            slots: Vec::new(),
            epochs: Vec::new(),
        };
        keyring.begin_epoch(FIRST_EPOCH, entropy, now_micros)?;
        if let Some(provider) = encryption {
            keyring.add_slot(provider, FIRST_LABEL, entropy, now_micros)?;
        }
        keyring.generation = 1;
        Ok(keyring)
    }

    /// Opens a stored keyring.
    ///
    /// # Errors
    /// - [`CryptoError::Malformed`]: damaged or changed, whatever the key.
    /// - [`CryptoError::WrongKey`]: the keyring is sound and no slot opens with this key.
    /// - [`CryptoError::KeyRequired`], [`CryptoError::NotEncrypted`]: encrypted and no key given,
    ///   or the reverse. The latter is refused since somebody may have put an unencrypted database
    ///   in place of the encrypted one.
    /// - [`CryptoError::UnsupportedVersion`], [`CryptoError::UnsupportedFeatures`]: written by a
    ///   later program.
    /// - Whatever the provider returns.
    pub fn open(bytes: &[u8], provider: Option<&dyn KeyProvider>) -> Result<Self, CryptoError> {
        let parsed = codec::parse(bytes)?;
        let clear = &parsed.clear;
        let (master, opened_by) = match (clear.suite, provider) {
            (SuiteId::Checksum, None) => (SecretKey::from_bytes(NO_SECRET), None),
            (SuiteId::Checksum, Some(_)) => return Err(CryptoError::NotEncrypted),
            (_, None) => return Err(CryptoError::KeyRequired),
            (_, Some(provider)) => slots::unlock(clear, provider).map(|(key, slot)| (key, Some(slot)))?,
        };
        if !commits_to(&master, clear) {
            return Err(codec::malformed("its commitment is not that of its master key".into()));
        }
        Ok(Self { opened_by, ..Self::open_with(parsed, master)? })
    }

    /// Opens another stored keyring of this database: an earlier one, or that of a copy that went its own way.
    ///
    /// # Errors
    /// [`CryptoError::WrongKey`] if it is of another database, or of another master key; else as [`open`](Self::open).
    pub fn open_relative(&self, bytes: &[u8]) -> Result<Self, CryptoError> {
        let parsed = codec::parse(bytes)?;
        if parsed.clear.database != self.database || !commits_to(&self.master, &parsed.clear) {
            let what = "a keyring of another database, or with another master key".into();
            return Err(CryptoError::WrongKey { what });
        }
        Self::open_with(parsed, self.master.duplicate())
    }

    fn open_with(parsed: Parsed<'_>, master: SecretKey) -> Result<Self, CryptoError> {
        let suite = parsed.clear.suite.suite();
        let Body { signing, epochs, digests } = parsed.open_body(&*suite, &master)?;
        let clear = parsed.clear;
        let keyring = Self {
            database: clear.database,
            generation: clear.generation,
            suite,
            master,
            digests,
            signing,
            opened_by: None,
            next_slot: clear.next_slot,
            slots: clear.slots,
            epochs,
        };
        for epoch in &keyring.epochs {
            keyring.check_epoch(epoch)?;
        }
        Ok(keyring)
    }

    /// The stored form, sealed anew, so different each time.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`] when no random bytes can be had.
    pub fn to_bytes(&self, entropy: &dyn Entropy) -> Result<Vec<u8>, CryptoError> {
        codec::encode(self, entropy)
    }

    /// A second keyring with the same secrets: to change one and store it, while the other stays
    /// in use until that has succeeded.
    pub fn duplicate(&self) -> Self {
        let epoch = |epoch: &Epoch| Epoch { info: epoch.info, key: epoch.key.duplicate() };
        Self {
            database: self.database,
            generation: self.generation,
            suite: self.suite.clone(),
            master: self.master.duplicate(),
            digests: self.digests.as_ref().map(SecretKey::duplicate),
            signing: SigningKey::from_seed(self.signing.seed().duplicate()),
            opened_by: self.opened_by,
            next_slot: self.next_slot,
            slots: self.slots.clone(),
            epochs: self.epochs.iter().map(epoch).collect(),
        }
    }

    /// The database it belongs to.
    pub fn database_id(&self) -> DatabaseId {
        self.database
    }

    /// How the database's files are sealed.
    pub fn suite_id(&self) -> SuiteId {
        self.suite.id()
    }

    /// What seals the database's files.
    pub fn suite(&self) -> &Arc<dyn AeadSuite> {
        &self.suite
    }

    /// 1 when created, and one more with each change of slots or epochs.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The slots, by number; none if the database is not encrypted.
    pub fn slots(&self) -> Vec<SlotInfo> {
        self.slots.iter().map(|slot| slot.info.clone()).collect()
    }

    /// The slot whose key opened it; `None` if it was created, is not encrypted, or was opened as a relative.
    pub fn opened_by(&self) -> Option<SlotId> {
        self.opened_by
    }

    /// The data keys, oldest first.
    pub fn epochs(&self) -> Vec<EpochInfo> {
        self.epochs.iter().map(|epoch| epoch.info).collect()
    }

    /// The epoch that new data is sealed with.
    pub fn current_epoch(&self) -> EpochId {
        self.current().info.id
    }

    /// Draws a new data key and makes it the current one. Its number is drawn too: databases that were restored from one
    /// backup, and go on side by side, must not give one number to two keys.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`]; [`CryptoError::TooLarge`] beyond 10,000 epochs.
    pub fn start_epoch(&mut self, entropy: &dyn Entropy, now_micros: i64) -> Result<EpochId, CryptoError> {
        let mut number = [0; EPOCH_PREFIX_LEN];
        entropy.fill(&mut number)?;
        let mut id = EpochId(u32::from_le_bytes(number));
        while id <= FIRST_EPOCH || self.has_epoch(id) {
            id = EpochId(id.0.wrapping_add(1));
        }
        self.begin_epoch(id, entropy, now_micros)
    }

    fn begin_epoch(
        &mut self,
        id: EpochId,
        entropy: &dyn Entropy,
        now_micros: i64,
    ) -> Result<EpochId, CryptoError> {
        self.require_room()?;
        let key = SecretKey::random(entropy)?;
        let commitment = self.epoch_commitment(id, &key);
        self.epochs.push(Epoch { info: EpochInfo { id, created_micros: now_micros, commitment }, key });
        self.generation += 1;
        Ok(id)
    }

    fn require_room(&self) -> Result<(), CryptoError> {
        if self.epochs.len() < MAX_EPOCHS {
            return Ok(());
        }
        Err(CryptoError::TooLarge { what: "the number of data keys", max: MAX_EPOCHS as u64 })
    }

    fn has_epoch(&self, id: EpochId) -> bool {
        self.epochs.iter().any(|epoch| epoch.info.id == id)
    }

    /// Takes the data keys of another keyring of this database that this one lacks, to read what they sealed. The current
    /// one stays.
    ///
    /// # Errors
    /// [`CryptoError::Malformed`] if both have a key of one number, and not the same; [`CryptoError::TooLarge`] beyond
    /// 10,000 epochs.
    pub fn adopt_epochs(&mut self, other: &Self) -> Result<(), CryptoError> {
        for epoch in &other.epochs {
            let known = self.epochs.iter().find(|known| known.info.id == epoch.info.id);
            match known.map(|known| known.info.commitment == epoch.info.commitment) {
                Some(true) => {}
                Some(false) => {
                    let what = format!("another keyring has another data key of number {}", epoch.info.id);
                    return Err(codec::malformed(what));
                }
                None => {
                    self.require_room()?;
                    self.epochs.insert(0, Epoch { info: epoch.info, key: epoch.key.duplicate() });
                }
            }
        }
        Ok(())
    }

    /// A second keyring with the current data key and those of `wanted` that this one has, and no others.
    pub fn narrowed(&self, wanted: &BTreeSet<EpochId>) -> Self {
        let mut narrowed = self.duplicate();
        let current = self.current_epoch();
        narrowed.epochs.retain(|epoch| epoch.info.id == current || wanted.contains(&epoch.info.id));
        narrowed
    }

    /// Forgets a data key: what was sealed with it can never be opened again, except with a copy
    /// of the keyring that was made before.
    ///
    /// # Errors
    /// [`CryptoError::EpochNotFound`]; [`CryptoError::EpochIsCurrent`].
    pub fn destroy_epoch(&mut self, id: EpochId) -> Result<(), CryptoError> {
        let index =
            self.epochs.iter().position(|epoch| epoch.info.id == id).ok_or(CryptoError::EpochNotFound(id))?;
        if id == self.current_epoch() {
            return Err(CryptoError::EpochIsCurrent(id));
        }
        self.epochs.remove(index);
        self.generation += 1;
        Ok(())
    }

    /// The data key of an epoch, compared with its commitment at each use.
    ///
    /// # Errors
    /// [`CryptoError::EpochNotFound`]; [`CryptoError::Malformed`] if it changed in memory.
    pub fn data_key(&self, id: EpochId) -> Result<&SecretKey, CryptoError> {
        let epoch =
            self.epochs.iter().find(|epoch| epoch.info.id == id).ok_or(CryptoError::EpochNotFound(id))?;
        self.check_epoch(epoch)?;
        Ok(&epoch.key)
    }

    /// The key of one segment file. The salt is the one its writer drew for it, see
    /// [`fresh_salt`](crate::fresh_salt); no two writers may ever use one salt.
    ///
    /// # Errors
    /// Those of [`data_key`](Self::data_key).
    pub fn segment_key(
        &self,
        epoch: EpochId,
        segment_id: u64,
        salt: &[u8; 24],
    ) -> Result<SecretKey, CryptoError> {
        let context: [&[u8]; 3] = [self.database.as_bytes(), &segment_id.to_le_bytes(), salt];
        Ok(derive(self.data_key(epoch)?, Purpose::Segment, &context))
    }

    /// Seals a small object of this database with the current data key. Four bytes with the
    /// epoch's number stand before it, in the clear and authenticated.
    ///
    /// `label` says what kind of object it is, `context` which one; `aad` is authenticated and not
    /// stored.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`]; those of [`data_key`](Self::data_key).
    pub fn seal_small(
        &self,
        entropy: &dyn Entropy,
        label: &str,
        context: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let epoch = self.current_epoch();
        let key = self.data_key(epoch)?;
        let prefix = epoch.0.to_le_bytes();
        let (context, aad) = (self.small_context(context), [&prefix, aad].concat());
        let sealed = seal_object(&*self.suite, key, entropy, label, &context, &aad, plaintext)?;
        Ok([&prefix, sealed.as_slice()].concat())
    }

    /// Opens what [`seal_small`](Self::seal_small) made, with the data key that it names.
    ///
    /// # Errors
    /// [`CryptoError::OpenFailed`] if anything differs; [`CryptoError::EpochNotFound`] if the
    /// epoch that it names was destroyed (or the name is damaged).
    pub fn open_small(
        &self,
        label: &str,
        context: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let (prefix, sealed) =
            sealed.split_first_chunk::<EPOCH_PREFIX_LEN>().ok_or(CryptoError::OpenFailed)?;
        let key = self.data_key(EpochId(u32::from_le_bytes(*prefix)))?;
        let (context, aad) = (self.small_context(context), [prefix, aad].concat());
        open_object(&*self.suite, key, label, &context, &aad, sealed)
    }

    /// Computes digests of this database's content. They stay the same through all rotations.
    pub fn content_hasher(&self) -> ContentHasher {
        ContentHasher::new(self.digest_key())
    }

    /// Signs in this database's name. Without encryption anybody who has the keyring can.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// Verifies what the database has signed.
    pub fn public_key(&self) -> PublicKey {
        self.signing.public_key()
    }

    fn current(&self) -> &Epoch {
        self.epochs.last().expect("a keyring has at least one epoch, from its creation on")
    }

    fn small_context(&self, context: &[u8]) -> Vec<u8> {
        [self.database.as_bytes(), context].concat()
    }

    fn epoch_commitment(&self, id: EpochId, key: &SecretKey) -> [u8; 32] {
        let context: [&[u8]; 2] = [self.database.as_bytes(), &id.0.to_le_bytes()];
        *derive(key, Purpose::EpochCommitment, &context).expose()
    }

    fn check_epoch(&self, epoch: &Epoch) -> Result<(), CryptoError> {
        let computed = self.epoch_commitment(epoch.info.id, &epoch.key);
        if bool::from(computed.ct_eq(&epoch.info.commitment)) {
            return Ok(());
        }
        Err(codec::malformed(format!("the data key of epoch {} is not the committed one", epoch.info.id)))
    }
}

fn master_commitment(master: &SecretKey, database: DatabaseId) -> [u8; 32] {
    *derive(master, Purpose::MasterCommitment, &[database.as_bytes()]).expose()
}

fn commits_to(master: &SecretKey, clear: &Clear) -> bool {
    master_commitment(master, clear.database).ct_eq(&clear.commitment).into()
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("database", &self.database)
            .field("generation", &self.generation)
            .field("suite", &self.suite)
            .field("slots", &self.slots())
            .field("epochs", &self.epochs.iter().map(|epoch| epoch.info.id).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
