//! A process-wide store of 32-byte cells in locked pages.
//!
//! Locking works on pages, and a process may lock only few of them (often 64 KiB in all); a page a
//! key would leave most keys unlocked. So keys share chunks of pages, which are cut into cells.
//!
//! Invariants:
//! - a cell is in the free list, or belongs to exactly one [`Cell`], never both;
//! - a cell in the free list holds zeros;
//! - a chunk is never given back, so a cell's address stays valid for ever. The store is as large
//!   as the most keys that were ever alive at once.

use std::{
    alloc::{Layout, alloc_zeroed, handle_alloc_error},
    ptr::NonNull,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroize;

const CELL_LEN: usize = 32;
/// A whole number of pages on every system this runs on (4, 16 KiB), and small enough that the
/// first few fit below a tight limit on locked memory.
const CHUNK_LEN: usize = 16 * 1024;

static FREE: Mutex<Vec<Place>> = Mutex::new(Vec::new());

/// The only owner of one cell.
pub(super) struct Cell(Place);

struct Place {
    at: NonNull<[u8; CELL_LEN]>,
    locked: bool,
}

#[expect(unsafe_code, reason = "a cell behaves like an owned box, which the pointer hides")]
// SAFETY: a `Place` owns the cell it points to (see the invariants above), the cell is plain
// bytes, and it is changed through `&mut` only. So it may move between and be shared by threads
// like a `Box<[u8; 32]>`.
unsafe impl Send for Place {}
#[expect(unsafe_code, reason = "a cell behaves like an owned box, which the pointer hides")]
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Cell {
    /// A cell full of zeros.
    pub(super) fn new() -> Self {
        let mut free = free_list();
        if free.is_empty() {
            add_chunk(&mut free);
        }
        Self(free.pop().expect("a chunk has just been added"))
    }

    pub(super) fn get(&self) -> &[u8; CELL_LEN] {
        #[expect(unsafe_code, reason = "reads the cell this owns")]
        // SAFETY: the cell is allocated, initialised and ours alone; chunks are never freed.
        unsafe {
            self.0.at.as_ref()
        }
    }

    pub(super) fn get_mut(&mut self) -> &mut [u8; CELL_LEN] {
        #[expect(unsafe_code, reason = "writes the cell this owns")]
        // SAFETY: as in `get`, and `&mut self` makes this the only reference.
        unsafe {
            self.0.at.as_mut()
        }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.0.locked
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.get_mut().zeroize();
        free_list().push(Place { at: self.0.at, locked: self.0.locked });
    }
}

fn free_list() -> MutexGuard<'static, Vec<Place>> {
    // Nothing panics between two states of the list, so a poisoned one is whole.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add_chunk(free: &mut Vec<Place>) {
    let layout = Layout::from_size_align(CHUNK_LEN, CHUNK_LEN).expect("a power of two");
    #[expect(unsafe_code, reason = "page-aligned memory cannot be had from a collection")]
    // SAFETY: the layout is not empty.
    let chunk = unsafe { alloc_zeroed(layout) };
    let Some(start) = NonNull::new(chunk) else { handle_alloc_error(layout) };
    let locked = protect(start);
    if !locked {
        tracing::debug!(bytes = CHUNK_LEN, "keys could not be locked in memory: the limit is RLIMIT_MEMLOCK");
    }
    free.reserve(CHUNK_LEN / CELL_LEN);
    for index in 0..CHUNK_LEN / CELL_LEN {
        #[expect(unsafe_code, reason = "cuts the chunk into cells")]
        // SAFETY: `index * CELL_LEN` is inside the chunk.
        let at = unsafe { start.add(index * CELL_LEN) }.cast();
        free.push(Place { at, locked });
    }
}

/// Keeps a chunk out of core dumps and swap; says whether the latter was granted.
#[cfg(unix)]
fn protect(chunk: NonNull<u8>) -> bool {
    let start = chunk.as_ptr().cast();
    #[cfg(target_os = "linux")]
    {
        #[expect(unsafe_code, reason = "there is no safe way to name memory to the kernel")]
        // SAFETY: these are whole pages that we allocated and never free; the advice changes
        // neither their contents nor their mapping.
        let advised = unsafe { rustix::mm::madvise(start, CHUNK_LEN, rustix::mm::Advice::LinuxDontDump) };
        if let Err(error) = advised {
            tracing::debug!(%error, "keys could not be left out of core dumps");
        }
    }
    #[expect(unsafe_code, reason = "there is no safe way to name memory to the kernel")]
    // SAFETY: as above; locking changes neither contents nor mapping.
    unsafe { rustix::mm::mlock(start, CHUNK_LEN) }.is_ok()
}

#[cfg(not(unix))]
fn protect(_chunk: NonNull<u8>) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn cells_are_distinct_zeroed_and_survive_threads() {
        let threads: Vec<_> = (0..4u8)
            .map(|thread| {
                std::thread::spawn(move || {
                    for round in 0..50u8 {
                        let mut cells: Vec<_> = (0..100).map(|_| Cell::new()).collect();
                        let places: HashSet<_> =
                            cells.iter().map(|cell| cell.get().as_ptr() as usize).collect();
                        assert_eq!(places.len(), cells.len());
                        for cell in &mut cells {
                            assert_eq!(cell.get(), &[0; CELL_LEN], "a cell kept what a dropped key left");
                            cell.get_mut().fill(thread * 60 + round + 1);
                        }
                        assert!(cells.iter().all(|cell| cell.get() == &[thread * 60 + round + 1; CELL_LEN]));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a thread found a cell that was not its own");
        }
    }

    #[test]
    fn many_keys_share_few_pages() {
        let cells: Vec<_> = (0..10_000).map(|_| Cell::new()).collect();
        let chunks: HashSet<_> = cells.iter().map(|cell| cell.get().as_ptr() as usize / CHUNK_LEN).collect();
        // Other tests run beside this one and hold cells too, so only the order of magnitude holds.
        assert!(chunks.len() <= 2 * (10_000 * CELL_LEN).div_ceil(CHUNK_LEN), "{} chunks", chunks.len());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_was_told() {
        let cell = Cell::new();
        let address = cell.get().as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
        let mut inside = false;
        let mut flags = None;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((start, end)) = range {
                let parse = |text| usize::from_str_radix(text, 16).expect("an address");
                inside = (parse(start)..parse(end)).contains(&address);
            } else if inside && let Some(found) = line.strip_prefix("VmFlags:") {
                flags = Some(found.split_whitespace().collect::<Vec<_>>());
            }
        }
        let flags = flags.expect("the cell is somewhere");
        assert!(flags.contains(&"dd"), "keys would be in core dumps: {flags:?}");
        assert_eq!(flags.contains(&"lo"), cell.is_locked(), "{flags:?}");
    }
}
