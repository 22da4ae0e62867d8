//! Trees of pages: sorted entries behind one pointer. Runs and the base are trees of one format, read by one code.
//!
//! A tree is never changed. A merge writes the pages that differ and refers to the others, so a reader that holds a
//! [`TreeRef`] keeps its view for as long as the pages' segments exist.
//!
//! Leaves are at level 0, and all at the same depth: a tree of height `h` has its root at level `h - 1`.

mod build;
mod cursor;
mod get;
mod get_many;
mod merge;
mod stream;
mod verify;
mod writer;

use std::sync::Arc;

use lightning_db_crypto::{ContentHasher, SetDigest};

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::extent::ExtentRef;
use crate::page::{EntryValue, Inner, Leaf, Page};
use crate::pointer::{BlockKind, BlockPtr, BlockSource};
use crate::{Result, StorageError};

pub use build::{BuildOptions, build};
pub use cursor::{Cursor, ReadAhead};
pub use get::{LeafHit, get};
pub use get_many::get_many;
pub use merge::{MergeConfig, MergeObserver, merge_into_base};
pub use stream::{EntryStream, MergedStream, Superseded, TreeStream};
pub use verify::{VerifyReport, VerifyVisitor, verify_tree};

/// No tree is higher: with two children a page this is more entries than a counter holds.
const MAX_HEIGHT: u8 = 64;

/// A tree: its root and what is known of all its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeRef {
    /// The root page; none when the tree is empty.
    pub root: Option<BlockPtr>,
    /// Levels of pages: 0 when the tree is empty, 1 when the root is a leaf.
    pub height: u8,
    /// Entries, deletes included.
    pub entries: u64,
    /// Entries that are deletes.
    pub tombstones: u64,
    /// Bytes of all pages in their segments.
    pub stored_bytes: u64,
    /// Bytes of all pages before compression.
    pub raw_bytes: u64,
    /// The digest of all entries.
    pub digest: SetDigest,
}

impl TreeRef {
    /// Appends the reference.
    ///
    /// ```text
    /// height u8 | root pointer, unless the height is 0 | entries | tombstones | stored_bytes | raw_bytes, varints | digest [32]
    /// ```
    pub fn encode(&self, out: &mut ByteWriter) {
        out.u8(if self.root.is_some() { self.height } else { 0 });
        if let Some(root) = &self.root {
            root.encode(out);
        }
        for number in [self.entries, self.tombstones, self.stored_bytes, self.raw_bytes] {
            out.varint(number);
        }
        out.raw(&self.digest.to_bytes());
    }

    /// Reads a reference.
    ///
    /// # Errors
    /// `Malformed` names the field that cannot be right.
    pub fn decode(input: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        let height = input.u8("tree height")?;
        if height > MAX_HEIGHT {
            return Err(Malformed { what: "tree height" });
        }
        let root = if height == 0 { None } else { Some(BlockPtr::decode(input)?) };
        let entries = input.varint("tree entries")?;
        let tombstones = input.varint("tree tombstones")?;
        let stored_bytes = input.varint("tree stored bytes")?;
        let raw_bytes = input.varint("tree raw bytes")?;
        let digest = SetDigest::from_bytes(&input.array("tree digest")?);
        if tombstones > entries || root.is_none() != (entries == 0) {
            return Err(Malformed { what: "tree entries" });
        }
        Ok(Self { root, height, entries, tombstones, stored_bytes, raw_bytes, digest })
    }

    /// The root with its level, unless the tree is empty.
    fn top(&self) -> Option<(BlockPtr, u8)> {
        Some((self.root?, self.height.checked_sub(1)?))
    }
}

/// Gives pages by their pointers.
pub trait PageSource: Send + Sync {
    /// The page at `ptr`, a block of `kind` [`BlockKind::Leaf`] or [`BlockKind::Inner`].
    ///
    /// # Errors
    /// `Corrupt` when the block is not the one that was written or is no page, an I/O error when it cannot be read.
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<Page>>;

    /// Says that these pages will be asked for soon. A source that cannot use it ignores it.
    fn prefetch(&self, _kind: BlockKind, _ptrs: &[BlockPtr]) {}
}

/// Reads each page anew from its block.
pub struct DirectPages<'a>(pub &'a dyn BlockSource);

impl PageSource for DirectPages<'_> {
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<Page>> {
        read_page(self.0, kind, ptr).map(Arc::new)
    }
}

/// Reads and checks one page.
///
/// # Errors
/// `Corrupt` when the block is not the one that was written or is no page, an I/O error when it cannot be read.
pub fn read_page(blocks: &dyn BlockSource, kind: BlockKind, ptr: &BlockPtr) -> Result<Page> {
    let raw = blocks.read_block(kind, ptr)?;
    Page::parse(kind, raw).map_err(|malformed| damaged(ptr, malformed.to_string()))
}

/// The digest of one entry. That of an extent covers the value's length and digest, not the place where it is kept.
///
/// # Errors
/// `Malformed` when the reference to an extent is not one.
pub fn entry_digest(
    hasher: &ContentHasher,
    key: &[u8],
    value: &EntryValue<'_>,
) -> Result<SetDigest, Malformed> {
    let EntryValue::Extent(encoded) = value else {
        return Ok(hasher.entry(value.kind() as u8, key, value.bytes()));
    };
    let extent = ExtentRef::decode(&mut ByteReader::new(encoded))?;
    let mut digest = hasher.begin_entry(value.kind() as u8, key);
    digest.update(&extent.len.to_le_bytes());
    digest.update(&extent.digest);
    Ok(digest.finish_entry())
}

/// Loads the page that a tree has at `level`. A page of another level is damage; so no walk goes round in circles.
fn load(source: &(impl PageSource + ?Sized), level: u8, ptr: &BlockPtr) -> Result<Arc<Page>> {
    let page = source.page(kind_at(level), ptr)?;
    if page.level() == level { Ok(page) } else { Err(damaged(ptr, "a page of another level")) }
}

const fn kind_at(level: u8) -> BlockKind {
    if level == 0 { BlockKind::Leaf } else { BlockKind::Inner }
}

/// The leaf that [`load`] gave for level 0.
fn leaf_of(page: &Page) -> Leaf<'_> {
    page.leaf().expect("a page of level 0 is a leaf")
}

/// The inner page that [`load`] gave for a higher level.
fn inner_of(page: &Page) -> Inner<'_> {
    page.inner().expect("a page above level 0 is an inner page")
}

fn damaged(ptr: &BlockPtr, what: impl Into<String>) -> StorageError {
    StorageError::corrupt(format!("segment {:016x}", ptr.segment.0), ptr.offset, what)
}

#[cfg(test)]
mod merge_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verify_tests;
