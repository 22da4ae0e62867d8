//! Asking for memory before it is needed.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Has the processor fetch the cache line at `address`, without waiting for it. Any address will do.
#[inline]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the one way to ask for memory without waiting for it")]
    // SAFETY: a prefetch is a hint: it reads nothing that a program could see, and faults at no address. Every x86-64
    // processor has the instruction.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
