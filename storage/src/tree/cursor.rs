//! Walking a tree in the order of its keys, both ways.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::{PageSource, TreeRef, inner_of, kind_at, leaf_of, load};
use crate::page::{EntryKind, EntryValue, Inner, Page, ValuePlace};
use crate::pointer::{BlockKind, BlockPtr};
use crate::{Result, ZeroizingBytes};

/// How far a cursor reads ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAhead {
    /// Leaves that are asked for before they are needed, at most; 0 reads nothing ahead. A cursor starts with one leaf
    /// and doubles at each, so that a short scan does not pay for a long one.
    pub distance: usize,
}

/// A place in a tree. It starts nowhere: seek first. A step that finds no entry leaves it nowhere again.
///
/// Every move returns whether the cursor now stands on an entry. After an error it stands nowhere.
pub struct Cursor<S> {
    source: S,
    tree: TreeRef,
    /// The inner pages from the root to the leaf, each with the child that was taken.
    path: Vec<Step>,
    leaf: Option<Arc<Page>>,
    index: usize,
    key: ZeroizingBytes,
    value: ValuePlace,
    ahead: Ahead,
}

struct Step {
    page: Arc<Page>,
    index: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl<S> Cursor<S>
where
    S: Deref<Target: PageSource>,
{
    /// A cursor over `tree` whose pages come from `source`.
    pub fn new(source: S, tree: TreeRef, read_ahead: ReadAhead) -> Self {
        let ahead = Ahead::new(read_ahead.distance);
        let (key, value) = (ZeroizingBytes::default(), ValuePlace::NONE);
        Self { source, tree, path: Vec::new(), leaf: None, index: 0, key, value, ahead }
    }

    /// Goes to the first entry.
    ///
    /// # Errors
    /// Those of the source, as for all moves.
    pub fn seek_first(&mut self) -> Result<bool> {
        Ok(self.descend_from_root(|_| 0)? && self.stand_on(0))
    }

    /// Goes to the last entry.
    ///
    /// # Errors
    /// Those of the source.
    pub fn seek_last(&mut self) -> Result<bool> {
        Ok(self.descend_from_root(|inner| inner.len() - 1)? && self.stand_on_last())
    }

    /// Goes to the first entry whose key is `key` or greater.
    ///
    /// # Errors
    /// Those of the source.
    pub fn seek(&mut self, key: &[u8]) -> Result<bool> {
        if !self.descend_from_root(|inner| inner.find(key))? {
            return Ok(false);
        }
        let index = self.leaf_search(key);
        if index < self.leaf_len() { Ok(self.stand_on(index)) } else { self.next_leaf() }
    }

    /// Goes to the last entry whose key is smaller than `key`.
    ///
    /// # Errors
    /// Those of the source.
    pub fn seek_back(&mut self, key: &[u8]) -> Result<bool> {
        if !self.descend_from_root(|inner| inner.find(key))? {
            return Ok(false);
        }
        match self.leaf_search(key) {
            0 => self.previous_leaf(),
            index => Ok(self.stand_on(index - 1)),
        }
    }

    /// Goes to the next greater key.
    ///
    /// # Errors
    /// Those of the source.
    #[expect(clippy::should_implement_trait, reason = "a cursor lends its entries, which an Iterator cannot")]
    #[inline]
    pub fn next(&mut self) -> Result<bool> {
        if self.index + 1 < self.leaf_len() {
            return Ok(self.stand_beside(self.index + 1));
        }
        if self.leaf.is_some() { self.next_leaf() } else { Ok(false) }
    }

    /// Goes to the next smaller key.
    ///
    /// # Errors
    /// Those of the source.
    #[inline]
    pub fn prev(&mut self) -> Result<bool> {
        match self.index.checked_sub(1) {
            _ if self.leaf.is_none() => Ok(false),
            Some(index) => Ok(self.stand_beside(index)),
            None => self.previous_leaf(),
        }
    }

    /// Whether the cursor stands on an entry.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.leaf.is_some()
    }

    /// The key of the entry on which the cursor stands; empty when it stands nowhere.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the entry on which the cursor stands.
    ///
    /// # Panics
    /// When the cursor stands nowhere.
    #[inline]
    #[must_use]
    pub fn value(&self) -> EntryValue<'_> {
        leaf_of(self.leaf.as_ref().expect("the cursor stands on an entry")).value_at(self.value)
    }

    /// What the entry on which the cursor stands says about its key.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        self.value.kind
    }

    fn stand_on(&mut self, index: usize) -> bool {
        if let Some(page) = &self.leaf {
            let leaf = leaf_of(page);
            leaf.key_into(index, &mut self.key);
            self.value = leaf.value_place(index);
        }
        self.index = index;
        true
    }

    /// As [`stand_on`](Self::stand_on), within a leaf that the cursor stands in.
    #[inline]
    fn stand_beside(&mut self, index: usize) -> bool {
        if let Some(page) = &self.leaf {
            let leaf = leaf_of(page);
            leaf.other_key_into(index, &mut self.key);
            self.value = leaf.value_place(index);
        }
        self.index = index;
        true
    }

    fn stand_on_last(&mut self) -> bool {
        self.stand_on(self.leaf_len().saturating_sub(1))
    }

    fn stand_nowhere(&mut self) {
        self.leaf = None;
        self.index = 0;
        self.key.clear();
    }

    fn leaf_len(&self) -> usize {
        self.leaf.as_ref().map_or(0, |page| leaf_of(page).len())
    }

    /// The place in the leaf of the first key that is `key` or greater.
    fn leaf_search(&self, key: &[u8]) -> usize {
        self.leaf.as_ref().map_or(0, |page| leaf_of(page).search(key).unwrap_or_else(|place| place))
    }

    fn descend_from_root(&mut self, choose: impl Fn(Inner<'_>) -> usize) -> Result<bool> {
        self.stand_nowhere();
        self.path.clear();
        self.ahead.restart();
        match self.tree.top() {
            Some((ptr, level)) => self.descend(ptr, level, choose).map(|()| true),
            None => Ok(false),
        }
    }

    /// Goes down to a leaf from the page at `ptr`, taking the child that `choose` names.
    fn descend(&mut self, mut ptr: BlockPtr, level: u8, choose: impl Fn(Inner<'_>) -> usize) -> Result<()> {
        for level in (1..=level).rev() {
            let page = load(&*self.source, level, &ptr)?;
            let inner = inner_of(&page);
            let index = choose(inner);
            ptr = inner.child(index).ptr;
            self.path.push(Step { page, index });
        }
        self.leaf = Some(load(&*self.source, 0, &ptr)?);
        Ok(())
    }

    fn next_leaf(&mut self) -> Result<bool> {
        Ok(self.neighbour(Direction::Forward)? && self.stand_on(0))
    }

    fn previous_leaf(&mut self) -> Result<bool> {
        Ok(self.neighbour(Direction::Backward)? && self.stand_on_last())
    }

    /// Loads the leaf beside this one. False, and nowhere, when there is none.
    fn neighbour(&mut self, direction: Direction) -> Result<bool> {
        self.stand_nowhere();
        let depth = self.path.len();
        while let Some(mut step) = self.path.pop() {
            let Some(index) = step.neighbour(direction) else { continue };
            step.index = index;
            let ptr = inner_of(&step.page).child(index).ptr;
            let level = step.page.level() - 1;
            self.path.push(step);
            if self.path.len() < depth {
                self.ahead.enter_parent();
            }
            self.descend(ptr, level, |inner| match direction {
                Direction::Forward => 0,
                Direction::Backward => inner.len() - 1,
            })?;
            self.ahead.request(&*self.source, &self.path, direction);
            return Ok(true);
        }
        Ok(false)
    }
}

impl Step {
    fn neighbour(&self, direction: Direction) -> Option<usize> {
        match direction {
            Direction::Forward => Some(self.index + 1).filter(|&index| index < inner_of(&self.page).len()),
            Direction::Backward => self.index.checked_sub(1),
        }
    }
}

/// What was asked for before it is needed.
struct Ahead {
    distance: usize,
    window: usize,
    direction: Direction,
    /// Children of the leaf's parent that were passed or asked for, counted in the direction of the walk.
    requested: usize,
    /// Whether the parent's neighbour was asked for.
    parent_requested: bool,
    batch: Vec<BlockPtr>,
}

impl Ahead {
    fn new(distance: usize) -> Self {
        let direction = Direction::Forward;
        Self { distance, window: 0, direction, requested: 0, parent_requested: false, batch: Vec::new() }
    }

    fn restart(&mut self) {
        self.window = 0;
        self.enter_parent();
    }

    fn enter_parent(&mut self) {
        self.requested = 0;
        self.parent_requested = false;
    }

    /// Asks for the leaves that follow the one at the end of `path`, half a window at a time, and for the inner page
    /// that follows its parent when the window reaches beyond it.
    fn request(&mut self, source: &(impl PageSource + ?Sized), path: &[Step], direction: Direction) {
        if self.distance == 0 {
            return;
        }
        if self.direction != direction {
            self.direction = direction;
            self.restart();
        }
        self.window = (self.window * 2).clamp(1, self.distance);
        let Some((parent, above)) = path.split_last() else { return };
        let inner = inner_of(&parent.page);
        let along =
            |index: usize| if direction == Direction::Forward { index } else { inner.len() - 1 - index };
        let next = along(parent.index) + 1;
        let from = self.requested.max(next);
        let until = (next + self.window).min(inner.len());
        if from < until && from - next <= self.window / 2 {
            self.batch.clear();
            self.batch.extend((from..until).map(|place| inner.child(along(place)).ptr));
            self.requested = until;
            source.prefetch(BlockKind::Leaf, &self.batch);
        }
        if next + self.window > inner.len() && !self.parent_requested {
            self.parent_requested = true;
            let neighbour = above.last().and_then(|step| Some((step, step.neighbour(direction)?)));
            if let Some((step, index)) = neighbour {
                let ptr = inner_of(&step.page).child(index).ptr;
                source.prefetch(kind_at(step.page.level() - 1), &[ptr]);
            }
        }
    }
}

impl<S> fmt::Debug for Cursor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("tree", &self.tree)
            .field("valid", &self.leaf.is_some())
            .finish_non_exhaustive()
    }
}
