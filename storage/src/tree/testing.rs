//! Blocks in memory, and small trees, for tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lightning_db_crypto::{ContentHasher, DatabaseId, Keyring, SeededEntropy};
use proptest::prelude::*;

use super::*;
use crate::page::{EntryKind, Value};
use crate::pointer::{BlockSink, Codec};
use crate::{Generation, SegmentId, ZeroizingBytes};

pub(crate) type Model = BTreeMap<Vec<u8>, Value>;

/// Blocks by their pointers. A pointer that differs in anything does not open.
#[derive(Default)]
pub(crate) struct MemBlocks {
    blocks: Mutex<HashMap<BlockPtr, (BlockKind, Vec<u8>)>>,
    pub(crate) reads: AtomicUsize,
    pub(crate) prefetched: Mutex<Vec<BlockPtr>>,
}

impl MemBlocks {
    /// A sink that writes blocks of a segment into the store.
    pub(crate) fn segment(&self, number: u64) -> MemSegment<'_> {
        MemSegment { blocks: self, number, offset: 128 }
    }

    /// Changes the bytes of a block, if `change` does, without the pointer noticing.
    pub(crate) fn damage(&self, ptr: &BlockPtr, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.blocks.lock().unwrap().get_mut(ptr).unwrap().1);
    }

    pub(crate) fn remove(&self, ptr: &BlockPtr) {
        self.blocks.lock().unwrap().remove(ptr);
    }

    /// How many blocks of a segment there are.
    pub(crate) fn written(&self, segment: u64) -> usize {
        self.blocks.lock().unwrap().keys().filter(|ptr| ptr.segment.0 == segment).count()
    }

    pub(crate) fn read_count(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl BlockSource for MemBlocks {
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match self.blocks.lock().unwrap().get(ptr) {
            Some((stored, raw)) if *stored == kind => Ok(ZeroizingBytes::new(raw.clone())),
            _ => Err(damaged(ptr, "no such block")),
        }
    }
}

impl PageSource for MemBlocks {
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<Page>> {
        DirectPages(self).page(kind, ptr)
    }

    fn prefetch(&self, kind: BlockKind, ptrs: &[BlockPtr]) {
        let blocks = self.blocks.lock().unwrap();
        assert!(ptrs.iter().all(|ptr| blocks[ptr].0 == kind), "what is asked for ahead exists");
        self.prefetched.lock().unwrap().extend_from_slice(ptrs);
    }
}

pub(crate) struct MemSegment<'a> {
    blocks: &'a MemBlocks,
    number: u64,
    offset: u64,
}

impl BlockSink for MemSegment<'_> {
    fn append(&mut self, kind: BlockKind, raw: &[u8]) -> Result<BlockPtr> {
        let raw_len = raw.len() as u32;
        let stored_len = (raw_len * 2).div_ceil(3).max(1);
        let ptr = BlockPtr {
            segment: SegmentId(self.number),
            offset: self.offset,
            stored_len,
            raw_len,
            codec: Codec::Zstd,
            birth: Generation(self.number),
            tag: xxhash_rust::xxh3::xxh3_128(raw).to_le_bytes(),
        };
        self.offset += u64::from(stored_len);
        self.blocks.blocks.lock().unwrap().insert(ptr, (kind, raw.to_vec()));
        Ok(ptr)
    }
}

/// A model's entries as a stream.
pub(crate) struct ModelStream<'a> {
    rest: std::collections::btree_map::Iter<'a, Vec<u8>, Value>,
    current: Option<(&'a Vec<u8>, &'a Value)>,
}

pub(crate) fn stream_of(model: &Model) -> ModelStream<'_> {
    ModelStream { rest: model.iter(), current: None }
}

impl EntryStream for ModelStream<'_> {
    fn advance(&mut self) -> Result<bool> {
        self.current = self.rest.next();
        Ok(self.current.is_some())
    }

    fn key(&self) -> &[u8] {
        self.current.expect("the stream stands on an entry").0
    }

    fn value(&self) -> EntryValue<'_> {
        self.current.expect("the stream stands on an entry").1.as_entry()
    }
}

pub(crate) fn hasher() -> ContentHasher {
    let keyring = Keyring::create(None, DatabaseId([1; 16]), &SeededEntropy::new(1), 0);
    keyring.expect("a keyring without encryption").content_hasher()
}

pub(crate) fn build_model(model: &Model, blocks: &MemBlocks, segment: u64, page_size: usize) -> TreeRef {
    let hasher = hasher();
    let options = BuildOptions { page_size, hasher: &hasher, drop_tombstones: false, filter: None };
    build(&mut stream_of(model), &mut blocks.segment(segment), options).expect("a model can be built")
}

/// All entries of a tree, by a cursor.
pub(crate) fn contents(source: &MemBlocks, tree: &TreeRef) -> Model {
    let mut stream = TreeStream::new(Cursor::new(source, *tree, ReadAhead::default()));
    let mut model = Model::new();
    while stream.advance().expect("a sound tree") {
        model.insert(stream.key().to_vec(), stream.value().to_value());
    }
    model
}

thread_local! {
    static NEXT_EXTENT: RefCell<u64> = const { RefCell::new(0) };
}

/// A reference to a value of one chunk that exists nowhere, in `segment`; each one is different.
pub(crate) fn extent_in(segment: u64) -> Value {
    let number = NEXT_EXTENT.with_borrow_mut(|next| {
        *next += 1;
        *next
    });
    let chunk = BlockPtr {
        segment: SegmentId(segment),
        offset: number * 1000,
        stored_len: 500,
        raw_len: 700,
        codec: Codec::Lz4,
        birth: Generation(1),
        tag: [number as u8; 16],
    };
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    encoded(&ExtentRef { len: 700, digest, chunks: vec![chunk] })
}

pub(crate) fn encoded(extent: &ExtentRef) -> Value {
    let mut out = ByteWriter::new();
    extent.encode(&mut out);
    EntryValue::Extent(out.as_slice()).to_value()
}

pub(crate) fn put(value: impl AsRef<[u8]>) -> Value {
    EntryValue::Put(value.as_ref()).to_value()
}

prop_compose! {
    /// Keys from a small space, so that they meet again: short ones, ones with a long shared start, a few huge ones.
    pub(crate) fn any_key()(shape in 0u8..12, number in 0u16..600) -> Vec<u8> {
        match shape {
            0 => [&[9; 40][..], &number.to_be_bytes()].concat(),
            1 if number < 2 => vec![number as u8; crate::page::MAX_KEY_LEN],
            2 => vec![(number % 7) as u8; usize::from(number) % 90],
            _ => number.to_be_bytes().to_vec(),
        }
    }
}

prop_compose! {
    pub(crate) fn any_value()(shape in 0u8..20, number in any::<u16>(), segment in 50u64..54) -> Value {
        match shape {
            0..=2 => extent_in(segment),
            3..=6 => EntryValue::Delete.to_value(),
            7 => EntryValue::Versions(&number.to_le_bytes()).to_value(),
            8 => put(vec![number as u8; usize::from(number) % 3000]),
            _ => put(vec![number as u8; usize::from(number) % 20]),
        }
    }
}

pub(crate) fn any_model(entries: usize) -> impl Strategy<Value = Model> {
    prop::collection::btree_map(any_key(), any_value(), 0..entries)
}

pub(crate) fn without_deletes(model: &Model) -> Model {
    let live = |value: &Value| value.as_entry().kind() != EntryKind::Delete;
    model.iter().filter(|(_, value)| live(value)).map(|(key, value)| (key.clone(), value.clone())).collect()
}
