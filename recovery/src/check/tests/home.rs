//! A small database that has one of everything, built without an engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db_crypto::{
    ContentHasher, DatabaseId, EpochId, KeyProvider, KeySource, Keyring, SeededEntropy,
};
use lightning_db_storage::bytes::ByteWriter;
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::compress::{CompressionSettings, Dictionary, train_dictionary};
use lightning_db_storage::extent::write_extent;
use lightning_db_storage::filter::FilterBuilder;
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{
    Features, HeldSegment, Keyspace, Manifest, ManifestStore, NamedCheckpoint, RunInfo,
};
use lightning_db_storage::page::{EntryKind, EntryValue};
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSink};
use lightning_db_storage::segment::{
    SaltCount, SealContext, SegmentIds, SegmentInfo, SegmentKind, SegmentSetOptions, SegmentSetWriter,
    WriterOptions,
};
use lightning_db_storage::tree::{BuildOptions, EntryStream, TreeRef, build};
use lightning_db_storage::vfs::{MemVfs, OpenHow, Vfs};
use lightning_db_storage::wal::{
    CommitOps, LogEntry, MIN_SEGMENT_SIZE, PreparedSegment, SegmentSupply, WalMode, WalOptions,
    WalSegmentInfo, WalStart, WalWriter, prepare_segment,
};
use lightning_db_storage::{Generation, Incarnation, Result, SegmentId, SequenceNumber};
use lightning_db_sync::{Mutex, RwLock};

use crate::check::{CheckReport, Depth, Place, Use, check_database, check_directory};

const EPOCH: EpochId = EpochId(1);

/// The database, in memory unless said otherwise.
pub(super) struct Home {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) ctx: Arc<SealContext>,
    pub(super) manifest: Manifest,
    store: ManifestStore,
    next_id: Arc<AtomicU64>,
}

type Entries = BTreeMap<Vec<u8>, (EntryKind, Vec<u8>)>;

impl Home {
    /// Base, two runs of which one is kept for a repository, a checkpoint, a large value, and a log of two segments.
    pub(super) fn in_memory() -> (MemVfs, Self) {
        let memory = MemVfs::new();
        let home = Self::create(Arc::new(memory.clone()), Path::new("/db"));
        (memory, home)
    }

    pub(super) fn create(vfs: Arc<dyn Vfs>, directory: &Path) -> Self {
        vfs.create_dir(directory).expect("a new directory");
        let entropy = Arc::new(SeededEntropy::new(5));
        let keyring =
            Keyring::create(provider(7).as_deref(), DatabaseId([9; 16]), &*entropy, 0).expect("keyring");
        KeyringStore::new(Arc::clone(&vfs), directory).commit(&keyring, &*entropy).expect("committed");
        let ctx = SealContext {
            vfs: Arc::clone(&vfs),
            clock: Arc::new(ManualClock::new(1_000_000)),
            entropy,
            suite: Arc::clone(keyring.suite()),
            database: keyring.database_id(),
            keyring: Arc::new(RwLock::new(keyring)),
            incarnation: Incarnation([3; 16]).into(),
            directory: directory.to_path_buf(),
            salts: SaltCount::default(),
        };
        let store = ManifestStore::new(Arc::clone(&vfs), directory);
        let next_id = Arc::new(AtomicU64::new(1));
        let mut home = Self { vfs, ctx: Arc::new(ctx), manifest: empty(), store, next_id };
        home.fill();
        home.commit();
        home
    }

    fn fill(&mut self) {
        let large: Vec<u8> = (0..5000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let values = self.write(SegmentKind::Value, None, |sink, hasher| {
            let mut encoded = ByteWriter::new();
            write_extent(sink, hasher, &large).expect("written").encode(&mut encoded);
            encoded.into_vec()
        });
        let mut base = numbered(0..60);
        base.insert(b"large".to_vec(), (EntryKind::Extent, values.0));
        let base = self.write_tree(SegmentKind::Base, &base, None);
        for info in &mut self.manifest.segments {
            let dictionary = info.dictionary.map_or(0, |ptr| u64::from(ptr.stored_len));
            info.live_bytes -= dictionary;
        }
        let first = self.write_run(1, numbered(20..40));
        let mut newer = numbered(30..50);
        newer.insert(b"5".to_vec(), (EntryKind::Delete, Vec::new()));
        let second = self.write_run(2, newer);
        let keyspace = Keyspace { base, runs: vec![first.clone()], ..Keyspace::empty_default() };
        let manifest = &mut self.manifest;
        manifest.checkpoints.push(NamedCheckpoint {
            name: "before".into(),
            sequence: SequenceNumber(1),
            time_micros: 1,
            made_micros: 1,
            ancestry: Vec::new(),
            incarnation: self.ctx.incarnation.get(),
            keyspaces: vec![keyspace.clone()],
            segments: manifest.segments.iter().map(HeldSegment::from).collect(),
        });
        manifest.retained_runs = vec![first.clone()];
        manifest.keyspaces = vec![Keyspace { runs: vec![first, second], ..keyspace }];
        manifest.flushed_sequence = SequenceNumber(2);
        manifest.flushed_time_micros = 2;
        self.write_log();
    }

    /// Commits 1 to 12 in a finished segment and one that ended with the process.
    fn write_log(&mut self) {
        let listed = Arc::new(Mutex::new(Vec::new()));
        let supply = || Supply {
            ctx: Arc::clone(&self.ctx),
            next_id: Arc::clone(&self.next_id),
            listed: Arc::clone(&listed),
        };
        let mut start = WalStart::default();
        for commits in [1..=6_u64, 7..=12] {
            let is_first = *commits.start() == 1;
            let prepared = supply().next().expect("a segment");
            let mut writer =
                WalWriter::start(Arc::clone(&self.ctx), prepared, start, Box::new(supply())).expect("a log");
            for n in commits {
                let (key, value) = (format!("k{n}").into_bytes(), vec![n as u8; 30 + n as usize]);
                let mut ops = CommitOps::new();
                ops.put(&key, &value);
                let sequence = SequenceNumber(n);
                let commit = LogEntry::Commit { sequence, time_micros: n as i64, ops: &mut ops };
                writer.append(&mut [commit]).expect("appended");
            }
            if is_first {
                let end = finish(writer, &listed);
                start = WalStart { after: Some(end), last_sequence: end.sequence, fork: None };
            }
        }
        self.manifest.wal = listed.lock().clone();
    }

    pub(super) fn commit(&mut self) {
        let manifest = &mut self.manifest;
        manifest.generation = manifest.generation.next();
        manifest.next_segment = SegmentId(self.next_id.load(Ordering::Relaxed));
        self.store.commit(manifest, &self.ctx.keyring.read(), &*self.ctx.entropy).expect("committed");
    }

    fn write_run(&mut self, id: u64, entries: Entries) -> RunInfo {
        let mut filter = FilterBuilder::new(entries.len() as u64);
        let before = self.manifest.segments.len();
        let mut pieces = Vec::new();
        let tree = self.write_tree(SegmentKind::Run, &entries, Some((&mut filter, &mut pieces)));
        let segments = self.manifest.segments[before..].iter().map(|info| info.id).collect();
        let sequence = SequenceNumber(id);
        RunInfo {
            id,
            tree,
            filter: pieces,
            first_sequence: sequence,
            last_sequence: sequence,
            last_time_micros: id as i64,
            tier: 0,
            segments,
            value_segments: Vec::new(),
        }
    }

    fn write_tree(
        &mut self,
        kind: SegmentKind,
        entries: &Entries,
        filter: Option<(&mut FilterBuilder, &mut Vec<BlockPtr>)>,
    ) -> TreeRef {
        let dictionary = (kind == SegmentKind::Base).then(dictionary);
        let written = self.write(kind, dictionary, |sink, hasher| {
            let mut stream = Stream { rest: entries.iter(), current: None };
            let (filter, pieces) = filter.unzip();
            let mut own = FilterBuilder::new(0);
            let filter = filter.unwrap_or(&mut own);
            let options =
                BuildOptions { page_size: 256, hasher, drop_tombstones: false, filter: Some(filter) };
            let tree = build(&mut stream, sink, options).expect("built");
            if let Some(pieces) = pieces {
                let encoded = std::mem::replace(filter, FilterBuilder::new(0)).finish().encode();
                let parts = encoded.chunks(50);
                pieces.extend(parts.map(|part| sink.append(BlockKind::Filter, part).expect("appended")));
            }
            tree
        });
        written.0
    }

    /// Writes segments, enters them into the manifest, and returns what `write` made.
    fn write<T>(
        &mut self,
        kind: SegmentKind,
        dictionary: Option<Arc<Dictionary>>,
        write: impl FnOnce(&mut SegmentSetWriter, &ContentHasher) -> T,
    ) -> (T, Vec<SegmentInfo>) {
        let compression = match dictionary {
            Some(_) => CompressionSettings::new(true, 1, 3).expect("valid"),
            None => CompressionSettings::none(),
        };
        let writer = WriterOptions { kind, epoch: EPOCH, birth: Generation(1), compression, dictionary };
        let next = Arc::clone(&self.next_id);
        let ids: SegmentIds = Arc::new(move || SegmentId(next.fetch_add(1, Ordering::Relaxed)));
        let options = SegmentSetOptions { writer, segment_size: 1 << 20, trainer: None };
        let mut sink = SegmentSetWriter::new(&self.ctx, options, ids);
        let hasher = self.ctx.keyring.read().content_hasher();
        let made = write(&mut sink, &hasher);
        let segments = sink.finish().expect("finished");
        self.manifest.segments.extend(segments.iter().cloned());
        (made, segments)
    }

    pub(super) fn check(&self, depth: Depth) -> CheckReport {
        self.check_as(Use::Closed, depth).expect("not cancelled")
    }

    pub(super) fn check_as(&self, usage: Use, depth: Depth) -> Result<CheckReport> {
        check_database(&self.ctx, &self.manifest, usage, depth, &|_| true)
    }

    /// As somebody does who has nothing but the directory and the key.
    pub(super) fn check_closed(&self, key: u8) -> Result<CheckReport> {
        let provider = provider(key);
        let place = Place {
            vfs: Arc::clone(&self.vfs),
            directory: &self.ctx.directory,
            provider: provider.as_deref(),
            clock: Arc::clone(&self.ctx.clock),
            entropy: Arc::clone(&self.ctx.entropy),
        };
        check_directory(&place, Depth::Deep, &|_| true)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.ctx.directory.join(name)
    }

    pub(super) fn segment_of(&self, kind: SegmentKind) -> PathBuf {
        let info = self.manifest.segments.iter().find(|info| info.kind == kind).expect("there is one");
        self.ctx.segment_path(kind, info.id)
    }

    pub(super) fn log_path(&self, index: usize) -> PathBuf {
        self.ctx.segment_path(SegmentKind::Wal, self.manifest.wal[index].id)
    }

    pub(super) fn create_file(&self, name: &str, bytes: &[u8]) {
        let file = self.vfs.open(&self.path(name), OpenHow::CreateNew).expect("created");
        file.write_all_at(bytes, 0).expect("written");
    }
}

pub(super) fn provider(byte: u8) -> Option<Arc<dyn KeyProvider>> {
    KeySource::raw([byte; 32]).resolve().expect("a raw key")
}

/// Closes the log and returns its end.
fn finish(writer: WalWriter, listed: &Mutex<Vec<WalSegmentInfo>>) -> lightning_db_storage::wal::WalPosition {
    let info = writer.finish().expect("finished");
    let end = info.accepted_through.expect("an end");
    *listed.lock().last_mut().expect("listed") = info;
    end
}

fn numbered(numbers: std::ops::Range<u32>) -> Entries {
    let value = |n: u32| (EntryKind::Put, format!("the value of number {n}").into_bytes());
    numbers.map(|n| (format!("{n}").into_bytes(), value(n))).collect()
}

fn dictionary() -> Arc<Dictionary> {
    let samples: Vec<Vec<u8>> = (0..400)
        .map(|n| format!("the value of number {n} of {}", n * 31 % 77).repeat(4).into_bytes())
        .collect();
    let samples: Vec<&[u8]> = samples.iter().map(Vec::as_slice).collect();
    Arc::new(train_dictionary(&samples, 1024).expect("enough samples"))
}

fn empty() -> Manifest {
    Manifest {
        features: Features::default(),
        generation: Generation(0),
        database: DatabaseId([9; 16]),
        incarnation: Incarnation([3; 16]),
        ancestry: Vec::new(),
        created_micros: 0,
        next_segment: SegmentId(0),
        next_run: 3,
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
        page_size: 256,
    }
}

type Entry<'a> = (&'a Vec<u8>, &'a (EntryKind, Vec<u8>));

struct Stream<'a> {
    rest: std::collections::btree_map::Iter<'a, Vec<u8>, (EntryKind, Vec<u8>)>,
    current: Option<Entry<'a>>,
}

impl EntryStream for Stream<'_> {
    fn advance(&mut self) -> Result<bool> {
        self.current = self.rest.next();
        Ok(self.current.is_some())
    }

    fn key(&self) -> &[u8] {
        self.current.expect("on an entry").0
    }

    fn value(&self) -> EntryValue<'_> {
        let (kind, bytes) = self.current.expect("on an entry").1;
        match kind {
            EntryKind::Delete => EntryValue::Delete,
            EntryKind::Extent => EntryValue::Extent(bytes),
            _ => EntryValue::Put(bytes),
        }
    }
}

struct Supply {
    ctx: Arc<SealContext>,
    next_id: Arc<AtomicU64>,
    listed: Arc<Mutex<Vec<WalSegmentInfo>>>,
}

impl SegmentSupply for Supply {
    fn next(&mut self) -> Result<PreparedSegment> {
        let id = SegmentId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let options = WalOptions { segment_size: MIN_SEGMENT_SIZE, mode: WalMode::Pwrite };
        let prepared = prepare_segment(&self.ctx, &options, id, EPOCH)?;
        self.listed.lock().push(prepared.info().clone());
        Ok(prepared)
    }

    fn finished(&mut self, _segment: WalSegmentInfo) {}
}
