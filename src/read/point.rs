//! Reading one key.

use lightning_db_storage::bytes::ByteReader;
use lightning_db_storage::extent::{ExtentRef, read_extent};
use lightning_db_storage::filter::key_hash;
use lightning_db_storage::page::{EntryValue, MAX_KEY_LEN};
use lightning_db_storage::pointer::BlockSource;
use lightning_db_storage::tree::{self, LeafHit};
use lightning_db_storage::{SequenceNumber, StorageError, ZeroizingBytes};

use super::merge::versions_in_a_tree;
use super::pages::PointPages;
use super::{PinnedValue, Reader};
use crate::engine::{Version, Versions};
use crate::error::{Error, Result};
use crate::memtable::MemValue;

impl Reader {
    /// The newest committed value of `key`.
    ///
    /// # Errors
    /// `EmptyKey`, `KeyTooLarge`, `Closed`, and those of reading files.
    pub(crate) fn get(&self, versions: &Versions, key: &[u8]) -> Result<Option<PinnedValue>> {
        self.check_open()?;
        check_key(key)?;
        let Some(hot) = &self.caches().hot_records else {
            return versions.with_view(|version, at| self.find(version, at, key));
        };
        if let Some(hit) = hot.get(key) {
            return Ok(PinnedValue::hot(hit));
        }
        // Before the view is taken: a commit that comes in between makes the ticket worthless.
        let ticket = hot.ticket(key);
        versions.with_view(|version, at| {
            let found = self.find(version, at, key)?;
            if let Some(ticket) = ticket {
                hot.fill(&ticket, key, at, found.as_deref());
            }
            Ok(found)
        })
    }

    /// The value of `key` at a moment in the past.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn get_at(
        &self,
        version: &Version,
        at: SequenceNumber,
        key: &[u8],
    ) -> Result<Option<PinnedValue>> {
        self.check_open()?;
        check_key(key)?;
        match self.caches().hot_records.as_ref().and_then(|hot| hot.get(key)) {
            // What was read later may be newer than the moment asked for.
            Some(hit) if hit.read_at() <= at => Ok(PinnedValue::hot(hit)),
            _ => self.find(version, at, key),
        }
    }

    /// Looks for `key` in every source from the newest to the oldest; the first that has it decides.
    pub(super) fn find(
        &self,
        version: &Version,
        at: SequenceNumber,
        key: &[u8],
    ) -> Result<Option<PinnedValue>> {
        if let Some(value) = find_in_memory(version, at, key)? {
            return of_memory(version, value);
        }
        let pages = PointPages { pages: &self.pages, blocks: version };
        let hash = key_hash(key);
        for run in &version.tree.runs {
            if run.filter.as_ref().is_some_and(|filter| !filter.may_contain(hash)) {
                continue;
            }
            if let Some(hit) = tree::get(&pages, &run.info.tree, key)? {
                return of_leaf(version, hit);
            }
        }
        match tree::get(&pages, &version.tree.base, key)? {
            Some(hit) => of_leaf(version, hit),
            None => Ok(None),
        }
    }
}

/// Refuses what cannot be a key.
pub(super) const fn check_key(key: &[u8]) -> Result<()> {
    match key.len() {
        0 => Err(Error::EmptyKey),
        1..=MAX_KEY_LEN => Ok(()),
        _ => Err(Error::KeyTooLarge),
    }
}

/// What the memtables say about `key`; `None` when they know nothing of it.
pub(super) fn find_in_memory(version: &Version, at: SequenceNumber, key: &[u8]) -> Result<Option<MemValue>> {
    for layer in version.layers() {
        if let Some(hit) = layer.memtable.get(key, at)? {
            return Ok(Some(hit.value));
        }
    }
    Ok(None)
}

/// The value that an entry of a memtable says; none for a delete.
pub(super) fn of_memory(blocks: &dyn BlockSource, value: MemValue) -> Result<Option<PinnedValue>> {
    match value {
        MemValue::Put(bytes) => Ok(Some(PinnedValue::shared(bytes))),
        MemValue::Delete => Ok(None),
        MemValue::Extent(encoded) => Ok(Some(PinnedValue::owned(large_value(blocks, &encoded)?))),
    }
}

/// The value that an entry of a tree says; none for a delete.
pub(super) fn of_leaf(blocks: &dyn BlockSource, hit: LeafHit) -> Result<Option<PinnedValue>> {
    match hit.value() {
        EntryValue::Put(_) => Ok(Some(PinnedValue::in_leaf(hit))),
        EntryValue::Delete => Ok(None),
        EntryValue::Extent(encoded) => Ok(Some(PinnedValue::owned(large_value(blocks, encoded)?))),
        EntryValue::Versions(_) => Err(versions_in_a_tree().into()),
    }
}

/// Reads the value that an encoded reference stands for.
pub(super) fn large_value(blocks: &dyn BlockSource, encoded: &[u8]) -> Result<ZeroizingBytes> {
    let extent = ExtentRef::decode(&mut ByteReader::new(encoded)).map_err(|malformed| {
        StorageError::corrupt("the reference to a large value", 0, malformed.to_string())
    })?;
    Ok(read_extent(blocks, &extent)?)
}
