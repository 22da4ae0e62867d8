use std::ops::Bound;

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::filter::{FilterBuilder, key_hash};
use crate::page::{EntryKind, Value};

fn cursor<'a>(blocks: &'a MemBlocks, tree: &TreeRef) -> Cursor<&'a MemBlocks> {
    Cursor::new(blocks, *tree, ReadAhead { distance: 4 })
}

fn stands_on<S: std::ops::Deref<Target: PageSource>>(
    cursor: &Cursor<S>,
    expected: Option<(&Vec<u8>, &Value)>,
) -> bool {
    match expected {
        Some((key, value)) => cursor.is_valid() && cursor.key() == key && cursor.value() == value.as_entry(),
        None => !cursor.is_valid() && cursor.key().is_empty(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_built_tree_is_its_model(model in any_model(400), page_size in 100usize..700, probes in prop::collection::vec(any_key(), 20)) {
        let blocks = MemBlocks::default();
        let tree = build_model(&model, &blocks, 1, page_size);
        let deletes = model.values().filter(|value| value.as_entry().kind() == EntryKind::Delete).count();
        prop_assert_eq!((tree.entries, tree.tombstones), (model.len() as u64, deletes as u64));
        let other_size = build_model(&model, &blocks, 2, 4096);
        prop_assert_eq!(tree.digest, other_size.digest);
        for key in probes.iter().chain(model.keys()) {
            let hit = get(&blocks, &tree, key).unwrap();
            prop_assert_eq!(hit.as_ref().map(LeafHit::value), model.get(key).map(Value::as_entry));
        }
        let mut out = ByteWriter::new();
        tree.encode(&mut out);
        prop_assert_eq!(TreeRef::decode(&mut ByteReader::new(out.as_slice())), Ok(tree));
    }

    #[test]
    fn a_cursor_goes_where_the_model_goes(
        model in any_model(300),
        page_size in 100usize..700,
        seeks in prop::collection::vec((any_key(), 0u8..4, prop::collection::vec(any::<bool>(), 0..40)), 1..8),
    ) {
        let blocks = MemBlocks::default();
        let tree = build_model(&model, &blocks, 1, page_size);
        let mut cursor = cursor(&blocks, &tree);
        for (key, how, steps) in seeks {
            let mut at = match how {
                0 => model.first_key_value(),
                1 => model.last_key_value(),
                2 => model.range(key.clone()..).next(),
                _ => model.range(..key.clone()).next_back(),
            };
            let found = match how {
                0 => cursor.seek_first(),
                1 => cursor.seek_last(),
                2 => cursor.seek(&key),
                _ => cursor.seek_back(&key),
            };
            prop_assert_eq!(found.unwrap(), at.is_some());
            for forward in steps {
                prop_assert!(stands_on(&cursor, at));
                let Some((key, _)) = at else { break };
                let found = if forward { cursor.next() } else { cursor.prev() };
                at = if forward {
                    model.range::<Vec<u8>, _>((Bound::Excluded(key), Bound::Unbounded)).next()
                } else {
                    model.range::<Vec<u8>, _>(..key).next_back()
                };
                prop_assert_eq!(found.unwrap(), at.is_some());
            }
            prop_assert!(stands_on(&cursor, at));
        }
    }

    #[test]
    fn merged_streams_give_the_newest_and_report_the_rest(models in prop::collection::vec(any_model(60), 0..6)) {
        let mut superseded = Vec::new();
        let streams = models.iter().map(|model| Box::new(stream_of(model)) as Box<dyn EntryStream>).collect();
        let report = Box::new(|key: &[u8], value: EntryValue<'_>| superseded.push((key.to_vec(), value.to_value())));
        let mut merged = MergedStream::new(streams, report);
        let mut result = Vec::new();
        while let Some((key, value)) = merged.next().unwrap() {
            result.push((key.to_vec(), value.to_value()));
        }
        prop_assert!(!merged.advance().unwrap());
        drop(merged);
        let mut newest = Model::new();
        let mut hidden = Vec::new();
        for (key, value) in models.iter().flatten() {
            if newest.contains_key(key) {
                hidden.push((key.clone(), value.clone()));
            } else {
                newest.insert(key.clone(), value.clone());
            }
        }
        hidden.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(result, newest.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(superseded, hidden);
    }
}

fn numbered(count: u32) -> Model {
    (0..count).map(|number| (number.to_be_bytes().to_vec(), put([number as u8; 30]))).collect()
}

#[test]
fn an_empty_tree_has_no_pages_and_nothing_in_it() {
    let blocks = MemBlocks::default();
    let tree = build_model(&Model::new(), &blocks, 1, 4096);
    assert_eq!(tree, TreeRef::default());
    assert!(get(&blocks, &tree, b"key").unwrap().is_none());
    let mut cursor = cursor(&blocks, &tree);
    assert!(!cursor.seek_first().unwrap() && !cursor.seek_last().unwrap() && !cursor.seek(b"a").unwrap());
    assert!(!cursor.next().unwrap() && !cursor.prev().unwrap());
}

#[test]
fn deletes_are_left_out_on_demand_and_the_filter_knows_the_rest() {
    let mut model = numbered(100);
    model.insert(vec![0, 0, 0, 5], EntryValue::Delete.to_value());
    let (blocks, hasher) = (MemBlocks::default(), hasher());
    let mut filter = FilterBuilder::new(100);
    let options =
        BuildOptions { page_size: 256, hasher: &hasher, drop_tombstones: true, filter: Some(&mut filter) };
    let tree = build(&mut stream_of(&model), &mut blocks.segment(1), options).unwrap();
    let live = without_deletes(&model);
    assert_eq!((tree.entries, tree.tombstones), (99, 0));
    assert_eq!(contents(&blocks, &tree), live);
    let filter = filter.finish();
    assert!(live.keys().all(|key| filter.may_contain(key_hash(key))));
}

#[test]
fn keys_that_do_not_ascend_or_are_too_long_are_refused() {
    struct Keys(Vec<Vec<u8>>, usize);
    impl EntryStream for Keys {
        fn advance(&mut self) -> Result<bool> {
            self.1 += 1;
            Ok(self.1 <= self.0.len())
        }
        fn key(&self) -> &[u8] {
            &self.0[self.1 - 1]
        }
        fn value(&self) -> EntryValue<'_> {
            EntryValue::Delete
        }
    }
    let (blocks, hasher) = (MemBlocks::default(), hasher());
    for keys in [vec![vec![2], vec![1]], vec![vec![1], vec![1]], vec![vec![0; 65_536]]] {
        let options = BuildOptions { page_size: 256, hasher: &hasher, drop_tombstones: false, filter: None };
        let result = build(&mut Keys(keys, 0), &mut blocks.segment(1), options);
        assert!(matches!(result, Err(StorageError::Corrupt { .. })));
    }
}

#[test]
fn a_point_read_reads_one_page_a_level() {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(5000), &blocks, 1, 512);
    assert!(tree.height >= 3);
    let hit = get(&blocks, &tree, &77u32.to_be_bytes()).unwrap().expect("the key is there");
    assert_eq!(hit.value(), EntryValue::Put(&[77; 30]));
    assert_eq!(blocks.read_count(), usize::from(tree.height));
}

#[test]
fn a_scan_reads_each_page_once_and_asks_for_leaves_ahead() {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(5000), &blocks, 1, 512);
    for forward in [true, false] {
        let before = blocks.read_count();
        blocks.prefetched.lock().unwrap().clear();
        let mut cursor = Cursor::new(&blocks, tree, ReadAhead { distance: 8 });
        let mut found = if forward { cursor.seek_first().unwrap() } else { cursor.seek_last().unwrap() };
        let mut entries = 0;
        while found {
            entries += 1;
            found = if forward { cursor.next().unwrap() } else { cursor.prev().unwrap() };
        }
        assert_eq!(entries, 5000);
        let pages = blocks.read_count() - before;
        let mut prefetched = blocks.prefetched.lock().unwrap().clone();
        let asked = prefetched.len();
        prefetched.sort_by_key(|ptr| ptr.offset);
        prefetched.dedup();
        assert_eq!(asked, prefetched.len(), "nothing is asked for twice");
        assert!(asked * 10 > pages * 8, "{asked} of {pages} pages were asked for");
    }
}

#[test]
fn a_short_scan_asks_for_nothing_ahead() {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(5000), &blocks, 1, 512);
    let mut cursor = Cursor::new(&blocks, tree, ReadAhead { distance: 8 });
    assert!(cursor.seek(&[0]).unwrap() && cursor.next().unwrap());
    assert!(blocks.prefetched.lock().unwrap().is_empty());
}

#[test]
fn an_error_leaves_the_cursor_nowhere() {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(100), &blocks, 1, 256);
    let mut second = cursor(&blocks, &tree);
    assert!(second.seek_first().unwrap());
    let root = blocks.page(BlockKind::Inner, &tree.root.unwrap()).unwrap();
    let mut inner = root;
    while inner.level() > 1 {
        inner = blocks.page(BlockKind::Inner, &inner_of(&inner).child(0).ptr).unwrap();
    }
    blocks.remove(&inner_of(&inner).child(1).ptr);
    let failed = std::iter::from_fn(|| Some(second.next())).find_map(Result::err);
    assert!(matches!(failed, Some(StorageError::Corrupt { .. })));
    assert!(!second.is_valid());
    assert!(second.seek_last().unwrap());
}

#[test]
fn a_page_in_the_wrong_place_is_damage() {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(5000), &blocks, 1, 512);
    let lower = TreeRef { height: tree.height - 1, ..tree };
    assert!(matches!(get(&blocks, &lower, b"key"), Err(StorageError::Corrupt { .. })));
    let leaf = TreeRef { height: 1, ..tree };
    assert!(matches!(get(&blocks, &leaf, b"key"), Err(StorageError::Corrupt { .. })));
}

#[test]
fn references_that_contradict_themselves_are_refused() {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(10), &blocks, 1, 512);
    for wrong in [
        TreeRef { height: 65, ..tree },
        TreeRef { tombstones: 11, ..tree },
        TreeRef { entries: 0, ..tree },
        TreeRef { root: None, ..tree },
    ] {
        let mut out = ByteWriter::new();
        wrong.encode(&mut out);
        assert!(TreeRef::decode(&mut ByteReader::new(out.as_slice())).is_err(), "{wrong:?}");
    }
}
