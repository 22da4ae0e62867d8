use std::collections::BTreeMap;
use std::ops::Bound;

use lightning_db_storage::SequenceNumber;
use lightning_db_storage::pointer::{BlockKind, BlockPtr};
use lightning_db_storage::tree::{ReadAhead, read_page};
use proptest::prelude::*;

use super::*;
use crate::memtable::Memtable;
use crate::read::testing::{TestStore, put};

/// What each layer writes, oldest first: a value, or a delete. Layers are trees first, then memtables, then pending
/// writes; commits are numbered by their place in all of them together.
type Layer = Vec<(u8, Option<u8>)>;
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct Direct(Arc<TestStore>);

impl PageSource for Direct {
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<lightning_db_storage::page::Page>> {
        read_page(&*self.0, kind, ptr).map(Arc::new)
    }
}

fn key(number: u8) -> Vec<u8> {
    // Some keys are each other's beginnings.
    vec![number % 4; 1 + usize::from(number / 4)]
}

fn mem_value(value: Option<u8>) -> MemValue {
    value.map_or(MemValue::Delete, |value| put([value]))
}

/// The sources, newest first, as a reader at `at` sees them, and what he must see.
fn sources(store: &Arc<TestStore>, layers: &[(u8, Layer)], at: u64) -> (Vec<Source>, Model) {
    let pages: Arc<dyn PageSource> = Arc::new(Direct(Arc::clone(store)));
    let (mut sources, mut model) = (Vec::new(), Model::new());
    let mut sequence = 0;
    for (kind, layer) in layers {
        let is_tree = matches!(kind, 0 | 1);
        let mut sorted = BTreeMap::new();
        let memtable = Arc::new(Memtable::new(1));
        for (number, value) in layer {
            sequence += 1;
            memtable.insert(&key(*number), SequenceNumber(sequence), mem_value(*value));
            sorted.insert(key(*number), mem_value(*value));
            if *kind != 2 || sequence <= at {
                match value {
                    Some(value) => model.insert(key(*number), vec![*value]),
                    None => model.remove(&key(*number)),
                };
            }
        }
        let sorted: Vec<_> = sorted.into_iter().collect();
        sources.insert(
            0,
            match kind {
                _ if is_tree => {
                    let (tree, _) = store.tree(&sorted, 64);
                    Source::Tree(tree::Cursor::new(Arc::clone(&pages), tree, ReadAhead { distance: 2 }))
                }
                2 => Source::Memory(MemCursor::new(memtable, SequenceNumber(at))),
                _ => Source::pending(
                    sorted.iter().map(|(key, value)| (SharedBytes::from(&key[..]), value.clone())).collect(),
                ),
            },
        );
    }
    (sources, model)
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Next,
    Prev,
    Seek(u8),
    SeekBack(u8),
    First,
    Last,
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Next),
        6 => Just(Move::Prev),
        1 => any::<u8>().prop_map(|key| Move::Seek(key % 80)),
        1 => any::<u8>().prop_map(|key| Move::SeekBack(key % 80)),
        1 => Just(Move::First),
        1 => Just(Move::Last),
    ]
}

fn any_layers() -> impl Strategy<Value = Vec<(u8, Layer)>> {
    let layer = prop::collection::vec((0u8..80, prop::option::weighted(0.6, any::<u8>())), 0..60);
    prop::collection::vec((0u8..4, layer), 0..6).prop_map(|mut layers| {
        layers.sort_by_key(|(kind, _)| *kind);
        layers
    })
}

/// Where the model's cursor is: on a key, or at an end.
#[derive(Clone, Debug, PartialEq)]
enum At {
    Start,
    Key(Vec<u8>),
    End,
}

fn model_move(model: &Model, at: &At, step: Move) -> At {
    let above = |bound: Bound<Vec<u8>>| {
        model.range((bound, Bound::Unbounded)).next().map_or(At::End, |(key, _)| At::Key(key.clone()))
    };
    let below = |bound: Bound<Vec<u8>>| {
        model.range((Bound::Unbounded, bound)).next_back().map_or(At::Start, |(key, _)| At::Key(key.clone()))
    };
    match (step, at) {
        (Move::Next, At::Start) | (Move::First, _) => above(Bound::Unbounded),
        (Move::Next, At::Key(key)) => above(Bound::Excluded(key.clone())),
        (Move::Prev, At::End) | (Move::Last, _) => below(Bound::Unbounded),
        (Move::Prev, At::Key(key)) => below(Bound::Excluded(key.clone())),
        (Move::Next, At::End) => At::End,
        (Move::Prev, At::Start) => At::Start,
        (Move::Seek(number), _) => above(Bound::Included(key(number))),
        (Move::SeekBack(number), _) => below(Bound::Excluded(key(number))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_walk_over_any_layers_sees_what_a_map_holds(
        layers in any_layers(),
        at in 0u64..360,
        moves in prop::collection::vec(any_move(), 0..60),
        start in prop::option::of(0u8..80),
        end in prop::option::of(0u8..80),
    ) {
        let (sources, mut model) = sources(&TestStore::new(), &layers, at);
        let (start, end) = (start.map(key), end.map(key));
        let range = KeyRange::new(start.as_deref(), end.as_deref());
        model.retain(|key, _| !range.starts_after(key) && !range.ends_before(key));
        let mut cursor = MergeCursor::new(sources, range);
        let mut expected = At::Start;
        for step in moves {
            expected = model_move(&model, &expected, step);
            let on_entry = match step {
                Move::Next => cursor.next(),
                Move::Prev => cursor.prev(),
                Move::Seek(number) => cursor.seek(&key(number)),
                Move::SeekBack(number) => cursor.seek_back(&key(number)),
                Move::First => cursor.first(),
                Move::Last => cursor.last(),
            }.unwrap();
            match &expected {
                At::Key(key) => {
                    prop_assert!(on_entry && cursor.is_on_entry());
                    prop_assert_eq!(cursor.key(), &key[..]);
                    prop_assert_eq!(cursor.value().bytes(), &model[key][..]);
                }
                _ => prop_assert!(!on_entry && !cursor.is_on_entry() && cursor.key().is_empty()),
            }
        }
    }
}

#[test]
fn a_failed_move_ends_the_walk_until_it_is_placed_again() {
    let store = TestStore::new();
    let layer: Layer = (0..60).map(|number| (number, Some(number))).collect();
    let (sources, model) = sources(&store, &[(0, layer)], 0);
    let mut cursor = MergeCursor::new(sources, KeyRange::default());
    assert!(cursor.next().unwrap());
    store.fail_reads(true);
    let mut passed = 1;
    let error = loop {
        match cursor.next() {
            Ok(true) => passed += 1,
            Ok(false) => panic!("the walk must not end as if there were nothing more"),
            Err(error) => break error,
        }
    };
    assert!(passed < model.len(), "{error}");
    assert!(!cursor.next().unwrap() && !cursor.prev().unwrap() && cursor.key().is_empty());
    store.fail_reads(false);
    assert!(cursor.first().unwrap());
}

#[test]
fn a_walk_does_not_read_beyond_its_range() {
    let store = TestStore::new();
    let layer: Layer = (0..80).map(|number| (number, Some(number))).collect();
    let (sources, _) = sources(&store, &[(0, layer.clone()), (1, layer)], 0);
    let mut cursor = MergeCursor::new(sources, KeyRange::prefix(&[2, 2]));
    store.reads.lock().clear();
    assert!(cursor.next().unwrap());
    assert_eq!(cursor.key(), [2, 2]);
    let first = store.reads.lock().len();
    assert!(first <= 12, "{first} pages for the first entry");
}
