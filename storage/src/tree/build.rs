//! Building a whole tree from a stream of entries: how a run is written.

use lightning_db_crypto::{ContentHasher, SetDigest};

use super::writer::TreeWriter;
use super::{EntryStream, TreeRef, entry_digest};
use crate::filter::{FilterBuilder, key_hash};
use crate::page::EntryKind;
use crate::pointer::BlockSink;
use crate::{Result, StorageError};

/// How a tree is built.
#[derive(Debug)]
pub struct BuildOptions<'a> {
    /// Bytes of a page before compression, about: 1 KiB to 64 KiB are sensible. A longer entry gets a longer page.
    pub page_size: usize,
    /// Digests the entries.
    pub hasher: &'a ContentHasher,
    /// Leaves deletes out, which is right only where nothing older lies below.
    pub drop_tombstones: bool,
    /// Takes the keys, if there is one.
    pub filter: Option<&'a mut FilterBuilder>,
}

/// Writes all entries of `stream` as a tree, leaves before their parents. Memory is bounded by a few pages a level.
///
/// # Errors
/// Those of the stream and of the sink; `Corrupt` when the stream's keys do not ascend or are too long. What was
/// written by then is of no use, and goes with the sink.
pub fn build(
    stream: &mut dyn EntryStream,
    sink: &mut dyn BlockSink,
    options: BuildOptions<'_>,
) -> Result<TreeRef> {
    let BuildOptions { page_size, hasher, drop_tombstones, mut filter } = options;
    let mut writer = TreeWriter::new(sink, page_size);
    let (mut entries, mut tombstones, mut digest) = (0, 0, SetDigest::default());
    while stream.advance()? {
        let (key, value) = (stream.key(), stream.value());
        let is_delete = value.kind() == EntryKind::Delete;
        if is_delete && drop_tombstones {
            continue;
        }
        writer.entry(key, &value)?;
        entries += 1;
        tombstones += u64::from(is_delete);
        digest.add(entry_digest(hasher, key, &value).map_err(bad_extent)?);
        if let Some(filter) = &mut filter {
            filter.insert(key_hash(key));
        }
    }
    let written = writer.finish()?;
    Ok(TreeRef {
        root: written.root,
        height: written.height,
        entries,
        tombstones,
        stored_bytes: written.stored_bytes,
        raw_bytes: written.raw_bytes,
        digest,
    })
}

/// An entry claims to be an extent and is not; where it came from only the stream knows.
pub(super) fn bad_extent(malformed: crate::bytes::Malformed) -> StorageError {
    StorageError::corrupt("the source of a tree", 0, malformed.to_string())
}
