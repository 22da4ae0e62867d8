//! A scan as an iterator, from both ends.

use std::fmt;
use std::iter::FusedIterator;

use super::KeyRange;
use super::merge::MergeCursor;
use super::scan::ScanView;
use crate::error::Result;

/// Entries in the order of their keys, ascending or, from a reverse scan, descending; each with its key and value.
///
/// It shows the database as it was when the scan began, and keeps what that needs: drop it when it is no longer used. It
/// can be walked from both ends; the two meet in the middle. After an error it has ended.
pub struct DatabaseIterator {
    view: ScanView,
    range: KeyRange,
    /// One for each direction, once it was asked for.
    upwards: Option<MergeCursor>,
    downwards: Option<MergeCursor>,
    is_reverse: bool,
    has_ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
}

impl DatabaseIterator {
    /// The entries of `range`, from the highest down if `is_reverse`.
    pub(crate) fn new(view: ScanView, range: KeyRange, is_reverse: bool) -> Result<Self> {
        view.check_open()?;
        Ok(Self { view, range, upwards: None, downwards: None, is_reverse, has_ended: false })
    }

    fn take(&mut self, end: End) -> Option<<Self as Iterator>::Item> {
        if self.has_ended {
            return None;
        }
        let taken = self.take_entry(end).transpose();
        if !matches!(taken, Some(Ok(_))) {
            self.has_ended = true;
            (self.upwards, self.downwards) = (None, None);
        }
        taken
    }

    fn take_entry(&mut self, end: End) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.view.check_open()?;
        let cursor = self.cursor(end)?;
        let is_on_entry = if end == End::Low { cursor.next()? } else { cursor.prev()? };
        if !is_on_entry {
            return Ok(None);
        }
        let (Some(cursor), other) = (match end {
            End::Low => (self.upwards.as_ref(), self.downwards.as_mut()),
            End::High => (self.downwards.as_ref(), self.upwards.as_mut()),
        }) else {
            return Ok(None);
        };
        if let Some(other) = other {
            narrow(other.range_mut(), end, cursor.key());
        }
        let value = cursor.value();
        let bytes = match self.view.load(value)? {
            Some(mut large) => std::mem::take(&mut *large),
            None => value.bytes().to_vec(),
        };
        Ok(Some((cursor.key().to_vec(), bytes)))
    }

    /// The cursor of one end. When it is the second one, it begins with what the first has left.
    fn cursor(&mut self, end: End) -> Result<&mut MergeCursor> {
        let (mine, other) = match end {
            End::Low => (&mut self.upwards, &self.downwards),
            End::High => (&mut self.downwards, &self.upwards),
        };
        match mine {
            Some(cursor) => Ok(cursor),
            None => {
                let mut range = self.range.clone();
                if let Some(other) = other.as_ref().filter(|other| other.is_on_entry()) {
                    narrow(&mut range, if end == End::Low { End::High } else { End::Low }, other.key());
                }
                let mut cursor = self.view.cursor(range)?;
                if end == End::High {
                    cursor.place_after_last();
                }
                Ok(mine.insert(cursor))
            }
        }
    }
}

/// Takes `key`, and what lies beyond it at `end`, out of the range.
fn narrow(range: &mut KeyRange, end: End, key: &[u8]) {
    match end {
        End::Low => range.start_after(key),
        End::High => range.end_before(key),
    }
}

impl Iterator for DatabaseIterator {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(if self.is_reverse { End::High } else { End::Low })
    }
}

impl DoubleEndedIterator for DatabaseIterator {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(if self.is_reverse { End::Low } else { End::High })
    }
}

impl FusedIterator for DatabaseIterator {}

impl fmt::Debug for DatabaseIterator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseIterator")
            .field("is_reverse", &self.is_reverse)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}
