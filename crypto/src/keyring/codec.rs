//! The keyring's bytes.
//!
//! All integers are little-endian. The file has a clear part, which a program without the key can
//! read, a sealed body, and a checksum over both:
//!
//! ```text
//! clear   0  magic "LDBKEYS\0"                          8 B
//!         8  format version, 1                          u32
//!        12  feature bits, of which a reader must know all   u32
//!              bit 0: the body ends with the key of the content digests
//!        16  suite (0 not encrypted, 1 AES-256-GCM)     u8
//!        17  database id                               16 B
//!        33  generation, from 1                         u64
//!        41  public key, Ed25519                       32 B
//!        73  commitment to the master key              32 B
//!       105  next slot number                           u32
//!       109  number of slots, at most 32                u32
//!       113  slots:
//!              number u32 ‖ created, µs since 1970 i64 ‖ salt 32 B ‖ commitment 32 B
//!              kind ‖ label ‖ parameters ‖ wrapped key    (each: length u32, bytes)
//!            length of the body                         u32
//! body       sealed object (see `sealed.rs`), label "keyring body", context database id,
//!            associated data the whole clear part; inside:
//!              seed of the signing key                 32 B
//!              reserved                                 u32 (0; early programs wrote a number, which tells nothing)
//!              number of epochs, at most 10 000         u32
//!              epochs: domain u32 (0) ‖ number u32 ‖ created i64 ‖ data key 32 B ‖ commitment 32 B
//!              with feature bit 0: key of the content digests 32 B; without it the master key gives that
//! end        BLAKE3 of everything before it            32 B
//! ```
//!
//! The checksum finds damage before any key is tried, so that a damaged keyring is never taken for
//! a wrong key. It protects against nobody: the body's seal, which covers the clear part, does.
//!
//! The domain of an epoch leaves room for parts of a database that have data keys of their own.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::{Epoch, Keyring, MAX_KEYRING_LEN, Slot, SlotInfo, master_commitment, reader::Reader};
use crate::{
    AeadSuite, CryptoError, DatabaseId, Entropy, EpochId, PublicKey, SEALED_OVERHEAD, SecretKey, SigningKey,
    SlotId, SuiteId, WrappedKey, open_object, seal_object,
};

const MAGIC: &[u8; 8] = b"LDBKEYS\0";
const VERSION: u32 = 1;
/// The master key is not the first: the key of the content digests, which must stay, is sealed with the rest.
const HAS_DIGEST_KEY: u32 = 1;
const KNOWN_FEATURES: u32 = HAS_DIGEST_KEY;
pub(super) const CHECKSUM_LEN: usize = 32;
pub(super) const BODY_LABEL: &str = "keyring body";
const DEFAULT_DOMAIN: u32 = 0;
const EPOCH_LEN: usize = 4 + 4 + 8 + 32 + 32;

pub(super) const MAX_SLOTS: usize = 32;
pub(super) const MAX_EPOCHS: usize = 10_000;
const MAX_KIND_LEN: usize = 32;
pub(super) const MAX_LABEL_LEN: usize = 128;
const MAX_PARAMS_LEN: usize = 4 * 1024;
const MAX_WRAPPED_LEN: usize = 16 * 1024;

/// What can be read without a key.
pub(super) struct Clear {
    features: u32,
    pub(super) suite: SuiteId,
    pub(super) database: DatabaseId,
    pub(super) generation: u64,
    pub(super) public_key: PublicKey,
    pub(super) commitment: [u8; 32],
    pub(super) next_slot: u32,
    pub(super) slots: Vec<Slot>,
}

/// What the master key opens.
pub(super) struct Body {
    pub(super) signing: SigningKey,
    pub(super) epochs: Vec<Epoch>,
    pub(super) digests: Option<SecretKey>,
}

/// A keyring's bytes whose checksum and clear part are sound.
pub(super) struct Parsed<'a> {
    pub(super) clear: Clear,
    clear_bytes: &'a [u8],
    body: &'a [u8],
}

pub(super) fn encode(keyring: &Keyring, entropy: &dyn Entropy) -> Result<Vec<u8>, CryptoError> {
    let plain = encode_body(keyring);
    let mut out = encode_clear(keyring);
    put_u32(&mut out, plain.len() + SEALED_OVERHEAD);
    let context = keyring.database.as_bytes();
    let sealed = seal_object(&*keyring.suite, &keyring.master, entropy, BODY_LABEL, context, &out, &plain)?;
    out.extend_from_slice(&sealed);
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    Ok(out)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, CryptoError> {
    if bytes.len() > MAX_KEYRING_LEN {
        return Err(malformed(format!("it has {} bytes, more than any keyring", bytes.len())));
    }
    let (content, checksum) = bytes
        .split_last_chunk::<CHECKSUM_LEN>()
        .ok_or_else(|| malformed(format!("it has {} bytes, too few for a keyring", bytes.len())))?;
    if blake3::hash(content) != *checksum {
        return Err(malformed("its checksum does not match: restore the other copy, or a backup".into()));
    }
    let mut reader = Reader::new(content);
    let clear = decode_clear(&mut reader)?;
    let body_len = reader.u32("length of the body")? as usize;
    let clear_bytes = &content[..content.len() - reader.left().len()];
    let body = reader.left();
    if body.len() != body_len {
        return Err(malformed(format!("its body has {} bytes, not {body_len}", body.len())));
    }
    Ok(Parsed { clear, clear_bytes, body })
}

impl Parsed<'_> {
    /// Opens the body with the master key, which has been compared with its commitment.
    pub(super) fn open_body(&self, suite: &dyn AeadSuite, master: &SecretKey) -> Result<Body, CryptoError> {
        let context = self.clear.database.as_bytes();
        let plain = open_object(suite, master, BODY_LABEL, context, self.clear_bytes, self.body)
            .map_err(|_| malformed("the key is right, but the body does not open: it was changed".into()))?;
        let body = decode_body(&plain, self.clear.features & HAS_DIGEST_KEY != 0)?;
        if body.signing.public_key() != self.clear.public_key {
            return Err(malformed("its public key is not that of its signing key".into()));
        }
        Ok(body)
    }
}

pub(super) fn encode_clear(keyring: &Keyring) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    let features = if keyring.digests.is_some() { HAS_DIGEST_KEY } else { 0 };
    out.extend_from_slice(&features.to_le_bytes());
    out.push(keyring.suite_id().to_u8());
    out.extend_from_slice(keyring.database.as_bytes());
    out.extend_from_slice(&keyring.generation.to_le_bytes());
    out.extend_from_slice(&keyring.public_key().0);
    out.extend_from_slice(&master_commitment(&keyring.master, keyring.database));
    out.extend_from_slice(&keyring.next_slot.to_le_bytes());
    put_u32(&mut out, keyring.slots.len());
    for slot in &keyring.slots {
        out.extend_from_slice(&slot.info.id.0.to_le_bytes());
        out.extend_from_slice(&slot.info.created_micros.to_le_bytes());
        out.extend_from_slice(&slot.salt);
        out.extend_from_slice(&slot.wrapped.commitment);
        put_bytes(&mut out, slot.info.kind.as_bytes());
        put_bytes(&mut out, slot.info.label.as_bytes());
        put_bytes(&mut out, &slot.wrapped.params);
        put_bytes(&mut out, &slot.wrapped.bytes);
    }
    out
}

fn decode_clear(reader: &mut Reader<'_>) -> Result<Clear, CryptoError> {
    if reader.array::<8>("magic")? != *MAGIC {
        return Err(malformed("it does not begin like a keyring".into()));
    }
    let version = reader.u32("format version")?;
    if version > VERSION {
        return Err(CryptoError::UnsupportedVersion { found: version, supported: VERSION });
    }
    if version == 0 {
        return Err(malformed("its format version is 0".into()));
    }
    let features = reader.u32("feature bits")?;
    let unknown = features & !KNOWN_FEATURES;
    if unknown != 0 {
        return Err(CryptoError::UnsupportedFeatures(unknown));
    }
    let [suite] = reader.array("suite")?;
    let suite = SuiteId::from_u8(suite).ok_or_else(|| malformed(format!("there is no suite {suite}")))?;
    let database = DatabaseId(reader.array("database id")?);
    let generation = reader.u64("generation")?;
    let public_key = PublicKey(reader.array("public key")?);
    let commitment = reader.array("commitment")?;
    let next_slot = reader.u32("next slot number")?;
    let count = reader.count("number of slots", MAX_SLOTS)?;
    let slots = (0..count).map(|_| decode_slot(reader)).collect::<Result<Vec<_>, _>>()?;
    let clear = Clear { features, suite, database, generation, public_key, commitment, next_slot, slots };
    check_clear(&clear)?;
    Ok(clear)
}

fn decode_slot(reader: &mut Reader<'_>) -> Result<Slot, CryptoError> {
    let id = SlotId(reader.u32("slot number")?);
    let created_micros = reader.i64("time of a slot")?;
    let salt = reader.array("salt of a slot")?;
    let commitment = reader.array("commitment of a slot")?;
    let kind = reader.text("kind of a slot", MAX_KIND_LEN)?;
    let label = reader.text("label of a slot", MAX_LABEL_LEN)?;
    let params = reader.bytes("parameters of a slot", MAX_PARAMS_LEN)?.to_vec();
    let bytes = reader.bytes("wrapped key of a slot", MAX_WRAPPED_LEN)?.to_vec();
    Ok(Slot {
        info: SlotInfo { id, kind, label, created_micros },
        salt,
        wrapped: WrappedKey { params, bytes, commitment },
    })
}

fn check_clear(clear: &Clear) -> Result<(), CryptoError> {
    // Room to grow by one with each change, for ever.
    if clear.generation == 0 || clear.generation > u64::from(u32::MAX) << 16 {
        return Err(malformed(format!("its generation is {}", clear.generation)));
    }
    if (clear.suite == SuiteId::Checksum) != clear.slots.is_empty() {
        return Err(malformed("an encrypted keyring has slots, and one that is not has none".into()));
    }
    let ascending = clear.slots.windows(2).all(|pair| pair[0].info.id < pair[1].info.id);
    let below_next = clear.slots.iter().all(|slot| slot.info.id.0 < clear.next_slot);
    if !ascending || !below_next {
        return Err(malformed("its slots are not numbered in order".into()));
    }
    Ok(())
}

pub(super) fn encode_body(keyring: &Keyring) -> Zeroizing<Vec<u8>> {
    // Room for all of it, so that no reallocation leaves keys behind.
    let mut out = Zeroizing::new(Vec::with_capacity(32 + 8 + keyring.epochs.len() * EPOCH_LEN + 32));
    out.extend_from_slice(keyring.signing.seed().expose());
    put_u32(&mut out, 0);
    put_u32(&mut out, keyring.epochs.len());
    for epoch in &keyring.epochs {
        out.extend_from_slice(&DEFAULT_DOMAIN.to_le_bytes());
        out.extend_from_slice(&epoch.info.id.0.to_le_bytes());
        out.extend_from_slice(&epoch.info.created_micros.to_le_bytes());
        out.extend_from_slice(epoch.key.expose());
        out.extend_from_slice(&epoch.info.commitment);
    }
    if let Some(key) = &keyring.digests {
        out.extend_from_slice(key.expose());
    }
    out
}

fn decode_body(plain: &[u8], has_digest_key: bool) -> Result<Body, CryptoError> {
    let mut reader = Reader::new(plain);
    let signing = SigningKey::from_seed(reader.key("signing key")?);
    reader.u32("a reserved place")?;
    let count = reader.count("number of epochs", MAX_EPOCHS)?;
    let epochs = (0..count).map(|_| decode_epoch(&mut reader)).collect::<Result<Vec<_>, _>>()?;
    let digests = has_digest_key.then(|| reader.key("key of the content digests")).transpose()?;
    if !reader.left().is_empty() {
        return Err(malformed("bytes are left over at its end".into()));
    }
    if epochs.is_empty() {
        return Err(malformed("it has no data key".into()));
    }
    let numbers: BTreeSet<_> = epochs.iter().map(|epoch| epoch.info.id).collect();
    if numbers.len() < epochs.len() {
        return Err(malformed("two of its data keys have one number".into()));
    }
    Ok(Body { signing, epochs, digests })
}

fn decode_epoch(reader: &mut Reader<'_>) -> Result<Epoch, CryptoError> {
    let domain = reader.u32("domain of an epoch")?;
    if domain != DEFAULT_DOMAIN {
        return Err(malformed(format!("epoch domain {domain} needs a newer program")));
    }
    let id = EpochId(reader.u32("number of an epoch")?);
    let created_micros = reader.i64("time of an epoch")?;
    let key = reader.key("data key")?;
    let commitment = reader.array("commitment of an epoch")?;
    Ok(Epoch { info: super::EpochInfo { id, created_micros, commitment }, key })
}

pub(super) fn malformed(reason: String) -> CryptoError {
    CryptoError::Malformed { what: "keyring", reason }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_u32(out: &mut Vec<u8>, value: usize) {
    let value = u32::try_from(value).expect("every length in a keyring is bounded far below 4 GiB");
    out.extend_from_slice(&value.to_le_bytes());
}

/// Checks what a provider gave against the limits of the format.
pub(super) fn check_wrapped(wrapped: &WrappedKey, kind: &str) -> Result<(), CryptoError> {
    let limits = [
        ("the kind of a key slot in bytes", kind.len(), MAX_KIND_LEN),
        ("the parameters of a key slot in bytes", wrapped.params.len(), MAX_PARAMS_LEN),
        ("a wrapped key in bytes", wrapped.bytes.len(), MAX_WRAPPED_LEN),
    ];
    for (what, len, max) in limits {
        if len > max {
            return Err(CryptoError::TooLarge { what, max: max as u64 });
        }
    }
    Ok(())
}
