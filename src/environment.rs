//! What a database takes from the world around it: files, time and randomness.

use std::sync::Arc;

use lightning_db_crypto::{Entropy, OsEntropy};
use lightning_db_storage::clock::{Clock, SystemClock};
use lightning_db_storage::vfs::{OsVfs, Vfs};

/// The three seams through which a database touches the world. The default is the operating system; tests and
/// simulations put their own in place, and one seed then reproduces one run.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The file system that holds the database and its repositories.
    pub vfs: Arc<dyn Vfs>,
    /// The source of commit times and of all durations.
    pub clock: Arc<dyn Clock>,
    /// The source of keys, salts and identities. One that can be guessed gives the data away.
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Environment {
    fn default() -> Self {
        Self { vfs: Arc::new(OsVfs), clock: Arc::new(SystemClock::default()), entropy: Arc::new(OsEntropy) }
    }
}
