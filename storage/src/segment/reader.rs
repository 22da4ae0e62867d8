//! Reading the blocks of a segment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::compress::{Dictionary, decompress};
use crate::pointer::{BlockKind, BlockPtr, Codec};
use crate::vfs::{OpenHow, ReadMap, VfsFile};
use crate::{Result, StorageError, ZeroizingBytes};

use super::footer::{FOOTER_LEN, Footer};
use super::seal::BlockSealer;
use super::{HEADER_LEN, SealContext, SegmentInfo};

/// Files are hashed in pieces of this many bytes.
const HASH_PIECE_LEN: usize = 1 << 20;

/// How blocks come from the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadMode {
    /// Through a memory map, where the file system allows it; otherwise by a read each.
    pub map: bool,
}

/// Opens the blocks of one segment, for any number of threads at once.
pub struct SegmentReader {
    path: PathBuf,
    sealer: Arc<BlockSealer>,
    file: Arc<dyn VfsFile>,
    map: Option<Arc<dyn ReadMap>>,
    /// The end of what can be read: grows while a writer is at work.
    end: Arc<AtomicU64>,
    dictionary_ptr: Option<BlockPtr>,
    dictionary: OnceLock<Arc<Dictionary>>,
}

impl SegmentReader {
    /// Opens the segment's file in the database's directory. Its length and header must be what `info` says.
    ///
    /// # Errors
    /// `Corrupt` when it is missing, and for another length or header, an epoch without a key, I/O errors.
    pub fn open(ctx: &SealContext, info: &SegmentInfo, mode: ReadMode) -> Result<Self> {
        Self::open_at(ctx, info, &ctx.segment_path(info.kind, info.id), mode)
    }

    /// As [`open`](Self::open), for a copy of the file elsewhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_at(ctx: &SealContext, info: &SegmentInfo, path: &Path, mode: ReadMode) -> Result<Self> {
        let file = ctx
            .vfs
            .open(path, OpenHow::Read)
            .map_err(|error| StorageError::io("open", path, error).of_named_file())?;
        check_len(&*file, path, info.length)?;
        let mut found = [0; HEADER_LEN];
        file.read_exact_at(&mut found, 0).map_err(|error| StorageError::io("read", path, error))?;
        let header = info.header(ctx);
        header.check(path, &found)?;
        let end = info.length.saturating_sub(FOOTER_LEN as u64);
        let map_len = usize::try_from(info.length).ok().filter(|_| mode.map);
        Ok(Self {
            path: path.to_path_buf(),
            sealer: Arc::new(BlockSealer::new(ctx, &header)?),
            // A refused map costs speed, nothing else.
            map: map_len.and_then(|len| file.map_read(len).ok()),
            file,
            end: Arc::new(AtomicU64::new(end)),
            dictionary_ptr: info.dictionary,
            dictionary: OnceLock::new(),
        })
    }

    pub(super) fn of_writer(
        path: PathBuf,
        sealer: Arc<BlockSealer>,
        file: Arc<dyn VfsFile>,
        end: Arc<AtomicU64>,
        dictionary: Option<(BlockPtr, Arc<Dictionary>)>,
    ) -> Self {
        let dictionary_ptr = dictionary.as_ref().map(|(ptr, _)| *ptr);
        let known = OnceLock::new();
        if let Some((_, dictionary)) = dictionary {
            known.get_or_init(|| dictionary);
        }
        Self { path, sealer, file, map: None, end, dictionary_ptr, dictionary: known }
    }

    /// The segment's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a block, authenticated and then decompressed: exactly `ptr.raw_len` of them.
    ///
    /// # Errors
    /// `Corrupt` for a block that is not the one `ptr` was made for, I/O errors.
    pub fn read(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes> {
        let mut block = self.fetch(kind, ptr)?;
        let opened = self.sealer.open(kind, ptr, &mut block);
        opened.map_err(|_| self.damaged(kind, ptr, "does not open"))?;
        if ptr.codec == Codec::Stored {
            return Ok(block);
        }
        let dictionary = match ptr.codec {
            Codec::ZstdDict => Some(self.dictionary(kind, ptr)?),
            _ => None,
        };
        decompress(ptr.codec, &block, ptr.raw_len as usize, dictionary)
            .map_err(|_| self.damaged(kind, ptr, "does not decompress"))
    }

    /// Reads the whole file and compares it with what was recorded when it was written; also opens the footer.
    ///
    /// # Errors
    /// `Corrupt` for any difference, I/O errors.
    pub fn verify(&self, info: &SegmentInfo) -> Result<()> {
        check_len(&*self.file, &self.path, info.length)?;
        let at = info.length.saturating_sub(FOOTER_LEN as u64);
        let mut bytes = [0; FOOTER_LEN];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|error| StorageError::io("read", &self.path, error))?;
        let mut hasher = hash(&*self.file, &self.path, at)?;
        let content_hash = *hasher.finalize().as_bytes();
        if *hasher.update(&bytes).finalize().as_bytes() != info.content_hash {
            return Err(StorageError::corrupt(&self.path, 0, "the hash of the file is not the one recorded"));
        }
        let (blocks, stored_bytes) = (info.blocks, info.stored_bytes);
        let expected = Footer { blocks, stored_bytes, content_len: at, content_hash };
        if Footer::open(&self.sealer, &self.path, at, &bytes)? != expected {
            return Err(StorageError::corrupt(
                &self.path,
                at,
                "the footer tells of something else than the file",
            ));
        }
        Ok(())
    }

    /// The sealed bytes of a block, after a check that they are there.
    fn fetch(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<ZeroizingBytes> {
        if ptr.segment != self.sealer.segment() || !ptr.is_plausible() {
            return Err(self.damaged(kind, ptr, "was asked for by a pointer that cannot be right"));
        }
        let end = ptr.end().filter(|end| *end <= self.end.load(Ordering::Acquire));
        let end = end.filter(|_| ptr.offset >= HEADER_LEN as u64);
        let end = end.ok_or_else(|| self.damaged(kind, ptr, "lies outside of the segment"))?;
        let mut block = ZeroizingBytes::new(vec![0; ptr.stored_len as usize]);
        match self.mapped(ptr.offset, end) {
            Some(bytes) => block.copy_from_slice(bytes),
            None => {
                let read = self.file.read_exact_at(&mut block, ptr.offset);
                read.map_err(|error| StorageError::io("read", &self.path, error))?;
            }
        }
        Ok(block)
    }

    fn mapped(&self, start: u64, end: u64) -> Option<&[u8]> {
        self.map.as_ref()?.bytes().get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    fn dictionary(&self, kind: BlockKind, wanted_by: &BlockPtr) -> Result<&Dictionary> {
        if let Some(dictionary) = self.dictionary.get() {
            return Ok(dictionary);
        }
        // The second condition ends what could be a circle.
        let ptr = self.dictionary_ptr.filter(|_| kind != BlockKind::Dictionary);
        let ptr =
            ptr.ok_or_else(|| self.damaged(kind, wanted_by, "needs a dictionary, and the segment has none"))?;
        let bytes = self.read(BlockKind::Dictionary, &ptr)?;
        let dictionary = Dictionary::from_bytes(bytes)
            .map_err(|_| self.damaged(BlockKind::Dictionary, &ptr, "is not a dictionary"))?;
        Ok(self.dictionary.get_or_init(|| Arc::new(dictionary)))
    }

    fn damaged(&self, kind: BlockKind, ptr: &BlockPtr, how: &str) -> StorageError {
        let BlockPtr { segment, stored_len, .. } = ptr;
        StorageError::corrupt(
            &self.path,
            ptr.offset,
            format!("a {kind:?} block of {stored_len} bytes in segment {segment} {how}"),
        )
    }
}

impl fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentReader")
            .field("path", &self.path)
            .field("mapped", &self.map.is_some())
            .finish_non_exhaustive()
    }
}

/// BLAKE3 of the first `length` bytes of a file. Needs no key.
///
/// # Errors
/// I/O errors; `Corrupt` when the file is shorter.
pub fn hash_file(file: &dyn VfsFile, path: &Path, length: u64) -> Result<[u8; 32]> {
    Ok(*hash(file, path, length)?.finalize().as_bytes())
}

fn hash(file: &dyn VfsFile, path: &Path, length: u64) -> Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; HASH_PIECE_LEN];
    let mut at = 0;
    while at < length {
        let want = (length - at).min(HASH_PIECE_LEN as u64) as usize;
        let got =
            file.read_at(&mut piece[..want], at).map_err(|error| StorageError::io("read", path, error))?;
        if got == 0 {
            let what = format!("the file ends here, and should have {length} bytes");
            return Err(StorageError::corrupt(path, at, what));
        }
        hasher.update(&piece[..got]);
        at += got as u64;
    }
    Ok(hasher)
}

fn check_len(file: &dyn VfsFile, path: &Path, expected: u64) -> Result<()> {
    let found = file.len().map_err(|error| StorageError::io("measure", path, error))?;
    if found == expected {
        return Ok(());
    }
    let what = format!("the file has {found} bytes and should have {expected}");
    Err(StorageError::corrupt(path, found.min(expected), what))
}
