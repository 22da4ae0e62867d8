//! The one writer of a segment.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db_crypto::EpochId;

use crate::compress::{CompressionSettings, Compressor, Dictionary};
use crate::pointer::{BlockKind, BlockPtr, BlockSink, Codec, MAX_BLOCK_LEN};
use crate::vfs::{OpenHow, VfsFile};
use crate::{Generation, Result, SegmentId, StorageError, ZeroizingBytes};

use super::footer::Footer;
use super::seal::BlockSealer;
use super::{HEADER_LEN, SealContext, SegmentHeader, SegmentInfo, SegmentKind, SegmentReader};

/// Ciphertext is handed to the file in pieces of about this many bytes.
const BUFFER_LEN: usize = 256 << 10;

/// What a writer is to write.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// What the segment is for; not the log.
    pub kind: SegmentKind,
    /// The data key under which it is written.
    pub epoch: EpochId,
    /// The generation in which its blocks are born.
    pub birth: Generation,
    /// How blocks are compressed.
    pub compression: CompressionSettings,
    /// What Zstd knows beforehand of leaf pages; a copy is stored in the segment.
    pub dictionary: Option<Arc<Dictionary>>,
}

/// Writes one segment from its header to its footer.
///
/// It is the only one that ever writes under the segment's key: it cannot be cloned or resumed, it refuses to go on
/// after a failed write, and in the child of a fork. Dropped before [`finish`](Self::finish), it removes its file.
pub struct SegmentWriter {
    ctx: Arc<SealContext>,
    header: SegmentHeader,
    sealer: Arc<BlockSealer>,
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    compressor: Compressor,
    birth: Generation,
    process_id: u32,
    created_micros: i64,
    /// Ciphertext that is not in the file yet.
    buffer: Vec<u8>,
    /// Plaintext of one block, and then its ciphertext.
    scratch: ZeroizingBytes,
    hasher: blake3::Hasher,
    /// The end of what was appended: the next offset, so the next nonce.
    position: u64,
    /// The end of what is in the file, for readers.
    written: Arc<AtomicU64>,
    blocks: u64,
    dictionary: Option<(BlockPtr, Arc<Dictionary>)>,
    state: State,
}

enum State {
    Open,
    Failed(String),
    Finished,
}

impl SegmentWriter {
    /// Creates the file, and writes the header and the dictionary to it. Neither is synced.
    ///
    /// # Errors
    /// `AlreadyExists` when there is such a file, `DiskFull`, other I/O errors, an epoch without a key.
    pub fn create(ctx: &Arc<SealContext>, id: SegmentId, options: &WriterOptions) -> Result<Self> {
        let header = SegmentHeader::draw(ctx, options.kind, id, options.epoch)?;
        let sealer = Arc::new(BlockSealer::new(ctx, &header)?);
        let path = ctx.segment_path(options.kind, id);
        let file =
            ctx.vfs.open(&path, OpenHow::CreateNew).map_err(|e| StorageError::io("create", &path, e))?;
        let mut writer = Self {
            ctx: Arc::clone(ctx),
            buffer: header.encode().to_vec(),
            header,
            sealer,
            file,
            path,
            compressor: Compressor::new(&options.compression, options.dictionary.as_ref()),
            birth: options.birth,
            process_id: ctx.vfs.process_id(),
            created_micros: ctx.clock.now_micros(),
            scratch: ZeroizingBytes::new(Vec::new()),
            hasher: blake3::Hasher::new(),
            position: HEADER_LEN as u64,
            written: Arc::new(AtomicU64::new(0)),
            blocks: 0,
            dictionary: None,
            state: State::Open,
        };
        if let Some(dictionary) =
            options.dictionary.as_ref().filter(|_| options.compression.uses_dictionary())
        {
            let ptr = writer.append(BlockKind::Dictionary, dictionary.bytes())?;
            writer.dictionary = Some((ptr, Arc::clone(dictionary)));
        }
        writer.flush()?;
        Ok(writer)
    }

    /// The segment's number.
    #[must_use]
    pub const fn id(&self) -> SegmentId {
        self.header.id
    }

    /// The length of the file so far, in bytes, with what is still buffered.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Hands what is buffered to the operating system, so that a [`reader`](Self::reader) sees all blocks that were
    /// appended. Not a sync.
    ///
    /// # Errors
    /// `DiskFull` and other I/O errors, after which the writer refuses everything.
    pub fn flush(&mut self) -> Result<()> {
        self.check_usable()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let at = self.position - self.buffer.len() as u64;
        let outcome = self.file.write_all_at(&self.buffer, at);
        outcome.map_err(|error| self.fail(StorageError::io("write", &self.path, error)))?;
        self.hasher.update(&self.buffer);
        self.buffer.clear();
        self.written.store(self.position, Ordering::Release);
        Ok(())
    }

    /// A reader of what was appended and flushed, now or later; it stays valid after the writer finished.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn reader(&mut self) -> Result<SegmentReader> {
        self.flush()?;
        let (file, written) = (Arc::clone(&self.file), Arc::clone(&self.written));
        Ok(SegmentReader::of_writer(
            self.path.clone(),
            Arc::clone(&self.sealer),
            file,
            written,
            self.dictionary.clone(),
        ))
    }

    /// Writes the footer and syncs the file. Its name is durable only after a sync of the directory, which is the
    /// caller's.
    ///
    /// # Errors
    /// `DiskFull` and other I/O errors; the file is removed then.
    pub fn finish(mut self) -> Result<SegmentInfo> {
        self.flush()?;
        let stored_bytes = self.position - HEADER_LEN as u64;
        let (blocks, content_len) = (self.blocks, self.position);
        let content_hash = *self.hasher.finalize().as_bytes();
        self.buffer = Footer { blocks, stored_bytes, content_len, content_hash }.seal(&self.sealer)?;
        self.position += self.buffer.len() as u64;
        // Readers must not take the footer for a block.
        self.written = Arc::default();
        self.flush()?;
        self.file.sync_data().map_err(|error| self.fail(StorageError::io("sync", &self.path, error)))?;
        self.state = State::Finished;
        Ok(SegmentInfo {
            id: self.header.id,
            kind: self.header.kind,
            incarnation: self.header.incarnation,
            key_domain: self.header.key_domain,
            epoch: self.header.epoch,
            salt: self.header.salt,
            length: self.position,
            content_hash: *self.hasher.finalize().as_bytes(),
            dictionary: self.dictionary.as_ref().map(|(ptr, _)| *ptr),
            blocks,
            live_bytes: stored_bytes,
            stored_bytes,
            created_micros: self.created_micros,
        })
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When it cannot be removed; it is then an orphan, which the next open removes.
    pub fn abandon(mut self) -> Result<()> {
        self.check_not_forked()?;
        self.state = State::Finished;
        self.ctx.vfs.remove_file(&self.path).map_err(|error| StorageError::io("remove", &self.path, error))
    }

    fn check_usable(&self) -> Result<()> {
        match &self.state {
            State::Open => self.check_not_forked(),
            State::Failed(first) => Err(StorageError::Poisoned { first: first.clone() }),
            State::Finished => Err(StorageError::Poisoned { first: "the segment is finished".into() }),
        }
    }

    /// After a fork two processes hold one key and one position: only the first may go on.
    fn check_not_forked(&self) -> Result<()> {
        if self.ctx.vfs.process_id() == self.process_id {
            Ok(())
        } else {
            Err(StorageError::Forked { file: self.path.clone() })
        }
    }

    /// What follows a failure would seal other bytes at an offset that may have been used.
    fn fail(&mut self, error: StorageError) -> StorageError {
        self.state = State::Failed(error.to_string());
        error
    }

    fn check_len(&self, raw: &[u8]) -> Result<u32> {
        let len = u32::try_from(raw.len()).ok().filter(|len| (1..=MAX_BLOCK_LEN).contains(len));
        len.ok_or_else(|| {
            let reason = format!("a block holds 1 to {MAX_BLOCK_LEN} bytes, not {}", raw.len());
            StorageError::io("append to", &self.path, io::Error::new(io::ErrorKind::InvalidInput, reason))
        })
    }
}

impl BlockSink for SegmentWriter {
    fn append(&mut self, kind: BlockKind, raw: &[u8]) -> Result<BlockPtr> {
        self.check_usable()?;
        let raw_len = self.check_len(raw)?;
        let codec = self.compressor.compress(kind, raw, &mut self.scratch);
        let stored_len = if codec == Codec::Stored { raw_len } else { self.scratch.len() as u32 };
        let (segment, offset, birth) = (self.header.id, self.position, self.birth);
        let place = BlockPtr { segment, offset, stored_len, raw_len, codec, birth, tag: [0; 16] };
        debug_assert!(place.is_plausible(), "{place:?}");
        let sealed = self.sealer.seal(kind, place, &mut self.scratch);
        let ptr = sealed.map_err(|error| self.fail(error.into()))?;
        self.buffer.extend_from_slice(&self.scratch);
        self.position += u64::from(stored_len);
        self.blocks += 1;
        if self.buffer.len() >= BUFFER_LEN {
            self.flush()?;
        }
        Ok(ptr)
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        // In the child of a fork the file is the parent's.
        if !matches!(self.state, State::Finished) && self.check_not_forked().is_ok() {
            remove_quietly(&self.ctx, &self.path);
        }
    }
}

/// Removes a file that nothing refers to. One that stays is an orphan, which the next open removes.
pub(super) fn remove_quietly(ctx: &SealContext, path: &Path) {
    if let Err(error) = ctx.vfs.remove_file(path) {
        tracing::warn!(file = %path.display(), %error, "an unfinished segment could not be removed");
    }
}

impl fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentWriter")
            .field("path", &self.path)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::pointer::BlockSource;
    use crate::segment::testing::{context, options, read_file};
    use crate::segment::{ReadMode, Segments};
    use crate::vfs::Vfs;

    use super::*;

    #[test]
    fn the_child_of_a_fork_neither_writes_nor_removes_what_its_parent_writes() {
        let (vfs, ctx) = context();
        let begin =
            |id| SegmentWriter::create(&ctx, SegmentId(id), &options(SegmentKind::Run)).expect("created");
        let mut parent = begin(1);
        let ptr = parent.append(BlockKind::Leaf, b"of the parent").expect("appended");
        parent.flush().expect("flushed");
        let before = read_file(&vfs, &parent.path);
        // What a fork leaves in the child: the same memory under another process id.
        let as_child = |writer: &mut SegmentWriter| writer.process_id += 1;
        as_child(&mut parent);
        assert!(matches!(parent.append(BlockKind::Leaf, b"x"), Err(StorageError::Forked { .. })));
        assert!(matches!(parent.flush(), Err(StorageError::Forked { .. })));
        assert_eq!(read_file(&vfs, &parent.path), before);
        parent.process_id -= 1;
        let info = parent.finish().expect("the parent goes on");
        let segments = Segments::new();
        segments.open(&ctx, &info, ReadMode::default()).expect("opens");
        assert_eq!(**segments.read_block(BlockKind::Leaf, &ptr).expect("reads"), *b"of the parent");

        let give_ups: [fn(SegmentWriter); 3] = [
            |writer| drop(writer),
            |writer| assert!(matches!(writer.abandon(), Err(StorageError::Forked { .. }))),
            |writer| assert!(matches!(writer.finish(), Err(StorageError::Forked { .. }))),
        ];
        for give_up in give_ups {
            let mut child = begin(2);
            let path = child.path.clone();
            as_child(&mut child);
            give_up(child);
            vfs.remove_file(&path).expect("the parent's file is still there");
        }
    }
}
