//! What a transaction wrote so far, before anybody else can see it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::key::Key;
use crate::engine::{LARGE_VALUE_LEN, Op, OwnedValue};
use crate::memtable::MemValue;
use crate::read::{KeyRange, PendingWrites};
use crate::shared_bytes::SharedBytes;

/// What a key takes in the tables that hold it, beside its bytes.
const ENTRY_BYTES: usize = 64;
/// What refers to a large value takes at most this much for each begun MiB of it.
const REFERENCE_BYTES: usize = 256;

/// The newest write of each key; `None` deletes it.
#[derive(Default)]
pub(super) struct WriteSet {
    writes: BTreeMap<Key, Option<OwnedValue>>,
}

impl WriteSet {
    /// What a write takes from the heap. A large value is in a file.
    pub(super) fn bytes_of(key: &[u8], value_len: usize) -> usize {
        let is_large = value_len >= LARGE_VALUE_LEN;
        let value_len = if is_large { REFERENCE_BYTES * value_len.div_ceil(1 << 20) } else { value_len };
        ENTRY_BYTES + SharedBytes::memory_bytes_of(key.len()) + SharedBytes::memory_bytes_of(value_len)
    }

    /// Adds a write. Returns how many bytes of memory an earlier one of the same key gives back.
    pub(super) fn insert(&mut self, key: &[u8], value: Option<OwnedValue>) -> usize {
        if let Some(slot) = self.writes.get_mut(key) {
            let old = std::mem::replace(slot, value);
            return Self::bytes_of(key, old.map_or(0, |old| old.len()));
        }
        self.writes.insert(Key::from(key), value);
        0
    }

    /// What this transaction wrote to `key`, if it did.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&OwnedValue>> {
        self.writes.get(key).map(Option::as_ref)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The writes within a range as they are now, for a scan. They are shared, not copied.
    pub(super) fn within(&self, range: &KeyRange) -> PendingWrites {
        let (start, end) = (range.start(), range.end());
        if end.is_some_and(|end| end <= start) {
            return Arc::new([]);
        }
        let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        let writes = self.writes.range::<[u8], _>(bounds);
        writes.map(|(key, value)| (key.bytes().clone(), pending(value))).collect()
    }

    /// The writes as a commit takes them, in key order.
    pub(super) fn ops(&self) -> Vec<Op<'_>> {
        self.writes
            .iter()
            .map(|(key, value)| Op { key: key.bytes(), value: value.as_ref().map(OwnedValue::lend) })
            .collect()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.writes.keys().cloned().collect()
    }
}

fn pending(value: &Option<OwnedValue>) -> MemValue {
    match value {
        None => MemValue::Delete,
        Some(OwnedValue::Shared(bytes)) => MemValue::Put(bytes.clone()),
        Some(OwnedValue::Stored(value)) => MemValue::Extent(value.reference()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::OpValue;

    fn value(bytes: &[u8]) -> Option<OwnedValue> {
        Some(OwnedValue::Shared(SharedBytes::from(bytes)))
    }

    fn text(value: Option<OpValue<'_>>) -> Option<Vec<u8>> {
        value.map(|value| match value {
            OpValue::Shared(bytes) => bytes.to_vec(),
            OpValue::Lent(_) | OpValue::Stored(_) => panic!("it is shared"),
        })
    }

    #[test]
    fn the_newest_write_of_a_key_counts_and_gives_back_the_older_ones_memory() {
        let mut writes = WriteSet::default();
        assert_eq!(writes.insert(b"k", value(b"one")), 0);
        assert_eq!(writes.insert(b"k", None), WriteSet::bytes_of(b"k", 3));
        assert_eq!(writes.insert(b"k", value(b"two")), WriteSet::bytes_of(b"k", 0));
        let seen = writes.get(b"k").map(|value| text(value.map(OwnedValue::lend)));
        assert_eq!(seen, Some(Some(b"two".to_vec())));
        assert!(writes.get(b"other").is_none());
        let ops = writes.ops();
        assert_eq!((ops.len(), ops[0].key, text(ops[0].value)), (1, &b"k"[..], Some(b"two".to_vec())));
    }

    #[test]
    fn a_scan_gets_the_writes_of_its_range() {
        let mut writes = WriteSet::default();
        for key in [b"a", b"b", b"c", b"d"] {
            writes.insert(key, value(key));
        }
        writes.insert(b"c", None);
        let keys = |start: Option<&[u8]>, end: Option<&[u8]>| -> Vec<Vec<u8>> {
            writes.within(&KeyRange::new(start, end)).iter().map(|(key, _)| key.to_vec()).collect()
        };
        assert_eq!(keys(None, None), [b"a", b"b", b"c", b"d"]);
        assert_eq!(keys(Some(b"b"), Some(b"d")), [b"b", b"c"]);
        assert!(keys(Some(b"d"), Some(b"b")).is_empty() && keys(Some(b"b"), Some(b"b")).is_empty());
    }
}
