//! Finding one key.

use std::sync::Arc;

use super::{PageSource, TreeRef, inner_of, leaf_of, load};
use crate::Result;
use crate::page::{EntryValue, Page, ValuePlace};

/// Where a key was found. It keeps the page alive, and lends the value from it.
#[derive(Clone, Debug)]
pub struct LeafHit {
    page: Arc<Page>,
    value: ValuePlace,
}

impl LeafHit {
    /// The entry at `index` of a leaf.
    pub(super) fn new(page: Arc<Page>, index: usize) -> Self {
        let value = leaf_of(&page).value_place(index);
        Self { page, value }
    }

    /// The entry's value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> EntryValue<'_> {
        leaf_of(&self.page).value_at(self.value)
    }

    /// The page that holds the entry.
    #[must_use]
    pub fn page(&self) -> &Arc<Page> {
        &self.page
    }
}

/// Finds the entry of `key`, which may be a delete.
///
/// # Errors
/// Those of the source.
pub fn get(source: &(impl PageSource + ?Sized), tree: &TreeRef, key: &[u8]) -> Result<Option<LeafHit>> {
    let Some((mut ptr, mut level)) = tree.top() else { return Ok(None) };
    loop {
        let page = load(source, level, &ptr)?;
        if level == 0 {
            return Ok(leaf_of(&page).search(key).ok().map(|index| LeafHit::new(page, index)));
        }
        let inner = inner_of(&page);
        ptr = inner.child(inner.find(key)).ptr;
        level -= 1;
    }
}
