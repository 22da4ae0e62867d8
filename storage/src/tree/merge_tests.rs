use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::SegmentId;
use crate::bytes::ByteReader;
use crate::extent::ExtentRef;
use crate::page::{EntryKind, Value};

/// What a merge was seen to do.
#[derive(Default)]
struct Seen {
    pages: Vec<BlockPtr>,
    extents: Vec<Vec<u8>>,
    progress: u64,
    paces: u64,
}

impl MergeObserver for Seen {
    fn page_dropped(&mut self, ptr: &BlockPtr) {
        self.pages.push(*ptr);
    }

    fn extent_dropped(&mut self, encoded: &[u8]) {
        self.extents.push(encoded.to_vec());
    }

    fn progress(&mut self, entries: u64) {
        self.progress += entries;
    }

    fn pace(&mut self) {
        self.paces += 1;
    }
}

struct World {
    blocks: MemBlocks,
    tree: TreeRef,
    model: Model,
    segment: u64,
    page_size: usize,
}

impl World {
    fn new(page_size: usize) -> Self {
        let (blocks, tree, model) = (MemBlocks::default(), TreeRef::default(), Model::new());
        Self { blocks, tree, model, segment: 100, page_size }
    }

    fn with(model: Model, page_size: usize) -> Self {
        let mut world = Self::new(page_size);
        world.merge(&model, &[]);
        world
    }

    fn try_merge(&mut self, changes: &Model, victims: &[u64], cancelled: &dyn Fn() -> bool) -> Result<Seen> {
        self.segment += 1;
        let victims: BTreeSet<SegmentId> = victims.iter().copied().map(SegmentId).collect();
        let (mut seen, hasher) = (Seen::default(), hasher());
        let mut moved = 0;
        let mut move_extent = |extent: &ExtentRef| {
            moved += 1;
            let mut extent = extent.clone();
            extent.chunks[0].segment = SegmentId(90);
            extent.chunks[0].birth = crate::Generation(self.segment);
            Ok(extent)
        };
        let config = MergeConfig {
            page_size: self.page_size,
            victims: &victims,
            hasher: &hasher,
            move_extent: &mut move_extent,
            observer: &mut seen,
            cancelled,
        };
        let mut sink = self.blocks.segment(self.segment);
        self.tree = merge_into_base(&self.tree, &self.blocks, &mut stream_of(changes), &mut sink, config)?;
        Ok(seen)
    }

    /// Merges, and checks everything that a merge promises.
    fn merge(&mut self, changes: &Model, victims: &[u64]) -> Seen {
        let (pages_before, extents_before) = (self.pages(), self.extents());
        let seen = self.try_merge(changes, victims, &|| false).expect("a merge of a sound tree");
        for (key, value) in changes {
            self.model.remove(key);
            if value.as_entry().kind() != EntryKind::Delete {
                self.model.insert(key.clone(), value.clone());
            }
        }
        self.check_content();
        self.check_pages(&pages_before, &seen);
        self.check_extents(extents_before, changes, &seen);
        let gone = |segment: SegmentId| victims.contains(&segment.0);
        assert!(!self.pages().iter().any(|ptr| gone(ptr.segment)), "a page still lives in a victim");
        assert!(
            !self.extents().keys().any(|key| gone(decode(key).chunks[0].segment)),
            "an extent lives in a victim"
        );
        assert_eq!(seen.progress, changes.len() as u64);
        assert!(seen.paces > 0);
        seen
    }

    fn check_content(&self) {
        let same = |a: &Value, b: &Value| match (a.as_entry(), b.as_entry()) {
            (EntryValue::Extent(a), EntryValue::Extent(b)) => decode(a).digest == decode(b).digest,
            (a, b) => a == b,
        };
        let found = contents(&self.blocks, &self.tree);
        assert_eq!(found.len(), self.model.len());
        assert!(found.iter().zip(&self.model).all(|(a, b)| a.0 == b.0 && same(a.1, b.1)));
        for (key, value) in &self.model {
            let hit = get(&self.blocks, &self.tree, key).unwrap().expect("a key of the model");
            assert!(same(&hit.value().to_value(), value));
        }
        let rebuilt = build_model(&self.model, &MemBlocks::default(), 1, self.page_size);
        assert_eq!((self.tree.entries, self.tree.tombstones), (rebuilt.entries, 0));
        assert_eq!(self.tree.digest, rebuilt.digest);
    }

    /// The pages of the result are those of the base less the dropped ones, and new ones; each dropped once.
    fn check_pages(&self, before: &HashSet<BlockPtr>, seen: &Seen) {
        let dropped: HashSet<BlockPtr> = seen.pages.iter().copied().collect();
        assert_eq!(dropped.len(), seen.pages.len(), "a page was dropped twice");
        assert!(dropped.is_subset(before), "a page was dropped that was not there");
        let now = self.pages();
        let kept: HashSet<BlockPtr> = before.difference(&dropped).copied().collect();
        let new: HashSet<BlockPtr> = now.difference(before).copied().collect();
        assert_eq!(&kept | &new, now, "every page that was not dropped is still used, and no dropped one is");
        assert!(new.iter().all(|ptr| ptr.segment.0 == self.segment));
        assert_eq!(self.blocks.written(self.segment), new.len(), "nothing is written that is not used");
    }

    fn check_extents(&self, mut expected: BTreeMap<Vec<u8>, i32>, changes: &Model, seen: &Seen) {
        let encoded = changes.values().filter(|value| value.as_entry().kind() == EntryKind::Extent);
        for encoded in encoded {
            expected.entry(encoded.as_entry().bytes().to_vec()).or_insert(1);
        }
        for dropped in &seen.extents {
            *expected.get_mut(dropped).expect("an extent was dropped that was not there") -= 1;
        }
        expected.retain(|_, count| *count != 0);
        let moved = |encoded: &Vec<u8>| decode(encoded).chunks[0].birth.0 == self.segment;
        let mut now = self.extents();
        now.retain(|encoded, _| !moved(encoded) || expected.contains_key(encoded));
        assert_eq!(now, expected);
    }

    fn pages(&self) -> HashSet<BlockPtr> {
        let mut pages = HashSet::new();
        self.verify(&mut |ptr, _| assert!(pages.insert(*ptr), "a page is used twice"), &mut |_| {});
        pages
    }

    /// The encoded extents, each with how often it occurs.
    fn extents(&self) -> BTreeMap<Vec<u8>, i32> {
        let mut extents = BTreeMap::new();
        self.verify(&mut |_, _| {}, &mut |extent| {
            *extents.entry(encoded(extent).as_entry().bytes().to_vec()).or_default() += 1;
        });
        extents
    }

    fn verify(&self, on_block: &mut dyn FnMut(&BlockPtr, BlockKind), on_extent: &mut dyn FnMut(&ExtentRef)) {
        let visitor = VerifyVisitor {
            on_block,
            on_extent: &mut |_, extent| {
                on_extent(extent);
                Ok(())
            },
            on_damage: &mut |error| panic!("{error}"),
        };
        verify_tree(&self.blocks, &self.tree, &hasher(), visitor).unwrap();
    }
}

fn decode(encoded: &[u8]) -> ExtentRef {
    ExtentRef::decode(&mut ByteReader::new(encoded)).unwrap()
}

fn key(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn numbered(numbers: impl IntoIterator<Item = u32>) -> Model {
    numbers.into_iter().map(|number| (key(number), put([number as u8; 30]))).collect()
}

fn deletes(numbers: impl IntoIterator<Item = u32>) -> Model {
    numbers.into_iter().map(|number| (key(number), EntryValue::Delete.to_value())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merges_are_the_model_and_account_for_every_page(
        first in any_model(500),
        rounds in prop::collection::vec((any_model(60), prop::collection::vec(0u64..6, 0..3), 50u64..54), 1..7),
        page_size in prop_oneof![Just(128usize), Just(300), Just(1024)],
    ) {
        let mut world = World::with(first, page_size);
        for (changes, ages, values) in rounds {
            let mut victims: Vec<u64> = ages.iter().map(|age| world.segment.saturating_sub(*age)).collect();
            if victims.len() == 2 {
                victims.push(values);
            }
            world.merge(&changes, &victims);
        }
    }

    #[test]
    fn ranges_that_are_deleted_and_filled_again_keep_the_tree_sound(
        rounds in prop::collection::vec((0u32..2000, 1u32..900, any::<bool>()), 1..12),
    ) {
        let mut world = World::with(numbered(0..1500), 256);
        for (start, len, fill) in rounds {
            let range = start..start + len;
            world.merge(&if fill { numbered(range) } else { deletes(range) }, &[]);
        }
    }
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let mut world = World::with(numbered((0..2000).map(|n| n * 2)), 256);
    let before = world.tree;
    let mut changes = numbered((500..600).map(|n| n * 2));
    changes.extend(deletes((0..1000).map(|n| n * 4 + 1)));
    let seen = world.merge(&changes, &[]);
    assert!(seen.pages.is_empty());
    assert_eq!(world.tree, before);
    let mut empty = World::new(256);
    assert_eq!(empty.merge(&deletes(0..10), &[]).pages.len(), 0);
    assert_eq!(empty.tree, TreeRef::default());
}

#[test]
fn one_change_rewrites_one_path_and_reads_no_more() {
    let mut world = World::with(numbered(0..20_000), 512);
    let before = world.blocks.read_count();
    let changes: Model = [(key(10_000), put("new"))].into();
    let seen = world.try_merge(&changes, &[], &|| false).unwrap();
    assert_eq!(seen.pages.len(), usize::from(world.tree.height));
    assert_eq!(world.blocks.read_count() - before, usize::from(world.tree.height));
}

#[test]
fn everything_deleted_leaves_an_empty_tree() {
    let mut world = World::with(numbered(0..3000), 256);
    world.merge(&deletes(0..3000), &[]);
    assert_eq!(world.tree, TreeRef::default());
    world.merge(&numbered(0..5), &[]);
    assert_eq!(world.tree.height, 1);
}

#[test]
fn the_tree_grows_and_shrinks_with_its_entries() {
    let mut world = World::with(numbered(0..20_000), 256);
    let high = world.tree.height;
    for round in 0..10 {
        world.merge(&deletes(round * 2000..(round + 1) * 2000 - 1), &[]);
    }
    assert_eq!(world.tree.entries, 10);
    assert!(world.tree.height < high, "{} levels for ten entries", world.tree.height);
}

#[test]
fn a_root_that_was_kept_with_one_child_gives_way_to_it() {
    let mut world = World::with(numbered(0..100), 256);
    let root = world.blocks.page(BlockKind::Inner, &world.tree.root.unwrap()).unwrap();
    let mut last = Vec::new();
    inner_of(&root).separator_into(inner_of(&root).len() - 1, &mut last);
    assert_eq!(root.level(), 2);
    let all = deletes(0..98);
    world.merge(&all.range(last.clone()..).map(|(key, value)| (key.clone(), value.clone())).collect(), &[]);
    assert_eq!(world.tree.height, 3);
    world.merge(&all.range(..last).map(|(key, value)| (key.clone(), value.clone())).collect(), &[]);
    assert_eq!((world.tree.height, world.tree.entries), (1, 2));
}

#[test]
fn scattered_inserts_and_deletes_do_not_leave_crumbs() {
    let mut world = World::with(numbered((0..4000).map(|n| n * 50)), 512);
    for round in 1..40 {
        world.merge(&numbered((0..200).map(|n| n * 1000 + round)), &[]);
    }
    for round in 0..20 {
        world.merge(&deletes((0..4000).filter(|n| n % 20 == round && n % 7 != 0).map(|n| n * 50)), &[]);
    }
    let packed = build_model(&world.model, &MemBlocks::default(), 1, 512);
    let (found, best) = (world.pages().len(), packed.raw_bytes as usize / 512);
    assert!(found < best * 2, "{found} pages where {best} would do");
}

#[test]
fn appends_fill_pages() {
    let mut world = World::new(512);
    for round in 0..50 {
        world.merge(&numbered(round * 100..(round + 1) * 100), &[]);
    }
    let (found, best) = (world.pages().len(), world.tree.raw_bytes as usize / 512);
    assert!(found < best * 3 / 2, "{found} pages where {best} would do");
}

#[test]
fn a_victim_is_emptied_without_any_change() {
    let mut world = World::with(numbered(0..5000), 256);
    let first = world.segment;
    world.merge(&numbered([7, 2500, 4999]), &[]);
    world.merge(&[(key(30), put("other"))].into(), &[]);
    world.merge(&Model::new(), &[first]);
    assert!(world.pages().iter().all(|ptr| ptr.segment.0 > first));
    let last = world.segment;
    let seen = world.merge(&Model::new(), &[1, 2, 3]);
    assert!(seen.pages.is_empty() && world.pages().iter().all(|ptr| ptr.segment.0 <= last));
}

#[test]
fn extents_move_with_their_values_unchanged() {
    let mut model = numbered(0..500);
    model.insert(key(100), extent_in(50));
    model.insert(key(200), extent_in(51));
    let mut world = World::with(model, 256);
    let (digest, before) = (world.tree.digest, world.extents());
    let seen = world.merge(&Model::new(), &[50]);
    assert_eq!(seen.extents.len(), 1);
    assert_eq!(world.tree.digest, digest);
    assert_eq!(world.extents().keys().filter(|key| before.contains_key(*key)).count(), 1);
    assert_eq!(seen.pages.len(), usize::from(world.tree.height));
}

#[test]
fn a_moved_extent_must_be_the_same_value() {
    let mut world = World::with([(key(1), extent_in(50))].into(), 256);
    let victims = BTreeSet::from([SegmentId(50)]);
    let config = MergeConfig {
        page_size: 256,
        victims: &victims,
        hasher: &hasher(),
        move_extent: &mut |extent| Ok(ExtentRef { digest: [0; 32], ..extent.clone() }),
        observer: &mut Seen::default(),
        cancelled: &|| false,
    };
    world.segment += 1;
    let mut sink = world.blocks.segment(world.segment);
    let result =
        merge_into_base(&world.tree, &world.blocks, &mut stream_of(&Model::new()), &mut sink, config);
    assert!(matches!(result, Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_merge_stops_when_told_to() {
    let mut world = World::with(numbered(0..2000), 256);
    let before = world.tree;
    for allowed in [0, 1, 20] {
        let asked = Cell::new(0);
        let result =
            world.try_merge(&numbered(1000..4000), &[], &|| asked.replace(asked.get() + 1) >= allowed);
        assert!(matches!(result, Err(StorageError::Cancelled)));
        assert_eq!(world.tree, before);
    }
}

#[test]
fn changes_that_do_not_ascend_are_refused() {
    struct Twice(u8);
    impl EntryStream for Twice {
        fn advance(&mut self) -> Result<bool> {
            self.0 += 1;
            Ok(self.0 <= 2)
        }
        fn key(&self) -> &[u8] {
            b"same"
        }
        fn value(&self) -> EntryValue<'_> {
            EntryValue::Delete
        }
    }
    let (blocks, hasher) = (MemBlocks::default(), hasher());
    let config = MergeConfig {
        page_size: 256,
        victims: &BTreeSet::new(),
        hasher: &hasher,
        move_extent: &mut |extent| Ok(extent.clone()),
        observer: &mut Seen::default(),
        cancelled: &|| false,
    };
    let result = merge_into_base(&TreeRef::default(), &blocks, &mut Twice(0), &mut blocks.segment(1), config);
    assert!(matches!(result, Err(StorageError::Corrupt { .. })));
}
