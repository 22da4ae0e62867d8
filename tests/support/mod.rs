//! A simulated machine with a database on it, and what that database must hold.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lightning_db::{Database, Environment, KeySource, LightningDbConfig, Result, Vfs};
use lightning_db_crypto::SeededEntropy;
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::vfs::{FaultPlan, FaultyVfs, Keep, MemVfs, OpenHow};
use parking_lot::Mutex;

/// Where the database is.
pub(crate) const PATH: &str = "/db";

/// What a database must hold.
pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A machine with a disk that can lose power.
pub(crate) struct Machine {
    pub(crate) disk: MemVfs,
    pub(crate) clock: ManualClock,
    entropy: Arc<SeededEntropy>,
    plan: Mutex<FaultPlan>,
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            disk: MemVfs::new(),
            clock: ManualClock::new(1_700_000_000_000_000),
            entropy: Arc::new(SeededEntropy::new(seed)),
            plan: Mutex::default(),
        }
    }

    /// What decides about the calls of the database that was opened last.
    pub(crate) fn plan(&self) -> FaultPlan {
        self.plan.lock().clone()
    }

    /// The machine as a database sees it; its calls go by a new plan.
    pub(crate) fn environment(&self) -> Environment {
        self.environment_by(FaultPlan::new())
    }

    /// The machine as a database sees it, which dies at call `calls` that changes something.
    pub(crate) fn environment_dying_at(&self, calls: u64) -> Environment {
        let plan = FaultPlan::new();
        plan.crash_at(calls);
        self.environment_by(plan)
    }

    fn environment_by(&self, plan: FaultPlan) -> Environment {
        *self.plan.lock() = plan.clone();
        Environment {
            vfs: Arc::new(FaultyVfs::over_memory(self.disk.clone(), plan)),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::clone(&self.entropy) as _,
        }
    }

    pub(crate) fn create(&self, config: &LightningDbConfig) -> Arc<Database> {
        Database::create_in(self.environment(), PATH, config.clone()).expect("a new database")
    }

    pub(crate) fn open(&self, config: &LightningDbConfig) -> Result<Arc<Database>> {
        Database::open_in(self.environment(), PATH, config.clone())
    }

    pub(crate) fn reopen(&self, config: &LightningDbConfig) -> Arc<Database> {
        self.open(config).unwrap_or_else(|error| panic!("the database does not open: {error}"))
    }

    pub(crate) fn open_read_only(&self, config: &LightningDbConfig) -> Result<Arc<Database>> {
        Database::open_read_only_in(self.environment(), PATH, config.clone())
    }

    /// Ends the process that has `db` open; what it wrote is there, synced or not.
    pub(crate) fn kill(&self, db: Arc<Database>) {
        self.plan().crash_at(0);
        drop(db);
        self.disk.kill_process();
    }

    /// Cuts the power while `db` is open.
    pub(crate) fn power_cut(&self, db: Arc<Database>, random: &mut Random, keep: Keep) {
        self.plan().crash_at(0);
        drop(db);
        self.disk.crash(&mut || random.next(), keep);
    }

    /// The database's files with these endings.
    pub(crate) fn files_ending(&self, ending: &str) -> Vec<PathBuf> {
        let is_one = |path: &PathBuf| path.starts_with(PATH) && path.to_string_lossy().ends_with(ending);
        self.disk.files().into_iter().filter(is_one).collect()
    }

    pub(crate) fn len(&self, path: &Path) -> u64 {
        self.disk.metadata(path).expect("metadata").len
    }

    pub(crate) fn read(&self, path: &Path) -> Vec<u8> {
        let file = self.disk.open(path, OpenHow::Read).expect("open");
        let mut bytes = vec![0; file.len().expect("length") as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    /// Puts `bytes` in the place of the file at `path`.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) {
        if self.disk.metadata(path).is_ok() {
            self.disk.remove_file(path).expect("remove");
        }
        let file = self.disk.open(path, OpenHow::CreateNew).expect("create");
        file.write_all_at(bytes, 0).expect("write");
        file.sync_all().expect("sync");
        self.disk.sync_dir(path.parent().expect("a folder")).expect("sync");
    }

    /// Bytes of all files of the database but the room that is set aside.
    pub(crate) fn file_bytes(&self) -> u64 {
        let entries = self.disk.list(Path::new(PATH)).expect("list");
        entries.iter().filter(|entry| entry.name != "RESERVE").map(|entry| entry.len).sum()
    }
}

/// Small buffers and files, so that little work makes much happen; encrypted; merges only where they are asked for.
pub(crate) fn small() -> LightningDbConfig {
    LightningDbConfig {
        write_buffer_size: 64 << 10,
        wal_segment_size: 128 << 10,
        max_retained_log: 1 << 20,
        page_size: 1024,
        cache_size: 1 << 20,
        encryption_enabled: true,
        encryption_key: KeySource::raw(KEY),
        background_compaction: false,
        compaction_interval: Duration::from_secs(1),
        ..LightningDbConfig::default()
    }
}

/// The key of [`small`].
pub(crate) const KEY: [u8; 32] = *b"\x91KEY-bytes-that-must-not-be-seen";

/// As [`small`], not encrypted.
pub(crate) fn plain() -> LightningDbConfig {
    LightningDbConfig { encryption_enabled: false, encryption_key: KeySource::none(), ..small() }
}

/// Numbers that one seed repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = self.0 ^ (self.0 >> 29);
        mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn key(&mut self, keys: u64) -> Vec<u8> {
        format!("key-{:05}", self.below(keys)).into_bytes()
    }

    /// Bytes that no codec makes shorter.
    pub(crate) fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn value(&mut self, max_len: u64) -> Vec<u8> {
        let len = self.below(max_len) as usize;
        let byte = self.next() as u8;
        (0..len).map(|index| byte.wrapping_add((index / 7) as u8)).collect()
    }

    pub(crate) fn keep(&mut self) -> Keep {
        [Keep::Nothing, Keep::Everything, Keep::Random, Keep::Random][self.below(4) as usize]
    }
}

/// The seeds to try: the first `count`, or as many as `LIGHTNING_TEST_SEEDS` says.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("LIGHTNING_TEST_SEEDS").ok().and_then(|text| text.parse().ok());
    0..asked.unwrap_or(count)
}

/// Fails unless `db` holds the entries of `model` and no others: by a scan, by a scan backwards, and key by key.
#[track_caller]
pub(crate) fn assert_holds(db: &Database, model: &Model, what: &str) {
    if let Err(problem) = compare(db, model) {
        panic!("{what}: {problem}");
    }
}

/// What differs between `db` and `model`.
pub(crate) fn compare(db: &Database, model: &Model) -> std::result::Result<(), String> {
    let scanned = db.scan(None, None).map_err(|error| error.to_string())?;
    let mut expected = model.iter();
    for entry in scanned {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        let Some(next) = expected.next() else {
            return Err(format!("{} is too much", show(&key)));
        };
        if (next.0, next.1) != (&key, &value) {
            return Err(format!("{} stands where {} should", show(&key), show(next.0)));
        }
    }
    if let Some((key, _)) = expected.next() {
        return Err(format!("{} is missing", show(key)));
    }
    let back: Vec<_> = db.scan_reverse(None, None).map_err(|error| error.to_string())?.collect();
    if back.len() != model.len() {
        return Err(format!("{} entries backwards, not {}", back.len(), model.len()));
    }
    for (key, value) in model {
        if db.get(key).map_err(|error| error.to_string())?.as_ref() != Some(value) {
            return Err(format!("{} reads differently alone", show(key)));
        }
    }
    Ok(())
}

fn show(key: &[u8]) -> String {
    String::from_utf8_lossy(&key[..key.len().min(40)]).into_owned()
}

/// Whether `needle` is anywhere in `bytes`.
pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
