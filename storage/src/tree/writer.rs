//! Writing a tree from left to right: entries, and subtrees that are kept by their pointers, in ascending order.
//!
//! One page builder a level is open at a time, so memory is bounded by the height. A kept subtree closes the builders
//! at its level and below; its neighbours end as smaller pages than they could be, which the caller avoids by not
//! keeping what [`TreeWriter::would_leave_crumbs`] names.

use crate::page::{Child, EntryValue, MAX_KEY_LEN, PackedPage, PageBuilder};
use crate::pointer::{BlockPtr, BlockSink};
use crate::{Result, StorageError, ZeroizingBytes};

/// A page that fills less than this part of `page_size` is a crumb.
const CRUMB_DIVISOR: usize = 3;

pub(super) struct TreeWriter<'a> {
    sink: &'a mut dyn BlockSink,
    page_size: usize,
    /// One builder a level, leaves first.
    levels: Vec<PageBuilder>,
    /// The key of the newest entry; refuses disorder.
    newest: Option<ZeroizingBytes>,
    floor: Floor,
    kept: Option<BlockPtr>,
    stored_bytes: u64,
    raw_bytes: u64,
}

/// What separates the next leaf from what comes before it.
enum Floor {
    /// Nothing comes before.
    Start,
    /// The last key of the leaf before.
    After(ZeroizingBytes),
    /// The upper bound of the kept subtree before, which no later key is below.
    Bound(ZeroizingBytes),
}

/// The finished tree's root and height; no root when it is empty.
pub(super) struct Written {
    pub(super) root: Option<BlockPtr>,
    pub(super) height: u8,
    /// Whether the root was kept, not written.
    pub(super) root_is_kept: bool,
    pub(super) stored_bytes: u64,
    pub(super) raw_bytes: u64,
}

impl<'a> TreeWriter<'a> {
    pub(super) fn new(sink: &'a mut dyn BlockSink, page_size: usize) -> Self {
        let levels = vec![PageBuilder::new(0, page_size)];
        Self {
            sink,
            page_size,
            levels,
            newest: None,
            floor: Floor::Start,
            kept: None,
            stored_bytes: 0,
            raw_bytes: 0,
        }
    }

    /// Appends an entry.
    pub(super) fn entry(&mut self, key: &[u8], value: &EntryValue<'_>) -> Result<()> {
        if key.len() > MAX_KEY_LEN {
            return Err(refused(format!("a key of {} bytes", key.len())));
        }
        match &mut self.newest {
            Some(newest) if newest[..] >= *key => return Err(refused("keys that do not ascend")),
            Some(newest) => {
                newest.clear();
                newest.extend_from_slice(key);
            }
            None => self.newest = Some(ZeroizingBytes::new(key.to_vec())),
        }
        self.levels[0].push_entry(key, value);
        self.write_full(0)
    }

    /// Appends a subtree whose root is at `level`, with the separator before it and that after it, if there is one.
    pub(super) fn keep(
        &mut self,
        level: u8,
        separator: &[u8],
        child: &Child,
        upper: Option<&[u8]>,
    ) -> Result<()> {
        for below in 0..=usize::from(level) {
            self.write_rest(below)?;
        }
        if let Some(upper) = upper {
            self.floor = Floor::Bound(ZeroizingBytes::new(upper.to_vec()));
        }
        self.kept = Some(child.ptr);
        self.push_child(usize::from(level) + 1, separator, child)
    }

    /// Whether keeping a page at `level` would leave a crumb beside it, or the page is a crumb beside an open one.
    pub(super) fn would_leave_crumbs(&self, level: u8, page: &BlockPtr) -> bool {
        let crumb = self.page_size / CRUMB_DIVISOR;
        let open = |builder: &PageBuilder| builder.len() > 0;
        let below = self.levels.iter().take(usize::from(level) + 1);
        let beside = self.levels.get(usize::from(level)).is_some_and(open);
        below.filter(|builder| open(builder)).any(|builder| builder.pending_bytes() < crumb)
            || beside && (page.raw_len as usize) < crumb
    }

    /// Writes what is open, up to the root. A root is never an inner page with a single child that was written here.
    pub(super) fn finish(&mut self) -> Result<Written> {
        let (mut root, mut height) = (None, 0);
        for level in 0.. {
            let is_top = level + 1 == self.levels.len();
            if is_top && level > 0 && self.levels[level].len() == 1 {
                root = self.levels[level].only_child().map(|child| child.ptr);
                height = level as u8;
                break;
            }
            if is_top && self.levels[level].len() == 0 {
                break;
            }
            self.write_rest(level)?;
        }
        let root_is_kept = root.is_some() && root == self.kept;
        let (stored_bytes, raw_bytes) = (self.stored_bytes, self.raw_bytes);
        Ok(Written { root, height, root_is_kept, stored_bytes, raw_bytes })
    }

    fn push_child(&mut self, level: usize, separator: &[u8], child: &Child) -> Result<()> {
        while self.levels.len() <= level {
            self.levels.push(PageBuilder::new(self.levels.len() as u8, self.page_size));
        }
        self.levels[level].push_child(separator, child);
        self.write_full(level)
    }

    fn write_full(&mut self, level: usize) -> Result<()> {
        while let Some(page) = self.levels[level].take_full() {
            self.write(level, page)?;
        }
        Ok(())
    }

    fn write_rest(&mut self, level: usize) -> Result<()> {
        while let Some(page) = self.levels.get_mut(level).and_then(PageBuilder::take_rest) {
            self.write(level, page)?;
        }
        Ok(())
    }

    fn write(&mut self, level: usize, page: PackedPage) -> Result<()> {
        let ptr = self.sink.append(page.kind, &page.raw)?;
        self.stored_bytes += u64::from(ptr.stored_len);
        self.raw_bytes += u64::from(ptr.raw_len);
        let child = Child { ptr, holds_extents: page.holds_extents, entries: page.entries };
        if level > 0 {
            return self.push_child(level + 1, &page.first_key, &child);
        }
        let floor = std::mem::replace(&mut self.floor, Floor::After(page.last_key));
        let separator = match &floor {
            Floor::Start => &[],
            Floor::After(last) => shortest_separator(last, &page.first_key),
            Floor::Bound(bound) => bound,
        };
        self.push_child(1, separator, &child)
    }
}

/// The shortest start of `above` that is greater than `below`, which is smaller than `above`.
fn shortest_separator<'k>(below: &[u8], above: &'k [u8]) -> &'k [u8] {
    let same = below.iter().zip(above).take_while(|(a, b)| a == b).count();
    &above[..above.len().min(same + 1)]
}

/// The writer was given what no page may hold; nothing is believed of where it comes from.
fn refused(what: impl Into<String>) -> StorageError {
    StorageError::corrupt("the source of a tree", 0, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_short_and_separate() {
        for (below, above, separator) in [
            ("", "a", "a"),
            ("a", "b", "b"),
            ("apple", "banana", "b"),
            ("ab", "abc", "abc"),
            ("ab", "abcde", "abc"),
        ] {
            assert_eq!(shortest_separator(below.as_bytes(), above.as_bytes()), separator.as_bytes());
        }
    }
}
