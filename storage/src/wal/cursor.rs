//! Reading one segment of the log, frame by frame.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{FRAME_HEADER_LEN, FrameCipher, FrameHead, Slot};
use super::{MIN_SEGMENT_SIZE, WalSegmentInfo};
use crate::segment::{HEADER_LEN, SealContext, SegmentKind};
use crate::vfs::{OpenHow, VfsFile};
use crate::{Result, StorageError, ZeroizingBytes};

/// Bytes of a log segment, wherever they are kept. Offsets are those of the segment's file.
pub trait LogBytes: Send + Sync {
    /// Reads at `offset` and returns how many bytes, which may be fewer than asked; zero means that there is nothing at
    /// or behind `offset`.
    ///
    /// # Errors
    /// As the place reports them.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

struct FileBytes(Arc<dyn VfsFile>);

impl LogBytes for FileBytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
}

/// What is at a place where a frame may begin.
pub(super) enum Place {
    /// Nothing was appended here.
    Empty,
    /// Something was, and it is not what was sealed here.
    Damaged(&'static str),
    /// A frame that was sealed for this place, and its plaintext.
    Frame(FrameHead, ZeroizingBytes),
}

/// Reads a segment through a window.
pub(super) struct SegmentCursor {
    path: PathBuf,
    bytes: Arc<dyn LogBytes>,
    cipher: FrameCipher,
    window: Vec<u8>,
    window_start: u64,
}

/// How much is read at a time.
const WINDOW_LEN: usize = 256 << 10;

impl SegmentCursor {
    /// Opens a segment's file, whose header must be the one that the manifest's entry calls for.
    pub(super) fn open(ctx: &SealContext, info: &WalSegmentInfo) -> Result<Self> {
        let path = ctx.segment_path(SegmentKind::Wal, info.id);
        let file = ctx
            .vfs
            .open(&path, OpenHow::Read)
            .map_err(|e| StorageError::io("open", &path, e).of_named_file())?;
        let len = file.len().map_err(|e| StorageError::io("read the length of", &path, e))?;
        let mut cursor = Self::over(ctx, info, path, Arc::new(FileBytes(file)))?;
        let header = cursor.bytes(0, HEADER_LEN)?.to_vec();
        info.header(ctx).check(&cursor.path, &header)?;
        // Space for that much was synced before the segment was listed.
        if len < MIN_SEGMENT_SIZE {
            return Err(cursor.corrupt(len, "the log segment was cut short"));
        }
        Ok(cursor)
    }

    /// Reads a segment's frames from elsewhere; `path` is how errors call it.
    pub(super) fn over(
        ctx: &SealContext,
        info: &WalSegmentInfo,
        path: PathBuf,
        bytes: Arc<dyn LogBytes>,
    ) -> Result<Self> {
        let cipher = FrameCipher::new(ctx, info)?;
        Ok(Self { path, bytes, cipher, window: Vec::new(), window_start: 0 })
    }

    /// The file, for errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Damage at `offset`.
    pub(super) fn corrupt(&self, offset: u64, what: impl Into<String>) -> StorageError {
        StorageError::corrupt(&self.path, offset, what)
    }

    /// The clear header at `offset`, not authenticated.
    pub(super) fn peek(&mut self, offset: u64) -> Result<Slot> {
        let bytes = self.bytes(offset, FRAME_HEADER_LEN)?;
        Ok(match <&[u8; FRAME_HEADER_LEN]>::try_from(bytes) {
            Ok(header) => FrameHead::parse(header),
            Err(_) if bytes.iter().take(4).all(|byte| *byte == 0) => Slot::Empty,
            Err(_) => Slot::Damaged("the file ends within a log frame"),
        })
    }

    /// The frame at `offset`, authenticated.
    pub(super) fn read(&mut self, offset: u64) -> Result<Place> {
        let head = match self.peek(offset)? {
            Slot::Empty => return self.read_without_length(offset),
            Slot::Damaged(what) => return Ok(Place::Damaged(what)),
            Slot::Plausible(head) => head,
        };
        self.open_frame(head, offset)
    }

    /// What is at `offset`, where the length is zero. Nothing, if none was appended, or if the process died before it wrote
    /// the length: then nothing was promised. But one flipped bit can make a length zero too. Such a frame was promised,
    /// and it opens with the length that it had.
    fn read_without_length(&mut self, offset: u64) -> Result<Place> {
        let Ok(mut header) = <[u8; FRAME_HEADER_LEN]>::try_from(self.bytes(offset, FRAME_HEADER_LEN)?) else {
            return Ok(Place::Empty);
        };
        for bit in 0..u32::BITS {
            header[..4].copy_from_slice(&(1_u32 << bit).to_le_bytes());
            if let Slot::Plausible(head) = FrameHead::parse(&header)
                && let frame @ Place::Frame(..) = self.open_frame(head, offset)?
            {
                return Ok(frame);
            }
        }
        Ok(Place::Empty)
    }

    fn open_frame(&mut self, head: FrameHead, offset: u64) -> Result<Place> {
        let cipher = self.cipher.clone();
        let payload = self.bytes(offset.saturating_add(FRAME_HEADER_LEN as u64), head.payload_len())?;
        if payload.len() < head.payload_len() {
            return Ok(Place::Damaged("the file ends within a log frame"));
        }
        Ok(match cipher.open(&head, offset, payload)? {
            Some(plain) => Place::Frame(head, plain),
            None => Place::Damaged("a log frame is not the one that was written here"),
        })
    }

    /// The frame at `offset` as it was sealed, authenticated, and the space that it takes. `None` if there is none, or not
    /// the one that was sealed for this place. Of one whose stored length is zero it has the length that it had.
    pub(super) fn sealed(&mut self, offset: u64) -> Result<Option<(Vec<u8>, u64)>> {
        let Place::Frame(head, _) = self.read(offset)? else { return Ok(None) };
        let len = FRAME_HEADER_LEN.saturating_add(head.payload_len());
        let mut frame = self.bytes(offset, len)?.to_vec();
        // All that is handed out is from one read: what was written is opened once more.
        let Some((header, payload)) = frame.split_first_chunk_mut::<FRAME_HEADER_LEN>() else {
            return Ok(None);
        };
        header[..4].copy_from_slice(&head.length.to_le_bytes());
        let Slot::Plausible(head) = FrameHead::parse(header) else { return Ok(None) };
        if payload.len() != head.payload_len() || self.cipher.open(&head, offset, payload)?.is_none() {
            return Ok(None);
        }
        Ok(Some((frame, head.space())))
    }

    /// Up to `len` bytes at `offset`; fewer only at the end.
    pub(super) fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        let missing = offset < self.window_start
            || offset.saturating_add(len as u64) > self.window_start.saturating_add(self.window.len() as u64);
        if missing {
            self.refill(offset, len.max(WINDOW_LEN))?;
        }
        let start = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX).min(self.window.len());
        let end = start.saturating_add(len).min(self.window.len());
        Ok(&self.window[start..end])
    }

    fn refill(&mut self, offset: u64, len: usize) -> Result<()> {
        self.window.clear();
        self.window.resize(len, 0);
        self.window_start = offset;
        let mut done = 0;
        while done < len {
            match self.bytes.read_at(&mut self.window[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.window.clear();
                    return Err(StorageError::io("read", &self.path, error));
                }
            }
        }
        self.window.truncate(done);
        Ok(())
    }
}
