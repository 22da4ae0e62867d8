//! What the frames of the log hold, once opened.
//!
//! A `Commits` or `Part` frame holds whole records, one after another; a record never straddles two frames:
//!
//! ```text
//! kind u8
//!  1  put            keyspace varint (0) | key bytes | value bytes
//!  2  delete         keyspace varint (0) | key bytes
//!  3  put streamed   keyspace varint (0) | key bytes | value length varint
//!  4  chunk          bytes                              of the streamed value before it
//! 15  commit         sequence u64 | time i64 (µs) | op count varint
//! 16  restore point  name bytes | sequence u64 | time i64 (µs)
//! ```
//!
//! Bytes have their length before them as a varint. A commit's operations follow it; a streamed value's chunks follow
//! it and add up to its length. A large commit goes on through several frames, see [`super::frame`].

use std::fmt;
use std::io::Read;

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::{SequenceNumber, ZeroizingBytes};

/// Values longer than this are handed to the log as they stand, and copied only into frames.
pub const MAX_INLINE_VALUE_LEN: usize = 16 << 10;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const PUT_STREAMED: u8 = 3;
const CHUNK: u8 = 4;
const COMMIT: u8 = 15;
const RESTORE_POINT: u8 = 16;

/// The default, and so far only, keyspace.
const DEFAULT_KEYSPACE: u64 = 0;

/// The operations of one commit, encoded as far as they can be before the commit has its sequence number. Long values
/// are borrowed, or read while they are written to the log, so that no copy of them is made.
#[derive(Default)]
pub struct CommitOps<'v> {
    encoded: ByteWriter,
    pieces: Vec<Piece<'v>>,
    count: u64,
    len: u64,
    longest_record: usize,
}

/// Encoded records up to a place in the buffer, then perhaps a value.
pub(super) struct Piece<'v> {
    pub(super) records_end: usize,
    pub(super) value_len: u64,
    pub(super) value: Box<dyn Read + Send + 'v>,
}

impl<'v> CommitOps<'v> {
    /// No operations yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No operations yet, and room for some that take `bytes` in all: see [`put_len`](Self::put_len).
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut ops = Self::new();
        ops.encoded = ByteWriter::with_capacity(bytes);
        ops
    }

    /// The most bytes of room that an operation takes.
    #[must_use]
    pub const fn put_len(key_len: usize, value_len: usize) -> usize {
        const HEAD_LEN_MAX: usize = 1 + 1 + 3 + 10;
        HEAD_LEN_MAX + key_len + if value_len > MAX_INLINE_VALUE_LEN { 0 } else { value_len }
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: &[u8], value: &'v [u8]) {
        if value.len() > MAX_INLINE_VALUE_LEN {
            return self.put_from(key, value.len() as u64, value);
        }
        let before = self.encoded.len();
        self.encoded.u8(PUT).varint(DEFAULT_KEYSPACE).bytes(key).bytes(value);
        self.count_op(before);
    }

    /// Sets `key` to the `len` bytes that `value` gives when the commit is appended. If it gives fewer or fails, the
    /// append fails, and nothing of the commit is ever replayed.
    pub fn put_from(&mut self, key: &[u8], len: u64, value: impl Read + Send + 'v) {
        let before = self.encoded.len();
        self.encoded.u8(PUT_STREAMED).varint(DEFAULT_KEYSPACE).bytes(key).varint(len);
        self.count_op(before);
        self.len = self.len.saturating_add(len);
        self.pieces.push(Piece { records_end: self.encoded.len(), value_len: len, value: Box::new(value) });
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: &[u8]) {
        let before = self.encoded.len();
        self.encoded.u8(DELETE).varint(DEFAULT_KEYSPACE).bytes(key);
        self.count_op(before);
    }

    /// How many operations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes they take in the log, streamed values included, frame headers and chunk headers not.
    #[must_use]
    pub fn encoded_len(&self) -> u64 {
        self.len
    }

    fn count_op(&mut self, before: usize) {
        let len = self.encoded.len() - before;
        self.count += 1;
        self.len = self.len.saturating_add(len as u64);
        self.longest_record = self.longest_record.max(len);
    }

    /// The longest record: a frame must have room for it.
    pub(super) fn longest_record(&self) -> usize {
        self.longest_record
    }

    /// All that they take in one frame, chunk headers included.
    pub(super) fn framed_len(&self) -> u64 {
        self.len.saturating_add(CHUNK_HEADER_LEN as u64 * self.pieces.len() as u64)
    }

    /// The encoded records, and the streamed values between them.
    pub(super) fn parts(&mut self) -> (&[u8], &mut [Piece<'v>]) {
        (self.encoded.as_slice(), &mut self.pieces)
    }
}

impl fmt::Debug for CommitOps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitOps")
            .field("count", &self.count)
            .field("encoded_len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Drop for CommitOps<'_> {
    fn drop(&mut self) {
        drop(ZeroizingBytes::new(std::mem::take(&mut self.encoded).into_vec()));
    }
}

/// The most bytes that the head of a chunk takes: its kind and a length below 2^28.
pub(super) const CHUNK_HEADER_LEN: usize = 5;
/// The most bytes that a commit record takes.
pub(super) const COMMIT_RECORD_LEN: usize = 1 + 8 + 8 + 10;
/// The most bytes that a restore point takes beside its name.
pub(super) const RESTORE_POINT_OVERHEAD: usize = 1 + 10 + 8 + 8;

/// Appends the head of a commit.
pub(super) fn put_commit(out: &mut Vec<u8>, sequence: SequenceNumber, time_micros: i64, ops: u64) {
    let mut writer = ByteWriter::from(std::mem::take(out));
    writer.u8(COMMIT).u64(sequence.0).i64(time_micros).varint(ops);
    *out = writer.into_vec();
}

/// Appends the head of a chunk of `len` bytes, which the caller appends.
pub(super) fn put_chunk_head(out: &mut Vec<u8>, len: usize) {
    let mut writer = ByteWriter::from(std::mem::take(out));
    writer.u8(CHUNK).varint(len as u64);
    *out = writer.into_vec();
}

/// Appends a restore point.
pub(super) fn put_restore_point(out: &mut Vec<u8>, name: &str, sequence: SequenceNumber, time_micros: i64) {
    let mut writer = ByteWriter::from(std::mem::take(out));
    writer.u8(RESTORE_POINT).bytes(name.as_bytes()).u64(sequence.0).i64(time_micros);
    *out = writer.into_vec();
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Commit { sequence: SequenceNumber, time_micros: i64, ops: u64 },
    Put { key: &'a [u8], value: &'a [u8] },
    PutStreamed { key: &'a [u8], len: u64 },
    Delete { key: &'a [u8] },
    Chunk(&'a [u8]),
    RestorePoint { name: &'a str, sequence: SequenceNumber, time_micros: i64 },
}

impl<'a> Record<'a> {
    /// Takes the next record.
    pub(super) fn read(reader: &mut ByteReader<'a>) -> Result<Self, Malformed> {
        Ok(match reader.u8("log record kind")? {
            PUT => Self::Put { key: read_key(reader)?, value: reader.bytes("log value")? },
            DELETE => Self::Delete { key: read_key(reader)? },
            PUT_STREAMED => {
                Self::PutStreamed { key: read_key(reader)?, len: reader.varint("log value length")? }
            }
            CHUNK => Self::Chunk(reader.bytes("log chunk")?),
            COMMIT => Self::Commit {
                sequence: SequenceNumber(reader.u64("log sequence number")?),
                time_micros: reader.i64("log commit time")?,
                ops: reader.varint("log operation count")?,
            },
            RESTORE_POINT => Self::RestorePoint {
                name: std::str::from_utf8(reader.bytes("restore point name")?)
                    .map_err(|_| Malformed { what: "restore point name" })?,
                sequence: SequenceNumber(reader.u64("restore point sequence number")?),
                time_micros: reader.i64("restore point time")?,
            },
            _ => return Err(Malformed { what: "log record kind" }),
        })
    }
}

fn read_key<'a>(reader: &mut ByteReader<'a>) -> Result<&'a [u8], Malformed> {
    match reader.varint("log keyspace")? {
        DEFAULT_KEYSPACE => reader.bytes("log key"),
        _ => Err(Malformed { what: "log keyspace" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let long = vec![7; MAX_INLINE_VALUE_LEN + 1];
        let mut ops = CommitOps::new();
        ops.put(b"k", b"v");
        ops.put(b"long", &long);
        ops.delete(b"gone");
        assert_eq!(ops.count(), 3);
        let (encoded, pieces) = ops.parts();
        assert_eq!(pieces.len(), 1);
        let mut reader = ByteReader::new(encoded);
        assert_eq!(Record::read(&mut reader), Ok(Record::Put { key: b"k", value: b"v" }));
        assert_eq!(
            Record::read(&mut reader),
            Ok(Record::PutStreamed { key: b"long", len: long.len() as u64 })
        );
        assert_eq!(encoded.len() - reader.rest().len(), pieces[0].records_end);
        assert_eq!(Record::read(&mut reader), Ok(Record::Delete { key: b"gone" }));
        assert_eq!(reader.finish("rest"), Ok(()));

        let mut out = Vec::new();
        put_commit(&mut out, SequenceNumber(9), -3, 2);
        put_restore_point(&mut out, "before", SequenceNumber(9), 5);
        put_chunk_head(&mut out, 2);
        out.extend_from_slice(b"ab");
        let mut reader = ByteReader::new(&out);
        let commit = Record::Commit { sequence: SequenceNumber(9), time_micros: -3, ops: 2 };
        assert_eq!(Record::read(&mut reader), Ok(commit));
        let point = Record::RestorePoint { name: "before", sequence: SequenceNumber(9), time_micros: 5 };
        assert_eq!(Record::read(&mut reader), Ok(point));
        assert_eq!(Record::read(&mut reader), Ok(Record::Chunk(b"ab")));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in [&[0][..], &[99], &[PUT, 1, 1, b'k', 0], &[PUT, 0, 5, b'k'], &[RESTORE_POINT, 1, 0xff]] {
            assert!(Record::read(&mut ByteReader::new(bytes)).is_err(), "{bytes:?}");
        }
    }
}
