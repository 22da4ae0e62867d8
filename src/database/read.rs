//! Reading: one key, many keys, ranges, and the database at one moment.

use std::ops::RangeBounds;

use super::Database;
use crate::error::Result;
use crate::observe::Operation;
use crate::read::{Cursor, DatabaseIterator, PinnedValue, Show, Snapshot};

impl Database {
    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// `EmptyKey`; `KeyTooLarge` (more than 65,535 bytes); `Closed`; `Corrupt` with the file and the place, when what is
    /// on disk is not what was written; I/O errors.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get_pinned(key)?.map(PinnedValue::into_vec))
    }

    /// The value of `key`, lent from where it is in memory instead of copied.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let path = directory.path().join("mydb");
    /// # let db = lightning_db::Database::create(&path, lightning_db::LightningDbConfig::default())?;
    /// db.put(b"key", b"value")?;
    /// let value = db.get_pinned(b"key")?.expect("it was just written");
    /// assert!(value.starts_with(b"val"));
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_pinned(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        let _timer = self.engine.metrics.start(Operation::Read);
        self.engine.reader.get(&self.engine.versions, key)
    }

    /// The values of `keys`, in the same order, all as they were at one moment. Faster than one by one: what is on disk
    /// is read together.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_batch(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut values = vec![None; keys.len()];
        self.show_batch(keys, &mut |index, value| values[index] = value.map(<[u8]>::to_vec))?;
        Ok(values)
    }

    /// As [`get_batch`](Self::get_batch), without copying: lends the value of each of `keys` to `show`, with its place
    /// in `keys`; each place once, in no particular order.
    ///
    /// # Errors
    /// As [`get`](Self::get); `show` may have been called for some of the keys then.
    pub fn get_batch_with(&self, keys: &[&[u8]], mut show: impl FnMut(usize, Option<&[u8]>)) -> Result<()> {
        self.show_batch(keys, &mut show)
    }

    /// The database as it is now, to be read at leisure: what is committed later does not show.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let path = directory.path().join("mydb");
    /// # let db = lightning_db::Database::create(&path, lightning_db::LightningDbConfig::default())?;
    /// db.put(b"key", b"before")?;
    /// let snapshot = db.snapshot();
    /// db.put(b"key", b"after")?;
    /// assert_eq!(snapshot.get(b"key")?.as_deref(), Some(&b"before"[..]));
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.engine.reader, self.engine.versions.view())
    }

    /// The entries from `start`, inclusive, to `end`, exclusive, in the order of their keys, as they are now; `None` is
    /// unbounded. The first entry comes as fast, however many follow.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let path = directory.path().join("mydb");
    /// # let db = lightning_db::Database::create(&path, lightning_db::LightningDbConfig::default())?;
    /// db.put(b"a", b"1")?;
    /// db.put(b"b", b"2")?;
    /// for entry in db.scan(Some(b"a"), None)? {
    ///     let (key, value) = entry?;
    ///     println!("{} bytes under {}", value.len(), String::from_utf8_lossy(&key));
    /// }
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`. Each item is a result of its own: `Corrupt`, I/O errors, and `Closed` when the database was closed
    /// meanwhile.
    pub fn scan(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<DatabaseIterator> {
        self.snapshot().scan(start, end)
    }

    /// As [`scan`](Self::scan), from the highest key down: `start` is still the lower bound, and inclusive.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn scan_reverse(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<DatabaseIterator> {
        self.snapshot().scan_reverse(start, end)
    }

    /// The entries whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<DatabaseIterator> {
        self.snapshot().scan_prefix(prefix)
    }

    /// The entries within any bounds, in the order of their keys. Bounds that are the wrong way round hold nothing.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let path = directory.path().join("mydb");
    /// # let db = lightning_db::Database::create(&path, lightning_db::LightningDbConfig::default())?;
    /// db.put(b"b", b"1")?;
    /// assert_eq!(db.range("a"..="b")?.count(), 1);
    /// assert_eq!(db.range::<&[u8]>(..)?.rev().count(), 1);
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Result<DatabaseIterator> {
        self.snapshot().range(bounds)
    }

    /// A cursor before the first entry from `start`, inclusive, to `end`, exclusive; `None` is unbounded. It goes both
    /// ways, and lends its entries instead of copying them.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let path = directory.path().join("mydb");
    /// # let db = lightning_db::Database::create(&path, lightning_db::LightningDbConfig::default())?;
    /// db.put(b"key", b"value")?;
    /// let mut cursor = db.cursor(None, None)?;
    /// while let Some((key, value)) = cursor.next()? {
    ///     assert_eq!((key, value), (&b"key"[..], &b"value"[..]));
    /// }
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn cursor(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<Cursor> {
        self.snapshot().cursor(start, end)
    }

    fn show_batch<K: AsRef<[u8]>>(&self, keys: &[K], show: Show<'_>) -> Result<()> {
        let _timer = self.engine.metrics.start_many(Operation::Read, keys.len());
        let view = self.engine.versions.view();
        self.engine.reader.get_batch(&view, Some(&self.engine.versions), keys, show)
    }
}
