//! What is measured: one interface, one file for each engine.

#[cfg(feature = "fjall")]
mod fjall;
mod lightning;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sqlcipher")]
mod sqlcipher;
mod variant;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use variant::{Allocator, Variant};

use crate::Result;

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// The kernel has the bytes: a killed process loses nothing.
    Async,
    /// Stable storage has them.
    Sync,
}

/// What an engine is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database's directory; the engine makes it if it is not there.
    pub directory: PathBuf,
    /// Bytes of cache.
    pub cache_bytes: u64,
    /// Bytes that the data will have at most, for engines that reserve address space.
    pub data_bytes_max: u64,
    /// What commits wait for.
    pub durability: Durability,
}

/// A database of one kind, open.
pub trait Engine: Send + Sync {
    /// Its settings, as they are printed: name and value.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// Calls `work` with what one thread reads and writes through.
    ///
    /// # Errors
    /// Those of `work`, and of what an engine does to begin.
    fn session(&self, work: &mut dyn FnMut(&mut dyn Session) -> Result<()>) -> Result<()>;

    /// Whether each session has a cache of its own, which is empty when it begins.
    fn has_cache_per_session(&self) -> bool {
        false
    }

    /// Writes everything out and does what an engine leaves for later: merges, compaction, log checkpoints.
    ///
    /// # Errors
    /// The engine's.
    fn settle(&self) -> Result<()>;

    /// What the engine calls a merge: how many there were since it was opened, if it tells.
    fn merges(&self) -> Option<u64> {
        None
    }

    /// How the engine backs up while it is open; `Err` says why it does not.
    ///
    /// # Errors
    /// The reason.
    fn backups(&self) -> Result<&dyn Backups> {
        Err("it has no backup of a database in use".into())
    }

    /// Closes it in order.
    ///
    /// # Errors
    /// The engine's.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Backups by an engine's own means.
pub trait Backups {
    /// Backs up into the repository, which grows with each call. Everything is on stable storage afterwards.
    ///
    /// # Errors
    /// The engine's.
    fn back_up(&self, repository: &std::path::Path) -> Result<()>;

    /// Whether a second call ships only what changed.
    fn is_incremental(&self) -> bool;

    /// Makes a database in `directory` out of the newest backup.
    ///
    /// # Errors
    /// The engine's.
    fn restore(&self, repository: &std::path::Path, directory: &std::path::Path) -> Result<()>;
}

/// Takes an entry of a scan: key and value.
pub type Show<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Takes the value of a key, or that it has none.
pub type ShowOne<'a> = &'a mut dyn FnMut(Option<&[u8]>) -> Result<()>;

/// Takes what belongs to one key of a batch: its place in the batch, and its value, if it has one.
pub type ShowOneOf<'a> = &'a mut dyn FnMut(usize, Option<&[u8]>) -> Result<()>;

/// What one thread reads and writes through.
pub trait Session {
    /// The value, copied.
    ///
    /// # Errors
    /// The engine's.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The value, lent as the engine lends it.
    ///
    /// # Errors
    /// The engine's, and those of `show`.
    fn view(&mut self, key: &[u8], show: ShowOne<'_>) -> Result<()>;

    /// The values of several keys, by the engine's call for that if it has one; each once, in any order.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    fn view_batch(&mut self, keys: &[&[u8]], show: ShowOneOf<'_>) -> Result<()> {
        for (index, key) in keys.iter().enumerate() {
            self.view(key, &mut |value| show(index, value))?;
        }
        Ok(())
    }

    /// The values of several keys, copied.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    fn get_batch(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Up to `limit` entries from `from` on, in the order of keys, lent as the engine lends them.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    fn scan(&mut self, from: &[u8], limit: usize, show: Show<'_>) -> Result<()>;

    /// Sets a value, in a commit of its own.
    ///
    /// # Errors
    /// The engine's.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Sets several values in one commit.
    ///
    /// # Errors
    /// The engine's.
    fn put_batch(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()>;
}

/// Bytes of a write buffer, for engines that have them; three can be alive at once.
const WRITE_BUFFER_BYTES: usize = 32 << 20;

/// Threads for background work, for engines that let them be set.
const BACKGROUND_THREADS: usize = 2;

/// The key that encrypting engines get.
const KEY: [u8; 32] = *b"the benchmark's key is no secret";

fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    } else {
        format!("{} KiB", bytes >> 10)
    }
}
