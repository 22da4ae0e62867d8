//! Finding many keys at once.

use std::ops::Range;
use std::sync::Arc;

use super::{LeafHit, PageSource, TreeRef, inner_of, kind_at, leaf_of, load};
use crate::Result;
use crate::pointer::BlockPtr;

/// Finds the entries of `keys`, which ascend, and shows each with its key's index, in ascending order.
///
/// The tree is descended once for all keys, level by level: each page is read once, and the pages of a level are
/// asked for together before the first is waited for.
///
/// # Errors
/// Those of the source. Nothing was shown then, unless it is the error of a leaf.
pub fn get_many(
    source: &(impl PageSource + ?Sized),
    tree: &TreeRef,
    keys: &[&[u8]],
    mut show: impl FnMut(usize, LeafHit),
) -> Result<()> {
    debug_assert!(keys.is_sorted());
    let Some((root, top)) = tree.top().filter(|_| !keys.is_empty()) else { return Ok(()) };
    let mut parts = vec![Part { ptr: root, keys: 0..keys.len() }];
    let mut ptrs = Vec::new();
    for level in (0..=top).rev() {
        if let [_, others @ ..] = &parts[..]
            && !others.is_empty()
        {
            // The caller reads the first one himself meanwhile.
            ptrs.clear();
            ptrs.extend(others.iter().map(|part| part.ptr));
            source.prefetch(kind_at(level), &ptrs);
        }
        let mut below = Vec::with_capacity(parts.len());
        for Part { ptr, keys: range } in parts {
            let page = load(source, level, &ptr)?;
            if level > 0 {
                let inner = inner_of(&page);
                split(
                    range,
                    |index| inner.find(keys[index]),
                    |child, keys| {
                        below.push(Part { ptr: inner.child(child).ptr, keys });
                    },
                );
                continue;
            }
            for index in range {
                if let Ok(place) = leaf_of(&page).search(keys[index]) {
                    show(index, LeafHit::new(Arc::clone(&page), place));
                }
            }
        }
        parts = below;
    }
    Ok(())
}

/// The keys that are looked for below one page; at least one.
struct Part {
    ptr: BlockPtr,
    keys: Range<usize>,
}

/// Cuts `keys` where the child changes.
fn split(keys: Range<usize>, child_of: impl Fn(usize) -> usize, mut part: impl FnMut(usize, Range<usize>)) {
    let Range { mut start, end } = keys;
    let mut current = child_of(start);
    for index in start + 1..end {
        let child = child_of(index);
        if child != current {
            part(current, start..index);
            (start, current) = (index, child);
        }
    }
    part(current, start..end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{MemBlocks, any_key, any_model, build_model};
    use super::*;

    proptest! {
        #[test]
        fn many_keys_are_found_as_one_by_one(
            model in any_model(300),
            mut wanted in prop::collection::vec(any_key(), 0..100),
        ) {
            let blocks = MemBlocks::default();
            let tree = build_model(&model, &blocks, 1, 128);
            wanted.extend(model.keys().step_by(3).cloned());
            wanted.sort();
            let keys: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
            let mut found = vec![None; keys.len()];
            let mut last = None;
            get_many(&blocks, &tree, &keys, |index, hit| {
                assert!(last.replace(index).is_none_or(|last| last < index));
                found[index] = Some(hit.value().to_value());
            })?;
            for (key, found) in keys.iter().zip(found) {
                prop_assert_eq!(found.as_ref(), model.get(*key));
            }
        }
    }

    #[test]
    fn each_page_is_read_once_and_those_of_a_level_together() {
        let blocks = MemBlocks::default();
        let model =
            (0u16..500).map(|number| (number.to_be_bytes().to_vec(), super::super::testing::put([7; 10])));
        let model = model.collect();
        let tree = build_model(&model, &blocks, 1, 256);
        let keys: Vec<&[u8]> = model.keys().map(Vec::as_slice).collect();
        let mut count = 0;
        get_many(&blocks, &tree, &keys, |_, _| count += 1).expect("found");
        assert_eq!(count, 500);
        let read = blocks.read_count();
        let mut ahead = blocks.prefetched.lock().expect("not poisoned").clone();
        let asked = ahead.len();
        ahead.sort_by_key(|ptr| ptr.offset);
        ahead.dedup();
        assert_eq!(ahead.len(), asked, "no page is asked for twice");
        // All but the first of each level.
        assert_eq!(asked + usize::from(tree.height), read);
    }
}
