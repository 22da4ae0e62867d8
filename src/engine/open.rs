//! From files to an open database.
//!
//! ```text
//! lock -> keyring -> manifest -> segments -> log: scan, settle, replay, flush -> a new log segment -> orphans go -> serve
//! ```
//!
//! A read-only open writes nothing: it replays the log into memory, and gives the lock back once it has everything
//! open, because what it read from then on is in files that no writer changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lightning_db_crypto::{AeadSuite, DatabaseId, Entropy, KeyProvider, Keyring, PortableAesGcm, SuiteId};
use lightning_db_storage::audit::AuditEvent;
use lightning_db_storage::compress::CompressionSettings;
use lightning_db_storage::directory::{self, FileRole, KEYRING_FILES, LOCK_FILE};
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{Features, Keyspace, Manifest, ManifestStore};
use lightning_db_storage::segment::{SaltCount, SealContext};
use lightning_db_storage::vfs::{FileLock, Vfs};
use lightning_db_storage::wal::{Fork, PreparedSegment, WalStart, WalWriter, prepare_segment};
use lightning_db_storage::{Generation, Incarnation, SegmentId, SequenceNumber, StorageError};
use lightning_db_sync::{Mutex, RwLock, thread};

use super::catalog::Catalog;
use super::commit::Commits;
use super::health::Health;
use super::install::read_filter;
use super::recent::RecentWrites;
use super::segments::{MapBudget, OpenSegment, SegmentTable};
use super::version::{Layer, Run, TreeState, Version, Versions};
use super::{Engine, background, log, reserve};
use crate::cache::Caches;
use crate::config::LightningDbConfig;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::freshness::Freshness;
use crate::observe::Metrics;
use crate::read::Reader;

/// One who is in the way is asked again after this long.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// How often, if it writes: it may be about to close.
const ATTEMPTS_BESIDE_WRITER: u32 = 20;
/// How often, if it reads: it holds the lock only while it opens or checks the database.
const ATTEMPTS_BESIDE_READERS: u32 = 1000;

impl Engine {
    /// Makes a new database in `path`, which must not exist, or be empty but for what an interrupted creation left.
    ///
    /// # Errors
    /// `AlreadyExists`, `Locked`, and what writing files can give; nothing is left behind then.
    pub(crate) fn create(
        path: &Path,
        config: LightningDbConfig,
        environment: Environment,
    ) -> Result<Arc<Self>> {
        config.validate()?;
        let vfs = &environment.vfs;
        freshness(&config, vfs).check_new(path)?;
        let is_new = claim_directory(&**vfs, path)?;
        let held = lock(&**vfs, path).inspect_err(|_| {
            let _ = if is_new { vfs.remove_dir(path) } else { Ok(()) };
        })?;
        // Looked at again: until the lock was taken, somebody else may have made a database here.
        require_free(&**vfs, path)?;
        // Held until what a failure left is gone.
        let held: Arc<dyn FileLock> = held.into();
        let created = (|| {
            let (keyring, store) = create_keyring(path, &config, &environment)?;
            let manifest = first_manifest(&config, &environment, &keyring)?;
            let ctx = seal_context(path, &config, &environment, keyring, manifest.incarnation);
            let manifests = ManifestStore::new(Arc::clone(vfs), path);
            let engine = {
                let freshness = freshness(&config, vfs);
                let held = Box::new(Arc::clone(&held));
                Self::assemble(config, ctx, manifest, freshness, (manifests, store), Some(held))?
            };
            engine.begin_audit(AuditEvent::Created);
            engine.change_manifest(|_| {})?;
            engine.begin_log(WalStart::default())?;
            background::start(&engine)?;
            // Last, when nothing can fail any more: a mark of a database that never came to be would refuse the next one.
            engine.catalog.begin_to_remember();
            Ok(engine)
        })();
        created.inspect_err(|_| abandon_directory(&**vfs, path, is_new))
    }

    /// Opens the database in `path` for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, `Locked`, `WrongKey`, `KeyRequired`, `NotEncrypted`, `Corrupt`, `UnsupportedFormat`, and what reading
    /// and writing files can give.
    pub(crate) fn open(
        path: &Path,
        config: LightningDbConfig,
        environment: Environment,
    ) -> Result<Arc<Self>> {
        let _span = tracing::info_span!("open", directory = %path.display()).entered();
        config.validate()?;
        require_database(&*environment.vfs, path)?;
        let held = lock(&*environment.vfs, path)?;
        // Whoever died here may have given files their names and not made those durable: all that is written from now on
        // relies on them.
        environment.vfs.sync_dir(path).map_err(|error| StorageError::io("sync", path, error))?;
        let engine =
            Self::load(path, config, &environment, Some(held)).inspect_err(|error| tell(path, error))?;
        let start = engine.redo()?;
        // Only now: an open whose key or data is refused leaves no entry.
        engine.begin_audit(AuditEvent::Opened);
        engine.begin_log(start)?;
        engine.remove_orphans();
        background::start(&engine)?;
        Ok(engine)
    }

    /// Opens the database in `path` for reading, and writes nothing, not even a lock file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_read_only(
        path: &Path,
        config: LightningDbConfig,
        environment: Environment,
    ) -> Result<Arc<Self>> {
        config.validate()?;
        let while_opening = lock_for_reading(&*environment.vfs, path)?;
        let engine = Self::load(path, config, &environment, None).inspect_err(|error| tell(path, error))?;
        tell_slot(path, &engine.ctx.keyring.read());
        let log = engine.open_log()?;
        drop(while_opening);
        engine.replay_in_memory(log)?;
        Ok(engine)
    }

    pub(super) fn load(
        path: &Path,
        config: LightningDbConfig,
        environment: &Environment,
        lock: Option<Box<dyn FileLock>>,
    ) -> Result<Arc<Self>> {
        let (keyring, mut store, damaged_copy) = open_keyring(path, &config, environment)?;
        let loaded = ManifestStore::load(&environment.vfs, path, &keyring).map_err(|error| match error {
            StorageError::NotFound { .. } => {
                let what = format!("a finished database in {} (create it again)", path.display());
                Error::NotFound { what }
            }
            error => error.into(),
        })?;
        warn_of_twin(loaded.twin_problem);
        let manifest = loaded.value;
        let freshness = freshness(&config, &environment.vfs);
        freshness.check(path, &manifest)?;
        freshness.begin();
        if lock.is_some() && !manifest.is_writable() {
            let what = "it uses features that this version can only read".to_owned();
            return Err(Error::UnsupportedFormat { file: path.join("MANIFEST"), what });
        }
        // The manifest is written anew by every open for writing; nothing else would write the keyring.
        if lock.is_some()
            && damaged_copy
            && let Err(error) = store.commit(&keyring, &*environment.entropy)
        {
            tracing::warn!(%error, "one of two copies of the keyring stays unusable");
        }
        let ctx = seal_context(path, &config, environment, keyring, manifest.incarnation);
        let manifests = ManifestStore::new(Arc::clone(&environment.vfs), path);
        Self::assemble(config, ctx, manifest, freshness, (manifests, store), lock)
    }

    /// An engine that has everything open that `manifest` names, and does nothing yet.
    fn assemble(
        config: LightningDbConfig,
        ctx: Arc<SealContext>,
        manifest: Manifest,
        freshness: Freshness,
        (manifests, keyring_store): (ManifestStore, KeyringStore),
        lock: Option<Box<dyn FileLock>>,
    ) -> Result<Arc<Self>> {
        let maps = MapBudget::new(config.mmap_size);
        let tree = open_tree(&ctx, &manifest, &maps)?;
        let mut seed = [0; 8];
        ctx.entropy.fill(&mut seed)?;
        let hash_seed = u64::from_le_bytes(seed);
        let flushed = manifest.flushed_sequence;
        let active = Layer::new(hash_seed, true);
        let caches = Arc::new(Caches::new(config.cache_size, config.use_lock_free_cache, hash_seed));
        let first_free = first_free_segment(&ctx)?;
        let compression = compression(&config)?;
        let hasher = ctx.keyring.read().content_hasher();
        Ok(Arc::new(Self {
            read_only: lock.is_none(),
            versions: Versions::new(Version { active, frozen: Vec::new(), tree: Arc::new(tree) }, flushed),
            catalog: Catalog::new(manifest, manifests, first_free, freshness),
            recent: RecentWrites::new(flushed),
            health: Health::default(),
            reader: Reader::new(&config, Arc::clone(&caches)),
            caches,
            metrics: Metrics::new(Arc::clone(&ctx.clock), config.metrics_enabled),
            hasher,
            keyring_store: Mutex::new(keyring_store),
            audit: super::audit::Audit::default(),
            trainer: compression.uses_dictionary().then(Arc::default),
            compression,
            pinned: super::memory::Pinned::default(),
            maps,
            hash_seed,
            commits: Commits::new(flushed),
            log_holds: super::backup::LogHolds::default(),
            signals: background::Signals::default(),
            merges: super::compact::Merges::default(),
            transactions: Mutex::new(None),
            owed: super::throttle::Owed::default(),
            flushing: Mutex::new(()),
            lock: Mutex::new(lock),
            own_key: Mutex::default(),
            closed: Mutex::new(None),
            config,
            ctx,
        }))
    }

    /// Begins a new log segment. Everything before it is in synced files.
    pub(super) fn begin_log(self: &Arc<Self>, mut start: WalStart) -> Result<()> {
        if start.after.is_none() {
            // The first log of a history says where that history branched off.
            let parent = self.catalog.read(|manifest| manifest.ancestry.last().copied());
            start.fork = parent.map(|fork| Fork { parent: fork.incarnation, at: fork.sequence });
        }
        if self.config.wal_enabled {
            let epoch = self.ctx.keyring.read().current_epoch();
            let id = self.catalog.new_segment_id();
            let prepared = prepare_segment(&self.ctx, &log::options(&self.config), id, epoch)?;
            let info = prepared.info().clone();
            self.change_manifest(|manifest| manifest.wal.push(info))?;
            self.commits.set_log(self.start_log(prepared, start)?);
        } else {
            self.change_manifest(|_| {})?;
        }
        self.begin_layer();
        if let Err(error) = reserve::restore(&self.ctx) {
            tracing::warn!(%error, "no room could be set aside for a full disk");
        }
        Ok(())
    }

    /// A writer of the log that begins with `first`, which is in the manifest.
    pub(super) fn start_log(self: &Arc<Self>, first: PreparedSegment, start: WalStart) -> Result<WalWriter> {
        let supply = Box::new(log::Supply::new(Arc::downgrade(self)));
        Ok(WalWriter::start(Arc::clone(&self.ctx), first, start, supply)?)
    }

    /// A first memtable that knows whether it is logged.
    fn begin_layer(&self) {
        let active = Layer::new(self.hash_seed, self.commits.has_log());
        self.versions.change(|version| Version {
            active,
            frozen: version.frozen.clone(),
            tree: Arc::clone(&version.tree),
        });
    }

    /// A commit that was replayed is visible.
    pub(super) fn replayed(&self, sequence: SequenceNumber) {
        self.versions.publish(sequence);
        self.commits.set_last(sequence);
    }

    /// Removes the files that a crash left: segments that are not in the manifest, and half-written ones. What is not
    /// ours by its name stays.
    fn remove_orphans(&self) {
        let entries = match directory::list(&*self.ctx.vfs, &self.ctx.directory) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "could not look for files that a crash left");
                return;
            }
        };
        for entry in entries {
            let is_orphan = match entry.role {
                FileRole::Segment { id, .. } => self.catalog.read(|manifest| {
                    let is_known = manifest.segments.iter().any(|info| info.id == id);
                    !is_known && !manifest.wal.iter().any(|info| info.id == id)
                }),
                FileRole::Temporary => true,
                _ => false,
            };
            if is_orphan {
                let path = self.ctx.directory.join(&entry.name);
                match directory::remove(&*self.ctx.vfs, &path) {
                    Ok(()) => tracing::info!(file = %path.display(), "removed a file that a crash left"),
                    Err(error) => {
                        tracing::warn!(file = %path.display(), %error, "could not remove an orphan")
                    }
                }
            }
        }
    }
}

fn require_directory(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    let metadata = vfs.metadata(path).map_err(|error| StorageError::io("open", path, error))?;
    if metadata.is_dir {
        return Ok(());
    }
    let not_a_directory = std::io::Error::from(std::io::ErrorKind::NotADirectory);
    Err(StorageError::io("open", path, not_a_directory).into())
}

/// Refuses a directory that holds no database, before a lock file is put into it.
fn require_database(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    require_directory(vfs, path)?;
    let is_missing = |name| match vfs.metadata(&path.join(name)) {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        Ok(_) => false,
    };
    if KEYRING_FILES.into_iter().all(is_missing) {
        return Err(Error::NotFound { what: format!("a database in {}", path.display()) });
    }
    Ok(())
}

/// Makes the directory, or takes one that is free. Says whether it is new.
fn claim_directory(vfs: &dyn Vfs, path: &Path) -> Result<bool> {
    let is_new = match vfs.create_dir(path) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            require_directory(vfs, path)?;
            require_free(vfs, path)?;
            false
        }
        Err(error) => return Err(StorageError::io("create", path, error).into()),
    };
    // Whoever made it may have died before its name was durable.
    let parent = path.parent().unwrap_or(Path::new(""));
    vfs.sync_dir(parent).map_err(|error| {
        let _ = if is_new { vfs.remove_dir(path) } else { Ok(()) };
        StorageError::io("sync", parent, error)
    })?;
    Ok(is_new)
}

/// Refuses a directory that holds anything but what a creation leaves that a crash interrupts before there is a manifest:
/// nothing can have been stored with that.
fn require_free(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    if directory::list(vfs, path)?.iter().all(|entry| is_before_manifest(&entry.role)) {
        return Ok(());
    }
    Err(Error::AlreadyExists { what: path.display().to_string() })
}

fn is_before_manifest(role: &FileRole) -> bool {
    matches!(role, FileRole::Lock | FileRole::Keyring | FileRole::Audit | FileRole::Temporary)
}

/// Removes what a failed creation left. Only called for a directory that was free, with its lock in hand. A keyring is
/// not overwritten before: there is nothing yet that it could open, and one of zeros whose removal a power cut undoes
/// would count as damaged, and not as part of a creation that was never completed.
///
/// Keyrings go last, once it is durable that nothing is left that needs them: a manifest that a power cut brings back
/// without its keyring can neither be opened nor be created over.
fn abandon_directory(vfs: &dyn Vfs, path: &Path, is_new: bool) {
    let entries = directory::list(vfs, path).unwrap_or_default().into_iter();
    let ours = entries.filter(|entry| entry.role != FileRole::Foreign);
    let (before, after): (Vec<_>, Vec<_>) = ours.partition(|entry| is_before_manifest(&entry.role));
    for entry in &after {
        let _ = vfs.remove_file(&path.join(&entry.name));
    }
    if !after.is_empty() && vfs.sync_dir(path).is_err() {
        return;
    }
    for entry in &before {
        let _ = vfs.remove_file(&path.join(&entry.name));
    }
    if is_new {
        let _ = vfs.remove_dir(path);
    }
}

pub(crate) fn lock(vfs: &dyn Vfs, directory: &Path) -> Result<Box<dyn FileLock>> {
    let path = directory.join(LOCK_FILE);
    let is_shared = || vfs.lock_shared(&path).is_ok();
    let patience = || if is_shared() { ATTEMPTS_BESIDE_READERS } else { ATTEMPTS_BESIDE_WRITER };
    attempt_lock(&path, || vfs.lock(&path), patience)
}

/// Takes a lock, as often as `patience` says each time that somebody is in the way.
fn attempt_lock(
    path: &Path,
    take: impl Fn() -> std::io::Result<Box<dyn FileLock>>,
    patience: impl Fn() -> u32,
) -> Result<Box<dyn FileLock>> {
    let mut attempts = 0;
    loop {
        match take() {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(StorageError::io("lock", path, error).into()),
        }
        attempts += 1;
        if attempts >= patience() {
            return Err(Error::Locked { path: path.to_path_buf() });
        }
        thread::sleep(LOCK_PAUSE);
    }
}

/// The lock of a database that is to be read, shared with others who read it, so that nobody writes to it meanwhile.
/// None when there is no lock file or it cannot be opened: then nobody can have it open for writing either.
///
/// # Errors
/// `NotFound` when there is no such directory, `Locked` when somebody has it open for writing.
pub(crate) fn lock_for_reading(vfs: &dyn Vfs, directory: &Path) -> Result<Option<Box<dyn FileLock>>> {
    require_directory(vfs, directory)?;
    let path = directory.join(LOCK_FILE);
    if vfs.metadata(&path).is_err() {
        return Ok(None);
    }
    match attempt_lock(&path, || vfs.lock_shared(&path), || ATTEMPTS_BESIDE_WRITER) {
        Ok(lock) => Ok(Some(lock)),
        Err(Error::Io { source, .. }) if is_read_only(source.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_read_only(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
}

/// A use of a key that writes no entry, because it writes nothing, or has no database to write to: it is told here and nowhere
/// else.
pub(crate) fn tell_use<T>(path: &Path, event: &'static str, outcome: &Result<T>) {
    let directory = path.display();
    match outcome {
        Ok(_) => tracing::info!(target: "lightning_db::audit", %directory, event),
        Err(error) => {
            let kind = error.kind();
            tracing::warn!(target: "lightning_db::audit", %directory, event, kind, %error, "refused");
        }
    }
}

/// An open that failed changes nothing.
fn tell(path: &Path, error: &Error) {
    tracing::warn!(target: "lightning_db::audit", directory = %path.display(), event = "open_refused", kind = error.kind(), %error);
}

/// An open for reading writes nothing, either.
fn tell_slot(path: &Path, keyring: &Keyring) {
    let slot = keyring.opened_by().map(|slot| slot.0);
    tracing::info!(target: "lightning_db::audit", directory = %path.display(), event = "opened_read_only", slot);
}

fn freshness(config: &LightningDbConfig, vfs: &Arc<dyn Vfs>) -> Freshness {
    Freshness::new(&config.freshness_anchor, config.freshness_policy, vfs)
}

/// The key of an encrypted database.
fn provider(config: &LightningDbConfig) -> Result<Option<Arc<dyn KeyProvider>>> {
    if config.encryption_enabled { Ok(config.encryption_key.resolve()?) } else { Ok(None) }
}

fn create_keyring(
    path: &Path,
    config: &LightningDbConfig,
    environment: &Environment,
) -> Result<(Keyring, KeyringStore)> {
    let provider = provider(config)?;
    let entropy: &dyn Entropy = &*environment.entropy;
    let database = DatabaseId::random(entropy)?;
    let keyring = Keyring::create(provider.as_deref(), database, entropy, environment.clock.now_micros())?;
    let mut store = KeyringStore::new(Arc::clone(&environment.vfs), path);
    store.commit(&keyring, entropy)?;
    Ok((keyring, store))
}

/// The keyring, where it is kept, and whether one of its two copies is unusable.
fn open_keyring(
    path: &Path,
    config: &LightningDbConfig,
    environment: &Environment,
) -> Result<(Keyring, KeyringStore, bool)> {
    let provider = provider(config)?;
    let store = KeyringStore::new(Arc::clone(&environment.vfs), path);
    let loaded = store.load(provider.as_deref()).map_err(|error| match error {
        StorageError::Crypto(error) => Error::from_crypto(error, path),
        StorageError::NotFound { .. } => {
            Error::NotFound { what: format!("a database in {}", path.display()) }
        }
        error => error.into(),
    })?;
    let damaged_copy = loaded.twin_problem.is_some();
    warn_of_twin(loaded.twin_problem);
    Ok((loaded.value, store, damaged_copy))
}

fn warn_of_twin(problem: Option<StorageError>) {
    if let Some(error) = problem {
        tracing::warn!(%error, "one of two copies is unusable; the other was taken");
    }
}

fn first_manifest(
    config: &LightningDbConfig,
    environment: &Environment,
    keyring: &Keyring,
) -> Result<Manifest> {
    let mut incarnation = [0; 16];
    environment.entropy.fill(&mut incarnation)?;
    Ok(Manifest {
        features: Features::default(),
        generation: Generation(0),
        database: keyring.database_id(),
        incarnation: Incarnation(incarnation),
        ancestry: Vec::new(),
        created_micros: environment.clock.now_micros(),
        next_segment: SegmentId(1),
        next_run: 1,
        flushed_sequence: SequenceNumber(0),
        flushed_time_micros: 0,
        log_end: None,
        keyspaces: vec![Keyspace::empty_default()],
        segments: Vec::new(),
        wal: Vec::new(),
        checkpoints: Vec::new(),
        restore_points: Vec::new(),
        repositories: Vec::new(),
        retained_runs: Vec::new(),
        audit: None,
        gaps: Vec::new(),
        page_size: u32::try_from(config.page_size).unwrap_or(u32::MAX),
    })
}

fn seal_context(
    path: &Path,
    config: &LightningDbConfig,
    environment: &Environment,
    keyring: Keyring,
    incarnation: Incarnation,
) -> Arc<SealContext> {
    let suite: Arc<dyn AeadSuite> = match keyring.suite_id() {
        SuiteId::Aes256Gcm if !config.use_simd => Arc::new(PortableAesGcm),
        _ => Arc::clone(keyring.suite()),
    };
    Arc::new(SealContext {
        vfs: Arc::clone(&environment.vfs),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        suite,
        database: keyring.database_id(),
        keyring: Arc::new(RwLock::new(keyring)),
        incarnation: incarnation.into(),
        directory: path.to_path_buf(),
        salts: SaltCount::default(),
    })
}

fn compression(config: &LightningDbConfig) -> Result<CompressionSettings> {
    CompressionSettings::new(config.compression_enabled, config.compression_type, config.compression_level)
        .map_err(|error| Error::config("compression_type", error.to_string()))
}

fn open_tree(ctx: &SealContext, manifest: &Manifest, maps: &Arc<MapBudget>) -> Result<TreeState> {
    let mut segments = SegmentTable::default();
    for info in &manifest.segments {
        segments.insert(OpenSegment::open(ctx, info, maps)?);
    }
    let keyspace = &manifest.keyspaces[0];
    let mut runs = Vec::with_capacity(keyspace.runs.len());
    for info in keyspace.runs.iter().rev() {
        let filter = read_filter(&segments, info)?;
        runs.push(Arc::new(Run { info: info.clone(), filter }));
    }
    Ok(TreeState { base: keyspace.base, runs, segments, flushed: manifest.flushed_sequence })
}

/// A segment number above those of all files: those that a crash left keep their names until they are removed.
fn first_free_segment(ctx: &SealContext) -> Result<SegmentId> {
    let entries = directory::list(&*ctx.vfs, &ctx.directory)?;
    let newest = entries.iter().filter_map(|entry| match entry.role {
        FileRole::Segment { id, .. } => Some(id),
        _ => None,
    });
    Ok(newest.max().map_or(SegmentId(1), SegmentId::next))
}
