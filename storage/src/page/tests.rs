use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pointer::{BlockPtr, Codec};
use crate::{Generation, SegmentId, ZeroizingBytes};

fn leaves(entries: &BTreeMap<Vec<u8>, Value>, page_size: usize) -> Vec<PackedPage> {
    let mut builder = PageBuilder::new(0, page_size);
    let mut pages = Vec::new();
    for (key, value) in entries {
        builder.push_entry(key, &value.as_entry());
        pages.extend(builder.take_full());
    }
    pages.extend(std::iter::from_fn(|| builder.take_rest()));
    assert_eq!((builder.len(), builder.pending_bytes()), (0, 0));
    pages
}

fn parse(page: &PackedPage) -> Page {
    Page::parse(page.kind, page.raw.clone()).expect("a page that was just built")
}

fn child(number: u64) -> Child {
    let ptr = BlockPtr {
        segment: SegmentId(1),
        offset: number * 1000,
        stored_len: 900,
        raw_len: 1000,
        codec: Codec::Lz4,
        birth: Generation(3),
        tag: [number as u8; 16],
    };
    Child { ptr, holds_extents: number % 2 == 1, entries: number }
}

fn inner(separators: &[&[u8]]) -> PackedPage {
    let mut builder = PageBuilder::new(1, 4096);
    for (number, separator) in separators.iter().enumerate() {
        builder.push_child(separator, &child(number as u64));
    }
    builder.take_rest().expect("children are waiting")
}

prop_compose! {
    fn value()(kind in 1u8..=4, bytes in prop::collection::vec(any::<u8>(), 0..60)) -> Value {
        EntryValue::new(EntryKind::from_u8(kind).expect("a known kind"), &bytes).to_value()
    }
}

prop_compose! {
    /// Keys that share prefixes, differ late, and end in zeros.
    fn key()(head in 0usize..3, tail in prop::collection::vec(0u8..3, 0..8)) -> Vec<u8> {
        [[&b""[..], b"user/", b"user/profile/"][head], &tail[..]].concat()
    }
}

proptest! {
    #[test]
    fn pages_hold_what_went_in_and_find_it(
        entries in prop::collection::btree_map(key(), value(), 1..120),
        page_size in 64usize..600,
        probe in key(),
    ) {
        let pages = leaves(&entries, page_size);
        let mut rest = entries.iter();
        let mut buffer = Vec::new();
        for packed in &pages {
            let page = parse(packed);
            let leaf = page.leaf().expect("a leaf");
            prop_assert!(page.inner().is_none());
            prop_assert!(packed.raw.len() <= page_size || leaf.len() == 1);
            prop_assert_eq!(packed.entries, leaf.len() as u64);
            let mut extents = false;
            for index in 0..leaf.len() {
                let (key, value) = rest.next().expect("no more entries than went in");
                leaf.key_into(index, &mut buffer);
                prop_assert_eq!(&buffer, key);
                prop_assert_eq!(leaf.value(index), value.as_entry());
                prop_assert_eq!(leaf.search(key), Ok(index));
                prop_assert_eq!(leaf.compare(index, &probe), key[..].cmp(&probe));
                extents |= value.as_entry().kind() == EntryKind::Extent;
            }
            prop_assert_eq!(packed.holds_extents, extents);
            let keys: Vec<Vec<u8>> = (0..leaf.len()).map(|at| { leaf.key_into(at, &mut buffer); buffer.clone() }).collect();
            prop_assert_eq!(leaf.search(&probe), keys.binary_search(&probe));
            prop_assert_eq!(&*packed.first_key, &keys[0]);
            prop_assert_eq!(&*packed.last_key, &keys[keys.len() - 1]);
        }
        prop_assert!(rest.next().is_none());
    }

    #[test]
    fn random_bytes_never_panic(mut raw in prop::collection::vec(any::<u8>(), 0..200), level in 0u8..3, count in 0u32..9) {
        for kind in [BlockKind::Leaf, BlockKind::Inner, BlockKind::Extent] {
            let _ = Page::parse(kind, ZeroizingBytes::new(raw.clone()));
            if raw.len() >= HEADER_LEN {
                raw[..HEADER_LEN].copy_from_slice(&[kind as u8, level, 0, 0, count as u8, 0, 0, 0]);
                touch_if_parsed(kind, &raw);
            }
        }
    }
}

/// Reads everything that a page offers, if its bytes are taken for one.
fn touch_if_parsed(kind: BlockKind, raw: &[u8]) {
    let Ok(page) = Page::parse(kind, ZeroizingBytes::new(raw.to_vec())) else { return };
    let mut key = Vec::new();
    if let Some(leaf) = page.leaf() {
        for index in 0..leaf.len() {
            leaf.key_into(index, &mut key);
            assert_eq!(leaf.search(&key), Ok(index));
            assert!(leaf.value(index).bytes().len() <= raw.len());
        }
    }
    if let Some(inner) = page.inner() {
        for index in 0..inner.len() {
            inner.separator_into(index, &mut key);
            assert_eq!(inner.find(&key), index);
            assert!(inner.child(index).ptr.end().is_some());
        }
    }
}

#[test]
fn every_flipped_byte_and_every_truncation_is_refused_or_still_a_sound_page() {
    let entries: BTreeMap<Vec<u8>, Value> = (0..20u32)
        .map(|n| (format!("key{n:03}").into_bytes(), EntryValue::Put(&n.to_le_bytes()).to_value()))
        .collect();
    for packed in leaves(&entries, 4096).iter().chain([&inner(&[b"", b"b", b"bcd", b"c"])]) {
        for at in 0..packed.raw.len() {
            assert!(
                Page::parse(packed.kind, ZeroizingBytes::new(packed.raw[..at].to_vec())).is_err(),
                "cut at {at}"
            );
            for flip in 1..=255 {
                let mut raw = packed.raw.to_vec();
                raw[at] ^= flip;
                touch_if_parsed(packed.kind, &raw);
            }
        }
        let longer = [&packed.raw[..], &[0]].concat();
        assert!(Page::parse(packed.kind, ZeroizingBytes::new(longer)).is_err());
    }
}

#[test]
fn an_inner_page_finds_the_child_of_a_key() {
    let packed = inner(&[b"b", b"c", b"ca", b"x"]);
    assert_eq!((packed.entries, packed.holds_extents), (6, true));
    let page = parse(&packed);
    let inner = page.inner().expect("an inner page");
    assert_eq!((page.level(), inner.len(), inner.child_kind()), (1, 4, BlockKind::Leaf));
    for (key, index) in
        [("", 0), ("a", 0), ("b", 0), ("bz", 0), ("c", 1), ("c0", 1), ("ca", 2), ("w", 2), ("x", 3), ("y", 3)]
    {
        assert_eq!(inner.find(key.as_bytes()), index, "{key}");
    }
    assert_eq!(inner.child(2), child(2));
    assert_eq!(inner.compare(1, b"ca"), std::cmp::Ordering::Less);
}

#[test]
fn a_page_of_another_kind_is_refused() {
    let packed = inner(&[b""]);
    assert!(Page::parse(BlockKind::Leaf, packed.raw.clone()).is_err());
    let mut raw = packed.raw.clone();
    raw[0] = BlockKind::Leaf as u8;
    assert!(Page::parse(BlockKind::Leaf, raw).is_err());
}

#[test]
fn longest_keys_and_long_values_fit() {
    let key = |last: u8| [&vec![7; MAX_KEY_LEN - 1][..], &[last]].concat();
    let value = EntryValue::Put(&[1; 200_000]).to_value();
    let entries: BTreeMap<Vec<u8>, Value> = (0..3).map(|last| (key(last), value.clone())).collect();
    let pages = leaves(&entries, 1024);
    assert_eq!(pages.len(), 3);
    let page = parse(&pages[1]);
    assert_eq!(page.leaf().expect("a leaf").search(&key(1)), Ok(0));
    let too_long: BTreeMap<Vec<u8>, Value> = [([&key(1)[..], &[0]].concat(), value)].into();
    assert!(Page::parse(BlockKind::Leaf, leaves(&too_long, 1024)[0].raw.clone()).is_err());
}

#[test]
fn values_end_where_the_next_entry_begins_however_long_keys_and_values_are() {
    let lengths = [0, 1, 127, 128, 300, 16_383, 16_384, 30_000];
    let kinds = [EntryKind::Put, EntryKind::Delete, EntryKind::Extent, EntryKind::Versions];
    let mut entries = BTreeMap::new();
    for (place, len) in lengths.into_iter().enumerate() {
        for (first, kind) in (0..).zip(kinds) {
            let bytes = vec![first; lengths[(place + 3) % lengths.len()]];
            let key = [&[place as u8, first][..], &vec![b'k'; len]].concat();
            entries.insert(key, EntryValue::new(kind, &bytes).to_value());
        }
    }
    let pages = leaves(&entries, 1 << 20);
    assert_eq!(pages.len(), 1);
    let page = parse(&pages[0]);
    let leaf = page.leaf().expect("a leaf");
    let mut key = Vec::new();
    leaf.key_into(0, &mut key);
    for (index, (expected, value)) in entries.iter().enumerate() {
        leaf.other_key_into(index, &mut key);
        assert_eq!((&key, leaf.value(index)), (expected, value.as_entry()));
    }
}

#[test]
fn what_does_not_fit_one_page_is_cut_in_halves() {
    let value = EntryValue::Put(&[0; 40]).to_value();
    let entries: BTreeMap<Vec<u8>, Value> = (0..24u8).map(|n| (vec![n], value.clone())).collect();
    let sizes: Vec<usize> = leaves(&entries, 1000).iter().map(|page| page.raw.len()).collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes[0].abs_diff(sizes[1]) < 100, "{sizes:?}");
}

#[test]
fn long_separators_still_give_a_fan_out() {
    let mut builder = PageBuilder::new(1, 256);
    let mut pages = Vec::new();
    for number in 0..100u64 {
        builder.push_child(&[&number.to_be_bytes()[..], &[0; 500]].concat(), &child(number));
        pages.extend(builder.take_full());
    }
    pages.extend(std::iter::from_fn(|| builder.take_rest()));
    assert!(pages.iter().all(|page| parse(page).inner().expect("an inner page").len() >= MIN_FAN_OUT));
}

const MIN_FAN_OUT: usize = 4;

#[test]
fn debug_shows_no_content() {
    let packed =
        &leaves(&[(b"secretkey".to_vec(), EntryValue::Put(b"secretvalue").to_value())].into(), 512)[0];
    let page = parse(packed);
    let leaf = page.leaf().expect("a leaf");
    let text = format!("{page:?} {leaf:?} {:?} {:?}", leaf.value(0), leaf.value(0).to_value());
    assert!(!text.contains("secret") && !text.contains("115"), "{text}");
    assert!(page.memory_bytes() > packed.raw.len());
}
