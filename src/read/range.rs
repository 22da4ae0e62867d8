//! Which keys a scan covers.

use std::ops::{Bound, RangeBounds};

use lightning_db_storage::ZeroizingBytes;

/// The keys from `start` on and below `end`. Every other form of bounds is brought into this one: the next key after
/// `k` is `k` and a zero byte.
#[derive(Clone, Default)]
pub(crate) struct KeyRange {
    /// Empty when there is no lower bound: no key is below the empty one.
    start: ZeroizingBytes,
    end: Option<ZeroizingBytes>,
}

impl KeyRange {
    /// From `start`, inclusive, to `end`, exclusive; `None` is unbounded.
    pub(crate) fn new(start: Option<&[u8]>, end: Option<&[u8]>) -> Self {
        let owned = |bytes: &[u8]| ZeroizingBytes::new(bytes.to_vec());
        Self { start: start.map(owned).unwrap_or_default(), end: end.map(owned) }
    }

    /// All keys that begin with `prefix`.
    pub(crate) fn prefix(prefix: &[u8]) -> Self {
        let end = prefix.iter().rposition(|&byte| byte != u8::MAX).map(|last| {
            let mut end = ZeroizingBytes::new(prefix[..=last].to_vec());
            end[last] += 1;
            end
        });
        Self { start: ZeroizingBytes::new(prefix.to_vec()), end }
    }

    /// The keys within any bounds.
    pub(crate) fn within<K: AsRef<[u8]>>(bounds: &impl RangeBounds<K>) -> Self {
        let start = match bounds.start_bound() {
            Bound::Included(key) => ZeroizingBytes::new(key.as_ref().to_vec()),
            Bound::Excluded(key) => key_after(key.as_ref()),
            Bound::Unbounded => ZeroizingBytes::default(),
        };
        let end = match bounds.end_bound() {
            Bound::Included(key) => Some(key_after(key.as_ref())),
            Bound::Excluded(key) => Some(ZeroizingBytes::new(key.as_ref().to_vec())),
            Bound::Unbounded => None,
        };
        Self { start, end }
    }

    /// The lowest key that can be in the range.
    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// The lowest key above the range.
    pub(crate) fn end(&self) -> Option<&[u8]> {
        self.end.as_ref().map(|end| end.as_slice())
    }

    /// Leaves out `key` and all below.
    pub(crate) fn start_after(&mut self, key: &[u8]) {
        copy_into(&mut self.start, key);
        self.start.push(0);
    }

    /// Leaves out `key` and all above.
    pub(crate) fn end_before(&mut self, key: &[u8]) {
        copy_into(self.end.get_or_insert_default(), key);
    }

    /// Whether `key` is above the range.
    #[inline]
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_some_and(|end| key >= end.as_slice())
    }

    /// Whether `key` is below the range.
    #[inline]
    pub(crate) fn starts_after(&self, key: &[u8]) -> bool {
        key < self.start.as_slice()
    }
}

/// The lowest key above `key`.
pub(crate) fn key_after(key: &[u8]) -> ZeroizingBytes {
    let mut after = ZeroizingBytes::new(Vec::with_capacity(key.len() + 1));
    after.extend_from_slice(key);
    after.push(0);
    after
}

/// Replaces the content, and leaves no copy behind when the buffer has to grow.
fn copy_into(buffer: &mut ZeroizingBytes, key: &[u8]) {
    if buffer.capacity() <= key.len() {
        *buffer = ZeroizingBytes::new(Vec::with_capacity(2 * key.len() + 16));
    }
    buffer.clear();
    buffer.extend_from_slice(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(range: &KeyRange, key: &[u8]) -> bool {
        !range.starts_after(key) && !range.ends_before(key)
    }

    #[test]
    fn bounds_of_every_form_cover_what_they_say() {
        let keys: [&[u8]; 6] = [b"a", b"b", b"b\0", b"b\0\0", b"ba", b"c"];
        let b = || b"b".to_vec();
        let bounds = [
            (Bound::Included(b()), Bound::Included(b"c".to_vec())),
            (Bound::Excluded(b()), Bound::Excluded(b"c".to_vec())),
            (Bound::Unbounded, Bound::Included(b())),
            (Bound::Unbounded, Bound::Excluded(b())),
            (Bound::Excluded(b()), Bound::Unbounded),
        ];
        for bounds in bounds {
            let range = KeyRange::within(&bounds);
            for key in keys {
                assert_eq!(covers(&range, key), bounds.contains(&key.to_vec()), "{bounds:?} {key:?}");
            }
        }
    }

    #[test]
    fn a_prefix_covers_what_begins_with_it_and_nothing_else() {
        for prefix in [&b""[..], b"a", b"a\xff", b"\xff", b"\xff\xff", b"\xfe\xff\xff"] {
            let range = KeyRange::prefix(prefix);
            for key in [
                &b"\0"[..],
                b"a",
                b"a\xfe",
                b"a\xff",
                b"a\xff\xff",
                b"b",
                b"\xfe\xff\xff\0",
                b"\xff",
                b"\xff\xff\x01",
            ] {
                assert_eq!(covers(&range, key), key.starts_with(prefix), "{prefix:?} {key:?}");
            }
        }
    }

    #[test]
    fn a_range_can_be_narrowed_from_both_ends() {
        let mut range = KeyRange::new(Some(b"a"), None);
        range.start_after(b"abc");
        range.end_before(b"b");
        assert!(
            !covers(&range, b"abc")
                && covers(&range, b"abc\0")
                && covers(&range, b"az")
                && !covers(&range, b"b")
        );
    }
}
