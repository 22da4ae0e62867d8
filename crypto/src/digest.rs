//! Digests of content, to compare two databases without looking at either.

use std::fmt;

use crate::SecretKey;

const ENTRY: u8 = 0;
const VALUE: u8 = 1;

/// Computes keyed digests (BLAKE3) of entries and values.
///
/// Keyed, because a digest is stored beside the data, and a plain one would tell anybody whether
/// the data is what they guess.
pub struct ContentHasher(SecretKey);

impl ContentHasher {
    pub(crate) fn new(key: SecretKey) -> Self {
        Self(key)
    }

    /// The digest of one entry.
    pub fn entry(&self, kind: u8, key: &[u8], value: &[u8]) -> SetDigest {
        let mut digest = self.begin_entry(kind, key);
        digest.update(value);
        digest.finish_entry()
    }

    /// Starts the digest of an entry whose value comes in pieces; the same as
    /// [`entry`](Self::entry) of the pieces joined.
    pub fn begin_entry(&self, kind: u8, key: &[u8]) -> StreamDigest {
        let mut hasher = blake3::Hasher::new_keyed(self.0.expose());
        hasher.update(&[ENTRY, kind]);
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        StreamDigest(hasher)
    }

    /// Starts the digest of a value that comes in pieces.
    pub fn value(&self) -> StreamDigest {
        let mut hasher = blake3::Hasher::new_keyed(self.0.expose());
        hasher.update(&[VALUE]);
        StreamDigest(hasher)
    }
}

impl fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentHasher([redacted])")
    }
}

/// A digest in the making.
pub struct StreamDigest(blake3::Hasher);

impl StreamDigest {
    /// Adds a piece. How the content is cut into pieces makes no difference.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    /// The digest of all pieces, as one that can be summed over a set.
    pub fn finish_entry(self) -> SetDigest {
        SetDigest::from_bytes(&self.finish())
    }
}

impl fmt::Debug for StreamDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamDigest([redacted])")
    }
}

/// A digest of a set of entries that does not depend on their order: the sum of the entries'
/// digests in four lanes of 64 bits, each modulo 2^64.
///
/// The empty set is all zeros. An entry that occurs twice counts twice. The sum is as strong as
/// its entries' key is secret: who knows the key could look for two sets with one sum.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SetDigest([u64; 4]);

impl SetDigest {
    /// Adds one entry, or all entries of another set.
    pub fn add(&mut self, other: Self) {
        for (lane, value) in self.0.iter_mut().zip(other.0) {
            *lane = lane.wrapping_add(value);
        }
    }

    /// Takes away what [`add`](Self::add) added.
    pub fn remove(&mut self, other: Self) {
        for (lane, value) in self.0.iter_mut().zip(other.0) {
            *lane = lane.wrapping_sub(value);
        }
    }

    /// The digest of two sets together.
    #[must_use]
    pub fn combine(mut self, other: Self) -> Self {
        self.add(other);
        self
    }

    /// The stored form: the lanes in order, little-endian.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (place, lane) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&lane.to_le_bytes());
        }
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut lanes = [0; 4];
        for (lane, place) in lanes.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *lane = u64::from_le_bytes(*place);
        }
        Self(lanes)
    }
}

impl fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetDigest({})", hex::encode(self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hasher(seed: u8) -> ContentHasher {
        ContentHasher::new(SecretKey::from_bytes([seed; 32]))
    }

    #[test]
    fn entries_do_not_run_into_each_other() {
        let hasher = hasher(1);
        let base = hasher.entry(0, b"ab", b"c");
        assert_ne!(base, hasher.entry(0, b"a", b"bc"));
        assert_ne!(base, hasher.entry(1, b"ab", b"c"));
        assert_ne!(base, hasher.entry(0, b"ab", b""));
        assert_ne!(base, self::hasher(2).entry(0, b"ab", b"c"));
        assert_ne!(hasher.begin_entry(0, b"").finish(), hasher.value().finish());
    }

    proptest! {
        #[test]
        fn order_and_pieces_make_no_difference(
            mut entries in prop::collection::vec((any::<u8>(), any::<Vec<u8>>(), any::<Vec<u8>>()), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let hasher = hasher(3);
            let sum = |entries: &[(u8, Vec<u8>, Vec<u8>)]| {
                entries.iter().fold(SetDigest::default(), |sum, (kind, key, value)| sum.combine(hasher.entry(*kind, key, value)))
            };
            let whole = sum(&entries);
            prop_assert_eq!(SetDigest::from_bytes(&whole.to_bytes()), whole);
            entries.reverse();
            prop_assert_eq!(sum(&entries), whole);
            if let Some((kind, key, value)) = entries.pop() {
                let (head, tail) = value.split_at(cut.index(value.len() + 1));
                let mut digest = hasher.begin_entry(kind, &key);
                digest.update(head);
                digest.update(tail);
                let mut without = whole;
                without.remove(digest.finish_entry());
                prop_assert_eq!(without, sum(&entries));
            }
        }
    }
}
