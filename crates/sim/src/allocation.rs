//! Watches how much memory is asked for at once: a length that nobody checked asks for gigabytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More than this at once, in bytes, is counted. An engine with small buffers never needs it.
pub const LARGE: usize = 16 << 20;

static COUNT: AtomicU64 = AtomicU64::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// How many allocations of more than [`LARGE`] bytes there were in this process, and the largest of them.
#[must_use]
pub fn large_allocations() -> (u64, usize) {
    (COUNT.load(Ordering::Relaxed), LARGEST.load(Ordering::Relaxed))
}

struct Watched;

#[global_allocator]
static WATCHED: Watched = Watched;

fn note(size: usize) {
    if size > LARGE {
        COUNT.fetch_add(1, Ordering::Relaxed);
        LARGEST.fetch_max(size, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "only a global allocator sees every allocation")]
// SAFETY: every call goes to the system's allocator with the arguments unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; the block came from the same allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller keeps the contract of `realloc`; the block came from the same allocator.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_allocation_is_counted_and_a_small_one_is_not() {
        let (before, _) = large_allocations();
        drop(std::hint::black_box(vec![1_u8; LARGE]));
        assert_eq!(large_allocations().0, before);
        drop(std::hint::black_box(vec![0_u8; LARGE + 1]));
        let (after, largest) = large_allocations();
        assert!(after > before && largest > LARGE);
    }
}
