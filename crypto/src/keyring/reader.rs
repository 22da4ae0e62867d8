//! Takes fields off a slice, and never reads past its end.

use super::codec::malformed;
use crate::{CryptoError, SecretKey};

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read yet.
    pub(super) fn left(&self) -> &'a [u8] {
        self.0
    }

    fn take(&mut self, field: &str, len: usize) -> Result<&'a [u8], CryptoError> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or_else(|| malformed(format!("it ends inside the {field}")))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], CryptoError> {
        Ok(self.take(field, N)?.try_into().expect("N bytes were taken"))
    }

    pub(super) fn u32(&mut self, field: &str) -> Result<u32, CryptoError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &str) -> Result<u64, CryptoError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self, field: &str) -> Result<i64, CryptoError> {
        self.array(field).map(i64::from_le_bytes)
    }

    pub(super) fn count(&mut self, field: &str, max: usize) -> Result<usize, CryptoError> {
        let count = self.u32(field)? as usize;
        if count > max {
            return Err(malformed(format!("its {field} is {count}, above the limit of {max}")));
        }
        Ok(count)
    }

    pub(super) fn bytes(&mut self, field: &str, max_len: usize) -> Result<&'a [u8], CryptoError> {
        let len = self.count(field, max_len)?;
        self.take(field, len)
    }

    pub(super) fn text(&mut self, field: &str, max_len: usize) -> Result<String, CryptoError> {
        let bytes = self.bytes(field, max_len)?;
        match std::str::from_utf8(bytes) {
            // What could garble a terminal is never written, and not shown either.
            Ok(text) if !text.contains(char::is_control) => Ok(text.into()),
            _ => Err(malformed(format!("its {field} is no text"))),
        }
    }

    /// Straight into protected memory.
    pub(super) fn key(&mut self, field: &str) -> Result<SecretKey, CryptoError> {
        let bytes = self.take(field, SecretKey::LEN)?;
        Ok(SecretKey::from_slice(bytes).expect("32 bytes were taken"))
    }
}
