//! A key in memory, wiped when it is dropped. Short ones, as most are, need no allocation and no further look.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroize;

use crate::shared_bytes::heap_bytes;

/// With a byte for the length and one for the kind, a short key takes 32 bytes.
const SHORT_LEN_MAX: usize = 30;

/// A key. `Debug` shows the length only.
pub(crate) struct KeyBytes(Held);

enum Held {
    Short { len: u8, bytes: [u8; SHORT_LEN_MAX] },
    Long(Box<[u8]>),
}

impl KeyBytes {
    /// What a key of `len` bytes takes from the heap.
    pub(crate) const fn heap_bytes_of(len: usize) -> usize {
        if len <= SHORT_LEN_MAX { 0 } else { heap_bytes(len) }
    }
}

impl From<&[u8]> for KeyBytes {
    #[inline]
    fn from(key: &[u8]) -> Self {
        if key.len() > SHORT_LEN_MAX {
            return Self(Held::Long(Box::from(key)));
        }
        let mut bytes = [0; SHORT_LEN_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self(Held::Short { len: key.len() as u8, bytes })
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Short { len, bytes } => &bytes[..usize::from(*len)],
            Held::Long(bytes) => bytes,
        }
    }
}

impl Drop for KeyBytes {
    fn drop(&mut self) {
        match &mut self.0 {
            Held::Short { bytes, .. } => bytes.as_mut_slice().zeroize(),
            Held::Long(bytes) => bytes[..].zeroize(),
        }
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyBytes({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_come_back() {
        let key: Vec<u8> = (0..=255).collect();
        for len in [0, 1, SHORT_LEN_MAX - 1, SHORT_LEN_MAX, SHORT_LEN_MAX + 1, 256] {
            let held = KeyBytes::from(&key[..len]);
            assert_eq!(*held, key[..len]);
            assert_eq!(format!("{held:?}"), format!("KeyBytes({len} bytes)"));
        }
        assert_eq!(size_of::<KeyBytes>(), 32);
    }
}
