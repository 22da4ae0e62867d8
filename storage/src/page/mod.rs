//! Pages: the nodes of the trees, as bytes and in memory.
//!
//! ```text
//!  0      1       2             4         8
//!  kind   level   prefix_len    count     prefix   entry 0   entry 1   …
//!  u8     u8      u16           u32
//!
//!  leaf entry (level 0)     suffix_len varint | suffix | kind u8 | value_len varint | value
//!                           a delete ends after its kind
//!  inner entry (level ≥ 1)  suffix_len varint | suffix | child pointer | flags u8 | entries varint
//! ```
//!
//! `kind` is the block's kind ([`BlockKind::Leaf`] or [`BlockKind::Inner`]). A key is the page's prefix and the entry's
//! suffix; keys ascend strictly; a page has at least one entry, and nothing follows the last. The key of an inner entry
//! separates: no key in its subtree is smaller, every key in the subtrees before it is. Bit 0 of the flags says
//! that the subtree holds extents.
//!
//! A page is checked once, when it is parsed; whatever is asked of it afterwards cannot fail. Where each entry and its value
//! begin, and the first eight bytes of each suffix, are kept in memory only: they find a key fast, and would be wasted on disk.

mod build;
mod inner;
mod leaf;

use std::cmp::Ordering;
use std::fmt;

use zeroize::Zeroize;

use crate::bytes::{ByteReader, Malformed};
use crate::{ZeroizingBytes, pointer::BlockKind};

use build::varint_len;
pub(crate) use build::{PackedPage, PageBuilder};
pub use inner::{Child, Inner};
pub(crate) use leaf::ValuePlace;
pub use leaf::{EntryKind, EntryValue, Leaf, Value};

/// The most bytes in a key.
pub const MAX_KEY_LEN: usize = 65_535;

/// The fixed part at the start of a page, in bytes.
const HEADER_LEN: usize = 8;

/// Fewest bytes of an entry: an empty suffix and a delete.
const MIN_ENTRY_LEN: usize = 2;

/// A page in memory, decrypted, decompressed and checked. Wiped when dropped.
pub struct Page {
    raw: ZeroizingBytes,
    /// The head of each suffix, apart from all else: a search looks at little but these.
    heads: Vec<u64>,
    places: Vec<Place>,
    /// Of an inner page: what stands behind its keys. A walk needs it at every level.
    children: Vec<Child>,
    level: u8,
    prefix_len: u16,
}

/// Where the suffix of an entry's key stands; the rest of the entry stands behind it.
#[derive(Clone, Copy)]
struct Place {
    suffix: u32,
    suffix_len: u16,
    behind: Behind,
}

/// What stands behind the key of an entry.
#[derive(Clone, Copy)]
enum Behind {
    Child,
    /// What the entry says, and how many bytes say it before the value begins.
    Value(EntryKind, u8),
}

impl Page {
    /// Checks the bytes of a block of `kind` and takes them as a page: lengths, order of keys, pointers, counts.
    ///
    /// # Errors
    /// `Malformed` names the first field that cannot be right.
    pub fn parse(kind: BlockKind, raw: ZeroizingBytes) -> Result<Self, Malformed> {
        let end = u32::try_from(raw.len()).map_err(|_| Malformed { what: "page length" })?;
        let mut input = ByteReader::new(&raw);
        let level = parse_kind(kind, &mut input)?;
        let prefix_len = u16::from_le_bytes(input.array("page prefix length")?);
        let count = input.u32("page entry count")? as usize;
        input.raw(usize::from(prefix_len), "page prefix")?;
        if count == 0 || count > input.rest().len() / MIN_ENTRY_LEN {
            return Err(Malformed { what: "page entry count" });
        }
        let mut page = Self {
            raw: ZeroizingBytes::default(),
            heads: Vec::with_capacity(count),
            places: Vec::with_capacity(count),
            children: Vec::with_capacity(if level == 0 { 0 } else { count }),
            level,
            prefix_len,
        };
        let mut previous: Option<(u64, &[u8])> = None;
        for _ in 0..count {
            let suffix = input.bytes("page key")?;
            let start = end - (input.rest().len() + suffix.len()) as u32;
            let head = head_of(suffix);
            let ascends = previous.is_none_or(|(h, s)| h < head || h == head && s < suffix);
            if !ascends || suffix.len() > MAX_KEY_LEN - usize::from(prefix_len) {
                return Err(Malformed { what: "page key" });
            }
            let behind = if level == 0 {
                leaf::check(&mut input)?
            } else {
                page.children.push(Child::decode(&mut input)?);
                Behind::Child
            };
            page.heads.push(head);
            page.places.push(Place { suffix: start, suffix_len: suffix.len() as u16, behind });
            previous = Some((head, suffix));
        }
        input.finish("page end")?;
        page.raw = raw;
        Ok(page)
    }

    /// The page as a leaf, if it is one.
    #[must_use]
    pub fn leaf(&self) -> Option<Leaf<'_>> {
        (self.level == 0).then_some(Leaf { page: self })
    }

    /// The page as an inner page, if it is one.
    #[must_use]
    pub fn inner(&self) -> Option<Inner<'_>> {
        (self.level > 0).then_some(Inner { page: self })
    }

    /// How far the page is from the leaves: 0 for a leaf.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The memory that the page takes, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let heads = self.heads.capacity() * size_of::<u64>();
        let places = self.places.capacity() * size_of::<Place>();
        let children = self.children.capacity() * size_of::<Child>();
        size_of::<Self>() + self.raw.capacity() + heads + places + children
    }

    fn len(&self) -> usize {
        self.heads.len()
    }

    #[inline]
    fn prefix(&self) -> &[u8] {
        &self.raw[HEADER_LEN..HEADER_LEN + usize::from(self.prefix_len)]
    }

    /// Where an entry ends: where the next begins, with the length of its suffix in as few bytes as can be.
    #[inline]
    fn entry_end(&self, index: usize) -> u32 {
        match self.places.get(index + 1) {
            Some(next) => next.suffix - varint_len(next.suffix_len.into()) as u32,
            None => self.raw.len() as u32,
        }
    }

    #[inline]
    fn suffix(&self, index: usize) -> &[u8] {
        let Place { suffix, suffix_len, .. } = self.places[index];
        &self.raw[suffix as usize..suffix as usize + usize::from(suffix_len)]
    }

    fn key_into(&self, index: usize, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.prefix());
        key.extend_from_slice(self.suffix(index));
    }

    /// As [`key_into`](Self::key_into), where `key` holds another key of this page.
    #[inline]
    fn other_key_into(&self, index: usize, key: &mut Vec<u8>) {
        key.truncate(usize::from(self.prefix_len));
        key.extend_from_slice(self.suffix(index));
    }

    fn compare(&self, index: usize, key: &[u8]) -> Ordering {
        match key.strip_prefix(self.prefix()) {
            Some(rest) => self.suffix(index).cmp(rest),
            None => self.prefix().cmp(key),
        }
    }

    /// The place of `key`, or else the place of the first key that is greater.
    #[inline]
    fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(rest) = key.strip_prefix(self.prefix()) else {
            return Err(if key < self.prefix() { 0 } else { self.len() });
        };
        let head = head_of(rest);
        let first = self.heads.partition_point(|here| *here < head);
        match self.heads.get(first) {
            Some(here) if *here == head => self.search_head(first, head, rest),
            _ => Err(first),
        }
    }

    /// As [`search`](Self::search), from the first entry whose suffix has the head of `rest`.
    #[inline]
    fn search_head(&self, first: usize, head: u64, rest: &[u8]) -> Result<usize, usize> {
        // Heads are all of most suffixes: then it is this one.
        match self.suffix(first).cmp(rest) {
            Ordering::Equal => return Ok(first),
            Ordering::Greater => return Err(first),
            Ordering::Less => {}
        }
        let same = self.heads[first..].partition_point(|here| *here == head);
        let (mut low, mut high) = (first + 1, first + same);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.suffix(middle).cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }
}

/// What a page keeps of its keys besides the page itself is as secret.
impl Drop for Page {
    fn drop(&mut self) {
        self.heads.as_mut_slice().zeroize();
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("level", &self.level)
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// Reads the kind, which must be the one the pointer was opened as, and the level, which must go with it.
fn parse_kind(kind: BlockKind, input: &mut ByteReader<'_>) -> Result<u8, Malformed> {
    if input.u8("page kind")? != kind as u8 {
        return Err(Malformed { what: "page kind" });
    }
    let level = input.u8("page level")?;
    match (kind, level) {
        (BlockKind::Leaf, 0) | (BlockKind::Inner, 1..) => Ok(level),
        _ => Err(Malformed { what: "page level" }),
    }
}

/// The first eight bytes as a number, with zeros where there are fewer. Equal heads say nothing; different ones order.
#[inline]
fn head_of(suffix: &[u8]) -> u64 {
    match suffix.first_chunk() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let mut head = [0; 8];
            head[..suffix.len()].copy_from_slice(suffix);
            u64::from_be_bytes(head)
        }
    }
}

#[cfg(test)]
mod tests;
