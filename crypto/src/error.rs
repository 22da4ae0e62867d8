//! The errors of this crate.

use std::{io, path::PathBuf};

use crate::{DatabaseId, EpochId, SlotId, SlotInfo};

/// What can go wrong with keys and sealed data.
///
/// No text of an error ever carries key material, a passphrase, or plaintext.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// The configured key is not the one that was used. Nothing is damaged.
    #[error("wrong key: {what}")]
    WrongKey {
        /// What the key was tried on, and which kinds of key would be taken.
        what: String,
    },
    /// The database is encrypted and no key was configured.
    #[error(
        "this database is encrypted and no key is configured: configure the key that it was created with"
    )]
    KeyRequired,
    /// A key is configured, but the database is not encrypted. It may have been replaced.
    #[error(
        "a key is configured, but this database is not encrypted: make sure that it is the one you mean, and if so open it without a key"
    )]
    NotEncrypted,
    /// Sealed data did not open: it was changed, moved, or belongs elsewhere. Whoever knows the
    /// file and the offset adds them.
    #[error("sealed data does not open: it was changed, or it does not belong here")]
    OpenFailed,
    /// A key source gave something that is no key.
    #[error("no usable key from {source_name}: {reason}")]
    InvalidKey {
        /// Where the key was to come from, as a key URI without its secret part.
        source_name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A key provider failed, which says nothing about the key or the database.
    #[error("key provider {name} failed: {reason}")]
    Provider {
        /// The provider, for example the external command.
        name: String,
        /// What it said.
        reason: String,
    },
    /// A key service or token does not answer, or not in time.
    #[error(
        "{provider} cannot be reached: {reason}; nothing was changed, so try again when it can be reached"
    )]
    Unreachable {
        /// The provider, as a key URI without its secret part.
        provider: String,
        /// What was tried, for how long, and what came of it.
        reason: String,
    },
    /// A key service or token answers, and will not serve: a wrong PIN, a bad access token, no permission.
    #[error("{provider} refuses: {reason}")]
    Refused {
        /// The provider, as a key URI without its secret part.
        provider: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A key service or token answers, and has no such key.
    #[error("{provider} has no such key: {reason}")]
    NoSuchKey {
        /// The provider, as a key URI without its secret part.
        provider: String,
        /// Which key, and what to do.
        reason: String,
    },
    /// The key is there and cannot be used now.
    #[error("the key of {provider} is disabled: {reason}")]
    KeyDisabled {
        /// The provider, as a key URI without its secret part.
        provider: String,
        /// In which way, and what to do.
        reason: String,
    },
    /// The provider holds the key, and what it should unwrap is not what it wrapped; or it gave back another key.
    #[error(
        "what {provider} wrapped was tampered with: {reason}; restore the keyring from a backup, or use another key slot"
    )]
    Tampered {
        /// The provider, as a key URI without its secret part.
        provider: String,
        /// What did not match.
        reason: String,
    },
    /// A wrapped key of one database stands in the keyring of another.
    #[error(
        "the key that {provider} wrapped belongs to database {wrapped_for}, and this is database {database}: \
         make sure that the keyring is the database's own"
    )]
    WrongDatabase {
        /// The provider, as a key URI without its secret part.
        provider: String,
        /// The database that it was wrapped for.
        wrapped_for: DatabaseId,
        /// The database that was to be opened.
        database: DatabaseId,
    },
    /// Stored bytes are damaged, or carry values outside of their limits.
    #[error("the {what} is damaged: {reason}")]
    Malformed {
        /// Which structure.
        what: &'static str,
        /// Which part of it, and how it is wrong.
        reason: String,
    },
    /// The data was written by a later version of this program.
    #[error(
        "format version {found} is newer than {supported}, the newest that this program reads: use a newer program"
    )]
    UnsupportedVersion {
        /// The version that the data names.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// The data uses features that this program does not know.
    #[error("the data uses features that this program does not know (bits {0:#x}): use a newer program")]
    UnsupportedFeatures(u32),
    /// The source of random bytes failed.
    #[error("no random bytes: {0}")]
    Entropy(String),
    /// No key slot has this number.
    #[error("there is no key slot {0}: list the slots to see which there are")]
    SlotNotFound(SlotId),
    /// Without its last slot, nobody could ever open the database again.
    #[error("this is the last key slot, and without it nobody could open the database: add another first")]
    LastSlot,
    /// A new master key would leave these slots behind, because nobody gave a key that opens them.
    #[error("no key was given that opens {}: give it, or say that the slot is to be dropped", named(.0))]
    SlotsLeft(Vec<SlotInfo>),
    /// Another key slot has this label.
    #[error("a key slot with the label {0:?} exists: choose another label")]
    DuplicateLabel(String),
    /// A label is empty, too long, or would garble a terminal.
    #[error("a label of a key slot has from 1 to {max} bytes and no control characters")]
    InvalidLabel {
        /// The longest label in bytes.
        max: usize,
    },
    /// The keyring holds no data key of this number.
    #[error("the keyring has no data key for epoch {0}: it was destroyed, or a newer keyring is needed")]
    EpochNotFound(EpochId),
    /// New data is written with the current epoch, so it cannot be destroyed.
    #[error("epoch {0} is the current one and cannot be destroyed: start a new one first")]
    EpochIsCurrent(EpochId),
    /// Something would grow beyond its limit.
    #[error("{what} would exceed its limit of {max}")]
    TooLarge {
        /// What is too large or too many.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// A key has sealed as many messages as it may; the writer takes a new one.
    #[error("no nonce is left under this key: the writer must begin a new file")]
    NonceExhausted,
    /// A signature does not match its message and its public key.
    #[error("the signature is not valid: the signed data was changed, or another key signed it")]
    BadSignature,
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn named(slots: &[SlotInfo]) -> String {
    let name = |slot: &SlotInfo| format!("key slot {} ({}, {})", slot.id, slot.label, slot.kind);
    slots.iter().map(name).collect::<Vec<_>>().join(", ")
}
