//! Reading and writing the fields of structures on disk: little-endian integers, LEB128 varints, and byte strings with
//! their length before them. A reader never allocates or reads beyond what it was given.

use crate::ZeroizingBytes;

/// Why bytes could not be read as a structure. The caller knows the file, and turns it into
/// [`StorageError::Corrupt`](crate::StorageError::Corrupt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is malformed")]
pub struct Malformed {
    /// The field that could not be read.
    pub what: &'static str,
}

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub struct ByteWriter {
    out: Vec<u8>,
}

impl ByteWriter {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer that takes `capacity` bytes before it moves.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity) }
    }

    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) -> &mut Self {
        self.out.clear();
        self
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes, little-endian, two's complement.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// A varint of one to ten bytes.
    #[inline]
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.u8((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.u8(value as u8)
    }

    /// Bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        if self.out.capacity() - self.out.len() < bytes.len() {
            self.grow(bytes.len());
        }
        self.out.extend_from_slice(bytes);
        self
    }

    /// Moves to a larger buffer, and leaves nothing in the old one: what is encoded may be secret.
    #[cold]
    fn grow(&mut self, more: usize) {
        let mut larger = Vec::with_capacity((self.out.len() + more).max(2 * self.out.capacity()).max(64));
        larger.extend_from_slice(&self.out);
        drop(ZeroizingBytes::new(std::mem::replace(&mut self.out, larger)));
    }

    /// A varint length, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(bytes.len() as u64).raw(bytes)
    }

    /// How many bytes were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The bytes written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.out
    }

    /// The buffer.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.out
    }
}

/// Appends to what is there.
impl From<Vec<u8>> for ByteWriter {
    fn from(out: Vec<u8>) -> Self {
        Self { out }
    }
}

/// Takes fields from the front of a slice.
#[derive(Clone, Debug)]
pub struct ByteReader<'a> {
    rest: &'a [u8],
}

impl<'a> ByteReader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    #[inline]
    pub fn raw(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(Malformed { what })?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Malformed { what })?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Eight bytes, little-endian, two's complement.
    #[inline]
    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// A varint; refused when it is longer than it needs to be or does not fit 64 bits.
    #[inline]
    pub fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        // Most are lengths below 128.
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(what),
        }
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 || shift > 0 && byte == 0 {
                return Err(Malformed { what });
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed { what })
    }

    /// A varint that fits a `u32`.
    pub fn varint_u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.varint(what)?).map_err(|_| Malformed { what })
    }

    /// A varint length, then that many bytes.
    #[inline]
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint(what)?).map_err(|_| Malformed { what })?;
        self.raw(len, what)
    }

    /// A varint count of items that take at least `min_item_len` bytes each: refused when they cannot all be there,
    /// so that a count can be trusted with an allocation.
    pub fn count(&mut self, min_item_len: usize, what: &'static str) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint(what)?).map_err(|_| Malformed { what })?;
        let fits = count.checked_mul(min_item_len.max(1)).is_some_and(|len| len <= self.rest.len());
        if fits { Ok(count) } else { Err(Malformed { what }) }
    }

    /// Refuses bytes that nobody asked for.
    pub fn finish(self, what: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed { what }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_went_in() {
        let mut writer = ByteWriter::new();
        writer
            .u8(7)
            .u32(u32::MAX)
            .u64(u64::MAX)
            .i64(-5)
            .varint(0)
            .varint(300)
            .varint(u64::MAX)
            .bytes(b"abc")
            .raw(b"z");
        let mut reader = ByteReader::new(writer.as_slice());
        assert_eq!(reader.u8("a"), Ok(7));
        assert_eq!(reader.u32("b"), Ok(u32::MAX));
        assert_eq!(reader.u64("c"), Ok(u64::MAX));
        assert_eq!(reader.i64("d"), Ok(-5));
        assert_eq!(reader.varint("e"), Ok(0));
        assert_eq!(reader.varint("f"), Ok(300));
        assert_eq!(reader.varint("g"), Ok(u64::MAX));
        assert_eq!(reader.bytes("h"), Ok(&b"abc"[..]));
        assert_eq!(reader.raw(1, "i"), Ok(&b"z"[..]));
        assert_eq!(reader.finish("j"), Ok(()));
    }

    #[test]
    fn short_overlong_and_absurd_fields_are_refused() {
        assert_eq!(ByteReader::new(&[1, 2, 3]).u32("x"), Err(Malformed { what: "x" }));
        assert_eq!(ByteReader::new(&[0x80, 0x00]).varint("x"), Err(Malformed { what: "x" }));
        assert_eq!(ByteReader::new(&[0xff; 11]).varint("x"), Err(Malformed { what: "x" }));
        assert_eq!(ByteReader::new(&[0xff, 0xff, 0x7f, 1]).bytes("x"), Err(Malformed { what: "x" }));
        assert_eq!(ByteReader::new(&[100, 1, 2]).count(1, "x"), Err(Malformed { what: "x" }));
        assert_eq!(ByteReader::new(&[1]).finish("x"), Err(Malformed { what: "x" }));
    }
}
