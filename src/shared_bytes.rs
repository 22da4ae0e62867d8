//! Bytes of a record, shared without copying, and wiped when the last holder lets go.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use zeroize::Zeroize;

/// Plaintext of a record. A clone costs a count. `Debug` shows the length only.
#[derive(Clone)]
pub(crate) struct SharedBytes(Arc<Wiped>);

/// One allocation holds the counts and the bytes. `Arc<[u8]>` would not do: two holders that let go at once can both
/// see that they are not the last, and nobody would wipe.
#[repr(transparent)]
struct Wiped([u8]);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SharedBytes {
    /// What an allocation of `len` shared bytes takes from the heap, counts and rounding included.
    pub(crate) const fn memory_bytes_of(len: usize) -> usize {
        heap_bytes(2 * size_of::<usize>() + len)
    }

    /// What these bytes take from the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        Self::memory_bytes_of(self.len())
    }
}

/// What the usual allocators take for a request of `len` bytes: a word of their own, rounded up to 16.
pub(crate) const fn heap_bytes(len: usize) -> usize {
    let rounded = (len + 8).next_multiple_of(16);
    if rounded < 32 { 32 } else { rounded }
}

impl From<&[u8]> for SharedBytes {
    #[expect(unsafe_code, reason = "a slice with a destructor can be made in place in no other way")]
    fn from(bytes: &[u8]) -> Self {
        let plain: Arc<[u8]> = Arc::from(bytes);
        // SAFETY: `Wiped` is `repr(transparent)` over `[u8]`: same size, same alignment, same metadata, which is what
        // `Arc::from_raw` asks of a pointer that `Arc::into_raw` gave for another type. Nobody else holds the `Arc`.
        Self(unsafe { Arc::from_raw(Arc::into_raw(plain) as *const Wiped) })
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.0
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_come_back_and_are_shared() {
        for len in [0usize, 1, 15, 16, 17, 4096] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let shared = SharedBytes::from(&bytes[..]);
            let again = shared.clone();
            assert_eq!(&*again, &bytes[..]);
            assert_eq!(again.as_ptr(), shared.as_ptr());
            drop(shared);
            assert_eq!(&*again, &bytes[..]);
        }
    }

    #[test]
    fn debug_tells_no_content() {
        assert_eq!(format!("{:?}", SharedBytes::from(&b"secret"[..])), "SharedBytes(6 bytes)");
    }
}
