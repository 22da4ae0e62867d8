//! Many sorted sources as one: what a reader at one moment sees, in the order of keys, both ways.
//!
//! Each source has a key at most once. Of the entries of one key the newest source's counts; a deletion hides the key.
//!
//! While the cursor stands on an entry, every source in `order` stands on its own next entry in the direction of the
//! walk; the first of them is the current entry, and no other stands on its key. When the direction turns, all sources
//! are placed anew.

use std::cmp::Ordering;
use std::sync::Arc;

use lightning_db_storage::page::{EntryKind, EntryValue};
use lightning_db_storage::tree::{self, PageSource};
use lightning_db_storage::{Result, StorageError, ZeroizingBytes};

use super::range::{KeyRange, key_after};
use crate::memtable::{MemCursor, MemValue};
use crate::shared_bytes::SharedBytes;

/// A walk over several sources within a range of keys.
pub(crate) struct MergeCursor {
    /// Newest first.
    sources: Vec<Source>,
    /// The sources that stand on an entry, in the order of the walk, the newer first where keys are equal.
    order: Vec<usize>,
    place: Place,
    range: KeyRange,
}

/// Sorted entries, one a key.
pub(crate) enum Source {
    /// Writes that are not committed yet.
    Pending(PendingCursor),
    /// A memtable.
    Memory(MemCursor),
    /// A run or the base.
    Tree(tree::Cursor<Arc<dyn PageSource>>),
}

/// Uncommitted writes of a transaction, ascending, each key once.
pub(crate) type PendingWrites = Arc<[(SharedBytes, MemValue)]>;

/// A place in [`PendingWrites`].
pub(crate) struct PendingCursor {
    writes: PendingWrites,
    /// The length when it stands nowhere.
    index: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BeforeFirst,
    /// On an entry; the walk goes this way.
    On(Direction),
    AfterLast,
    /// An error ended the walk.
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl MergeCursor {
    /// A cursor before the first entry of `range`. `sources` come newest first.
    pub(crate) fn new(sources: Vec<Source>, range: KeyRange) -> Self {
        let order = Vec::with_capacity(sources.len());
        Self { sources, order, place: Place::BeforeFirst, range }
    }

    /// Goes to the next entry, or behind the last. Says whether there is one, as all moves do.
    ///
    /// # Errors
    /// Those of the sources, as for all moves. The cursor is nowhere after that, until it seeks.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<bool> {
        match self.place {
            Place::On(Direction::Up) => self.guarded(|cursor| cursor.go_on(Direction::Up)),
            Place::On(Direction::Down) => {
                let after = key_after(self.key());
                self.place_all(Direction::Up, |source| source.seek(&after))
            }
            Place::BeforeFirst => self.first(),
            Place::AfterLast | Place::Nowhere => Ok(false),
        }
    }

    /// Goes to the entry before, or before the first.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<bool> {
        match self.place {
            Place::On(Direction::Down) => self.guarded(|cursor| cursor.go_on(Direction::Down)),
            Place::On(Direction::Up) => {
                let here = ZeroizingBytes::new(self.key().to_vec());
                self.place_all(Direction::Down, |source| source.seek_back(&here))
            }
            Place::AfterLast => self.last(),
            Place::BeforeFirst | Place::Nowhere => Ok(false),
        }
    }

    /// Goes to the first entry of the range.
    pub(crate) fn first(&mut self) -> Result<bool> {
        let start = ZeroizingBytes::new(self.range.start().to_vec());
        self.place_all(Direction::Up, |source| {
            if start.is_empty() { source.seek_first() } else { source.seek(&start) }
        })
    }

    /// Goes to the last entry of the range.
    pub(crate) fn last(&mut self) -> Result<bool> {
        let end = self.range.end().map(|end| ZeroizingBytes::new(end.to_vec()));
        self.place_all(Direction::Down, |source| match &end {
            Some(end) => source.seek_back(end),
            None => source.seek_last(),
        })
    }

    /// Goes to the first entry of the range whose key is `key` or above.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<bool> {
        if self.range.starts_after(key) {
            return self.first();
        }
        self.place_all(Direction::Up, |source| source.seek(key))
    }

    /// Goes to the last entry of the range whose key is below `key`.
    pub(crate) fn seek_back(&mut self, key: &[u8]) -> Result<bool> {
        if self.range.ends_before(key) {
            return self.last();
        }
        self.place_all(Direction::Down, |source| source.seek_back(key))
    }

    /// Stands behind the last entry, from where [`prev`](Self::prev) goes to it.
    pub(crate) fn place_after_last(&mut self) {
        self.order.clear();
        self.place = Place::AfterLast;
    }

    /// Whether the cursor stands on an entry.
    pub(crate) fn is_on_entry(&self) -> bool {
        matches!(self.place, Place::On(_))
    }

    /// The current entry: its key, and its value, which is `Put` or `Extent`.
    #[inline]
    pub(crate) fn entry(&self) -> Option<(&[u8], EntryValue<'_>)> {
        let source = &self.sources[*self.order.first()?];
        Some((source.key(), source.value()))
    }

    /// The key of the current entry; empty when the cursor stands on none.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        self.order.first().map_or(&[], |&source| self.sources[source].key())
    }

    /// The value of the current entry: `Put` or `Extent`. `Delete` when the cursor stands on none.
    #[inline]
    pub(crate) fn value(&self) -> EntryValue<'_> {
        self.order.first().map_or(EntryValue::Delete, |&source| self.sources[source].value())
    }

    /// What the current entry has: [`EntryKind::Put`] or [`EntryKind::Extent`]; `Delete` when the cursor stands on none.
    #[inline]
    pub(crate) fn kind(&self) -> EntryKind {
        self.order.first().map_or(EntryKind::Delete, |&source| self.sources[source].kind())
    }

    /// The range, to be narrowed. What is taken out must not hold the entry that the cursor stands on.
    pub(crate) fn range_mut(&mut self) -> &mut KeyRange {
        &mut self.range
    }

    fn place_all(
        &mut self,
        direction: Direction,
        place: impl Fn(&mut Source) -> Result<bool>,
    ) -> Result<bool> {
        self.guarded(|cursor| {
            cursor.order.clear();
            for index in 0..cursor.sources.len() {
                if place(&mut cursor.sources[index])? {
                    let at = cursor
                        .order
                        .partition_point(|&other| cursor.compare(other, index, direction).is_lt());
                    cursor.order.insert(at, index);
                }
            }
            cursor.settle(direction)
        })
    }

    /// Leaves the cursor nowhere when a move fails: the sources no longer agree on where they are.
    #[inline]
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<bool>) -> Result<bool> {
        let moved = work(self);
        if moved.is_err() {
            self.order.clear();
            self.place = Place::Nowhere;
        }
        moved
    }

    /// Leaves the current entry for the next.
    #[inline]
    fn go_on(&mut self, direction: Direction) -> Result<bool> {
        // A tree that is the last source left has nothing hidden, and most scans are in one.
        if let [only] = *self.order
            && let Source::Tree(cursor) = &mut self.sources[only]
        {
            let moved = if direction == Direction::Up { cursor.next()? } else { cursor.prev()? };
            if !moved {
                self.order.clear();
            } else if cursor.kind() == EntryKind::Put && !is_passed(&self.range, cursor.key(), direction) {
                return Ok(true);
            }
        } else {
            self.step(0, direction)?;
        }
        self.settle(direction)
    }

    /// Finds the first entry from here on that is visible, and stands on it.
    #[inline]
    fn settle(&mut self, direction: Direction) -> Result<bool> {
        while let Some(&newest) = self.order.first() {
            let key = self.sources[newest].key();
            if is_passed(&self.range, key, direction) {
                break;
            }
            self.pass_hidden(newest, direction)?;
            match self.sources[newest].kind() {
                EntryKind::Put | EntryKind::Extent => {
                    self.place = Place::On(direction);
                    return Ok(true);
                }
                EntryKind::Delete => self.step(0, direction)?,
                EntryKind::Versions => return Err(versions_in_a_tree()),
            }
        }
        self.order.clear();
        self.place = if direction == Direction::Up { Place::AfterLast } else { Place::BeforeFirst };
        Ok(false)
    }

    /// Passes over the older entries of the first source's key.
    #[inline]
    fn pass_hidden(&mut self, newest: usize, direction: Direction) -> Result<()> {
        while let Some(&older) = self.order.get(1) {
            if self.sources[older].key() != self.sources[newest].key() {
                break;
            }
            self.step(1, direction)?;
        }
        Ok(())
    }

    /// Takes the source at `place` in the order to its next entry, and to its new place.
    #[inline]
    fn step(&mut self, place: usize, direction: Direction) -> Result<()> {
        let index = self.order[place];
        let source = &mut self.sources[index];
        let moved = match direction {
            Direction::Up => source.next()?,
            Direction::Down => source.prev()?,
        };
        if !moved {
            self.order.remove(place);
            return Ok(());
        }
        let rest = &self.order[place + 1..];
        if rest.first().is_some_and(|&other| self.compare(other, index, direction).is_lt()) {
            let passed = rest.partition_point(|&other| self.compare(other, index, direction).is_lt());
            self.order[place..=place + passed].rotate_left(1);
        }
        Ok(())
    }

    fn compare(&self, a: usize, b: usize, direction: Direction) -> Ordering {
        let by_key = self.sources[a].key().cmp(self.sources[b].key());
        let in_walk = if direction == Direction::Up { by_key } else { by_key.reverse() };
        in_walk.then(a.cmp(&b))
    }
}

impl Source {
    /// Uncommitted writes as a source.
    pub(crate) fn pending(writes: PendingWrites) -> Self {
        let index = writes.len();
        Self::Pending(PendingCursor { writes, index })
    }

    fn seek_first(&mut self) -> Result<bool> {
        match self {
            Self::Pending(cursor) => Ok(cursor.stand_on(Some(0))),
            Self::Memory(cursor) => cursor.seek_first(),
            Self::Tree(cursor) => cursor.seek_first(),
        }
    }

    fn seek_last(&mut self) -> Result<bool> {
        match self {
            Self::Pending(cursor) => Ok(cursor.stand_on(cursor.writes.len().checked_sub(1))),
            Self::Memory(cursor) => cursor.seek_last(),
            Self::Tree(cursor) => cursor.seek_last(),
        }
    }

    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        match self {
            Self::Pending(cursor) => Ok(cursor.stand_on(Some(cursor.lower_bound(key)))),
            Self::Memory(cursor) => cursor.seek(key),
            Self::Tree(cursor) => cursor.seek(key),
        }
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<bool> {
        match self {
            Self::Pending(cursor) => Ok(cursor.stand_on(cursor.lower_bound(key).checked_sub(1))),
            Self::Memory(cursor) => cursor.seek_back(key),
            Self::Tree(cursor) => cursor.seek_back(key),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<bool> {
        match self {
            Self::Pending(cursor) => Ok(cursor.stand_on(cursor.index.checked_add(1))),
            Self::Memory(cursor) => cursor.next(),
            Self::Tree(cursor) => cursor.next(),
        }
    }

    #[inline]
    fn prev(&mut self) -> Result<bool> {
        match self {
            Self::Pending(cursor) => Ok(cursor.stand_on(cursor.index.checked_sub(1))),
            Self::Memory(cursor) => cursor.prev(),
            Self::Tree(cursor) => cursor.prev(),
        }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        match self {
            Self::Pending(cursor) => cursor.writes.get(cursor.index).map_or(&[], |(key, _)| key),
            Self::Memory(cursor) => cursor.key().unwrap_or_default(),
            Self::Tree(cursor) => cursor.key(),
        }
    }

    #[inline]
    fn kind(&self) -> EntryKind {
        match self {
            Self::Tree(cursor) => cursor.kind(),
            Self::Pending(_) | Self::Memory(_) => self.value().kind(),
        }
    }

    #[inline]
    fn value(&self) -> EntryValue<'_> {
        match self {
            Self::Pending(cursor) => {
                cursor.writes.get(cursor.index).map_or(EntryValue::Delete, |(_, value)| entry(value))
            }
            Self::Memory(cursor) => cursor.current().map_or(EntryValue::Delete, |(_, hit)| entry(&hit.value)),
            Self::Tree(cursor) => cursor.value(),
        }
    }
}

impl PendingCursor {
    fn lower_bound(&self, key: &[u8]) -> usize {
        self.writes.partition_point(|(other, _)| **other < *key)
    }

    fn stand_on(&mut self, index: Option<usize>) -> bool {
        self.index = index.unwrap_or(self.writes.len()).min(self.writes.len());
        self.index < self.writes.len()
    }
}

/// Whether a walk that has come to `key` has left the range.
#[inline]
fn is_passed(range: &KeyRange, key: &[u8], direction: Direction) -> bool {
    match direction {
        Direction::Up => range.ends_before(key),
        Direction::Down => range.starts_after(key),
    }
}

/// Only files that memtables are spilled to hold several versions of a key, and memtables read those themselves.
pub(super) fn versions_in_a_tree() -> StorageError {
    StorageError::corrupt("a tree of the database", 0, "an entry holds several versions where one belongs")
}

fn entry(value: &MemValue) -> EntryValue<'_> {
    match value {
        MemValue::Put(bytes) => EntryValue::Put(bytes),
        MemValue::Delete => EntryValue::Delete,
        MemValue::Extent(bytes) => EntryValue::Extent(bytes),
    }
}

#[cfg(test)]
mod tests;
