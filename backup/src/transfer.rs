//! Copying bytes that have a known length and hash, and telling how far a long operation is.

use lightning_db_sync::{Mutex, thread};

use crate::Result;

/// Files that are copied at once.
const PARALLEL_COPIES: usize = 2;

const PIECE_LEN: usize = 1 << 20;

/// Told how far a long operation is, from any thread. Units are bytes.
pub trait Progress: Send + Sync {
    /// `done` of `total` bytes of `phase` are done.
    fn advance(&self, phase: &'static str, done: u64, total: u64);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn advance(&self, _: &'static str, _: u64, _: u64) {}
}

/// Reads at an offset, and returns how many bytes.
pub(crate) type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> Result<usize>;

/// Takes the next bytes.
pub(crate) type Take<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// Copies the first `len` bytes of `read` to `take`, and returns their BLAKE3. Stops at the end of what there is: the
/// second result is how many bytes that were.
pub(crate) fn copy(len: u64, read: ReadAt<'_>, take: Take<'_>) -> Result<([u8; 32], u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; usize::try_from(len).unwrap_or(PIECE_LEN).min(PIECE_LEN)];
    let mut at = 0;
    while at < len {
        let want = usize::try_from(len - at).unwrap_or(PIECE_LEN).min(PIECE_LEN);
        let count = read(&mut piece[..want], at)?;
        if count == 0 {
            break;
        }
        hasher.update(&piece[..count]);
        take(&piece[..count])?;
        at += count as u64;
    }
    Ok((*hasher.finalize().as_bytes(), at))
}

/// Does `work` for each item, a few at once. After a failure nothing new is begun; the first error is returned.
pub(crate) fn for_each_parallel<T: Sync>(
    items: &[T],
    work: &(dyn Fn(&T) -> Result<()> + Sync),
) -> Result<()> {
    let queue = Mutex::new(items.iter());
    let drain = || -> Result<()> {
        loop {
            let next = queue.lock().next();
            let Some(item) = next else { return Ok(()) };
            work(item).inspect_err(|_| queue.lock().by_ref().for_each(drop))?;
        }
    };
    thread::scope(|scope| {
        // Without another thread this one does it all.
        let another = |_| thread::spawn_scoped(scope, drain).ok();
        let others: Vec<_> = (1..PARALLEL_COPIES.min(items.len())).filter_map(another).collect();
        let own = drain();
        let join = |other: thread::ScopedJoinHandle<'_, Result<()>>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        others.into_iter().map(join).fold(own, Result::and)
    })
}
