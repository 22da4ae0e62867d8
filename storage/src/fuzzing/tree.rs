//! Trees whose pages are anything: reading one ends, with what is in it or with an error, and a check that finds no
//! damage is right.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use lightning_db_crypto::{ContentHasher, DatabaseId, Keyring, SeededEntropy};

use super::{Input, Target, edit};
use crate::page::{EntryKind, EntryValue, Value};
use crate::pointer::{BlockKind, BlockPtr, BlockSink, BlockSource, Codec};
use crate::tree::{
    BuildOptions, Cursor, DirectPages, EntryStream, MergeConfig, MergeObserver, MergedStream, ReadAhead,
    TreeRef, TreeStream, VerifyVisitor, build, get, get_many, merge_into_base, verify_tree,
};
use crate::{Generation, Result, SegmentId, StorageError, ZeroizingBytes};

/// A base and a run, some of whose pages were changed by who can seal them.
pub const TREE: Target = Target { name: "tree", run, seeds, room: 4 << 20 };

const PAGE_SIZE: usize = 160;

type Model = BTreeMap<Vec<u8>, Value>;

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let blocks = Blocks::default();
    let models = [model(&mut input, false), model(&mut input, true)];
    let trees = [0, 1].map(|number| build_tree(&models[number], &blocks, number as u64 + 1));
    let changed = blocks.change(&mut input);
    for (tree, model) in trees.iter().zip(&models) {
        let sound = check(&blocks, tree);
        let read = read(&blocks, tree, model, sound);
        if !changed {
            assert!(sound && read.as_ref() == Some(model));
        } else if sound {
            assert_eq!(read.as_ref(), Some(model), "a check finds nothing, and the entries are others");
        }
    }
    merge(&blocks, &trees, if changed { None } else { Some(&models) });
}

/// Entries as the input says; only a run has deletes.
fn model(input: &mut Input<'_>, is_run: bool) -> Model {
    let mut model = Model::new();
    for _ in 0..input.byte() % 64 {
        let (shape, number) = (input.byte(), input.byte());
        let key = match shape % 4 {
            0 => vec![number],
            1 => [&[7; 30][..], &[number]].concat(),
            2 => vec![number % 3; usize::from(number)],
            _ => vec![number / 16, number % 16],
        };
        let value = match shape / 4 % 4 {
            0 if is_run => EntryValue::Delete.to_value(),
            1 => EntryValue::Put(&[number; 200][..usize::from(number) % 200]).to_value(),
            _ => EntryValue::Put(&[number]).to_value(),
        };
        model.insert(key, value);
    }
    model
}

/// Blocks of which only the pointer and the kind must be right, as behind a seal that was made anew.
#[derive(Default)]
struct Blocks(Mutex<HashMap<BlockPtr, (BlockKind, Vec<u8>)>>);

impl Blocks {
    /// Changes blocks as the input says; whether any is another than before.
    fn change(&self, input: &mut Input<'_>) -> bool {
        let mut blocks = self.0.lock().expect("nobody panicked");
        let mut all: Vec<BlockPtr> = blocks.keys().copied().collect();
        all.sort_by_key(|ptr| (ptr.segment, ptr.offset));
        let mut changed = false;
        while !input.is_empty() && !all.is_empty() {
            let which = all[input.below(all.len())];
            let other = all[input.below(all.len())];
            let edits = input.chunk();
            let source = if edits.is_empty() { other } else { which };
            let mut bytes = blocks[&source].1.clone();
            edit(&mut bytes, &mut Input::new(edits));
            let block = blocks.get_mut(&which).expect("it is one of them");
            changed |= block.1 != bytes;
            block.1 = bytes;
        }
        changed
    }
}

impl BlockSource for Blocks {
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes> {
        match self.0.lock().expect("nobody panicked").get(ptr) {
            Some((stored, raw)) if *stored == kind => Ok(ZeroizingBytes::new(raw.clone())),
            _ => Err(StorageError::corrupt("blocks", ptr.offset, "no such block")),
        }
    }
}

struct Sink<'a> {
    blocks: &'a Blocks,
    segment: u64,
    offset: u64,
}

impl BlockSink for Sink<'_> {
    fn append(&mut self, kind: BlockKind, raw: &[u8]) -> Result<BlockPtr> {
        let len = raw.len() as u32;
        let (segment, birth) = (SegmentId(self.segment), Generation(self.segment));
        let (offset, codec) = (self.offset, Codec::Stored);
        let ptr =
            BlockPtr { segment, offset, stored_len: len, raw_len: len, codec, birth, tag: [kind as u8; 16] };
        self.offset += u64::from(len);
        self.blocks.0.lock().expect("nobody panicked").insert(ptr, (kind, raw.to_vec()));
        Ok(ptr)
    }
}

struct Stream<'a> {
    rest: std::collections::btree_map::Iter<'a, Vec<u8>, Value>,
    current: Option<(&'a Vec<u8>, &'a Value)>,
}

impl EntryStream for Stream<'_> {
    fn advance(&mut self) -> Result<bool> {
        self.current = self.rest.next();
        Ok(self.current.is_some())
    }

    fn key(&self) -> &[u8] {
        self.current.expect("it stands on an entry").0
    }

    fn value(&self) -> EntryValue<'_> {
        self.current.expect("it stands on an entry").1.as_entry()
    }
}

fn hasher() -> ContentHasher {
    let keyring = Keyring::create(None, DatabaseId([1; 16]), &SeededEntropy::new(1), 0);
    keyring.expect("a keyring without encryption").content_hasher()
}

fn build_tree(model: &Model, blocks: &Blocks, segment: u64) -> TreeRef {
    let hasher = hasher();
    let options =
        BuildOptions { page_size: PAGE_SIZE, hasher: &hasher, drop_tombstones: false, filter: None };
    let mut sink = Sink { blocks, segment, offset: 128 };
    build(&mut Stream { rest: model.iter(), current: None }, &mut sink, options)
        .expect("a model can be built")
}

/// Whether the check finds no damage.
fn check(blocks: &Blocks, tree: &TreeRef) -> bool {
    let visitor =
        VerifyVisitor { on_block: &mut |_, _| {}, on_extent: &mut |_, _| Ok(()), on_damage: &mut |_| {} };
    let report = verify_tree(&DirectPages(blocks), tree, &hasher(), visitor).expect("nobody cancels");
    report.damages == 0
}

/// All entries, if there is no error, read in all ways. A seek finds its place in a sound tree.
fn read(blocks: &Blocks, tree: &TreeRef, model: &Model, sound: bool) -> Option<Model> {
    let pages = DirectPages(blocks);
    let mut entries = Model::new();
    let mut cursor = Cursor::new(&pages, *tree, ReadAhead { distance: 2 });
    let forwards = walk(cursor.seek_first(), &mut cursor, Cursor::next, &mut entries);
    let mut backwards = Model::new();
    let back = walk(cursor.seek_last(), &mut cursor, Cursor::prev, &mut backwards);
    let keys: Vec<&[u8]> = model.keys().map(Vec::as_slice).collect();
    let mut found = Model::new();
    let many = get_many(&pages, tree, &keys, |index, hit| {
        found.insert(keys[index].to_vec(), hit.value().to_value());
    });
    let mut single = Model::new();
    let mut points = Ok(());
    for key in &keys {
        match get(&pages, tree, key) {
            Ok(Some(hit)) => drop(single.insert(key.to_vec(), hit.value().to_value())),
            Ok(None) => {}
            Err(error) => points = Err(error),
        }
        let sought = cursor.seek(key).is_ok_and(|on| on && cursor.key() == *key);
        let before = model.iter().take_while(|(other, _)| other.as_slice() < *key).last();
        let sought_back = cursor.seek_back(key).is_ok_and(|on| {
            on == before.is_some() && before.is_none_or(|(before, _)| cursor.key() == before)
        });
        assert!(sought && sought_back || !sound, "a seek that misses its place");
    }
    if many.is_ok() && points.is_ok() {
        assert_eq!(single, found, "two ways to read the same keys");
    }
    (forwards.is_ok() && back.is_ok() && points.is_ok() && entries == backwards).then_some(entries)
}

fn walk<'a>(
    start: Result<bool>,
    cursor: &mut Cursor<&'a DirectPages<'a>>,
    step: impl Fn(&mut Cursor<&'a DirectPages<'a>>) -> Result<bool>,
    entries: &mut Model,
) -> Result<()> {
    let mut on = start?;
    // No walk visits more entries than all pages together have bytes, as often as a page can be pointed to.
    let mut steps = 0;
    while on {
        entries.insert(cursor.key().to_vec(), cursor.value().to_value());
        on = step(cursor)?;
        steps += 1;
        if steps > 5_000 {
            return Err(StorageError::Cancelled);
        }
    }
    Ok(())
}

struct Nobody;

impl MergeObserver for Nobody {
    fn page_dropped(&mut self, _: &BlockPtr) {}
    fn extent_dropped(&mut self, _: &[u8]) {}
    fn progress(&mut self, _: u64) {}
    fn pace(&mut self) {}
}

/// Merges the run into the base. If that is known, the result is both together.
fn merge(blocks: &Blocks, trees: &[TreeRef; 2], models: Option<&[Model; 2]>) {
    let pages = DirectPages(blocks);
    let changes = TreeStream::new(Cursor::new(&pages, trees[1], ReadAhead::default()));
    let mut changes = MergedStream::new(vec![Box::new(changes)], Box::new(|_, _| {}));
    let mut sink = Sink { blocks, segment: 3, offset: 128 };
    let steps = std::cell::Cell::new(0);
    let config = MergeConfig {
        page_size: PAGE_SIZE,
        victims: &BTreeSet::from([SegmentId(1)]),
        hasher: &hasher(),
        move_extent: &mut |extent| Ok(extent.clone()),
        observer: &mut Nobody,
        cancelled: &|| {
            steps.set(steps.get() + 1);
            steps.get() > 10_000
        },
    };
    let merged = merge_into_base(&trees[0], &pages, &mut changes, &mut sink, config);
    if let Some([base, run]) = models {
        let mut both = base.clone();
        both.extend(run.clone());
        both.retain(|_, value| value.as_entry().kind() != EntryKind::Delete);
        let merged = merged.expect("both are sound");
        assert!(check(blocks, &merged));
        assert_eq!(read(blocks, &merged, &both, true), Some(both));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let entries = |count: u8, shapes: u8| -> Vec<u8> {
        [count].into_iter().chain((0..count).flat_map(|at| [at % shapes, at.wrapping_mul(37)])).collect()
    };
    let sound = [entries(60, 16), entries(40, 16)].concat();
    let changed = |edits: &[u8]| [&sound[..], edits].concat();
    vec![
        sound.clone(),
        changed(&[3, 5, 0, 0, 4, 0, 0, 9, 3]),
        changed(&[1, 2, 0, 0, 0]),
        changed(&[0, 0, 0, 0, 12, 9, 0, 4, 8, 6, 0, 9, 4, 62, 0, 10, 8]),
        [entries(8, 3), entries(0, 1)].concat(),
    ]
}
