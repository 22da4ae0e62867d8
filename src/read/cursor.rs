//! A scan that lends its entries and can turn round.

use std::fmt;

use lightning_db_storage::ZeroizingBytes;
use lightning_db_storage::page::{EntryKind, EntryValue};

use super::KeyRange;
use super::merge::MergeCursor;
use super::scan::ScanView;
use crate::error::Result;

/// A place in a range of keys, which lends the entry that it stands on: nothing is copied.
///
/// A new cursor stands before the first entry. [`next`](Self::next) and [`prev`](Self::prev) go to the entry after and
/// before; behind the last entry and before the first they return `None`, and the way back begins with that entry. The
/// cursor shows the database as it was when it was made. After an error it stands nowhere, until it seeks again.
pub struct Cursor {
    view: ScanView,
    merged: MergeCursor,
    /// The large value of the current entry.
    large: Option<ZeroizingBytes>,
}

/// An entry that is lent: its key and its value.
type Entry<'a> = (&'a [u8], &'a [u8]);

impl Cursor {
    pub(crate) fn new(view: ScanView, range: KeyRange) -> Result<Self> {
        let merged = view.cursor(range)?;
        Ok(Self { view, merged, large: None })
    }

    /// Goes to the next entry.
    ///
    /// # Errors
    /// `Closed` when the database was closed, `Corrupt` for damage, I/O errors; the same holds for all moves.
    #[expect(clippy::should_implement_trait, reason = "a cursor lends its entries, which an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>> {
        self.go(MergeCursor::next)
    }

    /// Goes to the entry before.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn prev(&mut self) -> Result<Option<Entry<'_>>> {
        self.go(MergeCursor::prev)
    }

    /// Goes to the first entry of the range.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn first(&mut self) -> Result<Option<Entry<'_>>> {
        self.go(MergeCursor::first)
    }

    /// Goes to the last entry of the range.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn last(&mut self) -> Result<Option<Entry<'_>>> {
        self.go(MergeCursor::last)
    }

    /// Goes to the first entry of the range whose key is `key` or above.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn seek(&mut self, key: &[u8]) -> Result<Option<Entry<'_>>> {
        self.go(|merged| merged.seek(key))
    }

    /// Goes to the last entry of the range whose key is below `key`.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn seek_back(&mut self, key: &[u8]) -> Result<Option<Entry<'_>>> {
        self.go(|merged| merged.seek_back(key))
    }

    /// The entry on which the cursor stands.
    #[inline]
    #[must_use]
    pub fn current(&self) -> Option<Entry<'_>> {
        match (self.merged.entry()?, &self.large) {
            ((key, EntryValue::Put(bytes)), _) => Some((key, bytes)),
            ((key, _), Some(large)) => Some((key, large)),
            // Its large value could not be read.
            (_, None) => None,
        }
    }

    fn go(
        &mut self,
        step: impl FnOnce(&mut MergeCursor) -> lightning_db_storage::Result<bool>,
    ) -> Result<Option<Entry<'_>>> {
        self.large = None;
        self.view.check_open()?;
        if step(&mut self.merged)? && self.merged.kind() == EntryKind::Extent {
            self.large = self.view.load(self.merged.value())?;
        }
        Ok(self.current())
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("is_on_entry", &self.merged.is_on_entry()).finish_non_exhaustive()
    }
}
