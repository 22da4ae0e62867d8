//! Reading one key.

use lightning_db_storage::bytes::ByteReader;
use lightning_db_storage::extent::{ExtentRef, read_extent};
use lightning_db_storage::filter::key_hash;
use lightning_db_storage::page::EntryValue;
use lightning_db_storage::tree::{self, DirectPages};
use lightning_db_storage::{SequenceNumber, StorageError};

use super::Database;
use crate::engine::Version;
use crate::error::Result;
use crate::memtable::MemValue;

impl Database {
    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// `Corrupt` and other errors of reading files.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let view = self.engine.versions.view();
        get_at(&view.version, key, view.sequence)
    }
}

/// The value of `key` in a version, as of a sequence number.
pub(crate) fn get_at(version: &Version, key: &[u8], at: SequenceNumber) -> Result<Option<Vec<u8>>> {
    for layer in version.layers() {
        if let Some(hit) = layer.memtable.get(key, at)? {
            return match &hit.value {
                MemValue::Put(bytes) => Ok(Some(bytes.to_vec())),
                MemValue::Delete => Ok(None),
                MemValue::Extent(encoded) => large(version, encoded).map(Some),
            };
        }
    }
    let hash = key_hash(key);
    let pages = DirectPages(&version.tree.segments);
    let runs = version
        .tree
        .runs
        .iter()
        .filter(|run| run.filter.as_ref().is_none_or(|filter| filter.may_contain(hash)));
    for tree in runs.map(|run| &run.info.tree).chain([&version.tree.base]) {
        if let Some(hit) = tree::get(&pages, tree, key)? {
            return match hit.value() {
                EntryValue::Put(bytes) => Ok(Some(bytes.to_vec())),
                EntryValue::Extent(encoded) => large(version, encoded).map(Some),
                EntryValue::Delete | EntryValue::Versions(_) => Ok(None),
            };
        }
    }
    Ok(None)
}

fn large(version: &Version, encoded: &[u8]) -> Result<Vec<u8>> {
    let extent = ExtentRef::decode(&mut ByteReader::new(encoded))
        .map_err(|error| StorageError::corrupt("a reference to a large value", 0, error.to_string()))?;
    Ok(read_extent(version, &extent)?.to_vec())
}
