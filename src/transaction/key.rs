//! Keys that several tables of a transaction hold at once.

use std::borrow::Borrow;
use std::cmp::Ordering;

use crate::shared_bytes::SharedBytes;

/// A key in key order. A clone costs a count; the bytes are wiped when the last holder lets go.
#[derive(Clone, Debug)]
pub(super) struct Key(SharedBytes);

impl Key {
    pub(super) fn bytes(&self) -> &SharedBytes {
        &self.0
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(SharedBytes::from(bytes))
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Key {}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}
