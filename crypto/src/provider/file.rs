//! Reads secrets from files that only their owner can read.

use std::{io::Read, path::Path};

use zeroize::Zeroizing;

use crate::{CryptoError, SecretKey};

/// The longest passphrase, in bytes.
pub(super) const MAX_PASSPHRASE_LEN: usize = 4096;

/// 32 raw bytes, or 64 hex digits and perhaps a line end.
pub(super) fn read_key(path: &Path) -> Result<SecretKey, CryptoError> {
    let source = format!("file:{}", path.display());
    let content = read_secret_file(path, &source, 66)?;
    parse_key(&content).ok_or_else(|| CryptoError::InvalidKey {
        source_name: source,
        reason: "a key file holds exactly 32 raw bytes, or 64 hex digits: make one with \
                 'head -c 32 /dev/urandom'"
            .into(),
    })
}

/// Reads a key as it is written down: 32 raw bytes, or 64 hex digits and perhaps a line end.
pub fn parse_key(content: &[u8]) -> Option<SecretKey> {
    SecretKey::from_slice(content)
        .or_else(|| SecretKey::try_fill(|key| hex::decode_to_slice(without_line_end(content), key)).ok())
}

/// The whole file without the line end that closes it.
pub(super) fn read_passphrase(path: &Path, source: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    read_secret(path, source, MAX_PASSPHRASE_LEN)
}

/// As [`read_passphrase`], for what may be longer. At least one byte more is read of what is too long.
pub(super) fn read_secret(
    path: &Path,
    source: &str,
    max_len: usize,
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let mut content = read_secret_file(path, source, max_len + 2)?;
    let len = without_line_end(&content).len();
    content.truncate(len);
    Ok(content)
}

/// Reads at most one byte more than `max_len`, which is enough to tell that a file is too long.
fn read_secret_file(path: &Path, source: &str, max_len: usize) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let invalid = |reason: String| CryptoError::InvalidKey { source_name: source.into(), reason };
    let io = |source| CryptoError::Io { path: path.into(), source };
    let file = open(path).map_err(io)?;
    // Asked of the open file, so that it cannot be exchanged between the question and the read.
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(invalid("this is not a regular file: name the file that holds the key".into()));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(invalid(format!(
                "others can use this file (mode {mode:03o}): make it private with 'chmod 600 {}'",
                path.display()
            )));
        }
    }
    // Room for all that is read, so that no reallocation leaves a copy behind.
    let mut content = Zeroizing::new(Vec::with_capacity(max_len + 1));
    file.take(max_len as u64 + 1).read_to_end(&mut content).map_err(io)?;
    Ok(content)
}

#[expect(
    clippy::disallowed_types,
    reason = "a key is read before there is a database, and from outside of its directory"
)]
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Opening a named pipe would wait for a writer, for ever.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}

pub(super) fn without_line_end(content: &[u8]) -> &[u8] {
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    if line.len() < content.len() { line.strip_suffix(b"\r").unwrap_or(line) } else { line }
}
