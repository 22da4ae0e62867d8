//! The database at one moment.

use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use lightning_db_storage::SequenceNumber;

use super::scan::ScanView;
use super::{Cursor, DatabaseIterator, KeyRange, PinnedValue, Reader};
use crate::engine::ReadView;
use crate::error::Result;

/// The database as it was when the snapshot was taken, whatever is committed, flushed or merged since.
///
/// Taking one costs next to nothing, and so does a clone. It keeps what it shows, in memory and in files, until it is
/// dropped. After the database was closed its methods return `Closed`.
#[derive(Clone)]
pub struct Snapshot {
    reader: Arc<Reader>,
    view: ReadView,
}

impl Snapshot {
    pub(crate) fn new(reader: &Arc<Reader>, view: ReadView) -> Self {
        Self { reader: Arc::clone(reader), view }
    }

    /// The newest commit that the snapshot shows.
    #[must_use]
    pub fn sequence(&self) -> SequenceNumber {
        self.view.sequence
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `EmptyKey`, `KeyTooLarge`; `Closed` when the database was closed; `Corrupt` for damage; I/O errors.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get_pinned(key)?.map(PinnedValue::into_vec))
    }

    /// The value of `key`, without copying it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_pinned(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        self.reader.get_at(&self.view.version, self.view.sequence, key)
    }

    /// The values of `keys`, in the same order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_batch(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut values = vec![None; keys.len()];
        let mut keep = |index: usize, value: Option<&[u8]>| values[index] = value.map(<[u8]>::to_vec);
        self.reader.get_batch(&self.view, None, keys, &mut keep)?;
        Ok(values)
    }

    /// Lends the value of each of `keys` to `show`, with its place in `keys`: each place once, in no particular order.
    ///
    /// # Errors
    /// As [`get`](Self::get); `show` may have been called for some of the keys then.
    pub fn get_batch_with(&self, keys: &[&[u8]], mut show: impl FnMut(usize, Option<&[u8]>)) -> Result<()> {
        self.reader.get_batch(&self.view, None, keys, &mut show)
    }

    /// The entries from `start`, inclusive, to `end`, exclusive, in the order of their keys; `None` is unbounded.
    ///
    /// # Errors
    /// `Closed` when the database was closed. Each item is a result of its own.
    pub fn scan(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<DatabaseIterator> {
        DatabaseIterator::new(self.scan_view(), KeyRange::new(start, end), false)
    }

    /// As [`scan`](Self::scan), from the highest key down: `start` is still the lower bound, and inclusive.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn scan_reverse(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<DatabaseIterator> {
        DatabaseIterator::new(self.scan_view(), KeyRange::new(start, end), true)
    }

    /// The entries whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<DatabaseIterator> {
        DatabaseIterator::new(self.scan_view(), KeyRange::prefix(prefix), false)
    }

    /// The entries within any bounds, in the order of their keys. Bounds that are the wrong way round hold nothing.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Result<DatabaseIterator> {
        DatabaseIterator::new(self.scan_view(), KeyRange::within(&bounds), false)
    }

    /// A cursor before the first entry from `start`, inclusive, to `end`, exclusive; `None` is unbounded.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn cursor(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<Cursor> {
        Cursor::new(self.scan_view(), KeyRange::new(start, end))
    }

    fn scan_view(&self) -> ScanView {
        ScanView::new(&self.reader, &self.view, None)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("sequence", &self.view.sequence).finish_non_exhaustive()
    }
}
