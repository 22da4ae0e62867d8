//! Reads secrets from the environment.

use std::ffi::OsStr;

use zeroize::Zeroizing;

use crate::{CryptoError, SecretKey};

/// 64 hex digits.
pub(super) fn read_key(name: &OsStr) -> Result<SecretKey, CryptoError> {
    let source = format!("env:{}", name.to_string_lossy());
    let text = read(name, &source)?;
    SecretKey::try_fill(|key| hex::decode_to_slice(&*text, key)).map_err(|_| CryptoError::InvalidKey {
        source_name: source,
        reason: format!("it holds {} bytes that are not 64 hex digits", text.len()),
    })
}

pub(super) fn read_passphrase(name: &OsStr, source: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    read(name, source)
}

fn read(name: &OsStr, source: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let invalid =
        |reason: &str| CryptoError::InvalidKey { source_name: source.into(), reason: reason.into() };
    // The standard library panics or misses on such names, depending on the system.
    let bytes = name.as_encoded_bytes();
    if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
        return Err(invalid("this is no name of an environment variable"));
    }
    let value = std::env::var_os(name)
        .ok_or_else(|| invalid("the environment variable is not set: set it and try again"))?;
    Ok(Zeroizing::new(value.into_encoded_bytes()))
}
