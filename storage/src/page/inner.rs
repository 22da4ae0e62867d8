//! Inner pages: the children of a node and the keys that separate them.

use std::cmp::Ordering;

use super::Page;
use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::pointer::{BlockKind, BlockPtr};

/// Set in a child's flags when its subtree holds extents. Other bits must be zero.
const HOLDS_EXTENTS: u8 = 1;

/// What an inner page knows of one of its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The child's page.
    pub ptr: BlockPtr,
    /// Whether an entry below is an extent.
    pub holds_extents: bool,
    /// How many entries there are below.
    pub entries: u64,
}

impl Child {
    /// Appends the child as it stands in a page.
    pub(super) fn encode(&self, out: &mut ByteWriter) {
        self.ptr.encode(out);
        out.u8(u8::from(self.holds_extents)).varint(self.entries);
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(input: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        let ptr = BlockPtr::decode(input)?;
        let flags = input.u8("child flags")?;
        if flags & !HOLDS_EXTENTS != 0 {
            return Err(Malformed { what: "child flags" });
        }
        let entries = input.varint("child entry count")?;
        Ok(Self { ptr, holds_extents: flags & HOLDS_EXTENTS != 0, entries })
    }
}

/// A page's children, in ascending order. There is at least one.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    pub(super) page: &'a Page,
}

#[expect(clippy::len_without_is_empty, reason = "a page has at least one child")]
impl Inner<'_> {
    /// How many children there are; never 0.
    #[must_use]
    pub fn len(&self) -> usize {
        self.page.len()
    }

    /// What kind of page the children are.
    #[must_use]
    pub fn child_kind(&self) -> BlockKind {
        if self.page.level == 1 { BlockKind::Leaf } else { BlockKind::Inner }
    }

    /// The only child in whose subtree `key` can be. Keys below the first separator belong to the first child.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &[u8]) -> usize {
        match self.page.search(key) {
            Ok(index) => index,
            Err(above) => above.saturating_sub(1),
        }
    }

    /// The child at `index`.
    ///
    /// # Panics
    /// When `index` is not below `len()`.
    #[must_use]
    #[inline]
    pub fn child(&self, index: usize) -> Child {
        self.page.children[index]
    }

    /// Replaces the content of `key` by the separator before the child at `index`: a lower bound of its keys, and
    /// greater than every key of the children before it.
    ///
    /// # Panics
    /// When `index` is not below `len()`.
    pub fn separator_into(&self, index: usize, key: &mut Vec<u8>) {
        self.page.key_into(index, key);
    }

    /// How the separator before the child at `index` compares to `key`.
    ///
    /// # Panics
    /// When `index` is not below `len()`.
    #[must_use]
    pub fn compare(&self, index: usize, key: &[u8]) -> Ordering {
        self.page.compare(index, key)
    }
}
