//! A database on a simulated disk, and what it must hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lightning_db_crypto::{KeySource, SeededEntropy};
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::tree::{Cursor, DirectPages, ReadAhead};
use lightning_db_storage::vfs::{FaultPlan, FaultyVfs, Keep, MemVfs, Vfs};
use lightning_db_sync::Mutex;

use crate::config::LightningDbConfig;
use crate::database::Database;
use crate::environment::Environment;
use crate::error::Result;

pub(super) const PATH: &str = "/db";

pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A simulated machine.
pub(super) struct World {
    pub(super) disk: MemVfs,
    pub(super) clock: Arc<ManualClock>,
    entropy: Arc<SeededEntropy>,
    /// Lets what was opened last crash.
    plan: Mutex<FaultPlan>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            disk: MemVfs::new(),
            clock: Arc::new(ManualClock::new(1_000_000)),
            entropy: Arc::new(SeededEntropy::new(seed)),
            plan: Mutex::default(),
        }
    }

    /// The machine as a database sees it, with `vfs` for its disk.
    pub(super) fn environment_on(&self, vfs: Arc<dyn Vfs>) -> Environment {
        let clock = Arc::clone(&self.clock) as _;
        Environment { vfs, clock, entropy: Arc::clone(&self.entropy) as _ }
    }

    pub(super) fn environment(&self) -> Environment {
        let plan = FaultPlan::new();
        *self.plan.lock() = plan.clone();
        self.environment_on(Arc::new(FaultyVfs::over_memory(self.disk.clone(), plan)))
    }

    /// Ends the process that has `db` open. What it wrote is there, synced or not.
    pub(super) fn kill(&self, db: Arc<Database>) {
        self.plan.lock().crash_at(0);
        drop(db);
        self.disk.kill_process();
    }

    /// Cuts the power of the machine that has `db` open.
    pub(super) fn power_cut(&self, db: Arc<Database>, keep: Keep) {
        self.plan.lock().crash_at(0);
        drop(db);
        self.disk.crash(&mut || 0, keep);
    }

    pub(super) fn create(&self, config: &LightningDbConfig) -> Arc<Database> {
        self.disk.sync_dir(Path::new("/")).expect("sync");
        Database::create_in(self.environment(), PATH, config.clone()).expect("a new database")
    }

    pub(super) fn open(&self, config: &LightningDbConfig) -> Result<Arc<Database>> {
        Database::open_in(self.environment(), PATH, config.clone())
    }

    pub(super) fn read_only(&self, config: &LightningDbConfig) -> Result<Arc<Database>> {
        Database::open_read_only_in(self.environment(), PATH, config.clone())
    }

    /// Bytes of all files, the reserve left out.
    pub(super) fn file_bytes(&self) -> u64 {
        let entries = self.disk.list(Path::new(PATH)).expect("list");
        entries.iter().filter(|entry| entry.name != "RESERVE").map(|entry| entry.len).sum()
    }
}

/// Small buffers, an encrypted database, nothing in the background but flushes.
pub(super) fn small() -> LightningDbConfig {
    LightningDbConfig {
        write_buffer_size: 64 << 10,
        wal_segment_size: 128 << 10,
        max_retained_log: 1 << 20,
        page_size: 1024,
        cache_size: 1 << 20,
        encryption_enabled: true,
        encryption_key: KeySource::raw([7; 32]),
        background_compaction: false,
        compaction_interval: Duration::from_secs(1),
        ..LightningDbConfig::default()
    }
}

/// A generator of numbers that needs no care.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = self.0 ^ (self.0 >> 29);
        mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn key(&mut self, keys: u64) -> Vec<u8> {
        format!("key-{:05}", self.below(keys)).into_bytes()
    }

    pub(super) fn value(&mut self, max_len: u64) -> Vec<u8> {
        let len = self.below(max_len) as usize;
        let byte = self.next() as u8;
        (0..len).map(|index| byte.wrapping_add((index / 7) as u8)).collect()
    }
}

/// Compares every key of the model, and that there are no others.
pub(super) fn assert_holds(db: &Database, model: &Model) {
    for (key, value) in model {
        let found = db.get(key).expect("readable");
        assert!(found.as_ref() == Some(value), "{} differs", String::from_utf8_lossy(key));
    }
    for key in all_keys(db) {
        let found = db.get(&key).expect("readable");
        assert!(found.is_none() || model.contains_key(&key), "{} came back", String::from_utf8_lossy(&key));
    }
}

/// Every key that any tree of the current version mentions.
fn all_keys(db: &Database) -> Vec<Vec<u8>> {
    let version = db.engine.versions.current();
    let pages = DirectPages(&version.tree.segments);
    let mut keys = Vec::new();
    for tree in version.tree.runs.iter().map(|run| run.info.tree).chain([version.tree.base]) {
        let mut cursor = Cursor::new(&pages, tree, ReadAhead { distance: 0 });
        let mut found = cursor.seek_first().expect("readable");
        while found {
            keys.push(cursor.key().to_vec());
            found = cursor.next().expect("readable");
        }
    }
    keys
}

/// Sums that must agree between the manifest, its segment table and the trees.
pub(super) fn assert_accounts(db: &Database) {
    use lightning_db_storage::segment::SegmentKind;
    db.engine.catalog.read(|manifest| {
        let live = |kind| {
            let of_kind = manifest.segments.iter().filter(move |info| info.kind == kind);
            of_kind.map(|info| info.live_bytes).sum::<u64>()
        };
        assert_eq!(
            live(SegmentKind::Base),
            manifest.keyspaces[0].base.stored_bytes,
            "live pages of the base"
        );
    });
}
