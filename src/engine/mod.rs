//! The engine: commits, memtables, flushes, merges, and what is current.
//!
//! ```text
//! commit.rs   many threads' commits as one group: validate, log, apply, publish; queue.rs: how they come together
//! op.rs       what a commit consists of; stored.rs: large values that were written before it
//! log.rs      the write-ahead log's segments: made ready, retired
//! flush.rs    a frozen memtable becomes a run
//! compact.rs  runs become fewer runs, and then the base; policy.rs chooses
//! install.rs  what a flush or a merge made becomes the current version, first on disk, then in memory
//! keys.rs     slots and data keys; reseal.rs moves everything to the current one
//! audit.rs    what was done with keys, noted
//! backup.rs   what a backup copies, held in place; restore.rs replays archived log
//! open.rs     from files to an engine; redo.rs replays the log; close.rs goes back
//! ```
//!
//! Locks, in the order in which they may be taken: the flush lock or the merge lock; the writer (`commits`); the
//! manifest (`catalog`); the keyring; the current version (`versions`). Nothing is written to a file under the last.
//!
//! Order on disk, which no step breaks: segments and their directory are synced before the manifest names them; the
//! manifest is durable before anything it no longer names is deleted, and before a commit that relies on it is
//! acknowledged.

mod audit;
mod background;
mod backup;
mod catalog;
mod check;
mod checkpoint;
mod close;
mod commit;
mod compact;
mod figures;
mod flush;
mod health;
mod install;
mod keys;
mod log;
mod memory;
#[cfg(all(test, lightning_db_models))]
mod models;
mod op;
mod open;
mod policy;
mod queue;
mod recent;
mod redo;
mod reseal;
mod reserve;
mod restore;
mod retained;
mod rollback;
mod segments;
mod stored;
mod throttle;
mod values;
mod version;

use std::sync::{Arc, Weak};

use lightning_db_crypto::{ContentHasher, KeyProvider};
use lightning_db_storage::compress::{CompressionSettings, DictionaryTrainer};
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::segment::{
    SealContext, SegmentKind, SegmentSetOptions, SegmentSetWriter, WriterOptions,
};
use lightning_db_storage::vfs::FileLock;
use lightning_db_sync::Mutex;

use crate::cache::Caches;
use crate::config::LightningDbConfig;
use crate::observe::Metrics;
use crate::read::Reader;
pub(crate) use audit::About;
use catalog::Catalog;
use commit::Commits;
pub(crate) use commit::Validate;
pub(crate) use figures::OpenTransactions;
use health::Health;
pub use op::{MAX_KEY_SIZE, MAX_VALUE_SIZE};
pub(crate) use op::{Op, OpValue, OwnedValue};
pub(crate) use open::{lock as lock_for_writing, lock_for_reading, tell_use};
pub(crate) use recent::{CommitView, RecentWrites, WriterPin};
pub use reseal::DataKeyInfo;
pub(crate) use values::{LARGE_VALUE_LEN, ValueLog};
pub(crate) use version::{ReadView, Version, Versions};

/// An open database.
pub(crate) struct Engine {
    pub(crate) config: LightningDbConfig,
    pub(crate) ctx: Arc<SealContext>,
    pub(crate) versions: Versions,
    pub(crate) catalog: Catalog,
    pub(crate) recent: Arc<RecentWrites>,
    pub(crate) health: Health,
    pub(crate) caches: Arc<Caches>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) metrics: Metrics,
    pub(crate) hasher: ContentHasher,
    pub(crate) keyring_store: Mutex<KeyringStore>,
    audit: audit::Audit,
    pub(crate) read_only: bool,
    compression: CompressionSettings,
    maps: Arc<segments::MapBudget>,
    /// Random, for the hash tables of memtables.
    hash_seed: u64,
    commits: Commits,
    log_holds: backup::LogHolds,
    signals: background::Signals,
    merges: compact::Merges,
    transactions: Mutex<Option<Weak<dyn OpenTransactions>>>,
    owed: throttle::Owed,
    pinned: memory::Pinned,
    /// What the pages of the base have in common, for the segments to come.
    trainer: Option<Arc<DictionaryTrainer>>,
    /// Held while a memtable is flushed: one at a time, in order.
    flushing: Mutex<()>,
    lock: Mutex<Option<Box<dyn FileLock>>>,
    /// The key of the slot by which the database was opened, once that got another one.
    pub(crate) own_key: Mutex<Option<Arc<dyn KeyProvider>>>,
    /// How closing went; held while somebody closes.
    closed: Mutex<Option<crate::error::Result<()>>>,
}

impl Engine {
    /// A writer of new segments of one kind.
    fn segment_writer(&self, kind: SegmentKind) -> SegmentSetWriter {
        SegmentSetWriter::new(&self.ctx, self.segment_options(kind), self.catalog.segment_ids())
    }

    fn segment_options(&self, kind: SegmentKind) -> SegmentSetOptions {
        // In a statement of its own, after which the keyring is no longer locked: whoever writes a manifest locks the two
        // the other way round.
        let epoch = self.ctx.keyring.read().current_epoch();
        let writer = WriterOptions {
            kind,
            epoch,
            birth: self.catalog.birth(),
            compression: self.compression,
            dictionary: None,
        };
        let trainer = self.trainer.clone().filter(|_| kind == SegmentKind::Base);
        SegmentSetOptions { writer, segment_size: self.segment_size(), trainer }
    }

    /// Small enough that one segment is a small part of the database, large enough that there are not too many.
    fn segment_size(&self) -> u64 {
        (self.config.write_buffer_size as u64 * 2).clamp(256 << 10, 32 << 20)
    }
}

#[cfg(test)]
mod tests;
