//! Filling pages. One builder serves leaves and inner pages: to it an entry is a key and a payload.
//!
//! Up to two pages' worth of entries wait in the builder, so that what remains at the end can be cut in two halves
//! instead of one full page and a crumb; pages that are rewritten again and again would otherwise decay into crumbs.

use super::leaf::{EntryKind, EntryValue};
use super::{Child, HEADER_LEN};
use crate::bytes::{ByteReader, ByteWriter};
use crate::{ZeroizingBytes, pointer::BlockKind};

/// An inner page has at least this many children where it can, however long the separators, so that a tree is
/// never deeper than the logarithm of its leaves.
const MIN_CHILDREN: usize = 4;

/// Collects the entries of one level and cuts them into pages.
pub(crate) struct PageBuilder {
    level: u8,
    page_size: usize,
    arena: ZeroizingBytes,
    pending: Vec<Pending>,
    /// What the pending entries take in a page without a common prefix.
    pending_bytes: usize,
    scratch: ByteWriter,
}

/// An entry that waits for its page: key and payload, one after the other in the arena.
struct Pending {
    start: usize,
    key_len: usize,
    len: usize,
    entries: u64,
    extents: bool,
}

impl Pending {
    const fn encoded_len(&self) -> usize {
        varint_len(self.key_len) + self.len
    }
}

/// A finished page.
pub(crate) struct PackedPage {
    pub(crate) kind: BlockKind,
    pub(crate) raw: ZeroizingBytes,
    pub(crate) first_key: ZeroizingBytes,
    pub(crate) last_key: ZeroizingBytes,
    /// Entries in the page's subtree.
    pub(crate) entries: u64,
    /// Whether any of them is an extent.
    pub(crate) holds_extents: bool,
}

impl PageBuilder {
    /// A builder of pages of about `page_size` bytes; level 0 makes leaves.
    pub(crate) fn new(level: u8, page_size: usize) -> Self {
        let arena = ZeroizingBytes::new(Vec::with_capacity(page_size.saturating_mul(2)));
        Self { level, page_size, arena, pending: Vec::new(), pending_bytes: 0, scratch: ByteWriter::new() }
    }

    /// Adds an entry to a leaf. Keys come in ascending order.
    pub(crate) fn push_entry(&mut self, key: &[u8], value: &EntryValue<'_>) {
        debug_assert_eq!(self.level, 0);
        self.scratch.clear().u8(value.kind() as u8);
        if value.kind() != EntryKind::Delete {
            self.scratch.varint(value.bytes().len() as u64);
        }
        self.push(key, value.bytes(), 1, value.kind() == EntryKind::Extent);
    }

    /// Adds a child to an inner page. Separators come in ascending order.
    pub(crate) fn push_child(&mut self, separator: &[u8], child: &Child) {
        debug_assert_ne!(self.level, 0);
        child.encode(self.scratch.clear());
        self.push(separator, &[], child.entries, child.holds_extents);
    }

    /// The next page, if so much waits that it will be full and leave enough for another.
    pub(crate) fn take_full(&mut self) -> Option<PackedPage> {
        if self.len_of(self.pending.len(), self.pending_bytes) <= self.page_size.saturating_mul(2) {
            return None;
        }
        let fit = self.fit();
        (self.pending.len() - fit >= self.min_entries()).then(|| self.cut(fit))
    }

    /// The next page of the rest, cut evenly when it does not fit one page; none when nothing waits.
    pub(crate) fn take_rest(&mut self) -> Option<PackedPage> {
        let all = self.pending.len();
        if all == 0 {
            return None;
        }
        let mut count = all;
        if self.len_of(all, self.pending_bytes) > self.page_size {
            count = self.half().min(self.fit()).max(self.min_entries());
        }
        Some(self.cut(if all.saturating_sub(count) < self.min_entries() { all } else { count }))
    }

    /// How many entries wait.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Roughly how many bytes of a page the waiting entries will take.
    pub(crate) const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// The child, when just one waits.
    pub(crate) fn only_child(&self) -> Option<Child> {
        let [only] = &self.pending[..] else { return None };
        let payload = &self.arena[only.start + only.key_len..only.start + only.len];
        Child::decode(&mut ByteReader::new(payload)).ok()
    }

    /// Adds an entry whose payload is what stands in `scratch`, then `tail`.
    fn push(&mut self, key: &[u8], tail: &[u8], entries: u64, extents: bool) {
        let head = self.scratch.as_slice();
        let len = key.len() + head.len() + tail.len();
        let start = self.arena.len();
        reserve_wiped(&mut self.arena, len);
        for part in [key, head, tail] {
            self.arena.extend_from_slice(part);
        }
        let entry = Pending { start, key_len: key.len(), len, entries, extents };
        self.pending_bytes += entry.encoded_len();
        self.pending.push(entry);
    }

    fn key(&self, index: usize) -> &[u8] {
        let entry = &self.pending[index];
        &self.arena[entry.start..entry.start + entry.key_len]
    }

    /// An upper bound of the page length of the first `count` entries, which take `bytes` without a common prefix.
    fn len_of(&self, count: usize, bytes: usize) -> usize {
        let Some(last) = count.checked_sub(1) else { return HEADER_LEN };
        HEADER_LEN + bytes - last * common_prefix(self.key(0), self.key(last))
    }

    const fn min_entries(&self) -> usize {
        if self.level == 0 { 1 } else { MIN_CHILDREN }
    }

    /// How many of the entries fill one page; at least the minimum, at most all.
    fn fit(&self) -> usize {
        let mut bytes = 0;
        let over = self.pending.iter().enumerate().position(|(index, entry)| {
            bytes += entry.encoded_len();
            index >= self.min_entries() && self.len_of(index + 1, bytes) > self.page_size
        });
        over.unwrap_or(self.pending.len())
    }

    /// How many of the entries make up half of the bytes.
    fn half(&self) -> usize {
        let mut bytes = 0;
        let reached = self.pending.iter().position(|entry| {
            bytes += entry.encoded_len();
            bytes * 2 >= self.pending_bytes
        });
        reached.map_or(self.pending.len(), |index| index + 1)
    }

    /// Makes a page of the first `count` entries.
    fn cut(&mut self, count: usize) -> PackedPage {
        let (first, last) = (self.key(0), self.key(count - 1));
        let prefix = common_prefix(first, last);
        let kind = if self.level == 0 { BlockKind::Leaf } else { BlockKind::Inner };
        let bytes: usize = self.pending[..count].iter().map(Pending::encoded_len).sum();
        let mut out = ByteWriter::with_capacity(self.len_of(count, bytes));
        out.u8(kind as u8)
            .u8(self.level)
            .raw(&(prefix as u16).to_le_bytes())
            .u32(count as u32)
            .raw(&first[..prefix]);
        for entry in &self.pending[..count] {
            let suffix_and_payload = &self.arena[entry.start + prefix..entry.start + entry.len];
            out.varint((entry.key_len - prefix) as u64).raw(suffix_and_payload);
        }
        let packed = PackedPage {
            kind,
            raw: ZeroizingBytes::new(out.into_vec()),
            first_key: ZeroizingBytes::new(first.to_vec()),
            last_key: ZeroizingBytes::new(last.to_vec()),
            entries: self.pending[..count].iter().fold(0, |sum, entry| sum.saturating_add(entry.entries)),
            holds_extents: self.pending[..count].iter().any(|entry| entry.extents),
        };
        self.forget(count, bytes);
        packed
    }

    fn forget(&mut self, count: usize, bytes: usize) {
        let end = self.pending.get(count).map_or(self.arena.len(), |entry| entry.start);
        self.arena.drain(..end);
        self.pending.drain(..count);
        self.pending.iter_mut().for_each(|entry| entry.start -= end);
        self.pending_bytes -= bytes;
    }
}

/// How many bytes at the start are the same.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

pub(super) const fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    if bits == 0 { 1 } else { bits.div_ceil(7) as usize }
}

/// Makes room without leaving a copy of the content behind in freed memory.
fn reserve_wiped(buffer: &mut ZeroizingBytes, extra: usize) {
    if buffer.capacity() - buffer.len() < extra {
        let mut larger = Vec::with_capacity(buffer.capacity().saturating_mul(2).max(buffer.len() + extra));
        larger.extend_from_slice(buffer);
        *buffer = ZeroizingBytes::new(larger);
    }
}
