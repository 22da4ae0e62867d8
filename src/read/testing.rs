//! What tests of reading begin with: trees in segments in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use lightning_db_crypto::{DatabaseId, EpochId, KeySource, Keyring, SeededEntropy};
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::compress::CompressionSettings;
use lightning_db_storage::filter::{Filter, FilterBuilder};
use lightning_db_storage::page::EntryValue;
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::segment::{
    ReadMode, SaltCount, SealContext, SegmentIds, SegmentKind, SegmentSetOptions, SegmentSetWriter, Segments,
    WriterOptions,
};
use lightning_db_storage::tree::{BuildOptions, EntryStream, TreeRef, build};
use lightning_db_storage::vfs::{MemVfs, Vfs};
use lightning_db_storage::{Generation, Incarnation, Result, SegmentId, StorageError, ZeroizingBytes};
use lightning_db_sync::{Mutex, RwLock};

use crate::memtable::MemValue;
use crate::shared_bytes::SharedBytes;

/// Segments of an encrypted database in memory.
pub(crate) struct TestStore {
    ctx: Arc<SealContext>,
    ids: SegmentIds,
    segments: Segments,
    /// Every block that was read.
    pub(crate) reads: Mutex<Vec<BlockPtr>>,
    /// The threads that read them.
    pub(crate) readers: Mutex<Vec<ThreadId>>,
    failing: AtomicBool,
    pause: Mutex<Duration>,
}

impl TestStore {
    pub(crate) fn new() -> Arc<Self> {
        let vfs = MemVfs::new();
        let entropy = Arc::new(SeededEntropy::new(1));
        let provider = KeySource::raw([7; 32]).resolve().expect("a key");
        let keyring =
            Keyring::create(provider.as_deref(), DatabaseId([1; 16]), &*entropy, 0).expect("a keyring");
        let directory = PathBuf::from("/db");
        vfs.create_dir(&directory).expect("a new directory");
        let ctx = SealContext {
            vfs: Arc::new(vfs),
            clock: Arc::new(ManualClock::new(0)),
            entropy,
            suite: Arc::clone(keyring.suite()),
            keyring: Arc::new(RwLock::new(keyring)),
            database: DatabaseId([1; 16]),
            incarnation: Incarnation([3; 16]).into(),
            directory,
            salts: SaltCount::default(),
        };
        let next = AtomicU64::new(1);
        let ids: SegmentIds = Arc::new(move || SegmentId(next.fetch_add(1, Ordering::Relaxed)));
        Arc::new(Self {
            ctx: Arc::new(ctx),
            ids,
            segments: Segments::new(),
            reads: Mutex::default(),
            readers: Mutex::default(),
            failing: AtomicBool::new(false),
            pause: Mutex::default(),
        })
    }

    /// A tree of these entries, which ascend, and the filter over its keys.
    pub(crate) fn tree(&self, entries: &[(Vec<u8>, MemValue)], page_size: usize) -> (TreeRef, Filter) {
        let hasher = self.ctx.keyring.read().content_hasher();
        let mut filter = FilterBuilder::new(entries.len() as u64);
        let options =
            BuildOptions { page_size, hasher: &hasher, drop_tombstones: false, filter: Some(&mut filter) };
        let mut sink = self.writer(SegmentKind::Run);
        let tree =
            build(&mut Entries { rest: entries.iter(), current: None }, &mut sink, options).expect("built");
        self.open(sink);
        (tree, filter.finish())
    }

    /// Whether every read fails from now on.
    pub(crate) fn fail_reads(&self, fail: bool) {
        self.failing.store(fail, Ordering::Relaxed);
    }

    /// How long every read takes from now on.
    pub(crate) fn set_pause(&self, pause: Duration) {
        *self.pause.lock() = pause;
    }

    fn writer(&self, kind: SegmentKind) -> SegmentSetWriter {
        let compression = CompressionSettings::none();
        let writer =
            WriterOptions { kind, epoch: EpochId(1), birth: Generation(1), compression, dictionary: None };
        let options = SegmentSetOptions { writer, segment_size: 1 << 20, trainer: None };
        SegmentSetWriter::new(&self.ctx, options, Arc::clone(&self.ids))
    }

    fn open(&self, writer: SegmentSetWriter) {
        for info in writer.finish().expect("finished") {
            self.segments.open(&self.ctx, &info, ReadMode::default()).expect("opened");
        }
    }
}

impl BlockSource for TestStore {
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes> {
        self.reads.lock().push(*ptr);
        self.readers.lock().push(std::thread::current().id());
        let pause = *self.pause.lock();
        std::thread::sleep(pause);
        if self.failing.load(Ordering::Relaxed) {
            return Err(StorageError::corrupt("a test", ptr.offset, "reads fail"));
        }
        self.segments.read_block(kind, ptr)
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Vec<u8>, MemValue)>,
    current: Option<&'a (Vec<u8>, MemValue)>,
}

impl EntryStream for Entries<'_> {
    fn advance(&mut self) -> Result<bool> {
        self.current = self.rest.next();
        Ok(self.current.is_some())
    }

    fn key(&self) -> &[u8] {
        &self.current.expect("on an entry").0
    }

    fn value(&self) -> EntryValue<'_> {
        match &self.current.expect("on an entry").1 {
            MemValue::Put(bytes) => EntryValue::Put(bytes),
            MemValue::Delete => EntryValue::Delete,
            MemValue::Extent(bytes) => EntryValue::Extent(bytes),
        }
    }
}

pub(crate) fn put(value: impl AsRef<[u8]>) -> MemValue {
    MemValue::Put(SharedBytes::from(value.as_ref()))
}
