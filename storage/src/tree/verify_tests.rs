use super::testing::*;
use super::*;
use crate::page::{Child, PageBuilder};
use crate::pointer::BlockSink;

/// What a check found.
#[derive(Default)]
struct Found {
    blocks: Vec<(BlockPtr, BlockKind)>,
    extents: Vec<(Vec<u8>, ExtentRef)>,
    damage: Vec<String>,
    report: VerifyReport,
}

fn verify(blocks: &MemBlocks, tree: &TreeRef) -> Found {
    let mut found = Found::default();
    let visitor = VerifyVisitor {
        on_block: &mut |ptr, kind| found.blocks.push((*ptr, kind)),
        on_extent: &mut |key, extent| {
            found.extents.push((key.to_vec(), extent.clone()));
            Ok(())
        },
        on_damage: &mut |error| found.damage.push(error.to_string()),
    };
    found.report = verify_tree(blocks, tree, &hasher(), visitor).unwrap();
    assert_eq!(found.report.damages, found.damage.len() as u64);
    found
}

fn numbered(count: u32) -> Model {
    (0..count).map(|number| (number.to_be_bytes().to_vec(), put([number as u8; 30]))).collect()
}

fn mixed() -> Model {
    let mut model = numbered(60);
    model.insert(vec![0, 0, 0, 3], EntryValue::Delete.to_value());
    model.insert(vec![0, 0, 0, 40], extent_in(50));
    model
}

#[test]
fn a_sound_tree_is_covered_in_full() {
    let blocks = MemBlocks::default();
    let tree = build_model(&mixed(), &blocks, 1, 256);
    let found = verify(&blocks, &tree);
    assert!(found.damage.is_empty());
    assert_eq!(found.extents.len(), 1);
    assert_eq!(found.extents[0].0, [0, 0, 0, 40]);
    assert_eq!(found.report.pages, blocks.written(1) as u64);
    assert_eq!((found.report.entries, found.report.tombstones, found.report.extents), (60, 1, 1));
    assert_eq!((found.report.stored_bytes, found.report.raw_bytes), (tree.stored_bytes, tree.raw_bytes));
    assert!(verify(&blocks, &TreeRef::default()).damage.is_empty());
}

#[test]
fn every_flipped_byte_of_every_page_is_noticed_or_harmless() {
    let (blocks, model) = (MemBlocks::default(), mixed());
    let tree = build_model(&model, &blocks, 1, 256);
    let sound = verify(&blocks, &tree);
    assert!(sound.blocks.len() > 10);
    for (ptr, _) in sound.blocks {
        for at in 0..ptr.raw_len as usize {
            blocks.damage(&ptr, |raw| raw[at] ^= 1);
            let found = verify(&blocks, &tree);
            // Where an extent is kept is for its visitor to check.
            if found.damage.is_empty() && found.extents == sound.extents {
                assert_eq!(contents(&blocks, &tree), model);
                assert!(model.keys().all(|key| get(&blocks, &tree, key).unwrap().is_some()));
            }
            blocks.damage(&ptr, |raw| raw[at] ^= 1);
        }
    }
}

#[test]
fn what_lies_beside_a_damaged_page_is_still_checked() {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(2000), &blocks, 1, 256);
    let all = verify(&blocks, &tree).blocks;
    let leaves: Vec<BlockPtr> =
        all.iter().filter(|(_, kind)| *kind == BlockKind::Leaf).map(|(ptr, _)| *ptr).collect();
    blocks.remove(&leaves[3]);
    blocks.damage(&leaves[100], |raw| raw.truncate(20));
    let found = verify(&blocks, &tree);
    assert_eq!(found.damage.len(), 2, "{:?}", found.damage);
    assert!(found.damage[0].contains(&leaves[3].offset.to_string()));
    assert_eq!(found.report.pages, all.len() as u64 - 2);
    assert_eq!(found.blocks, all, "pointers to damaged pages are reported too");
}

#[test]
fn sums_that_do_not_add_up_are_damage() {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(100), &blocks, 1, 256);
    let other = build_model(&numbered(99), &blocks, 2, 256);
    for wrong in [
        TreeRef { entries: 99, ..tree },
        TreeRef { tombstones: 1, ..tree },
        TreeRef { stored_bytes: tree.stored_bytes + 1, ..tree },
        TreeRef { raw_bytes: 0, ..tree },
        TreeRef { digest: other.digest, ..tree },
        TreeRef { entries: 1, ..TreeRef::default() },
    ] {
        assert_eq!(verify(&blocks, &wrong).damage.len(), 1, "{wrong:?}");
    }
}

/// A tree of two leaves under a root that says of them what `children` makes of the truth.
fn with_root(change: impl FnOnce(&mut [(Vec<u8>, Child)])) -> (MemBlocks, TreeRef) {
    let blocks = MemBlocks::default();
    let tree = build_model(&numbered(10), &blocks, 1, 256);
    let root = blocks.page(BlockKind::Inner, &tree.root.unwrap()).unwrap();
    let inner = inner_of(&root);
    let mut children: Vec<(Vec<u8>, Child)> = (0..inner.len())
        .map(|index| {
            let mut key = Vec::new();
            inner.separator_into(index, &mut key);
            (key, inner.child(index))
        })
        .collect();
    change(&mut children);
    let mut builder = PageBuilder::new(1, 4096);
    children.iter().for_each(|(key, child)| builder.push_child(key, child));
    let page = builder.take_rest().unwrap();
    let root = blocks.segment(2).append(page.kind, &page.raw).unwrap();
    (blocks, TreeRef { root: Some(root), ..tree })
}

#[test]
fn parents_that_say_something_else_than_their_children_are_damage() {
    let (blocks, tree) = with_root(|_| {});
    assert!(verify(&blocks, &tree).damage.is_empty());
    type Change = fn(&mut [(Vec<u8>, Child)]);
    let wrong: [Change; 4] = [
        |children| children[0].1.entries += 1,
        |children| children[1].1.holds_extents = true,
        |children| children[1].0 = vec![0, 0, 0, 9],
        |children| children[0].0 = vec![0, 0, 0, 1],
    ];
    for change in wrong {
        let (blocks, tree) = with_root(change);
        assert!(!verify(&blocks, &tree).damage.is_empty());
    }
}

#[test]
fn a_failing_extent_is_damage_and_cancelling_ends_the_check() {
    let blocks = MemBlocks::default();
    let tree = build_model(&mixed(), &blocks, 1, 256);
    let run = |error: fn() -> StorageError| {
        let mut damage = 0;
        let visitor = VerifyVisitor {
            on_block: &mut |_, _| {},
            on_extent: &mut |_, _| Err(error()),
            on_damage: &mut |_| damage += 1,
        };
        let result = verify_tree(&blocks, &tree, &hasher(), visitor);
        (result.is_ok(), damage)
    };
    assert_eq!(run(|| StorageError::corrupt("value", 7, "a chunk")), (true, 1));
    assert_eq!(run(|| StorageError::Cancelled), (false, 0));
}
