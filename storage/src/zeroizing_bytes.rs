//! Plaintext on the heap that is wiped before its memory is given back.

use std::fmt;
use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// Bytes that are wiped when they are dropped, and whose `Debug` shows the length only.
///
/// It is `ZeroizingBytes`, but for how it wipes: `zeroize` goes through the elements of a `Vec` one by one, which
/// took almost half the time of a read from disk, and through a slice of bytes as fast as memory takes zeros.
///
/// What is appended beyond the capacity moves the bytes and leaves a copy behind: reserve before.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ZeroizingBytes(Vec<u8>);

impl ZeroizingBytes {
    /// Takes charge of `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Drop for ZeroizingBytes {
    fn drop(&mut self) {
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
    }
}

impl Zeroize for ZeroizingBytes {
    fn zeroize(&mut self) {
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }
}

impl From<Vec<u8>> for ZeroizingBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl Deref for ZeroizingBytes {
    type Target = Vec<u8>;

    #[inline]
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for ZeroizingBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for ZeroizingBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ZeroizingBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZeroizingBytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_no_content() {
        assert_eq!(format!("{:?}", ZeroizingBytes::new(b"secret".to_vec())), "ZeroizingBytes(6 bytes)");
    }
}
