//! Large values that were written to files before their commit, so that a transaction does not hold them in memory.
//!
//! The files are a transaction's own. They never enter the manifest: a commit copies the values to where all others
//! are, and the files go when nobody holds a value of theirs. What a crash leaves is removed by the next open.

use std::io::{self, Read};
use std::sync::Arc;

use lightning_db_storage::bytes::ByteWriter;
use lightning_db_storage::extent::{ExtentRef, read_extent};
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::{Result as StorageResult, ZeroizingBytes};

use super::Engine;
use super::segments::unknown_segment;
use super::values::ValueLog;
use crate::error::Result;
use crate::shared_bytes::SharedBytes;

/// A large value in a [`ValueLog`].
#[derive(Clone)]
pub(crate) struct StoredValue {
    log: Arc<ValueLog>,
    extent: Arc<ExtentRef>,
}

impl Engine {
    /// Writes a value to `log`, which is the caller's own. A failure concerns that log alone.
    ///
    /// # Errors
    /// `DiskFull` and those of writing files.
    pub(crate) fn store_value(&self, log: &Arc<ValueLog>, value: &[u8]) -> Result<StoredValue> {
        ValueLog::check_space(&self.ctx, value.len() as u64)?;
        let extent = self.write_value(log, value.len() as u64, &mut &*value)?;
        Ok(StoredValue { log: Arc::clone(log), extent: Arc::new(extent) })
    }
}

impl StoredValue {
    /// Bytes of the value.
    pub(crate) fn len(&self) -> u64 {
        self.extent.len
    }

    /// The whole value.
    ///
    /// # Errors
    /// Those of reading the files.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        Ok(std::mem::take(&mut *read_extent(&*self.log, &self.extent)?))
    }

    /// Gives the value piece by piece.
    pub(super) fn reader(&self) -> impl Read + Send + use<> {
        Reader { value: self.clone(), chunk: ZeroizingBytes::default(), at: 0, next: 0 }
    }

    /// The reference that a scan resolves through the log.
    pub(crate) fn reference(&self) -> SharedBytes {
        let mut encoded = ByteWriter::new();
        self.extent.encode(&mut encoded);
        SharedBytes::from(encoded.as_slice())
    }
}

impl BlockSource for ValueLog {
    fn read_block(&self, kind: BlockKind, ptr: &BlockPtr) -> StorageResult<ZeroizingBytes> {
        self.segment(ptr.segment).ok_or_else(|| unknown_segment(ptr))?.read(kind, ptr)
    }
}

struct Reader {
    value: StoredValue,
    chunk: ZeroizingBytes,
    /// How much of the chunk was given.
    at: usize,
    next: usize,
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            let Some(ptr) = self.value.extent.chunks.get(self.next) else { return Ok(0) };
            self.chunk = self.value.log.read_block(BlockKind::Extent, ptr).map_err(io::Error::other)?;
            (self.at, self.next) = (0, self.next + 1);
        }
        let len = out.len().min(self.chunk.len() - self.at);
        out[..len].copy_from_slice(&self.chunk[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
