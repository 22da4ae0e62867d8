//! Pages: what is taken for one is sound in every respect.

use super::structures::{child, pointer};
use super::{Input, Target};
use crate::page::{EntryKind, EntryValue, MAX_KEY_LEN, PackedPage, Page, PageBuilder, Value};
use crate::{ZeroizingBytes, pointer::BlockKind};

/// The bytes of a page, once opened and decompressed.
pub const PAGE: Target = Target { name: "page", run, seeds, room: 64 << 10 };

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = if input.byte() & 1 == 0 { BlockKind::Leaf } else { BlockKind::Inner };
    let Ok(page) = Page::parse(kind, ZeroizingBytes::new(input.rest().to_vec())) else { return };
    let keys = keys(&page);
    assert!(keys.iter().is_sorted_by(|a, b| a < b) && keys.iter().all(|key| key.len() <= MAX_KEY_LEN));
    let again = rebuild(&page, &keys, data.len());
    let again = Page::parse(kind, again.raw).expect("a page that was just built");
    assert_eq!(again.level(), page.level());
    assert_eq!(self::keys(&again), keys);
    match (page.leaf(), again.leaf(), page.inner(), again.inner()) {
        (Some(leaf), Some(again), None, None) => {
            for (index, key) in keys.iter().enumerate() {
                assert_eq!(leaf.search(key), Ok(index));
                assert_eq!(again.value(index), leaf.value(index));
            }
        }
        (None, None, Some(inner), Some(again)) => {
            for (index, key) in keys.iter().enumerate() {
                assert_eq!(inner.find(key), index);
                assert_eq!(again.child(index), inner.child(index));
                assert!(inner.child(index).ptr.end().is_some());
            }
        }
        _ => panic!("a page is either a leaf or an inner page"),
    }
}

fn keys(page: &Page) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut key = Vec::new();
    if let Some(leaf) = page.leaf() {
        (0..leaf.len()).for_each(|index| {
            leaf.key_into(index, &mut key);
            keys.push(key.clone());
        });
    }
    if let Some(inner) = page.inner() {
        (0..inner.len()).for_each(|index| {
            inner.separator_into(index, &mut key);
            keys.push(key.clone());
        });
    }
    keys
}

/// The page as it would have been built; its form is the shortest, so `len` bytes are enough.
fn rebuild(page: &Page, keys: &[Vec<u8>], len: usize) -> PackedPage {
    let mut builder = PageBuilder::new(page.level(), len);
    for (index, key) in keys.iter().enumerate() {
        if let Some(leaf) = page.leaf() {
            builder.push_entry(key, &leaf.value(index));
        }
        if let Some(inner) = page.inner() {
            builder.push_child(key, &inner.child(index));
        }
    }
    builder.take_rest().expect("a page has entries")
}

fn seeds() -> Vec<Vec<u8>> {
    let value = |kind, bytes: &[u8]| EntryValue::new(kind, bytes).to_value();
    let values: Vec<Value> = vec![
        value(EntryKind::Put, b"a value"),
        value(EntryKind::Delete, b""),
        value(EntryKind::Extent, &[7; 40]),
        value(EntryKind::Versions, &[1, 1, 0]),
    ];
    let mut leaf = PageBuilder::new(0, 4096);
    for number in 0..12u32 {
        leaf.push_entry(format!("key/{number:03}").as_bytes(), &values[number as usize % 4].as_entry());
    }
    let mut inner = PageBuilder::new(1, 4096);
    for (number, separator) in [&b""[..], b"b", b"bcd", b"c"].iter().enumerate() {
        inner.push_child(separator, &child(pointer(number as u64), number as u64));
    }
    let page = |first: u8, builder: &mut PageBuilder| {
        let packed = builder.take_rest().expect("entries wait");
        [&[first], &packed.raw[..]].concat()
    };
    vec![page(0, &mut leaf), page(1, &mut inner)]
}
