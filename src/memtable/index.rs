//! The keys of a memtable in order: a B+tree in memory that only grows.
//!
//! A node compares the first eight bytes of keys, which lie side by side, and follows a pointer to a key only where
//! those are equal. Nodes are named by their place in a vector: no node is ever freed before the whole tree is.

use std::ops::Bound;
use std::sync::Arc;

use super::entry::KeyEntry;

/// Keys in a leaf, and children of an inner node.
const FANOUT: usize = 64;
/// No tree of `u32` leaves is higher.
const MAX_HEIGHT: usize = 8;
const NONE: u32 = u32::MAX;

/// Keys in ascending order, each once.
pub(super) struct OrderedIndex {
    leaves: Vec<Leaf>,
    inners: Vec<Inner>,
    /// A leaf when `height` is 0, an inner node otherwise.
    root: u32,
    height: usize,
}

struct Leaf {
    keys: Keys,
    previous: u32,
    next: u32,
}

/// `children[i]` holds the keys below `separators[i]` and not below `separators[i - 1]`.
struct Inner {
    separators: Keys,
    children: Vec<u32>,
}

/// Sorted keys with their heads beside them.
struct Keys {
    heads: Vec<u64>,
    entries: Vec<Arc<KeyEntry>>,
}

/// The nodes from the root down to a leaf, with the child that was taken in each.
#[derive(Default)]
struct Path {
    steps: [(u32, u32); MAX_HEIGHT],
    len: usize,
}

impl OrderedIndex {
    pub(super) fn new() -> Self {
        let root = Leaf { keys: Keys::new(), previous: NONE, next: NONE };
        Self { leaves: vec![root], inners: Vec::new(), root: 0, height: 0 }
    }

    /// Adds a key that is not there yet.
    pub(super) fn insert(&mut self, entry: Arc<KeyEntry>) {
        let (leaf, path) = self.descend(entry.key());
        let at = self.leaf(leaf).keys.lower_bound(entry.key());
        let Some(mut split) = self.insert_in_leaf(leaf, at, entry) else { return };
        for &(inner, child) in path.steps[..path.len].iter().rev() {
            match self.insert_in_inner(inner, child as usize, split) {
                Some(further) => split = further,
                None => return,
            }
        }
        self.grow(split);
    }

    /// Appends to `out` keys that follow one another from `start` on, ascending; none when there are none.
    pub(super) fn batch_from(&self, start: Bound<&[u8]>, out: &mut Vec<Arc<KeyEntry>>) {
        let (mut leaf, mut at) = match start {
            Bound::Unbounded => (self.descend(&[]).0, 0),
            Bound::Included(key) => self.position(key, Keys::lower_bound),
            Bound::Excluded(key) => self.position(key, Keys::upper_bound),
        };
        if at == self.leaf(leaf).keys.len() {
            leaf = self.leaf(leaf).next;
            at = 0;
        }
        if leaf != NONE {
            out.extend_from_slice(&self.leaf(leaf).keys.entries[at..]);
        }
    }

    /// Appends to `out` the keys that lead up to `end` and are below it, ascending; none when there are none. Without an
    /// end they lead up to the last key.
    pub(super) fn batch_before(&self, end: Option<&[u8]>, out: &mut Vec<Arc<KeyEntry>>) {
        let (mut leaf, mut len) = match end {
            Some(key) => self.position(key, Keys::lower_bound),
            None => self.last(),
        };
        if len == 0 {
            leaf = self.leaf(leaf).previous;
            len = if leaf == NONE { 0 } else { self.leaf(leaf).keys.len() };
        }
        if leaf != NONE {
            out.extend_from_slice(&self.leaf(leaf).keys.entries[..len]);
        }
    }

    /// What the nodes take, without the entries that they point to.
    pub(super) fn memory_bytes(&self) -> usize {
        let leaf = Keys::MEMORY_BYTES;
        let inner = Keys::MEMORY_BYTES + (FANOUT + 1) * size_of::<u32>();
        self.leaves.len() * leaf
            + self.inners.len() * inner
            + self.leaves.capacity() * size_of::<Leaf>()
            + self.inners.capacity() * size_of::<Inner>()
    }

    fn leaf(&self, number: u32) -> &Leaf {
        &self.leaves[number as usize]
    }

    fn position(&self, key: &[u8], bound: impl Fn(&Keys, &[u8]) -> usize) -> (u32, usize) {
        let (leaf, _) = self.descend(key);
        (leaf, bound(&self.leaf(leaf).keys, key))
    }

    fn last(&self) -> (u32, usize) {
        let mut node = self.root;
        for _ in 0..self.height {
            let children = &self.inners[node as usize].children;
            node = children[children.len() - 1];
        }
        (node, self.leaf(node).keys.len())
    }

    /// The leaf in which `key` is or would be.
    fn descend(&self, key: &[u8]) -> (u32, Path) {
        let mut path = Path::default();
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            let child = inner.separators.upper_bound(key);
            path.push(node, child);
            node = inner.children[child];
        }
        (node, path)
    }

    /// Returns the leaf that a full one was split off to, and its first key.
    fn insert_in_leaf(
        &mut self,
        number: u32,
        at: usize,
        entry: Arc<KeyEntry>,
    ) -> Option<(Arc<KeyEntry>, u32)> {
        let split_off = self.leaves.len() as u32;
        let leaf = &mut self.leaves[number as usize];
        leaf.keys.insert(at, entry);
        if leaf.keys.len() <= FANOUT {
            return None;
        }
        // Keys that come in order fill their leaves.
        let appended = leaf.next == NONE && at == FANOUT;
        let keys = leaf.keys.split_off(if appended { FANOUT } else { FANOUT / 2 });
        let separator = Arc::clone(&keys.entries[0]);
        let next = std::mem::replace(&mut leaf.next, split_off);
        self.leaves.push(Leaf { keys, previous: number, next });
        if next != NONE {
            self.leaves[next as usize].previous = split_off;
        }
        Some((separator, split_off))
    }

    /// Adds a child after the child at `after`. Returns the node that a full one was split off to, and the separator
    /// between the two.
    fn insert_in_inner(
        &mut self,
        number: u32,
        after: usize,
        (separator, child): (Arc<KeyEntry>, u32),
    ) -> Option<(Arc<KeyEntry>, u32)> {
        let split_off = self.inners.len() as u32;
        let inner = &mut self.inners[number as usize];
        inner.separators.insert(after, separator);
        inner.children.insert(after + 1, child);
        if inner.children.len() <= FANOUT {
            return None;
        }
        let middle = if after + 1 == FANOUT { FANOUT - 1 } else { FANOUT / 2 };
        let separators = inner.separators.split_off(middle + 1);
        let children = split_vec(&mut inner.children, middle + 1);
        let (_, between) = inner.separators.pop()?;
        self.inners.push(Inner { separators, children });
        Some((between, split_off))
    }

    fn grow(&mut self, (separator, right): (Arc<KeyEntry>, u32)) {
        let mut separators = Keys::new();
        separators.insert(0, separator);
        let mut children = Vec::with_capacity(FANOUT + 1);
        children.extend([self.root, right]);
        self.root = self.inners.len() as u32;
        self.inners.push(Inner { separators, children });
        self.height += 1;
    }
}

impl Keys {
    const MEMORY_BYTES: usize = (FANOUT + 1) * (size_of::<u64>() + size_of::<Arc<KeyEntry>>()) + 32;

    fn new() -> Self {
        Self { heads: Vec::with_capacity(FANOUT + 1), entries: Vec::with_capacity(FANOUT + 1) }
    }

    fn len(&self) -> usize {
        self.heads.len()
    }

    /// The first key that is not below `key`.
    fn lower_bound(&self, key: &[u8]) -> usize {
        let (from, to) = self.same_head(key);
        from + self.entries[from..to].partition_point(|entry| entry.key() < key)
    }

    /// The first key that is above `key`.
    fn upper_bound(&self, key: &[u8]) -> usize {
        let (from, to) = self.same_head(key);
        from + self.entries[from..to].partition_point(|entry| entry.key() <= key)
    }

    fn same_head(&self, key: &[u8]) -> (usize, usize) {
        let head = head(key);
        let from = self.heads.partition_point(|&other| other < head);
        let same = self.heads[from..].partition_point(|&other| other == head);
        (from, from + same)
    }

    fn insert(&mut self, at: usize, entry: Arc<KeyEntry>) {
        self.heads.insert(at, head(entry.key()));
        self.entries.insert(at, entry);
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { heads: split_vec(&mut self.heads, at), entries: split_vec(&mut self.entries, at) }
    }

    fn pop(&mut self) -> Option<(u64, Arc<KeyEntry>)> {
        self.heads.pop().zip(self.entries.pop())
    }
}

impl Path {
    fn push(&mut self, node: u32, child: usize) {
        self.steps[self.len] = (node, child as u32);
        self.len += 1;
    }
}

/// `Vec::split_off`, with room for a whole node in the new half.
fn split_vec<T>(from: &mut Vec<T>, at: usize) -> Vec<T> {
    let mut half = Vec::with_capacity(FANOUT + 1);
    half.extend(from.drain(at..));
    half
}

/// The first eight bytes as a number that orders as they do; a shorter key is filled up with zeros, so that equal
/// heads decide nothing.
fn head(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = key.len().min(8);
    bytes[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(bytes)
}
