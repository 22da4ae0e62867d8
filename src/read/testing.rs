//! What tests of reading begin with: trees in segments in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lightning_db_crypto::{DatabaseId, EpochId, KeySource, Keyring, SeededEntropy};
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::compress::CompressionSettings;
use lightning_db_storage::extent::write_extent;
use lightning_db_storage::filter::{Filter, FilterBuilder};
use lightning_db_storage::page::EntryValue;
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::segment::{
    ReadMode, SaltCount, SealContext, SegmentIds, SegmentKind, SegmentSetOptions, SegmentSetWriter, Segments,
    WriterOptions,
};
use lightning_db_storage::tree::{BuildOptions, EntryStream, TreeRef, build};
use lightning_db_storage::vfs::{MemVfs, Vfs};
use lightning_db_storage::{Generation, Incarnation, Result, SegmentId, StorageError};
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use crate::memtable::MemValue;
use crate::shared_bytes::SharedBytes;

/// Segments of an encrypted database in memory.
pub(crate) struct TestStore {
    pub(crate) vfs: MemVfs,
    pub(crate) ctx: Arc<SealContext>,
    ids: SegmentIds,
    segments: Segments,
    /// Every block that was read.
    pub(crate) reads: Mutex<Vec<BlockPtr>>,
    failing: AtomicBool,
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
            vfs: Arc::new(vfs.clone()),
            clock: Arc::new(ManualClock::new(0)),
            entropy,
            suite: Arc::clone(keyring.suite()),
            keyring: Arc::new(RwLock::new(keyring)),
            database: DatabaseId([1; 16]),
            incarnation: Incarnation([3; 16]),
            directory,
            salts: SaltCount::default(),
        };
        let next = AtomicU64::new(1);
        let ids: SegmentIds = Arc::new(move || SegmentId(next.fetch_add(1, Ordering::Relaxed)));
        Arc::new(Self {
            vfs,
            ctx: Arc::new(ctx),
            ids,
            segments: Segments::new(),
            reads: Mutex::default(),
            failing: AtomicBool::new(false),
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

    /// Writes a large value, and returns the reference to it.
    pub(crate) fn extent(&self, value: &[u8]) -> MemValue {
        let hasher = self.ctx.keyring.read().content_hasher();
        let mut sink = self.writer(SegmentKind::Value);
        let extent = write_extent(&mut sink, &hasher, value).expect("written");
        self.open(sink);
        let mut encoded = lightning_db_storage::bytes::ByteWriter::new();
        extent.encode(&mut encoded);
        MemValue::Extent(SharedBytes::from(encoded.as_slice()))
    }

    /// Whether every read fails from now on.
    pub(crate) fn fail_reads(&self, fail: bool) {
        self.failing.store(fail, Ordering::Relaxed);
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
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Zeroizing<Vec<u8>>> {
        self.reads.lock().push(*ptr);
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
