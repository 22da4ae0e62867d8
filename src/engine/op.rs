//! What a commit consists of.

use lightning_db_storage::page::MAX_KEY_LEN;

use super::stored::StoredValue;
use super::values::LARGE_VALUE_LEN;
use crate::error::{Error, Result};
use crate::shared_bytes::SharedBytes;

/// The longest key, in bytes; the shortest has one.
pub const MAX_KEY_SIZE: usize = MAX_KEY_LEN;
/// The longest value, in bytes.
pub const MAX_VALUE_SIZE: usize = 1 << 30;

/// One write: a value, or `None` to delete the key.
#[derive(Clone, Copy)]
pub(crate) struct Op<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<OpValue<'a>>,
}

/// A value, wherever it is.
#[derive(Clone, Copy)]
pub(crate) enum OpValue<'a> {
    /// The caller's bytes, which are copied.
    Lent(&'a [u8]),
    /// Bytes that the memtable can share.
    Shared(&'a SharedBytes),
    /// A large value in a file of its own.
    Stored(&'a StoredValue),
}

/// A value that waits for its commit.
#[derive(Clone)]
pub(crate) enum OwnedValue {
    Shared(SharedBytes),
    Stored(StoredValue),
}

impl<'a> Op<'a> {
    pub(crate) fn put(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key, value: Some(OpValue::Lent(value)) }
    }

    pub(crate) fn delete(key: &'a [u8]) -> Self {
        Self { key, value: None }
    }

    /// Bytes of the value; 0 for a deletion.
    pub(super) fn value_len(&self) -> u64 {
        self.value.map_or(0, |value| value.len())
    }

    /// The value, if it is one that is kept beside its key.
    pub(super) fn small_value(&self) -> Option<&[u8]> {
        let bytes = match self.value? {
            OpValue::Lent(bytes) => bytes,
            OpValue::Shared(bytes) => bytes,
            OpValue::Stored(_) => return None,
        };
        (bytes.len() < LARGE_VALUE_LEN).then_some(bytes)
    }

    /// Refuses keys and values beyond the limits.
    pub(crate) fn check(&self) -> Result<()> {
        match self.key.len() {
            0 => Err(Error::EmptyKey),
            1..=MAX_KEY_LEN if self.value_len() > MAX_VALUE_SIZE as u64 => Err(Error::ValueTooLarge),
            1..=MAX_KEY_LEN => Ok(()),
            _ => Err(Error::KeyTooLarge),
        }
    }
}

impl OpValue<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::Lent(bytes) => bytes.len() as u64,
            Self::Shared(bytes) => bytes.len() as u64,
            Self::Stored(value) => value.len(),
        }
    }

    /// The value in a form that outlives the caller.
    pub(super) fn to_owned(self) -> OwnedValue {
        match self {
            Self::Lent(bytes) => OwnedValue::Shared(SharedBytes::from(bytes)),
            Self::Shared(bytes) => OwnedValue::Shared(bytes.clone()),
            Self::Stored(value) => OwnedValue::Stored(value.clone()),
        }
    }
}

impl OwnedValue {
    /// Bytes of the value.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Shared(bytes) => bytes.len(),
            Self::Stored(value) => usize::try_from(value.len()).unwrap_or(usize::MAX),
        }
    }

    /// The whole value.
    ///
    /// # Errors
    /// Those of reading files, for a large one.
    pub(crate) fn to_vec(&self) -> Result<Vec<u8>> {
        match self {
            Self::Shared(bytes) => Ok(bytes.to_vec()),
            Self::Stored(value) => value.read(),
        }
    }

    pub(crate) fn lend(&self) -> OpValue<'_> {
        match self {
            Self::Shared(bytes) => OpValue::Shared(bytes),
            Self::Stored(value) => OpValue::Stored(value),
        }
    }
}
