//! Watches how much memory is asked for at once (a length that nobody checked asks for gigabytes), and how much of it is not
//! given back.

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

/// Bytes that were asked for and not given back, and the most that they came to.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the code in Rust holds in this process at the moment.
#[must_use]
pub fn live_bytes() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// The most bytes that it held at a time since this was called before.
pub fn take_peak() -> usize {
    PEAK.swap(live_bytes(), Ordering::Relaxed)
}

/// What the allocator of the C library has, in bytes: handed out, to C code too, and kept for later. `None` where it does not
/// tell.
#[must_use]
pub fn allocator() -> Option<(usize, usize)> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "only the C library knows what it keeps")]
    {
        // SAFETY: it takes no arguments, and locks what it reads.
        let info = unsafe { libc::mallinfo2() };
        Some((info.uordblks.saturating_add(info.hblkhd), info.fordblks))
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

struct Watched;

#[global_allocator]
static WATCHED: Watched = Watched;

/// `size` bytes were asked for. A process that does not get them ends, so they need not be taken off again.
fn taken(size: usize) {
    if size > LARGE {
        COUNT.fetch_add(1, Ordering::Relaxed);
        LARGEST.fetch_max(size, Ordering::Relaxed);
    }
    let live = LIVE.fetch_add(size, Ordering::Relaxed).wrapping_add(size);
    if live > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

fn given_back(size: usize) {
    LIVE.fetch_sub(size, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "only a global allocator sees every allocation")]
// SAFETY: every call goes to the system's allocator with the arguments unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`; the block came from the same allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        taken(size);
        given_back(layout.size());
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

    #[test]
    fn what_is_held_counts_until_it_is_given_back() {
        // Other tests of this process take and give back meanwhile, but not this much. None is large by itself.
        const COUNT: usize = 100;
        let held: Vec<Vec<u8>> = (0..COUNT)
            .map(|_| {
                let mut part = Vec::with_capacity(LARGE / 2);
                part.reserve_exact(LARGE);
                part
            })
            .collect();
        assert!(live_bytes() >= COUNT * LARGE);
        drop(std::hint::black_box(held));
        assert!(take_peak() >= COUNT * LARGE && live_bytes() < COUNT * LARGE);
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn the_allocator_tells_what_it_handed_out() {
        let held = std::hint::black_box(vec![1_u8; 1 << 20]);
        let (used, _) = allocator().expect("the C library tells");
        assert!(used >= held.len());
    }
}
