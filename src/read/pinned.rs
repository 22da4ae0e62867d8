//! A value that was read, without copying it.

use std::fmt;
use std::ops::Deref;

use lightning_db_storage::tree::LeafHit;
use lightning_db_storage::{ZeroizingBytes, page::EntryValue};

use crate::cache::HotHit;
use crate::shared_bytes::SharedBytes;

/// A value, lent from where it is in memory: dereferences to its bytes.
///
/// It keeps what it is part of (a page, a record of the cache) in memory for as long as it lives, so it is meant for
/// short use; [`to_vec`](slice::to_vec) makes a copy to keep. Wiped from memory when its last holder lets go.
pub struct PinnedValue(Held);

enum Held {
    Hot(HotHit),
    Shared(SharedBytes),
    Leaf(LeafHit),
    Owned(ZeroizingBytes),
}

impl PinnedValue {
    /// The value of a hot record, which is none when the key is absent.
    #[inline]
    pub(super) fn hot(hit: HotHit) -> Option<Self> {
        hit.value().is_some().then_some(Self(Held::Hot(hit)))
    }

    pub(super) fn shared(bytes: SharedBytes) -> Self {
        Self(Held::Shared(bytes))
    }

    /// The value of an entry that is a put.
    pub(super) fn in_leaf(hit: LeafHit) -> Self {
        Self(Held::Leaf(hit))
    }

    pub(super) fn owned(bytes: ZeroizingBytes) -> Self {
        Self(Held::Owned(bytes))
    }

    /// The bytes as a vector; copied unless the value has them for itself.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Held::Owned(mut bytes) => std::mem::take(&mut *bytes),
            held => Self(held).to_vec(),
        }
    }
}

impl Deref for PinnedValue {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Hot(hit) => hit.value().unwrap_or_default(),
            Held::Shared(bytes) => bytes,
            Held::Leaf(hit) => match hit.value() {
                EntryValue::Put(bytes) => bytes,
                // Never held: see `in_leaf`.
                EntryValue::Delete | EntryValue::Extent(_) | EntryValue::Versions(_) => &[],
            },
            Held::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for PinnedValue {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for PinnedValue {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

/// Shows the length; never the bytes.
impl fmt::Debug for PinnedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedValue({} bytes)", self.len())
    }
}
